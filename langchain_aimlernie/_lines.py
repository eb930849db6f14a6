"""One connection, sync and async: ours, or one of a client that the user gave."""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Protocol, cast

import httpx

from langchain_aimlernie._clocks import AsyncClock, Clock
from langchain_aimlernie._requests import (
    async_timeouts_of,
    decode_headers,
    new_request,
    timeouts_of,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    import httpcore

    from langchain_aimlernie._requests import Call
    from langchain_aimlernie._routes import Route

    Head = tuple[int, dict[str, str], Iterator[bytes]]
    AsyncHead = tuple[int, dict[str, str], AsyncIterator[bytes]]


class Contact(Protocol):
    """What is known of a connection; `Network` has the words' meanings."""

    is_opening: bool
    reused: bool

    def get_extra_info(self, info: str, /) -> Any:
        """Tell something of the connection, in httpcore's words; `None` if it is not known."""


class Line(ABC):
    """One connection.

    Args:
        contact: What is known of it.
    """

    __slots__ = ("_contact", "_response")

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._response: httpcore.Response | httpx.Response | None = None

    @property
    def is_opening(self) -> bool:
        """Whether the connection is being made."""
        return self._contact.is_opening

    @property
    def reused(self) -> bool:
        """Whether the last request met an old connection that has said nothing since."""
        return self._contact.reused

    @property
    def is_dead(self) -> bool:
        """Whether an idle connection cannot be used again.

        When there is something to read though nothing was asked, it can only be the end.
        """
        return self._contact.get_extra_info("is_readable") is not False

    @abstractmethod
    def send(self, call: Call, encodings: str) -> Head:
        """Send a request; give status, headers and the pieces to come when the head has come.

        The names of the headers are in lower case.
        """

    def finish(self) -> None:
        """End an answer that was read to its end; the connection can be used again."""
        if self._response is not None:
            self._response.close()
            self._response = None

    @abstractmethod
    def close(self) -> None:
        """Close the connection, whatever goes on over it; that it is broken is no news."""

    def clock(self, name: str, limit: float) -> Clock:
        """Make a clock that can end a wait on this connection."""
        return Clock(name, limit, self._cut)

    def _timeouts(self, call: Call) -> dict[str, float | None]:
        return timeouts_of(call.clocks)

    def _cut(self) -> None:
        """Wake the thread that waits for the server; called from another one."""
        connected = self._contact.get_extra_info("socket")
        if isinstance(connected, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(connected, socket.SHUT_RDWR)


class AsyncLine(ABC):
    """One connection.

    Args:
        contact: What is known of it.
    """

    __slots__ = ("_contact", "_response")

    def __init__(self, contact: Contact) -> None:
        self._contact = contact
        self._response: httpcore.Response | httpx.Response | None = None

    @property
    def is_opening(self) -> bool:
        """Whether the connection is being made."""
        return self._contact.is_opening

    @property
    def reused(self) -> bool:
        """Whether the last request met an old connection that has said nothing since."""
        return self._contact.reused

    @property
    def is_dead(self) -> bool:
        """Whether an idle connection cannot be used again.

        When there is something to read though nothing was asked, it can only be the end.
        """
        return self._contact.get_extra_info("is_readable") is not False

    @abstractmethod
    async def send(self, call: Call, encodings: str) -> AsyncHead:
        """Send a request; give status, headers and the pieces to come when the head has come.

        The names of the headers are in lower case.
        """

    async def finish(self) -> None:
        """End an answer that was read to its end; the connection can be used again."""
        if self._response is not None:
            await self._response.aclose()
            self._response = None

    @abstractmethod
    async def close(self) -> None:
        """Close the connection, whatever goes on over it; that it is broken is no news."""

    def clock(self, name: str, limit: float) -> AsyncClock:
        """Make a clock that can end a wait on this connection."""
        return AsyncClock(name, limit)

    def _timeouts(self, call: Call) -> dict[str, float | None]:
        return async_timeouts_of(call.clocks, len(call.body))


class OwnLine(Line):
    """One connection of ours.

    Args:
        route: Where it leads.
        context: The TLS settings.
    """

    __slots__ = ("_connection", "_network")

    def __init__(self, route: Route, context: ssl.SSLContext) -> None:
        self._network = route.new_network()
        self._connection = route.new_connection(context, self._network)
        super().__init__(self._network)

    def send(self, call: Call, encodings: str) -> Head:
        """Send a request; give the head of the answer and the pieces to come."""
        self._network.expect_request()
        request = new_request(call, encodings, self._timeouts(call))
        response = self._response = self._connection.handle_request(request)
        pieces = iter(cast("Iterable[bytes]", response.stream))
        return response.status, decode_headers(response.headers), pieces

    def close(self) -> None:
        """Close the connection, whatever goes on over it; that it is broken is no news."""
        self._response = None
        try:
            with contextlib.suppress(Exception):
                self._connection.close()
        finally:
            # httpcore forgets a connection whose handshake was broken off.
            with contextlib.suppress(Exception):
                self._network.close()


class OwnAsyncLine(AsyncLine):
    """One connection of ours.

    Args:
        route: Where it leads.
        context: The TLS settings.
    """

    __slots__ = ("_connection", "_network")

    def __init__(self, route: Route, context: ssl.SSLContext) -> None:
        self._network = route.new_async_network()
        self._connection = route.new_async_connection(context, self._network)
        super().__init__(self._network)

    async def send(self, call: Call, encodings: str) -> AsyncHead:
        """Send a request; give the head of the answer and the pieces to come."""
        self._network.expect_request()
        request = new_request(call, encodings, self._timeouts(call))
        response = self._response = await self._connection.handle_async_request(request)
        pieces = aiter(cast("AsyncIterable[bytes]", response.stream))
        return response.status, decode_headers(response.headers), pieces

    async def close(self) -> None:
        """Close the connection, whatever goes on over it; that it is broken is no news."""
        self._response = None
        try:
            with contextlib.suppress(Exception):
                await self._connection.aclose()
        finally:
            # httpcore forgets a connection whose handshake was broken off.
            with contextlib.suppress(Exception):
                await self._network.aclose()


class Trace:
    """What httpx tells of a connection of the user's client; see `Network` for the words."""

    __slots__ = ("_stream", "is_opening", "reused")

    def __init__(self) -> None:
        self.is_opening = False
        self.reused = True
        self._stream: Any = None

    def note(self, event: str, info: dict[str, Any]) -> None:
        """Take a step that httpx reports."""
        step = event.partition(".")[2]
        if step in ("connect_tcp.started", "start_tls.started"):
            self.is_opening, self.reused = True, False
        elif step in ("connect_tcp.complete", "start_tls.complete"):
            self.is_opening = False
            self.follow(info["return_value"])

    async def anote(self, event: str, info: dict[str, Any]) -> None:
        """Take a step that httpx reports."""
        self.note(event, info)

    def follow(self, stream: Any) -> None:
        """Learn what the connection is."""
        self._stream = stream

    def get_extra_info(self, info: str, /) -> Any:
        """Tell something of the connection; `None` if it is not known."""
        return None if self._stream is None else self._stream.get_extra_info(info)


class GivenLine(Line):
    """A connection of the user's client, which sees to it itself.

    Args:
        client: The client, which is never closed.
    """

    __slots__ = ("_client", "_trace")

    def __init__(self, client: httpx.Client) -> None:
        self._client = client
        self._trace = Trace()
        super().__init__(self._trace)

    def send(self, call: Call, encodings: str) -> Head:
        """Send a request; give the head of the answer and the pieces to come."""
        request = self._client.build_request(
            call.method,
            call.url,
            headers={"Accept-Encoding": encodings, **call.headers},
            content=call.body or None,
            timeout=_given_timeout(self._client.timeout, self._timeouts(call)),
            extensions={"trace": self._trace.note},
        )
        response = self._client.send(request, stream=True, follow_redirects=False)
        self._trace.follow(response.extensions.get("network_stream"))
        response = _read_again(response) if response.is_stream_consumed else response
        self._response = response
        pieces = iter(cast("httpx.SyncByteStream", response.stream))
        return response.status_code, decode_headers(response.headers.raw), pieces

    def close(self) -> None:
        """End the answer, whatever goes on over it."""
        with contextlib.suppress(Exception):
            self.finish()


class GivenAsyncLine(AsyncLine):
    """A connection of the user's client, which sees to it itself.

    Args:
        client: The client, which is never closed.
    """

    __slots__ = ("_client", "_trace")

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client
        self._trace = Trace()
        super().__init__(self._trace)

    async def send(self, call: Call, encodings: str) -> AsyncHead:
        """Send a request; give the head of the answer and the pieces to come."""
        request = self._client.build_request(
            call.method,
            call.url,
            headers={"Accept-Encoding": encodings, **call.headers},
            content=call.body or None,
            timeout=_given_timeout(self._client.timeout, self._timeouts(call)),
            extensions={"trace": self._trace.anote},
        )
        response = await self._client.send(request, stream=True, follow_redirects=False)
        self._trace.follow(response.extensions.get("network_stream"))
        response = _read_again(response) if response.is_stream_consumed else response
        self._response = response
        pieces = aiter(cast("httpx.AsyncByteStream", response.stream))
        return response.status_code, decode_headers(response.headers.raw), pieces

    async def close(self) -> None:
        """End the answer, whatever goes on over it."""
        with contextlib.suppress(Exception):
            await self.finish()


def _read_again(response: httpx.Response) -> httpx.Response:
    """Give an answer that a hook of the client has read, and so unpacked, as if it had not."""
    names = [header for header in response.headers.raw if header[0].lower() != b"content-encoding"]
    return httpx.Response(response.status_code, headers=names, content=response.content)


_UNSET = httpx.Timeout(5.0)
"""The timeout of a client whose maker did not think of one."""


def _given_timeout(client: httpx.Timeout, ours: dict[str, float | None]) -> httpx.Timeout:
    return httpx.Timeout(**ours) if client == _UNSET else client
