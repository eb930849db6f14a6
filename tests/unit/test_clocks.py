from __future__ import annotations

import asyncio
import sys
import threading
import time

import httpx
import pytest
from loops import LOOPS

from langchain_aimlernie._transport import read_clocks
from langchain_aimlernie._transport.clocks import (
    FOREVER,
    AsyncClock,
    Clock,
    ClockExpiredError,
    _watchdog,
)

SOON, LONG = 0.05, 30.0


@pytest.mark.parametrize(
    ("timeout", "idle", "seconds"),
    [
        (None, "auto", 120.0),
        (3, "auto", 3),
        (300.0, "auto", 120.0),
        (300.0, 200.0, 200.0),
        (3.0, None, None),
        ((5.0, 7.0, 9.0, 11.0), "auto", 7.0),
        ((5.0, None, 9.0, 11.0), "auto", 120.0),
        (httpx.Timeout(3.0), "auto", 3.0),
        (httpx.Timeout(3.0, read=700.0), "auto", 120.0),
        (httpx.Timeout(3.0, read=None), "auto", 120.0),
        (httpx.Timeout(None), "auto", 120.0),
        (httpx.Timeout(3.0), 200.0, 200.0),
    ],
)
def test_a_timeout_lowers_how_long_a_stream_may_be_silent(timeout, idle, seconds):
    assert read_clocks(timeout, idle).idle == seconds


class Server:
    """Somebody to wait for, until the connection is cut."""

    def __init__(self):
        self._cut = threading.Event()

    def cut(self):
        self._cut.set()

    def wait(self, seconds=LONG):
        return self._cut.wait(seconds)

    @property
    def is_cut(self):
        return self._cut.is_set()


def test_a_wait_that_is_too_long_is_cut():
    server = Server()
    clock = Clock("answer", SOON, server.cut)
    began = time.monotonic()
    with pytest.raises(ClockExpiredError), clock:
        assert server.wait()
    assert SOON <= time.monotonic() - began < LONG
    assert not clock.stop(), "the connection cannot be used on"


def test_an_error_that_the_cut_brings_is_the_clock_s():
    server = Server()
    clock = Clock("answer", SOON, server.cut)

    def read():
        with clock:
            server.wait()
            raise ConnectionResetError

    with pytest.raises(ClockExpiredError):
        read()
    clock.stop()


def test_a_wait_in_time_leaves_the_connection_alone():
    server = Server()
    clock = Clock("answer", LONG, server.cut)
    with clock:
        pass
    assert clock.stop()
    assert not server.is_cut


def test_only_waiting_counts():
    server = Server()
    clock = Clock("idle", 0.15, server.cut)
    for _ in range(3):
        with clock:
            time.sleep(0.02)
        time.sleep(0.2)
    assert clock.stop()
    assert not server.is_cut


def test_waits_add_up_until_the_clock_is_rewound():
    server = Server()
    clock = Clock("first event", 0.2, server.cut)

    def drip():
        for _ in range(100):
            with clock:
                server.wait(0.03)

    with pytest.raises(ClockExpiredError):
        drip()
    clock.stop()

    after = Server()
    clock = Clock("first event", 0.2, after.cut)
    for _ in range(12):
        with clock:
            after.wait(0.03)
        clock.rewind("idle", 0.2)
    assert clock.stop()


def test_a_clock_can_be_shortened_while_the_watchdog_sleeps():
    server = Server()
    clock = Clock("idle", LONG, server.cut)
    with clock:
        pass
    clock.rewind("rest", SOON)
    began = time.monotonic()
    with pytest.raises(ClockExpiredError), clock:
        server.wait()
    assert time.monotonic() - began < LONG / 2
    clock.stop()


def test_a_connection_that_was_made_after_the_time_is_cut_again():
    cuts = threading.Semaphore(0)
    clock = Clock("answer", SOON, cuts.release)
    with pytest.raises(ClockExpiredError), clock:
        assert all(cuts.acquire(timeout=LONG) for _ in range(3))
    clock.stop()


def test_for_ever_is_for_ever():
    clock = Clock("idle", FOREVER, pytest.fail)
    with clock:
        time.sleep(SOON)
    assert clock.stop()


def test_the_watchdog_ends_when_nothing_is_left_to_watch():
    clock = Clock("answer", LONG, pytest.fail)
    with clock:
        assert "aimlernie-watchdog" in {thread.name for thread in threading.enumerate()}
    clock.stop()
    deadline = time.monotonic() + 10
    while "aimlernie-watchdog" in {thread.name for thread in threading.enumerate()}:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_many_threads_are_watched_by_one():
    servers = [Server() for _ in range(20)]
    expired = []

    def wait(server):
        clock = Clock("answer", SOON, server.cut)
        try:
            with clock:
                server.wait()
        except ClockExpiredError:
            expired.append(server)
        clock.stop()

    threads = [threading.Thread(target=wait, args=[server]) for server in servers]
    for thread in threads:
        thread.start()
    names = [thread.name for thread in threading.enumerate()]
    assert names.count("aimlernie-watchdog") <= 1
    for thread in threads:
        thread.join(LONG)
    assert len(expired) == 20


def test_without_a_thread_the_call_goes_on(monkeypatch):
    deadline = time.monotonic() + 10
    while _watchdog._running.locked():
        assert time.monotonic() < deadline
        time.sleep(0.05)

    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    clock = Clock("answer", LONG, pytest.fail)
    with clock:
        pass
    assert clock.stop()


async def test_a_task_that_waits_too_long_is_woken():
    clock = AsyncClock("answer", SOON)
    with pytest.raises(ClockExpiredError), clock:
        await asyncio.sleep(LONG)
    assert not clock.stop()
    await asyncio.sleep(0)


async def test_a_task_that_is_in_time_is_left_alone():
    clock = AsyncClock("answer", LONG)
    with clock:
        await asyncio.sleep(0)
    assert clock.stop()


async def test_only_waiting_counts_for_tasks_too():
    clock = AsyncClock("idle", 0.15)
    for _ in range(3):
        with clock:
            await asyncio.sleep(0.02)
        await asyncio.sleep(0.2)
    assert clock.stop()


async def test_waits_of_a_task_add_up_until_the_clock_is_rewound():
    async def drip(clock):
        for _ in range(100):
            with clock:
                await asyncio.sleep(0.03)

    with pytest.raises(ClockExpiredError):
        await drip(AsyncClock("first event", 0.2))
    clock = AsyncClock("first event", 0.2)
    for _ in range(12):
        with clock:
            await asyncio.sleep(0.03)
        clock.rewind("idle", 0.2)
    assert clock.stop()


async def test_a_clock_of_a_task_can_be_shortened():
    clock = AsyncClock("idle", LONG)
    with clock:
        await asyncio.sleep(0)
    clock.rewind("rest", SOON)
    with pytest.raises(ClockExpiredError), clock:
        await asyncio.sleep(LONG)


@pytest.mark.parametrize("loop", LOOPS)
def test_waits_of_no_length_add_up_in_any_loop(loop):
    """uvloop makes no timers for less than half a millisecond."""

    async def wait():
        clock = AsyncClock("idle", 0.0004)
        while True:
            with clock:
                await asyncio.sleep(0)

    async def main():
        with pytest.raises(ClockExpiredError):
            await asyncio.wait_for(wait(), LONG)

    LOOPS[loop](main())


async def test_a_task_that_is_cancelled_is_cancelled():
    async def wait():
        with AsyncClock("answer", LONG):
            await asyncio.sleep(LONG)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks do not count cancellations")
async def test_a_cancellation_at_the_same_moment_is_not_swallowed():
    async def wait():
        clock = AsyncClock("answer", LONG)
        with clock:
            asyncio.get_running_loop().call_soon(ring, clock)
            await asyncio.sleep(LONG)

    def ring(clock):
        clock._deadline = 0.0
        clock._ring()
        task.cancel()

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tasks do not count cancellations")
async def test_the_task_is_not_left_as_if_it_had_been_cancelled():
    clock = AsyncClock("answer", SOON)
    with pytest.raises(ClockExpiredError), clock:
        await asyncio.sleep(LONG)
    assert asyncio.current_task().cancelling() == 0
    async with asyncio.timeout(LONG):
        await asyncio.sleep(0)


async def test_a_clock_can_go_from_task_to_task():
    clock = AsyncClock("idle", SOON)

    async def step(seconds):
        with clock:
            await asyncio.sleep(seconds)

    await asyncio.create_task(step(0))
    with pytest.raises(ClockExpiredError):
        await asyncio.create_task(step(LONG))
