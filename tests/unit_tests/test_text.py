from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._text import clean_text, truncate


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


def test_text_is_truncated_after_it_was_escaped():
    long = {"abcde": "abc…", "\x1ba": "\\x1…", "\x00\x00": "\\x0…", "\x01" * 4: "\\x0…"}
    for text, shown in {**long, "": "", "abcd": "abcd", "a\nb": "a b", "\x1b": "\\x1b"}.items():
        assert truncate(text, 4) == shown
