"""A request: what is sent, and how long each part may take."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from langchain_aimlernie._text import NO_SECRETS, Redactor

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_LIMIT = float("inf")


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
            UnicodeEncodeError: A header cannot be sent.
        """
        length = {"Content-Length": str(len(self.body))} if self.body else {}
        headers = {"Accept-Encoding": accept_encoding, **length, **self.headers}
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


def host_of(url: str) -> str:
    """Return the host, and the port if one is named, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
