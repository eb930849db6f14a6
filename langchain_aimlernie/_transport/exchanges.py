"""One try of a call, sync and async: twins, which a test compares."""

from __future__ import annotations

import contextlib
import time
from itertools import chain
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from langchain_aimlernie._error_answers import error_from_response
from langchain_aimlernie._transport.clocks import FOREVER
from langchain_aimlernie._transport.inflate import ENCODINGS, ainflated, inflated, inflater_for
from langchain_aimlernie._transport.progress import Progress
from langchain_aimlernie._transport.requests import seconds_of
from langchain_aimlernie.errors import AimlErnieError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator

    from langchain_aimlernie._transport.clocks import AsyncClock, Clock
    from langchain_aimlernie._transport.lines import AsyncLine, Line
    from langchain_aimlernie._transport.pools import AsyncPool, GivenAsyncPool, GivenPool, Pool
    from langchain_aimlernie._transport.requests import Call, Decoder
    from langchain_aimlernie._transport.slots import Slot

T = TypeVar("T")
R = TypeVar("R")

_MAX_BODY = 64 * 1024 * 1024
"""Bytes of a JSON answer, unpacked."""

_MAX_ERROR_BODY = 64 * 1024
_ERROR_WITHIN = 5.0
"""Bytes and seconds for the body of an error, whose status we have."""

_MAX_REST = 64 * 1024
_REST_WITHIN = 0.1
"""Bytes and seconds for what comes after the end of a stream: reading it saves the connection."""

_SUCCESS = range(200, 300)


class Exchange(Progress, Generic[T]):
    """One try of a call: the connection it holds, its clock, and how far it has come.

    Args:
        call: The call.
        pool: Where its connection comes from.
        fresh: Whether it must be a new one.

    Attributes:
        chunks: The first chunks of a stream.
    """

    def __init__(self, call: Call, pool: Pool | GivenPool, *, fresh: bool = False) -> None:
        super().__init__(call, pool)
        self.chunks: Iterable[T] = ()
        self._pool = pool
        self._fresh = fresh
        self._slot: Slot[Line] | None = None
        self._clock: Clock | None = None
        self._pieces: Iterator[bytes] | None = None
        self._decoder: Decoder[T] | None = None
        self._events = 0
        self._idle = seconds_of(call.clocks.idle)

    def fetch(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the call, read the whole answer and decode it.

        Args:
            decode: Turns headers and body into the result.
            left: Seconds that the call has left.
        """
        clock = self._take("answer", self._call.clocks.read, left)
        with clock:
            status, headers = self._send(ENCODINGS)
            body = self._read() if status in _SUCCESS else b""
        if status not in _SUCCESS:
            raise self._refusal(status)
        self.close(reusable=True)
        self._check_type()
        if self._call.body and not body:
            raise InvalidResponseError("The server answered with nothing.", status_code=status)
        return decode(headers, body)

    def begin(self, new_decoder: Callable[[dict[str, str]], Decoder[T]]) -> None:
        """Send the call and read on until there are chunks.

        Args:
            new_decoder: Makes the stream's decoder, given the headers.
        """
        clock = self._take("first event", self._call.clocks.first_event, FOREVER)
        with clock:
            status, headers = self._send("identity")
        if status not in _SUCCESS:
            raise self._refusal(status)
        self._check_type()
        self._decoder = new_decoder(headers)
        while (chunks := self.advance()) is not None:
            rest = iter(chunks)
            for first in rest:
                self.chunks = chain((first,), rest)
                return

    def advance(self) -> Iterable[T] | None:
        """Read on; give what is to be told next, `None` when all has been told."""
        clock, decoder, pieces = self._clock, self._decoder, self._pieces
        if clock is None or decoder is None:
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            clock.rewind("idle", self._idle)
        if pieces is not None and not decoder.done:
            try:
                with clock:
                    data = next(pieces)
            except StopIteration:
                self._pieces = None
            else:
                return decoder.feed(data)
        if self._has_ended:
            return None
        self._has_ended = True
        return decoder.close()

    def finish(self) -> None:
        """End a stream that came to its end; what is left of the body is read, for a moment."""
        self.close(reusable=self._pieces is None or self._drain(self._pieces))

    def close(self, *, reusable: bool = False) -> None:
        """Give the connection back, to be closed if it is not `reusable`."""
        slot, self._slot = self._slot, None
        if slot is not None:
            in_time = self._clock is None or self._clock.stop()
            self._pool.give(slot, reusable=reusable and in_time)

    def _take(self, name: str, limit: float | None, left: float) -> Clock:
        slot = self._slot = self._pool.take(fresh=self._fresh)
        self._started = time.monotonic()
        seconds = seconds_of(limit)
        if left < seconds:
            name, seconds = "total", left
        clock = self._clock = cast("Line", slot.line).clock(name, seconds)
        return clock

    def _send(self, encodings: str) -> tuple[int, dict[str, str]]:
        line = cast("Line", cast("Slot[Line]", self._slot).line)
        status, headers, pieces = line.send(self._call, encodings)
        self._headers = headers
        self._pieces = self._unpacked(pieces, headers.get("content-encoding", ""))
        return status, headers

    def _unpacked(self, pieces: Iterator[bytes], encoding: str) -> Iterator[bytes]:
        inflater = inflater_for(encoding) if encoding else None
        return pieces if inflater is None else inflated(pieces, inflater)

    def _read(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in cast("Iterator[bytes]", self._pieces):
            size += len(piece)
            if size > _MAX_BODY:
                raise InvalidResponseError(
                    f"The answer is longer than {_MAX_BODY >> 20} MiB.", is_retryable=False
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _refusal(self, status: int) -> AimlErnieError:
        """Read what the server says of an error, as far as it says anything."""
        body = bytearray()
        clock = cast("Clock", self._clock)
        clock.rewind(clock.name, min(clock.limit, _ERROR_WITHIN))
        whole = False
        with contextlib.suppress(Exception), clock:
            for piece in cast("Iterator[bytes]", self._pieces):
                body += piece
                if len(body) > _MAX_ERROR_BODY:
                    break
            else:
                whole = True
        self.close(reusable=whole)
        return error_from_response(
            status, self._headers or {}, bytes(body), redactor=self._call.redactor
        )

    def _drain(self, pieces: Iterator[bytes]) -> bool:
        """Read what comes after the end; tell whether it was the end of the body."""
        clock = cast("Clock", self._clock)
        clock.rewind("rest", _REST_WITHIN)
        room, whole = _MAX_REST, False
        with contextlib.suppress(Exception), clock:  # whatever is wrong now, the answer is whole
            for piece in pieces:
                room -= len(piece)
                if room < 0:
                    break
            else:
                whole = True
        return whole


class AsyncExchange(Progress, Generic[T]):
    """One try of a call: the connection it holds, its clock, and how far it has come.

    Args:
        call: The call.
        pool: Where its connection comes from.
        fresh: Whether it must be a new one.

    Attributes:
        chunks: The first chunks of a stream.
    """

    def __init__(
        self, call: Call, pool: AsyncPool | GivenAsyncPool, *, fresh: bool = False
    ) -> None:
        super().__init__(call, pool)
        self.chunks: Iterable[T] = ()
        self._pool = pool
        self._fresh = fresh
        self._slot: Slot[AsyncLine] | None = None
        self._clock: AsyncClock | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._decoder: Decoder[T] | None = None
        self._events = 0
        self._idle = seconds_of(call.clocks.idle)

    async def fetch(self, decode: Callable[[dict[str, str], bytes], R], left: float) -> R:
        """Send the call, read the whole answer and decode it.

        Args:
            decode: Turns headers and body into the result.
            left: Seconds that the call has left.
        """
        clock = await self._take("answer", self._call.clocks.read, left)
        with clock:
            status, headers = await self._send(ENCODINGS)
            body = await self._read() if status in _SUCCESS else b""
        if status not in _SUCCESS:
            raise await self._refusal(status)
        await self.close(reusable=True)
        self._check_type()
        if self._call.body and not body:
            raise InvalidResponseError("The server answered with nothing.", status_code=status)
        return decode(headers, body)

    async def begin(self, new_decoder: Callable[[dict[str, str]], Decoder[T]]) -> None:
        """Send the call and read on until there are chunks.

        Args:
            new_decoder: Makes the stream's decoder, given the headers.
        """
        clock = await self._take("first event", self._call.clocks.first_event, FOREVER)
        with clock:
            status, headers = await self._send("identity")
        if status not in _SUCCESS:
            raise await self._refusal(status)
        self._check_type()
        self._decoder = new_decoder(headers)
        while (chunks := await self.advance()) is not None:
            rest = iter(chunks)
            for first in rest:
                self.chunks = chain((first,), rest)
                return

    async def advance(self) -> Iterable[T] | None:
        """Read on; give what is to be told next, `None` when all has been told."""
        clock, decoder, pieces = self._clock, self._decoder, self._pieces
        if clock is None or decoder is None:
            return None
        if decoder.events != self._events:
            self._events = decoder.events
            clock.rewind("idle", self._idle)
        if pieces is not None and not decoder.done:
            try:
                with clock:
                    data = await anext(pieces)
            except StopAsyncIteration:
                self._pieces = None
            else:
                return decoder.feed(data)
        if self._has_ended:
            return None
        self._has_ended = True
        return decoder.close()

    async def finish(self) -> None:
        """End a stream that came to its end; what is left of the body is read, for a moment."""
        await self.close(reusable=self._pieces is None or await self._drain(self._pieces))

    async def close(self, *, reusable: bool = False) -> None:
        """Give the connection back, to be closed if it is not `reusable`."""
        slot, self._slot = self._slot, None
        if slot is not None:
            in_time = self._clock is None or self._clock.stop()
            await self._pool.give(slot, reusable=reusable and in_time)

    async def _take(self, name: str, limit: float | None, left: float) -> AsyncClock:
        slot = self._slot = await self._pool.take(fresh=self._fresh)
        self._started = time.monotonic()
        seconds = seconds_of(limit)
        if left < seconds:
            name, seconds = "total", left
        clock = self._clock = cast("AsyncLine", slot.line).clock(name, seconds)
        return clock

    async def _send(self, encodings: str) -> tuple[int, dict[str, str]]:
        line = cast("AsyncLine", cast("Slot[AsyncLine]", self._slot).line)
        status, headers, pieces = await line.send(self._call, encodings)
        self._headers = headers
        self._pieces = self._unpacked(pieces, headers.get("content-encoding", ""))
        return status, headers

    def _unpacked(self, pieces: AsyncIterator[bytes], encoding: str) -> AsyncIterator[bytes]:
        inflater = inflater_for(encoding) if encoding else None
        return pieces if inflater is None else ainflated(pieces, inflater)

    async def _read(self) -> bytes:
        pieces: list[bytes] = []
        size = 0
        async for piece in cast("AsyncIterator[bytes]", self._pieces):
            size += len(piece)
            if size > _MAX_BODY:
                raise InvalidResponseError(
                    f"The answer is longer than {_MAX_BODY >> 20} MiB.", is_retryable=False
                )
            pieces.append(piece)
        return b"".join(pieces)

    async def _refusal(self, status: int) -> AimlErnieError:
        """Read what the server says of an error, as far as it says anything."""
        body = bytearray()
        clock = cast("AsyncClock", self._clock)
        clock.rewind(clock.name, min(clock.limit, _ERROR_WITHIN))
        whole = False
        with contextlib.suppress(Exception), clock:
            async for piece in cast("AsyncIterator[bytes]", self._pieces):
                body += piece
                if len(body) > _MAX_ERROR_BODY:
                    break
            else:
                whole = True
        await self.close(reusable=whole)
        return error_from_response(
            status, self._headers or {}, bytes(body), redactor=self._call.redactor
        )

    async def _drain(self, pieces: AsyncIterator[bytes]) -> bool:
        """Read what comes after the end; tell whether it was the end of the body."""
        clock = cast("AsyncClock", self._clock)
        clock.rewind("rest", _REST_WITHIN)
        room, whole = _MAX_REST, False
        with contextlib.suppress(Exception), clock:  # whatever is wrong now, the answer is whole
            async for piece in pieces:
                room -= len(piece)
                if room < 0:
                    break
            else:
                whole = True
        return whole
