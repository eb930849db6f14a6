"""What was found, as a picture: cost against calls in flight and against streamed chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from contenders import OURS
from report import floor_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from matplotlib.axes import Axes

PANELS = ("in-flight", "chunks", "achunks")

_COLOURS = {OURS: "#c8102e", "openai": "#1f77b4", "mistral": "#e08a1e", "fireworks": "#7a5195"}


def draw(document: Mapping[str, Any], path: Path) -> None:
    """Write the picture as PNG; needs matplotlib and the curves that `PANELS` names."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves = [curve for key in PANELS for curve in document["curves"] if curve["key"] == key]
    figure, grid = plt.subplots(2, 2, figsize=(13, 9.5), layout="constrained")
    for axes, curve in zip(grid.flat, curves, strict=True):
        _panel(axes, curve, document["labels"])
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
            width = 2.6 if name == OURS else 1.4
            axes.plot(
                *zip(*line, strict=True),
                "o-",
                color=colour,
                linewidth=width,
                markersize=4,
                label=labels[name],
            )
    axes.set(xscale="log", yscale="log", xlabel=curve["size"], ylabel=curve["cost"])
    axes.set_title(curve["title"], fontsize=10)
    axes.set_xticks([point["size"] for point in points], minor=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    for axis, shown in ((axes.xaxis, "{x:,.0f}"), (axes.yaxis, "{x:,g}")):
        axis.set_major_formatter(StrMethodFormatter(shown))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.35)
