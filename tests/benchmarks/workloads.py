"""The workloads, and the rows and curves that they make, with the goals that ours is held to.

Each function runs one workload once with one contender; times are in seconds. Every sample makes
its model anew, at a URL that no client has seen, so that nothing is left over from the sample
before; the first call of a model, which opens its connection, is not counted.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from contenders import AIOHTTP, CHAT_MODELS
from langchain_core.messages import AIMessage, HumanMessage
from measure import Figure, Goal

if TYPE_CHECKING:
    from collections.abc import Callable

    from contenders import Contender
    from langchain_core.messages import BaseMessage
    from measure import Setting

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TOKENS = 20
QUESTION: list[BaseMessage] = [HumanMessage("Name the largest moon of Saturn.")]

_CONSTRUCTIONS = 20
_CALLS_OF_A_POINT = 200
_DEPTHS = range(0, 160, 40)
_IMPORT = """
import time

def at(depth, line):
    if depth:
        return at(depth - 1, line)
    began = time.perf_counter()
    exec(line)
    return time.perf_counter() - began

print(at({depth}, {line!r}))
"""


def cold_import(contender: Contender) -> float:
    """The import that a program begins with, in processes of its own; their start not counted.

    CPython's stack grows by chunks of 16 KiB, which are mapped and unmapped whenever calls cross
    the end of one (3.11 and later). So the same import takes up to a quarter longer where a busy
    loop happens to lie across such an end. It is made at depths that are spread over a chunk, and
    the mean is what counts. Bytecode is there, as in an installed package, also where
    `PYTHONDONTWRITEBYTECODE` is set.
    """
    _write_bytecode(contender.import_line)
    return mean(_import_seconds(contender.import_line, depth) for depth in _DEPTHS)


@functools.cache
def _write_bytecode(import_line: str) -> None:
    _import_seconds(import_line, 0)


def _import_seconds(import_line: str, depth: int) -> float:
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": _bytecode().name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    program = _IMPORT.format(depth=depth, line=import_line)
    return _printed_by("-c", program, environment=environment)


@functools.cache
def _bytecode() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory()


def memory(setting: Setting, contender: Contender) -> float:
    """Bytes that a process grows by between a tenth of a stream and its end."""
    url = setting.server.url(events_per_write=64)
    chunks = setting.scale.memory_chunks
    return _printed_by(str(HERE / "memory.py"), contender.name, url, str(chunks))


def _printed_by(*arguments: str, environment: dict[str, str] | None = None) -> float:
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env=environment,
    )
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    return float(done.stdout)


def construction(setting: Setting, contender: Contender) -> float:
    """One construction, with settings that no other model had."""
    return median(
        _seconds(setting, lambda: contender.make(setting.server.url(), TOKENS), _CONSTRUCTIONS)
    )


def invoke(setting: Setting, contender: Contender, history: int = 1) -> float:
    """One `invoke` with so many messages of about 90 characters, one after the other."""
    text = "The largest moon of Saturn is Titan, and it has an atmosphere and lakes of methane."
    kinds = (HumanMessage, AIMessage)
    messages = [kinds[i % 2](f"{i}: {text}") for i in range(history - 1)] + QUESTION
    model = contender.make(setting.server.url(), TOKENS)
    model.invoke(messages)
    calls = setting.scale.calls if history == 1 else max(3, setting.scale.calls // 20)
    return median(_seconds(setting, lambda: model.invoke(messages), calls))


def _seconds(setting: Setting, work: Callable[[], object], times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        began = setting.clock()
        work()
        seconds.append(setting.clock() - began)
    return seconds


def ainvoke(setting: Setting, contender: Contender) -> float:
    """One `ainvoke`, one after the other."""

    async def measured() -> float:
        model = contender.make(setting.server.url(), TOKENS)
        await model.ainvoke(QUESTION)
        seconds = []
        for _ in range(setting.scale.calls):
            began = setting.clock()
            await model.ainvoke(QUESTION)
            seconds.append(setting.clock() - began)
        await contender.aclose(model)
        return median(seconds)

    return asyncio.run(measured())


def stream(setting: Setting, contender: Contender, chunks: int) -> float:
    """One chunk of one `stream`."""
    model = contender.make(setting.server.url(), chunks)
    model.invoke(QUESTION)
    began = setting.clock()
    received = sum(1 for _ in model.stream(QUESTION))
    return _per_chunk(setting.clock() - began, received, chunks)


def astream(setting: Setting, contender: Contender, chunks: int) -> float:
    """One chunk of one `astream`."""

    async def measured() -> float:
        model = contender.make(setting.server.url(), chunks)
        await model.ainvoke(QUESTION)
        began, received = setting.clock(), 0
        async for _ in model.astream(QUESTION):
            received += 1
        seconds = setting.clock() - began
        await contender.aclose(model)
        return _per_chunk(seconds, received, chunks)

    return asyncio.run(measured())


def _per_chunk(seconds: float, received: int, chunks: int) -> float:
    if received < chunks:
        raise RuntimeError(f"{received:,} of {chunks:,} chunks arrived")
    return seconds / chunks


def burst(setting: Setting, contender: Contender, calls: int, *, warm_rounds: int = 0) -> float:
    """So many `ainvoke` at once until all are answered: the first, or the median of later ones."""

    async def measured() -> float:
        model = contender.make(setting.server.url(delay_ms=setting.scale.delay_ms), TOKENS)
        await model.ainvoke(QUESTION)
        seconds = []
        for _ in range(1 + warm_rounds):
            began = setting.clock()
            await asyncio.gather(*(model.ainvoke(QUESTION) for _ in range(calls)))
            seconds.append(setting.clock() - began)
        await contender.aclose(model)
        return median(seconds[1:] or seconds)

    return asyncio.run(measured())


def in_flight(setting: Setting, contender: Contender, calls: int) -> float:
    """Seconds until all of so many calls are answered, connections open."""
    warm_rounds = max(1, min(20, _CALLS_OF_A_POINT // calls))
    return burst(setting, contender, calls, warm_rounds=warm_rounds)


_CALL = Goal(1.20, "floor")
_CHUNK = Goal(1.10, "floor")

FIGURES = (
    Figure(
        "import",
        "import, by the clock",
        "s",
        lambda _s, c, _n: cold_import(c),
        Goal(1.10, "floor"),
        of=CHAT_MODELS,
        rounds=3,
    ),
    Figure(
        "construct",
        "construction with new settings",
        "ms",
        lambda s, c, _n: construction(s, c),
        Goal(1.0),
        of=CHAT_MODELS,
    ),
    Figure("invoke", "one invoke", "ms", lambda s, c, _n: invoke(s, c), _CALL),
    Figure("ainvoke", "one ainvoke", "ms", lambda s, c, _n: ainvoke(s, c), _CALL),
    Figure(
        "chunk",
        "one chunk of {chunks:,}",
        "µs",
        lambda s, c, _n: stream(s, c, s.scale.chunks),
        _CHUNK,
    ),
    Figure(
        "achunk", "the same, async", "µs", lambda s, c, _n: astream(s, c, s.scale.chunks), _CHUNK
    ),
    Figure(
        "burst",
        "{burst:,} ainvoke at once, answered in {delay_ms} ms",
        "s",
        lambda s, c, _n: burst(s, c, s.scale.burst),
        Goal(0.25, "openai"),
        rounds=3,
    ),
    Figure(
        "burst-aiohttp",
        "the same with a user-supplied httpx2.AsyncClient on aiohttp",
        "s",
        lambda s, c, _n: burst(s, c, s.scale.burst),
        Goal(0.20, "openai"),
        of=frozenset({AIOHTTP, "openai"}),
        rounds=3,
        subject=AIOHTTP,
    ),
    Figure(
        "history",
        "one invoke with {history:,} messages",
        "ms",
        lambda s, c, _n: invoke(s, c, s.scale.history),
        Goal(2.0, "floor"),
    ),
    Figure(
        "memory",
        "memory that a stream of {memory_chunks:,} leaves in the model",
        "MiB",
        lambda s, c, _n: memory(s, c),
        Goal(1.0),
        of=CHAT_MODELS,
        rounds=1,
    ),
    Figure(
        "in-flight",
        "ainvoke at once, each answered in {delay_ms} ms, connections open",
        "s",
        in_flight,
        rounds=1,
        size="calls in flight",
        sizes=lambda scale: scale.in_flight,
    ),
    Figure(
        "chunks",
        "one chunk of a stream, one event per write",
        "µs",
        stream,
        rounds=1,
        size="streamed chunks",
        sizes=lambda scale: scale.stream_chunks,
    ),
    Figure(
        "achunks",
        "one chunk of an astream, one event per write",
        "µs",
        astream,
        rounds=1,
        size="streamed chunks",
        sizes=lambda scale: scale.stream_chunks,
    ),
)
