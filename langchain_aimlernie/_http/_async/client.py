"""What sends a request over a connection: our own pools, or a client of the user's."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, cast

import httpcore2
import httpx2

from langchain_aimlernie._http.config import POOL_SIZE, async_network_options, parse_url

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

    from langchain_aimlernie._http.config import ResolvedConfig
    from langchain_aimlernie._http.request import APIRequest

    Trace = Callable[[str, dict[str, Any]], Awaitable[None]]


class AsyncPooledClient:
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
        options = async_network_options(config, ssl_context)
        limits = [POOL_SIZE] * (config.max_connections // POOL_SIZE)
        if rest := config.max_connections % POOL_SIZE:
            limits.append(rest)
        self._pools = [
            _AsyncLimitedPool(
                httpcore2.AsyncConnectionPool(max_connections=limit, **options), limit
            )
            for limit in limits
        ]
        self.proxy = config.proxy_host
        self.last_used = time.monotonic()

    async def send(self, request: APIRequest, accept_encoding: str, trace: Trace) -> Any:
        """Send a request; return the response, httpx2's or httpx's, when its headers have come."""
        url, host = parse_url(request.url)
        core_request = httpcore2.Request(
            request.method,
            url,
            headers=[(b"Host", host), *request.encoded_headers(accept_encoding)],
            content=request.content(),
            extensions={"timeout": request.timeouts.extension(), "trace": trace},
        )
        return await self._choose().send(core_request)

    def _choose(self) -> _AsyncLimitedPool:
        """Return the first pool that has room, else the one with the fewest requests."""
        for pool in self._pools:
            if len(pool.active) < pool.limit:
                return pool
        return min(self._pools, key=lambda pool: len(pool.active))

    @property
    def is_unused(self) -> bool:
        """Whether no request is under way."""
        return not any(pool.active for pool in self._pools)

    async def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            await pool.close_idle()

    async def close(self) -> None:
        """Close all connections, also those that are in use."""
        for pool in self._pools:
            await pool.pool.aclose()


class _AsyncLimitedPool:
    def __init__(self, pool: httpcore2.AsyncConnectionPool, limit: int) -> None:
        self.pool = pool
        self.limit = limit
        # A set and no counter: the garbage collector may close a response at any moment, also
        # between the two halves of `+= 1`.
        self.active: set[object] = set()

    async def send(self, request: httpcore2.Request) -> Any:
        self.active.add(request)
        try:
            response = await self.pool.handle_async_request(request)
        except BaseException:
            self.active.discard(request)
            raise
        return httpx2.Response(
            response.status,
            headers=response.headers,
            stream=_AsyncBody(response, lambda: self.active.discard(request)),
            extensions=response.extensions,
        )

    async def close_idle(self) -> None:
        for connection in self.pool.connections:
            if connection.is_idle():
                with contextlib.suppress(Exception):  # it is broken: so much the better
                    await connection.aclose()


class _AsyncBody(httpx2.AsyncByteStream):
    def __init__(self, response: httpcore2.Response, on_close: Callable[[], None]) -> None:
        self._response = response
        self._on_close = on_close

    def __aiter__(self) -> AsyncIterator[bytes]:
        return aiter(cast("AsyncIterable[bytes]", self._response.stream))

    async def aclose(self) -> None:
        try:
            await self._response.aclose()
        finally:
            self._on_close()


class AsyncUserClient:
    """A client of the user's, httpx2's or httpx's: it is used as it is and never closed.

    Args:
        client: The client.
    """

    is_user_supplied = True
    proxy = ""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, request: APIRequest, accept_encoding: str, trace: Trace) -> Any:
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
        response: Any = await client.send(built, stream=True, follow_redirects=False)
        return _unread(response) if response.is_stream_consumed else response

    def _timeout(self, request: APIRequest) -> Any:
        """Return the client's own timeout if its maker has set one, else the request's."""
        own, timeouts = self._client.timeout, request.timeouts
        kind = type(own)
        if own != kind(5.0):  # httpx's default
            return own
        return kind(**{**timeouts.extension(), "read": timeouts.longest_read})

    async def close_idle(self) -> None:
        """Leave the client alone."""


def _unread(response: Any) -> Any:
    """Return a response that a hook of the client has read, and so decompressed, as if unread."""
    headers = [pair for pair in response.headers.raw if pair[0].lower() != b"content-encoding"]
    return type(response)(response.status_code, headers=headers, content=response.content)


AsyncClient = AsyncPooledClient | AsyncUserClient
