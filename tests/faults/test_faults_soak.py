"""Hundreds of mixed calls with faults at random: nothing lost, nothing double, nothing left.

`ERNIE_SOAK_CALLS` (300) and `ERNIE_SOAK_SEED` change the run.
"""

from __future__ import annotations

import asyncio
import gc
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
from tests.support.byte_server import (
    ByteServer,
    Close,
    Drip,
    Hold,
    Pause,
    Reset,
    wait_until,
)
from tests.support.fault_table import (
    ALL_MODES,
    ASYNC_MODES,
    STREAM_MODES,
    SYNC_MODES,
    check_error,
    in_threads,
    make_model,
    run_async,
    text_of,
    usage_of,
)
from tests.support.modes import ask, by_hand, each_chunk
from tests.support.response_bytes import (
    DONE,
    FINAL_FRAME,
    SSE_TYPE,
    aiml_error,
    chunk,
    completion,
    event,
    frame,
    openai_error,
    response,
    stream,
    unfinished,
)

CALLS = int(os.environ.get("ERNIE_SOAK_CALLS", "300"))
SEED = int(os.environ.get("ERNIE_SOAK_SEED", "20260801"))
THREADS, TASKS, CALLS_PER_LOOP = 8, 24, 75


class Fault(NamedTuple):
    """What meets the first tries of a call, by the kind of call, if that can meet it.

    The next try gets a good response; with `tries` of -1 what the call meets is one. A fault with
    an error is not tried again, or as often in vain.
    """

    name: str
    weight: int
    json: object  # a function of the call that returns a script, or `None`
    sse: object
    error: str = ""
    tries: int = 1


def both(name, weight, script, error="", tries=1):
    return Fault(name, weight, lambda _: script, lambda _: script, error, tries)


def status(code, message="no", **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return response(aiml_error(code, message), code, named)


def slow(reply):
    return unfinished(), Drip(tuple(map(frame, reply.events)), 0.01), FINAL_FRAME


def in_frames(reply):
    body = b"".join(reply.events)
    return stream(*(body[i : i + 7] for i in range(0, len(body), 7)))


def cut(name, weight, error, script):
    """A stream that fails after its first events."""
    return Fault(name, weight, None, script, error)


GOOD = Fault("none", 55, None, None, tries=0)
OVERLOADED = openai_error("overloaded", 503)
PAGE = response("<html>", content_type="text/html")
HINT = b"HTTP/1.1 103 Early Hints\r\n\r\n"
FAULTS = (
    GOOD,
    # a good response, in an odd way
    Fault("in frames", 6, lambda r: Drip((r.json[:90], r.json[90:]), 0.01), in_frames, "", -1),
    Fault("slow", 4, lambda r: (Pause(0.08), r.json), slow, "", -1),
    Fault("closed when done", 4, lambda r: (r.json, Close()), lambda r: (stream(*r.events), Close()), "", -1),
    Fault("reset when done", 2, lambda r: (r.json, Reset(0.02)), lambda r: (unfinished(*r.events), Reset(0.02)), "", -1),
    Fault("comments", 3, lambda r: HINT + r.json, lambda r: stream(*(b": ping\n\n" + e for e in r.events)), "", -1),
    # tried again
    both("500", 2, status(500)),
    both("503 twice", 1, status(503), tries=2),
    both("429 with retry-after-ms", 2, status(429, retry_after_ms="30")),
    both("reset before the headers", 1, Reset(0.0)),
    both("closed before the headers", 1, Close()),
    Fault("empty", 1, lambda _: response(b""), lambda _: stream()),
    Fault("cut at once", 1, lambda r: (r.json[:-30], Close()), lambda _: (unfinished(b": hi\n\n"), Close())),
    Fault("an error in a 200", 1, lambda _: response(OVERLOADED), lambda _: stream(event(OVERLOADED), DONE)),
    # lost
    both("400", 1, status(400), "BadRequestError"),
    both("401", 1, status(401), "AuthenticationError"),
    both("no credits", 1, status(403, "You've run out of credits"), "InsufficientCreditsError"),
    both("404", 1, status(404), "NotFoundError"),
    both("429 for a day", 1, status(429, Retry_After="86400"), "RateLimitError"),
    both("HTML", 1, PAGE, "InvalidResponseError", tries=9),
    cut("stream cut", 2, "StreamInterruptedError", lambda r: (unfinished(*r.beginning), Close())),
    cut("stream reset", 2, "StreamInterruptedError", lambda r: (unfinished(*r.beginning), Reset())),
    cut("stream without an end", 1, "StreamInterruptedError", lambda r: stream(*r.beginning)),
    cut("stream stalled", 1, "APITimeoutError", lambda r: (unfinished(*r.beginning), Hold())),
    cut("error in a stream", 2, "InternalServerError", lambda r: stream(*r.beginning, event(aiml_error(503)))),
    cut("broken event", 1, "InvalidResponseError", lambda r: response(b"".join(r.beginning) + b"data: {\n\n", content_type=SSE_TYPE)),
)  # fmt: skip


class Call(NamedTuple):
    """One call: `leave` is how the client leaves it, after a chunk or `patience`."""

    number: int
    mode: str
    fault: Fault
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
    def credits(self):
        return self.number % 7 + 1

    @property
    def bill(self):
        usage = dict(
            zip(("prompt_tokens", "completion_tokens", "total_tokens"), self.tokens, strict=True)
        )
        return {"usage": usage, "meta": {"usage": {"credits_used": self.credits}}}

    @property
    def json(self):
        return response(completion(self.text, **self.bill))

    @property
    def beginning(self):
        first, *words = self.text.split(" ")
        return [event(chunk(text)) for text in (first, *(f" {word}" for word in words))]

    @property
    def events(self):
        bill = event(chunk(choices=[], **self.bill))
        return [*self.beginning, event(chunk("", "stop")), bill, DONE]

    def is_right(self, end):
        """Whether the call may end in this way: left, in an error, or with a message."""
        if isinstance(end, str):
            return end == self.leave
        if isinstance(end, Exception):
            return type(end).__name__ == self.fault.error
        paid = end.response_metadata["credits_used"]
        got = (text_of(end), usage_of(end), paid)
        return not self.fault.error and got == (self.text, self.tokens, self.credits)


def plan(number):
    """The call of that number, the same for a seed."""
    dice = random.Random(SEED * 1_000_003 + number)
    mode = ALL_MODES[number % 4]
    is_stream = mode in STREAM_MODES
    fit = [f for f in FAULTS if f is GOOD or (f.sse if is_stream else f.json)]
    fault = dice.choices(fit, [f.weight for f in fit])[0]
    ways = ["break" if is_stream else None, *[None] * 8, "cancel" if mode in ASYNC_MODES else None]
    return Call(number, mode, fault, dice.choice(ways), dice.random() * 0.05)


def script_for(tries, request):
    call = plan(int(request.json["messages"][-1]["content"].split()[-1]))
    tries[call.number] += 1
    build = call.fault.sse if request.wants_stream else call.fault.json
    if build and (call.fault.tries < 0 or tries[call.number] <= call.fault.tries):
        return build(call)
    return stream(*call.events) if request.wants_stream else call.json


async def make(model, call, callbacks):
    """Make a call; return its message or error, or how it was left."""
    config = {"callbacks": callbacks}
    arguments = (model, f"This is call {call.number}", call.mode)
    try:
        if call.leave == "break":
            chunks = each_chunk(*arguments, config=config)
            await anext(chunks)
            await chunks.aclose()
            return "break"
        if call.leave is None:
            return await ask(*arguments, config=config)
        task = asyncio.ensure_future(ask(*arguments, config=config))
        await asyncio.wait([task], timeout=call.patience)
        task.cancel()
        return await task
    except asyncio.CancelledError:
        return "cancel"
    except Exception as error:  # noqa: BLE001 - compared with the plan
        check_error(error)
        return error


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
    gc.collect()
    folder = Path("/proc/self/fd")
    return threading.active_count(), len(list(folder.iterdir())) if folder.exists() else 0


@pytest.mark.slow
def test_a_soak_of_mixed_calls_loses_nothing_and_leaves_nothing():
    calls = [plan(number) for number in range(CALLS)]
    tries: Counter[int] = Counter()
    sums, spend = UsageMetadataCallbackHandler(), SpendTracker(unpriced="ignore")
    with ByteServer(rest=partial(script_for, tries)) as server:
        before = resources()
        model = make_model(server.base_url, max_retries=2, timeout=15.0, stream_idle_timeout=2.0)
        ends = make_all(model, calls, [sums, spend])
        model.close()
        assert server.settle(), f"{server.open} connections are left"
        assert wait_until(
            lambda: all(now <= then for now, then in zip(resources(), before, strict=True))
        ), (before, resources(), threading.enumerate())
    wrong = [(call, ends[call.number]) for call in calls if not call.is_right(ends[call.number])]
    assert not wrong, wrong[:10]
    failed = [call for call in calls if isinstance(ends[call.number], Exception)]
    whole = [c for c in calls if c not in failed and not isinstance(ends[c.number], str)]
    twice = [call for call in whole if call.fault is GOOD and tries[call.number] != 1]
    assert not twice, f"sent more than once: {twice[:10]}"
    kept = [call for call in whole if not call.leave]
    tokens = [sum(call.tokens[i] for call in kept) for i in (0, 1)]
    totals = sums.usage_metadata.values()
    assert [sum(t[f"{kind}_tokens"] for t in totals) for kind in ("input", "output")] == tokens
    spent = spend.total
    assert (spent.calls, spent.failed) == (len(kept), sum(not call.leave for call in failed))
    assert spent.credits == sum(call.credits for call in kept)
    # Failed calls that had been sent count with an estimate of their tokens.
    assert spent.input_tokens >= tokens[0]
    assert spent.output_tokens >= tokens[1]
