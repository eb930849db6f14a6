"""Keyword arguments of the constructor and of calls: aliases, unknown and misplaced ones."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableConfig
from langchain_core.utils.utils import get_pydantic_field_names
from pydantic import ValidationError

from langchain_aimlernie._settings.errors import first_message, translate
from langchain_aimlernie._settings.fields import (
    ALIASES,
    REQUEST_PARAMS,
    RequestParams,
    Settings,
    without_defaults,
)
from langchain_aimlernie._settings.secrets import secret_problem
from langchain_aimlernie._settings.values import key_of_environment
from langchain_aimlernie._text import warn_user

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

OPTIONS: Mapping[str, str] = {
    **{alias: name for alias, name in ALIASES.items() if alias not in ("model", "stream")},
    "model_name": "model",
}
"""Aliases of a call's keyword arguments -> canonical names."""

INSTRUCTION = "json_instruction"
"""The keyword argument of a call in JSON mode with the text to add to the system message."""

_KNOWN = frozenset({*Settings.model_fields, *ALIASES})
_FOREIGN = frozenset(
    {
        *("organization", "openai_organization", "default_query", "extra_query"),
        *("disabled_params", "http_socket_options", "tiktoken_model_name", "use_responses_api"),
        *("use_previous_response_id", "client", "async_client", "root_client", "root_async_client"),
    }
)
"""Parameters of `ChatOpenAI` and of its calls that are not fields of the request body."""

_PROXIES = ("proxy", "proxies")
"""Endings of the names of proxy parameters, such as `openai_proxy`."""

_MIN_SIMILARITY = 0.82
"""For a misspelled name; `top_k` is not taken for `top_p`."""


def read_settings(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor's keyword arguments by the names of the model's fields.

    Unknown ones are moved to `model_kwargs`, with a warning, and settings in `model_kwargs` to
    their fields.

    Raises:
        ValueError: A parameter was given twice, looks like a secret, or would set a proxy.
    """
    names = get_pydantic_field_names(model)
    key = given.get("api_key", given.get("openai_api_key")) or key_of_environment()
    if problem := secret_problem(given, key, {*names, *ALIASES}):
        raise ValueError(problem)
    if not isinstance(in_model_kwargs := given.get("model_kwargs") or {}, Mapping):
        return dict(given)  # pydantic reports it
    known = _with_declared(given, model.model_fields)
    extra = {n: v for n, v in in_model_kwargs.items() if not is_foreign(str(n), v)}
    for keyword, value in given.items():
        name = ALIASES.get(keyword, keyword)
        if keyword in known:
            continue
        if name in names:
            _add(known, name, value)
        elif not is_foreign(name, value):
            _add(extra, name, value)
            warn_user(
                f"{name!r} is not a parameter of {model.__name__}; it was moved to model_kwargs. "
                "A misspelled parameter has no effect or the API rejects it." + suggest_name(name)
            )
    for keyword in [*extra]:
        if (name := ALIASES.get(keyword, keyword)) in names:
            value = extra.pop(keyword)
            known[name] = value if known.get(name) is None else known[name]
    return {**without_defaults(known), "model_kwargs": extra}


def _with_declared(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return the fields among the arguments, also those that a subclass declares under an alias."""
    known = {name: value for name, value in given.items() if name in fields}
    named = {ALIASES.get(name, name) for name in given}
    for alias in ALIASES.keys() & fields.keys():
        name, field = ALIASES[alias], fields[alias]
        if alias in known:
            known.setdefault(name, known[alias])
        elif name not in named and not field.is_required():
            known[name] = field.get_default(call_default_factory=True, validated_data={})
    return known


def _add(parameters: dict[str, Any], name: str, value: Any) -> None:
    if parameters.get(name) is None:
        parameters[name] = value
    elif value is not None and parameters[name] != value:
        raise ValueError(f"{name} was given twice.")


def read_options(options: dict[str, Any], api_key: object = None) -> dict[str, Any]:
    """Return the keyword arguments of a call, validated and with canonical names.

    Raises:
        ValueError: A parameter is outside its range, belongs to the config of a run, or looks like
            a secret and would be sent in the body; in the last case `options` are emptied.
    """
    if not options:
        return options
    if problem := secret_problem(options, api_key, _KNOWN):
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
    try:
        valid = RequestParams.model_validate(params)
    except ValidationError as error:
        problem = first_message(translate(error, RequestParams.model_fields))
    else:
        return {**named, **{name: getattr(valid, name) for name in params}}
    raise ValueError(problem)  # not in the handler: pydantic's error would be its context


def is_foreign(name: str, value: object) -> bool:
    """Whether a parameter has no effect; warn if its value would have one in another package.

    Raises:
        ValueError: It would set a proxy.
    """
    if is_unset(name, value):
        return True
    if name.endswith(_PROXIES):
        raise ValueError(
            f"{name} is not supported: set HTTPS_PROXY, or pass http_client and "
            "http_async_client with the proxy."
        )
    if name in _FOREIGN:
        warn_user(f"{name!r} has no effect: it is for the client of another package.")
    return name in _FOREIGN


def is_unset(name: str, value: object) -> bool:
    """Whether a parameter's value is the same as none, such as `None`, `n=1` or `stop=[]`."""
    is_foreign_name = name in _FOREIGN or name.endswith(_PROXIES)
    is_default = (name, value) in (("n", 1), ("stop", []))
    return value is None or (is_foreign_name and not value) or is_default


def suggest_name(name: str) -> str:
    """Return a question with a parameter of a similar name; empty if there is none."""
    similar = get_close_matches(name, sorted(_KNOWN), 1, _MIN_SIMILARITY)
    return f" Did you mean {similar[0]}?" if similar else ""
