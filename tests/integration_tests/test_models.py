"""The live catalogue over sockets, and the values that its entries may have."""

import asyncio
import dataclasses
import json
from decimal import Decimal

import pytest

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie import models as module
from langchain_aimlernie.errors import InvalidResponseError
from langchain_aimlernie.models import ModelCard, alist_models, decode_catalogue, list_models
from langchain_aimlernie.profiles import _SPECS, find_model, model_profile
from tests.support.byte_server import ByteServer
from tests.support.modes import LISTS
from tests.support.response_bytes import head, response

pytestmark = pytest.mark.usefixtures("no_cached_lists")
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
OWN = {"id": "my-ernie", "owned_by": "vllm", "type": "", "info": {"developer": ""}}


def catalogue(*items):
    return json.dumps({"object": "list", "data": items}).encode()


def listing(*items, etag=None):
    """A response that lists the models."""
    return response(catalogue(*items), headers={} if etag is None else {"ETag": etag})


NOT_MODIFIED = head(304)


@pytest.fixture
def server():
    """A server that lists four models, unless a test adds scripts."""
    with ByteServer(rest=listing(GPT, ERNIE, IMAGE, OWN)) as server:
        yield server


def ids(cards):
    return [card.id for card in cards]


def test_the_live_list_agrees_with_the_table_of_models(ernie_server):
    cards = list_models(base_url=ernie_server.base_url)
    assert len(cards) == len(_SPECS)
    for card in cards:
        spec = find_model(card.id)
        assert spec.known
        assert card.context_tokens == spec.context
        assert ("image" in card.input_modalities) is model_profile(card.id)["image_inputs"]
        assert (card.developer, card.pricing_kind, card.currency) == ("Baidu", "fixed", "USD")
        assert 0 < card.input_price <= card.output_price


def test_no_key_is_required_or_sent(ernie_server, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_KEY", "secret-key-of-the-environment")
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    assert len(list_models()) == len(_SPECS)
    assert not [request for request in ernie_server.requests if "authorization" in request.headers]


def test_a_changed_list_replaces_the_cached_one(server):
    server.play(listing(ERNIE, etag='"1"'), listing(ERNIE, OWN, etag='"2"'), NOT_MODIFIED)
    first, second = (list_models(base_url=server.base_url) for _ in range(2))
    second[0].raw["info"].clear()  # of the caller's list, not of the cache
    third = list_models(base_url=server.base_url)
    assert (ids(first), ids(third)) == (["baidu/ernie-5.0"], ["baidu/ernie-5.0", "my-ernie"])
    assert third[0].raw == ERNIE
    etags = [request.headers.get("if-none-match") for request in server.requests]
    assert etags == [None, '"1"', '"2"']


def test_each_query_and_key_is_cached_separately(server):
    server.play(*[listing(ERNIE, etag='"1"')] * 4)
    for options in ({}, {"endpoint": None}, {"include": ["pricing"]}, {"api_key": "key"}):
        list_models(base_url=server.base_url, **options)
    assert [request.headers.get("if-none-match") for request in server.requests] == [None] * 4


def test_the_cache_is_bounded(server):
    server.play(*[listing(ERNIE, etag='"1"')] * 40)
    for number in range(40):
        list_models(base_url=server.base_url, include=[f"section{number}"])
    assert len(module._etag_cache) <= 16


@pytest.mark.parametrize("mode", LISTS)
def test_a_list_that_has_not_changed_may_leave_the_cache_meanwhile(mode):
    def script_for(request):
        if "if-none-match" not in request.headers:
            return listing(ERNIE, etag='"1"')
        module._etag_cache.clear()  # as another thread does with the 17th list
        return NOT_MODIFIED

    with ByteServer(rest=script_for) as server:
        for _ in range(2):
            assert ids(LISTS[mode](base_url=server.base_url)) == ["baidu/ernie-5.0"]
    assert [each for each in server.requests if "if-none-match" in each.headers]


def output_price(model):
    """The price of a million output tokens; `None` if the model's prices are not known."""
    llm = ChatAimlErnie(model=model, api_key="k")
    try:
        return llm.estimate_cost("", max_output_tokens=10**6) - llm.estimate_cost(
            "", max_output_tokens=0
        )
    except ValueError:
        return None


@pytest.mark.parametrize("etag", [None, '"1"'])
def test_prices_are_known_whether_or_not_a_list_can_be_cached(server, etag):
    server.play(listing(GPT, etag=etag), listing(ERNIE))
    for _ in range(2):
        list_models(base_url=server.base_url)
        for name in ("openai/gpt-4o", "gpt-4o"):
            assert output_price(name) == Decimal("10.4")


@pytest.mark.parametrize(
    ("entries", "include", "is_known"),
    [
        ([ERNIE], "modalities", True),
        ([OWN], "pricing", True),
        ([{**GPT, "pricing": {}}], "pricing", False),
        (
            [{**GPT, "id": "openai/new", "aliases": [GPT["id"]], "pricing": {}}, GPT],
            "pricing",
            True,
        ),
    ],
)
def test_a_price_that_a_newer_list_no_longer_states_is_not_known(
    server, entries, include, is_known
):
    server.play(listing(GPT), listing(*entries))
    for sections in ("pricing", include):
        list_models(base_url=server.base_url, include=sections)
    for name in ("openai/gpt-4o", "gpt-4o"):
        assert (output_price(name) is not None) == is_known


def test_a_price_that_was_not_asked_for_is_known(server):
    server.play(listing(GPT))
    list_models(base_url=server.base_url, include=())
    assert output_price(GPT["id"]) == Decimal("10.4")


def test_the_default_is_baidus_chat_models_and_those_without_a_developer(server):
    assert ids(list_models(base_url=server.base_url)) == ["baidu/ernie-5.0", "my-ernie"]
    assert "type=openai/chat-completions" in server.requests[0].target
    assert "include=pricing,capabilities,modalities" in server.requests[0].target
    cards = list_models(base_url=server.base_url, developer=None, endpoint=None, include=())
    assert ids(cards) == ["openai/gpt-4o", "baidu/ernie-5.0", "baidu/pictures", "my-ernie"]
    assert server.requests[1].target == "/v1/models"
    assert "content-length" not in server.requests[1].headers
    list_models(base_url=server.base_url, endpoint=None, include="pricing")
    assert server.requests.pop().target == "/v1/models?include=pricing"
    for developer in ("Open AI", "openai", "OPENAI"):
        cards = list_models(base_url=server.base_url, developer=developer)
        assert ids(cards) == ["openai/gpt-4o", "my-ernie"]


def test_sync_and_async_return_the_same_models_in_any_event_loop(ernie_server, server):
    for settings in (
        {"base_url": ernie_server.base_url},
        {"base_url": server.base_url, "developer": None, "endpoint": None},
    ):
        cards = list_models(**settings)
        for _ in range(2):
            assert asyncio.run(alist_models(**settings)) == cards


@pytest.mark.parametrize(
    "body",
    [
        None,
        b"",
        b"<html>",
        b"[]",
        b"1",
        b"null",
        b"{}",
        b'{"data": null}',
        b'{"data": {}}',
        b"[" * 9999,
    ],
)
async def test_what_is_not_a_catalogue_is_an_error_and_not_cached(server, body):
    wrong = NOT_MODIFIED if body is None else response(body, headers={"ETag": '"1"'})
    server.play(wrong, wrong)
    with pytest.raises(InvalidResponseError) as caught:
        list_models(base_url=server.base_url, max_retries=0)
    assert caught.value.status_code == (304 if body is None else 200)
    with pytest.raises(InvalidResponseError):
        await alist_models(base_url=server.base_url, max_retries=0)
    list_models(base_url=server.base_url)
    assert not [each for each in server.requests if "if-none-match" in each.headers]


def test_a_card_has_every_field_of_the_catalogue():
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
def test_unexpected_values_leave_fields_empty_and_stay_in_raw(odd):
    item = {
        "id": "x",
        **dict.fromkeys(("aliases", "type", "info", "tags", "modalities"), odd),
        **dict.fromkeys(("capabilities", "pricing"), odd),
    }
    [card] = decode_catalogue(catalogue(item))
    assert card == ModelCard(id="x", name="x", endpoint=card.endpoint)
    assert card.raw == item


@pytest.mark.parametrize("context", [None, "many", -1, 0, [], float("1e400"), True])
def test_an_invalid_context_length_is_none(context):
    [card] = decode_catalogue(catalogue({"id": "x", "info": {"contextLength": context}}))
    assert card.context_tokens is None


@pytest.mark.parametrize("item", [None, 7, [], {}, {"id": None}, {"id": 7}, {"id": ""}])
def test_entries_without_an_id_are_skipped(item):
    assert ids(decode_catalogue(catalogue(item, ERNIE))) == ["baidu/ernie-5.0"]
