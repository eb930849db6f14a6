"""One model in many loops, threads and processes; copies of it; the end of the interpreter."""

import asyncio
import copy
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
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Hold, Reset
from tests.support.fault_table import (
    ASYNC_MODES,
    SOON,
    SYNC_MODES,
    TEXT,
    Raises,
    acall,
    attempt,
    bounded,
    call,
    cancelled,
    in_threads,
    make_model,
    run_async,
    text_of,
    texts,
)
from tests.support.garbage import collect
from tests.support.loops import LOOPS, run_on
from tests.support.modes import by_hand

ROOT = Path(langchain_aimlernie.__file__).parents[1]
FDS = Path("/proc/self/fd")


def echo(request):
    """Respond with the prompt, so that a mixed-up response shows."""
    said = request.json["messages"][-1]["content"]
    if request.wants_stream:
        return wire.stream(wire.event(wire.chunk(said)), wire.STOP, wire.DONE)
    return wire.response(wire.completion(said))


def descriptors():
    collect()
    return len(list(FDS.iterdir()))


def test_one_model_serves_many_loops_and_threads_at_once():
    """Each gets the responses to its own prompts."""

    def calls(name, modes):
        async def one(mode, said):
            return text_of(await acall(model, mode, said)) == said

        return [one(mode, f"{name}-{number}") for number, mode in enumerate(modes * 4)]

    def in_loops(name):
        async def main():
            return all(await asyncio.gather(*calls(name, ASYNC_MODES)))

        return run_async(main) and run_async(main)

    def in_thread(name):
        return all(map(by_hand, calls(name, SYNC_MODES)))

    with ByteServer(rest=echo) as server:
        model = make_model(server.base_url)
        rights = in_threads(
            *[lambda n=n: in_loops(f"l{n}") for n in range(6)],
            *[lambda n=n: in_thread(f"t{n}") for n in range(20)],
        )
        assert all(rights)
        assert len(server.requests) == 6 * 16 + 20 * 8
        model.close()
        assert server.settle()


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
        messages = await asyncio.gather(*(acall(model, "ainvoke") for _ in range(10)))
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
        await cancelled(acall(model, "ainvoke"), after=0.02, once=lambda: server.requests)
        assert await server.asettle()
        async for _ in model.astream("hello"):
            break
        assert await server.asettle()
        reset = await attempt(model, "astream")
        silent = await attempt(make_model(server.base_url, timeout=SOON), "ainvoke")
        refused = await attempt(make_model("http://127.0.0.1:1/v1"), "ainvoke")
        assert text_of(await acall(model, "ainvoke")) == TEXT
        return reset, silent, refused

    scripts = (
        Hold(),
        (wire.unfinished(wire.HEL), Hold()),
        (wire.unfinished(wire.HEL), Reset()),
        Hold(),
    )
    with ByteServer(*scripts, tls=tls) as server:
        model = make_model(server.base_url)
        reset, silent, refused = bounded(lambda: run(main()))
        assert server.settle()
    Raises("StreamInterruptedError", partial="Hel").check(reset)
    Raises("APITimeoutError", says=(str(SOON),)).check(silent)
    Raises("APIConnectionError", says=("127.0.0.1:1",)).check(refused)


def test_a_changed_copy_uses_what_was_changed(mode):
    with ByteServer() as one, ByteServer() as two:
        model = make_model(one.base_url)
        call(model, "invoke")
        dumps(model)
        assert (
            copy.deepcopy(model) == model.model_copy() == pickle.loads(pickle.dumps(model)) == model
        )
        moved = model.model_copy(update={"base_url": two.base_url, "api_key": "sk-new"})
        for _ in range(2):
            assert texts(moved, mode) == [TEXT]  # closes it
            assert two.settle()
        assert len(one.requests) == 1
        assert two.requests[0].headers["authorization"] == "Bearer sk-new"
        assert "sk-new" not in repr(moved) + dumps(moved)
        assert two.base_url in dumps(moved)


CHILD = """
import asyncio, pickle, sys, threading
model = pickle.loads(bytes.fromhex(sys.argv[1]))
def interrupt(what):
    try:
        what()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
async def main(prompt):
    return await model.ainvoke(prompt)
async def half():
    chunks = model.astream("half")
    await anext(chunks)
    return chunks
if sys.argv[2] == "interrupt":
    interrupt(lambda: model.invoke("hang"))
    interrupt(lambda: list(model.stream("hang")))
    interrupt(lambda: asyncio.run(main("hang")))
print(model.invoke("fine").text, asyncio.run(main("well")).text)
left = model.stream("half")
next(left)
asyncio.run(half())
started = threading.Event()
def forever():
    for _ in model.stream("half"):
        started.set()
threading.Thread(target=forever, daemon=True).start()
started.wait()
"""
BEARABLE = r".*DeprecationWarning|Executing <.* took \d"
"""What other packages' age and a busy machine bring about under `-X dev`."""


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
def test_another_process_gets_a_model_survives_ctrl_c_and_ends_quietly_with_open_streams():
    def hang_or_echo(request):
        if b'"h' not in request.body:
            return echo(request)
        return (wire.unfinished(wire.HEL), Hold()) if request.wants_stream else Hold()

    with ByteServer(rest=hang_or_echo) as server, make_model(server.base_url) as model:
        call(model, "invoke", "warm")
        # SIGINT to a child needs POSIX; a leaked resource is an error.
        interrupts = 0 if sys.platform == "win32" else 3
        options = ("-X", "dev", "-W", "error::ResourceWarning", "-c", CHILD)
        arguments = (pickle.dumps(model).hex(), "interrupt" if interrupts else "")
        child = subprocess.Popen(
            [sys.executable, *options, *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in range(interrupts):
            assert server.received(number + 2, within=60)
            with pytest.raises(subprocess.TimeoutExpired):
                child.wait(0.2)  # the child waits for the response by then
            child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            child.kill()
            pytest.fail(f"the child hangs: {child.communicate()}")
        assert child.returncode == 0, err
        complaints = [line for line in err.splitlines() if not re.match(rf" |{BEARABLE}", line)]
        assert not complaints, err
        assert out.split() == ["interrupted"] * interrupts + ["fine", "well"]
        assert server.settle(1)
