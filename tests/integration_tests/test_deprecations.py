"""The deprecations feed: models that `list_models` marks, and what a 404 says of its model."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from langchain_aimlernie import ChatAimlErnie, _deprecations
from langchain_aimlernie.errors import NotFoundError
from tests.support.byte_server import ByteServer
from tests.support.modes import LISTS, MODES, ask
from tests.support.response_bytes import plain_response

pytestmark = pytest.mark.usefixtures("no_cached_lists")
FEED = "/v1/models/deprecations"
OLD = "baidu/ernie-5.0"
NEW = "baidu/ernie-9"
ENTRY = {
    "id": OLD,
    "aliases": ["old", OLD],
    "status": "withdrawn",
    "deprecated_at": "2026-05-01",
    "shutdown_at": "2026-07-01T12:00:00+02:00",
    "replaced_by": NEW,
    "reason": "Too old.",
}
CATALOGUE = {"data": [{"id": OLD}, {"id": NEW, "aliases": [OLD, "old"]}]}
HINT = f"{OLD} is listed as withdrawn (2026-07-01); use {NEW} instead."


@pytest.fixture(params=LISTS)
def listed(request):
    """Calls `list_models`, or its async variant; returns the cards by their ids."""
    return lambda **settings: {card.id: card for card in LISTS[request.param](**settings)}


@pytest.fixture(params=MODES)
def failing(request):
    """Makes a call; returns its 404."""

    def call(llm):
        with pytest.raises(NotFoundError) as caught:
            asyncio.run(ask(llm, "hi", request.param))
        return caught.value

    return call


class Api(ByteServer):
    """Has the feed that it is told, a catalogue, and no model for a chat.

    Args:
        feed: The response with the feed, or its body.
        headers: Headers of the other responses.
    """

    def __init__(self, feed, **headers):
        feed = feed if isinstance(feed, bytes) else plain_response(json.dumps(feed).encode())
        headers = headers or {"x_inference_id": "1"}
        catalogue = plain_response(json.dumps(CATALOGUE).encode(), **headers)
        not_found = plain_response(b'{"message": "no such model"}', status=404, **headers)

        def respond(request):
            path = request.target.partition("?")[0]
            return {FEED: feed, "/v1/models": catalogue}.get(path, not_found)

        super().__init__(rest=respond)

    @property
    def feed_requests(self):
        return [request for request in self.requests if request.target == FEED]

    def model(self, name=OLD, **settings):
        return ChatAimlErnie(
            model=name, base_url=self.base_url, api_key="local-secret-key", **settings
        )


BROKEN = {
    "an error": plain_response(b'{"message": "no"}', status=500),
    "a 404": plain_response(b"", status=404),
    "a redirect": plain_response(b"", status=307, location="/elsewhere"),
    "an unasked 304": plain_response(b"", status=304),
    "HTML": plain_response(b"<html>", content_type="text/html"),
    "nothing": plain_response(b""),
    "no JSON": plain_response(b"{"),
    "JSON too deep": plain_response(b"[" * 9999),
    "no list": plain_response(b'{"data": {}, "models": null}'),
    "a number": plain_response(b"7"),
    "no response": b"",
}
ODD_ENTRIES = [
    None,
    7,
    [],
    {},
    {"id": OLD},
    {**ENTRY, "status": None},
    {**ENTRY, "id": 7, "aliases": None},
    {**ENTRY, "id": None, "aliases": [7, None, ["x"], {}]},
    {**ENTRY, "id": "", "aliases": "old"},
]


# The catalogue


@pytest.mark.parametrize("wrap", [list, lambda x: {"data": x}, lambda x: {"models": x}])
def test_models_in_the_feed_are_marked(listed, wrap):
    with Api(wrap([ENTRY])) as server:
        cards = listed(base_url=server.base_url, api_key="local-secret-key")
    assert len(server.feed_requests) == 1
    assert "authorization" not in server.feed_requests[0].headers
    old, new = cards[OLD], cards[NEW]
    assert (old.status, old.replaced_by, old.reason) == ("withdrawn", NEW, "Too old.")
    assert old.deprecated_at == datetime(2026, 5, 1, tzinfo=UTC)
    assert old.shutdown_at == datetime(2026, 7, 1, 10, tzinfo=UTC)
    # The successor has the old id as an alias.
    assert (new.status, new.replaced_by, new.deprecated_at, new.shutdown_at) == (None,) * 4


def test_an_entry_may_have_nothing_but_a_status_and_odd_ones_are_left_out(listed):
    minimal = {"id": NEW, "status": "superseded", "deprecated_at": None, "shutdown_at": "soon"}
    with Api([*ODD_ENTRIES, minimal]) as server:
        cards = listed(base_url=server.base_url)
    card = cards[NEW]
    assert (card.status, card.deprecated_at, card.shutdown_at) == ("superseded", None, None)
    assert (card.replaced_by, card.reason, cards[OLD].status) == (None, None, None)


@pytest.mark.parametrize("feed", BROKEN)
def test_without_a_usable_feed_the_list_is_the_same(listed, feed, monkeypatch):
    monkeypatch.setattr(_deprecations, "_TIMEOUT", 1.0 if feed == "no response" else 60.0)
    with Api(BROKEN[feed]) as server:
        cards = listed(base_url=server.base_url)
    assert [card.status for card in cards.values()] == [None, None]
    assert len(server.feed_requests) == 1


def test_a_server_that_is_not_the_api_is_not_asked(listed):
    with Api([ENTRY], server="uvicorn") as server:
        assert listed(base_url=server.base_url)[OLD].status is None
    assert server.feed_requests == []


def test_the_feed_is_reused_and_then_confirmed(listed, ernie_server, monkeypatch):
    def requests():
        return [each.status for each in ernie_server.requests if each.path == FEED]

    first = listed(base_url=ernie_server.base_url)
    assert listed(base_url=ernie_server.base_url) == first
    assert requests() == [200]
    monkeypatch.setattr(_deprecations, "_MAX_AGE", -1)
    assert listed(base_url=ernie_server.base_url) == first
    assert requests() == [200, 304]
    assert {card.status for card in first.values()} == {None, "deprecated"}


# Calls


@pytest.mark.parametrize("name", [OLD, "old", "ERNIE-5-0"])
def test_a_404_names_the_replacement(failing, name):
    with Api([ENTRY]) as server:
        error = failing(server.model(name))
    expected = HINT.replace(OLD, name, 1)
    assert (
        error.message
        == f"no such model. Check model (list_models() has the ids of the API) and base_url. {expected}"
    )
    assert error.args == (error.message,)
    assert error.status_code == 404
    assert len(server.requests) == 2
    assert server.feed_requests[0].method == "GET"
    assert "authorization" not in server.feed_requests[0].headers


@pytest.mark.parametrize("feed", [*BROKEN, "another model"])
def test_without_a_usable_feed_the_error_is_the_same(failing, feed, monkeypatch):
    monkeypatch.setattr(_deprecations, "_TIMEOUT", 1.0 if feed == "no response" else 60.0)
    with Api(BROKEN.get(feed, [{**ENTRY, "id": "x", "aliases": []}])) as server:
        error = failing(server.model())
    assert (
        error.message
        == "no such model. Check model (list_models() has the ids of the API) and base_url."
    )
    assert error.__cause__ is None
    assert len(server.feed_requests) == 1


def test_a_404_of_another_server_costs_no_request(failing):
    with Api([ENTRY], server="uvicorn") as server:
        failing(server.model())
        assert len(server.requests) == 1


def test_the_api_itself_needs_no_header(failing, api_model, ernie_server):
    ernie_server.fail(404, headers={"x-inference-id": None})
    ernie_server.deprecations = [ENTRY]
    assert HINT in failing(api_model(model=OLD)).message
    chat, feed = ernie_server.requests
    assert (chat.path, feed.path) == ("/v1/chat/completions", FEED)


def test_many_404s_cost_one_request_for_the_feed(model, ernie_server):
    ernie_server.deprecations = [ENTRY]
    llm = model(model=OLD)
    for _ in range(3):
        with pytest.raises(NotFoundError, match=NEW):
            llm.invoke("hi")
    assert [request.path for request in ernie_server.requests].count(FEED) == 1


def test_callbacks_are_told_of_the_replacement(model, ernie_server):
    class Errors(list, BaseCallbackHandler):
        def on_llm_error(self, error, **_):
            self.append(str(error))

    reported = Errors()
    ernie_server.deprecations = [{"id": OLD, "status": "withdrawn"}]
    with pytest.raises(NotFoundError):
        model(model=OLD, callbacks=[reported]).invoke("hi")
    assert [f"{OLD} is listed as withdrawn." in text for text in reported] == [True]
