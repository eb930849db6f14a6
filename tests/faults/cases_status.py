"""Error statuses: what class each is, whatever body and headers come with it.

What servers say in their bodies is a matter of `error_samples`, which need no sockets.
"""

from __future__ import annotations

import gzip
import json

from tests.support.byte_server import Close, Drip, Hold, Reset
from tests.support.fault_table import SOON, Case, Raises
from tests.support.response_bytes import (
    HTML,
    INFERENCE_ID,
    aiml_error,
    event,
    head,
    openai_error,
    response,
)

STATUSES = {
    **dict.fromkeys((400, 405, 409, 413, 415, 418, 422, 451), ("BadRequestError", False)),
    401: ("AuthenticationError", False),
    402: ("InsufficientCreditsError", False),
    403: ("PermissionDeniedError", False),
    404: ("NotFoundError", False),
    408: ("APITimeoutError", True),
    429: ("RateLimitError", True),
    **dict.fromkeys((425, 500, 502, 503, 504, 520, 524, 529), ("InternalServerError", True)),
    **dict.fromkeys((501, 505, 511), ("InternalServerError", False)),
    **dict.fromkeys((600, 999), ("InvalidResponseError", False)),
}
WORDS = "no luck today"
TEXT, JSON = "text/plain", "application/json"
BODIES: dict[str, tuple[object, str, tuple[str, ...]]] = {
    "the API's JSON": (aiml_error(500, WORDS), JSON, (WORDS, "req-0001")),
    "the API's JSON, status as text": (aiml_error("500", WORDS), JSON, (WORDS, "req-0001")),
    "OpenAI's JSON": (openai_error(WORDS, "some_code"), JSON, (WORDS,)),
    "a list of messages": ({"message": [WORDS, "and again"]}, JSON, (WORDS, "and again")),
    "a nested message": ({"error": {"error": {"message": WORDS}}}, JSON, ()),
    "a list of details": (
        {"detail": [{"loc": ["body", "n"], "msg": WORDS}]},
        JSON,
        (f"body.n: {WORDS}",),
    ),
    "details by field": ({"errors": {"n": [WORDS]}}, JSON, (f"n: {WORDS}",)),
    "a bare text": (WORDS, TEXT, (WORDS,)),
    "JSON null": ("null", JSON, ()),
    "a JSON list": ("[1, 2]", JSON, ()),
    "HTML": (HTML, "text/html", ()),
    "HTML of 100 kB": (HTML + "<p>y</p>" * 12_000, "text/html", ()),
    "nothing": ("", "", ()),
    "JSON without words": ({"a": 1, "message": 5}, JSON, ()),
    "JSON of an empty text": ('""', JSON, ()),
    "bytes that are no UTF-8": (b"\xff\xfe\x00\x80", TEXT, ()),
    "JSON cut": (json.dumps(aiml_error(500))[:30], JSON, ()),
    "JSON too deep": ("[" * 100_000, JSON, ()),
}


def with_body(status, name, modes):
    (error, retryable), (body, kind, says) = STATUSES[status], BODIES[name]
    facts = {"status_code": status, "inference_id": INFERENCE_ID}
    expect = Raises(error, retryable, (f"[HTTP {status}", *says), attributes=facts)
    full_name = f"{status}, {name}" if modes[0] == "invoke" else f"{name}, {status}"
    return Case(full_name, response(body, status, content_type=kind), expect, modes)


NAMES = tuple(BODIES)
BY_STATUS = (
    *(
        with_body(status, NAMES[number % len(NAMES)], ("invoke", "astream"))
        for number, status in enumerate(STATUSES)
    ),
    *(
        with_body((409, 529)[number % 2], name, ("ainvoke", "stream"))
        for number, name in enumerate(NAMES)
    ),
)


PACKED = gzip.compress(json.dumps(aiml_error(400, WORDS)).encode())
GZIP = {"Content-Encoding": "gzip"}
BAD_REQUEST = Raises("BadRequestError", attributes={"status_code": 400})


def special(status, message, error, retryable=False):
    expect = Raises(error, retryable=retryable, says=(message[:20],))
    script = response(aiml_error(status, message), status)
    return Case(f"{status}: {message}", script, expect, ("invoke", "astream"))


SPECIAL = (
    special(400, "prompt is too long: 13 tokens > 12 maximum", "ContextWindowExceededError"),
    special(403, "You've run out of credits. Top up.", "InsufficientCreditsError"),
    special(403, "Your region is not supported.", "PermissionDeniedError"),
    special(429, "Free-tier limit: You've reached the free limit.", "RateLimitError"),
    special(500, "The model is under maintenance", "InternalServerError"),
    special(504, "Generation timeout", "InternalServerError", retryable=True),
    Case("304 without a body", head(304), Raises("InvalidResponseError", retryable=False)),
    Case("status 299", response("", 299), Raises("InvalidResponseError")),
    Case("a body that is packed", response(PACKED, 400, GZIP), Raises("BadRequestError", says=(WORDS,))),
    Case("a body that is packed and broken", response(b"junk", 400, GZIP), BAD_REQUEST),
    Case("a body that is cut", (response("{", 400, length=500), Close()), BAD_REQUEST),
    Case("a body that is reset", (response("{", 400, length=500), Reset()), BAD_REQUEST),
    Case(
        "a body that never comes",
        (response("", 400, length=500), Hold()),
        Raises(("BadRequestError", "APITimeoutError")),
        settings={"timeout": SOON},
    ),
    Case(
        "a body that drips for ever",
        (response("", 500, length=500_000), Drip(b"x" * 120, 0.05)),
        Raises(("InternalServerError", "APITimeoutError")),
        settings={"timeout": SOON},
    ),
    Case(
        "an error as a stream",
        response(event(aiml_error(400, WORDS)), 400, content_type="text/event-stream"),
        BAD_REQUEST,
    ),
)  # fmt: skip

CASES = (*BY_STATUS, *SPECIAL)
