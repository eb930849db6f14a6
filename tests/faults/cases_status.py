"""Error statuses: what class each is, whatever body and headers come with it."""

from __future__ import annotations

import gzip
import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from tests.support.byte_server import Close, Drip, Hold, Reset
from tests.support.error_samples import SAMPLES, aimlapi, bare, openai
from tests.support.fault_outcomes import ALL_MODES, Case, Raises
from tests.support.response_bytes import (
    HTML,
    INFERENCE_ID,
    aiml_error,
    head,
    openai_error,
    response,
)

# 405, 408, 415, 425, 501 and what lies outside the standard have no class of their own in the
# published list of errors: what counts for them is that they are typed and rightly retryable.
STATUSES: dict[int, tuple[str | tuple[str, ...], bool]] = {
    400: ("BadRequestError", False),
    401: ("AuthenticationError", False),
    402: ("InsufficientCreditsError", False),
    403: ("PermissionDeniedError", False),
    404: ("NotFoundError", False),
    405: (("BadRequestError", "AimlErnieError"), False),
    408: (("APITimeoutError", "AimlErnieError"), True),
    409: ("BadRequestError", False),
    413: ("BadRequestError", False),
    415: (("BadRequestError", "AimlErnieError"), False),
    418: (("BadRequestError", "AimlErnieError"), False),
    422: ("BadRequestError", False),
    425: (("APIConnectionError", "InternalServerError", "AimlErnieError"), True),
    429: ("RateLimitError", True),
    451: (("BadRequestError", "PermissionDeniedError", "AimlErnieError"), False),
    500: ("InternalServerError", True),
    501: ("InternalServerError", False),
    502: ("InternalServerError", True),
    503: ("InternalServerError", True),
    504: ("InternalServerError", True),
    520: ("InternalServerError", True),
    529: ("InternalServerError", True),
}
WORDS = "no luck today"
BODIES: dict[str, tuple[object, str, tuple[str, ...]]] = {
    "the API's JSON": ("aiml", "application/json", (WORDS, "req-0001")),
    "the API's JSON, status as text": ("aiml text", "application/json", (WORDS, "req-0001")),
    "OpenAI's JSON": (openai_error(WORDS, "some_code"), "application/json", (WORDS,)),
    "a list of messages": (
        {"message": [WORDS, "and again"], "statusCode": None},
        "application/json",
        (WORDS, "and again"),
    ),
    "a nested message": ({"error": {"error": {"message": WORDS}}}, "application/json", ()),
    "a bare text": (WORDS, "text/plain", (WORDS,)),
    "JSON null": ("null", "application/json", ()),
    "a JSON list": ("[1, 2]", "application/json", ()),
    "HTML": (HTML, "text/html", ()),
    "HTML of 100 kB": (HTML + "<p>y</p>" * 12_000, "text/html", ()),
    "nothing": ("", "", ()),
    "bytes that are no UTF-8": (b"\xff\xfe\x00\x80", "text/plain", ()),
    "JSON cut": (json.dumps(aiml_error(500))[:30], "application/json", ()),
    "JSON too deep": ("[" * 100_000, "application/json", ()),
}


def body_for(status: int, body: object) -> object:
    if body == "aiml":
        return aiml_error(status, WORDS)
    if body == "aiml text":
        return aiml_error(str(status), WORDS)
    return body


MATRIX = tuple(
    Case(
        f"{status}, {name}",
        response(body_for(status, body), status, content_type=kind),
        Raises(
            expected,
            retryable=retryable,
            says=(str(status), *says),
            attributes={"status_code": status, "inference_id": INFERENCE_ID},
        ),
        (("invoke", "astream"), ("ainvoke", "stream"))[number % 2],
    )
    for status, (expected, retryable) in STATUSES.items()
    for number, (name, (body, kind, says)) in enumerate(BODIES.items(), status)
)


def dated(seconds: float) -> str:
    """An HTTP date that many seconds from the time of import."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


def waiting(name: str, expected: object, *headers: tuple[str, str], status: int = 429) -> Case:
    return Case(
        f"Retry-After {name}",
        response(aiml_error(status), status, headers),
        Raises(
            str(STATUSES[status][0]),
            attributes={} if expected is ... else {"retry_after": expected},
        ),
        ("invoke", "astream"),
    )


RETRY_AFTER = (
    waiting("absent", None),
    waiting("0", ..., ("Retry-After", "0")),
    waiting("1.5", 1.5, ("Retry-After", "1.5")),
    waiting("7 on a 503", 7.0, ("Retry-After", "7"), status=503),
    waiting("86400", 86400.0, ("Retry-After", "86400")),
    waiting("a word", None, ("Retry-After", "soon")),
    waiting("negative", ..., ("Retry-After", "-1")),
    waiting("empty", None, ("Retry-After", "")),
    waiting("nan", None, ("Retry-After", "nan")),
    waiting("inf", ..., ("Retry-After", "inf")),
    waiting("1e400", ..., ("Retry-After", "1e400")),
    waiting("a date", ..., ("Retry-After", dated(3600))),
    waiting("a date gone by", ..., ("Retry-After", dated(-3600))),
    waiting("a date of no calendar", None, ("Retry-After", "Fri, 31 Feb 2026 25:00:00 GMT")),
    waiting("in ms", 0.25, ("retry-after-ms", "250")),
    waiting("in ms, before seconds", 0.25, ("Retry-After", "9"), ("retry-after-ms", "250")),
    waiting("twice", ..., ("Retry-After", "3"), ("Retry-After", "5")),
    waiting("with x-should-retry", 2.0, ("Retry-After", "2"), ("x-should-retry", "false")),
)


def context(name: str, body: object, status: int = 400) -> Case:
    return Case(
        f"context overflow: {name}",
        response(body, status),
        Raises("ContextWindowExceededError", retryable=False, attributes={"status_code": status}),
        ("invoke", "astream"),
    )


OVERFLOWS = (
    *(
        context(words, aiml_error(400, words))
        for words in (
            "This model's maximum context length is 120000 tokens",
            "context_length_exceeded",
            "too many tokens in the prompt",
            "prompt is too long: 130000 tokens > 120000 maximum",
            "Input exceeds the max input length of the model",
            "the context window was exceeded",
        )
    ),
    context("a code", openai_error("Bad request", "context_length_exceeded")),
    context("413", aiml_error(413, "maximum context length exceeded"), 413),
    context("422", aiml_error(422, "maximum context length exceeded"), 422),
)


def special(name: str, status: int, message: str, error: str, retryable: bool) -> Case:
    return Case(
        name,
        response(aiml_error(status, message), status),
        Raises(error, retryable=retryable, says=(message[:20],)),
        ("invoke", "astream"),
    )


SPECIAL = (
    special(
        "out of credits",
        403,
        "You've run out of credits. Top up.",
        "InsufficientCreditsError",
        False,
    ),
    special("region", 403, "Your region is not supported.", "PermissionDeniedError", False),
    special(
        "the free tier",
        429,
        "Free-tier limit: You've reached the free limit for the hour.",
        "RateLimitError",
        False,
    ),
    special(
        "under maintenance", 500, "The model is under maintenance", "InternalServerError", False
    ),
    special("generation timeout", 504, "Generation timeout", "InternalServerError", True),
    Case(
        "status 299",
        response(aiml_error(299), 299),
        Raises(("InvalidResponseError", "AimlErnieError", "InternalServerError")),
    ),
    Case(
        "status 600",
        response("", 600),
        Raises(("AimlErnieError", "InternalServerError", "InvalidResponseError")),
    ),
    Case(
        "status 999",
        response("", 999),
        Raises(("AimlErnieError", "InternalServerError", "InvalidResponseError")),
    ),
    Case(
        "status 304 without a body",
        (head(304),),
        Raises(("AimlErnieError", "InvalidResponseError"), retryable=False),
    ),
    Case(
        "an error body that is packed",
        response(
            gzip.compress(json.dumps(aiml_error(400, WORDS)).encode()),
            400,
            {"Content-Encoding": "gzip"},
        ),
        Raises("BadRequestError", says=(WORDS,)),
    ),
    Case(
        "an error body that is packed and broken",
        response(b"junk", 400, {"Content-Encoding": "gzip"}),
        Raises("BadRequestError", attributes={"status_code": 400}),
    ),
    Case(
        "an error body that is cut",
        (response("{", 400, length=500), Close()),
        Raises("BadRequestError", attributes={"status_code": 400}),
    ),
    Case(
        "an error body that is reset",
        (response("{", 400, length=500), Reset()),
        Raises("BadRequestError", attributes={"status_code": 400}),
    ),
    Case(
        "an error body that never comes",
        (response("", 400, length=500), Hold()),
        Raises(("BadRequestError", "APITimeoutError")),
        settings={"timeout": 0.25},
    ),
    Case(
        "an error body that drips for ever",
        (response("", 500, length=500_000), Drip(b"x" * 120, 0.05)),
        Raises(("InternalServerError", "APITimeoutError")),
        settings={"timeout": 0.25},
    ),
    Case(
        "an error as a stream",
        response(
            b"data: " + json.dumps(aiml_error(400, WORDS)).encode() + b"\n\n",
            400,
            content_type="text/event-stream",
        ),
        Raises("BadRequestError", attributes={"status_code": 400}),
    ),
)

SERVERS = tuple(
    Case(
        f"{sample.server} says {sample.status}",
        response(sample.body, sample.status, sample.headers),
        Raises(sample.error, retryable=sample.retryable, attributes={"status_code": sample.status}),
        (ALL_MODES[number % 4],),
    )
    for number, sample in enumerate(SAMPLES)
)


def inside(name: str, body: object, error: str, retryable: bool) -> Case:
    return Case(f"inside a 200: {name}", response(body), Raises(error, retryable=retryable))


INSIDE = (
    inside("overflow", bare("prompt is too long: 2 > 1"), "ContextWindowExceededError", False),
    inside("funds", bare("You've run out of credits"), "InsufficientCreditsError", False),
    inside("quota", openai("no", "insufficient_quota"), "RateLimitError", False),
    inside("free tier", bare("Free-tier limit reached"), "RateLimitError", False),
    inside("a minute", bare("Quota of 10 requests per minute exceeded"), "RateLimitError", True),
    inside("a load balancer", bare("The load balancer is busy"), "InternalServerError", True),
    inside("a 403", aimlapi("You've run out of credits", 403), "InsufficientCreditsError", False),
)

CASES = (*MATRIX, *RETRY_AFTER, *OVERFLOWS, *SPECIAL, *SERVERS, *INSIDE)
