"""What is tried again, how often, and what never is; the wire of each try is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.faults.cases_status import dated
from tests.support.byte_server import Close, Hold, Pause, Reset
from tests.support.error_samples import bare, openai
from tests.support.fault_outcomes import ALL_MODES, JSON_MODES, STREAM_MODES, OneOf, Raises, Returns
from tests.support.response_bytes import (
    DONE,
    GOOD_RESPONSE,
    GOOD_STREAM,
    HEL,
    LO,
    aiml_error,
    as_bytes,
    completion,
    event,
    openai_error,
    response,
    stream,
    unfinished,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.byte_server import Script


@dataclass(frozen=True)
class RetryCase:
    """The scripts of the tries, the requests they must take, and the end of it."""

    name: str
    scripts: tuple[Script, ...]
    expect: Raises | Returns | OneOf
    requests: int
    modes: tuple[str, ...] = ALL_MODES
    settings: Mapping[str, object] = field(default_factory=dict)
    at_least: float = 0.0


def status(code: int, message: str = "no luck today", **headers: str) -> Script:
    return (
        response(
            aiml_error(code, message), code, {k.replace("_", "-"): v for k, v in headers.items()}
        ),
    )


SOON = {"timeout": 0.4}
BODY = as_bytes(completion())
RESET: Script = (Reset(0.0),)
CUT_BODY: Script = (response(BODY[:40], length=len(BODY)), Close())
EMPTY_STREAM: Script = (stream(),)


def again(name: str, *scripts: Script, requests: int | None = None, **more: object) -> RetryCase:
    """Raises so often, then works."""
    return RetryCase(name, scripts, Returns(), requests or len(scripts) + 1, **more)


def gives_up(
    name: str, script: Script, error: str | tuple, requests: int, **more: object
) -> RetryCase:
    """Raises in the same way for ever."""
    return RetryCase(name, (script,) * 5, Raises(error), requests, **more)


HELPFUL = (408, 425, 500, 502, 503, 520, 522, 524, 529, 429)
HOPELESS = (400, 401, 402, 403, 404, 405, 409, 413, 415, 422, 501)
ANY = ("AimlErnieError", "BadRequestError", "AuthenticationError", "InsufficientCreditsError",
       "PermissionDeniedError", "NotFoundError", "InternalServerError")  # fmt: skip
LOST = ("APIConnectionError", "InvalidResponseError")

BY_STATUS = (
    *(again(f"{code} once", status(code)) for code in HELPFUL),
    *(gives_up(f"{code} always", status(code), ANY, 1) for code in HOPELESS),
    again("500 twice", status(500), status(500)),
    again("mixed", status(503), status(429)),
    gives_up("500 always", status(500), "InternalServerError", 3),
    gives_up("429 always", status(429), "RateLimitError", 3),
    gives_up(
        "500 always, no retries", status(500), "InternalServerError", 1, settings={"max_retries": 0}
    ),
    gives_up(
        "500 always, one retry", status(500), "InternalServerError", 2, settings={"max_retries": 1}
    ),
    again("504 once", status(504)),
    gives_up("504 always: perhaps billed", status(504), "InternalServerError", 2),
    gives_up(
        "out of credits", status(403, "You've run out of credits"), "InsufficientCreditsError", 1
    ),
    gives_up(
        "free tier", status(429, "Free-tier limit: reached for the hour"), "RateLimitError", 1
    ),
    gives_up(
        "maintenance", status(500, "The model is under maintenance"), "InternalServerError", 1
    ),
    gives_up(
        "a redirect",
        (response("", 307, {"Location": "http://127.0.0.1:9/"}),),
        (*ANY, "InvalidResponseError"),
        1,
    ),
)


def limited(body: object) -> Script:
    """A 429 that asks for next to no wait."""
    return (response(body, 429, {"retry-after-ms": "1"}),)


LIMITS = (
    again("429 about a load balancer", limited(bare("The load balancer has no free slot"))),
    again("429 about credits a minute", limited(bare("Exceeded 100 credits per minute"))),
    again("429 about a quota and a time", limited(bare("Quota exceeded"))),
    gives_up(
        "429 about funds and a time",
        limited(openai("no", "insufficient_quota")),
        "RateLimitError",
        1,
    ),
    gives_up(
        "429 about the free tier and a time",
        limited(bare("Free-tier limit reached")),
        "RateLimitError",
        1,
    ),
)

UNKNOWN_OUTCOME = (
    again("reset once", RESET),
    gives_up("reset always", RESET, "APIConnectionError", 2),
    gives_up("closed before the head always", (Close(),), "APIConnectionError", 2),
    gives_up("never answers", (Hold(),), "APITimeoutError", 2, settings=SOON),
    again(
        "answers late once",
        (Pause(4.0), GOOD_RESPONSE),
        settings={"timeout": 1.5},
        modes=JSON_MODES,
    ),
    again("body cut once", CUT_BODY, modes=JSON_MODES),
    gives_up("body cut always", CUT_BODY, LOST, 2, modes=JSON_MODES),
    gives_up(
        "broken JSON always", (response(BODY[:40]),), "InvalidResponseError", 2, modes=JSON_MODES
    ),
    again("empty once", (response(b""),), modes=JSON_MODES),
    gives_up("empty always", (response(b""),), "InvalidResponseError", 2, modes=JSON_MODES),
    again("an error in a 200 once", (response(openai_error("overloaded", 503)),), modes=JSON_MODES),
    gives_up(
        "a lasting error in a 200",
        (response(openai_error("bad request", 400)),),
        "BadRequestError",
        1,
        modes=JSON_MODES,
    ),
)

RETRY_AFTER = (
    again("Retry-After 1", status(429, Retry_After="1"), at_least=1.0),
    again("Retry-After 1.2 on a 503", status(503, Retry_After="1.2"), at_least=1.2),
    again("retry-after-ms", status(429, retry_after_ms="700"), at_least=0.7),
    again("Retry-After 0", status(429, Retry_After="0")),
    again("Retry-After a word", status(429, Retry_After="soon")),
    again("Retry-After negative", status(503, Retry_After="-5")),
    again("Retry-After nan", status(503, Retry_After="nan")),
    again("Retry-After a date gone by", status(503, Retry_After=dated(-900))),
    RetryCase(
        "Retry-After a day",
        (status(429, Retry_After="86400"),),
        Raises("RateLimitError", attributes={"retry_after": 86400.0}),
        1,
    ),
    RetryCase(
        "Retry-After above the cap",
        (status(503, Retry_After="61"),),
        Raises("InternalServerError", attributes={"retry_after": 61.0}),
        1,
    ),
    RetryCase(
        "Retry-After a far date",
        (status(429, Retry_After=dated(7200)),),
        Raises("RateLimitError"),
        1,
    ),
    RetryCase(
        "Retry-After inf",
        (status(429, Retry_After="inf"), status(429, Retry_After="1e400")),
        OneOf(Returns(), Raises("RateLimitError")),
        0,
    ),
)

STREAMS = (
    again("an error as the first event", (stream(event(openai_error("overloaded", 503))),), modes=STREAM_MODES),
    again("the API's error as the first event", (stream(event(aiml_error(500))),), modes=STREAM_MODES),
    again("an error in words as the first event", (stream(b"event: error\ndata: out of memory\n\n"),), modes=STREAM_MODES),
    again("an error of invalid JSON as the first event", (stream(event(b'{"error": "the "x" died"}')),), modes=STREAM_MODES),
    gives_up("an error in words after the first event", (stream(HEL, b"event: error\ndata: out of memory\n\n"),), "InternalServerError", 1, modes=STREAM_MODES),
    gives_up("an error as the first event always", (stream(event(aiml_error(503))),), "InternalServerError", 3, modes=STREAM_MODES),
    gives_up("a lasting error as the first event", (stream(event(aiml_error(400))),), "BadRequestError", 1, modes=STREAM_MODES),
    again("an empty stream once", EMPTY_STREAM, modes=STREAM_MODES),
    gives_up("an empty stream always", EMPTY_STREAM, ("InvalidResponseError", "StreamInterruptedError"), 3, modes=STREAM_MODES),
    again("only [DONE] once", (stream(DONE),), modes=STREAM_MODES),
    again("comments, then a reset", (unfinished(b": ping\n\n"), Reset()), modes=STREAM_MODES),
    gives_up("a reset before the first event always", (unfinished(), Reset()), (*LOST, "StreamInterruptedError"), 2, modes=STREAM_MODES),
    gives_up("no first event always", (unfinished(), Hold()), "APITimeoutError", 2, modes=STREAM_MODES, settings=SOON),
    gives_up("cut after the first event", (unfinished(HEL), Close()), "StreamInterruptedError", 1, modes=STREAM_MODES),
    gives_up("reset after the first event", (unfinished(HEL), Reset()), "StreamInterruptedError", 1, modes=STREAM_MODES),
    gives_up("an error after the first event", (stream(HEL, event(aiml_error(503))),), "InternalServerError", 1, modes=STREAM_MODES),
    gives_up("broken JSON after the first event", (stream(HEL, event("{"), LO),), "InvalidResponseError", 1, modes=STREAM_MODES),
    gives_up(
        "a stall after the first event",
        (unfinished(HEL), Hold()),
        "APITimeoutError",
        1,
        modes=STREAM_MODES,
        settings={"stream_idle_timeout": 0.4},
    ),
)  # fmt: skip

CASES = (*BY_STATUS, *LIMITS, *UNKNOWN_OUTCOME, *RETRY_AFTER, *STREAMS)


@dataclass(frozen=True)
class KeptAlive:
    """A connection that one good call has warmed, and what the second call meets on it."""

    name: str
    first: tuple
    second: Script | None
    expect: Raises | Returns
    requests: int
    connections: int


STALE = (
    KeptAlive("reused", (), None, Returns(), 2, 1),
    KeptAlive("closed while idle", (Pause(0.05), Close()), None, Returns(), 2, 2),
    KeptAlive("reset while idle", (Reset(0.05),), None, Returns(), 2, 2),
    KeptAlive("closed on the second request", (), (Close(),), Returns(), 3, 2),
    KeptAlive("reset on the second request", (), (Reset(0.0),), Returns(), 3, 2),
    KeptAlive("junk while idle", (Pause(0.02), b"junk\r\n"), None, Returns(), 2, 2),
)
GOOD = {"json": GOOD_RESPONSE, "sse": GOOD_STREAM}
