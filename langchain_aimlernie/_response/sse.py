"""Bytes to server-sent events, for any split of the bytes.

The format is the event stream of the WHATWG HTML standard, sections 9.2.5 and 9.2.6. Its fields
`id` and `retry` serve reconnecting, which the stream of a chat model cannot do: they are passed
over like unknown ones. One field is read that the standard does not have: `error`, in which
llama.cpp sent the JSON of an error until September 2025.
"""

from __future__ import annotations

from typing import NamedTuple

from langchain_aimlernie.errors import InvalidResponseError

__all__ = ["SSEDecoder", "ServerSentEvent"]

_BOM = b"\xef\xbb\xbf"
_DATA = b"data: "
# As numbers: `13 in data` takes a fifth of the time of `b"\r" in data`.
_LF, _CR, _COLON = b"\n\r:"
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

    __slots__ = (
        "_after_cr",
        "_at_start",
        "_between_events",
        "_data",
        "_event",
        "_limit",
        "_partial",
        "_partial_size",
        "_size",
        "_too_long",
    )

    def __init__(self, max_event_bytes: int = 64 * 2**20) -> None:
        self._limit = max_event_bytes
        self._at_start = True
        self._after_cr = False
        self._between_events = False
        self._partial = [b""]  # never empty before the first line, so that its BOM is looked for
        self._partial_size = 0
        self._data: list[bytes] = []
        self._event = _DEFAULT_TYPE
        self._size = 0
        self._too_long = False

    def feed(self, data: bytes) -> list[ServerSentEvent]:
        """Return the events that `data` completes.

        Args:
            data: The next bytes of the stream, cut anywhere.

        Raises:
            InvalidResponseError: If an event is longer than `max_event_bytes`. Events before it
                are returned first, and the next call raises.
        """
        if self._after_cr or _CR in data:
            data = self._with_lf(data)
        if self._between_events and self._is_one_event(data):
            return [ServerSentEvent(_DEFAULT_TYPE, data[6:-2])]
        if self._too_long:
            raise self._error()
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._partial:
            lines[0] = self._end_line(lines[0])
        events = self._decode(lines)
        self._keep(rest)
        if self._too_long and not events:
            raise self._error()
        return events

    def close(self) -> list[ServerSentEvent]:
        """Return the event that the end of the stream completes in place of a blank line, if any.

        The standard drops such an event. Servers of language models end streams this way, and the
        last event is the one that says why the model stopped.

        Raises:
            InvalidResponseError: If an event is longer than `max_event_bytes`.
        """
        events = [] if self._too_long else self._decode([self._end_line(b""), b""])
        if self._too_long:
            raise self._error()
        return events

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

    def _is_one_event(self, data: bytes) -> bool:
        """Whether `data` is one data line and its blank line, as in most calls."""
        return (
            data[:6] == _DATA
            and data.find(b"\n") == len(data) - 2
            and data[-1] == _LF
            and len(data) <= self._limit
        )

    def _end_line(self, end: bytes) -> bytes:
        """Return the line that `end` completes."""
        line = b"".join((*self._partial, end))
        self._partial.clear()
        self._partial_size = 0
        if self._at_start:
            self._at_start = False
            if line.startswith(_BOM):
                self._size = len(_BOM)
                return line[len(_BOM) :]
        return line

    def _keep(self, rest: bytes) -> None:
        """Buffer the start of an incomplete line."""
        if rest:
            self._partial.append(rest)
            self._partial_size += len(rest)
            self._too_long |= self._size + self._partial_size > self._limit
        self._between_events = not (self._partial or self._size or self._too_long)

    def _decode(self, lines: list[bytes]) -> list[ServerSentEvent]:
        events: list[ServerSentEvent] = []
        data = self._data
        for line in lines:
            if not line:
                if data:
                    value = data[0] if len(data) == 1 else b"\n".join(data)
                    events.append(ServerSentEvent(self._event, value))
                    data.clear()
                self._event = _DEFAULT_TYPE
                self._size = 0
                continue
            self._size += len(line)
            if self._size > self._limit:
                self._too_long = True
                break
            if line[:6] == _DATA:
                data.append(line[6:])
            else:
                self._read_field(line)
        return events

    def _read_field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"error" and value[:1] == b"{":
            self._event = "error"
            self._data.append(value)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace") or _DEFAULT_TYPE
        elif line[0] == _COLON:
            self._size -= len(line)  # a comment is part of no event

    def _error(self) -> InvalidResponseError:
        return InvalidResponseError(
            f"The stream has an event longer than {self._limit:,} bytes. No answer of a chat model "
            "is that long: check that base_url is the address of a chat completions API."
        )
