"""JSON in a completion: bare, in a code fence, within prose, after reasoning, partial.

langchain-core's `parse_json_markdown` takes the first fence and completes truncated JSON; its
`parse_partial_json` takes the first digits of a number for the number.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import cast

from pydantic_core import from_json

_DECODER = json.JSONDecoder(strict=False)  # line breaks within strings are common in completions
_STRICT_DECODER = json.JSONDecoder()

# Reasoning that a server leaves in the text; some chat templates swallow the opening tag.
_THOUGHTS = re.compile(
    r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?!\s*[\[{`<]).*?</think(?:ing)?>", re.DOTALL
)


def _string(quote: str) -> str:
    """Return the pattern of a string, which lasts to the end of the text if nothing closes it."""
    return rf"{quote}[^{quote}\\]*(?:\\(?:.|\Z)[^{quote}\\]*)*(?:{quote}|\Z)"


_MARK = r"`{3,}|^[ \t]*~{3,}"
# What counts in prose: an opening bracket, or the mark of a code fence. LaTeX escapes brackets.
_IN_PROSE = re.compile(rf"\\.|[\[{{]|{_MARK}", re.DOTALL | re.MULTILINE)
_IN_CODE = re.compile(r"\\.|[\[{]", re.DOTALL)
# What counts between brackets: brackets, whole strings, and marks, which JSON has in strings only.
# Python's quotes count, apostrophes do not.
_IN_BRACKETS = re.compile(
    rf"""\\.|[\[{{\]}}]|{_MARK}|{_string('"')}|(?<!\w){_string("'")}(?!\w)""",
    re.DOTALL | re.MULTILINE,
)
# Behind the mark that opens a fence: a word up to JSON on the same line, or the rest of the line.
_INFO = re.compile(r"[ \t]*[\w.+/-]*[ \t]*(?=[\[{])|[^`\[{\n]*(?:\n|\Z)")
_NEXT_MARK = re.compile(r"^[ \t]*(`{3,}|~{3,})", re.MULTILINE)
_SPACE = re.compile(r"\s*")
# A comma behind the last item, outside of strings.
_LAST_COMMA = re.compile(rf"""({_string('"')})|(?<=["\w}}\]]),(?=\s*[}}\]])""", re.DOTALL)


def extract_json(text: str) -> list[object]:
    """Return the JSON values in a text, the likeliest first.

    The order is: the whole text, and what it contains if it is a JSON string; if it is not JSON,
    the values with which its code fences begin, from the last to the first; then the objects and
    lists at the top level of the text, from the last to the first. What stands inside a bracket
    that cannot be parsed is not at the top level, and nor is what follows a bracket that is never
    closed. Reasoning in `<think>` tags before the text is left out.
    """
    text = _THOUGHTS.sub("", text, count=1).strip()
    for value in whole_json(text):
        return [value, *extract_json(value)] if isinstance(value, str) else [value]
    scanner = _Scanner(text)
    return [*reversed(scanner.fenced), *reversed(scanner.bare)]


def whole_json(text: str) -> list[object]:
    """Return the value that a text is, if it is JSON; else nothing."""
    try:
        return [_decode(text)]
    except (ValueError, RecursionError):
        return []


def _decode(text: str) -> object:
    """Decode JSON, also with a comma behind the last item of a list or object."""
    try:
        return cast("object", _DECODER.decode(text))
    except json.JSONDecodeError as error:
        with suppress(json.JSONDecodeError):
            return cast("object", _DECODER.decode(_LAST_COMMA.sub(r"\1", text)))
        raise error from None


def why_no_json(text: str) -> str:
    """Return in parentheses why the first bracket of a text opens no JSON; empty if it does."""
    start = re.search(r"[\[{]", text)
    try:
        if start:
            _DECODER.raw_decode(text, start.start())
    except json.JSONDecodeError as error:
        return f" ({error.msg}, character {error.pos + 1})"
    except (ValueError, RecursionError):
        return " (numbers too long, or nested too deeply)"
    return ""


class _Scanner:
    """Finds the values in a text that is not JSON as a whole, in time linear in its length."""

    def __init__(self, text: str) -> None:
        self.fenced: list[object] = []  # the values with which code fences begin
        self.bare: list[object] = []  # those at the top level of prose and code
        self._text = text
        self._fence: str | None = None  # the mark of the fence that is open
        self._inside = 0  # what begins before this position stands inside a bracket
        self._scan(_IN_PROSE, 0, len(text))

    def _scan(self, tokens: re.Pattern[str], position: int, limit: int) -> None:
        while token := tokens.search(self._text, position, limit):
            position = token.end()
            text = token[0].lstrip()
            if text[0] in "`~":
                position = self._read_mark(text, position)
            elif text in "[{" and token.start() >= self._inside:
                position = self._read(token.start(), limit, self.bare)

    def _read_mark(self, mark: str, position: int) -> int:
        """Read what follows a mark that ends at `position`; return where to go on.

        That is nothing behind the mark that closes a fence, else the fence: the JSON at its
        beginning, or all of it.
        """
        opened, self._fence = self._fence, None
        if opened and mark.startswith(opened) and not self._text[position : position + 1].isalnum():
            return position
        info = _INFO.match(self._text, position)
        if info is None:  # code within a line
            return position
        start = _skip_space(self._text, info.end())
        if self._text[start : start + 1] in ("[", "{"):
            self._fence = mark
            return self._read_values(start)
        return self._read_code(mark, info.end())

    def _read_values(self, position: int) -> int:
        """Read one value, or several under each other, up to what is none."""
        while self._text[position : position + 1] in ("[", "{"):
            resume = self._read(position, len(self._text), self.fenced)
            if resume < self._inside:
                return resume
            position = _skip_space(self._text, resume)
        return position

    def _read_code(self, mark: str, start: int) -> int:
        """Read a fence without a bracket at its beginning; it may hold a string or a number."""
        closing = _NEXT_MARK.search(self._text, start)
        limit = closing.start() if closing else len(self._text)
        if found := whole_json(self._text[start:limit].strip()):
            self.fenced += found
        else:
            self._scan(_IN_CODE, start, limit)
        if closing and closing[1].startswith(mark):
            self._fence = mark
        return limit

    def _read(self, start: int, limit: int, values: list[object]) -> int:
        """Read what the bracket at `start` opens; return where the next fence may begin."""
        end, is_closed = _find_end(self._text, start, limit)
        self._inside = end if is_closed or values is self.fenced else limit
        text = self._text[start:end]
        try:
            values.append(_decode(text))
        except json.JSONDecodeError as error:
            return end if _is_cut(error, text) else start + _error_position(text)
        except (ValueError, RecursionError):  # a number of too many digits, or nested too deeply
            return end
        return end


def _find_end(text: str, start: int, limit: int) -> tuple[int, bool]:
    """Return the end of what the bracket at `start` opens, and whether it is closed there.

    If nothing closes it, it ends where a code fence begins or ends, or at `limit`.
    """
    depth = 0
    for token in _IN_BRACKETS.finditer(text, start, limit):
        kind = token[0].lstrip()[0]
        if kind in "[{":
            depth += 1
        elif kind in "]}":
            depth -= 1
            if not depth:
                return token.end(), True
        elif kind in "`~":
            return token.start(), False
    return limit, False


_ANY_MARK = re.compile(_MARK, re.MULTILINE)
# A fence whose first line, or the space before its content, is still arriving.
_INFO_ARRIVING = re.compile(r"[^`\[{\n]*(?:\n\s*)?\Z")
_LONGEST_PART_OF_MARK = 8
_OF_NUMBERS = "0123456789+-.eE_"


class PartialJsonDecoder:
    """Reads an object or list while its text is arriving.

    Only where the text itself or a code fence begins with JSON: whether a value within prose is
    the answer shows at the end. Of several fences the last one counts, as in `extract_json`.
    """

    def __init__(self) -> None:
        self._text = ""
        self._start: int | None = None
        self._after = 0
        self._in_fence = False

    def feed(self, text: str) -> object | None:
        """Return the value so far after the next part of the text, unfinished strings included.

        A number at the end is left out, because more digits may follow. `None` if nothing new is
        known, or what has come cannot be read.
        """
        self._text += text
        may_be_whole = "}" in text or "]" in text
        known = None
        while (start := self._find_start()) is not None:
            value = self._read(start, may_be_whole=may_be_whole)
            known = known if value is None else value
            if self._start is not None:
                break
        return known

    def _find_start(self) -> int | None:
        """Find the next bracket with which the text or a fence begins, if it has come."""
        text, start = self._text, self._start
        if start is not None:
            return start
        thoughts = _THOUGHTS.match(text) if "think>" in text or "thinking>" in text else None
        body = _skip_space(text, thoughts.end() if thoughts else 0)
        if body >= self._after and text[body : body + 1] in ("[", "{"):
            self._start, self._in_fence = body, False
            return body
        self._after = max(self._after, body)
        while self._start is None and (mark := _ANY_MARK.search(text, self._after)):
            if not self._pass_mark(mark.end()):
                self._after = mark.start()
                return None
        self._after = max(self._after, len(text) - _LONGEST_PART_OF_MARK)
        return self._start

    def _pass_mark(self, position: int) -> bool:
        """Pass the mark that ends at `position`; return whether it has come with what it opens."""
        if position == len(self._text):
            return False
        is_closing = self._in_fence and not self._text[position].isalnum()
        if not is_closing and _INFO_ARRIVING.match(self._text, position):
            return False
        self._in_fence, self._after = False, position
        info = None if is_closing else _INFO.match(self._text, position)
        if info:
            self._in_fence = True
            start = self._after = _skip_space(self._text, info.end())
            if self._text[start : start + 1] in ("[", "{"):
                self._start = start
        return True

    def _read(self, start: int, *, may_be_whole: bool) -> object | None:
        if may_be_whole and (value := self._read_whole(start)) is not None:
            return value
        arrived = _without_number(self._text[start:])
        if _skip_space(arrived, 1) == len(arrived):  # a bracket, which may as well begin prose
            return None
        try:
            return cast("object", from_json(arrived, allow_partial="trailing-strings"))
        except ValueError:  # also for a raw line break in a string, unlike `json`
            return self._read_whole(start, or_leave=True)

    def _read_whole(self, start: int, *, or_leave: bool = False) -> object | None:
        """Return the value if all of it has come; if it is not JSON, look for another on demand."""
        try:
            value, self._after = _DECODER.raw_decode(self._text, start)
        except json.JSONDecodeError as error:
            if or_leave and not _is_cut(error, self._text):
                self._start, self._after = None, max(error.pos, start + 1)
        except (ValueError, RecursionError):
            pass
        else:
            self._start = None
            return cast("object", value)
        return None


def _error_position(text: str) -> int:
    """Return how far a text is JSON: what looks like the mark of a fence in its strings is not."""
    try:
        _STRICT_DECODER.decode(text)
    except json.JSONDecodeError as error:
        return max(error.pos, 1)
    return len(text)


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    return error.pos >= len(text) or error.msg.startswith("Unterminated string")


def _without_number(text: str) -> str:
    """Drop an unfinished number at the end, also one in quotes."""
    shorter = text.rstrip(_OF_NUMBERS)
    if len(shorter) == len(text):
        return text
    before = shorter.rstrip()
    before = before.removesuffix('"').rstrip()
    return before if before.endswith(("[", ",", ":")) else text


def _skip_space(text: str, position: int) -> int:
    return cast("re.Match[str]", _SPACE.match(text, position)).end()
