"""Decode the bytes of a stream to `ChatGenerationChunk`s, however the bytes are split.

A stream that ends early is an error, never a shorter completion.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from dataclasses import dataclass
from itertools import chain, pairwise, takewhile
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_aimlernie._response.completion import (
    ResponseDecoder,
    ThinkTagParser,
    decode_usage,
    message_extras,
    split_think_tags,
)
from langchain_aimlernie._response.schema import (
    NO_CHOICE,
    Choice,
    Completion,
    is_empty,
    parse_event,
    plain_delta,
    unreadable,
)
from langchain_aimlernie._response.tool_calls import ToolCallAssembler
from langchain_aimlernie._text import clean_text, warn_user
from langchain_aimlernie.errors import InvalidResponseError, StreamInterruptedError
from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.messages.tool import ToolCallChunk

_BOM = b"\xef\xbb\xbf"
_LF, _CR, _COMMENT = b"\n\r:"
_DEFAULT_TYPE = "message"
_ERROR_TYPE = "error"
_DONE = (b"[DONE]", b"DONE")
_KNOWN_KEYS = (b'"choices"', b'"usage"', b'"meta"', b'"error"')
"""An event of another type than `message` is parsed only if it has one of these keys."""


def _events_within(event: ServerSentEvent) -> list[ServerSentEvent]:
    """Return the events that a server or proxy has sent as one."""
    if event.data.startswith(b"data:"):  # an event within an event
        lines = [event.data.removeprefix(b"data:")]
    else:  # no blank line between events
        lines = event.data.split(b"\n") if b"}\n" in event.data else []
    return [event._replace(data=line) for line in lines]


@dataclass(repr=False, eq=False)
class StreamDecoder(ResponseDecoder):
    """Decodes the bytes of one stream into chunks, without I/O.

    Each chunk has `model_provider`, and gets its id from core. All other metadata, usage, cost and
    unknown keys are only on the last chunk (`chunk_position="last"`), because core concatenates
    strings and adds numbers when it merges chunks. A single JSON object instead of events is
    accepted, too.

    Attributes:
        events: The number of events with content; comments and empty deltas have none.
        done: Whether the last chunk has been returned.
    """

    def __post_init__(self) -> None:
        self.events = 0
        self.done = False
        self._sse = SSEDecoder()
        self._has_events: bool | None = None  # unknown before the first character
        self._body = bytearray()  # all that is not known to be events
        self._completion = Completion()
        self._index: int | None = None  # of the first choice; others are ignored
        self._finish_reason: str | None = None
        self._message_extras: list[Mapping[str, object]] = []
        self._tools = ToolCallAssembler()
        self._think_tags = ThinkTagParser(self_hosted=self.is_self_hosted)
        self._text = _TextBuffer()
        self._reasoning = _TextBuffer()
        self._refusal = _TextBuffer()

    def feed(self, data: bytes) -> Iterable[ChatGenerationChunk]:
        """Return the chunks that the next bytes complete; each is decoded when it is iterated."""
        if not self._has_events:
            self._body += data
            self._sse.check_size(len(self._body))
            if self._has_events is None and (start := data.lstrip(_BOM + b" \t\r\n")):
                self._has_events = not start.startswith((b"{", b"[", b"<"))
            if self._has_events is False:
                return ()
        return chain.from_iterable(map(self._decode, self._sse.feed(data)))

    def close(self) -> Iterator[ChatGenerationChunk]:
        """Yield the remaining chunks; raise unless `[DONE]` or a finish_reason was received."""
        if self._has_events is False:
            body = self.parse_completion(bytes(self._body))
            yield from self._on_event(body)
        else:
            for event in self._sse.close():
                with contextlib.suppress(InvalidResponseError):  # a truncated event is ignored
                    yield from self._decode(event)
            if not (self._finish_reason or self.done or self._index is None):
                raise StreamInterruptedError(
                    "The stream ended early, without [DONE] or a finish_reason; "
                    "`.partial` has the output received.",
                    partial=self.partial,
                )
        if not self.done:
            yield from self._finish()

    @property
    def partial(self) -> AIMessageChunk | None:
        """The output so far as one chunk; `None` if there is none.

        Tool calls with incomplete arguments are in `invalid_tool_calls`.
        """
        if not self.events:
            return None
        tool_calls, invalid_tool_calls = self._tools.snapshot()
        additional_kwargs = message_extras(self._reasoning.text(), self._refusal.text())
        message = AIMessageChunk(
            content=self._text.text(), tool_call_chunks=tool_calls, **self._facts(additional_kwargs)
        )
        # Unlike those that core reads from the chunks, these have no suffix to keep them invalid.
        message.invalid_tool_calls = invalid_tool_calls
        return message

    def _decode(self, event: ServerSentEvent) -> Iterable[ChatGenerationChunk]:
        if self.done:
            return ()
        data = event.data.strip()
        is_error = False
        if event.event != _DEFAULT_TYPE or not data.startswith(b"{"):
            if data.strip(b'"').upper().startswith(_DONE):
                return self._finish()
            is_error = _ERROR_TYPE in event.event.lower()  # also `server_error`
            is_known = event.event == _DEFAULT_TYPE or any(key in data for key in _KNOWN_KEYS)
            is_heartbeat = not is_known or data in (b"", b"null") or data.startswith(b":")
            if is_heartbeat and not is_error:
                return ()
        try:
            payload = self.parse_payload(event.data, is_error=is_error)
        except InvalidResponseError as error:
            events = _events_within(event._replace(data=data))
            if not events:
                error.is_retryable = True  # a page within a stream is a gateway's, not a website's
                raise
            return chain.from_iterable(map(self._decode, events))
        return self._on_payload(payload)

    def _on_payload(self, payload: Mapping[str, object]) -> Sequence[ChatGenerationChunk]:
        delta = None if self._index is None else plain_delta(payload, self._index)
        if delta is None:
            self.raise_error_in(payload)
            return self._on_event(parse_event(payload))
        self.events += 1
        reasoning, text = self._think_tags.feed(*delta)
        text, additional_kwargs = self._add(text, reasoning)
        return (_chunk(text, additional_kwargs),) if text or additional_kwargs else ()

    def _on_event(self, event: Completion) -> Sequence[ChatGenerationChunk]:
        if len(event.choices) > 1:  # even of one index: FastDeploy can send several deltas at once
            parts = (event._replace(choices=(choice,)) for choice in event.choices)
            return [*chain.from_iterable(map(self._on_event, parts))]
        choice = event.choices[0] if event.choices else NO_CHOICE
        if event.choices and self._index is None:
            self._index = choice.wire_index
        if event.choices and self._index != choice.wire_index:
            warn_user("The stream has several choices; only the first is kept.")
            choice = NO_CHOICE
        extras = {**choice.choice_extras, **event.extras}
        has_facts = bool(choice.finish_reason or choice.message_extras or event.usage or event.cost)
        if has_facts or extras or event.facts != self._completion.facts:
            self._completion = self._completion.merge(event._replace(extras=extras))
        if choice.finish_reason and (choice.finish_reason != "stop" or not self._finish_reason):
            self._finish_reason = choice.finish_reason  # any other replaces "stop"
        if choice.message_extras:
            self._message_extras.append(choice.message_extras)
        if self._is_repeated_by(choice):
            choice = choice._replace(text="", reasoning="")
        reasoning, text = self._think_tags.feed(choice.text, choice.reasoning)
        text, additional_kwargs = self._add(text, reasoning, choice.refusal)
        tool_calls = self._tools.feed(choice.tool_calls) if choice.tool_calls else []
        logprobs = choice.logprobs and _mergeable(choice.logprobs)
        has_output = text or additional_kwargs or tool_calls or logprobs
        if has_output or has_facts:
            self.events += 1
        return (_chunk(text, additional_kwargs, tool_calls, logprobs),) if has_output else ()

    def _is_repeated_by(self, choice: Choice) -> bool:
        """Whether the choice is a final message that repeats all text, as some servers send it."""
        if not (choice.is_message and choice.finish_reason and self.events):
            return False
        reasoning, text = split_think_tags(choice.text, choice.reasoning, self.is_self_hosted)
        is_all = reasoning in ("", self._reasoning.text())
        return is_all and text == self._text.text()

    def _add(
        self, text: str, reasoning: str, refusal: str = "", *, is_last: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """Return the text, and those for `additional_kwargs`, that can be emitted now."""
        additional_kwargs = {}
        if reasoning or refusal or is_last:
            reasoning = self._reasoning.add(reasoning, is_last=is_last)
            additional_kwargs = message_extras(
                reasoning, self._refusal.add(refusal, is_last=is_last)
            )
        return self._text.add(text, is_last=is_last), additional_kwargs

    def _finish(self) -> list[ChatGenerationChunk]:
        """Return the buffered output, then the chunk that ends the stream."""
        if self._index is None:
            start = self._body.decode(errors="replace")
            error = unreadable("The stream ended without a completion.", start, self.redactor)
            error.phase = "empty_stream"
            raise error
        self.done = True
        chunks = []
        reasoning, text = self._think_tags.close()
        text, additional_kwargs = self._add(text, reasoning, is_last=True)
        tool_calls, other_json = self._tools.close(self._finish_reason)
        if text or additional_kwargs or tool_calls:
            chunks.append(_chunk(text, additional_kwargs, tool_calls))
        if other_json:
            # For the block translator, which ends the chunks of these calls; merged messages get
            # their calls from tool_call_chunks.
            chunks.append(_chunk("", {}))
            cast("AIMessageChunk", chunks[-1].message).invalid_tool_calls.extend(other_json)
        message = AIMessageChunk(content="", chunk_position="last", **self._facts())
        info = {} if self._finish_reason is None else {"finish_reason": self._finish_reason}
        message.response_metadata.update(info)
        return [*chunks, ChatGenerationChunk(message=message, generation_info=info)]

    def _facts(self, additional_kwargs: Mapping[str, str] = {}) -> dict[str, Any]:
        """Return the metadata of the whole completion, as fields of a message."""
        extras = merge_deltas(self._message_extras) if self._message_extras else {}
        return {
            "additional_kwargs": {**self.redactor.json_object(extras), **additional_kwargs},
            "response_metadata": self.metadata(self._completion),
            "usage_metadata": decode_usage(self._completion.usage),
        }


_MESSAGE = AIMessageChunk(content="")
_CHUNK = ChatGenerationChunk(message=_MESSAGE)


def _chunk(
    text: str,
    additional_kwargs: dict[str, Any],
    tool_calls: Sequence[ToolCallChunk] = (),
    logprobs: dict[str, object] | None = None,
) -> ChatGenerationChunk:
    """Return a chunk; one without tool calls is a copy, which is faster than a new chunk."""
    metadata: dict[str, Any] = {"model_provider": PROVIDER}
    if logprobs:
        metadata["logprobs"] = logprobs
    facts: dict[str, Any] = {
        "content": text,
        "additional_kwargs": additional_kwargs,
        "response_metadata": metadata,
    }
    if tool_calls:
        message = AIMessageChunk(tool_call_chunks=[*tool_calls], **facts)
    else:
        message = _MESSAGE.__copy__()
        message.__dict__.update(facts, tool_calls=[], invalid_tool_calls=[], tool_call_chunks=[])
    chunk = _CHUNK.__copy__()
    chunk.__dict__.update(message=message, text=text)
    return chunk


class _TextBuffer:
    """Accumulates emitted text; buffers a lone high surrogate until the next chunk."""

    __slots__ = ("_emitted", "_pending")

    def __init__(self) -> None:
        self._emitted = io.StringIO()
        self._pending = ""

    def add(self, text: str, *, is_last: bool) -> str:
        """Return the part of the buffered text and `text` that can be emitted."""
        text = self._pending + text
        if not text.isascii():
            is_split = not is_last and "\ud800" <= text[-1] <= "\udbff"
            self._pending = text[-1] if is_split else ""
            text = clean_text(text[:-1] if is_split else text)
        self._emitted.write(text)
        return text

    def text(self) -> str:
        return self._emitted.getvalue()


def _mergeable(logprobs: Mapping[str, object]) -> dict[str, object]:
    """Return the lists of log probabilities: core would add numbers, or refuse to merge them."""
    return {
        name: value
        for name, value in logprobs.items()
        if value is None or (isinstance(value, list) and not any(map(_has_index, value)))
    }


def merge_deltas(values: Sequence[Any]) -> Any:
    """Merge the values that a key has in the events of a stream.

    Servers send a value either in increments, or whole with each event (`citations`). If each value
    begins with the one before, it was sent whole, and the last one is returned; otherwise texts and
    lists are concatenated. Objects are merged by key, and objects in a list by `index` and `type`
    if each has an index (`reasoning_details`). Of other values, the last is returned. Empty values,
    and those before a value of another type, are ignored.
    """
    values = [value for value in values if not is_empty(value)] or values[:1]
    kind = _kind(values[-1])
    values = [*takewhile(lambda value: _kind(value) == kind, reversed(values))][::-1]
    if kind[0] is dict:
        return _merge_objects(values)
    if kind == (list, True):
        items = [{(i["index"], str(i.get("type"))): i for i in value} for value in values]
        return [*_merge_objects(items).values()]
    is_whole = kind[0] not in (str, list) or all(b[: len(a)] == a for a, b in pairwise(values))
    if is_whole:
        return values[-1]
    return "".join(values) if kind[0] is str else [*chain.from_iterable(values)]


def _merge_objects(objects: Iterable[Mapping[Any, Any]]) -> dict[Any, Any]:
    members: dict[Any, list[Any]] = defaultdict(list)
    for key, member in chain.from_iterable(each.items() for each in objects):
        members[key].append(member)
    return {key: merge_deltas(values) for key, values in members.items()}


def _kind(value: object) -> tuple[type, bool]:
    """Return the type of a value, and whether it is a list of objects with an index each."""
    return type(value), isinstance(value, list) and all(map(_has_index, value))


def _has_index(item: object) -> bool:
    return isinstance(item, dict) and type(item.get("index")) is int


class ServerSentEvent(NamedTuple):
    """An event with data: its type, `message` by default, and its data lines, joined by LF."""

    event: str
    data: bytes


class SSEDecoder:
    """Decodes the bytes of an event stream to events, each as soon as its blank line arrives.

    The format is that of the WHATWG HTML standard, sections 9.2.5 and 9.2.6. The time is linear in
    the number of bytes, however they are split; an event with more than `max_event_bytes` is an
    `InvalidResponseError`.
    """

    __slots__ = ("_after_cr", "_at_start", "_data", "_event", "_limit", "_line", "_size")

    def __init__(self, max_event_bytes: int = 64 * 2**20) -> None:
        self._limit = max_event_bytes
        self._at_start = True
        self._after_cr = False
        self._line = bytearray()
        self._data: list[bytes] = []
        self._event = _DEFAULT_TYPE
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that `data` completes; exhaust the iterator before the next call."""
        if self._after_cr and data.startswith(b"\n"):  # a CRLF that was split
            data = data[1:]
            self._after_cr = False
        if not data:
            return
        self._after_cr = data[-1] == _CR
        lines = data.splitlines()
        rest = b"" if data[-1] in (_LF, _CR) else lines.pop()
        if lines and (self._line or self._at_start):
            lines[0] = bytes(self._line + lines[0])
            self._line.clear()
            if self._at_start:
                lines[0] = lines[0].removeprefix(_BOM)
                self._at_start = False
        for line in lines:
            if line:
                self._read_line(line)
                continue
            value, event = self._data, self._event
            self._data, self._event, self._size = [], _DEFAULT_TYPE, 0
            if value:
                yield ServerSentEvent(event, b"\n".join(value))
        if rest:
            self._line += rest
            self.check_size(len(self._line))

    def close(self) -> Iterator[ServerSentEvent]:
        """Yield the event that ends with the stream instead of a blank line, if any.

        The standard drops such an event. But servers of language models end streams this way, and
        the last event has the finish reason.
        """
        return self.feed(b"\n\n")

    def _read_line(self, line: bytes) -> None:
        self.check_size(len(line))
        if line[0] == _COMMENT:
            return
        self._size += len(line)
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"error" and value.startswith(b"{"):
            # Not in the standard: llama.cpp sent the JSON of errors this way until September 2025.
            self._event = _ERROR_TYPE
            self._data.append(value)
        elif line.startswith((b"{", b"<")):
            # Nor is this: Ollama sends the JSON of errors so, and proxies a page of HTML.
            self._data.append(line)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace") or _DEFAULT_TYPE

    def check_size(self, incomplete: int) -> None:
        """Raise if the event is too long with this many bytes more."""
        if self._size + incomplete > self._limit:
            raise InvalidResponseError(
                f"The stream has an event longer than {self._limit:,} bytes. No response of a chat "
                "model is that long: check that base_url is the address of a chat completions API."
            )
