"""One model in many loops, threads and processes; copies of it; the end of the interpreter."""

from __future__ import annotations

import asyncio
import copy
import gc
import os
import pickle
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path

import pytest
from langchain_core.load import dumps

import langchain_aimlernie
from tests.support.byte_server import ByteServer, Hold
from tests.support.fault_outcomes import (
    ALL_MODES,
    PROMPT,
    TEXT,
    acall,
    bounded,
    call,
    make_model,
    run_async,
    text_of,
)
from tests.support.response_bytes import KEY, chunk, completion, event, response, stream

ROOT = Path(langchain_aimlernie.__file__).parents[1]


def echo(request):
    """Answers with the prompt, so that a mixed-up answer shows."""
    said = request.json["messages"][-1]["content"]
    if request.wants_stream:
        return (stream(event(chunk(said)), event(chunk("", "stop")), b"data: [DONE]\n\n"),)
    return (response(completion(said)),)


def test_one_model_serves_one_loop_after_the_other():
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)

        async def twice(mode):
            return [text_of(await acall(model, mode)) for _ in range(2)]

        for number in range(10):
            assert asyncio.run(twice(("ainvoke", "astream")[number % 2])) == [TEXT] * 2
            assert text_of(call(model, "invoke")) == TEXT
            assert endpoint.settle(1), "the loop's connection outlived it"
        model.close()
        assert endpoint.settle()


def test_one_model_serves_many_loops_at_once():
    with ByteServer(rest=echo) as endpoint:
        model = make_model(endpoint.base_url)
        wrong: list[str] = []

        def work(name):
            async def main():
                for number in range(5):
                    said = f"{name}-{number}"
                    texts = await asyncio.gather(
                        *(acall(model, m, said) for m in ("ainvoke", "astream"))
                    )
                    wrong.extend(text_of(t) for t in texts if text_of(t) != said)

            for _ in range(3):
                run_async(main)

        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not wrong
        assert len(endpoint.requests) == 6 * 3 * 5 * 2
        assert endpoint.settle()


def test_a_loop_closed_without_shutdown_harms_no_later_one():
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            for mode in ("ainvoke", "astream", "ainvoke"):
                loop = asyncio.new_event_loop()
                assert text_of(loop.run_until_complete(acall(model, mode))) == TEXT
                loop.close()
                del loop
                gc.collect()
            assert text_of(asyncio.run(acall(model, "ainvoke"))) == TEXT
            gc.collect()
        assert endpoint.settle(), f"{endpoint.open} connections of dead loops"


def test_sync_calls_work_inside_a_running_loop():
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:

        async def notebook():
            assert text_of(model.invoke(PROMPT)) == TEXT
            assert "".join(text_of(c) for c in model.stream(PROMPT)) == TEXT
            assert text_of(await asyncio.to_thread(model.invoke, PROMPT)) == TEXT
            assert text_of(await acall(model, "ainvoke")) == TEXT

        bounded(lambda: run_async(notebook))


@pytest.mark.slow
def test_50_threads_get_their_own_answers():
    with ByteServer(rest=echo) as endpoint, make_model(endpoint.base_url) as model:
        wrong: list[str] = []

        def work(name):
            for number in range(20):
                said = f"{name}-{number}"
                got = text_of(call(model, ("invoke", "stream")[number % 2], said))
                wrong.extend([] if got == said else [got])

        threads = [threading.Thread(target=work, args=(f"t{i}",)) for i in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert not wrong
        assert len(endpoint.requests) == 1000


def test_many_models_made_and_dropped_share_their_connections():
    with ByteServer() as endpoint:
        for number in range(100):
            model = make_model(endpoint.base_url, api_key=f"sk-{number}", temperature=number / 100)
            assert text_of(call(model, ("invoke", "stream")[number % 2])) == TEXT
        gc.collect()
        assert endpoint.open <= 2
        sent = {request.headers["authorization"] for request in endpoint.requests}
        assert len(sent) == 100
        model.close()
        assert endpoint.settle()


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_many_addresses_leave_few_descriptors():
    """The idle connections of the last 16 configurations are kept."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(40):
        with ByteServer() as endpoint:
            model = make_model(endpoint.base_url)
            call(model, "invoke")
            asyncio.run(acall(model, "astream"))
        del model
    gc.collect()
    end = time.monotonic() + 5
    while (
        left := len(list(Path("/proc/self/fd").iterdir())) - before
    ) > 20 and time.monotonic() < end:
        time.sleep(0.05)
    assert left <= 20, f"{left} descriptors more"


COPIES = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "model_copy": lambda model: model.model_copy(),
    "model_copy deep": lambda model: model.model_copy(deep=True),
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_copy_of_a_used_model_works_and_is_equal(how, mode):
    with ByteServer() as endpoint, make_model(endpoint.base_url) as model:
        call(model, "invoke")
        twin = COPIES[how](model)
        assert twin == model
        message = asyncio.run(acall(twin, mode)) if mode[0] == "a" else call(twin, mode)
        assert text_of(message) == TEXT
        assert endpoint.requests[-1].headers["authorization"] == f"Bearer {KEY}"
        assert text_of(call(model, "invoke")) == TEXT


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_changed_copy_uses_what_was_changed(mode):
    with ByteServer() as one, ByteServer() as two:
        model = make_model(one.base_url)
        call(model, "invoke")
        dumps(model)
        moved = model.model_copy(update={"base_url": two.base_url, "api_key": "sk-new"})
        message = asyncio.run(acall(moved, mode)) if mode[0] == "a" else call(moved, mode)
        assert text_of(message) == TEXT
        assert len(one.requests) == 1
        assert two.requests[0].headers["authorization"] == "Bearer sk-new"
        assert "sk-new" not in repr(moved) + dumps(moved)
        assert two.base_url in dumps(moved)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_closed_model_works_again(mode):
    with ByteServer() as endpoint:
        model = make_model(endpoint.base_url)

        def sync():
            for _ in range(2):
                assert text_of(call(model, mode)) == TEXT
                model.close()
                model.close()
                assert endpoint.settle()

        async def main():
            for _ in range(2):
                assert text_of(await acall(model, mode)) == TEXT
                await model.aclose()
                await model.aclose()
                assert await endpoint.asettle()

        bounded((lambda: run_async(main)) if mode[0] == "a" else sync)


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


FORK = """
assert model.invoke("parent").text == "parent"
children = []
for number in range(4):
    pid = os.fork()
    if not pid:
        good = all(model.invoke(f"{number}-{i}").text == f"{number}-{i}" for i in range(5))
        async def more():
            return (await model.ainvoke(f"a{number}")).text == f"a{number}"
        good = good and asyncio.run(more())
        os._exit(0 if good else 1)
    children.append(pid)
good = all(model.invoke(f"p-{i}").text == f"p-{i}" for i in range(5))
print(good, [os.waitpid(pid, 0)[1] for pid in children])
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_does_not_share_connections():
    with ByteServer(rest=echo) as endpoint:
        assert finish(start(FORK, endpoint.base_url)).strip() == "True [0, 0, 0, 0]"
        by_connection: dict[int, set[str]] = {}
        for request in endpoint.requests:
            who = request.json["messages"][-1]["content"].lstrip("a").partition("-")[0]
            by_connection.setdefault(request.connection, set()).add(who.replace("parent", "p"))
        assert all(len(users) == 1 for users in by_connection.values()), by_connection


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
    with ByteServer(rest=echo) as endpoint:
        assert finish(start(POOL, endpoint.base_url), 90).strip() == "['a', 'b']"


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


@pytest.mark.slow
def test_the_interpreter_ends_quietly_with_open_streams():
    def slow(request):
        if request.wants_stream:
            return (stream(event(chunk("Hel")))[: -len(b"0\r\n\r\n")], Hold())
        return echo(request)

    with ByteServer(rest=slow) as endpoint:
        assert finish(start(EXIT, endpoint.base_url)).strip() == "done"


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
@pytest.mark.skipif(sys.platform == "win32", reason="SIGINT to a child needs POSIX")
@pytest.mark.usefixtures("interruptible")
def test_ctrl_c_ends_a_call_and_not_the_model():
    def hang_or_echo(request):
        if b"hang" not in request.body:
            return echo(request)
        return (stream(event(chunk("Hel")))[:-5], Hold()) if request.wants_stream else (Hold(),)

    with ByteServer(rest=hang_or_echo) as endpoint:
        child = start(INTERRUPTED, endpoint.base_url)
        for number in range(1, 4):
            end = time.monotonic() + 60
            while len(endpoint.requests) < number and child.poll() is None:
                assert time.monotonic() < end
                time.sleep(0.01)
            time.sleep(0.2)
            child.send_signal(signal.SIGINT)
        out = finish(child)
        assert out.split() == ["interrupted"] * 3 + ["fine", "fine"]
        assert endpoint.settle()
