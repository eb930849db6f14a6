"""One model in many loops, threads and processes; copies of it; the end of the interpreter."""

from __future__ import annotations

import asyncio
import copy
import gc
import importlib
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.load import dumps

import langchain_aimlernie
from tests.support.byte_server import ByteServer, Hold, Reset
from tests.support.fault_table import (
    ALL_MODES,
    PROMPT,
    TEXT,
    Raises,
    aattempt,
    acall,
    bounded,
    call,
    cancelled,
    in_threads,
    make_model,
    run_async,
    text_of,
    texts,
)
from tests.support.loops import LOOPS, run_on
from tests.support.response_bytes import (
    DONE,
    HEL,
    STOP,
    chunk,
    completion,
    event,
    response,
    stream,
    unfinished,
)

ROOT = Path(langchain_aimlernie.__file__).parents[1]
FDS = Path("/proc/self/fd")


def echo(request):
    """Respond with the prompt, so that a mixed-up response shows."""
    said = request.json["messages"][-1]["content"]
    if request.wants_stream:
        return stream(event(chunk(said)), STOP, DONE)
    return response(completion(said))


def descriptors():
    gc.collect()
    return len(list(FDS.iterdir()))


def test_one_model_serves_many_loops_and_threads_at_once():
    """Each gets the responses to its own prompts."""

    def in_loops(name):
        async def main():
            said = [f"{name}-{number}" for number in range(10)]
            messages = await asyncio.gather(
                *(acall(model, ("ainvoke", "astream")[n % 2], s) for n, s in enumerate(said))
            )
            return [text_of(m) for m in messages] == said

        return run_async(main) and run_async(main)

    def in_thread(name):
        said = [f"{name}-{number}" for number in range(20)]
        messages = [call(model, ("invoke", "stream")[n % 2], s) for n, s in enumerate(said)]
        return [text_of(m) for m in messages] == said

    with ByteServer(rest=echo) as server:
        model = make_model(server.base_url)
        rights = in_threads(
            *[lambda n=n: in_loops(f"l{n}") for n in range(6)],
            *[lambda n=n: in_thread(f"t{n}") for n in range(20)],
        )
        assert all(rights)
        assert len(server.requests) == 6 * 20 + 20 * 20
        model.close()
        assert server.settle()


def test_sync_calls_work_inside_a_running_loop():
    with ByteServer() as server, make_model(server.base_url) as model:

        async def notebook():
            assert text_of(model.invoke(PROMPT)) == TEXT
            assert "".join(text_of(c) for c in model.stream(PROMPT)) == TEXT
            assert text_of(await asyncio.to_thread(model.invoke, PROMPT)) == TEXT
            assert text_of(await acall(model, "ainvoke")) == TEXT

        bounded(lambda: run_async(notebook))


class UnknownLoop(importlib.import_module("uvloop").Loop if "uvloop" in LOOPS else object):
    """A loop of a package that we do not know, without TLS, as young ones are."""

    def start_tls(self, *_, **__):
        raise NotImplementedError


@pytest.fixture(params=["asyncio", "uvloop", "unknown"])
def run(request):
    if request.param == "asyncio":
        return asyncio.run
    if "uvloop" not in LOOPS:
        pytest.skip("there is no uvloop")
    return run_on(UnknownLoop) if request.param == "unknown" else LOOPS["uvloop"]


@pytest.fixture(params=["http", "https"])
def tls(request, trusted, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
    return trusted.server if request.param == "https" else None


def test_all_calls_work_in_other_loop_after_loop(tls, run):
    async def main():
        messages = await asyncio.gather(*(acall(model, "ainvoke") for _ in range(30)))
        return {text_of(message) for message in [*messages, await acall(model, "astream")]}

    with ByteServer(tls=tls) as server:
        model = make_model(server.base_url)
        assert bounded(lambda: run(main())) == {TEXT}
        assert server.settle(), "the loop closed its connections"
        before = descriptors() if FDS.exists() else 0
        for _ in range(2):
            assert bounded(lambda: run(main())) == {TEXT}
        assert server.settle()
        assert not FDS.exists() or descriptors() <= before


def test_faults_in_another_loop_are_the_same_errors_and_free_the_connection(tls, run):
    async def main():
        await cancelled(acall(model, "ainvoke"), after=0.1)
        assert await server.asettle()
        async for _ in model.astream("hello"):
            break
        assert await server.asettle()
        reset = await aattempt(model, "astream")
        silent = await aattempt(make_model(server.base_url, timeout=0.2), "ainvoke")
        refused = await aattempt(make_model("http://127.0.0.1:1/v1"), "ainvoke")
        assert text_of(await acall(model, "ainvoke")) == TEXT
        return reset, silent, refused

    scripts = (Hold(), (unfinished(HEL), Hold()), (unfinished(HEL), Reset()), Hold())
    with ByteServer(*scripts, tls=tls) as server:
        model = make_model(server.base_url)
        reset, silent, refused = bounded(lambda: run(main()))
        assert server.settle()
    Raises("StreamInterruptedError", partial="Hel").check(reset)
    Raises("APITimeoutError", says=("0.2",)).check(silent)
    Raises("APIConnectionError", says=("127.0.0.1:1",)).check(refused)


def test_many_models_made_and_dropped_share_their_connections():
    with ByteServer() as server:
        for number in range(50):
            model = make_model(server.base_url, api_key=f"sk-{number}", temperature=number / 100)
            assert text_of(call(model, ("invoke", "stream")[number % 2])) == TEXT
        gc.collect()
        assert server.open <= 2
        assert len({request.headers["authorization"] for request in server.requests}) == 50
        model.close()
        assert server.settle()


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_changed_copy_uses_what_was_changed(mode):
    with ByteServer() as one, ByteServer() as two:
        model = make_model(one.base_url)
        call(model, "invoke")
        dumps(model)
        assert (
            copy.deepcopy(model) == model.model_copy() == pickle.loads(pickle.dumps(model)) == model
        )
        moved = model.model_copy(update={"base_url": two.base_url, "api_key": "sk-new"})
        assert texts(moved, mode) == [TEXT]
        assert len(one.requests) == 1
        assert two.requests[0].headers["authorization"] == "Bearer sk-new"
        assert "sk-new" not in repr(moved) + dumps(moved)
        assert two.base_url in dumps(moved)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_closed_model_works_again(mode):
    with ByteServer() as server:
        model = make_model(server.base_url)
        for _ in range(2):
            assert texts(model, mode) == [TEXT]  # closes it
            model.close()
            assert server.settle()


PRELUDE = """
import asyncio, os, sys, threading, time
from langchain_aimlernie import ChatAimlErnie
model = ChatAimlErnie(api_key="sk-child", base_url=sys.argv[1], max_retries=0, timeout=20)
"""


def start(script, *args):
    """Start a child that treats a leaked resource as an error."""
    command = [sys.executable, "-X", "dev", "-W", "error::ResourceWarning", "-c", PRELUDE + script]
    return subprocess.Popen(
        [*command, *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


BEARABLE = re.compile(r".*DeprecationWarning|Executing <.* took \d")
"""What other packages' age and a busy machine bring about under `-X dev`."""


def finish(child, seconds=60):
    try:
        out, err = child.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        child.kill()
        pytest.fail(f"the child hangs: {child.communicate()}")
    complaints = [line for line in err.splitlines() if line[:1] != " " and not BEARABLE.match(line)]
    assert child.returncode == 0, err
    assert not complaints, err
    return out


POOL = """
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
if __name__ == "__main__":
    model.invoke("warm")
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        print([m.text for m in pool.map(model.invoke, ["a", "b"])])
"""


@pytest.mark.slow
def test_a_pickled_model_works_in_another_process():
    with ByteServer(rest=echo) as server:
        assert finish(start(POOL, server.base_url), 90).strip() == "['a', 'b']"


EXIT = """
async def half():
    chunks = model.astream("async")
    await chunks.__anext__()
    return chunks
model.invoke("hello")
left = model.stream("sync")
next(left)
asyncio.run(half())
def forever():
    for _ in model.stream("thread"):
        time.sleep(60)
threading.Thread(target=forever, daemon=True).start()
time.sleep(0.3)
print("done")
"""
INTERRUPTED = """
def run(what):
    try:
        what()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
run(lambda: model.invoke("hang"))
run(lambda: list(model.stream("hang")))
async def main():
    await model.ainvoke("hang")
run(lambda: asyncio.run(main()))
print(model.invoke("fine").text, asyncio.run(model.ainvoke("fine")).text)
"""


@pytest.mark.slow
def test_the_interpreter_ends_quietly_with_open_streams():
    def half(request):
        return (unfinished(HEL), Hold()) if request.wants_stream else echo(request)

    with ByteServer(rest=half) as server:
        assert finish(start(EXIT, server.base_url)).strip() == "done"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a child needs POSIX")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_call_and_not_the_model():
    def hang_or_echo(request):
        if b"hang" not in request.body:
            return echo(request)
        return (unfinished(HEL), Hold()) if request.wants_stream else Hold()

    with ByteServer(rest=hang_or_echo) as server:
        child = start(INTERRUPTED, server.base_url)
        for number in range(1, 4):
            assert server.received(number, within=60)
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.2)  # the child waits for the response by then
            child.send_signal(signal.SIGINT)
        assert finish(child).split() == ["interrupted"] * 3 + ["fine", "fine"]
        assert server.settle()
