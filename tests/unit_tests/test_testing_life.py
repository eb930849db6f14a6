"""The local server as a server: connections, threads, starting and stopping, the command."""

import asyncio
import signal
import socket
import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from langchain_aimlernie.testing import ErnieServer, Fault
from langchain_aimlernie.testing.__main__ import main
from tests.support.garbage import collect
from tests.support.local_server import CHAT, body, connect, raw_request, read_to_end, wait_until


@pytest.mark.slow
async def test_hundreds_of_connections_are_answered_at_once():
    with ErnieServer(delay=0.2) as server:
        request = raw_request(server, header="connection: close\r\n")

        async def ask():
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(request)
            response = await reader.read()
            writer.close()
            await writer.wait_closed()
            return response.partition(b"\r\n")[0]

        assert set(await asyncio.gather(*(ask() for _ in range(300)))) == {b"HTTP/1.1 200 OK"}
        assert server.connections_total == 300
        assert server.totals.answers == 300


def test_pipelined_requests_are_answered_in_order(ernie_server):
    ernie_server.reply("first", delay=0.05)
    ernie_server.reply("second")
    with connect(ernie_server) as sock:
        sock.sendall(raw_request(ernie_server))
        sock.sendall(raw_request(ernie_server, header="connection: close\r\n"))
        response = read_to_end(sock)
    assert response.index(b"first") < response.index(b"second")


POST = b"POST / HTTP/1.1\r\nhost: x\r\n"


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nno header\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nhost: x\r\nx: " + b"y" * 70_000, b"431"),
        (POST + b"content-length: -1\r\n\r\n", b"400"),
        (POST + b"transfer-encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"404"),
    ],
)
def test_malformed_request_closes_the_connection(ernie_server, request_bytes, status):
    with connect(ernie_server) as sock:
        sock.sendall(request_bytes)
        assert read_to_end(sock).startswith(b"HTTP/1.1 " + status)


def test_expect_100_continue_is_answered(ernie_server):
    with connect(ernie_server) as sock:
        sock.sendall(POST + b"expect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"x")
        assert sock.recv(100).startswith(b"HTTP/1.1 404 ")


def test_half_closed_client_gets_its_response(ernie_server):
    with connect(ernie_server) as sock:
        sock.sendall(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
        sock.shutdown(socket.SHUT_WR)
        assert read_to_end(sock).startswith(b"HTTP/1.1 200 OK")


@pytest.mark.slow
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("fields", [{"delay": 60}, {"interval": 60}, {"fault": Fault("stall")}])
def test_connection_of_a_client_that_left_is_closed(ernie_server, fields, reset):
    ernie_server.reply("x", **fields)
    with connect(ernie_server) as sock:
        sock.sendall(raw_request(ernie_server, stream=True))
        wait_until(lambda: ernie_server.requests)
        if reset:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: not ernie_server.connections)


def test_http_1_0_client_gets_an_unchunked_stream(ernie_server):
    with connect(ernie_server) as sock:
        sock.sendall(raw_request(ernie_server, version="1.0", stream=True))
        head, _, stream = read_to_end(sock).partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head
    assert stream.startswith(b"data: {")
    assert stream.endswith(b"data: [DONE]\n\n")


def test_a_server_can_be_stopped_and_started_again():
    server = ErnieServer(api_key=None)
    with pytest.raises(RuntimeError, match="no port yet"):
        _ = server.base_url
    for _ in range(2):
        with server:
            assert httpx.post(server.base_url + CHAT, json=body()).status_code == 200
            with pytest.raises(RuntimeError, match="is already running"):
                server.start()
        server.stop()
        assert "stopped" in repr(server)
        with pytest.raises(OSError, match="refused"):
            connect(server)


@pytest.mark.slow
def test_stop_during_responses_leaves_no_thread_or_socket():
    threads = threading.active_count()
    with ErnieServer(api_key=None, interval=60) as server, httpx.Client() as client:
        url = server.base_url + CHAT
        with client.stream("POST", url, json=body(stream=True)) as response:
            pieces = response.iter_bytes()
            next(pieces)
            server.stop()
            with pytest.raises(httpx.HTTPError):
                next(pieces)
    del server, client, response, pieces
    collect()
    assert threading.active_count() <= threads


def test_a_server_can_be_stopped_by_several_threads_at_once():
    for _ in range(5):
        server = ErnieServer().start()
        with ThreadPoolExecutor() as pool:
            calls = server.stop, server.stop, server.close_connections, server.stop
            assert [call.result() for call in map(pool.submit, calls)] == [None] * 4
        assert repr(server) == "<ErnieServer stopped>"


def test_it_listens_on_ipv6_too():
    try:
        server = ErnieServer(host="::1", api_key=None).start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with httpx.Client() as client:
        assert client.get(server.base_url + "/models").status_code == 200
    server.stop()


@pytest.mark.slow
def test_the_plugin_costs_next_to_nothing_to_import():
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import langchain_aimlernie.testing.fixtures\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(name for name in new if not name.startswith('langchain_aimlernie')))\n"
        "print(sorted(name for name in new if name.startswith('langchain_aimlernie')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, own = run.stdout.splitlines()
    assert others == "[]"
    assert "testing.server" not in own


@pytest.mark.slow
@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_command_serves_until_a_signal(end):
    command = [sys.executable, "-m", "langchain_aimlernie.testing", "--api-key", "k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        settings = dict(line.strip().removeprefix("export ").split("=") for line in lines[1:])
        assert settings["AIMLAPI_API_KEY"] == "k"
        response = httpx.post(
            settings["AIMLAPI_API_BASE"] + CHAT, json=body(), headers={"authorization": "Bearer k"}
        )
        assert response.status_code == 200
        process.send_signal(end)
        assert process.wait(10) == 0


def test_there_is_no_other_name():
    from langchain_aimlernie import testing

    assert dir(testing) == testing.__all__
    assert all(getattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing


def test_a_taken_port_is_an_error(ernie_server, capsys):
    with pytest.raises(OSError, match="in use"):
        ErnieServer(ernie_server.port).start()
    assert main(["--port", str(ernie_server.port)]) == 1
    assert f"Cannot listen on 127.0.0.1:{ernie_server.port}" in capsys.readouterr().err
