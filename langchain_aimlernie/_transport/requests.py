"""A call as the transport sees it: what is sent, and how long each part may take."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol, TypeVar

import httpcore
import httpx

from langchain_aimlernie._text import NO_SECRETS, Redactor
from langchain_aimlernie._transport.clocks import FOREVER
from langchain_aimlernie.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from langchain_core.messages import AIMessageChunk

T_co = TypeVar("T_co", covariant=True)

_Four = tuple[float | None, float | None, float | None, float | None]
Timeout = float | _Four | httpx.Timeout | None

_PIECE = 256 * 1024
"""Bytes of a request that are written at a time: each piece has the write clock for itself."""

_BUFFERED = 64 * 1024
"""Bytes that a socket takes without waiting for the other side."""


@dataclass(frozen=True, slots=True)
class Clocks:
    """Seconds that each part of a call may take; `None` is for ever.

    Attributes:
        connect: Making a connection.
        write: Sending a piece of the request.
        read: One try of a JSON call, from sending to the end of the answer.
        first_event: The first event of a stream, from sending.
        idle: Any further event; comments and empty events do not count.
        total: A JSON call with all its tries and the waits between them.
    """

    connect: float | None = 5.0
    write: float | None = 30.0
    read: float | None = 600.0
    first_event: float | None = 300.0
    idle: float | None = 120.0
    total: float | None = 900.0


def read_clocks(timeout: Timeout, idle: float | None) -> Clocks:
    """Turn a `timeout` in any of its forms into clocks; what it does not say has its default.

    Args:
        timeout: Seconds, four of them, an `httpx.Timeout`, or `None`.
        idle: Seconds between the events of a stream.
    """
    if isinstance(timeout, httpx.Timeout):
        return _clocks_of_timeout(timeout, idle)
    return _clocks_of_seconds(timeout, idle)


@functools.lru_cache
def _clocks_of_seconds(timeout: float | _Four | None, idle: float | None) -> Clocks:
    if timeout is None:
        return Clocks(idle=idle)
    clocks = _clocks_of_timeout(httpx.Timeout(timeout), idle)
    if isinstance(timeout, tuple):
        return clocks
    return replace(clocks, connect=min(5.0, timeout), write=min(30.0, timeout))


def _clocks_of_timeout(given: httpx.Timeout, idle: float | None) -> Clocks:
    total = None if given.read is None else max(Clocks().total or 0.0, given.read)
    return Clocks(given.connect, given.write, given.read, given.read, idle, total)


@dataclass(frozen=True, slots=True)
class Call:
    """One call: the same for each of its tries.

    Attributes:
        method: `POST`, or `GET` without a body.
        url: Where it goes.
        headers: All headers but those that HTTP itself needs; `Authorization` is among them.
        body: What is sent.
        clocks: How long it may take.
        max_retries: How many tries may follow the first one.
        redactor: Removes what no error may show.
        model: The model that is asked.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    clocks: Clocks = Clocks()
    max_retries: int = 2
    redactor: Redactor = field(default=NO_SECRETS, compare=False)
    model: str = ""


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
        """Give the chunks that `data` completes."""

    def close(self) -> Iterable[T_co]:
        """Give the chunks that are left, or raise that the end is missing."""


def seconds_of(limit: float | None) -> float:
    """Give a clock's seconds; `None` is for ever."""
    return FOREVER if limit is None else limit


def timeouts_of(clocks: Clocks) -> dict[str, float | None]:
    """Give what httpx is told about time; waiting for a connection is no error.

    The clocks measure exactly; the timeout of a single read is the longest of them.
    """
    longest = max(map(seconds_of, (clocks.read, clocks.first_event, clocks.idle)))
    read = None if longest == FOREVER else longest
    return {"connect": clocks.connect, "read": read, "write": clocks.write, "pool": None}


def async_timeouts_of(clocks: Clocks, size: int) -> dict[str, float | None]:
    """Give the same for async: where a clock is enough, a timer for each step is too dear.

    Args:
        clocks: The call's clocks.
        size: Bytes to be sent: a few go into the socket's buffer at once.
    """
    write = None if size <= _BUFFERED else clocks.write
    return {"connect": clocks.connect, "read": None, "write": write, "pool": None}


def new_request(call: Call, encodings: str, timeouts: dict[str, float | None]) -> httpcore.Request:
    """Make the request as a connection of ours takes it.

    Raises:
        BadRequestError: A header cannot be sent.
    """
    url, host = address_of(call.url)
    headers = [(b"Host", host), (b"Accept-Encoding", encodings.encode())]
    if call.body:
        headers.append((b"Content-Length", b"%d" % len(call.body)))
    headers.extend([_encode_header(name, value) for name, value in call.headers.items()])
    content = call.body if len(call.body) <= _PIECE else _Pieces(call.body)
    return httpcore.Request(
        call.method, url, headers=headers, content=content, extensions={"timeout": timeouts}
    )


@functools.lru_cache(maxsize=64)
def address_of(url: str) -> tuple[httpcore.URL, bytes]:
    """Give a URL as httpcore takes it, and what the header `Host` says of it."""
    parsed = httpx.URL(url)
    return core_url(parsed), parsed.netloc


def core_url(url: httpx.URL) -> httpcore.URL:
    """Give a URL as httpcore takes it."""
    return httpcore.URL(
        scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
    )


def _encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    try:
        return name.encode("ascii"), value.encode("ascii")
    except UnicodeEncodeError:
        # The exception holds the value, which may be a secret.
        pass
    raise BadRequestError(f"The header {name!r} has a character that HTTP cannot carry.")


class _Pieces:
    """A long body, sent piece by piece."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._body), _PIECE):
            yield self._body[start : start + _PIECE]

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece


def decode_headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Give the headers of an answer, names in lower case; one that comes twice is joined."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key, text = name.decode("latin-1").lower(), value.decode("utf-8", errors="replace")
        headers[key] = f"{headers[key]}, {text}" if key in headers else text
    return headers
