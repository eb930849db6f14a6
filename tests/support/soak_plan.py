"""The soak's plan: what each numbered call says, which fault meets it, and what must come of it."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple

from tests.support.byte_server import Close, Drip, Hold, Pause, Request, Reset, Script
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


class Talk(NamedTuple):
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
    def credits(self) -> int:
        return self.number % 7 + 1

    @property
    def meta(self) -> dict:
        return {"usage": {"credits_used": self.credits, "usd_spent": self.credits / 2**20}}

    @property
    def json(self) -> dict:
        return completion(self.text, usage=self.usage, meta=self.meta, id=f"gen-{self.number}")

    @property
    def beginning(self) -> list[bytes]:
        words = self.text.split(" ")
        texts = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
        return [event(chunk(text, id=f"gen-{self.number}")) for text in texts]

    @property
    def events(self) -> list[bytes]:
        name = f"gen-{self.number}"
        end = event(chunk("", "stop", id=name))
        bill = event(chunk(choices=[], usage=self.usage, meta=self.meta, id=name))
        return [*self.beginning, end, bill, DONE]


@dataclass(frozen=True)
class Fault:
    """What meets the first tries of a call; `error` is None when the next try is answered well."""

    name: str
    weight: int
    json: Callable[[Talk], Script] | None
    sse: Callable[[Talk], Script] | None
    error: tuple[str, ...] = ()
    tries: int = 1


def both(name: str, weight: int, script: Script, *error: str, tries: int = 1) -> Fault:
    return Fault(name, weight, lambda _: script, lambda _: script, error, tries)


def status(code: int, message: str = "no", **headers: str) -> Script:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return (response(aiml_error(code, message), code, named),)


def in_frames(talk: Talk, size: int) -> Script:
    body = b"".join(talk.events)
    return (stream(*(body[i : i + size] for i in range(0, len(body), size))),)


GOOD = Fault("none", 55, None, None, tries=0)
FAULTS = (
    GOOD,
    # answered well, in an odd way
    Fault(
        "pieces",
        6,
        lambda talk: (Drip((response(talk.json)[:90], response(talk.json)[90:]), 0.01),),
        lambda talk: in_frames(talk, 7),
        tries=-1,
    ),
    Fault(
        "slow",
        4,
        lambda talk: (Pause(0.08), response(talk.json)),
        lambda talk: (unfinished(), Drip(tuple(frame(e) for e in talk.events), 0.01), FINAL_FRAME),
        tries=-1,
    ),
    Fault(
        "closed when done",
        4,
        lambda talk: (response(talk.json), Close()),
        lambda talk: (stream(*talk.events), Close()),
        tries=-1,
    ),
    Fault(
        "reset when done",
        2,
        lambda talk: (response(talk.json), Reset(0.02)),
        lambda talk: (unfinished(*talk.events), Reset(0.02)),
        tries=-1,
    ),
    Fault(
        "comments between",
        3,
        lambda talk: (b"HTTP/1.1 103 Early Hints\r\n\r\n" + response(talk.json),),
        lambda talk: (stream(*(b": ping\n\n" + e for e in talk.events)),),
        tries=-1,
    ),
    # tried again
    both("500", 2, status(500)),
    both("503 twice", 1, status(503), tries=2),
    both("429 with retry-after-ms", 2, status(429, retry_after_ms="30")),
    both("reset before the head", 1, (Reset(0.0),)),
    both("closed before the head", 1, (Close(),)),
    Fault("empty", 1, lambda _: (response(b""),), lambda _: (stream(),)),
    Fault(
        "cut before anything was handed over",
        1,
        lambda talk: (response(talk.json)[:-30], Close()),
        lambda _: (unfinished(b": hi\n\n"), Close()),
    ),
    Fault(
        "an error in a 200",
        1,
        lambda _: (response(openai_error("overloaded", 503)),),
        lambda _: (stream(event(openai_error("overloaded", 503)), DONE),),
    ),
    # lost
    both("400", 1, status(400), "BadRequestError"),
    both("401", 1, status(401), "AuthenticationError"),
    both("no credits", 1, status(403, "You've run out of credits"), "InsufficientCreditsError"),
    both("404", 1, status(404), "NotFoundError"),
    both("429 for a day", 1, status(429, Retry_After="86400"), "RateLimitError"),
    Fault(
        "HTML",
        1,
        lambda _: (response("<html>", content_type="text/html"),),
        lambda _: (response("<html>", content_type="text/html"),),
        ("InvalidResponseError",),
        tries=9,
    ),
    Fault("stream cut", 2, None, lambda t: (unfinished(*t.beginning), Close()), ("StreamInterruptedError",)),
    Fault("stream reset", 2, None, lambda t: (unfinished(*t.beginning), Reset()), ("StreamInterruptedError",)),
    Fault("stream without an end", 1, None, lambda t: (stream(*t.beginning),), ("StreamInterruptedError",)),
    Fault(
        "stream stalled", 1, None, lambda t: (unfinished(*t.beginning), Hold()), ("APITimeoutError",)
    ),
    Fault(
        "error in a stream",
        2,
        None,
        lambda t: (stream(*t.beginning, event(aiml_error(503, "it broke"))),),
        ("InternalServerError",),
    ),
    Fault(
        "broken event",
        1,
        None,
        lambda t: (response(b"".join(t.beginning) + b"data: {\n\n", content_type=SSE_TYPE),),
        ("InvalidResponseError",),
    ),
)  # fmt: skip
MODES = ("invoke", "ainvoke", "stream", "astream")


@dataclass(frozen=True)
class Planned:
    """One call of the soak."""

    talk: Talk
    mode: str
    fault: Fault
    leave: str | None
    """None, or how the client leaves it: "break" after a chunk, "cancel" after `patience`."""
    patience: float

    @property
    def streams(self) -> bool:
        return self.mode.endswith("stream")


def plan(number: int, seed: int) -> Planned:
    """The call of that number; the same for a seed, in whatever order calls happen to run."""
    dice = random.Random(seed * 1_000_003 + number)
    mode = MODES[number % 4]
    streams = mode.endswith("stream")
    fit = [f for f in FAULTS if f is GOOD or (f.sse if streams else f.json)]
    fault = dice.choices(fit, [f.weight for f in fit])[0]
    ways = [None] * 9 + (["cancel"] if mode[0] == "a" else [None])
    if streams:
        ways[0] = "break"
    return Planned(Talk(number), mode, fault, dice.choice(ways), dice.random() * 0.05)


class Ledger:
    """The server's side: plays the plan and writes down what it gave out."""

    def __init__(self, seed: int) -> None:
        self.tries: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.given: dict[int, Talk] = {}
        self._seed = seed
        self._lock = Lock()

    def script(self, request: Request) -> Script:
        number = int(request.json["messages"][-1]["content"].split()[-1])
        planned = plan(number, self._seed)
        fault, talk = planned.fault, planned.talk
        build = fault.sse if planned.streams else fault.json
        with self._lock:
            self.tries[number] += 1
            meets = build and (fault.tries < 0 or self.tries[number] <= fault.tries)
            if meets:
                self.faults[fault.name] += 1
            if not meets or fault.tries < 0:
                self.given[number] = talk
        if meets:
            return build(talk)
        return (stream(*talk.events) if planned.streams else response(talk.json),)
