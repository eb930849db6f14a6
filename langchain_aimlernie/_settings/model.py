"""A chat model with settings: its construction, changes and copies, and the arguments of a call.

Each validates all fields together, and shows no secret in its errors. A key under an unknown name
would become a field of the request body, and would be shown in the model's repr, its dump, cache
keys and traces: what looks like a secret is an error.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Generator, Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Self

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.load.serializable import try_neq_default
from langchain_core.runnables import RunnableConfig
from langchain_core.utils.utils import get_pydantic_field_names
from pydantic import Secret, SecretBytes, SecretStr, ValidationError, model_validator
from typing_extensions import override

from langchain_aimlernie._settings.errors import first_message, translate
from langchain_aimlernie._settings.fields import (
    ALIASES,
    PER_CALL_FIELDS,
    REQUEST_PARAMS,
    RequestParams,
    Settings,
    without_defaults,
)
from langchain_aimlernie._settings.values import DEFAULT_BASE_URL, key_of_environment
from langchain_aimlernie._text import warn_user
from langchain_aimlernie._version import __version__
from langchain_aimlernie.profiles import is_published, model_profile

if TYPE_CHECKING:
    from pydantic import BaseModel
    from pydantic.fields import FieldInfo

OPTIONS: Mapping[str, str] = {
    **{alias: name for alias, name in ALIASES.items() if alias not in ("model", "stream")},
    "model_name": "model",
}
"""Other names of a call's keyword arguments -> the names used for them."""

INSTRUCTION = "json_instruction"
"""The keyword argument of a call in JSON mode: a text to be added to the system message."""

_WARNED = "_warned"
"""Where `__dict__` has the warnings given: not a field, hence neither compared nor pickled."""

_UNSET = {"base_url": DEFAULT_BASE_URL, "model_kwargs": {}}
"""Defaults made by a function, which core's repr takes for values that were set."""


class SettingsModel(Settings, BaseChatModel):
    """A chat model with the settings of `ChatAimlErnie`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Validate the fields; the ValidationError shows no value that may be secret."""
        translated = None
        try:
            super().__init__(*args, **kwargs)
        except ValidationError as error:
            translated = translate(error, type(self).model_fields)
        # Raised in the handler, it would have pydantic's error, which shows all, as context.
        if translated is not None:
            kwargs.clear()
            del args, kwargs  # tools that report errors show local variables
            raise translated

    @property
    def model(self) -> str:
        """The model's id; the same as `model_name`."""
        return self.model_name

    @model_validator(mode="before")
    @classmethod
    def _resolve_aliases(cls, values: dict[str, Any]) -> dict[str, Any]:
        return read_settings(cls, values)

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        return model_profile(self.model_name)

    @model_validator(mode="after")
    def _finish(self) -> Self:
        # Another model's profile comes from `configurable_fields`; one that the user wrote stays.
        if self.profile is not None and is_published(self.profile):
            self.profile = self._resolve_model_profile()
        self._add_version("langchain-aimlernie", __version__)
        return self

    if not TYPE_CHECKING:  # type checkers know the fields by their own names

        def __getattr__(self, name: str) -> Any:
            """Return a field by another name of it, such as `openai_api_base`."""
            return getattr(self, ALIASES[name]) if name in ALIASES else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field as the constructor would; nothing is changed if the value is invalid.

        Pydantic's `validate_assignment` would show secrets in its errors, hand cached values of
        `__dict__` to the validators as unknown parameters, and not know aliases.
        """
        fields = type(self).model_fields.keys()
        name = ALIASES.get(name, name)
        if name in fields - BaseChatModel.model_fields.keys():
            changes, value = {name: value}, None
            self._change(changes)
        else:
            super().__setattr__(name, value)
            if name in fields:  # a subclass may assign a cached property
                self._clear_cache()

    def _change(self, changes: dict[str, Any]) -> None:
        """Set fields, validated together with all others; empty `changes` if one is invalid."""
        fields = {ALIASES.get(name, name): value for name, value in changes.items()}
        values = {name: getattr(self, name) for name in type(self).model_fields} | fields
        valid = type(self).__new__(type(self))
        try:
            # Not the constructor of a subclass, whose parameters may be others.
            SettingsModel.__init__(valid, **values)
        except ValidationError:
            for secret in (changes, fields, values):
                secret.clear()  # or the error's traceback would show them
            raise
        self.__dict__.update(valid.__dict__)
        self.model_fields_set.update(fields)
        self._clear_cache()

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the model, with validation.

        Args:
            update: Fields to change, by the constructor's names.
            deep: Whether values are copied, too.

        Raises:
            ValidationError: A value that a field does not accept.
        """
        changes, update = dict(update or {}), None  # or the traceback of an error would show it
        copy = super().model_copy(deep=deep)
        copy.__dict__.pop(_WARNED, None)
        if changes:
            copy._change(changes)  # noqa: SLF001  a copy of this class
        return copy

    def _clear_cache(self) -> None:
        """Drop what follows from fields that may have changed since."""
        for name in self.__dict__.copy().keys() - type(self).model_fields.keys() - {_WARNED}:
            self.__dict__.pop(name, None)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Copy the settings; clients, callbacks and the like, which hold locks, are shared."""
        shared = [self.http_client, self.http_async_client, self.cache, self.rate_limiter]
        shared += self.callbacks if isinstance(self.callbacks, list) else [self.callbacks]
        memo = {} if memo is None else memo
        memo.update({id(each): each for each in shared})
        copy = self.__copy__()
        # Without cached values, which a call in another thread may be changing.
        copy.__dict__ = self._fields()
        return super(SettingsModel, copy).__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """Return what a copy in another process needs: the fields and nothing that is cached."""
        return {**super().__getstate__(), "__dict__": self._fields()}

    def _fields(self) -> dict[str, Any]:
        """Return the fields that have a value: all but those of a model not initialized yet."""
        # Of a copy: a call in another thread may add cached values to `__dict__` meanwhile.
        values, fields = self.__dict__.copy(), type(self).model_fields
        return {name: value for name, value in values.items() if name in fields}

    def __iter__(self) -> Generator[tuple[str, Any]]:
        """Return the fields' names and values."""
        yield from self._fields().items()

    @override
    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Return the model's name and the fields that were set, without those that are secret."""
        values, fields = self._fields(), type(self).model_fields
        hidden = {"model_name", "metadata", *ALIASES}
        if values.get("profile") and is_published(values["profile"]):
            hidden.add("profile")
        shown = [
            (name, value)
            for name, value in values.items()
            if name not in hidden and fields[name].repr and (name, value) not in _UNSET.items()
        ]
        is_set = [(name, value) for name, value in shown if try_neq_default(value, name, self)]
        return [("model", values.get("model_name")), *is_set]

    def warn_once(self, field: str, message: str) -> None:
        """Warn, once for this model, that a limit of the API changes a field of the request."""
        warned = self.__dict__.setdefault(_WARNED, {})
        mine = object()
        if warned.setdefault(field, mine) is mine:  # one step, so that threads cannot both warn
            warn_user(message)

    def request_params(self) -> dict[str, Any]:
        """Return the fields of the request body that are set."""
        values = {name: getattr(self, name) for name in REQUEST_PARAMS}
        return {name: value for name, value in values.items() if value is not None}

    def with_call_settings(self, options: dict[str, Any]) -> Self:
        """Return the model that a call uses; the options that are its settings are removed."""
        given = {name: options.pop(name) for name in PER_CALL_FIELDS & options.keys()}
        if not (given and (changes := without_defaults(given))):
            return self
        if isinstance(headers := changes.get("default_headers"), Mapping):
            changes["default_headers"] = {**(self.default_headers or {}), **headers}
        model = self.model_copy(update=changes)
        model.__dict__[_WARNED] = self.__dict__.setdefault(_WARNED, {})  # shared: warn once
        return model


_KNOWN = frozenset({*Settings.model_fields, *ALIASES})
_FOREIGN = frozenset(
    {
        *("organization", "openai_organization", "default_query", "extra_query"),
        *("disabled_params", "http_socket_options", "tiktoken_model_name", "use_responses_api"),
        *("use_previous_response_id", "client", "async_client", "root_client", "root_async_client"),
    }
)
"""Parameters of `ChatOpenAI` and of its calls that are no fields of a request body."""

_CLOSE = 0.82
"""How alike a misspelled name is, at least; `top_k` is not taken for `top_p`."""

_PROXIES = ("proxy", "proxies")
"""Endings of the names that packages have for a proxy, such as `openai_proxy`."""


def is_unset(name: str, value: object) -> bool:
    """Whether a parameter changes nothing, such as `None`, `n=1` or `stop=[]`."""
    is_of_others = name in _FOREIGN or name.endswith(_PROXIES)
    changes_nothing = (name, value) in (("n", 1), ("stop", []))
    return value is None or (is_of_others and not value) or changes_nothing


def suggest_name(name: str) -> str:
    """Return the question whether a similar parameter is meant, or an empty text."""
    close = get_close_matches(name, sorted(_KNOWN), 1, _CLOSE)
    return f" Did you mean {close[0]}?" if close else ""


def read_settings(model: type[BaseModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the constructor's keyword arguments by the names of a model's fields.

    Unknown ones are moved to `model_kwargs`, with a warning, and settings in it to where they
    belong. A ValueError for a parameter given twice, and for one that looks like a secret or would
    set a proxy: it would be sent in the body.
    """
    names = get_pydantic_field_names(model)
    key = given.get("api_key", given.get("openai_api_key")) or key_of_environment()
    if problem := secret_problem(given, key, known={*names, *ALIASES}):
        raise ValueError(problem)
    if not isinstance(in_model_kwargs := given.get("model_kwargs") or {}, Mapping):
        return dict(given)  # pydantic reports it
    known = _with_declared(given, model.model_fields)
    extra = {n: v for n, v in in_model_kwargs.items() if not is_foreign(str(n), v)}
    for keyword, value in given.items():
        name = ALIASES.get(keyword, keyword)
        if keyword in known or (name not in names and is_foreign(keyword, value)):
            continue
        target = known if name in names else extra
        _add(target, name, value)
        if target is extra:
            warn_user(
                f"{keyword!r} is not a parameter of {model.__name__}; it was moved to "
                "model_kwargs. A misspelled parameter has no effect or the API rejects it."
                + suggest_name(keyword)
            )
    for keyword in extra.keys() & {*names, *ALIASES}:
        name, value = ALIASES.get(keyword, keyword), extra.pop(keyword)
        if known.get(name) is None:
            known[name] = value
    return {**without_defaults(known), "model_kwargs": extra}


def _add(parameters: dict[str, Any], name: str, value: Any) -> None:
    if parameters.get(name) is None:
        parameters[name] = value
    elif value is not None and parameters[name] != value:
        raise ValueError(f"{name} was given twice.")


def is_foreign(name: str, value: object) -> bool:
    """Whether a parameter changes nothing, or only another package uses it.

    A ValueError if it would set a proxy, a warning if it has a value that has no effect.
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


def _with_declared(given: Mapping[str, Any], fields: Mapping[str, FieldInfo]) -> dict[str, Any]:
    """Return fields, ours also as a subclass declares them under an alias (openai_api_base)."""
    known = {name: value for name, value in given.items() if name in fields}
    named = {ALIASES.get(name, name) for name in given}
    for alias in ALIASES.keys() & fields.keys():
        name, field = ALIASES[alias], fields[alias]
        if alias in known:
            known.setdefault(name, known[alias])
        elif name not in named and not field.is_required():
            known[name] = field.get_default(call_default_factory=True, validated_data={})
    return known


def read_options(options: dict[str, Any], api_key: object = None) -> dict[str, Any]:
    """Return the keyword arguments of a call with their aliases resolved.

    A ValueError if a parameter is outside its range, belongs to the config of a run, or looks like
    a secret and would be sent in the body; `options` are emptied then.
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
    problem = ""
    try:
        valid = RequestParams.model_validate(params)
    except ValidationError as error:
        problem = first_message(translate(error, RequestParams.model_fields))
    if problem:  # not in the handler: pydantic's error would be its context
        raise ValueError(problem)
    return {**named, **{name: getattr(valid, name) for name in params}}


def secret_problem(
    parameters: Mapping[str, Any], api_key: object, known: Collection[str] = _KNOWN
) -> str | None:
    """Return the error message if a parameter would be a secret in the request body, or `None`.

    Those within `model_kwargs` and `extra_body` are looked at, too.
    """
    unknown = {name: value for name, value in parameters.items() if name not in known}
    in_body = parameters.get("model_kwargs")
    if isinstance(in_body, Mapping):  # its headers are moved to where they belong
        in_body = {n: v for n, v in in_body.items() if OPTIONS.get(n, n) != "default_headers"}
    for fields in (unknown, in_body, parameters.get("extra_body")):
        if isinstance(fields, Mapping) and (name := find_secret(fields, api_key)):
            return (
                f"{name!r} looks like a secret and would be sent in the request body. Pass the API "
                "key as api_key, and any other key in default_headers."
            )
    return None


_SECRET_NAME = re.compile(r"(?:.*_)?(?:key|token|secret|password|authorization|ak|sk)|.*ap_?ikey")
"""Names of secrets in snake case; `ak` and `sk` are Qianfan's access key and secret key."""

_HARMLESS_NAME = re.compile(r".*(?:cache_key|(?:bos|eos|pad|stop)_token)")
"""Documented parameters whose values are not secret."""

_SECRET_PREFIXES = (
    *("sk-", "Bearer ", "Basic ", "bce-v3/", "AIza", "gsk_"),
    *("hf_", "lsv2_", "nvapi-", "xai-", "ghp_", "github_pat_"),
)
"""Prefixes of keys: the AI/ML API's and OpenAI's, HTTP's, Baidu's and other providers'."""

SHORTEST_SECRET = 8
"""Minimum length of a secret: redacting shorter values would redact ordinary words."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def find_secret(parameters: Mapping[str, object], api_key: object = None) -> str | None:
    """Return the name of the first parameter that holds a secret, such as the model's own key."""
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
    snake = "_".join(_WORD.findall(name)).lower()
    return bool(_SECRET_NAME.fullmatch(snake)) and not _HARMLESS_NAME.fullmatch(snake)


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
