"""Cases below JSON: the HTTP answer is late, cut, lying, packed or no HTTP at all."""

from __future__ import annotations

import gzip
import zlib

from tests.support.byte_server import Close, Drip, Hold, Pause, Repeat, Reset
from tests.support.fault_outcomes import JSON_MODES, STREAM_MODES, Case, OneOf, Raises, Returns
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
SOON = {"timeout": 0.25}
NETWORK = ("APIConnectionError", "InvalidResponseError")
BROKEN = Raises(NETWORK, retryable=True)
LATE = Raises("APITimeoutError", retryable=True, says=("0.25",))
CHUNKED = {"Transfer-Encoding": "chunked"}
HEAD_ONLY = head(200, {"Content-Length": str(len(BODY))})


def packed(body: bytes, encoding: str) -> bytes:
    return response(body, headers={"Content-Encoding": encoding})


BOMB = gzip.compress(bytes(80 * 2**20), 9)


def endless(data: bytes) -> Drip:
    """For longer than any clock of a case, but not for ever: a hang fails and does not hang."""
    return Drip((data,) * 120, 0.05)


HEADS = (
    Case("never answers", (Hold(),), LATE, settings=SOON),
    Case("head stops half way", (HEAD_ONLY[:30], Hold()), LATE, settings=SOON),
    Case("head drips", (Drip(HEAD_ONLY, 0.1), BODY), LATE, settings=SOON),
    Case("slow but in time", (Pause(0.3), GOOD_RESPONSE), Returns(), JSON_MODES),
    Case("closed before the head", (Close(),), BROKEN),
    Case("reset before the head", (Reset(),), BROKEN),
    Case("head cut", (HEAD_ONLY[:40], Close()), BROKEN),
    Case("no HTTP", (b"SSH-2.0-OpenSSH_9.6\r\n", Close()), BROKEN),
    Case("binary junk", (bytes(range(256)) * 4, Close()), BROKEN),
    Case("an HTTP/2 preface", (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Close()), BROKEN),
    Case("status without a number", (b"HTTP/1.1 OK\r\n\r\n", Close()), BROKEN),
    Case("negative length", (head(200, {"Content-Length": "-1"}) + BODY, Close()), BROKEN),
    Case(
        "two lengths that differ",
        (response(BODY, headers={"Content-Length": "5"}), Close()),
        BROKEN,
    ),
    Case("a header of 200 kB", (response(BODY, headers={"x-big": "b" * 200_000}), Close()), BROKEN),
    Case("a header with NUL", (response(BODY, headers={"x-nul": "a\0b"}), Close()), BROKEN),
    Case(
        "headers that are not UTF-8",
        response(BODY).replace(b"inf-0001", b"inf-\xff\xfe1"),
        Returns(),
        JSON_MODES,
    ),
    Case(
        "1xx first",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + b"HTTP/1.1 103 Early Hints\r\n\r\n" + GOOD_RESPONSE,
        Returns(),
        JSON_MODES,
    ),
    Case(
        "1xx before a stream",
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + stream(*EVENTS),
        Returns(),
        STREAM_MODES,
    ),
    Case(
        "101 switching protocols",
        (b"HTTP/1.1 101 X\r\nUpgrade: ws\r\n\r\n", Close()),
        Raises(("APIConnectionError", "InvalidResponseError", "AimlErnieError")),
    ),
)

BODIES = (
    Case("body stalls", (HEAD_ONLY, BODY[:40], Hold()), LATE, JSON_MODES, settings=SOON),
    Case("body cut", (HEAD_ONLY, BODY[:40], Close()), BROKEN, JSON_MODES),
    Case("reset in the body", (HEAD_ONLY, BODY[:40], Reset()), BROKEN, JSON_MODES),
    Case("length too long", (response(BODY, length=len(BODY) + 9), Close()), BROKEN, JSON_MODES),
    Case("length too short", (response(BODY, length=30), Close()), BROKEN, JSON_MODES),
    Case("chunked", head(200, CHUNKED) + frame(BODY) + FINAL_FRAME, Returns(), JSON_MODES),
    Case("chunked without an end", (head(200, CHUNKED) + frame(BODY), Close()), BROKEN, JSON_MODES),
    Case("a chunk size in words", (head(200, CHUNKED) + b"many\r\n" + BODY, Close()), BROKEN),
    Case(
        "a chunk size too long",
        (head(200, CHUNKED) + b"ffff\r\n" + BODY, Close()),
        BROKEN,
        JSON_MODES,
    ),
    Case("ended by closing", (head() + BODY, Close()), Returns(), JSON_MODES),
    Case(
        "a slow body in time", (HEAD_ONLY, Drip((BODY[:50], BODY[50:]), 0.2)), Returns(), JSON_MODES
    ),
    Case("204", (head(204),), Raises("InvalidResponseError")),
    Case("empty", response(b""), Raises("InvalidResponseError", retryable=True)),
    Case("only white space", response(b" \n\r\n "), Raises("InvalidResponseError", retryable=True)),
    Case("gzip", packed(gzip.compress(BODY), "gzip"), Returns(), JSON_MODES),
    Case("deflate", packed(zlib.compress(BODY), "deflate"), Returns(), JSON_MODES),
    Case("gzip cut", packed(gzip.compress(BODY)[:-12], "gzip"), BROKEN, JSON_MODES),
    Case("gzip that is none", packed(BODY, "gzip"), BROKEN, JSON_MODES),
    Case("brotli that is none", packed(b"\x00\x01junk", "br"), BROKEN, JSON_MODES),
    Case("zstd that is none", packed(b"\x00\x01junk", "zstd"), BROKEN, JSON_MODES),
    Case("an unknown packing of JSON", packed(BODY, "x-none"), Returns(), JSON_MODES),
    Case(
        "a gzip bomb",
        packed(BOMB, "gzip"),
        Raises("InvalidResponseError"),
        JSON_MODES,
        settings={"timeout": 15.0},
    ),
    Case(
        "a gzip bomb for a stream",
        response(BOMB, headers={"Content-Encoding": "gzip"}, content_type=SSE_TYPE),
        Raises("InvalidResponseError"),
        STREAM_MODES,
        settings={"timeout": 15.0},
    ),
    Case(
        "gzip in a stream",
        response(
            gzip.compress(b"".join(EVENTS)),
            headers={"Content-Encoding": "gzip"},
            content_type=SSE_TYPE,
        ),
        Returns(),
        STREAM_MODES,
    ),
    Case(
        "HTML",
        response(HTML, content_type="text/html"),
        Raises("InvalidResponseError", says=("html",)),
    ),
    Case("HTML that claims JSON", response(HTML), Raises("InvalidResponseError")),
    Case(
        "HTML of 300 kB",
        response(HTML + "x" * 300_000, content_type="text/html"),
        Raises("InvalidResponseError", hides=("x" * 1000,)),
    ),
    Case("JSON as text/plain", response(BODY, content_type="text/plain"), Returns(), JSON_MODES),
    Case("JSON without a type", response(BODY, content_type=""), Returns(), JSON_MODES),
    Case(
        "JSON to a stream request",
        response(BODY),
        Returns(metadata={"credits_used": 3}),
        STREAM_MODES,
    ),
    Case(
        "JSON as text/plain to a stream request",
        response(BODY, content_type="text/plain"),
        Returns(),
        STREAM_MODES,
    ),
    Case(
        "a closing server keeps its word",
        response(BODY, headers={"Connection": "close"}),
        Returns(),
        JSON_MODES,
    ),
)

FLOODS = (
    Case("1xx for ever", (endless(b"HTTP/1.1 103 Early Hints\r\n\r\n"),), LATE, settings=SOON),
    Case(
        "1,000 times 1xx",
        b"HTTP/1.1 100 Continue\r\n\r\n" * 1000 + GOOD_RESPONSE,
        Returns(),
        JSON_MODES,
    ),
    Case(
        "a head without end", (head()[:-2], Repeat(b"x-more: and more\r\n", times=20_000)), BROKEN
    ),
    Case(
        "a body without end",
        (head(200, CHUNKED), Repeat(frame(b" " * 2**20), times=80), Close()),
        Raises("InvalidResponseError", retryable=False),
        JSON_MODES,
    ),
    Case(
        "an error body without end",
        (response("", 500, length=2**40), Repeat(b"x" * 2**16, times=2000), Close()),
        Raises("InternalServerError", attributes={"status_code": 500}),
    ),
    Case(
        "a comment without end",
        (
            response(b": ", content_type=SSE_TYPE, length=2**40),
            Repeat(b"x" * 2**20, times=80),
            Close(),
        ),
        Raises("InvalidResponseError"),
        STREAM_MODES,
    ),
    Case(
        "chunk extensions",
        head(200, CHUNKED) + frame(BODY).replace(b"\r\n", b";x=y\r\n", 1) + FINAL_FRAME,
        Returns(),
        JSON_MODES,
    ),
    Case(
        "trailers",
        head(200, CHUNKED) + frame(BODY) + b"0\r\nx-trailer: 1\r\n\r\n",
        Returns(),
        JSON_MODES,
    ),
)

REDIRECT = {"Location": "http://127.0.0.1:9/elsewhere"}
REDIRECTS = tuple(
    Case(
        f"redirect {status}",
        response("", status, REDIRECT),
        Raises(
            ("AimlErnieError", "InvalidResponseError", "BadRequestError", "NotFoundError"),
            retryable=False,
            says=(str(status),),
        ),
    )
    for status in (300, 301, 302, 303, 304, 307, 308)
)


def cut(name: str, script: tuple, partial: str, **settings: object) -> Case:
    return Case(
        name,
        script,
        Raises("StreamInterruptedError", partial=partial),
        STREAM_MODES,
        settings=settings,
    )


BEGUN = unfinished(HEL)
IDLE = {"stream_idle_timeout": 0.25}
SLOW = (*[LO] * 25, *EVENTS[-3:])
"""Sent 0.05 s apart they take 1.4 s: nearly three times the idle timeout of their case."""

EOF_HEAD = head(200, {"Connection": "close"}, SSE_TYPE)

STREAM_ENDS = (
    cut("cut after one event", (BEGUN, Close()), "Hel"),
    cut("reset after one event", (BEGUN, Reset()), "Hel"),
    cut("cut inside an event", (unfinished(HEL, LO[:25]), Close()), "Hel"),
    cut("cut inside a frame", (BEGUN, frame(LO)[:20], Close()), "Hel"),
    cut("reset inside an event", (unfinished(HEL, LO[:25]), Reset()), "Hel"),
    cut("junk instead of a frame", (BEGUN, b"what\r\n", Close()), "Hel"),
    cut("clean end without an end", (stream(HEL, LO),), "Hello"),
    cut("clean end inside an event", (stream(HEL, LO[:25]),), "Hel"),
    cut("EOF as the end, nothing said", (EOF_HEAD + HEL + LO, Close()), "Hello"),
    cut("EOF inside an event", (EOF_HEAD + HEL + LO[:25], Close()), "Hel"),
    cut(
        "length too long in a stream",
        (response(HEL, content_type=SSE_TYPE, length=4000), Close()),
        "Hel",
    ),
    Case("EOF as the end", (EOF_HEAD + b"".join(EVENTS), Close()), Returns(), STREAM_MODES),
    Case("reset after [DONE]", (unfinished(*EVENTS), Reset()), Returns(), STREAM_MODES),
    Case("cut after [DONE]", (unfinished(*EVENTS), Close()), Returns(), STREAM_MODES),
    Case("held open after [DONE]", (unfinished(*EVENTS), Hold()), Returns(), STREAM_MODES),
    Case("junk after [DONE]", (unfinished(*EVENTS), b"what\r\n", Close()), Returns(), STREAM_MODES),
    Case(
        "endless after [DONE]",
        (unfinished(*EVENTS), Drip((frame(b": x\n\n"),) * 120, 0.05)),
        Returns(),
        STREAM_MODES,
    ),
    Case(
        "end of the body late",
        (unfinished(*EVENTS), Pause(0.03), FINAL_FRAME),
        Returns(),
        STREAM_MODES,
    ),
    Case(
        "reset after finish_reason",
        (unfinished(HEL, LO, STOP, TAIL), Reset()),
        OneOf(Returns(), Raises("StreamInterruptedError", partial="Hello")),
        STREAM_MODES,
    ),
)


def stalls(
    name: str, *steps: object, partial: str = "Hel", says: tuple[str, ...] = ("0.25",)
) -> Case:
    return Case(
        name,
        steps,
        Raises("APITimeoutError", partial=partial, says=says),
        STREAM_MODES,
        settings=IDLE,
    )


EMPTY_DELTA = frame(
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n'
)
STALLS = (
    Case("stall after the head", (SSE_HEAD, Hold()), LATE, STREAM_MODES, settings=SOON),
    Case(
        "comments before any event",
        (SSE_HEAD, endless(frame(b": hi\n\n"))),
        LATE,
        STREAM_MODES,
        settings=SOON,
    ),
    Case(
        "one byte at a time before any event",
        (SSE_HEAD, endless(frame(b":"))),
        LATE,
        STREAM_MODES,
        settings=SOON,
    ),
    stalls("stall after an event", BEGUN, Hold()),
    stalls("stall inside an event", unfinished(HEL, LO[:25]), Hold()),
    stalls("stall inside a frame", BEGUN, frame(LO)[:20], Hold()),
    stalls("comments without end", BEGUN, endless(frame(b": OPENROUTER PROCESSING\n\n"))),
    stalls("an event in single bytes", BEGUN, endless(frame(b"d"))),
    stalls("blank lines without end", BEGUN, endless(frame(b"\n\n"))),
    stalls("empty deltas without end", BEGUN, endless(EMPTY_DELTA)),
    stalls("heartbeats without end", BEGUN, endless(frame(b"event: ping\ndata: ping\n\n"))),
    stalls("events with empty data without end", BEGUN, endless(frame(b"data:\n\n"))),
    stalls("retry fields without end", BEGUN, endless(frame(b"retry: 5\n\n"))),
    Case(
        "stall after finish_reason",
        (unfinished(HEL, LO, STOP, TAIL), Hold()),
        OneOf(Returns(), Raises("APITimeoutError", partial="Hello")),
        STREAM_MODES,
        settings=IDLE,
    ),
    Case(
        "slow events, each in time",
        (SSE_HEAD, Drip(tuple(frame(e) for e in SLOW), 0.05), FINAL_FRAME),
        Returns("lo" * 25),
        STREAM_MODES,
        settings={"stream_idle_timeout": 0.5},
    ),
    Case(
        "the head in time, the first event late",
        (SSE_HEAD, Pause(0.3), b"".join(map(frame, EVENTS)), FINAL_FRAME),
        Returns(),
        STREAM_MODES,
        settings={"timeout": 4.0, "stream_idle_timeout": 0.2},
    ),
)

CASES = (*HEADS, *BODIES, *FLOODS, *REDIRECTS, *STREAM_ENDS, *STALLS)
