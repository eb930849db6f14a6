"""Sync and async network operations, and the deadlines that limit them.

The rest of `_http` is written once, as coroutines. With the sync network none of them suspends.

On the package's own connections, each read and write has the remaining time as its timeout. A
user-supplied client takes no timeout for a single read; there a watchdog limits the wait: in async
calls `asyncio.timeout` cancels the waiting task, in sync calls a timer shuts down the socket.
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
"""Bytes of a request that are written at a time; the write timeout applies to each write."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each part of a call may take.

    Attributes:
        connect: Making a connection.
        write: Sending 256 KiB of the request.
        read: One attempt of a call that is not streamed, from sending to the end of the response.
        first_event: From sending to the first event of a stream.
        idle: Between two events of a stream; comments and empty events do not count.
        total: A call that is not streamed, with all its attempts and backoffs.
    """

    connect: float = 5.0
    write: float = 30.0
    read: float = 600.0
    first_event: float = 300.0
    idle: float = 120.0
    total: float = 900.0

    def extension(self, read: float = NO_LIMIT) -> dict[str, float | None]:
        """Return httpx's timeouts; the wait for a free connection is not limited."""
        limits = {"connect": self.connect, "read": read, "write": self.write, "pool": NO_LIMIT}
        return {key: None if limit == NO_LIMIT else limit for key, limit in limits.items()}


def parse_timeout(timeout: Any, idle: float | Literal["auto"] | None) -> Timeouts:
    """Return the timeouts of a call; what `timeout` does not set has its default.

    Args:
        timeout: Seconds, a tuple (connect, read, write, pool), or a `Timeout` of httpx or httpx2;
            `None` inside one of these is no limit. A number also lowers the limits of connecting
            and writing.
        idle: Seconds between two events of a stream, `None` for no limit; "auto": the read timeout,
            but at most the default.
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
    """Return `seconds`; `NO_LIMIT` for `None` and for more than a socket can wait."""
    return NO_LIMIT if seconds is None or seconds > threading.TIMEOUT_MAX else seconds


class Deadline:
    """The seconds that are left to wait for the server; only waiting counts.

    What the caller does between two chunks of a stream does not count, nor does the wait for a
    connection. As a context manager it subtracts the duration of the block.

    Attributes:
        waiting_for: What the call waits for: selects the text of the error if no time is left.
        limit: Seconds at the start.
        left: Seconds that are left.
    """

    def __init__(self) -> None:
        self._restart: Callable[[], None] = _do_nothing
        self.start("connect", NO_LIMIT)

    def start(self, waiting_for: str, limit: float) -> None:
        """Count down from `limit` seconds."""
        self.waiting_for = waiting_for
        self.limit = self.left = limit
        self._since = time.monotonic()
        self._restart()

    def shorten(self, timeout: float | None) -> float | None:
        """Return the shorter of `timeout` and the seconds left; `None` is no limit.

        With a fixed timeout for each read, a response that arrives in a trickle might never end.

        Raises:
            httpcore2.ReadTimeout: No time is left.
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
        """Subtract the duration of the block; call `restart` now, and at each new start in it."""
        self._restart = restart
        with self:
            restart()
            try:
                yield
            finally:
                self._restart = _do_nothing


def _do_nothing() -> None:
    """Do nothing: no watchdog is active."""


_current: ContextVar[Deadline] = ContextVar("_current")

set_deadline = _current.set
"""Set the deadline for this context's reads and writes on the package's own connections."""


def _parts_of(buffer: bytes) -> Iterator[bytes]:
    for start in range(0, len(buffer), _WRITE_SIZE):
        yield buffer[start : start + _WRITE_SIZE]


class _Backend(httpcore2.SyncBackend):
    """A network backend whose reads and writes respect the deadline of their context."""

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
                # `SSLSocket.shutdown` would drop the TLS state that the reader is using.
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
            with contextlib.suppress(RuntimeError):  # no new thread: httpx's own timeout remains
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
        is_async: Whether waiting suspends the task.
        watch: Context manager that limits the wait for a user-supplied client.
    """

    is_async = False
    watch = staticmethod(_watch_thread)

    def new_pool(self, **options: Any) -> Any:
        """Return a pool of connections that respect deadlines."""
        return httpcore2.ConnectionPool(network_backend=_Backend(), **options)

    async def sleep(self, seconds: float) -> None:
        """Wait for some seconds."""
        time.sleep(seconds)  # noqa: ASYNC251  blocking is intended

    async def request(self, pool: Any, request: httpcore2.Request) -> Any:
        """Send a request through a pool; return the response."""
        return pool.handle_request(request)

    def parts(self, response: Any, *, decode: bool) -> Any:
        """Return an iterator over a body's parts, raw, or decompressed (httpx's responses only)."""
        return response.iter_bytes() if decode else iter(response.stream)

    def read(self, attempt: Attempt) -> Awaitable[bytes | None]:
        """Return the next part of a response's body, `None` at its end."""
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
