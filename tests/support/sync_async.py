"""The same call in both worlds, and a small decoder, for tests of the transport alone."""

import asyncio
from typing import NamedTuple

from langchain_aimlernie._http import (
    APIRequest,
    ConnectionConfig,
    Timeouts,
    Transport,
)
from langchain_aimlernie._text import Redactor
from langchain_aimlernie.errors import StreamInterruptedError
from tests.support.modes import by_hand

KEY = "sk-0123456789abcdef"
HEADERS = {"authorization": f"Bearer {KEY}", "x-client-request-id": "mine"}
MODES = ("sync", "async")
LONG = 30.0


def call_to(server, body=b'{"q": 1}', max_retries=0, headers=None, method="POST", **clocks):
    """A call with short clocks and no retries, unless it says otherwise."""
    return APIRequest(
        method,
        f"{server.base_url}/chat/completions",
        {**HEADERS, **(headers or {})},
        body,
        Timeouts(**{"read": LONG, "first_event": LONG, "idle": LONG, **clocks}),
        max_retries,
        Redactor(KEY),
    )


class Texts:
    """Each event is a chunk; comments are nothing."""

    def __init__(self, headers):
        self.headers = headers
        self.events, self.done, self.partial = 0, False, None
        self._rest = b""

    def feed(self, data):
        *whole, self._rest = (self._rest + data).split(b"\n\n")
        for event in whole:
            if event == b"data: [DONE]":
                self.done = True
            elif event.startswith(b"data: "):
                self.events += 1
                text = event[6:].decode()
                self.partial = (self.partial or "") + text
                yield text

    def close(self):
        if not self.done:
            raise StreamInterruptedError("The stream has no end.")
        return ()


class Send(NamedTuple):
    """A call whose answer is decoded by a function of the test."""

    call: APIRequest
    decode: object


def keep(headers, body):
    """Decode nothing."""
    return headers, body


def on(server, **settings):
    """The settings of a connection."""
    return ConnectionConfig(server.base_url, **settings)


def outcomes(mode, connection, *steps, client=None, of=lambda outcome: outcome):
    """What the steps come to, one after the other over one transport: results or errors.

    A step is a call, a `Send`, or a call and `Texts` to stream it; a function is called. The
    client is closed at the end. `of` is applied to each outcome before anything else holds it: a
    frame that holds an error, and that its traceback leads to, would keep it alive.
    """
    is_async = mode == "async"

    async def main():
        transport = Transport(connection, client, is_async=is_async)
        results = [of(await _outcome(transport, step)) for step in steps]
        await transport.close()
        if client is not None:
            await client.aclose() if is_async else client.close()
        return results

    return asyncio.run(main()) if is_async else by_hand(main())


async def _outcome(transport, step):
    try:
        if isinstance(step, tuple) and not isinstance(step, Send):
            return [chunk async for chunk in await transport.stream(*step)]
        if isinstance(step, APIRequest):
            step = Send(step, keep)
        result = transport.send(*step) if isinstance(step, Send) else step()
        return await result if asyncio.iscoroutine(result) else result
    except Exception as error:  # noqa: BLE001  an error is an outcome
        return error
