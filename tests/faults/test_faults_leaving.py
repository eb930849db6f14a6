"""Leaving a call half way: whatever the way, its connection is free soon and the next call works."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading

import httpx
import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser

from tests.support.byte_server import ByteServer, Drip, Hold, Pause
from tests.support.fault_outcomes import (
    PROMPT,
    TEXT,
    acall,
    bounded,
    call,
    cancelled,
    make_model,
    run_async,
    text_of,
)
from tests.support.response_bytes import HEL, LO, frame, unfinished

ENDLESS = (unfinished(HEL), Drip((frame(LO),) * 400, 0.02))
SILENT_AFTER_ONE = (unfinished(HEL), Hold())
BODIES = {"silent": SILENT_AFTER_ONE, "talking": ENDLESS}


class OwnError(Exception):
    """Raised by a consumer."""


def leave_by_break(model):
    for _ in model.stream(PROMPT):
        break


def leave_by_closing(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    chunks.close()


def leave_by_an_exception(model):
    def consume():
        for _ in model.stream(PROMPT):
            raise OwnError

    with pytest.raises(OwnError):
        consume()


def leave_by_throwing(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    with pytest.raises(KeyboardInterrupt):
        chunks.throw(KeyboardInterrupt)


def leave_by_dropping(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    del chunks
    gc.collect()


def leave_in_a_cycle(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    cycle = [chunks]
    cycle.append(cycle)
    del chunks, cycle
    gc.collect()


def leave_in_another_thread(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    thread = threading.Thread(target=chunks.close)
    thread.start()
    thread.join()


class Raising(BaseCallbackHandler):
    """A callback of the user that fails at the first token."""

    raise_error = True

    def on_llm_new_token(self, token, **kwargs):
        raise OwnError


def leave_by_a_callback(model):
    with pytest.raises(OwnError):
        list(model.stream(PROMPT, config={"callbacks": [Raising()]}))


SYNC_WAYS = (
    leave_by_break,
    leave_by_closing,
    leave_by_an_exception,
    leave_by_throwing,
    leave_by_dropping,
    leave_in_a_cycle,
    leave_in_another_thread,
    leave_by_a_callback,
)


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("leave", SYNC_WAYS, ids=lambda way: way.__name__)
def test_a_stream_left_half_way_frees_its_connection(leave, body):
    with ByteServer(*[BODIES[body]] * 3) as endpoint, make_model(endpoint.base_url) as model:
        for _ in range(3):
            bounded(lambda: leave(model))
            assert endpoint.settle(within=2.0), f"open {endpoint.open}"
        assert text_of(bounded(lambda: call(model, "stream"))) == TEXT
        assert endpoint.open <= 1


def test_a_stream_never_begun_sends_nothing():
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        model.stream(PROMPT).close()
        assert not endpoint.requests


async def aleave_by_break(model):
    async for _ in model.astream(PROMPT):
        break


async def aleave_by_closing(model):
    chunks = model.astream(PROMPT)
    await chunks.__anext__()
    await chunks.aclose()


async def aleave_by_an_exception(model):
    async def consume():
        async for _ in model.astream(PROMPT):
            raise OwnError

    with pytest.raises(OwnError):
        await consume()


async def aleave_by_dropping(model):
    chunks = model.astream(PROMPT)
    await chunks.__anext__()
    del chunks
    gc.collect()


async def aleave_in_a_cycle(model):
    chunks = model.astream(PROMPT)
    await chunks.__anext__()
    cycle = [chunks]
    cycle.append(cycle)
    del chunks, cycle
    gc.collect()


async def aleave_by_cancelling(model):
    await cancelled(acall(model, "astream"), after=0.05)


async def aleave_by_a_deadline(model):
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(acall(model, "astream"), 0.1)


async def aleave_in_another_task(model):
    chunks = model.astream(PROMPT)
    await asyncio.create_task(chunks.__anext__())
    await asyncio.create_task(chunks.aclose())


async def aleave_in_a_chain(model):
    async for _ in (model | StrOutputParser()).astream(PROMPT):
        break


async def aleave_by_timeout_block(model):
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await acall(model, "astream")


async def aleave_by_a_callback(model):
    with pytest.raises(OwnError):
        await acall(model, "astream", config={"callbacks": [Raising()]})


ASYNC_WAYS = [
    aleave_by_break,
    aleave_by_closing,
    aleave_by_an_exception,
    aleave_by_dropping,
    aleave_in_a_cycle,
    aleave_by_cancelling,
    aleave_by_a_deadline,
    aleave_in_another_task,
    aleave_in_a_chain,
    aleave_by_a_callback,
    *([aleave_by_timeout_block] if sys.version_info >= (3, 11) else []),
]


@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("leave", ASYNC_WAYS, ids=lambda way: way.__name__)
def test_an_async_stream_left_half_way_frees_its_connection(leave, body):
    with ByteServer(*[BODIES[body]] * 3) as endpoint:
        model = make_model(endpoint.base_url)

        async def main():
            for _ in range(3):
                await leave(model)
                gc.collect()
                assert await endpoint.asettle(within=2.0), f"open {endpoint.open}"
            assert text_of(await acall(model, "astream")) == TEXT
            assert endpoint.open <= 1

        bounded(lambda: run_async(main))
        assert endpoint.settle()


@pytest.mark.parametrize("body", BODIES)
def test_a_loop_that_ends_with_half_read_streams_closes_them_quietly(body):
    with ByteServer(*[BODIES[body]] * 3) as endpoint:
        model = make_model(endpoint.base_url)
        kept = []

        async def main():
            for _ in range(3):
                kept.append(model.astream(PROMPT))
                await kept[-1].__anext__()

        bounded(lambda: run_async(main))
        assert endpoint.settle(within=2.0), f"open {endpoint.open}"
        assert text_of(call(model, "stream")) == TEXT


def test_clients_of_the_user_are_used_and_not_closed():
    with ByteServer() as endpoint, httpx.Client() as sync_client:
        clients = {"http_client": sync_client, "http_async_client": httpx.AsyncClient()}

        async def main():
            async with (
                clients["http_async_client"],
                make_model(endpoint.base_url, **clients) as model,
            ):
                for mode in ("ainvoke", "astream"):
                    assert text_of(await acall(model, mode)) == TEXT
                await model.aclose()
                assert not clients["http_async_client"].is_closed
                assert text_of(await acall(model, "ainvoke")) == TEXT

        with make_model(endpoint.base_url, **clients) as model:
            for mode in ("invoke", "stream"):
                assert text_of(call(model, mode)) == TEXT
        assert not sync_client.is_closed
        assert endpoint.connections == 1
        bounded(lambda: run_async(main))
        assert endpoint.connections == 2


def test_streams_collected_at_any_moment_cannot_block_the_pool():
    """The collector may run inside the pool's own code, on any thread: no lock may be held there."""
    script = (unfinished(HEL), Pause(5.0))
    with ByteServer(rest=lambda request: script) as endpoint:
        model = make_model(endpoint.base_url, max_connections=6)
        dropped = []

        def work():
            for _ in range(25):
                leave_in_a_cycle_uncollected(model)
                dropped.append(1)

        threads = [threading.Thread(target=work, daemon=True) for _ in range(6)]
        usual = gc.get_threshold()
        gc.set_threshold(50)
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
        finally:
            gc.set_threshold(*usual)
        assert len(dropped) == 150, "a thread hangs"
        gc.collect()
        assert endpoint.settle(), f"open {endpoint.open}"


def leave_in_a_cycle_uncollected(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    cycle = [chunks]
    cycle.append(cycle)
