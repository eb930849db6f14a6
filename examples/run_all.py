"""Run every example against a local server: `python examples/run_all.py [name ...]`.

The examples themselves talk to the AI/ML API; this sets AIMLAPI_API_BASE and AIMLAPI_API_KEY in
their environment so that they need neither a key nor a network. An example fails if it ends with
an error, prints nothing, takes too long, or sends what the API's published schema forbids.
"""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple

from langchain_aimlernie.testing import ErnieServer

FOLDER = Path(__file__).parent
AT_ONCE = 2
MOST_SECONDS = 120


class Result(NamedTuple):
    """How a run ended; `problem` is empty if well."""

    name: str
    seconds: float
    problem: str


def main(names: Sequence[str] = ()) -> int:
    """Run the examples; give the number of those that failed."""
    files = [file for file in sorted(FOLDER.glob("*.py")) if file.stem != "run_all"]
    chosen = [file for file in files if not names or file.stem in names]
    with ExitStack() as stack:
        server, own = (stack.enter_context(each) for each in (ErnieServer(), own_server()))
        environment = os.environ | local_environment(server, own)
        pool = stack.enter_context(ThreadPoolExecutor(AT_ONCE))
        results = []
        for result in pool.map(partial(run, environment=environment), chosen):
            print(f"{result.seconds:5.1f} s  {result.name:<28}{result.problem or 'ok'}", flush=True)
            results.append(result)
        # A server of one's own has more fields than the API; it refuses what is wrong.
        refused = [request for request in own.requests if request.status == HTTPStatus.BAD_REQUEST]
        violations = server.violations + [
            each for request in refused for each in request.violations
        ]
    print("\n".join(violations) or f"{len(results)} examples run")
    return sum(bool(result.problem) for result in results) + len(violations)


def own_server() -> ErnieServer:
    """Stand in for a server of one's own: it asks for no key and has a name of its own."""
    return ErnieServer(api_key=None, models={"ERNIE-4.5-21B-A3B": "baidu/ernie-4.5-21b-a3b"})


def local_environment(server: ErnieServer, own: ErnieServer) -> dict[str, str]:
    """Give the variables that lead the examples to these servers."""
    return {
        "AIMLAPI_API_BASE": server.base_url,
        "AIMLAPI_API_KEY": str(server.api_key),
        "ERNIE_SERVER": own.base_url,
        "LANGSMITH_TRACING": "false",
    }


def run(file: Path, environment: Mapping[str, str]) -> Result:
    """Run one example in a process of its own."""
    start = time.monotonic()
    try:
        done = subprocess.run(  # noqa: S603  our own files
            [sys.executable, str(file)],
            env=environment,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        problem = f"did not end within {MOST_SECONDS} s\n{error.stdout or ''}"
    else:
        failed = done.returncode or not done.stdout.strip()
        problem = f"exit code {done.returncode}\n{done.stdout}{done.stderr}" if failed else ""
    return Result(file.name, time.monotonic() - start, problem)


if __name__ == "__main__":
    sys.exit(min(main(sys.argv[1:]), 1))
