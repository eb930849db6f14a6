"""One connection of the server: requests in, responses out, and the ways in which it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import socket
import struct
from http.client import responses
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import h11

from langchain_aimlernie.testing.replies import Headers, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from langchain_aimlernie.testing.api import Response
    from langchain_aimlernie.testing.replies import Fault

_BATCH = 64
"""So many events of a stream without an interval are sent at once, then others have their turn."""

_MAX_HEAD = 64 * 2**10
_MAX_BODY = 256 * 2**20
_POLL = 0.05
"""Seconds between looks whether the client is still there, while it waits."""

_READ_SIZE = 256 * 2**10
_NO_BODY = frozenset({204, 304})
_logger = logging.getLogger(__name__)


class Connection:
    """Answers the requests of one connection, one after the other.

    Args:
        respond: Computes the response to a request.
        on_complete: Called before a client can have seen the end of its response.
        number: Which connection it is, counted from 1.
        reader: From `asyncio.start_server`.
        writer: Likewise.
    """

    def __init__(
        self,
        respond: Callable[[Request], Response],
        on_complete: Callable[[Request], None],
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._compute = respond
        self._on_complete = on_complete
        self._number = number
        self._reader = reader
        self._writer = writer
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MAX_HEAD)
        # asyncio disables Nagle's algorithm only for sockets made with a protocol number.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    @property
    def _socket(self) -> socket.socket:
        sock: socket.socket = self._writer.get_extra_info("socket")
        return sock

    async def close(self, *, reset: bool = False) -> None:
        """Close the connection now, by TCP reset if `reset`; what has not been sent is lost."""
        self._abort(reset=reset)
        self.task.cancel()
        await asyncio.wait([self.task])

    def _abort(self, *, reset: bool = False) -> None:
        if reset and self._socket.fileno() != -1:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    async def _serve(self) -> None:
        try:
            await self._serve_requests()
        except (OSError, _ClientLeftError, asyncio.CancelledError):
            self._writer.transport.abort()
        except Exception:
            _logger.exception("the events of a script of ErnieServer failed")
            self._writer.transport.abort()
        finally:
            self._writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await self._writer.wait_closed()

    async def _serve_requests(self) -> None:
        while True:
            try:
                request = await self._read_request()
            except h11.RemoteProtocolError as error:
                await self._reject(error.error_status_hint, str(error))
                return
            if request is None:
                return
            await self._respond(request, self._compute(request))
            if self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
                return
            self._http.start_next_cycle()

    async def _read_request(self) -> Request | None:
        """Return the next request; None if the client has closed the connection."""
        head = await self._next_event()
        if not isinstance(head, h11.Request):
            return None
        headers = Headers([(k.decode("latin-1"), v.decode("latin-1")) for k, v in head.headers])
        body = bytearray()
        size = int(headers.get("content-length", 0))
        while size <= _MAX_BODY and isinstance(event := await self._next_event(), h11.Data):
            body += event.data
            size = len(body)
        if size > _MAX_BODY:
            message = f"the body has more than {_MAX_BODY} bytes"
            raise h11.RemoteProtocolError(message, error_status_hint=413)
        path, _, query = head.target.decode("latin-1").partition("?")
        method = head.method.decode()
        return Request(method, path, parse_qs(query), headers, bytes(body), self._number)

    async def _next_event(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(_READ_SIZE))
        return event

    async def _sleep(self, seconds: float) -> None:
        """Wait, at least for the other connections.

        Raises:
            _ClientLeftError: The client has closed its side.
        """
        clock = asyncio.get_running_loop().time
        left, end = seconds, clock() + seconds
        await asyncio.sleep(0)
        while left > 0:
            await asyncio.sleep(min(left, _POLL))
            if self._reader.at_eof() or self._writer.is_closing():
                raise _ClientLeftError
            left = end - clock()

    def _send(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))

    async def _reject(self, status: int, message: str) -> None:
        """Answer bytes that are not an HTTP request; what follows them cannot be read."""
        body = message.encode()
        headers = [("content-length", str(len(body))), ("connection", "close")]
        self._send(_head(status, headers), h11.Data(data=body), h11.EndOfMessage())
        await self._writer.drain()

    async def _respond(self, request: Request, response: Response) -> None:
        if response.delay:
            await self._sleep(response.delay)
        fault = response.fault
        if fault is not None and fault.is_early:
            await self._break(fault)
            return
        headers = [(name, each) for name, each in response.headers.items() if each is not None]
        has_length = "content-length" in response.headers or response.status in _NO_BODY
        if isinstance(response.body, bytes) and not has_length:
            headers.append(("content-length", str(len(response.body))))
        batch: list[h11.Event] = [_head(response.status, headers)]
        size = 1 if response.interval or response.chunk_size else _BATCH
        chunks = _chunks(request, response)
        following = list(itertools.islice(chunks, 1))
        while following:
            batch += [h11.Data(data=chunk) for chunk in following]
            following = list(itertools.islice(chunks, size))
            if following:
                self._send(*batch)
                batch = []
                await self._sleep(response.interval)
                await self._writer.drain()
        if fault is not None:
            self._send(*batch)
            await self._break(fault)
            return
        self._on_complete(request)
        self._send(*batch)
        with contextlib.suppress(h11.LocalProtocolError):  # a scripted Content-Length is wrong
            self._send(h11.EndOfMessage())
        await self._writer.drain()

    async def _break(self, fault: Fault) -> None:
        if fault.kind == "stall":
            await self._sleep(math.inf)
        if fault.reset:
            self._abort(reset=True)
        self._http.send_failed()


class _ClientLeftError(Exception):
    """The client has closed its side of the connection while the response was delayed."""


def _head(status: int, headers: list[tuple[str, str]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=responses.get(status, ""))


def _chunks(request: Request, response: Response) -> Iterator[bytes]:
    """Return the body in the chunks in which it is sent, up to where a fault cuts it."""
    body, fault = response.body, response.fault
    if request.method == "HEAD" or response.status in _NO_BODY:
        return iter(())
    chunks: Iterable[bytes] = (body,) if isinstance(body, bytes) else body
    if fault is not None:
        chunks = itertools.islice(chunks, fault.events)
    if response.chunk_size:
        chunks = _resize(chunks, response.chunk_size)
    if fault is not None and fault.bytes is not None:
        chunks = _cut(chunks, fault.bytes)
    return filter(None, chunks)


def _resize(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        end = len(buffer) - len(buffer) % size
        for start in range(0, end, size):
            yield buffer[start : start + size]
        buffer = buffer[end:]
    yield buffer


def _cut(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:limit]
        limit -= len(chunk)
        if limit <= 0:
            return
