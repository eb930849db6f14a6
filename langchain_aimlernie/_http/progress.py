"""How far an attempt of a call has come."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._http.deadlines import Deadline
from langchain_aimlernie._http.request import NO_LIMIT, host_of, or_no_limit

if TYPE_CHECKING:
    from langchain_aimlernie._http.request import APIRequest, Decoder


@dataclass(slots=True, eq=False, repr=False)
class Progress:
    """How far an attempt has come.

    Attributes:
        request: What is sent.
        proxy: The proxy's host; empty if there is none.
        phase: `connect`, `response_headers` or `response_body`.
        limit: What the deadline waits for once the request is being sent, and its seconds.
        deadline: The one that is running.
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
            self.deadline.start("connect", or_no_limit(self.request.timeouts.connect))
        elif step == "send_request_headers.started":
            self.start()
        if not step.endswith(".started"):  # what starts is still to be done with its `info`
            info.clear()  # httpcore logs it next, at DEBUG, and the server may repeat the key there
