"""The decoder of server-sent events against the WHATWG standard and against hostile streams."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from langchain_aimlernie._response.stream import ServerSentEvent, SSEDecoder
from langchain_aimlernie.errors import InvalidResponseError
from tests.support.splits import single, split_at

BOM = b"\xef\xbb\xbf"
LONG_COMMENT = b":" + b"x" * 2048
SEPARATORS = b"a\x0bb\x0cc\x1cd\x1de\x1ef\xc2\x85g\xe2\x80\xa8h\xe2\x80\xa9i"


def messages(*data):
    return [ServerSentEvent("message", value) for value in data]


# The cases of the web platform tests (eventsource/format-*), and what a browser makes of them.
STANDARD = {
    "bom": (BOM + b"data:1\n\n" + BOM + b"data:2\n\ndata:3\n\n", messages(b"1", b"3")),
    "two boms": (BOM + BOM + b"data:1\n\ndata:2\n\n", messages(b"2")),
    "bom before a fast line": (BOM + b"data: 1\n\ndata: 2\n\n", messages(b"1", b"2")),
    "bom later": (b"\n" + BOM + b"data: 1\n\ndata: 2\n\n", messages(b"2")),
    "comments": (b"data:1\r:\0\n:\r\ndata:2\n%b\rdata:3\n:data:fail\r%b\ndata:4\n\n" % (LONG_COMMENT, LONG_COMMENT),
                 messages(b"1\n2\n3\n4")),
    "only comments": (b": OPENROUTER PROCESSING\n\n: ping\n\n:\r\n\r\n", []),
    "empty data": (b"data:\n\ndata\ndata\n\ndata:test\n\n", messages(b"", b"\n", b"test")),
    "event": (b"event:test\ndata:x\n\ndata:y\n\n", [ServerSentEvent("test", b"x"), *messages(b"y")]),
    "event empty": (b"event: \ndata:data\n\n", messages(b"data")),
    "event twice": (b"event: a\nevent: b\ndata: x\n\n", [ServerSentEvent("b", b"x")]),
    "event without data": (b"event: ping\n\ndata: x\n\n", messages(b"x")),
    "event after data": (b"data: x\nevent: error\n\n", [ServerSentEvent("error", b"x")]),
    "field names": (
        b"data:\0\ndata:  2\rData:1\ndata\0:2\ndata:1\r\0data:4\nda-ta:3\rdata_5\ndata:3\rdata:\r\n data:32\ndata:4\n\n",
        messages(b"\0\n 2\n1\n3\n\n4"),
    ),
    "unknown fields": (b"data:test\n data\ndata\nfoobar:xxx\njustsometext\n:thisisacomment\ndata:test\n\n", messages(b"test\n\ntest")),
    "one leading space": (b"data:\ttest\rdata: \ndata:test\ndata:  two\n\n", messages(b"\ttest\n\ntest\n two")),
    "mixed newlines": (b"data:test\r\ndata\ndata:test\r\n\r", messages(b"test\n\ntest")),
    "cr": (b"data: 1\rdata: 2\r\rdata: 3\r\r", messages(b"1\n2", b"3")),
    "crlf": (b"data: 1\r\n\r\ndata: 2\r\n\r\n", messages(b"1", b"2")),
    "many blank lines": (b"\n\r\n\r\r\ndata: 1\n\n\n\n\n", messages(b"1")),
    "null": (b"data:\0\n\n\n\n", messages(b"\0")),
    "id and retry": (b"id: 1\nretry: 1_000\n\nid: \0\ndata: x\n\n", messages(b"x")),
    "line breaks of other standards": (b"data: %b\n\n" % SEPARATORS, messages(SEPARATORS)),
    "not utf-8": (b"event: \xff\ndata: \xff\n\n", [ServerSentEvent("\N{REPLACEMENT CHARACTER}", b"\xff")]),
    "json with newlines": (b'data: {"a":\ndata: 1}\n\n', messages(b'{"a":\n1}')),
    "colon in data": (b"data: a: b\n\ndata:a:b\n\n", messages(b"a: b", b"a:b")),
    "empty": (b"", []),
    "lone bom": (BOM, []),
    "nothing after an event": (b"data: 1\n\nevent: end\nid: 7\n: bye", messages(b"1")),
    "end instead of a blank line": (b"data: 1\n\ndata: [DONE]", messages(b"1", b"[DONE]")),
    "end after cr": (b"data: [DONE]\r", messages(b"[DONE]")),
}  # fmt: skip


def decode(*parts, limit=2**20):
    """Return the events, and whether the decoder refused the stream."""
    decoder = SSEDecoder(max_event_bytes=limit)
    events = []
    try:
        for part in parts:
            events += decoder.feed(part)
        events += decoder.close()
    except InvalidResponseError:
        return events, True
    return events, False


@pytest.mark.parametrize(("stream", "events"), STANDARD.values(), ids=STANDARD)
def test_a_stream_is_read_as_the_standard_says_wherever_it_is_cut(stream, events):
    assert decode(*single(stream)) == (events, False)
    for at in range(len(stream) + 1):
        assert decode(stream[:at], stream[at:]) == (events, False), at


# Words of which streams are made, so that random joins of them are nearly always interesting.
WORDS = [
    b"data", b"data:", b"data: ", b"data:  ", b"event: ping", b"event:", b"error: {", b"error:", b"id: 1", b"retry: 5",
    b":", b": comment", b"Data: x", b" data: x", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n",
    b"<html>", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\0", b"\xff", b"{}", b"[DONE]",
    b'data: {"choices": []}\n\n', "data: 文心\n\n".encode(),
]  # fmt: skip
STREAMS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def events_by_the_book(stream):
    """Decode a whole stream in the standard's own words; its end counts as a blank line.

    llama.cpp's field `error` with JSON in it is an event of this type; a line of JSON or HTML is
    data.
    """
    events, data, kind = [], [], ""
    for line in [*re.split(rb"\r\n|\r|\n", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if line == b"":
            if data:
                events.append(ServerSentEvent(kind or "message", b"\n".join(data)))
            data, kind = [], ""
        elif name == b"data":
            data.append(value)
        elif name == b"error" and value.startswith(b"{"):
            data.append(value)
            kind = "error"
        elif line[:1] in (b"{", b"<"):
            data.append(line)
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
    return events


@pytest.mark.slow
@given(STREAMS, CUTS)
@example(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [8, 9, 10])
@example(b"\xef\xbb\xbfdata: 1\n\n", [1, 2])
def test_any_split_gives_the_events_of_the_standard(stream, cuts):
    expected = (events_by_the_book(stream), False)
    assert decode(*split_at(stream, cuts)) == expected
    assert decode(*single(stream)) == expected


@pytest.mark.slow
@given(STREAMS, CUTS, st.integers(len(BOM), 60))
def test_any_split_is_refused_at_the_same_event(stream, cuts, limit):
    whole = decode(stream, limit=limit)
    assert decode(*split_at(stream, cuts), limit=limit) == whole
    assert decode(*single(stream), limit=limit) == whole
    events, refused = whole
    expected = events_by_the_book(stream)
    assert events == (expected[: len(events)] if refused else expected)


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_an_event_comes_with_the_first_byte_that_completes_it(end):
    decoder = SSEDecoder()
    parts = [b"data: 1" + end, end[:1], end[1:] + b"data: 2" + end + end[:1], b"data: 3"]
    events = [list(decoder.feed(part)) for part in parts]
    assert events == [[], messages(b"1"), messages(b"2"), []]
    assert [list(decoder.close()), list(decoder.close())] == [messages(b"3"), []]


ENDLESS = {
    "line": b"data: " + b"x" * 100,
    "line of no meaning": b"x" * 100,
    "comment": b":" + b"x" * 100,
    "event": b"data: 12345678\n" * 8,
    "event of no meaning": b"id: 12345678\n" * 8,
    "event on the fast path": b"data: " + b"x" * 100 + b"\n\n",
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_has_no_end_is_refused_at_the_limit(name):
    stream = b"data: 1\n\n" + ENDLESS[name]
    for size in (1, 7, 1000):
        parts = split_at(stream, range(0, len(stream), size))
        assert decode(*parts, limit=64) == (messages(b"1"), True)


def test_the_limit_is_of_one_event_not_of_the_stream():
    decoder = SSEDecoder(max_event_bytes=8)
    for _ in range(100):
        assert list(decoder.feed(b": hello\n\ndata: 12\n\n")) == messages(b"12")
    assert list(decoder.feed(b": hello\n" * 100)) == []
