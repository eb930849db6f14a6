"""Asking again: the model is shown its answer and what was wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

from langchain_aimlernie._answers import refused
from langchain_aimlernie.errors import StructuredOutputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


def as_messages(given: LanguageModelInput) -> list[BaseMessage]:
    """Give what a chat model takes as a new list of messages."""
    if isinstance(given, PromptValue):
        return list(given.to_messages())
    if isinstance(given, str):
        return [HumanMessage(given)]
    return convert_to_messages(list(given))


class Attempts:
    """The conversation of one call: it grows by each failed answer and what was wrong with it."""

    def __init__(self, given: LanguageModelInput, retries: int) -> None:
        self.messages = as_messages(given)
        self._left = retries

    def go_on_after(self, error: StructuredOutputError | None) -> bool:
        """Tell whether to ask again; if so, `messages` end with what was wrong."""
        answer = error.ai_message if error else None
        if not error or not answer or not self._left or refused(answer):
            return False
        self._left -= 1
        self.messages = [*self.messages, *_correction(answer, str(error.observation))]
        return True


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


_Tried = tuple[Any, StructuredOutputError | None]


class StructuredOutputWithRetry(RunnableSerializable[LanguageModelInput, Any]):
    """A structured output that asks again while the answer cannot be used.

    A stream asks again only as long as it has given nothing, for what was given cannot be taken
    back.
    """

    chain: InstanceOf[Runnable[LanguageModelInput, Any]]
    include_raw: bool
    retries: int

    @property
    @override
    def OutputType(self) -> Any:
        return self.chain.OutputType

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

    def _ask(
        self, given: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        attempts = Attempts(given, self.retries)
        answer, error = self._try(attempts, config, **kwargs)
        while attempts.go_on_after(error):
            answer, error = self._try(attempts, config, **kwargs)
        return self._settle(answer, error)

    async def _aask(
        self, given: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        attempts = Attempts(given, self.retries)
        answer, error = await self._atry(attempts, config, **kwargs)
        while attempts.go_on_after(error):
            answer, error = await self._atry(attempts, config, **kwargs)
        return self._settle(answer, error)

    def _try(self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any) -> _Tried:
        try:
            return self._tried(self.chain.invoke(attempts.messages, config, **kwargs))
        except StructuredOutputError as error:
            return None, error

    async def _atry(
        self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any
    ) -> _Tried:
        try:
            return self._tried(await self.chain.ainvoke(attempts.messages, config, **kwargs))
        except StructuredOutputError as error:
            return None, error

    def _tried(self, answer: Any) -> _Tried:
        return answer, answer["parsing_error"] if self.include_raw else None

    def _settle(self, answer: Any, error: StructuredOutputError | None) -> Any:
        if error is not None and not self.include_raw:
            raise error
        return answer

    def _ask_streaming(
        self,
        given: Iterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        return self._stream(Attempts(next(given), self.retries), config, **kwargs)

    def _stream(
        self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any
    ) -> Iterator[Any]:
        has_given = False
        try:
            for part in self.chain.stream(attempts.messages, config, **kwargs):
                has_given = True
                yield part
        except StructuredOutputError as error:
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
        attempts = Attempts(await anext(given), self.retries)
        async for part in self._astream(attempts, config, **kwargs):
            yield part

    async def _astream(
        self, attempts: Attempts, config: RunnableConfig | None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        has_given = False
        try:
            async for part in self.chain.astream(attempts.messages, config, **kwargs):
                has_given = True
                yield part
        except StructuredOutputError as error:
            if has_given or not attempts.go_on_after(error):
                raise
        else:
            return
        async for part in self._astream(attempts, config, **kwargs):
            yield part


async def _only(given: LanguageModelInput) -> AsyncIterator[LanguageModelInput]:
    yield given
