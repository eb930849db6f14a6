"""The network as a connection of httpcore's sees it, sync and async: twins, which a test compares.

What the transport must know of a connection is seen here: whether it is being made, and whether
the server has said anything since the last request.
"""

from __future__ import annotations

import ssl
import traceback
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import httpcore

if TYPE_CHECKING:
    from collections.abc import Iterable

S = TypeVar("S")

_SMALL = 16 * 1024
"""Bytes that are held back until more is written, so that a request's head leaves with its body."""


class Contact(Generic[S]):
    """What is known of a connection.

    Attributes:
        is_opening: Whether the connection is being made.
        reused: Whether the last request went over a connection that was there before, which has
            said nothing since: one that was dead says nothing at all.
    """

    def __init__(self) -> None:
        self.is_opening = False
        self.reused = False
        self._stream: S | None = None

    def get_extra_info(self, info: str) -> Any:
        """Tell something of the connection, in httpcore's words; `None` while there is none."""
        stream: Any = self._stream
        return None if stream is None else stream.get_extra_info(info)


class Network(Contact[httpcore.NetworkStream], httpcore.NetworkBackend, httpcore.NetworkStream):
    """The network of one connection: httpcore's backend, and once it is open, its stream.

    Args:
        backend: What opens connections.
    """

    def __init__(self, backend: httpcore.NetworkBackend) -> None:
        super().__init__()
        self._backend = backend
        self._held = b""

    def expect_request(self) -> None:
        """Note that a request is about to be sent."""
        self.reused = self._stream is not None

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> Network:
        """Open the connection."""
        self.is_opening, self.reused = True, False
        self._stream = self._backend.connect_tcp(host, port, timeout, local_address, socket_options)
        self.is_opening = False
        return self

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> Network:
        """Go on in private."""
        self.is_opening = True
        try:
            self._stream = self._opened().start_tls(ssl_context, server_hostname, timeout)
        except httpcore.ConnectError as error:
            _close_half_made(error)
            raise
        self.is_opening = False
        return self

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Send what was held back; give what has come."""
        stream = self._opened()
        if self._held:
            held, self._held = self._held, b""
            stream.write(held, timeout)
        data = stream.read(max_bytes, timeout)
        if data:
            self.reused = False
        return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; a few of them only together with the next ones, or before reading."""
        held, self._held = self._held, b""
        if held or len(buffer) > _SMALL:
            self._opened().write(held + buffer, timeout)
        else:
            self._held = buffer

    def close(self) -> None:
        """Close the connection at once, whatever goes on over it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.close()

    def _opened(self) -> httpcore.NetworkStream:
        if self._stream is None:
            raise httpcore.ReadError("the connection is closed")
        return self._stream


class AsyncNetwork(
    Contact[httpcore.AsyncNetworkStream], httpcore.AsyncNetworkBackend, httpcore.AsyncNetworkStream
):
    """The network of one connection: httpcore's backend, and once it is open, its stream.

    Args:
        backend: What opens connections.
    """

    def __init__(self, backend: httpcore.AsyncNetworkBackend) -> None:
        super().__init__()
        self._backend = backend
        self._held = b""

    def expect_request(self) -> None:
        """Note that a request is about to be sent."""
        self.reused = self._stream is not None

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> AsyncNetwork:
        """Open the connection."""
        self.is_opening, self.reused = True, False
        self._stream = await self._backend.connect_tcp(
            host, port, timeout, local_address, socket_options
        )
        self.is_opening = False
        return self

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> AsyncNetwork:
        """Go on in private."""
        self.is_opening = True
        self._stream = await self._opened().start_tls(ssl_context, server_hostname, timeout)
        self.is_opening = False
        return self

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """Send what was held back; give what has come."""
        stream = self._opened()
        if self._held:
            held, self._held = self._held, b""
            await stream.write(held, timeout)
        data = await stream.read(max_bytes, timeout)
        if data:
            self.reused = False
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; a few of them only together with the next ones, or before reading."""
        held, self._held = self._held, b""
        if held or len(buffer) > _SMALL:
            await self._opened().write(held + buffer, timeout)
        else:
            self._held = buffer

    async def aclose(self) -> None:
        """Close the connection at once, whatever goes on over it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()

    def _opened(self) -> httpcore.AsyncNetworkStream:
        if self._stream is None:
            raise httpcore.ReadError("the connection is closed")
        return self._stream


def _close_half_made(error: httpcore.ConnectError) -> None:
    """Close the socket that Python leaves open when a server was gone before the handshake.

    Nothing but the error's traceback still knows of it. Mended in Python 3.13
    (https://github.com/python/cpython/issues/113280).
    """
    for frame, _ in traceback.walk_tb(getattr(error.__cause__, "__traceback__", None)):
        half_made = frame.f_locals.get("self")
        if isinstance(half_made, ssl.SSLSocket):
            half_made.close()
