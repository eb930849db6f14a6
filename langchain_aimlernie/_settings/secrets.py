"""Find parameters that look like secrets.

A key under an unknown name would become a field of the request body, and would be shown in the
model's repr, its dump, cache keys and traces.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
        if _has_secret_name(str(name)) and not isinstance(value, int | float | None):
            return name  # a number is none: `max_token` is a misspelled `max_tokens`
        try:
            if _has_secret_value(value, own if isinstance(own, str) else ""):
                return name
        except RecursionError:  # no JSON either: the error comes when the body is encoded
            continue
    return None


def _has_secret_name(name: str) -> bool:
    """Whether a parameter of this name holds a secret; `api_key` and `apiKey` are alike."""
    words = [word.lower() for word in _WORD.findall(name)]
    if "_".join(words).endswith(_HARMLESS_NAMES):
        return False
    return bool(words) and (words[-1] in _SECRET_WORDS or "".join(words).endswith("apikey"))


def _has_secret_value(value: object, api_key: str = "") -> bool:
    """Whether a value is a secret: declared as one, the model's own key, or shaped like a key."""
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        return True
    if isinstance(value, Mapping):  # such as headers
        return any(_has_secret_value(inner, api_key) for inner in value.values())
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str) or len(value) < SHORTEST_SECRET:
        return False
    is_own = len(api_key) >= SHORTEST_SECRET and api_key in value
    return is_own or value.startswith(_SECRET_PREFIXES)
