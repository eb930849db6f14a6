from __future__ import annotations

import pytest

from langchain_aimlernie._text import clean_text


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("plain", "plain"),
        ("你好 😀\x00\u2028", "你好 😀\x00\u2028"),
        ("\ud83d\ude00", "😀"),
        ("a\ud83db", "a\ufffdb"),
        ("\ude00\ud83d", "\ufffd\ufffd"),
    ],
)
def test_text_can_always_be_encoded(text, clean):
    assert clean_text(text) == clean
    assert clean_text(text).encode()
