"""The soak's plan: what each numbered call says, which fault meets it, and what must come of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from tests.support.byte_server import Close, Drip, Hold, Pause, Request, Reset, Script
from tests.support.modes import MODES
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

if TYPE_CHECKING:
    from collections.abc import Callable


class Reply(NamedTuple):
    """What the server has to say in one call, and what it bills."""

    number: int

    @property
    def text(self) -> str:
        return " ".join(f"word{i}-{self.number} 希望😀" for i in range(self.number % 5 + 2))

    @property
    def usage(self) -> dict:
        ins, outs = self.number % 97 + 1, self.number % 89 + 1
        return {"prompt_tokens": ins, "completion_tokens": outs, "total_tokens": ins + outs}

    @property
    def meta(self) -> dict:
        credit = self.number % 7 + 1
        return {"usage": {"credits_used": credit, "usd_spent": credit / 2**20}}

    @property
    def json(self) -> bytes:
        return response(completion(self.text, usage=self.usage, meta=self.meta))

    @property
    def beginning(self) -> list[bytes]:
        first, *words = self.text.split(" ")
        return [event(chunk(text)) for text in (first, *(f" {word}" for word in words))]

    @property
    def events(self) -> list[bytes]:
        bill = event(chunk(choices=[], usage=self.usage, meta=self.meta))
        return [*self.beginning, event(chunk("", "stop")), bill, DONE]


@dataclass(frozen=True)
class Fault:
    """What meets the first tries of a call, by the kind of call, if that can meet it.

    The next try gets a good response; with `tries` of -1 what the call meets is one. A fault with
    an error is not tried again, or as often in vain.
    """

    name: str
    weight: int
    json: Callable[[Reply], Script] | None
    sse: Callable[[Reply], Script] | None
    error: str = ""
    tries: int = 1


def both(name: str, weight: int, script: Script, error: str = "", tries: int = 1) -> Fault:
    return Fault(name, weight, lambda _: script, lambda _: script, error, tries)


def status(code: int, message: str = "no", **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return response(aiml_error(code, message), code, named)


def slow(reply: Reply) -> Script:
    return unfinished(), Drip(tuple(map(frame, reply.events)), 0.01), FINAL_FRAME


def in_frames(reply: Reply) -> Script:
    body = b"".join(reply.events)
    return stream(*(body[i : i + 7] for i in range(0, len(body), 7)))


def cut(name: str, weight: int, error: str, script: Callable[[Reply], Script]) -> Fault:
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


class Planned(NamedTuple):
    """One call of the soak; `leave` is how the client leaves it, after a chunk or `patience`."""

    reply: Reply
    mode: str
    fault: Fault
    leave: str | None
    patience: float


def plan(number: int, seed: int) -> Planned:
    """The call of that number; the same for a seed, in whatever order calls happen to run."""
    dice = random.Random(seed * 1_000_003 + number)
    mode = MODES[number % 4]
    streams = mode.endswith("stream")
    fit = [f for f in FAULTS if f is GOOD or (f.sse if streams else f.json)]
    fault = dice.choices(fit, [f.weight for f in fit])[0]
    ways = ["break" if streams else None, *[None] * 8, "cancel" if mode[0] == "a" else None]
    return Planned(Reply(number), mode, fault, dice.choice(ways), dice.random() * 0.05)


class Ledger:
    """The server's side: plays the plan and writes down what it gave out."""

    def __init__(self, seed: int) -> None:
        self.tries: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.given: dict[int, Reply] = {}
        self._seed = seed
        self._lock = Lock()

    def script(self, request: Request) -> Script:
        number = int(request.json["messages"][-1]["content"].split()[-1])
        reply, _, fault, *_ = plan(number, self._seed)
        build = fault.sse if request.wants_stream else fault.json
        with self._lock:
            self.tries[number] += 1
            meets = build and (fault.tries < 0 or self.tries[number] <= fault.tries)
            if meets:
                self.faults[fault.name] += 1
            if not meets or fault.tries < 0:
                self.given[number] = reply
        if meets:
            return build(reply)
        return stream(*reply.events) if request.wants_stream else reply.json
