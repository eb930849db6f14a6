"""JSON in what a model says: bare, in a code fence, within prose, after reasoning, half arrived."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, cast

from pydantic_core import from_json

if TYPE_CHECKING:
    from collections.abc import Iterator

_DECODER = json.JSONDecoder(strict=False)  # line breaks within strings are common in answers

# Reasoning that a server leaves in the text; some chat templates swallow the opening tag.
_THOUGHTS = re.compile(
    r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?!\s*[\[{`<]).*?</think(?:ing)?>", re.DOTALL
)
# Where JSON begins within prose: not at "{x}", nor at the "[1]" of a citation.
_OPENING = re.compile(r'\{\s*["}]|\[\s*[\[{"\]]')
_LIST_OPENING = re.compile(r'\{\s*["}]|\[')


def find_json(text: str, *, lists: bool = False) -> Iterator[object]:
    """Give the JSON values that an answer may mean, in their order.

    The whole text is one, or else whatever stands in it within prose or code fences, after
    reasoning. What begins like JSON and breaks off ends the search: an object within a cut one is
    not the answer.

    Args:
        text: What the model said.
        lists: Whether a list of numbers may be meant; `[1]` within prose is a citation otherwise.
    """
    text = _THOUGHTS.sub("", text, count=1).strip()
    try:
        yield _DECODER.decode(text)
    except (ValueError, RecursionError):
        yield from _find_within(text, _LIST_OPENING if lists else _OPENING)


def _find_within(text: str, opening: re.Pattern[str]) -> Iterator[object]:
    position = 0
    while match := opening.search(text, position):
        try:
            value, position = _DECODER.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            return
        yield value


class PartialJsonDecoder:
    """Reads an object or list while its text is arriving."""

    def __init__(self, *, lists: bool = False) -> None:
        self._opening = _LIST_OPENING if lists else _OPENING
        self._text = ""
        self._start: int | None = None

    def feed(self, text: str) -> object | None:
        """Take the next piece of text; give all that is known, unfinished strings included.

        `None` if nothing is known yet, or what has come cannot be read.
        """
        self._text += text
        if self._start is None:
            self._start = self._find_start()
        if self._start is None:
            return None
        try:
            value = from_json(self._text[self._start :], allow_partial="trailing-strings")
        except ValueError:
            return None
        return cast("object", value)

    def _find_start(self) -> int | None:
        thoughts = _THOUGHTS.match(self._text)
        match = self._opening.search(self._text, thoughts.end() if thoughts else 0)
        return match.start() if match else None
