"""A request: what is sent, how long each part may take, and how far an attempt of it has come.

Each read and write of one of our connections gets the time that is left as its timeout. A
user-supplied client cannot be given one for each read. There a watchdog limits the wait: async,
`asyncio.timeout` cancels the waiting task; sync, a timer shuts down the socket.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import httpcore2
import httpx2

from langchain_aimlernie._text import NO_SECRETS, Redactor
from langchain_aimlernie.errors import BadRequestError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping

    from langchain_core.messages import AIMessageChunk

T_co = TypeVar("T_co", covariant=True)

NO_LIMIT = float("inf")

_WRITE_SIZE = 256 * 1024
"""Bytes of a request that are written at a time: the write timeout is for each of these."""

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a response that is not streamed, decompressed."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each part of a call may take.

    Attributes:
        connect: Making a connection.
        write: Sending 256 KiB of the request.
        read: One attempt of a call that is not streamed, from sending to the end of the response.
        first_event: The first event of a stream, from sending.
        idle: Any further event; comments and empty events do not count.
        total: A call that is not streamed, with all its attempts and the waits between them.
    """

    connect: float = 5.0
    write: float = 30.0
    read: float = 600.0
    first_event: float = 300.0
    idle: float = 120.0
    total: float = 900.0

    def extension(self, read: float = NO_LIMIT) -> dict[str, float | None]:
        """Return httpx's timeouts; deadlines limit the reads, nothing limits the queue."""
        limits = {"connect": self.connect, "read": read, "write": self.write, "pool": NO_LIMIT}
        return {key: None if limit == NO_LIMIT else limit for key, limit in limits.items()}


def parse_timeout(timeout: Any, idle: float | Literal["auto"] | None) -> Timeouts:
    """Return the timeouts of a call; what `timeout` does not set has its default.

    Args:
        timeout: Seconds, four of them (to connect, read, write and wait for the pool), or a
            `Timeout` object of httpx or httpx2; `None` in the latter is no limit. A number also
            lowers the limits of connecting and writing.
        idle: Seconds between the events of a stream, `None` for no limit; "auto": as long as an
            attempt may take to answer if `timeout` says so, but no longer than by default.
    """
    defaults = Timeouts()
    if timeout is None:
        return defaults if idle == "auto" else replace(defaults, idle=_limit(idle))
    if isinstance(timeout, tuple):
        connect, read, write, _ = map(_limit, timeout)
    elif isinstance(timeout, int | float):
        connect, read, write = min(5.0, timeout), _limit(timeout), min(30.0, timeout)
    else:
        connect, read, write = map(_limit, (timeout.connect, timeout.read, timeout.write))
    idle = min(defaults.idle, read) if idle == "auto" else _limit(idle)
    return Timeouts(connect, write, read, read, idle, max(defaults.total, read))


def _limit(seconds: float | None) -> float:
    """Return `seconds`, or no limit if a socket cannot wait that long."""
    return NO_LIMIT if seconds is None or seconds > threading.TIMEOUT_MAX else seconds


@dataclass(frozen=True, slots=True)
class APIRequest:
    """One request, the same for each of its attempts.

    Attributes:
        method: `POST`, or `GET` without a body.
        url: Where it goes.
        headers: All headers but those that HTTP itself needs; `Authorization` is among them.
        body: What is sent.
        timeouts: How long it may take.
        max_retries: How many attempts may follow the first one.
        redactor: Removes what no error may show.
        model: The model that is asked.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    timeouts: Timeouts = Timeouts()
    max_retries: int = 2
    redactor: Redactor = field(default=NO_SECRETS, compare=False)
    model: str = ""

    def encoded_headers(self, accept_encoding: str) -> list[tuple[bytes, bytes]]:
        """Return the headers as they are sent, but for `Host`.

        Raises:
            BadRequestError: A header cannot be sent.
        """
        headers = [(b"Accept-Encoding", accept_encoding.encode())]
        if self.body:
            headers.append((b"Content-Length", b"%d" % len(self.body)))
        headers.extend([_encode_header(name, value) for name, value in self.headers.items()])
        return headers


def _encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    try:
        return name.encode("ascii"), value.encode("ascii")
    except UnicodeEncodeError:
        # The exception holds the value, which may be a secret.
        pass
    raise BadRequestError(f"The header {name!r} has a character that HTTP cannot carry.")


class _LongBody:
    """A long body, written in parts."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._body), _WRITE_SIZE):
            yield self._body[start : start + _WRITE_SIZE]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self:
            yield part


class Decoder(Protocol[T_co]):
    """What turns the bytes of a stream into chunks."""

    events: int
    """How many events carried something."""

    done: bool
    """Whether the stream has ended as it should."""

    @property
    def partial(self) -> AIMessageChunk | None:
        """What has come so far."""

    def feed(self, data: bytes, /) -> Iterable[T_co]:
        """Return the chunks that `data` completes."""

    def close(self) -> Iterable[T_co]:
        """Return the chunks that are left, or raise that the end is missing."""


def decode_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of a response, names in lower case; one that comes twice is joined."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", errors="replace")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers


@lru_cache(maxsize=64)
def _parse_url(url: str) -> tuple[httpcore2.URL, bytes]:
    """Return a URL as httpcore2 takes it, and the header `Host`."""
    parsed = httpx2.URL(url)
    core_url = httpcore2.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    return core_url, parsed.netloc


def host_of(url: str) -> str:
    """Return the host, and the port if one is named, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


class Deadline:
    """The seconds that are left to wait for the server; only waiting counts.

    What the caller does between two chunks of a stream takes nothing from them, nor does the wait
    for a connection.

    Attributes:
        waiting_for: What is waited for, for error messages.
        limit: Seconds at the start.
        left: Seconds that are left.
        on_start: Called when the countdown starts anew, as it may in the middle of a wait.
    """

    def __init__(self) -> None:
        self.on_start: Callable[[], None] | None = None
        self.start("", NO_LIMIT)

    def start(self, waiting_for: str, limit: float) -> None:
        """Count down from `limit` seconds."""
        self.waiting_for = waiting_for
        self.limit = self.left = limit
        if self.on_start is not None:
            self.on_start()


_current: ContextVar[Deadline] = ContextVar("_current")

set_deadline = _current.set
"""Let the reads and writes of this context, on connections of ours, keep to a deadline."""


@contextlib.contextmanager
def waiting(timeout: float | None) -> Iterator[float | None]:
    """Yield the shorter of `timeout` and what the deadline leaves; take off what the block takes.

    So bytes that trickle in cannot extend a deadline, which a timeout for each read would let them.

    Raises:
        httpcore2.ReadTimeout: Nothing is left.
    """
    deadline = _current.get()
    left = deadline.left
    if left <= 0:
        raise httpcore2.ReadTimeout
    started = time.monotonic()
    try:
        yield timeout if left == NO_LIMIT or (timeout is not None and timeout < left) else left
    except httpcore2.WriteTimeout as error:
        if timeout is None or left < timeout:
            raise httpcore2.ReadTimeout from error
        raise
    finally:
        deadline.left -= time.monotonic() - started


@dataclass(slots=True, eq=False, repr=False)
class Progress:
    """How far an attempt has come.

    Attributes:
        request: What is sent.
        proxy: The proxy's host; empty if there is none.
        phase: `connect`, `response_headers` or `response_body`.
        limit: What the deadline waits for once the request is being sent, and its seconds.
        deadline: The one that is running.
        is_replay: Whether it needs a fresh connection, as a kept one broke in the attempt before.
        is_reused: Whether the connection was there before, as far as is known.
        started: When sending began, by the monotonic clock: the queue for a connection is free.
        network_stream: The connection, once it is known.
        status: The response's status; 0 before its headers have come.
        headers: The response's headers, names in lower case; empty before they have come.
        decoder: The decoder of a stream.
        has_ended: Whether a stream has come to its end.
    """

    request: APIRequest
    proxy: str
    phase: str
    limit: tuple[str, float] = ("", NO_LIMIT)
    deadline: Deadline = field(default_factory=Deadline)
    is_replay: bool = False
    is_reused: bool = True
    started: float = NO_LIMIT
    network_stream: Any = None
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    decoder: Decoder[Any] | None = None
    has_ended: bool = False

    @property
    def host(self) -> str:
        """The server's name, and its port if that is not the default."""
        return host_of(self.request.url)

    @property
    def peer(self) -> str:
        """What we connect to."""
        return f"the proxy {self.proxy} on the way to {self.host}" if self.proxy else self.host

    @property
    def seconds(self) -> float:
        """How long the attempt has taken; time in the queue for a connection does not count."""
        return max(0.0, time.monotonic() - self.started)

    @property
    def events(self) -> int:
        """How many events of a stream have come."""
        return 0 if self.decoder is None else self.decoder.events

    def start(self) -> None:
        """Start the deadline: the request is being sent."""
        self.phase = "response_headers"
        self.started = time.monotonic()
        self.deadline.start(*self.limit)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Follow httpcore's events: where the attempt is, and over which connection."""
        step = event.partition(".")[2]
        if step in ("connect_tcp.started", "start_tls.started"):
            self.phase, self.is_reused = "connect", False
            self.deadline.start("connect", NO_LIMIT)  # these have a timeout of their own
        elif step in ("connect_tcp.complete", "start_tls.complete"):
            self.network_stream = info["return_value"]
        elif step == "setup_socks5_connection.started" or (
            step == "send_request_headers.started" and info["request"].method == b"CONNECT"
        ):
            self.deadline.start("connect", self.request.timeouts.connect)
        elif step == "send_request_headers.started":
            self.start()
        if not step.endswith(".started"):  # what starts is still to be done with its `info`
            info.clear()  # httpcore logs it next, at DEBUG, and the server may repeat the key there

    async def async_trace(self, event: str, info: dict[str, Any]) -> None:
        """Follow httpcore's events; see `trace`."""
        self.trace(event, info)

    def core_request(self, accept_encoding: str, trace: Any) -> httpcore2.Request:
        """Return the request as httpcore2 takes it; a replay's connection serves it alone.

        Raises:
            BadRequestError: A header cannot be sent.
        """
        request = self.request
        url, host = _parse_url(request.url)
        headers = [(b"Host", host), *request.encoded_headers(accept_encoding)]
        if self.is_replay:
            headers.append((b"Connection", b"close"))
        return httpcore2.Request(
            request.method,
            url,
            headers=headers,
            content=request.body if len(request.body) <= _WRITE_SIZE else _LongBody(request.body),
            extensions={"timeout": request.timeouts.extension(), "trace": trace},
        )

    def receive(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], extensions: Mapping[str, Any]
    ) -> None:
        """Note that the headers of the response have come."""
        self.phase = "response_body"
        self.status, self.headers = status, decode_headers(headers)
        self.network_stream = extensions.get("network_stream")

    def complete(self, body: bytearray) -> bytes:
        """Return the whole body of a response.

        Raises:
            InvalidResponseError: It is too long, or empty.
        """
        if len(body) > MAX_BODY:
            raise InvalidResponseError(
                f"The response is longer than {MAX_BODY >> 20} MiB.", is_retryable=False
            )
        if self.request.body and not body:
            raise InvalidResponseError("The server answered with nothing.", status_code=self.status)
        return bytes(body)


class AsyncWatchdog:
    """Limits how long a task waits for the server."""

    def __init__(self, progress: Progress) -> None:
        self._deadline = progress.deadline

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._deadline.on_start = self._start
        self._start()

    def _start(self) -> None:
        now, left = asyncio.get_running_loop().time(), self._deadline.left
        self._end = now + left
        if not self._timeout.expired():
            self._timeout.reschedule(None if left == NO_LIMIT else self._end)

    async def __aexit__(self, *error: object) -> None:
        self._deadline.on_start = None
        self._deadline.left = self._end - asyncio.get_running_loop().time()
        try:
            await self._timeout.__aexit__(*error)  # type: ignore[arg-type]
        except TimeoutError:
            raise httpcore2.ReadTimeout from None


class Watchdog:
    """Limits how long a thread waits for the server, once its socket is known."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._timer: threading.Timer | None = None
        self._has_expired = False

    def __enter__(self) -> None:
        self._progress.deadline.on_start = self._start
        self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = self._progress.deadline.left
        self._end = time.monotonic() + left
        look_up = getattr(self._progress.network_stream, "get_extra_info", None)
        sock = None if look_up is None else look_up("socket")
        if sock is not None and left != NO_LIMIT:
            self._timer = threading.Timer(max(0.0, left), self._shut_down, [sock])
            self._timer.daemon = True
            with contextlib.suppress(RuntimeError):  # no thread to be had: httpx's timeout is left
                self._timer.start()

    def _shut_down(self, sock: object) -> None:
        """Wake the thread that waits for the server."""
        self._has_expired = True
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # Not `SSLSocket.shutdown`, which takes the TLS state from under the reader.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def __exit__(self, *_: object) -> None:
        deadline = self._progress.deadline
        deadline.on_start = None
        deadline.left = self._end - time.monotonic()
        if self._timer is not None:
            self._timer.cancel()
        if self._has_expired:
            raise httpcore2.ReadTimeout
