"""The live catalogue over real sockets, and every shape that it may come in."""

import asyncio
import dataclasses
import json
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import httpx
import pytest
from pydantic import SecretStr

from langchain_aimlernie import models as module
from langchain_aimlernie.errors import (
    APIConnectionError,
    APITimeoutError,
    AuthenticationError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
)
from langchain_aimlernie.models import ModelCard, alist_models, decode_catalogue, list_models
from langchain_aimlernie.profiles import find_model, model_profile
from langchain_aimlernie.testing import ErnieServer

GPT = {
    "id": "openai/gpt-4o",
    "aliases": ["gpt-4o"],
    "type": "openai/chat-completions",
    "info": {
        "name": "GPT-4o",
        "developer": "Open AI",
        "description": "Multimodal.",
        "releasedAt": "2025-08-07",
        "contextLength": 128000,
        "outputMax": 16384,
        "docsUrl": "https://docs.aimlapi.com/gpt-4o",
    },
    "tags": ["playground:chat"],
    "modalities": {"input": ["image", "text"], "output": ["text"]},
    "capabilities": ["streaming", "tools"],
    "pricing": {
        "kind": "fixed",
        "currency": "USD",
        "units": [
            {"name": "token", "measure": "cached_input", "price": 1.25, "per": 1000000},
            {"name": "token", "measure": "input", "price": 0.0025, "per": 1000},
            {"name": "token", "measure": "output", "price": 10.4, "per": 1000000},
        ],
    },
    "novelty": {"kept": True},
}
ERNIE = {"id": "baidu/ernie-5.0", "type": "openai/chat-completions", "info": {"developer": "Baidu"}}
IMAGE = {"id": "baidu/pictures", "type": "openai/image-generations", "info": {"developer": "baidu"}}
OWN = {"id": "my-ernie", "object": "model", "owned_by": "vllm"}


def catalogue(*items):
    return json.dumps({"object": "list", "data": items}).encode()


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch):
    """Forget the lists of other tests: a port can come again."""
    monkeypatch.setattr(module, "_etag_cache", {})


@pytest.fixture
def ernie():
    with ErnieServer() as server:
        yield server


@pytest.fixture
def server():
    """A server that gives its `answers` one after another, the last one for ever."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            http.seen.append(SimpleNamespace(path=self.path, headers=self.headers))
            answers = http.answers
            status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.seen = []
    http.answers = [(200, {}, catalogue(GPT, ERNIE, IMAGE, OWN))]
    http.url = f"http://127.0.0.1:{http.server_port}/v1"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield http
    http.shutdown()
    thread.join()
    http.server_close()


def ids(cards):
    return [card.id for card in cards]


def test_the_live_list_knows_every_model_of_our_table(ernie):
    cards = list_models(base_url=ernie.base_url)
    assert len(cards) == 15
    for card in cards:
        spec = find_model(card.id)
        assert spec.known
        assert card.context_tokens == spec.context
        assert ("image" in card.input_modalities) is model_profile(card.id)["image_inputs"]
        assert card.developer == "Baidu"
        assert card.pricing_kind == "fixed"
        assert card.currency == "USD"
        assert 0 < card.input_price <= card.output_price


def test_no_key_is_needed_and_none_is_sent(ernie, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_KEY", "secret-key-of-the-environment")
    list_models(base_url=ernie.base_url)
    assert "authorization" not in ernie.last_request.headers


@pytest.mark.parametrize("key", ["my-key", SecretStr("my-key")])
def test_a_key_that_is_given_is_sent(server, key):
    list_models(base_url=server.url, api_key=key)
    assert server.seen[0].headers["Authorization"] == "Bearer my-key"


def test_what_has_not_changed_is_not_sent_again(ernie):
    first = list_models(base_url=ernie.base_url)
    second = list_models(base_url=ernie.base_url)
    assert [request.status for request in ernie.requests] == [200, 304]
    assert second == first
    assert second[0].raw == first[0].raw


def test_a_changed_list_replaces_the_kept_one(server):
    server.answers = [
        (200, {"ETag": '"1"'}, catalogue(ERNIE)),
        (200, {"ETag": '"2"'}, catalogue(ERNIE, OWN)),
        (304, {"ETag": '"2"'}, b""),
    ]
    lists = [ids(list_models(base_url=server.url)) for _ in range(3)]
    assert lists == [["baidu/ernie-5.0"], *[["baidu/ernie-5.0", "my-ernie"]] * 2]
    asked = [request.headers["If-None-Match"] for request in server.seen]
    assert asked == [None, '"1"', '"2"']


def test_another_question_or_key_has_an_answer_of_its_own(server):
    server.answers = [(200, {"ETag": '"1"'}, catalogue(ERNIE))]
    list_models(base_url=server.url)
    list_models(base_url=server.url, endpoint=None)
    list_models(base_url=server.url, include=["pricing"])
    list_models(base_url=server.url, api_key="key")
    assert [request.headers["If-None-Match"] for request in server.seen] == [None] * 4


def test_a_caller_cannot_change_what_is_kept(server):
    server.answers = [(200, {"ETag": '"1"'}, catalogue(GPT)), (304, {}, b"")]
    [card] = list_models(base_url=server.url, developer=None)
    card.raw["info"]["name"] = "changed"
    [card] = list_models(base_url=server.url, developer=None)
    assert card.raw == GPT


def test_the_default_is_the_chat_models_of_baidu_and_models_of_ones_own(server):
    assert ids(list_models(base_url=server.url)) == ["baidu/ernie-5.0", "my-ernie"]
    assert "type=openai/chat-completions" in server.seen[0].path
    assert "include=pricing,capabilities,modalities" in server.seen[0].path


def test_everything_can_be_asked_for(server):
    cards = list_models(base_url=server.url, developer=None, endpoint=None, include=())
    assert ids(cards) == ["openai/gpt-4o", "baidu/ernie-5.0", "baidu/pictures", "my-ernie"]
    assert server.seen[0].path == "/v1/models"


@pytest.mark.parametrize("developer", ["Open AI", "openai", "OPENAI"])
def test_developers_are_found_in_any_spelling(server, developer):
    cards = list_models(base_url=server.url, developer=developer)
    assert ids(cards) == ["openai/gpt-4o", "my-ernie"]


async def test_async_gives_the_same(ernie, server):
    assert await alist_models(base_url=ernie.base_url) == list_models(base_url=ernie.base_url)
    everything = {"developer": None, "endpoint": None}
    assert await alist_models(base_url=server.url, **everything) == list_models(
        base_url=server.url, **everything
    )


def test_one_loop_after_another_can_ask(ernie):
    for _ in range(3):
        assert len(asyncio.run(alist_models(base_url=ernie.base_url))) == 15


def test_the_address_may_come_from_the_environment(ernie, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie.base_url)
    assert len(list_models()) == 15


async def test_a_client_that_is_given_is_used(ernie):
    with httpx.Client(headers={"x-mine": "yes"}) as client:
        list_models(base_url=ernie.base_url, http_client=client)
        assert not client.is_closed
    async with httpx.AsyncClient(headers={"x-mine": "yes"}) as client:
        await alist_models(base_url=ernie.base_url, http_client=client)
        assert not client.is_closed
    assert [request.headers["x-mine"] for request in ernie.requests] == ["yes", "yes"]


async def test_a_server_that_does_not_answer_is_given_up():
    with ErnieServer(delay=30) as server:
        with pytest.raises(APITimeoutError):
            list_models(base_url=server.base_url, timeout=0.1, max_retries=0)
        with pytest.raises(APITimeoutError):
            await alist_models(base_url=server.base_url, timeout=0.1, max_retries=0)


def test_a_passing_failure_is_tried_again(server):
    server.answers = [(503, {}, b""), (200, {}, catalogue(ERNIE))]
    assert ids(list_models(base_url=server.url)) == ["baidu/ernie-5.0"]


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (404, NotFoundError), (500, InternalServerError)],
)
async def test_failures_are_errors_of_ours(server, status, error):
    server.answers = [(status, {}, b'{"message": "no", "statusCode": %d}' % status)]
    with pytest.raises(error) as caught:
        list_models(base_url=server.url, max_retries=0)
    assert caught.value.status_code == status
    with pytest.raises(error):
        await alist_models(base_url=server.url, max_retries=0)


def test_not_modified_without_having_been_asked_is_an_error(server):
    server.answers = [(304, {"ETag": '"1"'}, b"")]
    with pytest.raises(InvalidResponseError) as caught:
        list_models(base_url=server.url, max_retries=0)
    assert caught.value.status_code == 304


def test_a_server_that_is_not_there_is_a_connection_error(server):
    with ErnieServer() as gone:
        url = gone.base_url
    with pytest.raises(APIConnectionError):
        list_models(base_url=url, max_retries=0)


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"1", b"null", b"{}", b'{"data": null}', b'{"data": {}}', b"[" * 9999],
)
async def test_what_is_no_catalogue_is_an_error(server, body):
    server.answers = [(200, {}, body)]
    with pytest.raises(InvalidResponseError):
        list_models(base_url=server.url, max_retries=0)
    with pytest.raises(InvalidResponseError):
        await alist_models(base_url=server.url, max_retries=0)


def test_a_bad_answer_is_not_kept(server):
    server.answers = [
        (200, {"ETag": '"1"'}, b"{}"),
        (200, {"ETag": '"1"'}, catalogue(ERNIE)),
    ]
    with pytest.raises(InvalidResponseError):
        list_models(base_url=server.url, max_retries=0)
    list_models(base_url=server.url)
    assert server.seen[1].headers["If-None-Match"] is None


@pytest.mark.parametrize("arguments", [{"base_url": "ftp://x"}, {"api_key": "a\nb"}])
def test_malformed_settings_are_refused_before_anything_is_sent(server, arguments):
    with pytest.raises(ValueError, match=r"base_url|api_key"):
        list_models(**{"base_url": server.url, **arguments})
    assert server.seen == []


def test_a_card_says_all_that_the_catalogue_does():
    [card] = decode_catalogue(catalogue(GPT))
    assert card == ModelCard(
        id="openai/gpt-4o",
        aliases=("gpt-4o",),
        name="GPT-4o",
        developer="Open AI",
        description="Multimodal.",
        endpoint="openai/chat-completions",
        context_tokens=128_000,
        max_output_tokens=16_384,
        input_modalities=("image", "text"),
        output_modalities=("text",),
        capabilities=("streaming", "tools"),
        pricing_kind="fixed",
        currency="USD",
        input_price=Decimal("2.5"),
        output_price=Decimal("10.4"),
        released="2025-08-07",
        docs_url="https://docs.aimlapi.com/gpt-4o",
        tags=("playground:chat",),
    )
    assert card.raw == GPT
    assert hash(card) == hash(decode_catalogue(catalogue(GPT))[0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        card.id = "other"


@pytest.mark.parametrize(
    ("units", "price"),
    [
        ([{"name": "token", "measure": "input", "price": 3, "per": 1000000}], "3"),
        ([{"name": "input", "measure": "token", "price": 3, "per": 1000000}], "3"),
        ([{"name": "prompt", "measure": "tokens", "price": 0.0005, "per": 1000}], "0.5"),
        ([{"name": "token", "measure": "input", "price": "0.1", "per": "1000000"}], "0.1"),
        ([{"name": "token", "measure": "input", "price": 0, "per": 1}], "0"),
        ([{"name": "token", "measure": "input", "price": 3, "per": 0}], None),
        ([{"name": "token", "measure": "input", "price": None, "per": 1}], None),
        ([{"name": "token", "measure": "output", "price": 3, "per": 1}], None),
        ([{"name": "image", "measure": "input", "price": 3, "per": 1}], None),
        ([{"name": ["token"], "measure": {"input": 1}}], None),
        ([None, 7, "input"], None),
        ({"name": "token"}, None),
        (None, None),
    ],
)
def test_prices_are_per_million_tokens_or_unknown(units, price):
    [card] = decode_catalogue(catalogue({"id": "x", "pricing": {"kind": "fixed", "units": units}}))
    assert card.input_price == (None if price is None else Decimal(price))


@pytest.mark.parametrize("odd", [None, 7, "text", [], [7, None], {}, {"name": 7}, True])
def test_odd_values_leave_a_field_empty_and_stay_in_raw(odd):
    item = {
        "id": "x",
        **dict.fromkeys(("aliases", "type", "info", "tags", "modalities"), odd),
        **dict.fromkeys(("capabilities", "pricing"), odd),
    }
    [card] = decode_catalogue(catalogue(item))
    assert card == ModelCard(id="x", name="x", endpoint=card.endpoint)
    assert card.raw == item


@pytest.mark.parametrize("context", [None, "many", -1, 0, [], float("1e400"), True])
def test_a_context_that_is_no_number_is_unknown(context):
    [card] = decode_catalogue(catalogue({"id": "x", "info": {"contextLength": context}}))
    assert card.context_tokens is None


@pytest.mark.parametrize("item", [None, 7, [], {}, {"id": None}, {"id": 7}, {"id": ""}])
def test_what_has_no_id_is_no_model(item):
    assert ids(decode_catalogue(catalogue(item, ERNIE))) == ["baidu/ernie-5.0"]


def test_an_empty_type_hides_no_model(server):
    server.answers = [(200, {}, catalogue({**ERNIE, "type": ""}, {**OWN, "owned_by": ""}))]
    assert [card.id for card in list_models(base_url=server.url)] == [ERNIE["id"], OWN["id"]]


def test_the_etag_store_is_bounded(server):
    server.answers = [(200, {"ETag": '"1"'}, catalogue(ERNIE))]
    for number in range(40):
        list_models(base_url=f"{server.url}/{number}")
    assert len(module._etag_cache) <= 16
