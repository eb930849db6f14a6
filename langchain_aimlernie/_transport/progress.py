"""How far a try of a call has come, and the error that it ends with."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._error_answers import request_id_in, response_of
from langchain_aimlernie._transport.clocks import FOREVER
from langchain_aimlernie._transport.failures import Trip, failure
from langchain_aimlernie.errors import AimlErnieError, InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_aimlernie._transport.clocks import AsyncClock, Clock
    from langchain_aimlernie._transport.pools import AsyncPool, GivenAsyncPool, GivenPool, Pool
    from langchain_aimlernie._transport.requests import Call, Decoder
    from langchain_aimlernie._transport.slots import Slot


class Progress:
    """How far a try of a call has come.

    Args:
        call: The call.
        pool: Where its connection comes from.
    """

    def __init__(self, call: Call, pool: Pool | GivenPool | AsyncPool | GivenAsyncPool) -> None:
        self._call = call
        self._proxy = pool.proxy
        self._started = FOREVER
        self._status = 0
        self._headers: dict[str, str] | None = None
        self._slot: Slot[Any] | None = None
        self._clock: AsyncClock | Clock | None = None
        self._decoder: Decoder[Any] | None = None
        self._has_ended = False

    @property
    def seconds(self) -> float:
        """How long it has had its connection: time in the queue does not count."""
        return max(0.0, time.monotonic() - self._started)

    def failure(self, error: Exception) -> AimlErnieError:
        """Make the error of ours for what this try ended with."""
        decoder, redactor = self._decoder, self._call.redactor
        ours = failure(error, self._trip())
        if ours.partial is None and decoder is not None:
            ours.partial = decoder.partial
        if ours.response is None and self._headers is not None:
            ours.response = response_of(self._status, self._headers, ours.body, redactor)
        headers = ours.response.headers if ours.response is not None else {}
        ours.request_id = ours.request_id or request_id_in(headers)
        ours.inference_id = ours.inference_id or headers.get("x-inference-id")
        ours.client_request_id = ours.client_request_id or self._client_request_id(headers)
        if self._has_ended and decoder is not None and not decoder.events:
            ours.phase = ours.phase or "empty"
        if ours.__suppress_context__:  # httpx's exceptions hold the request with the key
            ours.__context__ = None
        return ours

    def _client_request_id(self, headers: Mapping[str, str]) -> str | None:
        name = "x-client-request-id"
        return headers.get(name) or self._call.headers.get(name)

    def _check_type(self) -> None:
        if (self._headers or {}).get("content-type", "").lower().startswith("text/html"):
            raise InvalidResponseError(
                "The server answered with a page of HTML. Is base_url right?", is_retryable=False
            )

    def _trip(self) -> Trip:
        clock, line = self._clock, None if self._slot is None else self._slot.line
        phase = "connect" if line is None or line.is_opening else "head"
        return Trip(
            self._call,
            self._proxy,
            phase if self._headers is None else "body",
            line is not None and line.reused,
            self.seconds,
            "" if clock is None else clock.name,
            FOREVER if clock is None else clock.limit,
            0 if self._decoder is None else self._decoder.events,
        )
