"""A server of raw bytes: what each connection does is a function, run in a thread of its own."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from dataclasses import dataclass, field

GOOD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
END = b"0\r\n\r\n"


def answer(body=b"{}", status=200, **headers):
    """A whole answer; names of headers with `_` for `-`."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


def frame(data):
    """A chunk of a chunked body."""
    return b"%x\r\n%s\r\n" % (len(data), data)


def events(*texts):
    """A whole stream of these events and `[DONE]`."""
    return SSE_HEAD + b"".join(frame(b"data: %s\n\n" % text) for text in (*texts, b"[DONE]")) + END


@dataclass
class Request:
    """One request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Wire:
    """The server's end of one connection."""

    def __init__(self, server, sock, number):
        self.server, self.sock, self.number = server, sock, number
        self._file = sock.makefile("rb")

    def wrap(self, context):
        """Go on in TLS."""
        self._file.close()
        self.sock = context.wrap_socket(self.sock, server_side=True)
        self._file = self.sock.makefile("rb")

    def request(self):
        """Wait for a request; `None` when the client has gone."""
        line = self._file.readline()
        if not line:
            return None
        method, target, _ = line.decode().split()
        headers = {}
        while line := self._file.readline().strip():
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.lower()] = value.strip()
        body = self._file.read(int(headers.get("content-length", 0)))
        request = Request(method, target, headers, body, self.number)
        self.server.requests.append(request)
        return request

    def send(self, data):
        self.sock.sendall(data)

    def reset(self):
        """Close so that the client gets a reset."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()

    def close(self):
        self._file.close()
        self.sock.close()

    def hold(self, seconds=60.0):
        """Say nothing until the client goes."""
        self.sock.settimeout(seconds)
        with contextlib.suppress(OSError):
            while self.sock.recv(4096):
                pass


def replies(*answers):
    """Answer each request with the next of these, and all that follow with the last one."""
    left = list(answers)

    def serve(wire):
        while wire.request():
            wire.send(left.pop(0) if len(left) > 1 else left[0])

    return serve


@dataclass
class RawServer:
    """Listens on loopback; `serve` is what it does with a connection."""

    serve: object
    requests: list = field(default_factory=list)
    connections: int = 0

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = self._listener.getsockname()[1]
        self._open = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for wire in list(self._open):
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    @property
    def base_url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def open(self):
        """How many connections are open."""
        return len(self._open)

    def asked(self, number, within=10.0):
        """Wait until so many requests have come; tell whether they did."""
        deadline = time.monotonic() + within
        while len(self.requests) < number and time.monotonic() < deadline:
            time.sleep(0.005)
        return len(self.requests) >= number

    def settle(self, most=0, within=5.0):
        """Wait until no more than `most` connections are open; tell whether that came."""
        deadline = time.monotonic() + within
        while self.open > most and time.monotonic() < deadline:
            time.sleep(0.005)
        return self.open <= most

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                self.connections += 1
                wire = Wire(self, sock, self.connections)
                self._open.add(wire)
                thread = threading.Thread(target=self._run, args=[wire], daemon=True)
                self._threads.append(thread)
                thread.start()

    def _run(self, wire):
        try:
            self.serve(wire)
        except (OSError, ValueError):
            pass  # the client, or the test, has gone
        finally:
            with contextlib.suppress(OSError):
                wire.close()
            self._open.discard(wire)
