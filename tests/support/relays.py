"""Proxies that do their work: they open the tunnel that they are asked for, and carry bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from typing import Self


class Relay:
    """A proxy on loopback.

    Args:
        tls: What it shows who speaks TLS to it; `None` if nobody does.

    Attributes:
        asked: The requests for tunnels, as they came.
    """

    scheme = "http"

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[bytes] = []
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address, with a user and a password."""
        scheme = self.scheme if self._tls is None else f"{self.scheme}s"
        return f"{scheme}://user:hunter2@127.0.0.1:{self._listener.getsockname()[1]}"

    def settle(self, within: float = 3.0) -> bool:
        """Wait until no connection is open; tell whether that came."""
        deadline = time.monotonic() + within
        while self._open and time.monotonic() < deadline:
            time.sleep(0.005)
        return not self._open

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for left in list(self._open):
            with contextlib.suppress(OSError):
                left.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            if self._tls is not None:
                client = self._tls.wrap_socket(client, server_side=True)
            stack.enter_context(client)
            self._open.add(client)
            stack.callback(self._open.discard, client)
            server = stack.enter_context(socket.create_connection(self._tunnel(client)))
            self._agree(client)
            back = threading.Thread(target=_carry, args=[server, client], daemon=True)
            back.start()
            _carry(client, server)
            back.join(5)

    def _tunnel(self, client: socket.socket) -> tuple[str, int]:
        head = b""
        while b"\r\n\r\n" not in head:
            head += _some(client)
        self.asked.append(head)
        host, _, port = head.split()[1].decode().rpartition(":")
        return host, int(port)

    def _agree(self, client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")


class SocksRelay(Relay):
    """A proxy that speaks SOCKS 5 (RFC 1928, 1929)."""

    scheme = "socks5"

    def _tunnel(self, client: socket.socket) -> tuple[str, int]:
        _some(client)  # its methods of authentication
        client.sendall(b"\x05\x02")  # user and password
        self.asked.append(_some(client))
        client.sendall(b"\x01\x00")
        request = _some(client)
        self.asked.append(request)
        port = int.from_bytes(request[-2:], "big")
        if request[3] == 1:
            return socket.inet_ntoa(request[4:8]), port
        return request[5:-2].decode(), port

    def _agree(self, client: socket.socket) -> None:
        client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")


def _some(client: socket.socket) -> bytes:
    data = client.recv(4096)
    if not data:
        raise OSError("the client left")
    return data


def _carry(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    for end in (source, target):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(end, socket.SHUT_RDWR)
