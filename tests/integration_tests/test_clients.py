"""Which connections calls share, in what order they wait, and that none is ever lost."""

import asyncio
import contextlib
import functools
import os
import shutil
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat

import certifi
import pytest

from langchain_aimlernie._http import ConnectionConfig
from langchain_aimlernie.errors import APIConnectionError
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Close, Hold, Pause
from tests.support.fault_table import (
    PROMPT,
    TEXT,
    acall,
    call,
    cancelled,
    make_model,
    run_in,
    texts,
)
from tests.support.processes import run_python

TWO_MODES = ("invoke", "ainvoke")


@pytest.fixture
def server():
    with ByteServer() as server:
        yield server


def test_equal_settings_share_connections_and_others_do_not(server):
    for settings in ({}, {"temperature": 1}, {"api_key": "sk-2"}, {"max_connections": 3}):
        call(make_model(server.base_url, **settings), "invoke")
    assert server.connections == 2


@pytest.mark.slow
def test_threads_wait_for_their_turn():
    with ByteServer(rest=(Pause(0.02), wire.GOOD_RESPONSE)) as server:
        model = make_model(server.base_url, max_connections=3)
        with ThreadPoolExecutor(20) as threads:
            found = list(threads.map(lambda _: call(model, "invoke").text, range(60)))
    assert found == [TEXT] * 60
    assert server.connections <= 3


def test_tasks_are_served_in_the_order_in_which_they_came(server):
    order = []

    async def one(number):
        await acall(model, "ainvoke", str(number))
        order.append(number)

    async def main():
        await one(0)
        await asyncio.gather(*map(one, range(1, 30)))

    model = make_model(server.base_url, max_connections=1)
    run_in("ainvoke", main)
    sent = [int(request.json["messages"][0]["content"]) for request in server.requests]
    assert sent == order == list(range(30))
    assert server.connections == 1


@pytest.mark.slow
def test_waiting_for_a_connection_takes_nothing_from_the_timeout():
    async def main():
        await asyncio.gather(*(acall(model, "ainvoke", timeout=limit) for limit in (30.0, 3.0)))

    with ByteServer((Pause(3.5), wire.GOOD_RESPONSE)) as server:
        model = make_model(server.base_url, max_connections=1)
        run_in("ainvoke", main)
        assert server.connections == 1


def test_a_call_can_be_cancelled_while_it_waits_for_a_connection():
    async def main():
        first = asyncio.create_task(acall(model, "ainvoke"))
        assert await asyncio.to_thread(server.received, 1)
        await cancelled(acall(model, "ainvoke"), after=0.05)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert (await acall(model, "ainvoke")).text == TEXT, "the only connection is free again"

    with ByteServer(Hold()) as server:
        model = make_model(server.base_url, max_connections=1)
        run_in("ainvoke", main)
        assert server.settle()


@pytest.mark.slow
def test_an_idle_connection_is_closed_after_its_time(server, monkeypatch):
    short = functools.partial(ConnectionConfig, keepalive_expiry=0.05)
    monkeypatch.setattr("langchain_aimlernie._http.ConnectionConfig", short)
    model = make_model(server.base_url)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: call(model, "invoke"), range(20)))
    time.sleep(0.1)
    call(model, "invoke")
    assert server.settle(1)
    assert server.open == 1


@pytest.mark.slow
def test_closing_leaves_the_calls_of_others_alone():
    rest = wire.frame(wire.LO + wire.STOP + wire.DONE) + wire.FINAL_FRAME
    with ByteServer((wire.unfinished(wire.HEL), Pause(0.2), rest)) as server:
        mine, other = make_model(server.base_url), make_model(server.base_url)
        stream = other.stream(PROMPT)
        assert next(stream).text == "Hel"
        mine.close()
        assert "".join(chunk.text for chunk in stream) == "lo"
        assert server.open == 1, "it is idle now"
        mine.close()
        assert server.settle()


def test_closing_before_the_first_call_does_nothing():
    make_model("http://127.0.0.1:1").close()
    asyncio.run(make_model("http://127.0.0.1:1").aclose())


@pytest.mark.slow
@pytest.mark.parametrize("mode", TWO_MODES)
def test_connections_of_the_least_recently_used_servers_are_closed(mode):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ByteServer()) for _ in range(40)]

        async def main():
            for server in servers:
                await acall(make_model(server.base_url), mode)
            return [server.settle() for server in servers[:20]]

        assert all(run_in(mode, main))


def test_certificates_are_not_read_in_the_event_loop(monkeypatch, tmp_path):
    readers = []
    load = ssl.create_default_context

    def note(*args, **settings):
        readers.append(threading.current_thread())
        return load(*args, **settings)

    monkeypatch.setattr(ssl, "create_default_context", note)
    copied = shutil.copy(certifi.where(), tmp_path / "own.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(copied))

    async def main(server):
        model = make_model(server.base_url.replace("http:", "https:"))
        calls = [acall(model, "ainvoke") for _ in range(20)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {APIConnectionError}

    with ByteServer(greetings=repeat((b"no TLS here\r\n\r\n", Close()))) as server:
        asyncio.run(main(server))
    assert len(readers) == 1
    assert readers[0] is not threading.main_thread()


@pytest.mark.parametrize("mode", TWO_MODES)
def test_the_proxy_of_the_environment_is_used_and_no_other(mode, monkeypatch, server):
    with ByteServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url[:-3].replace("//", "//user:hunter2@"))
        with pytest.warns(UserWarning, match="not encrypted"):
            model = make_model("http://elsewhere.invalid/v1")
        assert texts(model, mode) == [TEXT]
        (request,) = proxy.requests
        assert request.target == "http://elsewhere.invalid/v1/chat/completions"
        assert request.headers["host"] == "elsewhere.invalid"
        assert request.headers["proxy-authorization"].startswith("Basic ")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        assert texts(make_model(server.base_url), mode) == [TEXT]
        assert len(proxy.requests) == 1
    assert len(server.requests) == 1


PRELUDE = """
import asyncio, os, sys, threading
from tests.support.fault_table import make_model
model = make_model(sys.argv[1])
def send():
    model.invoke("hi")
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_the_parent_s_connections_alone(server):
    script = (
        PRELUDE
        + """
send()
asyncio.run(model.ainvoke("hi"))
child = os.fork()
send()
send()
if not child:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
send()
print("done")
"""
    )
    options = ("-W", "ignore::DeprecationWarning")
    assert run_python(*options, "-c", script, server.base_url) == "done\n"
    by_connection = [request.connection for request in server.requests]
    parent, child = by_connection[0], by_connection[2:6]
    assert by_connection[-1] == parent
    assert sorted(child.count(number) for number in set(child)) == [2, 2]
    assert server.connections == 3


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_can_be_forked_while_a_thread_reads_the_certificates():
    script = (
        PRELUDE
        + """
import contextlib, httpx2, signal
read = httpx2.create_ssl_context
is_reading, is_forked = threading.Event(), threading.Event()
def try_to_send():
    with contextlib.suppress(Exception):  # nobody listens
        send()
def read_for_long():
    is_reading.set()
    is_forked.wait()
    return read()
httpx2.create_ssl_context = read_for_long
thread = threading.Thread(target=try_to_send)
thread.start()
is_reading.wait()
child = os.fork()
if not child:
    signal.alarm(60)
    httpx2.create_ssl_context = read
    try_to_send()
    os._exit(0)
is_forked.set()
thread.join()
assert os.waitpid(child, 0)[1] == 0
print("done")
"""
    )
    options = ("-W", "ignore::DeprecationWarning")
    assert run_python(*options, "-c", script, "https://127.0.0.1:1/v1") == "done\n"
