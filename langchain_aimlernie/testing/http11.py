"""Just enough of HTTP/1.1 (RFC 9112) for a test server: bytes to requests, heads to bytes."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from langchain_aimlernie.testing.received import Headers, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_HEAD = 64 * 2**10
MAX_BODY = 256 * 2**20


class BadRequestError(Exception):
    """Bytes that are no HTTP request, with the status to answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class RequestReader:
    """Bytes, split anywhere, to requests."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: Request | None = None
        self._missing = 0
        self._chunks = bytearray()

    @property
    def wants_go_ahead(self) -> bool:
        """Whether the client waits for `100 Continue` before it sends its body."""
        head = self._head
        return head is not None and "100-continue" in head.headers.get("expect", "").lower()

    def feed(self, data: bytes) -> list[Request]:
        """The requests that these bytes complete.

        Raises:
            BadRequestError: They are no HTTP request; nothing that follows can be read.
        """
        self._buffer += data
        done: list[Request] = []
        while len(self._buffer) >= self._missing and (request := self._next()) is not None:
            done.append(request)
        return done

    def _next(self) -> Request | None:
        if self._head is None:
            self._head = self._read_head()
            if self._head is None:
                return None
        body = self._read_body(self._head)
        if body is None:
            return None
        request, self._head, self._missing = self._head, None, 0
        request.raw = body
        return request

    def _read_head(self) -> Request | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end > MAX_HEAD or (end == -1 and len(self._buffer) > MAX_HEAD):
            raise BadRequestError(431, f"the head has more than {MAX_HEAD} bytes")
        if end == -1:
            return None
        first, *lines = self._buffer[:end].decode("latin-1").lstrip("\r\n").split("\r\n")
        del self._buffer[: end + 4]
        method, target, version = [*first.split(" "), "", ""][:3]
        if not version.startswith("HTTP/1."):
            raise BadRequestError(400, f"not a request line: {first!r:.80}")
        pairs = [line.partition(":") for line in lines]
        if not all(name and colon and name == name.strip() for name, colon, _ in pairs):
            raise BadRequestError(400, "not a header")
        headers = Headers([(name, value.strip()) for name, _, value in pairs])
        return Request.from_head(method, target, version, headers)

    def _read_body(self, head: Request) -> bytes | None:
        if "chunked" in head.headers.get("transfer-encoding", "").lower():
            return self._read_chunks()
        length = head.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY:
            raise BadRequestError(413, f"Content-Length {length!r:.80} is not 0 to {MAX_BODY}")
        self._missing = int(length)
        if len(self._buffer) < self._missing:
            return None
        body = bytes(self._buffer[: self._missing])
        del self._buffer[: self._missing]
        return body

    def _read_chunks(self) -> bytes | None:
        """The body in chunks (RFC 9112 7.1), once all are there; trailers are dropped."""
        while (line := self._buffer.find(b"\r\n")) != -1:
            size = _chunk_size(bytes(self._buffer[:line]))
            end = self._buffer.find(b"\r\n\r\n", line) + 4 if size == 0 else line + size + 4
            if end < line + 4 or len(self._buffer) < end:
                self._missing = end if size else 0
                return None
            self._chunks += self._buffer[line + 2 : end - 2] if size else b""
            del self._buffer[:end]
            self._missing = 0
            if size == 0:
                body, self._chunks = bytes(self._chunks), bytearray()
                return body
            if len(self._chunks) > MAX_BODY:
                raise BadRequestError(413, f"the body has more than {MAX_BODY} bytes")
        return None


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError:
        raise BadRequestError(400, f"not a chunk size: {line!r:.80}") from None


def encode_head(status: int, headers: Mapping[str, str]) -> bytes:
    """The head of an answer."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {held}" for name, held in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def encode_chunk(data: bytes) -> bytes:
    """One chunk of a body of unknown length; empty data is the end of it."""
    return b"%x\r\n%b\r\n" % (len(data), data)
