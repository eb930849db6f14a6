"""Any split of a stream of bytes gives the same events."""

import itertools
import re

from hypothesis import example, given
from hypothesis import strategies as st

from langchain_aimlernie._response.sse import ServerSentEvent, SSEDecoder
from langchain_aimlernie.errors import InvalidResponseError

# Pieces that streams are made of, so that random joins of them are nearly always interesting.
WORDS = [
    b"data", b"data:", b"data: ", b"data:  ", b"event: ping", b"event:", b"error: {", b"error:", b"id: 1", b"retry: 5",
    b":", b": comment", b"Data: x", b" data: x", b"\n", b"\n\n", b"\r", b"\r\n", b"\r\n\r\n",
    b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\x0b", b"\0", b"\xff", b"{}", b"[DONE]",
    b'data: {"choices": []}\n\n', "data: 文心\n\n".encode(),
]  # fmt: skip
STREAMS = st.lists(st.sampled_from(WORDS) | st.binary(max_size=8), max_size=30).map(b"".join)
CUTS = st.lists(st.integers(0, 200), max_size=12)


def events_by_the_book(stream):
    """Decode a whole stream in the standard's own words; its end counts as a blank line.

    llama.cpp's field `error` with JSON in it is an event of this type.
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
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
    return events


def pieces(stream, cuts):
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]


def decode(parts, limit):
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


@given(STREAMS, CUTS)
@example(b"data: 1\r\n\r\ndata: 2\r\n\r\n", [8, 9, 10])
@example(b"\xef\xbb\xbfdata: 1\n\n", [1, 2])
def test_any_split_gives_the_events_of_the_standard(stream, cuts):
    assert decode(pieces(stream, cuts), 2**20) == (events_by_the_book(stream), False)


@given(STREAMS)
def test_single_bytes_give_the_events_of_the_standard(stream):
    parts = pieces(stream, range(len(stream)))
    assert decode(parts, 2**20) == (events_by_the_book(stream), False)


@given(STREAMS, CUTS, st.integers(len(b"\xef\xbb\xbf"), 60))
def test_any_split_is_refused_at_the_same_event(stream, cuts, limit):
    whole = decode([stream], limit)
    assert decode(pieces(stream, cuts), limit) == whole
    assert decode(pieces(stream, range(len(stream))), limit) == whole
    events, refused = whole
    expected = events_by_the_book(stream)
    assert events == (expected[: len(events)] if refused else expected)
