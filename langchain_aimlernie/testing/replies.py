"""What tests script and read: replies, their faults, and received requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Literal

KEPT_REQUESTS = 20_000
"""How many requests are kept for tests to read; older ones are dropped."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which a connection breaks.

    Attributes:
        kind: "drop" closes the connection; "stall" sends nothing more and keeps it open until the
            client or the server closes it.
        events: Events of a stream that are sent before (a JSON body is one event).
        bytes: Bytes of the body that are sent before. Without `events` and `bytes`, not even the
            response headers are sent.
        reset: Whether "drop" is a TCP reset instead of an orderly end.

    Raises:
        ValueError: `kind` is not one of its values.
    """

    kind: Literal["drop", "stall"] = "drop"
    events: int | None = None
    bytes: int | None = None
    reset: bool = False

    def __post_init__(self) -> None:
        if self.kind not in ("drop", "stall"):
            raise ValueError(f"kind={self.kind!r}: must be 'drop' or 'stall'.")


@dataclass(frozen=True, slots=True)
class Reply:
    """One response, in the API's format or, with `body` or `events`, in any other.

    Attributes:
        text: The content of the message.
        reasoning: Its `reasoning_content`; None leaves the field out.
        tool_calls: Each `{"name", "args"}`, optionally with "id", or in the API's own format.
            "args" may be a string, which is sent unchanged and can be invalid JSON.
        finish_reason: By default "tool_calls" if there are any, else "stop".
        refusal: The refusal of the message.
        choices: Further choices, after the one that this reply describes.
        usage: Sent unchanged; None leaves it out; `...` computes the token counts.
        meta: Sent unchanged; None leaves it out; `...` computes the price, as
            `{"usage": {"credits_used", "usd_spent"}}`.
        model: The model name in the response; None is the requested one.
        body: Instead of all of the above, the body: bytes and text are sent unchanged, other
            values as JSON; or a function that returns one of these for the `Request`.
        events: Instead of all of the above, a stream: bytes are sent unchanged, text and JSON
            values as `data:` of an event. Nothing is added, not even `[DONE]`. May be endless; it
            is iterated anew for each response.
        stream: Whether to send a stream; None follows the request.
        status: The HTTP status.
        headers: Headers to add or replace, sent as UTF-8; None as a value omits one.
        delay: Seconds before the response headers; None is the server's `delay`.
        interval: Seconds between the events of the body; None is the server's `interval`.
        chunk_size: Bytes per chunk in which the body is sent, regardless of events.
        fault: How the connection breaks.
    """

    text: str = ""
    reasoning: str | None = None
    tool_calls: Sequence[Mapping[str, Any]] = ()
    finish_reason: str | None = None
    refusal: str | None = None
    choices: Sequence[Reply] = ()
    usage: Mapping[str, Any] | EllipsisType | None = ...
    meta: Mapping[str, Any] | EllipsisType | None = ...
    model: str | None = None
    body: object = None
    events: Iterable[object] | None = None
    stream: bool | None = None
    status: int = 200
    headers: Mapping[str, str | float | None] = field(default_factory=dict)
    delay: float | None = None
    interval: float | None = None
    chunk_size: int | None = None
    fault: Fault | None = None


def as_reply(reply: Reply | str) -> Reply:
    """Return a reply as it is, and a text as a reply; raise a TypeError for anything else."""
    if isinstance(reply, str):
        return Reply(reply)
    if not isinstance(reply, Reply):
        raise TypeError(f"expected a Reply or a text, got {type(reply).__name__}")
    return reply


class Headers(Mapping[str, str]):
    """HTTP headers with case-insensitive names; repeated ones are joined (RFC 9110 5.3)."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values})"


@dataclass(slots=True)
class Request:
    """A received request, and facts about its response.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        query: The query parameters, each with all its values.
        headers: The headers; names are case-insensitive.
        raw: The body's bytes.
        connection: Number of the connection, counted from 1.
        number: Number of the request to the server, counted from 1.
        id: Unique across servers; the ids in the response contain it.
        body: The body as parsed JSON; None if it is not JSON.
        violations: The body's violations of the published schema, unknown top-level fields
            included.
        ignored: Paths of keys in the body that the API ignores.
        status: The status of the response; None before it.
        usage: The usage sent with the response, if any.
        meta: The `meta` sent with the response, if any.
        complete: Whether the response was sent completely.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Headers
    raw: bytes = b""
    connection: int = 0
    number: int = 0
    id: str = ""
    body: Any = None
    violations: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    status: int | None = None
    usage: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None
    complete: bool = False
