"""Cases of a stream's events: framing, sizes, nothing, broken ones, errors among them."""

from __future__ import annotations

import json

from tests.support.byte_server import Repeat
from tests.support.fault_outcomes import STREAM_MODES, Case, Raises, Returns
from tests.support.response_bytes import (
    DONE,
    EVENTS,
    HEL,
    HTML,
    INFERENCE_ID,
    LO,
    RESPONSE_ID,
    SSE_TYPE,
    STOP,
    TAIL,
    aiml_error,
    as_bytes,
    chunk,
    completion,
    event,
    openai_error,
    response,
    split_stream,
    stream,
)

BODY = b"".join(EVENTS)


def case(name: str, wire: bytes | tuple, expect: Raises | Returns) -> Case:
    return Case(name, wire, expect, STREAM_MODES)


def gives(name: str, *events: bytes, **expected: object) -> Case:
    return case(name, stream(*events), Returns(**expected))


def framed(name: str, body: bytes, **expected: object) -> Case:
    """The body whole, and again in single bytes."""
    return case(name, split_stream(body, range(len(body))), Returns(**expected))


def between(*extra: bytes) -> tuple[bytes, ...]:
    """The good events with others before each of them."""
    return tuple(e for good in EVENTS for e in (*extra, good))


def spread(payload: dict) -> bytes:
    """One event over many data lines."""
    lines = json.dumps(payload, indent=1).splitlines()
    return b"".join(b"data: " + line.encode() + b"\n" for line in lines) + b"\n"


LINE_ENDS = (b"\n", b"\r\n", b"\r") * 2
MIXED = b"".join(e.replace(b"\n", end) for e, end in zip(EVENTS, LINE_ENDS, strict=True))
FRAMING = (
    gives(
        "a good stream",
        *EVENTS,
        metadata={
            "finish_reason": "stop",
            "model_name": "baidu/ernie-4.5-21b-a3b",
            "id": RESPONSE_ID,
            "credits_used": 3,
            "usd_spent": 0.0000015,
            "inference_id": INFERENCE_ID,
        },
    ),
    framed("in single bytes", BODY),
    case("one frame for all", stream(BODY), Returns()),
    case("with a length", response(BODY, content_type=SSE_TYPE), Returns()),
    framed("CRLF, in single bytes", BODY.replace(b"\n", b"\r\n")),
    framed("CR, in single bytes", BODY.replace(b"\n", b"\r")),
    gives("CR", *(e.replace(b"\n", b"\r") for e in EVENTS)),
    framed("line ends mixed", MIXED),
    case(
        "CRLF cut between",
        split_stream(
            crlf := BODY.replace(b"\n", b"\r\n"),
            [i + 1 for i, byte in enumerate(crlf) if byte == 0x0D],
        ),
        Returns(),
    ),
    framed("a BOM", b"\xef\xbb\xbf" + BODY),
    gives("comments between", *between(b": ping\n\n", b":\n")),
    gives("a comment of 20 kB", b":" + b"c" * 20_000 + b"\n\n", *EVENTS),
    gives("blank lines between", *between(b"\n", b"\n\n\n")),
    gives("data: without a space", *(e.replace(b"data: ", b"data:") for e in EVENTS)),
    gives("data: with two spaces", *(e.replace(b"data: ", b"data:  ") for e in EVENTS[:-1]), DONE),
    gives("data over many lines", spread(chunk("Hel")), spread(chunk("lo")), STOP, TAIL, DONE),
    gives(
        "event, id and retry lines", *(b"event: message\nid: 7\nretry: 10\n" + e for e in EVENTS)
    ),
    gives("fields without data", *between(b"retry: 10\n\n", b"id: 4\n\n", b"event: ping\n\n")),
    gives("unknown fields", *(b"colour: red\nshape\n" + e for e in EVENTS)),
    gives("ping events with data", *between(b"event: ping\ndata: {}\n\n")),
    *(
        gives(f"between the events: {data.decode()!r}", *between(data))
        for data in (
            b"data:\n\n",
            b"data: \n\n",
            b"data:   \r\n\r\n",
            b"data\n\n",
            b"data:\ndata:\n\n",
            b"event: ping\ndata:\n\n",
            b"event: ping\ndata: ping\n\n",
            b"event: ping\ndata: 2026-08-01 00:00:00\n\n",
            b"event: heartbeat\ndata: ping\n\n",
            b"event: heartbeat\ndata: 17\n\n",
            b"event: Keep-Alive\ndata: ping\n\n",
            b"event: keep_alive\ndata: 17\n\n",
            b'event: ping\ndata: "ping"\n\n',
            b'data: {"type": "heartbeat"}\n\n',
        )
    ),
    gives("no blank line at the end", *EVENTS[:-1], DONE.rstrip()),
    gives("no blank line at the end and no [DONE]", HEL, LO, TAIL, STOP.rstrip()),
    gives("no [DONE]", *EVENTS[:-1]),
    gives("[DONE] twice", *EVENTS, DONE),
    gives("data after [DONE]", *EVENTS, HEL, b"data: junk\n\n"),
    case("data after [DONE] in one frame", stream(BODY + HEL + b"data: junk\n\n"), Returns()),
    gives("[DONE] without a finish_reason", HEL, LO, TAIL, DONE),
    gives("[DONE] with spaces", *EVENTS[:-1], b"data:  [DONE] \n\n"),
    gives(
        "separators of Unicode inside strings",
        event(chunk("a\u2028b\x85c\x0bd\x0ce\x1cf\u2029g")),
        STOP,
        TAIL,
        DONE,
        text="a\u2028b\x85c\x0bd\x0ce\x1cf\u2029g",
    ),
    framed(
        "UTF-8 in single bytes",
        b"".join((event(chunk("希望😀é")), STOP, TAIL, DONE)),
        text="希望😀é",
    ),
    gives(
        "invalid UTF-8",
        event(chunk("Hel")).replace(b"Hel", b"Hel\xff"),
        LO,
        STOP,
        TAIL,
        DONE,
        text="Hel\ufffdlo",
    ),
    gives(
        "a surrogate pair over two events",
        event(b'{"choices":[{"index":0,"delta":{"content":"hi \\ud83d"}}]}'),
        event(b'{"choices":[{"index":0,"delta":{"content":"\\ude00"}}]}'),
        STOP,
        TAIL,
        DONE,
        text="hi \U0001f600",
    ),
    gives(
        "half a surrogate pair at the end",
        event(b'{"choices":[{"index":0,"delta":{"content":"hi \\ud83d"}}]}'),
        STOP,
        TAIL,
        DONE,
        text="hi \ufffd",
    ),
    case(
        "SSE that calls itself JSON",
        response(BODY),
        Returns(),
    ),
    case("SSE that calls itself text", response(BODY, content_type="text/plain"), Returns()),
    case("SSE without a type", response(BODY, content_type=""), Returns()),
    case("SSE as octets", response(BODY, content_type="application/octet-stream"), Returns()),
    case(
        "SSE in a wrong charset",
        response(
            BODY.replace(b"lo", "lé".encode()), content_type="text/event-stream; charset=latin-1"
        ),
        Returns("Hellé"),
    ),
    case(
        "SSE type in capitals",
        response(BODY, content_type="Text/Event-Stream;Charset=UTF-8"),
        Returns(),
    ),
)

LARGE = (
    case(
        "an event of 8 MB",
        split_stream(
            event(chunk("x" * 8_000_000)) + b"".join((STOP, TAIL, DONE)), range(0, 2**23, 2**16)
        ),
        Returns("x" * 8_000_000),
    ),
    case(
        "an event above the limit",
        (
            response(b"data: ", content_type=SSE_TYPE, length=2**40),
            Repeat(b"x" * 2**20, times=80),
        ),
        Raises("InvalidResponseError"),
    ),
    case(
        "10,000 events",
        response(event(chunk("x")) * 10_000 + STOP + TAIL + DONE, content_type=SSE_TYPE),
        Returns("x" * 10_000),
    ),
    case(
        "30,000 comments",
        response(b": ping\n\n" * 30_000 + BODY, content_type=SSE_TYPE),
        Returns(),
    ),
)

EMPTY = Raises(("InvalidResponseError", "StreamInterruptedError"), retryable=True)
NOTHING = (
    case("an empty stream", stream(), EMPTY),
    case("only [DONE]", stream(DONE), EMPTY),
    case("only comments", stream(b": ping\n\n", b": pong\n\n"), EMPTY),
    case("only an empty delta", stream(event(chunk("")), DONE), Returns("", usage=None)),
    case(
        "only null",
        stream(event("null"), DONE),
        Raises(("InvalidResponseError", "StreamInterruptedError")),
    ),
    case(
        "HTML in a stream",
        response(HTML, content_type=SSE_TYPE),
        Raises(("InvalidResponseError", "StreamInterruptedError")),
    ),
    case(
        "HTML as HTML",
        response(HTML, content_type="text/html"),
        Raises("InvalidResponseError", says=("html",)),
    ),
    case("only events with empty data", stream(b"data:\n\n", b"data\n\n"), EMPTY),
    *(
        case(
            f"a JSON answer after {space!r}",
            stream(*(bytes([byte]) for byte in space), as_bytes(completion())),
            Returns(),
        )
        for space in (b"\n", b" \r\n\t", b"\n" * 100, b"\xef\xbb\xbf\n")
    ),
    case(
        "half a JSON answer",
        response(b'{"id": "x", "choi'),
        Raises(("InvalidResponseError", "StreamInterruptedError")),
    ),
)


def broken(name: str, data: object, partial: str = "Hel") -> Case:
    return case(
        name,
        stream(HEL, event(data), LO, STOP, DONE),
        Raises("InvalidResponseError", partial=partial),
    )


BROKEN = (
    broken("an event that is no JSON", b'{"choices": [{"del'),
    broken("an event that is text", b"hello?"),
    broken("an event that is a number", b"123"),
    broken("an event that is a list", b"[1]"),
    broken("an event nested 5,000 deep", b"[" * 5000 + b"]" * 5000),
    broken("an event with a number of 100,000 digits", b'{"choices": [}' + b"9" * 100_000),
    case(
        "broken JSON first",
        stream(event(b'{"choices": [{"del'), HEL, LO, STOP, DONE),
        Raises("InvalidResponseError", partial=""),
    ),
)

IT_BROKE = {"message": "it broke", "code": 502}
ERROR_SHAPES = {
    "OpenAI's": (event(openai_error("it broke", 500)), "InternalServerError"),
    "OpenAI's with a text code": (
        event(openai_error("it broke", "server_error")),
        "InternalServerError",
    ),
    "OpenAI's rate limit": (event(openai_error("it broke", 429)), "RateLimitError"),
    "a text": (event({"error": "it broke"}), "InternalServerError"),
    "the API's": (event(aiml_error(503, "it broke")), "InternalServerError"),
    "the API's with a text status": (event(aiml_error("429", "it broke")), "RateLimitError"),
    "the API's 400": (event(aiml_error(400, "it broke")), "BadRequestError"),
    "an error event": (
        b"event: error\n" + event(openai_error("it broke", 500)),
        "InternalServerError",
    ),
    "an error event of the API": (
        b"event: error\n" + event(aiml_error(500, "it broke")),
        "InternalServerError",
    ),
    "an error event in words": (b"event: error\ndata: it broke\n\n", "InternalServerError"),
    "an error event with a JSON text": (
        b'event: error\ndata: "it broke"\n\n',
        "InternalServerError",
    ),
    "an error event with a list": (
        b'event: error\ndata: ["it broke"]\n\n',
        "InternalServerError",
    ),
    "an error event with invalid JSON": (
        b'event: error\ndata: {"detail": "it broke: "x""}\n\n',
        "InternalServerError",
    ),
    "invalid JSON": (event(b'{"error": "it broke: "x" is no file"}'), "InternalServerError"),
    "invalid JSON of the API": (
        event(b'{ "message": "it broke: "x" is no file", "statusCode": 503}'),
        "InternalServerError",
    ),
    "invalid JSON with a type": (
        event(b'{"type": "error", "text": "it broke: "x" is no file"}'),
        "InternalServerError",
    ),
    "Python's repr": (event(b"{'error': {'message': 'it broke'}}"), "InternalServerError"),
    "a line that begins with error": (event(b"error: it broke"), "InternalServerError"),
    "the field `error` of llama.cpp": (
        b'error: {"code":500,"message":"it broke","type":"server_error"}\n\n',
        "InternalServerError",
    ),
    "invalid JSON about the context": (
        event(b'{"error": "it broke: "maximum context length" is 10"}'),
        "ContextWindowExceededError",
    ),
    "finish_reason error": (
        event(chunk("", "error", error={"message": "it broke", "code": 502})),
        "InternalServerError",
    ),
    "an error beside choices": (
        event(chunk("", None, error={"message": "it broke", "code": 500})),
        "InternalServerError",
    ),
    "an error inside a choice": (
        event(chunk("", None) | {"choices": [{"index": 0, "delta": {}, "error": IT_BROKE}]}),
        "InternalServerError",
    ),
    "an error inside a choice with text": (
        event(
            chunk()
            | {"choices": [{"delta": {"content": "x"}, "finish_reason": None, "error": IT_BROKE}]}
        ),
        "InternalServerError",
    ),
    "a text as the error inside a choice": (
        event(chunk() | {"choices": [{"index": 0, "delta": {}, "error": "it broke"}]}),
        "InternalServerError",
    ),
    "context overflow": (
        event(openai_error("it broke: maximum context length", "context_length_exceeded")),
        "ContextWindowExceededError",
    ),
    "no credits": (
        event(aiml_error(403, "it broke: You've run out of credits")),
        "InsufficientCreditsError",
    ),
}
ERRORS = tuple(
    case(
        f"{shape}, {place}",
        stream(*before, data, *after),
        Raises(name, partial=partial, says=("it broke",)),
    )
    for shape, (data, name) in ERROR_SHAPES.items()
    for place, before, after, partial in (
        ("first", (), (), ""),
        ("first of many", (), (HEL, LO, STOP, DONE), ""),
        ("in the middle", (HEL,), (LO, STOP, TAIL, DONE), "Hel"),
        ("last", (HEL, LO, STOP, TAIL), (DONE,), "Hello"),
    )
)

CASES = (*FRAMING, *LARGE, *NOTHING, *BROKEN, *ERRORS)
