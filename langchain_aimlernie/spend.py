"""Track what calls cost, and keep them within a budget.

with SpendTracker(limit_usd=0.50) as spend:
    agent.invoke(...)
print(spend)
# 3 calls, 1,204 tokens in, 310 out, 1,812 credits, $0.000906
"""

from __future__ import annotations

import asyncio
import operator
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import aclosing, closing
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import reduce
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self
from uuid import UUID

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tracers.context import register_configure_hook
from pydantic import SecretStr
from typing_extensions import override

from langchain_aimlernie._client import awaited, resolve_key
from langchain_aimlernie._metering import Meter, add_meter
from langchain_aimlernie._request.tokens import count_message_tokens, count_tokens
from langchain_aimlernie.chat_models import ChatAimlErnie
from langchain_aimlernie.errors import (
    AimlErnieError,
    APITimeoutError,
    BudgetExceededError,
    StreamInterruptedError,
)
from langchain_aimlernie.profiles import PROVIDER, find_model

if TYPE_CHECKING:
    from langchain_aimlernie.account import LogEntry

__all__ = ["BudgetExceededError", "Spend", "SpendTracker"]

# "$1 USD = 2,000,000 credits" (docs.aimlapi.com, "How can I track my funds?"). Older responses
# of the API carry only the credits.
_CREDITS_PER_USD = 2_000_000
_MILLION = 1_000_000

_ZERO = Decimal(0)
_MAX_ESTIMATES = 10_000
"""Calls without an exact price that are kept one by one, for the provider's log."""

_CLOCK_SKEW = timedelta(minutes=5)
_LONGEST_LOG = timedelta(days=92)


class Spend(NamedTuple):
    """Usage and cost of some calls.

    Money is `Decimal`: sums of many small amounts stay exact, and so does comparing them to a
    limit.

    Attributes:
        calls: Calls that completed, or that the caller cancelled or abandoned.
        cached: Responses from LangChain's cache, which cost nothing and are counted nowhere else.
        retries: Retries after the first attempt of each call.
        failed: Calls that ended in an error.
        unpriced: Calls without a price in the response; `credits` and `usd` do not include them.
        input_tokens: Tokens of the prompts.
        cached_tokens: Those of `input_tokens` that the provider had in its cache.
        output_tokens: Tokens of the completions, reasoning included.
        reasoning_tokens: Those of `output_tokens` that are reasoning.
        credits: Credits of the AI/ML API.
        usd: The same in US dollars.
        estimated_usd: The part of `usd` that is an estimate: of calls that the caller cancelled or
            abandoned, and of responses that did not state their price.
    """

    calls: int = 0
    cached: int = 0
    retries: int = 0
    failed: int = 0
    unpriced: int = 0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    credits: Decimal = _ZERO
    usd: Decimal = _ZERO
    estimated_usd: Decimal = _ZERO

    @override
    def __str__(self) -> str:
        parts = [
            _pluralize(self.calls, "call"),
            f"{self.input_tokens:,} tokens in" + _suffix(self.cached_tokens, "cached"),
            f"{self.output_tokens:,} out" + _suffix(self.reasoning_tokens, "reasoning"),
            f"{self.credits.normalize():,f} credits",
            f"${self.usd.normalize():,f}",
        ]
        rare = {
            f"{self.cached:,} from the cache": self.cached,
            _pluralize(self.retries, "retry", "retries"): self.retries,
            f"{self.failed:,} failed": self.failed,
            f"{self.unpriced:,} without a price": self.unpriced,
            f"${self.estimated_usd.normalize():,f} estimated": self.estimated_usd,
        }
        return ", ".join((*parts, *(text for text, number in rare.items() if number)))


def _owner() -> tuple[int, int]:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no running event loop
        task = None
    return threading.get_ident(), id(task)


@dataclass(slots=True)
class _Run:
    """A call under way.

    Attributes:
        is_own: Whether it is a call of `ChatAimlErnie`, which reserves before it sends.
        is_sent: Whether the request may have been sent.
        may_wait: Whether it may wait for the first price.
        reserved: US dollars that are reserved for it.
        received: The output so far.
        started: When it started.
        request_id: Its `X-Client-Request-Id`, if no other call has the same.
        owner: The thread and task that made it. A call does not wait for another of its own
            task, such as a stream in whose loop it is made.
    """

    model: str
    tags: tuple[str, ...]
    messages: Sequence[BaseMessage]
    params: Mapping[str, Any]
    is_own: bool
    is_sent: bool
    may_wait: bool = True
    reserved: Decimal = _ZERO
    received: list[str] = field(default_factory=list)
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    request_id: str | None = None
    owner: tuple[int, int] = field(default_factory=_owner)

    def estimated_usage(self) -> tuple[int, int]:
        """Return about how many tokens the prompt and the output so far have."""
        tools = self.params.get("tools")
        prompt = count_message_tokens(self.messages, tools if isinstance(tools, list) else None)
        return prompt, count_tokens("".join(self.received))


@dataclass(slots=True)
class _Estimate:
    """A call whose exact price is not known.

    Attributes:
        spend: What it counts as; `unpriced` until there is a price for an estimate.
        started: When it started.
        inference_id: Its id in the provider's log.
        request_id: Its `X-Client-Request-Id`, if no other call has the same.
    """

    model: str
    tags: tuple[str, ...]
    spend: Spend
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    inference_id: str | None = None
    request_id: str | None = None


class _LogSearch:
    """The search for estimated calls in the provider's log.

    Args:
        estimates: The calls.

    Attributes:
        estimates: Those that can be found.
        start: When the first of them started.
        found: What each one that was found has cost, all its attempts together, by `id()`.
    """

    def __init__(self, estimates: Sequence[_Estimate]) -> None:
        self.estimates = [each for each in estimates if each.inference_id or each.request_id]
        self._by_inference_id = {e.inference_id: e for e in self.estimates if e.inference_id}
        self._by_request_id = {e.request_id: e for e in self.estimates if e.request_id}
        now = datetime.now(UTC)
        self.start = min((each.started for each in self.estimates), default=now)
        self.found: dict[int, Spend] = {}

    def add(self, entry: LogEntry) -> None:
        """Take an entry of the log."""
        estimate = self._by_inference_id.get(entry.inference_id)
        estimate = estimate or self._by_request_id.get(entry.client_request_id or "")
        if estimate is not None:
            more = Spend(
                usd=entry.cost.usd,
                input_tokens=entry.tokens.input,
                output_tokens=entry.tokens.output,
            )
            self.found[id(estimate)] = _sum(self.found.get(id(estimate), Spend()), more)


def _log_settings(
    llm: ChatAimlErnie, key: SecretStr | AimlErnieError | None, start: datetime
) -> dict[str, Any]:
    """Return the arguments with which the log is read since `start`, for at most 92 days.

    Raises:
        AimlErnieError: `key` is one.
    """
    if isinstance(key, AimlErnieError):
        raise key
    end = datetime.now(UTC) + _CLOCK_SKEW
    start = max(start - _CLOCK_SKEW, end - _LONGEST_LOG)
    return {"start": start, "end": end, "base_url": llm.base_url, "api_key": key}


async def log_since(llm: ChatAimlErnie, start: datetime) -> AsyncGenerator[LogEntry, None]:
    """Yield the provider's log of the requests since `start`, with the key of `llm`.

    Raises:
        AimlErnieError: A request failed.
    """
    from langchain_aimlernie.account import alogs

    key = resolve_key(await awaited(llm.api_key() if callable(llm.api_key) else llm.api_key))
    settings = _log_settings(llm, key, start)
    async with aclosing(alogs(**settings, http_client=llm.http_async_client)) as entries:
        async for entry in entries:
            yield entry


class SpendTracker(Meter):
    """Adds up tokens, credits and US dollars of the calls of chat models, within a budget.

    It sees the calls of models that have it among their `callbacks`
    (`ChatAimlErnie(callbacks=[spend])`) or are called with `config={"callbacks": [spend]}`, in any
    thread, task or generator, and the calls made inside `with SpendTracker() as spend:` in the same
    context. A plain thread, or a generator that is resumed in another context, does not see the
    `with`. Streamed and whole responses count alike, once. One tracker may serve many threads and
    tasks.

    A call that the caller cancels or abandons is counted with an estimate: its prompt and the
    output received so far, at the mean price of a token in this tracker's calls to the model, else
    at the price in the last `list_models()`, else in `prices`. If none is known, it is `unpriced`
    until the first price comes.

    Args:
        limit_usd: Budget in US dollars. A call that could exceed it raises `BudgetExceededError`
            instead of being sent.
        limit_credits: The same in credits.
        spent_usd: US dollars spent before, which count towards the budget.
        reserve: What each call reserves of the budget while it is under way: `"expected"`, the
            mean price of a call so far (until the first price is known, further calls of
            `ChatAimlErnie` wait for the first response, at most a minute); `"worst"`, the price of
            the estimated prompt and of `max_tokens`, or of all that the context leaves; `None`,
            nothing: calls are sent until the budget is spent. While nothing is spent or reserved, a
            call is always sent.
        prices: US dollars for a million tokens of input and of output, by model id.
        price: Price of a response that does not state it, as those of other models: called with
            the model's name and the `usage_metadata`, it returns US dollars, or `None`.
        unpriced: A response without any price counts like an estimated call (`"reserve"`), or
            costs nothing (`"ignore"`).

    Raises:
        ValueError: An amount is no number of at least 0 (also when a limit is assigned later), or
            `reserve` or `unpriced` is none of its values.
    """

    raise_error = True  # else core would log an exceeded budget and make the call
    run_inline = True  # on the event loop, before the request is sent; nothing here waits

    def __init__(  # noqa: PLR0913  all of them optional, by name
        self,
        *,
        limit_usd: Decimal | float | str | None = None,
        limit_credits: Decimal | float | str | None = None,
        spent_usd: Decimal | float | str = 0,
        reserve: Literal["expected", "worst"] | None = "expected",
        prices: Mapping[str, tuple[Decimal | float | str, Decimal | float | str]] | None = None,
        price: Callable[[str, Mapping[str, Any]], Decimal | float | None] | None = None,
        unpriced: Literal["reserve", "ignore"] = "reserve",
    ) -> None:
        super().__init__()
        self._limit_usd = _limit(limit_usd, "limit_usd")
        self._limit_credits = _limit(limit_credits, "limit_credits")
        self._reserve = _choice(reserve, ("expected", "worst", None), "reserve")
        self._unpriced = _choice(unpriced, ("reserve", "ignore"), "unpriced")
        self._prices = {
            find_model(model).id: (_amount(pair[0], "prices"), _amount(pair[1], "prices"))
            for model, pair in (prices or {}).items()
        }
        self._price = price
        self._lock = threading.RLock()
        self._clear(_amount(spent_usd, "spent_usd"))
        self._runs: dict[UUID, _Run] = {}
        self._reserved = _ZERO
        self._waiters: list[Future[None]] = []

    def _clear(self, spent_usd: Decimal) -> None:
        self._total = Spend(usd=spent_usd, credits=spent_usd * _CREDITS_PER_USD)
        self._by_model: dict[str, Spend] = {}
        self._by_tag: dict[str, Spend] = {}
        self._priced: dict[str, Spend] = {}  # calls whose price is known exactly
        self._estimates: deque[_Estimate] = deque()  # the latest, of which the log is asked
        self._earlier: dict[tuple[str, tuple[str, ...]], Spend] = {}
        """Earlier calls that are to be estimated as soon as there is a price."""
        self._pending: set[str] = set()  # models with such calls

    @property
    def limit_usd(self) -> Decimal | None:
        """Budget in US dollars; `None` is no limit. May be set."""
        return self._limit_usd

    @limit_usd.setter
    def limit_usd(self, limit: Decimal | float | str | None) -> None:
        self._limit_usd = _limit(limit, "limit_usd")

    @property
    def limit_credits(self) -> Decimal | None:
        """Budget in credits; `None` is no limit. May be set."""
        return self._limit_credits

    @limit_credits.setter
    def limit_credits(self, limit: Decimal | float | str | None) -> None:
        self._limit_credits = _limit(limit, "limit_credits")

    @property
    def total(self) -> Spend:
        """The sum over all calls so far."""
        return self._total

    @property
    def by_model(self) -> dict[str, Spend]:
        """The sums over the calls to each model, by the model's id."""
        with self._lock:
            return dict(self._by_model)

    @property
    def by_tag(self) -> dict[str, Spend]:
        """The sums over the calls with each tag of LangChain's (`config={"tags": [...]}`)."""
        with self._lock:
            return dict(self._by_tag)

    @property
    def usd(self) -> Decimal:
        """US dollars spent so far."""
        return self._total.usd

    @property
    def credits(self) -> Decimal:
        """Credits spent so far."""
        return self._total.credits

    @property
    def remaining_usd(self) -> Decimal | None:
        """US dollars that are left of the budget, at least 0; `None` without `limit_usd`.

        What calls under way have reserved is not left.
        """
        with self._lock:
            if self._limit_usd is None:
                return None
            return max(_ZERO, self._limit_usd - self._total.usd - self._reserved)

    def reconcile(self, llm: ChatAimlErnie) -> int:
        """Replace estimates with the amounts in the provider's log (`GET /v2/logs`).

        A call is found by the id of its response, else by its `X-Client-Request-Id`, unless
        `client_request_id` is one text for all calls. The log may lack the latest calls for a
        while; their estimates stay, for the next time. Of the estimates, the last 10,000 can be
        replaced.

        Args:
            llm: A model with the key, the base URL and the client to use.

        Returns:
            How many estimates were replaced.

        Raises:
            AimlErnieError: A request failed.
        """
        from langchain_aimlernie.account import logs

        search = self._search()
        if not search.estimates:
            return 0
        key = resolve_key(llm.api_key() if callable(llm.api_key) else llm.api_key)
        settings = _log_settings(llm, key, search.start)
        with closing(logs(**settings, http_client=llm.http_client)) as entries:
            for entry in entries:
                search.add(entry)
        return self._replace_estimates(search)

    async def areconcile(self, llm: ChatAimlErnie) -> int:
        """Replace estimates with the amounts in the provider's log; see `reconcile`."""
        search = self._search()
        if not search.estimates:
            return 0
        async with aclosing(log_since(llm, search.start)) as entries:
            async for entry in entries:
                search.add(entry)
        return self._replace_estimates(search)

    def _search(self) -> _LogSearch:
        with self._lock:
            return _LogSearch(list(self._estimates))

    def _replace_estimates(self, search: _LogSearch) -> int:
        with self._lock:
            kept = deque[_Estimate]()
            for estimate in self._estimates:
                price = search.found.get(id(estimate))
                if price is None:
                    kept.append(estimate)
                else:
                    self._correct(estimate, price)
            replaced = len(self._estimates) - len(kept)
            self._estimates = kept
        return replaced

    def reset(self) -> None:
        """Set the sums to zero; limits and calls in progress stay."""
        with self._lock:
            self._clear(_ZERO)

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, for `from_dict`; limits and prices are not among them."""
        with self._lock:
            return {
                "total": _to_json(self._total),
                **{
                    name: {key: _to_json(spend) for key, spend in sums.items()}
                    for name, sums in self._tables().items()
                },
            }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **settings: Any) -> Self:
        """Return a tracker that continues the sums of `to_dict`.

        Args:
            data: What `to_dict` returned.
            settings: The constructor's arguments, such as `limit_usd`.

        Raises:
            ValueError: `data` is none of `to_dict`'s, or a setting is invalid.
        """
        tracker = cls(**settings)
        try:
            tracker._total = _from_json(data["total"])
            for name, sums in tracker._tables().items():
                sums.update({key: _from_json(each) for key, each in data[name].items()})
        except (AttributeError, KeyError, TypeError, ArithmeticError) as error:
            raise ValueError(f"This is no result of SpendTracker.to_dict(): {error!r}.") from None
        return tracker

    def _tables(self) -> dict[str, dict[str, Spend]]:
        return {"by_model": self._by_model, "by_tag": self._by_tag, "priced": self._priced}

    @override
    def __str__(self) -> str:
        return str(self._total)

    @override
    def __repr__(self) -> str:
        return f"<SpendTracker: {self._total}>"

    def __enter__(self) -> Self:
        _activate(self)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _deactivate(self)

    @override
    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        tags: list[str] | None = None,
        **kwargs: Any,
    ) -> None:
        """Register the call; `ChatAimlErnie` asks `reserve` later, after the cache lookup.

        Raises:
            BudgetExceededError: The budget does not allow a call of another model.
        """
        facts = metadata or {}
        model = facts.get("ls_model_name")
        is_own = facts.get("ls_provider") == PROVIDER
        run = _Run(
            find_model(model).id if isinstance(model, str) else "",
            tuple(tags or ()),
            messages[0] if messages else (),
            kwargs.get("invocation_params") or {},
            is_own,
            is_sent=not is_own,
        )
        with self._lock:
            if is_own:
                add_meter(run_id, self)
            else:
                self._hold(run, self._cost_of(run) or _ZERO)
            self._runs[run_id] = run

    @override
    def on_llm_new_token(
        self,
        token: str | list[str | dict[str, Any]],
        *,
        chunk: GenerationChunk | ChatGenerationChunk | None = None,
        run_id: UUID,
        **kwargs: Any,
    ) -> None:
        """Record the output, for the estimate of a call that is cancelled or abandoned."""
        run = self._runs.get(run_id)
        if run is not None:
            run.received.append(token if isinstance(token, str) else str(token))
            message = getattr(chunk, "message", None)
            if isinstance(message, AIMessageChunk):
                run.received.append(message.additional_kwargs.get("reasoning_content") or "")
                run.received += [call["args"] or "" for call in message.tool_call_chunks]

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Add the cost of a response."""
        message = _first_message(response)
        with self._lock:
            run = self._end(run_id)
            if message is not None:
                self._count(run, message, spend_of(message))

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the failure, or the call that the caller cancelled or abandoned, with its cost."""
        message = _first_message(kwargs.get("response"))
        with self._lock:
            if run_id not in self._runs:
                return  # not the call of a chat model
            run = self._end(run_id)
            if isinstance(error, BudgetExceededError):
                return
            is_failure = isinstance(error, Exception)
            spend = Spend() if message is None else spend_of(message)
            counted = spend._replace(calls=int(not is_failure), failed=int(is_failure))
            if not run.is_sent or (is_failure and not spend.credits and not _is_billed(error, run)):
                self._book(run.model, run.tags, counted._replace(unpriced=0))
            else:
                counted = counted._replace(unpriced=int(not spend.credits))
                self._count(run, message, counted, error)

    @override
    def on_retry(self, retry_state: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the retry."""
        with self._lock:
            run = self._runs.get(run_id)
            model, tags = (run.model, run.tags) if run else ("", ())
            self._book(model, tags, Spend(retries=1))

    @override
    def reserve(self, run_id: UUID, request_id: str | None = None) -> Future[None] | None:
        """Reserve what a call of `ChatAimlErnie` is expected to cost.

        Args:
            run_id: The call's run.
            request_id: The call's `X-Client-Request-Id`, if no other call has the same.

        Returns:
            `None` if the call may be sent, else a future to wait for before the next attempt.

        Raises:
            BudgetExceededError: The budget does not allow the call.
        """
        with self._lock:
            run = self._runs.get(run_id)
            if run is None or run.is_sent:
                return None
            run.request_id = request_id
            cost = self._cost_of(run)
            self._hold(run, cost or _ZERO)
            if cost is None and run.may_wait and self._has_first_call(run):
                waiter: Future[None] = Future()
                self._waiters.append(waiter)
                return waiter
            run.is_sent = True
            return None

    @override
    def give_up_waiting(self, run_id: UUID) -> None:
        """Make the next `reserve` of this run decide without waiting."""
        if (run := self._runs.get(run_id)) is not None:
            run.may_wait = False

    def _has_first_call(self, run: _Run) -> bool:
        """Return whether a call is under way whose price will be the first one."""
        return any(
            other.is_own and other.is_sent and other.owner != run.owner
            for other in self._runs.values()
        )

    def _cost_of(self, run: _Run) -> Decimal | None:
        """Return what `run` shall reserve; `None` if that is not known yet."""
        if self._reserve is None or (self._limit_usd is None and self._limit_credits is None):
            return _ZERO
        if self._reserve == "worst" and (rates := self._rates(run.model)) is not None:
            prompt, _ = run.estimated_usage()
            return prompt * rates[0] + _max_output(run.model, run.params, prompt) * rates[1]
        priced = self._priced.get(run.model) or reduce(_sum, self._priced.values(), Spend())
        if priced.calls:
            return priced.usd / priced.calls
        # The server states no prices: there is nothing to wait for.
        return _ZERO if self._by_model.get(run.model, Spend()).unpriced else None

    def _rates(self, model: str) -> tuple[Decimal, Decimal] | None:
        """Return US dollars for a token of input and of output; `None` if they are not known."""
        million = self._prices.get(model) if self._reserve == "worst" else None
        priced = self._priced.get(model)
        if million is None and priced and (tokens := priced.input_tokens + priced.output_tokens):
            return (mean := priced.usd / tokens), mean
        million = million or _listed_prices(model) or self._prices.get(model)
        return None if million is None else (million[0] / _MILLION, million[1] / _MILLION)

    def _hold(self, run: _Run, cost: Decimal) -> None:
        """Reserve `cost` for `run`.

        Raises:
            BudgetExceededError: That would exceed a limit.
        """
        total, held = self._total, self._reserved
        for name, limit, spent, reserved, more in (
            ("limit_usd", self._limit_usd, total.usd, held, cost),
            (
                "limit_credits",
                self._limit_credits,
                total.credits,
                held * _CREDITS_PER_USD,
                cost * _CREDITS_PER_USD,
            ),
        ):
            used = spent + reserved
            if limit is not None and (used >= limit or (used and used + more > limit)):
                raise BudgetExceededError(_excess(name, limit, spent, reserved, more))
        run.reserved = cost
        self._reserved += cost

    def _release(self, run: _Run) -> None:
        self._reserved -= run.reserved
        run.reserved = _ZERO

    def _end(self, run_id: UUID) -> _Run:
        """Remove the run, release its reservation, and wake the calls that wait for a price."""
        run = self._runs.pop(run_id, None) or _Run("", (), (), {}, is_own=False, is_sent=True)
        self._release(run)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)
        return run

    def _count(
        self,
        run: _Run,
        message: AIMessage | None,
        spend: Spend,
        error: BaseException | None = None,
    ) -> None:
        """Book a complete or partial response with its price or an estimate."""
        metadata = {} if message is None else message.response_metadata
        usage = None if message is None else message.usage_metadata
        model = run.model or find_model(str(metadata.get("model_name", ""))).id or _UNKNOWN
        if spend.unpriced and usage is not None and self._price is not None:
            amount = self._price(model, usage)
            if amount is not None:
                usd = _amount(amount, "price")
                spend = spend._replace(usd=usd, credits=usd * _CREDITS_PER_USD, unpriced=0)
        if not spend.unpriced:
            if spend.calls:
                self._priced[model] = _sum(self._priced.get(model, Spend()), spend)
        elif usage is None and run.messages:
            if message is not None and not any(run.received):
                run.received.append(message.text)
            prompt, output = run.estimated_usage()
            spend = spend._replace(input_tokens=prompt, output_tokens=output)
        self._book(model, run.tags, spend)
        if spend.unpriced:
            inference_id = metadata.get("inference_id") or getattr(error, "inference_id", None)
            self._remember(
                _Estimate(model, run.tags, spend, run.started, inference_id, run.request_id)
            )
        self._price_pending()

    def _remember(self, estimate: _Estimate) -> None:
        """Keep a call without a price, for `reconcile` and until there is an estimate."""
        self._estimates.append(estimate)
        if self._unpriced == "reserve":
            self._pending.add(estimate.model)
        if len(self._estimates) > _MAX_ESTIMATES:
            old = self._estimates.popleft()
            if old.spend.unpriced:
                key = old.model, old.tags
                self._earlier[key] = _sum(self._earlier.get(key, Spend()), old.spend)

    def _price_pending(self) -> None:
        """Estimate the price of the calls without one, as far as that is possible by now."""
        rates = {model: rates for model in self._pending if (rates := self._rates(model))}
        if not rates:
            return
        self._pending -= rates.keys()
        earlier = [
            _Estimate(model, tags, self._earlier.pop((model, tags)))
            for model, tags in list(self._earlier)
            if model in rates
        ]
        for estimate in (*earlier, *self._estimates):
            spend = estimate.spend
            if spend.unpriced and estimate.model in rates:
                per_input, per_output = rates[estimate.model]
                usd = spend.input_tokens * per_input + spend.output_tokens * per_output
                if spend.input_tokens or spend.output_tokens:
                    self._correct(estimate, Spend(estimated_usd=usd, usd=usd))

    def _correct(self, estimate: _Estimate, price: Spend) -> None:
        """Book another price, and other tokens if it has some, for a call without an exact one."""
        old = estimate.spend
        new = old._replace(
            unpriced=0,
            usd=price.usd,
            credits=price.usd * _CREDITS_PER_USD,
            estimated_usd=price.estimated_usd,
            input_tokens=price.input_tokens or old.input_tokens,
            output_tokens=price.output_tokens or old.output_tokens,
        )
        estimate.spend = new
        self._book(estimate.model, estimate.tags, Spend._make(map(operator.sub, new, old)))

    def _book(self, model: str, tags: Sequence[str], spend: Spend) -> None:
        model = model or _UNKNOWN
        self._total = _sum(self._total, spend)
        self._by_model[model] = _sum(self._by_model.get(model, Spend()), spend)
        for tag in dict.fromkeys(tags):
            self._by_tag[tag] = _sum(self._by_tag.get(tag, Spend()), spend)


def _is_billed(error: BaseException, run: _Run) -> bool:
    """Return whether a failed call has probably been processed and billed."""
    if any(run.received) or isinstance(error, StreamInterruptedError):
        return True
    return isinstance(error, APITimeoutError) and error.phase in _SENT


_SENT = ("response_headers", "response_body")
"""Phases of an error in which the whole request had been sent."""


def cost_of_tokens(
    model: str, prompt: int, params: Mapping[str, Any], output: int | None = None
) -> Decimal:
    """Return what a call costs at the prices of the last `list_models()`.

    Args:
        model: The model's id.
        prompt: Input tokens.
        params: Parameters of the call, for its largest possible output.
        output: Output tokens; `None` for as many as the call could have.

    Returns:
        US dollars.

    Raises:
        ValueError: The prices are not known.
    """
    name = find_model(model).id
    prices = _listed_prices(name)
    if prices is None:
        raise ValueError(f"The prices of {name} are not known: call list_models() first.")
    if output is None:
        output = _max_output(name, params, prompt)
    return (prompt * prices[0] + output * prices[1]) / _MILLION


def _max_output(model: str, params: Mapping[str, Any], prompt: int) -> int:
    """Return the most tokens that the output can have."""
    context = find_model(model).context or _UNKNOWN_CONTEXT
    most = max(1, context - prompt)
    limits = [params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return min([most, *(limit for limit in limits if isinstance(limit, int))])


_UNKNOWN = "unknown"  # in place of the id of a model that does not state it
_UNKNOWN_CONTEXT = 131_072
"""Tokens; the largest context of a model in the table."""


def _listed_prices(model: str) -> tuple[Decimal, Decimal] | None:
    """Return the prices of a million tokens in the last `list_models()`, if it has been called."""
    from langchain_aimlernie import models

    return models.listed_prices(model)


def _excess(name: str, limit: Decimal, spent: Decimal, reserved: Decimal, more: Decimal) -> str:
    if spent >= limit:
        why = f"The budget is spent: {spent.normalize():f} of {name}={limit:f}"
    else:
        why = (
            f"The call could exceed {name}={limit:f}: {spent.normalize():f} is spent, "
            f"{reserved.normalize():f} is reserved by calls under way, and it is expected to cost "
            f"{more.normalize():f}"
        )
    return f"{why}. This call was not sent. Raise the limit, or start with a new SpendTracker."


def _to_json(spend: Spend) -> dict[str, int | str]:
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in spend._asdict().items()
    }


def _from_json(data: Mapping[str, Any]) -> Spend:
    zero = Spend()._asdict()
    return Spend(**{name: type(zero[name])(value) for name, value in data.items()})


# When a run starts, LangChain reads a tracker from each of these. Nested trackers need one each;
# others share one, since a context variable has a value per thread and task.
_context_vars: list[ContextVar[SpendTracker | None]] = []
_context_vars_lock = threading.Lock()


def _activate(tracker: SpendTracker) -> None:
    with _context_vars_lock:
        variable = next((variable for variable in _context_vars if variable.get() is None), None)
        if variable is None:
            variable = ContextVar(f"aimlernie_spend_{len(_context_vars)}", default=None)
            register_configure_hook(variable, inheritable=True)
            _context_vars.append(variable)
    variable.set(tracker)


def _deactivate(tracker: SpendTracker) -> None:
    for variable in reversed(_context_vars):
        if variable.get() is tracker:
            variable.set(None)
            return


def _first_message(response: object) -> AIMessage | None:
    """Return the first message of a call; it carries the price of all choices."""
    generations = getattr(response, "generations", None)
    if not generations or not generations[0]:
        return None
    message = getattr(generations[0][0], "message", None)
    return message if isinstance(message, AIMessage) else None


def spend_of(message: AIMessage) -> Spend:
    usage: Mapping[str, Any] = message.usage_metadata or {}
    if usage.get("total_cost") == 0:  # langchain-core's mark of a response from its cache
        return Spend(cached=1)
    usd = price_of(message.response_metadata)
    credit_count = parse_amount(message.response_metadata.get("credits_used"))
    if credit_count is None:
        credit_count = (usd or _ZERO) * _CREDITS_PER_USD
    return Spend(
        calls=1,
        unpriced=int(usd is None),
        input_tokens=usage.get("input_tokens") or 0,
        cached_tokens=(usage.get("input_token_details") or {}).get("cache_read") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        reasoning_tokens=(usage.get("output_token_details") or {}).get("reasoning") or 0,
        credits=credit_count,
        usd=usd or _ZERO,
    )


def price_of(response_metadata: Mapping[str, Any]) -> Decimal | None:
    """Return the price of a response in US dollars; `None` if it does not state one."""
    usd = parse_amount(response_metadata.get("usd_spent"))
    credit_count = parse_amount(response_metadata.get("credits_used"))
    return credit_count / _CREDITS_PER_USD if usd is None and credit_count is not None else usd


def parse_amount(value: object) -> Decimal | None:
    """Return an amount from JSON as a `Decimal`; `None` unless it is a number of at least 0."""
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def _limit(value: Decimal | float | str | None, name: str) -> Decimal | None:
    limit = None if value is None else parse_amount(value)
    if limit is None and value is not None:
        raise ValueError(f"{name}={value!r}: must be a number of at least 0, or None.")
    return limit


def _amount(value: Decimal | float | str, name: str) -> Decimal:
    amount = parse_amount(value)
    if amount is None:
        raise ValueError(f"{name}={value!r}: must be a number of at least 0.")
    return amount


def _choice(value: object, choices: tuple[object, ...], name: str) -> Any:
    if value not in choices:
        raise ValueError(f"{name}={value!r}: must be one of {', '.join(map(repr, choices))}.")
    return value


def _sum(one: Spend, other: Spend) -> Spend:
    return Spend._make(map(operator.add, one, other))


def _pluralize(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _suffix(number: int, what: str) -> str:
    return f" ({number:,} {what})" if number else ""
