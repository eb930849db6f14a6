"""Encode tools and `tool_choice`, given in any format of LangChain or a provider."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.tools import Tool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_aimlernie._request.content import read_cache_control
from langchain_aimlernie._structured.functions import PARAMETERS_KEYS, encode_function
from langchain_aimlernie._structured.json_schema import strict_schema
from langchain_aimlernie._structured.schema import merge_strict

if TYPE_CHECKING:
    from langchain_aimlernie._settings.fields import ToolChoice, ToolLike

MAX_TOOLS = 128  # the published schema's limit

_PROPERTIES_KEYS = ("properties", "$ref", "allOf", "anyOf", "oneOf")
_SCALARS_AND_LISTS = ("array", "string", "number", "integer", "boolean", "null")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MODES = {"auto": "auto", "none": "none", "any": "required", "required": "required"}


def encode_tools(
    tools: Sequence[ToolLike], *, strict: bool | None = None
) -> list[dict[str, object]]:
    """Return tools of any kind in the API's format, or raise a ValueError.

    A tool's `cache_control` is kept, beside its function; `strict` is the argument of `bind_tools`.
    """
    given: object = tools  # whatever the annotation says
    if isinstance(given, str | Mapping | type) or not isinstance(given, Collection):
        raise ValueError(f"tools must be a list, such as [my_tool]; got {tools!r:.80}.")  # noqa: TRY004  as for all parameters
    if len(tools) > MAX_TOOLS:
        raise ValueError(f"The API accepts at most {MAX_TOOLS} tools in a call; got {len(tools)}.")
    # Bedrock's `cachePoint` is left out, as in messages.
    return [
        _encode_tool(tool, strict)
        for tool in tools
        if not (isinstance(tool, Mapping) and tool.keys() == {"cachePoint"})
    ]


def _encode_tool(tool: ToolLike, strict: bool | None) -> dict[str, object]:
    function = _read_tool(tool)
    name = function.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"The API refuses the tool name {name!r}: "
            "use 1 to 64 letters, digits, underscores and dashes."
        )
    function["parameters"] = _complete(name, function["parameters"])
    strict = merge_strict(name, function.get("strict"), strict)
    if strict is not None:
        function["strict"] = strict
    if strict:
        function["parameters"] = strict_schema(function["parameters"])
    encoded: dict[str, object] = {"type": "function", "function": function}
    keys = tool if isinstance(tool, Mapping) else getattr(tool, "extras", None)
    if isinstance(keys, Mapping) and (cache_control := read_cache_control(keys)):
        encoded["cache_control"] = cache_control
    return encoded


def _read_tool(tool: ToolLike) -> dict[str, Any]:
    """Return a tool as a function, or raise a ValueError."""
    if isinstance(tool, Mapping):
        kind = tool.get("type")
        is_function = kind in (None, "function") or (kind == "object" and "title" in tool)
        if not (is_function or any(isinstance(tool.get(key), Mapping) for key in PARAMETERS_KEYS)):
            raise _not_a_function(kind)
    if function := encode_function(tool):
        return function
    if not isinstance(tool, Tool):
        raise _not_a_tool(tool)
    schema = convert_to_openai_tool(tool)  # `Tool` takes one string
    if schema["type"] != "function":  # such as a custom tool of langchain-openai
        raise _not_a_function(schema["type"])
    return cast("dict[str, Any]", schema["function"])


def _not_a_tool(tool: object) -> ValueError:
    return ValueError(
        f"{tool!r:.80} is not a tool. Pass a LangChain tool, a function, a class with fields, or a "
        "dict with a name and parameters; instead of a class of tools, pass an instance."
    )


def _complete(name: object, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema of parameters with the keys that some servers require."""
    if (kind := parameters.get("type")) in _SCALARS_AND_LISTS:
        raise ValueError(
            f"The parameters of {name} are of type {kind!r}, but must be an object: use a class "
            "with fields, or a function."
        )
    complete: dict[str, Any] = {"type": "object", **parameters}
    if parameters.keys().isdisjoint(_PROPERTIES_KEYS):
        complete["properties"] = {}
    return complete


def _not_a_function(kind: object) -> ValueError:
    return ValueError(
        f"ERNIE has no tools of type {kind!r}, which other providers run on their own servers. "
        "Pass a callable, a BaseTool, a class, a function with its parameters, or a JSON Schema "
        "of type 'object' with a title."
    )


def _tool_name(tool: Mapping[str, object]) -> str:
    return str(cast("Mapping[str, object]", tool["function"])["name"])


def encode_tool_choice(
    choice: ToolChoice | None, tools: list[dict[str, object]]
) -> tuple[str | dict[str, object] | None, list[dict[str, object]]]:
    """Return `tool_choice` in the API's format, and the tools to send with it.

    If only some tools are allowed, which most models do not support, only these are sent. Raises a
    ValueError if a name is not that of a tool, or the format is unknown.

    Args:
        choice: "auto", "none", "any", "required", a boolean (whether some tool must be called),
            the name of a tool, or a dict or list in the format of OpenAI (Chat Completions,
            Responses), Anthropic, Bedrock or Gemini.
        tools: The tools of the call, from `encode_tools`.
    """
    if choice is None or choice is False:
        return None, tools
    mode, allowed = _read_choice(choice)
    if isinstance(allowed, str):
        _check_names([allowed], tools)
        return {"type": "function", "function": {"name": allowed}}, tools
    encoded_mode = _MODES.get(mode.lower()) if isinstance(mode, str) else None
    if encoded_mode is None or not (allowed is None or allowed):
        given = choice if allowed is None else {"mode": mode, "tools": allowed}
        raise ValueError(
            f"tool_choice={given!r} has an unknown form. Use 'auto', 'none', 'any', the name of a "
            'tool, or {"type": "function", "function": {"name": …}}; to allow only some tools, '
            "bind only these."
        )
    if allowed is None or encoded_mode == "none":
        return encoded_mode, tools
    names = [_allowed_name(tool) for tool in allowed]
    _check_names(names, tools)
    return encoded_mode, [tool for tool in tools if _tool_name(tool) in names]


def _read_choice(choice: object) -> tuple[object, Sequence[object] | None]:
    """Return the mode of a choice, and the tools that it allows: a list, or the name of one."""
    if isinstance(choice, str) and choice not in _MODES:
        return None, choice
    if isinstance(choice, list | tuple):
        return "required", choice
    if not isinstance(choice, Mapping):
        return "required" if choice is True else choice, None
    levels = [*(value for value in choice.values() if isinstance(value, Mapping)), choice]
    flat = {key: value for level in levels for key, value in level.items() if value is not None}
    for key in ("tools", "allowed_function_names", "allowedFunctionNames"):  # OpenAI's, Gemini's
        if isinstance(allowed := flat.get(key), list):
            return flat.get("mode", "auto"), allowed
    if isinstance(name := flat.get("name"), str):
        return None, name
    kind = next(iter(choice)) if len(choice) == 1 else None  # of Bedrock's {"any": {}}
    return flat.get("mode", flat.get("type", kind)), None


def _check_names(names: Sequence[str], tools: list[dict[str, object]]) -> None:
    known = [_tool_name(tool) for tool in tools]
    for name in names:
        if name not in known:
            raise ValueError(
                f"tool_choice={name!r} is neither one of the tools "
                f"({', '.join(known) or 'there are none'}) "
                "nor 'auto', 'none', 'any', 'required' or True."
            )


def _allowed_name(tool: object) -> str:
    function = tool.get("function", tool) if isinstance(tool, Mapping) else tool
    return str(function.get("name", tool) if isinstance(function, Mapping) else function)


def allows_parallel_calls(choice: object) -> bool | None:
    """Return whether Anthropic's `tool_choice` allows parallel calls; `None` if it does not say."""
    disabled = choice.get("disable_parallel_tool_use") if isinstance(choice, Mapping) else None
    return not disabled if isinstance(disabled, bool) else None
