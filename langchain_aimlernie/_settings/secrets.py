"""Recognize secrets, which must neither be sent in the request body nor be shown.

A key under an unknown name would become a field of the body, and appear in the model's repr, dumps,
cache keys and traces: such a parameter is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from pydantic import Secret, SecretBytes, SecretStr

from langchain_aimlernie._settings.fields import ALIASES

SHORTEST_SECRET = 8
"""Minimum length of a secret: shorter values may be ordinary words."""

_SECRET_NAME = re.compile(r"(?:.*_)?(?:key|token|secret|password|authorization|ak|sk)|.*ap_?ikey")
"""Names of secrets in snake case; `ak` and `sk` are Qianfan's access key and secret key."""

_HARMLESS_NAME = re.compile(r".*(?:cache_key|(?:bos|eos|pad|stop)_token)")
"""Documented parameters whose values are not secret."""

_SECRET_PREFIXES = (
    *("sk-", "Bearer ", "Basic ", "bce-v3/", "AIza", "gsk_"),
    *("hf_", "lsv2_", "nvapi-", "xai-", "ghp_", "github_pat_"),
)
"""Prefixes of keys of the AI/ML API, OpenAI, Baidu and other providers, and HTTP's schemes."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def secret_problem(
    parameters: Mapping[str, Any], api_key: object, known: Collection[str]
) -> str | None:
    """Return the error message if a secret would be sent in the request body, else `None`.

    All but `known` parameters would be sent, and the contents of `model_kwargs` and `extra_body`.
    """
    unknown = {name: value for name, value in parameters.items() if name not in known}
    in_body = parameters.get("model_kwargs")
    if isinstance(in_body, Mapping):  # headers in it become `default_headers`
        in_body = {n: v for n, v in in_body.items() if ALIASES.get(n, n) != "default_headers"}
    for fields in (unknown, in_body, parameters.get("extra_body")):
        for name, value in fields.items() if isinstance(fields, Mapping) else ():
            if is_secret(str(name), value, api_key):
                return (
                    f"{name!r} looks like a secret and would be sent in the request body. Pass the "
                    "API key as api_key, and any other key in default_headers."
                )
    return None


def is_secret(name: str, value: object, api_key: object = None) -> bool:
    """Whether a parameter has the name or value of a secret, such as the model's key."""
    if isinstance(value, int | float | None):
        return False  # `max_token` is a misspelled `max_tokens`
    own = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    try:
        return _is_secret_name(name) or _is_secret_value(value, own if isinstance(own, str) else "")
    except RecursionError:
        return False  # it cannot be JSON either, which is an error later


def _is_secret_name(name: str) -> bool:
    snake = "_".join(_WORD.findall(name)).lower()  # `api_key` and `apiKey` are alike
    return bool(_SECRET_NAME.fullmatch(snake)) and not _HARMLESS_NAME.fullmatch(snake)


def _is_secret_value(value: object, api_key: str) -> bool:
    """Whether a value has a secret type, contains the model's key, or has the prefix of a key."""
    if isinstance(value, Secret | SecretStr | SecretBytes):
        return True
    if isinstance(value, Mapping):  # such as headers
        return any(_is_secret_value(inner, api_key) for inner in value.values())
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str) or len(value) < SHORTEST_SECRET:
        return False
    has_key = len(api_key) >= SHORTEST_SECRET and api_key in value
    return has_key or value.startswith(_SECRET_PREFIXES)


def mask(name: str, value: Any) -> Any:
    """Return the value of a parameter; a secret as a `SecretStr` or `Secret`, which hides it."""
    if name == "api_key" and (isinstance(value, str) or callable(value)):
        return SecretStr(value) if isinstance(value, str) else Secret(value)
    if name == "default_headers" and isinstance(value, Mapping):
        return {key: SecretStr(v) if isinstance(v, str) else v for key, v in value.items()}
    return value
