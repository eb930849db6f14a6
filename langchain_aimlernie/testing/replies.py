"""What a test tells the server to answer: replies, and the faults that break them off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import EllipsisType
from typing import Any, Literal


@dataclass(frozen=True, slots=True)
class Fault:
    """A way in which a connection breaks.

    Attributes:
        kind: "drop" ends the connection, "stall" says no more and keeps it open until the client
            or the server closes it.
        events: After so many events of a stream (the body of a JSON answer is one event).
        bytes: After so many bytes of the body. Neither: before the head of the answer.
        reset: A drop by TCP reset instead of an orderly end.
    """

    kind: Literal["drop", "stall"] = "drop"
    events: int | None = None
    bytes: int | None = None
    reset: bool = False

    @property
    def is_early(self) -> bool:
        """Whether not even the head of the answer is sent."""
        return self.events is None and self.bytes is None


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer, in the API's shape or, with `body` or `events`, in any other.

    Attributes:
        text: The content of the message.
        reasoning: Its `reasoning_content`; None leaves the field out.
        tool_calls: Each `{"name", "args"}`, and if wanted "id"; "args" may be a string, which is
            sent as it is, so that broken JSON can be. Objects of the wire are taken too.
        finish_reason: None: "tool_calls" if there are any, else "stop".
        refusal: The refusal of the message.
        choices: More choices, after the one that this reply is.
        usage: Sent as it is; None leaves it out; `...` counts it.
        meta: Likewise; `...` computes `{"usage": {"credits_used", "usd_spent"}}`.
        model: The model name in the answer; None is the one that was asked for.
        body: Instead of all of the above: bytes and text as they are, else sent as JSON; or a
            function that makes one of these from the `Request`.
        events: Instead of all of the above, a stream: bytes go out as they are, text and JSON
            values as `data:` of an event. Nothing is added, no `[DONE]` either. May be
            endless; it is iterated anew for each answer.
        stream: Whether to answer as a stream; None does what the request says.
        status: The HTTP status.
        headers: More headers, or others in place of those that the server would send; None
            as a value leaves one out.
        delay: Seconds before the head; None is the server's own.
        interval: Seconds between the pieces of the body; None is the server's own.
        chunk_size: Send the body in pieces of so many bytes, wherever its events end.
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
    headers: Mapping[str, str | None] = field(default_factory=dict)
    delay: float | None = None
    interval: float | None = None
    chunk_size: int | None = None
    fault: Fault | None = None
