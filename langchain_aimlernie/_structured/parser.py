"""From an ERNIE message to the object that was asked for, or to the reason why there is none."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolCallChunk
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.runnables.utils import AddableDict

from langchain_aimlernie._structured.json_extraction import PartialJsonDecoder, extract_json
from langchain_aimlernie._structured.schema import OutputSchema  # noqa: TC001  pydantic < 2.13 reads the field
from langchain_aimlernie.errors import RefusalError, StructuredOutputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_EXCERPT = 200


class Outcome(NamedTuple):
    """What `include_raw` tells of an answer beside the message itself."""

    parsed: object
    parsing_error: StructuredOutputError | None


class _NoAnswerError(Exception):
    """The message holds no answer; says what is wrong, as the model may be told."""

    def __init__(self, problem: str, remedy: str, llm_output: str) -> None:
        super().__init__(problem)
        self.remedy = remedy
        self.llm_output = llm_output


@dataclass(frozen=True, slots=True)
class OutputParser:
    """Reads the object that was asked for out of messages.

    Attributes:
        schema: What the object must look like.
        by_call: Whether the object comes as the arguments of a tool call, else as text.
        with_tools: Whether the model may call tools instead of answering.
    """

    schema: OutputSchema
    by_call: bool = False
    with_tools: bool = False

    def read(self, message: AIMessage) -> object:
        """Give the object.

        Raises:
            StructuredOutputError: There is none in `message`, or it does not fit the schema.
        """
        try:
            _refuse_refusal(message)
            if (answer := self._from_reasoning(message)) is not None:
                return answer
            return self._from_call(message) if self.by_call else self._from_text(message)
        except _NoAnswerError as error:
            raise _explained(error, message) from error.__cause__

    def outcome(self, message: AIMessage) -> Outcome:
        """Give the object or the error; neither if the model called one of its other tools."""
        try:
            return Outcome(self.read(message), None)
        except StructuredOutputError as error:
            if self.with_tools and called(message):
                return Outcome(None, None)
            return Outcome(None, error)

    def partial(self, value: object) -> object | None:
        """Return what a value that is still arriving makes already, or `None` if nothing yet."""
        if self.schema.output is not dict:
            return self._load(value)[0]
        definition, kind = self.schema.definition, _JSON_TYPES[type(value)]
        expected = definition.get("type") or ("object" if "properties" in definition else kind)
        return value if kind in expected else None

    def _from_call(self, message: AIMessage) -> object:
        for call in message.tool_calls:
            if call["name"] == self.schema.name:
                arguments = json.dumps(call["args"], ensure_ascii=False)
                return self._first_instance([call["args"]], arguments)
        for broken in message.invalid_tool_calls:
            if broken["name"] == self.schema.name:
                raise _broken_call(self.schema.name, broken["args"] or "")
        text = str(message.text)
        instead = f"called {', '.join(names)}" if (names := called(message)) else _said(text)
        raise _NoAnswerError(
            f"The model did not call {self.schema.name}; it {instead}.",
            "Try method='json_schema' or retry=True.",
            text,
        )

    def _from_text(self, message: AIMessage) -> object:
        text = str(message.text)
        values = extract_json(text)
        if (first := next(values, _NOTHING)) is not _NOTHING:
            return self._first_instance(chain([first], values), text)
        if names := called(message):
            raise _NoAnswerError(
                f"The model called {', '.join(names)} instead of answering.",
                "Run the tools and ask again, or read the calls with include_raw=True.",
                text,
            )
        raise _NoAnswerError(f"There is no valid JSON; the model {_said(text)}.", _TRY_AGAIN, text)

    def _from_reasoning(self, message: AIMessage) -> object | None:
        """Return an object that a server's reasoning parser took for reasoning, with all the rest.

        A response that was cut has not come to its answer; what is in its reasoning is a draft.
        """
        if called(message) or str(message.text).strip() or finish_reason(message) == "length":
            return None
        blocks = message.content_blocks
        text = "".join(b.get("reasoning", "") for b in blocks if b["type"] == "reasoning")
        loaded = (self._load(value) for value in extract_json(text))
        return next((answer for answer, misfit in loaded if misfit is None), None)

    def _first_instance(self, values: Iterable[object], text: str) -> object:
        misfits: list[ValueError] = []
        for value in values:
            answer, misfit = self._load(value)
            if misfit is None:
                return answer
            misfits.append(misfit)
        raise _NoAnswerError(
            f"The answer does not fit {self.schema.name}: {_reasons(misfits[0])}.", _TRY_AGAIN, text
        ) from misfits[0]

    def _load(self, value: object) -> tuple[object, ValueError | None]:
        try:
            return self.schema.load(value), None
        except ValueError as error:
            return None, error


def _broken_call(name: str, arguments: str) -> _NoAnswerError:
    problem = f"The arguments of the call of {name} are no JSON object: {_excerpt(arguments)}."
    return _NoAnswerError(problem, _TRY_AGAIN, arguments)


def _said(text: str) -> str:
    return f"answered {_excerpt(text)}"


_NOTHING = object()
_JSON_TYPES: Mapping[type, str] = {dict: "object", list: "array"}
_TRY_AGAIN = "Try retry=True, or state in the prompt what is missing."
_REMEDIES = {
    "length": "The answer was cut off by the token limit: raise max_tokens, or ask for less.",
    "content_filter": "Rephrase the request; the same one will be withheld again.",
}


def _explained(error: _NoAnswerError, message: AIMessage) -> StructuredOutputError:
    reason = finish_reason(message)
    remedy = _REMEDIES.get(reason or "", error.remedy)
    told = f" finish_reason was {reason!r}." if reason else ""
    kind = RefusalError if refused(message) else StructuredOutputError
    explained = kind(
        f"{error}{told} {remedy}",
        ai_message=message,
        finish_reason=reason,
        llm_output=error.llm_output,
    )
    explained.observation = str(error)
    return explained


def finish_reason(message: AIMessage) -> str | None:
    """Tell why the model stopped, where the API said so."""
    reason = message.response_metadata.get("finish_reason")
    return reason if isinstance(reason, str) else None


def called(message: AIMessage) -> list[str]:
    """Name the tools that a message calls, well or badly."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    return [call["name"] or "a tool without a name" for call in calls]


def refused(message: AIMessage) -> bool:
    """Tell whether the model refused to answer, or a filter withheld the answer."""
    return finish_reason(message) == "content_filter" or bool(_refusal(message))


def _refuse_refusal(message: AIMessage) -> None:
    if not refused(message):
        return
    refusal = _refusal(message)
    what = f"refused: {_excerpt(refusal)}" if refusal else "was stopped by the content filter"
    text = refusal or str(message.text)
    raise _NoAnswerError(f"The model {what}.", _REMEDIES["content_filter"], text)


def _refusal(message: AIMessage) -> str:
    told = message.additional_kwargs.get("refusal")
    blocks = message.content if isinstance(message.content, list) else []
    parts = [block.get("refusal") for block in blocks if isinstance(block, dict)]
    return "".join(text for text in (told, *parts) if isinstance(text, str))


def _reasons(error: ValueError | None) -> str:
    """Say shortly what pydantic (v1 or v2) or our own check found."""
    list_errors = getattr(error, "errors", None)
    if not callable(list_errors):
        return str(error)
    found = [
        f"{'.'.join(map(str, item['loc'])) or 'the answer'}: {item['msg']}"
        for item in list_errors()
    ]
    return "; ".join(found[:5])


def _excerpt(text: str) -> str:
    text = text.strip()
    if not text:
        return "nothing"
    return repr(text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…")


class StreamingOutputParser:
    """Turns the messages of a stream into the object as it grows, at the end into the answer."""

    def __init__(self, reader: OutputParser, *, include_raw: bool = False) -> None:
        self._reader = reader
        self._include_raw = include_raw
        self._messages: list[AIMessage] = []
        self._json = PartialJsonDecoder()
        self._call_index: int | str | None = None
        self._last: object = None

    def feed(self, message: BaseMessage | str) -> list[object]:
        """Take the next message; give what is new.

        That is the object as far as it is known, or, with `include_raw`, the message.
        """
        if not isinstance(message, AIMessage):
            content = message.content if isinstance(message, BaseMessage) else message
            message = AIMessageChunk(content=content)
        self._messages.append(message)
        if self._include_raw:
            return [AddableDict(raw=message)]
        text = self._arguments(message) if self._reader.by_call else str(message.text)
        value = self._json.feed(text) if text else None
        return [] if value is None else self._news(self._reader.partial(value))

    def close(self) -> list[object]:
        """End the stream; give the answer if it differs from what was given last.

        With `include_raw`, give the last two keys of its contract.

        Raises:
            StructuredOutputError: There is no answer, or it does not fit (not with `include_raw`).
        """
        message = self._whole()
        if self._include_raw:
            return [AddableDict(self._reader.outcome(message)._asdict())]
        answer = self._reader.read(message)
        # `1 == True`: what was given last may be equal and not the same.
        return [] if repr(answer) == repr(self._last) and answer == self._last else [answer]

    def _news(self, value: object) -> list[object]:
        if value is None or value == self._last:
            return []
        self._last = value
        return [value]

    def _whole(self) -> AIMessage:
        """Merge the chunks; a model that does not stream gives one whole message."""
        chunks = [message for message in self._messages if isinstance(message, AIMessageChunk)]
        if not chunks:
            return self._messages[-1] if self._messages else AIMessage("")
        return cast(
            "AIMessage", message_chunk_to_message(add_ai_message_chunks(chunks[0], *chunks[1:]))
        )

    def _arguments(self, message: AIMessage) -> str:
        fragments = message.tool_call_chunks if isinstance(message, AIMessageChunk) else []
        return "".join(filter(None, map(self._own_arguments, fragments)))

    def _own_arguments(self, fragment: ToolCallChunk) -> str | None:
        if self._call_index is None and fragment["name"] == self._reader.schema.name:
            self._call_index = fragment["index"]
        return fragment["args"] if fragment["index"] == self._call_index else None
