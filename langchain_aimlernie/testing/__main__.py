"""`python -m langchain_aimlernie.testing`: serve the local API until Ctrl-C."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Sequence

from langchain_aimlernie.testing.server import API_KEY, ErnieServer


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; return the exit code, 1 if the address is not available."""
    parser = argparse.ArgumentParser(
        prog="python -m langchain_aimlernie.testing",
        description="Serve a local AI/ML API for ERNIE. Its replies come from a fake model.",
    )
    parser.add_argument("--port", type=int, default=0, help="default: a free one")
    parser.add_argument("--host", default="127.0.0.1", help="default: %(default)s")
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before each response")
    parser.add_argument("--interval", type=float, default=0.0, help="seconds between its events")
    parser.add_argument("--api-key", default=API_KEY, help='"" accepts all; default: %(default)s')
    options = parser.parse_args(arguments)
    server = ErnieServer(
        options.port,
        options.host,
        api_key=options.api_key,
        delay=options.delay,
        interval=options.interval,
    )
    try:
        with contextlib.suppress(KeyboardInterrupt), server:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            sys.stdout.write(
                "A local AI/ML API for ERNIE; its replies come from a fake model. Ctrl-C ends it.\n"
                f"export AIMLAPI_API_KEY={server.api_key or 'any'}\n"
                f"export AIMLAPI_API_BASE={server.base_url}\n"
            )
            sys.stdout.flush()
            while True:
                time.sleep(60)
    except OSError as error:
        sys.stderr.write(f"Cannot listen on {options.host}:{options.port}: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
