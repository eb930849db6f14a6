"""Repeated calls: with another method, or with the validation error as feedback."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_messages,
)
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import InstanceOf
from typing_extensions import override

from langchain_aimlernie._structured.parser import is_refusal
from langchain_aimlernie.errors import (
    BadRequestError,
    ContextWindowExceededError,
    StructuredOutputError,
)

Server = tuple[str, str]
"""The `base_url` and the model of a call."""


def server_of(options: Mapping[str, Any], default: Server) -> Server:
    """Return which server and model a call with these options is for."""
    base_url, model = default
    model = options.get("model") or options.get("model_name") or model
    return str(options.get("base_url") or base_url), str(model)


def as_messages(model_input: LanguageModelInput) -> list[BaseMessage]:
    """Return the input of a chat model as a new list of messages."""
    if isinstance(model_input, str):
        return [HumanMessage(model_input)]
    return list(convert_to_messages(model_input))


@lru_cache(maxsize=256)
def _rejected_methods(base_url: str, model: str) -> set[str]:  # noqa: ARG001  they are the cache's key
    """Return the methods that the server refuses for a model; a set to be extended."""
    return set()


class RepairLoop:
    """The attempts of one structured call: `with loop:` is one, to be repeated while `is_open`.

    An attempt that fails is repeated with the next method if the server refuses its method, or with
    the error as feedback; else the error is raised.

    Attributes:
        method: The method of the next attempt.
        messages: The conversation, with each failed completion and its feedback.
        is_open: Whether to make an attempt.
    """

    def __init__(
        self, model_input: LanguageModelInput, methods: Sequence[str], retries: int, server: Server
    ) -> None:
        self.messages = as_messages(model_input)
        self.is_open = True
        self._known = _rejected_methods(*server)
        self._rejected: list[str] = []
        self.method, *self._methods = [m for m in methods if m not in self._known] or methods[-1:]
        self._left = retries

    def __enter__(self) -> None:
        self.is_open = False

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> bool:
        if isinstance(error, BadRequestError):
            self.is_open = self._change_method(error)
        elif isinstance(error, StructuredOutputError):
            self.is_open = self.add_feedback(error)
        return self.is_open

    def accept(self) -> None:
        """Remember the methods that were refused before one that works, for this process."""
        self._known.update(self._rejected)

    def accept_part(self) -> None:
        """Accept the method of a stream, which is not repeated any more."""
        self.accept()
        self._methods, self._left = [], 0

    def add_feedback(self, error: StructuredOutputError | None) -> bool:
        """Accept the method; return whether to repeat the call with the error as feedback."""
        self.accept()
        if not error or not (output := error.ai_message) or not self._left or is_refusal(output):
            return False
        self._left -= 1
        self.messages = [*self.messages, *_feedback(output, str(error.observation))]
        return True

    def _change_method(self, error: BadRequestError) -> bool:
        if not self._methods or not _is_method_error(error):
            return False
        self._rejected.append(self.method)
        self.method = self._methods.pop(0)
        return True


# Wordings with which servers (vLLM, SGLang, llama.cpp, LM Studio, Ollama, LiteLLM, OpenAI) refuse a
# response format, a schema or tools.
_METHOD_PATTERN = re.compile(
    r"response[ _-]?format|json[ _-]?(?:schema|object|mode)|structured[ _-]?output"
    r"|guided[ _-]?(?:json|decoding)|grammar|\btools?\b|\btool_choice|function[ _-]?call",
    re.IGNORECASE,
)


def _is_method_error(error: BadRequestError) -> bool:
    """Whether a server refuses the method, not the request as such."""
    if isinstance(error, ContextWindowExceededError) or error.partial is not None:
        return False
    text = f"{error.message} {_parameter(error.body)}"
    return error.status_code in (400, 422) and _METHOD_PATTERN.search(text) is not None


def _parameter(body: object) -> object:
    """Return the `param` of an error in OpenAI's form."""
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return inner.get("param") if isinstance(inner, Mapping) else None


def _feedback(output: AIMessage, problem: str) -> list[BaseMessage]:
    """Return the completion and the feedback; every tool call needs a result of its own."""
    demand = f"Your answer could not be used. {problem} Answer again, in the form that was asked."
    calls = [*output.tool_calls, *output.invalid_tool_calls]
    if calls:
        replies = [
            ToolMessage(demand, tool_call_id=call["id"] or "", name=call["name"], status="error")
            for call in calls
        ]
        return [output, *replies]
    shown = [output] if str(output.text).strip() else []
    return [*shown, HumanMessage(demand)]


class StructuredOutputWithRetry(RunnableSerializable[LanguageModelInput, Any]):
    """A structured output that re-prompts the model while its completion is invalid.

    If the server refuses a method, the next one is tried, and the process remembers that for the
    model and the server. A stream is repeated only before its first item.

    Attributes:
        chains: The model with its parser for each method, in order.
        server: The default `base_url` and model.
        include_raw: Whether a result contains its error instead of raising it.
        retries: The maximum number of repairs.
    """

    chains: dict[str, InstanceOf[Runnable[LanguageModelInput, Any]]]
    server: Server
    include_raw: bool
    retries: int

    @property
    @override
    def OutputType(self) -> Any:
        return next(iter(self.chains.values())).OutputType

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return self._call_with_config(self._invoke, input, config, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        inputs = iter([input])
        yield from self._transform_stream_with_config(inputs, self._stream, config, **kwargs)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        inputs = _only(input)
        async for part in self._atransform_stream_with_config(
            inputs, self._astream, config, **kwargs
        ):
            yield part

    def _new_loop(self, model_input: LanguageModelInput, options: Mapping[str, Any]) -> RepairLoop:
        server = server_of(options, self.server)
        return RepairLoop(model_input, list(self.chains), self.retries, server)

    def _invoke(
        self, model_input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        loop, output = self._new_loop(model_input, kwargs), None
        while loop.is_open:
            with loop:
                output = self.chains[loop.method].invoke(loop.messages, config, **kwargs)
                self._settle(loop, output)
        return output

    async def _ainvoke(
        self, model_input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        loop, output = self._new_loop(model_input, kwargs), None
        while loop.is_open:
            with loop:
                output = await self.chains[loop.method].ainvoke(loop.messages, config, **kwargs)
                self._settle(loop, output)
        return output

    def _settle(self, loop: RepairLoop, output: Any) -> None:
        loop.is_open = loop.add_feedback(output["parsing_error"] if self.include_raw else None)

    def _stream(
        self,
        model_input: Iterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        loop = self._new_loop(next(model_input), kwargs)
        while loop.is_open:
            with loop:
                for part in self.chains[loop.method].stream(loop.messages, config, **kwargs):
                    loop.accept_part()
                    yield part

    async def _astream(
        self,
        model_input: AsyncIterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        loop = self._new_loop(await anext(model_input), kwargs)
        while loop.is_open:
            with loop:
                async for part in self.chains[loop.method].astream(loop.messages, config, **kwargs):
                    loop.accept_part()
                    yield part


async def _only(model_input: LanguageModelInput) -> AsyncIterator[LanguageModelInput]:
    yield model_input
