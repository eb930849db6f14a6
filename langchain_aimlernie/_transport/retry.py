"""Whether a failed try is worth another, and after how long: a pure policy.

    outcome of a try                                             tries more         waits
    a kept connection that was dead, no byte came (`reuse`)      one, not counted   not at all
    not sent or refused: no connection, 408 425 500 502 503
      520-524 529, an error as the first event, no event         max_retries        0.5 s doubling
    429 that is no quota                                         max_retries        1 s doubling
    unknown, perhaps billed: silence, a reset, a broken
      200, 504                                                   one of them        0.5 s doubling
    all else                                                     none

Waits have full jitter below their cap. What the server asks for with Retry-After is kept up to a
minute, plus a jitter that never shortens it; a longer wish is not waited for.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_aimlernie.errors import InternalServerError, RateLimitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from langchain_aimlernie.errors import AimlErnieError

MAX_RETRY_AFTER = 60.0
"""Seconds: the longest wish of a server that is waited for."""

_REFUSED_STATUSES = frozenset({408, 425, 500, 502, 503, *range(520, 525), 529})


class Outcome(enum.Enum):
    """What is known of a failed try."""

    FINAL = enum.auto()
    DEAD_CONNECTION = enum.auto()
    REFUSED = enum.auto()
    LIMITED = enum.auto()
    UNKNOWN = enum.auto()


_WAITS = {Outcome.REFUSED: (0.5, 8.0), Outcome.LIMITED: (1.0, 16.0), Outcome.UNKNOWN: (0.5, 8.0)}
"""Seconds: the first wait, and the cap under which it doubles."""

_ONCE = frozenset({Outcome.UNKNOWN, Outcome.DEAD_CONNECTION})
_BY_PHASE = {
    "reuse": Outcome.DEAD_CONNECTION,
    "connect": Outcome.REFUSED,
    "proxy": Outcome.REFUSED,
    "pool": Outcome.REFUSED,
    "empty": Outcome.REFUSED,
    "request": Outcome.UNKNOWN,
    "head": Outcome.UNKNOWN,
    "body": Outcome.UNKNOWN,
}


def outcome_of(error: AimlErnieError) -> Outcome:
    """Tell what is known of the try that ended with `error`."""
    if not error.is_retryable:
        return Outcome.FINAL
    if isinstance(error, RateLimitError):
        return Outcome.LIMITED
    if error.phase is not None:
        return _BY_PHASE.get(error.phase, Outcome.FINAL)
    if error.status_code in _REFUSED_STATUSES:
        return Outcome.REFUSED
    refused_inside = isinstance(error, InternalServerError) and error.status_code is None
    return Outcome.REFUSED if refused_inside else Outcome.UNKNOWN


@dataclass(slots=True)
class Retries:
    """The tries of one call.

    Attributes:
        limit: How many tries may follow the first one.
        made: How many have; a replay on a fresh connection does not count.
    """

    limit: int
    made: int = 0
    _replayed: bool = False
    _unknown: bool = False

    def delay(
        self, error: AimlErnieError, *, left: float, random: Callable[[], float]
    ) -> float | None:
        """Note a failed try; give the seconds to wait before the next, `None` to give up.

        Args:
            error: What the try ended with.
            left: Seconds until the call's deadline.
            random: Gives a number from 0 to 1.
        """
        outcome = outcome_of(error)
        if outcome is Outcome.DEAD_CONNECTION and not self._replayed:
            self._replayed = True
            return 0.0
        if outcome is Outcome.FINAL or self.made >= self.limit:
            return None
        if outcome in _ONCE and self._unknown:
            return None
        seconds = _wait(outcome, self.made, error.retry_after, random)
        if seconds is None or seconds >= left:
            return None
        self._unknown = self._unknown or outcome in _ONCE
        self.made += 1
        return seconds


def _wait(
    outcome: Outcome, made: int, retry_after: float | None, random: Callable[[], float]
) -> float | None:
    if retry_after:
        if retry_after > MAX_RETRY_AFTER:
            return None
        return retry_after + random() * max(0.5, min(retry_after, 10.0))
    first, cap = _WAITS.get(outcome, _WAITS[Outcome.UNKNOWN])
    return random() * min(cap, first * 2.0 ** min(made, 10))
