"""Models of several packages at the local API."""

from __future__ import annotations

import pytest


@pytest.fixture
def model_defaults():
    return {"max_retries": 0}


@pytest.fixture(autouse=True)
def contract(ernie_server):
    """Every request was valid, and used the scripts up."""
    yield
    assert ernie_server.violations == []
    assert ernie_server.pending == 0
