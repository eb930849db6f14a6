"""The workloads, and the rows and curves that they make, with the goals that ours is held to.

Each function runs one workload once with one contender; times are in seconds. Every sample makes
its model anew, at a URL that no client has seen, so that nothing is left over from the sample
before; the first call of a model, which opens its connection, is not counted.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import os
import subprocess
import sys
import tempfile
from itertools import islice
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, NamedTuple

from contenders import AIOHTTP, CONTENDERS, OURS
from langchain_core.messages import AIMessage, HumanMessage

if TYPE_CHECKING:
    from collections.abc import Callable

    from server import Server

ROOT = Path(__file__).parents[2]
TOKENS = 20
QUESTION = [HumanMessage("Name the largest moon of Saturn.")]
EVERYBODY = frozenset(CONTENDERS) - {AIOHTTP}
CHAT_MODELS = EVERYBODY - {"raw"}

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


class Scale(NamedTuple):
    """How much is done: one set of numbers for the full run, one for the quick one."""

    rounds: int = 9
    calls: int = 200
    chunks: int = 2_000
    history: int = 2_000
    memory_chunks: int = 100_000
    in_flight: tuple[int, ...] = (1, 10, 30, 100, 300, 1_000, 2_000)
    stream_chunks: tuple[int, ...] = (100, 300, 1_000, 3_000, 10_000, 30_000, 100_000)
    burst: int = 1_000
    delay_ms: int = 50


FULL = Scale()
QUICK = Scale(3, 50, 1_000, 500, 20_000, (1, 10, 100, 300), (100, 1_000, 10_000))


class Setting(NamedTuple):
    """What every sample is taken in; `clock` returns seconds, of the wall or of this process."""

    server: Server
    scale: Scale
    clock: Callable[[], float]


class Figure(NamedTuple):
    """One row of the table, or one curve: cost against size.

    Attributes:
        key: Name for `--only`.
        title: What is measured; numbers of the scale stand in braces.
        unit: What it is shown in.
        sample: Takes one sample of a contender at a size, in seconds or bytes.
        limit: The goal of the subject: at most so many times what `of` costs.
        of: "floor", the name of a contender, or "" for one unit.
        who: Names of the contenders that can be asked.
        rounds: The most samples that are worth their time.
        subject: Name of the contender that stands in the column of ours.
        size: What grows; empty for a row of the table.
        sizes: The sizes, growing, or the one size of a row.
    """

    key: str
    title: str
    unit: str
    sample: Callable[[Setting, object, int], float]
    limit: float | None = None
    of: str = "floor"
    who: frozenset[str] = EVERYBODY
    rounds: int = 99
    subject: str = OURS
    size: str = ""
    sizes: Callable[[Scale], tuple[int, ...]] = lambda _: (1,)


def cold_import(_setting, contender, _size):
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
def _write_bytecode(import_line):
    _import_seconds(import_line, 0)


def _import_seconds(import_line, depth):
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": _bytecode().name}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    program = _IMPORT.format(depth=depth, line=import_line)
    command = [sys.executable, "-c", program]
    return float(subprocess.check_output(command, text=True, cwd=ROOT, env=environment))


@functools.cache
def _bytecode():
    return tempfile.TemporaryDirectory()


def memory(setting, contender, chunks):
    """Bytes of resident memory that a fresh process gains in the last nine tenths of a stream."""
    url = setting.server.url(events_per_write=64)
    name = next(name for name, each in CONTENDERS.items() if each is contender)
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_growth, (name, url, chunks))


def _growth(name, url, chunks):
    """It is the stream of `_stream`: in `stream` core itself keeps every chunk until the end."""
    received = CONTENDERS[name].make(url, chunks)._stream(QUESTION)
    tenth = sum(1 for _ in islice(received, chunks // 10))
    before = _resident_bytes()
    _check_all_came(tenth + sum(1 for _ in islice(received, chunks - tenth)), chunks)
    return _resident_bytes() - before


def _resident_bytes():
    """Resident memory of this process; Linux only."""
    pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _check_all_came(received, chunks):
    if received < chunks:
        raise RuntimeError(f"{received:,} of {chunks:,} chunks arrived")


def construction(setting, contender, _size):
    """One construction, with settings that no other model had."""
    return _median_seconds(
        setting, lambda: contender.make(setting.server.url(), TOKENS), _CONSTRUCTIONS
    )


def invoke(setting, contender, history):
    """One `invoke` with so many messages of about 90 characters, one after the other."""
    text = "The largest moon of Saturn is Titan, and it has an atmosphere and lakes of methane."
    kinds = (HumanMessage, AIMessage)
    messages = [kinds[i % 2](f"{i}: {text}") for i in range(history - 1)] + QUESTION
    model = contender.make(setting.server.url(), TOKENS)
    model.invoke(messages)
    calls = setting.scale.calls if history == 1 else max(3, setting.scale.calls // 20)
    return _median_seconds(setting, lambda: model.invoke(messages), calls)


def _median_seconds(setting, work, times):
    seconds = []
    for _ in range(times):
        began = setting.clock()
        work()
        seconds.append(setting.clock() - began)
    return median(seconds)


def ainvoke(setting, contender, calls):
    """One `ainvoke`, one after the other."""
    return median(at_once(setting, contender, calls, rounds=setting.scale.calls, delay_ms=0))


def stream(setting, contender, chunks):
    """One chunk of one `stream`."""
    model = contender.make(setting.server.url(), chunks)
    model.invoke(QUESTION)
    began = setting.clock()
    received = sum(1 for _ in model.stream(QUESTION))
    seconds = setting.clock() - began
    _check_all_came(received, chunks)
    return seconds / chunks


def astream(setting, contender, chunks):
    """One chunk of one `astream`."""

    async def measured():
        model = contender.make(setting.server.url(), chunks)
        await model.ainvoke(QUESTION)
        began, received = setting.clock(), 0
        async for _ in model.astream(QUESTION):
            received += 1
        seconds = setting.clock() - began
        await contender.aclose(model)
        _check_all_came(received, chunks)
        return seconds / chunks

    return asyncio.run(measured())


def at_once(setting, contender, calls, *, rounds, delay_ms):
    """The seconds until so many `ainvoke` at once are answered, in each round."""

    async def measured():
        model = contender.make(setting.server.url(delay_ms=delay_ms), TOKENS)
        await model.ainvoke(QUESTION)
        seconds = []
        for _ in range(rounds):
            began = setting.clock()
            if calls == 1:
                await model.ainvoke(QUESTION)
            else:
                await asyncio.gather(*(model.ainvoke(QUESTION) for _ in range(calls)))
            seconds.append(setting.clock() - began)
        await contender.aclose(model)
        return seconds

    return asyncio.run(measured())


def burst(setting, contender, calls):
    """The first calls at once of a model: their connections are to be opened."""
    return at_once(setting, contender, calls, rounds=1, delay_ms=setting.scale.delay_ms)[0]


def in_flight(setting, contender, calls):
    """Seconds until all of so many calls are answered, connections open."""
    rounds = 1 + max(1, min(20, _CALLS_OF_A_POINT // calls))
    return median(
        at_once(setting, contender, calls, rounds=rounds, delay_ms=setting.scale.delay_ms)[1:]
    )


FIGURES = (
    Figure("import", "import, by the clock", "s", cold_import, 1.1, who=CHAT_MODELS, rounds=3),
    Figure("construct", "construction with new settings", "ms", construction, 1.0, "", who=CHAT_MODELS),
    Figure("invoke", "one invoke", "ms", invoke, 1.2),
    Figure("ainvoke", "one ainvoke", "ms", ainvoke, 1.2),
    Figure("chunk", "one chunk of {chunks:,}", "µs", stream, 1.1, sizes=lambda scale: (scale.chunks,)),
    Figure("achunk", "the same, async", "µs", astream, 1.1, sizes=lambda scale: (scale.chunks,)),
    Figure("burst", "{burst:,} ainvoke at once, answered in {delay_ms} ms", "s", burst, 0.25, "openai",
           rounds=3, sizes=lambda scale: (scale.burst,)),
    Figure("burst-aiohttp", "the same with a user-supplied httpx2.AsyncClient on aiohttp", "s", burst,
           0.2, "openai", who=frozenset({AIOHTTP, "openai"}), rounds=3, subject=AIOHTTP,
           sizes=lambda scale: (scale.burst,)),
    Figure("history", "one invoke with {history:,} messages", "ms", invoke, 2.0,
           sizes=lambda scale: (scale.history,)),
    Figure("memory", "memory that a stream of {memory_chunks:,} leaves in the model", "MiB", memory,
           1.0, "", who=CHAT_MODELS, rounds=1, sizes=lambda scale: (scale.memory_chunks,)),
    Figure("in-flight", "ainvoke at once, each answered in {delay_ms} ms, connections open", "s",
           in_flight, rounds=1, size="calls in flight", sizes=lambda scale: scale.in_flight),
    Figure("chunks", "one chunk of a stream, one event per write", "µs", stream, rounds=1,
           size="streamed chunks", sizes=lambda scale: scale.stream_chunks),
    Figure("achunks", "one chunk of an astream, one event per write", "µs", astream, rounds=1,
           size="streamed chunks", sizes=lambda scale: scale.stream_chunks),
)  # fmt: skip
