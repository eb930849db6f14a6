"""What calls are expected to cost, and sums of calls whose exact price may come later."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter, ValidationError

from langchain_aimlernie._settings.values import to_int
from langchain_aimlernie.profiles import find_model
from langchain_aimlernie.spend.amounts import ZERO, Spend, add, check_amount, priced, subtract

if TYPE_CHECKING:
    from langchain_aimlernie.account import LogEntry

_MILLION = 1_000_000
_UNKNOWN_CONTEXT = 131_072
"""Tokens; the largest context of a model in the table."""

_Rates = tuple[Decimal, Decimal]
"""US dollars for a token of input and of output."""

_MAX_ESTIMATES = 10_000
"""The latest calls without an exact price, which can be estimated and found in the log."""

UNKNOWN = "unknown"
"""In place of the id of a model that does not state it."""


class Prices:
    """The prices that a tracker knows.

    `given` are US dollars for a million tokens of input and of output, by model id. They come after
    the mean of `exact` (sums of the calls whose price is known exactly, by model) and the
    catalogue, unless they `are_given_first`.
    """

    def __init__(
        self,
        given: Mapping[str, tuple[Decimal | float | str, Decimal | float | str]] | None = None,
        *,
        are_given_first: bool = False,
    ) -> None:
        self._given = _check_prices({} if given is None else given)
        self._are_given_first = are_given_first
        self.exact: dict[str, Spend] = {}

    def add(self, model: str, spend: Spend) -> None:
        """Learn from calls whose price is known exactly."""
        self.exact[model] = add(self.exact.get(model, Spend()), spend)

    def of_call(self, model: str) -> Decimal | None:
        """Return the mean price of a call, of another model if need be; `None` before the first."""
        exact = self.exact.get(model) or reduce(add, self.exact.values(), Spend())
        return exact.usd / exact.calls if exact.calls else None

    def of_token(self, model: str) -> _Rates | None:
        """Return the prices of a token of input and of output; `None` if they are not known."""
        given = self._given.get(model)
        if given and self._are_given_first:
            return given
        exact = self.exact.get(model)
        if exact and (tokens := exact.input_tokens + exact.output_tokens):
            return (mean := exact.usd / tokens), mean
        return _listed(model) or given


_PRICES = TypeAdapter(dict[str, tuple[Any, Any]])


def _check_prices(given: Any) -> dict[str, _Rates]:
    try:
        prices = _PRICES.validate_python(given)
    except ValidationError:
        raise ValueError(
            f"prices must be a dict of model ids with (input, output) prices; got {given!r}."
        ) from None
    return {
        find_model(model).id: _per_token(*(check_amount(each, "prices") for each in pair))
        for model, pair in prices.items()
    }


def _per_token(per_input: Decimal, per_output: Decimal) -> _Rates:
    return per_input / _MILLION, per_output / _MILLION


def _listed(model: str) -> _Rates | None:
    """Return the prices in the last `list_models()`, if it has been called."""
    from langchain_aimlernie import models

    prices = models.listed_prices(model)
    return prices and _per_token(*prices)


def cost_of_tokens(
    model: str, prompt: int, params: Mapping[str, Any], output: int | None = None
) -> Decimal:
    """Return the US dollars of a call at the prices of the last `list_models()`.

    `prompt` and `output` are tokens; `None` is as many as the call's parameters allow. If the
    prices are not known, a `ValueError` says so.
    """
    name = find_model(model).id
    rates = _listed(name)
    if rates is None:
        raise ValueError(f"The prices of {name} are not known: call list_models() first.")
    if output is None:
        output = max_output(name, params, prompt)
    return prompt * rates[0] + output * rates[1]


def max_output(model: str, params: Mapping[str, Any], prompt: int) -> int:
    """Return the most tokens that the output of a call can have."""
    context = find_model(model).context or _UNKNOWN_CONTEXT
    limits = [to_int(params.get(name)) for name in ("max_tokens", "max_completion_tokens")]
    return min([max(1, context - prompt), *(each for each in limits if isinstance(each, int))])


@dataclass(slots=True, eq=False)
class Call:
    """A call in the sums.

    Attributes:
        model: The model's id; empty if it does not state it.
        request_id: Its `X-Client-Request-Id`, if no other call has the same.
        inference_id: Its id in the provider's log.
        spend: What it counts as while its exact price is not known.
    """

    model: str = ""
    tags: tuple[str, ...] = ()
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    request_id: str | None = None
    inference_id: str | None = None
    spend: Spend = field(default_factory=Spend)


class Totals:
    """Sums of calls, in which estimates are replaced as soon as more is known; not thread-safe."""

    def __init__(self, prices: Prices, spent_usd: Decimal = ZERO) -> None:
        self.total = priced(Spend(), spent_usd)
        self.by_model: dict[str, Spend] = {}
        self.by_tag: dict[str, Spend] = {}
        self._prices = prices
        self._latest: deque[Call] = deque(maxlen=_MAX_ESTIMATES)
        self._pending: set[str] = set()  # models with calls to be estimated

    def book(self, call: Call, spend: Spend) -> None:
        """Add what a call has cost to the sums."""
        model = call.model or UNKNOWN
        self.total = add(self.total, spend)
        self.by_model[model] = add(self.by_model.get(model, Spend()), spend)
        for tag in dict.fromkeys(call.tags):
            self.by_tag[tag] = add(self.by_tag.get(tag, Spend()), spend)

    def book_unpriced(self, call: Call, spend: Spend, *, is_estimated: bool) -> None:
        """Add a call without a price to the sums, and keep it for `replace`.

        If it `is_estimated`, `estimate_pending` gives it a price as soon as there is one.
        """
        self.book(call, spend)
        call.spend = spend
        self._latest.append(call)
        if is_estimated:
            self._pending.add(call.model)

    def estimate_pending(self) -> None:
        """Estimate the price of the calls without one, as far as that is possible by now."""
        known = {model: rates for model in self._pending if (rates := self._prices.of_token(model))}
        if not known:
            return
        self._pending -= known.keys()
        for call in self._latest:
            spend = call.spend
            tokens = spend.input_tokens, spend.output_tokens
            if spend.unpriced and call.model in known and any(tokens):
                per_input, per_output = known[call.model]
                usd = tokens[0] * per_input + tokens[1] * per_output
                self._correct(call, priced(spend, usd)._replace(estimated_usd=usd))

    def _correct(self, call: Call, spend: Spend) -> None:
        self.book(call, subtract(spend, call.spend))
        call.spend = spend

    def by_id(self) -> dict[str, Call]:
        """Return the calls without an exact price that can be found in the provider's log."""
        ids = ((id_, call) for call in self._latest for id_ in (call.request_id, call.inference_id))
        return {id_: call for id_, call in ids if id_}

    def replace(self, calls: Mapping[str, Call], entries: Iterable[LogEntry]) -> int:
        """Replace the estimates of these calls by the sum of their entries; return how many."""
        attempts = defaultdict(list)
        for entry in entries:
            attempts[call_of(entry, calls)].append(entry)
        found = [call for call in self._latest if call in attempts]
        for call in found:
            logged = attempts[call]
            tokens_in = sum(entry.tokens.input for entry in logged)
            tokens_out = sum(entry.tokens.output for entry in logged)
            spend = priced(call.spend, sum((entry.cost.usd for entry in logged), ZERO))._replace(
                input_tokens=tokens_in or call.spend.input_tokens,
                output_tokens=tokens_out or call.spend.output_tokens,
                estimated_usd=ZERO,
            )
            self._correct(call, spend)
        rest = (call for call in self._latest if call not in attempts)
        self._latest = deque(rest, _MAX_ESTIMATES)
        return len(found)


def call_of(entry: LogEntry, calls: Mapping[str, Call]) -> Call | None:
    """Return the call that an entry of the log is about, by `Totals.by_id`."""
    return calls.get(entry.inference_id) or calls.get(entry.client_request_id or "")
