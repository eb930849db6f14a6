from __future__ import annotations

import functools
import json
from typing import TYPE_CHECKING

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk

from langchain_aimlernie import errors
from langchain_aimlernie._response import content_blocks
from langchain_aimlernie._response.completion import decode_completion

if TYPE_CHECKING:
    from langchain_core.outputs import ChatResult

content_blocks.register()
HEADERS = {
    "x-inference-id": "inf-1",
    "x-client-request-id": "mine",
    "x-aimlapi-credits-used": "7",
    "x-aimlapi-usd-spent": "0.0001",
    "x-ratelimit-remaining-requests": "59",
    "set-cookie": "secret",
}
USAGE = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
ABOUT = {"id": "chatcmpl-1", "created": 1762343744, "system_fingerprint": "fp"}
MODEL = "baidu/ernie-4.5-21B-a3b"


def decode(data, headers=None) -> ChatResult:
    return decode_completion(data, headers or {}, model="asked")


def body(message=None, **fields) -> bytes:
    message = {"role": "assistant", "content": "hi", **(message or {})}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    completion = {**ABOUT, "model": MODEL, "choices": choices, "usage": USAGE}
    return json.dumps({**completion, "object": "chat.completion", **fields}).encode()


def message_of(data, headers=None) -> AIMessage:
    return decode(data, headers).generations[0].message


def test_a_completion_becomes_a_message_with_all_its_metadata():
    spent = {"usage": {"credits_used": 120.0, "usd_spent": 0.06}}
    message = message_of(body(meta=spent, service_tier="default"), HEADERS)
    assert message.content == "hi"
    assert message.id is None, "core gives it the run's"
    assert message.usage_metadata == {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    assert message.response_metadata == {
        **ABOUT,
        "model_provider": "aimlernie",
        "model_name": MODEL,
        "service_tier": "default",
        "credits_used": 120,
        "usd_spent": 0.06,
        "inference_id": "inf-1",
        "client_request_id": "mine",
        "token_usage": USAGE,
        "rate_limits": {"x-ratelimit-remaining-requests": "59"},
        "finish_reason": "stop",
    }
    assert message.additional_kwargs == {}


def test_the_price_is_read_from_the_headers_when_the_body_has_none():
    metadata = message_of(body(meta=None), HEADERS).response_metadata
    assert (metadata["credits_used"], metadata["usd_spent"]) == (7, 0.0001)


def test_what_a_response_does_not_name():
    metadata = message_of(body(model=None, choices=[{"message": {}}])).response_metadata
    assert metadata["model_name"] == "asked", "the model of the request"
    assert "finish_reason" not in metadata


def test_reasoning_refusal_annotations_and_audio_are_kept_beside_the_text():
    parts = {
        "reasoning_content": "hm",
        "refusal": "no",
        "annotations": [{"a": 1}],
        "audio": {"b": 2},
    }
    assert message_of(body(parts)).additional_kwargs == parts


def test_every_choice_is_decoded_and_usage_counted_once():
    choices = [
        {"index": i, "message": {"content": text}, "finish_reason": "stop", "flag": i}
        for i, text in enumerate("ab")
    ]
    first, second = (each.message for each in decode(body(choices=choices)).generations)
    assert (first.content, second.content) == ("a", "b")
    assert [each.response_metadata.get("flag") for each in (first, second)] == [0, 1]
    assert first.usage_metadata is not None
    assert second.usage_metadata is None


def test_tool_calls_are_sorted_into_valid_and_invalid():
    sent = [("1", '{"a": 1}'), ("2", {"a": 2}), ("1", ""), ("", "{}"), ("4", "{oops"), ("5", "[1]")]
    functions = [(call_id, {"name": "f", "arguments": text}) for call_id, text in sent]
    functions += [("6", {"name": "", "arguments": "{}"}), ("7", None)]
    calls = [{"id": call_id, "type": "function", "function": each} for call_id, each in functions]
    message = message_of(body({"content": None, "tool_calls": [*calls, None]}))
    assert message.content == ""
    assert [call["args"] for call in message.tool_calls] == [{"a": 1}, {"a": 2}, {}, {}]
    assert [call["args"] for call in message.invalid_tool_calls] == ["{oops", "[1]", "{}", ""]
    ids = [call["id"] for call in [*message.tool_calls, *message.invalid_tool_calls]]
    assert len({*ids, ""}) == len(calls) + 1, "each has an id of its own"


REASONED = {"output_token_details": {"reasoning": 1}}
CACHED = {"prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0}}
OF_REASONING = {
    "prompt_tokens_details": None,
    "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": None},
}


@pytest.mark.parametrize(
    ("usage", "counts", "details"),
    [
        (None, None, {}),
        ({}, None, {}),
        ({"prompt_tokens": "a lot"}, None, {}),
        ({"prompt_tokens": -1, "completion_tokens": float("nan")}, None, {}),
        ({"prompt_tokens": 5.0, "completion_tokens": 2}, (5, 2, 7), {}),
        ({"prompt_tokens": 5.9, "completion_tokens": "2"}, (5, 2, 7), {}),
        ({"prompt_tokens": True, "completion_tokens": 2}, (0, 2, 2), {}),
        (USAGE | {"total_tokens": 99} | OF_REASONING, (11, 3, 99), REASONED),
        ({"prompt_tokens": 5, "completion_tokens": 2, "reasoning_tokens": 1}, (5, 2, 7), REASONED),
        (USAGE | CACHED, (11, 3, 14), {"input_token_details": {"cache_read": 4, "audio": 0}}),
        ({"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}, (5, 0, 5), {}),
    ],
)
def test_usage_is_read_as_far_as_it_can_be_trusted(usage, counts, details):
    names = ("input_tokens", "output_tokens", "total_tokens")
    expected = {**dict(zip(names, counts, strict=True)), **details} if counts else None
    assert message_of(body(usage=usage)).usage_metadata == expected


@pytest.mark.parametrize(
    "choices", [None, [], "x", [None], [{"message": None}], [{"index": 0}], {"message": {}}]
)
def test_a_response_without_a_message_is_an_error_that_names_what_there_is(choices):
    with pytest.raises(errors.InvalidResponseError, match="'choices'"):
        decode(json.dumps({"id": "x", "choices": choices}).encode())


def test_an_error_object_in_a_200_is_the_error_that_it_names():
    data = b'{"message": "Too Many Requests", "statusCode": "429", "requestId": "r-1"}'
    with pytest.raises(errors.RateLimitError) as caught:
        decode(data)
    assert caught.value.request_id == "r-1"


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (b'"\xff"', "\ufffd"),
        (rb'"\ud83d\ude00"', "😀"),
        (rb'"\ud83d"', "\ufffd"),
        (b'"a", "content": "b"', "b"),
        (b'"a", "x": ' + b"9" * 5000, "a"),
        (b"12", "12"),
        (b'[{"type": "text", "text": "a"}, "b", null]', "ab"),
        (b'{"type": "refusal", "refusal": "no"}', "no"),
        (b"{}", ""),
        (b"[" * 8 + b'"deep"' + b"]" * 8, "deep"),
        (b'"<think>hm</think>\\nyes"', "yes"),
    ],
)
@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf"])
def test_text_is_read_in_each_form(before, escaped, text):
    data = b'{"choices": [{"message": {"content": ' + escaped + b"}}]}"
    assert message_of(before + data).content == text


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{} junk", b"<html>", b"[" * 100_000, b'{"a": oops}', b"\x00"]
)
def test_what_is_no_json_is_an_invalid_response(data):
    with pytest.raises(errors.InvalidResponseError, match="not valid JSON"):
        decode(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"null", "sent null"),
        (b"[]", "sent a list"),
        (b"1", "sent an integer"),
        (b"1.5", "sent a number"),
        (b"true", "sent a boolean"),
        (b'"x"', "sent a string"),
        (body({"content": functools.reduce(lambda text, _: [text], range(90), "x")}), "nested"),
        (
            body({"content": functools.reduce(lambda text, _: {"text": text}, range(90), "x")}),
            "nested",
        ),
    ],
)
def test_json_that_is_no_completion_is_an_invalid_response(data, words):
    with pytest.raises(errors.InvalidResponseError, match=words):
        decode(data)


@pytest.mark.parametrize(
    ("amount", "number"),
    [
        *((3, 3), (0.5, 0.5), (2.0, 2), ("0.25", 0.25)),
        *((value, None) for value in ("x", True, "nan", 10**400)),
    ],
)
def test_amounts_are_read_from_any_number(amount, number):
    message = message_of(body(meta={"usage": {"usd_spent": amount}}))
    assert message.response_metadata.get("usd_spent") == number


def test_values_of_a_wrong_type_count_as_absent():
    wrong = {"usage": 1, "meta": [], "id": 5, "model": None, "created": "soon"}
    message = message_of(body({"tool_calls": {}, "function_call": 1}, **wrong))
    about = {"model_provider": "aimlernie", "model_name": "asked", "system_fingerprint": "fp"}
    assert message.response_metadata == {**about, "finish_reason": "stop"}
    assert (message.usage_metadata, message.tool_calls) == (None, [])


def test_unknown_values_that_are_nested_without_end_are_left_out():
    deep = functools.reduce(lambda value, _: [value], range(30), "x")
    message = message_of(body({"x": deep, "z": [1]}, y=deep))
    assert message.additional_kwargs == {"z": [1]}
    assert "y" not in message.response_metadata


def test_a_custom_tool_call_is_a_call_with_one_argument():
    call = {"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    (decoded,) = message_of(body({"tool_calls": [call]})).tool_calls
    assert (decoded["name"], decoded["args"]) == ("sh", {"__arg1": "ls"})


@pytest.mark.parametrize("data", [b"error: out of memory", b'{"error": "out of memory'])
def test_text_that_begins_as_an_error_is_one(data):
    with pytest.raises(errors.InternalServerError, match="out of memory"):
        decode(data)


# The content blocks of a message.

OURS = {"model_provider": "aimlernie"}
THOUGHT = {"reasoning_content": "thought"}


def test_a_message_has_blocks_of_all_that_it_carries():
    call = tool_call(name="f", args={"a": 1}, id="1")
    broken = invalid_tool_call(name="f", args="{oops", id="2", error="broken")
    message = AIMessage(
        "text",
        additional_kwargs=THOUGHT,
        tool_calls=[call],
        invalid_tool_calls=[broken],
        response_metadata=OURS,
    )
    reasoning = {"type": "reasoning", "reasoning": "thought"}
    assert message.content_blocks == [reasoning, {"type": "text", "text": "text"}, call, broken]


def test_blocks_of_a_chunk_have_names_that_core_keeps_apart():
    chunks = [tool_call_chunk(name="f", args='{"a"', id="1", index=0)]
    chunk = AIMessageChunk(
        "text", additional_kwargs=THOUGHT, tool_call_chunks=chunks, response_metadata=OURS
    )
    names = [block["index"] for block in chunk.content_blocks]
    assert names == ["lc_reasoning", "lc_text", "lc_tc_0"]


@pytest.mark.parametrize("cls", [AIMessage, AIMessageChunk])
def test_an_empty_message_has_no_blocks_and_blocks_are_left_to_core(cls):
    assert cls("", response_metadata=OURS).content_blocks == []
    content = [{"type": "text", "text": "a"}]
    assert cls(content, response_metadata=OURS).content_blocks == content
