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
from contextlib import suppress
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
    context: str = ""  # what the block says about a file, apart from its name
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


class _Source(NamedTuple):
    """The contents of a media block; absent values are empty."""

    block: Block
    type: str
    kind: str
    mime: str
    url: str
    data: str  # base64
    text: str | None  # a text may be empty
    file_id: str
    name: str
    context: str
    detail: str
    charset: str = ""


MEDIA_KINDS = {
    **dict.fromkeys(("image", "image_url", "input_image", "computer_screenshot"), "image"),
    **dict.fromkeys(("file", "input_file", "document", "document_url"), "file"),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "audio"),
    **dict.fromkeys(("video", "input_video", "video_url"), "video"),
    **dict.fromkeys(("media", "inline_data", "inlineData", "file_data", "fileData"), ""),
    "text-plain": "text",
}
"""The kind of media by type of block; empty where the type does not tell."""

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
"""Magic bytes of the formats that the API takes, as patterns of base64."""

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
    """Return the media in a block, whose type is a key of `MEDIA_KINDS`, or the text in it."""
    source = _decode_data_url(_read_source(type_, block))
    if source.data:
        source = source._replace(data=_normalize_base64(source.data))
        if not source.data:
            hint = "Encode the bytes: base64.b64encode(data).decode()."
            return _unsupported(source, f"is not base64. {hint}")
    source = _resolve_mime(source)
    if source.file_id and not (source.data or source.url) and source.kind != "file":
        reason = "has only a file id, which cannot be sent. Send the data in base64."
        return _unsupported(source, reason)._replace(is_data=False)
    if source.data or source.url or source.file_id:
        return _ENCODERS[source.kind](source)
    if source.text is not None:
        return _text_document(source, source.text)
    return _unsupported(source, "has neither data, nor a URL, nor text. Send the data in base64.")


def _read_source(type_: str, block: Block) -> _Source:
    flat = _flatten(type_, block)
    text, data = flat.get("text"), _read_data(flat)
    if flat.get("type") == "text" and text is None:
        # The source of a document of Anthropic: its text stands under "data".
        text, data = data, ""
    id_key = "id" if flat.get("source_type") == "id" else "file_id"
    return _Source(
        block=block,
        type=type_,
        kind=MEDIA_KINDS[type_],
        mime=first_string(flat, *_MIME_KEYS),
        url=first_string(flat, *_URL_KEYS).strip(),
        data=data,
        text=text if isinstance(text, str) else None,
        file_id=first_string(flat, id_key, "fileId"),
        name=first_string(flat, *_NAME_KEYS),
        context=first_string(flat, "context"),
        detail=first_string(flat, "detail"),
    )


def _flatten(type_: str, block: Block) -> Block:
    """Return the keys of all levels in one dict; the innermost value wins, as the most specific."""
    inner, extras = block.get(type_), block.get("extras")
    source = (inner if isinstance(inner, Mapping) else block).get("source")
    # Core's conversion of v0 moves the metadata into the extras.
    metadata = extras.get("metadata") if isinstance(extras, Mapping) else block.get("metadata")
    flat: JsonObject = {}
    for level in (metadata, extras, block, inner, source):
        if isinstance(level, Mapping):
            flat.update(level)
    return flat


def _read_data(flat: Block) -> str:
    for key in (*_DATA_KEYS, *_URL_KEYS):
        if isinstance(value := flat.get(key), bytes | bytearray | memoryview):
            is_encoded = _detect_mime(bytes(value[:16]).decode("latin-1"))
            return (bytes(value) if is_encoded else base64.b64encode(value)).decode("latin-1")
    return first_string(flat, *_DATA_KEYS)


def _decode_data_url(source: _Source) -> _Source:
    """Move the data out of a data URL; some blocks have one as data, or bare base64 as the URL."""
    for url in (source.url, source.data):
        if head := _DATA_URL.match(url):
            data = url[head.end() :]
            if "base64" not in head[2].lower() and not _detect_mime(data):
                data = base64.b64encode(unquote_to_bytes(data)).decode()
            return source._replace(
                url="", data=data, mime=head[1] + head[2] if head[1] else source.mime
            )
    if not source.data and _detect_mime(source.url):
        return source._replace(url="", data=source.url)
    return source


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


def _resolve_mime(source: _Source) -> _Source:
    """Determine the MIME type (magic bytes win) and the kind of media."""
    mime = _detect_mime(source.data) or _declared_mime(source)
    main = mime.partition("/")[0]
    kind = "file" if mime == _PDF else main if main in _ENCODERS else source.kind or "file"
    charset = match[1] if (match := _CHARSET.search(source.mime)) else ""
    return source._replace(mime=mime, kind=kind, charset=charset)


def _detect_mime(data: str) -> str:
    return next((mime for mime, pattern in _MAGIC.items() if re.match(pattern, data)), "")


def _declared_mime(source: _Source) -> str:
    mime = source.mime.partition(";")[0].strip().lower()
    if source.data and source.kind in ("file", "") and mime in ("", "application/octet-stream"):
        suffix = _SUFFIX.fullmatch(source.name)
        mime = suffix[1].lower() if suffix else mime
    mime = _MIME_ALIASES.get(mime, mime)
    if mime and "/" not in mime:
        # Converse and `input_audio` have a format such as "png" or "wav" instead of a MIME type.
        mime = f"{source.kind if source.kind in _MEDIA_TYPES else 'application'}/{mime}"
    return "text/plain" if _TEXT_FORMAT.fullmatch(mime) else mime


# One encoder for each kind of media. A source has data, or else a URL or a file id.


def _encode_image(source: _Source) -> Media | UnsupportedContent:
    mime = source.mime if source.mime.startswith("image/") else "image/jpeg"
    if source.data:
        url = f"data:{mime};base64,{source.data}"
    elif web := _WEB_URL.fullmatch(source.url):
        url = web[1].lower() + quote(web[2], safe=_URI_CHARACTERS, errors="replace")
    else:
        return _unsupported(source, "has neither data nor an http(s) URL. Send the data in base64.")
    image = {"url": url}
    if source.detail in _DETAILS:
        image["detail"] = source.detail
    format_ = (mime,) if source.data and mime not in _IMAGE_TYPES else ()
    return Media(source.type, {"type": "image_url", "image_url": image}, ("image_url", *format_))


def _encode_file(source: _Source) -> Media | UnsupportedContent:
    mime = source.mime or _PDF
    if source.data:
        # The schema says "encoded in base64"; the provider's example and OpenAI's API use a data
        # URL (docs.aimlapi.com/glossary/concepts).
        file, detail = {"file_data": f"data:{mime};base64,{source.data}"}, mime
    elif source.file_id:
        file, detail = {"file_id": source.file_id}, "file_id"
    else:
        return _unsupported(source, "has only a URL. Download the file and send it in base64.")
    if source.name:
        file["filename"] = source.name
    requires = ("file",) if detail == _PDF else ("file", detail)
    return Media(source.type, {"type": "file", "file": file}, requires, source.context)


def _encode_audio(source: _Source) -> Media:
    if source.data:
        audio = {"data": source.data, "format": source.mime.rpartition("/")[2] or "wav"}
        return Media(source.type, {"type": "input_audio", "input_audio": audio}, ("audio",))
    return Media(source.type, {"type": "audio_url", "audio_url": {"url": source.url}}, ("audio",))


def _encode_video(source: _Source) -> Media:
    mime = source.mime or "video/mp4"
    url = f"data:{mime};base64,{source.data}" if source.data else source.url
    return Media(source.type, {"type": "video_url", "video_url": {"url": url}}, ("video",))


def _encode_text(source: _Source) -> UnsupportedContent | str:
    if not source.data:
        return _unsupported(source, "has only a URL. Send the text itself.")
    text = _decode_text(base64.b64decode(source.data), source.charset)
    return _text_document(source, text.removeprefix("\ufeff"))


def _decode_text(data: bytes, charset: str) -> str:
    """Return a text in its declared encoding, else by its byte-order mark, else as UTF-8."""
    if not charset and data.startswith(_UTF_16_MARKS):
        charset = "utf-16"
    with suppress(LookupError, UnicodeError):
        return data.decode(charset)
    return data.decode(errors="replace")


def _text_document(source: _Source, text: str) -> str:
    return "\n".join(line for line in (source.name, source.context, text) if line)


def _unsupported(source: _Source, reason: str) -> UnsupportedContent:
    kind = source.kind if source.kind in _MEDIA_TYPES else "file"
    placeholder = f"[{kind} omitted]" if source.url or source.file_id else ""
    reason = f"its block of type {source.type!r} {reason}"
    return UnsupportedContent(source.block, reason, placeholder)


_ENCODERS: Mapping[str, Callable[[_Source], Media | UnsupportedContent | str]] = {
    "image": _encode_image,
    "file": _encode_file,
    "audio": _encode_audio,
    "video": _encode_video,
    "text": _encode_text,
}
