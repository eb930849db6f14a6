"""Thousands of mixed calls with faults at random: nothing lost, nothing double, nothing left.

`ERNIE_SOAK_CALLS` (1500), `ERNIE_SOAK_SECONDS` (60) and `ERNIE_SOAK_SEED` change the run. The
figures are printed at the end of the test run.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler

from langchain_aimlernie import SpendTracker
from tests.support.byte_server import ByteServer
from tests.support.fault_outcomes import acall, call, check_error, make_model, run_async, text_of
from tests.support.soak_plan import FAULTS, GOOD, Ledger, plan

CALLS = int(os.environ.get("ERNIE_SOAK_CALLS", "1500"))
SECONDS = float(os.environ.get("ERNIE_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("ERNIE_SOAK_SEED", "20260801"))
THREADS, TASKS, CALLS_PER_LOOP = 8, 24, 400


def prompt_of(planned):
    return f"This is call {planned.talk.number}"


class Soak:
    """The client's side: makes the planned calls and compares each with the plan."""

    def __init__(self, model):
        self.model = model
        self.sums = UsageMetadataCallbackHandler()
        self.spend = SpendTracker(unpriced="ignore")
        self.whole = {}
        self.failed = {}
        self.left = {}
        self.wrong = []
        self._numbers = {"sync": count(0, 2), "async": count(1, 2)}  # as the plan's modes go
        self._end = time.monotonic() + SECONDS
        self._lock = threading.Lock()

    def next(self, kind):
        """The next call to make, or None when all are made or time is up."""
        with self._lock:
            number = next(self._numbers[kind])
        return plan(number, SEED) if number < CALLS and time.monotonic() < self._end else None

    def note_message(self, planned, message):
        self.whole[planned.talk.number] = message
        if planned.fault.error or text_of(message) != planned.talk.text:
            self.note_wrong(planned, text_of(message))

    def note_error(self, planned, error):
        self.failed[planned.talk.number] = type(error).__name__
        if type(error).__name__ not in planned.fault.error:
            self.note_wrong(planned, repr(error))
        check_error(error)

    def note_wrong(self, planned, what):
        self.wrong.append((planned.talk.number, planned.mode, planned.fault.name, what))

    def config(self, planned):
        """Calls that are left may be summed or not: they are kept out of the sums."""
        return {"callbacks": [] if planned.leave else [self.sums, self.spend]}

    def work(self):
        while (planned := self.next("sync")) is not None:
            try:
                self.one(planned)
            except Exception as error:  # noqa: BLE001 - compared with the plan
                self.note_error(planned, error)

    def one(self, planned):
        prompt, config = prompt_of(planned), self.config(planned)
        if planned.leave != "break":
            self.note_message(planned, call(self.model, planned.mode, prompt, config=config))
            return
        for _ in self.model.stream(prompt, config=config):
            break
        self.left[planned.talk.number] = "break"

    def loops(self):
        """One event loop after the other, as a program with many `asyncio.run` has them."""
        while run_async(self.one_loop):
            pass

    async def one_loop(self):
        return all(await asyncio.gather(*(self.awork() for _ in range(TASKS))))

    async def awork(self):
        """Make some calls; tell whether there are more to make."""
        for _ in range(CALLS_PER_LOOP // TASKS):
            if (planned := self.next("async")) is None:
                return False
            try:
                await self.aone(planned)
            except asyncio.CancelledError:
                self.left[planned.talk.number] = "cancel"
            except Exception as error:  # noqa: BLE001 - compared with the plan
                self.note_error(planned, error)
        return True

    async def aone(self, planned):
        prompt, config = prompt_of(planned), self.config(planned)
        if planned.leave == "break":
            async for _ in self.model.astream(prompt, config=config):
                break
            self.left[planned.talk.number] = "break"
            return
        task = asyncio.ensure_future(acall(self.model, planned.mode, prompt, config=config))
        if planned.leave == "cancel":
            await asyncio.wait([task], timeout=planned.patience)
            task.cancel()
        self.note_message(planned, await task)

    def run(self):
        threads = [threading.Thread(target=self.work, name=f"soak-{i}") for i in range(THREADS)]
        threads.append(threading.Thread(target=self.loops, name="soak-loops"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + 60)
        assert not [thread for thread in threads if thread.is_alive()], "a call hangs"


def resources():
    """Threads and, where /proc tells, descriptors of this process."""
    gc.collect()
    folder = Path("/proc/self/fd")
    return {
        "threads": threading.active_count(),
        "descriptors": len(list(folder.iterdir())) if folder.exists() else 0,
    }


def settled(before):
    """The resources after the run, given a moment to be as few as before."""
    end = time.monotonic() + 5
    while True:
        after = resources()
        if all(after[kind] <= before[kind] for kind in before) or time.monotonic() > end:
            return after
        time.sleep(0.05)


def billed(messages):
    """What the messages say was billed."""
    return {
        "input tokens": sum(m.usage_metadata["input_tokens"] for m in messages),
        "output tokens": sum(m.usage_metadata["output_tokens"] for m in messages),
        "credits": sum(m.response_metadata["credits_used"] for m in messages),
        "dollars": sum(m.response_metadata["usd_spent"] for m in messages),
    }


def given_out(talks):
    """What the server's ledger says was billed."""
    return {
        "input tokens": sum(t.usage["prompt_tokens"] for t in talks),
        "output tokens": sum(t.usage["completion_tokens"] for t in talks),
        "credits": sum(t.credits for t in talks),
        "dollars": sum(t.meta["usage"]["usd_spent"] for t in talks),
    }


def summed(soak):
    """What LangChain's own callback added up."""
    totals = soak.sums.usage_metadata.values()
    return {
        "input tokens": sum(t["input_tokens"] for t in totals),
        "output tokens": sum(t["output_tokens"] for t in totals),
    }


@pytest.mark.slow
def test_a_soak_of_mixed_calls_loses_nothing_and_leaves_nothing(figures):
    ledger = Ledger(SEED)
    before = resources()
    with ByteServer(rest=ledger.script) as endpoint:
        model = make_model(endpoint.base_url, max_retries=2, timeout=15.0, stream_idle_timeout=2.0)
        soak = Soak(model)
        started = time.monotonic()
        soak.run()
        seconds = time.monotonic() - started
        model.close()
        assert endpoint.settle(), f"{endpoint.open} connections are left"
    after = settled(before)
    made = soak.whole.keys() | soak.failed.keys() | soak.left.keys()
    whole = [soak.whole[n] for n in sorted(soak.whole)]
    told = [ledger.given[n] for n in sorted(soak.whole) if n in ledger.given]
    retries = sum(ledger.tries[n] - 1 for n in made if ledger.tries[n])
    figures.extend(
        [
            f"soak: {len(made)} calls in {seconds:.1f} s, seed {SEED}, {retries} retries",
            f"soak: {len(whole)} whole, {len(soak.failed)} failed as planned, left {dict(Counter(soak.left.values()))}, {endpoint.connections} connections made",
            f"soak: faults {dict(ledger.faults.most_common())}",
            f"soak: errors {dict(Counter(soak.failed.values()).most_common())}",
            f"soak: server gave out {given_out(told)}",
            f"soak: messages carry  {billed(whole)}",
            f"soak: before {before}, after {after}, connections open {endpoint.open}",
        ]
    )
    assert not soak.wrong, soak.wrong[:10]
    assert len(made) == len(soak.whole) + len(soak.failed) + len(soak.left)
    assert made == set(range(len(made))) or time.monotonic() - started >= SECONDS
    assert len(told) == len(whole)
    assert billed(whole) == given_out(told)
    kept = [ledger.given[n] for n in soak.whole if not plan(n, SEED).leave]
    assert summed(soak).items() <= given_out(kept).items()
    spent = soak.spend.total
    assert spent.credits == given_out(kept)["credits"]
    # Failed calls that had been sent count with an estimate of their tokens.
    assert spent.input_tokens >= given_out(kept)["input tokens"]
    assert spent.output_tokens >= given_out(kept)["output tokens"]
    assert spent.calls == len(kept)
    assert spent.failed == sum(1 for n in soak.failed if not plan(n, SEED).leave)
    twice = [n for n in soak.whole if plan(n, SEED).fault is GOOD and ledger.tries[n] != 1]
    assert not twice, f"sent more than once: {twice[:10]}"
    assert after["threads"] <= before["threads"], threading.enumerate()
    assert after["descriptors"] <= before["descriptors"]


def test_the_plan_is_the_same_for_a_seed_and_meets_every_fault():
    calls = [plan(n, SEED) for n in range(4000)]
    assert [c.fault.name for c in calls] == [plan(n, SEED).fault.name for n in range(4000)]
    assert {c.fault.name for c in calls} == {fault.name for fault in FAULTS}
    assert {c.leave for c in calls} == {None, "break", "cancel"}
