"""One connection of ours, sync and async, and what every connection has in common: twins."""

from __future__ import annotations

import contextlib
import socket
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, cast

from langchain_aimlernie._transport.clocks import AsyncClock, Clock
from langchain_aimlernie._transport.requests import (
    async_timeouts_of,
    decode_headers,
    new_request,
    timeouts_of,
)

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

    import httpcore
    import httpx

    from langchain_aimlernie._transport.network import Contact
    from langchain_aimlernie._transport.requests import Call
    from langchain_aimlernie._transport.routes import Route

    Head = tuple[int, dict[str, str], Iterator[bytes]]
    AsyncHead = tuple[int, dict[str, str], AsyncIterator[bytes]]


class AnyLine:
    """What is known of one connection, whichever the world.

    Args:
        contact: What is known of it.
    """

    __slots__ = ("_contact", "_response")

    def __init__(self, contact: Contact[Any]) -> None:
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


class Line(AnyLine, ABC):
    """One connection."""

    __slots__ = ()

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


class AsyncLine(AnyLine, ABC):
    """One connection."""

    __slots__ = ()

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
