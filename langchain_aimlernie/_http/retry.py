"""Whether a failed attempt is worth a retry, and after how long: a pure policy.

    what is known of the attempt                                 retries            backoff
    a stale keep-alive connection, no complete headers came      one, not counted   none
    not sent or refused: no connection, 408 425 500 502 503
      520-523 529, an error as the first event, no event         max_retries        0.5 s doubling
    429, unless about a quota                                    max_retries        1 s doubling
    may have been processed and billed: a timeout, a reset, a
      broken 200, 499, 504 524, other 5xx but 501 505 511        one of them        0.5 s doubling
    all else                                                     none

The backoff has full jitter below its cap. `Retry-After` is honoured up to a minute, plus a jitter
that never shortens it; a longer one is not waited for.
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
"""Seconds: the longest `Retry-After` that is waited for."""

_NOT_PROCESSED_STATUSES = frozenset({408, 425, 500, 502, 503, *range(520, 524), 529})


class FailureKind(enum.Enum):
    """What is known of a failed attempt."""

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
    """Return what is known of the attempt that ended with `error`."""
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
        used: How many have; a replay on a fresh connection does not count.
    """

    limit: int
    used: int = 0
    _replayed: bool = False
    _maybe_processed: bool = False

    def next_delay(
        self, error: AimlErnieError, *, left: float, random: Callable[[], float]
    ) -> float | None:
        """Note a failed attempt; return the seconds until the next one, `None` to give up.

        Args:
            error: What the attempt ended with.
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
