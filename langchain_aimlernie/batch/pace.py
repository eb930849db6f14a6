"""Pace a batch: adapt the number of calls in flight to the server, and limit two rates.

The API states no limits in its responses. The number of calls in flight is adapted like TCP's
window: it doubles after each window of calls without a rejection until the first rejection (429 or
503), then grows by one; a rejection halves it, once for all calls that were in flight together.
"""

from __future__ import annotations

import random
import time

_START = 8
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 16.0
"""Seconds without any call after a rejection of the only call in flight; doubled each time."""

_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0
"""Seconds that a rejected row waits while others are sent; doubled each time."""


class Pace:
    """Decides when the next call may be sent.

    Attributes:
        max_in_flight: Maximum number of calls in flight.
        limit: Number of calls that may be in flight now.
        window: Number of halvings so far.
        counts_tokens: Whether the rate of tokens is limited.
    """

    def __init__(self, max_in_flight: int, rpm: float | None, tpm: float | None) -> None:
        self.max_in_flight = max_in_flight
        self.limit = min(_START, max_in_flight)
        self.window = 0
        self.counts_tokens = tpm is not None
        self._seconds_per_request = 60.0 / float(rpm) if rpm else 0.0
        self._seconds_per_token = 60.0 / float(tpm) if tpm else 0.0
        self._next_request = 0.0
        self._next_token = 0.0
        self._resume = 0.0
        self._pause = _FIRST_PAUSE
        self._completed = 0
        self._is_starting = True

    def wait(self, in_flight: int) -> float:
        """Return the seconds until a call may be sent; infinite until one in flight has ended."""
        if in_flight >= self.limit:
            return float("inf")
        ready = max(self._resume, self._next_request, self._next_token)
        return max(0.0, ready - time.monotonic())

    def start(self, tokens: int) -> None:
        """Count a call that is sent now, with about this many tokens in its prompt."""
        now = time.monotonic()
        self._next_request = max(now, self._next_request) + self._seconds_per_request
        self._next_token = max(now, self._next_token) + tokens * self._seconds_per_token

    def correct(self, more_tokens: int) -> None:
        """Count the tokens that a call used beyond those passed to `start`."""
        self._next_token += more_tokens * self._seconds_per_token

    def accepted(self) -> None:
        """Note that the server accepted a call: after a window of them, the limit grows."""
        self._pause = _FIRST_PAUSE
        self._completed += 1
        if self._completed >= self.limit:
            self._completed = 0
            grown = self.limit * 2 if self._is_starting else self.limit + 1
            self.limit = min(grown, self.max_in_flight)

    def rejected(self, window: int, rejections: int, retry_after: float | None) -> float:
        """Note a rejection; return the seconds until the row may be sent again.

        `window` is the value when the call was sent, `rejections` the number of rejections of the
        row, and `retry_after` the seconds that the server asks to wait.
        """
        now = time.monotonic()
        if retry_after:
            self._resume = max(self._resume, now + retry_after)
        elif self.limit == 1:
            self._resume = max(self._resume, now + self._pause * random.uniform(0.5, 1.0))  # noqa: S311
            self._pause = min(2 * self._pause, _LONGEST_PAUSE)
        self._is_starting = False
        if window == self.window:
            self.window += 1
            self._completed = 0
            self.limit = (self.limit + 1) // 2
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2.0 ** min(rejections - 1, 10))
        return delay * random.uniform(0.5, 1.0)  # noqa: S311  no secret depends on it
