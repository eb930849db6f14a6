"""The settings that are fields of the body, and the values that each may have.

The ranges are those of the API's published schema (`/v1/chat/completions`, OpenAPI of the models).
"""

from __future__ import annotations

import math
from numbers import Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

REQUEST_PARAMS = (
    "temperature",
    "top_p",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "response_format",
    "parallel_tool_calls",
    "prediction",
    "enable_thinking",
    "thinking_budget",
    "provider",
    "normalize_tool_schemas",
)
"""Settings that are fields of the body under the same name."""

_RANGES: Mapping[str, tuple[float, float]] = {
    "temperature": (0, 2),
    "top_p": (0.01, 1),
    "frequency_penalty": (-2, 2),
    "presence_penalty": (-2, 2),
    "max_tokens": (1, math.inf),
    "max_completion_tokens": (1, math.inf),
    "seed": (1, math.inf),
    "thinking_budget": (100, math.inf),
}
_WHOLE = frozenset({"max_tokens", "max_completion_tokens", "seed", "thinking_budget"})
_MAX_STOPS = 4
_SWITCHES = frozenset({"parallel_tool_calls", "enable_thinking", "normalize_tool_schemas"})


def validate_param(name: str, value: object) -> None:
    """Make sure that a setting has a value that the published schema takes; `None` means unset.

    Raises:
        ValueError: It has not; the message names the setting, the value and the range.
    """
    if value is None:
        return
    if name in _RANGES:
        _check_range(name, value)
    elif name == "stop":
        _check_stop(value)
    elif name in _SWITCHES and not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False; got {value!r}.")


def _check_range(name: str, value: object) -> None:
    low, high = _RANGES[name]
    number = isinstance(value, Real) and not isinstance(value, bool)
    whole = not number or name not in _WHOLE or value == int(value)  # type: ignore[call-overload]  # a Real by then
    if not number or not whole or not low <= value <= high:  # type: ignore[operator]  # likewise
        kind = "a whole number" if name in _WHOLE else "a number"
        extent = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
        raise ValueError(f"{name} must be {kind} {extent}; got {value!r}.")


def _check_stop(value: object) -> None:
    stops = [value] if isinstance(value, str) else value
    if not isinstance(stops, (list, tuple)) or not all(isinstance(stop, str) for stop in stops):
        raise ValueError(f"stop must be a string or a list of strings; got {value!r}.")
    if len(stops) > _MAX_STOPS:
        raise ValueError(f"stop takes at most {_MAX_STOPS} sequences; got {len(stops)}.")
