"""A call as the transport sees it: what is sent, and how long each part may take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar
from urllib.parse import urlsplit

import httpcore2
import httpx2

from langchain_aimlernie._text import NO_SECRETS, Redactor
from langchain_aimlernie.errors import BadRequestError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Mapping

    from langchain_core.messages import AIMessageChunk

T_co = TypeVar("T_co", covariant=True)

TimeoutTuple = tuple[float | None, float | None, float | None, float | None]
"""Seconds to connect, read, write and wait for the pool; `None` is no limit."""

NO_LIMIT = float("inf")

_WRITE_SIZE = 256 * 1024
"""Bytes of a request that are written at a time: the write timeout is for each of these."""


def or_no_limit(seconds: float | None) -> float:
    """Return `seconds`; `None` is no limit."""
    return NO_LIMIT if seconds is None else seconds


class TimeoutLike(Protocol):
    """A `Timeout` object of httpx or httpx2."""

    connect: float | None
    read: float | None
    write: float | None
    pool: float | None


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds that each part of a call may take; `None` is no limit.

    Attributes:
        connect: Making a connection.
        write: Sending 256 KiB of the request.
        read: One attempt of a call that is not streamed, from sending to the end of the response.
        first_event: The first event of a stream, from sending.
        idle: Any further event; comments and empty events do not count.
        total: A call that is not streamed, with all its attempts and the waits between them.
    """

    connect: float | None = 5.0
    write: float | None = 30.0
    read: float | None = 600.0
    first_event: float | None = 300.0
    idle: float | None = 120.0
    total: float | None = 900.0

    def extension(self) -> dict[str, float | None]:
        """Return httpx's timeouts: deadlines limit reads, and waiting for a connection is free."""
        return {"connect": self.connect, "read": None, "write": self.write, "pool": None}

    @property
    def longest_read(self) -> float | None:
        """The read timeout of a user-supplied client, whose reads no deadline may reach."""
        limits = (self.read, self.first_event, self.idle)
        return None if None in limits else max(filter(None, limits))


def parse_timeout(
    timeout: float | TimeoutTuple | TimeoutLike | None, idle: float | Literal["auto"] | None
) -> Timeouts:
    """Return the timeouts of a call; what `timeout` does not set has its default.

    Args:
        timeout: Seconds, four of them, or a `Timeout` object of httpx or httpx2. A number also
            lowers the limits of connecting and writing.
        idle: Seconds between the events of a stream; "auto": as long as an attempt may take to
            answer if `timeout` says so, but no longer than by default.
    """
    defaults = Timeouts()
    if timeout is None:
        return replace(defaults, idle=defaults.idle if idle == "auto" else idle)
    if isinstance(timeout, tuple):
        connect, read, write, _ = timeout
    elif isinstance(timeout, int | float):
        connect, read, write = min(5.0, timeout), timeout, min(30.0, timeout)
    else:
        connect, read, write = timeout.connect, timeout.read, timeout.write
    if idle == "auto":
        idle = min(or_no_limit(defaults.idle), or_no_limit(read))
    total = None if read is None else max(or_no_limit(defaults.total), read)
    return Timeouts(connect, write, read, read, idle, total)


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

    def content(self) -> bytes | ChunkedBody:
        """Return the body in the form that is written to the network."""
        return self.body if len(self.body) <= _WRITE_SIZE else ChunkedBody(self.body)


def _encode_header(name: str, value: str) -> tuple[bytes, bytes]:
    try:
        return name.encode("ascii"), value.encode("ascii")
    except UnicodeEncodeError:
        # The exception holds the value, which may be a secret.
        pass
    raise BadRequestError(f"The header {name!r} has a character that HTTP cannot carry.")


class ChunkedBody:
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
def parse_url(url: str) -> tuple[httpcore2.URL, bytes]:
    """Return a URL as httpcore2 takes it, and the header `Host`."""
    parsed = httpx2.URL(url)
    core_url = httpcore2.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    return core_url, parsed.netloc


def host_of(url: str) -> str:
    """Return the host, and the port if one is named, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def reject_html(headers: Mapping[str, str]) -> None:
    """Raise that a response is a page for people, by its headers."""
    if headers.get("content-type", "").lower().startswith("text/html"):
        raise InvalidResponseError(
            "The server answered with a page of HTML. Is base_url right?", is_retryable=False
        )
