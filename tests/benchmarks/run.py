"""Measure ChatAimlErnie against the floor and its peers: `python tests/benchmarks/run.py`.

Starts a loopback server in a process of its own, lets all that is installed take turns, and
prints tables with ratios. Nothing here is part of the tests, and nothing leaves the machine.

    python tests/benchmarks/run.py --quick
    python tests/benchmarks/run.py --json results.json --plot benchmarks.png
    python tests/benchmarks/run.py --from results.json --plot benchmarks.png
    python tests/benchmarks/run.py --only invoke chunk achunk --contenders raw nothing ours

The whole run takes 20 minutes, --quick five. On a machine that does other work meanwhile, --cpu
gives ratios that can be trusted. What is measured is the source tree that this file is in, also
where another copy is installed.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from contenders import NAMES, contender
from measure import FULL, QUICK, Setting, measure
from report import PANELS, draw, tables
from server import pin, running_server
from workloads import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from contenders import Contender

_PACKAGES = (
    "langchain-core",
    "httpx",
    "httpx2",
    "langchain-openai",
    "openai",
    "langchain-mistralai",
)


def main() -> None:
    """Run the benchmark with the options of the command line."""
    options = _options()
    _stay_at_home()
    if options.stored:
        document = json.loads(options.stored.read_text(encoding="utf-8"))
    else:
        document = _measured(options)
    sys.stdout.write("\n\n".join(tables(document)) + "\n")
    if options.json:
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        draw(document, options.plot)


def _options() -> argparse.Namespace:
    summary, _, rest = __doc__.partition("\n\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    keys = [figure.key for figure in FIGURES]
    add = parser.add_argument
    add("--quick", action="store_true", help="smaller numbers and fewer rounds")
    add("--cpu", action="store_true", help="count CPU seconds: for a machine that is busy")
    add("--only", nargs="+", choices=keys, default=keys, metavar="KEY", help=", ".join(keys))
    add("--contenders", nargs="+", choices=NAMES, default=NAMES, metavar="NAME", help=str(NAMES))
    add("--json", type=Path, metavar="OUT", help="store what was found")
    add("--plot", type=Path, metavar="OUT.png", help=f"draw the curves {', '.join(PANELS)}")
    add("--from", dest="stored", type=Path, metavar="IN", help="read --json's file; no measuring")
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


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    figures = []
    with running_server() as server:
        pin(0)
        clock = time.process_time if options.cpu else time.perf_counter
        setting = Setting(server, QUICK if options.quick else FULL, clock)
        contenders = _present(options.contenders)
        for figure in FIGURES:
            if figure.key in options.only:
                began = time.perf_counter()
                figures.append(measure(figure, setting, contenders))
                sys.stderr.write(f"{figure.key}: {time.perf_counter() - began:.0f} s\n")
    python = f"Python {platform.python_version()}"
    return {
        "date": dt.datetime.now(tz=dt.UTC).date().isoformat(),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()}, {python}",
        "versions": ", ".join(filter(None, map(_version, _PACKAGES))),
        "clock": "CPU seconds of the client" if options.cpu else "seconds by the clock",
        "labels": {name: contender.label for name, contender in contenders.items()},
        "figures": figures,
    }


def _present(names: Iterable[str]) -> dict[str, Contender]:
    """The contenders that can be imported."""
    found = {}
    for name in names:
        try:
            found[name] = contender(name)
        except (ImportError, AttributeError) as error:
            sys.stderr.write(f"{name} is left out: {error}\n")
    return found


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


if __name__ == "__main__":
    main()
