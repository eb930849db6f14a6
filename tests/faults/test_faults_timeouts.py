"""Which clock runs when, and what a long stream costs: slow consumers, servers that do not listen."""

import asyncio
import time
import tracemalloc
from functools import partial

import httpx
import httpx2
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.runnables import ConfigurableField

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import APITimeoutError
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Close, Deafen, Drip, Hold, Pause, Repeat
from tests.support.fault_table import (
    HANG,
    PROMPT,
    SOON,
    STREAM_MODES,
    TEXT,
    Raises,
    at_once,
    bounded,
    make_model,
    outcome_of,
    run_in,
    text_of,
)
from tests.support.garbage import collect
from tests.support.modes import each_chunk, joined

FORMS = {
    "a float": {"timeout": SOON},
    "its other name": {"request_timeout": SOON},
    "httpx.Timeout": {"timeout": httpx.Timeout(SOON)},
    "httpx.Timeout of parts": {"timeout": httpx.Timeout(9.0, read=SOON)},
    "httpx2.Timeout": {"timeout": httpx2.Timeout(SOON)},
    "httpx2.Timeout of parts": {"timeout": httpx2.Timeout(9.0, read=SOON)},
    "a tuple": {"timeout": (5.0, SOON, 5.0, 5.0)},
    "a tuple of two": {"timeout": (5.0, SOON)},
}


def plain_model(server, **settings):
    """A model without the clocks of `make_model`."""
    return ChatAimlErnie(api_key=wire.KEY, base_url=server.base_url, max_retries=0, **settings)


def check_form(mode, settings, options):
    silent = Raises("APITimeoutError", says=(f"silent for {SOON} s", "timeout"), partial="Hel")
    late = Raises("APITimeoutError", says=(str(SOON),))
    is_stream = mode in STREAM_MODES
    with ByteServer((wire.unfinished(wire.HEL), Hold()) if is_stream else Hold()) as server:
        outcome = outcome_of(plain_model(server, **settings), mode, **options)
        (silent if is_stream else late).check(outcome)
        assert server.settle()


def configurable(model):
    """The model as a runnable whose settings can be configured, with one of them configured."""
    fields = model.configurable_fields(temperature=ConfigurableField(id="t"))
    return fields.with_config(configurable={"t": 0.5})


SLOW_STREAM = (
    wire.unfinished(wire.HEL),
    Pause(2 * SOON),
    wire.frame(wire.LO + wire.STOP + wire.DONE),
    wire.FINAL_FRAME,
)
LONG = {"stream_idle_timeout": HANG}
PATIENT = {
    "set on the model": lambda llm: llm(timeout=SOON, **LONG),
    "for ever": lambda llm: llm(timeout=SOON, stream_idle_timeout=None),
    "at its default": lambda llm: llm(timeout=SOON, stream_idle_timeout=120.0),
    "bound": lambda llm: llm(timeout=SOON).bind(**LONG),
    "set before a bound timeout": lambda llm: llm(**LONG).bind(timeout=SOON),
    "set by a copy": lambda llm: llm(timeout=SOON).model_copy(update=LONG),
    "of configurable fields": lambda llm: configurable(llm(timeout=SOON, **LONG)),
}


def check_patience(how):
    with ByteServer(SLOW_STREAM) as server:
        model = how(partial(plain_model, server))
        assert text_of(bounded(lambda: joined(list(model.stream(PROMPT))))) == TEXT


def check_impatience():
    """Configurable fields leave the silence to `timeout`."""
    with ByteServer((wire.unfinished(wire.HEL), Hold())) as server:
        model = configurable(plain_model(server, timeout=SOON))
        with pytest.raises(APITimeoutError, match=f"silent for {SOON} s"):
            bounded(lambda: list(model.stream(PROMPT)))


FRAMES = tuple(map(wire.frame, (wire.HEL, wire.LO, wire.STOP, wire.DONE)))
BODIES = {"all sent at once": b"".join(FRAMES), "sent bit by bit": Drip(FRAMES, 0.05)}


def check_slow_reader(mode, body):
    """The clock between events stops while the caller has the chunk."""

    async def main():
        chunks = []
        async for item in each_chunk(model, PROMPT, mode):
            chunks.append(item)
            seconds = 2 * SOON if len(chunks) == 1 else 0
            await asyncio.sleep(seconds) if mode == "astream" else time.sleep(seconds)  # noqa: ASYNC251
        return chunks

    with ByteServer((wire.SSE_HEAD, body, wire.FINAL_FRAME)) as server:
        model = make_model(server.base_url, stream_idle_timeout=SOON)
        assert text_of(joined(run_in(mode, main))) == TEXT
        model.close()
        assert server.settle()


def test_the_clocks_of_a_call_run_as_they_were_set(subtests):
    checks = {
        f"{form} [{mode}]{' of a call' * bool(options)}": partial(
            check_form, mode, settings, options
        )
        for form, value in FORMS.items()
        for mode, settings, options in (
            *(("invoke", value, {}), ("astream", value, {})),
            *(("invoke", {}, value), ("stream", {}, value)),
        )
    }
    checks |= {f"idle {name}": partial(check_patience, how) for name, how in PATIENT.items()}
    checks["configurable fields"] = check_impatience
    checks |= {
        f"a slow reader, {name} [{mode}]": partial(check_slow_reader, mode, body)
        for name, body in BODIES.items()
        for mode in STREAM_MODES
    }
    at_once(subtests, checks)


LONG_PROMPT = "x" * 8_000_000
TOO_BIG = wire.response(wire.aiml_error(413, "too big"), 413, {"Connection": "close"})


def test_a_server_that_does_not_listen_is_a_timeout(mode):
    with ByteServer(greetings=[(Deafen(), Hold())]) as server:
        outcome = outcome_of(make_model(server.base_url, timeout=0.3), mode, LONG_PROMPT)
        Raises("APITimeoutError", says=("0.3",)).check(outcome)


def test_a_refusal_before_the_prompt_was_read_is_typed(mode):
    """The reset that follows may come before the response was read: both outcomes are right."""
    with ByteServer(greetings=[(Deafen(), TOO_BIG, Pause(0.1), Close())]) as server:
        outcome = outcome_of(make_model(server.base_url), mode, LONG_PROMPT)
        Raises(("BadRequestError", "APIConnectionError")).check(outcome)
        assert server.settle()


def peak(events):
    """The most bytes in use while so many events are read by the hook below core's own list."""
    start = wire.head(200, {"Connection": "close"}, wire.SSE_TYPE)
    packets = Repeat(wire.event(wire.chunk("x")) * 20, times=events // 20)
    script = (start, packets, wire.STOP + wire.TAIL + wire.DONE, Close())
    with ByteServer(script) as server, make_model(server.base_url, timeout=30.0) as model:
        collect()
        tracemalloc.start()
        try:
            seen = sum(len(item.text) for item in model._stream([HumanMessage("hi")]))
            return seen, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_events():
    peak(200)
    few, at_few = peak(1_000)
    many, at_many = peak(6_000)
    assert (few, many) == (1_000, 6_000)
    assert at_many - at_few < 500_000, f"{at_few} bytes, then {at_many}"
