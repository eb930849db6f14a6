from __future__ import annotations

import pytest

from langchain_aimlernie.testing import ErnieServer


@pytest.fixture
def ernie_server():
    """A server of its own for each test."""
    with ErnieServer() as server:
        yield server
