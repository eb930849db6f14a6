"""One coroutine for the sync and the async variant of a function.

With a sync transport nothing in it suspends: the sync variant runs it to its end without a loop.
"""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Coroutine, Generator

T = TypeVar("T")


async def awaited(value: T | Awaitable[T]) -> T:
    """Return what an awaitable returns; any other value as it is."""
    return cast("T", await value if inspect.isawaitable(value) else value)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return cast("T", end.value)
    raise RuntimeError("The coroutine has suspended, as if it had an event loop.")


def iterate(items: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Yield the items of an async generator that never suspends."""
    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(None, None)  # else an event loop of this thread would close it, too
    try:
        step = anext(items)
    finally:
        sys.set_asyncgen_hooks(*hooks)
    try:
        while True:
            yield run(step)
            step = anext(items)
    except StopAsyncIteration:
        return
    finally:
        run(items.aclose())
