"""Leaving a call, alone and in crowds: its connection is free soon, and the next call works."""

import asyncio
import contextlib
import gc
import random
from functools import partial

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.output_parsers import StrOutputParser

from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Drip, Hold, Pause
from tests.support.fault_table import (
    PROMPT,
    TEXT,
    acall,
    at_once,
    bounded,
    call,
    cancelled,
    in_threads,
    make_model,
    run_async,
    run_in,
    text_of,
)
from tests.support.garbage import collect

BODIES = {
    "silent": (wire.unfinished(wire.HEL), Hold()),
    "talking": (wire.unfinished(wire.HEL), Drip((wire.frame(wire.LO),) * 400, 0.02)),
}


class OwnError(Exception):
    """Raised by a consumer."""


class Raising(BaseCallbackHandler):
    """A callback of the user that fails at the first token."""

    raise_error = True

    def on_llm_new_token(self, token, **kwargs):
        raise OwnError


def put_in_cycle(chunks):
    cycle = [chunks]
    cycle.append(cycle)


def started(model):
    chunks = model.stream(PROMPT)
    next(chunks)
    return chunks


def by_break(model):
    for _ in model.stream(PROMPT):
        break


def by_an_exception(model):
    with contextlib.suppress(OwnError):
        for _ in model.stream(PROMPT):
            raise OwnError


def by_throwing(model):
    with pytest.raises(KeyboardInterrupt):
        started(model).throw(KeyboardInterrupt)


def by_a_callback(model):
    with pytest.raises(OwnError):
        list(model.stream(PROMPT, config={"callbacks": [Raising()]}))


SYNC_WAYS = {
    "break": by_break,
    "closing": lambda model: started(model).close(),
    "an exception": by_an_exception,
    "throwing": by_throwing,
    "dropping": started,
    "dropping a cycle": lambda model: put_in_cycle(started(model)),
    "closing in another thread": lambda model: in_threads(started(model).close),
    "a callback": by_a_callback,
}


@pytest.mark.parametrize("way", SYNC_WAYS)
def test_a_stream_left_half_way_frees_its_connection(way):
    def leave():
        SYNC_WAYS[way](model)
        collect()

    with ByteServer(*BODIES.values()) as server, make_model(server.base_url) as model:
        for _ in BODIES:
            bounded(leave)
            assert server.settle(), f"open {server.open}"
        assert text_of(bounded(lambda: call(model, "stream"))) == TEXT
        assert server.open <= 1


async def astarted(model):
    chunks = model.astream(PROMPT)
    await anext(chunks)
    return chunks


async def aby_break(model):
    async for _ in model.astream(PROMPT):
        break


async def aby_break_of_a_chain(model):
    async for _ in (model | StrOutputParser()).astream(PROMPT):
        break


async def aby_an_exception(model):
    with contextlib.suppress(OwnError):
        async for _ in model.astream(PROMPT):
            raise OwnError


async def aby_a_timeout_block(model):
    with pytest.raises(TimeoutError):  # noqa: PT012
        async with asyncio.timeout(None) as limit:
            async for _ in model.astream(PROMPT):
                limit.reschedule(0)  # it is over while the stream goes on


async def aby_closing(model):
    await (await astarted(model)).aclose()


async def aby_dropping_a_cycle(model):
    put_in_cycle(await astarted(model))


async def aby_closing_in_another_task(model):
    chunks = model.astream(PROMPT)
    await asyncio.create_task(anext(chunks))
    await asyncio.create_task(chunks.aclose())


async def aby_a_callback(model):
    with pytest.raises(OwnError):
        await acall(model, "astream", config={"callbacks": [Raising()]})


async def aby_cancelling(model):
    async def read(chunks):
        async for _ in chunks:
            pass

    await cancelled(read(await astarted(model)), after=0.05)


ASYNC_WAYS = (
    *(aby_break, aby_break_of_a_chain, aby_an_exception, aby_a_timeout_block),
    *(aby_closing, astarted, aby_dropping_a_cycle, aby_closing_in_another_task),
    *(aby_a_callback, aby_cancelling),
)


@pytest.mark.parametrize("leave", ASYNC_WAYS, ids=lambda way: way.__name__)
def test_an_async_stream_left_half_way_frees_its_connection(leave):
    async def main():
        for _ in BODIES:
            await leave(model)
            collect()
            assert await server.asettle(), f"open {server.open}"
        assert text_of(await acall(model, "astream")) == TEXT
        assert server.open <= 1

    with ByteServer(*BODIES.values()) as server:
        model = make_model(server.base_url)
        bounded(lambda: run_async(main))
        assert server.settle()


def test_a_loop_that_ends_with_half_read_streams_closes_them_quietly():
    with ByteServer(*BODIES.values()) as server:
        model = make_model(server.base_url)
        kept = []

        async def main():
            kept.extend([await astarted(model) for _ in BODIES])

        bounded(lambda: run_async(main))
        assert server.settle(), f"open {server.open}"
        assert text_of(call(model, "stream")) == TEXT


LATER = wire.response(wire.aiml_error(503), 503, {"Retry-After": "30"})
PHASES = {
    "before the headers": ("ainvoke", Hold()),
    "in the headers": ("ainvoke", (wire.GOOD_RESPONSE[:30], Hold())),
    "in the body": ("ainvoke", (wire.GOOD_RESPONSE[:-40], Hold())),
    "before the headers of a stream": ("astream", Hold()),
    "before the first event": ("astream", (wire.SSE_HEAD, Hold())),
    "after finish_reason": ("astream", (wire.unfinished(wire.HEL, wire.STOP), Hold())),
    "in the handshake": ("ainvoke", None),
    "while waiting to try again": ("ainvoke", LATER),
    "while waiting to try a stream again": ("astream", LATER),
}


def check_cancelled(mode, script, *, tries_again):
    async def main():
        once = (lambda: server.connections) if tls else (lambda: server.requests)
        await cancelled(acall(model, mode), after=0.05, once=once)
        assert await server.asettle(tries_again)
        again = make_model(server.base_url) if tls else model
        assert text_of(await acall(again, mode)) == TEXT, "the only connection is free again"

    tls = script is None
    with ByteServer(*[script] * (not tls), greetings=[Hold()] * tls) as server:
        base_url = server.base_url.replace("http", "https") if tls else server.base_url
        model = make_model(base_url, max_retries=2, max_connections=1)
        run_in(mode, main)
        assert server.settle()


def test_a_cancelled_call_frees_its_connection(subtests):
    checks = {
        phase: partial(check_cancelled, *row, tries_again="again" in phase)
        for phase, row in PHASES.items()
    }
    at_once(subtests, checks)


def slowly(request):
    if request.wants_stream:
        return (
            wire.SSE_HEAD,
            wire.frame(wire.HEL),
            Pause(0.005),
            wire.frame(wire.LO + wire.STOP + wire.TAIL) + wire.FINAL_FRAME,
        )
    return wire.GOOD_RESPONSE[:50], Pause(0.005), wire.GOOD_RESPONSE[50:]


@pytest.mark.timeout(300)
@pytest.mark.slow  # httpcore2 2.12 may leave the socket of a cancelled connect to the collector
def test_after_three_thousand_calls_half_of_them_cancelled_every_connection_is_usable():
    dice = random.Random(20261128)
    with ByteServer(rest=slowly) as server:
        model = make_model(server.base_url, max_connections=10, timeout=30.0)

        async def one(number):
            task = asyncio.create_task(acall(model, ("ainvoke", "astream")[number % 2]))
            if dice.random() < 0.7:
                await asyncio.sleep(dice.random() * 0.05)
                task.cancel()
            try:
                assert text_of(await task) == TEXT
            except asyncio.CancelledError:
                return True
            return False

        async def main():
            cancellations = 0
            for start in range(0, 3_000, 30):
                cancellations += sum(await asyncio.gather(*(one(start + i) for i in range(30))))
            together = await asyncio.wait_for(
                asyncio.gather(*(acall(model, "astream") for _ in range(10))), 10
            )
            assert [text_of(message) for message in together] == [TEXT] * 10
            assert await server.asettle(10)
            return cancellations

        assert bounded(lambda: run_async(main), 280) > 1_000
        assert server.settle()


def test_streams_collected_at_any_moment_cannot_block_the_pool():
    """The collector may run inside the pool's own code, on any thread: no lock may be held there."""
    with ByteServer(rest=(wire.unfinished(wire.HEL), Pause(5.0))) as server:
        model = make_model(server.base_url, max_connections=6)

        def work():
            for _ in range(15):
                put_in_cycle(started(model))

        usual = gc.get_threshold()
        gc.set_threshold(50)
        try:
            in_threads(*[work] * 6)
        finally:
            gc.set_threshold(*usual)
        collect()
        assert server.settle(), f"open {server.open}"
