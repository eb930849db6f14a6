import copy
import functools
import inspect
import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core import exceptions as core
from langchain_core.messages import AIMessageChunk

from langchain_aimlernie import errors
from langchain_aimlernie._response import error_mapping, error_patterns
from langchain_aimlernie._response.error_mapping import (
    MAX_BODY,
    error_from_response,
    error_in_payload,
)
from langchain_aimlernie._text import Redactor
from langchain_aimlernie.errors import (
    AimlErnieError,
    ContextWindowExceededError,
    InsufficientCreditsError,
    InternalServerError,
    StructuredOutputError,
)
from tests.support.error_samples import SAMPLES

KEY = "sk-0123456789abcdef"
CLASSES = [
    c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, AimlErnieError)
]


def from_body(status, body, headers=None, **options):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return error_from_response(status, headers or {}, data, **options)


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.status} {sample.server}")
def test_what_servers_send_is_understood(sample):
    body = sample.body.encode() if isinstance(sample.body, str) else sample.body
    error = from_body(sample.status, body, dict(sample.headers))
    assert type(error).__name__ == sample.error
    assert (error.is_retryable, error.status_code) == (sample.retryable, sample.status)
    if sample.error == "ContextWindowExceededError":
        assert "max_tokens" in error.message
        for status in (400, 413, 422, 500, 503):
            assert type(from_body(status, body)) is ContextWindowExceededError
        assert type(from_body(502, body)) is InternalServerError
    if not isinstance(body, dict):
        return
    error = error_in_payload(body, headers=dict(sample.headers))  # inside a 200 or an event
    if sample.error == "BadRequestError":
        assert type(error) is not ContextWindowExceededError
    elif sample.error == "RateLimitError":
        assert type(error).__name__ == (sample.in_200 or sample.error)
        assert error.is_retryable is sample.retryable
    elif sample.error == "PermissionDeniedError":
        assert type(error) is not InsufficientCreditsError
    else:
        assert type(error).__name__ == sample.error
        assert error.is_retryable is sample.retryable


@pytest.mark.parametrize(
    "table",
    [
        *("OVERFLOWS", "EXHAUSTED_FUNDS", "FREE_TIER", "EXHAUSTED_QUOTAS", "RATE_LIMITS"),
        *("INVALID_KEYS", "UNKNOWN_MODELS"),
    ],
)
def test_each_wording_has_a_sample(table):
    texts = [json.dumps(sample.body, ensure_ascii=False) for sample in SAMPLES]
    for pattern in getattr(error_patterns, table):
        # In the text of the JSON, a message does not begin on a line of its own.
        wording = error_patterns.any_of((pattern.replace("^", '"'),))
        assert any(map(wording.search, texts)), pattern


def test_a_body_is_kept_as_it_is_unless_it_is_long():
    for size in (0, MAX_BODY - 100, MAX_BODY, 10**6):
        body = {"error": {"message": "wrong"}, "more": "x" * size}
        error = from_body(400, body)
        assert "wrong" in str(error)
        if size < MAX_BODY:
            assert error.body == error.response.json() == body
        else:
            assert isinstance(error.body, str)
            assert len(error.body) == len(error.response.text) == MAX_BODY
    error = from_body(502, b"<html>" + b"<p>x</p>" * 9999)
    assert len(error.body) == len(error.response.text) == MAX_BODY


def test_a_body_that_is_nested_without_end_is_cut():
    deep = functools.reduce(lambda inner, _: [inner], range(900), [])
    error = error_in_payload({"error": {"message": "broke", "x": deep}, "choices": []})
    assert error.message == "broke"
    assert "…" in error.response.text
    assert json.loads(error.response.text)


def test_ids_and_limits_come_from_the_headers():
    headers = {"X-Inference-Id": "inf-1", "x-client-request-id": "mine", "x-request-id": "req-1"}
    headers |= {"retry-after": "7", "set-cookie": "session=1", "authorization": "Bearer x"}
    error = error_from_response(429, headers, b"")
    assert (error.inference_id, error.client_request_id) == ("inf-1", "mine")
    assert (error.request_id, error.retry_after) == ("req-1", 7.0)
    kept = {**headers, "set-cookie": "***", "authorization": "***"}
    assert error.response.headers == {name.lower(): value for name, value in kept.items()}
    assert all(part in str(error) for part in ("HTTP 429", "inf-1", "mine", "req-1"))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after": "86400"}, 86400.0),
        ({"retry-after": "1e400"}, float("inf")),
        ({"retry-after": "3, 5"}, 3.0),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Fri, 31 Feb 2026 25:00:00 GMT"}, None),
        ({"retry-after": "Wed, 21 Oct 2015 07:27:00 GMT"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Mon, 21 Oct 2015 07:28:00 GMT"}, 30.0),  # a Wednesday
        ({"retry-after": "Wednesday, 21-Oct-15 07:28:00 GMT"}, 30.0),
        ({"retry-after": "Wed Oct 21 07:28:00 2015"}, 30.0),
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "9", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "9", "retry-after-ms": "x"}, 9.0),
        ({"retry-after": "9", "retry-after-ms": "-5"}, 9.0),
    ],
)
def test_retry_after_is_read_in_each_form(monkeypatch, headers, seconds):
    monkeypatch.setattr(error_mapping.time, "time", lambda: 1_445_412_450.0)
    assert error_from_response(429, headers, b"").retry_after == seconds


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 12m2.304s. Need more tokens? Upgrade", 722.304),  # Groq
        ("Please try again in 120ms. Visit", 0.12),  # OpenAI
        (
            "Rate limit of 10 per 60s exceeded. Please wait 37 seconds before retrying.",
            37.0,
        ),  # GitHub
        ("Please retry after 9 seconds. Please go here", 9.0),  # Azure
        ("No deployments available, Try again in 60 seconds. Passed model=x", 60.0),  # LiteLLM
        ("Please retry in 20.5s.", 20.5),  # Gemini
        ("try again in 1h30m0s", 5400.0),
        ("try again in 5 minutes", 300.0),
        *((text, None) for text in ("try again in 5 more requests", "retry after 2026-01-01", "")),
    ],
)
def test_a_message_says_how_long_to_wait_where_no_header_does(words, seconds):
    assert from_body(429, {"message": words}).retry_after == seconds
    assert from_body(429, {"message": words}, {"retry-after": "3"}).retry_after == 3.0


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"title": "Error 1015", "status": 429, "retryable": True, "retry_after": 30}, 30.0),
        ({"error": {"message": "Slow down", "retry_after": 1.5}}, 1.5),
        ({"message": "Try again in 9 s", "retryAfter": 7}, 7.0),
        ([{"error": {"details": [{"@type": "RetryInfo", "retryDelay": "45.8379s"}]}}], 45.8379),
        ({"error": {"metadata": {"raw": '{"error": {"retryDelay": "38s"}}'}}}, 38.0),
        ({"error": {"retry_after": None}}, None),
        ({"error": {"retry_after_ms": 1200, "retry_after": "2026-01-01"}}, None),
        ({"retry_after": -1}, None),
    ],
    ids=["Cloudflare", "nested", "camel case", "Gemini", "OpenRouter", "null", "other units", "-1"],
)
def test_a_field_says_how_long_to_wait_where_no_header_does(body, seconds):
    assert from_body(429, body).retry_after == seconds
    assert from_body(503, body, {"retry-after": "3"}).retry_after == 3.0


def test_the_server_can_forbid_a_retry():
    assert not error_from_response(503, {"x-should-retry": "false"}, b"").is_retryable
    assert not error_from_response(400, {"x-should-retry": "true"}, b"").is_retryable


def test_secrets_that_contain_each_other_are_hidden_and_short_ones_deface_nothing():
    redactor = Redactor("", KEY, KEY[:9], "i", "as")
    error = from_body(400, {"message": f"as it is: {KEY}, {KEY[:9]}"}, redactor=redactor)
    assert error.message == "as it is: ***, ***"


def test_a_completion_is_no_error():
    for payload in (
        {},
        {"choices": [], "usage": {}},
        {"meta": {"usage": {"credits_used": 1}}},
        {"error": None, "choices": [{"index": 0}]},
        {"error": None, "choices": []},
        {
            "error": {"message": "", "type": "", "param": "", "code": None},
            "choices": [{"index": 0}],
        },
        {"choices": [{"index": 0, "error": {"message": "", "code": 0}}]},
        {"error": None, "error_code": 0, "error_msg": "", "errors": [], "usage": {}},
        {"code": 0, "msg": "ok", "data": {"choices": []}},
        {"choices": [{"finish_reason": "stop"}], "message": "hello"},
        {"choices": "odd"},
        {"choices": [None, 1]},
    ):
        assert error_in_payload(payload) is None, payload


NAMES = st.sampled_from(["error", "message", "choices", "code", "statusCode", "detail"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(NAMES, inner),
    max_leaves=6,
)


@pytest.mark.slow
@given(st.dictionaries(NAMES, JSON, max_size=4))
@settings(max_examples=30)
def test_no_payload_breaks_the_reading_of_errors(payload):
    error = error_in_payload(payload)
    assert error is None or str(error).isprintable()


@settings(max_examples=50)
@given(st.integers(100, 999), st.binary(max_size=300), st.text(max_size=20))
def test_no_response_breaks_the_reading_of_errors(status, body, header):
    error = error_from_response(status, {"retry-after": header, "location": header}, body)
    assert error.status_code == status
    assert str(error).isprintable()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_an_error_survives_pickle_and_copies_with_all_it_knows(cls):
    facts = {"status_code": 429, "request_id": "r", "code": "c", "phase": "response_body"}
    facts |= {"body": {"a": [1]}, "retry_after": 1.5, "partial": AIMessageChunk("half")}
    response = errors.ErrorResponse(429, {"date": "x"}, "{}")
    error = cls("words", is_retryable=True, response=response, **facts)
    assert isinstance(error, core.ModelError)
    for again in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error), copy.copy(error)):
        assert type(again) is cls
        assert again.__dict__ == error.__dict__
        assert (str(again), again.args) == (str(error), error.args)
        assert again.is_retryable is True


def test_the_error_of_structured_output_is_what_parsers_raise():
    error = StructuredOutputError("no", finish_reason="length", llm_output="{")
    assert isinstance(error, core.OutputParserException)
    assert (error.llm_output, error.observation, error.send_to_llm) == ("{", None, False)
    assert not error.is_retryable
    assert StructuredOutputError("no").is_retryable
    assert str(error) == "no"


def test_each_id_is_shown_once():
    headers = {"x-request-id": "req-123456", "x-inference-id": "req-123456"}
    error = error_from_response(500, headers, b'{"message": "failed"}')
    assert str(error) == "failed [HTTP 500, request id req-123456]"
    assert (error.request_id, error.inference_id) == ("req-123456", "req-123456")
    error = error_from_response(500, headers, b'{"message": "failed (req-123456)"}')
    assert str(error) == "failed (req-123456) [HTTP 500]"


def test_facts_that_only_look_like_ids_of_the_message_are_shown():
    error = AimlErnieError("70000 tokens", status_code=429, code="429", request_id="7")
    assert str(error) == "70000 tokens [HTTP 429, code 429, request id 7]"
    long = "x" * 90
    error = AimlErnieError("m " * 600, request_id=long + "1", inference_id=long + "2")
    assert str(error).count("x" * 70) == 2
    assert len(str(error)) == 700
