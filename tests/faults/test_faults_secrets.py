"""The key and the user's headers show up nowhere: not in errors, logs, dumps, traces or pickles of them."""

import asyncio
import json
import logging
from types import SimpleNamespace

import httpx
import httpx2
import pytest

from tests.support.byte_server import ByteServer, Close, Hold, Reset
from tests.support.everything import Everything
from tests.support.fault_table import (
    ALL_MODES,
    HEADER_SECRET,
    HEADERS,
    STREAM_MODES,
    SYNC_MODES,
    acall,
    bounded,
    check_frames,
    check_secrets,
    make_model,
    outcome_of,
    own_client_outcome,
    play,
    run_async,
)
from tests.support.response_bytes import (
    DONE,
    GOOD_RESPONSE,
    HEL,
    KEY,
    aiml_error,
    event,
    openai_error,
    response,
    stream,
    unfinished,
)

ECHOES = {
    "the API's message": response(aiml_error(401, f"Bad key {KEY}"), 401),
    "a deep place of the body": response({"error": {"message": "no", "meta": [{"k": [KEY]}]}}, 500),
    "each place of the body": response(
        {"message": f"Bad key {KEY}", "path": [KEY], "code": KEY, "x": {KEY: {"y": KEY}}}, 401
    ),
    "an escape of JSON": response(json.dumps({"message": KEY}).replace("-", "\\u002d"), 401),
    "a title of HTML": response(f"<html><title>{KEY}</title>", 401),
    "HTML": response(f"<html>{KEY}</html>", 502, content_type="text/html"),
    "a long body, at the place where it is clipped": response(
        "x" * 480 + KEY * 40, 500, content_type="text/plain"
    ),
    "a long body, at 8 KiB": response("x" * (8192 - 10) + KEY, 500, content_type="text/plain"),
    "headers": response(
        aiml_error(429),
        429,
        {"x-debug-auth": KEY, "x-aimlapi-key": KEY, "server": KEY, "X-Echo": HEADER_SECRET},
    ),
    "a header of the user": response(HEADER_SECRET, 400),
    "a header of the user, in a message": response(aiml_error(400, f"token {HEADER_SECRET}"), 400),
    "known headers": response(
        aiml_error(429), 429, {"x-request-id": KEY, "x-client-request-id": KEY}
    ),
    "the host of a redirect": response("", 307, {"Location": f"http://{KEY}.evil.invalid/"}),
    "a 200 that is an error": response(openai_error(f"bad key {KEY}", 401)),
    "a 200 that is HTML": response(f"<html>{KEY}</html>", content_type="text/html"),
    "a 200 that is no JSON": response(f"{{'{KEY}': "),
    "a 200 of another shape": response({"choices": KEY}),
    "a 200 with a message of another shape": response({"choices": [{"message": KEY}]}),
    "no HTTP": (f"{KEY} what\r\n\r\n".encode(), Close()),
    "a bad header line": (f"HTTP/1.1 200 OK\r\n{KEY}\0: x\r\n\r\n".encode(), Close()),
    "a bad length": (f"HTTP/1.1 200 OK\r\nContent-Length: {KEY}\r\n\r\n".encode(), Close()),
    "a bad chunk size": (
        f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{KEY}\r\n".encode(),
        Close(),
    ),
}
STREAM_ECHOES = {
    "an error event first": stream(event(openai_error(f"bad key {KEY}", 401)), DONE),
    "an error event later": stream(HEL, event(aiml_error(500, f"bad key {KEY}")), DONE),
    "an error event in words": stream(HEL, f"event: error\ndata: {KEY}\n\n".encode()),
    "a broken event": stream(HEL, event(f'{{"choices": "{KEY}')),
    "an event of another shape": stream(HEL, event(json.dumps(KEY))),
    "a choice of another shape": stream(HEL, event({"choices": [KEY]})),
    "an ending in the middle": (unfinished(HEL, f"data: {KEY}".encode()), Close()),
}  # fmt: skip


def runs():
    for name, script in (ECHOES | STREAM_ECHOES).items():
        all_modes = ALL_MODES if name in ECHOES else STREAM_MODES
        in_async = name in ("the API's message", "headers", "an error event later")
        for mode in all_modes:
            if in_async or mode in (SYNC_MODES if name in ECHOES else ("stream",)):
                yield pytest.param(script, mode, id=f"{name} [{mode}]")


@pytest.mark.parametrize(("script", "mode"), list(runs()))
def test_a_server_that_echoes_a_secret_puts_it_into_no_error_or_log(caplog, script, mode):
    caplog.set_level(logging.DEBUG)
    with ByteServer(script) as server:
        outcome = play(server, mode)
        assert outcome.error is not None
        assert server.requests[0].headers["x-tenant-token"] == HEADER_SECRET
    assert "receive_response_headers" in caplog.text
    for secret in (KEY, HEADER_SECRET):
        check_secrets(outcome.error, secret)
        assert secret not in caplog.text


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_no_log_of_a_user_supplied_client_shows_a_secret(caplog, library, mode):
    caplog.set_level(logging.DEBUG)
    with ByteServer(ECHOES["headers"]) as server:
        own_client_outcome(server.base_url, mode, library=library)
        assert server.requests[0].headers["x-tenant-token"] == HEADER_SECRET
    assert "receive_response_headers" in caplog.text
    assert KEY not in caplog.text
    assert HEADER_SECRET not in caplog.text


FAULTS = {
    "good": GOOD_RESPONSE,
    "500": response(aiml_error(500), 500),
    "reset": Reset(0.0),
    "late": Hold(),
    "broken": response("{"),
    "cut": (unfinished(HEL), Close()),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_logs_and_traces_show_neither_key_nor_headers_nor_in_logs_the_prompt(caplog, fault, mode):
    caplog.set_level(logging.DEBUG)
    tracer = Everything()
    settings = {"timeout": 0.2, "max_retries": int(fault == "500"), "callbacks": [tracer]}
    with ByteServer(FAULTS[fault], FAULTS[fault]) as server:
        model = make_model(server.base_url, default_headers=HEADERS, **settings)
        outcome_of(model, mode, "a private question", api_key=KEY)
    assert tracer.seen
    logs = caplog.text + repr([(r.getMessage(), r.args, r.exc_info) for r in caplog.records])
    for secret in (KEY, HEADER_SECRET):
        assert secret not in "".join(tracer.seen) + logs
    assert "a private question" not in logs


def test_the_checks_find_a_secret_in_any_frame_of_the_chain_and_in_any_attribute():
    def fail(key):
        raise ValueError

    def fail_later():
        try:
            fail(KEY)
        except ValueError as error:
            error.body = [{"a": SimpleNamespace(b=(KEY.encode(),))}]
            raise RuntimeError from None

    with pytest.raises(RuntimeError) as caught:
        fail_later()
    with pytest.raises(AssertionError, match="key = 'sk-"):
        check_frames(caught.value)
    with pytest.raises(AssertionError, match="can be reached"):
        check_secrets(caught.value)


@pytest.mark.parametrize("own_client", [False, True], ids=["shared", "own client"])
@pytest.mark.parametrize(
    ("mode", "script"),
    [("ainvoke", Hold()), ("astream", Hold()), ("astream", (unfinished(HEL), Hold()))],
    ids=["ainvoke", "astream", "astream in the middle"],
)
def test_no_frame_shows_a_secret_of_a_call_that_is_cancelled(mode, script, own_client):
    async def main():
        async with httpx.AsyncClient() as client:
            own = {"http_async_client": client} if own_client else {}
            model = make_model(server.base_url, default_headers=HEADERS, **own)
            task = asyncio.create_task(acall(model, mode))
            assert await asyncio.to_thread(server.received, 1)
            with pytest.raises(TimeoutError) as caught:
                await asyncio.wait_for(task, 0.1)
            return caught.value

    with ByteServer(script) as server:
        error = bounded(lambda: run_async(main))
        assert server.requests[0].headers["x-tenant-token"] == HEADER_SECRET
    check_frames(error)
