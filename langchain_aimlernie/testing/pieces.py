"""Texts in pieces the size of tokens, and how many tokens to bill for a text."""

from __future__ import annotations

import re

_PIECE = re.compile(r"\s*[A-Za-z0-9_]{1,8}|\s*[^\sA-Za-z0-9_]|\s+")
_BYTES_PER_TOKEN = 4


def split(text: str) -> list[str]:
    """Cut `text` into token-like pieces; together they are the text again."""
    return _PIECE.findall(text)


def estimate(text: str) -> int:
    """Tokens of a prompt, roughly: one for four bytes of UTF-8, at least one."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return 1 + size // _BYTES_PER_TOKEN
