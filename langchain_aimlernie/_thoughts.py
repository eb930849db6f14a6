"""Thoughts that a server left inside the text, between `<think>` and `</think>`."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class ThoughtSplitter:
    """Splits a text that begins with a `<think>` block into reasoning and answer, piece by piece.

    AI/ML API sends reasoning in a field of its own; servers that run the weights themselves without
    a reasoning parser leave the block in the text. Only a block that opens the text counts.
    """

    __slots__ = ("_awaited", "_held")

    def __init__(self) -> None:
        self._awaited: str | None = _OPEN
        self._held = ""

    def feed(self, text: str) -> tuple[str, str]:
        """Take the next piece of text; give the (reasoning, answer) that it makes certain."""
        if self._awaited is None:
            return "", text
        text = self._held + text
        if self._awaited is _OPEN:
            return self._open(text)
        return self._close(text)

    def close(self) -> tuple[str, str]:
        """End the text: give what was held back, as the (reasoning, answer) that it is."""
        held, self._held = self._held, ""
        return (held, "") if self._awaited is _CLOSE else ("", held)

    def _open(self, text: str) -> tuple[str, str]:
        start = text.lstrip()
        if start.startswith(_OPEN):
            self._awaited, self._held = _CLOSE, ""
            return self._close(start[len(_OPEN) :])
        if _OPEN.startswith(start):
            self._held = text
            return "", ""
        self._awaited, self._held = None, ""
        return "", text

    def _close(self, text: str) -> tuple[str, str]:
        reasoning, tag, answer = text.partition(_CLOSE)
        if tag:
            self._awaited, self._held = None, ""
            return reasoning, answer
        keep = _overlap(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep], ""


def _overlap(text: str) -> int:
    """Count the last characters of `text` that may be the beginning of the closing tag."""
    for length in range(min(len(text), len(_CLOSE) - 1), 0, -1):
        if _CLOSE.startswith(text[-length:]):
            return length
    return 0


def split_thoughts(text: str) -> tuple[str, str]:
    """Split a whole text into (reasoning, answer)."""
    splitter = ThoughtSplitter()
    reasoning, answer = splitter.feed(text)
    rest, tail = splitter.close()
    return reasoning + rest, answer + tail
