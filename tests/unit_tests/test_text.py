from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._text import clean_text, json_text, truncate


@pytest.mark.parametrize("value", ["", "plain", "你好 😀", "\x00\u2028\u2029\ufeff\x85\x0b"])
def test_clean_text_returns_the_same_object_if_nothing_is_wrong(value):
    assert clean_text(value) is value


def repaired(value):
    """The rule of the Unicode standard, character by character."""
    out, rest = [], list(value)
    while rest:
        first = rest.pop(0)
        if "\ud800" <= first <= "\udbff" and rest and "\udc00" <= rest[0] <= "\udfff":
            out.append(chr(0x10000 + ((ord(first) - 0xD800) << 10) + ord(rest.pop(0)) - 0xDC00))
        else:
            out.append("\ufffd" if "\ud800" <= first <= "\udfff" else first)
    return "".join(out)


@given(st.text(st.one_of(st.characters(categories=["Cs"]), st.characters(exclude_categories=()))))
def test_surrogates_are_joined_or_replaced(value):
    assert clean_text(value) == repaired(value)


def test_json_text_writes_chinese_as_it_is():
    assert json_text({"城": "\ud83d\ude00\ud83d"}) == '{"城": "😀\ufffd"}'


@pytest.mark.slow
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_json_text_round_trips(value):
    assert json.loads(json_text(value)) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("abcd", "abcd"),
        ("abcde", "abc…"),
        ("a\nb", "a b"),
        ("\x1b", "\\x1b"),
        ("\x1ba", "\\x1…"),
        ("\x00\x00", "\\x0…"),
        ("\x01" * 4, "\\x0…"),
        ("", ""),
    ],
)
def test_text_is_truncated_after_it_was_escaped(text, shown):
    assert truncate(text, 4) == shown
