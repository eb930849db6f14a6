"""What is refused before a byte is sent, what is not, and what the refusal must not show."""

from __future__ import annotations

import asyncio
import math
import socket
import warnings

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ValidationError

from langchain_aimlernie import errors
from tests.support.byte_server import ByteServer
from tests.support.fault_outcomes import (
    ALL_MODES,
    SYNC_MODES,
    TEXT,
    aattempt,
    call,
    check_secrets,
    make_model,
    outcome_of,
    text_of,
)
from tests.support.response_bytes import KEY

REFUSALS = (ValueError, errors.AimlErnieError)
BAD_KEYS = {
    "a newline inside": f"{KEY}\nX-Evil: 1{KEY}",
    "CR": f"{KEY}\r{KEY}",
    "NUL": f"{KEY}\0",
    "a tab inside": f"{KEY}\t{KEY}",
    "a space inside": f"{KEY} {KEY}",
    "a zero-width space": f"{KEY}\u200b",
    "a no-break space inside": f"{KEY}\u00a0{KEY}",
    "a smart quote": f"\u201c{KEY}\u201d",
    "a full-width letter": f"{KEY}\uff21",
    "an emoji": f"{KEY}\U0001f511",
    "DEL": f"{KEY}\x7f",
    "a lone surrogate": f"{KEY}\ud800",
}


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_key_is_refused_at_construction_and_not_shown(key):
    with pytest.raises(REFUSALS) as caught:
        make_model("http://127.0.0.1:9/v1", api_key=key)
    check_secrets(caught.value)
    if isinstance(caught.value, ValidationError):
        assert KEY not in caught.value.json()
        assert KEY not in repr(caught.value.errors())


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": 9},
        {"model": "a", "model_name": "b"},
        {"model": ""},
        {"timeout": "soon"},
        {"max_retries": "many"},
        {"default_headers": "x"},
    ],
    ids=str,
)
def test_a_refusal_of_another_setting_does_not_show_the_key(settings):
    with pytest.raises(REFUSALS) as caught:
        make_model("http://127.0.0.1:9/v1", **settings)
    check_secrets(caught.value)


@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
@pytest.mark.parametrize("mode", SYNC_MODES)
def test_a_bad_key_from_a_function_is_a_typed_error_and_not_shown(key, mode):
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url, api_key=lambda: key)
        outcome = outcome_of(model, mode)
        assert isinstance(outcome.error, errors.AimlErnieError)
        check_secrets(outcome.error)
        assert not endpoint.requests


@pytest.mark.parametrize("key", [f" {KEY}", f"{KEY}\n", f"{KEY}\r\n", f"\t{KEY} \n"], ids=repr)
def test_white_space_around_a_key_is_trimmed(key):
    with ByteServer() as endpoint, make_model(endpoint.base_url, api_key=key) as model:
        call(model, "invoke")
        assert endpoint.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["", "   ", None], ids=repr)
def test_no_key_names_the_variable(monkeypatch, key):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    with pytest.raises(REFUSALS, match="AIMLAPI_API_KEY"):
        call(make_model("https://api.aimlapi.com/v1", api_key=key), "invoke")


def test_a_function_is_asked_for_the_key_of_each_call():
    keys = iter(("sk-one", "sk-two"))

    async def rotated():
        return next(keys)

    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url, api_key=rotated)

        async def twice():
            await aattempt(model, "ainvoke")
            await aattempt(model, "astream")

        asyncio.run(twice())
        sent = [request.headers["authorization"] for request in endpoint.requests]
        assert sent == ["Bearer sk-one", "Bearer sk-two"]


@pytest.mark.parametrize("value", ["a b", "a\r\nb", "x" * 129, "", "é", "a/b", "a\0"], ids=ascii)
def test_a_bad_client_request_id_is_refused(value):
    with pytest.raises(REFUSALS, match="client_request_id"):
        make_model("http://127.0.0.1:9/v1", client_request_id=value)


@pytest.mark.parametrize("value", ["a", "x" * 128, "A.z_0:-"], ids=lambda v: v[:8])
def test_a_good_client_request_id_is_sent(value):
    with ByteServer() as endpoint:
        with make_model(endpoint.base_url, client_request_id=value) as model:
            call(model, "invoke")
        assert endpoint.requests[0].headers["x-client-request-id"] == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-tenant", f"a\r\nX-Evil: {KEY}"),
        ("x-tenant", f"{KEY}\0"),
        ("x-tenant", f"{KEY}\u4f60"),
        ("x tenant", KEY),
        ("x-tenant\n", KEY),
        ("", KEY),
        ("Content-Length", f"5{KEY}"),
    ],
    ids=ascii,
)
def test_a_bad_header_is_refused_and_its_value_not_shown(name, value):
    with pytest.raises(REFUSALS) as caught:
        make_model("http://127.0.0.1:9/v1", default_headers={name: value}, api_key="sk-other")
    check_secrets(caught.value)


@pytest.mark.parametrize(
    ("tail", "target"),
    [
        ("", "/v1/chat/completions"),
        ("/", "/v1/chat/completions"),
        ("/v1", "/v1/chat/completions"),
        ("/v1/", "/v1/chat/completions"),
        ("/v1//", "/v1/chat/completions"),
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/proxy/aiml/v1", "/proxy/aiml/v1/chat/completions"),
        ("/proxy/aiml/v1/", "/proxy/aiml/v1/chat/completions"),
    ],
)
@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_each_form_of_base_url_reaches_one_address(tail, target, mode):
    with ByteServer() as endpoint:
        base_url = f"http://127.0.0.1:{endpoint.port}{tail}"
        with make_model(base_url) as model:
            assert text_of(call(model, mode)) == TEXT
        assert endpoint.requests[0].target == target


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_loopback_needs_no_tls(host):
    with ByteServer() as endpoint, warnings.catch_warnings():
        warnings.simplefilter("error")
        with make_model(f"http://{host}:{endpoint.port}/v1") as model:
            assert text_of(call(model, "invoke")) == TEXT


def test_ipv6_is_reached():
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6 loopback")
    with ByteServer(host="::1") as endpoint:
        with make_model(f"http://[::1]:{endpoint.port}/v1") as model:
            assert text_of(call(model, "stream")) == TEXT
        assert endpoint.requests[0].headers["host"] == f"[::1]:{endpoint.port}"


@pytest.mark.parametrize(
    "base_url",
    [
        f"https://user:{KEY}@127.0.0.1/v1",
        f"https://{KEY}@127.0.0.1/v1",
        "ftp://127.0.0.1/v1",
        "127.0.0.1:8080/v1",
        "//127.0.0.1/v1",
        "https:///v1",
        "https://127.0.0.1:99999/v1",
        "https://127.0.0.1:port/v1",
        "https://127.0.0.1 /v1",
        "https://127.0.0.1/v1\0",
        "https://127.0.0.1/v1\r\nHost: evil",
        "https://127.0.0.1/v1?key=1",
        "https://127.0.0.1/v1#frag",
        "https://[::1/v1",
        "",
    ],
    ids=ascii,
)
def test_a_base_url_that_cannot_work_is_refused(base_url):
    with pytest.raises(REFUSALS) as caught:
        make_model(base_url, api_key="sk-other")
    check_secrets(caught.value)


def test_an_unencrypted_foreign_host_is_warned_of():
    with pytest.warns(UserWarning, match="http"):
        make_model("http://api.example/v1")


SURROGATES = {"alone": "a\ud83db", "at the end": "a\ud83d", "low first": "\ude00\ud83d"}


@pytest.mark.parametrize("text", SURROGATES.values(), ids=SURROGATES)
@pytest.mark.parametrize("mode", SYNC_MODES)
def test_a_lone_surrogate_in_a_prompt_is_no_foreign_error(text, mode):
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)
        say = [HumanMessage("hi"), AIMessage("hm"), HumanMessage(text)]

        outcome = outcome_of(model, mode, say)
        if outcome.error is None:
            assert len(endpoint.requests[0].json["messages"][2]["content"]) >= len(text)
        else:
            assert isinstance(outcome.error, errors.BadRequestError), repr(outcome.error)
            assert "2" in str(outcome.error), "the message is not named"
            assert not endpoint.requests


def test_a_split_surrogate_pair_in_a_prompt_is_put_together():
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        try:
            model.invoke("hi \ud83d\ude00")
        except errors.BadRequestError:
            return
        assert endpoint.requests[0].json["messages"][0]["content"] == "hi \U0001f600"


FINE = {
    "NUL": "a\0b",
    "U+2028": "a\u2028b\u2029c\x85",
    "emoji": "\U0001f600" * 50,
    "quotes and backslashes": "\"\\'</script>" * 9,
    "2 MB": "x" * 2_000_000,
    "2 MB of Chinese": "好" * 700_000,
}


@pytest.mark.parametrize("text", FINE.values(), ids=FINE)
@pytest.mark.parametrize("mode", ["invoke", "stream"])
def test_odd_prompts_arrive_as_they_are(text, mode):
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        call(model, mode, text)
        assert endpoint.requests[0].json["messages"][0]["content"] == text


def test_a_history_of_2000_messages_arrives():
    turns = [cls(f"turn {i}") for i in range(1000) for cls in (HumanMessage, AIMessage)]
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        model.invoke([*turns, HumanMessage("now")])
        sent = endpoint.requests[0].json["messages"]
        assert len(sent) == 2001
        assert sent[1999]["content"] == "turn 999"


def tool(name):
    parameters = {"type": "object", "properties": {}}
    return {
        "type": "function",
        "function": {"name": name, "description": "d", "parameters": parameters},
    }


def test_128_tools_are_sent():
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        model.bind_tools([tool(f"t{i}") for i in range(128)]).invoke("hi")
        assert len(endpoint.requests[0].json["tools"]) == 128


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([f"t{i}" for i in range(129)], "128"),
        (["get weather"], "get weather"),
        (["x" * 65], "64"),
        ([""], "name"),
    ],
    ids=["129 tools", "a name with a space", "a name of 65", "a name of none"],
)
def test_tools_that_the_api_would_refuse_are_refused_before_sending(names, what):
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        with pytest.raises(REFUSALS, match=what):
            model.bind_tools([tool(name) for name in names]).invoke("hi")
        assert not endpoint.requests
        assert text_of(call(model, "invoke")) == TEXT


CYCLE: dict = {}
CYCLE["again"] = CYCLE
SPOILT_OPTIONS = {
    "5 stops": {"stop": list("abcde")},
    "NaN": {"temperature": math.nan},
    "inf": {"temperature": math.inf},
    "a temperature of 2.5": {"temperature": 2.5},
    "a temperature in words": {"temperature": "hot"},
    "no tokens": {"max_tokens": 0},
    "a set in the body": {"extra_body": {"x": {1, 2}}},
    "an object in the body": {"extra_body": {"x": object()}},
    "NaN in the body": {"extra_body": {"x": math.nan}},
    "bytes in the body": {"extra_body": {"x": b"\xff"}},
    "a cycle in the body": {"extra_body": CYCLE},
    "a bad id": {"client_request_id": "a b"},
    "a bad key": {"api_key": f"{KEY}\n{KEY}"},
    "a bad address": {"base_url": "ftp://127.0.0.1"},
}


@pytest.mark.parametrize("options", SPOILT_OPTIONS.values(), ids=SPOILT_OPTIONS)
@pytest.mark.parametrize("mode", SYNC_MODES)
def test_an_option_that_cannot_be_sent_is_a_typed_error(options, mode):
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url, api_key="sk-other")
        outcome = outcome_of(model, mode, **options)
        assert isinstance(outcome.error, errors.BadRequestError | errors.AuthenticationError), repr(
            outcome.error
        )
        check_secrets(outcome.error)
        assert not endpoint.requests


@pytest.mark.parametrize("mode", ALL_MODES)
def test_no_messages_are_a_typed_error(mode):
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)
        outcome = outcome_of(model, mode, [])
        assert isinstance(outcome.error, errors.BadRequestError), repr(outcome.error)
        assert not endpoint.requests


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": math.nan},
        {"max_retries": -1},
        {"timeout": "soon"},
        {"stream_idle_timeout": -1},
        {"seed": 0},
        {"stop": list("abcde")},
    ],
    ids=str,
)
def test_settings_out_of_range_are_named(settings):
    with pytest.raises(REFUSALS, match=next(iter(settings))):
        make_model("http://127.0.0.1:9/v1", **settings)
