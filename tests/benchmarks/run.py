"""Measure ChatAimlErnie against the floor and its peers: `python tests/benchmarks/run.py`.

Starts a loopback server in a process of its own, lets all that is installed take turns, and
prints tables with ratios. Nothing here is part of the tests, and nothing leaves the machine.

    python tests/benchmarks/run.py --quick
    python tests/benchmarks/run.py --json results.json --plot benchmarks.png
    python tests/benchmarks/run.py --from results.json --plot benchmarks.png
    python tests/benchmarks/run.py --only invoke chunk achunk --contenders raw nothing ours
    python tests/benchmarks/run.py --quick --tls --uvloop
    python tests/benchmarks/run.py --profile stream

The whole run takes 20 minutes, --quick four. On a machine that does other work meanwhile, --cpu
gives ratios that can be trusted. What is measured is the source tree that this file is in, also
where another copy is installed.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import sys
import time
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contenders import NAMES, OURS, contender
from hotspots import KINDS, hotspots
from measure import FULL, QUICK, Setting, measure_curve, measure_figure
from plan import CURVES, FIGURES
from plot import PANELS, draw
from report import tables
from server import pin, running_server

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contenders import Contender

_PACKAGES = (
    "langchain-core",
    "httpx",
    "httpx2",
    "httpx-aiohttp",
    "langchain-openai",
    "openai",
    "langchain-mistralai",
    "langchain-fireworks",
)


def main() -> None:
    """Run the benchmark with the options of the command line."""
    options = _options()
    _stay_at_home()
    if options.uvloop:
        asyncio.set_event_loop_policy(import_module("uvloop").EventLoopPolicy())
    if options.profile:
        _say(_profiled(options))
        return
    document = _read(options.stored) if options.stored else _measured(options)
    _say("\n\n".join(tables(document)))
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(document, options.plot)


def _options() -> argparse.Namespace:
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = [*(figure.key for figure in FIGURES), *(curve.key for curve in CURVES)]
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller numbers and fewer rounds")
    add("--cpu", action="store_true", help="count CPU seconds: for a machine that is busy")
    add("--tls", action="store_true", help="talk over TLS; makes a certificate with openssl")
    add("--uvloop", action="store_true", help="run what is async on uvloop")
    add("--only", nargs="+", choices=keys, default=keys, metavar="KEY", help=", ".join(keys))
    add("--contenders", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=str(NAMES))
    add("--json", type=Path, metavar="OUT", help="store what was found")
    add("--plot", type=Path, metavar="OUT.png", help=f"draw the curves {', '.join(PANELS)}")
    add("--from", dest="stored", type=Path, metavar="IN", help="read --json's file; no measuring")
    add("--profile", choices=KINDS, help="print where the time of ours (or of NAME) goes instead")
    options = parser.parse_args()
    if options.plot and not (options.stored or set(PANELS) <= set(options.only)):
        parser.error(f"--plot needs the curves {', '.join(PANELS)}")
    return options


def _stay_at_home() -> None:
    """Measure the source tree around this file, without proxies and without tracing."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    os.environ["LANGSMITH_TRACING"] = "false"


def _profiled(options: argparse.Namespace) -> str:
    names = [OURS] if options.contenders == NAMES else options.contenders
    with running_server(tls=options.tls) as server:
        pin(0)
        setting = Setting(server, QUICK if options.quick else FULL, options.cpu)
        present = _present(names)
        return "\n".join(hotspots(options.profile, setting, c) for c in present.values())


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    with running_server(tls=options.tls) as server:
        pin(0)
        setting = Setting(server, QUICK if options.quick else FULL, options.cpu)
        contenders = _present(options.contenders)
        figures = [
            measure_figure(figure, setting, contenders)
            for figure in _announced(FIGURES, options.only)
        ]
        curves = [
            record
            for curve in _announced(CURVES, options.only)
            for record in measure_curve(curve, setting, contenders)
        ]
    return {
        **_circumstances(),
        "clock": "CPU seconds of the client" if options.cpu else "seconds by the clock",
        "ways": "".join(
            (", over TLS" if options.tls else "", ", on uvloop" if options.uvloop else "")
        ),
        "labels": {name: contender.label for name, contender in contenders.items()},
        "figures": figures,
        "curves": curves,
    }


def _present(names: Iterable[str]) -> dict[str, Contender]:
    """The contenders that can be imported."""
    return {name: found for name in names if (found := _imported(name)) is not None}


def _imported(name: str) -> Contender | None:
    try:
        return contender(name)
    except (ImportError, AttributeError) as error:
        sys.stderr.write(f"{name} is left out: {error}\n")
        return None


def _announced(plan: Iterable[Any], keys: Iterable[str]) -> Iterable[Any]:
    for part in (part for part in plan if part.key in keys):
        began = time.perf_counter()
        sys.stderr.write(f"{part.key} …")
        sys.stderr.flush()
        yield part
        sys.stderr.write(f" {time.perf_counter() - began:.0f} s\n")


def _circumstances() -> dict[str, str]:
    today = dt.datetime.now(tz=dt.UTC).date()
    python = f"Python {platform.python_version()}"
    return {
        "date": today.isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, {python}",
        "versions": ", ".join(filter(None, map(_version, _PACKAGES))),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(": ")[2] for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _version(package: str) -> str:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return ""


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    main()
