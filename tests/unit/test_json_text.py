import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._json_text import PartialJsonDecoder, find_json

CAT = {"setup": "为什么", "punchline": "because of `}`"}
TEXT = json.dumps(CAT, ensure_ascii=False)


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        f"\n\n  {TEXT}\n",
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}\n```",
        f"Here you are:\n```json\n{TEXT}\n```\nAnything else?",
        f"Sure! {TEXT} I hope it helps {{really}}.",
        f"With {{name}} filled in, see [1]: {TEXT}",
        f'<think>maybe {{"setup": 1}}?</think>{TEXT}',
        f"<think>\nhm\n</think>\n\n```json\n{TEXT}\n```",
        f'the opening tag is lost {{"setup": 1}}</think>{TEXT}',
        f"<thinking>hm</thinking> {TEXT}",
        json.dumps(CAT, indent=2),
    ],
)
def test_the_object_is_found_in_its_wrapping(text):
    assert list(find_json(text)) == [CAT]


def test_raw_line_breaks_within_strings_are_read():
    assert list(find_json('{"a": "x\ny"}')) == [{"a": "x\ny"}]


def test_a_closing_tag_within_the_json_is_text():
    assert list(find_json('{"a": "</think>"}')) == [{"a": "</think>"}]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "No.",
        "{x} and {y}",
        "see [1] and [2, 3]",
        '<think>{"a": 1}',
        '{"items": [{"a": 1}, {"a": 2}, {"a":',
        'So: {"items": [{"a": 1}, {"a": 2}]',
        "{'a': 1}",
        '{"a": 1, oops, "b": {"c": 1}}',
        "[" * 100_000,
        '{"a":' * 100_000,
    ],
)
def test_nothing_is_made_out_of_what_is_no_whole_json(text):
    assert list(find_json(text)) == []


def test_several_objects_come_in_their_order():
    assert list(find_json('First {"a": 1}, then {"a": 2}.')) == [{"a": 1}, {"a": 2}]


def test_a_list_of_objects_in_a_fence_stays_a_list():
    assert list(find_json('```json\n[{"a": 1}, {"a": 2}]\n```')) == [[{"a": 1}, {"a": 2}]]


def test_a_list_of_numbers_counts_if_a_list_is_asked_for():
    assert list(find_json("The list: [1, 2]", lists=True)) == [[1, 2]]


@given(
    st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), min_size=1),
    st.sampled_from(["{}", "```json\n{}\n```", "Here: {} Done.", "<think>so</think>{}"]),
)
def test_any_object_is_found_in_any_wrapping(value, wrapping):
    before, after = wrapping.split("{}")
    assert next(iter(find_json(before + json.dumps(value, ensure_ascii=False) + after))) == value


@given(
    st.dictionaries(
        st.text(), st.text() | st.lists(st.dictionaries(st.text(), st.integers())), min_size=1
    ),
    st.data(),
)
def test_no_cut_object_is_taken_for_a_whole_one(value, data):
    text = json.dumps(value)
    cut = text[: data.draw(st.integers(0, len(text) - 1))]
    assert list(find_json(cut)) == []


def _grow(*pieces, lists=False):
    decoder = PartialJsonDecoder(lists=lists)
    return [decoder.feed(piece) for piece in pieces]


def test_an_object_grows_with_its_text():
    assert _grow('{"a": "x', "y", '", "b": [1, ', "2]}") == [
        {"a": "x"},
        {"a": "xy"},
        {"a": "xy", "b": [1]},
        {"a": "xy", "b": [1, 2]},
    ]


def test_thoughts_prose_and_fences_are_passed_over_while_they_arrive():
    pieces = ("<think>{", '"a": 0}', "</think>", "Here {it} is ```json\n", '{"a"', ": 1}", "\n```")
    assert _grow(*pieces) == [None, None, None, None, {}, {"a": 1}, {"a": 1}]


def test_text_that_goes_wrong_gives_nothing_more():
    assert _grow('{"a": 1', ", oops}") == [{"a": 1}, None]


@given(st.dictionaries(st.text(), st.text() | st.integers(), min_size=1), st.integers(1, 7))
def test_a_growing_object_ends_as_the_whole_one(value, size):
    text = json.dumps(value, ensure_ascii=False)
    pieces = [text[start : start + size] for start in range(0, len(text), size)]
    assert _grow(*pieces)[-1] == value
