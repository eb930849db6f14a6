"""No call blocks the event loop, not even the first one of a process, and no loop is kept alive."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from loops import LOOPS
from paper import paper_mill
from raw_server import RawServer, answer

from langchain_aimlernie.testing import ErnieServer
from langchain_aimlernie.testing.replies import Fault, Reply

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
HELLO = json.dumps(
    {"choices": [{"message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}]}
)
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
    "no TLS handshake": "APITimeoutError: No connection",
    "no answer": "APIConnectionError",
    "a wrong setting of a call": "BadRequestError: timeout",
}
"""What the calls that are meant to fail come to; all others must succeed."""


def run_python(script, *arguments, **environment):
    """Run a script of this folder in a process of its own; return what it prints."""
    path = os.pathsep.join(map(str, (ROOT, HERE, HERE.parent)))
    done = subprocess.run(
        [sys.executable, script, *arguments],
        cwd=HERE,
        env={**os.environ, "PYTHONPATH": path, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


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
        "late": Reply("Hello", delay=1.0),
    }[kind]


@pytest.fixture(scope="module")
def first_calls(tmp_path_factory):
    """What each call of `first_calls.py` came to, and what of it blocked the loop."""
    if shutil.which("openssl") is None or not hasattr(os, "fork"):
        pytest.skip("needs openssl to make a certificate, and fork to make first calls")
    paper = paper_mill(tmp_path_factory.mktemp("certificates"))("127.0.0.1")

    def serve(wire):
        wire.wrap(paper.server)
        while wire.request():
            wire.send(answer(HELLO.encode(), content_type="application/json"))

    def fail_once(request):
        asked = [r.body["messages"][-1]["content"] for r in server.requests[:-1] if r.body]
        kind = request.body["messages"][-1]["content"]
        if kind == "fail once":
            return None if kind in asked else Reply(status=503, body={"message": "once"})
        return reply_to(request)

    with ErnieServer() as server, RawServer(serve) as over_tls:
        server.on_request = fail_once
        lines = run_python(
            "first_calls.py",
            server.base_url,
            over_tls.base_url.replace("http:", "https:"),
            SSL_CERT_FILE=paper.file,
        )
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
