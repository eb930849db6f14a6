"""The results of `bind`, `with_retry` and similar methods: they hide secrets and keep settings.

langchain-core's classes show bound parameters in their repr and dumps. These subclasses keep
`api_key` and `default_headers` as `SecretStr`, and validate the arguments of `bind`. In core,
`bind_tools` and `with_structured_output` are those of the model inside, which lose what is bound or
configured; here they keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, cast

from langchain_core.language_models import LanguageModelInput
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage
from langchain_core.runnables import (
    Runnable,
    RunnableConfig,
    RunnableSerializable,
    base,
    configurable,
)
from langchain_core.runnables import fallbacks as core_fallbacks
from langchain_core.runnables.config import CONFIG_KEYS
from langchain_core.runnables.utils import AnyConfigurableField, ConfigurableFieldSpec
from typing_extensions import override

from langchain_aimlernie._settings.arguments import read_options
from langchain_aimlernie._settings.fields import ALIASES, ToolLike
from langchain_aimlernie._settings.model import SettingsModel
from langchain_aimlernie._settings.secrets import is_secret, mask
from langchain_aimlernie._text import warn_user

_Model = Runnable[LanguageModelInput, AIMessage]

_EXCLUDED = {"api_key"} | {n for n, f in SettingsModel.model_fields.items() if f.exclude}
"""Bound parameters that a dump leaves out; a model loaded from it reads the key again."""


def _names_by_id(runnable: Any) -> dict[str, str]:
    """Return the names of the fields that a config can set, by their ids in the config."""
    return {field.id: name for name, field in getattr(runnable, "fields", {}).items()}


def _wrapping(name: str) -> Any:
    """Return a method that calls core's and returns an instance of the classes below."""

    def method(
        self: Bindable, *args: Any, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return _to_own_class(getattr(super(Bindable, self), name)(*args, **kwargs))

    method.__name__ = name
    method.__doc__ = getattr(RunnableSerializable, name).__doc__
    return method


class Bindable(_Model):
    """A model, or a wrapper around one, whose bound parameters may hold secrets."""

    if not TYPE_CHECKING:  # type checkers see the signatures of core's methods

        def bind(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with settings, or fields of the request body, for every call.

            Raises:
                ValueError: A parameter is outside its range, or looks like a secret and would be
                    sent in the body.
            """
            options = read_options(kwargs, getattr(self, "api_key", None))
            options = {name: mask(name, value) for name, value in options.items()}
            if isinstance(self, RunnableBinding):
                return base.RunnableBinding.bind(self, **options)  # keeps what is bound already
            return RunnableBinding(bound=self, kwargs=options, config={})

        with_types = _wrapping("with_types")
        with_listeners = _wrapping("with_listeners")
        with_alisteners = _wrapping("with_alisteners")
        with_fallbacks = _wrapping("with_fallbacks")
        configurable_alternatives = _wrapping("configurable_alternatives")

        def with_config(
            self, config: RunnableConfig | None = None, **kwargs: Any
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with a config for every call; API keys in it are hidden."""
            config = {**(config or {}), **kwargs}
            others = {name: config.pop(name) for name in config.keys() - {*CONFIG_KEYS}}
            others = {name: value for name, value in others.items() if value is not None}
            if values := {**(config.get("configurable") or {}), **others}:  # as core reads them
                names = _names_by_id(getattr(self, "first", self))
                config["configurable"] = {
                    id_: mask("api_key" if is_secret(str(id_), v) else names.get(id_, ""), v)
                    for id_, v in values.items()
                }
            return _to_own_class(super().with_config(config))

        def with_retry(self, **kwargs: Any) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with retries; see `Runnable.with_retry`."""
            from langchain_aimlernie._runnable_retry import RunnableRetry

            # Not the method of core's binding, which would put the retries inside.
            return RunnableRetry(**dict(Runnable.with_retry(self, **kwargs)))

        def configurable_fields(
            self, **kwargs: AnyConfigurableField
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with fields that the config of a call can set.

            LangSmith records everything in `configurable` but `api_key` and names that begin with
            two underscores: a field for the key needs such an id.
            """
            fields = {ALIASES.get(name, name): field for name, field in kwargs.items()}
            return _to_own_class(super().configurable_fields(**fields))


_OF_SCHEMA = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
"""Bound parameters that structured output sets itself."""


class ModelWrapper(Bindable):
    """A wrapper around one model, which keeps bound and configured parameters."""

    inside: ClassVar[str] = "bound"
    """The name of the field that has the model."""

    def bind_tools(self, tools: Sequence[ToolLike], **options: Any) -> _Model:
        """Return this runnable with tools that the model may call, which replace bound ones."""
        inside, bound = _unwrap(self)
        with_tools = inside.bind_tools(tools, **options)
        if isinstance(with_tools, RunnableBinding):
            choice = {"tool_choice": None} if "tool_choice" in bound else {}
            return self.bind(**{**choice, **with_tools.kwargs})
        return _wrap_again(self, with_tools, {"tools", "tool_choice", *read_options(options)})

    def with_structured_output(
        self, schema: Any = None, **options: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose output is an instance of a schema; bound tools are not sent."""
        inside, bound = _unwrap(self)
        if not hasattr(type(inside), "_structured_output"):
            structured = inside.with_structured_output(schema, **options)
            return _wrap_again(self, structured, {*_OF_SCHEMA, *read_options(options)})
        options = read_options(options, inside.api_key)
        if bound.get("tools") and not options.get("tools"):
            warn_user(
                "Bound tools are not sent with structured output; pass them as "
                "with_structured_output(schema, tools=[...])."
            )
        runnable: _Model = self
        if bound.keys() & {*_OF_SCHEMA}:
            runnable = self.bind(**dict.fromkeys(_OF_SCHEMA, None))
        server = {name: bound[name] for name in ("model", "base_url") if name in bound}
        structured = inside._structured_output(runnable, schema, **server | options)  # noqa: SLF001  a method of ChatAimlErnie
        return cast("_Model", structured)


def _unwrap(wrapper: Any) -> tuple[Any, dict[str, Any]]:
    """Return the model (or choice of models) in a wrapper, and the parameters bound to it."""
    bound: dict[str, Any] = {}
    while isinstance(wrapper, ModelWrapper):
        bound = {**wrapper.__dict__.get("kwargs", {}), **bound}
        wrapper = wrapper.__dict__[wrapper.inside]
    return wrapper, bound


def _wrap_again(wrapper: Any, inside: Any, own: Collection[str]) -> _Model:
    """Return `inside` in the same wrappers, without bound parameters named in `own`."""
    if not isinstance(wrapper, ModelWrapper):
        return cast("_Model", inside)
    fields, name = wrapper.__dict__, wrapper.inside
    changed: dict[str, Any] = {name: _wrap_again(fields[name], inside, own)}
    if "kwargs" in fields:
        changed["kwargs"] = {n: v for n, v in fields["kwargs"].items() if n not in own}
    return type(wrapper)(**{**fields, **changed})


# The names are those of core's classes, since dumps and traces contain them.


class RunnableBinding(ModelWrapper, base.RunnableBinding[LanguageModelInput, AIMessage]):
    """A model with parameters for every call."""

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        shown = {name: value for name, value in self.kwargs.items() if name not in _EXCLUDED}
        return super(RunnableBinding, self.model_copy(update={"kwargs": shown})).to_json()


class RunnableWithFallbacks(
    Bindable, core_fallbacks.RunnableWithFallbacks[LanguageModelInput, AIMessage]
):
    """A model with fallbacks."""


class Structured(Bindable):
    """A model with an output parser."""

    def bind_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Raise an error that says how structured output takes tools."""
        raise NotImplementedError(
            "Structured output takes its tools as with_structured_output(schema, tools=[...])."
        )


class RunnableSequence(Structured, base.RunnableSequence):  # type: ignore[type-arg]  # with types, pydantic rejects subclasses
    """A model and its output parser."""


class RunnableConfigurableFields(ModelWrapper, configurable.RunnableConfigurableFields):  # type: ignore[type-arg]  # with types, pydantic rejects a subclass as `default`
    """A model with fields that the config of a call sets."""

    inside: ClassVar[str] = "default"

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        names = _names_by_id(self)
        return [
            spec._replace(default=mask(names.get(spec.id, ""), spec.default))
            for spec in super().config_specs
        ]


class RunnableConfigurableAlternatives(Bindable, configurable.RunnableConfigurableAlternatives):  # type: ignore[type-arg]  # likewise
    """Several models, one of which is selected by the config of a call."""

    def bind_tools(self, tools: Sequence[ToolLike], **options: Any) -> _Model:
        """Return the same alternatives, each with these tools."""
        return self._with_each(lambda model: model.bind_tools(tools, **options))

    def with_structured_output(
        self, schema: Any = None, **options: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the same alternatives, each with structured output."""
        return self._with_each(lambda model: model.with_structured_output(schema, **options))

    def _with_each(self, apply: Callable[[Any], Any]) -> _Model:
        alternatives = {
            name: apply(model) if isinstance(model, Runnable) else lambda make=model: apply(make())
            for name, model in self.alternatives.items()
        }
        changed = {"default": apply(self.default), "alternatives": alternatives}
        return RunnableConfigurableAlternatives(**{**dict(self), **changed})


_CLASSES: Mapping[type, Any] = {
    base.RunnableBinding: RunnableBinding,
    core_fallbacks.RunnableWithFallbacks: RunnableWithFallbacks,
    configurable.RunnableConfigurableFields: RunnableConfigurableFields,
    configurable.RunnableConfigurableAlternatives: RunnableConfigurableAlternatives,
}


def _to_own_class(runnable: Any) -> _Model:
    """Return core's wrapper around a model as an instance of its subclass in this module."""
    own_class = _CLASSES.get(type(runnable))
    return cast("_Model", own_class(**dict(runnable)) if own_class else runnable)
