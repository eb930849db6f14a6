"""The key and the user's headers show up nowhere: not in errors, logs, dumps, traces or pickles of them."""

from __future__ import annotations

import json
import logging
import pickle

import httpx
import httpx2
import pytest
from langchain_core.load import dumpd, dumps
from langchain_core.tracers.base import BaseTracer

from tests.support.byte_server import ByteServer, Close, Hold, Reset
from tests.support.fault_outcomes import (
    ALL_MODES,
    HEADER_SECRET,
    HEADERS,
    STREAM_MODES,
    SYNC_MODES,
    check_secrets,
    make_model,
    outcome_of,
    own_client_outcome,
    play,
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
    "the authorization header": response(aiml_error(401, f"Got 'Bearer {KEY}'"), 401),
    "OpenAI's message": response(
        openai_error(f"Incorrect API key provided: {KEY}", "invalid"), 401
    ),
    "the code": response(openai_error("no", KEY), 400),
    "a path": response(aiml_error(400) | {"path": f"/v1?key={KEY}"}, 400),
    "the request id": response(aiml_error(400) | {"requestId": KEY}, 400),
    "a key of the body": response({"message": "no", KEY: KEY}, 400),
    "a deep place of the body": response({"error": {"message": "no", "meta": [{"k": [KEY]}]}}, 500),
    "HTML": response(f"<html>{KEY}</html>", 502, content_type="text/html"),
    "plain text": response(f"denied: {KEY}", 403, content_type="text/plain"),
    "a cut body": response('{"message": "' + KEY, 500),
    "a long body, at the place where it is clipped": response(
        "x" * 480 + KEY * 40, 500, content_type="text/plain"
    ),
    "a long body, at 8 KiB": response("x" * (8192 - 10) + KEY, 500, content_type="text/plain"),
    "JSON escapes": response(
        json.dumps({"message": KEY}).replace("sk-", "\\u0073k-").encode(), 400
    ),
    "headers": response(
        aiml_error(429), 429, {"x-debug-auth": KEY, "x-aimlapi-key": KEY, "server": KEY}
    ),
    "known headers": response(
        aiml_error(429), 429, {"x-request-id": KEY, "x-client-request-id": KEY}
    ),
    "the address of a redirect": response("", 307, {"Location": f"http://evil.invalid/?k={KEY}"}),
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


def scripts():
    for name, script in {**ECHOES, **STREAM_ECHOES}.items():
        modes = SYNC_MODES if name in ECHOES else ("stream",)
        if name in ("the API's message", "an error event later"):
            modes = ALL_MODES if name in ECHOES else STREAM_MODES
        for mode in modes:
            yield pytest.param(
                (script,) if isinstance(script, bytes) else script, mode, id=f"{name} [{mode}]"
            )


@pytest.mark.parametrize(("script", "mode"), list(scripts()))
def test_a_server_that_echoes_the_key_cannot_put_it_into_an_error_or_a_log(caplog, script, mode):
    caplog.set_level(logging.DEBUG)
    with ByteServer(script) as endpoint:
        outcome = play(endpoint, mode, timeout=2.0)
        assert outcome.error is not None
        check_secrets(outcome.error)
    assert "receive_response_headers" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_client_of_the_user_logs_no_key_that_the_server_echoes(caplog, library, mode):
    caplog.set_level(logging.DEBUG)
    with ByteServer((ECHOES["headers"],)) as endpoint:
        own_client_outcome(endpoint.base_url, mode, library=library)
    assert f'POST {endpoint.base_url}/chat/completions "HTTP/1.1 429' in caplog.text
    assert "receive_response_headers" in caplog.text
    assert KEY not in caplog.text


@pytest.mark.parametrize("library", [None, httpx, httpx2], ids=["ours", "httpx", "httpx2"])
@pytest.mark.parametrize("mode", SYNC_MODES)
def test_no_log_shows_a_header_of_the_user_that_the_server_echoes(caplog, library, mode):
    caplog.set_level(logging.DEBUG)
    echo = response(aiml_error(400), 400, headers={"X-Echo": HEADER_SECRET})
    with ByteServer((echo,)) as endpoint:
        if library is None:
            play(endpoint, mode)
        else:
            own_client_outcome(endpoint.base_url, mode, library=library)
        assert endpoint.requests[0].headers["x-tenant-token"] == HEADER_SECRET
    assert "receive_response_headers" in caplog.text
    assert HEADER_SECRET not in caplog.text


@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize("how", ["a bare text", "a message"])
def test_headers_of_the_user_are_secrets_too(how, mode):
    body = HEADER_SECRET if how == "a bare text" else aiml_error(400, f"token {HEADER_SECRET}")
    with ByteServer((response(body, 400),)) as endpoint:
        outcome = play(endpoint, mode, default_headers=HEADERS)
        check_secrets(outcome.error, HEADER_SECRET)
        assert endpoint.requests[0].headers["x-tenant-token"] == HEADER_SECRET


FAULTS = {
    "good": (GOOD_RESPONSE,),
    "500": (response(aiml_error(500), 500),),
    "reset": (Reset(0.0),),
    "late": (Hold(),),
    "broken": (response("{"),),
    "cut": (unfinished(HEL), Close()),
}


@pytest.mark.parametrize("mode", ALL_MODES)
def test_logs_at_debug_show_neither_key_nor_headers_nor_prompt(caplog, mode):
    caplog.set_level(logging.DEBUG)
    for name, script in FAULTS.items():
        with ByteServer(script, script) as endpoint:
            model = make_model(
                endpoint.base_url,
                timeout=0.4,
                default_headers=HEADERS,
                max_retries=int(name == "500"),
            )
            prompt = "a private question"
            outcome_of(model, mode, prompt)
    shown = [
        (record.getMessage(), repr(record.args), str(record.exc_info), record.exc_text or "")
        for record in caplog.records
    ]
    text = repr(shown)
    for secret in (KEY, HEADER_SECRET, "a private question"):
        assert secret not in text
        assert secret not in caplog.text


def test_nothing_that_shows_the_model_shows_its_secrets():
    model = make_model("http://127.0.0.1:9/v1", default_headers=HEADERS)
    shown = {
        "repr": repr(model),
        "str": str(model),
        "model_dump": repr(model.model_dump()),
        "model_dump_json": model.model_dump_json(),
        "dumps": dumps(model),
        "dumpd": repr(dumpd(model)),
        "identifying params": repr(model._identifying_params),
        "params": repr(model._get_invocation_params()),
        "ls params": repr(model._get_ls_params()),
        "asdict": repr(model.asdict()),
        "bound": repr(model.bind(temperature=1.0)),
        "vars": repr(vars(model)),
    }
    leaks = [(how, s) for how, text in shown.items() for s in (KEY, HEADER_SECRET) if s in text]
    leaks = [(how, secret) for how, secret in leaks if (how, secret) != ("vars", HEADER_SECRET)]
    assert not leaks
    loaded = pickle.loads(pickle.dumps(model))
    assert loaded.api_key.get_secret_value() == KEY


class Everything(BaseTracer):
    """Keeps whatever a tracer would send away."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def _persist_run(self, run):
        self.seen.append(
            repr(run) + json.dumps(run.dict() if hasattr(run, "dict") else vars(run), default=repr)
        )


@pytest.mark.parametrize("mode", SYNC_MODES)
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_traces_show_no_secrets(fault, mode):
    with ByteServer(FAULTS[fault]) as endpoint:
        tracer = Everything()
        model = make_model(
            endpoint.base_url, default_headers=HEADERS, timeout=0.4, callbacks=[tracer]
        )
        outcome_of(model, mode, api_key=KEY)
        assert tracer.seen
        assert KEY not in "".join(tracer.seen)
        assert HEADER_SECRET not in "".join(tracer.seen)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_redirect_carries_nothing_anywhere(status, mode):
    with ByteServer() as elsewhere:
        hop = response("", status, {"Location": f"{elsewhere.base_url}/chat/completions"})
        with ByteServer((hop,)) as endpoint:
            outcome = play(endpoint, mode, default_headers=HEADERS)
            assert outcome.error is not None
            assert outcome.error.is_retryable is False
        assert not elsewhere.connections
