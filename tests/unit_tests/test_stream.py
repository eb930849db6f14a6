import functools
import json
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_aimlernie._response import content_blocks
from langchain_aimlernie._response.completion import ResponseDecoder
from langchain_aimlernie._response.stream import StreamDecoder

content_blocks.register()
HEADERS = {"x-inference-id": "inf-1", "content-type": "text/event-stream"}
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
SPENT = {"usage": {"credits_used": 120, "usd_spent": 0.06}}
ABOUT = {"id": "chatcmpl-1", "created": 1762343744, "model": "baidu/ernie"}
DONE = b"data: [DONE]\n\n"


def event(payload) -> bytes:
    return b"data: " + json.dumps(payload).encode() + b"\n\n"


def delta(_finish=None, _index=0, **parts) -> bytes:
    fields = {"role": "assistant", "content": "", **parts}
    choice = {"index": _index, "delta": fields, "finish_reason": _finish}
    return event({**ABOUT, "object": "chat.completion.chunk", "choices": [choice]})


def function_call(arguments, call_id="1") -> dict:
    return {"id": call_id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def call(index, arguments, call_id="1") -> bytes:
    return delta(tool_calls=[{"index": index, **function_call(arguments, call_id)}])


LAST = event({"id": "chatcmpl-1", "choices": [], "usage": USAGE, "meta": SPENT})
TEXT = [delta(content="Hel"), delta(content="lo"), delta("stop"), LAST, DONE]
FULL = [
    *(b"\xef\xbb\xbf: comment\r\n\r\n", delta()),
    *(delta(reasoning_content="let me "), delta(reasoning_content="think")),
    *(delta(content="\n你"), delta(content="好 \u2028 😀")),
    *(call(0, '{"city":', "1"), call(1, '{"city":', "2")),
    *(call(0, ' "Köln"}', "1"), call(1, ' "北京"}', "2")),
    *(delta("tool_calls"), LAST, DONE),
]


def decode(parts, headers=None):
    decoder = StreamDecoder(HEADERS if headers is None else headers, model="asked")
    return [*(chunk for part in parts for chunk in decoder.feed(part)), *decoder.close()]


def merged(chunks) -> AIMessageChunk:
    return functools.reduce(operator.add, chunks).message


def test_each_delta_is_a_chunk_and_the_last_one_ends_the_stream():
    chunks = decode(TEXT)
    assert [chunk.text for chunk in chunks] == ["Hel", "lo", ""]
    assert [chunk.message.chunk_position for chunk in chunks] == [None, None, "last"]
    assert {chunk.message.id for chunk in chunks} == {None}, "core gives them the run's"
    assert [chunk.message.usage_metadata is not None for chunk in chunks] == [False, False, True]
    first, second, last = (chunk.message.response_metadata for chunk in chunks)
    assert first == second == {"model_provider": "aimlernie"}
    assert (last["id"], last["finish_reason"]) == ("chatcmpl-1", "stop")
    assert (last["credits_used"], last["usd_spent"]) == (120, 0.06)


def test_a_second_choice_is_left_out_with_a_warning():
    parts = [delta(content="A"), delta(_index=1, content="B"), delta(content="A"), *TEXT[2:]]
    with pytest.warns(UserWarning, match="several choices"):
        assert merged(decode(parts)).content == "AA"


@pytest.mark.parametrize("key", ["content", "reasoning_content", "refusal"])
def test_half_an_emoji_waits_for_its_other_half(key):
    texts = (rb"a\ud83d", rb"\ude00b", rb"\ud83d")
    parts = [b'data: {"choices":[{"delta":{"%s":"%s"}}]}\n\n' % (key.encode(), s) for s in texts]
    messages = [chunk.message for chunk in decode([*parts, delta("stop"), DONE])]
    found = [m.content if key == "content" else m.additional_kwargs.get(key, "") for m in messages]
    assert found == ["a", "😀b", "\ufffd", ""]


def test_chunks_of_one_stream_have_blocks_of_stable_names():
    chunks = decode(FULL)
    for chunk in chunks:
        message = chunk.message
        message.content = message.content_blocks
        message.response_metadata["output_version"] = "v1"
    blocks = merged(chunks).content
    assert [block["type"] for block in blocks] == ["reasoning", "text", "tool_call", "tool_call"]
    assert blocks[1]["text"] == "\n你好 \u2028 😀"
    assert [block["args"]["city"] for block in blocks[2:]] == ["Köln", "北京"]


OURS = {"model_provider": "aimlernie"}
THOUGHT = {"reasoning_content": "thought"}


def test_a_message_has_blocks_of_all_that_it_carries():
    call = tool_call(name="f", args={"a": 1}, id="1")
    broken = invalid_tool_call(name="f", args="{oops", id="2", error="broken")
    calls = {"tool_calls": [call], "invalid_tool_calls": [broken]}
    message = AIMessage("text", additional_kwargs=THOUGHT, response_metadata=OURS, **calls)
    reasoning = {"type": "reasoning", "reasoning": "thought"}
    assert message.content_blocks == [reasoning, {"type": "text", "text": "text"}, call, broken]
    chunks = [tool_call_chunk(name="f", args='{"a"', id="1", index=0)]
    chunk = AIMessageChunk(
        "text", additional_kwargs=THOUGHT, tool_call_chunks=chunks, response_metadata=OURS
    )
    names = [block["index"] for block in chunk.content_blocks]
    assert names == ["lc_reasoning", "lc_text", "lc_tc_0"], "which core keeps apart"


@pytest.mark.parametrize("cls", [AIMessage, AIMessageChunk])
def test_an_empty_message_has_no_blocks_and_blocks_are_left_to_core(cls):
    assert cls("", response_metadata=OURS).content_blocks == []
    content = [{"type": "text", "text": "a"}]
    assert cls(content, response_metadata=OURS).content_blocks == content


# The values of a stream are in the end those of a whole completion.

ANY_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8)
"""Without the character that begins the last part, which must not extend the one before it."""
SCALARS = st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | ANY_TEXT
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=6,
)
FEW = settings(max_examples=30)
OBJECTS = st.dictionaries(ANY_TEXT.map(lambda name: f"x{name}"), VALUES, max_size=4)


def whole(extras, beside):
    choices = [{"index": 0, "message": {"content": "hi", **extras}, "finish_reason": "stop"}]
    body = json.dumps({"id": "1", "choices": choices, **beside}).encode()
    return ResponseDecoder({}, model="asked").decode(body).generations[0].message


def chunks_of(*sent):
    """Return the bytes of an event for each delta and what stands beside its choices."""
    for delta, beside in sent:
        choices = [{"index": 0, "delta": delta, "finish_reason": None}]
        yield event({"id": "1", "choices": choices, **beside})


def streamed(*sent):
    """Return the message of a stream of these events and the end of a text."""
    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    parts = (*chunks_of(*sent, ({"content": "hi"}, {})), end)
    return message_chunk_to_message(merged(decode(parts, {})))


@FEW
@given(OBJECTS, OBJECTS, st.integers(1, 5), st.sampled_from(["", "h"]))
def test_values_that_come_whole_come_once(extras, beside, times, text):
    message = streamed(*[({"content": text, **extras}, beside)] * times)
    assert message.content == text * times + "hi"
    expected = whole(extras, beside)
    assert message.additional_kwargs == expected.additional_kwargs
    assert message.response_metadata == expected.response_metadata


@FEW
@given(st.data(), st.lists(st.integers(0, 9), min_size=1, max_size=12) | ANY_TEXT)
def test_values_that_grow_stand_as_the_last_one(data, value):
    ends = sorted(data.draw(st.lists(st.integers(0, len(value)), max_size=6)))
    events = [({"x": value[:end]}, {"y": value[:end]}) for end in (*ends, len(value))]
    assert streamed(*events) == whole({"x": value}, {"y": value})


@FEW
@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3), min_size=1, max_size=6)
    | st.lists(ANY_TEXT.filter(bool), min_size=1, max_size=6)
)
def test_increments_are_joined(parts):
    parts = [*parts, "\x00end" if isinstance(parts[0], str) else [-1]]
    message = streamed(*[({"x": part}, {}) for part in parts])
    assert message.additional_kwargs == {"x": functools.reduce(operator.add, parts)}


@FEW
@given(st.lists(st.tuples(st.integers(0, 3), ANY_TEXT), min_size=1, max_size=8))
def test_increments_by_index_are_the_items_of_a_whole_completion(parts):
    parts = [*parts, *[(index, f"\x00{index}") for index, _ in dict(parts).items()]]
    texts = {}
    for index, text in parts:
        texts[index] = texts.get(index, "") + text
    items = [{"index": i, "type": "t", "format": "f", "text": text} for i, text in texts.items()]
    deltas = [{"x": [{"index": i, "type": "t", "format": "f", "text": text}]} for i, text in parts]
    assert streamed(*[(delta, {}) for delta in deltas]).additional_kwargs == {"x": items}


def test_what_came_before_a_stream_failed_is_in_partial():
    decoder = StreamDecoder({}, model="m")
    for part in chunks_of(
        *[({"content": text, "x": text}, {"y": [text]}) for text in ("ha", "ho")]
    ):
        list(decoder.feed(part))
    partial = decoder.partial
    assert (partial.content, partial.additional_kwargs) == ("haho", {"x": "haho"})
    assert partial.response_metadata["y"] == ["ho"]
