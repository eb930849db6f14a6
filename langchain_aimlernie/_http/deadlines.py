"""Deadlines of user-supplied clients, whose connections we cannot give a timeout for each read.

Async, `asyncio.timeout` cancels the waiting task; sync, a timer shuts down the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import httpcore2

from langchain_aimlernie._http.request import NO_LIMIT

if TYPE_CHECKING:
    from types import TracebackType

    from langchain_aimlernie._http.progress import Progress


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
