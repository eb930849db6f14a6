"""What `bind`, `with_retry` and similar methods return, without showing bound secrets.

langchain-core's classes show bound parameters in their repr and dumps. These subclasses hold
`api_key` and `default_headers` as `SecretStr`, and validate what `bind` is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.load.serializable import SerializedConstructor, SerializedNotImplemented
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableSerializable, base, configurable
from langchain_core.runnables import fallbacks as core_fallbacks
from langchain_core.runnables import retry as core_retry
from langchain_core.runnables.utils import AnyConfigurableField
from pydantic import SecretStr
from typing_extensions import override

from langchain_aimlernie._settings import Settings, ToolLike, read_options


def _mask(name: str, value: Any) -> Any:
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


_Model = Runnable[LanguageModelInput, AIMessage]

_EXCLUDED = {"api_key"} | {
    name
    for model in (Settings, BaseChatModel)
    for name, field in model.model_fields.items()
    if field.exclude
}
"""Bound parameters that a dump leaves out; a model loaded from it has its own key."""


def _wrapping(name: str) -> Any:
    """Return core's method, but with a result that hides bound secrets, too."""

    def method(
        self: Bindable, *args: Any, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        return bindable(getattr(super(Bindable, self), name)(*args, **kwargs))

    method.__name__ = name
    method.__doc__ = getattr(RunnableSerializable, name).__doc__
    return method


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
        if isinstance(self, RunnableBinding):
            return base.RunnableBinding.bind(self, **options)  # keeps what is bound already
        return RunnableBinding(bound=self, kwargs=options, config={})

    if not TYPE_CHECKING:  # type checkers see the signatures of core's methods
        with_config = _wrapping("with_config")
        with_types = _wrapping("with_types")
        with_listeners = _wrapping("with_listeners")
        with_alisteners = _wrapping("with_alisteners")
        with_retry = _wrapping("with_retry")
        with_fallbacks = _wrapping("with_fallbacks")
        configurable_alternatives = _wrapping("configurable_alternatives")

        def configurable_fields(
            self, **kwargs: AnyConfigurableField
        ) -> Runnable[LanguageModelInput, AIMessage]:
            """Return this model with fields that the config of a call sets.

            LangSmith records all of `configurable` but `api_key` and names that begin with two
            underscores: name a field for the key accordingly.
            """
            return bindable(super().configurable_fields(**kwargs))


# Core's wrappers, under core's names: these are in dumps and traces.


_OF_TOOLS = ("tools", "tool_choice")
_OF_SCHEMA = (*_OF_TOOLS, "parallel_tool_calls", "response_format")


class RunnableBinding(Bindable, base.RunnableBinding[LanguageModelInput, AIMessage]):
    """A model with parameters for every call.

    Core would call the model's own methods for tools and schemas, and so lose the parameters.
    """

    def __init__(self, *, kwargs: Mapping[str, Any] | None = None, **fields: Any) -> None:
        options = {name: _mask(name, value) for name, value in (kwargs or {}).items()}
        super().__init__(kwargs=options, **fields)

    @override
    def to_json(self) -> SerializedConstructor | SerializedNotImplemented:
        options = {name: v for name, v in self.kwargs.items() if name not in _EXCLUDED}
        if len(options) < len(self.kwargs):
            return self._with(kwargs=options).to_json()
        return super().to_json()

    def bind_tools(
        self, tools: Sequence[ToolLike], **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools instead of those bound before; see the model's method."""
        with_tools = self.bound.bind_tools(tools, **kwargs)  # type: ignore[attr-defined]  # a model's
        kept = self._options_but((*_OF_TOOLS, *kwargs))
        if isinstance(with_tools, base.RunnableBinding):
            return self._with(kwargs={**kept, **with_tools.kwargs})
        return self._with(bound=with_tools, kwargs=kept)  # a model with fallbacks

    def with_structured_output(
        self, schema: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose output is an instance of a schema; see the model's method.

        Bound tools are not sent: `tools` is a parameter of the method.
        """
        if self.kwargs.get("tools"):
            warnings.warn(
                "The bound tools are not sent: pass them to with_structured_output as tools=[…].",
                stacklevel=2,
            )
        structured = self.bound.with_structured_output(schema, **kwargs)  # type: ignore[attr-defined]  # likewise
        kept = self._options_but((*_OF_SCHEMA, *kwargs))
        has_more = kept or self.config or self.config_factories
        return self._with(bound=structured, kwargs=kept) if has_more else structured

    def _options_but(self, names: Collection[str]) -> dict[str, Any]:
        return {name: value for name, value in self.kwargs.items() if name not in names}

    def _with(self, **fields: Any) -> RunnableBinding:
        return RunnableBinding(**{**dict(self), **fields})


class RunnableRetry(Bindable, core_retry.RunnableRetry[LanguageModelInput, AIMessage]):
    """A model with retries."""


class RunnableWithFallbacks(
    Bindable, core_fallbacks.RunnableWithFallbacks[LanguageModelInput, AIMessage]
):
    """A model with fallbacks."""


class RunnableSequence(Bindable, base.RunnableSequence):  # type: ignore[type-arg]  # with types, pydantic takes no subclass
    """A model and its output parser."""


class RunnableConfigurableFields(Bindable, configurable.RunnableConfigurableFields):  # type: ignore[type-arg]  # with types, pydantic takes no subclass as `default`
    """A model with fields that the config of a call sets."""


class RunnableConfigurableAlternatives(Bindable, configurable.RunnableConfigurableAlternatives):  # type: ignore[type-arg]  # likewise
    """Models of which the config of a call selects one."""


_CLASSES: Mapping[type, Any] = {
    base.RunnableBinding: RunnableBinding,
    core_retry.RunnableRetry: RunnableRetry,
    core_fallbacks.RunnableWithFallbacks: RunnableWithFallbacks,
    base.RunnableSequence: RunnableSequence,
    configurable.RunnableConfigurableFields: RunnableConfigurableFields,
    configurable.RunnableConfigurableAlternatives: RunnableConfigurableAlternatives,
}


def bindable(runnable: _Model) -> _Model:
    """Return core's wrapper around a model as an instance of our subclass of it."""
    ours = _CLASSES.get(type(runnable))
    return runnable if ours is None else cast("_Model", ours(**dict(runnable)))  # type: ignore[call-overload]  # pydantic models are iterable
