"""Measure ChatAimlErnie against the floor and its peers: `python tests/benchmarks/run.py`.

Starts a loopback server in a process of its own, lets all that is installed take turns, and
prints tables with ratios. Nothing here is part of the tests, and nothing leaves the machine.

    python tests/benchmarks/run.py --quick
    python tests/benchmarks/run.py --plot benchmarks.png
    python tests/benchmarks/run.py --only invoke chunk achunk --contenders raw nothing ours

The whole run takes 20 minutes, --quick five. On a machine that does other work meanwhile, --cpu
gives ratios that can be trusted. What is measured is the source tree that this file is in, also
where another copy is installed.

Such machines are shared and noisy. So the contenders take turns within each round (A B C, A B C,
…), which lets a slow minute hit all of them, and the median of the rounds is what counts.
Collections stay on, as they are for users, but before each sample what is alive is set aside, so
that nobody pays for another contender's objects.
"""

import argparse
import datetime as dt
import gc
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

ROOT = str(Path(__file__).parents[2])
sys.path.insert(0, ROOT)
os.environ["PYTHONPATH"] = ROOT  # of the processes that measure memory

from contenders import AIOHTTP, CONTENDERS, FLOOR, OURS, present  # noqa: E402
from server import pin, running_server  # noqa: E402
from workloads import FIGURES, FULL, QUICK, Setting  # noqa: E402

UNITS = {"µs": 1e6, "ms": 1e3, "s": 1.0, "MiB": 2.0**-20}
"""How many of it one second (or byte) is."""
PANELS = ("in-flight", "chunks", "achunks")
"""The keys of the curves that the picture shows."""

_PACKAGES = (
    *("langchain-core", "httpx", "httpx2", "langchain-openai", "openai", "langchain-mistralai"),
)
_COLOURS = {OURS: "#c8102e", "openai": "#1f77b4", "mistral": "#e08a1e"}


def main():
    """Run the benchmark with the options of the command line."""
    options = _options()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["LANGSMITH_TRACING"] = "false"
    contenders = present(options.contenders)
    found = {}
    with running_server() as server:
        pin(0)
        clock = time.process_time if options.cpu else time.perf_counter
        setting = Setting(server, QUICK if options.quick else FULL, clock)
        for figure in FIGURES:
            if figure.key in options.only:
                began = time.perf_counter()
                title = figure.title.format(**setting.scale._asdict())
                found[figure._replace(title=title)] = _measure(figure, setting, contenders)
                sys.stderr.write(f"{figure.key}: {time.perf_counter() - began:.0f} s\n")
    about = (
        f"{dt.datetime.now(tz=dt.UTC).date()} · {_processor()}, {os.cpu_count()} cores, "
        f"{platform.system()}, Python {platform.python_version()}\n"
        f"{', '.join(filter(None, map(_version, _PACKAGES)))}\n"
        f"In {'CPU seconds of the client' if options.cpu else 'seconds by the clock'}, medians."
    )
    sys.stdout.write("\n\n".join([about, *_tables(found, contenders)]) + "\n")
    if options.plot:
        _draw(about, found, options.plot)


def _options():
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys, names = [figure.key for figure in FIGURES], list(CONTENDERS)
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller numbers and fewer rounds")
    add("--cpu", action="store_true", help="count CPU seconds: for a machine that is busy")
    add("--only", nargs="+", choices=keys, default=keys, metavar="KEY", help=", ".join(keys))
    add("--contenders", nargs="+", choices=names, default=names, metavar="NAME", help=str(names))
    add("--plot", type=Path, metavar="OUT.png", help=f"draw the curves {', '.join(PANELS)}")
    options = parser.parse_args()
    if options.plot and not set(PANELS) <= set(options.only):
        parser.error(f"--plot needs the curves {', '.join(PANELS)}")
    return options


def _processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(package):
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _measure(figure, setting, contenders):
    """The medians by contender, and the floor, at each size, in the unit of the figure."""
    samples = {size: {} for size in figure.sizes(setting.scale)}
    failed = set()
    for _ in range(min(figure.rounds, setting.scale.rounds)):
        for size, values in samples.items():
            for name in [n for n in contenders if n in figure.who - failed]:
                gc.collect()
                gc.freeze()
                try:
                    sample = figure.sample(setting, contenders[name], size)
                    values.setdefault(name, []).append(sample * UNITS[figure.unit])
                except Exception as error:  # noqa: BLE001 -- that a contender breaks is a result too
                    failed.add(name)
                    sys.stderr.write(f"{name} failed at {figure.key}: {error!r}\n")
                finally:
                    gc.unfreeze()
    points = {}
    for size, values in samples.items():
        points[size] = {name: median(v) for name, v in values.items() if name not in failed}
        floor = [points[size][name] for name in FLOOR if name in points[size]]
        if floor:
            points[size]["floor"] = sum(floor)
    return points


def _tables(found, contenders):
    """The parts of the report: a table of the rows, and one of each curve."""
    peers = [name for name in contenders if name not in {*FLOOR, OURS, AIOHTTP}]
    labels = [CONTENDERS[name].label for name in peers]
    header = (*FLOOR, "floor", CONTENDERS[OURS].label, "ratio", "goal", *labels)
    rows = [
        (f"{figure.title}, {figure.unit}", *_row(figure, point, peers))
        for figure, points in found.items()
        for point in points.values()
        if not figure.size
    ]
    if rows:
        yield _markdown(("", *header), rows)
    for figure, points in found.items():
        if figure.size:
            rows = [(f"{size:,}", *_row(figure, point, peers)) for size, point in points.items()]
            yield f"{figure.title}, {figure.unit}\n\n{_markdown((figure.size, *header), rows)}"


def _row(figure, medians, peers):
    """The figures, and ours in proportion to what its goal is set by."""
    ours, base = medians.get(figure.subject), medians.get(figure.of, 0 if figure.of else 1)
    ratio = ours / base if ours is not None and base else None
    goal = "-"
    if figure.limit and ratio is not None:
        goal = f"≤ {figure.limit:g} x {figure.of} {'✓' if ratio <= figure.limit else '✗'}"
    cells = [medians.get(name) for name in (*FLOOR, "floor", figure.subject)]
    cells.append(ratio if figure.of else None)
    return *map(_number, cells), goal, *(_number(medians.get(name)) for name in peers)


def _number(value):
    """Three significant digits, without exponents."""
    if value is None:
        return "-"
    decimals = next((d for limit, d in ((100, 0), (10, 1), (1, 2)) if abs(value) >= limit), 3)
    return f"{value:,.{decimals}f}"


def _markdown(header, rows):
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _draw(about, found, path):
    """Write the picture as PNG; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    curves = {figure.key: (figure, points) for figure, points in found.items()}
    picture, grid = plt.subplots(1, 3, figsize=(16, 5.5), layout="constrained")
    for axes, key in zip(grid.flat, PANELS, strict=True):
        _panel(axes, *curves[key])
    picture.suptitle(f"What a chat model costs: {about}", fontsize=11)
    handles, labels = grid.flat[0].get_legend_handles_labels()
    picture.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    picture.savefig(path, dpi=130)


def _panel(axes, figure, points):
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    def plot(name, style, **more):
        line = [(size, medians[name]) for size, medians in points.items() if name in medians]
        if line:
            axes.plot(*zip(*line, strict=True), style, **more)

    plot("floor", "--", color="#555555", label="floor: httpx + empty model")
    for name, colour in _COLOURS.items():
        width = 2.6 if name == OURS else 1.4
        label = CONTENDERS[name].label
        plot(name, "o-", color=colour, linewidth=width, markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel=figure.size, ylabel=figure.unit)
    axes.set_title(figure.title, fontsize=10)
    axes.set_xticks(list(points), minor=False)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=12))
    for axis, shown in ((axes.xaxis, "{x:,.0f}"), (axes.yaxis, "{x:,g}")):
        axis.set_major_formatter(StrMethodFormatter(shown))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.35)


if __name__ == "__main__":
    main()
