"""Run examples against the local test server, without a key, and show what they print.

Each runs in a process of its own, as `python examples/NAME.py --local`. It fails if it ends with an
error, prints nothing, takes too long, or sends what the API's published schema forbids.
"""

import os
import subprocess
import sys
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

FOLDER = Path(__file__).parent
AT_ONCE = 2
MOST_SECONDS = 120


class Result(NamedTuple):
    """How a run ended; `problem` is empty if well."""

    file: Path
    seconds: float
    output: str
    problem: str


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the examples that the command line names; return the number of those that failed."""
    files = {file.stem: file for file in sorted(FOLDER.glob("[!_]*.py"))}
    files.pop("run_all", None)
    parser = ArgumentParser(prog="run_all.py", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="an example; all without any")
    names = [name.removesuffix(".py") for name in parser.parse_args(arguments).names]
    if unknown := [name for name in names if name not in files]:
        parser.error(f"no example {', '.join(unknown)}; there are: {', '.join(files)}")

    failed = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for result in pool.map(run, [files[name] for name in names or files]):
            print(f"=== {result.file.name} ({result.seconds:.1f} s)\n{result.output}", flush=True)
            if result.problem:
                print(f"*** {result.file.name}: {result.problem}\n", flush=True)
                failed.append(result.file.name)
    print(f"failed: {', '.join(failed)}" if failed else f"{len(names or files)} examples run")
    return len(failed)


def run(file: Path) -> Result:
    """Run one example in a process of its own."""
    start = time.monotonic()
    problem = ""
    try:
        done = subprocess.run(  # noqa: S603  our own files
            [sys.executable, str(file), "--local"],
            capture_output=True,
            env=os.environ | {"PYTHONUTF8": "1"},
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = text_of(error.stdout)
        problem = f"did not end within {MOST_SECONDS} s"
    else:
        output = text_of(done.stdout)
        if done.returncode:
            problem = f"exit code {done.returncode}\n{text_of(done.stderr)}"
        elif not output.strip():
            problem = "printed nothing"
    return Result(file, time.monotonic() - start, output, problem)


def text_of(output: bytes | None) -> str:
    """Decode what a process has printed."""
    return (output or b"").decode(errors="replace")


if __name__ == "__main__":
    sys.exit(min(main(), 1))
