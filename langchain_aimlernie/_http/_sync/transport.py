# Generated from _async/transport.py by .ci/unasync.py; do not edit.
"""The sync transport: it sends, reads, retries and closes.

Deadlines, the retry policy and the errors are in the other modules of `_http`, without I/O.
"""

from __future__ import annotations

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
    open_clients,
    ssl_context,
    evict,
    resolve,
    unread,
)
from langchain_aimlernie._http.failures import to_error
from langchain_aimlernie._http.request import (
    MAX_BODY,
    Watchdog,
    Progress,
    set_deadline,
    waiting,
)
from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.error_mapping import error_from_response
from langchain_aimlernie.errors import AimlErnieError, APIConnectionError

if TYPE_CHECKING:
    from collections.abc import (
        Callable,
        Iterable,
        Iterator,
    )

    from langchain_aimlernie._http.clients import ResolvedConfig
    from langchain_aimlernie._http.request import APIRequest, Decoder

    OnRetry = Callable[[int, AimlErnieError, float], None]

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


class Transport:
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

    def _client(self) -> PooledClient | UserClient:
        if self._user_client is not None:
            return UserClient(self._user_client)
        resolved, clients = self._resolved, open_clients()
        client = clients.get(resolved)
        if client is None:
            client = PooledClient(resolved, ssl_context(resolved))
            client = clients.setdefault(resolved, client)
            for evicted in evict(clients):
                evicted.close()
        client.last_used = time.monotonic()
        return client

    def send(
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
        return self._retry(
            request, lambda attempt, left: attempt.read_response(decode, left), on_retry
        )

    def stream(
        self,
        request: APIRequest,
        new_decoder: Callable[[dict[str, str]], Decoder[T]],
        *,
        on_retry: OnRetry | None = None,
    ) -> Stream[T]:
        """Return the chunks that a decoder makes of a stream; the first `next` sends the request.

        `new_decoder` gets the headers; nothing is sent again once a chunk was returned.
        """
        return Stream(
            lambda: self._retry(
                request, lambda attempt, _: attempt.open_stream(new_decoder), on_retry
            )
        )

    def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        if self._user_client is None:
            client = (open_clients()).get(self._resolved)
            if client is not None:
                client.close_idle()

    def _retry(
        self,
        request: APIRequest,
        run: Callable[[Attempt, float], R],
        on_retry: OnRetry | None,
    ) -> R:
        """Make attempts until one succeeds or no retry is left."""
        retries = RetryState(request.max_retries)
        left = request.timeouts.total
        is_replay = False
        while True:
            client = self._client()
            attempt = Attempt(request, client)
            attempt.progress.is_replay = is_replay
            try:
                return run(attempt, left)
            except Exception as error:  # noqa: BLE001  whatever it is becomes an error of ours
                failed = to_error(error, attempt.progress)
            except BaseException:
                attempt.close()
                raise
            left -= attempt.progress.seconds
            attempt.close()
            used = retries.used
            delay = retries.next_delay(failed, left=left, random=random.random)
            if delay is None:
                try:
                    raise failed
                finally:
                    del failed  # it holds this frame: only the garbage collector would free both
            is_replay = attempt.progress.is_reused and isinstance(failed, APIConnectionError)
            if on_retry is not None and retries.used > used:
                on_retry(retries.used, failed, delay)
            time.sleep(delay)
            left -= delay


class Stream(Generic[T]):
    """The chunks of one call, which `begin` sends; close it unless you read it to its end.

    It is not a generator: the garbage collector would close an async one in a task of its own,
    while the generator around it does so, too.
    """

    def __init__(self, begin: Callable[[], Attempt]) -> None:
        self._begin: Callable[[], Attempt] | None = begin
        self._attempt: Attempt | None = None
        self._chunks: Iterator[T] = iter(())

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        try:
            while True:
                for chunk in self._chunks:
                    return chunk
                if self._begin is not None:
                    begin, self._begin = self._begin, None
                    self._attempt = begin()
                    self._chunks = self._attempt.first_chunks
                elif self._attempt is None or (chunks := self._attempt.next_chunks()) is None:
                    break
                else:
                    self._chunks = iter(chunks)
            if self._attempt is not None:
                self._attempt.drain()
            self.close()
        except BaseException as error:  # noqa: BLE001  it is raised below
            failed, attempt = error, self._attempt
            self.close()
            if attempt is not None and isinstance(error, Exception):
                failed = to_error(error, attempt.progress)
        else:
            raise StopIteration
        try:
            raise failed
        finally:
            del failed  # it holds this frame: only the garbage collector would free both

    def close(self) -> None:
        """Release the connection; it is closed unless the stream has come to its end."""
        self._begin, self._chunks = None, iter(())
        attempt, self._attempt = self._attempt, None
        if attempt is not None:
            attempt.close()


class Attempt:
    """One attempt of a call, which must be closed."""

    def __init__(self, request: APIRequest, client: PooledClient | UserClient) -> None:
        self.first_chunks: Iterator[Any] = iter(())
        self.progress = Progress(request, client.proxy, client.phase)
        self._client = client
        self._response: Any = None
        self._body: Iterator[bytes] | None = None
        # The first step starts all generators of the response.
        self._next: Callable[[Iterator[bytes]], bytes] = next
        self._events = 0

    def read_response(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the request, read the whole response within `left` seconds, and decode it."""
        progress = self.progress
        limit = progress.request.timeouts.read
        progress.limit = ("total", left) if left < limit else ("response", limit)
        self._send(_ACCEPT_ENCODING)
        body = bytearray()
        self._read_into(body, MAX_BODY)
        self.close()
        return decode(progress.headers, progress.complete(body))

    def open_stream(self, new_decoder: Callable[[dict[str, str]], Decoder[Any]]) -> Self:
        """Send the request, read on until there are chunks, and return the attempt."""
        progress = self.progress
        progress.limit = "first event", progress.request.timeouts.first_event
        self._send("identity")
        progress.decoder = new_decoder(progress.headers)
        while (chunks := self.next_chunks()) is not None:
            rest = iter(chunks)
            for first in rest:
                self.first_chunks = chain((first,), rest)
                return self
        return self

    def next_chunks(self) -> Iterable[Any] | None:
        """Read from the network once; return the decoded chunks, `None` at the stream's end."""
        progress = self.progress
        decoder = progress.decoder
        if decoder is None or progress.has_ended:
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            progress.deadline.start("idle", progress.request.timeouts.idle)
        if not decoder.done:
            data = self._read()
            if data is not None:
                return decoder.feed(data)
        progress.has_ended = True
        return decoder.close()

    def drain(self) -> None:
        """Read what comes after the end of a stream, for a moment, to keep its connection."""
        self.progress.deadline.start("rest", _DRAIN_TIMEOUT)
        with contextlib.suppress(Exception):  # whatever is wrong now, the completion is whole
            self._read_into(bytearray(), _DRAIN_LIMIT)

    def close(self) -> None:
        """Release the connection; it is closed unless the response was read to its end."""
        body, response, progress = self._body, self._response, self.progress
        self._body = self._response = None
        try:
            _close_quietly(body)
        finally:
            try:
                # httpcore forgets a connection whose handshake was broken off.
                _close_quietly(response if progress.status else progress.network_stream)
            finally:
                self._client.release(progress)

    def _send(self, accept_encoding: str) -> None:
        """Send the request, and read the headers of a response that says it succeeded.

        Raises:
            AimlErnieError: The server answered with an error.
        """
        progress = self.progress
        self._response, self._body = self._client.send(progress, accept_encoding)
        if progress.status in _SUCCESS:
            return
        waiting_for, limit = progress.limit
        progress.deadline.start(waiting_for, min(limit, _ERROR_BODY_TIMEOUT))
        body = bytearray()
        with contextlib.suppress(Exception):  # what has come of it must do
            self._read_into(body, _MAX_ERROR_BODY)
        self.close()
        raise error_from_response(
            progress.status, progress.headers, bytes(body), redactor=progress.request.redactor
        )

    def _read_into(self, body: bytearray, limit: int) -> None:
        """Read the body to its end, or until it is longer than `limit` bytes."""
        while len(body) <= limit and (data := self._read()) is not None:
            body += data

    def _read(self) -> bytes | None:
        """Return the next bytes of the body, `None` at its end."""
        if self._body is None:
            return None
        step, self._next = self._next, next
        try:
            if self._client.is_ours:
                set_deadline(self.progress.deadline)
                return step(self._body)
            with Watchdog(self.progress):
                return step(self._body)
        except StopIteration:
            return None


class _DeadlineBackend(httpcore2.SyncBackend):
    """A network whose reads and writes keep to the deadline that is set in their context."""

    def connect_tcp(self, *args: Any, **options: Any) -> Any:
        return _DeadlineStream(super().connect_tcp(*args, **options))


class _DeadlineStream:
    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self.close, self.get_extra_info = stream.close, stream.get_extra_info

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        with waiting(timeout) as seconds:
            return self._stream.read(max_bytes, seconds)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        with waiting(timeout) as seconds:
            self._stream.write(buffer, seconds)

    def start_tls(self, *args: Any, **options: Any) -> Any:
        return _DeadlineStream(self._stream.start_tls(*args, **options))


class PooledClient(Pools):
    """The connections of one configuration."""

    new_pool = staticmethod(
        partial(httpcore2.ConnectionPool, network_backend=_DeadlineBackend())
    )

    def send(
        self, progress: Progress, accept_encoding: str
    ) -> tuple[Any, Iterator[bytes]]:
        """Send a request; return the response, once its headers have come, and its body."""
        if progress.is_replay:
            self.close_idle()  # the others may be broken as well
        pool = self._pool_for(progress)
        set_deadline(progress.deadline)
        response = pool.handle_request(
            progress.core_request(accept_encoding, progress.trace)
        )
        progress.receive(response.status, response.headers, response.extensions)
        if "content-encoding" not in progress.headers:
            return response, iter(response.stream)
        decoded = httpx2.Response(200, headers=response.headers, content=response.stream)
        return response, decoded.iter_bytes()

    def release(self, progress: Progress) -> None:
        """Note that an attempt has ended."""
        for pool in self._pools:
            pool.active.discard(progress)
        if self._is_closed:  # it was evicted when the attempt was about to use it
            self.close_idle()

    def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            for connection in pool.pool.connections:
                if connection.is_idle():
                    with contextlib.suppress(Exception):  # it is broken: so much the better
                        connection.close()

    def close(self) -> None:
        """Close all connections, also those that are in use."""
        self._is_closed = True
        for pool in self._pools:
            pool.pool.close()


class UserClient(SuppliedClient):
    """A user-supplied client of httpx2 or httpx: used as it is, never closed."""

    def send(
        self, progress: Progress, accept_encoding: str
    ) -> tuple[Any, Iterator[bytes]]:
        """Send a request; return the response, once its headers have come, and its body."""
        progress.start()
        with Watchdog(progress):
            request = self._request(progress, accept_encoding, progress.trace)
            response = self._client.send(request, stream=True, follow_redirects=False)
        response = unread(response)
        progress.receive(response.status_code, response.headers.raw, response.extensions)
        is_encoded = "content-encoding" in progress.headers
        return response, response.iter_bytes() if is_encoded else iter(response.stream)

    def release(self, progress: Progress) -> None:
        """Leave the client alone."""


def _close_quietly(resource: Any) -> None:
    """Close what can be closed, whatever is wrong with it."""
    if hasattr(resource, "close"):
        with contextlib.suppress(Exception):
            resource.close()
