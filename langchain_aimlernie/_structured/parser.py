"""Parse messages to the object of a structured output, or to an error."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from itertools import chain
from typing import Any

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import add_ai_message_chunks
from langchain_core.messages.utils import message_chunk_to_message
from langchain_core.output_parsers import BaseTransformOutputParser
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables.utils import AddableDict
from pydantic import InstanceOf
from typing_extensions import override

from langchain_aimlernie._structured.json_extraction import (
    PartialJsonDecoder,
    extract_json,
    why_no_json,
)
from langchain_aimlernie._structured.schema import OutputSchema, load_jsonschema
from langchain_aimlernie.errors import RefusalError, StructuredOutputError

_EXCERPT = 200
_MAX_ERRORS = 5


class StructuredOutputParser(BaseTransformOutputParser[Any]):
    """Parses the message of a model to the object of a structured output."""

    target: InstanceOf[OutputSchema]
    by_call: bool = False  # whether the object is the arguments of a tool call, else the text
    with_tools: bool = False  # whether the model may call other tools instead
    include_raw: bool = False  # whether the output is `{"raw", "parsed", "parsing_error"}`

    @property
    @override
    def OutputType(self) -> Any:
        return dict if self.include_raw else self.target.output

    @override
    def parse(self, text: str) -> Any:
        return self.parse_result([ChatGeneration(message=AIMessage(text))])

    @override
    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        message = getattr(result[0], "message", None) or AIMessage(result[0].text)
        return {"raw": message, **self.outcome(message)} if self.include_raw else self.read(message)

    @override
    async def aparse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        await load_jsonschema()  # not in a thread, as core would
        return self.parse_result(result, partial=partial)

    @override
    def _transform(self, input: Iterator[str | BaseMessage]) -> Iterator[Any]:
        decoder = _StreamDecoder(self)
        for message in input:
            yield from decoder.feed(message)
        yield from decoder.close()

    @override
    async def _atransform(self, input: AsyncIterator[str | BaseMessage]) -> AsyncIterator[Any]:
        decoder = _StreamDecoder(self)
        async for message in input:
            await load_jsonschema()  # while the server continues
            for output in decoder.feed(message):
                yield output
        for output in decoder.close():
            yield output

    def outcome(self, message: AIMessage) -> dict[str, Any]:
        """Return the object and the error; neither if the model called one of its other tools."""
        parsed, parsing_error = None, None
        try:
            parsed = self.read(message)
        except StructuredOutputError as error:
            parsing_error = None if self.with_tools and called_tools(message) else error
        return {"parsed": parsed, "parsing_error": parsing_error}

    def read(self, message: AIMessage) -> object:
        """Return the object, or raise a `StructuredOutputError` if none matches the schema.

        Some servers leave a call in the text, some turn the response format into a tool, and a
        reasoning parser may take the whole completion for reasoning.
        """
        if is_refusal(message):
            raise _refusal_error(message)
        text, called = str(message.text), called_tools(message)
        values = [] if self.by_call else extract_json(text)
        arguments: list[str] = []
        if not values and (self.by_call or any(map(self.target.is_name, called))):
            arguments = self._arguments(message)
            values = [*chain.from_iterable(map(extract_json, arguments))]
        if values:
            try:
                return self._first_valid(values)
            except ValueError as error:
                problem = f"The answer does not fit {self.target.name}: {_violations(error)}."
                given = next(iter(arguments), None)
                raise _error(message, problem, _TRY_AGAIN, given) from error
        if not called and (values := extract_json(text if text.strip() else _reasoning(message))):
            with suppress(ValueError):
                return self._first_valid(values)
        raise self._no_json(message, called, arguments)

    def _first_valid(self, values: list[object]) -> object:
        """Return the object of the first value that fits the schema, or raise the first error."""
        errors = []
        for value in values:
            try:
                return self.target.validate(value)
            except ValueError as error:
                errors.append(error)
        raise errors[0]

    def _arguments(self, message: AIMessage) -> list[str]:
        """Return the arguments of the schema's calls, whose name some servers lose."""
        is_own = self.target.is_name
        calls = [call["args"] for call in message.tool_calls if is_own(call["name"])]
        invalid = [
            call["args"] or ""
            for call in message.invalid_tool_calls
            if call["name"] is None or is_own(call["name"])
        ]
        return [*(json.dumps(args, ensure_ascii=False) for args in calls), *invalid]

    def _no_json(
        self, message: AIMessage, called: list[str], arguments: list[str]
    ) -> StructuredOutputError:
        """Return the error of a message without anything to validate."""
        name, text, names = self.target.name, str(message.text), ", ".join(called)
        if arguments:
            why, shown = why_no_json(arguments[0]), _excerpt(arguments[0])
            problem = f"The arguments of the call of {name} are not a JSON object{why}: {shown}."
            return _error(message, problem, _TRY_AGAIN, arguments[0])
        if self.by_call:
            instead = f"called {names}" if called else f"answered {_excerpt(text)}"
            problem = f"The model did not call {name}; it {instead}."
            return _error(message, problem, "Try method='json_schema' or retry=True.")
        if called:
            problem = f"The model called {names} instead of answering."
            hint = "Run the tools and ask again, or read the calls with include_raw=True."
            return _error(message, problem, hint)
        problem = f"There is no valid JSON{why_no_json(text)}; the model answered {_excerpt(text)}."
        return _error(message, problem, _TRY_AGAIN)


_TRY_AGAIN = "Try retry=True, or state in the prompt what is missing."


def _error(
    message: AIMessage,
    problem: str,
    hint: str,
    text: str | None = None,
    kind: type[StructuredOutputError] = StructuredOutputError,
) -> StructuredOutputError:
    """Return an error with the `problem`, which is also feedback for the model, and a `hint`."""
    reason = finish_reason(message)
    cause = f" finish_reason was {reason!r}." if reason else ""
    if reason == "length":
        hint = "The answer was truncated at the token limit: raise max_tokens, or ask for less."
    error = kind(
        f"{problem}{cause} {hint}",
        ai_message=message,
        finish_reason=reason,
        llm_output=str(message.text) if text is None else text,
    )
    error.observation = problem
    return error


def _refusal_error(message: AIMessage) -> StructuredOutputError:
    refusal = _refusal(message)
    what = f"refused: {_excerpt(refusal)}" if refusal else "was stopped by the content filter"
    hint = "Rephrase the request; the same one would be refused again."
    return _error(message, f"The model {what}.", hint, refusal or None, RefusalError)


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


def _refusal(message: AIMessage) -> str:
    blocks = message.content if isinstance(message.content, list) else []
    parts = [block.get("refusal") for block in blocks if isinstance(block, dict)]
    texts = (message.additional_kwargs.get("refusal"), *parts)
    return "".join(text for text in texts if isinstance(text, str))


def _reasoning(message: AIMessage) -> str:
    """Return the reasoning, but none of a truncated completion: it may contain a draft."""
    blocks = message.content_blocks if finish_reason(message) != "length" else []
    return "".join(b.get("reasoning", "") for b in blocks if b["type"] == "reasoning")


def _violations(error: ValueError) -> str:
    """Return the messages of a validation error of pydantic (v1 or v2) or jsonschema."""
    list_errors = getattr(error, "errors", None)
    if not callable(list_errors):
        return str(error).rstrip(".")
    return "; ".join(
        f"{'.'.join(map(str, item['loc'])) or 'the answer'}: {item['msg']}"
        for item in list_errors()[:_MAX_ERRORS]
    )


def _excerpt(text: str) -> str:
    text = text.strip()
    if not text:
        return "nothing"
    return repr(text if len(text) <= _EXCERPT else text[:_EXCERPT] + "…")


class _StreamDecoder:
    """Parses the messages of a stream into partial objects, and at the end into the object."""

    def __init__(self, parser: StructuredOutputParser) -> None:
        self._parser = parser
        self._messages: list[AIMessage] = []
        self._json = PartialJsonDecoder()
        self._call_index: int | str | None = None
        self._last: object = None
        self._length = self._next_validation = 0

    def feed(self, message: BaseMessage | str) -> list[object]:
        """Return the output for a message: itself with `include_raw`, else a partial object."""
        if not isinstance(message, AIMessage):
            content = message.content if isinstance(message, BaseMessage) else message
            message = AIMessageChunk(content=content)
        self._messages.append(message)
        if self._parser.include_raw:
            return [AddableDict(raw=message)]
        text = self._new_arguments(message) if self._parser.by_call else str(message.text)
        self._length += len(text)
        value = self._json.feed(text) if text else None
        output = None if value is None else self._partial(value)
        if output is None or output == self._last:
            return []
        self._last = output
        return [output]

    def close(self) -> list[object]:
        """Return the object at the end of the stream, if it differs from the last partial one."""
        chunks = [message for message in self._messages if isinstance(message, AIMessageChunk)]
        message: Any = self._messages[-1] if self._messages else AIMessage("")
        if chunks:  # without chunks, the model does not stream
            message = message_chunk_to_message(add_ai_message_chunks(chunks[0], *chunks[1:]))
        if self._parser.include_raw:
            return [AddableDict(self._parser.outcome(message))]
        output = self._parser.read(message)
        # `1 == True`: equal objects may differ. `None` may be the object, parsed from `null`.
        is_last = repr(output) == repr(self._last) and output == self._last
        return [] if is_last and output is not None else [output]

    def _partial(self, value: object) -> object | None:
        """Return the object of a partial value; `None` if there is none yet."""
        target = self._parser.target
        if target.output is dict:
            kind = "object" if isinstance(value, dict) else "array"
            expected = target.definition.get("type")
            expected = expected or ("object" if "properties" in target.definition else kind)
            return value if kind in expected else None
        validate = target.convert
        # `validate` may take milliseconds for a large value. Its calls, each after the text has
        # grown by a tenth, take together as long as about ten for the whole value.
        if self._length >= self._next_validation:
            self._next_validation = self._length * 11 // 10
            validate = target.validate
        try:
            return validate(value)
        except ValueError:
            return None

    def _new_arguments(self, message: AIMessage) -> str:
        """Return what a message adds to the arguments of the first call of the schema's tool."""
        arguments = ""
        for chunk in getattr(message, "tool_call_chunks", ()):
            if self._call_index is None and self._parser.target.is_name(chunk["name"]):
                self._call_index = chunk["index"]
            if chunk["index"] == self._call_index:
                arguments += chunk["args"] or ""
        return arguments
