"""Tool calls come out exactly, in whatever fragments a server sends them."""

import functools
import itertools
import json
import operator

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from langchain_aimlernie._response.stream import StreamDecoder
from langchain_aimlernie._response.tool_calls import parse_arguments
from tests.support.splits import split_at

words = st.text(st.sampled_from('ab{}[]":,\\\n 中'), max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 10**20) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
arguments = st.dictionaries(words, values, max_size=2).flatmap(
    lambda value: st.sampled_from(
        [
            json.dumps(value),
            json.dumps(value, indent=1) + "\n",
            json.dumps(value, ensure_ascii=False),
        ]
    )
)
calls = st.lists(st.tuples(st.sampled_from(["f", "g", "rm"]), arguments), min_size=1, max_size=4)
ID_STYLES = ("once", "each", "changing", "none", "null", "late")


@st.composite
def encoded(draw):
    """Draw calls, and the fragments in which a server of some style sends them."""
    made = draw(calls)
    ids, indexes = draw(st.sampled_from(ID_STYLES)), draw(st.sampled_from(["right", "0", "none"]))
    repeats_name, opens_blank = draw(st.booleans()), draw(st.booleans())
    streams = []
    for place, (name, text) in enumerate(made):
        cuts = draw(st.lists(st.integers(0, len(text)), max_size=5))
        parts = [""] * opens_blank + split_at(text, cuts)
        fragments = []
        for number, part in enumerate(parts):
            fragment = {"function": {"arguments": part}}
            if number == 0 or repeats_name:
                fragment["function"]["name"] = name
            if indexes != "none":
                fragment["index"] = place if indexes == "right" else 0
            call_id = {
                "once": f"c{place}" if number == 0 else None,
                "each": f"c{place}",
                "changing": f"c{place}_{number}",
                "null": draw(st.sampled_from(["null", "None", "", None])),
                "late": f"c{place}" if number == len(parts) - 1 else "",
            }
            if ids in call_id:
                fragment["id"] = call_id[ids]
            fragments.append(fragment)
        streams.append(fragments)
    order = [i for i, stream in enumerate(streams) for _ in stream]
    if indexes == "right":  # calls with indexes of their own may be interleaved
        order = draw(st.permutations(order))
    rest = [iter(stream) for stream in streams]
    fragments = [next(rest[i]) for i in order]
    return made, split_at(fragments, draw(st.lists(st.integers(0, len(fragments)), max_size=8)))


def events(deltas, finish_reason="tool_calls"):
    return [
        *({"choices": [{"index": 0, "delta": {"tool_calls": delta}}]} for delta in deltas),
        {"choices": [{"index": 0, "delta": {}, "finish_reason": finish_reason}]},
    ]


def decoded(deltas, finish_reason="tool_calls"):
    """Return the whole message, and what was there before the end of the stream."""
    decoder = StreamDecoder({}, model="m")
    chunks = []
    for event in events(deltas, finish_reason):
        chunks += decoder.feed(b"data: " + json.dumps(event).encode() + b"\n\n")
    partial = decoder.partial
    messages = [chunk.message for chunk in (*chunks, *decoder.close())]
    for message in messages:
        indexes = [part["index"] for part in message.tool_call_chunks]
        assert len(indexes) == len(set(indexes)), "core does not join these"
    return functools.reduce(operator.add, messages), partial


@pytest.mark.slow
@given(encoded())
@settings(max_examples=60)
def test_calls_come_out_exactly(sent):
    made, deltas = sent
    whole, _ = decoded(deltas)
    assert whole.invalid_tool_calls == []
    expected = [(name, json.loads(text, strict=False)) for name, text in made]
    called = [(call["name"], call["args"]) for call in whole.tool_calls]
    assert sorted(map(str, called)) == sorted(map(str, expected))
    ids = [call["id"] for call in whole.tool_calls]
    assert all(ids)
    assert len(set(ids)) == len(ids)


def call_of(arguments):
    return [{"index": 0, "id": "1", "function": {"name": "f", "arguments": arguments}}]


def test_a_call_that_was_cut_anywhere_is_invalid_and_keeps_its_text():
    text = r'{"path": "/home/\"us\\er\"", "list": [1, {"x": null}], "deep": {"a": "b"}}'
    for cut in range(1, len(text)):
        whole, _ = decoded([call_of(text[:cut])])
        assert whole.tool_calls == []
        (call,) = whole.invalid_tool_calls
        assert call["args"].startswith(text[:cut])
        assert call["id"] == "1"


def test_a_call_cut_anywhere_goes_on_with_another_id():
    text = r'{"a\ud83d\ude00": ["\u4e2d\\u", -1.5e-3, {"x": null}, true, 2E+1], "b": {"c": "d"}}'
    for cut in range(1, len(text)):
        (start,), (end,) = call_of(text[:cut]), call_of(text[cut:])
        whole, _ = decoded([[start, end | {"id": "2"}]])
        assert [call["args"] for call in whole.tool_calls] == [json.loads(text)], text[:cut]


def test_halves_of_a_surrogate_pair_are_joined_or_replaced_wherever_a_call_is_cut():
    text = r'{"a": "\ud83d\uDE00 \\ud83d \\\ud83d \ud83d\n \ude00 \ud83d\ud83d\u4e2d \u00e9"}'
    expected = {"a": "😀 \\ud83d \\\ufffd \ufffd\n \ufffd \ufffd\ufffd中 é"}
    for cut, end in itertools.combinations_with_replacement(range(len(text) + 1), 2):
        parts = [call_of(text[:cut]), call_of(text[cut:end]), call_of(text[end:])]
        whole, partial = decoded(parts)
        assert [call["args"] for call in whole.tool_calls] == [expected], (cut, end)
        assert [call["args"] for call in partial.tool_calls] == [expected]
    halves = '{"a": "\ud83d', '\ude00\ud83d"}'
    whole, _ = decoded([call_of(half) for half in halves])
    assert [call["args"] for call in whole.tool_calls] == [{"a": "😀\ufffd"}]


@pytest.mark.slow
@given(st.text(alphabet='{}[]",:\\ ab1\n', max_size=30))
def test_no_text_that_is_no_object_becomes_a_call(text):
    whole, _ = decoded([call_of(text)])
    assert bool(whole.tool_calls) == (parse_arguments(text) is not None)


@pytest.mark.slow
@given(encoded(), st.data())
@settings(max_examples=50)
def test_a_stream_that_is_cut_has_no_call_that_was_not_made(sent, data):
    made, deltas = sent
    deltas = deltas[: data.draw(st.integers(0, len(deltas)))]
    whole, partial = decoded(deltas, "length")
    expected = [(name, json.loads(text, strict=False)) for name, text in made]
    for call in whole.tool_calls:
        assert (call["name"], call["args"]) in expected
    if partial is not None:
        assert partial.tool_calls == whole.tool_calls
        texts = [call["args"] for call in partial.invalid_tool_calls]
        assert all(
            c["args"].startswith(t) for c, t in zip(whole.invalid_tool_calls, texts, strict=True)
        )


@pytest.mark.slow
@given(
    st.text(alphabet='{}[]",:\\ ab1\nNIe9', max_size=30), st.lists(st.integers(0, 30), max_size=4)
)
@example('{"a":1,}}', [3])
@example('{"a": NaN}', [8])
@settings(suppress_health_check=[HealthCheck.filter_too_much])
def test_the_text_of_an_invalid_call_stays(text, cuts):
    parts = split_at(text, cuts)
    deltas = [call_of(""), *([{"index": 0, "function": {"arguments": part}}] for part in parts)]
    whole, partial = decoded(deltas)
    assume(parse_arguments(text) is None)
    # What follows a whole object, or the `{}` that some servers begin with, has its own cases, and
    # so have arguments that are sent whole each time.
    begun = [*itertools.accumulate(parts)]
    assume(not any(parse_arguments(start) is not None for start in begun if start.strip()))
    assume(
        not any(
            start and part.startswith(start) for start, part in zip(begun, parts[1:], strict=False)
        )
    )
    (call,) = whole.invalid_tool_calls
    assert call["args"].startswith(text)
    assert set(call["args"][len(text) :]) <= set('\\"]}')
    assert [c["args"] for c in partial.invalid_tool_calls] == [text]
    assert partial.tool_calls == whole.tool_calls == []
