"""Sends requests, tries again, reads and closes; what decides is in the modules around it."""

from __future__ import annotations

import asyncio
import contextlib
import random
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from langchain_aimlernie._http._async.client import AsyncUserClient, close_quietly
from langchain_aimlernie._http.clients import ConnectionConfig, async_client_registry, resolve
from langchain_aimlernie._http.failures import to_error
from langchain_aimlernie._http.progress import Progress
from langchain_aimlernie._http.request import or_no_limit, reject_html
from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.error_mapping import error_from_response
from langchain_aimlernie.errors import AimlErnieError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from langchain_aimlernie._http._async.client import AsyncClient, AsyncResponse
    from langchain_aimlernie._http.clients import ResolvedConfig
    from langchain_aimlernie._http.request import APIRequest, Decoder

T = TypeVar("T")
R = TypeVar("R")

_ACCEPT_ENCODING = "gzip, deflate"
_MAX_BODY = 64 * 1024 * 1024
"""Bytes of a response that is not streamed, decompressed."""

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
        config: The settings of the connections that are used, which are shared with each other
            transport of the same settings.
        user_client: The user's client, to be used instead of them; it is never closed.
    """

    def __init__(self, config: ConnectionConfig, user_client: Any = None) -> None:
        self._config = config
        self._user_client = user_client

    @cached_property
    def _resolved(self) -> ResolvedConfig:
        """The settings with the environment's proxies, which are read the first time."""
        return resolve(self._config)

    async def _client(self) -> AsyncClient:
        if self._user_client is not None:
            return AsyncUserClient(self._user_client)
        return await (await async_client_registry()).get(self._resolved)

    async def send(
        self,
        request: APIRequest,
        decode: Callable[[dict[str, str], bytes], R],
        *,
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None = None,
    ) -> R:
        """Send a request; return what `decode` makes of the response.

        Args:
            request: The request.
            decode: Turns headers (names in lower case) and body into the result; a body that it
                rejects with an error of ours counts as a failed attempt.
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
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None = None,
    ) -> AsyncStream[T]:
        """Return the chunks that a decoder makes of a stream; the first `next` sends the request.

        Args:
            request: The request.
            new_decoder: Makes the decoder of one attempt's stream, given its headers.
            on_retry: As for `send`; nothing is sent again once a chunk was returned.
        """
        return AsyncStream(
            lambda: self._retry(
                request, lambda attempt, _: attempt.open_stream(new_decoder), on_retry
            )
        )

    async def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        if self._user_client is None:
            await (await async_client_registry()).close_idle(self._resolved)

    async def _retry(
        self,
        request: APIRequest,
        run: Callable[[AsyncAttempt, float], Awaitable[R]],
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None,
    ) -> R:
        """Make attempts until one succeeds or no retry is left."""
        retries = RetryState(request.max_retries)
        left = or_no_limit(request.timeouts.total)
        while True:
            client = await self._client()
            attempt = AsyncAttempt(request, client)
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
            if failed.phase == "stale_connection":
                await client.close_idle()  # the others may be stale as well
            if on_retry is not None and retries.used > used:
                await on_retry(retries.used, failed, delay)
            await asyncio.sleep(delay)
            left -= delay


class AsyncStream(Generic[T]):
    """The chunks of one call. Whoever leaves it before its end must close it.

    It is not a generator: the garbage collector would close an async one in a task of its own,
    while the generator around it does so, too.

    Args:
        begin: Sends the request; returns the attempt with its first chunks.

    Raises:
        AimlErnieError: While iterating: the call failed; `.partial` is what had come.
    """

    def __init__(self, begin: Callable[[], Awaitable[AsyncAttempt]]) -> None:
        self._begin: Callable[[], Awaitable[AsyncAttempt]] | None = begin
        self._attempt: AsyncAttempt | None = None
        self._next: Callable[[], Awaitable[Iterable[T] | None]] | None = None
        self._chunks: Iterator[T] = iter(())

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        try:
            while True:
                for chunk in self._chunks:
                    return chunk
                read = self._next or self._open
                chunks = await read()
                if chunks is None:
                    break
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
        self._begin, self._next, self._chunks = None, None, iter(())
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            await attempt.close()

    async def _open(self) -> Iterable[T] | None:
        begin, self._begin = self._begin, None
        if begin is None:
            return None
        attempt = self._attempt = await begin()
        self._next = attempt.next_chunks
        return attempt.first_chunks


class AsyncAttempt:
    """One attempt of a call: its connection, its deadline, and how far it has come.

    Args:
        request: The request.
        client: What sends it.

    Attributes:
        first_chunks: The first chunks of a stream.
        progress: How far it has come.
    """

    def __init__(self, request: APIRequest, client: AsyncClient) -> None:
        self.first_chunks: Iterable[Any] = ()
        self.progress = Progress(request, client.proxy, client.phase)
        self._client = client
        self._response: AsyncResponse | None = None
        self._events = 0

    async def read_response(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the request, read the whole response and decode it.

        Args:
            decode: Turns headers and body into the result.
            left: Seconds that the call has left.
        """
        progress = self.progress
        limit = or_no_limit(progress.request.timeouts.read)
        progress.limit = ("total", left) if left < limit else ("response", limit)
        response = await self._send(_ACCEPT_ENCODING)
        parts: list[bytes] = []
        size = 0
        while (part := await response.read()) is not None:
            size += len(part)
            if size > _MAX_BODY:
                raise InvalidResponseError(
                    f"The response is longer than {_MAX_BODY >> 20} MiB.", is_retryable=False
                )
            parts.append(part)
        await self.close()
        reject_html(progress.headers)
        if progress.request.body and not size:
            raise InvalidResponseError(
                "The server answered with nothing.", status_code=progress.status
            )
        return decode(progress.headers, b"".join(parts))

    async def open_stream(self, new_decoder: Callable[[dict[str, str]], Decoder[Any]]) -> Self:
        """Send the request, read on until there are chunks, and return the attempt.

        Args:
            new_decoder: Makes the stream's decoder, given the headers.
        """
        progress = self.progress
        progress.limit = "first event", or_no_limit(progress.request.timeouts.first_event)
        self._response = await self._send("identity")
        reject_html(progress.headers)
        progress.decoder = new_decoder(progress.headers)
        while (chunks := await self.next_chunks()) is not None:
            rest = iter(chunks)
            for first in rest:
                self.first_chunks = chain((first,), rest)
                return self
        return self

    async def next_chunks(self) -> Iterable[Any] | None:
        """Read from the network once; return the decoded chunks, `None` at the stream's end."""
        progress, response = self.progress, self._response
        decoder = progress.decoder
        if decoder is None or progress.has_ended:
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            progress.deadline.start("idle", or_no_limit(progress.request.timeouts.idle))
        if response is not None and not decoder.done:
            data = await response.read()
            if data is not None:
                return decoder.feed(data)
        progress.has_ended = True
        return decoder.close()

    async def drain(self) -> None:
        """Read what comes after the end of a stream, for a moment, to keep its connection."""
        if self._response is None:
            return
        self.progress.deadline.start("rest", _DRAIN_TIMEOUT)
        # Whatever is wrong now, the completion is whole.
        await self._read_some(self._response, _DRAIN_LIMIT)

    async def close(self) -> None:
        """Release the connection; it is closed unless the response was read to its end."""
        response, self._response = self._response, None
        if response is not None:
            await response.close()
        elif not self.progress.status:
            # httpcore forgets a connection whose handshake was broken off.
            await close_quietly(self.progress.network_stream)

    async def _send(self, accept_encoding: str) -> AsyncResponse:
        """Return the response of a request that succeeded.

        Raises:
            AimlErnieError: The server answered with an error.
        """
        progress = self.progress
        response = self._response = await self._client.send(progress, accept_encoding)
        if progress.status in _SUCCESS:
            return response
        waiting_for, limit = progress.limit
        progress.deadline.start(waiting_for, min(limit, _ERROR_BODY_TIMEOUT))
        body = await self._read_some(response, _MAX_ERROR_BODY)
        await self.close()
        raise error_from_response(
            progress.status, progress.headers, body, redactor=progress.request.redactor
        )

    async def _read_some(self, response: AsyncResponse, room: int) -> bytes:
        """Return what comes of about `room` bytes, until the deadline or another error."""
        body = bytearray()
        with contextlib.suppress(Exception):
            while len(body) <= room and (part := await response.read()) is not None:
                body += part
        return bytes(body)
