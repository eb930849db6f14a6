"""A connection of a client that the user gave, sync and async: twins."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, cast

import httpx

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
