from __future__ import annotations

import pytest

from langchain_aimlernie.testing import ErnieServer


@pytest.fixture
def ernie_server():
    """A server that no other test has connections to."""
    with ErnieServer() as server:
        yield server
