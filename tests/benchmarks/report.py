"""What was found, for people: Markdown tables that can be read as they stand, and a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contenders import AIOHTTP, FLOOR, OURS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from matplotlib.axes import Axes

PANELS = ("in-flight", "chunks", "achunks")
"""The keys of the curves that the picture shows."""

_COLOURS = {OURS: "#c8102e", "openai": "#1f77b4", "mistral": "#e08a1e"}
_EMPTY = "-"


def floor_of(medians: Mapping[str, float]) -> float | None:
    """What bare httpx and an empty model cost together, as far as they were asked."""
    parts = [medians[name] for name in FLOOR if name in medians]
    return sum(parts) if parts else None


def tables(document: Mapping[str, Any]) -> Iterator[str]:
    """The parts of the report, in order."""
    yield "{date} · {machine}\n{versions}\nIn {clock}, medians.".format(**document)
    labels = document["labels"]
    peers = [name for name in labels if name not in {*FLOOR, OURS, AIOHTTP}]
    header = ("", *FLOOR, "floor", labels.get(OURS, "ours"), "ratio", "goal")
    header += tuple(labels[name] for name in peers)
    rows = [figure for figure in document["figures"] if not figure["size"]]
    yield _markdown(header, [_row(figure, figure["points"][0], peers) for figure in rows])
    for curve in document["figures"]:
        if curve["size"]:
            yield f"{curve['title']}, {curve['unit']}\n\n" + _markdown(
                (curve["size"], *header[1:]), [_row(curve, p, peers) for p in curve["points"]]
            )
    for figure in document["figures"]:
        for point in figure["points"]:
            for name, reason in point["failures"].items():
                yield f"{labels[name]} failed at “{figure['title']}”: {reason}"


def _row(
    figure: Mapping[str, Any], point: Mapping[str, Any], peers: Sequence[str]
) -> tuple[str, ...]:
    """The figures, then ours in proportion to what its goal is set by (or else to the floor)."""
    medians, goal = point["medians"], figure["goal"]
    floor, ours = floor_of(medians), medians.get(figure["subject"])
    of = goal["of"] if goal else "floor"
    base = {"floor": floor, "": 1.0, **medians}.get(of)
    ratio = ours / base if ours is not None and base else None
    verdict = _EMPTY
    if goal and ratio is not None:
        verdict = f"≤ {goal['limit']:g} x {of} {'✓' if ratio <= goal['limit'] else '✗'}"
    return (
        f"{point['size']:,}" if figure["size"] else f"{figure['title']}, {figure['unit']}",
        *(_number(medians.get(name)) for name in FLOOR),
        _number(floor),
        _number(ours),
        _number(ratio) if of else _EMPTY,
        verdict,
        *(_number(medians.get(name)) for name in peers),
    )


def _number(value: float | None) -> str:
    """Three significant digits, without exponents."""
    if value is None:
        return _EMPTY
    decimals = next((d for limit, d in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{value:,.{decimals}f}"


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Write the picture as PNG; needs matplotlib and the curves that `PANELS` names."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves = {figure["key"]: figure for figure in document["figures"]}
    figure, grid = plt.subplots(1, 3, figsize=(16, 5.5), layout="constrained")
    for axes, key in zip(grid.flat, PANELS, strict=True):
        _panel(axes, curves[key], document["labels"])
    figure.suptitle(
        "What a chat model costs: {date}, {machine}\n{versions}\nin {clock}".format(**document),
        fontsize=11,
    )
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _panel(axes: Axes, curve: Mapping[str, Any], labels: Mapping[str, str]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    points = curve["points"]
    floor = [(p["size"], floor_of(p["medians"])) for p in points if floor_of(p["medians"])]
    axes.plot(*zip(*floor, strict=True), "--", color="#555555", label="floor: httpx + empty model")
    for name, colour in _COLOURS.items():
        line = [(p["size"], p["medians"][name]) for p in points if name in p["medians"]]
        if line:
            style = {"color": colour, "linewidth": 2.6 if name == OURS else 1.4, "markersize": 4}
            axes.plot(*zip(*line, strict=True), "o-", label=labels[name], **style)
    axes.set(xscale="log", yscale="log", xlabel=curve["size"], ylabel=curve["unit"])
    axes.set_title(curve["title"], fontsize=10)
    axes.set_xticks([point["size"] for point in points], minor=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    for axis, shown in ((axes.xaxis, "{x:,.0f}"), (axes.yaxis, "{x:,g}")):
        axis.set_major_formatter(StrMethodFormatter(shown))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.35)
