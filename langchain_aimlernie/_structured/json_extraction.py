"""JSON in a completion: bare, in a code fence, within prose, after reasoning, nearly JSON, partial.

langchain-core's `parse_json_markdown` takes the first fence and completes truncated JSON; its
`parse_partial_json` takes the first digits of a number for the number. The library json5 knows
neither Python's constants nor curly quotes, and drops the backslashes of LaTeX.
"""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import cast

from pydantic_core import from_json

from langchain_aimlernie._text import clean_json

_DECODER = json.JSONDecoder(strict=False)  # line breaks within strings are common in completions
_STRICT_DECODER = json.JSONDecoder()

# Reasoning that a server leaves in the text; some chat templates put the opening tag in the prompt.
_REASONING = re.compile(
    r"\A\s*<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)|\A(?!\s*[\[{`<]).*?</think(?:ing)?>", re.DOTALL
)


def _string(quote: str) -> str:
    """Return the pattern of a string, which may be unclosed at the end of the text."""
    return rf"{quote}[^{quote}\\]*(?:\\(?:.|\Z)[^{quote}\\]*)*(?:{quote}|\Z)"


_MARK = r"`{3,}|^[ \t]*~{3,}"
# What counts in prose: an opening bracket, or the mark of a code fence. LaTeX escapes brackets, and
# a brace before a brace, as in templates, opens nothing.
_IN_PROSE = re.compile(rf"\\.|\[|{{(?!\s*{{)|{_MARK}", re.DOTALL | re.MULTILINE)
# What counts between brackets: brackets, whole strings, and marks, which JSON has in strings only.
# Python's quotes count, apostrophes do not.
_IN_BRACKETS = re.compile(
    rf"""\\.|[\[{{\]}}]|{_MARK}|{_string('"')}|(?<!\w){_string("'")}(?!\w)""",
    re.DOTALL | re.MULTILINE,
)
_ANY_MARK = re.compile(_MARK, re.MULTILINE)
_MARK_OF_LINE = re.compile(r"^[ \t]*(?:`{3,}|~{3,})", re.MULTILINE)
# Behind the mark that opens a fence: a word up to JSON on the same line, or the rest of the line.
_INFO = re.compile(r"[ \t]*[\w.+/-]*[ \t]*(?=[\[{])|[^`\[{\n]*(?:\n|\Z)")
_SPACE = re.compile(r"\s*")
_BEFORE_JSON = re.compile(r"(?:\s|{(?=\s*{))*")  # in a code fence
_COMMENT = r"""(?://|\#)[^\n"]*+|/\*[^*]*\*/"""
# What models write in the place of JSON: strings in Python's or curly quotes or with other escapes,
# keys without quotes, Python's constants; comments and a comma behind the last item.
_LENIENT = re.compile(
    rf"""(?P<string>(?<!\\){_string('"')}|(?<![\\\w]){_string("'")}(?!\w)|[“”][^“”]*(?:[“”]|\Z))"""
    r"""|(?<!\w)(?P<key>[^\W\d]\w*+)(?=\s*:)|\b(?:True|False|None)\b"""
    rf"""|{_COMMENT}|(?<=[^\s,[{{])\s*,(?=(?:\s|{_COMMENT})*+[}}\]])""",
    re.DOTALL,
)
_CONSTANTS = {"True": "true", "False": "false", "None": "null"}
# `\f` and `\b` are LaTeX or a pattern, not control characters; if the string has other lone
# backslashes, `\n` before a letter may be LaTeX or a path, too.
_ESCAPE = re.compile(
    r"""\\(?:["\\/]|(?P<space>[nrt](?=[a-z]))|[nrt]|u[\da-fA-F]{4}|(?P<apostrophe>'))"""
    r"""|(?P<quote>")|(?P<backslash>\\)"""
)


def extract_json(text: str) -> list[object]:
    """Return the JSON values in a text, the likeliest first.

    If the whole text is JSON, that is the only value, followed by those within it if it is a
    string. Otherwise come the values with which its code fences begin, from the last to the first,
    then the objects and lists at the top level of the text, from the last to the first. What is
    inside a bracket that cannot be parsed, or after a bracket that is never closed, is not at the
    top level. Reasoning in `<think>` tags before the text is left out.
    """
    text = clean_json(_REASONING.sub("", text, count=1).strip())
    for value in whole_json(text):
        return [value, *extract_json(value)] if isinstance(value, str) else [value]
    fenced: list[object] = []
    bare: list[object] = []
    position = 0
    fence = ""  # the mark of the open fence
    begin = -1  # where a fence begins with JSON
    code_end = inside = 0  # where the current code without JSON, or bracket, ends
    while token := _IN_PROSE.search(text, position):
        start, position = token.span()
        if token[0] in "[{" and (start == begin or start >= inside):
            limit = code_end if start < code_end else len(text)
            end, is_closed = _find_end(text, start, limit)
            inside = end if is_closed or start == begin else limit
            values, position = _read(text, start, end)
            (fenced if start == begin else bare).extend(values)
            # Another value may follow in the fence.
            begin = _skip(text, end, _BEFORE_JSON) if position == end and start == begin else -1
        elif token[0][0] not in "\\[{" and start >= code_end:
            fence, position = _pass_mark(text, token, fence)
            begin = _skip(text, position, _BEFORE_JSON) if fence else -1
            if fence and not _is_opened(text, begin):  # a string, a number, or code
                closing = _MARK_OF_LINE.search(text, position)
                code_end = closing.start() if closing else len(text)
                if found := whole_json(text[begin:code_end].strip()):
                    fenced += found
                    position = code_end
    return [*reversed(fenced), *reversed(bare)]


def _pass_mark(text: str, mark: re.Match[str], fence: str) -> tuple[str, int]:
    """Return the mark of the fence that is open after a mark, and where its content begins."""
    name, end = mark[0].lstrip(), mark.end()
    is_closing = fence and name.startswith(fence) and not text[end : end + 1].isalnum()
    info = None if is_closing else _INFO.match(text, end)
    return (name, info.end()) if info else ("", end)  # else it closes a fence, or is inline code


def _find_end(text: str, start: int, limit: int) -> tuple[int, bool]:
    """Return where the value with the bracket at `start` ends, and whether a bracket closes it.

    An unclosed value ends where a code fence begins or ends, or at `limit`.
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


def _read(text: str, start: int, end: int) -> tuple[list[object], int]:
    """Return the value between two positions, if it is JSON, and where the next fence may begin."""
    part = text[start:end]
    try:
        return [_decode(part)], end
    except json.JSONDecodeError as error:
        if not _is_cut(error, part):
            try:  # up to the error, or a raw line break, fences are inside strings
                _STRICT_DECODER.decode(part)
            except json.JSONDecodeError as strict:
                return [], start + max(strict.pos, 1)
    except (ValueError, RecursionError):  # a number has too many digits, or it is nested too deeply
        pass
    return [], end


def whole_json(text: str) -> list[object]:
    """Return a list with the value of a text that is JSON; else an empty list."""
    try:
        return [_decode(text)]
    except (ValueError, RecursionError):
        return []


def _decode(text: str) -> object:
    """Decode JSON, or an object or list that becomes JSON if tokens unknown to it are replaced."""
    try:
        return cast("object", _DECODER.decode(text))
    except json.JSONDecodeError as error:
        if _is_opened(text, 0):
            with suppress(json.JSONDecodeError):
                if value := _DECODER.decode(_LENIENT.sub(_as_json, text)):
                    return cast("object", value)  # else nothing but comments, as in code
        raise error from None


def _as_json(token: re.Match[str]) -> str:
    if token.end() == len(token.string):  # the text ends with a bracket, or is not whole
        return token[0]
    if token["string"]:
        text = token[0][1:-1]
        is_unclear = {"space", "backslash"} <= {part.lastgroup for part in _ESCAPE.finditer(text)}
        return token[0] if is_unclear else f'"{_ESCAPE.sub(_as_escape, text)}"'
    return f'"{token[0]}"' if token["key"] else _CONSTANTS.get(token[0], "")


def _as_escape(token: re.Match[str]) -> str:
    is_bare = token.lastgroup in ("quote", "backslash")
    return f"\\{token[0]}" if is_bare else token["apostrophe"] or token[0]


def _is_cut(error: json.JSONDecodeError, text: str) -> bool:
    return error.pos >= len(text) or error.msg.startswith("Unterminated string")


def why_no_json(text: str) -> str:
    """Return in parentheses why no JSON begins at the first bracket of a text; empty if it does."""
    start = re.search(r"[\[{]", text)
    try:
        if start:
            _DECODER.raw_decode(text, start.start())
    except json.JSONDecodeError as error:
        return f" ({error.msg}, character {error.pos + 1})"
    except (ValueError, RecursionError):
        return " (numbers too long, or nested too deeply)"
    return ""


# Text that is still arriving

# A fence whose first line, or the space before its content, is still arriving.
_INFO_ARRIVING = re.compile(r"[^`\[{\n]*(?:\n\s*)?\Z")
_LONGEST_PART_OF_MARK = 8
_OF_NUMBERS = "0123456789+-.eE_"


class PartialJsonDecoder:
    """Reads an object or list while its text is arriving.

    It must be at the beginning of the text or a code fence: whether a value within prose is meant
    is known only at the end. Of several fences the last one counts, as in `extract_json`.
    """

    def __init__(self) -> None:
        self._text = ""
        self._start: int | None = None  # of the value that is arriving
        self._after = 0  # the text up to here has been read
        self._fence = ""

    def feed(self, text: str) -> object | None:
        """Return the value so far after the next part of the text, unfinished strings included.

        A number at the end is left out, because more digits may follow. `None` if there is nothing
        new, or the text so far cannot be parsed.
        """
        self._text += text
        may_be_whole = "}" in text or "]" in text
        latest = None
        while (start := self._find_start()) is not None:
            value = self._read(start, may_be_whole=may_be_whole)
            latest = latest if value is None else value
            if self._start is not None:
                break
        return latest

    def _find_start(self) -> int | None:
        """Find the next bracket with which the text or a fence begins, if it has arrived."""
        if self._start is not None:
            return self._start
        text = self._text
        reasoning = _REASONING.match(text) if "think>" in text or "thinking>" in text else None
        begin = _skip(text, reasoning.end() if reasoning else 0)
        if begin >= self._after:
            self._after = begin
            if _is_opened(text, begin):
                self._start = begin
        while self._start is None and (mark := _ANY_MARK.search(text, self._after)):
            if _INFO_ARRIVING.match(text, mark.end()):
                self._after = mark.start()
                return None
            self._fence, self._after = _pass_mark(text, mark, self._fence)
            begin = _skip(text, self._after)
            if self._fence and _is_opened(text, begin):
                self._start = begin
        if self._start is None:
            self._after = max(self._after, len(text) - _LONGEST_PART_OF_MARK)
        return self._start

    def _read(self, start: int, *, may_be_whole: bool) -> object | None:
        """Return the value that begins at `start`; skip it if it is complete, or not JSON."""
        arrived = _without_number(self._text[start:])
        value: object = None
        is_readable = True
        try:
            if _skip(arrived, 1) < len(arrived):  # a bracket alone may as well begin prose
                value = from_json(arrived, allow_partial="trailing-strings")
        except ValueError:  # also for a raw line break in a string, unlike `json`
            is_readable = False
        if may_be_whole or not is_readable:
            try:
                value, self._after = _DECODER.raw_decode(clean_json(self._text), start)
                self._start = None
            except json.JSONDecodeError as error:
                if not is_readable and not _is_cut(error, self._text):
                    self._start, self._after = None, max(error.pos, start + 1)
            except (ValueError, RecursionError):
                pass
        return value


def _without_number(text: str) -> str:
    """Return the text without an unfinished number at its end, which may be in quotes."""
    shorter = text.rstrip(_OF_NUMBERS)
    if len(shorter) == len(text):
        return text
    before = shorter.rstrip().removesuffix('"').rstrip()
    return before if before.endswith(("[", ",", ":")) else text


def _is_opened(text: str, position: int) -> bool:
    return text.startswith(("[", "{"), position)


def _skip(text: str, position: int, pattern: re.Pattern[str] = _SPACE) -> int:
    return cast("re.Match[str]", pattern.match(text, position)).end()
