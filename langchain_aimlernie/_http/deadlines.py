"""Deadlines for waiting on the server, sync and async.

Each read and write of one of our connections gets the time that is left as its timeout. A
user-supplied client cannot be given one for each read. There a watchdog limits the wait: async,
`asyncio.timeout` cancels the waiting task; sync, a timer shuts down the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING

import httpcore2

from langchain_aimlernie._http.request import NO_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from langchain_aimlernie._http.progress import Progress


class Deadline:
    """The seconds that are left to wait for the server; only waiting counts.

    What the caller does between two chunks of a stream takes nothing from them, nor does the wait
    for a connection.

    Attributes:
        waiting_for: What is waited for, for error messages.
        limit: Seconds at the start.
        left: Seconds that are left.
        on_start: Called when the countdown starts anew, as it may in the middle of a wait.
    """

    def __init__(self) -> None:
        self.on_start: Callable[[], None] | None = None
        self.start("", NO_LIMIT)

    def start(self, waiting_for: str, limit: float) -> None:
        """Count down from `limit` seconds."""
        self.waiting_for = waiting_for
        self.limit = self.left = limit
        if self.on_start is not None:
            self.on_start()


_current: ContextVar[Deadline] = ContextVar("_current")

set_deadline = _current.set
"""Let the reads and writes of this context, on connections of ours, keep to a deadline."""


@contextlib.contextmanager
def waiting(timeout: float | None) -> Iterator[float | None]:
    """Yield the shorter of `timeout` and what the deadline leaves; take off what the block takes.

    So bytes that trickle in cannot extend a deadline, which a timeout for each read would let them.

    Raises:
        httpcore2.ReadTimeout: Nothing is left.
    """
    deadline = _current.get()
    left = deadline.left
    if left <= 0:
        raise httpcore2.ReadTimeout
    started = time.monotonic()
    try:
        yield timeout if left == NO_LIMIT or (timeout is not None and timeout < left) else left
    except httpcore2.WriteTimeout as error:
        if timeout is None or left < timeout:
            raise httpcore2.ReadTimeout from error
        raise
    finally:
        deadline.left -= time.monotonic() - started


class AsyncWatchdog:
    """Limits how long a task waits for the server.

    Args:
        progress: The attempt, with its deadline.
    """

    def __init__(self, progress: Progress) -> None:
        self._deadline = progress.deadline

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._deadline.on_start = self._start
        self._start()

    def _start(self) -> None:
        now, left = asyncio.get_running_loop().time(), self._deadline.left
        self._end = now + left
        if not self._timeout.expired():
            self._timeout.reschedule(None if left == NO_LIMIT else self._end)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._deadline.on_start = None
        self._deadline.left = self._end - asyncio.get_running_loop().time()
        try:
            await self._timeout.__aexit__(kind, error, traceback)
        except TimeoutError:
            raise httpcore2.ReadTimeout from None


class Watchdog:
    """Limits how long a thread waits for the server, once its socket is known.

    Args:
        progress: The attempt, with its deadline and its connection.
    """

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._timer: threading.Timer | None = None
        self._socket: object = None
        self._has_expired = False

    def __enter__(self) -> None:
        self._progress.deadline.on_start = self._start
        self._start()

    def _start(self) -> None:
        left = self._progress.deadline.left
        self._end = time.monotonic() + left
        self._stop()
        look_up = getattr(self._progress.network_stream, "get_extra_info", None)
        self._socket = None if look_up is None else look_up("socket")
        if self._socket is not None and left != NO_LIMIT:
            self._timer = threading.Timer(max(0.0, left), self._shut_down)
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no thread to be had: httpx's timeout is left
                self._timer.start()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _shut_down(self) -> None:
        """Wake the thread that waits for the server."""
        self._has_expired = True
        if isinstance(self._socket, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        deadline = self._progress.deadline
        deadline.on_start = None
        deadline.left = self._end - time.monotonic()
        self._stop()
        if self._has_expired:
            raise httpcore2.ReadTimeout
