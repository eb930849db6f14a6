"""Images, files, audio and video of every dialect, read as parts of the wire.

All dialects say the same few things about a medium (its address or data, its format, a name),
under different keys and at different depths. So a block is laid flat first, then asked by alias.
"""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from langchain_aimlernie._text import clean_text

Block = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Media:
    """A content part with a medium in it.

    Attributes:
        block: The type of the block that it was read from, for error messages.
        part: The part as the wire has it.
        needs: What a model must take for it: a medium, then perhaps a form of it (a MIME type).
        cache_control: The block's mark for the prompt cache, if it has one.
    """

    block: str
    part: dict[str, object]
    needs: tuple[str, ...]
    cache_control: Block | None = None

    @property
    def omitted(self) -> str:
        """The text that stands in for it, such as `[image omitted]`."""
        return _omitted(self.needs[0].removesuffix("_url"))


def _omitted(kind: str) -> str:
    return f"[{kind} omitted]"


@dataclass(frozen=True, slots=True)
class UnsupportedContent:
    """A block that the wire has no form for; `why` tells its sender, and what to do instead.

    `omitted` is the text that stands in for it if it surely is a medium, such as `[image omitted]`.
    """

    value: object
    why: str
    omitted: str = ""


class _Source(NamedTuple):
    """What a block says about a medium; absent parts are empty. `data` is base64.

    A text is `None` if it is absent, since it may well be empty.
    """

    block: Block
    type: str
    kind: str
    mime: str
    url: str
    data: str
    text: str | None
    file_id: str
    name: str
    context: str
    detail: str


KINDS = {
    **dict.fromkeys(("image", "image_url", "input_image"), "image"),
    **dict.fromkeys(("file", "input_file", "document", "document_url"), "file"),
    **dict.fromkeys(("audio", "input_audio", "audio_url"), "audio"),
    **dict.fromkeys(("video", "input_video", "video_url"), "video"),
    **dict.fromkeys(("media", "inline_data", "inlineData", "file_data", "fileData"), ""),
    "text-plain": "text",
}
"""Types of block, and the kind of medium in them where the type says it."""

_URLS = (
    *("url", "uri", "file_uri", "fileUri", "file_url", "document_url"),
    *("image_url", "audio_url", "video_url", "image", "audio", "video"),
)
_DATA = ("base64", "data", "bytes", "file_data")
_MIMES = ("mime_type", "media_type", "mimeType", "format")
_NAMES = ("filename", "file_name", "name", "title", "display_name", "document_name")

_PDF = "application/pdf"
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp")
_MAGIC = {
    "image/png": "iVBORw0KGgo",
    "image/jpeg": "/9j/",
    "image/gif": "R0lGOD",
    "image/webp": "UklGR.{7}RUJQ",
    _PDF: "JVBERi",
}
"""How the data of the formats that the API takes begins: patterns of base64."""

_FORMATS = {
    "pdf": _PDF,
    **dict.fromkeys(("jpg", "image/jpg"), "image/jpeg"),
    "audio/mpeg": "audio/mp3",
    "audio/x-wav": "audio/wav",
    **dict.fromkeys(("md", "txt", "csv", "html"), "text/plain"),
    **dict.fromkeys(("application/json", "application/xml", "application/yaml"), "text/plain"),
}
"""Formats by other names, and texts that do not call themselves text."""

_PLAYED = ("image", "audio", "video")
_DETAILS = ("low", "high", "auto")
_DATA_URL = re.compile(r"data:([^,;]*)([^,]*),", re.IGNORECASE)
_WEB_URL = re.compile(r"(https?)(://[^\s/].*)", re.IGNORECASE | re.DOTALL)
_URI_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_BASE64 = (string.ascii_letters + string.digits + "+/").encode()
_URL_SAFE = str.maketrans("-_", "+/")


def first_string(block: Block, *keys: str) -> str:
    """Return the first text under one of `keys` that is not empty, else an empty one."""
    for key in keys:
        value = block.get(key)
        if isinstance(value, str) and value:
            return clean_text(value)
    return ""


def read_media(type_: str, block: Block) -> Media | UnsupportedContent | str:
    """Read a block that holds a medium; the text itself where it turns out to be a text.

    Args:
        type_: The type of the block, one of `KINDS`.
        block: The block, in any dialect.
    """
    source = _opened(_source(type_, block))
    if source.data:
        source = source._replace(data=_plain_base64(source.data))
        if not source.data:
            return _refused(source, "holds data that is not base64. Encode the bytes in base64.")
    source = _settled(source)
    if source.file_id and not (source.data or source.url) and source.kind != "file":
        why = "has only a file id, which cannot be sent. Send the data in base64."
        return replace(_refused(source, why), omitted=_omitted(source.kind or "file"))
    if source.data or source.url or source.file_id:
        return _ENCODERS[source.kind](source)
    if source.text is not None:
        return _document(source, source.text)
    return _refused(source, "holds neither data, nor an address, nor text.")


def _source(type_: str, block: Block) -> _Source:
    flat = _flat(type_, block)
    text, data = flat.get("text"), _data(flat)
    if flat.get("type") == "text" and text is None:
        # The source of one of Anthropic's documents: a text where others have data.
        text, data = data, ""
    file_id = first_string(flat, "file_id")
    if flat.get("source_type") == "id":
        file_id = first_string(flat, "id")
    return _Source(
        block=block,
        type=type_,
        kind=KINDS[type_],
        mime=first_string(flat, *_MIMES),
        url=first_string(flat, *_URLS).strip(),
        data=data,
        text=text if isinstance(text, str) else None,
        file_id=file_id,
        name=first_string(flat, *_NAMES),
        context=first_string(flat, "context"),
        detail=first_string(flat, "detail"),
    )


def _flat(type_: str, block: Block) -> Block:
    """Lay a block flat: what stands deeper says more about the medium, so it wins."""
    inner = block.get(type_)
    source = (inner if isinstance(inner, Mapping) else block).get("source")
    flat: dict[str, object] = {}
    for layer in (block.get("metadata"), block.get("extras"), block, inner, source):
        if isinstance(layer, Mapping):
            flat.update(layer)
    return flat


def _data(flat: Block) -> str:
    for key in _DATA:
        value = flat.get(key)
        if isinstance(value, bytes | bytearray | memoryview):
            return base64.b64encode(value).decode()
        if isinstance(value, str) and value:
            return clean_text(value)
    return ""


def _opened(source: _Source) -> _Source:
    """Take the data out of a data URL; some give one as `data`, or bare base64 as `url`."""
    for address in (source.url, source.data):
        if head := _DATA_URL.match(address):
            data = address[head.end() :]
            if "base64" not in head[2].lower():
                data = base64.b64encode(unquote_to_bytes(data)).decode()
            return source._replace(url="", data=data, mime=head[1] or source.mime)
    if not source.data and _sniffed(source.url):
        return source._replace(url="", data=source.url)
    return source


def _plain_base64(data: str) -> str:
    """Write base64 in lines, unpadded or URL-safe as the plain one; an empty text if it is none."""
    odd = _odd_characters(data)
    if odd.strip(b"="):
        data = "".join(data.split()).translate(_URL_SAFE)
        odd = _odd_characters(data)
    digits = data.rstrip("=")
    if len(digits) + len(odd) != len(data) or len(digits) % 4 == 1:
        return ""
    return digits + "=" * (-len(digits) % 4)


def _odd_characters(data: str) -> bytes:
    # Far cheaper than to decode it all, and a history is encoded in each of its turns.
    return data.encode(errors="replace").translate(None, _BASE64)


def _settled(source: _Source) -> _Source:
    """Settle the format, of which the bytes know best, and with it the kind."""
    mime = _sniffed(source.data) or _mime(source)
    main = mime.partition("/")[0]
    kind = "file" if mime == _PDF else main if main in _ENCODERS else source.kind or "file"
    return source._replace(mime=mime, kind=kind)


def _sniffed(data: str) -> str:
    return next((mime for mime, start in _MAGIC.items() if re.match(start, data)), "")


def _mime(source: _Source) -> str:
    mime = source.mime.partition(";")[0].strip().lower()
    mime = _FORMATS.get(mime, mime)
    # Converse and `input_audio` name a format, such as "png" or "wav", and no MIME type.
    main = source.kind if source.kind in _PLAYED else "application"
    return mime if "/" in mime or not mime else f"{main}/{mime}"


# One encoder for each kind of medium. A source has data, or else an address or a file id.


def _image(source: _Source) -> Media | UnsupportedContent:
    mime = source.mime if source.mime.startswith("image/") else "image/jpeg"
    web = _WEB_URL.fullmatch(source.url)
    if source.data:
        url = f"data:{mime};base64,{source.data}"
    elif web:
        url = web[1].lower() + quote(web[2], safe=_URI_CHARACTERS, errors="replace")
    else:
        return _refused(source, "has neither data nor an http(s) address. Send the data in base64.")
    image = {"url": url}
    if source.detail in _DETAILS:
        image["detail"] = source.detail
    form = (mime,) if source.data and mime not in _IMAGES else ()
    return Media(source.type, {"type": "image_url", "image_url": image}, ("image_url", *form))


def _file(source: _Source) -> Media | UnsupportedContent:
    mime = source.mime or _PDF
    if source.data:
        # "Encoded in base64" says the schema; the provider's own example, and OpenAI's API, have
        # a data URL (docs.aimlapi.com/glossary/concepts).
        file, form = {"file_data": f"data:{mime};base64,{source.data}"}, mime
    elif source.file_id:
        file, form = {"file_id": source.file_id}, "file_id"
    else:
        return _refused(source, "has only an address. Download the file and send it in base64.")
    if source.name:
        file["filename"] = source.name
    needs = ("file",) if form == _PDF else ("file", form)
    return Media(source.type, {"type": "file", "file": file}, needs)


def _audio(source: _Source) -> Media | UnsupportedContent:
    if source.data:
        audio = {"data": source.data, "format": source.mime.rpartition("/")[2] or "wav"}
        part: dict[str, object] = {"type": "input_audio", "input_audio": audio}
    else:
        part = {"type": "audio_url", "audio_url": {"url": source.url}}
    return Media(source.type, part, ("audio",))


def _video(source: _Source) -> Media | UnsupportedContent:
    mime = source.mime or "video/mp4"
    url = f"data:{mime};base64,{source.data}" if source.data else source.url
    return Media(source.type, {"type": "video_url", "video_url": {"url": url}}, ("video",))


def _text(source: _Source) -> UnsupportedContent | str:
    if not source.data:
        return _refused(source, "has only an address. Send the text itself.")
    return _document(source, base64.b64decode(source.data).decode(errors="replace"))


def _document(source: _Source, text: str) -> str:
    return "\n".join(line for line in (source.name, source.context, text) if line)


def _refused(source: _Source, why: str) -> UnsupportedContent:
    return UnsupportedContent(source.block, f"its block of type {source.type!r} {why}")


_ENCODERS: Mapping[str, Callable[[_Source], Media | UnsupportedContent | str]] = {
    "image": _image,
    "file": _file,
    "audio": _audio,
    "video": _video,
    "text": _text,
}
