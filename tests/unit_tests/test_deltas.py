"""The values of a stream are in the end those of a whole completion."""

from __future__ import annotations

import functools
import json
import operator

from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import message_chunk_to_message

from langchain_aimlernie._response.completion import decode_completion
from langchain_aimlernie._response.stream import StreamDecoder

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
"""Without the character that begins the last part, which must not extend the one before it."""
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
FEW = settings(max_examples=30)
OBJECTS = st.dictionaries(TEXTS.map(lambda name: f"x{name}"), VALUES, max_size=4)


def whole(extras, beside):
    choices = [{"index": 0, "message": {"content": "hi", **extras}, "finish_reason": "stop"}]
    body = json.dumps({"id": "1", "choices": choices, **beside}).encode()
    return decode_completion(body, {}, model="m").generations[0].message


def events(*sent):
    """Return the bytes of an event for each delta and what stands beside its choices."""
    for delta, beside in sent:
        choices = [{"index": 0, "delta": delta, "finish_reason": None}]
        yield b"data: " + json.dumps({"id": "1", "choices": choices, **beside}).encode() + b"\n\n"


def streamed(*sent):
    """Return the message of a stream of these events and the end of a text."""
    decoder = StreamDecoder({}, model="m")
    end = b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}\n\n'
    parts = (*events(*sent, ({"content": "hi"}, {})), end)
    chunks = [*(chunk for part in parts for chunk in decoder.feed(part)), *decoder.close()]
    return message_chunk_to_message(functools.reduce(operator.add, chunks).message)


@FEW
@given(OBJECTS, OBJECTS, st.integers(1, 5), st.sampled_from(["", "h"]))
def test_values_that_come_whole_come_once(extras, beside, times, text):
    message = streamed(*[({"content": text, **extras}, beside)] * times)
    assert message.content == text * times + "hi"
    expected = whole(extras, beside)
    assert message.additional_kwargs == expected.additional_kwargs
    assert message.response_metadata == expected.response_metadata


@FEW
@given(st.data(), st.lists(st.integers(0, 9), min_size=1, max_size=12) | TEXTS)
def test_values_that_grow_stand_as_the_last_one(data, value):
    ends = sorted(data.draw(st.lists(st.integers(0, len(value)), max_size=6)))
    events = [({"x": value[:end]}, {"y": value[:end]}) for end in (*ends, len(value))]
    assert streamed(*events) == whole({"x": value}, {"y": value})


@FEW
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=6)
    | st.lists(TEXTS.filter(bool), min_size=1, max_size=6)
)
def test_increments_are_joined(parts):
    parts = [*parts, "\x00end" if isinstance(parts[0], str) else [-1]]
    message = streamed(*[({"x": part}, {}) for part in parts])
    assert message.additional_kwargs == {"x": functools.reduce(operator.add, parts)}


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), TEXTS), min_size=1, max_size=8))
def test_increments_by_index_are_the_items_of_a_whole_completion(parts):
    parts = [*parts, *[(index, f"\x00{index}") for index, _ in dict(parts).items()]]
    texts = {}
    for index, text in parts:
        texts[index] = texts.get(index, "") + text
    items = [{"index": i, "type": "t", "format": "f", "text": text} for i, text in texts.items()]
    deltas = [{"x": [{"index": i, "type": "t", "format": "f", "text": text}]} for i, text in parts]
    assert streamed(*[(delta, {}) for delta in deltas]).additional_kwargs == {"x": items}


def test_long_streams_of_whole_values_keep_one_of_them():
    value = [{"title": "T" * 1000}] * 5
    message = streamed(*[({"x": value}, {"y": value})] * 500)
    assert message.additional_kwargs == {"x": value}
    assert message.response_metadata["y"] == value


def test_what_came_before_a_stream_failed_is_in_partial():
    decoder = StreamDecoder({}, model="m")
    for event in events(*[({"content": text, "x": text}, {"y": [text]}) for text in ("ha", "ho")]):
        list(decoder.feed(event))
    partial = decoder.partial
    assert (partial.content, partial.additional_kwargs) == ("haho", {"x": "haho"})
    assert partial.response_metadata["y"] == ["ho"]
