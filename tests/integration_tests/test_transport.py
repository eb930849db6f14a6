"""What a call sends, how long it waits, and what it leaves behind."""

import functools
import gc
import weakref

import pytest

from langchain_aimlernie._http import Timeouts, network, transport
from langchain_aimlernie._response.completion import ResponseDecoder
from langchain_aimlernie._response.stream import StreamDecoder
from langchain_aimlernie.errors import AimlErnieError
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Close, Hold, Pause, Repeat, Reset
from tests.support.fault_table import (
    CALL_ID,
    HANG,
    JSON_MODES,
    STREAM_MODES,
    TEXT,
    Raises,
    make_model,
    outcome_of,
    run_in,
    texts,
)
from tests.support.garbage import collect
from tests.support.modes import ask


def test_each_kind_of_call_has_its_headers(mode):
    with ByteServer() as server:
        assert texts(make_model(server.base_url), mode) == [TEXT]
    (sent,) = server.requests
    assert (sent.method, sent.target) == ("POST", "/v1/chat/completions")
    expected = {
        "host": f"127.0.0.1:{server.port}",
        "authorization": f"Bearer {wire.KEY}",
        "x-client-request-id": CALL_ID,
        "accept-encoding": "identity" if mode in STREAM_MODES else "gzip, deflate",
    }
    assert expected.items() <= sent.headers.items()
    assert "transfer-encoding" not in sent.headers


def test_a_response_on_which_the_decoder_fails_is_invalid(mode, monkeypatch):
    feed = StreamDecoder.feed

    def fail(*_):
        raise RecursionError("too deep")

    def fail_later(decoder, data):
        yield from feed(decoder, data)
        fail()

    monkeypatch.setattr(ResponseDecoder, "decode", fail)
    monkeypatch.setattr(StreamDecoder, "feed", fail_later)
    with ByteServer(*[wire.unfinished(wire.HEL)] * (mode in STREAM_MODES)) as server:
        outcome = outcome_of(make_model(server.base_url), mode)
    partial = "Hel" if mode in STREAM_MODES else None
    Raises("InvalidResponseError", says=("RecursionError: too deep",), partial=partial).check(
        outcome
    )


@pytest.mark.slow
@pytest.mark.parametrize("mode", JSON_MODES)
def test_the_whole_call_has_a_deadline(mode, monkeypatch):
    monkeypatch.setattr("random.random", lambda: 0.0)  # a retry comes at once
    monkeypatch.setattr(network, "Timeouts", functools.partial(Timeouts, total=3.0))
    defaults = {"timeout": None, "stream_idle_timeout": "auto"}
    with ByteServer(Reset(0.0), rest=Hold()) as server:
        outcome = outcome_of(make_model(server.base_url, max_retries=9, **defaults), mode)
    Raises("APITimeoutError").check(outcome)
    assert len(server.requests) == 2, "an unknown outcome is tried once more, within the total"


@pytest.mark.parametrize("mode", STREAM_MODES)
def test_a_stream_that_has_ended_frees_its_connection_for_the_next(mode, monkeypatch):
    monkeypatch.setattr(transport, "_DRAIN_TIMEOUT", HANG)
    body = wire.unfinished(*wire.EVENTS)
    with ByteServer(rest=(body, Pause(0.02), wire.FINAL_FRAME)) as server:
        assert texts(make_model(server.base_url), mode, 3) == [TEXT] * 3
    assert server.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize("rest", [Hold(), Repeat(b"x" * 100_000)], ids=["silence", "no end"])
def test_the_body_of_an_error_is_read_as_far_as_it_comes(mode, monkeypatch, rest):
    monkeypatch.setattr(transport, "_ERROR_BODY_TIMEOUT", 0.2)
    with ByteServer((wire.response(b"bad key", 401, length=99_999_999), rest)) as server:
        outcome = outcome_of(make_model(server.base_url), mode)
        assert server.settle()
    facts = {"inference_id": wire.INFERENCE_ID}
    Raises("AuthenticationError", says=("bad key",), attributes=facts).check(outcome)
    assert len(outcome.error.body) <= 8192


@pytest.mark.slow
def test_an_error_is_freed_without_the_collector(mode):
    async def main():
        try:
            await ask(model, "hi", mode)
        except AimlErnieError as error:
            return weakref.ref(error)

    cut = (wire.unfinished(wire.HEL), Close())
    with ByteServer(cut if mode in STREAM_MODES else wire.response(b"no", 400)) as server:
        model = make_model(server.base_url)
        collect()
        gc.disable()
        try:
            assert run_in(mode, main)() is None
        finally:
            gc.enable()
