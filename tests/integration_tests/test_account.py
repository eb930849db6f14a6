"""The account endpoints over sockets: what is sent, what the results hold, and what fails."""

import asyncio
import json
import traceback
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import httpx
import pytest
from pydantic import SecretStr

from langchain_aimlernie import ChatAimlErnie, account, models
from langchain_aimlernie.account import KeyLimit
from langchain_aimlernie.errors import (
    APITimeoutError,
    AuthenticationError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)
from langchain_aimlernie.testing import ErnieServer
from tests.support.byte_server import ByteServer, Hold
from tests.support.response_bytes import plain_response

KEY = "sk-0123456789abcdef"
PATHS = {
    "balance": "/v2/billing",
    "key_info": "/v1/key",
    "usage": "/v2/usage?period=7d",
    "logs": "/v2/logs?period=7d&limit=100&offset=0",
}
BALANCE = {"current_balance": 12.345678, "currency": "USD"}
KEY_INFO = {
    "name": None,
    "disabled": False,
    "prefix": KEY[:8],
    "scopes": None,
    "limit": {"retention": "day", "threshold": 2.5},
    "created_at": "2026-02-18T06:57:29.232Z",
    "updated_at": "2026-02-18T08:57:29+02:00",
    "monthly_usage": 1.25,
}
USAGE = {
    "api_key_prefix": None,
    "start": "2026-07-26T22:15:00.000Z",
    "end": "2026-07-27T22:15:00.000",
    "spend": 13.704199,
    "currency": "USD",
    "requests": 9643,
}
ROW = {
    "created": "2026-07-02T03:04:05.000Z",
    "status": "succeeded",
    "origin": "api",
    "model": "baidu/ernie-5.0",
    "cost": {"usd": 0.25, "credits": 500000},
    "tokens": {"input": 10, "output": 20, "total": 30},
    "request_id": None,
    "inference_id": "inf-1",
    "client_request_id": None,
}


def page(*rows, total=None, has_more=False):
    total = len(rows) if total is None else total
    pagination = {"limit": 100, "offset": 0, "total": total, "has_more": has_more}
    return {"data": rows, "pagination": pagination}


BODIES = {"balance": BALANCE, "key_info": {"data": KEY_INFO}, "usage": USAGE, "logs": page(ROW)}
NAMES = [*BODIES, "list_models"]
"""The functions that send GET requests, which have their arguments and errors in common."""


def function(name):
    return getattr(models if name.endswith("list_models") else account, name)


def sync_call(name, *args, **settings):
    result = function(name)(*args, **settings)
    return list(result) if name == "logs" else result


def async_call(name, *args, **settings):
    async def main():
        result = function(f"a{name}")(*args, **settings)
        return [entry async for entry in result] if name == "logs" else await result

    return asyncio.run(main())


@pytest.fixture(params=[sync_call, async_call], ids=["sync", "async"])
def call(request):
    """Calls a function of the module, or its async variant; lists what it yields."""
    return request.param


def serving(body):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return ByteServer(rest=plain_response(data, content_type="application/json"))


@pytest.fixture
def ernie(ernie_server):
    return ernie_server


@pytest.fixture
def at(ernie):
    """The arguments that lead to the local server."""
    return {"base_url": ernie.base_url, "api_key": ernie.api_key}


# What the local server did is what the account says


def test_the_account_says_what_the_calls_cost(call, ernie, model, at):
    before = call("balance", **at)
    model().batch(["a", "b", "c"])
    spent = ernie.totals.usd_spent
    after = call("balance", **at)
    assert before.current_balance - after.current_balance == spent > 0
    assert after.currency == "USD"
    usage = call("usage", "1h", **at)
    assert (usage.spend, usage.requests) == (spent, 3)
    assert usage.end - usage.start == timedelta(hours=1)
    assert abs(datetime.now(UTC) - usage.end) < timedelta(minutes=5)
    past = {"start": "2026-01-01", "end": datetime(2026, 1, 2, tzinfo=UTC)}
    assert call("usage", **past, **at).spend == 0
    key = call("key_info", **at)
    assert (key.prefix, key.disabled, key.monthly_usage) == (ernie.api_key[:8], False, spent)


def test_the_log_has_the_ids_and_cost_of_each_call_newest_first(call, model, at):
    first = model().invoke("hi").response_metadata
    second = model().invoke("Tell me a story.").response_metadata
    for entry, metadata in zip(call("logs", **at), [second, first], strict=True):
        for name in ("inference_id", "request_id", "client_request_id"):
            assert getattr(entry, name) == metadata[name]
        assert entry.cost.usd == Decimal(str(metadata["usd_spent"]))
        assert entry.cost.credits == metadata["credits_used"]
        assert entry.tokens.input == metadata["token_usage"]["prompt_tokens"]
        assert (entry.status, entry.model) == ("succeeded", metadata["model_name"])
        assert abs(datetime.now(UTC) - entry.created) < timedelta(minutes=5)


# The log, page by page


@pytest.fixture(scope="module")
def full_log():
    """A server with 205 calls in its log."""
    with ErnieServer() as server:
        ChatAimlErnie(base_url=server.base_url, api_key=server.api_key).batch(["hi"] * 205)
        yield server


def queries_of(server):
    queries = [request.query for request in server.requests if request.path == "/v2/logs"]
    return [(int(query["limit"][0]), int(query["offset"][0])) for query in queries]


@pytest.mark.parametrize(
    ("window", "queries", "count"),
    [
        ((None, 0), [(100, 0), (100, 100), (100, 200)], 205),
        ((None, 200), [(100, 200)], 5),
        ((None, 500), [(100, 500)], 0),
        ((1, 0), [(1, 0)], 1),
        ((3, 5), [(3, 5)], 3),
        ((100, 0), [(100, 0)], 100),
        ((101, 0), [(100, 0), (1, 100)], 101),
    ],
)
def test_limit_and_offset_count_entries(call, full_log, window, queries, count):
    limit, offset = window
    earlier = len(queries_of(full_log))
    at = {"base_url": full_log.base_url, "api_key": full_log.api_key}
    found = call("logs", limit=limit, offset=offset, **at)
    assert len({entry.inference_id for entry in found}) == len(found) == count
    assert queries_of(full_log)[earlier:] == queries


def test_pages_are_requested_as_the_iteration_reaches_them(full_log):
    earlier = len(queries_of(full_log))
    entries = account.logs(base_url=full_log.base_url, api_key=full_log.api_key)
    assert len(queries_of(full_log)) == earlier
    next(entries)
    assert queries_of(full_log)[earlier:] == [(100, 0)]


def test_a_sync_log_that_is_begun_in_an_event_loop_goes_on_after_it(full_log):
    entries = account.logs(limit=3, base_url=full_log.base_url, api_key=full_log.api_key)

    async def begin():
        next(entries)

    asyncio.run(begin())
    assert len([*entries]) == 2


@pytest.mark.slow
def test_calls_that_are_made_meanwhile_do_not_repeat_entries(model, at):
    llm = model()
    llm.batch(["hi"] * 101)
    entries = account.logs(**at)
    ids = [next(entries).inference_id]
    llm.batch(["hi"] * 3)
    ids += [entry.inference_id for entry in entries]
    assert len(ids) == len({*ids}) == 101


@pytest.mark.parametrize(
    "body",
    [
        page(has_more=True, total=1000),
        page(ROW, has_more=True, total=3),
        page(ROW, total=1000),
        page(ROW, has_more=True, total=1),
    ],
)
def test_a_wrong_pagination_ends_nevertheless(call, body):
    with serving(body) as server:
        found = call("logs", base_url=server.base_url)
    assert len(found) == len(body["data"])
    assert len(server.requests) <= 3


# What is sent


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("path", ["", "/v1", "/v1/", "/some/where/v1", "/v1/chat/completions"])
def test_paths_are_those_of_the_origin(call, name, path):
    with serving(BODIES[name]) as server:
        call(name, base_url=f"http://127.0.0.1:{server.port}{path}", api_key=KEY)
    [request] = server.requests
    sent = (request.method, request.target, request.headers["authorization"])
    assert sent == ("GET", PATHS[name], f"Bearer {KEY}")


def test_key_and_address_come_from_the_environment(call, monkeypatch):
    with serving(BALANCE) as server:
        monkeypatch.setenv("AIMLAPI_API_KEY", f" {KEY}\n")
        monkeypatch.setenv("AIMLAPI_API_BASE", server.base_url)
        call("balance")
        call("balance", api_key=SecretStr("another"))
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == [f"Bearer {KEY}", "Bearer another"]


def test_the_api_itself_requires_a_key_and_another_server_may_not(call):
    for name in PATHS:
        with pytest.raises(AuthenticationError, match="AIMLAPI_API_KEY"):
            call(name)
    with ErnieServer(api_key=None) as server:
        assert call("balance", base_url=server.base_url).current_balance == 100
        assert "authorization" not in server.last_request.headers


@pytest.mark.parametrize("name", ["usage", "logs"])
def test_a_window_of_time_is_sent_in_utc(call, name):
    east = timezone(timedelta(hours=2))
    with serving(BODIES[name]) as server:
        window = {"start": datetime(2026, 7, 1, 1, tzinfo=east), "end": "2026-07-02T03:00:00"}
        call(name, **window, base_url=server.base_url)
    target = server.requests[0].target
    assert "start=2026-06-30T23%3A00%3A00%2B00%3A00" in target
    assert "end=2026-07-02T03%3A00%3A00%2B00%3A00" in target
    assert "period" not in target


@pytest.mark.parametrize("name", ["balance", "list_models"])
async def test_a_user_supplied_client_is_used_and_stays_open(ernie, at, name):
    with httpx.Client(headers={"x-mine": "yes"}) as client:
        function(name)(http_client=client, **at)
        assert not client.is_closed
    async with httpx.AsyncClient(headers={"x-mine": "yes"}) as client:
        await function(f"a{name}")(http_client=client, **at)
        assert not client.is_closed
    sent = {(each.headers["x-mine"], each.headers.get("authorization")) for each in ernie.requests}
    assert ("yes", f"Bearer {at['api_key']}") in sent
    assert {mine for mine, _ in sent} == {"yes"}


WINDOW = {"start": "2026-07-01", "end": "2026-07-02"}
PERIODS = ("", "0d", "7", "1w", "-1h", 7, "٣d", "99999999d")
INVALID = [
    *(("base_url", value) for value in ("ftp://x", 7)),
    *(("max_retries", value) for value in ("2", -1, 0.5)),
    *(("timeout", -1), ("http_client", object()), ("api_key", "a\nb"), ("api_key", 7)),
]


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        *(("usage", {"period": each}, "period") for each in PERIODS),
        ("usage", {"start": "2026-07-01"}, "together"),
        ("logs", {"end": "2026-07-01"}, "together"),
        ("usage", {"period": "7d", **WINDOW}, "not both"),
        ("usage", {**WINDOW, "end": "2026-06-30"}, "end must be"),
        ("usage", {**WINDOW, "end": "2026-12-01"}, "92 days"),
        ("usage", {**WINDOW, "end": "tomorrow"}, "end must be .*'tomorrow'"),
        ("usage", {**WINDOW, "start": datetime(2026, 7, 1)}, "start must be .*time zone"),  # noqa: DTZ001
        ("usage", {**WINDOW, "start": 7}, "start must be"),
        ("usage", {**WINDOW, "start": "0001-01-01T00:00+14:00"}, "start must be"),
        *(("logs", {"limit": each}, "limit") for each in (0, -1, 1.5, "3", True)),
        *(("logs", {"offset": each}, "offset") for each in (-1, None, "0", False)),
        *(
            (name, {setting: value}, setting)
            for name in ("balance", "list_models")
            for setting, value in INVALID
        ),
        *((name, {"inclde": 1}, "^'inclde' is not") for name in ("balance", "list_models")),
    ],
)
def test_invalid_arguments_raise_before_any_request(ernie, at, name, arguments, message):
    for call in (sync_call, async_call):
        with pytest.raises((TypeError, ValueError), match=message):
            call(name, **{**at, **arguments})
    if name == "logs":
        for function in (account.logs, account.alogs):
            with pytest.raises(ValueError, match=message):
                function(**{**at, **arguments})  # before the iteration
    assert ernie.requests == []


# What comes back


def test_results_have_the_values_of_the_api(call):
    found = {}
    for name, body in BODIES.items():
        with serving(body) as server:
            found[name] = call(name, base_url=server.base_url)
    assert found["balance"].current_balance == Decimal("12.345678")
    assert found["balance"].raw == BALANCE
    info = found["key_info"]
    assert (info.name, info.scopes) == (None, None)
    assert info.limit == KeyLimit("day", Decimal("2.5"))
    assert info.created_at == datetime(2026, 2, 18, 6, 57, 29, 232000, tzinfo=UTC)
    assert info.updated_at.utcoffset() == timedelta(0)
    assert (info.monthly_usage, info.raw) == (Decimal("1.25"), KEY_INFO)
    usage = found["usage"]
    assert (usage.spend, usage.requests) == (Decimal("13.704199"), 9643)
    assert usage.end - usage.start == timedelta(days=1)
    [entry] = found["logs"]
    assert (entry.cost.usd, entry.cost.credits) == (Decimal("0.25"), 500_000)
    assert (entry.tokens.input, entry.tokens.output, entry.tokens.total) == (10, 20, 30)
    assert (entry.client_request_id, entry.raw) == (None, ROW)
    assert hash(entry) == hash(entry)


MUCH = page(ROW, {**ROW, "cost": {"usd": "much"}})


def without(body, key):
    return {name: value for name, value in body.items() if name != key}


@pytest.mark.parametrize(
    ("name", "body"),
    [
        *((name, body) for name in PATHS for body in (b"", b"<html>", b"[]", b"null", b"{}")),
        *((name, b"[" * 9999) for name in PATHS),
        *(("balance", {"current_balance": odd}) for odd in (None, True, "a lot", [], float("nan"))),
        ("key_info", {"data": None}),
        ("key_info", {"data": []}),
        ("key_info", KEY_INFO),
        *(("key_info", {"data": without(KEY_INFO, key)}) for key in ("prefix", "disabled")),
        *(("usage", without(USAGE, key)) for key in ("start", "end", "spend", "requests")),
        ("usage", {**USAGE, "end": "soon"}),
        ("usage", {**USAGE, "end": "0001-01-01T00:00:00+14:00"}),
        ("logs", [ROW]),
        ("logs", {"data": [ROW]}),
        ("logs", page(None)),
        *(("logs", page(without(ROW, key))) for key in ("inference_id", "cost", "created")),
        ("logs", page({**ROW, "cost": {"usd": None}})),
        ("logs", page({**ROW, "cost": 0.25})),
        ("logs", MUCH),
    ],
)
def test_a_body_without_the_values_is_an_error(call, name, body):
    with serving(body) as server, pytest.raises(InvalidResponseError) as caught:
        call(name, base_url=server.base_url, max_retries=0)
    assert caught.value.response.status_code == 200
    if body is MUCH:
        assert "cost.usd" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("balance", {"current_balance": -0.5}),
        ("balance", {"current_balance": "12.5", "currency": "USD", "new": {"key": [1]}}),
        ("key_info", {"data": {"prefix": "b747e891", "disabled": False, "monthly_usage": 0}}),
        ("key_info", {"data": {**KEY_INFO, "scopes": ["model:new"], "limit": None}}),
        ("usage", {**USAGE, "api_key_prefix": "b747e891"}),
        ("logs", page({**ROW, "status": "pending", "origin": None, "request_id": "req"})),
        ("logs", page(without(without(ROW, "tokens"), "origin"))),
        ("logs", {**page({**ROW, "raw": 7}), "raw": 7, "entries": 7}),
    ],
)
def test_a_body_with_more_or_fewer_values_is_accepted(name, body):
    with serving(body) as server:
        sync_call(name, base_url=server.base_url)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (429, RateLimitError),
        (500, InternalServerError),
    ],
)
def test_error_statuses_raise_the_packages_errors(call, status, error):
    body = json.dumps({"message": f"no, {KEY} must not", "requestId": "r-1"}).encode()
    with ByteServer(rest=plain_response(body, status=status)) as server:
        for name in NAMES:
            with pytest.raises(error) as caught:
                call(name, base_url=server.base_url, api_key=KEY, max_retries=0)
            assert (caught.value.status_code, caught.value.request_id) == (status, "r-1")
            assert_hidden(caught.value)
    assert len(server.requests) == len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_no_key_is_shown_in_an_error_about_a_body_or_an_argument(call, name):
    body = {"data": {"api_key": KEY}, "current_balance": KEY, KEY: [KEY]}
    with serving(body) as server:
        wrong = {"timeout": "soon"}, {"http_client": 7}, {"base_url": "ftp://x"}
        for more in ({}, *wrong, {"api_key": f"{KEY}\n{KEY}"}):
            settings = {"base_url": server.base_url, "api_key": KEY, "max_retries": 0, **more}
            with pytest.raises((InvalidResponseError, ValueError)) as caught:
                call(name, **settings)
            assert_hidden(caught.value)


def assert_hidden(error):
    """Fail if the error, or a local variable of ours in its traceback, shows the key."""
    shown = [str(error), repr(error), repr(vars(error))]
    trace = traceback.TracebackException.from_exception(error, capture_locals=True)
    while trace is not None:
        frames = [frame for frame in trace.stack if "langchain_aimlernie" in frame.filename]
        assert frames
        shown += [repr(frame.locals) for frame in frames]
        trace = trace.__cause__ or trace.__context__
    assert not [text for text in shown if KEY in text]


@pytest.mark.parametrize("name", ["balance", "list_models"])
def test_a_transient_failure_is_retried_and_silence_times_out(call, name):
    body = json.dumps(BODIES.get(name, {"data": []})).encode()
    failure = plain_response(status=503, retry_after_ms="1")
    with ByteServer(failure, rest=plain_response(body)) as server:
        call(name, base_url=server.base_url)
        assert len(server.requests) == 2
    with ByteServer(rest=Hold()) as server, pytest.raises(APITimeoutError):
        call(name, base_url=server.base_url, timeout=0.1, max_retries=0)


def test_an_account_that_did_not_change_is_not_cached(call):
    """Frameworks add ETags by themselves."""
    body = json.dumps(BALANCE).encode()
    with ByteServer(rest=plain_response(body, etag='W/"1"')) as server:
        for _ in range(2):
            call("balance", base_url=server.base_url)
    assert not [request for request in server.requests if "if-none-match" in request.headers]
