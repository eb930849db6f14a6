"""`bind`, `with_retry` and similar methods: they validate what is bound, and hide what is secret.

What they return is in `_wrappers`, whose classes pydantic builds when the first is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.utils import AnyConfigurableField
from pydantic import SecretStr
from typing_extensions import override

from langchain_aimlernie._settings import ALIASES, find_secret, read_options

Model = Runnable[LanguageModelInput, AIMessage]


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


def _wrapping(name: str) -> Any:
    """Return core's method, but with a result that hides bound secrets, too."""

    def method(self: Bindable, *args: Any, **kwargs: Any) -> Model:
        return _hiding_secrets(getattr(super(Bindable, self), name)(*args, **kwargs))

    method.__name__ = name
    method.__doc__ = getattr(RunnableSerializable, name).__doc__
    return method


def _hiding_secrets(runnable: Any) -> Model:
    """Return core's wrapper around a model as an instance of our subclass of it."""
    from langchain_aimlernie._wrappers import CLASSES

    for core, ours in CLASSES.items():
        if isinstance(runnable, core) and not isinstance(runnable, ours):
            return cast("Model", ours(**dict(runnable)))
    return cast("Model", runnable)


class Bindable(Model):
    """A model, or a wrapper around one, whose bound parameters may hold secrets."""

    @override
    def bind(self, **kwargs: Any) -> Model:
        """Return this model with parameters for every call: its own, or any field of the body.

        Raises:
            ValueError: A parameter is outside its range, or looks like a secret and would be sent
                in the body.
        """
        options = read_options(kwargs, getattr(self, "api_key", None))
        return _hiding_secrets(super().bind(**options))

    if not TYPE_CHECKING:  # type checkers see the signatures of core's methods
        with_types = _wrapping("with_types")
        with_listeners = _wrapping("with_listeners")
        with_alisteners = _wrapping("with_alisteners")
        with_retry = _wrapping("with_retry")
        with_fallbacks = _wrapping("with_fallbacks")
        configurable_alternatives = _wrapping("configurable_alternatives")

        def with_config(self, config: RunnableConfig | None = None, **kwargs: Any) -> Model:
            """Return this model with a config for every call; keys in it are not shown."""
            config = {**(config or {}), **kwargs}
            if values := config.get("configurable"):
                fields = getattr(getattr(self, "first", self), "fields", {})
                names = {field.id: name for name, field in fields.items()}
                config["configurable"] = {
                    id_: mask("api_key" if find_secret({id_: v}) else names.get(id_, ""), v)
                    for id_, v in values.items()
                }
            return _hiding_secrets(super().with_config(config))

        def configurable_fields(self, **kwargs: AnyConfigurableField) -> Model:
            """Return this model with fields that the config of a call sets.

            LangSmith records all of `configurable` but `api_key` and names that begin with two
            underscores: name a field for the key accordingly.
            """
            fields = {ALIASES.get(name, name): field for name, field in kwargs.items()}
            return _hiding_secrets(super().configurable_fields(**fields))
