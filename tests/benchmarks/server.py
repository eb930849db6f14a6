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

import asyncio
import contextlib
import itertools
import os
import re
import subprocess
import sys

from tests.support import response_bytes as wire

TOKEN = "token "

_HEAD = re.compile(rb"POST /(\d+)ms/(\d+)/.*\r\ncontent-length: *(\d+)", re.IGNORECASE | re.DOTALL)
_STREAM = re.compile(rb'"stream": ?true')
_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)')

COMPLETION = wire.response(wire.completion(TOKEN * 20))
TEXT = wire.event(wire.chunk(TOKEN))
END_OF_STREAM = b"".join(map(wire.frame, (wire.STOP, wire.TAIL, wire.DONE))) + wire.FINAL_FRAME


async def _answer(reader, writer):
    """Answer the requests of one connection, which is kept alive."""
    # The client has left, or the server ends.
    with contextlib.suppress(EOFError, ConnectionError, asyncio.CancelledError):
        while True:
            head = _HEAD.match(await reader.readuntil(b"\r\n\r\n"))
            delay, size, length = map(int, head.groups())
            body = await reader.readexactly(length)
            if delay:
                await asyncio.sleep(delay / 1000)
            if not _STREAM.search(body):
                writer.write(COMPLETION)
                continue
            whole, rest = divmod(int(_TOKENS.search(body)[1]), size)
            texts = [wire.frame(TEXT * size)] * whole + [wire.frame(TEXT * rest)] * bool(rest)
            for data in (wire.SSE_HEAD, *texts, END_OF_STREAM):
                writer.write(data)
                await writer.drain()


async def serve():
    """Print the port, then serve until standard input ends."""
    server = await asyncio.start_server(_answer, "127.0.0.1", 0, backlog=4096)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
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
