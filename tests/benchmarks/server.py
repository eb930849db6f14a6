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
from functools import lru_cache, partial

TOKEN = "token "

_HEAD = re.compile(
    rb"POST /(?P<delay>\d+)ms/(?P<size>\d+)/.*?\r\ncontent-length: *(?P<length>\d+).*?\r\n\r\n",
    re.IGNORECASE | re.DOTALL,
)
_STREAM = re.compile(rb'"stream": ?true')
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')

_IDENTITY = {"id": "chatcmpl-7f3a", "created": 1_790_000_000, "model": "baidu/ernie-4.5-21b-a3b"}
_SPENT = {
    "usage": {
        "prompt_tokens": 12,
        "completion_tokens": 34,
        "total_tokens": 46,
        "prompt_tokens_details": {"cached_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
    },
    "meta": {"usage": {"credits_used": 21, "usd_spent": 0.0000105}},
}


def _head(content):
    return (
        "HTTP/1.1 200 OK\r\ndate: Mon, 23 Nov 2026 12:00:00 GMT\r\n"
        "x-inference-id: 0f6f1c0e-6d0b-4a58-9b2a-5c1d2e3f4a5b\r\n"
        f"connection: keep-alive\r\n{content}\r\n\r\n"
    ).encode()


def _choice(finish_reason=None, **message):
    return {"index": 0, **message, "finish_reason": finish_reason, "logprobs": None}


def _completion():
    message = {"role": "assistant", "content": TOKEN * 20, "refusal": None}
    completion = {**_IDENTITY, "object": "chat.completion", **_SPENT}
    body = json.dumps(completion | {"choices": [_choice("stop", message=message)]}).encode()
    return _head(f"content-type: application/json\r\ncontent-length: {len(body)}") + body


def _event(*choices, **fields):
    chunk = {**_IDENTITY, "object": "chat.completion.chunk", "choices": choices, **fields}
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


def _frame(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


COMPLETION = _completion()
SSE_HEAD = _head("content-type: text/event-stream\r\ntransfer-encoding: chunked")
TEXT = _event(_choice(delta={"role": "assistant", "content": TOKEN}))
STOP = _event(_choice("stop", delta={"role": "assistant", "content": ""}))
END_OF_STREAM = b"".join(map(_frame, (STOP, _event(**_SPENT), b"data: [DONE]\n\n", b"")))


@lru_cache(maxsize=64)
def _writes(events, size):
    """The writes that carry `events` text events, `size` events in each."""
    whole, rest = divmod(events, size)
    return [_frame(TEXT * size)] * whole + [_frame(TEXT * rest)] * bool(rest)


class Connection(asyncio.Protocol):
    """One client's connection: requests in, canned answers out, kept alive; no pipelining."""

    def __init__(self):
        self._received = bytearray()
        self._writable = asyncio.Event()
        self._writable.set()
        self._task = None

    def connection_made(self, transport):
        self._transport = transport

    def connection_lost(self, exc):
        if self._task is not None:
            self._task.cancel()

    def pause_writing(self):
        self._writable.clear()

    def resume_writing(self):
        self._writable.set()

    def data_received(self, data):
        self._received += data
        head = _HEAD.match(self._received)
        if head is None or len(self._received) < head.end() + int(head["length"]):
            return
        delay, size = int(head["delay"]) / 1000, int(head["size"])
        answer = partial(self._transport.write, COMPLETION)
        if _STREAM.search(self._received, head.end()):
            tokens = _TOKENS.search(self._received, head.end())
            answer = partial(self._stream, int(tokens[1]), size)
        self._received = bytearray()
        if delay:
            asyncio.get_running_loop().call_later(delay, answer)
        else:
            answer()

    def _stream(self, tokens, size):
        self._task = asyncio.ensure_future(self._write_stream(tokens, size))

    async def _write_stream(self, tokens, size):
        for data in (SSE_HEAD, *_writes(tokens, size), END_OF_STREAM):
            if not self._writable.is_set():
                await self._writable.wait()
            self._transport.write(data)


async def serve():
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

    def __init__(self, port):
        self._port = port
        self._names = itertools.count()

    def url(self, *, delay_ms=0, events_per_write=1):
        """A base URL that no call has used yet, and so no client either."""
        path = f"{delay_ms}ms/{events_per_write}/{next(self._names)}"
        return f"http://127.0.0.1:{self._port}/{path}/v1"


def pin(position):
    """Keep this process on one of the processors it may use, where the system can do that."""
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {allowed[position]})


@contextlib.contextmanager
def running_server():
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
