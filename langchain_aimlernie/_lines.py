"""One connection, sync and async: ours, or one of a client that the user gave."""

from __future__ import annotations

import contextlib
import select
import socket
from typing import TYPE_CHECKING, Any

import httpx

from langchain_aimlernie._clocks import AsyncClock, Clock
from langchain_aimlernie._requests import async_timeouts_of, new_request, timeouts_of

if TYPE_CHECKING:
    from langchain_aimlernie._requests import Call


class _Socket:
    """What httpx's `trace` and `network_stream` extensions tell of a connection.

    Attributes:
        reused: Whether the last request went over a connection that was there before, which has
            said nothing since.
        is_opening: Whether the connection is being made.
    """

    __slots__ = ("_socket", "_stream", "is_opening", "reused")

    def __init__(self) -> None:
        self._stream: Any = None
        self._socket: Any = None
        self.reused = False
        self.is_opening = False

    @property
    def is_dead(self) -> bool:
        """Whether an idle connection cannot be used again.

        When there is something to read though nothing was asked, it can only be the end.
        """
        return self._socket is None or _is_readable(self._socket.fileno())

    def _listen(self) -> None:
        """Notice when a kept connection says something: one that was dead says nothing at all."""
        stream = self._stream
        read_on = stream.read

        def read(max_bytes: int, timeout: float | None = None) -> bytes:
            data: bytes = read_on(max_bytes, timeout)
            self.reused = self.reused and not data
            if data:
                del stream.read
            return data

        stream.read = read

    def _alisten(self) -> None:
        """Notice when a kept connection says something: one that was dead says nothing at all."""
        stream = self._stream
        read_on = stream.read

        async def read(max_bytes: int, timeout: float | None = None) -> bytes:
            data: bytes = await read_on(max_bytes, timeout)
            self.reused = self.reused and not data
            if data:
                del stream.read
            return data

        stream.read = read

    def _note(self, event: str, info: dict[str, Any]) -> None:
        step = event.partition(".")[2]
        if step in ("connect_tcp.started", "start_tls.started"):
            self.reused = False
            self.is_opening = True
        elif step in ("connect_tcp.complete", "start_tls.complete"):
            self.is_opening = False
            self._connect(info["return_value"])

    def _connect(self, stream: Any) -> None:
        self._stream = stream
        self._socket = None if stream is None else stream.get_extra_info("socket")

    async def _anote(self, event: str, info: dict[str, Any]) -> None:
        self._note(event, info)


class Line(_Socket):
    """One connection of ours: a transport that opens one at most.

    Args:
        transport: The transport, which is closed with the line.
    """

    __slots__ = ("_response", "_transport")

    def __init__(self, transport: httpx.BaseTransport) -> None:
        super().__init__()
        self._transport = transport
        self._response: httpx.Response | None = None

    def send(self, call: Call, encodings: str) -> httpx.Response:
        """Send a request; give the answer as soon as its head has come."""
        self.reused = True
        extensions: dict[str, Any] = {"timeout": self._timeouts(call)}
        if self._stream is None:
            extensions["trace"] = self._note
        else:
            self._listen()
        request = new_request(call, encodings, extensions)
        self._response = self._transport.handle_request(request)
        return self._response

    def finish(self) -> None:
        """End an answer that was read to its end; the connection can be used again."""
        if self._response is not None:
            self._response.close()
            self._response = None

    def close(self) -> None:
        """Close the connection, whatever goes on over it; that it is broken is no news."""
        self._response = None
        try:
            with contextlib.suppress(Exception):
                self._transport.close()
        finally:
            # A transport forgets a connection whose handshake was broken off.
            with contextlib.suppress(Exception):
                if self._stream is not None:
                    self._stream.close()

    def clock(self, name: str, limit: float) -> Clock:
        """Make a clock that can end a wait on this connection."""
        return Clock(name, limit, self._cut)

    def _timeouts(self, call: Call) -> dict[str, float | None]:
        return timeouts_of(call.clocks)

    def _cut(self) -> None:
        """Wake the thread that waits for the server; called from another one."""
        if isinstance(self._socket, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class AsyncLine(_Socket):
    """One connection of ours: a transport that opens one at most.

    Args:
        transport: The transport, which is closed with the line.
    """

    __slots__ = ("_response", "_transport")

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        super().__init__()
        self._transport = transport
        self._response: httpx.Response | None = None

    async def send(self, call: Call, encodings: str) -> httpx.Response:
        """Send a request; give the answer as soon as its head has come."""
        self.reused = True
        extensions: dict[str, Any] = {"timeout": self._timeouts(call)}
        if self._stream is None:
            extensions["trace"] = self._anote
        else:
            self._alisten()
        request = new_request(call, encodings, extensions)
        self._response = await self._transport.handle_async_request(request)
        return self._response

    async def finish(self) -> None:
        """End an answer that was read to its end; the connection can be used again."""
        if self._response is not None:
            await self._response.aclose()
            self._response = None

    async def close(self) -> None:
        """Close the connection, whatever goes on over it; that it is broken is no news."""
        self._response = None
        try:
            with contextlib.suppress(Exception):
                await self._transport.aclose()
        finally:
            # A transport forgets a connection whose handshake was broken off.
            with contextlib.suppress(Exception):
                if self._stream is not None:
                    await self._stream.aclose()

    def clock(self, name: str, limit: float) -> AsyncClock:
        """Make a clock that can end a wait on this connection."""
        return AsyncClock(name, limit)

    def _timeouts(self, call: Call) -> dict[str, float | None]:
        return async_timeouts_of(call.clocks, len(call.body))


class GivenLine(Line):
    """A connection of the user's client, which sees to it itself.

    Args:
        client: The client, which is never closed.
    """

    __slots__ = ("_client",)

    def __init__(self, client: httpx.Client) -> None:
        super().__init__(httpx.BaseTransport())
        self._client = client

    def send(self, call: Call, encodings: str) -> httpx.Response:
        """Send a request; give the answer as soon as its head has come."""
        self.reused = True
        request = self._client.build_request(
            call.method,
            call.url,
            headers={"Accept-Encoding": encodings, **call.headers},
            content=call.body or None,
            timeout=_given_timeout(self._client.timeout, self._timeouts(call)),
            extensions={"trace": self._note},
        )
        response = self._client.send(request, stream=True, follow_redirects=False)
        self._connect(response.extensions.get("network_stream"))
        self._response = _read_again(response) if response.is_stream_consumed else response
        return self._response

    def close(self) -> None:
        """End the answer, whatever goes on over it."""
        with contextlib.suppress(Exception):
            self.finish()


class GivenAsyncLine(AsyncLine):
    """A connection of the user's client, which sees to it itself.

    Args:
        client: The client, which is never closed.
    """

    __slots__ = ("_client",)

    def __init__(self, client: httpx.AsyncClient) -> None:
        super().__init__(httpx.AsyncBaseTransport())
        self._client = client

    async def send(self, call: Call, encodings: str) -> httpx.Response:
        """Send a request; give the answer as soon as its head has come."""
        self.reused = True
        request = self._client.build_request(
            call.method,
            call.url,
            headers={"Accept-Encoding": encodings, **call.headers},
            content=call.body or None,
            timeout=_given_timeout(self._client.timeout, self._timeouts(call)),
            extensions={"trace": self._anote},
        )
        response = await self._client.send(request, stream=True, follow_redirects=False)
        self._connect(response.extensions.get("network_stream"))
        self._response = _read_again(response) if response.is_stream_consumed else response
        return self._response

    async def close(self) -> None:
        """End the answer, whatever goes on over it."""
        with contextlib.suppress(Exception):
            await self.finish()


def _is_readable(descriptor: int) -> bool:
    if descriptor < 0:  # closed
        return True
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([descriptor], [], [], 0)[0])
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def _read_again(response: httpx.Response) -> httpx.Response:
    """Give an answer that a hook of the client has read, and so unpacked, as if it had not."""
    names = [header for header in response.headers.raw if header[0].lower() != b"content-encoding"]
    return httpx.Response(response.status_code, headers=names, content=response.content)


_UNSET = httpx.Timeout(5.0)
"""The timeout of a client whose maker did not think of one."""


def _given_timeout(client: httpx.Timeout, ours: dict[str, float | None]) -> httpx.Timeout:
    return httpx.Timeout(**ours) if client == _UNSET else client
