"""Tokens, roughly: how texts are split into chunks of a stream, and how many are billed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_aimlernie.testing.replies import Reply

_TOKEN = re.compile(r"\s*[A-Za-z0-9_]{1,8}|\s*[^\sA-Za-z0-9_]|\s+")
_BYTES_PER_TOKEN = 4


def split(text: str) -> list[str]:
    """Return the tokens of `text`; joined they are the text again."""
    return _TOKEN.findall(text)


def estimate(text: str) -> int:
    """Return the tokens of a prompt: one for four bytes of UTF-8, at least one."""
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return 1 + size // _BYTES_PER_TOKEN


def count_reply(reply: Reply) -> int:
    """Return the completion tokens of a reply of the fake model; a call's name counts as one."""
    texts = [reply.reasoning or "", reply.text, *(each["args"] for each in reply.tool_calls)]
    return sum(len(split(text)) for text in texts) + len(reply.tool_calls)
