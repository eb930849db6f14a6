"""VCR.py records and replays what goes through a client of the user's."""

import httpx
import httpx2
import pytest
import vcr

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.testing import ErnieServer
from tests.support.modes import chunks_of

LIBRARIES = [pytest.param(library, id=library.__name__) for library in (httpx, httpx2)]
SECRET = ["authorization", "x-client-request-id"]
IDS = {"x-inference-id", "x-client-request-id", "x-request-id"}
PARTS = ["one", " two", " three"]


def without_ids(response):
    for name in [name for name in response["headers"] if name.lower() in IDS]:
        del response["headers"][name]
    return response


async def texts(library, mode, **address):
    """What a model says through a client of the user's, piece by piece."""
    async with library.AsyncClient() as client:
        with library.Client() as sync_client:
            clients = {"http_client": sync_client, "http_async_client": client}
            model = ChatAimlErnie(**clients, **address, max_retries=0)
            return [chunk.text for chunk in await chunks_of(model, "hi", mode) if chunk.text]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["invoke", "astream"])
@pytest.mark.parametrize("library", LIBRARIES)
async def test_a_cassette_is_replayed_without_the_server(tmp_path, library, mode):
    cassette = tmp_path / "cassette.yaml"
    recorder = vcr.VCR(filter_headers=SECRET, before_record_response=without_ids)
    with ErnieServer() as server:
        server.reply("".join(PARTS))
        address = {"base_url": server.base_url, "api_key": server.api_key}
        with recorder.use_cassette(str(cassette), record_mode="once"):
            recorded = await texts(library, mode, **address)
        assert len(server.requests) == 1
    assert recorded == (PARTS if "stream" in mode else ["".join(PARTS)])
    text = cassette.read_text()
    assert address["api_key"] not in text
    assert not [name for name in (*SECRET, *IDS) if name in text.lower()]
    with recorder.use_cassette(str(cassette), record_mode="none") as played:
        assert await texts(library, mode, **address) == recorded
    assert played.play_count == 1
