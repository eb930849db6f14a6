"""Tool calls of a completion, whole or in the fragments of a stream -> LangChain's."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.utils.json import parse_partial_json
from pydantic_core import from_json

if TYPE_CHECKING:
    from collections.abc import Iterable

    from langchain_core.messages import InvalidToolCall, ToolCall, ToolCallChunk

    from langchain_aimlernie._response.schema import ToolCallDelta


def parse_arguments(text: str) -> dict[str, Any] | None:
    """Return a call's arguments, `None` if `text` is no JSON object; no text at all means none.

    Numbers that JSON does not have (`NaN`, `Infinity`, `1e999`) make it no JSON object, because
    they could not be sent back. So do objects that the fast parser finds too deep (200 levels): a
    message that holds them could be neither printed nor stored.
    """
    if text.strip() in ("", "null"):
        return {}
    try:
        value = from_json(text, allow_inf_nan=False)
    except ValueError as error:
        value = None if _TOO_DEEP in str(error) else _parse_loosely(text)
    return value if isinstance(value, dict) and _is_finite(value) else None


_TOO_DEEP = "recursion limit"


def _parse_loosely(text: str) -> object:
    """Parse JSON with line breaks in strings and the like, which the fast parser refuses."""
    try:
        return cast("object", json.loads(text, strict=False, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return None


def _refuse_constant(name: str) -> object:
    raise ValueError(name)


def _is_finite(value: object) -> bool:
    """Whether no number in `value` overflowed: both parsers read `1e999` as infinity."""
    values = [value]
    while values:
        value = values.pop()
        if isinstance(value, dict):
            values.extend(value.values())
        elif isinstance(value, list):
            values.extend(value)
        elif isinstance(value, float) and not math.isfinite(value):
            return False
    return True


def is_cut(finish_reason: str | None) -> bool:
    """Whether a completion broke off, perhaps before the arguments of its last call."""
    return finish_reason in ("length", "content_filter")


def decode_tool_calls(
    fragments: Iterable[ToolCallDelta], finish_reason: str | None
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return the valid and the invalid calls of a whole completion.

    Every call has an id of its own, since each must be answered under its id. A call without a
    name, or whose arguments are no JSON object, is invalid and keeps its text. So is one without
    arguments if the completion was cut.
    """
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    seen: set[str] = set()
    for fragment in fragments:
        if not (fragment.id or fragment.name) and _is_blank(fragment.arguments):
            continue  # a placeholder for no call
        call_id = fragment.id if fragment.id not in seen | {""} else new_call_id()
        seen.add(call_id)
        arguments = parse_arguments(fragment.arguments)
        lacks_arguments = _is_blank(fragment.arguments) and is_cut(finish_reason)
        if arguments is None or lacks_arguments or not fragment.name:
            invalid.append(_invalid(fragment.name, fragment.arguments, call_id))
        else:
            valid.append(tool_call(name=fragment.name, args=arguments, id=call_id))
    return valid, invalid


def _invalid(name: str, arguments: str, call_id: str) -> InvalidToolCall:
    error = _NOT_AN_OBJECT if name else _NO_NAME
    return invalid_tool_call(name=name or None, args=arguments, id=call_id, error=error)


_NO_NAME = "the call has no name"
_NOT_AN_OBJECT = "the arguments are not a JSON object"


def new_call_id() -> str:
    """Return a new id for a call that came without one."""
    return f"call_{uuid4().hex}"


_CLOSERS = {"{": "}", "[": "]"}


class JsonScanner:
    """Tracks the open brackets and strings of JSON text that arrives in parts."""

    __slots__ = ("_escaped", "_in_string", "_stack")

    def __init__(self) -> None:
        self._stack: list[str] = []
        self._in_string = self._escaped = False

    def feed(self, text: str) -> None:
        """Scan the next part of the text."""
        for char in text:
            if self._in_string:
                self._in_string = char != '"' or self._escaped
                self._escaped = char == "\\" and not self._escaped
            elif char == '"':
                self._in_string, self._escaped = True, False
            elif char in _CLOSERS:
                self._stack.append(_CLOSERS[char])
            elif self._stack and char == self._stack[-1]:
                self._stack.pop()

    def is_closed(self) -> bool:
        """Whether all brackets and strings are closed."""
        return not (self._stack or self._in_string)

    def invalidating_suffix(self) -> str:
        """Return what keeps core's partial-JSON repair from completing the text.

        The repair gives up at a closing bracket that does not match; a string that is still open
        must be closed before it, and an escape that is pending within the string before that.
        """
        ending = ("\\" if self._escaped else "") + '"' if self._in_string else ""
        return ending + ("]" if self._stack and self._stack[-1] == "}" else "}")


@dataclass(slots=True)
class _StreamedCall:
    """A call of a stream: the parts received, and how much of them has been emitted.

    `held` are the arguments that wait, `emitted` the others. `reopened` is the id of a fragment
    that repeated the name without arguments.
    """

    position: int
    index: int | None
    wire_id: str
    id: str = ""
    is_announced: bool = False
    name: str = ""
    emitted_name: str = ""
    emitted: list[str] = field(default_factory=list)
    held: str = ""
    reopened: str | None = None
    scanner: JsonScanner = field(default_factory=JsonScanner)
    _is_object: bool | None = None

    def add(self, arguments: str) -> None:
        """Add a part of the arguments; what follows an object makes it none."""
        self.held += arguments
        self.scanner.feed(arguments)
        if self._is_object is not None and arguments.strip():
            self._is_object = False

    def replace(self, arguments: str) -> None:
        """Replace a placeholder by these arguments."""
        self.held, self.scanner, self._is_object = "", JsonScanner(), None
        self.add(arguments)

    def text(self) -> str:
        """Return the arguments so far."""
        return "".join(self.emitted) + self.held

    def has_arguments(self) -> bool:
        """Whether there are any arguments yet."""
        return bool(self.emitted) or not _is_blank(self.held)

    def has_placeholder(self) -> bool:
        """Whether there is but a `null` or `{}`, which some servers send at first."""
        return not self.emitted and self.held.strip() in ("null", "{}")

    def is_complete(self) -> bool:
        """Whether the arguments are a JSON object."""
        if not (self.has_arguments() and self.scanner.is_closed()):
            return False
        if self._is_object is None:
            self._is_object = parse_arguments(self.text()) is not None
        return self._is_object

    def is_valid(self, *, is_cut: bool) -> bool:
        """Whether this is a whole call, if nothing follows."""
        if not self.has_arguments():
            return bool(self.name) and not is_cut
        return bool(self.name) and self.is_complete()

    def ready(self) -> str:
        """Return the buffered arguments, except for what may be a placeholder."""
        waits = self.has_placeholder() or "null".startswith(self.held.strip())
        return "" if waits and not self.emitted else self.held


class ToolCallAssembler:
    """Assembles the deltas of a stream's tool calls into chunks that core can merge.

    The published schema repeats id, type and name with every fragment; servers also send them once,
    empty, null or late, change the id, leave out the index, number all calls alike, or interleave
    calls. Each chunk has the call's own index, and each call its id and name once.

    A fragment belongs to the call at its index, unless it starts another one there (see
    `_starts_new_call`). A call is announced with its first arguments, when its name is known to be
    whole.
    """

    def __init__(self) -> None:
        self._calls: list[_StreamedCall] = []
        self._ids: set[str] = set()

    def feed(self, fragments: Iterable[ToolCallDelta]) -> list[ToolCallChunk]:
        """Return the chunks that the fragments of one delta make, at most one for each call.

        Core merges the chunks of one index from message to message, but not within a message.
        """
        touched: set[int] = set()
        for fragment in fragments:
            touched.add(len(self._calls) - 1)  # to be announced if another one follows
            touched.add(self._take(fragment).position)
        chunks = []
        for call in [self._calls[position] for position in sorted(touched) if position >= 0]:
            arguments = call.ready()
            is_followed = call is not self._calls[-1] and not _is_empty(call)
            is_due = call.name != call.emitted_name if call.is_announced else is_followed
            if arguments or is_due:
                chunks.append(self._chunk(call, arguments))
        return chunks

    def close(self, finish_reason: str | None) -> list[ToolCallChunk]:
        """Return the buffered rest, and suffixes that keep invalid calls invalid for core.

        Core completes half a call's arguments into a call that the model never made. A bracket that
        closes nothing stops it; the text before the bracket stays as it is.
        """
        chunks = []
        for call in self._begun():
            ending = _invalidating_suffix(call, is_cut=is_cut(finish_reason))
            arguments = (call.held if call.has_arguments() else "") + ending
            if arguments or not call.is_announced or call.name != call.emitted_name:
                chunks.append(self._chunk(call, arguments))
        return chunks

    def other_json(self) -> list[InvalidToolCall]:
        """Return the calls whose arguments are JSON, but no object; each has its index.

        Core's messages know these for invalid by themselves, and keep the text as it is. Its events
        do not.
        """
        return [
            {**_invalid(call.name, call.text(), self._id(call)), "index": call.position}
            for call in self._begun()
            if _is_other_json(call.text())
        ]

    def snapshot(self) -> list[ToolCallChunk]:
        """Return each call that has begun as one chunk, an unfinished one as an invalid call."""
        return [
            tool_call_chunk(
                name=call.name or None,
                args=call.text() + _invalidating_suffix(call, is_cut=True),
                id=self._id(call),
                index=call.position,
            )
            for call in self._begun()
        ]

    def invalid_snapshot(self) -> list[InvalidToolCall]:
        """Return the unfinished calls with the server's own text."""
        return [
            _invalid(call.name, call.text(), self._id(call))
            for call in self._begun()
            if not call.is_valid(is_cut=True)
        ]

    def _begun(self) -> list[_StreamedCall]:
        return [call for call in self._calls if not _is_empty(call)]

    def _take(self, fragment: ToolCallDelta) -> _StreamedCall:
        """Add a fragment to its call, and return that."""
        call = self._find(fragment)
        if call is not None and call.reopened is not None and not _is_blank(fragment.arguments):
            if not fragment.name:
                call_id = fragment.id or call.reopened
                fragment = fragment._replace(name=call.name, id=call_id)
            call.reopened = None
        if call is None or _starts_new_call(fragment, call):
            call = _StreamedCall(len(self._calls), fragment.place, fragment.id)
            self._calls.append(call)
        _add(fragment, call)
        return call

    def _find(self, fragment: ToolCallDelta) -> _StreamedCall | None:
        """Return the call at the fragment's index: the one with its id, else the latest."""
        here = [call for call in self._calls if call.index == fragment.place]
        if not here and fragment.place is None:
            here = self._calls
        elif not here:
            here = [call for call in self._calls if call.index is None]
        known = []
        if fragment.id:
            known = [call for call in here or self._calls if call.wire_id == fragment.id]
        if here:
            return (known or here)[-1]
        return known[-1] if known and not _may_begin(fragment.arguments) else None

    def _id(self, call: _StreamedCall) -> str:
        """Return the id of a call: the server's, if it sent one that no other call has."""
        if not call.id:
            is_taken = call.wire_id in self._ids | {""}
            call.id = new_call_id() if is_taken else call.wire_id
            self._ids.add(call.id)
        return call.id

    def _chunk(self, call: _StreamedCall, arguments: str) -> ToolCallChunk:
        call_id = None if call.is_announced else self._id(call)
        call.is_announced = True
        if arguments:
            call.emitted.append(arguments)
            call.held = ""
        name = call.name[len(call.emitted_name) :]
        call.emitted_name = call.name
        return tool_call_chunk(name=name or None, args=arguments, id=call_id, index=call.position)


def _starts_new_call(fragment: ToolCallDelta, call: _StreamedCall) -> bool:
    """Whether a fragment starts a new call at the index where `call` is.

    It does if it carries a name and `call` is complete: its arguments are a JSON object, or it has
    none yet and the name differs. An id alone starts nothing, nor does a repeated name, unless
    arguments come with it or after it.
    """
    if not fragment.name:
        return False
    is_other = call.name not in ("", fragment.name)
    is_blank = _is_blank(fragment.arguments)
    has_same_id = call.wire_id != "" and fragment.id == call.wire_id
    if not call.has_arguments():
        is_piece_of_name = is_blank and call.wire_id != "" and (has_same_id or not fragment.id)
        return is_other and not is_piece_of_name
    if is_blank or not _may_begin(fragment.arguments):
        return is_other and call.is_complete()
    if has_same_id and (call.has_placeholder() or _repeats(fragment.arguments, call)):
        return False
    return call.is_complete()


def _add(fragment: ToolCallDelta, call: _StreamedCall) -> None:
    call.wire_id = call.wire_id or fragment.id
    if call.index is None:
        call.index = fragment.place
    if fragment.name and call.has_arguments() and call.name:
        call.reopened = fragment.id if _is_blank(fragment.arguments) else None
    elif fragment.name != call.name:
        call.name += fragment.name
    if call.has_placeholder() and fragment.arguments.lstrip().startswith("{"):
        call.replace(fragment.arguments)
    elif not _repeats(fragment.arguments, call):
        call.add(fragment.arguments)


def _repeats(arguments: str, call: _StreamedCall) -> bool:
    """Whether a complete call's arguments are sent again, as some servers do at the end."""
    text = arguments.strip()
    if not (text.startswith("{") and text.endswith("}") and call.is_complete()):
        return False
    return parse_arguments(text) == parse_arguments(call.text())


def _is_blank(arguments: str) -> bool:
    return arguments.strip() in ("", "null")


def _may_begin(arguments: str) -> bool:
    """Whether arguments may begin with this text."""
    return _is_blank(arguments) or arguments.lstrip().startswith("{")


def _is_empty(call: _StreamedCall) -> bool:
    return not (call.wire_id or call.name or call.has_arguments())


def _invalidating_suffix(call: _StreamedCall, *, is_cut: bool) -> str:
    """Return the suffix that keeps invalid arguments invalid for core, too."""
    if call.is_valid(is_cut=is_cut) or not _is_taken_by_core(call.text()):
        return ""
    return call.scanner.invalidating_suffix()


def _is_taken_by_core(text: str) -> bool:
    """Whether core parses `text` as arguments, after its repair of partial JSON."""
    try:
        return not text or isinstance(parse_partial_json(text), dict)
    except (ValueError, RecursionError):
        return False


def _is_other_json(text: str) -> bool:
    try:
        return not _is_blank(text) and not isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
