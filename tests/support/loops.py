"""The event loops that tests run on: asyncio's own, and uvloop's where there is one."""

from __future__ import annotations

import asyncio
from importlib.util import find_spec


def run_on(new_loop):
    """`asyncio.run` on another loop, which can be told one only from Python 3.12 on."""

    def run(main):
        loop = new_loop()
        try:
            return loop.run_until_complete(main)
        finally:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()

    return run


LOOPS = {"asyncio": asyncio.run}
if find_spec("uvloop"):
    import uvloop

    LOOPS["uvloop"] = run_on(uvloop.Loop)
