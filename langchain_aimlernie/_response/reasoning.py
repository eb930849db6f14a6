"""Reasoning within the text, between `<think>` and `</think>`.

ERNIE's own format goes on with `<response>` and ends with `</response>`. The line breaks around the
tags belong to none of the parts.
"""

from __future__ import annotations

_TAGS = ("<think>", "</think>", "<response>", "</response>")
_END = len(_TAGS)
_REASONING = 1
_BREAKS = "\r\n"
_MAX_SPACE = 8
"""How many characters of white space wait for a tag that may follow them; more are text."""


class ThinkTagParser:
    """Splits streamed text that begins with a `<think>` block into reasoning and text.

    AI/ML API sends reasoning in a field of its own; servers that run the weights themselves without
    a reasoning parser leave the block in the text. Only a block that opens the text counts, and
    `<response>` only after such a block. No more is held back than 8 characters of white space and
    what may be the beginning of a tag.
    """

    __slots__ = ("_awaited", "_held", "_is_new")

    def __init__(self) -> None:
        self._awaited = 0
        self._held = ""
        self._is_new = False

    def feed(self, text: str) -> tuple[str, str]:
        """Return the (reasoning, text) that can be emitted after the next part."""
        if self._awaited == _END and not self._is_new:
            return "", text
        text, self._held = self._held + text, ""
        reasoning = answer = ""
        while self._awaited < _END:
            awaited = self._awaited
            before, text = self._close(text) if awaited % 2 else self._open(text)
            if awaited == _REASONING:
                reasoning += before
            else:
                answer += before
            if self._awaited == awaited:
                self._held = text
                return reasoning, answer
        return reasoning, answer + self._begin(text)

    def close(self) -> tuple[str, str]:
        """Return the buffered rest as (reasoning, text)."""
        held, self._held = self._held, ""
        return (held, "") if self._awaited == _REASONING else ("", held)

    def _open(self, text: str) -> tuple[str, str]:
        """Search an opening tag; return the text before it and the rest."""
        tag = _TAGS[self._awaited]
        text = self._begin(text)
        start = text.lstrip()
        before = max(0, len(text) - len(start) - _MAX_SPACE)
        if start.startswith(tag):
            self._awaited += 1
            self._is_new = True
            return text[:before], start[len(tag) :]
        if tag.startswith(start):
            return text[:before], text[before:]
        self._awaited = _END
        return "", text

    def _close(self, text: str) -> tuple[str, str]:
        """Search a closing tag; return the reasoning before it and the rest."""
        tag = _TAGS[self._awaited]
        text = self._begin(text)
        body, found, rest = text.partition(tag)
        if not found:
            body = body[: len(body) - _overlap(body, tag)]
        end = max(len(body.rstrip(_BREAKS)), len(body) - _MAX_SPACE)
        if not found:
            return text[:end], text[end:]
        self._awaited += 1
        self._is_new = True
        return body[:end], rest

    def _begin(self, text: str) -> str:
        """Drop the line breaks after a tag."""
        if self._is_new:
            text = text.lstrip(_BREAKS)
            self._is_new = not text
        return text


def _overlap(text: str, tag: str) -> int:
    """Count the last characters of `text` that may be the beginning of the tag."""
    for length in range(min(len(text), len(tag) - 1), 0, -1):
        if tag.startswith(text[-length:]):
            return length
    return 0


def split_think_tags(text: str) -> tuple[str, str]:
    """Split a whole text into (reasoning, text)."""
    splitter = ThinkTagParser()
    reasoning, answer = splitter.feed(text)
    rest, tail = splitter.close()
    return reasoning + rest, answer + tail
