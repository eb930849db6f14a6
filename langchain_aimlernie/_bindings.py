"""What `bind`, `with_retry` and their like make of a model, without showing the bound secrets.

langchain-core's classes show bound options in their repr and dumps; these here are the same
classes, which keep `api_key` and `default_headers` among the options as `SecretStr`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput
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
from langchain_aimlernie._secrets import conceal
from langchain_aimlernie._settings import ErnieSettings
from langchain_aimlernie._structured.repair import StructuredOutputWithRetry

_Model = Runnable[LanguageModelInput, AIMessage]

_EXCLUDED = ["api_key", *(n for n, field in ErnieSettings.model_fields.items() if field.exclude)]
"""Options that a dump leaves out; what is loaded from it has the model's own key."""


class Bindable(_Model):
    """A runnable whose options may hold secrets, and so may those of all that is made of it."""

    @override
    def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with options for every call: any setting, and any field of the body.

        Raises:
            ValueError: A setting has a value outside its range, or an option looks like a secret
                that would be sent in the body.
        """
        options = read_options(kwargs, getattr(self, "api_key", None))
        if isinstance(self, BoundModel):
            return RunnableBinding.bind(self, **options)  # beside the options that are bound
        return BoundModel(bound=self, kwargs=options, config={})

    if not TYPE_CHECKING:  # which leaves type checkers the keywords of core's methods

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
            """Return this model with settings that the config of a call chooses.

            LangSmith is shown all that is `configurable`, but for `api_key` and names that begin
            with two underscores: name a field for the key accordingly.
            """
            return bindable(super().configurable_fields(**kwargs))

        def configurable_alternatives(
            self, which: ConfigurableField, **kwargs: Any
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model or another one, as the config of a call chooses."""
            return bindable(super().configurable_alternatives(which, **kwargs))


class BoundModel(Bindable, RunnableBinding[LanguageModelInput, AIMessage]):
    """A model with options for every call."""

    def __init__(self, *, kwargs: Mapping[str, Any] | None = None, **fields: Any) -> None:
        options = {name: conceal(name, value) for name, value in (kwargs or {}).items()}
        super().__init__(kwargs=options, **fields)

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return RunnableBinding.lc_id()

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        options = {name: v for name, v in self.kwargs.items() if name not in _EXCLUDED}
        if len(options) < len(self.kwargs):
            return BoundModel(**{**dict(self), "kwargs": options}).to_json()
        return super().to_json()


class BoundRetry(Bindable, RunnableRetry[LanguageModelInput, AIMessage]):
    """A model with retries."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return RunnableRetry.lc_id()


class _Traced(_Model):
    """A runnable that is traced under the name of core's class."""

    @override
    def get_name(self, suffix: str | None = None, *, name: str | None = None) -> str:
        core = next(core for core, ours in _CLASSES if isinstance(self, ours))
        return super().get_name(suffix, name=name or self.name or core.__name__)


class BoundFallbacks(_Traced, Bindable, RunnableWithFallbacks[LanguageModelInput, AIMessage]):
    """A model with fallbacks."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return RunnableWithFallbacks.lc_id()


class BoundSequence(_Traced, Bindable, RunnableSequence):  # type: ignore[type-arg]  # with types, pydantic takes no subclass
    """A model and what reads its answer."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return RunnableSequence.lc_id()


class BoundStructuredOutput(_Traced, Bindable, StructuredOutputWithRetry):
    """A structured output that may ask again."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return StructuredOutputWithRetry.lc_id()


class BoundFields(Bindable, RunnableConfigurableFields):  # type: ignore[type-arg]  # with types, pydantic takes no subclass as `default`
    """A model some settings of which are chosen by the config of a call."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return RunnableConfigurableFields.lc_id()


class BoundAlternatives(Bindable, RunnableConfigurableAlternatives):  # type: ignore[type-arg]  # likewise
    """Models of which the config of a call chooses one."""

    @classmethod
    @override
    def lc_id(cls) -> list[str]:
        return RunnableConfigurableAlternatives.lc_id()


def bindable(runnable: _Model) -> _Model:
    """Return what core has made of a model in the class of ours for it."""
    for core, ours in _CLASSES:
        if isinstance(runnable, core) and not isinstance(runnable, ours):
            made: _Model = ours(**dict(runnable))
            return made
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
