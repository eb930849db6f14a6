"""Text that a JSON body can hold."""

from __future__ import annotations

import json


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


def json_text(value: object) -> str:
    """Write any value as JSON for a model to read; what JSON cannot say, as Python prints it."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (TypeError, ValueError):
        text = str(value)
    return clean_text(text)
