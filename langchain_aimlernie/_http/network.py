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
from typing import TYPE_CHECKING, Any, cast

import httpcore2

from langchain_aimlernie._http.request import NO_LIMIT
from langchain_aimlernie._http.unhooked import anext_unhooked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from langchain_aimlernie._http.attempt import Attempt

_WRITE_SIZE = 256 * 1024
"""Bytes of a request that are written at a time: the write timeout is for each of these."""


class Deadline:
    """The seconds that are left to wait for the server; only waiting counts.

    What the caller does between two chunks of a stream takes nothing from them, nor does the wait
    for a connection. Entered, it takes off what the block takes.

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
        self._since = time.monotonic()
        if self.on_start is not None:
            self.on_start()

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


class _Watchdog:
    """Limits how long a thread waits for the server, once its socket is known."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._deadline = attempt.deadline
        self._timer: threading.Timer | None = None
        self._has_expired = False

    async def __aenter__(self) -> None:
        self._deadline.__enter__()
        self._deadline.on_start = self._start
        self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = self._deadline.left
        look_up = getattr(self._attempt.network_stream, "get_extra_info", None)
        sock = None if look_up is None else look_up("socket")
        if sock is not None and left != NO_LIMIT:
            self._timer = threading.Timer(max(0.0, left), self._shut_down, [sock])
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no thread to be had: httpx's timeout is left
                self._timer.start()

    def _shut_down(self, sock: object) -> None:
        """Wake the thread that waits for the server."""
        self._has_expired = True
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    async def __aexit__(self, *_: object) -> None:
        self._deadline.on_start = None
        self._deadline.__exit__()
        if self._timer is not None:
            self._timer.cancel()
        if self._has_expired:
            raise httpcore2.ReadTimeout


class _AsyncWatchdog(_Watchdog):
    """Limits how long a task waits for the server."""

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        await super().__aenter__()

    def _start(self) -> None:
        left = self._deadline.left
        if not self._timeout.expired():
            now = asyncio.get_running_loop().time()
            self._timeout.reschedule(None if left == NO_LIMIT else now + left)

    async def __aexit__(self, *error: object) -> None:
        await super().__aexit__()
        try:
            await self._timeout.__aexit__(*error)  # type: ignore[arg-type]
        except TimeoutError:
            raise httpcore2.ReadTimeout from None


class Body:
    """The parts of a response; each is waited for as long as the deadline allows."""

    def __init__(self, parts: Any, deadline: Deadline) -> None:
        self._parts = parts
        self._deadline = deadline

    def __aiter__(self) -> Body:
        return self

    async def __anext__(self) -> bytes:
        set_deadline(self._deadline)
        for part in self._parts:
            return cast("bytes", part)
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the generators of the response."""
        self._parts.close()


class _AsyncBody(Body):
    _next: Callable[[Any], Awaitable[bytes]] = staticmethod(anext_unhooked)
    """The first step starts all generators of the response."""

    def __anext__(self) -> Any:  # what `anext` returns needs no coroutine around it
        set_deadline(self._deadline)
        step, self._next = self._next, anext
        return step(self._parts)

    async def aclose(self) -> None:
        await self._parts.aclose()


class WatchedBody(Body):
    """The body of a response to a user-supplied client, which knows no deadline."""

    def __init__(self, body: Body, watchdog: Callable[[], Any]) -> None:
        self._body = body
        self._watchdog = watchdog

    async def __anext__(self) -> bytes:
        async with self._watchdog():
            return await anext(self._body)

    async def aclose(self) -> None:
        await self._body.aclose()


class Network:
    """The sync network.

    Attributes:
        is_async: Whether it suspends the task that waits.
        watchdog: Limits a wait on a connection of a user-supplied client, while it is entered.
    """

    is_async = False
    watchdog: Callable[[Attempt], Any] = _Watchdog

    def new_pool(self, **options: Any) -> Any:
        """Return a pool of connections that keep to deadlines."""
        return httpcore2.ConnectionPool(network_backend=_Backend(), **options)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  it is to block

    async def request(self, pool: Any, request: httpcore2.Request) -> Any:
        """Return a pool's response to a request."""
        return pool.handle_request(request)

    def body(self, response: Any, deadline: Deadline, *, decode: bool) -> Body:
        """Return the body of a response of httpcore2, or, to decode it, of httpx's."""
        return Body(response.iter_bytes() if decode else iter(response.stream), deadline)

    async def close(self, resource: Any) -> None:
        """Close a connection, a response or the like."""
        resource.close()


class AsyncNetwork(Network):
    """The async network."""

    is_async = True
    watchdog = _AsyncWatchdog

    def new_pool(self, **options: Any) -> Any:
        return httpcore2.AsyncConnectionPool(network_backend=_AsyncBackend(), **options)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def request(self, pool: Any, request: httpcore2.Request) -> Any:
        return await pool.handle_async_request(request)

    def body(self, response: Any, deadline: Deadline, *, decode: bool) -> Body:
        parts = response.aiter_bytes() if decode else aiter(response.stream)
        return _AsyncBody(parts, deadline)

    async def close(self, resource: Any) -> None:
        await resource.aclose()
