"""Parse images, files, audio and video of any provider into content parts of the API.

All dialects have the same facts about media (URL or data, format, name) under different keys and at
different depths. A block is therefore flattened first, then read by the aliases of each key.
"""

from __future__ import annotations

import base64
import codecs
import re
import string
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from langchain_aimlernie._text import clean_text

JsonObject = dict[str, object]
Block = Mapping[str, object]


class Media(NamedTuple):
    """A content part with media."""

    type: str  # of the block that was parsed
    part: JsonObject
    requires: tuple[str, ...]  # a kind of media, then perhaps a MIME type or "file_id"
    context: str = ""  # a description of a file
    cache_control: Block | None = None

    @property
    def placeholder(self) -> str:
        """The text that replaces it on request, such as `[image omitted]`."""
        return f"[{self.requires[0].removesuffix('_url')} omitted]"


class UnsupportedContent(NamedTuple):
    """A block that no request can contain."""

    block: object
    reason: str  # and what to do
    placeholder: str = ""  # of media: the text that replaces it on request
    is_data: bool = True  # whether it may be a tool's own data in a result


MEDIA_KINDS = {
    **dict.fromkeys(("image", "image_url", "input_image", "computer_screenshot"), "image"),
    **dict.fromkeys(("file", "input_file", "file_url", "document", "document_url"), "file"),
    "container_upload": "file",  # Anthropic's, by id
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "audio"),
    **dict.fromkeys(("video", "input_video", "video_url"), "video"),
    **dict.fromkeys(("media", "inline_data", "inlineData", "file_data", "fileData"), ""),
    "text-plain": "text",
}
"""The kind of media by type of block; empty if the type does not say."""

_URL_KEYS = (
    *("url", "uri", "file_uri", "fileUri", "file_url", "document_url"),
    *("image_url", "audio_url", "video_url", "image", "audio", "video"),
)
_DATA_KEYS = ("base64", "data", "bytes", "file_data")
_MIME_KEYS = ("mime_type", "media_type", "mimeType", "mediaType", "format")
_NAME_KEYS = ("filename", "file_name", "name", "title", "display_name", "document_name")

_PDF = "application/pdf"
_IMAGE_TYPES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_MAGIC = {
    "image/png": "iVBORw0KGgo",
    "image/jpeg": "/9j/",
    "image/gif": "R0lGOD",
    "image/webp": "UklGR.{7}RUJQ",
    _PDF: "JVBERi",
}
"""Magic bytes of the formats that the API accepts, as patterns of base64."""

_MIME_ALIASES = {
    **dict.fromkeys(("jpg", "image/jpg"), "image/jpeg"),
    "audio/mpeg": "audio/mp3",
    "audio/x-wav": "audio/wav",
}

_MEDIA_TYPES = ("image", "audio", "video")
_DETAILS = ("low", "high", "auto")
_TEXT_FORMAT = re.compile(
    r"application/(?:.*[-+])?(?:"
    r"txt|text|plain|log|md|markdown|rst|csv|tsv|html|css|xml|yaml|yml|toml|ini|"
    r"json|jsonl|jsonlines|ndjson|ipynb|javascript|ecmascript|jsx?|typescript|tsx?|python|py|"
    r"sh|sql|graphql|perl|pl|ruby|rb|php|java|c|h|cpp|go|rs|tex|latex|srt)"
)
_SUFFIX = re.compile(r".*\.([a-z][a-z0-9]{0,4})", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(r"charset=[\"']?([\w.-]+)", re.IGNORECASE)
_UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_DATA_URL = re.compile(r"data:([^,;]*)([^,]*),", re.IGNORECASE)
_WEB_URL = re.compile(r"(https?)(://[^\s/].*)", re.IGNORECASE | re.DOTALL)
_ANY_URL = re.compile(r"[a-z][a-z0-9+.-]*://\S+", re.IGNORECASE)
_URI_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_BASE64 = (string.ascii_letters + string.digits + "+/").encode()
_URL_SAFE = str.maketrans("-_", "+/")


def first_string(block: Block, *keys: str) -> str:
    """Return the first non-empty string under one of `keys`, else an empty one."""
    for key in keys:
        value = block.get(key)
        if isinstance(value, str) and value:
            return clean_text(value)
    return ""


def parse_media(type_: str, block: Block) -> Media | UnsupportedContent | str:
    """Return the media or the text in a block, whose type is a key of `MEDIA_KINDS`."""
    media = _MediaBlock(type_, block)
    if media.data:
        media.data = _normalize_base64(media.data)
        if not media.data:
            hint = "Encode the bytes: base64.b64encode(data).decode()."
            return media.unsupported(f"is not base64. {hint}")
    media.resolve_mime()
    if media.data or media.url:
        return _ENCODERS[media.kind](media)
    if media.file_id:
        if media.kind == "file":
            return media.encode_file()
        reason = "has only a file id, which cannot be sent. Send the data in base64."
        return media.unsupported(reason, is_data=False)
    if media.text is not None:
        return media.with_labels(media.text)
    return media.unsupported("has neither data, nor a URL, nor text. Send the data in base64.")


class _MediaBlock:
    """The values of a media block; absent ones are empty. It has data, or else a URL or file id."""

    def __init__(self, type_: str, block: Block) -> None:
        self.type, self.block = type_, block
        self.flat = flat = _flatten(type_, block)
        text, data = flat.get("text"), _read_data(flat)
        if text is None and flat.get("type") == "text":  # Anthropic's text is in "data"
            text, data = data, ""
        self.text = text if isinstance(text, str) else None  # a text may be empty
        id_key = "id" if flat.get("source_type") == "id" else "file_id"
        self.file_id = first_string(flat, id_key, "fileId")
        self.name = first_string(flat, *_NAME_KEYS)
        self.context = first_string(flat, "context")
        self.declared = first_string(flat, *_MIME_KEYS)
        self.kind, self.mime = MEDIA_KINDS[type_], ""
        self.url, self.data = first_string(flat, *_URL_KEYS).strip(), data
        self._decode_data_url()
        # OpenRouter and Qwen have a URL as data, LiteLLM and Gemini as the file id.
        if url := next(filter(_ANY_URL.fullmatch, (self.data, self.file_id)), ""):
            self.url, self.data, self.file_id = url, "", ""

    def _decode_data_url(self) -> None:
        """Move data out of a data URL, given as URL or data, or out of a URL that is base64."""
        for url in (self.url, self.data):
            if head := _DATA_URL.match(url):
                self.url, self.data = "", url[head.end() :]
                if head[1]:
                    self.declared = head[1] + head[2]
                if "base64" not in head[2].lower() and not _detect_mime(self.data):
                    self.data = base64.b64encode(unquote_to_bytes(self.data)).decode()
                return
        if not self.data and _detect_mime(self.url):
            self.url, self.data = "", self.url

    def resolve_mime(self) -> None:
        """Determine the MIME type (magic bytes win) and the kind of media."""
        self.mime = _detect_mime(self.data) or self._declared_mime()
        main = self.mime.partition("/")[0]
        kind = main if main in _ENCODERS else self.kind or "file"
        self.kind = "file" if self.mime == _PDF else kind

    def _declared_mime(self) -> str:
        mime = self.declared.partition(";")[0].strip().lower()
        if self.data and self.kind in ("file", "") and mime in ("", "application/octet-stream"):
            suffix = _SUFFIX.fullmatch(self.name)
            mime = suffix[1].lower() if suffix else mime
        mime = _MIME_ALIASES.get(mime, mime)
        if mime and "/" not in mime:
            # Converse and `input_audio` have a format such as "png" or "wav" instead.
            mime = f"{self.kind if self.kind in _MEDIA_TYPES else 'application'}/{mime}"
        return "text/plain" if _TEXT_FORMAT.fullmatch(mime) else mime

    def encode_image(self) -> Media | UnsupportedContent:
        if not self.mime.startswith("image/"):
            self.mime = "image/jpeg"
        if self.data:
            url = self._data_url()
        elif web := _WEB_URL.fullmatch(self.url):
            url = web[1].lower() + quote(web[2], safe=_URI_CHARACTERS, errors="replace")
        else:
            return self.unsupported("has neither data nor an http(s) URL. Send the data in base64.")
        image = {"url": url}
        if (detail := first_string(self.flat, "detail")) in _DETAILS:
            image["detail"] = detail
        format_ = (self.mime,) if self.data and self.mime not in _IMAGE_TYPES else ()
        return self._media("image_url", image, "image_url", *format_)

    def encode_file(self) -> Media | UnsupportedContent:
        self.mime = self.mime or _PDF
        if self.data:
            # The schema says "encoded in base64"; the provider's example and OpenAI's API use a
            # data URL (docs.aimlapi.com/glossary/concepts).
            file, required = {"file_data": self._data_url()}, self.mime
        elif self.file_id:
            file, required = {"file_id": self.file_id}, "file_id"
        else:
            return self.unsupported("has only a URL. Download the file and send it in base64.")
        if self.name:
            file["filename"] = self.name
        return self._media("file", file, "file", *(() if required == _PDF else (required,)))

    def encode_audio(self) -> Media:
        if self.data:
            audio = {"data": self.data, "format": self.mime.rpartition("/")[2] or "wav"}
            return self._media("input_audio", audio, "audio")
        return self._media("audio_url", {"url": self.url}, "audio")

    def encode_video(self) -> Media:
        self.mime = self.mime or "video/mp4"
        url = self._data_url() if self.data else self.url
        return self._media("video_url", {"url": url}, "video")

    def encode_text(self) -> UnsupportedContent | str:
        if not self.data:
            return self.unsupported("has only a URL. Send the text itself.")
        data = base64.b64decode(self.data)
        match = _CHARSET.search(self.declared)
        charset = match[1] if match else "utf-16" if data.startswith(_UTF_16_MARKS) else "utf-8"
        try:
            text = data.decode(charset)
        except (LookupError, UnicodeError):
            text = data.decode(errors="replace")
        return self.with_labels(text.removeprefix("\ufeff"))

    def unsupported(self, reason: str, *, is_data: bool = True) -> UnsupportedContent:
        kind = self.kind if self.kind in _MEDIA_TYPES else "file"
        placeholder = f"[{kind} omitted]" if self.url or self.file_id else ""
        reason = f"its block of type {self.type!r} {reason}"
        return UnsupportedContent(self.block, reason, placeholder, is_data)

    def with_labels(self, text: str) -> str:
        return "\n".join(line for line in (self.name, self.context, text) if line)

    def _data_url(self) -> str:
        return f"data:{self.mime};base64,{self.data}"

    def _media(self, key: str, value: object, *requires: str) -> Media:
        context = self.context if key == "file" else ""
        return Media(self.type, {"type": key, key: value}, requires, context)


_ENCODERS: Mapping[str, Callable[[_MediaBlock], Media | UnsupportedContent | str]] = {
    "image": _MediaBlock.encode_image,
    "file": _MediaBlock.encode_file,
    "audio": _MediaBlock.encode_audio,
    "video": _MediaBlock.encode_video,
    "text": _MediaBlock.encode_text,
}


def _flatten(type_: str, block: Block) -> Block:
    """Return the keys of all levels in one dict; the innermost value wins, as the most specific."""
    inner, extras = block.get(type_), block.get("extras")
    source = (inner if isinstance(inner, Mapping) else block).get("source")
    stored = source.get("s3Location") if isinstance(source, Mapping) else None
    # Core's conversion of v0 moves the metadata into the extras.
    metadata = extras.get("metadata") if isinstance(extras, Mapping) else block.get("metadata")
    flat: JsonObject = {}
    for level in (metadata, extras, block, inner, source, stored):
        if isinstance(level, Mapping):
            flat.update(level)
    return flat


def _read_data(flat: Block) -> str:
    for key in (*_DATA_KEYS, *_URL_KEYS):
        if isinstance(value := flat.get(key), bytes | bytearray | memoryview):
            is_encoded = _detect_mime(bytes(value[:16]).decode("latin-1"))
            return (bytes(value) if is_encoded else base64.b64encode(value)).decode("latin-1")
    return first_string(flat, *_DATA_KEYS)


def _normalize_base64(data: str) -> str:
    """Return base64 without line breaks, padded, in the standard alphabet; empty if invalid.

    `base64.b64decode` would be far slower, and a history is encoded again in each turn.
    """
    other = _other_characters(data)
    if other.strip(b"="):
        data = "".join(data.split()).translate(_URL_SAFE)
        other = _other_characters(data)
    digits = data.rstrip("=")
    if len(digits) + len(other) != len(data) or len(digits) % 4 == 1:
        return ""
    return digits + "=" * (-len(digits) % 4)


def _other_characters(data: str) -> bytes:
    return data.encode(errors="replace").translate(None, _BASE64)


def _detect_mime(data: str) -> str:
    return next((mime for mime, pattern in _MAGIC.items() if re.match(pattern, data)), "")
