"""asyncio's own transports as a network of httpcore's.

httpcore reaches the network by anyio, whose streams serve every kind of loop. Streams that know
their loop, asyncio's or uvloop's, halve the cost of a call: they need no scopes and checkpoints,
since a call has one clock (`clocks`), and a connection whose call was cancelled is thrown away.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Any, TypeVar, cast

import httpcore

from langchain_aimlernie._transport.clocks import FOREVER, AsyncClock, ClockExpiredError
from langchain_aimlernie._transport.happy_eyeballs import open_socket
from langchain_aimlernie._transport.requests import seconds_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Iterable

T = TypeVar("T")

_MOST_UNREAD = 256 * 1024
"""Bytes that may wait to be read before the server is made to wait."""

_EXTRAS = {
    "client_addr": "sockname",
    "server_addr": "peername",
    "socket": "socket",
    "ssl_object": "ssl_object",
}
"""httpcore's words for what can be asked of a connection -> asyncio's."""


class AsyncioBackend(httpcore.AsyncNetworkBackend):
    """Connects by the running loop, which must be asyncio's own or uvloop's."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncioStream:
        """Open a connection.

        Raises:
            httpcore.ConnectTimeout: It took longer than `timeout` seconds.
            httpcore.ConnectError: No address of the host could be reached.
        """
        opening = _open(host, port, local_address, socket_options or ())
        transport, receiver = await _connected(timeout, opening)
        return AsyncioStream(transport, receiver)


class AsyncioStream(httpcore.AsyncNetworkStream):
    """One connection.

    Args:
        transport: What it is written to.
        receiver: What it is read from.
    """

    def __init__(self, transport: asyncio.Transport, receiver: _Receiver) -> None:
        self._transport = transport
        self._receiver = receiver

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Give what has come, as soon as anything has; nothing at the end.

        Raises:
            httpcore.ReadTimeout: Nothing came for `timeout` seconds.
            httpcore.ReadError: The connection broke.
        """
        receiver = self._receiver
        if not receiver.has_news:
            news = receiver.expect_news()
            await (news if timeout is None else _within(timeout, news, httpcore.ReadTimeout))
        data = receiver.take(max_bytes)
        if not data and receiver.error is not None:
            raise httpcore.ReadError(str(receiver.error)) from receiver.error
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; return when the system has taken most of them.

        Raises:
            httpcore.WriteTimeout: That took longer than `timeout` seconds.
            httpcore.WriteError: The connection is closed.
        """
        receiver = self._receiver
        if not receiver.has_ended:
            self._transport.write(buffer)
        if receiver.room is not None:
            await _within(timeout, receiver.room, httpcore.WriteTimeout)
        if receiver.has_ended:
            raise httpcore.WriteError(str(receiver.error or "")) from receiver.error

    async def aclose(self) -> None:
        """Close the connection at once, whatever goes on over it."""
        self._transport.abort()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> AsyncioStream:
        """Go on in private.

        Raises:
            httpcore.ConnectTimeout: The handshake took longer than `timeout` seconds.
            httpcore.ConnectError: It failed.
        """
        self._receiver.check_silence()
        handshake = asyncio.get_running_loop().start_tls(
            self._transport,
            self._receiver,
            ssl_context,
            server_hostname=server_hostname,
            ssl_handshake_timeout=FOREVER,  # the clock is ours
        )
        transport = await _connected(timeout, handshake)
        if transport is None:
            raise httpcore.ConnectError("the connection was closed during the TLS handshake")
        self._receiver.connection_made(transport)
        return AsyncioStream(transport, self._receiver)

    def get_extra_info(self, info: str) -> Any:
        """Tell something of the connection; see httpcore for the words."""
        if info == "is_readable":
            return self._receiver.has_news or _is_readable(self._transport)
        return self._transport.get_extra_info(_EXTRAS.get(info, info))


class _Receiver(asyncio.Protocol):
    """What the loop tells of a connection, until somebody asks.

    Attributes:
        error: What the connection broke with.
        has_ended: Whether nothing more will come.
        has_news: Whether something came that nobody has taken yet, be it the end.
        room: Done when the system takes more bytes; `None` while it does.
    """

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.has_ended = False
        self.has_news = False
        self.room: asyncio.Future[None] | None = None
        self._loop = asyncio.get_running_loop()
        self._news: asyncio.Future[None] | None = None
        self._unread: list[bytes] = []
        self._size = 0
        self._transport: asyncio.Transport | None = None
        self._is_paused = False

    def expect_news(self) -> asyncio.Future[None]:
        """Give what is done as soon as something comes."""
        news = self._news = self._loop.create_future()
        return news

    def check_silence(self) -> None:
        """Make sure that nothing has come: no handshake would see it.

        Raises:
            httpcore.ConnectError: Something has come.
        """
        if self.has_ended:
            reason = self.error or "the connection was closed before the TLS handshake"
            raise httpcore.ConnectError(str(reason)) from self.error
        if self.has_news:
            raise httpcore.ConnectError("the server spoke before the TLS handshake")

    def take(self, most: int) -> bytes:
        """Give what has come, up to `most` bytes."""
        data = b"".join(self._unread)
        self._unread.clear()
        self._size = 0
        self.has_news = self.has_ended
        if len(data) > most:
            self.data_received(data[most:])
            data = data[:most]
        elif self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()
        return data

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember what the bytes come from."""
        self._transport = cast("asyncio.Transport", transport)  # no pipe, no datagrams

    def data_received(self, data: bytes) -> None:
        """Keep bytes; ask for no more while too many are unread."""
        self._unread.append(data)
        self._size += len(data)
        if self._size > _MOST_UNREAD and not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()
        self._tell()

    def eof_received(self) -> None:
        """Note the end; the loop closes the connection."""
        self.has_ended = True
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note the end and its cause."""
        self.error, self.has_ended = exc, True
        self._transport = None
        self._tell()
        self.resume_writing()

    def pause_writing(self) -> None:
        """Note that the system takes no more for now."""
        self.room = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let who waits to write go on."""
        room, self.room = self.room, None
        _wake(room)

    def _tell(self) -> None:
        self.has_news = True
        _wake(self._news)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


async def _open(
    host: str,
    port: int,
    local_address: str | None,
    options: Iterable[httpcore.SOCKET_OPTION],
) -> tuple[asyncio.Transport, _Receiver]:
    opened = await open_socket(host, port, local_address, options)
    return await asyncio.get_running_loop().create_connection(_Receiver, sock=opened)


async def _connected(seconds: float | None, opening: Awaitable[T]) -> T:
    try:
        return await _within(seconds, opening, httpcore.ConnectTimeout)
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error


async def _within(seconds: float | None, wait: Awaitable[T], error: type[Exception]) -> T:
    """Wait, but not longer than that: `asyncio.wait_for` may swallow a cancellation before 3.12."""
    clock = AsyncClock(error.__name__, seconds_of(seconds))
    try:
        with clock:
            return await wait
    except ClockExpiredError:
        raise error from None
    finally:
        clock.stop()


def _is_readable(transport: asyncio.Transport) -> bool:
    """Tell whether bytes, or the end, have come that the loop has not seen yet."""
    descriptor: int = transport.get_extra_info("socket").fileno()
    if descriptor < 0:  # closed
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))
