"""Decode the tool calls of a completion, whole or in the deltas of a stream."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.utils.json import parse_partial_json

from langchain_aimlernie._response.schema import ToolCallDelta, is_shallow
from langchain_aimlernie._text import clean_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_core.messages import InvalidToolCall, ToolCall, ToolCallChunk

_DEEPEST = 200


def parse_arguments(text: str) -> dict[str, Any] | None:
    """Return a call's arguments: `{}` if `text` is blank, `None` if it is not a JSON object.

    Numbers that JSON does not have (`NaN`, `Infinity`, `1e999`) are not accepted, because they
    could not be sent back; nor are objects of more than 200 levels, because a message with them
    could be neither printed nor stored. An object within a JSON string counts; see `_unquoted`.
    """
    text = _unquoted(text)
    if _is_blank(text):
        return {}
    try:
        value = json.loads(text, strict=False)  # accepts line breaks in strings
        json.dumps(value, allow_nan=False)  # rejects infinity, to which `1e999` is parsed
        is_valid = isinstance(value, dict) and is_shallow(value, _DEEPEST)
    except (ValueError, RecursionError):
        return None
    return value if is_valid else None


def decode_tool_calls(
    calls: Iterable[ToolCallDelta], finish_reason: str | None
) -> tuple[list[ToolCall], list[InvalidToolCall]]:
    """Return the valid and the invalid calls of a whole completion.

    Every call gets a unique id, because its result must refer to it. A call without a name, or
    whose arguments are not a JSON object, is invalid and keeps its text. So is one without
    arguments if the completion was truncated, perhaps before them.
    """
    valid: list[ToolCall] = []
    invalid: list[InvalidToolCall] = []
    ids: set[str] = set()
    for _, given_id, name, sent in calls:
        text = clean_json(sent)
        if not (given_id or name) and _is_blank(text):
            continue  # a placeholder, not a call
        call_id = _unique_id(given_id, ids)
        is_truncated = _is_blank(text) and finish_reason in ("length", "content_filter")
        arguments = parse_arguments(text) if name and not is_truncated else None
        if arguments is None:
            error = "the arguments are not a JSON object" if name else "the call has no name"
            call = invalid_tool_call(name=name or None, args=text, id=call_id, error=error)
            invalid.append(call)
        else:
            valid.append(tool_call(name=name, args=arguments, id=call_id))
    return valid, invalid


def _unique_id(call_id: str, taken: set[str]) -> str:
    """Return `call_id`, or a new id if it is empty or taken, and add it to those taken."""
    if not call_id or call_id in taken:
        call_id = f"call_{uuid4().hex}"
    taken.add(call_id)
    return call_id


@dataclass(slots=True)
class _StreamedCall:
    """A call of a stream: the parts received, and how much of them has been emitted.

    `text` are the arguments, of which the first `emitted` characters have been emitted.
    `emitted_name` is the part of the name that has been emitted, `None` before the call is.
    `reopened` is a delta that repeated the name without arguments: those may follow and begin
    another call. `is_resent` is true if each delta has all arguments so far.
    """

    index: int
    wire_index: int | None
    wire_id: str
    id: str = ""
    name: str = ""
    emitted_name: str | None = None
    text: str = ""
    emitted: int = 0
    reopened: ToolCallDelta | None = None
    is_resent: bool = False

    def add(self, delta: ToolCallDelta) -> None:
        self.wire_id = self.wire_id or delta.id
        if self.wire_index is None:
            self.wire_index = delta.wire_index
        if delta.name and self.name and self.has_arguments():
            self.reopened = delta if _is_blank(delta.arguments) else None
        elif delta.name.startswith(self.name):  # the name again, or more of it
            self.name = delta.name
        else:
            self.name += delta.name
        arguments = delta.arguments
        if self.has_placeholder() and _begins_object(arguments):
            self.text = ""
        elif self.is_repeated_by(arguments):
            return
        elif self.is_resent_by(arguments):
            self.is_resent = True
            arguments = arguments[len(self.text) :]
        text, self.text = self.text, ""  # a local variable is extended in place, not copied
        text += arguments
        self.text = text if self.emitted else _unquoted(text)

    def has_begun(self) -> bool:
        return bool(self.wire_id or self.name) or self.has_arguments()

    def has_arguments(self) -> bool:
        return not _is_blank(self.text)

    def has_placeholder(self) -> bool:
        """Whether the arguments are just a `null` or `{}`, which some servers send first."""
        return not self.emitted and _is_placeholder(self.text)

    def is_complete(self) -> bool:
        """Whether the arguments are a JSON object; parses them only if they end like one."""
        return self.text.rstrip().endswith("}") and parse_arguments(self.text) is not None

    def is_repeated_by(self, arguments: str) -> bool:
        """Whether a complete call gets its arguments again, or a `null` or `{}` at the end."""
        arguments = _unquoted(arguments)
        if _is_placeholder(arguments):
            return self.has_placeholder() or self.is_complete()
        is_object = _begins_object(arguments) and self.is_complete()
        return is_object and parse_arguments(arguments) == parse_arguments(self.text)

    def is_resent_by(self, arguments: str) -> bool:
        """Whether a delta has all arguments so far, and more, as some servers send each one."""
        if not (_begins_object(arguments) and self.has_arguments()):
            return False
        is_longer = arguments.startswith(self.text)
        return is_longer and (self.is_resent or self.cannot_continue_with(arguments))

    def cannot_continue_with(self, arguments: str) -> bool:
        """Whether the arguments so far are part of an object that this text cannot continue."""
        return _is_begun(self.text) and not _is_begun(self.text + arguments)

    def is_followed_by(self, delta: ToolCallDelta) -> bool:
        """Whether a delta starts a new call at the index where this one is.

        It does if it has a name and this call is complete: its arguments are a JSON object, or it
        has none yet and the name differs. An id alone starts nothing, nor does a repeated name,
        unless arguments come with it or after it. Calls with different ids may be interleaved: the
        arguments of the second cannot continue those of the first.
        """
        if not delta.name:
            return False
        is_other_name = self.name not in ("", delta.name)
        has_arguments = self.has_arguments()
        if has_arguments and not _begins_object(delta.arguments):
            return is_other_name and self.is_complete()
        is_same_id = self.wire_id != "" and self.wire_id == delta.id
        is_other_id = "" not in (self.wire_id, delta.id) and not is_same_id
        if not has_arguments:
            is_more = _is_blank(delta.arguments) or delta.name.startswith(self.name)
            return is_other_name and not (is_more and self.wire_id and not is_other_id)
        if not self.is_complete():
            return is_other_id and self.cannot_continue_with(delta.arguments)
        if not is_same_id:
            return True
        is_same = parse_arguments(delta.arguments) == parse_arguments(self.text)
        return not (self.has_placeholder() or (is_same and not is_other_name))

    def ready(self) -> str:
        """Return the arguments to emit, but not what may be a placeholder or a string."""
        if not self.emitted:
            start = self.text.strip()
            if start == "{}" or start.startswith('"') or "null".startswith(start):
                return ""
        whole = _WHOLE_ESCAPES.match(self.text, self.emitted)
        return whole[0] if whole else ""


def _invalidating_suffix(text: str) -> str:
    """Return a suffix that keeps core's repair of partial JSON from accepting an invalid call.

    Core would complete truncated arguments to a call that the model never made. It gives up at an
    unmatched bracket; an open string, and an incomplete escape in it, must be closed before.
    """
    if text and not isinstance(_parse_as_core(text), dict):
        return ""
    return next(end for end in _SUFFIXES if _parse_as_core(text + end) is None)


_SUFFIXES = [closing + bracket for closing in ("", '"', '\\"') for bracket in "}]"]


def _parse_as_core(text: str) -> object:
    """Parse arguments as core does, with its repair; `None` if a bracket is unmatched."""
    try:
        return cast("object", parse_partial_json(text))
    except (ValueError, RecursionError):
        return False


class ToolCallAssembler:
    """Assembles the deltas of a stream's tool calls into chunks that core can merge.

    The published schema repeats id, type and name with every delta; servers also send them once,
    empty, null or late, change the id, leave out the index, give all calls the same index, or
    interleave calls. Each call has a unique index in its chunks, and its id and name once.

    A delta belongs to the call at its index, unless it starts another one there (see
    `_StreamedCall.is_followed_by`). A call is first emitted with arguments, when its name is known
    to be complete.
    """

    def __init__(self) -> None:
        self._calls: list[_StreamedCall] = []
        self._ids: set[str] = set()

    def feed(self, deltas: Iterable[ToolCallDelta]) -> list[ToolCallChunk]:
        """Return the chunks for the deltas of one event, at most one for each call.

        Core merges chunks with the same index across messages, but not within one.
        """
        for delta in deltas:
            self._take(delta)
        chunks = []
        for call in self._calls:
            arguments = call.ready()
            is_followed = call is not self._calls[-1] and call.has_begun()
            is_due = is_followed or call.emitted_name is not None
            if arguments or (is_due and call.name != call.emitted_name):
                chunks.append(self._chunk(call, arguments))
        return chunks

    def close(self, finish_reason: str | None) -> tuple[list[ToolCallChunk], list[InvalidToolCall]]:
        """Return the buffered rest, and the calls whose arguments are JSON, but not an object.

        The chunks have suffixes that keep invalid calls invalid in core's messages. The calls with
        other JSON are invalid there anyway, but not in core's events, which need their index.
        """
        chunks: list[ToolCallChunk] = []
        other_json: list[InvalidToolCall] = []
        for call, text, invalid in self._calls_so_far(finish_reason):
            if invalid and _is_other_json(text):
                other_json.append({**invalid, "index": call.index})
            arguments = text[call.emitted :] + (_invalidating_suffix(text) if invalid else "")
            if arguments or call.name != call.emitted_name:
                chunks.append(self._chunk(call, arguments))
        return chunks, other_json

    def snapshot(self) -> tuple[list[ToolCallChunk], list[InvalidToolCall]]:
        """Return each call that has begun as one chunk, and the unfinished ones as invalid calls.

        The chunks of the latter have a suffix as in `close`; the invalid calls have none.
        """
        chunks, invalid_calls = [], []
        for call, text, invalid in self._calls_so_far("length"):
            args = text + _invalidating_suffix(text) if invalid else text
            chunks.append(
                tool_call_chunk(name=call.name or None, args=args, id=call.id, index=call.index)
            )
            if invalid:
                invalid_calls.append(invalid)
        return chunks, invalid_calls

    def _calls_so_far(
        self, finish_reason: str | None
    ) -> Iterator[tuple[_StreamedCall, str, InvalidToolCall | None]]:
        """Yield each call that has begun, its arguments, and the invalid call that it may be."""
        for call in filter(_StreamedCall.has_begun, self._calls):
            text = clean_json(call.text) if call.has_arguments() else ""
            whole = ToolCallDelta(None, self._id(call), call.name, text)
            _, invalid = decode_tool_calls([whole], finish_reason)
            yield call, text, next(iter(invalid), None)

    def _take(self, delta: ToolCallDelta) -> None:
        """Add a delta to its call, or begin a call with it."""
        call = self._find(delta)
        if call is not None and call.reopened is not None and not _is_blank(delta.arguments):
            if not delta.name:
                _, call_id, name, _ = call.reopened
                delta = delta._replace(name=name, id=delta.id or call_id)
            call.reopened = None
        if call is None or call.is_followed_by(delta):
            call = _StreamedCall(len(self._calls), delta.wire_index, delta.id)
            self._calls.append(call)
        call.add(delta)

    def _find(self, delta: ToolCallDelta) -> _StreamedCall | None:
        """Return the call at the delta's index: the one with its id, else the latest.

        With a new index but without id and name, a delta continues an incomplete call.
        """
        calls, wire_index = self._calls, delta.wire_index
        here = [call for call in calls if call.wire_index == wire_index]
        if not here:
            here = calls if wire_index is None else [c for c in calls if c.wire_index is None]
        known = [call for call in here or calls if delta.id and call.wire_id == delta.id]
        if here:
            return (known or here)[-1]
        if calls and not (delta.id or delta.name or calls[-1].is_complete()):
            return calls[-1]
        continues = not _is_blank(delta.arguments) and not _begins_object(delta.arguments)
        return known[-1] if known and continues else None

    def _id(self, call: _StreamedCall) -> str:
        """Return the id of a call: the server's, if it sent one that no other call has."""
        call.id = call.id or _unique_id(call.wire_id, self._ids)
        return call.id

    def _chunk(self, call: _StreamedCall, arguments: str) -> ToolCallChunk:
        call_id = self._id(call) if call.emitted_name is None else None
        name = call.name[len(call.emitted_name or "") :]
        call.emitted_name = call.name
        call.emitted += len(arguments)
        args = clean_json(arguments)
        return tool_call_chunk(name=name or None, args=args, id=call_id, index=call.index)


_WHOLE_ESCAPES = re.compile(
    r"(?:[^\\]+|\\(?:[^u]|u(?!d[89ab]).{4}|ud[89ab]..(?=[^\\]|\\[^u]|\\u.{4})))*+",
    re.IGNORECASE | re.DOTALL,
)
"""Text that ends neither within an escape nor between the halves of a surrogate pair."""


def _unquoted(text: str) -> str:
    """Return the JSON object within a JSON string, else the text.

    Granite with vLLM's Hermes parser, Nova and others encode arguments twice, absent ones as `""`.
    """
    if not (text.lstrip().startswith('"') and text.rstrip().endswith('"')):
        return text
    try:
        inner = json.loads(text, strict=False)
    except ValueError:
        return text
    if not isinstance(inner, str) or parse_arguments(inner) is None:
        return text
    return "{}" if _is_blank(inner) else _unquoted(inner)


def _is_blank(arguments: str) -> bool:
    return arguments.strip() in ("", "null")


def _is_placeholder(arguments: str) -> bool:
    return arguments.strip() in ("null", "{}", '""')


def _begins_object(arguments: str) -> bool:
    """Whether this may be the beginning of an object, or is an empty one encoded as `""`."""
    text = arguments.strip()
    return text.startswith(("{", '"{', '"\\"{')) or text == '""'


_LAST_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{0,4})+$")
_CUT = ("true", "false", "null", "-", ".", "e+", "e-", "E+", "E-")
"""Tokens that may be incomplete at the end of a text."""


def _is_begun(text: str) -> bool:
    """Whether JSON may begin with this text."""
    text = _LAST_ESCAPES.sub("", text)  # the decoder needs a character after these
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as error:
        rest = text[error.pos :].strip()
        return any(part.startswith(rest) for part in _CUT) or error.msg.startswith(
            "Unterminated string"
        )
    except RecursionError:
        return False
    return True


def _is_other_json(text: str) -> bool:
    try:
        return not _is_blank(text) and not isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
