from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from langchain_aimlernie._transport import happy_eyeballs
from langchain_aimlernie._transport.happy_eyeballs import open_socket

V4, V6 = socket.AF_INET, socket.AF_INET6
STREAM = socket.SOCK_STREAM
ALONE = happy_eyeballs._HEAD_START
KEEPALIVE = (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def listening():
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        yield listener.getsockname()


@contextlib.contextmanager
def refusing():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield taken.getsockname()


@contextlib.contextmanager
def silent():
    """A queue that is full: Linux lets a further connection wait."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()


@pytest.fixture
def resolving(monkeypatch):
    """Let a name have these addresses."""

    def to(*places):
        async def resolve(host, port):
            return [(V4, STREAM, 0, "", place) for place in places]

        monkeypatch.setattr(happy_eyeballs, "_resolve", resolve)

    return to


def connected(*options, local=None):
    """Whom the socket is connected to, and the seconds that took."""

    async def main():
        began = time.monotonic()
        with await open_socket("a.name", 80, local, options) as opened:
            assert opened.gettimeout() == 0.0
            keeps = opened.getsockopt(*KEEPALIVE[:2])
            return opened.getpeername(), time.monotonic() - began, keeps

    return asyncio.run(main())


def test_the_next_address_is_tried_at_once_when_one_refuses(resolving):
    with refusing() as bad, listening() as good:
        resolving(bad, good)
        peer, seconds, _ = connected()
    assert peer == good
    assert seconds < ALONE


def test_the_next_address_is_tried_beside_one_that_is_silent(resolving):
    with silent() as bad, listening() as good:
        resolving(bad, good)
        peer, seconds, _ = connected()
    assert peer == good
    assert ALONE <= seconds < ALONE + 2


def test_an_address_that_answers_late_wins_when_the_others_refuse(resolving):
    with listening() as good, refusing() as bad:
        resolving(good, bad, bad)
        assert connected()[0] == good


def test_the_first_error_is_told_when_all_refuse(resolving):
    with refusing() as one, refusing() as other:
        resolving(one, other)
        with pytest.raises(ConnectionRefusedError):
            connected()


def test_a_host_without_an_address_is_an_error(resolving):
    resolving()
    with pytest.raises(OSError, match="no address"):
        connected()


def test_an_error_leaves_no_cycle_behind(resolving):
    async def main():
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            with pytest.raises(ConnectionRefusedError):
                await open_socket("a.name", 80, None, ())
            gc.collect()
            return [left for left in gc.garbage if isinstance(left, OSError)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()

    with refusing() as one, refusing() as other:
        resolving(one, other)
        assert asyncio.run(main()) == []


def test_an_address_that_no_socket_can_be_made_for_is_passed_over(monkeypatch):
    with listening() as good:

        async def resolve(host, port):
            return [(9999, STREAM, 0, "", ("nowhere", 1)), (V4, STREAM, 0, "", good)]

        monkeypatch.setattr(happy_eyeballs, "_resolve", resolve)
        assert connected()[0] == good


def test_a_number_is_connected_to_without_a_thread():
    async def main(place):
        before = threading.active_count()
        with await open_socket(*place, None, ()) as opened:
            assert threading.active_count() == before
            return opened.getpeername()

    with listening() as good:
        assert asyncio.run(main(good)) == good


def test_a_name_is_resolved_by_the_system():
    async def main(port):
        with await open_socket("localhost", port, None, ()) as opened:
            return opened.getpeername()[1]

    with listening() as (_, port):
        assert asyncio.run(main(port)) == port


def test_sockets_are_set_up_before_they_connect(resolving):
    with listening() as good:
        resolving(good)
        assert connected()[2] == 0
        assert connected(KEEPALIVE, local="127.0.0.1")[2] == 1


def test_families_take_turns():
    sixes = [(V6, STREAM, 0, "", (n,)) for n in range(3)]
    fours = [(V4, STREAM, 0, "", (n,)) for n in range(2)]
    order = [(address[0], address[4]) for address in happy_eyeballs._alternating(sixes + fours)]
    assert order == [(V6, (0,)), (V4, (0,)), (V6, (1,)), (V4, (1,)), (V6, (2,))]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc")
def test_no_socket_is_lost_whenever_it_is_cancelled(resolving):
    async def main():
        won = 0
        for _ in range(400):
            task = asyncio.create_task(open_socket("a.name", 80, None, ()))
            for _ in range(chance.randrange(8)):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                (await task).close()
                won += 1
        return won

    chance = random.Random(5)
    with listening() as good, silent() as bad:
        before = descriptors()
        for places in ((good,), (bad, good), (good, good, good)):
            resolving(*places)
            asyncio.run(main())
        assert descriptors() == before


def test_who_comes_second_is_closed(resolving, monkeypatch):
    async def main():
        both_begun = asyncio.get_running_loop().create_future()

        async def connect(address, local_address, options):
            opened.append(socket.socket())
            if len(opened) == 2:
                both_begun.set_result(None)
            await both_begun
            return opened[int(address[4])]

        monkeypatch.setattr(happy_eyeballs, "_connect", connect)
        winner = await open_socket("a.name", 80, None, ())
        await asyncio.sleep(0.01)
        return winner

    opened = []
    monkeypatch.setattr(happy_eyeballs, "_HEAD_START", 0.01)
    resolving(0, 1)
    with asyncio.run(main()) as winner:
        assert winner in opened
        assert [one.fileno() >= 0 for one in opened].count(True) == 1
