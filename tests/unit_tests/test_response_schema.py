from __future__ import annotations

import pytest

from langchain_aimlernie._response.schema import (
    coerce_int,
    coerce_number,
    parse_event,
    parse_json,
    parse_object,
    parse_text,
)
from langchain_aimlernie.errors import InvalidResponseError


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": "\xff"}', {"a": "\ufffd"}),
        (rb'{"a": "\ud83d\ude00"}', {"a": "😀"}),
        (rb'{"a": "\ud83d"}', {"a": "\ud83d"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": float("inf")}),
    ],
)
def test_json_that_the_strict_parser_refuses_is_read(data, value):
    assert parse_json(data) == value


@pytest.mark.parametrize(
    "data", [b"", b"{", b"{} junk", b"<html>", b"[" * 100_000, b'{"a": oops}', b"\x00"]
)
def test_what_is_no_json_is_an_invalid_response(data):
    with pytest.raises(InvalidResponseError, match="not valid JSON"):
        parse_json(data)


@pytest.mark.parametrize(
    ("data", "kind"), [(b"null", "null"), (b"[]", "a list"), (b"1", "an integer")]
)
def test_json_of_another_kind_is_named(data, kind):
    with pytest.raises(InvalidResponseError, match=kind):
        parse_object(data)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a", "a"),
        (None, ""),
        (12, "12"),
        ([{"type": "text", "text": "a"}, "b", None], "ab"),
        ({"type": "refusal", "refusal": "no"}, "no"),
        ({}, ""),
    ],
)
def test_text_comes_in_many_forms(value, text):
    assert parse_text(value) == text


@pytest.mark.parametrize(
    "wrap", [lambda value: [value], lambda value: {"text": value}, lambda value: {"refusal": value}]
)
def test_text_that_is_nested_beyond_any_use_is_an_invalid_response(wrap):
    value: object = "x"
    for _ in range(9):
        assert parse_text(value) == "x"
        value = wrap(value)
    for _ in range(90):
        value = wrap(value)
    with pytest.raises(InvalidResponseError, match="nested"):
        parse_text(value)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3),
        (3.0, 3),
        (3.9, 3),
        ("3", 3),
        (True, None),
        (None, None),
        ("three", None),
        (float("nan"), None),
        (float("inf"), None),
        ([], None),
    ],
)
def test_counts_are_read_from_any_number(value, number):
    assert coerce_int(value) == number


@pytest.mark.parametrize(
    ("value", "number"),
    [(3, 3), (0.5, 0.5), (2.0, 2), ("0.25", 0.25), ("x", None), (True, None), ("nan", None)],
)
def test_amounts_are_read_from_any_number(value, number):
    assert coerce_number(value) == number


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"choices": None},
        {"choices": "x"},
        {"choices": [None, 1, "x"]},
        {"usage": 1, "meta": [], "id": 5, "model": None, "created": "soon"},
        {"meta": {"usage": None}},
    ],
)
def test_values_of_a_wrong_type_count_as_absent(payload):
    completion = parse_event(payload)
    assert completion == ((), {}, None, {}, {})


def test_a_message_and_a_delta_are_read_alike():
    part = {"role": "assistant", "content": "hi", "reasoning_content": "hm", "refusal": None}
    whole = parse_event({"choices": [{"index": 0, "message": part, "finish_reason": "stop"}]})
    event = parse_event({"choices": [{"index": 0, "delta": part, "finish_reason": "stop"}]})
    assert whole == event
    assert whole.choices[0].text == "hi"
    assert whole.choices[0].reasoning == "hm"


def test_unknown_keys_of_a_choice_are_kept():
    choice = {"index": 0, "message": {}, "finish_reason": "stop", "flag": 0, "none": None}
    assert parse_event({"choices": [choice]}).choices[0].choice_extras == {"flag": 0}


def test_a_custom_tool_call_is_read_as_a_call_with_one_argument():
    call = {"id": "1", "type": "custom", "custom": {"name": "sh", "input": "ls"}}
    answer = parse_event({"choices": [{"message": {"tool_calls": [call]}}]})
    assert answer.choices[0].tool_calls[0].name == "sh"
    assert answer.choices[0].tool_calls[0].arguments == '{"__arg1": "ls"}'
