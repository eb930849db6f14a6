"""Amounts of money and tokens, and how they are read from responses and settings."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from decimal import Context, Decimal
from typing import Any, NamedTuple

from langchain_core.messages import AIMessage
from typing_extensions import override

# "$1 USD = 2,000,000 credits" (docs.aimlapi.com, "How can I track my funds?"). Older responses
# of the API state only the credits.
CREDITS_PER_USD = 2_000_000

ZERO = Decimal(0)

_ESTIMATES = Context(prec=15)
"""The digits of an estimate: few enough that sums stay exact when it is added and subtracted."""


class Spend(NamedTuple):
    """Usage and cost of some calls.

    Money is `Decimal`: sums of many small amounts, and their comparison with a limit, are exact.

    Attributes:
        calls: Calls that completed, or that the caller cancelled or abandoned.
        cached: Responses from LangChain's cache, which cost nothing and count in no other field.
        retries: Retries after the first attempts.
        failed: Calls that ended in an error.
        unpriced: Calls without a price in the response; `credits` and `usd` do not include them.
        input_tokens: Tokens of the prompts.
        cached_tokens: Those of `input_tokens` that came from the provider's cache.
        output_tokens: Tokens of the completions, reasoning included.
        reasoning_tokens: Those of `output_tokens` that are reasoning.
        credits: The cost in credits of the AI/ML API.
        usd: The cost in US dollars.
        estimated_usd: The part of `usd` that is estimated: for calls that the caller cancelled or
            abandoned, and for responses without a price.
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
    credits: Decimal = ZERO
    usd: Decimal = ZERO
    estimated_usd: Decimal = ZERO

    @override
    def __str__(self) -> str:
        parts = [
            pluralize(self.calls, "call"),
            f"{self.input_tokens:,} tokens in" + _suffix(self.cached_tokens, "cached"),
            f"{self.output_tokens:,} out" + _suffix(self.reasoning_tokens, "reasoning"),
            f"{self.credits.normalize():,f} credits",
            f"${self.usd.normalize():,f}",
        ]
        rare = {
            f"{self.cached:,} from the cache": self.cached,
            pluralize(self.retries, "retry", "retries"): self.retries,
            f"{self.failed:,} failed": self.failed,
            f"{self.unpriced:,} without a price": self.unpriced,
            f"${self.estimated_usd.normalize():,f} estimated": self.estimated_usd,
        }
        return ", ".join((*parts, *(text for text, number in rare.items() if number)))


def add(one: Spend, other: Spend) -> Spend:
    """Return the sum."""
    return Spend._make(map(operator.add, one, other))


def subtract(one: Spend, other: Spend) -> Spend:
    """Return the difference."""
    return Spend._make(map(operator.sub, one, other))


def priced(spend: Spend, usd: Decimal) -> Spend:
    """Return `spend` with a price, which is given in US dollars."""
    return spend._replace(usd=usd, credits=usd * CREDITS_PER_USD, unpriced=0)


def rounded(estimate: Decimal) -> Decimal:
    """Return an estimate with few enough digits for exact sums."""
    return _ESTIMATES.plus(estimate)


def to_json(spend: Spend) -> dict[str, int | str]:
    """Return `spend` as JSON values."""
    return {
        name: str(value) if isinstance(value, Decimal) else value
        for name, value in spend._asdict().items()
    }


def from_json(data: Mapping[str, Any]) -> Spend:
    """Return the `Spend` that `to_json` was given; on other data it raises an error of any kind."""
    zero = Spend()._asdict()
    return Spend(**{key: type(zero[key])(check_amount(each, key)) for key, each in data.items()})


def spend_of(message: AIMessage) -> Spend:
    """Return the usage and cost of a response."""
    usage: Mapping[str, Any] = message.usage_metadata or {}
    if usage.get("total_cost") == 0:  # how langchain-core marks a response from its cache
        return Spend(cached=1)
    usd = price_of(message.response_metadata)
    credit_count = parse_amount(message.response_metadata.get("credits_used"))
    return Spend(
        calls=1,
        unpriced=int(usd is None),
        input_tokens=_tokens(usage.get("input_tokens")),
        cached_tokens=_tokens((usage.get("input_token_details") or {}).get("cache_read")),
        output_tokens=_tokens(usage.get("output_tokens")),
        reasoning_tokens=_tokens((usage.get("output_token_details") or {}).get("reasoning")),
        credits=(usd or ZERO) * CREDITS_PER_USD if credit_count is None else credit_count,
        usd=usd or ZERO,
    )


def _tokens(value: object) -> int:
    """Return a token count; other models may state fractions or invalid values."""
    return int(parse_amount(value) or 0)


def price_of(response_metadata: Mapping[str, Any]) -> Decimal | None:
    """Return the price of a response in US dollars; `None` if it does not state one."""
    usd = parse_amount(response_metadata.get("usd_spent"))
    credit_count = parse_amount(response_metadata.get("credits_used"))
    return credit_count / CREDITS_PER_USD if usd is None and credit_count is not None else usd


def parse_amount(value: object) -> Decimal | None:
    """Return an amount from JSON as a `Decimal`; `None` unless it is a number of at least 0."""
    try:
        amount = Decimal(str(value))
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and amount >= 0 else None


def check_amount(value: Decimal | float | str, name: str) -> Decimal:
    """Return the setting `name` as a `Decimal`; raise a `ValueError` unless it is at least 0."""
    amount = parse_amount(value)
    if amount is None:
        raise ValueError(f"{name}={value!r}: must be a number of at least 0.")
    return amount


def check_limit(value: Decimal | float | str | None, name: str) -> Decimal | None:
    """Return a limit as a `Decimal`, as `check_amount` does; `None` is no limit."""
    return None if value is None else check_amount(value, name)


def check_choice(value: object, choices: tuple[object, ...], name: str) -> Any:
    """Return `value`; raise a `ValueError` unless it is one of `choices`."""
    if value not in choices:
        *others, last = map(repr, choices)
        raise ValueError(f"{name}={value!r}: must be {', '.join(others)} or {last}.")
    return value


def pluralize(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun; `many` is the plural, by default `one` with an s."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _suffix(number: int, what: str) -> str:
    return f" ({number:,} {what})" if number else ""
