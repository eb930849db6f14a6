from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import Tool, tool
from pydantic import BaseModel
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie._request.tools import (
    allow_tools,
    allows_parallel_calls,
    encode_tool_choice,
    encode_tools,
)
from langchain_aimlernie._response.schema import ToolCallDelta
from langchain_aimlernie._response.tool_calls import (
    JsonScanner,
    ToolCallAssembler,
    decode_tool_calls,
    parse_arguments,
)


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


@tool
def now() -> str:
    """Tell the time."""
    return "now"


def plain(city: str) -> str:
    """Tell the weather of a city.

    Args:
        city: Where.
    """
    return city


class Weather(BaseModel):
    """Tell the weather of a city."""

    city: str


class WeatherV1(BaseModelV1):
    """Tell the weather of a city."""

    city: str


class WeatherDict(TypedDict):
    """Tell the weather of a city."""

    city: str


CACHE_CONTROL = {"type": "ephemeral"}
ANTHROPIC = {
    "name": "weather",
    "description": "Tell.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "cache_control": CACHE_CONTROL,
}
BARE = {"name": "weather", "description": "Tell.", "parameters": {"type": "object"}}
WRAPPED = {"type": "function", "function": {**BARE, "foreign": 1}}


FLAT = {"type": "function", **BARE}
CUSTOM = {"type": "custom", **ANTHROPIC}
SCHEMA = {"type": "object", "title": "weather", "properties": {"city": {"type": "string"}}}
MCP = {"name": "weather", "description": "Tell.", "inputSchema": SCHEMA}
CONVERSE = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}


@pytest.mark.parametrize(
    "source",
    [
        *(weather, plain, Weather, WeatherV1, WeatherDict, ANTHROPIC, BARE, WRAPPED),
        *(FLAT, CUSTOM, SCHEMA, CONVERSE, MCP, {"type": "anything", **BARE}),
    ],
)
@pytest.mark.parametrize("strict", [None, True, False])
def test_tools_of_every_kind_are_encoded(source, strict):
    (encoded,) = encode_tools([source], strict=strict)
    assert set(encoded) - {"cache_control"} == {"type", "function"}
    assert encoded.get("cache_control") == (
        CACHE_CONTROL if source in (ANTHROPIC, CUSTOM) else None
    )
    assert encoded["type"] == "function"
    assert set(encoded["function"]) <= {"name", "description", "parameters", "strict"}
    parameters = encoded["function"]["parameters"]
    assert parameters["type"] == "object"
    assert "city" in parameters.get("properties", ()) or "'parameters'" in str(source)
    assert None not in encoded["function"].values()
    assert encoded["function"].get("strict") is strict
    assert "strict" not in str(WRAPPED)


@pytest.mark.parametrize(
    "source", [now, {"type": "function", "function": {"name": "now", "description": ""}}]
)
def test_a_tool_without_arguments_has_empty_parameters(source):
    (encoded,) = encode_tools([source])
    assert encoded["function"]["parameters"]["properties"] == {}


FOREIGN = [
    {"type": "web_search"},
    {"type": "web_search_preview_2025_03_11"},
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    {"type": "bash_20250124", "name": "bash"},
    {"type": "computer_use_preview", "display_width": 1, "display_height": 1},
    {"type": "mcp", "server_label": "a", "server_url": "https://e.com"},
    {"type": "custom", "name": "code", "format": {"type": "text"}},
    {"type": "object", "properties": {"city": {"type": "string"}}},
]


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        *(([each], each["type"]) for each in FOREIGN),
        ([{"name": "has space", "description": "", "parameters": {}}], "has space"),
        ([{"name": "x" * 65, "description": "", "parameters": {}}], "1 to 64"),
        ([weather] * 129, "at most 128"),
        ([{"type": "function"}], "refuses the tool name None"),
    ],
)
def test_invalid_tools_are_rejected(tools, reason):
    with pytest.raises(ValueError, match=reason):
        encode_tools(tools)


def test_a_custom_tool_of_langchain_openai_is_rejected():
    custom = Tool("code", str, "Run code.", metadata={"type": "custom_tool"})
    with pytest.raises(ValueError, match="no tools of type 'custom'"):
        encode_tools([custom])


TOOLS = encode_tools([weather, now])
NAMED = {"type": "function", "function": {"name": "weather"}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}


@pytest.mark.parametrize(
    ("choice", "encoded"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        (False, "none"),
        ("weather", NAMED),
        (NAMED, NAMED),
        ({"type": "tool", "name": "weather"}, NAMED),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
        ({"type": "function", "name": "weather"}, NAMED),
        ({"type": "custom", "custom": {"name": "weather"}}, NAMED),
        ({"tool": {"name": "weather"}}, NAMED),
        ({"any": {}}, "required"),
        ({"auto": {}}, "auto"),
        ({"mode": "ANY"}, "required"),
        ({"function_calling_config": {"mode": "NONE"}}, "none"),
        ({"type": "allowed_tools", "mode": "none", "tools": [NAMED]}, "none"),
        ({"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}, ALLOWED),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}, ALLOWED),
        (
            {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "weather"}],
            },
            ALLOWED,
        ),
        (
            {"function_calling_config": {"mode": "AUTO", "allowed_function_names": ["weather"]}},
            ALLOWED,
        ),
    ],
)
def test_tool_choice_of_every_form_is_encoded(choice, encoded):
    assert encode_tool_choice(choice, TOOLS) == encoded


@pytest.mark.parametrize(
    "choice",
    [
        "typo",
        {"type": "tool", "name": "typo"},
        {"tool": {"name": "typo"}},
        {"type": "allowed_tools", "mode": "auto", "tools": [NAMED, "typo"]},
        ["weather", "typo"],
    ],
)
def test_a_choice_of_an_unknown_tool_lists_the_tools(choice):
    with pytest.raises(ValueError, match=r"typo.*weather, now"):
        encode_tool_choice(choice, TOOLS)


def test_a_name_in_a_dict_is_never_a_mode():
    (tool_named_any,) = encode_tools([{"name": "any", "description": "", "parameters": {}}])
    choice = encode_tool_choice({"type": "tool", "name": "any"}, [tool_named_any])
    assert choice == {"type": "function", "function": {"name": "any"}}


@pytest.mark.parametrize(
    "choice",
    [
        {"type": "file_search"},
        {"type": "function"},
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "mode": "auto", "tools": []},
        {"type": "allowed_tools", "mode": "often", "tools": [NAMED]},
        {"mode": "VALIDATED"},
        {},
        [],
        5,
        Weather,
    ],
    ids=repr,
)
def test_a_choice_of_unknown_form_is_rejected_with_a_hint(choice):
    with pytest.raises(ValueError, match=r"Use 'auto', 'none', 'any', the name of a tool, or"):
        encode_tool_choice(choice, TOOLS)


@pytest.mark.parametrize(
    ("choice", "word", "names"),
    [
        (ALLOWED, "auto", ["weather"]),
        (["now", "weather"], "required", ["weather", "now"]),
        ("auto", "auto", ["weather", "now"]),
        (NAMED, NAMED, ["weather", "now"]),
    ],
)
def test_a_choice_among_some_tools_sends_only_these(choice, word, names):
    chosen, tools = allow_tools(encode_tool_choice(choice, TOOLS), TOOLS)
    assert chosen == word
    assert [each["function"]["name"] for each in tools] == names


@pytest.mark.parametrize(
    ("choice", "parallel"),
    [
        ({"type": "auto", "disable_parallel_tool_use": True}, False),
        ({"type": "any", "disable_parallel_tool_use": False}, True),
        ({"type": "any"}, None),
        ("auto", None),
    ],
)
def test_disable_parallel_tool_use_of_anthropic(choice, parallel):
    assert allows_parallel_calls(choice) is parallel


@pytest.mark.parametrize(
    ("text", "arguments"),
    [
        ("", {}),
        ("  ", {}),
        ("null", {}),
        ('{"a": 1}', {"a": 1}),
        ('{"a": "line\nbreak"}', {"a": "line\nbreak"}),
        ("[1]", None),
        ("1", None),
        ('"x"', None),
        ('{"a": ', None),
        ("[" * 100_000, None),
        ('{"a": ' * 500 + "1" + "}" * 500, None),
        ('{"a": "\\ud83d"}', {"a": "\ud83d"}),
    ],
)
def test_arguments_are_an_object_or_nothing(text, arguments):
    assert parse_arguments(text) == arguments


def test_calls_of_a_whole_answer_are_sorted_into_valid_and_invalid():
    valid, invalid = decode_tool_calls(
        [
            ToolCallDelta(None, "1", "f", '{"a": 1}'),
            ToolCallDelta(None, "", "f", ""),
            ToolCallDelta(None, "1", "f", "{}"),
            ToolCallDelta(None, "4", "f", "{broken"),
            ToolCallDelta(None, "5", "", "{}"),
        ],
        None,
    )
    assert [call["args"] for call in valid] == [{"a": 1}, {}, {}]
    assert [call["args"] for call in invalid] == ["{broken", "{}"]
    ids = [call["id"] for call in [*valid, *invalid]]
    assert len(set(ids)) == 5
    assert all(ids)


def assembled(*deltas):
    """Merge what the assembler gives as core does, and read the calls out of the whole."""
    assembler = ToolCallAssembler()
    chunks = [AIMessageChunk("", tool_call_chunks=assembler.feed(delta)) for delta in deltas]
    last = AIMessageChunk("", tool_call_chunks=assembler.close(None))
    whole = AIMessageChunk("")
    for chunk in [*chunks, last, AIMessageChunk("", chunk_position="last")]:
        whole += chunk
    return whole


def fragment(index=None, id="", name="", arguments=""):  # noqa: A002
    return [ToolCallDelta(index, id, name, arguments)]


A, B = '{"city": "Köln"}', '{"city": "北京"}'

FORMS = {
    "all with every fragment": [
        fragment(0, "1", "weather", A[:5]),
        fragment(0, "1", "weather", A[5:]),
        fragment(1, "2", "weather", B[:5]),
        fragment(1, "2", "weather", B[5:]),
    ],
    "id and name once": [
        fragment(0, "1", "weather", ""),
        fragment(0, "", "", A),
        fragment(1, "2", "weather", ""),
        fragment(1, "", "", B),
    ],
    "interleaved": [
        fragment(0, "1", "weather", ""),
        fragment(1, "2", "weather", ""),
        fragment(0, "", "", A[:4]),
        fragment(1, "", "", B[:4]),
        fragment(0, "", "", A[4:]),
        fragment(1, "", "", B[4:]),
    ],
    "both in one delta": [fragment(0, "1", "weather", A) + fragment(1, "2", "weather", B)],
    "one index for two ids": [
        fragment(0, "1", "weather", A[:4]),
        fragment(0, "1", "", A[4:]),
        fragment(0, "2", "weather", B[:4]),
        fragment(0, "", "", B[4:]),
    ],
    "no index": [
        fragment(None, "1", "weather", A[:4]),
        fragment(None, "", "", A[4:]),
        fragment(None, "2", "weather", B[:4]),
        fragment(None, "2", "", B[4:]),
    ],
    "no index and no id": [
        fragment(None, "", "weather", A),
        fragment(None, "", "weather", B[:4]),
        fragment(None, "", "", B[4:]),
    ],
    "no id": [
        fragment(0, "", "weather", A[:4]),
        fragment(0, "", "weather", A[4:]),
        fragment(1, "", "weather", B),
    ],
    "late id": [
        fragment(0, "", "weather", A[:4]),
        fragment(0, "1", "", A[4:]),
        fragment(1, "", "weather", ""),
        fragment(1, "2", "", B),
    ],
    "split name": [
        fragment(0, "1", "wea", ""),
        fragment(0, "1", "ther", ""),
        fragment(0, "1", "", A),
        fragment(1, "2", "weather", B),
    ],
    "high indices": [fragment(5, "1", "weather", A), fragment(9, "2", "weather", B)],
}


@pytest.mark.parametrize("form", FORMS)
def test_calls_are_put_together_from_fragments_in(form):
    whole = assembled(*FORMS[form])
    assert [call["name"] for call in whole.tool_calls] == ["weather", "weather"]
    assert [call["args"] for call in whole.tool_calls] == [json.loads(A), json.loads(B)]
    assert whole.invalid_tool_calls == []
    ids = [call["id"] for call in whole.tool_calls]
    assert len(set(ids)) == 2
    assert all(ids)


@pytest.mark.parametrize("arguments", ["", "null", " ", "{}"])
def test_a_call_without_arguments_has_none(arguments):
    whole = assembled(*[fragment(0, "1", "now", piece) for piece in arguments or [""]])
    assert [(call["name"], call["args"]) for call in whole.tool_calls] == [("now", {})]


def test_calls_without_arguments_keep_their_order():
    whole = assembled(fragment(0, "1", "a"), fragment(1, "2", "b", "{}"))
    assert [call["name"] for call in whole.tool_calls] == ["a", "b"]


def test_a_call_without_a_name_is_invalid():
    whole = assembled(fragment(0, "1", "", A))
    assert whole.tool_calls == []
    assert whole.invalid_tool_calls[0]["args"].startswith(A)


WHOLE = r'{"path": "/home/\"us\\er\"", "list": [1, {"x": null}], "deep": {"a": "b"}}'


@pytest.mark.parametrize("cut", range(1, len(WHOLE)))
def test_a_call_that_was_cut_anywhere_is_invalid_and_keeps_its_text(cut):
    whole = assembled(fragment(0, "1", "delete", WHOLE[:cut]))
    assert whole.tool_calls == []
    (call,) = whole.invalid_tool_calls
    assert call["args"].startswith(WHOLE[:cut])
    assert call["id"] == "1"


@given(st.text(alphabet='{}[]",:\\ ab1\n', max_size=30))
def test_no_text_that_is_no_object_becomes_a_call(text):
    whole = assembled(fragment(0, "1", "f", text))
    assert bool(whole.tool_calls) == (parse_arguments(text) is not None)


@given(st.text(alphabet='{}[]",:\\ ab1\n', max_size=30))
def test_the_ending_leaves_nothing_that_is_json(text):
    scanner = JsonScanner()
    scanner.feed(text)
    assert parse_arguments(text + scanner.invalidating_suffix()) is None


def test_what_came_so_far_can_be_told_at_any_time():
    assembler = ToolCallAssembler()
    for delta in itertools.islice(FORMS["interleaved"], 4):
        assembler.feed(delta)
    chunk = AIMessageChunk("", tool_call_chunks=assembler.snapshot())
    assert chunk.tool_calls == []
    assert [call["id"] for call in chunk.invalid_tool_calls] == ["1", "2"]
