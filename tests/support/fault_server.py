"""A server of raw bytes on loopback: what it does on the wire is data.

One thread runs one event loop for any number of endpoints (ports). An endpoint plays one script
per request, in order, and answers well when no script is left. A script is a tuple of steps:
bytes are sent as they are, the other steps are the classes below.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from tests.support.fault_bytes import GOOD_ANSWER, GOOD_STREAM, answer

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Self

_NO_LINGER = struct.pack("ii", 1, 0)
_NO_FEED = answer("[]")


class _OverError(Exception):
    """The connection is finished: the client left, or a step closed it."""


class Request(NamedTuple):
    """One request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self) -> dict[str, object]:
        return json.loads(self.body)

    @property
    def wants_stream(self) -> bool:
        return b'"stream":true' in self.body.replace(b" ", b"")


@dataclass(frozen=True)
class Pause:
    """Say nothing for a while; the script is over when the client leaves meanwhile."""

    seconds: float

    async def play(self, wire: Connection) -> None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(wire.left.wait(), self.seconds)
        if wire.left.is_set():
            raise _OverError


@dataclass(frozen=True)
class Hold:
    """Say nothing until the client leaves."""

    async def play(self, wire: Connection) -> None:
        await wire.left.wait()
        raise _OverError


@dataclass(frozen=True)
class Close:
    """End the connection with a FIN; over TLS without the closing alert when `rude`."""

    rude: bool = False

    async def play(self, wire: Connection) -> None:
        await wire.flush()
        (wire.transport.abort if self.rude else wire.transport.close)()
        raise _OverError


@dataclass(frozen=True)
class Reset:
    """End the connection with an RST, after what was sent had time to be read."""

    after: float = 0.05

    async def play(self, wire: Connection) -> None:
        await wire.flush()
        await Pause(self.after).play(wire)
        wire.transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER
        )
        wire.transport.abort()
        raise _OverError


@dataclass(frozen=True)
class Drip:
    """Send one piece after the other with a pause between; bytes are dripped one by one."""

    pieces: bytes | tuple[bytes, ...]
    every: float

    async def play(self, wire: Connection) -> None:
        pieces = self.pieces
        if isinstance(pieces, bytes):
            pieces = tuple(pieces[i : i + 1] for i in range(len(pieces)))
        for piece in pieces:
            await wire.send(piece)
            await Pause(self.every).play(wire)


@dataclass(frozen=True)
class Repeat:
    """Send the same bytes `times` over, or until the client leaves."""

    data: bytes
    every: float = 0.0
    times: int | None = None

    async def play(self, wire: Connection) -> None:
        sent = 0
        while self.times is None or sent < self.times:
            await wire.send(self.data)
            sent += 1
            if self.every:
                await Pause(self.every).play(wire)


@dataclass(frozen=True)
class Deafen:
    """Read no more of what the client sends; what it sends then piles up until it must wait."""

    async def play(self, wire: Connection) -> None:
        wire.transport.pause_reading()


@dataclass(frozen=True)
class Hear:
    """Say nothing until the client has said something."""

    async def play(self, wire: Connection) -> None:
        await wire.hear()


Step = bytes | Pause | Hold | Close | Reset | Drip | Repeat | Deafen | Hear
Script = tuple[Step, ...]


class Connection(asyncio.Protocol):
    """One accepted connection: gathers requests, plays scripts, sees the client leave."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.left = asyncio.Event()
        self.busy = False
        self._arrived = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()
        self._buffer = bytearray()

    def connection_made(self, transport) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=2**16)
        self.number = self.endpoint.accepted(self)
        self.task = asyncio.get_running_loop().create_task(self._serve())

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._arrived.set()

    def eof_received(self) -> bool:
        self._leave()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        self.transport.abort()  # Python 3.10 warns of a TLS transport that only its client closed
        self.endpoint.lost(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _leave(self) -> None:
        self.left.set()
        self._arrived.set()
        self._writable.set()

    async def send(self, data: bytes) -> None:
        await self._writable.wait()
        if self.left.is_set():
            raise _OverError
        self.transport.write(data)
        await asyncio.sleep(0)

    async def hear(self) -> None:
        while not self._buffer:
            await self._more()

    async def flush(self) -> None:
        while self._unsent():  # noqa: ASYNC110 - a transport does not tell when it has sent all
            await asyncio.sleep(0.002)

    def _unsent(self) -> bool:
        return bool(self.transport.get_write_buffer_size()) and not self.left.is_set()

    async def _serve(self) -> None:
        with contextlib.suppress(_OverError):
            if (greeting := self.endpoint.next_greeting()) is not None:
                await self._play(greeting)
            while True:
                request = await self._request()
                await self._play(self.endpoint.script_for(request))
        self.busy = False

    async def _play(self, script: Script) -> None:
        self.busy = True
        for step in script:
            await (self.send(step) if isinstance(step, bytes) else step.play(self))
        self.busy = False

    async def _request(self) -> Request:
        head = await self._read_until(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").rstrip().split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (x.partition(":") for x in lines)
        }
        body = await self._read(int(headers.get("content-length", 0)))
        return Request(method, target, headers, body, self.number)

    async def _read_until(self, end: bytes) -> bytes:
        searched = 0
        while (at := self._buffer.find(end, searched)) < 0:
            searched = max(0, len(self._buffer) - len(end))
            await self._more()
        return await self._read(at + len(end))

    async def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            await self._more()
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _more(self) -> None:
        if self.left.is_set():
            raise _OverError
        self._arrived.clear()
        await self._arrived.wait()


class Endpoint:
    """One port with its scripts, and what was seen on it."""

    def __init__(
        self,
        scripts: Iterable[Script] = (),
        greetings: Iterable[Script] = (),
        choose: Callable[[Request], Script] | None = None,
        scheme: str = "http",
        host: str = "127.0.0.1",
    ) -> None:
        self.requests: list[Request] = []
        self.connections = 0
        self._scripts = deque(scripts)
        self._greetings = deque(greetings)
        self._choose = choose or self._next_script
        self._alive: set[Connection] = set()
        self._scheme = scheme
        self._host = host

    @property
    def base_url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/v1"

    def accepted(self, connection: Connection) -> int:
        self._alive.add(connection)
        self.connections += 1
        return self.connections

    def lost(self, connection: Connection) -> None:
        self._alive.discard(connection)

    def next_greeting(self) -> Script | None:
        """What a new connection meets before its first request is read, if anything."""
        return self._greetings.popleft() if self._greetings else None

    def script_for(self, request: Request) -> Script:
        if request.target.endswith("/models/deprecations"):
            return (_NO_FEED,)  # the request follows a 404; no case is about it
        self.requests.append(request)
        return self._choose(request)

    def _next_script(self, request: Request) -> Script:
        if self._scripts:
            return self._scripts.popleft()
        return (GOOD_STREAM if request.wants_stream else GOOD_ANSWER,)

    def play(self, *scripts: Script) -> None:
        """Queue scripts for the requests to come."""
        self._scripts.extend(scripts)

    @property
    def open(self) -> int:
        """Connections that the client holds at this moment, idle ones too."""
        return len(self._alive)

    @property
    def busy(self) -> int:
        """Connections on which a script is still playing."""
        return sum(connection.busy for connection in list(self._alive))

    def settle(self, at_most: int = 0, *, busy: int = 0, within: float = 3.0) -> bool:
        """Wait until no more connections than these are open and busy; False if that fails."""
        end = time.monotonic() + within
        while self.open > at_most or self.busy > busy:
            if time.monotonic() > end:
                return False
            time.sleep(0.002)
        return True

    async def asettle(self, at_most: int = 0, *, busy: int = 0, within: float = 3.0) -> bool:
        """`settle` that lets the client's event loop run meanwhile."""
        end = time.monotonic() + within
        while self.open > at_most or self.busy > busy:
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.002)
        return True

    async def start(self, tls: ssl.SSLContext | None) -> None:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self), self._host, 0, ssl=tls, backlog=1024
        )
        self.port: int = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        connections = list(self._alive)
        for connection in connections:
            connection.task.cancel()
            connection.transport.abort()
        await asyncio.gather(*(c.task for c in connections), return_exceptions=True)
        while self._alive:  # noqa: ASYNC110 - an event for each would be more to read
            await asyncio.sleep(0.001)


class FaultServer:
    """The thread and event loop of all endpoints."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda loop, context: None)  # failed handshakes are cases
        self.thread = threading.Thread(target=self._run, name="fault-server", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.thread.join(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _wait(self, coroutine) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    @contextlib.contextmanager
    def endpoint(
        self,
        *scripts: Script,
        greetings: Sequence[Script] = (),
        choose: Callable[[Request], Script] | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> Iterator[Endpoint]:
        endpoint = Endpoint(scripts, greetings, choose, "https" if tls else "http", host)
        self._wait(endpoint.start(tls))
        try:
            yield endpoint
        finally:
            self._wait(endpoint.stop())


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
