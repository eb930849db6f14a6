"""Asking again: by another method, or showing the model its answer and what was wrong with it."""

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
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import InstanceOf
from typing_extensions import override

from langchain_aimlernie._structured.parser import refused
from langchain_aimlernie.errors import (
    AimlErnieError,
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


def as_messages(given: LanguageModelInput) -> list[BaseMessage]:
    """Give what a chat model takes as a new list of messages."""
    if isinstance(given, PromptValue):
        return list(given.to_messages())
    if isinstance(given, str):
        return [HumanMessage(given)]
    return convert_to_messages(list(given))


@lru_cache(maxsize=256)
def _refused_by(base_url: str, model: str) -> set[str]:  # noqa: ARG001  they are the cache's key
    """Return the methods that a model on a server is known to refuse, to be added to."""
    return set()


class Attempts:
    """The attempts of one call, each by a method and with the messages so far.

    Attributes:
        method: How the model is to be asked.
        messages: The conversation, which grows by each failed answer and what was wrong with it.
    """

    def __init__(
        self, given: LanguageModelInput, methods: Sequence[str], retries: int, server: Server
    ) -> None:
        self.messages = as_messages(given)
        self._known = _refused_by(*server)
        self._refused: list[str] = []
        self.method, *self._methods = [m for m in methods if m not in self._known] or methods[-1:]
        self._left = retries

    def accept(self) -> None:
        """Remember, in this process, the methods that were refused before one that works."""
        self._known.update(self._refused)

    def go_on_after(self, error: AimlErnieError | None) -> bool:
        """Return whether to ask again; if so, `method` and `messages` say how.

        Args:
            error: What went wrong, if anything.
        """
        if isinstance(error, BadRequestError):
            return self._change_method(error)
        self.accept()
        return isinstance(error, StructuredOutputError) and self._correct(error)

    def _change_method(self, error: BadRequestError) -> bool:
        if not self._methods or not _refuses_method(error):
            return False
        self._refused.append(self.method)
        self.method = self._methods.pop(0)
        return True

    def _correct(self, error: StructuredOutputError) -> bool:
        answer = error.ai_message
        if not answer or not self._left or refused(answer):
            return False
        self._left -= 1
        self.messages = [*self.messages, *_correction(answer, str(error.observation))]
        return True


# Words by which servers (vLLM, SGLang, llama.cpp, LM Studio, Ollama, LiteLLM, OpenAI) refuse a
# response format, a schema or tools.
_ABOUT_METHODS = re.compile(
    r"response[ _-]?format|json[ _-]?(?:schema|object|mode)|structured[ _-]?output"
    r"|guided[ _-]?(?:json|decoding)|grammar|\btools?\b|\btool_choice|function[ _-]?call",
    re.IGNORECASE,
)


def _refuses_method(error: BadRequestError) -> bool:
    """Return whether a server refuses the way it was asked, before it has said anything else."""
    if isinstance(error, ContextWindowExceededError) or error.partial is not None:
        return False
    words = f"{error.message} {_parameter(error.body)}"
    return error.status_code in (400, 422) and _ABOUT_METHODS.search(words) is not None


def _parameter(body: object) -> object:
    """Return the `param` of an error in OpenAI's form."""
    inner = body.get("error", body) if isinstance(body, Mapping) else None
    return inner.get("param") if isinstance(inner, Mapping) else None


def _correction(answer: AIMessage, problem: str) -> list[BaseMessage]:
    """Show the answer and what was wrong with it; every tool call must get its own reply."""
    demand = f"Your answer could not be used. {problem} Answer again, in the form that was asked."
    calls = [*answer.tool_calls, *answer.invalid_tool_calls]
    if calls:
        replies = [
            ToolMessage(demand, tool_call_id=call["id"] or "", name=call["name"], status="error")
            for call in calls
        ]
        return [answer, *replies]
    said = [answer] if str(answer.text).strip() else []
    return [*said, HumanMessage(demand)]


_Tried = tuple[Any, AimlErnieError | None]


class StructuredOutputWithRetry(RunnableSerializable[LanguageModelInput, Any]):
    """A structured output that asks again while the answer cannot be used.

    If the server refuses a method, it goes on with the next one, and the process remembers that
    for the model and the server. A stream asks again only as long as it has given nothing, for
    what was given cannot be taken back.

    Attributes:
        chains: What asks by a method and reads the answer, by the method's name, in order.
        server: The `base_url` and the model that are asked, where a call says nothing else.
        include_raw: Whether a result holds its error instead of raising it.
        retries: How often an answer that cannot be used may be corrected.
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
        return self._call_with_config(self._ask, input, config, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return await self._acall_with_config(self._aask, input, config, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        inputs = iter([input])
        yield from self._transform_stream_with_config(inputs, self._ask_streaming, config, **kwargs)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        inputs = _only(input)
        async for part in self._atransform_stream_with_config(
            inputs, self._aask_streaming, config, **kwargs
        ):
            yield part

    def _attempts(self, given: LanguageModelInput, options: Mapping[str, Any]) -> Attempts:
        server = server_of(options, self.server)
        return Attempts(given, list(self.chains), self.retries, server)

    def _ask(
        self, given: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        attempts = self._attempts(given, kwargs)
        answer, error = self._try(attempts, config, **kwargs)
        while attempts.go_on_after(error):
            answer, error = self._try(attempts, config, **kwargs)
        return self._settle(answer, error)

    async def _aask(
        self, given: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        attempts = self._attempts(given, kwargs)
        answer, error = await self._atry(attempts, config, **kwargs)
        while attempts.go_on_after(error):
            answer, error = await self._atry(attempts, config, **kwargs)
        return self._settle(answer, error)

    def _try(self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any) -> _Tried:
        try:
            chain = self.chains[attempts.method]
            return self._tried(chain.invoke(attempts.messages, config, **kwargs))
        except (StructuredOutputError, BadRequestError) as error:
            return None, error

    async def _atry(
        self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any
    ) -> _Tried:
        try:
            chain = self.chains[attempts.method]
            return self._tried(await chain.ainvoke(attempts.messages, config, **kwargs))
        except (StructuredOutputError, BadRequestError) as error:
            return None, error

    def _tried(self, answer: Any) -> _Tried:
        return answer, answer["parsing_error"] if self.include_raw else None

    def _settle(self, answer: Any, error: AimlErnieError | None) -> Any:
        if error is not None and answer is None:
            raise error
        return answer

    def _ask_streaming(
        self,
        given: Iterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        return self._stream(self._attempts(next(given), kwargs), config, **kwargs)

    def _stream(
        self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any
    ) -> Iterator[Any]:
        has_given = False
        try:
            chain = self.chains[attempts.method]
            for part in chain.stream(attempts.messages, config, **kwargs):
                attempts.accept()
                has_given = True
                yield part
        except (StructuredOutputError, BadRequestError) as error:
            if has_given or not attempts.go_on_after(error):
                raise
        else:
            return
        yield from self._stream(attempts, config, **kwargs)

    async def _aask_streaming(
        self,
        given: AsyncIterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        attempts = self._attempts(await anext(given), kwargs)
        async for part in self._astream(attempts, config, **kwargs):
            yield part

    async def _astream(
        self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        has_given = False
        try:
            chain = self.chains[attempts.method]
            async for part in chain.astream(attempts.messages, config, **kwargs):
                attempts.accept()
                has_given = True
                yield part
        except (StructuredOutputError, BadRequestError) as error:
            if has_given or not attempts.go_on_after(error):
                raise
        else:
            return
        async for part in self._astream(attempts, config, **kwargs):
            yield part


async def _only(given: LanguageModelInput) -> AsyncIterator[LanguageModelInput]:
    yield given
