"""Countdowns that end a wait for the server, exactly, sync and async.

A clock runs only inside its `with` block, so what the caller does between two chunks does not
count. Async, a timer of the loop cancels the waiting task, one timer for a whole stream. Sync, a
watchdog thread shared by all calls shuts the connection down, which wakes the waiting thread; it
ends by itself when nothing is left to watch. Neither costs more than a microsecond a chunk.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FOREVER = float("inf")


class ClockExpiredError(Exception):
    """A clock ran out while we waited for the server."""


class Clock:
    """A countdown for one thread that waits.

    Args:
        name: What the clock is called in an error.
        limit: Seconds.
        cut: Ends the wait: shuts the connection down. It is called from another thread.

    Attributes:
        name: As above.
        limit: As above.
        has_expired: Whether the time is up.
    """

    __slots__ = ("_cut", "_deadline", "_left", "_unclaimed", "has_expired", "limit", "name")

    def __init__(self, name: str, limit: float, cut: Callable[[], None]) -> None:
        self._cut = cut
        self._deadline = FOREVER
        # Who pops it decides the race between the last byte and the end of the time.
        self._unclaimed = [None]
        self.has_expired = False
        self.rewind(name, limit)
        _watchdog.watch(self)

    def rewind(self, name: str, limit: float) -> None:
        """Count down anew, from `limit` seconds."""
        self.name = name
        self.limit = self._left = limit

    def __enter__(self) -> None:
        self._deadline = deadline = time.monotonic() + self._left
        if deadline < _watchdog.wakes_at:
            _watchdog.wake()

    def __exit__(self, *_: object) -> None:
        self._left = self._deadline - time.monotonic()
        self._deadline = FOREVER
        if self.has_expired:
            raise ClockExpiredError

    def stop(self) -> bool:
        """Let the time pass; tell whether the connection can be used on."""
        _watchdog.leave(self)
        return self._claim()

    def check(self, now: float) -> float:
        """End the wait if the time is up; give the time at which to check again."""
        if self.has_expired:
            self._cut()
            return now + _AGAIN
        if self._deadline > now:
            return min(self._deadline, now + self.limit)
        if self._claim():
            self.has_expired = True
            self._cut()
        return now + _AGAIN

    def _claim(self) -> bool:
        try:
            self._unclaimed.pop()
        except IndexError:
            return False
        return True


_AGAIN = 0.05
"""Seconds after which a connection is cut once more: it may only have been opened meanwhile."""

_PERIOD = 1.0
"""Seconds after which the watchdog looks whether there is anything left to watch."""


class _Watchdog:
    """One thread for all clocks. No locks but its bell: a finaliser may run in any of this."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start anew, as a forked child must: the thread stayed with the parent."""
        self._clocks: set[Clock] = set()
        self._running = threading.Lock()
        self._bell = threading.Lock()
        self._bell.acquire()
        self.wakes_at = FOREVER

    def watch(self, clock: Clock) -> None:
        self._clocks.add(clock)
        if not self._running.locked():
            self._start()

    def leave(self, clock: Clock) -> None:
        self._clocks.discard(clock)

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is awake already
            self._bell.release()

    def _start(self) -> None:
        if not self._running.acquire(blocking=False):
            return
        thread = threading.Thread(target=self._run, name="aimlernie-watchdog", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # no thread to be had: the timeouts of the single reads are left
            self._running.release()

    def _run(self) -> None:
        while True:
            while self._clocks:
                self._check()
            self._running.release()
            # A clock may have come just before that, and relied on this thread.
            if not (self._clocks and self._running.acquire(blocking=False)):
                return

    def _check(self) -> None:
        self.wakes_at = FOREVER  # who comes from now on rings the bell
        now = time.monotonic()
        wakes_at = now + _PERIOD
        for clock in self._clocks.copy():
            wakes_at = min(wakes_at, clock.check(now))
        self.wakes_at = wakes_at
        self._bell.acquire(timeout=max(0.0, wakes_at - now))


_watchdog = _Watchdog()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watchdog.forget)


class AsyncClock:
    """A countdown for one task that waits; the same as `Clock` otherwise.

    Args:
        name: What the clock is called in an error.
        limit: Seconds.
    """

    __slots__ = (
        "_cancelling",
        "_deadline",
        "_left",
        "_loop",
        "_rings_at",
        "_task",
        "_timer",
        "has_expired",
        "limit",
        "name",
    )

    def __init__(self, name: str, limit: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.Handle | None = None
        self._rings_at = FOREVER
        self._task: asyncio.Task[Any] | None = None
        self._cancelling = 0
        self._deadline = FOREVER
        self.has_expired = False
        self.rewind(name, limit)

    def rewind(self, name: str, limit: float) -> None:
        """Count down anew, from `limit` seconds."""
        self.name = name
        self.limit = self._left = limit

    def __enter__(self) -> None:
        task = self._task = asyncio.current_task(self._loop)
        self._cancelling = _requests_to_cancel(task)
        self._deadline = deadline = self._loop.time() + self._left
        if deadline < self._rings_at:
            self._set(deadline)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._left = self._deadline - self._loop.time()
        self._deadline = FOREVER
        if not self.has_expired:
            return
        others = _take_back_cancel(self._task) > self._cancelling
        if not (others and kind is asyncio.CancelledError):
            raise ClockExpiredError

    def stop(self) -> bool:
        """Let the time pass; tell whether the connection can be used on."""
        self._set(FOREVER)
        return not self.has_expired

    def _set(self, deadline: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = deadline
        self._timer = None if deadline == FOREVER else self._loop.call_at(deadline, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings_at = None, FOREVER
        if self._deadline > self._loop.time():
            self._set(self._deadline)
        elif self._task is not None:
            self.has_expired = True
            self._task.cancel()


def _requests_to_cancel(task: asyncio.Task[Any] | None) -> int:
    """How many wait to be honoured; Python 3.10 does not count them."""
    return task.cancelling() if _COUNTS and task is not None else 0


def _take_back_cancel(task: asyncio.Task[Any] | None) -> int:
    return task.uncancel() if _COUNTS and task is not None else 0


_COUNTS = hasattr(asyncio.Task, "uncancel")
