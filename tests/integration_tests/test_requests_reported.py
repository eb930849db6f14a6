"""Request bodies that users of comparable packages have reported as wrong."""

import copy
import json
import pickle
import re
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumpd, dumps
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.messages.tool import tool_call
from langchain_core.prompt_values import ImagePromptValue
from langchain_core.tools import StructuredTool, tool
from pydantic import TypeAdapter

from langchain_aimlernie.errors import BadRequestError
from tests.support.agents import FIVE, PLAIN, THINKING, VISION, weather
from tests.support.modes import MODES, ask, chunks_of

PNG = "iVBORw0KGgoA"
IMAGE = {"type": "image", "base64": PNG, "mime_type": "image/png"}
PDF = {"type": "file", "base64": "JVBERi0x", "mime_type": "application/pdf"}
PDF_URL = "data:application/pdf;base64,JVBERi0x"
AUDIO = {"type": "audio", "base64": "AAAA", "mime_type": "audio/wav"}
CACHE_CONTROL = {"type": "ephemeral"}
SENT = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}]


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def text(value, **more):
    return {"type": "text", "text": value, **more}


def call(name="f", call_id="c1", **args):
    return tool_call(name=name, args=args, id=call_id)


# Tools in other formats: the tables are in the unit tests

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
FUNCTION = {"name": "weather", "description": "Tell.", "parameters": PARAMETERS}
ANTHROPIC = {"name": "weather", "description": "Tell.", "input_schema": PARAMETERS}
NAMED = {"type": "function", "function": {"name": "weather"}}
SERVER_TOOL = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}


def test_tools_and_choice_of_other_providers_are_sent(model, ernie_server):
    choice = {"type": "allowed_tools", "mode": "required", "tools": [NAMED]}
    options = {"tools": [ANTHROPIC, now], "tool_choice": choice}
    for call_it in (model().bind_tools(**options).invoke, partial(model().invoke, **options)):
        call_it("hi")
        body = ernie_server.last_request.body
        assert body["tools"] == [{"type": "function", "function": FUNCTION}]
        assert body["tool_choice"] == "required"
        assert "parallel_tool_calls" not in body
    model().bind_tools({"now": now}.values()).invoke("hi")
    assert [tool["function"]["name"] for tool in ernie_server.last_request.body["tools"]] == ["now"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tools": 5}, "must be a list, such as [my_tool]; got 5"),
        ({"tools": "now"}, "must be a list, such as [my_tool]; got 'now'"),
        ({"tools": now}, "must be a list"),
        ({"tools": ANTHROPIC}, "must be a list"),
        ({"tools": [5]}, "5 is not a tool. Pass a LangChain tool, a function"),
        ({"tools": [None]}, "None is not a tool"),
        ({"tools": ["now"]}, "'now' is not a tool"),
        ({"tools": [{"city": "Paris"}]}, "{'city': 'Paris'} is not a tool"),
        ({"tools": [weather, SERVER_TOOL]}, "web_search_20250305"),
        ({"tools": [weather], "tool_choice": 5}, "Use 'auto', 'none', 'any', the name of a tool"),
    ],
)
def test_what_is_no_tool_or_choice_is_named(model, ernie_server, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        model().bind_tools(**options)
    with pytest.raises(BadRequestError, match=re.escape(message)):
        model().invoke("hi", **options)
    assert ernie_server.requests == []


async def test_null_for_a_keyword_of_an_mcp_schema_is_not_sent(model, ernie_server):
    inner = {"type": "string", "default": None, "description": None, "enum": None}
    given = {
        "type": "object",
        "properties": {"a": inner, "b": {"const": None}},
        "required": None,
        "$defs": None,
    }
    bare = {"type": "object", "properties": None, "required": None, "additionalProperties": None}
    kept = {"properties": {"a": {"type": "string", "default": None}, "b": {"const": None}}}
    for schema, sent in (
        (given, {"type": "object"} | kept),
        (bare, {"type": "object", "properties": {}}),
    ):
        made = StructuredTool(name="f", description="d", args_schema=schema, func=len)
        as_dicts = [
            {"name": "f", "description": "d", key: schema} for key in ("inputSchema", "parameters")
        ]
        for tool_ in (made, *as_dicts):
            for mode in MODES:
                await ask(model().bind_tools([tool_]), "hi", mode)
                (sent_tool,) = ernie_server.last_request.body["tools"]
                assert sent_tool["function"] == {
                    "name": "f",
                    "description": "d",
                    "parameters": sent,
                }
    assert ernie_server.violations == []
    ernie_server.reply('{"a": "b"}')
    assert model().with_structured_output(given | {"title": "A"}, method="json_schema").invoke("hi")


NODE = {
    "title": "Node",
    "type": "object",
    "properties": {"next": {"$ref": "#/$defs/Node"}, "type": {"type": "string"}},
}
DEFS = {"$defs": {"Node": NODE}}
GEMINI = {
    "type": "OBJECT",
    "properties": {"type": {"type": "STRING", "enum": ["A"]}, "n": {"type": "INTEGER"}},
}
JSON_SCHEMA = {
    "type": "object",
    "properties": {"type": {"type": "string", "enum": ["A"]}, "n": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ({"$ref": "#/$defs/Node", **DEFS}, NODE | DEFS),  # pydantic's of a class within itself
        ({"$ref": "#/definitions/A", "definitions": {"A": JSON_SCHEMA}}, JSON_SCHEMA | {"definitions": {"A": JSON_SCHEMA}}),  # zod's
        ({"type": "object", "$ref": "#/$defs/Node", **DEFS}, NODE | DEFS),
        (GEMINI, JSON_SCHEMA),
    ],
)  # fmt: skip
async def test_schemas_of_other_programs_are_sent_as_servers_read_them(
    model, ernie_server, given, sent
):
    wrapped = {"type": "json_schema", "json_schema": {"name": "Node", "schema": given}}
    untitled = {key: value for key, value in sent.items() if key != "title"}
    for mode in MODES:
        await ask(model(), "hi", mode, response_format=wrapped)
        body = ernie_server.last_request.body["response_format"]
        assert body["json_schema"] == {"name": "Node", "schema": sent}
        await ask(model(), "hi", mode, response_format=given)
        body = ernie_server.last_request.body["response_format"]
        assert body["json_schema"] == {"name": sent.get("title", "Answer"), "schema": untitled}
        await ask(model().bind_tools([{"name": "f", "inputSchema": given}]), "hi", mode)
        (function,) = ernie_server.last_request.body["tools"]
        assert function["function"]["parameters"] == sent
    ernie_server.reply('{"type": "A"}', times=2)
    for schema in (given, wrapped):
        chain = model().with_structured_output(schema, method="json_schema")
        assert chain.invoke("hi") == {"type": "A"}


@pytest.mark.parametrize("own", [{}, {"parallel_tool_calls": True}])
def test_disable_parallel_tool_use_of_anthropic(model, ernie_server, own):
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    options = {"tools": [weather], "tool_choice": choice, **own}
    for call_it in (model().bind_tools(**options).invoke, partial(model().invoke, **options)):
        call_it("hi")
        assert ernie_server.last_request.body["parallel_tool_calls"] is bool(own)


# Blocks in a `ToolMessage`, and media that the model does not support


def history(*blocks):
    """A thread whose user, instructions or tool showed something."""
    turn = AIMessage("", tool_calls=[call()])
    result = ToolMessage([text("a"), *blocks], tool_call_id="c1")
    return {
        "user": [HumanMessage([text("a"), *blocks])],
        "instructions": [SystemMessage([text("a"), *blocks]), HumanMessage("b")],
        "tool": [HumanMessage("b"), turn, result],
        "user in Anthropic's form": [
            HumanMessage("b"),
            turn,
            HumanMessage(
                [{"type": "tool_result", "tool_use_id": "c1", "content": [text("a"), *blocks]}]
            ),
        ],
    }


PLACES = pytest.mark.parametrize("place", history())
MEDIA = pytest.mark.parametrize(
    ("block", "name"),
    [
        (IMAGE, "image"),
        (PDF, "file"),
        (AUDIO, "audio"),
        ({"type": "image", "base64": PNG}, "image"),
        ({"type": "image", "file_id": "file-1"}, "image"),
        ({"type": "image", "base64": "AAAA", "mime_type": "image/tiff"}, "image"),
        ({"type": "video", "url": "https://e.com/a.mp4"}, "video"),
    ],
    ids=["image", "file", "audio", "no format", "by id", "unusual format", "video"],
)


@PLACES
@MEDIA
def test_unsupported_media_raise_or_are_omitted(model, ernie_server, place, block, name):
    messages = history(block)[place]
    with pytest.raises(BadRequestError) as caught:
        model().invoke(messages)
    for part in (f"'{name}'", 'on_unsupported_content="omit"', f"'[{name} omitted]'"):
        assert part in str(caught.value)
    assert ernie_server.requests == []
    model(on_unsupported_content="omit").invoke(messages)
    assert f"[{name} omitted]" in str(ernie_server.last_request.body["messages"])


@PLACES
def test_unsupported_media_are_omitted_on_request(model, ernie_server, place):
    model(on_unsupported_content="omit").invoke(history(IMAGE, PDF, AUDIO)[place])
    sent = [each["content"] for each in ernie_server.last_request.body["messages"]]
    names = ("image", "file", "audio")
    if place == "user":
        assert sent == [[text("a"), *(text(f"[{name} omitted]") for name in names)]]
    elif place == "instructions":
        assert sent == ["a[image omitted][file omitted][audio omitted]", "b"]
    else:
        assert sent[-1] == "a\n[image omitted]\n[file omitted]\n[audio omitted]"
    assert ernie_server.violations == []


def test_media_at_an_address_that_the_api_cannot_read_are_omitted(model, ernie_server):
    blocks = [
        {"type": "file", "url": "https://e.com/a.pdf"},
        {"type": "file", "file": {"file_data": "https://e.com/a.pdf"}},  # of OpenRouter
        {"type": "file", "file": {"file_id": "https://e.com/a.pdf"}},  # of LiteLLM
        {"type": "media", "mime_type": "image/png", "file_uri": "gs://b/a.png"},
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/a.png"}}}},
        {"type": "text-plain", "url": "https://e.com/a.txt"},
    ]
    for name in (PLAIN, VISION):
        model(model=name, on_unsupported_content="omit").invoke([HumanMessage(blocks)])
        sent = ernie_server.last_request.body["messages"][0]["content"]
        kinds = ("file", "file", "file", "image", "image", "file")
        assert sent == [text(f"[{kind} omitted]") for kind in kinds]


def test_on_unsupported_content_can_be_set_per_call_bound_and_changed(model, ernie_server):
    messages = history(IMAGE)["tool"]
    llm, omit = model(), {"on_unsupported_content": "omit"}
    llm.invoke(messages, **omit)
    llm.bind(**omit).invoke(messages)
    llm.model_copy(update=omit).invoke(messages)
    assert len(ernie_server.requests) == 3
    llm = model(model=VISION, **omit)  # what is supported stays
    llm.invoke(history(IMAGE, AUDIO)["tool"])
    *_, result, shown = ernie_server.last_request.body["messages"]
    assert result["content"].splitlines()[:2] == ["a", "[audio omitted]"]
    assert [part["type"] for part in shown["content"]] == ["text", "image_url"]


REFERENCE = {"type": "tool_reference", "name": "f"}
CHANGES = [
    *({"type": kind, "tool": REFERENCE} for kind in ("tool_addition", "tool_removal")),
    *({"type": "additional_tools", "tool": REFERENCE}, {"toolAddition": {"tool": REFERENCE}}),
    {"type": "configuration_update", "reasoning": {"effort": "high"}},
]


@pytest.mark.parametrize("block", CHANGES)
async def test_changes_of_another_providers_tools_and_settings_are_left_out(
    model, ernie_server, block, mode
):
    wrapped = {"type": "non_standard", "value": block}
    turn = [HumanMessage([block, "a"]), SystemMessage([block]), AIMessage("b")]
    await chunks_of(
        model(), [*turn, SystemMessage([wrapped, "Be brief."]), HumanMessage("c")], mode
    )
    sent = [each["content"] for each in ernie_server.last_request.body["messages"]]
    assert sent == ["a", "b", "Be brief.", "c"]


FOLLOWS = "[What this result shows follows in a user message.]"


def resource(**keys):
    return {"type": "resource", "resource": {"uri": "file:///a", **keys}}


SCREENSHOT = {"type": "computer_screenshot", "image_url": SENT[0]["image_url"]["url"]}
SCREENSHOT_OUTPUT = {"type": "computer_call_output", "call_id": "c1", "output": SCREENSHOT}
RICH_RESULTS = {
    "MCP's text": (resource(mimeType="text/markdown", text="# hi"), "# hi", []),
    "MCP's file of text": (resource(mimeType="text/csv", blob="YSxi"), "a,b", []),
    "MCP's image": (resource(mimeType="image/png", blob=PNG), FOLLOWS, SENT),
    "OpenAI's screenshot": (SCREENSHOT_OUTPUT, FOLLOWS, SENT),
    "in core's form": ({"type": "non_standard", "value": SCREENSHOT_OUTPUT}, FOLLOWS, SENT),
}


@pytest.mark.parametrize("case", RICH_RESULTS.values(), ids=RICH_RESULTS)
async def test_what_other_providers_wrap_in_a_result_is_sent(model, ernie_server, case, mode):
    block, said, shown = case
    await chunks_of(model(model=VISION), history(block)["tool"], mode)
    result, *more = ernie_server.last_request.body["messages"][2:]
    assert result["content"] == f"a\n{said}"
    assert [part for message in more for part in message["content"][1:]] == shown


# `cache_control`


def test_cache_control_of_tools(model, ernie_server):
    cached_tool = {**ANTHROPIC, "cache_control": CACHE_CONTROL}
    encoded = {"type": "function", "function": FUNCTION}
    model(model=FIVE).bind_tools([cached_tool, now]).invoke("hi")
    first, second = ernie_server.last_request.body["tools"]
    assert first == {**encoded, "cache_control": CACHE_CONTROL}
    assert "cache_control" not in second
    model().bind_tools([cached_tool]).invoke("hi")
    assert ernie_server.last_request.body["tools"] == [encoded]


# Blocks that core itself fails on

INCOMPLETE = {
    "v0 text": ({"type": "file", "source_type": "text", "text": "hi"}, "hi"),
    "v0 text under its old key": ({"type": "file", "source_type": "text", "url": "hi"}, "hi"),
    "v0 image without a format": ({"type": "image", "source_type": "base64", "data": PNG}, SENT),
    "v0 image with an id": (
        {"type": "image", "source_type": "url", "url": "https://e.com/a.png", "id": "block-1"},
        [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}],
    ),
    "v0 image with a list of sources": (
        {"type": "image", "source_type": ["url"], "url": "https://e.com/a.png"},
        [{"type": "image_url", "image_url": {"url": "https://e.com/a.png"}}],
    ),
    "image that is a text": ({"type": "image", "mime_type": "text/plain", "text": "hi"}, "hi"),
    "openai file that is no PDF": (
        {"type": "file", "file": {"filename": "a.csv", "file_data": "data:text/csv;base64,YSxi"}},
        "a.csv\na,b",
    ),
    "openai file with an id, too": (
        {"type": "file", "file": {"file_id": "f", "file_data": PDF_URL}},
        [{"type": "file", "file": {"file_data": PDF_URL}}],
    ),
    "v0 file with a name": (
        {
            "type": "file",
            "source_type": "base64",
            "data": "YSxi",
            "mime_type": "text/csv",
            "metadata": {"filename": "a.csv"},
        },
        "a.csv\na,b",
    ),
}


@pytest.mark.parametrize(("block", "sent"), INCOMPLETE.values(), ids=INCOMPLETE)
async def test_blocks_that_core_cannot_read_are_sent(model, ernie_server, block, sent, mode):
    message = HumanMessage([block])
    before = copy.deepcopy(message)
    await chunks_of(model(model=VISION), [message], mode)
    assert ernie_server.last_request.body["messages"] == [{"role": "user", "content": sent}]
    assert message == before


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])  # core caches no stream
@pytest.mark.parametrize("file", [{"file_data": PDF_URL, "filename": "a.pdf"}, {"file_id": "f"}])
async def test_a_cache_finds_a_call_with_a_file_of_openai_again(model, ernie_server, file, mode):
    """Core gives the block a new id in each call."""
    llm = model(model=FIVE, cache=InMemoryCache())
    for _ in range(2):
        await chunks_of(llm, [HumanMessage([{"type": "file", "file": file}])], mode)
    bodies = [each.body["messages"] for each in ernie_server.requests]
    assert bodies == [[{"role": "user", "content": [{"type": "file", "file": file}]}]]


EMPTY_BLOCKS = [
    ({"type": "file", "source_type": "base64"}, "has neither data"),
    ({"type": "image", "source_type": "url"}, "has neither data"),
    ({"type": "image", "source_type": "id", "id": "file-1"}, "has only a file id, which cannot be sent"),
    ({"type": "image", "file_id": "file-1"}, "a file id, which cannot be sent"),
    ({"type": ["image"]}, "is not supported"),
]  # fmt: skip


@pytest.mark.parametrize(("block", "why"), EMPTY_BLOCKS)
async def test_blocks_without_content_raise_bad_request(model, ernie_server, block, why, mode):
    with pytest.raises(BadRequestError, match=why):
        await chunks_of(model(model=VISION), [HumanMessage([block])], mode)
    assert ernie_server.requests == []


# Histories as dicts

NO_ARGUMENTS = ["", " ", None, "{}", {}]
BROKEN_ARGUMENTS = ['{"a":', "[1]", "null"]


@pytest.mark.parametrize("arguments", [*NO_ARGUMENTS, *BROKEN_ARGUMENTS, '{"a": "b\n"}'])
async def test_calls_that_core_cannot_parse_are_sent(model, ernie_server, arguments, mode):
    raw = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": arguments}}
    history = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "tool_calls": [raw]},
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
    ]
    before = copy.deepcopy(history)
    await chunks_of(model(), history, mode)
    _, turn, result = ernie_server.last_request.body["messages"]
    sent = json.loads(turn["tool_calls"][0]["function"]["arguments"])
    if arguments in NO_ARGUMENTS:
        assert sent == {}
    else:
        assert sent == (
            {"invalid_arguments": arguments} if arguments in BROKEN_ARGUMENTS else {"a": "b\n"}
        )
    assert (turn["content"], result["tool_call_id"]) == ("", "c1")
    assert history == before


USE = {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}}
OF_OTHERS = {
    "anthropic": (USE, {"type": "tool_result", "tool_use_id": "c1", "content": "ok"}),
    "converse": (
        {"toolUse": {"toolUseId": "c1", "name": "f", "input": {"a": 1}}},
        {"toolResult": {"toolUseId": "c1", "content": [{"text": "ok"}]}},
    ),
}


def test_dumps_of_messages_keep_their_calls(model, ernie_server):
    broken = {"name": "f", "args": '{"a": ', "id": "c2", "error": "no JSON"}
    turn = AIMessage(["a"], tool_calls=[call(a=1)], invalid_tool_calls=[broken])
    results = (ToolMessage("ok", tool_call_id=each, status="error") for each in ("c1", "c2"))
    history = [turn, *results]
    dumps = [each.model_dump() for each in history]
    names = ("AI", "Tool", "Tool")
    of_a_stream = [
        {**each, "type": f"{name}MessageChunk"} for each, name in zip(dumps, names, strict=True)
    ]
    validated = TypeAdapter(list[BaseMessage]).validate_python(dumps)  # each is a `BaseMessage`
    for messages in (dumps, of_a_stream, validated, dumpd(history), history):
        model().invoke(messages)
    sent = [each.body["messages"] for each in ernie_server.requests]
    assert len(sent[0][0]["tool_calls"]) == 2
    assert all(messages == sent[0] for messages in sent)


@pytest.mark.parametrize(("use", "result"), OF_OTHERS.values(), ids=OF_OTHERS)
def test_dicts_and_pairs_of_other_providers_keep_their_calls(model, ernie_server, use, result):
    history = [
        {"role": "user", "content": [{"text": "a"}]},
        {"role": "assistant", "content": [{"text": "I look."}, use]},
        {"role": "user", "content": [result]},
    ]
    for messages in (history, [(each["role"], each["content"]) for each in history]):
        model().invoke(messages)
        _, turn, answer = ernie_server.last_request.body["messages"]
        assert turn["content"] == "I look."
        assert turn["tool_calls"][0]["function"] == {"name": "f", "arguments": '{"a": 1}'}
        assert answer == {"role": "tool", "tool_call_id": "c1", "content": "ok"}


FUNCTION_CALL = {"name": "f", "arguments": "{}"}
CUSTOM_CALL = {"type": "custom", "id": "c1", "custom": {"name": "f", "input": "code"}}
PARTIAL = {
    "a result without an id": (
        [{"role": "assistant", "tool_calls": [{"id": "c1", "function": FUNCTION_CALL}]}],
        {"role": "tool", "content": "ok"},
        {},
    ),
    "a result whose id is None": (
        [{"type": "ai", "tool_calls": [{"id": "c1", "function": FUNCTION_CALL}]}],
        {"type": "tool", "content": "ok", "tool_call_id": None},
        {},
    ),
    "a result in a pair": (
        [
            ("assistant", None),
            {"type": "ai", "tool_calls": [{"id": "c1", "function": FUNCTION_CALL}]},
        ],
        ("tool", "ok"),
        {},
    ),
    "a legacy call": (
        [{"role": "assistant", "function_call": FUNCTION_CALL}],
        {"role": "function", "name": "f", "content": "ok"},
        {},
    ),
    "a custom call": (
        [{"role": "assistant", "tool_calls": [CUSTOM_CALL]}],
        {"role": "tool", "tool_call_id": "c1", "content": "ok"},
        {"invalid_arguments": "code"},
    ),
}


@pytest.mark.parametrize(("turn", "result", "args"), PARTIAL.values(), ids=PARTIAL)
def test_dicts_that_core_cannot_read_are_sent(model, ernie_server, turn, result, args):
    model().invoke([{"role": "user", "content": "a"}, *turn, result])
    *_, sent, answer = ernie_server.last_request.body["messages"]
    assert sent["tool_calls"][0]["id"] == answer["tool_call_id"]
    function = sent["tool_calls"][0]["function"]
    assert (function["name"], json.loads(function["arguments"])) == ("f", args)


@pytest.mark.parametrize(
    ("content", "sent"),
    [({"a": True, "b": "é"}, '{"a": true, "b": "é"}'), ({}, "{}"), (True, "true"), (None, "")],
)
async def test_an_object_as_a_result_in_a_dict_is_sent_as_json(model, ernie_server, content, sent):
    call_ = {"role": "assistant", "tool_calls": [{"id": "c1", "function": FUNCTION_CALL}]}
    result = {"role": "tool", "tool_call_id": "c1", "content": content}
    for mode in MODES:
        await ask(model(), [{"role": "user", "content": "a"}, call_, result], mode)
        assert ernie_server.last_request.body["messages"][-1] == {**result, "content": sent}


def test_an_assistant_message_without_content_is_sent(model, ernie_server):
    model().invoke([("user", "a"), {"role": "assistant", "refusal": "no"}, ("user", "b")])
    assert ernie_server.last_request.body["messages"][1] == {
        "role": "assistant",
        "content": "",
        "refusal": "no",
    }


def test_an_image_prompt_is_sent(model, ernie_server):
    image = {"url": "https://e.com/a.png", "detail": "low"}
    model(model=VISION).invoke(ImagePromptValue(image_url=image))
    (sent,) = ernie_server.last_request.body["messages"]
    assert sent["content"] == [{"type": "image_url", "image_url": image}]


# The API's own limits

LIMITED_FIELDS = {
    "enable_thinking": (PLAIN, False),
    "thinking_budget": (PLAIN, 200),
    "provider": (PLAIN, "auto"),
    "normalize_tool_schemas": (PLAIN, True),
    "prediction": (FIVE, {"type": "content", "content": "x"}),
    "max_completion_tokens": (FIVE, 9),
    "n": (PLAIN, 2),
}


@pytest.mark.parametrize(("field", "case"), LIMITED_FIELDS.items(), ids=LIMITED_FIELDS)
@pytest.mark.filterwarnings("ignore:'n' is not a setting")
def test_the_api_rejects_fields_that_self_hosted_servers_get(
    model, api_model, ernie_server, field, case
):
    name, value = case
    model(model=name).generate([[HumanMessage("hi")]], **{field: value})
    assert ernie_server.last_request.body[field] == value
    if "max_" not in field:  # it is renamed
        with pytest.raises(BadRequestError, match=rf"{name} does not support {field}|n must be 1"):
            api_model(model=name).invoke("hi", **{field: value})
        assert len(ernie_server.requests) == 1
    if name == PLAIN and field != "n":
        api_model(model=FIVE, **{field: value}).invoke("hi")
        assert ernie_server.last_request.body[field] == value


def test_self_hosted_servers_get_a_forced_choice(model, ernie_server):
    for choice, sent in (("any", "required"), ("weather", NAMED)):
        model(model=THINKING).bind_tools([weather], tool_choice=choice).invoke("hi")
        assert ernie_server.last_request.body["tool_choice"] == sent


WARNING = 'tool_choice is sent as "auto"'


async def test_a_forced_choice_becomes_auto_with_one_warning(api_model, ernie_server, mode):
    llm = api_model(model=THINKING)
    bound = llm.bind_tools([weather], tool_choice="any")
    with pytest.warns(UserWarning, match=WARNING):
        await chunks_of(bound, "hi", mode)
    await chunks_of(bound.bind(max_retries=0, stream_usage=False), "hi", mode)
    llm.temperature = 0.5
    options = {"tools": [weather], "tool_choice": "weather", "client_request_id": "mine"}
    await chunks_of(llm, "hi", mode, **options)
    assert [each.body["tool_choice"] for each in ernie_server.requests] == ["auto"] * 3
    another = api_model(model=THINKING).bind_tools([weather], tool_choice="any")
    with pytest.warns(UserWarning, match=WARNING):
        await chunks_of(another, "hi", mode)


def test_there_is_one_warning_across_threads(api_model, ernie_server):
    llm = api_model(model=THINKING)
    bound = llm.bind(tools=[weather], tool_choice="any", max_retries=0)
    start = threading.Barrier(8)

    def call_together(_):
        start.wait()
        return bound.invoke("hi")

    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        assert len(list(pool.map(call_together, range(8)))) == 8
    assert [str(each.message) for each in caught if WARNING in str(each.message)] != []
    assert len(caught) == 1


def test_a_warning_does_not_change_the_model(api_model, ernie_server):
    llm, untouched = api_model(model=THINKING), api_model(model=THINKING)
    clients = ("http_client", "http_async_client")
    fresh = untouched.model_copy(update={name: getattr(llm, name) for name in clients})
    with pytest.warns(UserWarning, match=WARNING):
        llm.invoke("hi", tools=[weather], tool_choice="any")
    assert llm == fresh
    assert repr(llm) == repr(fresh)
    assert dumps(llm) == dumps(fresh)
    assert llm.model_dump() == fresh.model_dump()
    assert llm._get_llm_string() == fresh._get_llm_string()
    without_clients = llm.model_copy(update=dict.fromkeys(clients))
    for other in (llm.model_copy(), pickle.loads(pickle.dumps(without_clients))):
        with pytest.warns(UserWarning, match="anew"):
            other.warn_once("tool_choice", "anew")


def test_a_forced_choice_is_sent_if_thinking_is_disabled(api_model, ernie_server):
    llm = api_model(model=FIVE, enable_thinking=False)
    llm.bind_tools([weather], tool_choice="any").invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == "required"
    api_model(model=THINKING).bind_tools([weather], tool_choice="none").invoke("hi")
    assert ernie_server.last_request.body["tool_choice"] == "none"
    with pytest.warns(UserWarning, match="enable_thinking=False to force a call"):
        api_model(model=FIVE).bind_tools([weather], tool_choice="any").invoke("hi")


def test_each_field_that_is_left_out_has_its_own_warning(api_model, ernie_server):
    llm = api_model(model=THINKING)
    tools = [{**ANTHROPIC, "cache_control": CACHE_CONTROL}]
    cached = [HumanMessage([text("a", cache_control=CACHE_CONTROL)])]
    with pytest.warns(UserWarning, match="is ") as caught:
        llm.invoke(cached, tools=tools, tool_choice="any")
    assert sorted(str(each.message).split(" is ")[0] for each in caught) == [
        "cache_control",
        "tool_choice",
    ]
    llm.invoke(cached, tools=tools, tool_choice="any")
    with pytest.warns(UserWarning, match="max_completion_tokens=9 is not sent"):
        api_model(model=FIVE).invoke("hi", max_tokens=5, max_completion_tokens=9)
    assert ernie_server.last_request.body["max_tokens"] == 5
    api_model(model=FIVE).invoke("hi", max_completion_tokens=9)
    assert ernie_server.last_request.body["max_tokens"] == 9
    assert ernie_server.last_request.ignored == []
