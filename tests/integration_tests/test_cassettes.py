"""VCR.py records and replays what goes through a client of the user's."""

from __future__ import annotations

import asyncio

import httpx
import httpx2
import pytest
import vcr

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.testing import ErnieServer

LIBRARIES = [pytest.param(library, id=library.__name__) for library in (httpx, httpx2)]
SECRET = ["authorization", "x-client-request-id"]
IDS = {"x-inference-id", "x-client-request-id", "x-request-id"}
PARTS = ["one", " two", " three"]


def without_ids(response):
    for name in [name for name in response["headers"] if name.lower() in IDS]:
        del response["headers"][name]
    return response


def texts(library, mode, base_url, api_key):
    """What a model says through a client of the user's, piece by piece."""
    address = {"base_url": base_url, "api_key": api_key, "max_retries": 0}

    async def main():
        async with library.AsyncClient() as client:
            model = ChatAimlErnie(http_async_client=client, **address)
            if mode == "ainvoke":
                return [(await model.ainvoke("hi")).text]
            return [chunk.text async for chunk in model.astream("hi") if chunk.text]

    if mode[0] == "a":
        return asyncio.run(main())
    with library.Client() as client:
        model = ChatAimlErnie(http_client=client, **address)
        if mode == "invoke":
            return [model.invoke("hi").text]
        return [chunk.text for chunk in model.stream("hi") if chunk.text]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_a_cassette_is_replayed_without_the_server(tmp_path, library, mode):
    cassette = tmp_path / "cassette.yaml"
    recorder = vcr.VCR(filter_headers=SECRET, before_record_response=without_ids)
    with ErnieServer() as server:
        server.reply("".join(PARTS))
        address = (server.base_url, server.api_key)
        with recorder.use_cassette(str(cassette), record_mode="once"):
            recorded = texts(library, mode, *address)
        assert len(server.requests) == 1
    assert recorded == (PARTS if "stream" in mode else ["".join(PARTS)])
    text = cassette.read_text()
    assert address[1] not in text
    assert not [name for name in (*SECRET, *IDS) if name in text.lower()]
    with recorder.use_cassette(str(cassette), record_mode="none") as played:
        assert texts(library, mode, *address) == recorded
    assert played.play_count == 1
