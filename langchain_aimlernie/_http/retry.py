"""Whether a failed attempt is retried, and after how long: a pure policy.

    failure                                                      retries            backoff
    stale keep-alive connection, before complete headers         one, not counted   none
    not sent or not processed: no connection, 408 425 500 502
      503 520-523 529, error as the first event, no event        max_retries        0.5 s doubling
    429, unless about a quota                                    max_retries        1 s doubling
    may have been processed and billed: timeout, reset, broken
      200, 499, 504 524, other 5xx but 501 505 511               at most one        0.5 s doubling
    any other                                                    none

The backoff has full jitter and a cap. `Retry-After` is honoured up to a minute, with a jitter that
only lengthens it; after a longer one there is no retry.
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
"""Seconds: the longest `Retry-After` that is honoured."""

_NOT_PROCESSED_STATUSES = frozenset({408, 425, 500, 502, 503, *range(520, 524), 529})


class FailureKind(enum.Enum):
    """What is known about a failed attempt."""

    PERMANENT = enum.auto()
    STALE_CONNECTION = enum.auto()
    NOT_PROCESSED = enum.auto()
    RATE_LIMITED = enum.auto()
    MAYBE_PROCESSED = enum.auto()


_RETRY_ONCE = frozenset({FailureKind.MAYBE_PROCESSED, FailureKind.STALE_CONNECTION})
_BY_PHASE = {
    "stale_connection": FailureKind.STALE_CONNECTION,
    "connect": FailureKind.NOT_PROCESSED,
    "proxy": FailureKind.NOT_PROCESSED,
    "pool": FailureKind.NOT_PROCESSED,
    "empty_stream": FailureKind.NOT_PROCESSED,
    "request": FailureKind.MAYBE_PROCESSED,
    "response_headers": FailureKind.MAYBE_PROCESSED,
    "response_body": FailureKind.MAYBE_PROCESSED,
}


def classify(error: AimlErnieError) -> FailureKind:
    """Return what is known about the attempt that ended with `error`."""
    if not error.is_retryable:
        return FailureKind.PERMANENT
    if isinstance(error, RateLimitError):
        return FailureKind.RATE_LIMITED
    if error.phase is not None:
        return _BY_PHASE.get(error.phase, FailureKind.PERMANENT)
    if error.status_code in _NOT_PROCESSED_STATUSES:
        return FailureKind.NOT_PROCESSED
    error_inside = isinstance(error, InternalServerError) and error.status_code is None
    return FailureKind.NOT_PROCESSED if error_inside else FailureKind.MAYBE_PROCESSED


@dataclass(slots=True)
class RetryState:
    """The retries of one call.

    Attributes:
        limit: How many retries may follow the first attempt.
        used: How many have followed; a replay after a stale connection does not count.
    """

    limit: int
    used: int = 0
    _replayed: bool = False
    _maybe_processed: bool = False

    def next_delay(
        self, error: AimlErnieError, *, left: float, random: Callable[[], float]
    ) -> float | None:
        """Record a failed attempt; return the seconds until the next one, `None` to give up.

        Args:
            error: The error of the attempt.
            left: Seconds until the call's deadline.
            random: Returns a number from 0 to 1.
        """
        kind = classify(error)
        if kind is FailureKind.STALE_CONNECTION and not self._replayed:
            self._replayed = True
            return 0.0
        if kind is FailureKind.PERMANENT or self.used >= self.limit:
            return None
        if kind in _RETRY_ONCE and self._maybe_processed:
            return None
        seconds = _wait(kind, self.used, error.retry_after, random)
        if seconds is None or seconds >= left:
            return None
        self._maybe_processed = self._maybe_processed or kind in _RETRY_ONCE
        self.used += 1
        return seconds


def _wait(
    kind: FailureKind, used: int, retry_after: float | None, random: Callable[[], float]
) -> float | None:
    if retry_after:
        if retry_after > MAX_RETRY_AFTER:
            return None
        return retry_after + random() * max(0.5, min(retry_after, 10.0))
    first, cap = (1.0, 16.0) if kind is FailureKind.RATE_LIMITED else (0.5, 8.0)
    return random() * min(cap, first * 2.0 ** min(used, 10))
