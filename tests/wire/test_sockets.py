"""asyncio's transports as httpcore's network, and what a connection's network sees of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import ssl
import sys
import threading
import time

import httpcore
import pytest
from loops import LOOPS
from raw_server import GOOD, RawServer, answer
from worlds import LONG, WORLDS, call_to, on, outcomes

from langchain_aimlernie._transport import sockets
from langchain_aimlernie._transport.network import Network

MANY = 40 * 1024 * 1024


@pytest.fixture(params=LOOPS)
def with_stream(request):
    """What a function makes of a stream to a server that does `serve` with its connection."""

    def run(serve, use):
        async def main(port):
            stream = await sockets.AsyncioBackend().connect_tcp("127.0.0.1", port)
            try:
                return await asyncio.wait_for(use(stream), LONG)
            finally:
                await stream.aclose()

        with RawServer(serve) as server:
            found = LOOPS[request.param](main(server.port))
            assert server.settle()
            return found

    return run


async def read_all(stream, most=65536):
    pieces = []
    while piece := await stream.read(most):
        assert len(piece) <= most
        pieces.append(piece)
    return b"".join(pieces)


def test_bytes_come_in_their_order_and_no_more_than_asked_for(with_stream):
    data = bytes(range(256)) * 4096
    assert with_stream(lambda wire: wire.send(data), lambda s: read_all(s, 1000)) == data


def test_a_server_that_is_not_read_from_has_to_wait(with_stream):
    sent = []

    def serve(wire):
        for _ in range(MANY // 65536):
            wire.send(b"x" * 65536)
            sent.append(65536)

    async def use(stream):
        await asyncio.sleep(0.3)
        waiting = stream._receiver._size
        before = sum(sent)
        return waiting, before, len(await read_all(stream))

    waiting, before, received = with_stream(serve, use)
    assert waiting < 2 * sockets._MOST_UNREAD
    assert before < MANY
    assert received == MANY


def test_silence_is_a_timeout_and_the_stream_lives_on(with_stream):
    async def use(stream):
        began = time.monotonic()
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(100, 0.05)
        assert 0.04 < time.monotonic() - began < 2
        return await stream.read(100, 5)

    def serve(wire):
        time.sleep(0.2)
        wire.send(b"late")

    assert with_stream(serve, use) == b"late"


def test_a_server_that_takes_nothing_is_a_timeout(with_stream):
    is_over = threading.Event()

    async def use(stream):
        with pytest.raises(httpcore.WriteTimeout):
            await stream.write(b"x" * MANY, 0.1)
        is_over.set()

    with_stream(lambda wire: is_over.wait(LONG), use)


def test_a_long_write_ends_when_the_server_has_taken_it(with_stream):
    def serve(wire):
        left = MANY
        while left:
            left -= len(wire.sock.recv(65536))
        wire.send(b"done")

    async def use(stream):
        await stream.write(b"x" * MANY, 20)
        return await stream.read(100, 20)

    assert with_stream(serve, use) == b"done"


def test_the_end_is_nothing_and_then_nothing_can_be_written(with_stream):
    async def use(stream):
        assert await read_all(stream) == b"bye"
        await asyncio.sleep(0.05)
        assert await stream.read(10) == b""
        assert await stream.read(10) == b""
        assert stream.get_extra_info("is_readable") is True
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"?")

    with_stream(lambda wire: wire.send(b"bye"), use)


def test_a_reset_is_an_error_of_reading(with_stream):
    def serve(wire):
        wire.request()
        wire.reset()

    async def use(stream):
        await stream.write(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(httpcore.ReadError, match="reset"):
            await stream.read(10)

    with_stream(serve, use)


def test_news_are_seen_before_the_loop_has_seen_them(with_stream):
    async def use(stream):
        assert stream.get_extra_info("is_readable") is False
        await stream.write(b"POST / HTTP/1.1\r\n\r\n")
        time.sleep(0.2)  # noqa: ASYNC251  the loop is held up: that is the case
        return stream.get_extra_info("is_readable")

    def serve(wire):
        wire.request()

    assert with_stream(serve, use) is True


def test_what_came_unasked_is_news(with_stream):
    async def use(stream):
        await asyncio.sleep(0.1)
        assert stream.get_extra_info("is_readable") is True
        assert await stream.read(10) == b"hey"
        return stream.get_extra_info("is_readable")

    def serve(wire):
        wire.send(b"hey")
        wire.hold(5)

    assert with_stream(serve, use) is False


def test_a_connection_that_breaks_ends_a_long_write(with_stream):
    def serve(wire):
        wire.sock.recv(65536)
        wire.reset()

    async def use(stream):
        with pytest.raises(httpcore.WriteError):
            await stream.write(b"x" * MANY)

    with_stream(serve, use)


def test_a_stream_tells_of_its_socket(with_stream):
    async def use(stream):
        assert stream.get_extra_info("server_addr")[0] == "127.0.0.1"
        assert stream.get_extra_info("client_addr") == stream.get_extra_info("socket").getsockname()
        assert stream.get_extra_info("ssl_object") is None

    with_stream(lambda wire: wire.hold(5), use)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (lambda wire: wire.send(b"220 smtp.example ESMTP\r\n"), "spoke before"),
        (lambda wire: wire.close(), "closed before"),
        (lambda wire: wire.reset(), "reset"),
    ],
    ids=["words", "end", "reset"],
)
def test_a_server_that_does_not_wait_for_the_handshake_is_seen_at_once(with_stream, before, words):
    is_open = threading.Event()

    async def use(stream):
        news = stream._receiver.expect_news()
        is_open.set()
        await news
        with pytest.raises(httpcore.ConnectError, match=words):
            await stream.start_tls(ssl.create_default_context(), "127.0.0.1")

    def serve(wire):
        is_open.wait(LONG)
        before(wire)
        with contextlib.suppress(OSError):
            wire.hold()

    with_stream(serve, use)


@pytest.mark.parametrize("world", WORLDS)
def test_head_and_body_leave_together(world):
    packets = []

    def serve(wire):
        for _ in range(2):
            packets.append(wire.sock.recv(65536))
            wire.send(GOOD)

    body = b'{"q": 1}'
    with RawServer(serve) as server:
        call = call_to(server, body=body)
        assert not [o for o in outcomes(world, on(server), call, call) if isinstance(o, Exception)]
    assert [packet[-len(body) :] for packet in packets] == [body, body]
    assert all(packet.startswith(b"POST ") for packet in packets)


@pytest.mark.parametrize("world", WORLDS)
@pytest.mark.parametrize("size", [0, 1, 16 * 1024, 16 * 1024 + 1, 300 * 1024, 600 * 1024 + 5])
def test_bodies_of_any_size_arrive_whole(world, size):
    def serve(wire):
        while request := wire.request():
            wire.send(answer(str(len(request.body)).encode()))

    with RawServer(serve) as server:
        method = "POST" if size else "GET"
        call = call_to(server, body=b"x" * size, method=method)
        found = outcomes(world, on(server), call, call)
    assert [body for _, body in found] == [str(size).encode()] * 2


@pytest.mark.skipif(sys.platform == "win32", reason="tells a reset by poll")
def test_a_reset_before_the_handshake_leaves_no_socket_open():
    with RawServer(lambda wire: wire.reset()) as server:
        network = Network(httpcore.SyncBackend())
        network.connect_tcp("127.0.0.1", server.port)
        descriptor = network.get_extra_info("socket").fileno()
        poller = select.poll()
        poller.register(descriptor, 0)
        assert poller.poll(5000), "the reset has come"
        with pytest.raises(httpcore.ConnectError, match="reset") as failed:
            network.start_tls(ssl.create_default_context(), "127.0.0.1")
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)
        assert failed.value.__traceback__, "the error is still held"
