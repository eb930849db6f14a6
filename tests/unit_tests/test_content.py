"""The encoding of every type of content block, in the forms of all providers."""

from __future__ import annotations

import base64
import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._request.content import (
    Reasoning,
    Text,
    ToolCallPart,
    ToolResultPart,
    UnsupportedContentError,
    parse_content,
    system_content,
    text_content,
    tool_content,
    user_content,
    user_parts,
)
from langchain_aimlernie._text import clean_text, json_text
from langchain_aimlernie.profiles import find_model

TEXT_MODEL = find_model("baidu/ernie-4.5-21b-a3b")
VISION = find_model("baidu/ernie-4.5-vl-28b-a3b")
FIVE = find_model("baidu/ernie-5.0")
UNKNOWN = find_model("acme/own-model")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG_BYTES = b"\x89PNG\r\n\x1a\n\x00\x00\xfb\xff"
PNG, JPEG, GIF = b64(PNG_BYTES), b64(b"\xff\xd8\xff\xe0\x00\x10JFIF"), b64(b"GIF89a\x01\x00")
WEBP, WAV = b64(b"RIFF\x24\x00\x00\x00WEBPVP8 "), b64(b"RIFF\x24\x00\x00\x00WAVEfmt ")
PDF_BYTES = b"%PDF-1.7\n%\xe2"
PDF = b64(PDF_BYTES)
URL = "https://example.com/a.png"
URL_SAFE_PNG = base64.urlsafe_b64encode(PNG_BYTES).decode().rstrip("=")


def image(url: str = f"data:image/png;base64,{PNG}", **more: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(name: str | None = None, data: str = PDF) -> dict:
    named = {"filename": name} if name else {}
    return {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{data}", **named}}


def text(value: str) -> dict:
    return {"type": "text", "text": value}


def parts(*blocks: object, spec=VISION) -> list[dict]:
    return user_parts(parse_content(list(blocks)), spec)


TEXTS = {
    "bare": ("hi", "hi"),
    "v1": (
        {"type": "text", "text": "hi", "id": "lc_1", "index": 0, "annotations": [], "extras": {}},
        "hi",
    ),
    "anthropic cached": (
        {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}, "citations": []},
        "hi",
    ),
    "responses in": ({"type": "input_text", "text": "hi"}, "hi"),
    "responses out": (
        {"type": "output_text", "text": "hi", "annotations": [], "logprobs": []},
        "hi",
    ),
    "gemini, converse": ({"text": "hi"}, "hi"),
    "converse guarded": ({"type": "guard_content", "text": "hi"}, "hi"),
    "json": ({"type": "json", "json": {"ü": [1, None]}}, '{"ü": [1, null]}'),
    "converse json": ({"json": {"a": 1}}, '{"a": 1}'),
    "refusal of a model, handed on": ({"type": "refusal", "refusal": "no"}, "no"),
    "non-standard": ({"type": "non_standard", "value": {"type": "input_text", "text": "hi"}}, "hi"),
    "text-plain": ({"type": "text-plain", "text": "hi", "mime_type": "text/plain"}, "hi"),
    "text-plain with a title": (
        {"type": "text-plain", "text": "hi", "title": "Greeting", "context": "a letter"},
        "Greeting\na letter\nhi",
    ),
    "text-plain in base64": (
        {"type": "text-plain", "base64": b64("你好".encode()), "mime_type": "text/plain"},
        "你好",
    ),
    "v0 text file": (
        {"type": "file", "source_type": "text", "text": "hi", "mime_type": "text/plain"},
        "hi",
    ),
    "csv file": (
        {"type": "file", "base64": b64(b"a,b\n1,2"), "mime_type": "text/csv", "filename": "t.csv"},
        "t.csv\na,b\n1,2",
    ),
    "json file": (
        {"type": "file", "base64": b64(b"{}"), "mime_type": "application/json; charset=utf-8"},
        "{}",
    ),
    "text in another alphabet": (
        {"type": "text-plain", "base64": b64(b"\xff\xfea")},
        "\ufffd\ufffda",
    ),
    "percent-coded data URL": ({"type": "file", "url": "data:text/plain,a%20b"}, "a b"),
    "half a pair in a data URL": ({"type": "file", "base64": "data:text/plain,\ud83d"}, "\ufffd"),
    "anthropic text document": (
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "hi"},
            "title": "T",
        },
        "T\nhi",
    ),
    "anthropic content document": (
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "hi"}]},
        },
        "hi",
    ),
    "anthropic search result": (
        {
            "type": "search_result",
            "source": URL,
            "title": "T",
            "content": [{"type": "text", "text": "hi"}],
        },
        f"T\n{URL}\nhi",
    ),
    "converse text document": (
        {"document": {"format": "txt", "name": "N", "source": {"text": "hi"}}},
        "N\nhi",
    ),
    "converse csv bytes": (
        {"document": {"format": "csv", "name": "N", "source": {"bytes": b"a,b"}}},
        "N\na,b",
    ),
    "converse content document": (
        {"document": {"format": "txt", "source": {"content": [{"text": "hi"}]}}},
        "hi",
    ),
}


@pytest.mark.parametrize(("block", "expected_text"), TEXTS.values(), ids=TEXTS)
def test_text_blocks_become_text_parts(block, expected_text):
    assert parts(block, spec=TEXT_MODEL) == [text(expected_text)]


IMAGES = {
    "v1 URL": ({"type": "image", "url": URL, "mime_type": "image/png", "id": "x"}, image(URL)),
    "v1 base64": ({"type": "image", "base64": PNG, "mime_type": "image/png", "index": 1}, image()),
    "v1 without a format": (
        {"type": "image", "base64": JPEG},
        image(f"data:image/jpeg;base64,{JPEG}"),
    ),
    "v1 with the wrong format": (
        {"type": "image", "base64": GIF, "mime_type": "image/png"},
        image(f"data:image/gif;base64,{GIF}"),
    ),
    "v1 WebP": ({"type": "image", "base64": WEBP}, image(f"data:image/webp;base64,{WEBP}")),
    "v1 with a format that says little": (
        {"type": "image", "base64": "AAAA", "mime_type": "application/octet-stream"},
        image("data:image/jpeg;base64,AAAA"),
    ),
    "v1 with a detail": (
        {"type": "image", "url": URL, "extras": {"detail": "low"}},
        image(URL, detail="low"),
    ),
    "v1 with a detail of another API": (
        {"type": "image", "url": URL, "extras": {"detail": "original"}},
        image(URL),
    ),
    "v0 URL": ({"type": "image", "source_type": "url", "url": URL}, image(URL)),
    "v0 base64": (
        {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/jpg"},
        image(),
    ),
    "openai": (
        {"type": "image_url", "image_url": {"url": URL, "detail": "high"}},
        image(URL, detail="high"),
    ),
    "openai bare string": ({"type": "image_url", "image_url": URL}, image(URL)),
    "openai data URL": (
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
        image(),
    ),
    "data URL in capitals": (
        {"type": "image_url", "image_url": {"url": f"DATA:IMAGE/PNG;BASE64,{PNG}"}},
        image(),
    ),
    "bare base64 as address": ({"type": "image_url", "image_url": PNG}, image()),
    "data URL as data": ({"type": "image", "base64": f"data:image/png;base64,{PNG}"}, image()),
    "base64 in lines": ({"type": "image", "base64": PNG[:8] + "\n" + PNG[8:] + "\r\n"}, image()),
    "base64 of the web's alphabet": ({"type": "image", "base64": URL_SAFE_PNG}, image()),
    "responses": (
        {"type": "input_image", "image_url": URL, "detail": "auto"},
        image(URL, detail="auto"),
    ),
    "anthropic base64": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        image(),
    ),
    "anthropic URL": ({"type": "image", "source": {"type": "url", "url": URL}}, image(URL)),
    "anthropic in non-standard": (
        {"type": "non_standard", "value": {"type": "image", "source": {"type": "url", "url": URL}}},
        image(URL),
    ),
    "gemini media": ({"type": "media", "mime_type": "image/png", "data": PNG}, image()),
    "gemini media in bytes": (
        {"type": "media", "mime_type": "image/png", "data": PNG_BYTES},
        image(),
    ),
    "gemini inline": ({"inline_data": {"mime_type": "image/png", "data": PNG}}, image()),
    "gemini address": ({"type": "media", "mime_type": "image/png", "file_uri": URL}, image(URL)),
    "converse": ({"image": {"format": "png", "source": {"bytes": PNG_BYTES}}}, image()),
    "converse typed": (
        {"type": "image", "image": {"format": "png", "source": {"bytes": PNG_BYTES}}},
        image(),
    ),
    "v1 file that is an image": (
        {"type": "file", "base64": PNG, "mime_type": "image/png"},
        image(),
    ),
    "address that is no URI yet": (
        {"type": "image", "url": " HTTPS://例.cn/图 1.png?a=1&b=%20#x "},
        image("https://%E4%BE%8B.cn/%E5%9B%BE%201.png?a=1&b=%20#x"),
    ),
}


FILES = {
    "v1": (
        {"type": "file", "base64": PDF, "mime_type": "application/pdf", "filename": "a.pdf"},
        file("a.pdf"),
    ),
    "v1 named in extras": (
        {"type": "file", "base64": PDF, "extras": {"filename": "a.pdf"}},
        file("a.pdf"),
    ),
    "v1 without a name": ({"type": "file", "base64": PDF, "mime_type": "application/pdf"}, file()),
    "v1 data URL": ({"type": "file", "url": f"data:application/pdf;base64,{PDF}"}, file()),
    "unknown bytes": ({"type": "file", "base64": "AAAA"}, file(data="AAAA")),
    "v0": (
        {
            "type": "file",
            "source_type": "base64",
            "data": PDF,
            "mime_type": "application/pdf",
            "metadata": {"filename": "a.pdf"},
        },
        file("a.pdf"),
    ),
    "openai": (
        {
            "type": "file",
            "file": {"file_data": f"data:application/pdf;base64,{PDF}", "filename": "a.pdf"},
        },
        file("a.pdf"),
    ),
    "openai bare base64": (
        {"type": "file", "file": {"file_data": PDF, "filename": "a.pdf"}},
        file("a.pdf"),
    ),
    "openai image_url with a PDF": (
        {"type": "image_url", "image_url": {"url": f"data:application/pdf;base64,{PDF}"}},
        file(),
    ),
    "responses": (
        {
            "type": "input_file",
            "file_data": f"data:application/pdf;base64,{PDF}",
            "filename": "a.pdf",
        },
        file("a.pdf"),
    ),
    "anthropic": (
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "title": "a.pdf",
            "citations": {"enabled": True},
        },
        file("a.pdf"),
    ),
    "gemini": ({"type": "media", "mime_type": "application/pdf", "data": PDF}, file()),
    "converse": (
        {"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF_BYTES}}},
        file("a"),
    ),
    "half a surrogate pair in the name": (
        {"type": "file", "base64": PDF, "filename": "\ud83d.pdf"},
        file("\ufffd.pdf"),
    ),
}


@pytest.mark.parametrize(
    ("block", "part"),
    [*IMAGES.values(), *FILES.values()],
    ids=[*(f"image {name}" for name in IMAGES), *(f"file {name}" for name in FILES)],
)
def test_media_blocks_become_parts(block, part):
    before = copy.deepcopy(block)
    for spec in (VISION, FIVE, UNKNOWN):
        assert parts(block, spec=spec) == [part]
    assert block == before


EPHEMERAL = {"type": "ephemeral"}
CACHE_CONTROLS = {
    "as Anthropic has it": ({"cache_control": EPHEMERAL}, EPHEMERAL),
    "with a time": (
        {"cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "ephemeral", "ttl": "1h"},
    ),
    "in the extras of v1": ({"extras": {"cache_control": EPHEMERAL}}, EPHEMERAL),
    "with a time that the API does not have": (
        {"cache_control": {"type": "ephemeral", "ttl": "1d"}},
        EPHEMERAL,
    ),
    "of an unknown kind": ({"cache_control": {"type": "persistent"}}, None),
    "that is no object": ({"cache_control": True}, None),
}
CACHEABLE = {
    "text": ({"type": "text", "text": "hi"}, text("hi")),
    "text-plain": ({"type": "text-plain", "text": "hi"}, text("hi")),
    "image": ({"type": "image", "base64": PNG}, image()),
    "image by address": ({"type": "image", "url": URL}, image(URL)),
    "file": ({"type": "file", "base64": PDF}, file()),
}


@pytest.mark.parametrize(("keys", "expected"), CACHE_CONTROLS.values(), ids=CACHE_CONTROLS)
@pytest.mark.parametrize(("block", "part"), CACHEABLE.values(), ids=CACHEABLE)
def test_cache_control_is_sent_to_ernie_5_0_only(block, part, keys, expected):
    expected_part = {**part, "cache_control": expected} if expected else part
    assert parts({**block, **keys}, spec=FIVE) == [expected_part]
    assert user_content([expected_part]) == (
        [expected_part] if expected or part["type"] != "text" else "hi"
    )
    for spec in (VISION, UNKNOWN):
        assert parts({**block, **keys}, spec=spec) == [part]


def test_unsupported_media_raise_or_are_omitted():
    blocks = [
        {"type": "image", "base64": PNG},
        {"type": "file", "base64": PDF},
        {"type": "audio", "base64": WAV},
        {"type": "video", "url": URL},
    ]
    names = ("image", "file", "audio", "video")
    for block, name in zip(blocks, names, strict=True):
        with pytest.raises(
            UnsupportedContentError, match=rf"'{name}'.*on_unsupported_content=\"omit\""
        ):
            parts(block, spec=TEXT_MODEL)
    omitted = user_parts(parse_content(blocks), TEXT_MODEL, omit=True)
    assert omitted == [text(f"[{name} omitted]") for name in names]
    assert system_content(["a", blocks[0]], VISION, omit=True) == "a[image omitted]"
    tiff = {"type": "image", "base64": "AAAA", "mime_type": "image/tiff"}
    by_id = {"type": "image", "file_id": "file-1"}
    for block in (tiff, by_id):
        assert user_parts(parse_content([block]), VISION, omit=True) == [text("[image omitted]")]
    assert system_content([by_id], VISION, omit=True) == "[image omitted]"
    assert tool_content([by_id], VISION, omit=True) == ([Text("[image omitted]")], [])


def test_invalid_blocks_are_never_omitted():
    for block in ({"type": "hologram"}, {"type": "image", "base64": "@@@@"}):
        with pytest.raises(UnsupportedContentError):
            user_parts(parse_content([block]), TEXT_MODEL, omit=True)


def test_self_hosted_models_take_what_the_weights_support():
    text_model, vision = TEXT_MODEL.on_other_server(), VISION.on_other_server()
    video = {"type": "video", "url": URL}
    tiff = {"type": "image", "base64": "AAAA", "mime_type": "image/tiff"}
    by_id = {"type": "file", "file_id": "file-1"}
    assert [part["type"] for part in parts(video, tiff, by_id, spec=vision)] == [
        "video_url",
        "image_url",
        "file",
    ]
    for spec, block in ((text_model, {"type": "image", "url": URL}), (vision, {"audio": WAV})):
        with pytest.raises(UnsupportedContentError, match="does not take"):
            parts(block, spec=spec)


@pytest.mark.parametrize("spec", [VISION, UNKNOWN], ids=["known", "unknown"])
@pytest.mark.parametrize(
    ("block", "part"),
    [
        (
            {"type": "audio", "base64": WAV, "mime_type": "audio/wav"},
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        ),
        (
            {"type": "audio", "base64": "AAAA", "mime_type": "audio/mpeg"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
            {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}},
        ),
        (
            {"type": "audio", "url": "https://e.com/a.mp3"},
            {"type": "audio_url", "audio_url": {"url": "https://e.com/a.mp3"}},
        ),
        (
            {"type": "media", "mime_type": "audio/mp3", "data": "AAAA"},
            {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}},
        ),
        (
            {"type": "video", "url": "https://e.com/a.mp4"},
            {"type": "video_url", "video_url": {"url": "https://e.com/a.mp4"}},
        ),
        (
            {"type": "video_url", "video_url": {"url": "https://e.com/a.mp4"}},
            {"type": "video_url", "video_url": {"url": "https://e.com/a.mp4"}},
        ),
        (
            {"video": {"format": "mp4", "source": {"bytes": b"\x00\x00\x00"}}},
            {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        ),
        (
            {"type": "file", "base64": "AAAA", "mime_type": "video/webm"},
            {"type": "video_url", "video_url": {"url": "data:video/webm;base64,AAAA"}},
        ),
    ],
)
def test_audio_and_video_are_for_unknown_models_only(spec, block, part):
    if spec.known:
        with pytest.raises(
            UnsupportedContentError, match=r"No ERNIE model here takes (audio|video)"
        ):
            parts(block, spec=spec)
    else:
        assert parts(block, spec=spec) == [part]


UNSUPPORTED = {
    "image by id": (
        {"type": "image", "file_id": "file-1"},
        "'image' has only a file id, which cannot be sent. Send the data in base64",
    ),
    "v0 image by id": (
        {"type": "image", "source_type": "id", "id": "file-1"},
        "'image' has only a file id, which cannot be sent. Send the data",
    ),
    "responses image by id": (
        {"type": "input_image", "file_id": "file-1", "detail": "auto"},
        "'input_image' has only a file id, which cannot be sent",
    ),
    "anthropic image by id": (
        {"type": "image", "source": {"type": "file", "file_id": "file-1"}},
        "'image' has only a file id, which cannot be sent",
    ),
    "audio by id": (
        {"type": "audio", "file_id": "file-1"},
        "'audio' has only a file id, which cannot be sent",
    ),
    "image in a cloud": (
        {"type": "media", "mime_type": "image/png", "file_uri": "gs://b/a.png"},
        "'media'.*http",
    ),
    "image on this disk": (
        {"type": "image_url", "image_url": "file:///a.png"},
        "'image_url'.*http",
    ),
    "image without a host": ({"type": "image", "url": "https:///a.png"}, "'image'.*http"),
    "image that is no base64": ({"type": "image", "base64": "@@@@"}, "not base64"),
    "image in letters of no alphabet": ({"type": "image", "base64": "图图图图"}, "not base64"),
    "image of no format here": (
        {"type": "image", "base64": "AAAA", "mime_type": "image/tiff"},
        r"\(image/tiff\).*PNG",
    ),
    "empty image": ({"type": "image"}, "neither data, nor a URL"),
    "file by address": ({"type": "file", "url": "https://e.com/a.pdf"}, "Download the file"),
    "anthropic document by address": (
        {"type": "document", "source": {"type": "url", "url": "https://e.com/a.pdf"}},
        "Download the file",
    ),
    "mistral document by address": (
        {"type": "document_url", "document_url": "https://e.com/a.pdf"},
        "Download the file",
    ),
    "gemini file by address": (
        {"type": "file_data", "file_uri": "https://e.com/a"},
        "Download the file",
    ),
    "file by id": (
        {"type": "file", "file": {"file_id": "file-1"}},
        r"\(file_id\).*Send the file itself",
    ),
    "word file": (
        {"type": "file", "base64": "AAAA", "mime_type": "application/msword"},
        r"\(application/msword\).*PDF",
    ),
    "converse word file": (
        {"document": {"format": "docx", "source": {"bytes": b"PK"}}},
        r"\(application/docx\).*PDF",
    ),
    "text by address": (
        {"type": "text-plain", "url": "https://e.com/a.txt", "mime_type": "text/plain"},
        "Send the text itself",
    ),
    "unknown type": ({"type": "hologram", "data": "x"}, "'hologram' is not supported"),
    "no type": ({"a": 1, "b": 2}, "type None is not supported"),
    "type that is no string": ({"type": ["text"], "text": "x"}, "is not supported"),
    "text that is no string": ({"type": "text", "text": 5}, "'text' is not supported"),
    "text without text": ({"type": "text"}, "'text' is not supported"),
    "json without json": ({"type": "json"}, "'json' is not supported"),
    "search result without content": (
        {"type": "search_result"},
        "'search_result' is not supported",
    ),
    "empty non-standard": ({"type": "non_standard"}, "is not supported"),
    "no block": (7, "'int' is not supported"),
}


@pytest.mark.parametrize(("block", "why"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_blocks_raise_with_a_hint(block, why):
    with pytest.raises(UnsupportedContentError, match=why) as caught:
        parts("look:", block)
    assert str(caught.value).endswith(".")


def test_file_ids_are_for_ernie_5_0_and_unknown_models():
    block = {"type": "file", "file_id": "file-1"}
    part = {"type": "file", "file": {"file_id": "file-1"}}
    v0 = {"type": "file", "source_type": "id", "id": "file-1"}
    assert parts(block, v0, spec=FIVE) == [part, part] == parts(block, v0, spec=UNKNOWN)


def test_unknown_models_take_files_of_any_format():
    block = {"type": "file", "base64": "AAAA", "mime_type": "application/msword"}
    assert parts(block, spec=UNKNOWN) == [
        {"type": "file", "file": {"file_data": "data:application/msword;base64,AAAA"}}
    ]


CALLS = {
    "v1": {
        "type": "tool_call",
        "id": "i",
        "name": "f",
        "args": {"a": 1},
        "extras": {"signature": "s"},
    },
    "v1 invalid": {
        "type": "invalid_tool_call",
        "id": "i",
        "name": "f",
        "args": {"a": 1},
        "error": "e",
    },
    "openai": {"type": "function", "id": "i", "function": {"name": "f", "arguments": {"a": 1}}},
    "responses": {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "i",
        "name": "f",
        "arguments": {"a": 1},
    },
    "responses custom": {
        "type": "custom_tool_call",
        "id": "ct_1",
        "call_id": "i",
        "name": "f",
        "input": {"a": 1},
    },
    "anthropic": {
        "type": "tool_use",
        "id": "i",
        "name": "f",
        "input": {"a": 1},
        "caller": {"type": "direct"},
    },
    "anthropic streamed": {
        "type": "tool_use",
        "id": "i",
        "name": "f",
        "input": {},
        "partial_json": {"a": 1},
    },
    "gemini": {"type": "function_call", "id": "i", "name": "f", "args": {"a": 1}},
    "gemini raw": {"functionCall": {"id": "i", "name": "f", "args": {"a": 1}}},
    "converse": {"toolUse": {"toolUseId": "i", "name": "f", "input": {"a": 1}}},
}


@pytest.mark.parametrize("block", CALLS.values(), ids=CALLS)
def test_tool_call_blocks_are_parsed(block):
    assert parse_content([block]) == [ToolCallPart("i", "f", {"a": 1})]


def test_an_empty_tool_call_block_is_a_call():
    assert parse_content([{"type": "tool_call"}]) == [ToolCallPart("", "", None)]


RESULTS = {
    "anthropic": (
        {"type": "tool_result", "tool_use_id": "i", "content": "c"},
        ToolResultPart("i", "", "c"),
    ),
    "anthropic error": (
        {"type": "tool_result", "tool_use_id": "i", "content": "c", "is_error": True},
        ToolResultPart("i", "", "c", error=True),
    ),
    "responses": (
        {"type": "function_call_output", "call_id": "i", "output": "c"},
        ToolResultPart("i", "", "c"),
    ),
    "converse": (
        {"toolResult": {"toolUseId": "i", "content": "c", "status": "error"}},
        ToolResultPart("i", "", "c", error=True),
    ),
    "gemini": (
        {"functionResponse": {"name": "f", "response": {"c": 1}}},
        ToolResultPart("", "f", {"c": 1}),
    ),
    "nothing": ({"type": "tool_result"}, ToolResultPart("", "", "")),
}


@pytest.mark.parametrize(("block", "result"), RESULTS.values(), ids=RESULTS)
def test_tool_result_blocks_are_parsed(block, result):
    assert parse_content([block]) == [result]


REASONING = {
    "v1": ({"type": "reasoning", "reasoning": "hm", "index": "lc_rs_0"}, "hm"),
    "responses": ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}, ""),
    "anthropic": ({"type": "thinking", "thinking": "hm", "signature": "s"}, "hm"),
    "anthropic redacted": ({"type": "redacted_thinking", "data": "x"}, ""),
    "mistral": ({"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, ""),
    "converse": (
        {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "s"}},
        "",
    ),
}


@pytest.mark.parametrize(("block", "reasoning"), REASONING.values(), ids=REASONING)
def test_reasoning_blocks_are_parsed_and_not_sent(block, reasoning):
    assert parse_content([block]) == [Reasoning(reasoning)]
    assert parts("a", block, "b") == [text("a"), text("b")]


SERVER_TOOLS = [
    "server_tool_call",
    "server_tool_result",
    "server_tool_use",
    "web_search_tool_result",
    "mcp_tool_use",
    "web_search_call",
    "image_generation_call",
    "executable_code",
    "code_execution_result",
    "reference",
    "tool_call_chunk",
    "cachePoint",
]


@pytest.mark.parametrize("kind", SERVER_TOOLS)
def test_server_tool_blocks_are_left_out(kind):
    assert (
        parse_content(
            [
                {"type": kind, "id": "i", "data": "x"},
                {"type": "non_standard", "value": {"type": kind}},
            ]
        )
        == []
    )


def test_empty_content_has_no_parts():
    assert (
        parse_content(None) == parse_content("") == parse_content([]) == parse_content([""]) == []
    )
    assert parse_content([{"type": "text", "text": ""}, {"type": "text", "text": None}]) == []
    assert parse_content([{"type": "text-plain", "text": ""}]) == []


def test_user_content_has_its_simplest_form():
    assert user_content(parts()) == ""
    assert user_content(parts("a")) == "a"
    assert user_content(parts("a", "b")) == [text("a"), text("b")]
    assert user_content(parts({"type": "image", "url": URL})) == [image(URL)]


def test_system_content_joins_its_texts():
    blocks = [
        "You are ",
        {"type": "text", "text": "brief.", "cache_control": {}},
        {"type": "text", "text": "\n\nBe kind."},
    ]
    assert system_content(blocks, FIVE) == "You are brief.\n\nBe kind."
    assert system_content(None, FIVE) == system_content([], FIVE) == ""
    assert system_content("half \ud83d", FIVE) == "half \ufffd"
    assert system_content([{"type": "reasoning", "reasoning": "hm"}, "a"], FIVE) == "a"
    assert system_content([{"type": "refusal", "refusal": "no"}], FIVE) == "no"


TOOL_RESULTS = {
    "string": ("晴 22°", "晴 22°"),
    "empty": ([], ""),
    "nothing": (None, ""),
    "texts": ([{"type": "text", "text": "a", "id": "x"}, "b"], "a\nb"),
    "half a pair": ("\ud83d", "\ufffd"),
    "objects": ([{"t": 22, "city": "北京"}, {"t": 18}], '[{"t": 22, "city": "北京"}, {"t": 18}]'),
    "objects that look like blocks": (
        [{"type": "user", "id": 1}, {"type": "file", "name": "a.py"}],
        '[{"type": "user", "id": 1}, {"type": "file", "name": "a.py"}]',
    ),
    "an object among texts": (["a", {"t": 22}], 'a\n{"t": 22}'),
    "data like a block of a model": (
        ["a", {"type": "function", "name": "f"}, {"reasoning": "why"}],
        'a\n{"type": "function", "name": "f"}\n{"reasoning": "why"}',
    ),
    "an agent's reasoning and calls": (
        [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "x"},
            {"type": "reasoning", "reasoning": "hm"},
            {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
            {"type": "text", "text": "a"},
            {"type": "tool_use", "id": "i", "name": "f", "input": {}},
            {"type": "tool_call", "id": "i", "name": "f", "args": {}},
            {"type": "function_call", "call_id": "i", "name": "f", "arguments": "{}"},
            {"type": "server_tool_use", "id": "i", "name": "web_search", "input": {}},
            {"type": "web_search_tool_result", "tool_use_id": "i", "content": []},
            {"type": "non_standard", "value": {"type": "thinking", "thinking": "hm"}},
        ],
        "a",
    ),
    "data that core wraps": ([{"type": "non_standard", "value": {"t": 22}}], '[{"t": 22}]'),
    "only reasoning": ([{"type": "thinking", "thinking": "hm"}], ""),
    "an address of a file": (
        [{"type": "file", "url": "https://e.com/a", "path": "a"}],
        '[{"type": "file", "url": "https://e.com/a", "path": "a"}]',
    ),
    "what is no JSON": ([{"t": {1}, "u": float("nan")}], '[{"t": "{1}", "u": NaN}]'),
    "what json cannot write": ([{(1, 2): 3}], "[{(1, 2): 3}]"),
    "a custom tool's output": (
        [{"type": "custom_tool_call_output", "output": "a", "call_id": "i"}],
        "a",
    ),
    "converse json": ([{"json": {"a": 1}}], '{"a": 1}'),
    "a text document": ([{"type": "document", "source": {"type": "text", "data": "a"}}], "a"),
    "a result of Gemini": ({"result": 22}, '{"result": 22}'),
}


@pytest.mark.parametrize(("content", "expected_text"), TOOL_RESULTS.values(), ids=TOOL_RESULTS)
def test_tool_results_are_text_or_json(content, expected_text):
    lines, media = tool_content(content, TEXT_MODEL)
    assert text_content(lines, TEXT_MODEL, "\n") == expected_text
    assert media == []


def test_media_in_a_tool_result_are_separated_from_text():
    content = [
        "a chart:",
        {"type": "image", "base64": PNG},
        {"type": "file", "base64": PDF},
        "done",
    ]
    assert tool_content(content, VISION) == ([Text("a chart:"), Text("done")], [image(), file()])
    with pytest.raises(UnsupportedContentError, match=r"'image'.*on_unsupported_content"):
        tool_content(content, TEXT_MODEL)
    lines, media = tool_content(content, TEXT_MODEL, omit=True)
    assert [line.text for line in lines] == [
        "a chart:",
        "[image omitted]",
        "[file omitted]",
        "done",
    ]
    assert media == []


def test_json_text_writes_chinese_as_it_is():
    assert json_text({"城": "\ud83d\ude00\ud83d"}) == '{"城": "😀\ufffd"}'


@pytest.mark.parametrize("value", ["", "plain", "你好 😀", "\x00\u2028\u2029\ufeff\x85\x0b"])
def test_clean_text_returns_the_same_object_if_nothing_is_wrong(value):
    assert clean_text(value) is value


def _repaired(value: str) -> str:
    """The rule of the Unicode standard, character by character."""
    out, rest = [], list(value)
    while rest:
        first = rest.pop(0)
        if "\ud800" <= first <= "\udbff" and rest and "\udc00" <= rest[0] <= "\udfff":
            out.append(chr(0x10000 + ((ord(first) - 0xD800) << 10) + ord(rest.pop(0)) - 0xDC00))
        else:
            out.append("\ufffd" if "\ud800" <= first <= "\udfff" else first)
    return "".join(out)


@given(st.text(st.one_of(st.characters(categories=["Cs"]), st.characters(exclude_categories=()))))
def test_surrogates_are_joined_or_replaced(value):
    assert clean_text(value) == _repaired(value)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_text_round_trips(value):
    assert json.loads(json_text(value)) == value
