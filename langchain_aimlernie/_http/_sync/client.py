# Generated from _async/client.py by .ci/unasync.py; do not edit.
"""What sends a request over a connection: our own pools, or a client of the user's."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import httpcore2
import httpx2

from langchain_aimlernie._http.progress import Watchdog, set_deadline, waiting
from langchain_aimlernie._http.request import parse_url

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from langchain_aimlernie._http.clients import ResolvedConfig
    from langchain_aimlernie._http.progress import Progress
    from langchain_aimlernie._http.request import APIRequest

_POOL_SIZE = 16
"""Connections in one of httpcore2's pools: it looks at each of them for every request."""


class PooledClient:
    """The connections of one configuration, spread over small pools of httpcore2.

    A pool looks at each of its connections for every request, so that many small ones are faster
    than a large one.

    Args:
        config: Where the connections lead, and how many there may be.
        ssl_context: Their TLS settings.

    Attributes:
        proxy: The host of the proxy; empty if there is none.
        phase: Where an attempt begins.
        last_used: When a call has last asked for it, in seconds of the monotonic clock.
    """

    phase = "connect"

    def __init__(self, config: ResolvedConfig, ssl_context: ssl.SSLContext | None) -> None:
        options = config.pool_options(ssl_context)
        size, backend = config.config.max_connections, _DeadlineBackend()
        self._pools = [
            _Pool(
                httpcore2.ConnectionPool(
                    max_connections=limit, network_backend=backend, **options
                ),
                limit,
                set(),
            )
            for limit in (min(_POOL_SIZE, size - start) for start in range(0, size, _POOL_SIZE))
        ]
        self.proxy = config.proxy_host
        self.last_used = time.monotonic()

    def send(self, progress: Progress, accept_encoding: str) -> Response:
        """Send a request; return the response when its headers have come."""
        request = progress.request
        url, host = parse_url(request.url)
        core_request = httpcore2.Request(
            request.method,
            url,
            headers=[(b"Host", host), *request.encoded_headers(accept_encoding)],
            content=request.content(),
            extensions={"timeout": request.timeouts.extension(), "trace": _trace(progress)},
        )
        # The first pool that has room, else the one with the fewest requests.
        pool = next((pool for pool in self._pools if len(pool.active) < pool.limit), None)
        pool = pool or min(self._pools, key=lambda pool: len(pool.active))
        set_deadline(progress.deadline)
        pool.active.add(progress)
        try:
            response = pool.pool.handle_request(core_request)
        except BaseException:
            pool.active.discard(progress)
            raise
        progress.receive(response.status, response.headers, response.extensions)
        stream = cast("Iterable[bytes]", response.stream)
        chunks = iter(stream)
        if "content-encoding" in progress.headers:
            chunks = httpx2.Response(200, headers=response.headers, content=stream).iter_bytes()
        return Response(
            progress, chunks, response, on_close=lambda: pool.active.discard(progress)
        )

    @property
    def is_unused(self) -> bool:
        """Whether no request is under way."""
        return not any(pool.active for pool in self._pools)

    def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            for connection in pool.pool.connections:
                if connection.is_idle():
                    with contextlib.suppress(Exception):  # it is broken: so much the better
                        connection.close()

    def close(self) -> None:
        """Close all connections, also those that are in use."""
        for pool in self._pools:
            pool.pool.close()


class _Pool(NamedTuple):
    pool: httpcore2.ConnectionPool
    limit: int
    active: set[Progress]
    """A set and no counter: the garbage collector may close a response at any moment, also between
    the two halves of `+= 1`."""


class _DeadlineBackend(httpcore2.SyncBackend):
    """A network whose reads and writes keep to the deadline that is set in their context."""

    def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _DeadlineStream(super().connect_tcp(*args, **options))


class _DeadlineStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with waiting(timeout) as seconds:
            return self._stream.read(max_bytes, seconds)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with waiting(timeout) as seconds:
            self._stream.write(buffer, seconds)

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    def start_tls(self, *args: Any, **options: Any) -> httpcore2.NetworkStream:
        return _DeadlineStream(self._stream.start_tls(*args, **options))


class UserClient:
    """A client of the user's, httpx2's or httpx's: it is used as it is and never closed.

    Args:
        client: The client.
    """

    proxy = ""
    phase = "response_headers"
    """It may know no `trace`, and tell nothing until the response is there."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, progress: Progress, accept_encoding: str) -> Response:
        """Send a request; return the response when its headers have come."""
        request = progress.request
        progress.start()
        with Watchdog(progress):
            built = self._client.build_request(
                request.method,
                request.url,
                headers=request.encoded_headers(accept_encoding),
                content=request.body or None,
                timeout=self._timeout(request),
                extensions={"trace": _trace(progress)},
            )
            response: Any = self._client.send(built, stream=True, follow_redirects=False)
        if response.is_stream_consumed:
            response = _unread(response)
        progress.receive(response.status_code, response.headers.raw, response.extensions)
        is_encoded = "content-encoding" in progress.headers
        chunks = response.iter_bytes() if is_encoded else iter(response.stream)
        return Response(progress, chunks, response, is_watched=True)

    def _timeout(self, request: APIRequest) -> Any:
        """Return the client's own timeout if its maker has set one, else the request's."""
        own, timeouts = self._client.timeout, request.timeouts
        kind = type(own)
        if own != kind(5.0):  # httpx's default
            return own
        return kind(**{**timeouts.extension(), "read": timeouts.longest_read})

    def close_idle(self) -> None:
        """Leave the client alone."""


def _unread(response: Any) -> Any:
    """Return a response that a hook of the client has read, and so decompressed, as if unread."""
    headers = [pair for pair in response.headers.raw if pair[0].lower() != b"content-encoding"]
    return type(response)(response.status_code, headers=headers, content=response.content)


Client = PooledClient | UserClient


def _trace(progress: Progress) -> Callable[[str, dict[str, Any]], None]:
    def trace(event: str, info: dict[str, Any]) -> None:
        progress.trace(event, info)

    return trace


class Response:
    """The body of a response, which is read within the deadline of its attempt.

    Args:
        progress: The attempt.
        chunks: The bytes, decompressed.
        response: What must be closed.
        is_watched: Whether the connection is not ours, so that a watchdog must limit the reads.
        on_close: Called when it is closed.
    """

    def __init__(
        self,
        progress: Progress,
        chunks: Iterator[bytes],
        response: Any,
        *,
        is_watched: bool = False,
        on_close: Callable[[], object] = bool,
    ) -> None:
        self._progress = progress
        self._chunks = chunks
        self._response = response
        self._is_watched = is_watched
        self._on_close = on_close
        self._next: Callable[[Iterator[bytes]], bytes] = next

    def read(self) -> bytes | None:
        """Return the next bytes, `None` at the end."""
        # The first step starts all generators of the response.
        step, self._next = self._next, next
        try:
            if self._is_watched:
                with Watchdog(self._progress):
                    return step(self._chunks)
            set_deadline(self._progress.deadline)
            return step(self._chunks)
        except StopIteration:
            return None

    def close(self) -> None:
        """Release the connection; it is closed unless the response was read to its end."""
        try:
            close_quietly(self._chunks)
        finally:
            try:
                close_quietly(self._response)
            finally:
                self._on_close()


def close_quietly(resource: Any) -> None:
    """Close what can be closed, whatever is wrong with it."""
    if hasattr(resource, "close"):
        with contextlib.suppress(Exception):
            resource.close()
