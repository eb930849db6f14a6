"""Hundreds of mixed calls with faults at random: nothing lost, nothing double, nothing left.

`ERNIE_SOAK_CALLS` (600), `ERNIE_SOAK_SECONDS` (60) and `ERNIE_SOAK_SEED` change the run.
`--log-cli-level=INFO` shows what came of it.
"""

from __future__ import annotations

import asyncio
import gc
import logging
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
from tests.support.fault_table import (
    acall,
    call,
    check_error,
    in_threads,
    make_model,
    run_async,
    text_of,
)
from tests.support.soak_plan import FAULTS, GOOD, Ledger, plan

LOGGER = logging.getLogger(__name__)
CALLS = int(os.environ.get("ERNIE_SOAK_CALLS", "600"))
SECONDS = float(os.environ.get("ERNIE_SOAK_SECONDS", "60"))
SEED = int(os.environ.get("ERNIE_SOAK_SEED", "20260801"))
THREADS, TASKS, CALLS_PER_LOOP = 8, 24, 200


class Soak:
    """The client's side: makes the planned calls and compares each with the plan."""

    def __init__(self, model):
        self.model = model
        self.sums = UsageMetadataCallbackHandler()
        self.spend = SpendTracker(unpriced="ignore")
        self.whole, self.failed, self.left = {}, {}, {}
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
        self.whole[planned.reply.number] = message
        if planned.fault.error or text_of(message) != planned.reply.text:
            self.wrong.append((planned, text_of(message)))

    def note_error(self, planned, error):
        self.failed[planned.reply.number] = type(error).__name__
        if type(error).__name__ != planned.fault.error:
            self.wrong.append((planned, repr(error)))
        check_error(error)

    def call_of(self, planned):
        """Prompt and config; calls that are left may be summed or not and are kept out."""
        callbacks = [] if planned.leave else [self.sums, self.spend]
        return f"This is call {planned.reply.number}", {"callbacks": callbacks}

    def work(self):
        while (planned := self.next("sync")) is not None:
            prompt, config = self.call_of(planned)
            try:
                if planned.leave == "break":
                    next(chunks := self.model.stream(prompt, config=config))
                    chunks.close()
                    self.left[planned.reply.number] = "break"
                else:
                    message = call(self.model, planned.mode, prompt, config=config)
                    self.note_message(planned, message)
            except Exception as error:  # noqa: BLE001 - compared with the plan
                self.note_error(planned, error)

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
                self.left[planned.reply.number] = "cancel"
            except Exception as error:  # noqa: BLE001 - compared with the plan
                self.note_error(planned, error)
        return True

    async def aone(self, planned):
        prompt, config = self.call_of(planned)
        if planned.leave == "break":
            async for _ in self.model.astream(prompt, config=config):
                break
            self.left[planned.reply.number] = "break"
            return
        task = asyncio.ensure_future(acall(self.model, planned.mode, prompt, config=config))
        if planned.leave == "cancel":
            await asyncio.wait([task], timeout=planned.patience)
            task.cancel()
        self.note_message(planned, await task)


def resources():
    """Threads and, where /proc tells, descriptors of this process."""
    gc.collect()
    folder = Path("/proc/self/fd")
    return threading.active_count(), len(list(folder.iterdir())) if folder.exists() else 0


def settled(before):
    """The resources after the run, given a moment to be as few as before."""
    end = time.monotonic() + 5
    while True:
        after = resources()
        if (after[0] <= before[0] and after[1] <= before[1]) or time.monotonic() > end:
            return after
        time.sleep(0.05)


def billed(messages):
    """Input and output tokens, credits and dollars that the messages carry."""
    return (
        sum(m.usage_metadata["input_tokens"] for m in messages),
        sum(m.usage_metadata["output_tokens"] for m in messages),
        sum(m.response_metadata["credits_used"] for m in messages),
        sum(m.response_metadata["usd_spent"] for m in messages),
    )


def given_out(replies):
    """The same of what the server's ledger says."""
    return (
        sum(r.usage["prompt_tokens"] for r in replies),
        sum(r.usage["completion_tokens"] for r in replies),
        sum(r.meta["usage"]["credits_used"] for r in replies),
        sum(r.meta["usage"]["usd_spent"] for r in replies),
    )


@pytest.mark.slow
def test_a_soak_of_mixed_calls_loses_nothing_and_leaves_nothing():
    ledger = Ledger(SEED)
    with ByteServer(rest=ledger.script) as server:
        before = resources()
        settings = {"max_retries": 2, "timeout": 15.0, "stream_idle_timeout": 2.0}
        soak = Soak(model := make_model(server.base_url, **settings))
        started = time.monotonic()
        in_threads(*[soak.work] * THREADS, soak.loops, seconds=SECONDS + 60)
        seconds = time.monotonic() - started
        model.close()
        assert server.settle(), f"{server.open} connections are left"
        after = settled(before)
    made = soak.whole.keys() | soak.failed.keys() | soak.left.keys()
    whole = [soak.whole[n] for n in sorted(soak.whole)]
    given = [ledger.given[n] for n in sorted(soak.whole) if n in ledger.given]
    LOGGER.info("%d calls in %.1f s, %d connections", len(made), seconds, server.connections)
    LOGGER.info("%d whole, left %s", len(whole), Counter(soak.left.values()))
    LOGGER.info("faults %s, errors %s", ledger.faults, Counter(soak.failed.values()))
    LOGGER.info("threads and descriptors %s before, %s after", before, after)
    assert not soak.wrong, soak.wrong[:10]
    assert len(made) == len(soak.whole) + len(soak.failed) + len(soak.left)
    assert made == set(range(len(made))) or seconds >= SECONDS
    assert len(given) == len(whole)
    assert billed(whole) == given_out(given)
    kept = [ledger.given[n] for n in soak.whole if not plan(n, SEED).leave]
    input_tokens, output_tokens, credit, _ = given_out(kept)
    totals = soak.sums.usage_metadata.values()
    assert sum(total["input_tokens"] for total in totals) == input_tokens
    assert sum(total["output_tokens"] for total in totals) == output_tokens
    spent = soak.spend.total
    assert (spent.calls, spent.credits) == (len(kept), credit)
    assert spent.failed == sum(1 for n in soak.failed if not plan(n, SEED).leave)
    # Failed calls that had been sent count with an estimate of their tokens.
    assert spent.input_tokens >= input_tokens
    assert spent.output_tokens >= output_tokens
    twice = [n for n in soak.whole if plan(n, SEED).fault is GOOD and ledger.tries[n] != 1]
    assert not twice, f"sent more than once: {twice[:10]}"
    assert (after[0] <= before[0], after[1] <= before[1]) == (True, True), threading.enumerate()


def test_the_plan_is_the_same_for_a_seed_and_meets_every_fault():
    calls = [plan(n, SEED) for n in range(4000)]
    assert calls == [plan(n, SEED) for n in range(4000)]
    assert {c.fault.name for c in calls} == {fault.name for fault in FAULTS}
    assert {c.leave for c in calls} == {None, "break", "cancel"}
