"""Who may use a connection, and in what order: a free list and a fair queue, without locks or I/O.

Every step is one operation of a deque or an iterator, which the interpreter does not interrupt. So
threads need no lock, and a finaliser that the garbage collector runs in the middle of any of these
functions can give its connection back there and then. (A lock would deadlock: the collector may
run the finaliser in the very thread that holds it.)
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from typing import Generic, Protocol, TypeVar

L = TypeVar("L")
S_contra = TypeVar("S_contra", contravariant=True)


class Slot(Generic[L]):
    """The right to use one connection.

    Attributes:
        line: The connection; `None` while there is none.
        idle_since: When it came back, in seconds of the monotonic clock.
        era: Of which era of its `Slots` it is; see `Slots.forget`.
    """

    __slots__ = ("era", "idle_since", "line")

    def __init__(self, era: object = None, line: L | None = None) -> None:
        self.era = era
        self.line = line
        self.idle_since = 0.0


class Waiter(Protocol[S_contra]):
    """Somebody who waits for a slot."""

    def offer(self, slot: S_contra, /) -> bool:
        """Take the slot; `False` if the wait was given up meanwhile."""


class Slots(Generic[L]):
    """A number of slots: the one used last goes first, and waiters are served in their order.

    Args:
        limit: How many slots there are.

    Attributes:
        era: What the slots given out now belong to.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._vacant: deque[Slot[L]] = deque()
        self._idle: deque[Slot[L]] = deque()
        self._waiters: deque[Waiter[Slot[L]]] = deque()
        # Held, so that the collector, when it finds a stream that nobody closed, finds no socket
        # beside it: the stream's own finaliser is to close that.
        self._taken: set[Slot[L]] = set()
        self.forget()

    def forget(self) -> None:
        """Begin a new era, in which slots taken before are not taken back.

        A forked child must: its parent goes on using the connections.
        """
        self.era = object()
        self._new = iter(range(self._limit))
        for left in (self._vacant, self._idle, self._waiters, self._taken):
            left.clear()

    def take(self) -> Slot[L] | None:
        """Give a slot, `None` if one has to wait: nobody overtakes those who wait."""
        return None if self._waiters else self._pop()

    def wait(self, waiter: Waiter[Slot[L]]) -> None:
        """Put `waiter` at the end of the queue; it may be served at once."""
        self._waiters.append(waiter)
        self._serve()

    def give(self, slot: Slot[L]) -> bool:
        """Take a slot back, with its connection if that is good; `False` if of an earlier era."""
        if slot.era is not self.era:
            return False
        self._keep(slot)
        self._serve()
        return True

    def pop_idle(self, before: float = float("inf")) -> Slot[L] | None:
        """Give the slot that has been idle longest, if it was so already at the time `before`.

        The caller closes its connection and gives the slot back.
        """
        try:
            slot = self._idle.popleft()
        except IndexError:
            return None
        if slot.idle_since < before:
            self._taken.add(slot)
            return slot
        self._idle.appendleft(slot)
        return None

    @property
    def idle(self) -> int:
        """How many connections wait to be used again."""
        return len(self._idle)

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return len(self._waiters)

    @property
    def used(self) -> int:
        """How many slots are in use."""
        return len(self._taken)

    @property
    def is_unused(self) -> bool:
        """Whether there is no connection, used or idle."""
        return not (self.idle or self.used)

    def _keep(self, slot: Slot[L]) -> None:
        self._taken.discard(slot)
        (self._vacant if slot.line is None else self._idle).append(slot)

    def _pop(self) -> Slot[L] | None:
        slot = _last(self._idle) or _last(self._vacant)
        if slot is None and next(self._new, None) is not None:
            slot = Slot(self.era)
        if slot is not None:
            self._taken.add(slot)
        return slot

    def _serve(self) -> None:
        while self._waiters:
            slot = self._pop()
            if slot is None:
                return
            try:
                waiter = self._waiters.popleft()
            except IndexError:
                waiter = None
            if waiter is None or not waiter.offer(slot):
                self._keep(slot)


def _last(slots: deque[Slot[L]]) -> Slot[L] | None:
    try:
        return slots.pop()
    except IndexError:
        return None


class Turn(Generic[L]):
    """A thread's wait for a slot."""

    def __init__(self) -> None:
        # Who pops it decides whether the slot or the end of the wait came first.
        self._undecided = [None]
        self._given: list[Slot[L]] = []
        self._bell = threading.Lock()
        self._bell.acquire()

    def offer(self, slot: Slot[L], /) -> bool:
        """Take the slot; `False` if the wait was given up meanwhile."""
        if not self._decide():
            return False
        self._given.append(slot)
        self._bell.release()
        return True

    def wait(self) -> Slot[L]:
        """Give the slot as soon as there is one."""
        self._bell.acquire()
        return self._given[0]

    def leave(self) -> Slot[L] | None:
        """Give up; a slot that has come all the same must be given back."""
        if self._decide():
            return None
        while not self._given:  # the giver is between its two steps
            time.sleep(0)
        return self._given[0]

    def _decide(self) -> bool:
        try:
            self._undecided.pop()
        except IndexError:
            return False
        return True


class AsyncTurn(Generic[L]):
    """A task's wait for a slot."""

    def __init__(self) -> None:
        self._coming: asyncio.Future[Slot[L]] = asyncio.get_running_loop().create_future()

    def offer(self, slot: Slot[L], /) -> bool:
        """Take the slot; `False` if the wait was given up meanwhile."""
        if self._coming.done():
            return False
        self._coming.set_result(slot)
        return True

    async def wait(self) -> Slot[L]:
        """Give the slot as soon as there is one."""
        return await self._coming

    def leave(self) -> Slot[L] | None:
        """Give up; a slot that has come all the same must be given back."""
        if self._coming.cancel() or self._coming.cancelled():
            return None
        return self._coming.result()
