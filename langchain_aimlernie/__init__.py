"""Baidu's ERNIE models on the AI/ML API, as a LangChain chat model.

Names are imported at their first use, so that the pytest plugin (`langchain_aimlernie.testing`)
does not import LangChain.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from langchain_aimlernie._version import __version__

if TYPE_CHECKING:
    from langchain_aimlernie import account, errors
    from langchain_aimlernie.chat_models import ChatAimlErnie
    from langchain_aimlernie.errors import (
        AimlErnieError,
        APIConnectionError,
        APITimeoutError,
        AuthenticationError,
        BadRequestError,
        BudgetExceededError,
        ContextWindowExceededError,
        InsufficientCreditsError,
        InternalServerError,
        InvalidResponseError,
        NotFoundError,
        PermissionDeniedError,
        RateLimitError,
        RefusalError,
        StreamInterruptedError,
        StructuredOutputError,
    )
    from langchain_aimlernie.models import alist_models, list_models
    from langchain_aimlernie.spend import SpendTracker

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AimlErnieError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "ChatAimlErnie",
    "ContextWindowExceededError",
    "InsufficientCreditsError",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RefusalError",
    "SpendTracker",
    "StreamInterruptedError",
    "StructuredOutputError",
    "__version__",
    "account",
    "alist_models",
    "errors",
    "list_models",
]

_MODULES = {
    "ChatAimlErnie": "chat_models",
    "SpendTracker": "spend",
    "account": "account",
    "alist_models": "models",
    "list_models": "models",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULES.get(name, 'errors')}")
    value = module if name in ("account", "errors") else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
