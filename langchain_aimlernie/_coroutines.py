"""Run one coroutine as the sync and the async variant of a function.

With a sync transport it never suspends, so the sync variant runs it without an event loop.
"""

from __future__ import annotations

import inspect
import sys
import types
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator

T = TypeVar("T")


async def awaited(value: T | Awaitable[T]) -> T:
    """Return the result of an awaitable, or any other value as it is."""
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
    sys.set_asyncgen_hooks(None, None)  # else this thread's event loop would close it, too
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


def _do_not_finalize(_: object) -> None:
    """Do nothing, in the place of the event loop's finalizer."""


@types.coroutine
def unhooked(function: Callable[..., Awaitable[T]], *args: Any) -> Generator[Any, Any, T]:
    """Await `function(*args)`; the loop does not know the async generators that start meanwhile.

    A loop that ends closes all generators that it knows, at once. Those of httpcore are nested, so
    each would be closed twice: by the loop and by the generator around it, which is an error. This
    package closes them itself. If a loop was dropped before, the garbage collector must not run
    their `finally` blocks in the middle of another task.
    """
    steps: Any = None
    step: Callable[[Any], Any] | None = None
    sent: Any = None
    while True:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, _do_not_finalize)
        try:
            if step is None:
                steps = function(*args).__await__()
                step = steps.send
            waiting_for = step(sent)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        try:
            step, sent = steps.send, (yield waiting_for)
        except BaseException as error:  # noqa: BLE001  thrown into the coroutine
            step, sent = steps.throw, error
