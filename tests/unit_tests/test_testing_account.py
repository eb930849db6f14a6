"""The account of the local server: what its endpoints answer, and the deprecations feed."""

import re
from decimal import Decimal
from urllib.parse import urlsplit

import httpx
import pytest

from langchain_aimlernie.testing import Reply

CHAT = "/v1/chat/completions"
TEXT = "baidu/ernie-4.5-21b-a3b"
NO_COSTS = ("0.1", None, True, 1e308, 10**400, float("inf"))
ACCOUNT = ("/v1/key", "/v2/billing", "/v2/usage", "/v2/logs")


@pytest.fixture
def client(ernie_server):
    origin = "http://" + urlsplit(ernie_server.base_url).netloc
    headers = {"authorization": f"Bearer {ernie_server.api_key}"}
    with httpx.Client(base_url=origin, headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def chat(client):
    def send(model=TEXT, headers=None, **fields):
        messages = [{"role": "user", "content": "Hello"}]
        body = {"model": model, "messages": messages, **fields}
        return client.post(CHAT, json=body, headers=headers)

    return send


@pytest.fixture
def get(client):
    def send(path, **query):
        response = client.get(path, params=query)
        assert response.status_code == 200, response.text
        return response.json()

    return send


@pytest.mark.parametrize("path", ACCOUNT)
def test_the_account_needs_the_key(client, path):
    assert client.get(path, headers={"authorization": "Bearer x"}).status_code == 401
    assert client.post(path).status_code == 404
    assert client.get(f"/v1{path}").status_code == 404


def test_the_balance_can_be_set_and_reset(ernie_server, chat, get):
    ernie_server.balance_usd = 0.5
    ernie_server.reply("a", meta={"usage": {"credits_used": 600_000, "usd_spent": 0.3}})
    chat()
    assert get("/v2/billing") == {"current_balance": 0.2, "currency": "USD"}
    assert ernie_server.balance_usd == Decimal("0.2")
    ernie_server.reset()
    assert get("/v2/billing")["current_balance"] == 100
    assert get("/v2/logs")["data"] == []


@pytest.mark.parametrize(
    ("reply", "bill"),
    [
        (Reply("a", meta={"usage": {"usd_spent": 0.25}}), (0.25, 6)),
        (Reply("a", meta={"usage": {"credits_used": 500_000}}), (0.25, 6)),
        (Reply("a", meta=None), (1e-6, 6)),
        *((Reply("a", meta={"usage": {"usd_spent": usd}}), (1e-6, 6)) for usd in NO_COSTS),
        (Reply("a", usage=None, meta=None), (5e-7, 5)),
        (Reply("a", usage={}, meta=None), (5e-7, 5)),
        (Reply(body={"usage": {"prompt_tokens": 3}, "meta": {"usage": {"usd_spent": 1}}}), (1, 3)),
        (Reply("a", usage={"completion_tokens": "x"}, meta={"usage": 7}), (5e-7, 0)),
        (Reply(body={"usage": [3], "meta": "x"}), (5e-7, 5)),
        (Reply(body="junk"), (5e-7, 5)),
        (Reply(events=["junk"]), (5e-7, 5)),
        (Reply(status=500, body="no"), (0, 0)),
    ],
)
def test_the_log_has_a_cost_for_any_reply(ernie_server, chat, get, reply, bill):
    usd, tokens = bill
    ernie_server.reply(reply)
    chat()
    [row] = get("/v2/logs")["data"]
    assert row["cost"] == {"usd": usd, "credits": round(usd / 5e-7)}
    assert row["tokens"]["total"] == tokens
    assert row["status"] == ("failed" if reply.status == 500 else "succeeded")


def test_rejected_requests_are_not_logged(client, chat, get):
    chat("baidu/none")
    chat(temperature=7)
    chat(headers={"authorization": "Bearer x"})
    client.post(CHAT, content=b"{")
    assert get("/v2/logs")["data"] == []
    assert get("/v2/usage")["requests"] == 0


def test_the_log_comes_in_pages(chat, get):
    ids = [chat().headers["x-inference-id"] for _ in range(5)]
    page = get("/v2/logs", limit=2, offset=1)
    assert [row["inference_id"] for row in page["data"]] == [ids[3], ids[2]]
    assert page["pagination"] == {"limit": 2, "offset": 1, "total": 5, "has_more": True}
    assert not get("/v2/logs", limit=2, offset=3)["pagination"]["has_more"]
    assert get("/v2/logs", offset=9)["data"] == []
    assert get("/v2/logs")["pagination"]["limit"] == 50


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"new": "filter"}, 3),
        ({"period": "1h"}, 3),
        ({"start": "2026-01-01", "end": "2026-01-02T00:00:00Z"}, 0),
    ],
)
def test_the_log_is_of_a_window_of_time(ernie_server, chat, get, query, count):
    chat()
    chat("baidu/ernie-5.0")
    ernie_server.fail(500)
    chat()
    assert get("/v2/logs", **query)["pagination"]["total"] == count


WINDOWS = [
    "period=0d",
    "period=week",
    "period=7d&start=2026-01-01&end=2026-01-02",
    "start=2026-01-01",
    "end=2026-01-01",
    "start=soon&end=2026-01-01",
    "start=2026-01-02&end=2026-01-01",
    "start=2026-01-01&end=2026-05-01",
]
PAGES = ["limit=0", "limit=101", "limit=x", "offset=-1", "offset=1.5"]


@pytest.mark.parametrize(
    ("path", "query"),
    [("/v2/usage", each) for each in WINDOWS] + [("/v2/logs", each) for each in WINDOWS + PAGES],
)
def test_an_invalid_window_or_page_is_rejected(client, path, query):
    response = client.get(f"{path}?{query}")
    assert (response.status_code, response.json()["status"]) == (400, 400)
    assert any(name in response.json()["message"] for name in re.findall(r"\w+(?==)", query))


# Deprecations


def test_the_feed_needs_no_key_and_has_an_etag(client):
    first = client.get("/v1/models/deprecations", headers={"authorization": ""})
    assert {entry["status"] for entry in first.json()["data"]} == {"deprecated", "withdrawn"}
    assert first.headers["cache-control"] == "public, max-age=300"
    again = {"if-none-match": first.headers["etag"]}
    assert client.get("/v1/models/deprecations", headers=again).status_code == 304


def test_the_feed_can_be_scripted_and_a_withdrawn_model_is_gone(ernie_server, chat, get):
    entry = {"id": TEXT, "status": "withdrawn"}
    ernie_server.deprecations = [entry]
    assert ernie_server.deprecations == [entry]
    assert get("/v1/models/deprecations")["data"] == [entry]
    assert chat().status_code == 404
    ernie_server.reset()
    assert chat().status_code == 200


def test_every_default_replacement_is_served(ernie_server, chat):
    for entry in ernie_server.deprecations:
        assert chat(entry["replaced_by"]).status_code == 200
        assert chat(entry["id"]).status_code == (404 if entry["status"] == "withdrawn" else 200)
