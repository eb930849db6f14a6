"""The event loops that tests run on: asyncio's own, and uvloop's where there is one."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec


def run_on_uvloop(main):
    """`asyncio.run` on uvloop, whose own comes with Python 3.12 only."""
    import uvloop

    loop = uvloop.new_event_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


LOOPS = {"asyncio": asyncio.run}
if find_spec("uvloop"):
    LOOPS["uvloop"] = run_on_uvloop
