"""What calls cost, added up while they run.

with SpendTracker(limit_usd=0.50) as spend:
    agent.invoke(...)
print(spend)
# 3 calls, 1,204 tokens in, 310 out, 1,812 credits, $0.000906
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Mapping
from contextvars import ContextVar
from decimal import Decimal
from types import TracebackType
from typing import Any, NamedTuple, Self
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import LLMResult
from langchain_core.tracers.context import register_configure_hook
from typing_extensions import override

from langchain_aimlernie.errors import InsufficientCreditsError
from langchain_aimlernie.profiles import find_model

__all__ = ["BudgetExceededError", "Spend", "SpendTracker"]

# "$1 USD = 2,000,000 credits" (docs.aimlapi.com, "How can I track my funds?"). Older answers of
# the API carry only the credits.
_CREDITS_PER_USD = 2_000_000

_ZERO = Decimal(0)


class BudgetExceededError(InsufficientCreditsError):
    """The limit of a `SpendTracker` was reached before this call, which was not sent."""


class Spend(NamedTuple):
    """What some calls have used.

    Money is `Decimal`: sums of many small amounts stay exact, and so does comparing them to a
    limit.

    Attributes:
        calls: Calls that were answered or broken off by the caller.
        cached: Answers from LangChain's cache, which cost nothing and count nowhere else.
        retries: Tries beyond the first of each call.
        failed: Calls that ended in an error.
        unpriced: Calls whose price did not come with the answer; `credits` and `usd` lack them.
        input_tokens: Tokens of the prompts.
        cached_tokens: Those of `input_tokens` that the provider had in its cache.
        output_tokens: Tokens of the answers, reasoning included.
        reasoning_tokens: Those of `output_tokens` that are reasoning.
        credits: Credits of the AI/ML API.
        usd: The same in US dollars.
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

    @override
    def __str__(self) -> str:
        parts = [
            _counted(self.calls, "call"),
            f"{self.input_tokens:,} tokens in" + _aside(self.cached_tokens, "cached"),
            f"{self.output_tokens:,} out" + _aside(self.reasoning_tokens, "reasoning"),
            f"{self.credits.normalize():,f} credits",
            f"${self.usd.normalize():,f}",
        ]
        seldom = {
            f"{self.cached:,} from the cache": self.cached,
            _counted(self.retries, "retry", "retries"): self.retries,
            f"{self.failed:,} failed": self.failed,
            f"{self.unpriced:,} without a price": self.unpriced,
        }
        return ", ".join((*parts, *(text for text, number in seldom.items() if number)))


class SpendTracker(BaseCallbackHandler):
    """Adds up tokens, credits and US dollars of every call of a chat model that it sees.

    It sees the calls made inside `with SpendTracker() as spend:` in the same thread or task and
    those they start, and the calls that have it among their `callbacks`. Streamed and whole
    answers count alike, once. One tracker may serve many threads and tasks at once.

    Args:
        limit_usd: Budget in US dollars. Once it is spent, the next call raises
            `BudgetExceededError` instead of being sent. Calls that are under way go on, so many at
            once can overshoot.
        limit_credits: The same in credits.

    Raises:
        ValueError: A limit is no number of at least 0; also when it is changed on the tracker.
    """

    raise_error = True  # else core would log a spent budget and make the call
    run_inline = True  # on the event loop, before the request goes out; nothing here waits

    def __init__(
        self,
        *,
        limit_usd: Decimal | float | str | None = None,
        limit_credits: Decimal | float | str | None = None,
    ) -> None:
        super().__init__()
        self._limit_usd = _limit(limit_usd, "limit_usd")
        self._limit_credits = _limit(limit_credits, "limit_credits")
        self._lock = threading.Lock()
        self._total = Spend()
        self._by_model: dict[str, Spend] = {}
        self._models: dict[UUID, str] = {}  # of the calls under way

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
        """What all calls so far have used."""
        return self._total

    @property
    def by_model(self) -> dict[str, Spend]:
        """What the calls to each model have used, by the model's id."""
        with self._lock:
            return dict(self._by_model)

    @property
    def usd(self) -> Decimal:
        """US dollars spent so far."""
        return self._total.usd

    @property
    def credits(self) -> Decimal:
        """Credits spent so far."""
        return self._total.credits

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
        **kwargs: Any,
    ) -> None:
        """Remember the call's model.

        Raises:
            BudgetExceededError: If the budget is spent.
        """
        self._check_budget()
        model = (metadata or {}).get("ls_model_name")
        self._models[run_id] = find_model(model).id if isinstance(model, str) else ""

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        """Add what the answer says that it cost."""
        message = _answer(response)
        if message is not None:
            self._add(run_id, message, _spend_of(message), last=True)

    @override
    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the failure, and what the answer had said of its cost before it."""
        if run_id not in self._models:
            return  # not the call of a chat model
        message = _answer(kwargs.get("response"))
        spend = Spend() if message is None else _spend_of(message)
        if isinstance(error, Exception):
            spend = spend._replace(calls=0, failed=1, unpriced=0)
        else:  # the caller had enough: KeyboardInterrupt, CancelledError, GeneratorExit
            spend = spend._replace(calls=1, unpriced=int(not spend.credits))
        self._add(run_id, message, spend, last=True)

    @override
    def on_retry(self, retry_state: object, *, run_id: UUID, **kwargs: Any) -> None:
        """Count the retry."""
        self._add(run_id, None, Spend(retries=1))

    def _add(
        self, run_id: UUID, message: AIMessage | None, spend: Spend, *, last: bool = False
    ) -> None:
        with self._lock:
            model = self._models.pop(run_id, "") if last else self._models.get(run_id, "")
            if not model and message is not None:
                model = find_model(str(message.response_metadata.get("model_name", ""))).id
            model = model or "unknown"
            self._total = _sum(self._total, spend)
            self._by_model[model] = _sum(self._by_model.get(model, Spend()), spend)

    def _check_budget(self) -> None:
        total = self._total
        for name, limit, spent in (
            ("limit_usd", self.limit_usd, total.usd),
            ("limit_credits", self.limit_credits, total.credits),
        ):
            if limit is not None and spent >= limit:
                raise BudgetExceededError(
                    f"The budget is spent: {spent:f} of {name}={limit:f} in "
                    f"{_counted(total.calls, 'call')}. This call was not sent. Raise the limit, "
                    "or start with a new SpendTracker."
                )


# LangChain asks each of these for a tracker when a run starts. One serves all trackers that are
# not inside each other, since a context variable has a value per thread and task.
_slots: list[ContextVar[SpendTracker | None]] = []
_slots_lock = threading.Lock()


def _activate(tracker: SpendTracker) -> None:
    with _slots_lock:
        slot = next((slot for slot in _slots if slot.get() is None), None)
        if slot is None:
            slot = ContextVar(f"aimlernie_spend_{len(_slots)}", default=None)
            register_configure_hook(slot, inheritable=True)
            _slots.append(slot)
    slot.set(tracker)


def _deactivate(tracker: SpendTracker) -> None:
    for slot in reversed(_slots):
        if slot.get() is tracker:
            slot.set(None)
            return


def _answer(response: object) -> AIMessage | None:
    """Return the first answer of a call; the price of all of them is on it."""
    generations = getattr(response, "generations", None)
    if not generations or not generations[0]:
        return None
    message = getattr(generations[0][0], "message", None)
    return message if isinstance(message, AIMessage) else None


def _spend_of(message: AIMessage) -> Spend:
    usage: Mapping[str, Any] = message.usage_metadata or {}
    if usage.get("total_cost") == 0:  # core's mark of an answer from its cache
        return Spend(cached=1)
    credit_count = parse_amount(message.response_metadata.get("credits_used"))
    usd = parse_amount(message.response_metadata.get("usd_spent"))
    unpriced = credit_count is None and usd is None
    if credit_count is None:
        credit_count = (usd or _ZERO) * _CREDITS_PER_USD
    return Spend(
        calls=1,
        unpriced=int(unpriced),
        input_tokens=usage.get("input_tokens") or 0,
        cached_tokens=(usage.get("input_token_details") or {}).get("cache_read") or 0,
        output_tokens=usage.get("output_tokens") or 0,
        reasoning_tokens=(usage.get("output_token_details") or {}).get("reasoning") or 0,
        credits=credit_count,
        usd=credit_count / _CREDITS_PER_USD if usd is None else usd,
    )


def parse_amount(value: object) -> Decimal | None:
    """Read an amount of money as the wire has it; `None` unless it is a number of at least 0."""
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


def _sum(one: Spend, other: Spend) -> Spend:
    return Spend._make(map(operator.add, one, other))


def _counted(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _aside(number: int, what: str) -> str:
    return f" ({number:,} {what})" if number else ""
