"""What sends a request over a connection: our own pools, or a client of the user's."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import httpcore2
import httpx2

from langchain_aimlernie._http.progress import AsyncWatchdog, set_deadline, waiting
from langchain_aimlernie._http.request import parse_url
from langchain_aimlernie._http.unhooked import anext_unhooked

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable

    from langchain_aimlernie._http.clients import ResolvedConfig
    from langchain_aimlernie._http.progress import Progress
    from langchain_aimlernie._http.request import APIRequest

_POOL_SIZE = 16
"""Connections in one of httpcore2's pools: it looks at each of them for every request."""


class AsyncPooledClient:
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
        size, backend = config.config.max_connections, _AsyncDeadlineBackend()
        self._pools = [
            _AsyncPool(
                httpcore2.AsyncConnectionPool(
                    max_connections=limit, network_backend=backend, **options
                ),
                limit,
                set(),
            )
            for limit in (min(_POOL_SIZE, size - start) for start in range(0, size, _POOL_SIZE))
        ]
        self.proxy = config.proxy_host
        self.last_used = time.monotonic()

    async def send(self, progress: Progress, accept_encoding: str) -> AsyncResponse:
        """Send a request; return the response when its headers have come."""
        request = progress.request
        url, host = parse_url(request.url)
        core_request = httpcore2.Request(
            request.method,
            url,
            headers=[(b"Host", host), *request.encoded_headers(accept_encoding)],
            content=request.content(),
            extensions={"timeout": request.timeouts.extension(), "trace": _async_trace(progress)},
        )
        # The first pool that has room, else the one with the fewest requests.
        pool = next((pool for pool in self._pools if len(pool.active) < pool.limit), None)
        pool = pool or min(self._pools, key=lambda pool: len(pool.active))
        set_deadline(progress.deadline)
        pool.active.add(progress)
        try:
            response = await pool.pool.handle_async_request(core_request)
        except BaseException:
            pool.active.discard(progress)
            raise
        progress.receive(response.status, response.headers, response.extensions)
        stream = cast("AsyncIterable[bytes]", response.stream)
        chunks = aiter(stream)
        if "content-encoding" in progress.headers:
            chunks = httpx2.Response(200, headers=response.headers, content=stream).aiter_bytes()
        return AsyncResponse(
            progress, chunks, response, on_close=lambda: pool.active.discard(progress)
        )

    @property
    def is_unused(self) -> bool:
        """Whether no request is under way."""
        return not any(pool.active for pool in self._pools)

    async def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            for connection in pool.pool.connections:
                if connection.is_idle():
                    with contextlib.suppress(Exception):  # it is broken: so much the better
                        await connection.aclose()

    async def close(self) -> None:
        """Close all connections, also those that are in use."""
        for pool in self._pools:
            await pool.pool.aclose()


class _AsyncPool(NamedTuple):
    pool: httpcore2.AsyncConnectionPool
    limit: int
    active: set[Progress]
    """A set and no counter: the garbage collector may close a response at any moment, also between
    the two halves of `+= 1`."""


class _AsyncDeadlineBackend(httpcore2.AnyIOBackend):
    """A network whose reads and writes keep to the deadline that is set in their context."""

    async def connect_tcp(self, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        return _AsyncDeadlineStream(await super().connect_tcp(*args, **options))


class _AsyncDeadlineStream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with waiting(timeout) as seconds:
            return await self._stream.read(max_bytes, seconds)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with waiting(timeout) as seconds:
            await self._stream.write(buffer, seconds)

    async def aclose(self) -> None:
        await self._stream.aclose()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)

    async def start_tls(self, *args: Any, **options: Any) -> httpcore2.AsyncNetworkStream:
        return _AsyncDeadlineStream(await self._stream.start_tls(*args, **options))


class AsyncUserClient:
    """A client of the user's, httpx2's or httpx's: it is used as it is and never closed.

    Args:
        client: The client.
    """

    proxy = ""
    phase = "response_headers"
    """It may know no `trace`, and tell nothing until the response is there."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def send(self, progress: Progress, accept_encoding: str) -> AsyncResponse:
        """Send a request; return the response when its headers have come."""
        request = progress.request
        progress.start()
        async with AsyncWatchdog(progress):
            built = self._client.build_request(
                request.method,
                request.url,
                headers=request.encoded_headers(accept_encoding),
                content=request.body or None,
                timeout=self._timeout(request),
                extensions={"trace": _async_trace(progress)},
            )
            response: Any = await self._client.send(built, stream=True, follow_redirects=False)
        if response.is_stream_consumed:
            response = _unread(response)
        progress.receive(response.status_code, response.headers.raw, response.extensions)
        is_encoded = "content-encoding" in progress.headers
        chunks = response.aiter_bytes() if is_encoded else aiter(response.stream)
        return AsyncResponse(progress, chunks, response, is_watched=True)

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


def _async_trace(progress: Progress) -> Callable[[str, dict[str, Any]], Awaitable[None]]:
    async def trace(event: str, info: dict[str, Any]) -> None:
        progress.trace(event, info)

    return trace


class AsyncResponse:
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
        chunks: AsyncIterator[bytes],
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
        self._anext: Callable[[AsyncIterator[bytes]], Awaitable[bytes]] = anext_unhooked

    async def read(self) -> bytes | None:
        """Return the next bytes, `None` at the end."""
        # The first step starts all generators of the response.
        step, self._anext = self._anext, anext
        try:
            if self._is_watched:
                async with AsyncWatchdog(self._progress):
                    return await step(self._chunks)
            set_deadline(self._progress.deadline)
            return await step(self._chunks)
        except StopAsyncIteration:
            return None

    async def close(self) -> None:
        """Release the connection; it is closed unless the response was read to its end."""
        try:
            await close_quietly(self._chunks)
        finally:
            try:
                await close_quietly(self._response)
            finally:
                self._on_close()


async def close_quietly(resource: Any) -> None:
    """Close what can be closed, whatever is wrong with it."""
    if hasattr(resource, "aclose"):
        with contextlib.suppress(Exception):
            await resource.aclose()
