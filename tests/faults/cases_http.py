"""Cases below JSON: the HTTP response is late, cut, lying, compressed or no HTTP at all."""

import gzip
import zlib
from dataclasses import replace

from tests.support.byte_server import Close, Drip, Hold, Pause, Repeat, Reset
from tests.support.fault_table import (
    ALL_MODES,
    JSON_MODES,
    SOON,
    STREAM_MODES,
    Case,
    OneOf,
    Raises,
    Returns,
)
from tests.support.response_bytes import (
    EVENTS,
    FINAL_FRAME,
    GOOD_RESPONSE,
    HEL,
    HTML,
    LO,
    SSE_HEAD,
    SSE_TYPE,
    STOP,
    TAIL,
    as_bytes,
    completion,
    frame,
    head,
    response,
    stream,
    unfinished,
)

BODY = as_bytes(completion())
NETWORK = ("APIConnectionError", "InvalidResponseError")
BROKEN = Raises(NETWORK, retryable=True)
LATE = Raises("APITimeoutError", retryable=True, says=(str(SOON),))
INVALID = Raises("InvalidResponseError")
CHUNKED = head(200, {"Transfer-Encoding": "chunked"})
HEAD_ONLY = head(200, {"Content-Length": str(len(BODY))})
EARLY_HINTS = b"HTTP/1.1 103 Early Hints\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def endless(data):
    """For longer than any clock of a case, but not for ever: a hang fails and does not hang."""
    return Drip((data,) * 240, 0.05)


def late(name, *script, phase="response_headers", modes=ALL_MODES):
    expect = replace(LATE, attributes={"phase": phase})
    return Case(name, script, expect, modes, settings={"timeout": SOON})


def broken(name, *script, **more):
    """Something that is no response, and the end of the connection."""
    return Case(name, (*script, Close()), BROKEN, **more)


def json_gives(name, *script, **expected):
    return Case(name, script, Returns(**expected), JSON_MODES)


def stream_gives(name, *script, settings=None, **expected):
    return Case(name, script, Returns(**expected), STREAM_MODES, settings=settings or {})


HEADS = (
    late("never responds", Hold()),
    late("head stops half way", HEAD_ONLY[:30], Hold()),
    late("head drips", Drip(HEAD_ONLY, 0.1), BODY),
    json_gives("slow but in time", Pause(0.1), GOOD_RESPONSE),
    broken("closed before the head"),
    Case("reset before the head", Reset(), BROKEN),
    broken("head cut", HEAD_ONLY[:40]),
    broken("no HTTP", b"SSH-2.0-OpenSSH_9.6\r\n"),
    broken("binary junk", bytes(range(256)) * 4),
    broken("an HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    broken("status without a number", b"HTTP/1.1 OK\r\n\r\n"),
    broken("negative length", head(200, {"Content-Length": "-1"}) + BODY),
    broken("two lengths that differ", response(BODY, headers={"Content-Length": "5"})),
    broken("a header of 200 kB", response(BODY, headers={"x-big": "b" * 200_000})),
    broken("a header with NUL", response(BODY, headers={"x-nul": "a\0b"})),
    json_gives("headers that are not UTF-8", response(BODY).replace(b"inf-0001", b"inf-\xff\xfe1")),
    json_gives("1xx first", CONTINUE * 3 + EARLY_HINTS + GOOD_RESPONSE),
    stream_gives("1xx before a stream", EARLY_HINTS + stream(*EVENTS)),
    Case(
        "101 switching protocols",
        (b"HTTP/1.1 101 X\r\nUpgrade: ws\r\n\r\n", Close()),
        Raises((*NETWORK, "AimlErnieError")),
    ),
)


def encoded(name, body, encoding, error=None, **more):
    script = response(body, headers={"Content-Encoding": encoding}, **more)
    modes = STREAM_MODES if more else JSON_MODES
    return Case(name, script, error or Returns(), modes, settings={"timeout": 15.0})


DEFLATED = zlib.compress(BODY, wbits=-zlib.MAX_WBITS)
GZIPPED, BOMB = gzip.compress(BODY), gzip.compress(bytes(80 * 2**20), 9)
BODIES = (
    late("body stalls", HEAD_ONLY, BODY[:40], Hold(), phase="response_body", modes=JSON_MODES),
    broken("body cut", HEAD_ONLY, BODY[:40], modes=JSON_MODES),
    Case("reset in the body", (HEAD_ONLY, BODY[:40], Reset()), BROKEN, JSON_MODES),
    broken("length too long", response(BODY, length=len(BODY) + 9), modes=JSON_MODES),
    broken("length too short", response(BODY, length=30), modes=JSON_MODES),
    json_gives("chunked", CHUNKED + frame(BODY) + FINAL_FRAME),
    broken("chunked without an end", CHUNKED + frame(BODY), modes=JSON_MODES),
    broken("a chunk size in words", CHUNKED + b"many\r\n" + BODY),
    broken("a chunk size too long", CHUNKED + b"ffff\r\n" + BODY, modes=JSON_MODES),
    json_gives("chunk extensions", CHUNKED + frame(BODY).replace(b"\r\n", b";x=y\r\n", 1) + FINAL_FRAME),
    json_gives("trailers", CHUNKED + frame(BODY) + b"0\r\nx-trailer: 1\r\n\r\n"),
    json_gives("ended by closing", head() + BODY, Close()),
    json_gives("a slow body in time", HEAD_ONLY, Drip((BODY[:50], BODY[50:]), 0.1)),
    Case("204", head(204), INVALID),
    Case("empty", response(b""), Raises("InvalidResponseError", retryable=True)),
    Case("only white space", response(b" \n\r\n "), Raises("InvalidResponseError", retryable=True)),
    encoded("gzip", GZIPPED, "gzip"),
    encoded("deflate", zlib.compress(BODY), "deflate"),
    encoded("gzip cut", GZIPPED[:-12], "gzip", BROKEN),
    encoded("deflate without a header", DEFLATED, "deflate"),
    *(
        encoded(f"{name} that cannot be read", data, name, replace(BROKEN, says=(f"Encoding is {name}",)))
        for name, data in {**dict.fromkeys(("gzip", "br", "zstd"), b"\x00\x01junk"), "x-gzip": GZIPPED}.items()
    ),
    encoded("an unknown encoding of JSON", BODY, "x-none"),
    encoded("a gzip bomb", BOMB, "gzip", INVALID),
    encoded("a gzip bomb for a stream", BOMB, "gzip", INVALID, content_type=SSE_TYPE),
    encoded("gzip in a stream", gzip.compress(b"".join(EVENTS)), "gzip", content_type=SSE_TYPE),
    Case("HTML", response(HTML, content_type="text/html"), Raises("InvalidResponseError", says=("html",))),
    Case("HTML that claims JSON", response(HTML), INVALID),
    Case(
        "HTML of 300 kB",
        response(HTML + "x" * 300_000, content_type="text/html"),
        Raises("InvalidResponseError", hides=("x" * 1000,)),
    ),
    json_gives("JSON as HTML", response(BODY, content_type="text/html")),
    stream_gives("a stream as HTML", response(b"".join(EVENTS), content_type="text/html; charset=utf-8")),
    json_gives("JSON as text/plain", response(BODY, content_type="text/plain")),
    json_gives("JSON without a type", response(BODY, content_type="")),
    stream_gives("JSON to a stream request", response(BODY), metadata={"credits_used": 3}),
    stream_gives("JSON as text/plain to a stream request", response(BODY, content_type="text/plain")),
    json_gives("a server that will close", response(BODY, headers={"Connection": "close"})),
)  # fmt: skip

COMMENT = response(b": ", content_type=SSE_TYPE, length=2**40)
FLOODS = (
    late("1xx for ever", endless(EARLY_HINTS)),
    json_gives("1,000 times 1xx", CONTINUE * 1000 + GOOD_RESPONSE),
    Case("a head without end", (head()[:-2], Repeat(b"x-more: and more\r\n" * 200, 100)), BROKEN),
    Case(
        "a body without end",
        (CHUNKED, Repeat(frame(b" " * 2**20), 80), Close()),
        Raises("InvalidResponseError", retryable=False),
        JSON_MODES,
    ),
    Case(
        "an error body without end",
        (response("", 500, length=2**40), Repeat(b"x" * 2**16, 2000), Close()),
        Raises("InternalServerError", attributes={"status_code": 500}),
    ),
    Case(
        "a page without end",
        (CHUNKED, frame(b"<html>"), Repeat(frame(b" " * 2**20), 80), Close()),
        INVALID,
    ),
    Case(
        "a comment without end", (COMMENT, Repeat(b"x" * 2**20, 80), Close()), INVALID, STREAM_MODES
    ),
)

REDIRECTS = (
    *tuple(
        Case(
            f"redirect {status}",
            response("", status, {"Location": "http://127.0.0.1:9/elsewhere"}),
            Raises("InvalidResponseError", retryable=False, says=(str(status),)),
        )
        for status in (300, 301, 302, 303, 304, 307, 308)
    ),
    Case(
        "redirect to no address",
        response("", 307, {"Location": "http://["}),
        Raises("InvalidResponseError", retryable=False, says=("another address",)),
    ),
)


def cut(name, *script, partial="Hel"):
    return Case(name, script, Raises("StreamInterruptedError", partial=partial), STREAM_MODES)


BEGUN, WHOLE = unfinished(HEL), unfinished(*EVENTS)
EOF_HEAD = head(200, {"Connection": "close"}, SSE_TYPE)
CUTS = (
    cut("cut after one event", BEGUN, Close()),
    cut("reset after one event", BEGUN, Reset()),
    cut("cut inside an event", unfinished(HEL, LO[:25]), Close()),
    cut("cut inside a frame", BEGUN, frame(LO)[:20], Close()),
    cut("reset inside an event", unfinished(HEL, LO[:25]), Reset()),
    cut("junk instead of a frame", BEGUN, b"what\r\n", Close()),
    cut("clean end without an end", stream(HEL, LO), partial="Hello"),
    cut("clean end inside an event", stream(HEL, LO[:25])),
    cut("EOF as the end, nothing said", EOF_HEAD + HEL + LO, Close(), partial="Hello"),
    cut("EOF inside an event", EOF_HEAD + HEL + LO[:25], Close()),
    cut("a stream's length too long", response(HEL, content_type=SSE_TYPE, length=4000), Close()),
)
STREAM_ENDS = (
    stream_gives("EOF as the end", EOF_HEAD + b"".join(EVENTS), Close()),
    stream_gives("reset after [DONE]", WHOLE, Reset()),
    stream_gives("cut after [DONE]", WHOLE, Close()),
    stream_gives("held open after [DONE]", WHOLE, Hold()),
    stream_gives("junk after [DONE]", WHOLE, b"what\r\n", Close()),
    stream_gives("endless after [DONE]", WHOLE, endless(frame(b": x\n\n"))),
    stream_gives("end of the body late", WHOLE, Pause(0.03), FINAL_FRAME),
    Case(
        "reset after finish_reason",
        (unfinished(HEL, LO, STOP, TAIL), Reset()),
        OneOf(Returns(), Raises("StreamInterruptedError", partial="Hello")),
        STREAM_MODES,
    ),
)

SILENT = Raises("APITimeoutError", partial="Hel", says=("0.25", "events before that: 1"))


def stalls(name, *script):
    return Case(name, script, SILENT, STREAM_MODES, settings={"stream_idle_timeout": 0.25})


SLOW = (*[LO] * 20, *EVENTS[-3:])
"""Sent 0.12 s apart they take 2.6 s: more than the idle timeout of their case."""
NO_EVENTS = {
    "comments": b": OPENROUTER PROCESSING\n\n",
    "an event in single bytes": b"d",
    "blank lines": b"\n\n",
    "empty deltas": b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    "heartbeats": b"event: ping\ndata: ping\n\n",
    "events with empty data": b"data:\n\n",
    "retry fields": b"retry: 5\n\n",
}
STALLS = (
    late("stall after the head", SSE_HEAD, Hold(), phase="response_body", modes=STREAM_MODES),
    late(
        "comments before any event",
        SSE_HEAD,
        endless(frame(b": hi\n\n")),
        phase="response_body",
        modes=STREAM_MODES,
    ),
    late(
        "one byte at a time before any event",
        SSE_HEAD,
        endless(frame(b":")),
        phase="response_body",
        modes=STREAM_MODES,
    ),
    stalls("stall after an event", BEGUN, Hold()),
    stalls("stall inside an event", unfinished(HEL, LO[:25]), Hold()),
    stalls("stall inside a frame", BEGUN, frame(LO)[:20], Hold()),
    *(stalls(f"{name} without end", BEGUN, endless(frame(x))) for name, x in NO_EVENTS.items()),
    Case(
        "stall after finish_reason",
        (unfinished(HEL, LO, STOP, TAIL), Hold()),
        OneOf(Returns(), Raises("APITimeoutError", partial="Hello")),
        STREAM_MODES,
        settings={"stream_idle_timeout": 0.25},
    ),
    stream_gives(
        "slow events, each in time",
        *(SSE_HEAD, Drip(tuple(frame(e) for e in SLOW), 0.12), FINAL_FRAME),
        text="lo" * 20,
        settings={"stream_idle_timeout": SOON},
    ),
    stream_gives(
        "the head in time, the first event late",
        *(SSE_HEAD, Pause(SOON + 0.5), b"".join(map(frame, EVENTS)), FINAL_FRAME),
        settings={"stream_idle_timeout": SOON},
    ),
)

CASES = (*HEADS, *BODIES, *FLOODS, *REDIRECTS, *CUTS, *STREAM_ENDS, *STALLS)
