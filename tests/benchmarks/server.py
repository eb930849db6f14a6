"""The other end of the line: a loopback chat completions server that costs next to nothing.

It answers every `POST …/chat/completions` with canned bytes, so that what is left to measure is
the client. The request determines the response:

* the path, `/{delay}ms/{size}/{name}/v1/chat/completions`, gives the milliseconds to wait before
  the first byte, and the events of a stream per HTTP chunk and per write; `name` only makes the URL
  new, so that no client takes over connections of an earlier one;
* `"stream": true` asks for server-sent events, and `max_tokens` (or `max_completion_tokens`) says
  how many of them carry text.

Run as a program it prints its port and serves until its standard input is closed, which happens
also when the process that started it dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import subprocess
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "token "

_PATH = re.compile(rb"^POST /(\d+)ms/(\d+)/")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAM = re.compile(rb'"stream": ?true')
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')
_END_OF_HEAD = b"\r\n\r\n"

_IDENTITY = {"id": "chatcmpl-7f3a", "created": 1_790_000_000, "model": "baidu/ernie-4.5-21b-a3b"}
_USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 34,
    "total_tokens": 46,
    "prompt_tokens_details": {"cached_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 0},
}
_META = {"usage": {"credits_used": 21, "usd_spent": 0.0000105}}


class Plan(NamedTuple):
    """What one request asks for."""

    delay: float
    events_per_write: int
    stream: bool
    tokens: int


def _head(content: str) -> bytes:
    return (
        "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
        "x-inference-id: 0f6f1c0e-6d0b-4a58-9b2a-5c1d2e3f4a5b\r\n"
        f"connection: keep-alive\r\n{content}\r\n\r\n"
    ).encode()


def _completion() -> bytes:
    message = {"role": "assistant", "content": TOKEN * 20, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    body = json.dumps(
        {
            **_IDENTITY,
            "object": "chat.completion",
            "choices": [choice],
            "usage": _USAGE,
            "meta": _META,
        }
    ).encode()
    return _head(f"content-type: application/json\r\ncontent-length: {len(body)}") + body


def _event(delta: str, finish_reason: str | None = None) -> bytes:
    choice = {
        "index": 0,
        "delta": {"role": "assistant", "content": delta},
        "finish_reason": finish_reason,
        "logprobs": None,
    }
    return _data({"choices": [choice]})


def _data(fields: dict[str, object]) -> bytes:
    return (
        b"data: %b\n\n"
        % json.dumps(
            {**_IDENTITY, "object": "chat.completion.chunk", **fields}, separators=(",", ":")
        ).encode()
    )


def _http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


COMPLETION = _completion()
SSE_HEAD = _head("content-type: text/event-stream\r\ntransfer-encoding: chunked")
TEXT = _event(TOKEN)
STOP = _event("", "stop")
SPENT = _data({"choices": [], "usage": _USAGE, "meta": _META})
END_OF_STREAM = _http_chunk(STOP) + _http_chunk(SPENT) + _http_chunk(b"data: [DONE]\n\n")
END_OF_BODY = b"0\r\n\r\n"


@lru_cache(maxsize=64)
def _writes(events: int, size: int) -> tuple[bytes, ...]:
    """The writes that carry `events` text events, `size` events in each."""
    whole, rest = divmod(events, size)
    writes = (_http_chunk(TEXT * size),) * whole
    return writes if not rest else (*writes, _http_chunk(TEXT * rest))


class Connection(asyncio.Protocol):
    """One client's connection: requests in, canned answers out, kept alive."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._received += data
        plan = self._take_request()
        if plan is None:
            return
        answer = self._stream if plan.stream else self._complete
        if plan.delay:
            self._loop.call_later(plan.delay, answer, plan)
        else:
            answer(plan)

    def _take_request(self) -> Plan | None:
        """The request that has arrived whole, if one has; clients here never pipeline."""
        head = self._received.find(_END_OF_HEAD)
        if head < 0:
            return None
        length = int(_LENGTH.search(self._received, 0, head)[1])
        if len(self._received) < head + len(_END_OF_HEAD) + length:
            return None
        path, tokens = _PATH.match(self._received), _TOKENS.search(self._received, head)
        plan = Plan(
            delay=int(path[1]) / 1000,
            events_per_write=int(path[2]),
            stream=_STREAM.search(self._received, head) is not None,
            tokens=int(tokens[1]) if tokens else 20,
        )
        self._received.clear()
        return plan

    def _complete(self, _: Plan) -> None:
        self._transport.write(COMPLETION)

    def _stream(self, plan: Plan) -> None:
        self._task = self._loop.create_task(self._write_stream(plan))

    async def _write_stream(self, plan: Plan) -> None:
        self._transport.write(SSE_HEAD)
        for data in _writes(plan.tokens, plan.events_per_write):
            if not self._writable.is_set():
                await self._writable.wait()
            self._transport.write(data)
        self._transport.write(END_OF_STREAM + END_OF_BODY)


async def serve() -> None:
    """Print the port, then serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    loop.add_reader(sys.stdin, ended.set)
    await ended.wait()
    server.close()


class Server:
    """The address of a running server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._names = itertools.count()

    def url(self, *, delay_ms: int = 0, events_per_write: int = 1) -> str:
        """A base URL that no call has used yet, and so no client either."""
        path = f"{delay_ms}ms/{events_per_write}/{next(self._names)}"
        return f"http://127.0.0.1:{self._port}/{path}/v1"


def pin(position: int) -> None:
    """Keep this process on one of the processors it may use, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[position]})


@contextlib.contextmanager
def running_server() -> Iterator[Server]:
    """A server in a process of its own, on another processor than this one if there are two."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, __file__], stdin=pipe, stdout=pipe, text=True
    ) as process:
        yield Server(int(process.stdout.readline()))
        process.stdin.close()


if __name__ == "__main__":
    pin(-1)
    asyncio.run(serve())
