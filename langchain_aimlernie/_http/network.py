"""The network, sync and async: what waits for a server, and for how long at most.

The rest of `_http` is written once, as coroutines. With the sync network none of them suspends.

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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import httpcore2

from langchain_aimlernie._coroutines import unhooked

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator

    from langchain_aimlernie._http.transport import Attempt

NO_LIMIT = float("inf")
_WRITE_SIZE = 256 * 1024
"""Bytes of a request that are written at a time: the write timeout is for each of these."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each part of a call may take.

    Attributes:
        connect: Making a connection.
        write: Sending 256 KiB of the request.
        read: One attempt of a call that is not streamed, from sending to the end of the response.
        first_event: The first event of a stream, from sending.
        idle: Any further event; comments and empty events do not count.
        total: A call that is not streamed, with all its attempts and the waits between them.
    """

    connect: float = 5.0
    write: float = 30.0
    read: float = 600.0
    first_event: float = 300.0
    idle: float = 120.0
    total: float = 900.0

    def extension(self, read: float = NO_LIMIT) -> dict[str, float | None]:
        """Return httpx's timeouts; deadlines limit the reads, nothing limits the queue."""
        limits = {"connect": self.connect, "read": read, "write": self.write, "pool": NO_LIMIT}
        return {key: None if limit == NO_LIMIT else limit for key, limit in limits.items()}


def parse_timeout(timeout: Any, idle: float | Literal["auto"] | None) -> Timeouts:
    """Return the timeouts of a call; what `timeout` does not set has its default.

    Args:
        timeout: Seconds, four of them (to connect, read, write and wait for the pool), or a
            `Timeout` object of httpx or httpx2; `None` in the latter is no limit. A number also
            lowers the limits of connecting and writing.
        idle: Seconds between the events of a stream, `None` for no limit; "auto": as long as an
            attempt may take to answer if `timeout` says so, but no longer than by default.
    """
    defaults = Timeouts()
    if timeout is None:
        return defaults if idle == "auto" else replace(defaults, idle=_limit(idle))
    if isinstance(timeout, tuple):
        connect, read, write, _ = map(_limit, timeout)
    elif isinstance(timeout, int | float):
        connect, read, write = min(5.0, timeout), _limit(timeout), min(30.0, timeout)
    else:
        connect, read, write = map(_limit, (timeout.connect, timeout.read, timeout.write))
    idle = min(defaults.idle, read) if idle == "auto" else _limit(idle)
    return Timeouts(connect, write, read, read, idle, max(defaults.total, read))


def _limit(seconds: float | None) -> float:
    """Return `seconds`, or no limit if a socket cannot wait that long."""
    return NO_LIMIT if seconds is None or seconds > threading.TIMEOUT_MAX else seconds


class Deadline:
    """The seconds that are left to wait for the server; only waiting counts.

    What the caller does between two chunks of a stream takes nothing from them, nor does the wait
    for a connection. Entered, it takes off what the block takes.

    Attributes:
        waiting_for: What is waited for, for error messages.
        limit: Seconds at the start.
        left: Seconds that are left.
    """

    def __init__(self) -> None:
        self._restart: Callable[[], None] = _do_nothing
        self.start("", NO_LIMIT)

    def start(self, waiting_for: str, limit: float) -> None:
        """Count down from `limit` seconds."""
        self.waiting_for = waiting_for
        self.limit = self.left = limit
        self._since = time.monotonic()
        self._restart()

    def shorten(self, timeout: float | None) -> float | None:
        """Return the shorter of `timeout` and what is left; `None` is no limit.

        So bytes that trickle in cannot extend the deadline, which a timeout for each read would let
        them.

        Raises:
            httpcore2.ReadTimeout: Nothing is left.
        """
        if self.left <= 0:
            raise httpcore2.ReadTimeout
        shortest = self.left if timeout is None else min(timeout, self.left)
        return None if shortest == NO_LIMIT else shortest

    def __enter__(self) -> None:
        self._since = time.monotonic()

    def __exit__(self, *_: object) -> None:
        self.left -= time.monotonic() - self._since

    @contextlib.contextmanager
    def watched(self, restart: Callable[[], None]) -> Iterator[None]:
        """Take off what the block takes; call `restart` now, and when the countdown starts anew."""
        self._restart = restart
        with self:
            restart()
            try:
                yield
            finally:
                self._restart = _do_nothing


def _do_nothing() -> None:
    """Do nothing: nobody watches the deadline."""


_current: ContextVar[Deadline] = ContextVar("_current")

set_deadline = _current.set
"""Let the reads and writes of this context, on connections of ours, keep to a deadline."""


def _parts_of(buffer: bytes) -> Iterator[bytes]:
    for start in range(0, len(buffer), _WRITE_SIZE):
        yield buffer[start : start + _WRITE_SIZE]


class _Backend(httpcore2.SyncBackend):
    """A network whose reads and writes keep to the deadline that is set in their context."""

    def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _Stream(super().connect_tcp(*args, **options))


class _Stream:
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self.close, self.get_extra_info = stream.close, stream.get_extra_info

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with (deadline := _current.get()):
            return self._stream.read(max_bytes, deadline.shorten(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for part in _parts_of(buffer):
            with (deadline := _current.get()):
                self._stream.write(part, deadline.shorten(timeout))

    def start_tls(self, *args: Any, **options: Any) -> Any:
        return _Stream(self._stream.start_tls(*args, **options))


class _AsyncBackend(httpcore2.AnyIOBackend):
    """See `_Backend`."""

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _AsyncStream(await super().connect_tcp(*args, **options))


class _AsyncStream:
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self.aclose, self.get_extra_info = stream.aclose, stream.get_extra_info

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with (deadline := _current.get()):
            return await self._stream.read(max_bytes, deadline.shorten(timeout))

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for part in _parts_of(buffer):
            with (deadline := _current.get()):
                await self._stream.write(part, deadline.shorten(timeout))

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        return _AsyncStream(await self._stream.start_tls(*args, **options))


@contextlib.asynccontextmanager
async def _watch_thread(attempt: Attempt) -> AsyncGenerator[None, None]:
    """Limit how long this thread waits for the server, once its socket is known."""
    deadline, has_expired = attempt.deadline, threading.Event()
    timer: threading.Timer | None = None

    def wake(sock: object) -> None:
        has_expired.set()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def restart() -> None:
        nonlocal timer
        if timer is not None:
            timer.cancel()
        look_up = getattr(attempt.network_stream, "get_extra_info", None)
        sock = None if look_up is None else look_up("socket")
        if sock is not None and deadline.left != NO_LIMIT:
            timer = threading.Timer(max(0.0, deadline.left), wake, [sock])
            timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no thread to be had: httpx's timeout is left
                timer.start()

    try:
        with deadline.watched(restart):
            yield
    finally:
        if timer is not None:
            timer.cancel()
        if has_expired.is_set():
            raise httpcore2.ReadTimeout


@contextlib.asynccontextmanager
async def _watch_task(attempt: Attempt) -> AsyncGenerator[None, None]:
    """Limit how long this task waits for the server."""
    deadline, loop = attempt.deadline, asyncio.get_running_loop()

    def restart() -> None:
        if not timeout.expired():
            limit = None if deadline.left == NO_LIMIT else loop.time() + deadline.left
            timeout.reschedule(limit)

    try:
        async with asyncio.timeout(None) as timeout:
            with deadline.watched(restart):
                yield
    except TimeoutError:
        if not timeout.expired():  # the client's own, such as ETIMEDOUT
            raise
        raise httpcore2.ReadTimeout from None


async def _next(parts: Iterator[bytes]) -> bytes | None:
    return next(parts, None)


class Network:
    """The sync network.

    Attributes:
        is_async: Whether it suspends the task that waits.
        watch: Limits a wait on a connection of a user-supplied client, while it is entered.
    """

    is_async = False
    watch = staticmethod(_watch_thread)

    def new_pool(self, **options: Any) -> Any:
        """Return a pool of connections that keep to deadlines."""
        return httpcore2.ConnectionPool(network_backend=_Backend(), **options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  it is to block

    async def request(self, pool: Any, request: httpcore2.Request) -> Any:
        """Return a pool's response to a request."""
        return pool.handle_request(request)

    def parts(self, response: Any, *, decode: bool) -> Any:
        """Return a generator of a body's parts: httpcore2's response, or httpx's to decode it."""
        return response.iter_bytes() if decode else iter(response.stream)

    def read(self, attempt: Attempt) -> Awaitable[bytes | None]:
        """Return the next part of a response, `None` at its end."""
        return _next(attempt.parts)

    async def close(self, resource: Any) -> None:
        """Close a connection, a response or the like."""
        resource.close()


class AsyncNetwork(Network):
    """The async network."""

    is_async = True
    watch = staticmethod(_watch_task)

    def new_pool(self, **options: Any) -> Any:
        return httpcore2.AsyncConnectionPool(network_backend=_AsyncBackend(), **options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def request(self, pool: Any, request: httpcore2.Request) -> Any:
        return await pool.handle_async_request(request)

    def parts(self, response: Any, *, decode: bool) -> Any:
        return response.aiter_bytes() if decode else aiter(response.stream)

    def read(self, attempt: Attempt) -> Awaitable[bytes | None]:
        if attempt.has_started:
            return anext(attempt.parts, None)
        attempt.has_started = True
        return unhooked(anext, attempt.parts, None)

    async def close(self, resource: Any) -> None:
        await resource.aclose()
