"""One connection of the server: reads requests, sends responses, and breaks by scripted faults."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from http.client import responses
from urllib.parse import parse_qs

import h11

from langchain_aimlernie.testing import encoding
from langchain_aimlernie.testing.replies import Fault, Headers, Reply, Request

_BATCH = 64
"""Events of a stream without an interval that are sent at once, before other connections run."""

_MAX_HEAD = 64 * 2**10
_READ_SIZE = 256 * 2**10
_NO_BODY = frozenset({204, 304})
_logger = logging.getLogger(__name__)


class Connection:
    """Responds to the requests of one connection in turn.

    `on_complete` is called before a client can have received the end of the response.
    """

    def __init__(
        self,
        compute: Callable[[Request], Reply],
        on_complete: Callable[[Request], None],
        number: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._compute = compute
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

    def abort(self, *, reset: bool = False) -> asyncio.Task[None]:
        """Close the connection now, by TCP reset if `reset`, and discard unsent data.

        Returns:
            The connection's task, which then ends.
        """
        if reset and self._socket.fileno() != -1:
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()
        return self.task

    async def _serve(self) -> None:
        try:
            await self._serve_requests()
        except OSError:
            self.abort()
        except Exception:
            _logger.exception("the events of a script of ErnieServer failed")
            self.abort()
        finally:
            self._writer.close()
            with contextlib.suppress(OSError):
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
        while isinstance(part := await self._next_event(), h11.Data):
            body += part.data
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
        """Wait; with 0 seconds, let other connections run.

        Raises:
            ConnectionAbortedError: The client has closed its side.
        """
        if not seconds:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while data := await self._reader.read(_READ_SIZE):
                    self._http.receive_data(data)
                raise ConnectionAbortedError

    def _send(self, *events: h11.Event) -> None:
        self._writer.write(b"".join(self._http.send(event) or b"" for event in events))

    async def _reject(self, status: int, message: str) -> None:
        """Respond to bytes that are not an HTTP request; those that follow cannot be parsed."""
        body = message.encode()
        headers = [(b"content-length", b"%d" % len(body)), (b"connection", b"close")]
        self._send(_head(status, headers), h11.Data(data=body), h11.EndOfMessage())
        await self._writer.drain()

    async def _respond(self, request: Request, reply: Reply) -> None:
        if reply.delay:
            await self._sleep(reply.delay)
        fault = reply.fault
        if fault is not None and fault.events is None and fault.bytes is None:
            await self._break(fault)
            return
        headers = [
            (name.encode(), str(each).encode())
            for name, each in reply.headers.items()
            if each is not None
        ]
        has_length = "content-length" in reply.headers or reply.status in _NO_BODY
        if isinstance(reply.body, bytes) and not has_length:
            headers.append((b"content-length", b"%d" % len(reply.body)))
        chunks = (h11.Data(data=each) for each in _chunks(request, reply))
        parts = itertools.chain([_head(reply.status, headers)], chunks)
        batch = list(itertools.islice(parts, 2))
        size = 1 if reply.interval or reply.chunk_size else _BATCH
        while following := list(itertools.islice(parts, size)):
            self._send(*batch)
            batch = following
            await self._sleep(reply.interval or 0)
            await self._writer.drain()
        if fault is None:
            self._on_complete(request)
        self._send(*batch)
        if fault is not None:
            await self._break(fault)
            return
        with contextlib.suppress(h11.LocalProtocolError):  # a scripted Content-Length is wrong
            self._send(h11.EndOfMessage())
        await self._writer.drain()

    async def _break(self, fault: Fault) -> None:
        if fault.kind == "stall":
            await self._sleep(math.inf)
        if fault.reset:
            self.abort(reset=True)
        self._http.send_failed()


def _head(status: int, headers: list[tuple[bytes, bytes]]) -> h11.Response:
    return h11.Response(status_code=status, headers=headers, reason=responses.get(status, ""))


def _chunks(request: Request, reply: Reply) -> Iterator[bytes]:
    """Return the body in the chunks to send, up to the fault."""
    if request.method == "HEAD" or reply.status in _NO_BODY:
        return iter(())
    fault = reply.fault or Fault()
    events = [reply.body] if reply.events is None else reply.events
    chunks: Iterable[bytes] = map(encoding.event, itertools.islice(events, fault.events))
    if reply.chunk_size:
        chunks = _resize(chunks, reply.chunk_size)
    if fault.bytes is not None:
        chunks = _cut(chunks, fault.bytes)
    return filter(None, chunks)


def _resize(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    content = itertools.chain.from_iterable(chunks)
    while chunk := bytes(itertools.islice(content, size)):
        yield chunk


def _cut(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    for chunk in chunks:
        yield chunk[:limit]
        limit -= len(chunk)
        if limit <= 0:
            return
