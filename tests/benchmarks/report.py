"""What was found, for people: Markdown tables that can be read as they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contenders import AIOHTTP, FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_EMPTY = "-"


def floor_of(medians: Mapping[str, float]) -> float | None:
    """What bare httpx and an empty model cost together, as far as they were asked."""
    parts = [medians[name] for name in FLOOR if name in medians]
    return sum(parts) if parts else None


def tables(document: Mapping[str, Any]) -> Iterator[str]:
    """The parts of the report, in order."""
    yield "{date} · {machine}\n{versions}\nIn {clock}, medians{ways}.".format(**document)
    if document["figures"]:
        yield _figures_table(document["figures"], document["labels"])
    for curve in document["curves"]:
        yield _curve_table(curve, document["labels"])
    yield from _failures(document)


def _figures_table(figures: Sequence[Mapping[str, Any]], labels: Mapping[str, str]) -> str:
    halves, peers = _split(labels)
    header = (
        "",
        *(labels[name] for name in halves),
        "floor",
        labels.get(OURS, "ours"),
        "ratio",
        "goal",
        *(f"{labels[name]} (÷ ours)" for name in peers),
    )
    rows = [
        (
            figure["title"],
            *(_cell(figure, name) for name in halves),
            _number(floor_of(figure["medians"])),
            _cell(figure, figure["subject"]),
            *_verdict(figure),
            *(_cell_with_ratio(figure, name) for name in peers),
        )
        for figure in figures
    ]
    return _markdown(header, rows)


def _curve_table(curve: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    halves, peers = _split(labels)
    ours = [name for name in labels if name == OURS]
    header = (curve["size"], *(labels[n] for n in halves), "floor")
    header += tuple(labels[n] for n in (*ours, *peers))
    rows = [
        (
            f"{point['size']:,}",
            *(_cell(point, name) for name in halves),
            _number(floor_of(point["medians"])),
            *(_cell(point, name) for name in (*ours, *peers)),
        )
        for point in curve["points"]
    ]
    return f"{curve['title']}: {curve['cost']}\n\n{_markdown(header, rows)}"


def _split(labels: Mapping[str, str]) -> tuple[list[str], list[str]]:
    halves = [name for name in labels if name in FLOOR]
    return halves, [name for name in labels if name not in {*FLOOR, OURS, AIOHTTP}]


def _verdict(figure: Mapping[str, Any]) -> tuple[str, str]:
    """Ours in proportion to what its goal is set by (or else to the floor), and the goal."""
    medians, goal = figure["medians"], figure["goal"]
    bases = {"floor": floor_of(medians), **medians, "": 1.0}
    of = goal["of"] if goal else "floor"
    base, ours = bases.get(of), medians.get(figure["subject"])
    ratio = ours / base if ours is not None and base else None
    shown = _number(ratio) if of else _EMPTY
    if goal is None:
        return shown, _EMPTY
    limit = f"≤ {goal['limit']:g}" + (f" x {of}" if of else "")
    return shown, limit if ratio is None else f"{limit} {'✓' if ratio <= goal['limit'] else '✗'}"


def _cell(record: Mapping[str, Any], name: str) -> str:
    return "failed" if name in record["failures"] else _number(record["medians"].get(name))


def _cell_with_ratio(record: Mapping[str, Any], name: str) -> str:
    medians = record["medians"]
    if not medians.get(OURS) or name not in medians:
        return _cell(record, name)
    return f"{_number(medians[name])} ({_number(medians[name] / medians[OURS])}x)"


def _number(value: float | None) -> str:
    """Three significant digits, without exponents."""
    if value is None:
        return _EMPTY
    decimals = next((d for limit, d in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{value:,.{decimals}f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    rule = [f"{'-' * width}:" if i else "-" * width for i, width in enumerate(widths)]
    lines = [header, rule, *rows]
    return "\n".join(_line(cells, widths) for cells in lines)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = zip(cells, widths, strict=True)
    return " | ".join(("| " + first[0].ljust(first[1]), *(c.rjust(w) for c, w in rest))) + " |"


def _failures(document: Mapping[str, Any]) -> Iterator[str]:
    """Why a cell reads "failed"."""
    points = [(curve["title"], p) for curve in document["curves"] for p in curve["points"]]
    records = [(figure["title"], figure) for figure in document["figures"]] + points
    for title, record in records:
        for name, reason in record["failures"].items():
            yield f"{document['labels'][name]} failed at “{title}”: {reason}"
