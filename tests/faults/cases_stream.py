"""Cases of a stream's events: framing, sizes, nothing, broken ones, errors among them."""

from dataclasses import replace
from itertools import chain

from tests.faults.cases_json import INSIDE, inside
from tests.support.byte_server import Repeat
from tests.support.fault_table import STREAM_MODES, Case, Raises, Returns
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
END = (STOP, TAIL, DONE)


def case(name, script, expect):
    return Case(name, script, expect, STREAM_MODES)


def gives(name, *events, end=END, **expected):
    """Events that are a message: bytes as they are, text as a chunk of it, all else as JSON."""
    sent = [
        e if isinstance(e, bytes) else event(chunk(e) if isinstance(e, str) else e) for e in events
    ]
    return case(name, stream(*sent, *end), Returns(**expected))


def sent(name, *events, **expected):
    """Events and nothing else."""
    return gives(name, *events, end=(), **expected)


def framed(name, body, **expected):
    """The body in single bytes."""
    return case(name, split_stream(body, range(len(body))), Returns(**expected))


def between(*extra):
    """The good events with others before each of them."""
    return tuple(e for good in EVENTS for e in (*extra, good))


def content(escaped):
    """A chunk whose text is this JSON."""
    return event(b'{"choices":[{"index":0,"delta":{"content":"%s"}}]}' % escaped)


CRLF = BODY.replace(b"\n", b"\r\n")
SEPARATORS = "a\u2028b\x85c\x0bd\x0ce\x1cf\u2029g"
PINGS = (
    *(b"data:\n\n", b"data: \n\n", b"data:   \r\n\r\n", b"data\n\n", b"data:\ndata:\n\n"),
    *(b"event: ping\n" + data for data in (b"data:\n\n", b"data: ping\n\n", b'data: "ping"\n\n')),
    b"event: ping\ndata: 2026-08-01 00:00:00\n\n",
    *(b"event: heartbeat\n" + data for data in (b"data: ping\n\n", b"data: 17\n\n")),
    *(b"event: Keep-Alive\ndata: ping\n\n", b"event: keep_alive\ndata: 17\n\n"),
    *(b'data: {"type": "heartbeat"}\n\n', b"data: : OPENROUTER PROCESSING\n\n"),
    b'event: hermes.tool.progress\ndata: {"tool": "x", "message": "Running"}\n\n',
    b"event: progress\ndata: 50 %\n\n",
    b'data: {"error": null, "msg": "", "code": 0}\n\n',
)
FRAMING = (
    sent(
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
    sent("one frame for all", BODY),
    framed("CRLF, in single bytes", CRLF),
    framed("a BOM", b"\xef\xbb\xbf" + BODY),
    sent("comments between", *between(b": ping\n\n", b":\n")),
    sent("event, id and retry lines", *(b"event: message\nid: 7\nretry: 10\n" + e for e in EVENTS)),
    sent("fields without data", *between(b"retry: 10\n\n", b"id: 4\n\n", b"event: ping\n\n")),
    *(sent(f"between the events: {data.decode()!r}", *between(data)) for data in PINGS),
    sent("no blank line at the end", *EVENTS[:-1], DONE.rstrip()),
    sent("no blank line at the end and no [DONE]", HEL, LO, TAIL, STOP.rstrip()),
    sent("no [DONE]", *EVENTS[:-1]),
    sent("[DONE] twice", *EVENTS, DONE),
    sent("data after [DONE]", *EVENTS, HEL, b"data: junk\n\n"),
    sent("data after [DONE] in one frame", BODY + HEL + b"data: junk\n\n"),
    sent("[DONE] without a finish_reason", HEL, LO, TAIL, DONE),
    *(
        sent(f"the end as {data.decode()}", *EVENTS[:-1], b"data: %b\n\n" % data, b"data: junk\n\n")
        for data in (b" [DONE] ", b'"[DONE]"', b"[done]", b"DONE", b"[DONE]{}")
    ),
    sent("an event `end`", *EVENTS[:-1], b"event: end\ndata: bye\n\n"),
    framed("no blank lines between the events", BODY.replace(b"\n\n", b"\n")),
    sent("no blank lines between some events", HEL[:-1], LO, *END),
    sent("no blank lines between the events, and half of one", BODY.replace(b"\n\n", b"\n")[:-13] + b'data: {"ch'),
    sent("the message again at the end", HEL, LO, event(completion())),
    gives(
        "the message again at the end, after <think>",
        *["<think>", "hm", "</think>", "Hello"],
        end=(event(completion("<think>hm</think>Hello")),),
        reasoning="hm",
    ),
    sent("JSON with [DONE] after it", as_bytes(completion()) + b"\n\n" + DONE),
    gives("separators of Unicode inside strings", SEPARATORS, text=SEPARATORS),
    framed("UTF-8 in single bytes", event(chunk("希望😀é")) + b"".join(END), text="希望😀é"),
    gives("invalid UTF-8", HEL.replace(b"Hel", b"Hel\xff"), "lo", text="Hel\ufffdlo"),
    gives("a surrogate pair over two events", content(b"hi \\ud83d"), content(b"\\ude00"), text="hi 😀"),
    gives("half a surrogate pair at the end", content(b"hi \\ud83d"), text="hi \ufffd"),
    *(
        case(f"events as {kind!r}", response(BODY, content_type=kind), Returns())
        for kind in (
            *("", "application/json", "text/plain", "application/octet-stream"),
            *("text/event-stream", "Text/Event-Stream;Charset=UTF-8"),
        )
    ),
    case(
        "a wrong charset",
        response(BODY.replace(b"lo", "lé".encode()), content_type=f"{SSE_TYPE}; charset=latin-1"),
        Returns("Hellé"),
    ),
)  # fmt: skip

X = "x" * 8_000_000
LARGE = (
    case(
        "an event of 8 MB",
        split_stream(event(chunk(X)) + b"".join(END), range(0, 2**23, 2**16)),
        Returns(X),
    ),
    case(
        "an event above the limit",
        (response(b"data: ", content_type=SSE_TYPE, length=2**40), Repeat(b"x" * 2**20, times=80)),
        Raises("InvalidResponseError"),
    ),
    sent("10,000 events", event(chunk("x")) * 10_000 + STOP + TAIL + DONE, text="x" * 10_000),
    sent("30,000 comments", b": ping\n\n" * 30_000 + BODY),
)

NEITHER = ("InvalidResponseError", "StreamInterruptedError")
EMPTY = Raises(NEITHER, retryable=True)
NOTHING = (
    case("an empty stream", stream(), EMPTY),
    case("only [DONE]", stream(DONE), EMPTY),
    case("only comments", stream(b": ping\n\n", b": pong\n\n"), EMPTY),
    case("only events with empty data", stream(b"data:\n\n", b"data\n\n"), EMPTY),
    case("only usage", stream(TAIL, DONE), EMPTY),
    case("events of another API", stream(event({"response": "Hello", "usage": None}), DONE), EMPTY),
    case(
        "an error event without words",
        stream(HEL, b"event: error\ndata:\n\n", DONE),
        Raises("InternalServerError", partial="Hel"),
    ),
    case(
        "HTML in a stream after an event",
        stream(HEL, HTML.encode(), b"\n\n", DONE),
        Raises("InvalidResponseError", retryable=True, partial="Hel"),
    ),
    case(
        "HTML in a stream before any event",
        stream(b": ping\n\n", HTML.encode(), b"\n\n"),
        Raises("InvalidResponseError", retryable=True),
    ),
    gives("only an empty delta", "", end=(DONE,), text="", usage=None),
    case("only null", stream(event("null"), DONE), Raises(NEITHER)),
    case("HTML in a stream", response(HTML, content_type=SSE_TYPE), Raises(NEITHER, False)),
    case(
        "words",
        response(b"connect error", content_type=SSE_TYPE),
        Raises(NEITHER, says=("connect error",)),
    ),
    case("half a JSON response", response(b'{"id": "x", "choi'), Raises(NEITHER)),
    *(
        case(
            f"a JSON response after {space!r}",
            stream(*(bytes([byte]) for byte in space), as_bytes(completion())),
            Returns(),
        )
        for space in (b"\n", b" \r\n\t", b"\n" * 100, b"\xef\xbb\xbf\n")
    ),
)
BROKEN_EVENTS = {
    "no JSON": b'{"choices": [{"del',
    "text": b"hello?",
    "a number": b"123",
    "a list": b"[1]",
    "nested 5,000 deep": b"[" * 5000 + b"]" * 5000,
    "a number of 100,000 digits": b'{"choices": [}' + b"9" * 100_000,
}
BROKEN = tuple(
    case(
        f"an event that is {kind}, {place}",
        stream(*before, event(data), LO, STOP, DONE),
        Raises("InvalidResponseError", partial="Hel" if before else ""),
    )
    for kind, data in BROKEN_EVENTS.items()
    for place, before in (("first", ()), ("later", (HEL,)))
)

ERRORS_OF_STREAMS = {
    "an error event": b"event: error\n" + event(openai_error("it broke", 500)),
    "JSON without a field": b'{"error": {"message": "it broke", "code": 500}}\n\n',
    "an error event of a longer name": b"event: server_error\ndata: it broke\n\n",
    "an error event of the API": b"event: error\n" + event(aiml_error(500, "it broke")),
    "an error event in words": b"event: error\ndata: it broke\n\n",
    "an error event with a JSON text": b'event: error\ndata: "it broke"\n\n',
    "an error event with a list": b'event: error\ndata: ["it broke"]\n\n',
    "an error event, invalid JSON": b'event: error\ndata: {"detail": "it broke: "x""}\n\n',
    "a line that begins with error": event(b"error: it broke"),
    "the field `error` of llama.cpp": (
        b'error: {"code":500,"message":"it broke","type":"server_error"}\n\n'
    ),
    "beside choices": event(chunk("", None, error={"message": "it broke", "code": 500})),
    "inside a choice with text": event(
        chunk(choices=[{"delta": {"content": "x"}, "error": {"message": "it broke", "code": 502}}])
    ),
}
BROKE = Raises("InternalServerError", says=("it broke",))


def in_each_place(name, payload, expect):
    """An error as the first event, in the middle of the text, and after its end."""
    data = payload if name in ERRORS_OF_STREAMS else event(payload)
    places = {
        "first": ("", stream(data)),
        "later": ("Hel", stream(HEL, data, LO, *END)),
        "last": ("Hello", stream(HEL, LO, STOP, TAIL, data, DONE)),
    }
    for place, (partial, script) in places.items():
        yield case(f"{name}, {place}", script, replace(expect, partial=partial))


ERRORS = tuple(
    chain(
        *(in_each_place(name, data, BROKE) for name, data in ERRORS_OF_STREAMS.items()),
        *(in_each_place(*inside(number, row)) for number, row in enumerate(INSIDE)),
    )
)

CASES = (*FRAMING, *LARGE, *NOTHING, *BROKEN, *ERRORS)
