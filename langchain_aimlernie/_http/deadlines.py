"""Deadlines for waiting on the server, sync and async.

A deadline counts only inside its `with` block, so what the caller does between two chunks of a
stream is not counted. It is entered anew around each read and never open across a `yield`.

Async, `asyncio.timeout` cancels the waiting task. Sync, each read of one of our connections gets
the time that is left as its timeout, so that bytes which trickle in cannot extend it; the socket of
a user-supplied client, which we cannot give a timeout for each read, is shut down by a timer.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
import threading
import time
import types
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpcore2

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Generator, Iterable

T = TypeVar("T")

NO_LIMIT = float("inf")


def or_no_limit(seconds: float | None) -> float:
    """Return `seconds`; `None` is no limit."""
    return NO_LIMIT if seconds is None else seconds


class DeadlineExceededError(Exception):
    """A deadline passed while we waited for the server."""


class AsyncDeadline:
    """Limits how long a task waits for the server, as `asyncio.timeout` does.

    The timer stays for the next block, which has mostly a later deadline: a stream enters one for
    each read, and a new timer for each would be a third of the time that a chunk takes.

    Attributes:
        phase: What is waited for, for error messages.
        limit: Seconds from the start to the deadline.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._task: asyncio.Task[Any] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._cancelling = 0
        self._expired = False
        self.start("", NO_LIMIT)

    def start(self, phase: str, limit: float) -> None:
        """Count down from `limit` seconds, from now on if the block is entered already."""
        self.phase = phase
        self.limit = self._left = limit
        if self._task is not None:
            self._run()

    def follow(self, network_stream: Any) -> None:
        """Do nothing: the task is cancelled, whatever it waits for."""

    def stop(self) -> None:
        """Forget the timer: there is nothing more to wait for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _run(self) -> None:
        self._deadline = self._loop.time() + self._left
        if self._timer is not None and self._timer.when() > self._deadline:
            self.stop()
        if self._timer is None and self._left != NO_LIMIT:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        if self._task is None or self._deadline == NO_LIMIT:
            return
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._on_timer)
        else:
            self._expired = True
            self._task.cancel()

    def __enter__(self) -> None:
        self._task = asyncio.current_task()
        assert self._task is not None  # noqa: S101  coroutines of ours run in tasks
        self._cancelling = self._task.cancelling()
        self._run()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        task, self._task = self._task, None
        self._left = self._deadline - self._loop.time()
        if self._expired and task is not None:
            self._expired = False
            is_cancelled_by_others = task.uncancel() > self._cancelling
            if not (is_cancelled_by_others and kind is asyncio.CancelledError):
                raise DeadlineExceededError from None


def _leave(_: object) -> None:
    """Finalize an async generator: not at all."""


@types.coroutine
def anext_unhooked(iterator: AsyncIterator[T]) -> Generator[Any, Any, T]:
    """Return the next item; do not tell the loop of the async generators that are started for it.

    A loop that ends closes each generator that it knows, all at once. Those of httpcore are nested:
    they would be closed by the loop and by the generator around them, too, which is an error. We
    close them ourselves; one that was left with a dead loop must not be run by the garbage
    collector in the middle of another task.
    """
    steps: Any = None
    step: Callable[[Any], Any] | None = None
    sent: Any = None
    while True:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, _leave)
        try:
            if step is None:
                steps = anext(iterator).__await__()
                step = steps.send
            waiting_for = step(sent)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        try:
            step, sent = steps.send, (yield waiting_for)
        except BaseException as error:  # noqa: BLE001  it is passed on
            step, sent = steps.throw, error


class Deadline:
    """Limits how long a thread waits for the server.

    Attributes:
        phase: What is waited for, for error messages.
        limit: Seconds from the start to the deadline.
    """

    def __init__(self) -> None:
        self._socket: object = None
        self._timer: threading.Timer | None = None
        self._expired = False
        self._entered = False
        self._outer: Deadline | None = None
        self.start("", NO_LIMIT)

    def start(self, phase: str, limit: float) -> None:
        """Count down from `limit` seconds, from now on if the block is entered already."""
        self.phase = phase
        self.limit = self._left = limit
        if self._entered:
            self._run()

    def follow(self, network_stream: Any) -> None:
        """Shut down the socket of this stream, a user-supplied client's, at the deadline."""
        look_up = getattr(network_stream, "get_extra_info", None)
        self._socket = None if look_up is None else look_up("socket")

    def remaining(self) -> float:
        """Return the seconds that are left, at least 0."""
        return max(0.0, self._deadline - time.monotonic())

    def _run(self) -> None:
        self._deadline = time.monotonic() + self._left
        self.stop()
        if self._socket is not None and self._left != NO_LIMIT:
            self._timer = threading.Timer(max(0.0, self._left), self._shut_down)
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no thread to be had: httpx's timeout is left
                self._timer.start()

    def stop(self) -> None:
        """Forget the timer: there is nothing more to wait for."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _shut_down(self) -> None:
        """Wake the thread that waits for the server."""
        self._expired = True
        if isinstance(self._socket, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._entered = True
        self._run()
        # A hook of a user-supplied client may make a call of its own.
        self._outer = getattr(_current, "deadline", None)
        _current.deadline = self

    def __exit__(self, *_: object) -> None:
        _current.deadline, self._outer = self._outer, None
        self._left = self._deadline - time.monotonic()
        self._entered = False
        self.stop()
        if self._expired:
            raise DeadlineExceededError


_current = threading.local()
"""`deadline`: the one whose block the thread is in."""


class DeadlineBackend(httpcore2.NetworkBackend):
    """A network whose reads and writes keep to the deadline of their thread."""

    def __init__(self) -> None:
        self._backend = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore2.SOCKET_OPTION] | None = None,
    ) -> httpcore2.NetworkStream:
        stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        return _DeadlineStream(stream)


class _DeadlineStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _until_deadline(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        limited = _until_deadline(timeout)
        try:
            self._stream.write(buffer, limited)
        except httpcore2.WriteTimeout as error:
            if limited != timeout:
                raise httpcore2.ReadTimeout from error
            raise

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _until_deadline(timeout: float | None) -> float | None:
    """Return the shorter of `timeout` and the time that the thread's deadline leaves."""
    deadline: Deadline | None = getattr(_current, "deadline", None)
    left = NO_LIMIT if deadline is None else deadline.remaining()
    if not left:
        raise httpcore2.ReadTimeout
    return timeout if left == NO_LIMIT or (timeout is not None and timeout < left) else left
