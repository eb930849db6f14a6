"""No call blocks the event loop, not even the first one of a process, and no loop is kept alive."""

import asyncio
import json
import os
import sys
import weakref
from pathlib import Path

import pytest

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.testing import ErnieServer
from langchain_aimlernie.testing.replies import Fault, Reply
from tests.support.byte_server import ByteServer
from tests.support.garbage import collect
from tests.support.loops import LOOPS
from tests.support.processes import run_python
from tests.support.response_bytes import GOOD_RESPONSE, HEL, unfinished

SCRIPT = Path(__file__).parents[1] / "support" / "first_calls.py"
FAILS = {
    "failing": "AuthenticationError",
    "failing with 400": "BadRequestError",
    "failing with 429": "RateLimitError",
    "failing with 503": "InternalServerError",
    "control characters": "InternalServerError: \\x07 text",
    "no JSON": "InvalidResponseError",
    "a cut stream": "StreamInterruptedError",
    "a late answer": "APITimeoutError",
    "nobody listening": "APIConnectionError: Cannot connect to 127.0.0.1:1: Connection refused",
    "no TLS": "APIConnectionError: No secure connection",
    "no answer": "APIConnectionError",
    "a wrong setting of a call": "ParameterError: timeout",
}
"""What the calls that are meant to fail come to; all others must succeed."""


def reply_to(request):
    """Fail as the prompt says."""
    prompt = str(request.body["messages"][-1]["content"])
    if not prompt.startswith("fail "):
        return None
    kind = prompt.removeprefix("fail ")
    if kind.isdigit():
        return Reply(status=int(kind), body={"message": "as the prompt says"})
    return {
        "body": Reply(body="{"),
        "control": Reply(status=500, body="\x07 text", headers={"content-type": "text/plain"}),
        "cut": Reply("Hello there", fault=Fault(events=2)),
        "late": Reply("Hello", delay=30),
    }[kind]


def half_a_stream(request):
    """Respond well, to a request for a stream with half of it."""
    return unfinished(HEL) if request.wants_stream else GOOD_RESPONSE


@pytest.fixture(scope="module")
def first_calls(trusted):
    """What each call of `first_calls.py` came to, and what of it blocked the loop."""
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork to make first calls with")

    def fail_once(request):
        asked = [r.body["messages"][-1]["content"] for r in server.requests[:-1] if r.body]
        kind = request.body["messages"][-1]["content"]
        if kind == "fail once":
            return None if kind in asked else Reply(status=503, body={"message": "once"})
        return reply_to(request)

    with ErnieServer() as server, ByteServer(tls=trusted.server) as over_tls:
        server.on_request = fail_once
        lines = run_python(SCRIPT, server.base_url, over_tls.base_url, SSL_CERT_FILE=trusted.file)
    return {call["name"]: call for call in map(json.loads, lines.splitlines())}


@pytest.mark.slow
def test_no_call_blocks_the_loop(first_calls):
    assert len(first_calls) > 30
    assert ("uvloop" in LOOPS) == ("uvloop" in first_calls)
    assert not {name: call["blocked"] for name, call in first_calls.items() if call["blocked"]}


@pytest.mark.slow
def test_what_blockbuster_watches_succeeds_or_fails_as_ever(first_calls):
    for name, call in first_calls.items():
        if name in FAILS:
            assert call["came"].startswith(FAILS[name]), name
        else:
            assert "Error" not in call["came"].split(":")[0], (name, call["came"])


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_loops_that_nobody_closes_are_released_with_their_sockets(trusted, monkeypatch, scheme):
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)

    async def use():
        stream = model.astream("hi")
        assert (await anext(stream)).text == "Hel"
        await model.ainvoke("hi")
        return stream

    def drop_a_loop():
        loop = asyncio.new_event_loop()
        left_streams.append(loop.run_until_complete(use()))
        return weakref.ref(loop)

    tls = trusted.server if scheme == "https" else None
    with ByteServer(rest=half_a_stream, tls=tls) as server:
        model = ChatAimlErnie(base_url=server.base_url, api_key="sk-0123456789abcdef")
        left_streams = []
        collect()
        before = descriptors()
        loops = [drop_a_loop() for _ in range(30)]
        assert server.open == 60
        left_streams.clear()
        collect()
        assert not [loop for loop in loops if loop() is not None]
        assert server.settle()
        assert descriptors() <= before


def test_a_loop_that_finalizes_no_generators_is_dropped_silently(ernie_server, monkeypatch):
    """As nest_asyncio's `asyncio.run` leaves it in a thread."""
    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    model = ChatAimlErnie(base_url=ernie_server.base_url, api_key=ernie_server.api_key)

    async def use():
        sys.set_asyncgen_hooks(None, None)
        assert (await model.ainvoke("hi")).text
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.new_event_loop().run_until_complete(use())
    collect()
    assert loop() is None
    ignored = [each for each in unraisable if not isinstance(each.exc_value, ResourceWarning)]
    assert ignored == []
