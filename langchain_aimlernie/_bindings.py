"""What `bind`, `with_retry` and similar methods return, without showing bound secrets.

langchain-core's classes show bound parameters in their repr and dumps. These subclasses hold
`api_key` and `default_headers` as `SecretStr`, and validate what `bind` is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage
from langchain_core.runnables import (
    ConfigurableField,
    Runnable,
    RunnableBinding,
    RunnableConfig,
    RunnableSequence,
)
from langchain_core.runnables.configurable import (
    RunnableConfigurableAlternatives,
    RunnableConfigurableFields,
)
from langchain_core.runnables.fallbacks import RunnableWithFallbacks
from langchain_core.runnables.retry import RunnableRetry
from langchain_core.runnables.utils import AnyConfigurableField
from typing_extensions import override

from langchain_aimlernie._params import read_options
from langchain_aimlernie._secrets import mask
from langchain_aimlernie._structured.output import StructuredOutputWithRetry

_Model = Runnable[LanguageModelInput, AIMessage]

_EXCLUDED = frozenset(
    {
        *("api_key", "default_headers", "client_request_id", "http_client", "http_async_client"),
        *(name for name, field in BaseChatModel.model_fields.items() if field.exclude),
    }
)
"""Bound parameters that a dump leaves out; a model loaded from it has its own key."""


class Bindable(_Model):
    """A model, or a wrapper around one, whose bound parameters may hold secrets."""

    @override
    def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with parameters for every call: its own, or any field of the body.

        Raises:
            ValueError: A parameter is outside its range, or looks like a secret and would be sent
                in the body.
        """
        options = read_options(kwargs, getattr(self, "api_key", None))
        if isinstance(self, BoundModel):
            return RunnableBinding.bind(self, **options)  # keeps what is bound already
        return BoundModel(bound=self, kwargs=options, config={})

    if not TYPE_CHECKING:  # type checkers see the signatures of core's methods

        def with_config(
            self, config: RunnableConfig | None = None, **kwargs: Any
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with a config for every call; see `Runnable.with_config`."""
            return bindable(super().with_config(config, **kwargs))

        def with_types(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with other types; see `Runnable.with_types`."""
            return bindable(super().with_types(**kwargs))

        def with_listeners(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with listeners; see `Runnable.with_listeners`."""
            return bindable(super().with_listeners(**kwargs))

        def with_alisteners(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with async listeners; see `Runnable.with_alisteners`."""
            return bindable(super().with_alisteners(**kwargs))

        def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with retries; see `Runnable.with_retry`."""
            return bindable(super().with_retry(**kwargs))

        def with_fallbacks(
            self, fallbacks: Sequence[Runnable[LanguageModelInput, AIMessage]], **kwargs: Any
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with fallbacks; see `Runnable.with_fallbacks`."""
            return bindable(super().with_fallbacks(fallbacks, **kwargs))

        def configurable_fields(
            self, **kwargs: AnyConfigurableField
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with fields that the config of a call sets.

            LangSmith records all of `configurable` but `api_key` and names that begin with two
            underscores: name a field for the key accordingly.
            """
            return bindable(super().configurable_fields(**kwargs))

        def configurable_alternatives(
            self, which: ConfigurableField, **kwargs: Any
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model or another one, as the config of a call selects."""
            return bindable(super().configurable_alternatives(which, **kwargs))


class _Derived(Bindable):
    """One of core's wrappers around a model, serialized under the name of core's class."""

    @classmethod
    def lc_id(cls) -> list[str]:
        ids: list[str] = _core_class(cls).lc_id()
        return ids


class _Traced(_Derived):
    """A wrapper that is also traced under the name of core's class."""

    @override
    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        name = name or self.name or _core_class(type(self)).__name__
        return super().get_name(suffix, name=name)


class BoundModel(_Derived, RunnableBinding[LanguageModelInput, AIMessage]):
    """A model with parameters for every call."""

    def __init__(self, *, kwargs: Mapping[str, Any] | None = None, **fields: Any) -> None:
        options = {name: mask(name, value) for name, value in (kwargs or {}).items()}
        super().__init__(kwargs=options, **fields)

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        options = {name: v for name, v in self.kwargs.items() if name not in _EXCLUDED}
        if len(options) < len(self.kwargs):
            return BoundModel(**{**dict(self), "kwargs": options}).to_json()
        return super().to_json()


class BoundRetry(_Derived, RunnableRetry[LanguageModelInput, AIMessage]):
    """A model with retries."""


class BoundFallbacks(_Traced, RunnableWithFallbacks[LanguageModelInput, AIMessage]):
    """A model with fallbacks."""


class BoundSequence(_Traced, RunnableSequence):  # type: ignore[type-arg]  # with types, pydantic takes no subclass
    """A model and its output parser."""


class BoundStructuredOutput(_Traced, StructuredOutputWithRetry):
    """A structured output that may re-prompt the model."""


class BoundFields(_Derived, RunnableConfigurableFields):  # type: ignore[type-arg]  # with types, pydantic takes no subclass as `default`
    """A model with fields that the config of a call sets."""


class BoundAlternatives(_Derived, RunnableConfigurableAlternatives):  # type: ignore[type-arg]  # likewise
    """Models of which the config of a call selects one."""


def _core_class(cls: type) -> Any:
    return next(core for core, ours in _CLASSES if issubclass(cls, ours))


def bindable(runnable: _Model) -> _Model:
    """Return core's wrapper around a model as an instance of our subclass of it."""
    for core, ours in _CLASSES:
        if isinstance(runnable, core) and not isinstance(runnable, ours):
            wrapper: _Model = ours(**dict(runnable))
            return wrapper
    return runnable


_CLASSES: tuple[tuple[Any, Any], ...] = (
    (RunnableBinding, BoundModel),
    (RunnableRetry, BoundRetry),
    (RunnableWithFallbacks, BoundFallbacks),
    (RunnableSequence, BoundSequence),
    (StructuredOutputWithRetry, BoundStructuredOutput),
    (RunnableConfigurableFields, BoundFields),
    (RunnableConfigurableAlternatives, BoundAlternatives),
)
