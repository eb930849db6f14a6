"""The options of a call and of `bind`: their names, and which become fields of the body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.language_models import BaseChatModel

from langchain_aimlernie._ranges import REQUEST_PARAMS, validate_param
from langchain_aimlernie._secrets import find_secret, secret_message

ALIASES: Mapping[str, str] = {
    "model": "model_name",
    "stop_sequences": "stop",
    "request_timeout": "timeout",
    "extra_headers": "default_headers",
    "openai_api_key": "api_key",
    "openai_api_base": "base_url",
}
"""Parameters of other chat models' constructors -> the names of our settings."""

_NOT_IN_BODY = (
    "api_key",
    "base_url",
    "stream_usage",
    "timeout",
    "stream_idle_timeout",
    "max_retries",
    "max_connections",
    "default_headers",
    "client_request_id",
    "http_client",
    "http_async_client",
    "model_kwargs",
    "extra_body",
    "replay_reasoning",
    "on_unsupported_content",
    "include_response_headers",
)

PER_CALL_FIELDS: Mapping[str, str] = {
    **{name: name for name in _NOT_IN_BODY},
    **{word: name for word, name in ALIASES.items() if name in _NOT_IN_BODY},
}
"""Options of a call for settings that are no fields of the body -> the names of the settings."""

OPTIONS: Mapping[str, str] = {
    **{word: name for word, name in ALIASES.items() if word != "model"},
    "model_name": "model",
}
"""Other names of a call's options -> their own."""


def read_options(options: dict[str, Any], api_key: object = None) -> dict[str, Any]:
    """Return the options of a call by their own names.

    Args:
        options: The options as given. They are removed if one looks like a secret.
        api_key: The model's own key, if it is known.

    Raises:
        ValueError: A setting has a value outside its range, or an option that would become a field
            of the body looks like a secret.
    """
    if not options:
        return options
    name = find_secret_field(options, api_key)
    if name is not None:
        options.clear()  # or the error's traceback would show it
        raise ValueError(secret_message(name))
    named = {OPTIONS.get(word, word): value for word, value in options.items()}
    for setting, value in named.items():
        validate_param(setting, value)
    return named


def find_secret_field(parameters: Mapping[str, Any], api_key: object = None) -> str | None:
    """Return the name of the first parameter that would be a secret in the body, or `None`.

    Args:
        parameters: Parameters of the constructor or of a call; fields inside of `model_kwargs` and
            `extra_body` are looked at, too.
        api_key: The model's own key, if it is known.
    """
    unknown = {name: value for name, value in parameters.items() if name not in _SETTINGS}
    nested = [parameters.get(name) for name in ("model_kwargs", "extra_body")]
    for fields in (unknown, *nested):
        if isinstance(fields, Mapping) and (name := find_secret(fields, api_key)):
            return name
    return None


_SETTINGS = frozenset(
    {*REQUEST_PARAMS, *PER_CALL_FIELDS, *ALIASES, *OPTIONS, *BaseChatModel.model_fields}
)
