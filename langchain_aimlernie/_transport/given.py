"""A connection of a client that the user gave, sync and async: twins."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._transport.lines import AsyncLine, Line
from langchain_aimlernie._transport.network import Contact
from langchain_aimlernie._transport.requests import decode_headers

if TYPE_CHECKING:
    from langchain_aimlernie._transport.lines import AsyncHead, Head
    from langchain_aimlernie._transport.requests import Call


class Trace(Contact[Any]):
    """What httpx tells of a connection of the user's client."""

    def __init__(self) -> None:
        super().__init__()
        self.reused = True

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


class GivenLine(Line):
    """A connection of the user's client, which sees to it itself.

    Args:
        client: The client, which is never closed.
    """

    __slots__ = ("_client", "_trace")

    def __init__(self, client: Any) -> None:
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
        pieces = iter(response.stream)
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

    def __init__(self, client: Any) -> None:
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
        pieces = aiter(response.stream)
        return response.status_code, decode_headers(response.headers.raw), pieces

    async def close(self) -> None:
        """End the answer, whatever goes on over it."""
        with contextlib.suppress(Exception):
            await self.finish()


def _read_again(response: Any) -> Any:
    """Return a response that a hook of the client has read, and so decoded, as if it had not."""
    names = [header for header in response.headers.raw if header[0].lower() != b"content-encoding"]
    return type(response)(response.status_code, headers=names, content=response.content)


def _given_timeout(given: Any, ours: dict[str, float | None]) -> Any:
    """Return the timeout of the user's client, or ours if whoever made it did not think of one."""
    new_timeout = type(given)  # httpx's or httpx2's
    return new_timeout(**ours) if given == new_timeout(5.0) else given
