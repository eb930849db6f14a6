"""The encoding of every type of content block, in the forms of all providers."""

import base64
import copy

import pytest
from langchain_core.messages import AIMessage, ChatMessage, HumanMessage, SystemMessage, ToolMessage

from langchain_aimlernie._request.messages import encode_messages
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import find_model

TEXT_MODEL = find_model("baidu/ernie-4.5-21b-a3b")
VISION = find_model("baidu/ernie-4.5-vl-28b-a3b")
FIVE = find_model("baidu/ernie-5.0")
UNKNOWN = find_model("acme/own-model")


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PNG_BYTES, PDF_BYTES = b"\x89PNG\r\n\x1a\n\x00\x00\xfb\xff", b"%PDF-1.7\n%\xe2"
PNG, JPEG, GIF = b64(PNG_BYTES), b64(b"\xff\xd8\xff\xe0\x00\x10JFIF"), b64(b"GIF89a\x01\x00")
WEBP, WAV = b64(b"RIFF\x24\x00\x00\x00WEBPVP8 "), b64(b"RIFF\x24\x00\x00\x00WAVEfmt ")
PDF = b64(PDF_BYTES)
PNG_URL, PDF_URL = f"data:image/png;base64,{PNG}", f"data:application/pdf;base64,{PDF}"
URL = "https://example.com/a.png"
URL_SAFE_PNG = base64.urlsafe_b64encode(PNG_BYTES).decode().rstrip("=")


def image(url: str = PNG_URL, **more: str) -> dict:
    return {"type": "image_url", "image_url": {"url": url, **more}}


def file(name: str | None = None, url: str = PDF_URL) -> dict:
    return {"type": "file", "file": {"file_data": url, **({"filename": name} if name else {})}}


def audio(data: str, kind: str) -> dict:
    return {"type": "input_audio", "input_audio": {"data": data, "format": kind}}


def text(value: str) -> dict:
    return {"type": "text", "text": value}


def of(kind: str, **fields: object) -> dict:
    return {"type": kind, **fields}


def parts(*blocks: object, spec=VISION, **options) -> list[dict]:
    """Return the parts of a user message with these blocks."""
    message = HumanMessage.model_construct(content=[*blocks])
    content = encode_messages([message], spec, **options)[0]["content"]
    return content if isinstance(content, list) else [text(content)] if content else []


HI = [text("hi")]
TEXTS = {
    "bare": ("hi", "hi"),
    "v1": (of("text", text="hi", id="lc_1", index=0, annotations=[], extras={}), "hi"),
    "anthropic cached": (of("text", text="hi", cache_control={"type": "ephemeral"}, citations=[]), "hi"),
    "responses in": (of("input_text", text="hi"), "hi"),
    "responses out": (of("output_text", text="hi", annotations=[], logprobs=[]), "hi"),
    "gemini, converse": ({"text": "hi"}, "hi"),
    "gemini signed": ({"text": "hi", "thoughtSignature": "s"}, "hi"),
    "with a byte-order mark": (of("file", base64=b64("\ufeffhi".encode()), mime_type="text/csv"), "hi"),
    "converse guarded": (of("guard_content", text="hi"), "hi"),
    "converse guarded, of a response": (of("guard_content", guard_content=text("hi")), "hi"),
    "converse guarded, raw": ({"guardContent": {"text": {"text": "hi", "qualifiers": []}}}, "hi"),
    "converse search result": ({"searchResult": {"source": URL, "title": "T", "content": HI}}, f"T\n{URL}\nhi"),
    "json": (of("json", json={"ü": [1, None]}), '{"ü": [1, null]}'),
    "converse json": ({"json": {"a": 1}}, '{"a": 1}'),
    "refusal of a model, handed on": (of("refusal", refusal="no"), "no"),
    "non-standard": (of("non_standard", value=of("input_text", text="hi")), "hi"),
    "text-plain": (of("text-plain", text="hi", mime_type="text/plain"), "hi"),
    "text-plain with a title": (of("text-plain", text="hi", title="Greeting", context="a letter"),
                                "Greeting\na letter\nhi"),
    "text-plain in base64": (of("text-plain", base64=b64("你好".encode()), mime_type="text/plain"), "你好"),
    "v0 text file": (of("file", source_type="text", text="hi", mime_type="text/plain"), "hi"),
    "csv file": (of("file", base64=b64(b"a,b\n1,2"), mime_type="text/csv", filename="t.csv"), "t.csv\na,b\n1,2"),
    "json file": (of("file", base64=b64(b"{}"), mime_type="application/json; charset=utf-8"), "{}"),
    "yaml file": (of("file", base64=b64(b"a: 1"), mime_type="application/x-yaml"), "a: 1"),
    "csv by another type": (of("file", base64=b64(b"a,b"), mime_type="application/csv"), "a,b"),
    "file of the AI SDK": (of("file", data=b64(b"a"), mediaType="text/plain"), "a"),
    "typescript": (of("file", base64=b64(b"let a"), mime_type="application/x-typescript"), "let a"),
    "file without a type": (of("file", base64=b64(b"a: 1"), filename="a.YAML"), "a.YAML\na: 1"),
    "file of any type": (of("file", base64=b64(b"# A"), mime_type="application/octet-stream", filename="a.md"),
                         "a.md\n# A"),
    "linked data": (of("file", base64=b64(b"{}"), mime_type="application/ld+json"), "{}"),
    "text in another alphabet": (of("text-plain", base64=b64(b"\xff\xfea")), "\ufffd\ufffda"),
    "text in a declared encoding": (of("file", base64=b64("你好".encode("gbk")), mime_type="text/csv; charset=GBK"),
                                    "你好"),
    "data URL in a declared encoding": (of("file", url="data:text/plain;charset=latin-1;base64,aOk="), "hé"),
    "text in an unknown encoding": (of("file", base64=b64(b"hi"), mime_type="text/csv; charset=x-y"), "hi"),
    "text in UTF-16": (of("file", base64=b64("hé".encode("utf-16")), mime_type="text/plain"), "hé"),
    "percent-coded data URL": (of("file", url="data:text/plain,a%20b"), "a b"),
    "half a pair in a data URL": (of("file", base64="data:text/plain,\ud83d"), "\ufffd"),
    "anthropic text document": (of("document", source=of("text", media_type="text/plain", data="hi"), title="T"),
                                "T\nhi"),
    "anthropic content document": (of("document", source=of("content", content=HI)), "hi"),
    "converse citations": ({"citationsContent": {"content": [{"text": "hi"}], "citations": []}}, "hi"),
    "converse citations of a response": (of("citations_content", citations_content={"content": HI}), "hi"),
    "anthropic search result": (of("search_result", source=URL, title="T", content=HI), f"T\n{URL}\nhi"),
    "converse text document": ({"document": {"format": "txt", "name": "N", "source": {"text": "hi"}}}, "N\nhi"),
    "converse csv bytes": ({"document": {"format": "csv", "name": "N", "source": {"bytes": b"a,b"}}}, "N\na,b"),
    "converse content document": ({"document": {"format": "txt", "source": {"content": [{"text": "hi"}]}}}, "hi"),
}  # fmt: skip


@pytest.mark.parametrize(("block", "expected_text"), TEXTS.values(), ids=TEXTS)
def test_text_blocks_become_text_parts(block, expected_text):
    assert parts(block, spec=TEXT_MODEL) == [text(expected_text)]


IMAGES = {
    "v1 URL": (of("image", url=URL, mime_type="image/png", id="x"), image(URL)),
    "v1 base64": (of("image", base64=PNG, mime_type="image/png", index=1), image()),
    "v1 without a format": (of("image", base64=JPEG), image(f"data:image/jpeg;base64,{JPEG}")),
    "v1 with the wrong format": (of("image", base64=GIF, mime_type="image/png"), image(f"data:image/gif;base64,{GIF}")),
    "v1 WebP": (of("image", base64=WEBP), image(f"data:image/webp;base64,{WEBP}")),
    "v1 with a format that says little": (of("image", base64="AAAA", mime_type="application/octet-stream"),
        image("data:image/jpeg;base64,AAAA")),
    "v1 with a detail": (of("image", url=URL, extras={"detail": "low"}), image(URL, detail="low")),
    "v1 with a detail of another API": (of("image", url=URL, extras={"detail": "original"}), image(URL)),
    "v0 URL": (of("image", source_type="url", url=URL), image(URL)),
    "v0 base64": (of("image", source_type="base64", data=PNG, mime_type="image/jpg"), image()),
    "openai": (of("image_url", image_url={"url": URL, "detail": "high"}), image(URL, detail="high")),
    "openai bare string": (of("image_url", image_url=URL), image(URL)),
    "openai data URL": (of("image_url", image_url={"url": PNG_URL}), image()),
    "data URL in capitals": (of("image_url", image_url={"url": f"DATA:IMAGE/PNG;BASE64,{PNG}"}), image()),
    "bare base64 as address": (of("image_url", image_url=PNG), image()),
    "data URL as data": (of("image", base64=PNG_URL), image()),
    "data URL that does not say base64": (of("image", url=f"data:image/png,{PNG}"), image()),
    "bytes as address": (of("image_url", image_url={"url": PNG.encode()}), image()),
    "bytes of the AI SDK": (of("image", image=PNG_BYTES, mediaType="image/png"), image()),
    "base64 in bytes": (of("image", base64=PNG.encode()), image()),
    "base64 in lines": (of("image", base64=PNG[:8] + "\n" + PNG[8:] + "\r\n"), image()),
    "base64 of the web's alphabet": (of("image", base64=URL_SAFE_PNG), image()),
    "responses screenshot": (of("computer_screenshot", image_url=PNG_URL), image()),
    "responses": (of("input_image", image_url=URL, detail="auto"), image(URL, detail="auto")),
    "anthropic base64": (of("image", source=of("base64", media_type="image/png", data=PNG)), image()),
    "anthropic URL": (of("image", source=of("url", url=URL)), image(URL)),
    "anthropic in non-standard": (of("non_standard", value=of("image", source=of("url", url=URL))), image(URL)),
    "gemini media": (of("media", mime_type="image/png", data=PNG), image()),
    "gemini media in bytes": (of("media", mime_type="image/png", data=PNG_BYTES), image()),
    "gemini inline with more": ({"video_metadata": {}, "inline_data": {"mime_type": "image/png", "data": PNG}}, image()),
    "gemini inline": ({"inline_data": {"mime_type": "image/png", "data": PNG}}, image()),
    "gemini address": (of("media", mime_type="image/png", file_uri=URL), image(URL)),
    "converse": ({"image": {"format": "png", "source": {"bytes": PNG_BYTES}}}, image()),
    "converse typed": (of("image", image={"format": "png", "source": {"bytes": PNG_BYTES}}), image()),
    "v1 file that is an image": (of("file", base64=PNG, mime_type="image/png"), image()),
    "address that is no URI yet": (of("image", url=" HTTPS://例.cn/图 1.png?a=1&b=%20#x "),
                                   image("https://%E4%BE%8B.cn/%E5%9B%BE%201.png?a=1&b=%20#x")),
}  # fmt: skip
FILES = {
    "v1": (of("file", base64=PDF, mime_type="application/pdf", filename="a.pdf"), file("a.pdf")),
    "v1 named in extras": (of("file", base64=PDF, extras={"filename": "a.pdf"}), file("a.pdf")),
    "v1 without a name": (of("file", base64=PDF, mime_type="application/pdf"), file()),
    "v1 data URL": (of("file", url=PDF_URL), file()),
    "unknown bytes": (of("file", base64="AAAA"), file(url="data:application/pdf;base64,AAAA")),
    "v0": (of("file", source_type="base64", data=PDF, mime_type="application/pdf", metadata={"filename": "a.pdf"}),
           file("a.pdf")),
    "openai": (of("file", file={"file_data": PDF_URL, "filename": "a.pdf"}), file("a.pdf")),
    "openai bare base64": (of("file", file={"file_data": PDF, "filename": "a.pdf"}), file("a.pdf")),
    "openai image_url with a PDF": (of("image_url", image_url={"url": PDF_URL}), file()),
    "responses": (of("input_file", file_data=PDF_URL, filename="a.pdf"), file("a.pdf")),
    "anthropic": (of("document", source=of("base64", media_type="application/pdf", data=PDF), title="a.pdf",
                     citations={"enabled": True}), file("a.pdf")),
    "gemini": (of("media", mime_type="application/pdf", data=PDF), file()),
    "converse": ({"document": {"format": "pdf", "name": "a", "source": {"bytes": PDF_BYTES}}}, file("a")),
    "half a surrogate pair in the name": (of("file", base64=PDF, filename="\ud83d.pdf"), file("\ufffd.pdf")),
}  # fmt: skip


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
    "with a time": ({"cache_control": {**EPHEMERAL, "ttl": "1h"}}, {**EPHEMERAL, "ttl": "1h"}),
    "in the extras of v1": ({"extras": {"cache_control": EPHEMERAL}}, EPHEMERAL),
    "with an unknown time": ({"cache_control": {**EPHEMERAL, "ttl": "1d"}}, EPHEMERAL),
    "of an unknown kind": ({"cache_control": {"type": "persistent"}}, None),
    "that is no object": ({"cache_control": True}, None),
}
CACHEABLE = [
    (of("text", text="hi"), text("hi")),
    (of("text-plain", text="hi"), text("hi")),
    (of("image", base64=PNG), image()),
    (of("image", url=URL), image(URL)),
    (of("file", base64=PDF), file()),
]


@pytest.mark.parametrize(("keys", "expected"), CACHE_CONTROLS.values(), ids=CACHE_CONTROLS)
def test_cache_control_is_sent_to_ernie_5_0_only(keys, expected):
    for block, part in CACHEABLE:
        expected_part = {**part, "cache_control": expected} if expected else part
        assert parts(block | keys, spec=FIVE) == [expected_part]
        for spec in (VISION, UNKNOWN):
            assert parts(block | keys, spec=spec) == [part]


TIFF, BY_ID = of("image", base64="AAAA", mime_type="image/tiff"), of("image", file_id="file-1")


def test_invalid_blocks_are_never_omitted():
    for block in (of("hologram"), of("image", base64="@@@@")):
        with pytest.raises(BadRequestError):
            parts(block, spec=TEXT_MODEL, omit_unsupported=True)


def test_self_hosted_models_take_what_the_weights_support():
    text_model, vision = TEXT_MODEL.on_other_server(), VISION.on_other_server()
    sent = parts(of("video", url=URL), TIFF, of("file", file_id="file-1"), spec=vision)
    assert [part["type"] for part in sent] == ["video_url", "image_url", "file"]
    for spec, block in ((text_model, of("image", url=URL)), (vision, {"audio": WAV})):
        with pytest.raises(BadRequestError, match="does not support"):
            parts(block, spec=spec)


MP3, MP4 = {"url": "https://e.com/a.mp3"}, {"url": "https://e.com/a.mp4"}
ABOUT = {"title": "T", "context": "a letter"}
DOCUMENTS = {
    "anthropic PDF": (of("document", source=of("base64", media_type="application/pdf", data=PDF), **ABOUT),
                      [text("a letter"), file("T")]),
    "v1 PDF": (of("file", base64=PDF, extras=ABOUT), [text("a letter"), file("T")]),
    "anthropic blocks": (of("document", source=of("content", content=[*HI, of("image", base64=PNG)]), **ABOUT),
                         [text("T\na letter"), text("hi"), image()]),
    "anthropic text as content": (of("document", source=of("content", content="hi"), title="T"), [text("T"), text("hi")]),
    "converse content": ({"document": {"name": "N", "source": {"content": [{"text": "hi"}]}}}, [text("N"), text("hi")]),
    "image of a model, handed on": (of("image_generation_call", id="ig_1", result=PNG), [image()]),
}  # fmt: skip


@pytest.mark.parametrize(("block", "expected"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_a_block_says_about_its_content_is_sent(block, expected):
    assert parts(block) == expected


AUDIO_AND_VIDEO = [
    (of("audio", base64=WAV, mime_type="audio/wav"), audio(WAV, "wav")),
    (of("audio", base64="AAAA", mime_type="audio/mpeg"), audio("AAAA", "mp3")),
    (audio(WAV, "wav"), audio(WAV, "wav")),
    (of("audio", **MP3), of("audio_url", audio_url=MP3)),
    (of("media", mime_type="audio/mp3", data="AAAA"), audio("AAAA", "mp3")),
    (of("video", **MP4), of("video_url", video_url=MP4)),
    (of("video_url", video_url=MP4), of("video_url", video_url=MP4)),
    ({"video": {"format": "mp4", "source": {"bytes": b"\x00\x00\x00"}}},
     of("video_url", video_url={"url": "data:video/mp4;base64,AAAA"})),
    (of("file", base64="AAAA", mime_type="video/webm"),
     of("video_url", video_url={"url": "data:video/webm;base64,AAAA"})),
]  # fmt: skip


@pytest.mark.parametrize(("block", "part"), AUDIO_AND_VIDEO)
def test_audio_and_video_are_for_unknown_models_only(block, part):
    with pytest.raises(BadRequestError, match=r"No ERNIE model of the API accepts (audio|video)"):
        parts(block)
    assert parts(block, spec=UNKNOWN) == [part]


ONLY_ID = "has only a file id, which cannot be sent. Send the data in base64"
BY_URL = {"url": "https://e.com/a.pdf"}
UNSUPPORTED = {
    "image by id": (BY_ID, f"'image' {ONLY_ID}"),
    "v0 image by id": (of("image", source_type="id", id="file-1"), f"'image' {ONLY_ID}"),
    "responses image by id": (of("input_image", file_id="file-1", detail="auto"), f"'input_image' {ONLY_ID}"),
    "anthropic image by id": (of("image", source=of("file", file_id="file-1")), f"'image' {ONLY_ID}"),
    "audio by id": (of("audio", file_id="file-1"), f"'audio' {ONLY_ID}"),
    "image in a cloud": (of("media", mime_type="image/png", file_uri="gs://b/a.png"), "'media'.*http"),
    "image on this disk": (of("image_url", image_url="file:///a.png"), "'image_url'.*http"),
    "image without a host": (of("image", url="https:///a.png"), "'image'.*http"),
    "image that is no base64": (of("image", base64="@@@@"), "not base64"),
    "image that is Python's bytes": (of("image", base64=f"b'{PNG}'"), r"not base64.*\.decode\(\)"),
    "image of one letter too many": (of("image", base64=PNG.rstrip("=")[:16] + "A"), "not base64"),
    "image in letters of no alphabet": (of("image", base64="图图图图"), "not base64"),
    "image of no format here": (TIFF, r"\(image/tiff\).*PNG"),
    "empty image": (of("image"), "neither data, nor a URL"),
    "image whose text is none": (of("image", text=5), "neither data, nor a URL"),
    "file by address": (of("file", **BY_URL), "Download the file"),
    "anthropic document by address": (of("document", source=of("url", **BY_URL)), "Download the file"),
    "perplexity file by address": (of("file_url", file_url={"url": BY_URL["url"]}), "Download the file"),
    "mistral document by address": (of("document_url", document_url=BY_URL["url"]), "Download the file"),
    "gemini file by address": (of("file_data", file_uri="https://e.com/a"), "Download the file"),
    "file by id": (of("file", file={"file_id": "file-1"}), r"\(file_id\).*Send the file itself"),
    "word file": (of("file", base64="AAAA", mime_type="application/msword"), r"\(application/msword\).*PDF"),
    "word file without a type": (of("file", base64="AAAA", filename="a.docx"), r"\(application/docx\).*PDF"),
    "converse word file": ({"document": {"format": "docx", "source": {"bytes": b"PK"}}}, r"\(application/docx\).*PDF"),
    "text by address": (of("text-plain", url="https://e.com/a.txt", mime_type="text/plain"), "Send the text itself"),
    "unknown type": (of("hologram", data="x"), "'hologram' is not supported"),
    "no type": ({"a": 1, "b": 2}, "type None is not supported"),
    "type that is no string": (of(["text"], text="x"), "is not supported"),
    "text that is no string": (of("text", text=5), "'text' has no string as its text"),
    "text without text": (of("text"), "'text' has no string as its text"),
    "json without json": (of("json"), "'json' is not supported"),
    "search result without content": (of("search_result"), "'search_result' is not supported"),
    "empty non-standard": (of("non_standard"), "is not supported"),
    "no block": (7, "'int' is not supported"),
}  # fmt: skip


@pytest.mark.parametrize(("block", "why"), UNSUPPORTED.values(), ids=UNSUPPORTED)
def test_unsupported_blocks_raise_with_a_hint(block, why):
    with pytest.raises(BadRequestError, match=why) as caught:
        parts("look:", block)
    assert str(caught.value).endswith(".")


def test_file_ids_are_for_ernie_5_0_and_unknown_models():
    keys = (
        {"file_id": "file-1", "filename": "a.txt"},
        {"source_type": "id", "id": "file-1"},
        {"fileId": "file-1"},
    )
    blocks = [*(of("file", **each) for each in keys), of("container_upload", file_id="file-1")]
    part = of("file", file={"file_id": "file-1"})
    named = of("file", file={"file_id": "file-1", "filename": "a.txt"})
    for spec in (FIVE, UNKNOWN):
        assert parts(*blocks, spec=spec) == [named, part, part, part]


def test_unknown_models_take_files_of_any_format():
    block = of("file", base64="AAAA", mime_type="application/msword")
    assert parts(block, spec=UNKNOWN) == [file(url="data:application/msword;base64,AAAA")]


CALL = {"id": "i", "name": "f"}
CALLS = {
    "v1": of("tool_call", **CALL, args={"a": 1}, extras={"signature": "s"}),
    "v1 invalid": of("invalid_tool_call", **CALL, args={"a": 1}, error="e"),
    "openai": of("function", id="i", function={"name": "f", "arguments": {"a": 1}}),
    "responses": of("function_call", id="fc_1", call_id="i", name="f", arguments={"a": 1}),
    "responses custom": of("custom_tool_call", id="ct_1", call_id="i", name="f", input={"a": 1}),
    "anthropic": of("tool_use", **CALL, input={"a": 1}, caller={"type": "direct"}),
    "anthropic streamed": of("tool_use", **CALL, input={}, partial_json={"a": 1}),
    "gemini": of("function_call", **CALL, args={"a": 1}),
    "gemini raw": {"functionCall": {**CALL, "args": {"a": 1}}},
    "gemini signed": {"thoughtSignature": "s", "functionCall": {**CALL, "args": {"a": 1}}},
    "converse": {"toolUse": {"toolUseId": "i", "name": "f", "input": {"a": 1}}},
}


@pytest.mark.parametrize("block", [*CALLS.values(), of("tool_call")], ids=[*CALLS, "nothing"])
def test_tool_calls_are_read_from_blocks(block):
    (message,) = encode_messages([ChatMessage([block], role="assistant")], TEXT_MODEL)
    (call,) = message["tool_calls"]
    expected = ("f", '{"a": 1}') if block in CALLS.values() else ("unknown", "{}")
    assert (call["function"]["name"], call["function"]["arguments"]) == expected
    assert call["id"] == "i" or (block == of("tool_call") and call["id"])


RESULT = of("tool_result", tool_use_id="i", content="c")
RESULTS = {
    "anthropic": (RESULT, "c"),
    "anthropic error": ({**RESULT, "is_error": True}, "Error: c"),
    "responses": (of("function_call_output", call_id="i", output="c"), "c"),
    "converse": ({"toolResult": {"toolUseId": "i", "content": "c", "status": "error"}}, "Error: c"),
    "gemini": ({"functionResponse": {"name": "f", "response": {"c": 1}}}, '{"c": 1}'),
}
ANSWERED = AIMessage("", tool_calls=[{**CALL, "args": {}}])


@pytest.mark.parametrize(("block", "content"), RESULTS.values(), ids=RESULTS)
def test_tool_results_are_read_from_blocks(block, content):
    _, result = encode_messages([ANSWERED, HumanMessage([block])], TEXT_MODEL)
    assert (result["role"], result["tool_call_id"], result["content"]) == ("tool", "i", content)


def test_a_tool_result_without_anything_is_text():
    assert parts(of("tool_result")) == [text("[Result of the tool unknown]\n")]


REASONING = {
    "v1": (of("reasoning", reasoning="hm", index="lc_rs_0"), "hm"),
    "responses": (of("reasoning", id="rs_1", summary=[], encrypted_content="x"), None),
    "anthropic": (of("thinking", thinking="hm", signature="s"), "hm"),
    "gemini": ({"text": "hm", "thought": True}, "hm"),
    "gemini typed": (of("text", text="hm", thought=True, thoughtSignature="s"), "hm"),
    "anthropic redacted": (of("redacted_thinking", data="x"), None),
    "mistral": (of("thinking", thinking=[text("hm")]), None),
    "converse": (of("reasoning_content", reasoning_content={"text": "hm", "signature": "s"}), None),
}


@pytest.mark.parametrize(("block", "reasoning"), REASONING.values(), ids=REASONING)
def test_reasoning_is_read_from_blocks_and_not_sent_unasked(block, reasoning):
    assert parts("a", block, "b") == [text("a"), text("b")]
    message = AIMessage([block, "a"])
    (replayed,) = encode_messages([message], TEXT_MODEL, replay_reasoning=True)
    assert (replayed["content"], replayed.get("reasoning_content")) == ("a", reasoning)


NO_CONTENT = [
    *("server_tool_call", "server_tool_result", "server_tool_use", "web_search_tool_result"),
    *("mcp_tool_use", "web_search_call", "image_generation_call", "executable_code"),
    *("code_execution_result", "reference", "tool_call_chunk", "cachePoint"),
    *("shell_call", "apply_patch_call", "tool_search_output", "advisor_tool_result"),
    *("server_tool_call_chunk", "web_fetch_tool_result", "tool_search_tool_result"),
    *("code_execution_tool_result", "bash_code_execution_tool_result", "mcp_tool_result"),
    *("text_editor_code_execution_tool_result", "file_search_call", "code_interpreter_call"),
    *("computer_call", "local_shell_call", "mcp_call", "mcp_list_tools", "shell_call_output"),
    *("apply_patch_call_output", "tool_search_call", "mcp_approval_request", "executableCode"),
    *("codeExecutionResult", "function_call_signature", "compaction", "mcp_approval_response"),
    *("tool_addition", "tool_removal", "additional_tools", "mcp_tool_listing", "fallback"),
]


def test_server_tool_blocks_and_empty_text_are_left_out():
    for kind in NO_CONTENT:
        assert parts(of(kind, id="i", data="x"), of("non_standard", value=of(kind))) == [], kind
    for block in ("", of("text", text=""), of("text", text=None), of("text-plain", text="")):
        assert parts(block) == []


@pytest.mark.parametrize(
    ("content", "expected_text"),
    [
        (["You are ", of("text", text="brief.", cache_control={}), text("\n\nBe kind.")],
         "You are brief.\n\nBe kind."),
        ([], ""),
        ("half \ud83d", "half \ufffd"),
        ([of("reasoning", reasoning="hm"), "a"], "a"),
        ([of("refusal", refusal="no")], "no"),
    ],
)  # fmt: skip
def test_instructions_join_their_texts(content, expected_text):
    assert encode_messages([SystemMessage(content)], FIVE)[0]["content"] == expected_text


TOOL_RESULTS = {
    "string": ("晴 22°", "晴 22°"),
    "empty": ([], ""),
    "texts": ([of("text", text="a", id="x"), "b"], "a\nb"),
    "half a pair": ("\ud83d", "\ufffd"),
    "objects": ([{"t": 22, "city": "北京"}, {"t": 18}], '[{"t": 22, "city": "北京"}, {"t": 18}]'),
    "objects that look like blocks": ([of("resource", id=1), of("file", name="a.py")],
        '[{"type": "resource", "id": 1}, {"type": "file", "name": "a.py"}]'),
    "an object with a text": ([{"text": "a", "score": 1}], '[{"text": "a", "score": 1}]'),
    "objects like MCP's resources": ([{"resource": {"text": "a", "id": 1}}, of("resource", text="a")],
        '[{"resource": {"text": "a", "id": 1}}, {"type": "resource", "text": "a"}]'),
    "an object among texts": (["a", {"t": 22}], 'a\n{"t": 22}'),
    "data like a block of a model": (["a", of("function", name="f"), {"reasoning": "why"}],
        'a\n{"type": "function", "name": "f"}\n{"reasoning": "why"}'),
    "an agent's reasoning and calls": (
        [
            *(of("thinking", thinking="hm", signature="s"), of("redacted_thinking", data="x")),
            *(block for block, _ in REASONING.values() if block.get("type") == "reasoning"),
            *(text("a"), of("tool_use", **CALL, input={}), of("tool_call", **CALL, args={})),
            of("function_call", call_id="i", name="f", arguments="{}"),
            of("server_tool_use", id="i", name="web_search", input={}),
            of("web_search_tool_result", tool_use_id="i", content=[]),
            of("non_standard", value=of("thinking", thinking="hm")),
        ],
        "a",
    ),
    "data that core wraps": ([of("non_standard", value={"t": 22})], '[{"t": 22}]'),
    "only reasoning": ([of("thinking", thinking="hm")], ""),
    "an address of a file": ([of("file", url="https://e.com/a", path="a")],
        '[{"type": "file", "url": "https://e.com/a", "path": "a"}]'),
    "what is no JSON": ([{"t": {1}, "u": float("nan")}], '[{"t": "{1}", "u": NaN}]'),
    "what json cannot write": ([{(1, 2): 3}], "[{(1, 2): 3}]"),
    "a custom tool's output": ([of("custom_tool_call_output", output="a", call_id="i")], "a"),
    "converse json": ([{"json": {"a": 1}}], '{"a": 1}'),
    "a text document": ([of("document", source=of("text", data="a"))], "a"),
}  # fmt: skip


@pytest.mark.parametrize(("content", "expected_text"), TOOL_RESULTS.values(), ids=TOOL_RESULTS)
def test_tool_results_are_text_or_json(content, expected_text):
    history = [ANSWERED, ToolMessage(content, tool_call_id="i")]
    _, result = encode_messages(history, TEXT_MODEL)
    assert result["content"] == expected_text
