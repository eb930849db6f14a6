"""The two shells that move bytes: they send, try again, read and close, and decide nothing.

`Transport` and `AsyncTransport` are twins; a test compares them word by word.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING, Generic, TypeVar

from langchain_aimlernie._transport.clients import AsyncClients, Clients
from langchain_aimlernie._transport.clocks import FOREVER
from langchain_aimlernie._transport.exchanges import AsyncExchange, Exchange
from langchain_aimlernie._transport.retry import Retries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    import httpx

    from langchain_aimlernie._transport.requests import Call, Decoder
    from langchain_aimlernie._transport.routes import Connection
    from langchain_aimlernie.errors import AimlErnieError

T = TypeVar("T")
R = TypeVar("R")


class Stream(Generic[T]):
    """The chunks of one call. Whoever leaves it before its end must close it.

    It is no generator: the collector would close an async one in a task of its own, while the
    generator around it does so, too.

    Args:
        begin: Sends the call; gives the exchange with its first chunks.

    Raises:
        AimlErnieError: While iterating: the call failed; `.partial` is what had come.
    """

    def __init__(self, begin: Callable[[], Exchange[T]]) -> None:
        self._begin: Callable[[], Exchange[T]] | None = begin
        self._advance: Callable[[], Iterable[T] | None] | None = None
        self._exchange: Exchange[T] | None = None
        self._chunks: Iterator[T] = iter(())

    def __iter__(self) -> Stream[T]:
        return self

    def __next__(self) -> T:
        try:
            while True:
                for chunk in self._chunks:
                    return chunk
                advance = self._advance or self._start
                chunks = advance()
                if chunks is None:
                    break
                self._chunks = iter(chunks)
            self._finish()
        except BaseException as error:  # noqa: BLE001  it is raised below
            failed = self._fail(error)
        else:
            raise StopIteration
        try:
            raise failed
        finally:
            del failed  # it holds this frame, and only the garbage collector would free both

    def close(self) -> None:
        """Free the connection, which is closed unless the stream has come to its end."""
        self._begin, self._advance, self._chunks = None, None, iter(())
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def _start(self) -> Iterable[T] | None:
        begin, self._begin = self._begin, None
        if begin is None:
            return None
        exchange = self._exchange = begin()
        self._advance = exchange.advance
        return exchange.chunks

    def _fail(self, error: BaseException) -> BaseException:
        exchange = self._exchange
        self.close()
        if exchange is None or not isinstance(error, Exception):
            return error
        return exchange.failure(error)

    def _finish(self) -> None:
        if self._exchange is not None:
            self._exchange.finish()
        self.close()


class Transport:
    """Sends calls and reads what comes back.

    Args:
        connection: The settings of the connections that are used, which are shared with each
            other transport of the same settings.
        client: The user's client, to be used instead of them; it is never closed.
    """

    def __init__(self, connection: Connection, client: httpx.Client | None = None) -> None:
        self._clients = Clients(connection, client)

    def send(
        self,
        call: Call,
        decode: Callable[[dict[str, str], bytes], R],
        *,
        on_retry: Callable[[int, AimlErnieError, float], None] | None = None,
    ) -> R:
        """Send a call; give what `decode` makes of the answer.

        Args:
            call: The call.
            decode: Turns headers (names in lower case) and body into the result; a body that it
                refuses with an error of ours counts as a failed try.
            on_retry: Told before each wait: which try failed, with what, and the seconds to wait.

        Raises:
            AimlErnieError: The call failed, and no retry was left or could help.
        """

        def attempt(exchange: Exchange[R], left: float) -> R:
            return exchange.fetch(decode, left)

        return self._try(call, attempt, on_retry)

    def stream(
        self,
        call: Call,
        new_decoder: Callable[[dict[str, str]], Decoder[T]],
        *,
        on_retry: Callable[[int, AimlErnieError, float], None] | None = None,
    ) -> Stream[T]:
        """Give the chunks that a decoder makes of a stream; asking for the first sends the call.

        Args:
            call: The call.
            new_decoder: Makes the decoder of one try's stream, given its headers.
            on_retry: As for `send`; nothing is tried again once a chunk was given.
        """

        def attempt(exchange: Exchange[T], _: float) -> Exchange[T]:
            exchange.begin(new_decoder)
            return exchange

        def begin() -> Exchange[T]:
            return self._try(call, attempt, on_retry)

        return Stream(begin)

    def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        self._clients.close()

    def _try(
        self,
        call: Call,
        attempt: Callable[[Exchange[T], float], R],
        on_retry: Callable[[int, AimlErnieError, float], None] | None,
    ) -> R:
        """Attempt a call until it succeeds or no retry is left."""
        retries = Retries(call.max_retries)
        left = FOREVER if call.clocks.total is None else call.clocks.total
        fresh = False
        while True:
            pool = self._clients.pool()
            exchange: Exchange[T] = Exchange(call, pool, fresh=fresh)
            try:
                return attempt(exchange, left)
            except Exception as error:  # noqa: BLE001  whatever it is becomes an error of ours
                failed = exchange.failure(error)
            except BaseException:
                exchange.close()
                raise
            left -= exchange.seconds
            exchange.close()
            made = retries.made
            delay = retries.delay(failed, left=left, random=random.random)
            if delay is None:
                try:
                    raise failed
                finally:
                    del failed  # as in `Stream`
            if on_retry is not None and retries.made > made:
                on_retry(retries.made, failed, delay)
            time.sleep(delay)
            left -= delay
            fresh = failed.phase == "reuse"


class AsyncStream(Generic[T]):
    """The chunks of one call. Whoever leaves it before its end must close it.

    It is no generator: the collector would close an async one in a task of its own, while the
    generator around it does so, too.

    Args:
        begin: Sends the call; gives the exchange with its first chunks.

    Raises:
        AimlErnieError: While iterating: the call failed; `.partial` is what had come.
    """

    def __init__(self, begin: Callable[[], Awaitable[AsyncExchange[T]]]) -> None:
        self._begin: Callable[[], Awaitable[AsyncExchange[T]]] | None = begin
        self._advance: Callable[[], Awaitable[Iterable[T] | None]] | None = None
        self._exchange: AsyncExchange[T] | None = None
        self._chunks: Iterator[T] = iter(())

    def __aiter__(self) -> AsyncStream[T]:
        return self

    async def __anext__(self) -> T:
        try:
            while True:
                for chunk in self._chunks:
                    return chunk
                advance = self._advance or self._start
                chunks = await advance()
                if chunks is None:
                    break
                self._chunks = iter(chunks)
            await self._finish()
        except BaseException as error:  # noqa: BLE001  it is raised below
            failed = await self._fail(error)
        else:
            raise StopAsyncIteration
        try:
            raise failed
        finally:
            del failed  # it holds this frame, and only the garbage collector would free both

    async def aclose(self) -> None:
        """Free the connection, which is closed unless the stream has come to its end."""
        self._begin, self._advance, self._chunks = None, None, iter(())
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.close()

    async def _start(self) -> Iterable[T] | None:
        begin, self._begin = self._begin, None
        if begin is None:
            return None
        exchange = self._exchange = await begin()
        self._advance = exchange.advance
        return exchange.chunks

    async def _fail(self, error: BaseException) -> BaseException:
        exchange = self._exchange
        await self.aclose()
        if exchange is None or not isinstance(error, Exception):
            return error
        return exchange.failure(error)

    async def _finish(self) -> None:
        if self._exchange is not None:
            await self._exchange.finish()
        await self.aclose()


class AsyncTransport:
    """Sends calls and reads what comes back, async.

    Args:
        connection: The settings of the connections that are used, which are shared with each
            other transport of the same settings.
        client: The user's client, to be used instead of them; it is never closed.
    """

    def __init__(self, connection: Connection, client: httpx.AsyncClient | None = None) -> None:
        self._clients = AsyncClients(connection, client)

    async def send(
        self,
        call: Call,
        decode: Callable[[dict[str, str], bytes], R],
        *,
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None = None,
    ) -> R:
        """Send a call; give what `decode` makes of the answer.

        Args:
            call: The call.
            decode: Turns headers (names in lower case) and body into the result; a body that it
                refuses with an error of ours counts as a failed try.
            on_retry: Told before each wait: which try failed, with what, and the seconds to wait.

        Raises:
            AimlErnieError: The call failed, and no retry was left or could help.
        """

        async def attempt(exchange: AsyncExchange[R], left: float) -> R:
            return await exchange.fetch(decode, left)

        return await self._try(call, attempt, on_retry)

    def stream(
        self,
        call: Call,
        new_decoder: Callable[[dict[str, str]], Decoder[T]],
        *,
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None = None,
    ) -> AsyncStream[T]:
        """Give the chunks that a decoder makes of a stream; asking for the first sends the call.

        Args:
            call: The call.
            new_decoder: Makes the decoder of one try's stream, given its headers.
            on_retry: As for `send`; nothing is tried again once a chunk was given.
        """

        async def attempt(exchange: AsyncExchange[T], _: float) -> AsyncExchange[T]:
            await exchange.begin(new_decoder)
            return exchange

        async def begin() -> AsyncExchange[T]:
            return await self._try(call, attempt, on_retry)

        return AsyncStream(begin)

    async def close(self) -> None:
        """Close the idle connections of these settings; calls under way are not disturbed."""
        await self._clients.close()

    async def _try(
        self,
        call: Call,
        attempt: Callable[[AsyncExchange[T], float], Awaitable[R]],
        on_retry: Callable[[int, AimlErnieError, float], Awaitable[None]] | None,
    ) -> R:
        """Attempt a call until it succeeds or no retry is left."""
        retries = Retries(call.max_retries)
        left = FOREVER if call.clocks.total is None else call.clocks.total
        fresh = False
        while True:
            pool = await self._clients.pool()
            exchange: AsyncExchange[T] = AsyncExchange(call, pool, fresh=fresh)
            try:
                return await attempt(exchange, left)
            except Exception as error:  # noqa: BLE001  whatever it is becomes an error of ours
                failed = exchange.failure(error)
            except BaseException:
                await exchange.close()
                raise
            left -= exchange.seconds
            await exchange.close()
            made = retries.made
            delay = retries.delay(failed, left=left, random=random.random)
            if delay is None:
                try:
                    raise failed
                finally:
                    del failed  # as in `AsyncStream`
            if on_retry is not None and retries.made > made:
                await on_retry(retries.made, failed, delay)
            await asyncio.sleep(delay)
            left -= delay
            fresh = failed.phase == "reuse"
