"""The bytes of a stream -> `ChatGenerationChunk`s, in any split; the end of the stream checked."""

from __future__ import annotations

import contextlib
import io
import warnings
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessageChunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_aimlernie._response.completion import (
    completion_metadata,
    decode_usage,
    message_extras,
    parse_completion,
)
from langchain_aimlernie._response.deltas import DeltaAccumulator
from langchain_aimlernie._response.error_mapping import error_in_payload, error_in_text
from langchain_aimlernie._response.reasoning import ThinkTagParser
from langchain_aimlernie._response.schema import (
    Choice,
    Completion,
    fast_text_delta,
    parse_answer,
    parse_object,
)
from langchain_aimlernie._response.sse import ServerSentEvent, SSEDecoder
from langchain_aimlernie._response.tool_calls import ToolCallAssembler
from langchain_aimlernie._text import NO_SECRETS, Redactor, clean_text
from langchain_aimlernie.errors import (
    AimlErnieError,
    InvalidResponseError,
    StreamInterruptedError,
)
from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from langchain_core.messages.tool import ToolCallChunk

_DONE = b"[DONE]"
_HEARTBEATS = ("ping", "heartbeat", "keepalive", "keep-alive", "keep_alive")
_NO_ANSWER = Completion(None, None, None, None, None, (), None, {}, {})
_NO_CHUNKS: Sequence[ChatGenerationChunk] = ()


class StreamDecoder:
    """Turns a stream's bytes into chunks; sans I/O, one object a stream.

    Each chunk carries `model_provider`; its id is left to core, which takes the run's. All other
    metadata, usage, cost and what came under unknown keys come once, on the chunk that ends the
    stream (`chunk_position="last"`), because core glues strings and adds numbers when it merges
    chunks. A server that answers with one JSON object instead of events is understood, too.

    Args:
        headers: The answer's headers, names in lower case.
        model: The model that was asked, for answers that do not name one.
        redactor: Removes secrets from errors and from what is kept unread.
        include_headers: Whether the metadata has all headers.

    Attributes:
        events: How many events carried something. Comments and empty deltas carry nothing.
        done: Whether the stream has ended as it should.
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
        self._sniffed = False
        self._answer: Completion = _NO_ANSWER
        self._choice: Choice | None = None
        self._model_chunk: ChatGenerationChunk | None = None
        self._finish_reason: str | None = None
        self._choice_extras: dict[str, object] = {}
        self._message_extras = DeltaAccumulator()
        self._tools = ToolCallAssembler()
        self._thoughts = ThinkTagParser()
        self._text = _Transcript()
        self._reasoning = _Transcript()
        self._refusal = _Transcript()

    def feed(self, data: bytes) -> Iterable[ChatGenerationChunk]:
        """Take the next bytes; give the chunks that they complete, each decoded when it is taken.

        Raises:
            AimlErnieError: An event is an error, or no event at all.
        """
        if not self._sniffed:
            self._sniff(data)
        if self._json is not None:
            self._json.append(data)
            return _NO_CHUNKS
        return chain.from_iterable(map(self._decode, self._sse.feed(data)))

    def close(self) -> Iterator[ChatGenerationChunk]:
        """End the stream; give the chunks that were left.

        Raises:
            StreamInterruptedError: Neither `[DONE]` nor a finish_reason has come.
            InvalidResponseError: There was no event at all.
        """
        if self._json is not None:
            yield from self._close_json(b"".join(self._json))
            return
        for event in self._sse.close():
            with contextlib.suppress(InvalidResponseError):  # an event that was cut says nothing
                yield from self._decode(event)
        if not self.done:
            self._check_end()
            yield from self._finish()

    @property
    def partial(self) -> AIMessageChunk | None:
        """What has come so far, as one chunk; `None` if nothing has.

        Tool calls whose arguments are not whole are in `invalid_tool_calls`.
        """
        if not self.events:
            return None
        extras = message_extras(self._reasoning.text(), self._refusal.text())
        message = AIMessageChunk(
            content=self._text.text(),
            additional_kwargs={**self._extras(), **extras},
            tool_call_chunks=self._tools.so_far(),
            response_metadata=self._metadata(),
            usage_metadata=decode_usage(self._answer.usage),
        )
        # The chunks have a bracket too many for core, which would complete them; these have none.
        message.invalid_tool_calls = self._tools.invalid_so_far()
        return message

    def _sniff(self, data: bytes) -> None:
        """Tell events from one JSON object and from a page by what they begin with."""
        start = data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
        if not start:
            return
        self._sniffed = True
        if start in (b"{", b"["):
            self._json = []
        elif start == b"<":
            raise InvalidResponseError(
                "The server answered with a page of HTML instead of a stream; is base_url right?",
                body=self._redactor.text(data[:8192].decode(errors="replace")),
                is_retryable=False,
            )

    def _decode(self, event: ServerSentEvent) -> Sequence[ChatGenerationChunk]:
        if self.done:
            return _NO_CHUNKS
        if event.data.strip() == _DONE:
            self._check_done()
            return self._finish()
        if _is_heartbeat(event):
            return _NO_CHUNKS
        payload = self._parse(event)
        if self._choice is not None and event.event == "message":
            text = fast_text_delta(payload, self._choice.place)
            if text is not None:
                return self._take_text(text)
        self._check_error(event, payload)
        return self._take(parse_answer(payload))

    def _parse(self, event: ServerSentEvent) -> Mapping[str, object]:
        try:
            return parse_object(event.data, self._redactor)
        except InvalidResponseError as error:
            failed = error_in_text(
                event.data,
                is_error=event.event == "error",
                headers=self._headers,
                redactor=self._redactor,
            )
            raise failed or error from None

    def _take_text(self, text: str) -> Sequence[ChatGenerationChunk]:
        self.events += 1
        thought, text = self._thoughts.feed(text)
        text = self._text.add(text)
        if thought:
            return (self._chunk(text, {"reasoning_content": self._reasoning.add(thought)}, []),)
        return (self._text_chunk(text),) if text else _NO_CHUNKS

    def _text_chunk(self, text: str) -> ChatGenerationChunk:
        """Copy a chunk of this stream with another text; no more of it has to be validated."""
        model = self._model_chunk
        if model is None:
            model = self._model_chunk = self._chunk("", {}, [])
        message = model.message.model_copy(
            update={
                "content": text,
                "response_metadata": {"model_provider": PROVIDER},
                "additional_kwargs": {},
                "tool_calls": [],
                "invalid_tool_calls": [],
                "tool_call_chunks": [],
            }
        )
        return model.model_copy(update={"message": message, "text": text})

    def _check_error(self, event: ServerSentEvent, payload: Mapping[str, object]) -> None:
        if event.event == "error" and "error" not in payload:
            payload = {"error": payload}
        error = error_in_payload(payload, headers=self._headers, redactor=self._redactor)
        if error is not None:
            raise error

    def _take(self, answer: Completion) -> Sequence[ChatGenerationChunk]:
        if answer[:5] != self._answer[:5] or answer.usage or answer.spent or answer.extras:
            self._answer = _joined(self._answer, answer)
        choice = self._main_choice(answer.choices)
        chunk = None if choice is None else self._decode_choice(choice)
        kept = choice is not None and (choice.finish_reason is not None or choice.message_extras)
        if chunk is not None or kept or answer.usage or answer.spent:
            self.events += 1
        return _NO_CHUNKS if chunk is None else (chunk,)

    def _main_choice(self, choices: tuple[Choice, ...]) -> Choice | None:
        """Keep to the choice that came first: a chunk has no place for a second one."""
        if not choices:
            return None
        first = self._choice or choices[0]
        self._choice = first
        for choice in choices:
            if choice.place == first.place:
                return choice
        warnings.warn("The stream has several choices; only the first is kept.", stacklevel=2)
        return None

    def _decode_choice(self, choice: Choice) -> ChatGenerationChunk | None:
        if choice.finish_reason is not None:
            self._finish_reason = choice.finish_reason
        self._choice_extras.update(choice.choice_extras)
        if choice.message_extras:
            self._message_extras.add(choice.message_extras)
        thought, text = self._thoughts.feed(choice.text) if choice.text else ("", "")
        text = self._text.add(text)
        reasoning = self._reasoning.add(choice.reasoning + thought)
        tool_calls = self._tools.feed(choice.tool_calls) if choice.tool_calls else []
        self._refusal.add(choice.refusal)
        extras = message_extras(reasoning, choice.refusal)
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
        metadata: dict[str, Any] = {"model_provider": PROVIDER}
        if logprobs:
            metadata["logprobs"] = logprobs
        message = AIMessageChunk(
            content=text,
            additional_kwargs=extras,
            tool_call_chunks=tool_calls,
            response_metadata=metadata,
        )
        return ChatGenerationChunk(message=message)

    def _finish(self) -> list[ChatGenerationChunk]:
        """Give what was held back, then the chunk that ends the stream."""
        self.done = True
        chunks = self._rest()
        metadata = self._metadata()
        info: dict[str, Any] = {}
        if self._finish_reason is not None:
            info["finish_reason"] = self._finish_reason
        message = AIMessageChunk(
            content="",
            additional_kwargs=self._extras(),
            response_metadata={**metadata, **info},
            usage_metadata=decode_usage(self._answer.usage),
            chunk_position="last",
        )
        chunks.append(ChatGenerationChunk(message=message, generation_info=info))
        return chunks

    def _metadata(self) -> dict[str, Any]:
        extras = self._redactor.json_object(self._choice_extras)
        answer = completion_metadata(
            self._answer,
            self._headers,
            self._model,
            self._redactor,
            include_headers=self._include_headers,
        )
        return {**extras, **answer}

    def _extras(self) -> dict[str, Any]:
        return self._redactor.json_object(self._message_extras.value() or {})

    def _rest(self) -> list[ChatGenerationChunk]:
        thought, text = self._thoughts.close()
        text = self._text.add(text) + self._text.close()
        reasoning = self._reasoning.add(thought) + self._reasoning.close()
        extras = {"reasoning_content": reasoning} if reasoning else {}
        tool_calls, other_json = self._tools.close(self._finish_reason), self._tools.other_json()
        if not (text or extras or tool_calls or other_json):
            return []
        chunk = self._chunk(text, extras, tool_calls)
        if other_json:  # read by the block translator; a sum of chunks goes by the chunks of calls
            cast("AIMessageChunk", chunk.message).invalid_tool_calls.extend(other_json)
        return [chunk]

    def _check_done(self) -> None:
        if not self.events and self._choice is None:
            raise self._nothing_came()

    def _check_end(self) -> None:
        if self._finish_reason is not None:
            return
        if not self.events and self._choice is None:
            raise self._nothing_came()
        raise StreamInterruptedError(
            "The stream broke off: neither [DONE] nor a finish_reason came. "
            "What came is in `.partial`; it is not the whole answer.",
            partial=self.partial,
            **self._ids(),
        )

    def _nothing_came(self) -> AimlErnieError:
        return InvalidResponseError(
            "The stream ended without a single event of an answer.",
            phase="empty_stream",
            **self._ids(),
        )

    def _ids(self) -> dict[str, Any]:
        return {
            "inference_id": self._headers.get("x-inference-id"),
            "client_request_id": self._headers.get("x-client-request-id"),
        }

    def _close_json(self, body: bytes) -> Iterator[ChatGenerationChunk]:
        answer = parse_completion(body, self._headers, self._redactor)
        yield from self._take(answer)
        yield from self._finish()


def _is_heartbeat(event: ServerSentEvent) -> bool:
    """Return whether an event only shows that the server is alive."""
    return event.event.lower() in _HEARTBEATS or event.data.strip() in (b"", b"null")


class _Transcript:
    """The text that has come, and half a surrogate pair that waits for its other half."""

    __slots__ = ("_held", "_told")

    def __init__(self) -> None:
        self._told = io.StringIO()
        self._held = ""

    def add(self, text: str) -> str:
        """Note `text`; give what of it can be told now."""
        if not text:
            return text
        if self._held or not text.isascii():
            text = self._held + text
            self._held = text[-1] if "\ud800" <= text[-1] <= "\udbff" else ""
            text = clean_text(text[:-1] if self._held else text)
        self._told.write(text)
        return text

    def close(self) -> str:
        """Give what was held back."""
        held, self._held = clean_text(self._held), ""
        self._told.write(held)
        return held

    def text(self) -> str:
        return self._told.getvalue()


def _joined(earlier: Completion, later: Completion) -> Completion:
    """Join what two events say of the answer: ids as they came first, sums as they came last."""
    return Completion(
        earlier.id or later.id,
        earlier.model or later.model,
        earlier.created or later.created,
        earlier.system_fingerprint or later.system_fingerprint,
        earlier.service_tier or later.service_tier,
        (),
        later.usage or earlier.usage,
        {**earlier.spent, **later.spent},
        {**earlier.extras, **later.extras},
    )
