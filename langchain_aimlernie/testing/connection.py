"""One connection of the server: bytes in, responses out, and the ways in which it breaks."""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING

from langchain_aimlernie.testing import http11

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from langchain_aimlernie.testing.received import Request
    from langchain_aimlernie.testing.replies import Fault
    from langchain_aimlernie.testing.service import Response, Service

_TOGETHER = 64
"""So many pieces of a stream without an interval are sent at once, then others have their turn."""

_logger = logging.getLogger(__name__)
_BODILESS = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after the other.

    An answer that need not wait is written at once; each other has a task, which ends with the
    connection.

    Args:
        service: Who answers.
        number: Which connection it is, counted from 1.
        among: The connections that are open; this one is there from its making to its loss.
    """

    def __init__(self, service: Service, number: int, among: set[Connection]) -> None:
        self._service = service
        self._number = number
        self._among = among
        self._reader = http11.RequestReader()
        self._waiting: deque[Request] = deque()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = asyncio.Event()
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # a stream server makes no other
        """Keep the transport, and have each piece sent at once."""
        self._transport = transport
        self._among.add(self)
        sock = transport.get_extra_info("socket")
        # asyncio does this only for sockets that were made with a protocol number.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's name
        """End the answer that is being written."""
        if self._task is not None:
            self._task.cancel()
        self._lost.set()
        self._among.discard(self)

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Answer what the bytes complete."""
        try:
            self._waiting += self._reader.feed(data)
        except http11.BadRequestError as error:
            self._refuse(error)
            return
        if self._reader.wants_go_ahead:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._serve_waiting()

    def close(self, *, reset: bool = False) -> None:
        """End the connection now; what has not been sent is lost."""
        sock = self._transport.get_extra_info("socket")
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone, and its task with it."""
        await self._lost.wait()
        if self._task is not None:
            await asyncio.wait([self._task])

    def _refuse(self, error: http11.BadRequestError) -> None:
        body = str(error).encode()
        headers = {"content-length": str(len(body)), "connection": "close"}
        self._transport.write(http11.encode_head(error.status, headers) + body)
        self._transport.close()

    def _serve_waiting(self) -> None:
        while self._waiting and self._task is None and not self._transport.is_closing():
            request = self._waiting.popleft()
            request.connection = self._number
            response = self._service.respond(request)
            if _is_immediate(response):
                self._service.complete(request)
                self._transport.write(_head(request, response) + _content(request, response))
                self._end(request, response)
            else:
                self._task = asyncio.get_running_loop().create_task(self._write(request, response))

    async def _write(self, request: Request, response: Response) -> None:
        fault = response.fault
        try:
            await asyncio.sleep(response.delay)
            if fault is None or not fault.is_early:
                self._transport.write(_head(request, response))
                await self._write_body(request, response)
        except Exception:
            _logger.exception("the events of a script of ErnieServer failed")
            self.close()
        if fault is not None:
            await self._break_off(fault)
        self._end(request, response)
        self._task = None
        self._serve_waiting()

    async def _write_body(self, request: Request, response: Response) -> None:
        """Write the pieces; the answer counts as given before the client can have seen its end."""
        chunked = _is_chunked(request, response)
        encode = http11.encode_chunk if chunked else bytes
        pieces = map(encode, _pieces(request, response))
        together = 1 if response.interval else _TOGETHER
        batch = b"".join(itertools.islice(pieces, 1))
        while following := b"".join(itertools.islice(pieces, together)):
            self._transport.write(batch)
            await asyncio.sleep(response.interval)
            await self._writable.wait()
            batch = following
        if response.fault is None:
            self._service.complete(request)
            batch += http11.encode_chunk(b"") if chunked else b""
        self._transport.write(batch)

    async def _break_off(self, fault: Fault) -> None:
        if fault.kind == "stall":
            await asyncio.Event().wait()
        elif fault.reset:
            self.close(reset=True)
        else:
            self._transport.close()

    def _end(self, request: Request, response: Response) -> None:
        """End the connection if one side asks for it."""
        if not request.keeps_alive or response.headers.get("connection", "").lower() == "close":
            self._transport.close()


def _is_immediate(response: Response) -> bool:
    waits = response.delay or response.chunk_size or response.fault is not None
    return isinstance(response.body, bytes) and not waits


def _is_chunked(request: Request, response: Response) -> bool:
    return not isinstance(response.body, bytes) and request.version == "HTTP/1.1"


def _head(request: Request, response: Response) -> bytes:
    headers = dict(response.headers)
    if response.status not in _BODILESS and "content-length" not in headers:
        if isinstance(response.body, bytes):
            headers["content-length"] = str(len(response.body))
        elif _is_chunked(request, response):
            headers["transfer-encoding"] = "chunked"
        else:
            headers["connection"] = response.headers["connection"] = "close"
    if not request.keeps_alive:
        headers["connection"] = "close"
    return http11.encode_head(response.status, headers)


def _content(request: Request, response: Response) -> bytes:
    has_body = request.method != "HEAD" and response.status not in _BODILESS
    return response.body if has_body and isinstance(response.body, bytes) else b""


def _pieces(request: Request, response: Response) -> Iterator[bytes]:
    """The body in the pieces in which it is sent, up to where a fault breaks it off."""
    body, fault = response.body, response.fault
    pieces: Iterable[bytes] = (_content(request, response),) if isinstance(body, bytes) else body
    if fault is not None:
        pieces = itertools.islice(pieces, fault.events)
    if response.chunk_size:
        pieces = _resized(pieces, response.chunk_size)
    if fault is not None and fault.bytes is not None:
        pieces = _cut(pieces, fault.bytes)
    return filter(None, pieces)


def _resized(parts: Iterable[bytes], size: int) -> Iterator[bytes]:
    held = b""
    for part in parts:
        held += part
        whole = len(held) - len(held) % size
        for start in range(0, whole, size):
            yield held[start : start + size]
        held = held[whole:]
    yield held


def _cut(parts: Iterable[bytes], limit: int) -> Iterator[bytes]:
    for part in parts:
        yield part[:limit]
        limit -= len(part)
        if limit <= 0:
            return
