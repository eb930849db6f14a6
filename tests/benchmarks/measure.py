"""How things are measured: interleaved rounds, medians, a settled garbage collector.

The machines that this runs on are shared and noisy. So the contenders take turns within each
round (A B C, A B C, …), which lets a slow minute hit all of them, and the median of the rounds is
what counts. Collections stay on, as they are for users, but before each sample what is alive is
set aside, so that nobody pays for another contender's objects.
"""

from __future__ import annotations

import contextlib
import gc
import statistics
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from contenders import EVERYBODY, OURS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from contenders import Contender
    from server import Server

UNITS = {"µs": 1e6, "ms": 1e3, "s": 1.0, "MiB": 2.0**-20}
"""How many of it one second (or byte) is."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: one set of numbers for the full run, one for the quick one."""

    rounds: int
    calls: int
    chunks: int
    history: int
    memory_chunks: int
    in_flight: tuple[int, ...]
    stream_chunks: tuple[int, ...]
    burst: int = 1_000
    delay_ms: int = 50


FULL = Scale(
    rounds=9,
    calls=200,
    chunks=2_000,
    history=2_000,
    memory_chunks=100_000,
    in_flight=(1, 10, 30, 100, 300, 1_000, 2_000),
    stream_chunks=(100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
)
QUICK = Scale(
    rounds=3,
    calls=50,
    chunks=1_000,
    history=500,
    memory_chunks=20_000,
    in_flight=(1, 10, 100, 300),
    stream_chunks=(100, 1_000, 10_000),
)


class Setting(NamedTuple):
    """What every sample is taken in; `clock` returns seconds, of the wall or of this process."""

    server: Server
    scale: Scale
    clock: Callable[[], float]


class Goal(NamedTuple):
    """A limit: so many times the value of `of`, or of the figure's unit if `of` is empty."""

    limit: float
    of: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table, or one curve: cost against size.

    Attributes:
        key: Name for `--only`.
        title: What is measured; numbers of the scale stand in braces.
        unit: What it is shown in.
        sample: Takes one sample of a contender at a size, in seconds or bytes.
        goal: The limit that the subject is to keep.
        of: Names of the contenders that can be asked.
        rounds: The most samples that are worth their time.
        subject: Name of the contender that stands in the column of ours.
        size: What grows; empty for a row of the table.
        sizes: The sizes, growing.
    """

    key: str
    title: str
    unit: str
    sample: Callable[[Setting, Contender, int], float]
    goal: Goal | None = None
    of: frozenset[str] = EVERYBODY
    rounds: int = 99
    subject: str = OURS
    size: str = ""
    sizes: Callable[[Scale], tuple[int, ...]] = lambda _: (0,)


@dataclass(slots=True)
class Samples:
    """What was found, by contender."""

    values: dict[str, list[float]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, sample: Callable[[], float]) -> None:
        """Take one more sample; a contender that has failed is left alone."""
        if name in self.failures:
            return
        try:
            with settled():
                self.values.setdefault(name, []).append(sample())
        except Exception as error:  # noqa: BLE001 -- that a contender breaks is a result too
            self.failures[name] = f"{type(error).__name__}: {error}"
            del self.values[name]


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Collect what is dead and set aside what is alive, for as long as a sample is taken."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def measure(
    figure: Figure, setting: Setting, contenders: Mapping[str, Contender]
) -> dict[str, Any]:
    """Let the contenders that `figure` is about take turns at each size; ready for JSON."""
    found = {size: Samples() for size in figure.sizes(setting.scale)}
    for _ in range(min(figure.rounds, setting.scale.rounds)):
        for size, samples in found.items():
            for name, contender in contenders.items():
                if name in figure.of:
                    samples.take(name, partial(figure.sample, setting, contender, size))
    return {
        "key": figure.key,
        "title": figure.title.format(**asdict(setting.scale)),
        "unit": figure.unit,
        "goal": figure.goal and figure.goal._asdict(),
        "subject": figure.subject,
        "size": figure.size,
        "points": [
            {"size": size, "medians": _medians(samples, figure.unit), **asdict(samples)}
            for size, samples in found.items()
        ],
    }


def _medians(samples: Samples, unit: str) -> dict[str, float]:
    return {name: statistics.median(v) * UNITS[unit] for name, v in samples.values.items()}
