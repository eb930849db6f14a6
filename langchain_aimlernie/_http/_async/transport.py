"""The async transport, from which the sync one is generated: it sends, reads, retries and closes.

Deadlines, the retry policy and the errors are in the other modules of `_http`, without I/O.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from functools import cached_property, partial
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import httpcore2
import httpx2

from langchain_aimlernie._http.clients import (
    ConnectionConfig,
    Pools,
    SuppliedClient,
    async_open_clients,
    async_ssl_context,
    evict,
    resolve,
    unread,
)
from langchain_aimlernie._http.failures import to_error
from langchain_aimlernie._http.request import (
    MAX_BODY,
    AsyncWatchdog,
    Progress,
    set_deadline,
    waiting,
)
from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._http.unhooked import anext_unhooked
from langchain_aimlernie._response.error_mapping import error_from_response
from langchain_aimlernie.errors import AimlErnieError, APIConnectionError

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Iterable,
        Iterator,
    )

    from langchain_aimlernie._http.clients import ResolvedConfig
    from langchain_aimlernie._http.request import APIRequest, Decoder

    OnRetry = Callable[[int, AimlErnieError, float], Awaitable[None]]

T = TypeVar("T")
R = TypeVar("R")

_ACCEPT_ENCODING = "gzip, deflate"
_MAX_ERROR_BODY = 64 * 1024
_ERROR_BODY_TIMEOUT = 5.0
"""Bytes and seconds for the body of an error, whose status we have."""

_DRAIN_LIMIT = 64 * 1024
_DRAIN_TIMEOUT = 0.1
"""Bytes and seconds for what comes after the end of a stream: reading it saves the connection."""

_SUCCESS = range(200, 300)


class AsyncTransport:
    """Sends requests and reads what comes back.

    Args:
        config: The settings of the connections, which all transports with the same settings share.
        user_client: The user's client, to be used instead of them; it is never closed.
    """

    def __init__(self, config: ConnectionConfig, user_client: Any = None) -> None:
        self._config = config
        self._user_client = user_client

    @cached_property
    def _resolved(self) -> ResolvedConfig:
        """The settings with the environment's proxies, which are read the first time."""
        return resolve(self._config)

    async def _client(self) -> AsyncPooledClient | AsyncUserClient:
        if self._user_client is not None:
            return AsyncUserClient(self._user_client)
        resolved, clients = self._resolved, await async_open_clients()
        client = clients.get(resolved)
        if client is None:
            client = AsyncPooledClient(resolved, await async_ssl_context(resolved))
            client = clients.setdefault(resolved, client)
            for evicted in evict(clients):
                await evicted.close()
        client.last_used = time.monotonic()
        return client

    async def send(
        self,
        request: APIRequest,
        decode: Callable[[dict[str, str], bytes], R],
        *,
        on_retry: OnRetry | None = None,
    ) -> R:
        """Send a request; return what `decode` makes of the headers and body of the response.

        Args:
            request: The request.
            decode: An error of ours that it raises counts as a failed attempt.
            on_retry: Called before each wait with the number of retries so far, the error and the
                seconds to wait.

        Raises:
            AimlErnieError: The call failed, and no retry was left or could help.
        """
        return await self._retry(
            request, lambda attempt, left: attempt.read_response(decode, left), on_retry
        )

    def stream(
        self,
        request: APIRequest,
        new_decoder: Callable[[dict[str, str]], Decoder[T]],
        *,
        on_retry: OnRetry | None = None,
    ) -> AsyncStream[T]:
        """Return the chunks that a decoder makes of a stream; the first `next` sends the request.

        `new_decoder` gets the headers; nothing is sent again once a chunk was returned.
        """
        return AsyncStream(
            lambda: self._retry(
                request, lambda attempt, _: attempt.open_stream(new_decoder), on_retry
            )
        )

    async def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        if self._user_client is None:
            client = (await async_open_clients()).get(self._resolved)
            if client is not None:
                await client.close_idle()

    async def _retry(
        self,
        request: APIRequest,
        run: Callable[[AsyncAttempt, float], Awaitable[R]],
        on_retry: OnRetry | None,
    ) -> R:
        """Make attempts until one succeeds or no retry is left."""
        retries = RetryState(request.max_retries)
        left = request.timeouts.total
        is_replay = False
        while True:
            client = await self._client()
            attempt = AsyncAttempt(request, client)
            attempt.progress.is_replay = is_replay
            try:
                return await run(attempt, left)
            except Exception as error:  # noqa: BLE001  whatever it is becomes an error of ours
                failed = to_error(error, attempt.progress)
            except BaseException:
                await attempt.close()
                raise
            left -= attempt.progress.seconds
            await attempt.close()
            used = retries.used
            delay = retries.next_delay(failed, left=left, random=random.random)
            if delay is None:
                try:
                    raise failed
                finally:
                    del failed  # it holds this frame: only the garbage collector would free both
            is_replay = attempt.progress.is_reused and isinstance(failed, APIConnectionError)
            if on_retry is not None and retries.used > used:
                await on_retry(retries.used, failed, delay)
            await asyncio.sleep(delay)
            left -= delay


class AsyncStream(Generic[T]):
    """The chunks of one call, which `begin` sends; close it unless you read it to its end.

    It is not a generator: the garbage collector would close an async one in a task of its own,
    while the generator around it does so, too.
    """

    def __init__(self, begin: Callable[[], Awaitable[AsyncAttempt]]) -> None:
        self._begin: Callable[[], Awaitable[AsyncAttempt]] | None = begin
        self._attempt: AsyncAttempt | None = None
        self._chunks: Iterator[T] = iter(())

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        try:
            while True:
                for chunk in self._chunks:
                    return chunk
                if self._begin is not None:
                    begin, self._begin = self._begin, None
                    self._attempt = await begin()
                    self._chunks = self._attempt.first_chunks
                elif self._attempt is None or (chunks := await self._attempt.next_chunks()) is None:
                    break
                else:
                    self._chunks = iter(chunks)
            if self._attempt is not None:
                await self._attempt.drain()
            await self.aclose()
        except BaseException as error:  # noqa: BLE001  it is raised below
            failed, attempt = error, self._attempt
            await self.aclose()
            if attempt is not None and isinstance(error, Exception):
                failed = to_error(error, attempt.progress)
        else:
            raise StopAsyncIteration
        try:
            raise failed
        finally:
            del failed  # it holds this frame: only the garbage collector would free both

    async def aclose(self) -> None:
        """Release the connection; it is closed unless the stream has come to its end."""
        self._begin, self._chunks = None, iter(())
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            await attempt.close()


class AsyncAttempt:
    """One attempt of a call, which must be closed."""

    def __init__(self, request: APIRequest, client: AsyncPooledClient | AsyncUserClient) -> None:
        self.first_chunks: Iterator[Any] = iter(())
        self.progress = Progress(request, client.proxy, client.phase)
        self._client = client
        self._response: Any = None
        self._body: AsyncIterator[bytes] | None = None
        # The first step starts all generators of the response.
        self._anext: Callable[[AsyncIterator[bytes]], Awaitable[bytes]] = anext_unhooked
        self._events = 0

    async def read_response(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the request, read the whole response within `left` seconds, and decode it."""
        progress = self.progress
        limit = progress.request.timeouts.read
        progress.limit = ("total", left) if left < limit else ("response", limit)
        await self._send(_ACCEPT_ENCODING)
        body = bytearray()
        await self._read_into(body, MAX_BODY)
        await self.close()
        return decode(progress.headers, progress.complete(body))

    async def open_stream(self, new_decoder: Callable[[dict[str, str]], Decoder[Any]]) -> Self:
        """Send the request, read on until there are chunks, and return the attempt."""
        progress = self.progress
        progress.limit = "first event", progress.request.timeouts.first_event
        await self._send("identity")
        progress.decoder = new_decoder(progress.headers)
        while (chunks := await self.next_chunks()) is not None:
            rest = iter(chunks)
            for first in rest:
                self.first_chunks = chain((first,), rest)
                return self
        return self

    async def next_chunks(self) -> Iterable[Any] | None:
        """Read from the network once; return the decoded chunks, `None` at the stream's end."""
        progress = self.progress
        decoder = progress.decoder
        if decoder is None or progress.has_ended:
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            progress.deadline.start("idle", progress.request.timeouts.idle)
        if not decoder.done:
            data = await self._read()
            if data is not None:
                return decoder.feed(data)
        progress.has_ended = True
        return decoder.close()

    async def drain(self) -> None:
        """Read what comes after the end of a stream, for a moment, to keep its connection."""
        self.progress.deadline.start("rest", _DRAIN_TIMEOUT)
        with contextlib.suppress(Exception):  # whatever is wrong now, the completion is whole
            await self._read_into(bytearray(), _DRAIN_LIMIT)

    async def close(self) -> None:
        """Release the connection; it is closed unless the response was read to its end."""
        body, response, progress = self._body, self._response, self.progress
        self._body = self._response = None
        try:
            await _close_quietly(body)
        finally:
            try:
                # httpcore forgets a connection whose handshake was broken off.
                await _close_quietly(response if progress.status else progress.network_stream)
            finally:
                await self._client.release(progress)

    async def _send(self, accept_encoding: str) -> None:
        """Send the request, and read the headers of a response that says it succeeded.

        Raises:
            AimlErnieError: The server answered with an error.
        """
        progress = self.progress
        self._response, self._body = await self._client.send(progress, accept_encoding)
        if progress.status in _SUCCESS:
            return
        waiting_for, limit = progress.limit
        progress.deadline.start(waiting_for, min(limit, _ERROR_BODY_TIMEOUT))
        body = bytearray()
        with contextlib.suppress(Exception):  # what has come of it must do
            await self._read_into(body, _MAX_ERROR_BODY)
        await self.close()
        raise error_from_response(
            progress.status, progress.headers, bytes(body), redactor=progress.request.redactor
        )

    async def _read_into(self, body: bytearray, limit: int) -> None:
        """Read the body to its end, or until it is longer than `limit` bytes."""
        while len(body) <= limit and (data := await self._read()) is not None:
            body += data

    async def _read(self) -> bytes | None:
        """Return the next bytes of the body, `None` at its end."""
        if self._body is None:
            return None
        step, self._anext = self._anext, anext
        try:
            if self._client.is_ours:
                set_deadline(self.progress.deadline)
                return await step(self._body)
            async with AsyncWatchdog(self.progress):
                return await step(self._body)
        except StopAsyncIteration:
            return None


class _AsyncDeadlineBackend(httpcore2.AnyIOBackend):
    """A network whose reads and writes keep to the deadline that is set in their context."""

    async def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _AsyncDeadlineStream(await super().connect_tcp(*args, **options))


class _AsyncDeadlineStream:
    def __init__(self, stream: httpcore2.AsyncNetworkStream) -> None:
        self._stream = stream
        self.aclose, self.get_extra_info = stream.aclose, stream.get_extra_info

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with waiting(timeout) as seconds:
            return await self._stream.read(max_bytes, seconds)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with waiting(timeout) as seconds:
            await self._stream.write(buffer, seconds)

    async def start_tls(self, *args: Any, **options: Any) -> Any:
        return _AsyncDeadlineStream(await self._stream.start_tls(*args, **options))


class AsyncPooledClient(Pools):
    """The connections of one configuration."""

    new_pool = staticmethod(
        partial(httpcore2.AsyncConnectionPool, network_backend=_AsyncDeadlineBackend())
    )

    async def send(
        self, progress: Progress, accept_encoding: str
    ) -> tuple[Any, AsyncIterator[bytes]]:
        """Send a request; return the response, once its headers have come, and its body."""
        if progress.is_replay:
            await self.close_idle()  # the others may be broken as well
        pool = self._pool_for(progress)
        set_deadline(progress.deadline)
        response = await pool.handle_async_request(
            progress.core_request(accept_encoding, progress.async_trace)
        )
        progress.receive(response.status, response.headers, response.extensions)
        if "content-encoding" not in progress.headers:
            return response, aiter(response.stream)
        decoded = httpx2.Response(200, headers=response.headers, content=response.stream)
        return response, decoded.aiter_bytes()

    async def release(self, progress: Progress) -> None:
        """Note that an attempt has ended."""
        for pool in self._pools:
            pool.active.discard(progress)
        if self._is_closed:  # it was evicted when the attempt was about to use it
            await self.close_idle()

    async def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            for connection in pool.pool.connections:
                if connection.is_idle():
                    with contextlib.suppress(Exception):  # it is broken: so much the better
                        await connection.aclose()

    async def close(self) -> None:
        """Close all connections, also those that are in use."""
        self._is_closed = True
        for pool in self._pools:
            await pool.pool.aclose()


class AsyncUserClient(SuppliedClient):
    """A user-supplied client of httpx2 or httpx: used as it is, never closed."""

    async def send(
        self, progress: Progress, accept_encoding: str
    ) -> tuple[Any, AsyncIterator[bytes]]:
        """Send a request; return the response, once its headers have come, and its body."""
        progress.start()
        async with AsyncWatchdog(progress):
            request = self._request(progress, accept_encoding, progress.async_trace)
            response = await self._client.send(request, stream=True, follow_redirects=False)
        response = unread(response)
        progress.receive(response.status_code, response.headers.raw, response.extensions)
        is_encoded = "content-encoding" in progress.headers
        return response, response.aiter_bytes() if is_encoded else aiter(response.stream)

    async def release(self, progress: Progress) -> None:
        """Leave the client alone."""


async def _close_quietly(resource: Any) -> None:
    """Close what can be closed, whatever is wrong with it."""
    if hasattr(resource, "aclose"):
        with contextlib.suppress(Exception):
            await resource.aclose()
