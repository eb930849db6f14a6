"""Text that is valid in a JSON body, text that an error may show, and warnings."""

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
"""Response headers whose values are secrets."""

_ESCAPE = re.compile(
    r"\\(?:ud[89ab][\da-f]{2}\\ud[c-f][\da-f]{2}|(ud[89a-f][\da-f]{2})|.)",
    re.IGNORECASE | re.DOTALL,
)
"""An escape in JSON, or a surrogate pair of escapes; the group is a lone surrogate."""

_HALF = re.compile(
    r"\\ud(?:[89ab]..(?!\\ud[c-f])|(?<!\\ud[89ab]..\\ud)[c-f])|\\\\ud", re.IGNORECASE | re.DOTALL
)
"""Text that may be the escape of a lone surrogate."""

_NOT_OF_PROGRAM = (
    *("langchain_aimlernie", "langchain_core", "langchain", "langgraph", "pydantic"),
    *("asyncio", "concurrent", "threading"),  # core makes a task of `ainvoke`
)


def warn_user(message: str) -> None:
    """Warn at the line of the user's program that led to this call."""
    level, frame = 1, inspect.currentframe()
    while frame and str(frame.f_globals.get("__name__")).partition(".")[0] in _NOT_OF_PROGRAM:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def clean_text(text: str) -> str:
    """Return `text` so that it can be encoded as UTF-8; the same object if it can already.

    Surrogate pairs become the character that they encode, lone surrogates U+FFFD.
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def clean_json(text: str) -> str:
    """Replace the escapes of lone surrogates in JSON by U+FFFD's; the length is the same."""
    if not _HALF.search(text):  # fast, since it runs for every event of a stream
        return text
    return _ESCAPE.sub(lambda escape: "\\ufffd" if escape[1] else escape[0], text)


def json_text(value: object) -> str:
    """Return any value as JSON for a model to read; what JSON lacks is the value's `str`."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = str(value)
    return clean_text(text)


class Redactor:
    """Replaces secrets by `***` in text and JSON for errors.

    Its repr hides the secrets, since tools that report errors show the repr of local variables.

    Args:
        *secrets: Texts that no error may show; those of three characters or less are ignored.
    """

    __slots__ = ("_secrets",)

    def __init__(self, *secrets: str) -> None:
        long_enough = {secret for secret in secrets if len(secret) >= _SHORTEST_SECRET}
        # Longest first: a secret may be part of another one.
        self._secrets = sorted(long_enough, key=len, reverse=True)

    def __repr__(self) -> str:
        return "<Redactor>"

    def text(self, text: str) -> str:
        """Return `text` with each secret replaced."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers of a response, names in lower case, each secret replaced.

        The value of a header that is secret by its name, such as `Set-Cookie`, is replaced.
        """
        lower = {name.lower(): value for name, value in headers.items()}
        return {
            name: "***" if _SECRET_HEADER.fullmatch(name) else self.text(value)
            for name, value in lower.items()
        }

    def json(self, value: object, depth: int = 0) -> object:
        """Return a copy of a JSON value with each text redacted and valid as UTF-8.

        Parts below 20 levels become "…": extreme nesting would exceed the recursion limit.
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

    Non-printable characters are escaped, so that a server cannot add lines to the user's log.
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
