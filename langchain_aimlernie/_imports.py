"""Deferred imports that do not block the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from importlib import import_module


def is_loop_running() -> bool:
    """Whether an event loop is running in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class DeferredImport:
    """Modules that are imported at their first use.

    Args:
        module: The module to import.
        *optional: Modules to import, too, if they are installed.
    """

    def __init__(self, module: str, *optional: str) -> None:
        self._module = module
        self._optional = optional
        # `sys.modules` would not do: it has a module before its import is complete.
        self._done = threading.Event()

    @property
    def is_done(self) -> bool:
        """Whether the imports are complete."""
        return self._done.is_set()

    def load(self) -> None:
        """Import the modules."""
        import_module(self._module)
        for module in self._optional:
            with contextlib.suppress(ImportError):
                import_module(module)
        self._done.set()

    async def aload(self) -> None:
        """Import the modules in a thread, so that the event loop is not blocked."""
        if not self._done.is_set():
            await asyncio.to_thread(self.load)


# The others are imported by anyio at its first use, and by the first retry.
_transport = DeferredImport("langchain_aimlernie._http", "anyio._backends._asyncio", "tenacity")

load_transport = _transport.aload
"""Must be awaited in async code before the transport is used."""
