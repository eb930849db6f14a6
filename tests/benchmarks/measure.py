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


class Unit(NamedTuple):
    """A name, and how many of it one second (or byte) is."""

    name: str
    scale: float


MICROSECONDS = Unit("µs", 1e6)
MILLISECONDS = Unit("ms", 1e3)
SECONDS = Unit("s", 1.0)
MEBIBYTES = Unit("MiB", 2.0**-20)


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is done: one set of numbers for the full run, one for the quick one."""

    rounds: int
    curve_rounds: int
    calls: int
    chunks: int
    paced_chunks: int
    burst: int
    history: int
    memory_chunks: int
    calls_made: tuple[int, ...]
    in_flight: tuple[int, ...]
    stream_chunks: tuple[int, ...]
    histories: tuple[int, ...]
    delay_ms: int = 50


FULL = Scale(
    rounds=9,
    curve_rounds=3,
    calls=200,
    chunks=2_000,
    paced_chunks=500,
    burst=1_000,
    history=2_000,
    memory_chunks=100_000,
    calls_made=(250, 500, 1_000, 2_000, 3_000, 4_000, 5_000),
    in_flight=(1, 10, 30, 100, 300, 1_000, 2_000),
    stream_chunks=(100, 300, 1_000, 3_000, 10_000, 30_000, 100_000),
    histories=(20, 200, 2_000),
)
QUICK = Scale(
    rounds=3,
    curve_rounds=1,
    calls=50,
    chunks=1_000,
    paced_chunks=200,
    burst=1_000,
    history=500,
    memory_chunks=20_000,
    calls_made=(250, 500, 1_000),
    in_flight=(1, 10, 100, 300),
    stream_chunks=(100, 1_000, 10_000),
    histories=(20, 200, 1_000),
)


class Setting(NamedTuple):
    """What every sample is taken in; with `cpu`, this process's seconds count, not the clock's."""

    server: Server
    scale: Scale
    cpu: bool


class Goal(NamedTuple):
    """A limit: so many times the value of `of`, or of the figure's unit if `of` is empty."""

    limit: float
    of: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table.

    Attributes:
        key: Name for `--only`.
        title: What is measured; numbers of the scale stand in braces.
        unit: What it is shown in.
        sample: Takes one sample, in seconds or bytes.
        goal: The limit that the subject is to keep.
        of: Names of the contenders that can be asked.
        rounds: The most samples that are worth their time.
        subject: Name of the contender that stands in the column of ours.
    """

    key: str
    title: str
    unit: Unit
    sample: Callable[[Setting, Contender], float]
    goal: Goal | None = None
    of: frozenset[str] = EVERYBODY
    rounds: int = 99
    subject: str = OURS


@dataclass(frozen=True, slots=True)
class Curve:
    """Cost against size.

    Attributes:
        key: Name for `--only`.
        title: What is done.
        size: What grows.
        costs: Title and unit of each number that a sample gives.
        sizes: The sizes, growing.
        start: Begins a round; what it returns takes one sample of a contender at a size.
    """

    key: str
    title: str
    size: str
    costs: tuple[tuple[str, Unit], ...]
    sizes: Callable[[Scale], tuple[int, ...]]
    start: Callable[[Setting], Callable[[Contender, int], tuple[float, ...]]]


@dataclass(slots=True)
class Samples:
    """What was found, by contender: tuples of numbers, one tuple a round."""

    values: dict[str, list[tuple[float, ...]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, sample: Callable[[], tuple[float, ...]]) -> None:
        """Take one more sample; a contender that has failed is left alone."""
        if name in self.failures:
            return
        try:
            with settled():
                self.values.setdefault(name, []).append(sample())
        except Exception as error:  # noqa: BLE001 -- that a contender breaks is a result too
            self.failures[name] = f"{type(error).__name__}: {error}"
            del self.values[name]

    def record(self, unit: Unit, position: int = 0) -> dict[str, Any]:
        """The numbers at that position in `unit`, with their medians, ready for JSON."""
        found = {
            name: [numbers[position] * unit.scale for numbers in rounds]
            for name, rounds in self.values.items()
        }
        return {
            "medians": {name: statistics.median(numbers) for name, numbers in found.items()},
            "samples": found,
            "failures": self.failures,
        }


@contextlib.contextmanager
def settled() -> Iterator[None]:
    """Collect what is dead and set aside what is alive, for as long as a sample is taken."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def measure_figure(
    figure: Figure, setting: Setting, contenders: Mapping[str, Contender]
) -> dict[str, Any]:
    """Let the contenders that `figure` is about take turns; its record, ready for JSON."""
    samples = Samples()
    for _ in range(min(figure.rounds, setting.scale.rounds)):
        for name, contender in contenders.items():
            if name in figure.of:
                samples.take(name, partial(_sample, figure, setting, contender))
    return {
        "key": figure.key,
        "title": figure.title.format(**asdict(setting.scale)),
        "goal": figure.goal and figure.goal._asdict(),
        "subject": figure.subject,
        **samples.record(figure.unit),
    }


def _sample(figure: Figure, setting: Setting, contender: Contender) -> tuple[float]:
    return (figure.sample(setting, contender),)


def measure_curve(
    curve: Curve, setting: Setting, contenders: Mapping[str, Contender]
) -> list[dict[str, Any]]:
    """Let the contenders take turns at each size; one record for each cost, ready for JSON."""
    found = {size: Samples() for size in curve.sizes(setting.scale)}
    for _ in range(setting.scale.curve_rounds):
        sample = curve.start(setting)
        for size, samples in found.items():
            for name, contender in contenders.items():
                if name in EVERYBODY:
                    samples.take(name, partial(sample, contender, size))
    return [
        {
            "key": curve.key,
            "title": curve.title.format(**asdict(setting.scale)),
            "size": curve.size,
            "cost": f"{title}, {unit.name}",
            "points": [
                {"size": size, **samples.record(unit, position)} for size, samples in found.items()
            ],
        }
        for position, (title, unit) in enumerate(curve.costs)
    ]
