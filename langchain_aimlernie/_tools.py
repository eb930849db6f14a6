"""Tools: schemas and the choice among them out, tool calls and their fragments in."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from pydantic_core import from_json

from langchain_aimlernie._schemas import encode_function, encode_parameters
from langchain_aimlernie._wire import ToolFragment, is_object

if TYPE_CHECKING:
    from langchain_core.messages import InvalidToolCall, ToolCall, ToolCallChunk

MAX_TOOLS = 128
"""The published schema's limit on `tools`."""

ToolLike = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
"""What `bind_tools` takes: a tool, a function, a class with fields, or a schema as a dict."""

_FUNCTION_KEYS = ("name", "description", "parameters", "strict")
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
        dict(tool) if isinstance(tool, Mapping) else encode_function(tool)
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
    function["parameters"] = encode_parameters(function, strict)
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


def parse_arguments(text: str) -> dict[str, Any] | None:
    """Read a call's arguments; `None` if they are no JSON object. No text at all means none.

    Arguments that the fast parser finds too deep (200 levels) count as no object: a message that
    holds them could be neither printed nor stored.
    """
    if text.strip() in ("", "null"):
        return {}
    try:
        value = from_json(text)
    except ValueError as error:
        value = None if _TOO_DEEP in str(error) else _parse_loosely(text)
    return value if isinstance(value, dict) else None


_TOO_DEEP = "recursion limit"


def _parse_loosely(text: str) -> object:
    """Take what models write and the fast parser refuses: line breaks in strings, for one."""
    try:
        return cast("object", json.loads(text, strict=False))
    except (ValueError, RecursionError):
        return None


def decode_tool_calls(
    fragments: Iterable[ToolFragment],
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Turn the calls of a whole answer into valid and invalid ones.

    Every call gets an id of its own, since each must be answered under its id. A call without a
    name, or whose arguments are no JSON object, is invalid and keeps its text.
    """
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    seen: set[str] = set()
    for fragment in fragments:
        call_id = fragment.id if fragment.id not in seen | {""} else new_call_id()
        seen.add(call_id)
        arguments = parse_arguments(fragment.arguments)
        if arguments is None or not fragment.name:
            error = "the call has no name" if arguments is not None else _NOT_AN_OBJECT
            invalid.append(
                invalid_tool_call(
                    name=fragment.name or None, args=fragment.arguments, id=call_id, error=error
                )
            )
        else:
            valid.append(tool_call(name=fragment.name, args=arguments, id=call_id))
    return valid, invalid


_NOT_AN_OBJECT = "the arguments are not a JSON object"


def new_call_id() -> str:
    """Make up an id for a call that came without one."""
    return f"call_{uuid4().hex}"


@dataclass(slots=True)
class _Call:
    """A call that a stream is bringing: what the wire said of it, and what has been told of it.

    It has an `id` once it was announced.
    """

    position: int
    wire_place: int | None
    wire_id: str
    id: str = ""
    name: str = ""
    told: list[str] = field(default_factory=list)
    held: str = ""

    def text(self) -> str:
        return "".join(self.told) + self.held


class ToolCallAssembler:
    """Sorts the fragments of a stream's tool calls into chunks that core can merge.

    The published schema repeats id, type and name with every fragment; servers also send them once,
    empty, null or late, leave out the index, number two calls alike, or interleave calls. Each
    chunk this gives has the call's own index, and its id and name exactly once.

    A call is announced with its first arguments, when its name is known to be whole.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []

    def feed(self, fragments: Iterable[ToolFragment]) -> list[ToolCallChunk]:
        """Take the fragments of one delta; give the chunks that they make."""
        chunks: list[ToolCallChunk] = []
        for fragment in fragments:
            call = self._find(fragment)
            if call is None:
                chunks.extend(self._announce_waiting())
                call = _Call(len(self._calls), fragment.place, fragment.id)
                self._calls.append(call)
            call.wire_id = call.wire_id or fragment.id
            if fragment.name and not call.id and fragment.name != call.name:
                call.name += fragment.name
            chunks.extend(_tell(call, fragment.arguments))
        return chunks

    def close(self) -> list[ToolCallChunk]:
        """End the stream: tell what was held back, and make every unfinished call an invalid one.

        Core completes half a call's arguments into a call that the model never made. A bracket that
        closes nothing stops it, and the text stays in `invalid_tool_calls`.
        """
        chunks = self._announce_waiting()
        for call in self._calls:
            if ending := _ending(call):
                chunks.append(_chunk(call, ending))
        return chunks

    def so_far(self) -> list[ToolCallChunk]:
        """Give each call that has begun as one chunk, an unfinished one as an invalid call."""
        return [
            tool_call_chunk(
                name=call.name or None,
                args=call.text() + _ending(call),
                id=call.id or call.wire_id or None,
                index=call.position,
            )
            for call in self._calls
        ]

    def _announce_waiting(self) -> list[ToolCallChunk]:
        return [_chunk(call, _rest(call)) for call in self._calls if not call.id]

    def _find(self, fragment: ToolFragment) -> _Call | None:
        """Name the call that a fragment goes on with, or `None` if it begins a new one."""
        if fragment.id:
            for call in reversed(self._calls):
                if call.wire_id == fragment.id:
                    return call
        for call in reversed(self._calls):
            if call.wire_place == fragment.place:
                return None if _begins_another(call, fragment) else call
        if fragment.place is None and self._calls and not fragment.id:
            return None if _begins_another(self._calls[-1], fragment) else self._calls[-1]
        return None


def _begins_another(call: _Call, fragment: ToolFragment) -> bool:
    """Another id begins another call; without ids and index, a name after arguments may."""
    if fragment.id and call.wire_id:
        return True
    if fragment.place is not None or not (fragment.name and call.name and call.told):
        return False
    return fragment.name != call.name or parse_arguments(call.text()) is not None


def _tell(call: _Call, arguments: str) -> list[ToolCallChunk]:
    """Give the chunk for new arguments; a lone `null`, which means none, is held back."""
    text = call.held + arguments
    if not text or (not call.told and "null".startswith(text.strip())):
        call.held = text
        return []
    call.held = ""
    return [_chunk(call, text)]


def _rest(call: _Call) -> str:
    held, call.held = call.held, ""
    return "" if held.strip() in ("", "null") else held


def _chunk(call: _Call, arguments: str) -> ToolCallChunk:
    call.told.append(arguments)
    if call.id:
        return tool_call_chunk(args=arguments, index=call.position)
    call.id = call.wire_id or new_call_id()
    return tool_call_chunk(name=call.name or None, args=arguments, id=call.id, index=call.position)


def _ending(call: _Call) -> str:
    text = call.text()
    whole = call.name and parse_arguments(text) is not None
    return "" if whole else unbalanced_end(text)


_CLOSERS = {"{": "}", "[": "]"}


def unbalanced_end(text: str) -> str:
    """Give the characters that make `text` no JSON even for core's repair, wherever it broke off.

    The repair gives up at a closing bracket that does not match; a string that is still open must
    be closed before it, and an escape that is pending within the string before that.
    """
    stack: list[str] = []
    in_string = escaped = False
    for char in text:
        if in_string:
            in_string = char != '"' or escaped
            escaped = char == "\\" and not escaped
        elif char == '"':
            in_string, escaped = True, False
        elif char in _CLOSERS:
            stack.append(_CLOSERS[char])
        elif stack and char == stack[-1]:
            stack.pop()
    ending = ("\\" if escaped else "") + '"' if in_string else ""
    return ending + ("]" if stack and stack[-1] == "}" else "}")
