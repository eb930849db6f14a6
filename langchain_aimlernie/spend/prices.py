"""Expected costs of calls, and sums in which an exact price can replace an estimate later."""

from __future__ import annotations

import asyncio
import weakref
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import reduce
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pydantic import TypeAdapter, ValidationError

from langchain_aimlernie._request.tokens import count_message_tokens, count_tokens
from langchain_aimlernie._settings.arguments import INSTRUCTION
from langchain_aimlernie._settings.values import to_int
from langchain_aimlernie.profiles import find_model
from langchain_aimlernie.spend.amounts import (
    ZERO,
    Spend,
    add,
    check_amount,
    priced,
    rounded,
    subtract,
)

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.account import LogEntry

_MILLION = 1_000_000
_UNKNOWN_CONTEXT = 131_072
"""Tokens; the largest context of a model in the table."""

_MAX_ESTIMATES = 10_000
"""How many of the latest calls without an exact price are kept, to be priced later."""

UNKNOWN = "unknown"
"""The id of a model whose responses do not name it."""


@dataclass(slots=True, eq=False)
class Call:
    """A call that is under way or counted.

    Attributes:
        model: The model's id; empty while it is not known.
        tags: The keys of the sums by tag that it belongs to.
        messages: The prompt.
        params: The parameters.
        state: `unsent`, then `sent`, for a call of `ChatAimlErnie`, which reserves before it sends;
            `other` for a call of another model, which may have been sent.
        loop: The event loop of an async call.
        started: When it started.
        request_id: Its `X-Client-Request-Id`, if no other call has the same.
        inference_id: Its id in the provider's log.
        reserved: US dollars that are reserved for it.
        received: The output so far.
        spend: The part of the sums that is from this call.
    """

    model: str = ""
    tags: tuple[Any, ...] = ()
    messages: Sequence[BaseMessage] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    state: Literal["unsent", "sent", "other"] = "other"
    loop: weakref.ref[asyncio.AbstractEventLoop] | None = None
    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    request_id: str | None = None
    inference_id: str | None = None
    reserved: Decimal = ZERO
    received: list[str] = field(default_factory=list)
    spend: Spend = field(default_factory=Spend)
    _last_event: object = None

    def is_new(self, event: object) -> bool:
        """Whether an event is new: a tracker that is among the callbacks twice gets it twice."""
        is_new = event is None or event is not self._last_event
        self._last_event = event
        return is_new

    def is_lost(self) -> bool:
        """Whether the call's event loop was closed, so that nothing can end the call."""
        loop = None if self.loop is None else self.loop()
        return self.loop is not None and (loop is None or loop.is_closed())

    def estimated_tokens(self) -> tuple[int, int]:
        """Return estimates of the tokens of the prompt and of the output so far."""
        tools = self.params.get("tools")
        prompt = count_message_tokens(self.messages, tools if isinstance(tools, list) else None)
        prompt += count_tokens(self.params.get(INSTRUCTION) or "")
        return prompt, count_tokens("".join(self.received))


class Rates(NamedTuple):
    """US dollars per token of input and of output."""

    input: Decimal
    output: Decimal

    def cost(self, prompt: int, output: int) -> Decimal:
        """Return US dollars for these numbers of tokens."""
        return prompt * self.input + output * self.output


class Totals:
    """Sums of calls, and the prices that follow from them; not thread-safe.

    Args:
        given: US dollars per million tokens of input and of output, by model id.
        come_first: Whether `given` comes before the mean of the calls with an exact price and the
            catalogue, instead of after them.
        estimates: Whether a call without a price in its response gets an estimate as soon as the
            price of a token is known.
        spent_usd: US dollars to begin with.
    """

    def __init__(
        self, given: object, *, come_first: bool, estimates: bool, spent_usd: Decimal
    ) -> None:
        self._given = _check_prices(given)
        self._come_first = come_first
        self._estimates = estimates
        self.set_to(spent_usd)

    def set_to(self, spent_usd: Decimal) -> None:
        """Drop all calls; the total becomes these US dollars."""
        self.total = priced(Spend(), spent_usd)
        self.by_model: dict[str, Spend] = {}
        self.by_tag: MutableMapping[Any, Spend] = {}
        self.exact: dict[str, Spend] = {}  # calls with an exact price, by model
        self._latest: deque[Call] = deque(maxlen=_MAX_ESTIMATES)  # calls without one
        self._pending: dict[str, deque[Call]] = {}  # calls to be estimated, by model

    def add(self, call: Call, spend: Spend) -> None:
        """Add to the sums the cost of a call, or a change of it."""
        self.total = add(self.total, spend)
        _add_to(self.by_model, call.model or UNKNOWN, spend)
        for tag in dict.fromkeys(call.tags):
            _add_to(self.by_tag, tag, spend)
        call.spend = add(call.spend, spend)

    def count(self, call: Call, spend: Spend) -> None:
        """Add a response; if it has no price, keep the call for its estimate and for `replace`."""
        self.add(call, spend)
        if spend.unpriced:
            call.messages, call.params, call.received = (), {}, []
            self._latest.append(call)
            if self._estimates:
                calls = self._pending.setdefault(call.model, deque(maxlen=_MAX_ESTIMATES))
                calls.append(call)
        elif spend.calls:
            _add_to(self.exact, call.model, spend)
        for model in [*self._pending]:
            if rates := self.of_token(model):
                for each in self._pending.pop(model):
                    tokens = each.spend.input_tokens, each.spend.output_tokens
                    if each.spend.unpriced and any(tokens):
                        usd = rounded(rates.cost(*tokens))
                        estimated = priced(each.spend, usd)._replace(estimated_usd=usd)
                        self.add(each, subtract(estimated, each.spend))

    def of_call(self, model: str) -> Decimal | None:
        """Return the mean US dollars of the model's calls, else of all calls; `None` before any."""
        exact = self.exact.get(model) or reduce(add, self.exact.values(), Spend())
        return rounded(exact.usd / exact.calls) if exact.calls else None

    def of_token(self, model: str) -> Rates | None:
        """Return the prices of a token of input and of output; `None` if they are not known."""
        given = self._given.get(model)
        if given and self._come_first:
            return given
        exact = self.exact.get(model)
        if exact and (tokens := exact.input_tokens + exact.output_tokens):
            return Rates(mean := exact.usd / tokens, mean)
        return listed.get(model) or given

    def by_id(self) -> dict[str, Call]:
        """Return the calls without an exact price that can be found in the provider's log."""
        ids = ((id_, call) for call in self._latest for id_ in (call.request_id, call.inference_id))
        return {id_: call for id_, call in ids if id_}

    def replace(self, calls: Mapping[str, Call], entries: Iterable[LogEntry]) -> int:
        """Replace the calls' estimates by the sums of their log entries; return how many."""
        attempts = defaultdict(list)
        for entry in entries:
            attempts[call_of(entry, calls)].append(entry)
        found = [call for call in self._latest if call in attempts]
        for call in found:
            logged, old = attempts[call], call.spend
            new = priced(old, sum((entry.cost.usd for entry in logged), ZERO))._replace(
                input_tokens=sum(entry.tokens.input for entry in logged) or old.input_tokens,
                output_tokens=sum(entry.tokens.output for entry in logged) or old.output_tokens,
                estimated_usd=ZERO,
            )
            self.add(call, subtract(new, old))
        rest = (call for call in self._latest if call not in attempts)
        self._latest = deque(rest, _MAX_ESTIMATES)
        return len(found)


def call_of(entry: LogEntry, calls: Mapping[str, Call]) -> Call | None:
    """Return the call of a log entry, from the result of `Totals.by_id`; `None` if not there."""
    return calls.get(entry.inference_id) or calls.get(entry.client_request_id or "")


def _add_to(sums: MutableMapping[Any, Spend], key: object, spend: Spend) -> None:
    sums[key] = add(sums.get(key, Spend()), spend)


listed: dict[str, Rates | None] = {}
"""By id and alias, the prices in the last `list_models()`; `None` for a model without them."""

_PRICES = TypeAdapter(dict[str, tuple[Any, Any]])


def _check_prices(given: Any) -> dict[str, Rates]:
    try:
        prices = _PRICES.validate_python(given)
    except ValidationError:
        raise ValueError(
            f"prices must be a dict of model ids with (input, output) prices; got {given!r}."
        ) from None
    return {
        find_model(model).id: Rates(*(check_amount(each, "prices") / _MILLION for each in pair))
        for model, pair in prices.items()
    }


def cost_of_tokens(
    model: str, prompt: int, params: Mapping[str, Any], output: int | None = None
) -> Decimal:
    """Return what a call costs in US dollars, at the prices of the last `list_models()`.

    Args:
        model: The model's id.
        prompt: Tokens of the prompt.
        params: The call's parameters.
        output: Tokens of the output; `None`: as many as the parameters allow.

    Raises:
        ValueError: The prices are not known.
    """
    name = find_model(model).id
    rates = listed.get(name)
    if rates is None:
        raise ValueError(f"The prices of {name} are not known: call list_models() first.")
    return rates.cost(prompt, max_output(name, params, prompt) if output is None else output)


def max_output(model: str, params: Mapping[str, Any], prompt: int) -> int:
    """Return the maximum number of output tokens of a call."""
    context = find_model(model).context or _UNKNOWN_CONTEXT
    limits = [to_int(params.get(name)) for name in ("max_tokens", "max_completion_tokens")]
    return min([max(1, context - prompt), *(each for each in limits if isinstance(each, int))])
