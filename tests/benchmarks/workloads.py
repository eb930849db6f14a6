"""The workloads: each function runs one workload once with one contender.

Times are in seconds. Every sample makes its model anew, at a URL that no client has seen, so that
nothing is left over from the sample before; the first call of a model, which opens its connection,
is not counted.
"""

from __future__ import annotations

import asyncio
import functools
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.messages import AIMessage, HumanMessage

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
_CONVERSIONS = 5
_CALLS_OF_A_POINT = 200
_DEPTHS = range(0, 160, 10)
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


class Elapsed(NamedTuple):
    """Wall time and CPU time of this process, in seconds."""

    wall: float
    cpu: float

    def of(self, setting: Setting) -> float:
        """The one that counts in this run."""
        return self.cpu if setting.cpu else self.wall


class Stopwatch:
    """Runs from its making."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def read(self) -> Elapsed:
        """What has passed since."""
        return Elapsed(time.perf_counter() - self._wall, time.process_time() - self._cpu)


def conversation(length: int) -> list[BaseMessage]:
    """So many messages of about 90 characters, the last one a question."""
    text = "The largest moon of Saturn is Titan, and it has an atmosphere and lakes of methane."
    kinds = (HumanMessage, AIMessage)
    return [kinds[i % 2](f"{i}: {text}") for i in range(length - 1)] + QUESTION


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


def memory(setting: Setting, contender: Contender, method: str) -> float:
    """Bytes that a process grows by between a tenth of a stream and its end."""
    url = setting.server.url(form="bulk")
    chunks = setting.scale.memory_chunks
    return _printed_by(str(HERE / "memory.py"), contender.name, url, str(chunks), method)


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


def construction(setting: Setting, contender: Contender, *, known: bool) -> float:
    """One construction, with settings that another model had before, or with new ones."""
    url = setting.server.url()
    return median(
        _seconds(
            setting,
            lambda: contender.make(url if known else setting.server.url(), TOKENS),
            _CONSTRUCTIONS,
        )
    )


def conversion(setting: Setting, contender: Contender) -> float:
    """A long history to the messages of the wire, without a call."""
    messages = conversation(setting.scale.history)
    model = contender.make(setting.server.url(), TOKENS)
    return median(_seconds(setting, lambda: contender.convert(model, messages), _CONVERSIONS))


def invoke(setting: Setting, contender: Contender, history: int = 1) -> float:
    """One `invoke` with so many messages, one after the other."""
    messages = conversation(history)
    model = contender.make(setting.server.url(), TOKENS)
    model.invoke(messages)
    calls = setting.scale.calls if history == 1 else max(3, setting.scale.calls // 20)
    return median(_seconds(setting, lambda: model.invoke(messages), calls))


def _seconds(setting: Setting, work: Callable[[], object], times: int) -> list[float]:
    seconds = []
    for _ in range(times):
        watch = Stopwatch()
        work()
        seconds.append(watch.read().of(setting))
    return seconds


def ainvoke(setting: Setting, contender: Contender) -> float:
    """One `ainvoke`, one after the other."""

    async def measured() -> float:
        model = contender.make(setting.server.url(), TOKENS)
        await model.ainvoke(QUESTION)
        seconds = []
        for _ in range(setting.scale.calls):
            watch = Stopwatch()
            await model.ainvoke(QUESTION)
            seconds.append(watch.read().of(setting))
        await contender.aclose(model)
        return median(seconds)

    return asyncio.run(measured())


def stream(setting: Setting, contender: Contender, form: str, chunks: int) -> float:
    """One chunk of one `stream`; of a paced one the processor's seconds."""
    model = contender.make(setting.server.url(form=form), chunks)
    model.invoke(QUESTION)
    watch = Stopwatch()
    received = sum(1 for _ in model.stream(QUESTION))
    elapsed = watch.read()
    _check(received, chunks)
    return (elapsed.cpu if form == "paced" else elapsed.of(setting)) / chunks


def astream(setting: Setting, contender: Contender, form: str, chunks: int) -> float:
    """One chunk of one `astream`; of a paced one the processor's seconds."""

    async def measured() -> float:
        model = contender.make(setting.server.url(form=form), chunks)
        await model.ainvoke(QUESTION)
        watch, received = Stopwatch(), 0
        async for _ in model.astream(QUESTION):
            received += 1
        elapsed = watch.read()
        await contender.aclose(model)
        _check(received, chunks)
        return (elapsed.cpu if form == "paced" else elapsed.of(setting)) / chunks

    return asyncio.run(measured())


def _check(received: int, chunks: int) -> None:
    if received < chunks:
        raise RuntimeError(f"{received:,} of {chunks:,} chunks arrived")


def bursts(setting: Setting, contender: Contender, calls: int, times: int) -> list[Elapsed]:
    """So many `ainvoke` at once, again and again; the client is new at the first."""

    async def measured() -> list[Elapsed]:
        model = contender.make(setting.server.url(delay_ms=setting.scale.delay_ms), TOKENS)
        await model.ainvoke(QUESTION)
        elapsed = [await _at_once(model, calls) for _ in range(times)]
        await contender.aclose(model)
        return elapsed

    return asyncio.run(measured())


def in_flight(setting: Setting, contender: Contender, calls: int) -> tuple[float, float]:
    """Seconds until all of so many calls are answered, and CPU seconds of each of them."""
    _, *elapsed = bursts(setting, contender, calls, 1 + max(1, min(20, _CALLS_OF_A_POINT // calls)))
    return median(e.wall for e in elapsed), median(e.cpu for e in elapsed) / calls


async def _at_once(model: Any, calls: int) -> Elapsed:
    watch = Stopwatch()
    answers = await asyncio.gather(
        *(model.ainvoke(QUESTION) for _ in range(calls)), return_exceptions=True
    )
    elapsed = watch.read()
    failures = [answer for answer in answers if isinstance(answer, BaseException)]
    if failures:
        raise RuntimeError(f"{len(failures):,} of {calls:,} calls failed, one by {failures[0]!r}")
    return elapsed


class CallsMade:
    """Cost of one `invoke` by the number made before; each sample goes on where the last ended."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._models: dict[str, tuple[Any, int]] = {}

    def __call__(self, contender: Contender, calls: int) -> tuple[float]:
        model, made = self._models.get(contender.name) or (self._new(contender), 0)
        self._models[contender.name] = model, calls
        seconds = _seconds(self._setting, lambda: model.invoke(QUESTION), calls - made)
        return (median(seconds[-_CALLS_OF_A_POINT:]),)

    def _new(self, contender: Contender) -> Any:
        model = contender.make(self._setting.server.url(), TOKENS)
        model.invoke(QUESTION)
        return model
