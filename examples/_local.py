"""The option `--local` of the examples: the package's test server instead of the API.

It needs neither a key nor a network. The replies are those of `_replies.py` or, where it has none,
those of the server's fake model; every request is checked against the API's published schema.
"""

import os
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from http import HTTPStatus
from itertools import repeat
from pathlib import Path
from unittest.mock import patch

from _replies import REPLIES

from langchain_aimlernie import AuthenticationError
from langchain_aimlernie.testing import ErnieServer, Reply, Request


def run(main: Callable[[], None]) -> None:
    """Run an example's `main` as its command line says: on the API, or with `--local`."""
    file = Path(main.__code__.co_filename)
    parser = ArgumentParser(prog=file.name, description=main.__globals__["__doc__"].split("\n")[0])
    parser.add_argument("--local", action="store_true", help="use a local test server, without key")
    if parser.parse_args().local:
        run_locally(main, REPLIES.get(file.stem, {}))
        return
    try:
        main()
    except AuthenticationError as error:
        error.add_note(f"To run it without a key: python {sys.argv[0]} --local")
        raise


def run_locally(
    main: Callable[[], None], replies: Mapping[str, str | Reply | list[str | Reply]]
) -> None:
    """Run `main` on local servers that give these replies.

    Raises:
        SystemExit: A request violated the API's schema.
    """
    queues: dict[str, Iterator[str | Reply]] = {
        key: iter(each) if isinstance(each, list) else repeat(each) for key, each in replies.items()
    }

    def scripted(request: Request) -> Reply | None:
        """Return the next reply of the key that the last message contains."""
        content = request.body["messages"][-1].get("content") or ""
        parts = [{"text": content}] if isinstance(content, str) else content
        text = "".join(part.get("text", "") for part in parts)
        queue = next((queues[key] for key in queues if key in text), iter(()))
        reply = next(queue, None)
        return Reply(reply) if isinstance(reply, str) else reply

    print("(local test server: these are scripted replies, not ERNIE's)", file=sys.stderr)
    # A server of your own asks for no key, gives its model a name and has more fields than the API.
    own = ErnieServer(api_key=None, models={"ERNIE-4.5-21B-A3B": "baidu/ernie-4.5-21b-a3b"})
    with ErnieServer() as server, own:
        server.on_request = own.on_request = scripted
        environment = {
            "AIMLAPI_API_BASE": server.base_url,
            "AIMLAPI_API_KEY": str(server.api_key),
            "ERNIE_SERVER": own.base_url,
            "LANGSMITH_TRACING": "false",
        }
        with patch.dict(os.environ, environment):
            main()
        refused = [each for each in own.requests if each.status == HTTPStatus.BAD_REQUEST]
        problems = [each for request in refused for each in request.violations]
        problems += server.violations
        problems += [f"ignored: {path}" for each in server.requests for path in each.ignored]
    if problems:
        sys.exit("\n".join(problems))
