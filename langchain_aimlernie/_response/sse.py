"""Bytes to server-sent events, for any split of the bytes.

The format is the event stream of the WHATWG HTML standard, sections 9.2.5 and 9.2.6. Its fields
`id` and `retry` serve reconnecting, which the stream of a chat model cannot do: they are passed
over like unknown ones. One field is read that the standard does not have: `error`, in which
llama.cpp sent the JSON of an error until September 2025.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from langchain_aimlernie.errors import InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Iterator

_BOM = b"\xef\xbb\xbf"
# As numbers: `13 in data` takes a fifth of the time of `b"\r" in data`.
_LF, _CR = b"\n\r"
_DEFAULT_TYPE = "message"


class ServerSentEvent(NamedTuple):
    """One event that carries data.

    Attributes:
        event: Type of the event, `message` unless the server names one.
        data: Data of the event, its lines joined by LF; bytes that should be UTF-8.
    """

    event: str
    data: bytes


class SSEDecoder:
    """Turns the bytes of an event stream into events, each as soon as its blank line is there.

    The work is linear in the number of bytes, however they are cut, and what is kept from one call
    to the next is bounded.

    Args:
        max_event_bytes: Most bytes that the lines of one event may have.
    """

    __slots__ = ("_after_cr", "_at_start", "_data", "_event", "_limit", "_line", "_size")

    def __init__(self, max_event_bytes: int = 64 * 2**20) -> None:
        self._limit = max_event_bytes
        self._at_start = True
        self._after_cr = False
        self._line = bytearray()
        self._data: list[bytes] = []
        self._event = _DEFAULT_TYPE
        self._size = 0

    def feed(self, data: bytes) -> Iterator[ServerSentEvent]:
        """Yield the events that `data` completes; all of them must be taken before the next call.

        Args:
            data: The next bytes of the stream, cut anywhere.

        Raises:
            InvalidResponseError: An event is longer than `max_event_bytes`.
        """
        if self._after_cr or _CR in data:
            data = self._with_lf(data)
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and (self._line or self._at_start):
            lines[0] = self._first_line(lines[0])
        for line in lines:
            if line:
                self._read_line(line)
                continue
            value, event = self._data, self._event
            self._data, self._event, self._size = [], _DEFAULT_TYPE, 0
            if value:
                yield ServerSentEvent(event, b"\n".join(value))
        if rest:
            self._line += rest
            if self._size + len(self._line) > self._limit:
                raise self._error()

    def close(self) -> Iterator[ServerSentEvent]:
        """Yield the event that the end of the stream completes in place of a blank line, if any.

        The standard drops such an event. Servers of language models end streams this way, and the
        last event is the one that says why the model stopped.

        Raises:
            InvalidResponseError: The event is longer than `max_event_bytes`.
        """
        return self.feed(b"\n\n")

    def _with_lf(self, data: bytes) -> bytes:
        """Return `data` with each CRLF and CR as LF, also for a CRLF cut between two calls."""
        if not data:
            return data
        if self._after_cr and data[0] == _LF:
            data = data[1:]
            self._after_cr = False
        if data:
            self._after_cr = data[-1] == _CR
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _first_line(self, end: bytes) -> bytes:
        """Return the line that began in earlier calls and ends with `end`."""
        line = bytes(self._line) + end
        self._line.clear()
        if self._at_start and line.startswith(_BOM):
            line = line[len(_BOM) :]
            self._size = len(_BOM)
        self._at_start = False
        return line

    def _read_line(self, line: bytes) -> None:
        self._size += len(line)
        if self._size > self._limit:
            raise self._error()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"error" and value.startswith(b"{"):
            self._event = "error"
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace") or _DEFAULT_TYPE
        elif not name:
            self._size -= len(line)  # a comment is part of no event

    def _error(self) -> InvalidResponseError:
        return InvalidResponseError(
            f"The stream has an event longer than {self._limit:,} bytes. No answer of a chat model "
            "is that long: check that base_url is the address of a chat completions API."
        )
