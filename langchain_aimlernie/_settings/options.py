"""Read the keyword arguments of a call, under any of their names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig
from pydantic import ValidationError

from langchain_aimlernie._settings.errors import first_message, translate
from langchain_aimlernie._settings.fields import ALIASES, REQUEST_PARAMS, RequestParams, Settings
from langchain_aimlernie._settings.secrets import find_secret

OPTIONS: Mapping[str, str] = {
    **{alias: name for alias, name in ALIASES.items() if alias not in ("model", "stream")},
    "model_name": "model",
}
"""Other names of a call's keyword arguments -> the names used for them."""

INSTRUCTION = "json_instruction"
"""The keyword argument of a call in JSON mode: a text to be added to the system message."""

_KNOWN = frozenset({*Settings.model_fields, *ALIASES})


def read_options(options: dict[str, Any], api_key: object = None) -> dict[str, Any]:
    """Return the keyword arguments of a call with their aliases resolved.

    Args:
        options: The keyword arguments. They are removed if one looks like a secret.
        api_key: The model's own key, if it is known.

    Raises:
        ValueError: A parameter is outside its range, one that would become a field of the request
            body looks like a secret, or one belongs to the config of a run.
    """
    if not options:
        return options
    if problem := secret_problem(options, api_key):
        options.clear()  # or the error's traceback would show it
        raise ValueError(problem)
    if misplaced := sorted(options.keys() & RunnableConfig.__annotations__):
        name = misplaced[0]
        raise ValueError(f"{name!r} belongs to the config of a run: use with_config({name}=…).")
    named = {OPTIONS.get(name, name): value for name, value in options.items()}
    if not isinstance(model := named.get("model"), str | None):
        raise ValueError(f"model must be a string; got {model!r}.")  # noqa: TRY004  as for all parameters
    if model is not None:
        named["model"] = model.strip()
    params = {name: named[name] for name in REQUEST_PARAMS if named.get(name) is not None}
    if not params:
        return named
    problem = ""
    try:
        valid = RequestParams.model_validate(params)
    except ValidationError as error:
        problem = first_message(translate(error, RequestParams.model_fields))
    if problem:  # not in the handler: pydantic's error would be its context
        raise ValueError(problem)
    return {**named, **{name: getattr(valid, name) for name in params}}


def secret_problem(parameters: Mapping[str, Any], api_key: object = None) -> str | None:
    """Return the error message if a parameter would be a secret in the request body, or `None`.

    Args:
        parameters: Keyword arguments of the constructor or of a call, including those inside of
            `model_kwargs` and `extra_body`.
        api_key: The model's own key, if it is known.
    """
    unknown = {name: value for name, value in parameters.items() if name not in _KNOWN}
    for fields in (unknown, parameters.get("model_kwargs"), parameters.get("extra_body")):
        if isinstance(fields, Mapping) and (name := find_secret(fields, api_key)):
            return (
                f"{name!r} looks like a secret and would be sent in the request body. Pass the API "
                "key as api_key, and any other key in default_headers."
            )
    return None
