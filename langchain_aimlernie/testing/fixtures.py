"""The pytest plugin of the package: the fixture `ernie_server`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from langchain_aimlernie.testing.server import ErnieServer


@pytest.fixture(scope="session")
def _ernie_server() -> Iterator[ErnieServer]:
    from langchain_aimlernie.testing.server import ErnieServer  # noqa: PLC0415  # pytest loads this plugin in every run

    with ErnieServer() as server:
        yield server


@pytest.fixture
def ernie_server(_ernie_server: ErnieServer) -> Iterator[ErnieServer]:
    """A local AI/ML API for ERNIE, without requests and replies of other tests."""
    key = _ernie_server.api_key
    _ernie_server.reset()
    yield _ernie_server
    _ernie_server.api_key = key
    _ernie_server.reset()
