"""Crowds of calls over few connections: cancelled, or dropped into garbage; none is ever stuck."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time

import pytest

from tests.support.byte_server import ByteServer, Pause
from tests.support.fault_outcomes import (
    PROMPT,
    TEXT,
    acall,
    bounded,
    call,
    churn,
    make_model,
    run_async,
    text_of,
)
from tests.support.response_bytes import GOOD_RESPONSE, HEL, LO, SSE_HEAD, STOP, TAIL, frame

CONNECTIONS = 10
STREAM = (SSE_HEAD, frame(HEL), Pause(0.005), frame(LO + STOP + TAIL), b"0\r\n\r\n")


def slowly(request):
    return STREAM if request.wants_stream else (Pause(0.005), GOOD_RESPONSE)


@pytest.mark.slow
def test_3000_calls_of_which_half_are_cancelled_leave_every_connection_usable():
    dice = random.Random(20261128)

    with ByteServer(rest=slowly) as endpoint:
        model = make_model(endpoint.base_url, max_connections=CONNECTIONS, timeout=30.0)
        ended = {"whole": 0, "cancelled": 0}

        async def main():
            await churn(model, 3000, dice, ended, chance=0.7, within=0.05)
            together = await asyncio.wait_for(
                asyncio.gather(*(acall(model, "astream") for _ in range(CONNECTIONS))), 10
            )
            assert [text_of(message) for message in together] == [TEXT] * CONNECTIONS
            assert await endpoint.asettle(CONNECTIONS)

        bounded(lambda: run_async(main), 120)
        assert ended["whole"] + ended["cancelled"] == 3000
        assert ended["cancelled"] > 1000, ended
        assert endpoint.settle()


def test_streams_dropped_into_garbage_cycles_by_threads_block_nothing():
    with ByteServer(rest=slowly) as endpoint:
        model = make_model(endpoint.base_url, max_connections=CONNECTIONS, timeout=30.0)

        def drop(_):
            for _ in range(30):
                cycle = {"stream": model.stream(PROMPT)}
                cycle["self"] = cycle
                next(cycle["stream"])
                del cycle
                gc.collect(0)

        threads = [threading.Thread(target=drop, args=(n,), daemon=True) for n in range(8)]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 30
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            gc.collect()  # a stream that nobody has collected holds one of the ten connections
            time.sleep(0.01)
        assert not [thread for thread in threads if thread.is_alive()]
        gc.collect()
        assert text_of(call(model, "stream")) == TEXT
        model.close()
        assert endpoint.settle()
