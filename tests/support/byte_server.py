"""A server of scripted bytes on loopback: what it sends and when is data; what it receives is kept.

A script is a step, or a tuple of steps: bytes are sent as they are, other steps are the classes
below. All servers of a process share one thread and event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import struct
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.support.response_bytes import GOOD_RESPONSE, GOOD_STREAM, plain_response

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any, Self


_FEED = "/models/deprecations"
_NO_FEED = plain_response(b"[]")
"""The request that follows a 404, and its response: they count for no test but those about them."""


class _OverError(Exception):
    """The client has left, or a step has closed the connection."""


class Request(NamedTuple):
    """A request as it was received; `connection` counts from 1."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def wants_stream(self) -> bool:
        return b'"stream":true' in self.body.replace(b" ", b"")


@dataclass(frozen=True)
class Pause:
    """Send nothing for some seconds; what the client sends meanwhile is dropped."""

    seconds: float | None

    async def play(self, connection: Connection) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.seconds):
                while await connection.reader.read(2**16):
                    pass
            raise _OverError


@dataclass(frozen=True)
class Hold(Pause):
    """Send nothing until the client leaves."""

    seconds: None = None


class Until(threading.Event):
    """Wait until the test sets it."""

    async def play(self, _: Connection) -> None:
        await asyncio.to_thread(self.wait, 10)


@dataclass(frozen=True)
class Close:
    """Close the connection; without close_notify of TLS if `rude`."""

    rude: bool = False

    async def play(self, connection: Connection) -> None:
        if self.rude:
            connection.writer.transport.abort()
        raise _OverError


@dataclass(frozen=True)
class Reset:
    """Reset the connection, some seconds after what was sent."""

    after: float = 0.05

    async def play(self, connection: Connection) -> None:
        await Pause(self.after).play(connection)
        sock = connection.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.writer.transport.abort()
        raise _OverError


@dataclass(frozen=True)
class Drip:
    """Send items, or single bytes, with a pause of `every` seconds between them."""

    items: bytes | tuple[bytes, ...]
    every: float

    async def play(self, connection: Connection) -> None:
        for number, item in enumerate(self.items):
            if number:
                await Pause(self.every).play(connection)
            await connection.send(bytes([item]) if isinstance(item, int) else item)


@dataclass(frozen=True)
class Repeat:
    """Send the same bytes so many times, or until the client leaves."""

    data: bytes
    times: int | None = None

    async def play(self, connection: Connection) -> None:
        sent = 0
        while sent != self.times:
            await connection.send(self.data)
            sent += 1


class Deafen:
    """Read no more of what the client sends."""

    async def play(self, connection: Connection) -> None:
        connection.writer.transport.pause_reading()


class Hear:
    """Wait until the client has sent something, and drop it."""

    async def play(self, connection: Connection) -> None:
        await connection.reader.read(2**16)


@dataclass(frozen=True)
class Tunnel:
    """Do what a CONNECT request asks a proxy to do."""

    reply: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n"

    async def play(self, connection: Connection) -> None:
        host, _, port = connection.server.requests[-1].target.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        await connection.send(self.reply)
        await asyncio.gather(_copy(reader, connection.writer), _copy(connection.reader, writer))
        raise _OverError


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(2**16):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass  # either end has left
    finally:
        writer.close()


class Socks:
    """Do what a proxy of SOCKS 5 does (RFC 1928, 1929); a greeting, not a script.

    Counts as a request SOCKS, whose body is the user and the password.
    """

    async def play(self, connection: Connection) -> None:
        async def dialog(reply: bytes) -> bytes:
            await connection.send(reply)
            return await connection.reader.read(2**10)

        await Hear().play(connection)  # its methods of authentication
        login = await dialog(b"\x05\x02")
        wanted = await dialog(b"\x01\x00")
        is_ip, port = wanted[3] == 1, int.from_bytes(wanted[-2:], "big")
        host = socket.inet_ntoa(wanted[4:8]) if is_ip else wanted[5:-2].decode()
        connection.server.requests.append(
            Request("SOCKS", f"{host}:{port}", {}, login, connection.number)
        )
        await Tunnel(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00").play(connection)


Step = bytes | Pause | Until | Close | Reset | Drip | Repeat | Deafen | Hear | Tunnel | Socks
Script = Step | tuple[Step, ...]


class Connection:
    """The server's end of a connection."""

    def __init__(
        self, server: ByteServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.server, self.reader, self.writer = server, reader, writer
        self.number = server.connections
        self.task = asyncio.current_task()
        self.busy = False
        writer.transport.set_write_buffer_limits(1)  # `drain` waits until all is sent; 0 stalls TLS

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()
        await asyncio.sleep(0)

    async def play(self, script: Script) -> None:
        self.busy = True
        for step in script if isinstance(script, tuple) else (script,):
            await (self.send(step) if isinstance(step, bytes) else step.play(self))
        self.busy = False

    async def request(self) -> Request:
        head = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        fields = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in fields}
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body, self.number)


class ByteServer:
    """A server, while it is entered.

    It plays `scripts` for the requests, in order, and `rest` for all further ones: a script, a
    function of the request that returns one, or a good completion by default. `greetings` are
    played on each new connection before its first request is read. `requests` is what was received,
    `connections` how many were accepted.
    """

    def __init__(
        self,
        *scripts: Script,
        rest: Script | Callable[[Request], Script] | None = None,
        greetings: Iterable[Script] = (),
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._scripts = list(scripts)
        self._rest = rest
        self._greetings = iter(greetings)
        self._open: set[Connection] = set()
        self._tls, self._host = tls, host

    def __enter__(self) -> Self:
        _in_background(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        _in_background(self._stop())

    def play(self, *scripts: Script) -> None:
        """Add scripts for the requests to come."""
        self._scripts.extend(scripts)

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}/v1"

    @property
    def open(self) -> int:
        """How many connections are open, idle ones too."""
        return len(self._open)

    @property
    def busy(self) -> int:
        """On how many connections a script is being played."""
        return sum(connection.busy for connection in list(self._open))

    def settle(self, at_most: int = 0, within: float = 5.0) -> bool:
        """Wait until no more connections are open, and none is busy; return whether that came."""
        return wait_until(lambda: self.open <= at_most and not self.busy, within)

    async def asettle(self, at_most: int = 0, within: float = 5.0) -> bool:
        """`settle` while the client's event loop runs on."""
        return await asyncio.to_thread(self.settle, at_most, within)

    def received(self, number: int, within: float = 10.0) -> bool:
        """Wait until so many requests were received; return whether that came."""
        return wait_until(lambda: len(self.requests) >= number, within)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, self._host, 0, ssl=self._tls, backlog=1024, limit=2**20
        )
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        # `Server.close` would lose, and leak, a connection that is just being accepted.
        for listener in self._server.sockets:
            asyncio.get_running_loop().remove_reader(listener.fileno())
        for _ in range(3):
            await asyncio.sleep(0)
        self._server.close()
        connections = list(self._open)
        for connection in connections:
            connection.task.cancel()
            connection.writer.transport.abort()
        await asyncio.gather(*(c.task for c in connections), return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = Connection(self, reader, writer)
        self._open.add(connection)
        try:
            if (greeting := next(self._greetings, None)) is not None:
                await connection.play(greeting)
            while True:
                request = await connection.request()
                if request.target.endswith(_FEED) and not callable(self._rest):
                    await connection.play(_NO_FEED)
                    continue
                self.requests.append(request)
                await connection.play(self._script_for(request))
        except (_OverError, EOFError, OSError, ValueError):
            connection.busy = False
        finally:
            writer.close()
            try:
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
            finally:
                self._open.discard(connection)

    def _script_for(self, request: Request) -> Script:
        if self._scripts:
            return self._scripts.pop(0)
        if self._rest is None:
            return GOOD_STREAM if request.wants_stream else GOOD_RESPONSE
        return self._rest(request) if callable(self._rest) else self._rest


@functools.cache
def _background() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)  # failed handshakes are what some tests are about
    threading.Thread(target=loop.run_forever, name="byte-server", daemon=True).start()
    return loop


_starting = threading.Lock()


def _in_background(coroutine: Any) -> None:
    with _starting:
        loop = _background()
    asyncio.run_coroutine_threadsafe(coroutine, loop).result(10)


def wait_until(condition: Callable[[], bool], within: float = 5.0) -> bool:
    """Wait until a condition holds; return whether that came."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.002)
    return True


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port that is taken but not listened on: every connection is refused."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()[1]


@contextlib.contextmanager
def crowded_port() -> Iterator[int]:
    """A port whose queue is full: Linux lets a further connection wait for ever."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]
