"""What calls are expected to cost, before their price is known or where it is not stated."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import reduce
from typing import Any

from langchain_aimlernie.profiles import find_model
from langchain_aimlernie.spend.amounts import Spend, add, check_amount

_MILLION = 1_000_000
_UNKNOWN_CONTEXT = 131_072
"""Tokens; the largest context of a model in the table."""

_Rates = tuple[Decimal, Decimal]
"""US dollars for a token of input and of output."""


class Prices:
    """The prices that a tracker knows.

    Args:
        given: US dollars for a million tokens of input and of output, by model id.
        are_given_first: Whether `given` comes before the mean of `exact` and the catalogue.

    Attributes:
        exact: Sums of the calls whose price is known exactly, by model.

    Raises:
        ValueError: A price is not a number of at least 0.
    """

    def __init__(
        self,
        given: Mapping[str, tuple[Decimal | float | str, Decimal | float | str]] | None = None,
        *,
        are_given_first: bool = False,
    ) -> None:
        self._given = {
            find_model(model).id: _per_token(*(check_amount(each, "prices") for each in pair))
            for model, pair in (given or {}).items()
        }
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
    rates = _listed(name)
    if rates is None:
        raise ValueError(f"The prices of {name} are not known: call list_models() first.")
    if output is None:
        output = max_output(name, params, prompt)
    return prompt * rates[0] + output * rates[1]


def max_output(model: str, params: Mapping[str, Any], prompt: int) -> int:
    """Return the most tokens that the output of a call can have."""
    context = find_model(model).context or _UNKNOWN_CONTEXT
    limits = [params.get(name) for name in ("max_tokens", "max_completion_tokens")]
    return min([max(1, context - prompt), *(each for each in limits if isinstance(each, int))])
