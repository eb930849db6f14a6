"""Calls the runnable of a batch for each row: a `ChatAimlErnie`, or any other runnable."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from contextvars import ContextVar
from decimal import Decimal
from typing import Any, NamedTuple

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import (
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableWithFallbacks,
)
from langchain_core.runnables.base import RunnableBindingBase, coerce_to_runnable
from langchain_core.runnables.config import merge_configs
from langchain_core.runnables.configurable import DynamicRunnable
from typing_extensions import override

from langchain_aimlernie._request.tokens import count_message_tokens
from langchain_aimlernie._structured.parser import StructuredOutputParser
from langchain_aimlernie._structured.schema import OutputSchema, parse_schema
from langchain_aimlernie.batch.rows import BatchError, Row, read_row, to_messages
from langchain_aimlernie.chat_models import ChatAimlErnie
from langchain_aimlernie.errors import AimlErnieError
from langchain_aimlernie.models import list_models
from langchain_aimlernie.spend import Spend, SpendTracker
from langchain_aimlernie.spend.prices import cost_of_tokens

_ASSUMED_OUTPUT = 500
"""Tokens of a completion in an estimate, if there is no `max_tokens`."""

_STRUCTURED_KWARGS = ("tools", "tool_choice", "parallel_tool_calls", "method", "strict", "retry")
"""Parameters of `with_structured_output`, which drops them if they are bound."""

_request_id: ContextVar[str] = ContextVar("aimlernie_batch_request_id")


class Outcome(NamedTuple):
    """The result of a call; with a schema, also the object, or the error."""

    output: Any
    spend: Spend
    parsed: Any = None
    error: Exception | None = None


class Caller:
    """Calls the runnable of a batch, which retries by itself and has no known price.

    Attributes:
        model: The `ChatAimlErnie`, if it is one: its provider may have a log of the calls.
        schema: The schema of its completions.
        max_retries: Maximum number of retries by the batch; 0 if the runnable retries.
    """

    model: ChatAimlErnie | None = None
    schema: OutputSchema | None = None
    max_retries = 0

    def __init__(self, runnable: Runnable[Any, Any], *, is_model: bool) -> None:
        self._runnable = runnable
        self._is_model = is_model

    def read(self, item: object, number: int) -> Row:
        """Parse an item of the input; `number` is its index, from 0."""
        return read_row(item, number, {} if self._is_model else None)

    async def call(
        self, row: Row, request_id: str, callbacks: list[BaseCallbackHandler]
    ) -> Outcome:
        """Run a row with this `X-Client-Request-Id` and these callbacks."""
        spend = SpendTracker()
        value = to_messages(row.input) if self._is_model else row.input
        config = RunnableConfig(callbacks=[spend, *callbacks])
        output = await self._runnable.ainvoke(value, config, **row.params)
        return Outcome(output, spend.total)

    def parse(self, message: AIMessage) -> Any:
        """Return the object of a message, or raise a ValueError."""
        if self.schema is None:
            raise ValueError("There is no schema.")
        by_call = bool(message.tool_calls)
        return StructuredOutputParser(target=self.schema, by_call=by_call).read(message)

    def tokens(self, row: Row) -> tuple[int, int]:
        """Return estimates of the prompt and completion tokens of a row."""
        return 0, 0

    def price(self, row: Row, tokens: tuple[int, int]) -> Decimal | None:
        """Return the price of these tokens in US dollars; `None` if it is not known."""
        return None


def caller_of(runnable: Runnable[Any, Any], schema: Any) -> Caller:
    """Return the caller for a runnable.

    Raises:
        TypeError: It is not a runnable, and LangChain cannot convert it to one.
        ValueError: The runnable cannot have a schema.
    """
    kwargs: dict[str, Any] = {}
    config = RunnableConfig()
    model = runnable = coerce_to_runnable(runnable)
    has_retries = False  # or fallbacks
    while isinstance(model, RunnableBindingBase | RunnableWithFallbacks | DynamicRunnable):
        if isinstance(model, DynamicRunnable):
            model, config = model.prepare(config)
        elif isinstance(model, RunnableBindingBase):
            has_retries = has_retries or not isinstance(model, RunnableBinding)
            kwargs = {**model.kwargs, **kwargs}
            config = merge_configs(model.config, config)
            model = model.bound
        else:
            has_retries, model = True, model.runnable
    if isinstance(model, ChatAimlErnie) and not has_retries:
        return _ModelCaller(model, kwargs, config, schema)
    if schema is not None:
        raise ValueError(
            "schema= needs a ChatAimlErnie; for other runnables use with_structured_output."
        )
    return Caller(runnable, is_model=isinstance(model, BaseChatModel))


class _ModelCaller(Caller):
    """Calls a `ChatAimlErnie` with the parameters of each row."""

    _has_prices = False

    def __init__(
        self, model: ChatAimlErnie, kwargs: Mapping[str, Any], config: RunnableConfig, schema: Any
    ) -> None:
        super().__init__(model, is_model=True)
        retries = kwargs.get("max_retries")
        self.max_retries = model.max_retries if retries is None else int(retries)
        self.model = self._model = model.model_copy(
            update={"max_retries": 0, "client_request_id": _request_id.get}
        )
        if schema is not None and (problem := _schema_conflict(kwargs)):
            raise ValueError(problem)
        replaced = ("max_retries", "client_request_id")
        self._kwargs = {name: value for name, value in kwargs.items() if name not in replaced}
        self._config = config
        self._schema = schema
        self.schema = None if schema is None else parse_schema(schema)
        self._latest: tuple[dict[str, Any], Runnable[Any, Any]] | None = None
        settings = {**model.request_params(), **model.model_kwargs, **(model.extra_body or {})}
        definition = {} if self.schema is None else {"schema": self.schema.definition}
        self._settings = {"model": model.model_name, **settings, **self._kwargs, **definition}

    @override
    def read(self, item: object, number: int) -> Row:
        row = read_row(item, number, self._settings)
        if self._schema is not None and (problem := _schema_conflict(row.params)):
            raise BatchError(f"Row {number + 1}: {problem}")
        return row

    @override
    async def call(
        self, row: Row, request_id: str, callbacks: list[BaseCallbackHandler]
    ) -> Outcome:
        _request_id.set(request_id)
        messages = to_messages(row.input)
        kwargs = {**self._kwargs, **row.params}
        spend = SpendTracker(unpriced="ignore")  # also of the calls that `retry` makes
        config = merge_configs(self._config, {"callbacks": [spend, *callbacks]})
        if self.schema is None:
            message = await self._model.ainvoke(messages, config, **kwargs)
            return Outcome(message, spend.total)
        output = await self._structured(kwargs).ainvoke(messages, config)
        return Outcome(output["raw"], spend.total, output["parsed"], output["parsing_error"])

    def _structured(self, kwargs: dict[str, Any]) -> Runnable[Any, Any]:
        """Return the model with the schema; most rows have the parameters of the previous one."""
        if self._latest is None or self._latest[0] != kwargs:
            options = {name: kwargs[name] for name in _STRUCTURED_KWARGS if name in kwargs}
            bound: Any = self._model.bind(**{n: v for n, v in kwargs.items() if n not in options})
            model = bound.with_structured_output(self._schema, include_raw=True, **options)
            self._latest = kwargs, model
        return self._latest[1]

    @override
    def tokens(self, row: Row) -> tuple[int, int]:
        params = {**self._settings, **row.params}
        tools = params.get("tools")
        try:
            messages = to_messages(row.input)
        except (KeyError, TypeError, ValueError):  # with which the call of this row fails
            return 0, 0
        prompt = count_message_tokens(messages, tools if isinstance(tools, list) else None)
        limit = params.get("max_tokens") or params.get("max_completion_tokens")
        return prompt, limit if isinstance(limit, int) else _ASSUMED_OUTPUT

    @override
    def price(self, row: Row, tokens: tuple[int, int]) -> Decimal | None:
        model = str(row.params.get("model") or self._settings["model"])
        if not self._has_prices:
            self._has_prices = True
            with contextlib.suppress(AimlErnieError):
                list_models(base_url=self._model.base_url, http_client=self._model.http_client)
        try:
            return cost_of_tokens(model, tokens[0], {}, tokens[1])
        except ValueError:
            return None


def _schema_conflict(params: Mapping[str, Any]) -> str | None:
    """Return the error message if a call with these parameters cannot have a schema."""
    names = [each for each in ("include_raw", "response_format", "schema") if params.get(each)]
    return f"{', '.join(names)} cannot be set beside schema=." if names else None
