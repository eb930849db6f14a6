"""A local AI/ML API, without network and key: `ErnieServer`, and a pytest fixture.

`python -m langchain_aimlernie.testing` serves it; pytest finds the fixture `ernie_server` without
an import. Every text of its fake model says that it is not from ERNIE. Imports are lazy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_aimlernie.testing.contract import ignored_fields, validate_request
    from langchain_aimlernie.testing.replies import Fault, Reply, Request
    from langchain_aimlernie.testing.server import ErnieServer

__all__ = ["ErnieServer", "Fault", "Reply", "Request", "ignored_fields", "validate_request"]

_MODULES = {
    **dict.fromkeys(("Fault", "Reply", "Request"), "replies"),
    **dict.fromkeys(("ignored_fields", "validate_request"), "contract"),
    "ErnieServer": "server",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULES[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
