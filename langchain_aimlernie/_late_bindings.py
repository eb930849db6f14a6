"""What `with_retry`, `with_fallbacks` and `configurable_fields` return.

Apart from `_bindings`, because core, too, imports its classes, and tenacity, at their first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, configurable, fallbacks, retry
from langchain_core.runnables.utils import ConfigurableFieldSpec
from typing_extensions import override

from langchain_aimlernie._bindings import Bindable, Model, ModelWrapper, mask, names_by_id
from langchain_aimlernie._settings.fields import ToolLike


class RunnableRetry(ModelWrapper, retry.RunnableRetry[LanguageModelInput, AIMessage]):
    """A model with retries."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model, such as its profile, as other wrappers do."""
        return getattr(self.bound, name)


class RunnableWithFallbacks(
    Bindable, fallbacks.RunnableWithFallbacks[LanguageModelInput, AIMessage]
):
    """A model with fallbacks."""


class RunnableConfigurableFields(ModelWrapper, configurable.RunnableConfigurableFields):  # type: ignore[type-arg]  # with types, pydantic takes no subclass as `default`
    """A model with fields that the config of a call sets."""

    inside: ClassVar[str] = "default"

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        names = names_by_id(self)
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


CLASSES: Mapping[type, Any] = {
    retry.RunnableRetry: RunnableRetry,
    fallbacks.RunnableWithFallbacks: RunnableWithFallbacks,
    configurable.RunnableConfigurableFields: RunnableConfigurableFields,
    configurable.RunnableConfigurableAlternatives: RunnableConfigurableAlternatives,
}
"""Core's classes -> ours."""
