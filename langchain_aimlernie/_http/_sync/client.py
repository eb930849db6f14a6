# Generated from _async/client.py by .ci/unasync.py; do not edit.
"""What sends a request over a connection: our own pools, or a client of the user's."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, cast

import httpcore2
import httpx2

from langchain_aimlernie._http.config import POOL_SIZE, network_options, parse_url

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    from langchain_aimlernie._http.config import ResolvedConfig
    from langchain_aimlernie._http.request import APIRequest

    Trace = Callable[[str, dict[str, Any]], None]


class PooledClient:
    """The connections of one configuration, spread over small pools of httpcore2.

    A pool looks at each of its connections for every request, so that many small ones are faster
    than a large one.

    Args:
        config: Where the connections lead, and how many there may be.
        ssl_context: Their TLS settings.

    Attributes:
        proxy: The host of the proxy; empty if there is none.
        last_used: When a call has last asked for it, in seconds of the monotonic clock.
    """

    is_user_supplied = False

    def __init__(self, config: ResolvedConfig, ssl_context: ssl.SSLContext | None) -> None:
        options = network_options(config, ssl_context)
        limits = [POOL_SIZE] * (config.max_connections // POOL_SIZE)
        if rest := config.max_connections % POOL_SIZE:
            limits.append(rest)
        self._pools = [
            _LimitedPool(
                httpcore2.ConnectionPool(max_connections=limit, **options), limit
            )
            for limit in limits
        ]
        self.proxy = config.proxy_host
        self.last_used = time.monotonic()

    def send(self, request: APIRequest, accept_encoding: str, trace: Trace) -> Any:
        """Send a request; return the response, httpx2's or httpx's, when its headers have come."""
        url, host = parse_url(request.url)
        core_request = httpcore2.Request(
            request.method,
            url,
            headers=[(b"Host", host), *request.encoded_headers(accept_encoding)],
            content=request.content(),
            extensions={"timeout": request.timeouts.extension(), "trace": trace},
        )
        return self._choose().send(core_request)

    def _choose(self) -> _LimitedPool:
        """Return the first pool that has room, else the one with the fewest requests."""
        for pool in self._pools:
            if len(pool.active) < pool.limit:
                return pool
        return min(self._pools, key=lambda pool: len(pool.active))

    @property
    def is_unused(self) -> bool:
        """Whether no request is under way."""
        return not any(pool.active for pool in self._pools)

    def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            pool.close_idle()

    def close(self) -> None:
        """Close all connections, also those that are in use."""
        for pool in self._pools:
            pool.pool.close()


class _LimitedPool:
    def __init__(self, pool: httpcore2.ConnectionPool, limit: int) -> None:
        self.pool = pool
        self.limit = limit
        # A set and no counter: the garbage collector may close a response at any moment, also
        # between the two halves of `+= 1`.
        self.active: set[object] = set()

    def send(self, request: httpcore2.Request) -> Any:
        self.active.add(request)
        try:
            response = self.pool.handle_request(request)
        except BaseException:
            self.active.discard(request)
            raise
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_Body(response, lambda: self.active.discard(request)),
            extensions=response.extensions,
        )

    def close_idle(self) -> None:
        for connection in self.pool.connections:
            if connection.is_idle():
                with contextlib.suppress(Exception):  # it is broken: so much the better
                    connection.close()


class _Body(httpx2.SyncByteStream):
    def __init__(self, response: httpcore2.Response, on_close: Callable[[], None]) -> None:
        self._response = response
        self._on_close = on_close

    def __iter__(self) -> Iterator[bytes]:
        return iter(cast("Iterable[bytes]", self._response.stream))

    def close(self) -> None:
        try:
            self._response.close()
        finally:
            self._on_close()


class UserClient:
    """A client of the user's, httpx2's or httpx's: it is used as it is and never closed.

    Args:
        client: The client.
    """

    is_user_supplied = True
    proxy = ""

    def __init__(self, client: Any) -> None:
        self._client = client

    def send(self, request: APIRequest, accept_encoding: str, trace: Trace) -> Any:
        """Send a request; return the response, httpx2's or httpx's, when its headers have come."""
        client = self._client
        built = client.build_request(
            request.method,
            request.url,
            headers=request.encoded_headers(accept_encoding),
            content=request.body or None,
            timeout=self._timeout(request),
            extensions={"trace": trace},
        )
        response: Any = client.send(built, stream=True, follow_redirects=False)
        return _unread(response) if response.is_stream_consumed else response

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
