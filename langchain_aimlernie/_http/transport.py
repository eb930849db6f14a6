"""The transport: makes attempts of a request until one succeeds or no retry is left."""

from __future__ import annotations

import contextlib
import random
import time
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Self, TypeVar

from langchain_aimlernie._coroutines import awaited
from langchain_aimlernie._http.clients import UserClient, open_client, open_clients
from langchain_aimlernie._http.config import host_of, resolve
from langchain_aimlernie._http.failures import to_error
from langchain_aimlernie._http.network import (
    NO_LIMIT,
    AsyncNetwork,
    Deadline,
    Network,
    Timeouts,
)
from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.error_mapping import error_from_response
from langchain_aimlernie._text import NO_SECRETS, Redactor
from langchain_aimlernie.errors import APIConnectionError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping

    from langchain_aimlernie._http.clients import PooledClient
    from langchain_aimlernie._http.config import ConnectionConfig
    from langchain_aimlernie._response.stream import StreamDecoder
    from langchain_aimlernie.errors import AimlErnieError

    OnRetry = Callable[[int, AimlErnieError, float], Any]

R = TypeVar("R")

_ACCEPT_ENCODING = "gzip, deflate"
_MAX_BODY = 64 * 1024 * 1024
"""Bytes of a response that is not streamed, decompressed."""

_MAX_ERROR_BODY = 64 * 1024
_ERROR_BODY_TIMEOUT = 5.0
"""Bytes and seconds for the body of an HTTP error."""

_DRAIN_LIMIT = 64 * 1024
_DRAIN_TIMEOUT = 0.1
"""Bytes and seconds for what follows the end of a stream: once it is read, the connection can be
reused."""

_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True)
class APIRequest:
    """One request, the same for each of its attempts.

    Attributes:
        method: `POST`, or `GET` without a body.
        url: The address.
        headers: The headers, `Authorization` included; those of HTTP itself are added.
        body: The body as it is sent.
        timeouts: Its timeouts.
        max_retries: How many attempts may follow the first one.
        redactor: Replaces secrets in errors.
        model: The model's id, for a chat completion.
    """

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_retries: int = 2
    redactor: Redactor = field(default=NO_SECRETS, compare=False)
    model: str = ""

    def encoded_headers(self, accept_encoding: str) -> list[tuple[bytes, bytes]]:
        """Return the headers as they are sent, without `Host`.

        Raises:
            UnicodeEncodeError: A header cannot be sent.
        """
        length = {"Content-Length": str(len(self.body))} if self.body else {}
        headers = {"Accept-Encoding": accept_encoding, **length, **self.headers}
        return [(name.encode("ascii"), value.encode("ascii")) for name, value in headers.items()]


class Attempt:
    """One attempt of a call, which must be closed; an iterator over the chunks of a stream.

    It is not a generator: the garbage collector would close an async one in a new task, at the same
    time as the generator around it does.

    Attributes:
        request: The request.
        is_replay: Whether it needs a new connection, since the previous one was stale.
        phase: `connect`, `response_headers` or `response_body`.
        deadline: The current deadline.
        is_reused: Whether the connection was kept from an earlier request; `True` if unknown.
        network_stream: The connection, once it is known.
        status: The response's status; 0 before its headers were received.
        headers: The response's headers, names in lower case; empty before they were received.
        parts: The iterator over the response's body.
        has_started: Whether its first part has been requested.
        decoder: The decoder of a stream.
        has_ended: Whether a stream has ended.
    """

    def __init__(
        self, request: APIRequest, client: PooledClient | UserClient, *, is_replay: bool = False
    ) -> None:
        self.request = request
        self.is_replay = is_replay
        self.phase = client.phase
        self.deadline = Deadline()
        self.is_reused = True
        self.network_stream: Any = None
        self.status = 0
        self.headers: dict[str, str] = {}
        self.parts: Any = None
        self.has_started = False
        self.decoder: StreamDecoder | None = None
        self.has_ended = False
        self._client = client
        # The purpose and the seconds of the deadline that starts when the request is being sent.
        self._limit = ("", NO_LIMIT)
        self._started = NO_LIMIT  # when that was, after any queue for a connection
        self._response: Any = None
        self._events = 0
        self._chunks: Iterator[Any] | None = iter(())

    @property
    def host(self) -> str:
        """The server's name, and its port if that is not the default."""
        return host_of(self.request.url)

    @property
    def peer(self) -> str:
        """The server, or the proxy on the way to it, for error messages."""
        proxy = self._client.proxy
        return f"the proxy {proxy} on the way to {self.host}" if proxy else self.host

    @property
    def seconds(self) -> float:
        """How long the attempt has taken, without the queue for a connection."""
        return max(0.0, time.monotonic() - self._started)

    @property
    def events(self) -> int:
        """How many events of a stream were received."""
        return 0 if self.decoder is None else self.decoder.events

    async def read_response(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the request, read the whole response within `left` seconds, and decode it."""
        limit = self.request.timeouts.read
        self._limit = ("total", left) if left < limit else ("response", limit)
        await self._send(_ACCEPT_ENCODING)
        body = bytearray()
        await self._read_into(body, _MAX_BODY)
        await self.aclose()
        if len(body) > _MAX_BODY:
            raise InvalidResponseError(
                f"The response is longer than {_MAX_BODY >> 20} MiB.", is_retryable=False
            )
        if self.request.body and not body:
            raise InvalidResponseError("The response is empty.", status_code=self.status)
        return decode(self.headers, bytes(body))

    async def open_stream(self, new_decoder: Callable[[dict[str, str]], StreamDecoder]) -> Self:
        """Send the request, read until there are chunks, and return the attempt."""
        self._limit = "first event", self.request.timeouts.first_event
        await self._send("identity")
        self.decoder = new_decoder(self.headers)
        while self._chunks is not None:
            for first in self._chunks:
                self._chunks = chain((first,), self._chunks)
                return self
            self._chunks = await self._next_chunks()
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        try:
            while self._chunks is not None:
                for chunk in self._chunks:
                    return chunk
                self._chunks = await self._next_chunks()
        except Exception as error:  # noqa: BLE001  it is raised below
            failed = to_error(error, self)
        except BaseException:
            await self.aclose()
            raise
        else:
            await self.aclose()
            raise StopAsyncIteration
        await self.aclose()
        try:
            raise failed
        finally:
            del failed  # else a reference cycle with this frame

    async def aclose(self) -> None:
        """Release the connection; close it unless the response was read to its end."""
        # httpcore does not close a connection whose handshake was interrupted.
        connection = self._response if self.status else self.network_stream
        parts, close = self.parts, self._client.network.close
        self.parts = self._response = self._chunks = None
        try:
            with contextlib.suppress(Exception):  # whatever is wrong with it
                await close(parts)
        finally:
            try:
                with contextlib.suppress(Exception):
                    await close(connection)
            finally:
                await self._client.release(self)

    async def _send(self, accept_encoding: str) -> None:
        """Send the request and read the headers of the response.

        Raises:
            AimlErnieError: The status of the response is not a success.
        """
        await self._client.send(self, accept_encoding)
        if self.status in _SUCCESS:
            return
        waiting_for, limit = self._limit
        self.deadline.start(waiting_for, min(limit, _ERROR_BODY_TIMEOUT))
        body = bytearray()
        with contextlib.suppress(Exception):  # the part received must do
            await self._read_into(body, _MAX_ERROR_BODY)
        await self.aclose()
        raise error_from_response(
            self.status, self.headers, bytes(body), redactor=self.request.redactor
        )

    async def _read_into(self, received: bytearray, limit: int) -> None:
        """Read the body to its end, or until `received` is longer than `limit` bytes."""
        while len(received) <= limit and (data := await self._client.read(self)) is not None:
            received += data

    async def _next_chunks(self) -> Iterator[Any] | None:
        """Read from the network once; return the decoded chunks, `None` at the stream's end."""
        decoder = self.decoder
        if decoder is None or self.parts is None:
            return None
        if self.has_ended:
            self.deadline.start("rest", _DRAIN_TIMEOUT)
            with contextlib.suppress(Exception):  # the completion is whole already
                await self._read_into(bytearray(), _DRAIN_LIMIT)
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            self.deadline.start("idle", self.request.timeouts.idle)
        if not decoder.done and (data := await self._client.read(self)) is not None:
            return iter(decoder.feed(data))
        self.has_ended = True
        return iter(decoder.close())

    # Called by the client:

    def start(self) -> None:
        """Record that the request is being sent, and start the deadline."""
        self.phase = "response_headers"
        self._started = time.monotonic()
        self.deadline.start(*self._limit)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Record the phase and the connection from an event of httpcore's `trace` extension."""
        step = event.partition(".")[2]
        if step in ("connect_tcp.started", "start_tls.started"):
            self.phase, self.is_reused = "connect", False
            self.deadline.start("connect", NO_LIMIT)  # these steps have their own timeout
        elif step in ("connect_tcp.complete", "start_tls.complete"):
            self.network_stream = info["return_value"]
        elif step == "setup_socks5_connection.started" or (
            step == "send_request_headers.started" and info["request"].method == b"CONNECT"
        ):
            self.deadline.start("connect", self.request.timeouts.connect)
        elif step == "send_request_headers.started":
            self.start()
        if not step.endswith(".started"):  # httpcore still uses the `info` of a step that starts
            info.clear()  # it logs the others at DEBUG, where the server may have repeated the key

    async def async_trace(self, event: str, info: dict[str, Any]) -> None:
        """Do as `trace` does."""
        self.trace(event, info)

    def receive(self, status: int, headers: Iterable[tuple[bytes, bytes]], response: Any) -> None:
        """Record the status and the headers of the response."""
        self.phase = "response_body"
        self.status, self._response = status, response
        self.network_stream = response.extensions.get("network_stream")
        for name, value in headers:
            key, text = name.decode("latin-1").lower(), value.decode("utf-8", errors="replace")
            self.headers[key] = f"{self.headers[key]}, {text}" if key in self.headers else text


class Transport:
    """Sends requests and decodes their responses.

    Args:
        config: The settings of the connections; transports with the same settings share them.
        user_client: The user's client to use instead; it is never closed.
        is_async: Whether the coroutines run in an event loop; else none of them suspends.
    """

    def __init__(
        self, config: ConnectionConfig, user_client: Any = None, *, is_async: bool = False
    ) -> None:
        self._config = config
        self._user_client = user_client
        self._network = AsyncNetwork() if is_async else Network()

    @cached_property
    def _resolved(self) -> ConnectionConfig:
        """The settings with the proxy that the environment named at the first use."""
        return resolve(self._config)

    async def _client(self) -> PooledClient | UserClient:
        if self._user_client is not None:
            return UserClient(self._network, self._user_client)
        return await open_client(self._network, self._resolved)

    async def send(
        self,
        request: APIRequest,
        decode: Callable[[dict[str, str], bytes], R],
        *,
        on_retry: OnRetry | None = None,
    ) -> R:
        """Send a request; return the decoded response.

        Args:
            request: The request.
            decode: Decodes headers and body; an error that it raises fails the attempt.
            on_retry: Called before each wait with the number of retries so far, the error and the
                seconds to wait; an awaitable that it returns is awaited.

        Raises:
            AimlErnieError: The call failed, and no retry was left or could help.
        """
        return await self._retry(
            request, lambda attempt, left: attempt.read_response(decode, left), on_retry
        )

    async def stream(
        self,
        request: APIRequest,
        new_decoder: Callable[[dict[str, str]], StreamDecoder],
        *,
        on_retry: OnRetry | None = None,
    ) -> Attempt:
        """Send a request; return an iterator over the decoded chunks of the stream.

        `new_decoder` makes the decoder from the headers. There is no retry after the first chunk.
        """
        return await self._retry(
            request, lambda attempt, _: attempt.open_stream(new_decoder), on_retry
        )

    async def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        if self._user_client is None:
            client = (await open_clients(self._network)).get(self._resolved)
            if client is not None:
                await client.close_idle()

    async def _retry(
        self,
        request: APIRequest,
        start: Callable[[Attempt, float], Awaitable[R]],
        on_retry: OnRetry | None,
    ) -> R:
        """Make attempts until one succeeds or no retry is left."""
        retries = RetryState(request.max_retries)
        left = request.timeouts.total
        is_replay = False
        while True:
            attempt = Attempt(request, await self._client(), is_replay=is_replay)
            try:
                return await start(attempt, left)
            except Exception as error:  # noqa: BLE001  each becomes an `AimlErnieError`
                failed = to_error(error, attempt)
            except BaseException:
                await attempt.aclose()
                raise
            left -= attempt.seconds
            await attempt.aclose()
            used = retries.used
            delay = retries.next_delay(failed, left=left, random=random.random)
            if delay is None:
                try:
                    raise failed
                finally:
                    del failed  # else a reference cycle with this frame
            is_replay = attempt.is_reused and isinstance(failed, APIConnectionError)
            if on_retry is not None and retries.used > used:
                await awaited(on_retry(retries.used, failed, delay))
            await self._network.sleep(delay)
            left -= delay
