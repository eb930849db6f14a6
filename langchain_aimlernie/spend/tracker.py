"""The callback handler that counts calls and reserves what they are expected to cost."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from decimal import Decimal
from functools import partial
from typing import Any, Literal, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, GenerationChunk, LLMResult
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from langchain_aimlernie._client import trackers
from langchain_aimlernie._coroutines import run
from langchain_aimlernie.chat_models import ChatAimlErnie
from langchain_aimlernie.errors import AimlErnieError, BudgetExceededError
from langchain_aimlernie.profiles import PROVIDER, find_model
from langchain_aimlernie.spend.amounts import (
    CREDITS_PER_USD,
    ZERO,
    Spend,
    add,
    check_amount,
    check_choice,
    check_limit,
    from_json,
    priced,
    rounded,
    spend_of,
    to_json,
)
from langchain_aimlernie.spend.prices import UNKNOWN, Call, Totals, call_of, max_output

# When a run starts, LangChain reads a tracker from each of these. Nested `with` blocks need one
# each; others share one, since a context variable has a value per thread and task. Two threads may
# each create the same one; that does no harm.
_context_vars: list[ContextVar[SpendTracker | None]] = []


class SpendTracker(BaseCallbackHandler):
    """Adds up tokens, credits and US dollars of the calls of chat models, within a budget.

    It counts the calls of models that have it among their `callbacks`
    (`ChatAimlErnie(callbacks=[spend])`) or are called with `config={"callbacks": [spend]}`, in any
    thread, task or generator. `with SpendTracker() as spend:` counts the calls in the block, but
    not those in plain threads, or in generators that are resumed in another context. A streamed
    response counts like a whole one. One tracker may serve many threads and tasks.

    A call that the caller cancels or abandons counts with an estimate: its prompt and the output
    received so far, at the mean price of a token in this tracker's calls to the model, else at the
    price in the last `list_models()`, else in `prices`. If none is known, the call is `unpriced`
    until a price is.

    Args:
        limit_usd: Budget in US dollars. A call that could exceed it is not sent, but raises
            `BudgetExceededError`.
        limit_credits: Budget in credits.
        spent_usd: US dollars spent before, which count towards the budget.
        reserve: What each call reserves of the budget while it is under way: `"expected"`, the
            mean price of a call so far (until the first price is known, further calls of
            `ChatAimlErnie` wait for the first response, at most a minute); `"worst"`, the price of
            the estimated prompt and of `max_tokens`, or of all that the context leaves; `None`,
            nothing: calls are sent until the budget is spent. While nothing is spent or reserved, a
            call is always sent.
        prices: US dollars per million tokens of input and of output, by model id.
        price: A function that prices responses without a price, such as those of other models; it
            takes the model's name and the `usage_metadata`, and returns US dollars or `None`.
        unpriced: Whether a response without any price counts with an estimate (`"reserve"`), or
            costs nothing (`"ignore"`).

    Raises:
        ValueError: An amount is not a number of at least 0 (also when a limit is assigned later),
            `reserve` or `unpriced` is not one of its values, or `prices` or `price` is invalid.
    """

    raise_error = True  # else core would log an exceeded budget and make the call
    run_inline = True  # on the event loop, before the request is sent; nothing here blocks

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
        self._limit_usd = check_limit(limit_usd, "limit_usd")
        self._limit_credits = check_limit(limit_credits, "limit_credits")
        self._reserve = check_choice(reserve, ("expected", "worst", None), "reserve")
        if price is not None and not callable(price):
            raise ValueError(f"price must be a function, or None; got {price!r}.")
        self._price = price
        self._totals = Totals(
            {} if prices is None else prices,
            come_first=reserve == "worst",
            estimates=check_choice(unpriced, ("reserve", "ignore"), "unpriced") == "reserve",
            spent_usd=check_amount(spent_usd, "spent_usd"),
        )
        self._forget_calls()
        _trackers.add(self)

    def _forget_calls(self) -> None:
        """Drop the calls under way; in a forked child, they are its parent's."""
        self._lock = threading.RLock()
        self._is_busy = False
        self._calls: dict[UUID, Call] = {}
        self._next_end: Future[None] | None = None  # what calls wait for
        self._changes: deque[Callable[[], None]] = deque()  # to make at the end of the block
        self._reserved = ZERO

    @contextmanager
    def _exclusive(self) -> Iterator[None]:
        """Hold the lock; at the end of the outermost block, make the changes that came up in it.

        The garbage collector may close an abandoned stream at any point, even in a block; the end
        of that call must not change the sums in the middle of it.
        """
        with self._lock:
            if self._is_busy:
                yield
                return
            self._is_busy = True
            try:
                yield
            finally:
                try:
                    while self._changes:
                        self._changes.popleft()()
                finally:
                    self._is_busy = False

    def _apply(self, change: Callable[[], None]) -> None:
        """Make a change now; inside an exclusive block, at its end."""
        self._changes.append(change)  # first, or Ctrl-C while the lock is awaited would lose it
        with self._exclusive():
            pass

    @property
    def limit_usd(self) -> Decimal | None:
        """Budget in US dollars, at least 0; `None` is no limit. May be assigned."""
        return self._limit_usd

    @limit_usd.setter
    def limit_usd(self, limit: Decimal | float | str | None) -> None:
        self._limit_usd = check_limit(limit, "limit_usd")

    @property
    def limit_credits(self) -> Decimal | None:
        """Budget in credits, at least 0; `None` is no limit. May be assigned."""
        return self._limit_credits

    @limit_credits.setter
    def limit_credits(self, limit: Decimal | float | str | None) -> None:
        self._limit_credits = check_limit(limit, "limit_credits")

    @property
    def total(self) -> Spend:
        """The sum of all calls so far."""
        return self._totals.total

    @property
    def by_model(self) -> dict[str, Spend]:
        """The sums of the calls to each model, by the model's id."""
        with self._exclusive():
            return dict(self._totals.by_model)

    @property
    def by_tag(self) -> dict[str, Spend]:
        """The sums of the calls with each of LangChain's tags (`config={"tags": [...]}`)."""
        with self._exclusive():
            return dict(self._totals.by_tag)

    @property
    def usd(self) -> Decimal:
        """US dollars spent so far."""
        return self._totals.total.usd

    @property
    def credits(self) -> Decimal:
        """Credits spent so far."""
        return self._totals.total.credits

    @property
    def remaining_usd(self) -> Decimal | None:
        """US dollars that are left of the budget, at least 0; `None` without `limit_usd`.

        Amounts that calls under way have reserved are subtracted.
        """
        with self._exclusive():
            if self._limit_usd is None:
                return None
            self._end_lost_calls()
            return max(ZERO, self._limit_usd - self._totals.total.usd - self._reserved)

    def reconcile(self, llm: ChatAimlErnie) -> int:
        """Replace estimates with the amounts in the provider's log (`GET /v2/logs`).

        A call is found by the id of its response, else by its `X-Client-Request-Id`, unless all
        calls have the same. The log may lack the latest calls for a while; their estimates stay
        until the next `reconcile`. Only the latest 10,000 estimates can be replaced.

        Args:
            llm: The model whose key, `base_url` and HTTP client are used.

        Returns:
            How many estimates were replaced.

        Raises:
            AimlErnieError: A request failed.
        """
        return run(self._reconcile(llm, is_async=False))

    async def areconcile(self, llm: ChatAimlErnie) -> int:
        """Replace estimates with the amounts in the provider's log; async, see `reconcile`."""
        return await self._reconcile(llm, is_async=True)

    async def _reconcile(self, llm: ChatAimlErnie, *, is_async: bool) -> int:
        with self._exclusive():
            calls = self._totals.by_id()
        if not calls:
            return 0
        from langchain_aimlernie.account import log_since

        log = log_since(llm, min(call.started for call in calls.values()), is_async=is_async)
        found = [entry async for entry in log if call_of(entry, calls)]
        with self._exclusive():
            return self._totals.replace(calls, found)

    def reset(self) -> None:
        """Set the sums to zero; limits and calls in progress stay."""
        with self._exclusive():
            self._totals.set_to(ZERO)

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values, for `from_dict`; without limits and `prices`."""
        with self._exclusive():
            tables = {
                name: {key: to_json(spend) for key, spend in sums.items()}
                for name, sums in self._tables().items()
            }
            return {"total": to_json(self.total), **tables}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], **settings: Any) -> Self:
        """Return a tracker that begins with the sums of another one.

        Args:
            data: The result of its `to_dict`.
            **settings: Arguments of the constructor, such as `limit_usd`.

        Raises:
            ValueError: `data` does not come from `to_dict`, or a setting is invalid.
        """
        tracker = cls(**settings)
        try:
            tracker._totals.total = add(tracker.total, from_json(data["total"]))
            for name, sums in tracker._tables().items():
                sums.update({key: from_json(each) for key, each in data[name].items()})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"This is not a result of SpendTracker.to_dict(): {error!r}."
            ) from None
        return tracker

    def _tables(self) -> dict[str, MutableMapping[str, Spend]]:
        return {
            "by_model": self._totals.by_model,
            "by_tag": self._totals.by_tag,
            "priced": self._totals.exact,
        }

    @override
    def __str__(self) -> str:
        return str(self._totals.total)

    @override
    def __repr__(self) -> str:
        return f"<SpendTracker: {self._totals.total}>"

    def __copy__(self, _: object = None) -> Self:
        return self  # so that the calls of a copied model count, too

    __deepcopy__ = __copy__

    @override
    def __reduce__(self) -> str:
        raise TypeError(
            "A SpendTracker counts the calls of one process and cannot be pickled. Create one in "
            "each process, with its share of the limit; SpendTracker.from_dict(spend.to_dict(), "
            "limit_usd=...) continues the sums of another."
        )

    def __enter__(self) -> Self:
        variable = next((each for each in _context_vars if each.get() is None), None)
        if variable is None:
            variable = ContextVar(f"aimlernie_spend_{len(_context_vars)}", default=None)
            register_configure_hook(variable, inheritable=True)
            _context_vars.append(variable)
        variable.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        for variable in reversed(_context_vars):
            if variable.get() is self:
                variable.set(None)
                return

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
        """Register the call; `ChatAimlErnie` reserves later, after the cache lookup.

        Raises:
            BudgetExceededError: The budget does not allow a call of another model.
        """
        facts = metadata or {}
        model = facts.get("ls_model_name")
        is_own = facts.get("ls_provider") == PROVIDER
        call = Call(
            find_model(model).id if isinstance(model, str) else "",
            tuple(tags or ()),
            messages[0] if messages else (),
            kwargs.get("invocation_params") or {},
            state="unsent" if is_own else "other",
        )
        under_way = [
            (id_, other)
            for id_, other in trackers.get()
            if id_ in other._calls  # noqa: SLF001  of this class
        ]
        try:
            with self._exclusive():
                if run_id in self._calls:
                    return
                if not is_own:
                    self._reserve_for(call)
                self._calls[run_id] = call
        except BudgetExceededError as error:
            for id_, other in under_way:
                if id_ == run_id:
                    other.on_llm_error(error, run_id=run_id)  # LangChain does not inform them
            raise
        trackers.set((*under_way, (run_id, self)))

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
        call = self._calls.get(run_id)
        if call is not None and call.is_new(chunk):
            call.received.append(token if isinstance(token, str) else str(token))
            message = getattr(chunk, "message", None)
            if isinstance(message, AIMessageChunk):
                call.received.append(str(message.additional_kwargs.get("reasoning_content") or ""))
                call.received += [each["args"] or "" for each in message.tool_call_chunks]

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Add the cost of a response."""
        self._report_end(run_id, response, None)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the failure, or the call that the caller cancelled or abandoned, with its cost."""
        self._report_end(run_id, kwargs.get("response"), error)

    def _report_end(self, run_id: UUID, response: object, error: BaseException | None) -> None:
        call, message = self._calls.get(run_id), _first_message(response)
        spend = spend_of(message) if call else Spend()
        try:
            if call and spend.unpriced and message.usage_metadata is not None:
                call.model = call.model or _model_of(message)
                # The user's function may call models, also in other threads.
                usd = self._price_of(call, message.usage_metadata)
                spend = spend if usd is None else priced(spend, check_amount(usd, "price"))
        finally:
            self._apply(partial(self._end, run_id, message, spend, error))

    @override
    def on_retry(self, retry_state: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the retry."""
        with self._exclusive():
            call = self._calls.get(run_id)
            if call is not None and call.is_new(retry_state):
                self._totals.add(call, Spend(retries=1))

    def _reserve_call(
        self,
        run_id: UUID,
        request_id: str | None,
        loop: asyncio.AbstractEventLoop | None,
        *,
        may_wait: bool,
    ) -> Future[None] | None:
        """Reserve the expected cost of a call of `ChatAimlErnie`, before it is sent.

        Returns:
            `None` if the call may be sent; else a future to wait for before the next attempt. It
            resolves when a call ends, whose price may be the first.

        Raises:
            BudgetExceededError: The budget does not allow the call.
        """
        with self._exclusive():
            call = self._calls.get(run_id)
            if call is None or call.state != "unsent":
                return None
            call.request_id = request_id
            call.loop = None if loop is None else weakref.ref(loop)
            is_price_known = self._reserve_for(call)
            if may_wait and not is_price_known:
                self._end_lost_calls()
                # A stream in whose loop this call is made would end only after it.
                outer = {id_ for id_, _ in trackers.get()}
                if any(
                    each.state == "sent" and id_ not in outer for id_, each in self._calls.items()
                ):
                    if self._next_end is None:
                        self._next_end = Future()
                        self._next_end.set_running_or_notify_cancel()  # nobody can cancel it
                    return self._next_end
            call.state = "sent"
            return None

    def _reserve_for(self, call: Call) -> bool:
        """Reserve the expected cost of `call`; return whether it is known."""
        while problem := self._excess(cost := self._cost_of(call)):
            if not self._end_lost_calls():
                raise BudgetExceededError(problem)
        call.reserved = cost or ZERO
        self._reserved += call.reserved
        return cost is not None

    def _excess(self, cost: Decimal | None) -> str | None:
        """Return why the budget does not allow a call at this cost; `None` if it does."""
        total = self._totals.total
        for name, limit, spent, unit in (
            ("limit_usd", self._limit_usd, total.usd, 1),
            ("limit_credits", self._limit_credits, total.credits, CREDITS_PER_USD),
        ):
            reserved, expected = self._reserved * unit, (cost or ZERO) * unit
            used = spent + reserved
            if limit is None or (used < limit and (not used or used + expected <= limit)):
                continue
            if spent >= limit:
                problem = f"The budget is spent: {spent.normalize():f} of {name}={limit:f}"
            else:
                problem = (
                    f"The call could exceed {name}={limit:f}: {spent.normalize():f} is spent, "
                    f"{reserved.normalize():f} is reserved by calls under way, and it is expected "
                    f"to cost {expected.normalize():f}"
                )
            return (
                f"{problem}. This call was not sent. Raise the limit, or start with a new "
                "SpendTracker."
            )
        return None

    def _end_lost_calls(self) -> bool:
        """Count the calls whose event loop was closed; return whether there were any."""
        lost = [run_id for run_id, call in self._calls.items() if call.is_lost()]
        for run_id in lost:
            self._end(run_id, _NO_MESSAGE, spend_of(_NO_MESSAGE), asyncio.CancelledError())
        return bool(lost)

    def _cost_of(self, call: Call) -> Decimal | None:
        """Return the US dollars that `call` reserves; `None` if they are not known yet."""
        if self._reserve is None or (self._limit_usd is None and self._limit_credits is None):
            return ZERO
        totals = self._totals
        if self._reserve == "worst" and (rates := totals.of_token(call.model)) is not None:
            prompt, _ = call.estimated_tokens()
            return rounded(rates.cost(prompt, max_output(call.model, call.params, prompt)))
        expected = totals.of_call(call.model)
        if expected is None and totals.by_model.get(call.model, Spend()).unpriced:
            return ZERO  # the server states no prices: there is nothing to wait for
        return expected

    def _end(
        self, run_id: UUID, message: AIMessage, spend: Spend, error: BaseException | None
    ) -> None:
        """Count a call that has ended, and release its reservation."""
        call = self._calls.pop(run_id, None)
        if call is None:
            return  # it has ended before
        self._reserved -= call.reserved
        if self._next_end is not None:
            self._next_end.set_result(None)
            self._next_end = None
        if isinstance(error, BudgetExceededError) or (message is _NO_MESSAGE and error is None):
            return
        if error is not None:
            is_failure = isinstance(error, Exception)
            spend = spend._replace(
                calls=int(not is_failure), failed=int(is_failure), unpriced=int(not spend.credits)
            )
            if call.state == "unsent" or (
                is_failure and spend.unpriced and not _is_billed(error, call)
            ):
                self._totals.add(call, spend._replace(unpriced=0))
                return
        call.model = call.model or _model_of(message)
        inference_id = message.response_metadata.get("inference_id")
        call.inference_id = inference_id or getattr(error, "inference_id", None)
        if spend.unpriced and message.usage_metadata is None and call.messages:
            if not any(call.received):
                call.received.append(message.text)
            prompt, output = call.estimated_tokens()
            spend = spend._replace(input_tokens=prompt, output_tokens=output)
        self._totals.count(call, spend)

    def _price_of(self, call: Call, usage: Mapping[str, Any]) -> Decimal | float | None:
        return None if self._price is None else self._price(call.model, usage)


def _is_billed(error: BaseException, call: Call) -> bool:
    """Return whether a failed call may have been processed and billed, by the retry policy."""
    if any(call.received):
        return True
    if not isinstance(error, AimlErnieError):
        return False
    from langchain_aimlernie._http.retry import FailureKind, classify

    return classify(error) is FailureKind.MAYBE_PROCESSED


_trackers: weakref.WeakSet[SpendTracker] = weakref.WeakSet()


def _reset_after_fork() -> None:
    for tracker in _trackers:
        tracker._forget_calls()  # noqa: SLF001  of this module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)


def _model_of(message: AIMessage) -> str:
    """Return the id of the model that a message names."""
    return find_model(str(message.response_metadata.get("model_name", ""))).id or UNKNOWN


_NO_MESSAGE = AIMessage("")


def _first_message(response: object) -> AIMessage:
    """Return the first message of a call, which has the price of all choices."""
    generations = getattr(response, "generations", None)
    if not generations or not generations[0]:
        return _NO_MESSAGE
    message = getattr(generations[0][0], "message", None)
    return message if isinstance(message, AIMessage) else _NO_MESSAGE
