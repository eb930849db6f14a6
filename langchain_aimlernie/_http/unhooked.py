"""Iterate async generators without the hooks by which an event loop finalizes them."""

from __future__ import annotations

import sys
import types
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

T = TypeVar("T")


def _do_not_finalize(_: object) -> None:
    """Do nothing, in the place of the event loop's finalizer."""


@types.coroutine
def anext_unhooked(iterator: AsyncIterator[T]) -> Generator[Any, Any, T]:
    """Return the next item; the async generators that start for it are not known to the loop.

    A loop that ends closes each generator that it knows, all at once. Those of httpcore are nested:
    they would be closed by the loop and by the generator around them, too, which is an error. We
    close them ourselves; one that was left with a dead loop must not be run by the garbage
    collector in the middle of another task.
    """
    steps: Any = None
    step: Callable[[Any], Any] | None = None
    sent: Any = None
    while True:
        hooks = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(None, _do_not_finalize)
        try:
            if step is None:
                steps = anext(iterator).__await__()
                step = steps.send
            waiting_for = step(sent)
        except StopIteration as done:
            return cast("T", done.value)
        finally:
            sys.set_asyncgen_hooks(*hooks)
        try:
            step, sent = steps.send, (yield waiting_for)
        except BaseException as error:  # noqa: BLE001  it is passed on
            step, sent = steps.throw, error
