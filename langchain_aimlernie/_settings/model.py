"""A chat model with settings: construction, assignment, copies and repr.

Each change validates all fields together, and its errors show no secret.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any, Self

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.load.serializable import try_neq_default
from pydantic import ValidationError, model_validator
from typing_extensions import override

from langchain_aimlernie._settings.arguments import read_settings
from langchain_aimlernie._settings.errors import translate
from langchain_aimlernie._settings.fields import (
    ALIASES,
    PER_CALL_FIELDS,
    REQUEST_PARAMS,
    Settings,
    without_defaults,
)
from langchain_aimlernie._settings.values import DEFAULT_BASE_URL
from langchain_aimlernie._text import warn_user
from langchain_aimlernie._version import __version__
from langchain_aimlernie.profiles import is_published, model_profile

_WARNED = "_warned"
"""Key in `__dict__` for the warnings given; not a field, hence neither compared nor pickled."""

_UNSET = {"base_url": DEFAULT_BASE_URL, "model_kwargs": {}}
"""Defaults from a `default_factory`, which core's repr would show as set."""


class SettingsModel(Settings, BaseChatModel):
    """A chat model with the settings of `ChatAimlErnie`."""

    def __init__(self, **settings: Any) -> None:
        """Validate the fields; the ValidationError shows no value that may be secret."""
        try:
            super().__init__(**settings)
        except ValidationError as error:
            translated = translate(error, type(self).model_fields)
        else:
            return
        settings.clear()  # tools that report errors show local variables
        raise translated  # not in the handler: its context, pydantic's error, shows all values

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
        # `configurable_fields` passes the other model's profile; one that the user set is kept.
        if self.profile is not None and is_published(self.profile):
            self.profile = self._resolve_model_profile()
        self._add_version("langchain-aimlernie", __version__)
        return self

    if not TYPE_CHECKING:  # else type checkers would accept any name

        def __getattr__(self, name: str) -> Any:
            """Return a field by an alias, such as `openai_api_base`."""
            return getattr(self, ALIASES[name]) if name in ALIASES else super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field as the constructor would; nothing is changed if the value is invalid.

        Pydantic's `validate_assignment` would show secrets in errors, pass cached values of
        `__dict__` to the validators as unknown parameters, and reject aliases.
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
        """Set fields, validated together with all others; clear `changes` if one is invalid."""
        fields = {ALIASES.get(name, name): value for name, value in changes.items()}
        values = self._fields() | fields
        valid = type(self).__new__(type(self))
        try:
            # Not the constructor of a subclass, which may have other parameters.
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
        """Return a copy of the model, with changed fields validated.

        Args:
            update: Fields to change, by the constructor's names.
            deep: Whether values are copied, too.

        Raises:
            ValidationError: A value of `update` is invalid.
        """
        changes, update = dict(update or {}), None  # or the traceback of an error would show it
        copy = super().model_copy(deep=deep)
        copy.__dict__.pop(_WARNED, None)
        if changes:
            copy._change(changes)  # noqa: SLF001  a copy of this class
        return copy

    def _clear_cache(self) -> None:
        """Drop cached values, which depend on fields."""
        for name in self.__dict__.copy().keys() - type(self).model_fields.keys() - {_WARNED}:
            self.__dict__.pop(name, None)

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        """Return a copy that shares clients, callbacks and other objects with locks."""
        shared = [self.http_client, self.http_async_client, self.cache, self.rate_limiter]
        shared += self.callbacks if isinstance(self.callbacks, list) else [self.callbacks]
        memo = {} if memo is None else memo
        memo.update({id(each): each for each in shared})
        copy = self.__copy__()
        # Without cached values, which another thread may be changing.
        copy.__dict__ = self._fields()
        return super(SettingsModel, copy).__deepcopy__(memo)

    def __getstate__(self) -> dict[Any, Any]:
        """Return the state to pickle: the fields, without cached values."""
        return {**super().__getstate__(), "__dict__": self._fields()}

    def _fields(self) -> dict[str, Any]:
        """Return the fields; fewer during the initialization."""
        # From a copy: another thread may add cached values to `__dict__` meanwhile.
        values, fields = self.__dict__.copy(), type(self).model_fields
        return {name: value for name, value in values.items() if name in fields}

    def __iter__(self) -> Generator[tuple[str, Any]]:
        """Yield the fields' names and values."""
        yield from self._fields().items()

    @override
    def __repr_args__(self) -> list[tuple[str | None, Any]]:
        """Return the model's name and the fields that were set, without secret ones."""
        values, fields = self._fields(), type(self).model_fields
        hidden = {"model_name", "metadata", *ALIASES}
        if values.get("profile") and is_published(values["profile"]):
            hidden.add("profile")
        is_set = [
            (name, value)
            for name, value in values.items()
            if name not in hidden
            and fields[name].repr
            and (name, value) not in _UNSET.items()
            and try_neq_default(value, name, self)
        ]
        return [("model", values.get("model_name")), *is_set]

    def warn_once(self, field: str, message: str) -> None:
        """Warn, once per model and field, that the API's limits change a field of the request."""
        warned = self.__dict__.setdefault(_WARNED, {})
        mine = object()
        if warned.setdefault(field, mine) is mine:  # atomic, so that only one thread warns
            warn_user(message)

    def request_params(self) -> dict[str, Any]:
        """Return the parameters of the request body that are set, by name."""
        values = {name: getattr(self, name) for name in REQUEST_PARAMS}
        return {name: value for name, value in values.items() if value is not None}

    def with_call_settings(self, options: dict[str, Any]) -> Self:
        """Return a model with the settings among a call's `options`, which are removed there."""
        given = {name: options.pop(name) for name in PER_CALL_FIELDS & options.keys()}
        if not (given and (changes := without_defaults(given))):
            return self
        if isinstance(headers := changes.get("default_headers"), Mapping):
            changes["default_headers"] = {**(self.default_headers or {}), **headers}
        model = self.model_copy(update=changes)
        model.__dict__[_WARNED] = self.__dict__.setdefault(_WARNED, {})  # shared, to warn only once
        return model
