"""Tries are counted, spaced, told to callbacks and the same on the wire; the waits run side by side."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langchain_aimlernie._http import failures
from tests.support.byte_server import ByteServer, Close, Hold, Pause, Reset, Until
from tests.support.fault_table import (
    ALL_MODES,
    HANG,
    JSON_MODES,
    STREAM_MODES,
    SYNC_MODES,
    OneOf,
    Raises,
    Returns,
    acall,
    at_once,
    attempt,
    call,
    check_error,
    closing,
    in_threads,
    make_model,
    outcome_of,
    run_in,
    text_of,
)
from tests.support.modes import by_hand
from tests.support.response_bytes import (
    DONE,
    GOOD_RESPONSE,
    GOOD_STREAM,
    HEL,
    LO,
    aiml_error,
    as_bytes,
    completion,
    event,
    openai_error,
    response,
    stream,
    unfinished,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


class RetryCase(NamedTuple):
    """The scripts of the tries, the requests and seconds that they take, and the outcome."""

    name: str
    scripts: tuple
    expect: Raises | Returns | OneOf
    requests: int
    modes: tuple = ALL_MODES
    settings: Mapping = MappingProxyType({})
    at_least: float = 0.0


def dated(seconds):
    """An HTTP date that many seconds from the time of import."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def status(code, message="no luck today", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return response(aiml_error(code, message), code, named)


def again(name, *scripts, **more):
    """Fails so often, then works."""
    return RetryCase(name, scripts, Returns(), len(scripts) + 1, **more)


def gives_up(name, script, error, requests=1, **more):
    """Fails in the same way for ever."""
    return RetryCase(f"{name}, always", (script,) * 5, Raises(error), requests, **more)


INTERNAL, CONNECTION = "InternalServerError", "APIConnectionError"
INVALID_REQUEST = {"error": {"message": "no", "type": "invalid_request_error"}}
REDIRECT = response("", 307, {"Location": "http://127.0.0.1:9/"})
BY_STATUS = (
    gives_up("400", status(400), "BadRequestError"),
    again("500 twice", status(500), status(500)),
    again("mixed", status(503), status(429)),
    gives_up("500", status(500), INTERNAL, 3),
    gives_up("429", status(429), "RateLimitError", 3),
    gives_up("500, no retries", status(500), INTERNAL, 1, settings={"max_retries": 0}),
    gives_up("500, one retry", status(500), INTERNAL, 2, settings={"max_retries": 1}),
    *(gives_up(f"{n}, perhaps billed", status(n), INTERNAL, 2) for n in (504, 524)),
    gives_up("no credits", status(403, "You've run out of credits"), "InsufficientCreditsError"),
    gives_up("free tier", status(429, "Free-tier limit: reached"), "RateLimitError"),
    gives_up("500 about an invalid request", response(INVALID_REQUEST, 500), "BadRequestError"),
    gives_up("maintenance", status(500, "The model is under maintenance"), INTERNAL),
    gives_up("a redirect", REDIRECT, "InvalidResponseError"),
)

RETRY_AFTER = (
    again("Retry-After 1", status(429, Retry_After="1"), at_least=1.0),
    again("Retry-After 1.2 on a 503", status(503, Retry_After="1.2"), at_least=1.2),
    again("retry-after-ms", status(429, retry_after_ms="700"), at_least=0.7),
    again("a time in the message", status(429, "Please try again in 700ms"), at_least=0.7),
    again("a time in a field", response({"retry_after": 0.7}, 503), at_least=0.7),
    gives_up("a long time in a field", response({"retry_after": 120}, 520), INTERNAL),
    gives_up("a long time in the message", status(429, "Try again in 2m0.5s."), "RateLimitError"),
    *(
        again(f"Retry-After {value}", status(503, Retry_After=value))
        for value in ("0", "soon", "-5", "nan")
    ),
    again("Retry-After a date that is past", status(503, Retry_After=dated(-900))),
    gives_up("Retry-After above the cap", status(503, Retry_After="61"), INTERNAL),
    gives_up("Retry-After 86400", status(429, Retry_After="86400"), "RateLimitError"),
    gives_up(
        "Retry-After a date in two hours", status(429, Retry_After=dated(7200)), "RateLimitError"
    ),
    RetryCase(
        "Retry-After inf",
        (status(429, Retry_After="inf"), status(429, Retry_After="1e400")),
        OneOf(Returns(), Raises("RateLimitError")),
        0,
    ),
    again("429 about a quota and a time", status(429, "Quota exceeded", retry_after_ms="1")),
    gives_up(
        "429 about funds and a time",
        response(openai_error("no", "insufficient_quota"), 429, {"retry-after-ms": "1"}),
        "RateLimitError",
    ),
)

BODY = as_bytes(completion())
LOST = (CONNECTION, "InvalidResponseError")
CUT_BODY = (response(BODY[:40], length=len(BODY)), Close())
SOON = {"timeout": 3.0, "stream_idle_timeout": 3.0}
INVALID = "InvalidResponseError"
LATE = (Pause(7.0), GOOD_RESPONSE)
ERROR_200 = response(openai_error("overloaded", 503))
LASTING_200 = response(openai_error("bad request", 400))
UNKNOWN_OUTCOME = (
    again("reset once", Reset(0.0)),
    gives_up("reset", Reset(0.0), CONNECTION, 2),
    gives_up("closed before the head", Close(), CONNECTION, 2),
    gives_up("no response", Hold(), "APITimeoutError", 2, settings=SOON),
    again("late once", LATE, settings=SOON, modes=JSON_MODES),
    again("body cut once", CUT_BODY, modes=JSON_MODES),
    gives_up("body cut", CUT_BODY, LOST, 2, modes=JSON_MODES),
    gives_up("broken JSON", response(BODY[:40]), INVALID, 2, modes=JSON_MODES),
    again("empty once", response(b""), modes=JSON_MODES),
    gives_up("empty", response(b""), INVALID, 2, modes=JSON_MODES),
    gives_up("HTML", response("<html>", content_type="text/html"), INVALID, 1),
    again("an error in a 200 once", ERROR_200, modes=JSON_MODES),
    gives_up("a lasting error in a 200", LASTING_200, "BadRequestError", 1, modes=JSON_MODES),
)

IN_WORDS = b"event: error\ndata: out of memory\n\n"
FIRST_EVENTS = {
    "an error": event(openai_error("overloaded", 503)),
    "the API's error": event(aiml_error(500)),
    "an error in words": IN_WORDS,
    "an error of invalid JSON": event(b'{"error": "the "x" died"}'),
    "only [DONE]": DONE,
}
STREAM_FAILURES = {
    "an error as the first event": (stream(event(aiml_error(503))), INTERNAL, 3),
    "a lasting error as the first event": (stream(event(aiml_error(400))), "BadRequestError", 1),
    "an empty stream": (stream(), (INVALID, "StreamInterruptedError"), 3),
    "reset before the first event": ((unfinished(), Reset()), (*LOST, "StreamInterruptedError"), 2),
    "no first event": ((unfinished(), Hold()), "APITimeoutError", 2),
    "cut after the first event": ((unfinished(HEL), Close()), "StreamInterruptedError", 1),
    "reset after the first event": ((unfinished(HEL), Reset()), "StreamInterruptedError", 1),
    "an error after the first event": (stream(HEL, event(aiml_error(503))), INTERNAL, 1),
    "an error in words after the first event": (stream(HEL, IN_WORDS), INTERNAL, 1),
    "broken JSON after the first event": (stream(HEL, event("{"), LO), INVALID, 1),
    "a stall after the first event": ((unfinished(HEL), Hold()), "APITimeoutError", 1),
}
STREAMS = (
    *(again(f"{x} first", stream(data), modes=STREAM_MODES) for x, data in FIRST_EVENTS.items()),
    again("an empty stream once", stream(), modes=STREAM_MODES),
    again("comments, then a reset", (unfinished(b": ping\n\n"), Reset()), modes=STREAM_MODES),
    *(
        gives_up(
            name, *row, modes=STREAM_MODES, settings=SOON if row[1] == "APITimeoutError" else {}
        )
        for name, row in STREAM_FAILURES.items()
    ),
)

CASES = (*BY_STATUS, *RETRY_AFTER, *UNKNOWN_OUTCOME, *STREAMS)
ASYNC_EVERY = 8
"""Every so many cases run async, too: the policy and the loop are one."""


class Retries(BaseCallbackHandler):
    """Counts what the run manager is told."""

    def __init__(self):
        self.told = 0

    def on_retry(self, retry_state, **kwargs):
        self.told += 1


def check(case, mode):
    retries = Retries()
    settings = {"max_retries": 2, "client_request_id": None, "callbacks": [retries]}
    with ByteServer(*case.scripts) as server:
        model = make_model(server.base_url, **settings | case.settings)
        outcome = outcome_of(model, mode, seconds=60)
        case.expect.check(outcome)
        check_error(outcome.error)
        seen = server.requests
        if case.requests:
            assert len(seen) == case.requests
        # Core's `stream` and `astream` hand no run manager to the model, so nobody can be told.
        assert retries.told == (len(seen) - 1 if mode in JSON_MODES else 0), "on_retry"
        assert outcome.seconds >= case.at_least
        assert len({(each.body, *each.headers.items()) for each in seen}) == 1, "the tries differ"
        assert server.settle(), "a connection is left"


def test_a_fault_is_tried_again_as_the_policy_says(subtests):
    checks = {
        f"{case.name} [{mode}]": partial(check, case, mode)
        for number, case in enumerate(CASES)
        for mode in case.modes
        if mode in SYNC_MODES or number % ASYNC_EVERY == 0
    }
    at_once(subtests, checks)


STALE = {
    "reused": ((), (), 2, 1),
    "closed while idle": ((Close(),), (), 2, 2),
    "reset while idle": ((Reset(0.0),), (), 2, 2),
    "closed on the second request": ((), (Close(),), 3, 2),
    "reset on the second request": ((), (Reset(0.0),), 3, 2),
    "junk while idle": ((b"junk\r\n",), (), 2, 2),
}
"""What follows the first response, scripts for the second request; requests, connections."""


def check_stale(mode, idle, second, requests, connections):
    good = GOOD_STREAM if "stream" in mode else GOOD_RESPONSE
    is_read, retries = Until(), Retries()
    with ByteServer((good, is_read, *idle) if idle else good, *second) as server:
        model = make_model(server.base_url, callbacks=[retries])

        async def main():
            async with closing(model, mode):
                assert text_of(await acall(model, mode)) == "Hello"
                is_read.set()  # what comes now is not seen by the event loop, which waits, too
                assert not idle or server.settle(isinstance(idle[-1], bytes))
                return await attempt(model, mode)

        Returns().check(run_in(mode, main))
        assert (len(server.requests), server.connections) == (requests, connections)
        assert not retries.told


def test_a_kept_connection_that_went_stale_costs_nothing(subtests, monkeypatch):
    monkeypatch.setattr(failures, "_STALE_WINDOW", HANG)  # whatever else the machine has to do
    checks = {
        f"{name} [{mode}]": partial(check_stale, mode, *row)
        for name, row in STALE.items()
        for mode in ALL_MODES
    }
    at_once(subtests, checks)


@pytest.mark.parametrize("window", [HANG, 0.0])
@pytest.mark.parametrize("mode", JSON_MODES)
def test_one_more_try_is_enough_when_every_kept_connection_is_stale(monkeypatch, mode, window):
    """A server that restarted behind its balancer: none of three kept connections responds again.

    It is counted if that took longer than the window.
    """
    monkeypatch.setattr(failures, "_STALE_WINDOW", window)
    retries = Retries()
    all_wait = Until()

    def once_each(request):
        earlier = [r.connection for r in server.requests[:-1]]
        if len(server.requests) == 3:
            all_wait.set()
        is_stale = request.connection <= 3 and request.connection in earlier
        return Close() if is_stale else (all_wait, GOOD_RESPONSE)

    with ByteServer(rest=once_each) as server:
        model = make_model(server.base_url, max_retries=2, callbacks=[retries])

        async def main():
            async with closing(model, mode):
                if mode == "ainvoke":
                    await asyncio.gather(*(acall(model, mode) for _ in range(3)))
                else:
                    in_threads(*[partial(call, model, mode)] * 3)
                return await attempt(model, mode)

        Returns().check(run_in(mode, main))
        assert (len(server.requests), server.connections) == (5, 4)
        assert retries.told == (window == 0.0)


@pytest.mark.parametrize("most", [2, 256])
@pytest.mark.parametrize("mode", JSON_MODES)
def test_a_call_is_sent_again_on_a_fresh_connection_while_others_leave_stale_ones(mode, most):
    """A server that closes each connection at its second request, among many calls at once."""

    def once(request):
        earlier = {r.connection for r in server.requests[:-1]}
        return Close() if request.connection in earlier else GOOD_RESPONSE

    with ByteServer(rest=once) as server:
        model = make_model(server.base_url, max_retries=0, max_connections=most)

        async def calls():
            for _ in range(20):
                assert text_of(await acall(model, mode)) == "Hello"

        async def main():
            async with closing(model, mode):
                if mode == "ainvoke":
                    await asyncio.gather(*(calls() for _ in range(12)))
                else:
                    in_threads(*[lambda: by_hand(calls())] * 12)

        run_in(mode, main)
        assert server.settle()
