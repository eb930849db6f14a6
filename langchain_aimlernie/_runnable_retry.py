"""The result of `with_retry`; not in `_bindings`, because importing it imports tenacity."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.runnables import retry

from langchain_aimlernie._bindings import ModelWrapper


class RunnableRetry(ModelWrapper, retry.RunnableRetry[LanguageModelInput, AIMessage]):
    """A model with retries."""

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the model, such as its profile, as core's other wrappers do."""
        return getattr(self.bound, name)
