from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from langchain_aimlernie import errors
from langchain_aimlernie._response.completion import decode_completion, decode_usage

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage

HEADERS = {
    "x-inference-id": "inf-1",
    "x-client-request-id": "mine",
    "x-aimlapi-credits-used": "7",
    "x-aimlapi-usd-spent": "0.0001",
    "x-ratelimit-remaining-requests": "59",
    "set-cookie": "secret",
}


def body(message=None, *, choices=None, **fields):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi", **(message or {})},
        "finish_reason": "stop",
    }
    answer = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1762343744,
        "model": "baidu/ernie-4.5-21B-a3b",
        "choices": [choice] if choices is None else choices,
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
        "system_fingerprint": "fp",
        **fields,
    }
    return json.dumps(answer).encode()


def decode(data, headers=None):
    return decode_completion(data, headers or {}, model="asked")


def message_of(data, headers=None) -> AIMessage:
    return decode(data, headers).generations[0].message


def test_a_plain_answer_becomes_a_message_with_all_its_metadata():
    spent = {"usage": {"credits_used": 120.0, "usd_spent": 0.06}}
    message = message_of(body(meta=spent, service_tier="default"), HEADERS)
    assert message.content == "hi"
    assert message.id is None, "core gives it the run's"
    assert message.usage_metadata == {"input_tokens": 11, "output_tokens": 3, "total_tokens": 14}
    assert message.response_metadata == {
        "model_provider": "aimlernie",
        "model_name": "baidu/ernie-4.5-21B-a3b",
        "id": "chatcmpl-1",
        "created": 1762343744,
        "system_fingerprint": "fp",
        "service_tier": "default",
        "credits_used": 120,
        "usd_spent": 0.06,
        "inference_id": "inf-1",
        "client_request_id": "mine",
        "token_usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
        "rate_limits": {"x-ratelimit-remaining-requests": "59"},
        "finish_reason": "stop",
    }
    assert message.additional_kwargs == {}


def test_cost_is_read_from_the_headers_when_the_body_has_none():
    metadata = message_of(body(meta=None), HEADERS).response_metadata
    assert (metadata["credits_used"], metadata["usd_spent"]) == (7, 0.0001)


def test_the_model_that_was_asked_stands_in_for_one_that_is_not_named():
    assert message_of(body(model=None)).response_metadata["model_name"] == "asked"


def test_reasoning_refusal_annotations_and_audio_are_kept_beside_the_text():
    parts = {
        "reasoning_content": "hm",
        "refusal": "no",
        "annotations": [{"type": "url_citation"}],
        "audio": {"id": "a"},
    }
    assert message_of(body(parts)).additional_kwargs == parts


def test_thoughts_inside_the_text_become_reasoning():
    message = message_of(body({"content": "<think>hm</think>\nyes"}))
    assert message.content == "yes"
    assert message.additional_kwargs["reasoning_content"] == "hm"


def test_every_choice_is_decoded_and_usage_counted_once():
    choices = [
        {"index": i, "message": {"content": text}, "finish_reason": "stop", "flag": i}
        for i, text in enumerate("ab")
    ]
    generations = decode(body(choices=choices)).generations
    assert [g.message.content for g in generations] == ["a", "b"]
    assert [g.message.response_metadata.get("flag") for g in generations] == [0, 1]
    assert generations[0].message.usage_metadata is not None
    assert generations[1].message.usage_metadata is None


def test_tool_calls_are_sorted_into_valid_and_invalid():
    calls = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "2", "type": "function", "function": {"name": "f", "arguments": {"a": 2}}},
        {"id": "3", "type": "function", "function": {"name": "f", "arguments": "{oops"}},
        {"id": "4", "type": "function", "function": {"name": "f", "arguments": "[1]"}},
        {"id": "5", "type": "function", "function": None},
        None,
    ]
    message = message_of(body({"content": None, "tool_calls": calls}))
    assert message.content == ""
    assert [call["args"] for call in message.tool_calls] == [{"a": 1}, {"a": 2}]
    assert [call["id"] for call in message.invalid_tool_calls] == ["3", "4", "5"]
    assert message.invalid_tool_calls[0]["args"] == "{oops"


@pytest.mark.parametrize(
    ("usage", "decoded"),
    [
        (None, None),
        ({}, None),
        ({"prompt_tokens": "a lot"}, None),
        ({"prompt_tokens": -1, "completion_tokens": float("nan")}, None),
        (
            {"prompt_tokens": 5.0, "completion_tokens": 2},
            {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7},
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 2,
                "total_tokens": 99,
                "prompt_tokens_details": None,
                "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": None},
            },
            {
                "input_tokens": 5,
                "output_tokens": 2,
                "total_tokens": 99,
                "output_token_details": {"reasoning": 1},
            },
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "reasoning_tokens": 1},
            {
                "input_tokens": 5,
                "output_tokens": 2,
                "total_tokens": 7,
                "output_token_details": {"reasoning": 1},
            },
        ),
        (
            {
                "prompt_tokens": 5,
                "completion_tokens": 0,
                "total_tokens": 5,
                "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 0},
            },
            {
                "input_tokens": 5,
                "output_tokens": 0,
                "total_tokens": 5,
                "input_token_details": {"cache_read": 4, "audio": 0},
            },
        ),
    ],
)
def test_usage_is_read_as_far_as_it_can_be_trusted(usage, decoded):
    assert decode_usage(usage) == decoded


@pytest.mark.parametrize(
    "choices",
    [None, [], "x", [None], [{"message": None}], [{"index": 0}], {"message": {}}],
)
def test_an_answer_without_a_message_is_an_error_that_names_what_there_is(choices):
    data = json.dumps({"id": "x", "choices": choices}).encode()
    with pytest.raises(errors.InvalidResponseError, match="'choices'") as caught:
        decode(data, HEADERS)
    assert caught.value.inference_id == "inf-1"


def test_an_error_object_in_a_200_is_the_error_that_it_names():
    data = b'{"message": "Too Many Requests", "statusCode": "429", "requestId": "r-1"}'
    with pytest.raises(errors.RateLimitError) as caught:
        decode(data)
    assert caught.value.request_id == "r-1"
