"""Hundreds of mixed calls with faults at random: nothing lost, nothing double, nothing left.

`ERNIE_SOAK_CALLS` (400) and `ERNIE_SOAK_SEED` change the run.
"""

import asyncio
import os
import random
import threading
from collections import Counter
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler

from langchain_aimlernie import SpendTracker
from tests.faults import cases_calls, cases_chunks, cases_http, cases_json, cases_status
from tests.faults import cases_stream as of_stream
from tests.faults import test_faults_retries as retries
from tests.support import response_bytes as wire
from tests.support.byte_server import ByteServer, Close, Drip, Pause, Reset, wait_until
from tests.support.fault_table import (
    ALL_MODES,
    ASYNC_MODES,
    STREAM_MODES,
    SYNC_MODES,
    Outcome,
    Returns,
    check_error,
    in_threads,
    make_model,
    run_async,
)
from tests.support.garbage import collect
from tests.support.modes import ask, by_hand, each_chunk

CALLS = int(os.environ.get("ERNIE_SOAK_CALLS", "400"))
SEED = int(os.environ.get("ERNIE_SOAK_SEED", "20260801"))
THREADS, TASKS, CALLS_PER_LOOP = 8, 24, 75

# A close before the headers on a kept connection is sent again, so `cases_http.HEADS` are not here.
ONCE = (
    *(*cases_json.WHOLE, *cases_json.SHAPES, *cases_json.EXTRAS, *cases_json.ERRORS),
    *(*cases_json.TOOLS, *cases_chunks.CASES, *cases_calls.CASES, *cases_status.BY_STATUS),
    *(*of_stream.FRAMING, *of_stream.NOTHING, *of_stream.BROKEN, *of_stream.ERRORS),
    *(*cases_http.CUTS, *cases_http.STREAM_ENDS),
)
FAULTS = (
    *(
        retries.RetryCase(c.name, (c.script,), c.expect, 1, c.modes, {**c.settings, "max_retries": 0})
        for c in ONCE
    ),
    *retries.CASES * 5,
)  # fmt: skip
BY_MODE = {mode: [fault for fault in FAULTS if mode in fault.modes] for mode in ALL_MODES}


class Call(NamedTuple):
    """One call: `leave` is how the client leaves it, after a chunk or `patience`."""

    number: int
    mode: str
    fault: retries.RetryCase | None
    leave: str | None
    patience: float

    @property
    def text(self):
        return " ".join(f"word{i}-{self.number} 希望😀" for i in range(self.number % 5 + 2))

    @property
    def tokens(self):
        ins, outs = self.number % 97 + 1, self.number % 89 + 1
        return ins, outs, ins + outs

    @property
    def good(self):
        """A good response of its own, sent in some way."""
        kinds = ("prompt_tokens", "completion_tokens", "total_tokens")
        used = {"usage": {"credits_used": self.number % 7 + 1}}
        bill = {"usage": dict(zip(kinds, self.tokens, strict=True)), "meta": used}
        texts = [wire.event(wire.chunk(self.text[i : i + 9])) for i in range(0, len(self.text), 9)]
        events = [
            *texts,
            wire.event(wire.chunk("", "stop")),
            wire.event(wire.chunk(choices=[], **bill)),
            wire.DONE,
        ]
        is_stream = self.mode in STREAM_MODES
        good = (
            wire.stream(*events) if is_stream else wire.response(wire.completion(self.text, **bill))
        )
        ways = [
            good,
            (Pause(0.08), good),
            (good, Close()),
            (good, Reset(0.02)),
            Drip((good[:400], good[400:]), 0.01),
        ]
        return ways[self.number % len(ways)]

    @property
    def expect(self):
        if self.fault:
            return self.fault.expect
        paid = {"credits_used": self.number % 7 + 1}
        return Returns(self.text, usage=self.tokens, metadata=paid)


def plan(number):
    """The call of that number, the same for a seed."""
    dice = random.Random(SEED * 1_000_003 + number)
    mode = ALL_MODES[number % 4]
    fault = dice.choice(BY_MODE[mode]) if dice.random() < 0.5 else None
    ways = [
        "break" if mode in STREAM_MODES else None,
        *[None] * 8,
        "cancel" if mode in ASYNC_MODES else None,
    ]
    return Call(number, mode, fault, dice.choice(ways), dice.random() * 0.05)


def script_for(tries, request):
    call = plan(int(request.json["messages"][-1]["content"].split()[-1]))
    tries[call.number] += 1
    if call.fault is None:
        return call.good
    if tries[call.number] <= len(call.fault.scripts):
        return call.fault.scripts[tries[call.number] - 1]
    return wire.GOOD_STREAM if request.wants_stream else wire.GOOD_RESPONSE


async def make(model, call, callbacks):
    """Make a call; return its outcome, or how it was left."""
    config = {"callbacks": callbacks}
    options = call.fault.settings if call.fault else {}
    arguments = (model, f"This is call {call.number}", call.mode)
    try:
        if call.leave == "break":
            chunks = each_chunk(*arguments, config=config, **options)
            await anext(chunks)
            await chunks.aclose()
            return "break"
        if call.leave is None:
            return Outcome(await ask(*arguments, config=config, **options), None, 0.0)
        task = asyncio.ensure_future(ask(*arguments, config=config, **options))
        await asyncio.wait([task], timeout=call.patience)
        task.cancel()
        return Outcome(await task, None, 0.0)
    except asyncio.CancelledError:
        return "cancel"
    except Exception as error:  # noqa: BLE001 - compared with the plan
        check_error(error)
        return Outcome(None, error, 0.0)


def make_all(model, calls, callbacks):
    """Make all calls in threads, and in one event loop after the other; return how they ended."""
    ends: dict[int, object] = {}

    async def work(some):
        for call in some:
            # Calls that are left may be summed or not, and are kept out.
            ends[call.number] = await make(model, call, [] if call.leave else callbacks)

    def in_loops():
        rest = [call for call in calls if call.mode in ASYNC_MODES]
        while rest:
            some, rest = iter(rest[:CALLS_PER_LOOP]), rest[CALLS_PER_LOOP:]

            async def main(some=some):
                await asyncio.gather(*(work(some) for _ in range(TASKS)))

            run_async(main)

    in_sync = iter([call for call in calls if call.mode in SYNC_MODES])
    in_threads(in_loops, *[lambda: by_hand(work(in_sync))] * THREADS, seconds=100)
    return ends


def resources():
    """Threads and, where /proc tells, descriptors of this process."""
    collect()
    folder = Path("/proc/self/fd")
    return threading.active_count(), len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*several choices:UserWarning")
def test_a_soak_of_mixed_calls_loses_nothing_and_leaves_nothing(subtests):
    calls = [plan(number) for number in range(CALLS)]
    tries: Counter[int] = Counter()
    sums, spend = UsageMetadataCallbackHandler(), SpendTracker(unpriced="ignore")
    with ByteServer(rest=partial(script_for, tries)) as server:
        before = resources()
        model = make_model(server.base_url, max_retries=2, timeout=30.0, stream_idle_timeout=30.0)
        ends = make_all(model, calls, [sums, spend])
        model.close()
        assert server.settle(), f"{server.open} connections are left"
        assert wait_until(
            lambda: all(now <= then for now, then in zip(resources(), before, strict=True))
        ), (before, resources(), threading.enumerate())
    for call in calls:
        end = ends[call.number]
        with subtests.test(f"{call.number}: {call.fault and call.fault.name} [{call.mode}]"):
            if isinstance(end, str):
                assert end == call.leave
            else:
                call.expect.check(end)
                if end.error is None and call.fault is None:
                    assert tries[call.number] == 1, "sent more than once"
    kept = [ends[call.number] for call in calls if not call.leave]
    messages = [end.message for end in kept if end.error is None]
    usages = [message.usage_metadata for message in messages if message.usage_metadata]
    tokens = [sum(usage[f"{kind}_tokens"] for usage in usages) for kind in ("input", "output")]
    totals = sums.usage_metadata.values()
    assert [sum(t[f"{kind}_tokens"] for t in totals) for kind in ("input", "output")] == tokens
    spent = spend.total
    assert (spent.calls, spent.failed) == (len(messages), len(kept) - len(messages))
    assert spent.credits == sum(m.response_metadata.get("credits_used", 0) for m in messages)
    # Failed calls that had been sent count with an estimate of their tokens.
    assert spent.input_tokens >= tokens[0]
    assert spent.output_tokens >= tokens[1]
