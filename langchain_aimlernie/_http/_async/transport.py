"""Sends requests, tries again, reads and closes; what decides is in the modules around it."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from langchain_aimlernie._http.clients import AsyncClientRegistry
from langchain_aimlernie._http.deadlines import NO_LIMIT, AsyncDeadline, anext_unhooked, or_no_limit
from langchain_aimlernie._http.failures import FailureContext, to_error
from langchain_aimlernie._http.request import decode_headers
from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.error_mapping import (
    error_from_response,
    request_id_in,
    response_of,
)
from langchain_aimlernie.errors import AimlErnieError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from langchain_aimlernie._http._async.client import AsyncClient
    from langchain_aimlernie._http.config import ConnectionConfig
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
        self._clients = AsyncClientRegistry(config, user_client)

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

        async def run(attempt: AsyncAttempt[R], left: float) -> R:
            return await attempt.read_response(decode, left)

        return await self._retry(request, run, on_retry)

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

        async def run(attempt: AsyncAttempt[T], _: float) -> AsyncAttempt[T]:
            await attempt.open_stream(new_decoder)
            return attempt

        async def begin() -> AsyncAttempt[T]:
            return await self._retry(request, run, on_retry)

        return AsyncStream(begin)

    async def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        await self._clients.close()

    async def _retry(
        self,
        request: APIRequest,
        run: Callable[[AsyncAttempt[T], float], Awaitable[R]],
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None,
    ) -> R:
        """Make attempts until one succeeds or no retry is left."""
        retries = RetryState(request.max_retries)
        left = or_no_limit(request.timeouts.total)
        while True:
            client = await self._clients.get()
            attempt: AsyncAttempt[T] = AsyncAttempt(request, client)
            try:
                return await run(attempt, left)
            except Exception as error:  # noqa: BLE001  whatever it is becomes an error of ours
                failed = attempt.to_error(error)
            except BaseException:
                await attempt.close()
                raise
            left -= attempt.seconds
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

    It is no generator: the garbage collector would close an async one in a task of its own, while
    the generator around it does so, too.

    Args:
        begin: Sends the request; returns the attempt with its first chunks.

    Raises:
        AimlErnieError: While iterating: the call failed; `.partial` is what had come.
    """

    def __init__(self, begin: Callable[[], Awaitable[AsyncAttempt[T]]]) -> None:
        self._begin: Callable[[], Awaitable[AsyncAttempt[T]]] | None = begin
        self._attempt: AsyncAttempt[T] | None = None
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
            await self._complete()
        except BaseException as error:  # noqa: BLE001  it is raised below
            failed = await self._fail(error)
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

    async def _fail(self, error: BaseException) -> BaseException:
        attempt = self._attempt
        await self.aclose()
        if attempt is None or not isinstance(error, Exception):
            return error
        return attempt.to_error(error)

    async def _complete(self) -> None:
        if self._attempt is not None:
            await self._attempt.drain()
        await self.aclose()


class AsyncAttempt(Generic[T]):
    """One attempt of a call: its connection, its deadline, and how far it has come.

    Args:
        request: The request.
        client: What sends it.

    Attributes:
        first_chunks: The first chunks of a stream.
    """

    def __init__(self, request: APIRequest, client: AsyncClient) -> None:
        self.first_chunks: Iterable[T] = ()
        self._request = request
        self._client = client
        self._deadline = AsyncDeadline()
        # A user-supplied client may know no `trace`, and tell nothing until the response is there.
        self._is_connecting = not client.is_user_supplied
        self._is_reused = True
        self._started = NO_LIMIT
        self._phase = ""
        self._limit = NO_LIMIT
        self._network_stream: Any = None
        self._response: Any = None
        self._status = 0
        self._headers: dict[str, str] | None = None
        self._body: AsyncIterator[bytes] | None = None
        self._decoder: Decoder[T] | None = None
        self._events = 0
        self._has_ended = False

    @property
    def seconds(self) -> float:
        """How long the attempt has taken; time in the queue for a connection does not count."""
        return max(0.0, time.monotonic() - self._started)

    async def read_response(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the request, read the whole response and decode it.

        Args:
            decode: Turns headers and body into the result.
            left: Seconds that the call has left.
        """
        self._phase, self._limit = "response", or_no_limit(self._request.timeouts.read)
        if left < self._limit:
            self._phase, self._limit = "total", left
        with self._deadline:
            status = await self._send(_ACCEPT_ENCODING)
            body = await self._read_body() if status in _SUCCESS else b""
        if status not in _SUCCESS:
            raise await self._error_response(status)
        await self.close()
        headers = self._headers or {}
        self._reject_html(headers)
        if self._request.body and not body:
            raise InvalidResponseError("The server answered with nothing.", status_code=status)
        return decode(headers, body)

    async def open_stream(self, new_decoder: Callable[[dict[str, str]], Decoder[T]]) -> None:
        """Send the request and read on until there are chunks.

        Args:
            new_decoder: Makes the stream's decoder, given the headers.
        """
        self._phase, self._limit = "first event", or_no_limit(self._request.timeouts.first_event)
        with self._deadline:
            status = await self._send("identity")
        if status not in _SUCCESS:
            raise await self._error_response(status)
        headers = self._headers or {}
        self._reject_html(headers)
        self._decoder = new_decoder(headers)
        while (chunks := await self.next_chunks()) is not None:
            rest = iter(chunks)
            for first in rest:
                self.first_chunks = chain((first,), rest)
                return

    async def next_chunks(self) -> Iterable[T] | None:
        """Read from the network once; return the decoded chunks, `None` at the stream's end."""
        decoder, body = self._decoder, self._body
        if decoder is None:
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            self._deadline.start("idle", or_no_limit(self._request.timeouts.idle))
        if body is not None and not decoder.done:
            with self._deadline:
                data = await self._read()
            if data is not None:
                return decoder.feed(data)
            self._body = None
        if self._has_ended:
            return None
        self._has_ended = True
        return decoder.close()

    async def drain(self) -> None:
        """Read what comes after the end of a stream, for a moment, to keep its connection."""
        if self._body is None:
            return
        self._deadline.start("rest", _DRAIN_TIMEOUT)
        room = _DRAIN_LIMIT
        # Whatever is wrong now, the completion is whole.
        with contextlib.suppress(Exception), self._deadline:
            while room > 0 and (part := await self._read()) is not None:
                room -= len(part)

    async def close(self) -> None:
        """Release the connection; it is closed unless the response was read to its end."""
        self._deadline.stop()
        response, self._response = self._response, None
        body, self._body = cast("Any", self._body), None
        stream, self._network_stream = self._network_stream, None
        if self._headers is not None:
            stream = None  # httpcore forgets a connection whose handshake was broken off
        try:
            await _close(body)
        finally:
            try:
                await _close(response)
            finally:
                await _close(stream)

    def to_error(self, error: Exception) -> AimlErnieError:
        """Return the error of ours for what this attempt ended with."""
        decoder, request = self._decoder, self._request
        ours = to_error(error, self._context())
        if ours.partial is None and decoder is not None:
            ours.partial = decoder.partial
        if ours.response is None and self._headers is not None:
            ours.response = response_of(self._status, self._headers, ours.body, request.redactor)
        headers = {} if ours.response is None else ours.response.headers
        name = "x-client-request-id"
        sent = headers.get(name) or request.headers.get(name)
        ours.request_id = ours.request_id or request_id_in(headers)
        ours.inference_id = ours.inference_id or headers.get("x-inference-id")
        ours.client_request_id = ours.client_request_id or sent
        if self._has_ended and decoder is not None and not decoder.events:
            ours.phase = ours.phase or "empty_stream"
        if ours.__suppress_context__:  # httpx's exceptions hold the request with the key
            ours.__context__ = None
        return ours

    def _context(self) -> FailureContext:
        if self._headers is not None:
            phase = "response_body"
        else:
            phase = "connect" if self._is_connecting else "response_headers"
        return FailureContext(
            request=self._request,
            proxy=self._client.proxy,
            phase=phase,
            is_reused=self._is_reused and self._headers is None and not self._is_connecting,
            seconds=self.seconds,
            waiting_for=self._deadline.phase,
            limit=self._deadline.limit,
            events=0 if self._decoder is None else self._decoder.events,
        )

    async def _send(self, accept_encoding: str) -> int:
        if self._client.is_user_supplied:
            self._start_deadline()
        response = await self._client.send(self._request, accept_encoding, self._trace)
        self._response = response
        self._status = int(response.status_code)
        self._headers = decode_headers(response.headers.raw)
        self._follow(response.extensions.get("network_stream"))
        is_encoded = "content-encoding" in self._headers
        self._body = response.aiter_bytes() if is_encoded else aiter(response.stream)
        return self._status

    def _start_deadline(self) -> None:
        self._started = time.monotonic()
        self._deadline.start(self._phase, self._limit)

    async def _trace(self, event: str, info: dict[str, Any]) -> None:
        """Follow httpcore's events: where the attempt is, and over which connection."""
        step = event.partition(".")[2]
        if step in ("connect_tcp.started", "start_tls.started"):
            self._is_connecting, self._is_reused = True, False
            self._deadline.start("connect", NO_LIMIT)  # these have a timeout of their own
        elif step in ("connect_tcp.complete", "start_tls.complete"):
            self._follow(info["return_value"])
        elif step == "setup_socks5_connection.started":
            self._deadline.start("connect", or_no_limit(self._request.timeouts.connect))
        elif step == "send_request_headers.started":
            if info["request"].method == b"CONNECT":
                self._deadline.start("connect", or_no_limit(self._request.timeouts.connect))
            else:
                self._is_connecting = False
                self._start_deadline()
        if not step.endswith(".started"):  # what starts is still to be done with its `info`
            info.clear()  # httpcore logs it next, at DEBUG, and the server may repeat the key there

    def _follow(self, network_stream: Any) -> None:
        self._network_stream = network_stream
        if self._client.is_user_supplied:
            self._deadline.follow(network_stream)

    async def _read(self) -> bytes | None:
        """Return the next bytes of the body, `None` at its end."""
        try:
            return await anext_unhooked(cast("AsyncIterator[bytes]", self._body))
        except StopAsyncIteration:
            return None

    async def _read_body(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while (part := await self._read()) is not None:
            size += len(part)
            if size > _MAX_BODY:
                raise InvalidResponseError(
                    f"The response is longer than {_MAX_BODY >> 20} MiB.", is_retryable=False
                )
            parts.append(part)
        return b"".join(parts)

    async def _error_response(self, status: int) -> AimlErnieError:
        """Read what the server says of an error, as far as it says anything."""
        body = bytearray()
        self._deadline.start(self._phase, min(self._limit, _ERROR_BODY_TIMEOUT))
        with contextlib.suppress(Exception), self._deadline:
            while len(body) <= _MAX_ERROR_BODY and (part := await self._read()) is not None:
                body += part
        await self.close()
        return error_from_response(
            status, self._headers or {}, bytes(body), redactor=self._request.redactor
        )

    def _reject_html(self, headers: dict[str, str]) -> None:
        if headers.get("content-type", "").lower().startswith("text/html"):
            raise InvalidResponseError(
                "The server answered with a page of HTML. Is base_url right?", is_retryable=False
            )


async def _close(resource: Any) -> None:
    if hasattr(resource, "aclose"):
        with contextlib.suppress(Exception):
            await resource.aclose()
