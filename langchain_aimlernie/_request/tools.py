"""Tools: their schemas and the choice among them, as the API takes them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_core.tools import Tool  # noqa: F401  core imports it to convert a tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_aimlernie._request.content import read_cache_control
from langchain_aimlernie._response.schema import is_object
from langchain_aimlernie._structured.schema import encode_function, encode_parameters

if TYPE_CHECKING:
    from langchain_aimlernie._types import ToolChoice, ToolLike

MAX_TOOLS = 128
"""The published schema's limit on `tools`."""

_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
_PARAMETERS_KEYS = ("parameters", "input_schema", "inputSchema")
"""Where OpenAI, Anthropic and MCP have the schema of a tool's parameters."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_CHOICES = {
    "auto": "auto",
    "none": "none",
    "any": "required",
    "required": "required",
    True: "required",
    False: "none",
}


def encode_tools(
    tools: Sequence[ToolLike], *, strict: bool | None = None
) -> list[dict[str, object]]:
    """Turn tools of any kind into the API's list of functions.

    A tool's `cache_control` is kept beside its function.

    Args:
        tools: What `bind_tools` takes.
        strict: Whether the arguments must follow the schema exactly; `None` leaves it to the API.

    Raises:
        ValueError: More than 128 tools, a name that the API refuses, or a tool that is no
            function.
    """
    if len(tools) > MAX_TOOLS:
        raise ValueError(f"The API takes at most {MAX_TOOLS} tools in a call; got {len(tools)}.")
    return [_encode_tool(tool, strict) for tool in tools]


def _encode_tool(tool: ToolLike, strict: bool | None) -> dict[str, object]:
    schema = convert_to_openai_tool(
        _as_function(tool) if isinstance(tool, Mapping) else encode_function(tool)
    )
    if schema.get("type") != "function":
        raise _not_a_function(schema.get("type"))
    parts = schema["function"].items()
    function = {k: v for k, v in parts if k in _FUNCTION_KEYS and v is not None}
    if not _NAME.fullmatch(function.get("name") or ""):
        raise ValueError(
            f"The API refuses the tool name {function.get('name')!r}: "
            "use 1 to 64 letters, digits, underscores and dashes."
        )
    function["parameters"] = encode_parameters(function, strict)
    if strict is not None:
        function["strict"] = strict
    keys = tool if isinstance(tool, Mapping) else getattr(tool, "extras", None)
    mark = read_cache_control(keys) if isinstance(keys, Mapping) else None
    return {"type": "function", "function": function, **({"cache_control": mark} if mark else {})}


def _as_function(tool: Mapping[str, Any]) -> dict[str, Any]:
    """Return a dict so that core, to which every dict with a name is a function, reads it right.

    Raises:
        ValueError: Its type says that it is none.
    """
    kind = tool.get("type")
    rest = {name: value for name, value in tool.items() if name != "type"}
    if kind == "function":
        # OpenAI's Responses API has the parts of a function beside its type.
        return dict(tool) if is_object(tool.get("function")) else {"type": kind, "function": rest}
    parameters = next((tool[key] for key in _PARAMETERS_KEYS if key in tool), None)
    if parameters is not None:
        return {**rest, "parameters": parameters}
    if kind is None:
        return rest
    if kind == "object" and "title" in tool:
        return dict(tool)
    raise _not_a_function(kind)


def _not_a_function(kind: object) -> ValueError:
    return ValueError(
        f"ERNIE has no tools of type {kind!r}, which other providers run on their own servers. "
        "Pass a callable, a BaseTool, a class, a function with its parameters, or a JSON Schema "
        "of type 'object' with a title."
    )


def _tool_name(tool: Mapping[str, object]) -> str:
    return str(cast("Mapping[str, object]", tool["function"])["name"])


def encode_tool_choice(
    choice: ToolChoice | None, tools: Sequence[Mapping[str, object]]
) -> str | dict[str, object] | None:
    """Turn any of LangChain's forms of `tool_choice` into the API's; `None` stays `None`.

    Args:
        choice: "auto", "none", "any", "required", a boolean, the name of one of `tools`, or a
            dict or list in the form of OpenAI (Chat Completions, Responses), Anthropic, Bedrock
            or Gemini.
        tools: The tools of the call, as `encode_tools` gives them.

    Returns:
        The API's form. A choice among some of the tools is OpenAI's `allowed_tools`, which
        `allow_tools` resolves, since most models do not have it.

    Raises:
        ValueError: A name is none of `tools`, or the form is unknown.
    """
    if choice is None:
        return None
    names = [_tool_name(tool) for tool in tools]
    if isinstance(choice, str | bool) and choice in _CHOICES:
        return _CHOICES[choice]
    if isinstance(choice, str):
        return _named_choice(choice, names)
    if isinstance(choice, list | tuple):
        return _allowed_choice("required", choice, names)
    return _choice_of_dict(choice, names) if isinstance(choice, Mapping) else _unknown(choice)


def _choice_of_dict(
    choice: Mapping[str, object], names: Sequence[str]
) -> str | dict[str, object] | None:
    kind = choice.get("type")
    bodies = [choice.get(key) for key in ("function", "tool", "custom", *_CHOICE_LISTS)]
    body = next((body for body in bodies if is_object(body)), choice)
    for key in _CHOICE_LISTS.values():
        if isinstance(listed := body.get(key), list):
            return _allowed_choice(body.get("mode", "auto"), listed, names)
    name, mode = body.get("name"), body.get("mode")
    if isinstance(name, str):
        return _named_choice(name, names)
    if kind is None and mode is None and len(choice) == 1:
        kind = next(iter(choice))  # Bedrock's {"any": {}}
    return _choice_word(kind if mode is None else mode) or _unknown(choice)


_CHOICE_LISTS = {"allowed_tools": "tools", "function_calling_config": "allowed_function_names"}
"""Where OpenAI's and Gemini's dicts have a choice among several tools, and its list of them."""


def _choice_word(word: object) -> str | None:
    return _CHOICES.get(word.lower()) if isinstance(word, str) else None


def _named_choice(name: str, names: Sequence[str]) -> dict[str, object]:
    if name not in names:
        raise ValueError(
            f"tool_choice={name!r} is none of the tools ({', '.join(names) or 'there are none'}) "
            "and none of 'auto', 'none', 'any', 'required', True."
        )
    return {"type": "function", "function": {"name": name}}


def _allowed_choice(
    mode: object, listed: Sequence[object], names: Sequence[str]
) -> str | dict[str, object]:
    word = _choice_word(mode)
    if word is None or not listed:
        return _unknown({"mode": mode, "tools": listed})
    if word == "none":
        return word
    allowed = [_named_choice(_listed_name(each), names) for each in listed]
    return {"type": "allowed_tools", "allowed_tools": {"mode": word, "tools": allowed}}


def _listed_name(tool: object) -> str:
    function = tool.get("function", tool) if is_object(tool) else tool
    return str(function.get("name", tool) if is_object(function) else function)


def _unknown(choice: object) -> NoReturn:
    raise ValueError(
        f"tool_choice={choice!r} has no form that is known here. Use 'auto', 'none', 'any', the "
        'name of a tool, or {"type": "function", "function": {"name": …}}; to allow some tools '
        "only, bind these."
    )


def allow_tools(
    choice: str | Mapping[str, Any], tools: list[dict[str, object]]
) -> tuple[str | Mapping[str, Any], list[dict[str, object]]]:
    """Return a choice as every model has it, and the tools of which it is one.

    A choice among some of the tools comes to the same as a call that has no others.

    Args:
        choice: What `encode_tool_choice` made of it.
        tools: The tools of the call, as `encode_tools` gives them.
    """
    if isinstance(choice, str) or "allowed_tools" not in choice:
        return choice, tools
    body = choice["allowed_tools"]
    allowed = {_tool_name(tool) for tool in body["tools"]}
    return body["mode"], [tool for tool in tools if _tool_name(tool) in allowed]


def allows_parallel_calls(choice: object) -> bool | None:
    """Return what Anthropic's form of `tool_choice` says of parallel calls; `None` if nothing."""
    disabled = choice.get("disable_parallel_tool_use") if isinstance(choice, Mapping) else None
    return not disabled if isinstance(disabled, bool) else None
