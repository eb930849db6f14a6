"""Text that a JSON body can hold, text that an error may show, and warnings."""

from __future__ import annotations

import inspect
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, cast

_SHORTEST_SECRET = 4
_MAX_DEPTH = 20
_SECRET_HEADER = re.compile(
    r"(?:.*-)?(?:cookie2?|authorization|authentication-info|token|secret|password|api-?key)"
)
"""Headers of a response whose value lets whoever reads it act as somebody else."""

_ESCAPE = re.compile(
    r"\\(?:ud[89ab][\da-f]{2}\\ud[c-f][\da-f]{2}|(ud[89a-f][\da-f]{2})|.)",
    re.IGNORECASE | re.DOTALL,
)
"""An escape of JSON, or a surrogate pair; the half of one that stands alone is the group."""

_HALF = re.compile(
    r"\\ud(?:[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..\\ud)[c-f])|\\\\ud", re.IGNORECASE | re.DOTALL
)
"""What may be half a surrogate pair on its own."""

_NOT_OF_PROGRAM = (
    *("langchain_aimlernie", "langchain_core", "langchain", "langgraph", "pydantic"),
    *("asyncio", "concurrent", "threading"),  # core makes a task of `ainvoke`
)


def warn_user(message: str) -> None:
    """Warn at the line of the program that led here."""
    level, frame = 1, inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] in _NOT_OF_PROGRAM:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def clean_text(text: str) -> str:
    """Make `text` encodable as UTF-8; the same object if it is so already.

    Halves of a surrogate pair that meet are joined to the character they stand for; a half on its
    own becomes U+FFFD. Costs next to nothing for clean text.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_json(text: str) -> str:
    """Replace the escape of half a surrogate pair on its own in JSON; the length stays."""
    if not _HALF.search(text):  # read with every piece of a stream
        return text
    return _ESCAPE.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)


def json_text(value: object) -> str:
    """Write any value as JSON for a model to read; what JSON cannot say, as Python prints it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = str(value)
    return clean_text(text)


class Redactor:
    """Replaces secrets by `***` in text and JSON on its way into an error.

    The secrets travel in this one object, whose repr shows none of them: tools that print the local
    variables of a traceback print the repr of every argument.

    Args:
        *secrets: What no error may show; a text of three characters or less is not a secret.
    """

    __slots__ = ("_secrets",)

    def __init__(self, *secrets: str) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # A secret may be part of another one, which must not be cut before it is found.
        self._secrets = sorted(long_enough, key=len, reverse=True)

    def __repr__(self) -> str:
        return "<Redactor>"

    def text(self, text: str) -> str:
        """Return `text` with each secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return all headers of a response, names in lower case, each secret replaced.

        A header that is a secret by its name, such as `Set-Cookie`, is replaced as a whole.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        return {
            name: "***" if _SECRET_HEADER.fullmatch(name) else self.text(value)
            for name, value in lower.items()
        }

    def json(self, value: object, depth: int = 0) -> object:
        """Return a copy of a JSON value with each text redacted and made encodable as UTF-8.

        The deepest parts are left out: a body that is nested without end would break the copy, and
        whoever prints it.
        """
        if isinstance(value, str):
            return clean_text(self.text(value))
        if depth > _MAX_DEPTH and isinstance(value, Mapping | list):
            return "…"
        if isinstance(value, Mapping):
            return {
                clean_text(self.text(str(key))): self.json(item, depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.json(item, depth + 1) for item in value]
        return value

    def json_object(self, value: Mapping[str, object]) -> dict[str, Any]:
        """Return a copy of a JSON object; see `json`."""
        return cast("dict[str, Any]", self.json(value)) if value else {}


NO_SECRETS = Redactor()
"""Redacts nothing."""


def truncate(text: str, limit: int) -> str:
    """Return `text` on one line of at most `limit` characters.

    Non-printable characters are escaped: a server must not write lines into the user's log.
    """
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(map(_printable, shown))
    if len(text) <= limit and len(shown) <= limit:
        return shown
    return f"{shown[: limit - 1]}…"


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else ascii(char)[1:-1]
