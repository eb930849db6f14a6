"""What `bind`, `with_retry` and similar methods return: nothing is shown, and nothing is lost.

langchain-core's classes show bound parameters in their repr and dumps. These subclasses hold
`api_key` and `default_headers` as `SecretStr`. Core looks up `bind_tools` and
`with_structured_output` on the model inside, which drops what is bound or configured; here they
keep it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, base, configurable, fallbacks, retry
from langchain_core.runnables.utils import ConfigurableFieldSpec
from typing_extensions import override

from langchain_aimlernie._bindings import Bindable, Model, mask
from langchain_aimlernie._settings import Settings, ToolLike, read_options

_EXCLUDED = {"api_key"} | {
    name
    for model in (Settings, BaseChatModel)
    for name, field in model.model_fields.items()
    if field.exclude
}
"""Bound parameters that a dump leaves out; a model loaded from it has its own key."""

_OF_SCHEMA = ("tools", "tool_choice", "parallel_tool_calls", "response_format")
"""Bound parameters that structured output sets itself."""


class ModelWrapper(Bindable):
    """A wrapper around one model, which keeps what is bound to it or configured."""

    def bind_tools(self, tools: Sequence[ToolLike], **options: Any) -> Model:
        """Return this runnable with tools that the model may call, and not those bound before."""
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
            warnings.warn(
                "The tools that are bound are not sent with structured output; pass them as "
                "with_structured_output(schema, tools=[...]).",
                stacklevel=2,
            )
        runnable: Model = self
        if bound.keys() & {*_OF_SCHEMA}:
            runnable = self.bind(**dict.fromkeys(_OF_SCHEMA, None))
        server = {name: bound[name] for name in ("model", "base_url") if name in bound}
        structured = inside._structured_output(runnable, schema, **server | options)  # noqa: SLF001  of our own class
        return cast("Model", structured)


def _unwrap(wrapper: Any) -> tuple[Any, dict[str, Any]]:
    """Return the model in a wrapper, or what stands for several models, and what is bound to it."""
    bound: dict[str, Any] = {}
    while isinstance(wrapper, ModelWrapper):
        fields = wrapper.__dict__
        bound = {**fields.get("kwargs", {}), **bound}
        wrapper = fields.get("bound") or fields["default"]
    return wrapper, bound


def _wrap_again(wrapper: Any, inside: Any, own: Collection[str]) -> Model:
    """Return `inside` in the same wrappers, without the parameters that are its `own`."""
    if not isinstance(wrapper, ModelWrapper):
        return cast("Model", inside)
    fields = wrapper.__dict__
    name = "bound" if "bound" in fields else "default"
    changed: dict[str, Any] = {name: _wrap_again(fields[name], inside, own)}
    if "kwargs" in fields:
        changed["kwargs"] = {n: v for n, v in fields["kwargs"].items() if n not in own}
    return type(wrapper)(**{**fields, **changed})


# Core's wrappers, under core's names: these are in dumps and traces.


class RunnableBinding(ModelWrapper, base.RunnableBinding[LanguageModelInput, AIMessage]):
    """A model with parameters for every call."""

    def __init__(self, *, kwargs: Mapping[str, Any] | None = None, **fields: Any) -> None:
        options = {name: mask(name, value) for name, value in (kwargs or {}).items()}
        super().__init__(kwargs=options, **fields)

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        options = {name: v for name, v in self.kwargs.items() if name not in _EXCLUDED}
        if len(options) < len(self.kwargs):
            return RunnableBinding(**{**dict(self), "kwargs": options}).to_json()
        return super().to_json()


class RunnableRetry(ModelWrapper, retry.RunnableRetry[LanguageModelInput, AIMessage]):
    """A model with retries."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model, such as its profile, as other wrappers do."""
        return getattr(self.bound, name)


class RunnableWithFallbacks(
    Bindable, fallbacks.RunnableWithFallbacks[LanguageModelInput, AIMessage]
):
    """A model with fallbacks."""


class Structured(Bindable):
    """A model with an output parser."""

    def bind_tools(self, *_: Any, **__: Any) -> NoReturn:
        """Say where the tools are expected."""
        raise NotImplementedError(
            "Structured output takes its tools as with_structured_output(schema, tools=[...])."
        )


class RunnableSequence(Structured, base.RunnableSequence):  # type: ignore[type-arg]  # with types, pydantic takes no subclass
    """A model and its output parser."""


class RunnableConfigurableFields(ModelWrapper, configurable.RunnableConfigurableFields):  # type: ignore[type-arg]  # with types, pydantic takes no subclass as `default`
    """A model with fields that the config of a call sets."""

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        names = {field.id: name for name, field in self.fields.items()}
        return [
            spec._replace(default=mask(names.get(spec.id, ""), spec.default))
            for spec in super().config_specs
        ]


class RunnableConfigurableAlternatives(Bindable, configurable.RunnableConfigurableAlternatives):  # type: ignore[type-arg]  # likewise
    """Models of which the config of a call selects one."""

    def bind_tools(self, tools: Sequence[ToolLike], **options: Any) -> Model:
        """Return the same choice of models, each with these tools."""
        return self._with_each(lambda model: model.bind_tools(tools, **options))

    def with_structured_output(
        self, schema: Any = None, **options: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return the same choice of models, each with structured output."""
        return self._with_each(lambda model: model.with_structured_output(schema, **options))

    def _with_each(self, apply: Callable[[Any], Any]) -> Model:
        alternatives = {
            name: apply(model) if isinstance(model, Runnable) else lambda make=model: apply(make())
            for name, model in self.alternatives.items()
        }
        changed = {"default": apply(self.default), "alternatives": alternatives}
        return RunnableConfigurableAlternatives(**{**dict(self), **changed})


CLASSES: Mapping[Any, Any] = {
    base.RunnableBinding: RunnableBinding,
    retry.RunnableRetry: RunnableRetry,
    fallbacks.RunnableWithFallbacks: RunnableWithFallbacks,
    configurable.RunnableConfigurableFields: RunnableConfigurableFields,
    configurable.RunnableConfigurableAlternatives: RunnableConfigurableAlternatives,
}
"""Core's classes -> ours."""
