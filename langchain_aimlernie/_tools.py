"""Tools: their schemas and the choice among them, as the API takes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool

from langchain_aimlernie._wire import is_object

MAX_TOOLS = 128
"""The published schema's limit on `tools`."""

ToolLike = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
"""What `bind_tools` takes: a tool, a function, a class with fields, or a schema as a dict."""

_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_NO_ARGUMENTS: Mapping[str, object] = {"type": "object", "properties": {}}
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
        dict(tool) if isinstance(tool, Mapping) else tool, strict=strict
    )
    if schema.get("type") != "function" or not is_object(schema.get("function")):
        raise ValueError(
            f"Tools of type {schema.get('type')!r} run on other providers' servers; "
            "ERNIE takes functions: pass a callable, a BaseTool, a class or a function schema."
        )
    function = {k: v for k, v in schema["function"].items() if k in _FUNCTION_KEYS}
    if not _NAME.fullmatch(str(function.get("name"))):
        raise ValueError(
            f"The API refuses the tool name {function.get('name')!r}: "
            "use 1 to 64 letters, digits, underscores and dashes."
        )
    if not function.get("parameters"):
        function["parameters"] = dict(_NO_ARGUMENTS)
    if strict is not None:
        function["strict"] = strict
    return {"type": "function", "function": function}


def _tool_name(tool: Mapping[str, object]) -> str:
    return str(cast("Mapping[str, object]", tool["function"])["name"])


def encode_tool_choice(
    choice: str | bool | Mapping[str, object] | None, tools: Sequence[Mapping[str, object]]
) -> str | dict[str, object] | None:
    """Turn any of LangChain's forms of `tool_choice` into the API's; `None` stays `None`.

    Args:
        choice: "auto", "none", "any", "required", a boolean, the name of one of `tools`, or a
            dict that names it (OpenAI's and Anthropic's forms).
        tools: The tools of the call, as `encode_tools` gives them.

    Raises:
        ValueError: The name is none of `tools`.
    """
    if choice is None:
        return None
    if isinstance(choice, Mapping):
        choice = _choice_of_dict(choice)
    if choice in _CHOICES:
        return _CHOICES[choice]
    names = [_tool_name(tool) for tool in tools]
    if choice not in names:
        raise ValueError(
            f"tool_choice={choice!r} is none of the tools ({', '.join(names) or 'there are none'}) "
            "and none of 'auto', 'none', 'any', 'required', True."
        )
    return {"type": "function", "function": {"name": choice}}


def _choice_of_dict(choice: Mapping[str, object]) -> str:
    function = choice.get("function")
    name = function.get("name") if is_object(function) else choice.get("name")
    return str(name if name is not None else choice.get("type"))
