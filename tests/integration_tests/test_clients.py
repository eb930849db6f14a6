"""Which connections calls share, in what order they wait, and that none is ever lost."""

import asyncio
import contextlib
import os
import shutil
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from types import SimpleNamespace

import certifi
import pytest

from langchain_aimlernie._coroutines import iterate, run
from langchain_aimlernie._http import ConnectionConfig, Transport
from langchain_aimlernie.errors import APIConnectionError
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Close, Hold, Pause
from tests.support.processes import run_python
from tests.support.sync_async import MODES, Texts, call_to, keep, on, outcomes

GOOD = wire.response(b"{}")
ONE, TWO = wire.event(b"one"), wire.event(b"two")


@pytest.fixture
def server():
    with ByteServer(rest=GOOD) as server:
        yield server


def test_equal_settings_share_connections_and_others_do_not(server):
    call = call_to(server)
    for connection in (on(server), on(server), on(server, max_connections=3)):
        run(Transport(connection).send(call, keep))
    assert server.connections == 2


@pytest.mark.slow
def test_threads_wait_for_their_turn():
    with ByteServer(rest=(Pause(0.02), GOOD)) as server:
        transport = Transport(on(server, max_connections=3))
        with ThreadPoolExecutor(20) as threads:
            found = list(
                threads.map(lambda _: run(transport.send(call_to(server), keep)), range(60))
            )
    assert len(found) == 60
    assert server.connections <= 3


def test_tasks_are_served_in_the_order_in_which_they_came():
    order = []

    async def main(server):
        transport = Transport(on(server, max_connections=1), is_async=True)

        async def one(number):
            await transport.send(call_to(server, body=b"%d" % number), keep)
            order.append(number)

        await asyncio.gather(*map(one, range(30)))
        await transport.close()

    with ByteServer(rest=GOOD) as server:
        asyncio.run(main(server))
        assert [int(request.body) for request in server.requests] == list(range(30))
    assert order == list(range(30))
    assert server.connections == 1


@pytest.mark.slow
def test_waiting_for_a_connection_takes_nothing_from_the_timeout():
    async def main(server):
        transport = Transport(on(server, max_connections=1), is_async=True)
        calls = (call_to(server), call_to(server, read=3.0, total=3.0))
        await asyncio.gather(*(transport.send(call, keep) for call in calls))
        await transport.close()

    with ByteServer((Pause(3.5), GOOD)) as server:
        asyncio.run(main(server))
        assert server.connections == 1


@pytest.mark.parametrize("moment", ["queued", "head", "retry"])
def test_a_call_can_be_cancelled_while_it_waits_for(moment):
    answered = False
    later = wire.response(b"", 503, {"Retry-After": "30"})

    def script(_):
        if answered:
            return GOOD
        return (later, Hold()) if moment == "retry" else Hold()

    async def main(server):
        connection = on(server, max_connections=1)
        transport = Transport(connection, is_async=True)
        first = asyncio.create_task(transport.send(call_to(server, max_retries=1), keep))
        assert await asyncio.to_thread(server.received, 1)
        second = asyncio.create_task(transport.send(call_to(server), keep))
        await asyncio.sleep(0.05)
        for task in (second, first) if moment == "queued" else (first, second):
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        nonlocal answered
        answered = True
        assert await transport.send(call_to(server), keep), "the only connection is free again"
        await transport.close()

    with ByteServer(rest=script) as server:
        asyncio.run(main(server))
        assert server.settle()


@pytest.mark.slow
def test_an_idle_connection_is_closed_after_its_time(server):
    connection = on(server, keepalive_expiry=0.05)
    transport = Transport(connection)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: run(transport.send(call_to(server), keep)), range(20)))
    time.sleep(0.1)
    run(transport.send(call_to(server), keep))
    assert server.settle(1)
    assert server.open == 1


@pytest.mark.slow
def test_closing_leaves_the_calls_of_others_alone():
    with ByteServer(
        (wire.unfinished(ONE), Pause(0.2), wire.frame(TWO + wire.DONE) + wire.FINAL_FRAME)
    ) as server:
        mine, other = Transport(on(server)), Transport(on(server))
        stream = iterate(run(other.stream(call_to(server), Texts)))
        assert next(stream) == "one"
        run(mine.close())
        assert list(stream) == ["two"]
        assert server.open == 1, "it is idle now"
        run(mine.close())
        assert server.settle()


def test_closing_before_the_first_call_does_nothing():
    run(Transport(ConnectionConfig("http://127.0.0.1:1")).close())
    asyncio.run(Transport(ConnectionConfig("http://127.0.0.1:1"), is_async=True).close())


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_connections_of_the_least_recently_used_servers_are_closed(mode):
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(ByteServer(rest=GOOD)) for _ in range(40)]

        async def main():
            for server in servers:
                transport = Transport(on(server), is_async=mode == "async")
                await transport.send(call_to(server), keep)
            return [server.settle() for server in servers[:20]]

        assert all(asyncio.run(main()))


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
        tls = SimpleNamespace(base_url=server.base_url.replace("http:", "https:"))
        transport, call = Transport(on(tls), is_async=True), call_to(tls)
        calls = [transport.send(call, keep) for _ in range(20)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        assert {type(result) for result in results} == {APIConnectionError}

    with ByteServer(greetings=repeat((b"no TLS here\r\n\r\n", Close()))) as server:
        asyncio.run(main(server))
    assert len(readers) == 1
    assert readers[0] is not threading.main_thread()


@pytest.mark.parametrize("mode", MODES)
def test_the_proxy_of_the_environment_is_used_and_no_other(mode, monkeypatch, server):
    elsewhere = SimpleNamespace(base_url="http://elsewhere.invalid/v1")
    with ByteServer(rest=GOOD) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url[:-3].replace("//", "//user:hunter2@"))
        outcomes(mode, on(elsewhere), call_to(elsewhere))
        (request,) = proxy.requests
        assert request.target == "http://elsewhere.invalid/v1/chat/completions"
        assert request.headers["host"] == "elsewhere.invalid"
        assert request.headers["proxy-authorization"].startswith("Basic ")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        outcomes(mode, on(server), call_to(server))
        assert len(proxy.requests) == 1
    assert len(server.requests) == 1


PRELUDE = """
import asyncio, os, sys, threading
from types import SimpleNamespace
from langchain_aimlernie._coroutines import run
from langchain_aimlernie._http import ConnectionConfig, Transport
from tests.support.sync_async import Texts, call_to, keep
server = SimpleNamespace(base_url=sys.argv[1])
connection, call = ConnectionConfig(server.base_url), call_to(server)
transport = Transport(connection)
def send():
    run(transport.send(call, keep))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_leaves_the_parent_s_connections_alone(server):
    script = (
        PRELUDE
        + """
send()
asyncio.run(Transport(connection, is_async=True).send(call, keep))
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


@pytest.mark.parametrize("mode", MODES)
def test_a_stream_that_is_closed_early_has_no_more(mode):
    async def main(server):
        transport = Transport(on(server), is_async=mode == "async")
        stream = await transport.stream(call_to(server), Texts)
        assert await anext(stream) == "one"
        await stream.aclose()
        assert [chunk async for chunk in stream] == []

    with ByteServer(rest=(wire.unfinished(ONE), Hold())) as server:
        run(main(server)) if mode == "sync" else asyncio.run(main(server))
        assert server.settle()
