"""Messages to the object of a structured output, or to an error."""

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


class ParseResult(NamedTuple):
    """The keys of an `include_raw` result beside the message."""

    parsed: object
    parsing_error: StructuredOutputError | None


@dataclass(frozen=True, slots=True)
class OutputParser:
    """Parses the object of a structured output from messages.

    Attributes:
        schema: The schema of the object.
        by_call: Whether the object is the arguments of a tool call, else the text.
        with_tools: Whether the model may call other tools instead.
    """

    schema: OutputSchema
    by_call: bool = False
    with_tools: bool = False

    def read(self, message: AIMessage) -> object:
        """Return the object.

        Raises:
            StructuredOutputError: `message` has none, or it does not match the schema.
        """
        _raise_if_refused(message)
        if (output := self._from_reasoning(message)) is not None:
            return output
        return self._from_call(message) if self.by_call else self._from_text(message)

    def parse_result(self, message: AIMessage) -> ParseResult:
        """Return the object or the error; neither if the model called one of its other tools."""
        try:
            return ParseResult(self.read(message), None)
        except StructuredOutputError as error:
            if self.with_tools and called_tools(message):
                return ParseResult(None, None)
            return ParseResult(None, error)

    def partial(self, value: object, *, is_thorough: bool) -> object | None:
        """Return the object of a partial value; `None` if there is none yet.

        Args:
            value: The value so far.
            is_thorough: Whether to look for nulls that stand for absent properties, which takes
                jsonschema milliseconds for a large value.
        """
        if self.schema.output is not dict:
            validate = self.schema.validate if is_thorough else self.schema.convert
            try:
                return validate(value)
            except ValueError:
                return None
        definition, kind = self.schema.definition, _JSON_TYPES[type(value)]
        expected = definition.get("type") or ("object" if "properties" in definition else kind)
        return value if kind in expected else None

    def _from_call(self, message: AIMessage) -> object:
        name = self.schema.name
        for call in message.tool_calls:
            if call["name"] == name:
                arguments = json.dumps(call["args"], ensure_ascii=False)
                return self._first_instance([call["args"]], message, arguments)
        for broken in message.invalid_tool_calls:
            if broken["name"] == name:
                arguments = broken["args"] or ""
                problem = f"The arguments of the call of {name} are no JSON object"
                raise _error(message, f"{problem}: {_excerpt(arguments)}.", _TRY_AGAIN, arguments)
        called = ", ".join(called_tools(message))
        instead = f"called {called}" if called else f"answered {_excerpt(message.text)}"
        raise _error(
            message,
            f"The model did not call {name}; it {instead}.",
            "Try method='json_schema' or retry=True.",
        )

    def _from_text(self, message: AIMessage) -> object:
        text = str(message.text)
        values = extract_json(text)
        if (first := next(values, _NOTHING)) is not _NOTHING:
            return self._first_instance(chain([first], values), message, text)
        if names := called_tools(message):
            raise _error(
                message,
                f"The model called {', '.join(names)} instead of answering.",
                "Run the tools and ask again, or read the calls with include_raw=True.",
            )
        problem = f"There is no valid JSON; the model answered {_excerpt(text)}."
        raise _error(message, problem, _TRY_AGAIN)

    def _from_reasoning(self, message: AIMessage) -> object | None:
        """Return an object that a server's reasoning parser has put into the reasoning.

        The reasoning of a truncated response is ignored: it may hold a draft.
        """
        if called_tools(message) or str(message.text).strip() or finish_reason(message) == "length":
            return None
        blocks = message.content_blocks
        text = "".join(b.get("reasoning", "") for b in blocks if b["type"] == "reasoning")
        loaded = (self._load(value) for value in extract_json(text))
        return next((output for output, misfit in loaded if misfit is None), None)

    def _first_instance(self, values: Iterable[object], message: AIMessage, text: str) -> object:
        misfits: list[ValueError] = []
        for value in values:
            output, misfit = self._load(value)
            if misfit is None:
                return output
            misfits.append(misfit)
        problem = f"The answer does not fit {self.schema.name}: {_validation_messages(misfits[0])}."
        raise _error(message, problem, _TRY_AGAIN, text) from misfits[0]

    def _load(self, value: object) -> tuple[object, ValueError | None]:
        try:
            return self.schema.validate(value), None
        except ValueError as error:
            return None, error


_NOTHING = object()
_JSON_TYPES: Mapping[type, str] = {dict: "object", list: "array"}
_TRY_AGAIN = "Try retry=True, or state in the prompt what is missing."
_HINTS = {
    "length": "The answer was cut off by the token limit: raise max_tokens, or ask for less.",
    "content_filter": "Rephrase the request; the same one will be withheld again.",
}


def _error(
    message: AIMessage, problem: str, hint: str, text: str | None = None
) -> StructuredOutputError:
    """Return the error of a message.

    Args:
        message: The model's message.
        problem: What is wrong; it is sent back to the model as feedback.
        hint: What the user may do, unless the finish reason says more.
        text: What could not be parsed; by default the text of the message.
    """
    reason = finish_reason(message)
    hint = _HINTS.get(reason or "", hint)
    cause = f" finish_reason was {reason!r}." if reason else ""
    error = (RefusalError if is_refusal(message) else StructuredOutputError)(
        f"{problem}{cause} {hint}",
        ai_message=message,
        finish_reason=reason,
        llm_output=str(message.text) if text is None else text,
    )
    error.observation = problem
    return error


def finish_reason(message: AIMessage) -> str | None:
    """Return the finish reason; `None` if the response has none."""
    reason = message.response_metadata.get("finish_reason")
    return reason if isinstance(reason, str) else None


def called_tools(message: AIMessage) -> list[str]:
    """Return the names of the tools that a message calls, invalid calls included."""
    calls = [*message.tool_calls, *message.invalid_tool_calls]
    return [call["name"] or "a tool without a name" for call in calls]


def is_refusal(message: AIMessage) -> bool:
    """Whether the model refused, or a content filter withheld the completion."""
    return finish_reason(message) == "content_filter" or bool(_refusal(message))


def _raise_if_refused(message: AIMessage) -> None:
    if not is_refusal(message):
        return
    refusal = _refusal(message)
    what = f"refused: {_excerpt(refusal)}" if refusal else "was stopped by the content filter"
    text = refusal or str(message.text)
    raise _error(message, f"The model {what}.", _HINTS["content_filter"], text)


def _refusal(message: AIMessage) -> str:
    refusal_field = message.additional_kwargs.get("refusal")
    blocks = message.content if isinstance(message.content, list) else []
    parts = [block.get("refusal") for block in blocks if isinstance(block, dict)]
    return "".join(text for text in (refusal_field, *parts) if isinstance(text, str))


def _validation_messages(error: ValueError | None) -> str:
    """Return the messages of a validation error of pydantic (v1 or v2) or jsonschema."""
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
    """Parses the messages of a stream into partial objects, and at the end into the object."""

    def __init__(self, parser: OutputParser, *, include_raw: bool = False) -> None:
        self._parser = parser
        self._include_raw = include_raw
        self._messages: list[AIMessage] = []
        self._json = PartialJsonDecoder()
        self._call_index: int | str | None = None
        self._last: object = None
        self._length = self._next_thorough = 0

    def feed(self, message: BaseMessage | str) -> list[object]:
        """Return what the next message adds.

        That is the partial object or, with `include_raw`, the message.
        """
        if not isinstance(message, AIMessage):
            content = message.content if isinstance(message, BaseMessage) else message
            message = AIMessageChunk(content=content)
        self._messages.append(message)
        if self._include_raw:
            return [AddableDict(raw=message)]
        text = self._arguments(message) if self._parser.by_call else str(message.text)
        value = self._json.feed(text) if text else None
        self._length += len(text)
        if value is None:
            return []
        is_thorough = self._length >= self._next_thorough
        if is_thorough:  # all the searches of a long stream take as long as a few of the whole
            self._next_thorough = self._length * 11 // 10
        return self._changed(self._parser.partial(value, is_thorough=is_thorough))

    def close(self) -> list[object]:
        """Return the object at the end of the stream, if it differs from the last partial one.

        With `include_raw`, return its keys `parsed` and `parsing_error`.

        Raises:
            StructuredOutputError: There is no object, or it is invalid (not with `include_raw`).
        """
        message = self._merged()
        if self._include_raw:
            return [AddableDict(self._parser.parse_result(message)._asdict())]
        output = self._parser.read(message)
        # `1 == True`: equal objects may differ.
        return [] if repr(output) == repr(self._last) and output == self._last else [output]

    def _changed(self, value: object) -> list[object]:
        if value is None or value == self._last:
            return []
        self._last = value
        return [value]

    def _merged(self) -> AIMessage:
        """Return the sum of the chunks; a model that does not stream has one message."""
        chunks = [message for message in self._messages if isinstance(message, AIMessageChunk)]
        if not chunks:
            return self._messages[-1] if self._messages else AIMessage("")
        return cast(
            "AIMessage", message_chunk_to_message(add_ai_message_chunks(chunks[0], *chunks[1:]))
        )

    def _arguments(self, message: AIMessage) -> str:
        fragments = message.tool_call_chunks if isinstance(message, AIMessageChunk) else []
        return "".join(filter(None, map(self._call_arguments, fragments)))

    def _call_arguments(self, fragment: ToolCallChunk) -> str | None:
        if self._call_index is None and fragment["name"] == self._parser.schema.name:
            self._call_index = fragment["index"]
        return fragment["args"] if fragment["index"] == self._call_index else None
