"""What the shells send, when they try again, how long they wait, and what they make of the end."""

import gc
import gzip
import weakref

import httpx
import httpx2
import pytest

from langchain_aimlernie._http import transport
from langchain_aimlernie.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    InvalidResponseError,
)
from tests.support.byte_server import ByteServer, Hold, Pause, Repeat, Reset
from tests.support.garbage import collect
from tests.support.response_bytes import (
    DONE,
    FINAL_FRAME,
    INFERENCE_ID,
    event,
    response,
    unfinished,
)
from tests.support.response_bytes import stream as stream_of
from tests.support.sync_async import HEADERS, KEY, LONG, MODES, Send, Texts, call_to, on, outcomes

pytestmark = pytest.mark.parametrize("mode", MODES)
GOOD = response(b"{}")
ONE, TWO = event(b"one"), event(b"two")
GZIP = {"Content-Encoding": "gzip"}
LIBRARIES = [pytest.param(library, id=library.__name__) for library in (httpx, httpx2)]
"""Whose clients a user may pass."""


@pytest.fixture
def no_waits(monkeypatch):
    """The jitter at its least: a retry comes at once."""
    monkeypatch.setattr("random.random", lambda: 0.0)


def one(mode, server, call, *, stream=False, client=None, **settings):
    step = (call, Texts) if stream else call
    (outcome,) = outcomes(mode, on(server, **settings), step, client=client)
    return outcome


def client_of(mode, library, **settings):
    return (library.Client if mode == "sync" else library.AsyncClient)(**settings)


def chain(error):
    """The error and all that can be reached from it as causes."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def test_a_call_is_sent_as_it_is(mode):
    long = bytes(range(256)) * 12_000
    with ByteServer(response(b'{"a": 1}', headers={"Set-Cookie": "a=1"})) as server:
        headers, body = one(mode, server, call_to(server, body=long))
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.body == long
    assert request.headers["host"] == server.base_url[7:-3]
    assert HEADERS.items() <= request.headers.items()
    assert "transfer-encoding" not in request.headers
    assert request.headers["accept-encoding"] == "gzip, deflate"
    assert type(body) is bytes
    assert body == b'{"a": 1}'
    assert type(headers) is dict
    assert headers["x-inference-id"] == INFERENCE_ID


def test_a_stream_asks_for_no_compression_and_returns_its_chunks(mode):
    with ByteServer(rest=stream_of(ONE, TWO, DONE)) as server:
        assert one(mode, server, call_to(server), stream=True) == ["one", "two"]
    assert server.requests[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("stream", [False, True])
def test_a_response_on_which_the_decoder_fails_is_invalid(mode, stream):
    class Breaking(Texts):
        def feed(self, data):
            yield from super().feed(data)
            raise RecursionError("too deep")

    def decode(headers, body):
        raise RecursionError("too deep")

    with ByteServer(unfinished(ONE) if stream else GOOD) as server:
        call = call_to(server)
        step = (call, Breaking) if stream else Send(call, decode)
        (error,) = outcomes(mode, on(server), step)
    assert type(error) is InvalidResponseError
    assert "RecursionError: too deep" in str(error)
    assert error.partial == ("one" if stream else None)


@pytest.mark.slow
def test_the_whole_call_has_a_deadline(mode, no_waits):
    with ByteServer(Reset(0.0), rest=Hold()) as server:
        error = one(mode, server, call_to(server, max_retries=9, total=3.0))
    assert type(error) is APITimeoutError
    assert len(server.requests) == 2, "an unknown outcome is tried once more, within the total"


def test_a_stream_that_has_ended_frees_its_connection_for_the_next(mode, monkeypatch):
    monkeypatch.setattr(transport, "_DRAIN_TIMEOUT", LONG)
    with ByteServer(rest=(unfinished(ONE, DONE), Pause(0.02), FINAL_FRAME)) as server:
        step = (call_to(server), Texts)
        assert outcomes(mode, on(server), step, step, step) == [["one"]] * 3
    assert server.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize("rest", [Hold(), Repeat(b"x" * 100_000)], ids=["silence", "no end"])
def test_the_body_of_an_error_is_read_as_far_as_it_comes(mode, monkeypatch, rest):
    monkeypatch.setattr(transport, "_ERROR_BODY_TIMEOUT", 0.2)
    with ByteServer((response(b"bad key", 401, length=99_999_999), rest)) as server:
        error = one(mode, server, call_to(server))
        assert server.settle()
    assert (type(error), error.message[:7]) == (AuthenticationError, "bad key")
    assert error.inference_id == INFERENCE_ID
    assert len(error.body) <= 8192


@pytest.mark.parametrize("value", ["sk-\u200b0123456", "sk-01\n23456", "sk-01\r\nX: y", "sk-\0x"])
def test_a_header_that_cannot_be_sent_is_refused_without_showing_it(mode, value):
    with ByteServer(rest=GOOD) as server:
        call = call_to(server, headers={"x-key": value})
        error = one(mode, server, call)
    assert type(error) is BadRequestError
    assert not server.requests
    assert not [e for e in chain(error) if "0123456" in f"{e!r}" or "23456" in f"{e!r}"]


@pytest.mark.slow
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_freed_without_the_collector(mode, stream):
    with ByteServer(rest=response(b"no", 400)) as server:
        call = call_to(server)
        collect()
        gc.disable()
        try:
            step = (call, Texts) if stream else call
            (alive,) = outcomes(mode, on(server), step, of=weakref.ref)
            assert alive() is None
        finally:
            gc.enable()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_user_supplied_client_is_used_as_it_is(mode, library):
    theirs = {"x-own": "yes", "authorization": "theirs"}
    client = client_of(mode, library, headers=theirs, follow_redirects=True)
    moved = response(b"", 307, {"Location": "/elsewhere"})
    with ByteServer(GOOD, stream_of(ONE, DONE), moved, response(b"bad", 400)) as server:
        call = call_to(server)
        steps = (call, (call, Texts), call, call, lambda: client.is_closed)
        good, chunks, redirect, bad, closed = outcomes(mode, on(server), *steps, client=client)
    assert good[1] == b"{}"
    assert chunks == ["one"]
    assert type(redirect) is InvalidResponseError
    assert type(bad) is BadRequestError
    assert not closed
    assert {request.headers["x-own"] for request in server.requests} == {"yes"}
    assert {r.headers["authorization"] for r in server.requests} == {f"Bearer {KEY}"}
    assert server.connections == 1


@pytest.mark.slow
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_client_with_a_timeout_of_its_own_keeps_it(mode, library):
    with ByteServer(Hold()) as server:
        error = one(mode, server, call_to(server), client=client_of(mode, library, timeout=0.2))
        assert type(error) is APITimeoutError
        assert server.settle()


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_response_that_a_hook_has_read_is_returned(mode, library):
    def read(response):
        response.read()

    async def aread(response):
        await response.aread()

    hooks = {"response": [read if mode == "sync" else aread]}
    client = client_of(mode, library, event_hooks=hooks)
    compressed = response(gzip.compress(b'{"a": 1}'), headers=GZIP)
    with ByteServer(rest=compressed) as server:
        _, body = one(mode, server, call_to(server), client=client)
    assert body == b'{"a": 1}'


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_closed_client_is_an_error_of_ours(mode, library):
    client = client_of(mode, library)
    close = client.close if mode == "sync" else client.aclose
    with ByteServer(rest=GOOD) as server:
        steps = (close, call_to(server, max_retries=3))
        _, error = outcomes(mode, on(server), *steps, client=client)
    assert (type(error), error.is_retryable) == (APIConnectionError, False)
    assert "closed" in str(error)
