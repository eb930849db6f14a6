"""Calls that are cancelled, in each phase, alone and in crowds: no place in the pool is lost."""

from __future__ import annotations

import asyncio
import random
import threading
import time

import pytest

from tests.support.byte_server import ByteServer, Hold, Pause
from tests.support.fault_outcomes import (
    TEXT,
    acall,
    bounded,
    call,
    cancelled,
    churn,
    make_model,
    run_async,
    text_of,
)
from tests.support.response_bytes import (
    GOOD_RESPONSE,
    HEL,
    LO,
    SSE_HEAD,
    STOP,
    aiml_error,
    frame,
    response,
    unfinished,
)

HALF_ANSWER = GOOD_RESPONSE[:-40]
CANCELLED_IN = {
    "before the head": ("ainvoke", (Hold(),), ()),
    "in the head": ("ainvoke", (GOOD_RESPONSE[:30], Hold()), ()),
    "in the body": ("ainvoke", (HALF_ANSWER, Hold()), ()),
    "before the head of a stream": ("astream", (Hold(),), ()),
    "before the first event": ("astream", (SSE_HEAD, Hold()), ()),
    "after finish_reason": ("astream", (unfinished(HEL, STOP), Hold()), ()),
    "in the handshake": ("ainvoke", (), ((Hold(),),)),
    "while waiting to try again": (
        "ainvoke",
        (response(aiml_error(503), 503, {"Retry-After": "30"}),),
        (),
    ),
    "while waiting to try a stream again": (
        "astream",
        (response(aiml_error(503), 503, {"Retry-After": "30"}),),
        (),
    ),
}


@pytest.mark.parametrize("phase", CANCELLED_IN)
def test_a_cancelled_call_frees_its_connection(phase):
    mode, script, greetings = CANCELLED_IN[phase]
    with ByteServer(*([script] * 3 if script else ()), greetings=greetings * 3) as endpoint:
        scheme = "https" if greetings else "http"
        base_url = endpoint.base_url.replace("http", scheme)
        model = make_model(base_url, max_retries=2)

        async def main():
            for _ in range(3):
                await cancelled(acall(model, mode), after=0.15)
                assert await endpoint.asettle(1 if "again" in phase else 0, within=2.0)
            plain = make_model(endpoint.base_url)
            assert text_of(await acall(plain, mode)) == TEXT

        bounded(lambda: run_async(main))
        assert endpoint.settle()


def test_a_call_cancelled_at_once_sends_nothing():
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)

        async def main():
            await cancelled(acall(model, "ainvoke"), after=0)
            assert text_of(await acall(model, "ainvoke")) == TEXT

        bounded(lambda: run_async(main))


def test_a_call_cancelled_in_the_queue_leaves_its_place():
    """One connection, three calls: the first holds it, the second gives up, the third gets it."""
    with ByteServer((Pause(0.4), GOOD_RESPONSE)) as endpoint:
        model = make_model(endpoint.base_url, max_connections=1)

        async def main():
            first = asyncio.create_task(acall(model, "ainvoke"))
            await asyncio.sleep(0.1)
            second = cancelled(acall(model, "ainvoke"), after=0.1)
            third = asyncio.create_task(acall(model, "ainvoke"))
            await second
            assert [text_of(await task) for task in (first, third)] == [TEXT, TEXT]
            assert len(endpoint.requests) == 2
            assert text_of(await acall(model, "ainvoke")) == TEXT
            assert endpoint.open == 1

        bounded(lambda: run_async(main))


@pytest.mark.slow
def test_600_calls_share_100_connections():
    def slowly(request):
        return (Pause(0.02), GOOD_RESPONSE)

    with ByteServer(rest=slowly) as endpoint:
        model = make_model(endpoint.base_url, max_connections=100, timeout=30.0)

        async def main():
            answers = await asyncio.gather(*(acall(model, "ainvoke") for _ in range(600)))
            assert {text_of(message) for message in answers} == {TEXT}
            assert endpoint.connections <= 100

        bounded(lambda: run_async(main), 60)
        assert endpoint.settle()


def test_threads_share_few_connections():
    with ByteServer() as endpoint, make_model(endpoint.base_url, max_connections=3) as model:
        texts: list[str] = []

        def work(mode):
            texts.extend(text_of(call(model, mode)) for _ in range(20))

        threads = [
            threading.Thread(target=work, args=(mode,))
            for mode in ("invoke", "stream")
            for _ in "12345"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert texts == [TEXT] * 200
        assert endpoint.connections <= 3


@pytest.mark.slow
def test_after_a_churn_of_cancelled_calls_no_place_is_lost():
    dice = random.Random(20260801)

    def slowly(request):
        pause = Pause(dice.random() * 0.02)
        if request.wants_stream:
            return (SSE_HEAD, pause, frame(HEL), pause, frame(LO + STOP), b"0\r\n\r\n")
        return (pause, GOOD_RESPONSE[:50], pause, GOOD_RESPONSE[50:])

    with ByteServer(rest=slowly) as endpoint:
        model = make_model(endpoint.base_url, max_connections=10, timeout=10.0)
        ended = {"whole": 0, "cancelled": 0}

        async def main():
            await churn(model, 600, dice, ended, chance=0.5, within=0.06)
            started = time.monotonic()
            answers = await asyncio.gather(*(acall(model, "ainvoke") for _ in range(30)))
            assert {text_of(message) for message in answers} == {TEXT}
            assert time.monotonic() - started < 10
            assert await endpoint.asettle(10)
            assert not endpoint.busy

        bounded(lambda: run_async(main), 90)
        assert ended["whole"] + ended["cancelled"] == 600
        assert min(ended.values()) > 50, ended
        assert endpoint.settle()
