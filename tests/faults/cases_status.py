"""Error statuses: what class each is, whatever body and headers come with it.

What servers say in their bodies is a matter of `error_samples`, which need no sockets.
"""

import gzip
import json
from itertools import starmap

from tests.support import response_bytes as wire
from tests.support.byte_server import Close, Drip, Hold, Reset
from tests.support.fault_table import SOON, Case, Raises

STATUSES = {
    **dict.fromkeys((400, 405, 409, 413, 415, 418, 422, 451), ("BadRequestError", False)),
    401: ("AuthenticationError", False),
    402: ("InsufficientCreditsError", False),
    403: ("PermissionDeniedError", False),
    404: ("NotFoundError", False),
    408: ("APITimeoutError", True),
    429: ("RateLimitError", True),
    **dict.fromkeys((425, 499, 500, 502, 503, 504, 520, 524, 529), ("InternalServerError", True)),
    **dict.fromkeys((501, 505, 511), ("InternalServerError", False)),
    **dict.fromkeys((600, 999), ("InvalidResponseError", False)),
}
WORDS = "no luck today"
TEXT, JSON = "text/plain", "application/json"
BODIES: dict[str, tuple[object, str, tuple[str, ...]]] = {
    "the API's JSON": (wire.aiml_error(500, WORDS), JSON, (WORDS, "req-0001")),
    "OpenAI's JSON": (wire.openai_error(WORDS, "some_code"), JSON, (WORDS,)),
    "a bare text": (WORDS, TEXT, (WORDS,)),
    "JSON null": ("null", JSON, ()),
    "a JSON list": ("[1, 2]", JSON, ()),
    "HTML": (wire.HTML, "text/html", ()),
    "HTML of 100 kB": (wire.HTML + "<p>y</p>" * 12_000, "text/html", ()),
    "nothing": ("", "", ()),
    "JSON without words": ({"a": 1, "message": 5}, JSON, ()),
    "a message in ten lists": ({"message": [[[[[[[[[["x"]]]]]]]]]]}, JSON, ()),
    "JSON of an empty text": ('""', JSON, ()),
    "bytes that are no UTF-8": (b"\xff\xfe\x00\x80", TEXT, ()),
    "JSON cut": (json.dumps(wire.aiml_error(500))[:30], JSON, ()),
    "JSON too deep": ("[" * 100_000, JSON, ()),
}


def with_body(status, name, modes):
    (error, retryable), (body, kind, says) = STATUSES[status], BODIES[name]
    facts = {"status_code": status, "inference_id": wire.INFERENCE_ID}
    expect = Raises(error, retryable, (f"[HTTP {status}", *says), attributes=facts)
    full_name = f"{status}, {name}" if modes[0] == "invoke" else f"{name}, {status}"
    return Case(full_name, wire.response(body, status, content_type=kind), expect, modes)


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


PAGE = "<!DOCTYPE html><html><head><title>502 Bad\nGateway</title></head>" + "<p>x</p>" * 9999
LONG, SHOWN = "x" * 500, "line line\\x1b[31m\\x00 "
TWENTY = "; ".join(f"body.{number}: no" for number in range(20))
IN_BODY = {"name": "E", "message": "Wrong", "details": [{"path": ["n"], "message": "no"}]}
OF_GOOGLE = {"@type": "t", "fieldViolations": [{"field": "contents", "description": "empty"}]}
OF_PYDANTIC = [
    {"type": "t", "loc": ["body", "n"], "msg": "no number, not 'x'", "input": "hunter2"},
    {"loc": ["body", "messages", 0, "role"], "msg": "Field required", "input": {}},
]
WORDED = (
    ({"message": "Wrong", "statusCode": "400", "requestId": "r1", "path": "/x"}, "Wrong", None, "r1"),
    ({"error": {"message": "Wrong", "code": "bad", "type": "t"}}, "Wrong", "bad", None),
    ({"error": {"message": "Wrong", "code": None, "type": "t"}}, "Wrong", "t", None),
    ({"error": {"error": {"message": "Wrong", "code": 7}}}, "Wrong", "7", None),
    ({"error": "Wrong"}, "Wrong", None, None),
    ({"errorMessage": "Wrong", "errorCode": "INVALID", "errorArgs": {"reason": "no"}}, "Wrong", "INVALID", None),
    ({"Message": "Wrong"}, "Wrong", None, None),
    ({"logId": "l", "errorCode": 40302, "errorMsg": "Wrong", "result": None}, "Wrong", "40302", None),
    ({"fault": {"faultstring": "Wrong", "detail": {"reason": "no"}}}, "Wrong", None, None),
    ({"message": ["Wrong", "very"], "error": "Bad Request"}, "Wrong; very", None, None),
    ({"message": {"message": "Wrong", "code": "c"}}, "Wrong", "c", None),
    ({"error_msg": "Wrong", "error_code": 336003}, "Wrong", "336003", None),
    ({"errors": [{"message": "Wrong"}]}, "Wrong", None, None),
    ({"errors": {"message": "Wrong", "request_id": "r"}}, "Wrong", None, "r"),
    (b"plain words", "plain words", None, None),
    (b'\xef\xbb\xbf{"message": "Wrong"}', "Wrong", None, None),
    (wire.event({"error": {"message": "Wrong", "code": "c"}}) + wire.DONE, "Wrong", "c", None),
    (b'id:1\r\nevent:error\r\n:HTTP_STATUS/400\r\ndata:{"code":"c","message":"Wrong","request_id":"r"}\r\n\r\n', "Wrong", "c",
     "r"),
    (b"data: Wrong", "data: Wrong", None, None),
    ({"error": "invalid_token", "error_description": "expired"}, "expired", None, None),
    ({"error": {"message": "<html><title>502</title></html>"}}, 'a page of HTML titled "502"', None, None),
    # A page is named, a message of one line and 500 characters is shown.
    (PAGE, 'a page of HTML titled "502 Bad Gateway"', None, None),
    ({"message": f"line\nline\x1b[31m\x00\u2028{LONG}"}, f"{SHOWN}{LONG[len(SHOWN) + 1 :]}…", None, None),
    # The parts of the request that are wrong are named, twenty at most.
    ({"detail": [{"loc": ["body", n], "msg": "no"} for n in range(1000)]}, TWENTY, None, None),
    ({"detail": [{"loc": ["a"], "msg": "Wrong"}, {"msg": "too"}]}, "a: Wrong; too", None, None),
    ({"detail": OF_PYDANTIC}, "body.n: no number, not 'x'; body.messages.0.role: Field required", None, None),
    ({"detail": [{"loc": ["body", "x"], "msg": "no", "ctx": {"error": "hunter2"}}]}, "body.x: no", None, None),
    ({"message": "Wrong", "errors": [{"field": "n", "message": "no"}]}, "Wrong; n: no", None, None),
    ({"errors": [{"path": ["tools", 0], "message": "Required"}]}, "tools.0: Required", None, None),
    ({"error": {"message": "Bad", "details": [{"path": ["n"], "message": "no"}]}}, "Bad; n: no", None, None),
    (wire.aiml_error(400, "Wrong") | {"status": 400, "title": "Bad", "error": IN_BODY}, "Wrong; n: no", None, "req-0001"),
    ({"title": "Bad", "invalid-params": [{"name": "n", "reason": "no"}]}, "Bad; n: no", None, None),
    ({"title": "Bad", "errors": [{"detail": "no", "pointer": "#/n"}]}, "Bad; #/n: no", None, None),
    ({"title": "Errors.", "status": 400, "errors": {"n": ["too hot"]}}, "Errors.; n: too hot", None, None),
    ({"error": {"code": 400, "message": "Bad", "status": "S", "details": [OF_GOOGLE]}}, "Bad; contents: empty", "400",
     None),
    ({"error": '[{"code": "c", "path": [9, "a"], "message": "Required"}]'}, "9.a: Required", None, None),
    ({"error": {"message": '{"error": {"message": "inner", "code": 429}}'}}, "inner", None, None),
    ({"error": {"message": "{not JSON"}}, "{not JSON", None, None),
    ({"error": "Bad", "errors": [{"message": "Bad"}]}, "Bad", None, None),
    ({"error": "Bad", "errors": [{"field": "n", "message": "Bad"}]}, "n: Bad", None, None),
    ({"detail": [{"loc": [{"a": 1}], "msg": "no"}, {"loc": [], "msg": "nor"}]}, "no; nor", None, None),
)  # fmt: skip
"""The body of an error, the message that is made of it, its code and the id of the request."""


def worded(number, row):
    body, words, code, request_id = row
    facts = {"message": words, "code": code, "request_id": request_id}
    expect = Raises("BadRequestError", False, hides=("hunter2",), attributes=facts)
    return Case(f"words {number}: {words:.50}", wire.response(body, 422), expect, ("invoke",))


PACKED = gzip.compress(json.dumps(wire.aiml_error(400, WORDS)).encode())
GZIP = {"Content-Encoding": "gzip"}
BAD_REQUEST = Raises("BadRequestError", attributes={"status_code": 400})


def special(status, message, error, retryable=False):
    expect = Raises(error, retryable=retryable, says=(message[:20],))
    script = wire.response(wire.aiml_error(status, message), status)
    return Case(f"{status}: {message}", script, expect, ("invoke", "astream"))


SPECIAL = (
    special(400, "prompt is too long: 13 tokens > 12 maximum", "ContextWindowExceededError"),
    special(403, "You've run out of credits. Top up.", "InsufficientCreditsError"),
    special(403, "Your region is not supported.", "PermissionDeniedError"),
    special(429, "Free-tier limit: You've reached the free limit.", "RateLimitError"),
    special(500, "The model is under maintenance", "InternalServerError"),
    special(504, "Generation timeout", "InternalServerError", retryable=True),
    Case("304 without a body", wire.head(304), Raises("InvalidResponseError", False, ("Not Modified",))),
    Case("status 299", wire.response("", 299), Raises("InvalidResponseError")),
    Case("a body that is packed", wire.response(PACKED, 400, GZIP), Raises("BadRequestError", says=(WORDS,))),
    Case("a body that is packed and broken", wire.response(b"junk", 400, GZIP), BAD_REQUEST),
    Case("a body that is cut", (wire.response("{", 400, length=500), Close()), BAD_REQUEST),
    Case("a body that is reset", (wire.response("{", 400, length=500), Reset()), BAD_REQUEST),
    Case(
        "a body that never comes",
        (wire.response("", 400, length=500), Hold()),
        Raises(("BadRequestError", "APITimeoutError")),
        settings={"timeout": SOON},
    ),
    Case(
        "a body that drips for ever",
        (wire.response("", 500, length=500_000), Drip(b"x" * 240, 0.05)),
        Raises(("InternalServerError", "APITimeoutError")),
        settings={"timeout": SOON},
    ),
    Case(
        "an error as a stream",
        wire.response(wire.event(wire.aiml_error(400, WORDS)), 400, content_type="text/event-stream"),
        BAD_REQUEST,
    ),
)  # fmt: skip

CASES = (*BY_STATUS, *starmap(worded, enumerate(WORDED)), *SPECIAL)
