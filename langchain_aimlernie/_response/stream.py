"""The bytes of a stream to `ChatGenerationChunk`s, for any split of the bytes.

The end of the stream is checked: one that was cut is an error, never a shorter completion.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_aimlernie._response.completion import (
    ThinkTagParser,
    completion_metadata,
    decode_usage,
    message_extras,
    parse_completion,
    parse_payload,
)
from langchain_aimlernie._response.schema import (
    Choice,
    Completion,
    fast_text_delta,
    is_empty,
    parse_event,
)
from langchain_aimlernie._response.sse import ServerSentEvent, SSEDecoder
from langchain_aimlernie._response.tool_calls import ToolCallAssembler
from langchain_aimlernie._text import NO_SECRETS, Redactor, clean_text
from langchain_aimlernie.errors import InvalidResponseError, StreamInterruptedError
from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.messages.tool import ToolCallChunk

_DONE = b"[DONE]"
_HEARTBEATS = ("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive")
_NO_CHUNKS: Sequence[ChatGenerationChunk] = ()


class StreamDecoder:
    """Decodes the bytes of one stream into chunks, without I/O.

    Each chunk carries `model_provider`; its id is left to core, which takes the run's. All other
    metadata, usage, cost and unknown keys are on the chunk that ends the stream
    (`chunk_position="last"`) only, because core concatenates strings and adds numbers when it
    merges chunks. A single JSON object in place of events is accepted, too.

    Args:
        headers: The response headers, names in lower case.
        model: The requested model, for responses that do not name one.
        redactor: Removes secrets from errors and from unknown keys.
        include_headers: Whether the metadata has all headers.

    Attributes:
        events: The number of events with content; comments and empty deltas have none.
        done: Whether the stream has ended regularly.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        *,
        model: str,
        redactor: Redactor = NO_SECRETS,
        include_headers: bool = False,
    ) -> None:
        self.events = 0
        self.done = False
        self._headers = headers
        self._model = model
        self._redactor = redactor
        self._include_headers = include_headers
        self._sse = SSEDecoder()
        self._json: list[bytes] | None = None
        self._is_format_known = False
        self._completion = Completion()
        self._choice: Choice | None = None
        self._finish_reason: str | None = None
        self._choice_extras: dict[str, object] = {}
        self._message_extras = DeltaAccumulator()
        self._tools = ToolCallAssembler()
        self._think_tags = ThinkTagParser()
        self._text = _TextBuffer()
        self._reasoning = _TextBuffer()
        self._refusal = _TextBuffer()

    def feed(self, data: bytes) -> Iterable[ChatGenerationChunk]:
        """Return the chunks that the next bytes complete; each is decoded when it is iterated.

        Raises:
            AimlErnieError: An event is an error, or not a valid event.
        """
        if not self._is_format_known:
            self._detect_format(data)
        if self._json is not None:
            self._json.append(data)
            return _NO_CHUNKS
        return chain.from_iterable(map(self._decode, self._sse.feed(data)))

    def close(self) -> Iterator[ChatGenerationChunk]:
        """Yield the remaining chunks at the end of the bytes.

        Raises:
            StreamInterruptedError: Neither `[DONE]` nor a finish_reason was received.
            InvalidResponseError: There was no event at all.
        """
        if self._json is not None:
            body = b"".join(self._json)
            yield from self._on_event(parse_completion(body, self._headers, self._redactor))
            yield from self._finish()
            return
        for event in self._sse.close():
            with contextlib.suppress(InvalidResponseError):  # a truncated event is ignored
                yield from self._decode(event)
        if self.done:
            return
        if self._finish_reason is None and not self._is_empty():
            raise StreamInterruptedError(
                "The stream ended early, without [DONE] or a finish_reason; "
                "`.partial` has the output received.",
                partial=self.partial,
            )
        yield from self._finish()

    @property
    def partial(self) -> AIMessageChunk | None:
        """The output so far as one chunk; `None` if there is none.

        Tool calls with incomplete arguments are in `invalid_tool_calls`.
        """
        if not self.events:
            return None
        extras = message_extras(self._reasoning.text(), self._refusal.text())
        tool_call_chunks, invalid_tool_calls = self._tools.snapshot()
        message = AIMessageChunk(
            content=self._text.text(),
            additional_kwargs={**self._extras(), **extras},
            tool_call_chunks=tool_call_chunks,
            response_metadata=self._metadata(),
            usage_metadata=decode_usage(self._completion.usage),
        )
        # The chunks have a bracket too many for core, which would complete them; these have none.
        message.invalid_tool_calls = invalid_tool_calls
        return message

    def _detect_format(self, data: bytes) -> None:
        """Distinguish events, one JSON object and an HTML page by their first character."""
        start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if not start:
            return
        self._is_format_known = True
        if start in (b"{", b"["):
            self._json = []
        elif start == b"<":
            raise InvalidResponseError(
                "The server sent an HTML page instead of a stream; check base_url.",
                body=self._redactor.text(data[:8192].decode(errors="replace")),
                is_retryable=False,
            )

    def _decode(self, event: ServerSentEvent) -> Sequence[ChatGenerationChunk]:
        if self.done:
            return _NO_CHUNKS
        if event.data.strip() == _DONE:
            return self._finish()
        if event.event.lower() in _HEARTBEATS or event.data.strip() in (b"", b"null"):
            return _NO_CHUNKS
        is_error = event.event == "error"
        payload = parse_payload(event.data, self._headers, self._redactor, is_error=is_error)
        if self._choice is not None:
            text = fast_text_delta(payload, self._choice.place)
            if text is not None:
                return self._on_text(text)
        return self._on_event(parse_event(payload))

    def _on_text(self, text: str) -> Sequence[ChatGenerationChunk]:
        self.events += 1
        reasoning, text = self._think_tags.feed(text)
        text, extras = self._add(text, reasoning)
        if extras:
            return (self._chunk(text, extras, []),)
        return (_text_chunk(text),) if text else _NO_CHUNKS

    def _add(
        self, text: str, reasoning: str, refusal: str = "", *, is_last: bool = False
    ) -> tuple[str, dict[str, Any]]:
        """Return the text, and the texts beside it, that can be emitted now."""
        reasoning = self._reasoning.add(reasoning, is_last=is_last)
        refusal = self._refusal.add(refusal, is_last=is_last)
        return self._text.add(text, is_last=is_last), message_extras(reasoning, refusal)

    def _on_event(self, completion: Completion) -> Sequence[ChatGenerationChunk]:
        facts, usage, cost = completion.facts, completion.usage, completion.cost
        if facts != self._completion.facts or usage or cost or completion.extras:
            self._completion = self._completion.merge(completion)
        choice = self._first_choice(completion.choices)
        chunk = None if choice is None else self._decode_choice(choice)
        has_facts = choice is not None and (choice.finish_reason or choice.message_extras)
        if chunk is not None or has_facts or usage or cost:
            self.events += 1
        return _NO_CHUNKS if chunk is None else (chunk,)

    def _first_choice(self, choices: tuple[Choice, ...]) -> Choice | None:
        """Return the choice with the index of the first one: a chunk holds one choice only."""
        if choices:
            self._choice = self._choice or choices[0]
            for choice in choices:
                if choice.place == self._choice.place:
                    return choice
            warnings.warn("The stream has several choices; only the first is kept.", stacklevel=2)
        return None

    def _decode_choice(self, choice: Choice) -> ChatGenerationChunk | None:
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
        self._choice_extras.update(choice.choice_extras)
        if choice.message_extras:
            self._message_extras.add(choice.message_extras)
        thought, text = self._think_tags.feed(choice.text) if choice.text else ("", "")
        text, extras = self._add(text, choice.reasoning + thought, choice.refusal)
        tool_calls = self._tools.feed(choice.tool_calls) if choice.tool_calls else []
        if not (text or extras or tool_calls or choice.logprobs):
            return None
        return self._chunk(text, extras, tool_calls, choice.logprobs)

    def _chunk(
        self,
        text: str,
        extras: dict[str, Any],
        tool_calls: list[ToolCallChunk],
        logprobs: dict[str, object] | None = None,
    ) -> ChatGenerationChunk:
        message = AIMessageChunk(
            content=text,
            additional_kwargs=extras,
            tool_call_chunks=tool_calls,
            response_metadata={"model_provider": PROVIDER}
            | ({"logprobs": logprobs} if logprobs else {}),
        )
        return ChatGenerationChunk(message=message)

    def _finish(self) -> list[ChatGenerationChunk]:
        """Return the buffered output, then the chunk that ends the stream."""
        if self._is_empty():
            raise InvalidResponseError("The stream ended without any event.", phase="empty_stream")
        self.done = True
        info = {} if self._finish_reason is None else {"finish_reason": self._finish_reason}
        message = AIMessageChunk(
            content="",
            additional_kwargs=self._extras(),
            response_metadata={**self._metadata(), **info},
            usage_metadata=decode_usage(self._completion.usage),
            chunk_position="last",
        )
        return [*self._flush(), ChatGenerationChunk(message=message, generation_info=info)]

    def _metadata(self) -> dict[str, Any]:
        extras = self._redactor.json_object(self._choice_extras)
        completion = completion_metadata(
            self._completion,
            self._headers,
            self._model,
            self._redactor,
            include_headers=self._include_headers,
        )
        return {**extras, **completion}

    def _extras(self) -> dict[str, Any]:
        return self._redactor.json_object(self._message_extras.value() or {})

    def _flush(self) -> list[ChatGenerationChunk]:
        reasoning, text = self._think_tags.close()
        text, extras = self._add(text, reasoning, is_last=True)
        tool_calls, other_json = self._tools.close(self._finish_reason), self._tools.other_json()
        if not (text or extras or tool_calls or other_json):
            return []
        chunk = self._chunk(text, extras, tool_calls)
        if other_json:  # for the block translator; core's sum of chunks uses tool_call_chunks
            cast("AIMessageChunk", chunk.message).invalid_tool_calls.extend(other_json)
        return [chunk]

    def _is_empty(self) -> bool:
        return not self.events and self._choice is None


_TEMPLATE = ChatGenerationChunk(message=AIMessageChunk(content=""))


def _text_chunk(text: str) -> ChatGenerationChunk:
    """Return a copy of a chunk with this text, which is faster than a new chunk."""
    message = _TEMPLATE.message.model_copy(
        update={
            "content": text,
            "response_metadata": {"model_provider": PROVIDER},
            "additional_kwargs": {},
            "tool_calls": [],
            "invalid_tool_calls": [],
            "tool_call_chunks": [],
        }
    )
    return _TEMPLATE.model_copy(update={"message": message, "text": text})


class _TextBuffer:
    """Accumulates emitted text; buffers a lone high surrogate until the next chunk."""

    __slots__ = ("_emitted", "_pending")

    def __init__(self) -> None:
        self._emitted = io.StringIO()
        self._pending = ""

    def add(self, text: str, *, is_last: bool) -> str:
        """Return what of the buffered text and `text` can be emitted."""
        text = self._pending + text
        if not text.isascii():
            waits = not is_last and "\ud800" <= text[-1] <= "\udbff"
            self._pending = text[-1] if waits else ""
            text = clean_text(text[:-1] if waits else text)
        self._emitted.write(text)
        return text

    def text(self) -> str:
        return self._emitted.getvalue()


_INDEXED = "a list of objects with an index each"


class DeltaAccumulator:
    """The values of one key, event by event; see `add` for how they are merged."""

    __slots__ = ("_kind", "_lengths", "_members", "_parts")

    def __init__(self) -> None:
        self._restart(None)

    def _restart(self, kind: object) -> None:
        self._kind = kind
        self._members: dict[object, DeltaAccumulator] = {}
        self._parts: list[Any] = []
        self._lengths: list[int] = []  # of the values, as long as each begins with the one before

    def add(self, value: Any) -> None:
        """Add the value of the next event.

        Servers send a value either in increments, or whole with each event (`citations`). It came
        whole if each value begins with the one before: then the last one stands. Otherwise texts
        and lists are joined. Objects are merged by key, and objects in a list by their `index` and
        `type` if they have them (`reasoning_details`). Of anything else the last value stands. An
        empty value changes nothing.

        Args:
            value: A JSON value that is not nested too deeply for recursion.
        """
        if self._kind is not None and is_empty(value):
            return
        kind: object = type(value)
        if isinstance(value, list) and value and all(map(_has_index, value)):
            kind = _INDEXED
            value = {(item["index"], str(item.get("type"))): item for item in value}
        if kind != self._kind:
            self._restart(kind)
        if isinstance(value, dict):
            for key, member in value.items():
                self._members.setdefault(key, DeltaAccumulator()).add(member)
        elif isinstance(value, str | list):
            self._add_part(value)
        else:
            self._parts = [value]

    def _add_part(self, part: Any) -> None:
        if not self._parts:
            self._lengths = [len(part)]
        elif self._lengths:
            last = self._parts.pop()
            if part[: len(last)] == last:
                self._lengths.append(len(part))
            else:
                self._parts = [last[:length] for length in self._lengths]
                self._lengths = []
        self._parts.append(part)

    def value(self) -> Any:
        """Return what the values so far come to."""
        if self._kind is dict:
            return {key: member.value() for key, member in self._members.items()}
        if self._kind == _INDEXED:
            return [member.value() for member in self._members.values()]
        if self._kind is str:
            return "".join(self._parts)
        if self._kind is list:
            return [item for part in self._parts for item in part]
        return self._parts[-1] if self._parts else None


def _has_index(item: object) -> bool:
    return isinstance(item, dict) and type(item.get("index")) is int
