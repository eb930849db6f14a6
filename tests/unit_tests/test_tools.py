from __future__ import annotations

from functools import partial
from typing import Annotated

import pytest
from langchain_core.runnables import RunnableConfig  # noqa: TC002  the conversion reads it
from langchain_core.tools import BaseTool, InjectedToolArg, InjectedToolCallId, Tool, tool
from langgraph.prebuilt import InjectedState, ToolRuntime
from pydantic import BaseModel, Field, RootModel
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie._request.tools import encode_tool_choice, encode_tools


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
SCHEMA = {"type": "object", "title": "weather", "properties": {"city": {"type": "string"}}}
NAME = {"name": "weather", "description": "Tell."}
ANTHROPIC = {**NAME, "input_schema": SCHEMA, "cache_control": CACHE_CONTROL}
BARE = {**NAME, "parameters": SCHEMA}
WRAPPED = {"type": "function", "function": {**BARE, "foreign": 1}}
FLAT = {"type": "function", **BARE, "strict": None}
CUSTOM = {"type": "custom", **ANTHROPIC}
CACHED = weather.model_copy(update={"extras": {"cache_control": CACHE_CONTROL}})
MCP = {**NAME, "inputSchema": SCHEMA}
CONVERSE = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}


@pytest.mark.parametrize(
    "source",
    [
        *(weather, plain, Weather, WeatherV1, WeatherDict, ANTHROPIC, BARE, WRAPPED),
        *(FLAT, CUSTOM, CACHED, SCHEMA, CONVERSE, MCP, {"type": "anything", **BARE}),
        *({"function": BARE}, {**NAME, "schema": SCHEMA}),
    ],
)
def test_tools_of_every_kind_are_encoded(source):
    cache_control = CACHE_CONTROL if source in (ANTHROPIC, CUSTOM, CACHED) else None
    for strict in (None, True, False):
        (encoded,) = encode_tools([source], strict=strict)
        assert set(encoded) - {"cache_control"} == {"type", "function"}
        assert encoded.get("cache_control") == cache_control
        assert encoded["type"] == "function"
        assert set(encoded["function"]) <= {"name", "description", "parameters", "strict"}
        parameters = encoded["function"]["parameters"]
        assert parameters["type"] == "object"
        assert parameters["properties"]["city"]["type"] == "string"
        assert None not in encoded["function"].values()
        assert encoded["function"].get("strict") is strict
        assert "strict" not in str(WRAPPED)


@pytest.mark.parametrize(
    "rest",
    [
        *({}, {"type": "function"}, {"parameters": None}, {"parameters": []}),
        *({"type": "function", "parameters": None, "strict": None}, {"_meta": {"version": 1}}),
        *({"cache_control": CACHE_CONTROL}, {"annotations": {"readOnlyHint": True}}),
    ],
)
def test_a_dict_of_a_tool_may_lack_parameters(rest):
    (encoded,) = encode_tools([NAME | rest])
    parameters = {"type": "object", "properties": {}}
    assert encoded["function"] == NAME | {"parameters": parameters}
    assert encoded.get("cache_control") == rest.get("cache_control")


FOREIGN = [
    {"type": "web_search"},
    {"type": "web_search_preview_2025_03_11"},
    {"type": "web_search_20250305", "name": "web_search", "max_uses": 3},
    {"type": "bash_20250124", "name": "bash"},
    {"type": "computer_use_preview", "display_width": 1, "display_height": 1},
    {"type": "mcp", "server_label": "a", "server_url": "https://e.com"},
    {"type": "custom", "name": "code", "format": {"type": "text"}},
    {"type": "custom", "name": "code", "parameters": "text"},
    {"type": "object", "properties": {"city": {"type": "string"}}},
]


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        *(([each], each["type"]) for each in FOREIGN),
        ([BARE | {"name": "has space"}], "has space"),
        ([BARE | {"name": "x" * 65}], "1 to 64"),
        ([weather] * 129, "at most 128"),
        ([{"type": "function", "parameters": SCHEMA | {"title": ""}}], "refuses the tool name"),
        ([BARE | {"name": 5}], "refuses the tool name 5"),
        ([Tool("code", str, "", metadata={"type": "custom_tool"})], "no tools of type 'custom'"),
    ],
)
def test_invalid_tools_are_rejected(tools, reason):
    with pytest.raises(ValueError, match=reason):
        encode_tools(tools)


class Tools(BaseTool):
    """A class that somebody forgot to instantiate."""

    name: str = "weather"
    description: str = ""


@pytest.mark.parametrize(
    "given",
    [
        *(Tools, partial(plain, city="Paris"), {"function_declarations": [BARE]}),
        *({**BARE, "parameters": ["city"]}, {"type": "function"}, {"toolSpec": {}}),
    ],
)
def test_what_is_no_tool_is_refused(given):
    with pytest.raises(ValueError, match="is not a tool"):
        encode_tools([given])


class Cities(RootModel[list[str]]):
    """A list of cities."""


def test_parameters_that_are_no_object_are_refused():
    for given in (Cities, {**BARE, "parameters": {"type": "array", "items": {}}}):
        with pytest.raises(ValueError, match="are of type 'array', but must be an object"):
            encode_tools([given])


def with_config(city: str, config: RunnableConfig, then: RunnableConfig | None = None) -> str:
    """Tell the weather of a city."""
    return city


MCP_SCHEMAS = [
    ({"type": "object"}, {"type": "object", "properties": {}}),
    ({"properties": {"a": {}}}, {"type": "object", "properties": {"a": {}}}),
    ({"anyOf": [SCHEMA]}, {"type": "object", "anyOf": [SCHEMA]}),
    (None, {"type": "object", "properties": {}}),
]


def test_a_schema_without_properties_keeps_its_other_keywords():
    (encoded,) = encode_tools([{"title": "weather", "anyOf": [SCHEMA]}])
    assert encoded["function"]["parameters"] == {"type": "object", "anyOf": [SCHEMA]}


@pytest.mark.parametrize(("schema", "sent"), MCP_SCHEMAS)
def test_parameters_have_the_keys_that_servers_require(schema, sent):
    (encoded,) = encode_tools([{**NAME, "inputSchema": schema}])
    assert encoded["function"]["parameters"] == sent


class Aliased(BaseModel):
    city: str = Field(alias="place", description="Where.")
    days: int = Field(default=1, validation_alias="numberOfDays", ge=1)
    unit: str
    state: Annotated[str, InjectedToolArg] = ""


def test_a_tool_is_told_by_the_aliases_that_it_takes():
    aliased = tool("weather", args_schema=Aliased)(plain)
    (encoded,) = encode_tools([aliased])
    assert encoded["function"]["parameters"] == {
        "type": "object",
        "properties": {
            "place": {"type": "string", "description": "Where."},
            "numberOfDays": {"type": "integer", "default": 1, "minimum": 1},
            "unit": {"type": "string"},
        },
        "required": ["place", "unit"],
    }


def test_a_function_that_cannot_be_told_is_named():
    def later(city: Unknown) -> str:  # noqa: F821  such as a name imported for type checkers
        """Tell the weather of a city."""

    with pytest.raises(ValueError, match=r"arguments of later have no .*'Unknown'"):
        encode_tools([later])


def with_state(
    city: str,
    state: Annotated[dict, InjectedState],
    call_id: Annotated[str, InjectedToolCallId],
    runtime: ToolRuntime,
) -> str:
    """Tell the weather of a city."""
    return city


def test_what_langchain_passes_is_no_parameter():
    """Annotations are strings here, as this module imports `annotations`."""
    for function in (with_config, with_state):
        (encoded,) = encode_tools([function])
        assert list(encoded["function"]["parameters"]["properties"]) == ["city"]


def within(least: float = float("-inf"), most: float = float("nan"), step: float = 0.5) -> str:
    """Tell the numbers within limits."""
    return ""


def test_defaults_that_json_lacks_are_left_out():
    (encoded,) = encode_tools([within])
    number = {"type": "number"}
    assert encoded["function"]["parameters"]["properties"] == {
        "least": number,
        "most": number,
        "step": {**number, "default": 0.5},
    }


def test_a_strict_tool_of_anthropic_stays_strict():
    (encoded,) = encode_tools([{**ANTHROPIC, "strict": True}])
    assert encoded["function"]["strict"] is True
    assert encoded["function"]["parameters"]["additionalProperties"] is False


TOOLS = encode_tools([weather, now])
NAMED = {"type": "function", "function": {"name": "weather"}}
FLAT_NAME = {"type": "function", "name": "weather"}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": [NAMED]}}
OF_GOOGLE = {"mode": "AUTO", "allowed_function_names": ["weather"]}
IN_CAMEL_CASE = {"mode": "ANY", "allowedFunctionNames": ["weather"]}


@pytest.mark.parametrize(
    ("choice", "encoded"),
    [
        (None, None),
        ("auto", "auto"),
        ("none", "none"),
        ("any", "required"),
        ("required", "required"),
        (True, "required"),
        (False, None),
        ("weather", NAMED),
        (NAMED, NAMED),
        ({"type": "tool", "name": "weather"}, NAMED),
        ({"type": "any"}, "required"),
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "auto", "disable_parallel_tool_use": True}, "auto"),
        (FLAT_NAME, NAMED),
        ({"type": "custom", "custom": {"name": "weather"}}, NAMED),
        ({"tool": {"name": "weather"}}, NAMED),
        ({"any": {}}, "required"),
        ({"auto": {}}, "auto"),
        ({"mode": "ANY"}, "required"),
        ({"function_calling_config": {"mode": "NONE"}}, "none"),
        ({"type": "allowed_tools", "mode": "none", "tools": [NAMED]}, "none"),
        ({"type": "any", "name": None, "mode": None}, "required"),
        ({"retrieval_config": {}, "function_calling_config": {"mode": "ANY"}}, "required"),
    ],
)
def test_tool_choice_of_every_form_is_encoded(choice, encoded):
    assert encode_tool_choice(choice, TOOLS) == (encoded, TOOLS)


def test_a_choice_of_an_unknown_tool_lists_the_tools():
    dicts = {"type": "tool", "name": "typo"}, {"tool": {"name": "typo"}}
    allowed = {"type": "allowed_tools", "mode": "auto", "tools": [NAMED, "typo"]}
    for choice in ("typo", *dicts, allowed, ["weather", "typo"]):
        with pytest.raises(ValueError, match=r"typo.*weather, now"):
            encode_tool_choice(choice, TOOLS)


def test_a_name_in_a_dict_is_never_a_mode():
    (tool_named_any,) = encode_tools([{"name": "any", "description": "", "parameters": {}}])
    choice, _ = encode_tool_choice({"type": "tool", "name": "any"}, [tool_named_any])
    assert choice == {"type": "function", "function": {"name": "any"}}


def test_a_choice_of_unknown_form_is_rejected_with_a_hint():
    for choice in (
        *({"type": kind} for kind in ("file_search", "function", "allowed_tools")),
        {"type": "allowed_tools", "mode": "auto", "tools": []},
        {"type": "allowed_tools", "mode": "often", "tools": [NAMED]},
        *({"mode": "VALIDATED"}, {}, [], 5, Weather),
    ):
        with pytest.raises(ValueError, match=r"Use 'auto', 'none', 'any', the name of a tool, or"):
            encode_tool_choice(choice, TOOLS)


def test_a_choice_among_some_tools_sends_only_these():
    for choice, word, names in (
        (ALLOWED, "auto", ["weather"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [NAMED]}, "auto", ["weather"]),
        ({"type": "allowed_tools", "mode": "auto", "tools": [FLAT_NAME]}, "auto", ["weather"]),
        ({"function_calling_config": OF_GOOGLE}, "auto", ["weather"]),
        ({"functionCallingConfig": IN_CAMEL_CASE}, "required", ["weather"]),
        (["now", "weather"], "required", ["weather", "now"]),
    ):
        chosen, tools = encode_tool_choice(choice, TOOLS)
        assert chosen == word
        assert [each["function"]["name"] for each in tools] == names
