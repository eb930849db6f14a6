"""Which clock runs when: forms of `timeout`, slow consumers, servers that do not listen."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx2
import pytest
from langchain_core.runnables import ConfigurableField

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import APITimeoutError
from tests.support.byte_server import ByteServer, Close, Deafen, Drip, Hold, Pause
from tests.support.fault_outcomes import (
    ALL_MODES,
    PROMPT,
    STREAM_MODES,
    TEXT,
    Raises,
    Returns,
    acall,
    bounded,
    call,
    check_error,
    joined,
    make_model,
    outcome_of,
    run_async,
    text_of,
)
from tests.support.response_bytes import (
    DONE,
    FINAL_FRAME,
    GOOD_RESPONSE,
    GOOD_STREAM,
    HEL,
    KEY,
    LO,
    SSE_HEAD,
    STOP,
    aiml_error,
    frame,
    response,
)

TWO_MODES = ("invoke", "astream")
FORMS = {
    "a float": {"timeout": 0.25},
    "its other name": {"request_timeout": 0.25},
    "httpx.Timeout": {"timeout": httpx.Timeout(0.25)},
    "httpx.Timeout of parts": {"timeout": httpx.Timeout(9.0, read=0.25)},
    "httpx2.Timeout": {"timeout": httpx2.Timeout(0.25)},
    "httpx2.Timeout of parts": {"timeout": httpx2.Timeout(9.0, read=0.25)},
    "a tuple": {"timeout": (5.0, 0.25, 5.0, 5.0)},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", STREAM_MODES)
@pytest.mark.parametrize("place", ["model", "call"])
def test_each_form_of_timeout_ends_silence_within_a_stream(form, mode, place):
    settings = {"model": {}, "call": {}} | {place: FORMS[form]}
    with ByteServer((SSE_HEAD + frame(HEL), Hold())) as endpoint:
        model = ChatAimlErnie(
            api_key=KEY, base_url=endpoint.base_url, max_retries=0, **settings["model"]
        )
        expected = Raises("APITimeoutError", says=("silent for 0.25 s", "timeout"), partial="Hel")
        expected.check(outcome_of(model, mode, **settings["call"]))


SLOW_STREAM = (
    SSE_HEAD + frame(HEL),
    Pause(0.4),
    frame(LO) + frame(STOP) + frame(DONE),
    FINAL_FRAME,
)
PATIENT = {
    "set on the model": lambda llm: (llm(timeout=0.2, stream_idle_timeout=5.0), {}),
    "for ever": lambda llm: (llm(timeout=0.2, stream_idle_timeout=None), {}),
    "at its default": lambda llm: (llm(timeout=0.2, stream_idle_timeout=120.0), {}),
    "set in the call": lambda llm: (llm(timeout=0.2), {"stream_idle_timeout": 5.0}),
    "set before the call's timeout": lambda llm: (llm(stream_idle_timeout=5.0), {"timeout": 0.2}),
    "bound": lambda llm: (llm(timeout=0.2).bind(stream_idle_timeout=5.0), {}),
    "set by a copy": lambda llm: (
        llm(timeout=0.2).model_copy(update={"stream_idle_timeout": 5.0}),
        {},
    ),
    "of configurable fields": lambda llm: (
        llm(timeout=0.2, stream_idle_timeout=120.0)
        .configurable_fields(temperature=ConfigurableField(id="t"))
        .with_config(configurable={"t": 0.5}),
        {},
    ),
}


@pytest.mark.parametrize("how", PATIENT)
def test_an_explicit_stream_idle_timeout_wins_over_timeout(how):
    def llm(**settings):
        return ChatAimlErnie(api_key=KEY, base_url=endpoint.base_url, max_retries=0, **settings)

    with ByteServer(SLOW_STREAM) as endpoint:
        model, options = PATIENT[how](llm)
        assert text_of(bounded(lambda: joined(list(model.stream(PROMPT, **options))))) == TEXT


def test_configurable_fields_leave_the_silence_to_timeout():
    with ByteServer((SSE_HEAD + frame(HEL), Hold())) as endpoint:
        model = ChatAimlErnie(api_key=KEY, base_url=endpoint.base_url, max_retries=0, timeout=0.2)
        model = model.configurable_fields(temperature=ConfigurableField(id="t"))
        config = {"configurable": {"t": 0.5}}
        with pytest.raises(APITimeoutError, match=r"silent for 0\.2 s"):
            bounded(lambda: list(model.stream(PROMPT, config=config)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("mode", TWO_MODES)
def test_each_form_of_timeout_ends_a_wait(form, mode):
    with ByteServer((Hold(),)) as endpoint:
        model = ChatAimlErnie(api_key=KEY, base_url=endpoint.base_url, max_retries=0, **FORMS[form])
        Raises("APITimeoutError").check(outcome_of(model, mode))
        assert endpoint.settle()


@pytest.mark.parametrize("mode", TWO_MODES)
@pytest.mark.parametrize("word", ["timeout", "request_timeout"])
def test_a_timeout_of_one_call_is_kept(word, mode):
    with ByteServer((Hold(),)) as endpoint:
        outcome = outcome_of(make_model(endpoint.base_url), mode, **{word: 0.25})
        Raises("APITimeoutError", says=("0.25",)).check(outcome)
        outcome = outcome_of(make_model(endpoint.base_url), mode, **{word: 5.0})
        Returns().check(outcome)


@pytest.mark.parametrize("whole", [True, False], ids=["all sent at once", "sent piece by piece"])
def test_a_slow_reader_is_no_silent_server(whole):
    """The clock between events stops while the caller has the chunk."""
    frames = tuple(map(frame, (HEL, LO, STOP, DONE)))
    body = b"".join(frames) if whole else Drip(frames, 0.05)
    with ByteServer(*[(SSE_HEAD, body, FINAL_FRAME)] * 2) as endpoint:
        model = make_model(endpoint.base_url, stream_idle_timeout=0.25)

        def sync():
            chunks = []
            for chunk in model.stream(PROMPT):
                chunks.append(chunk)
                time.sleep(0.35)
            return text_of(joined(chunks))

        async def main():
            chunks = []
            async for chunk in model.astream(PROMPT):
                chunks.append(chunk)
                await asyncio.sleep(0.35)
            return text_of(joined(chunks))

        assert bounded(sync) == TEXT
        assert bounded(lambda: run_async(main)) == TEXT
        model.close()
        assert endpoint.settle()


@pytest.mark.parametrize("mode", TWO_MODES)
def test_the_clock_of_a_try_begins_when_it_has_a_connection(mode):
    """Waiting for a place is no error of its own: three calls of 0.3 s over one connection."""
    script = (Pause(0.3), GOOD_STREAM if "stream" in mode else GOOD_RESPONSE)
    with ByteServer(*[script] * 3) as endpoint:
        model = make_model(endpoint.base_url, timeout=0.8, max_connections=1)

        async def main():
            return await asyncio.gather(*(acall(model, mode) for _ in range(3)))

        def sync():
            with ThreadPoolExecutor(3) as pool:
                return list(pool.map(lambda _: call(model, mode), range(3)))

        answers = bounded((lambda: run_async(main)) if mode[0] == "a" else sync)
        assert [text_of(message) for message in answers] == [TEXT] * 3
        assert endpoint.connections == 1
        model.close()


LONG_PROMPT = "x" * 8_000_000


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_server_that_does_not_listen_is_a_timeout(mode):
    with ByteServer(greetings=[(Deafen(), Hold())]) as endpoint:
        model = make_model(endpoint.base_url, timeout=0.3)
        outcome = outcome_of(model, mode, LONG_PROMPT)
        check_error(outcome.error)
        Raises("APITimeoutError", says=("0.3",)).check(outcome)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_refusal_before_the_prompt_was_read_is_typed(mode):
    """The reset that follows may come before the answer was read: both outcomes are right."""
    refusal = response(aiml_error(413, "too big"), 413, {"Connection": "close"})
    with ByteServer(greetings=[(Deafen(), refusal, Pause(0.1), Close())]) as endpoint:
        outcome = outcome_of(make_model(endpoint.base_url), mode, LONG_PROMPT)
        check_error(outcome.error)
        Raises(("BadRequestError", "APIConnectionError")).check(outcome)
        assert endpoint.settle()


@pytest.mark.parametrize("mode", ["stream", "astream"])
def test_two_streams_side_by_side_do_not_mix(mode):
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)

        def sync():
            pairs = list(zip(model.stream(PROMPT), model.stream(PROMPT), strict=True))
            return [joined([pair[side] for pair in pairs]) for side in (0, 1)]

        async def main():
            left, right = model.astream(PROMPT), model.astream(PROMPT)
            pairs = [(chunk, await right.__anext__()) async for chunk in left]
            await right.aclose()
            return [joined([pair[side] for pair in pairs]) for side in (0, 1)]

        both = bounded((lambda: run_async(main)) if mode[0] == "a" else sync)
        assert [text_of(message) for message in both] == [TEXT, TEXT]
        model.close()
        assert endpoint.settle()
