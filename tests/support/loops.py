"""The event loops that tests run on: asyncio's own, and uvloop's where there is one."""

import asyncio
from importlib.util import find_spec


def run_on(new_loop):
    """`asyncio.run` on another loop."""

    def run(main):
        with asyncio.Runner(loop_factory=new_loop) as runner:
            return runner.run(main)

    return run


LOOPS = {"asyncio": asyncio.run}
if find_spec("uvloop"):
    import uvloop

    LOOPS["uvloop"] = run_on(uvloop.Loop)
