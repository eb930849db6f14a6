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
    metadata = message_of(body(meta=None), HEADERS).response_metadata
    assert (metadata["credits_used"], metadata["usd_spent"]) == (7, 0.0001), "of the headers"


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
CACHE_READ = {"input_token_details": {"cache_read": 4}}
OF_REASONING = {
    "prompt_tokens_details": None,
    "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": None},
}


@pytest.mark.parametrize(
    ("usage", "counts", "details"),
    [
        (None, None, {}),
        ({"prompt_tokens": -1, "completion_tokens": float("nan")}, None, {}),
        ({"prompt_tokens": 5.9, "completion_tokens": "2"}, (5, 2, 7), {}),
        ({"prompt_tokens": True, "completion_tokens": 2}, (0, 2, 2), {}),
        (USAGE | {"total_tokens": 99} | OF_REASONING, (11, 3, 99), REASONED),
        ({"prompt_tokens": 5, "completion_tokens": 2, "reasoning_tokens": 1}, (5, 2, 7), REASONED),
        (USAGE | {"cached_tokens": 4}, (11, 3, 14), CACHE_READ),
        (USAGE | {"prompt_cache_hit_tokens": 4}, (11, 3, 14), CACHE_READ),
        (USAGE | {"cache_read_input_tokens": 4, "input_tokens": 0}, (11, 3, 14), CACHE_READ),
        (
            USAGE | {"prompt_tokens_details": {"cache_write_tokens": 4}},
            (11, 3, 14),
            {"input_token_details": {"cache_creation": 4}},
        ),
        (USAGE | CACHED, (11, 3, 14), {"input_token_details": {"cache_read": 4, "audio": 0}}),
        ({"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}, (5, 0, 5), {}),
    ],
)
def test_usage_is_read_as_far_as_it_can_be_trusted(usage, counts, details):
    names = ("input_tokens", "output_tokens", "total_tokens")
    expected = {**dict(zip(names, counts, strict=True)), **details} if counts else None
    assert message_of(body(usage=usage)).usage_metadata == expected


@pytest.mark.parametrize(
    ("escaped", "text"),
    [
        (b'"a", "x": ' + b"9" * 5000, "a"),
        (b'[{"type": "text", "text": "a"}, "b", null]', "ab"),
        (b'{"type": "refusal", "refusal": "no"}', "no"),
        (b"{}", ""),
        (b'{"city": "\xe5\x8c\x97"}', '{"city": "北"}'),  # in the place of JSON
        (b"[" * 8 + b'"deep"' + b"]" * 8, "deep"),
        (b'"<think>hm</think>\\nyes"', "yes"),
    ],
)
def test_text_is_read_in_each_form(escaped, text):
    message = message_of(b'{"choices": [{"message": {"content": ' + escaped + b"}}]}")
    assert message.content == text
    assert message.response_metadata["model_name"] == "asked", "the model of the request"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"null", "sent null"),
        (b"[]", "sent a list"),
        (b"1", "sent an integer"),
        (b"1.5", "sent a number"),
        (b"true", "sent a boolean"),
        (b'"x"', "sent a string"),
        (
            body({"content": functools.reduce(lambda text, _: {"text": text}, range(90), "x")}),
            "nested",
        ),
        *((body(choices=odd), "'choices'") for odd in (None, [], "x", [None], [{"message": None}])),
        (b'data: {"choices": []}\n\ndata: [DONE]\n\n', "set streaming=True"),
        *((odd, "not valid JSON") for odd in (b"", b"{", b"{} junk", b"<html>", b"\x00")),
    ],
)
def test_what_is_no_completion_is_an_error_that_says_why(data, words):
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


def test_a_custom_tool_call_is_a_call_with_one_argument():
    call = {"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    (decoded,) = message_of(body({"tool_calls": [call]})).tool_calls
    assert (decoded["name"], decoded["args"]) == ("sh", {"__arg1": "ls"})


# The content blocks of a message.

OURS = {"model_provider": "aimlernie"}
THOUGHT = {"reasoning_content": "thought"}


def test_a_message_has_blocks_of_all_that_it_carries():
    call = tool_call(name="f", args={"a": 1}, id="1")
    broken = invalid_tool_call(name="f", args="{oops", id="2", error="broken")
    calls = {"tool_calls": [call], "invalid_tool_calls": [broken]}
    message = AIMessage("text", additional_kwargs=THOUGHT, response_metadata=OURS, **calls)
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
