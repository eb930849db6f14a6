"""How a chat model asks the spend trackers among its callbacks before it sends a request.

A callback cannot do that well: it runs before the cache lookup, its errors are logged as failures
of a callback, and it cannot wait without blocking an event loop. So `ChatAimlErnie` asks itself.
LangChain passes the callbacks of a call to `_generate`, but not to `_stream`; the meters of the
latter come by a context variable, which they set when the run starts, in the same context.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from contextvars import ContextVar
from typing import TYPE_CHECKING

from langchain_core.callbacks import BaseCallbackHandler

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from uuid import UUID

    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun

_MAX_WAIT = 60.0
"""Seconds that a call waits for the price of another one before it goes on without."""


class Meter(BaseCallbackHandler):
    """A callback handler that decides whether a call may be sent."""

    @abstractmethod
    def reserve(
        self, run_id: UUID, request_id: str | None = None, *, may_wait: bool = True
    ) -> Future[None] | None:
        """Reserve the expected cost of a call.

        Args:
            run_id: The run of the call.
            request_id: The call's `X-Client-Request-Id`, if no other call has the same.
            may_wait: Whether the call may wait for the price of another one.

        Returns:
            `None` if the call may be sent, else a future to wait for before the next attempt.

        Raises:
            BudgetExceededError: The call must not be sent.
        """


_current: ContextVar[tuple[UUID, tuple[Meter, ...]] | None] = ContextVar(
    "aimlernie_meters", default=None
)


def add_meter(run_id: UUID, meter: Meter) -> None:
    """Register `meter` for the call that this run is about to make, in this context."""
    current = _current.get()
    others = current[1] if current is not None and current[0] == run_id else ()
    _current.set((run_id, (*others, meter)))


def set_meters(
    run_manager: CallbackManagerForLLMRun | AsyncCallbackManagerForLLMRun | None,
) -> None:
    """Register the meters among the callbacks of a run for its call."""
    if run_manager is not None:
        meters = tuple(each for each in run_manager.handlers if isinstance(each, Meter))
        _current.set((run_manager.run_id, meters) if meters else None)


def admit(request_id: str | None) -> None:
    """Reserve the cost of this call with each meter, waiting as long as a meter asks.

    Args:
        request_id: The call's `X-Client-Request-Id`, if no other call has the same.

    Raises:
        BudgetExceededError: The call must not be sent.
    """
    for run_id, meter in _meters():
        may_wait = True
        while (future := meter.reserve(run_id, request_id, may_wait=may_wait)) is not None:
            try:
                future.result(_MAX_WAIT)
            except TimeoutError:
                may_wait = False
            finally:
                future.cancel()


async def aadmit(request_id: str | None) -> None:
    """Reserve the cost of this call with each meter; see `admit`."""
    for run_id, meter in _meters():
        may_wait = True
        while (future := meter.reserve(run_id, request_id, may_wait=may_wait)) is not None:
            try:
                async with asyncio.timeout(_MAX_WAIT):
                    await asyncio.wrap_future(future)
            except TimeoutError:
                may_wait = False
            finally:
                future.cancel()


def _meters() -> Iterator[tuple[UUID, Meter]]:
    current = _current.get()
    if current is not None:
        run_id, meters = current
        for meter in meters:
            yield run_id, meter
