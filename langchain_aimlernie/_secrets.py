"""Detection of secrets among parameters, by name or by value, and how bound ones are masked.

A key under an unknown name would become a field of the request body, and would be shown in the
model's repr, its dump, cache keys and traces.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr

_SECRET_WORDS = frozenset(
    {"key", "apikey", "token", "secret", "password", "authorization", "ak", "sk"}
)
"""Last words of the names of secrets; `ak` and `sk` are Qianfan's access key and secret key."""

_HARMLESS_NAMES = ("cache_key", "bos_token", "eos_token", "pad_token", "stop_token")
"""Endings of documented parameter names whose values are not secret."""

_SECRET_PREFIXES = (
    "sk-",
    "Bearer ",
    "Basic ",
    "bce-v3/",
    "AIza",
    "gsk_",
    "hf_",
    "lsv2_",
    "nvapi-",
    "xai-",
    "ghp_",
    "github_pat_",
)
"""Prefixes of keys: the AI/ML API's and OpenAI's, HTTP's, Baidu's and other providers'."""

SHORTEST_SECRET = 8
"""Minimum length of a secret: redacting shorter values would redact ordinary words."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def find_secret(parameters: Mapping[str, object], api_key: object = None) -> str | None:
    """Return the name of the first parameter that holds a secret, or `None`.

    Args:
        parameters: Parameters that would become fields of the request body.
        api_key: The model's own key, if it is known.
    """
    own = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    for name, value in parameters.items():
        if has_secret_name(name) and not (value is None or isinstance(value, bool)):
            return name
        if has_secret_value(value, own if isinstance(own, str) else ""):
            return name
    return None


def has_secret_name(name: str) -> bool:
    """Whether a parameter of this name holds a secret; `api_key` and `apiKey` are alike."""
    words = [word.lower() for word in _WORD.findall(name)]
    if "_".join(words).endswith(_HARMLESS_NAMES):
        return False
    return bool(words) and (words[-1] in _SECRET_WORDS or "".join(words).endswith("apikey"))


def has_secret_value(value: object, api_key: str = "") -> bool:
    """Whether a value is a secret: declared as one, the model's own key, or shaped like a key."""
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        return True
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str) or len(value) < SHORTEST_SECRET:
        return False
    is_own = len(api_key) >= SHORTEST_SECRET and api_key in value
    return is_own or value.startswith(_SECRET_PREFIXES)


def secret_message(name: str) -> str:
    """Return the error message for a parameter that looks like a secret."""
    return (
        f"{name!r} looks like a secret and would be sent in the request body. Pass the API key as "
        "api_key, and any other key in default_headers."
    )


def mask(name: str, value: Any) -> Any:
    """Return the value of a bound parameter; if it is secret, in a form that repr does not show."""
    if name == "api_key":
        if isinstance(value, str):
            return SecretStr(value)
        return _MaskedFunction(value) if callable(value) else value
    if name == "default_headers" and isinstance(value, Mapping):
        return {key: SecretStr(v) if isinstance(v, str) else v for key, v in value.items()}
    return value


class _MaskedFunction:
    """Wraps a function that returns the key: the repr of a `partial` shows its arguments."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function

    def __call__(self) -> Any:
        return self._function()

    def __repr__(self) -> str:
        return "<function that returns the API key>"
