"""Models of several packages at the local API."""

from __future__ import annotations

import pytest

from langchain_aimlernie import ChatAimlErnie


@pytest.fixture
def model(ernie_server):
    """Make models that talk to the local API."""

    def make(**settings) -> ChatAimlErnie:
        return ChatAimlErnie(
            **{
                "base_url": ernie_server.base_url,
                "api_key": ernie_server.api_key,
                "max_retries": 0,
                **settings,
            }
        )

    return make


@pytest.fixture(autouse=True)
def contract(ernie_server):
    """Every request was valid, and used the scripts up."""
    yield
    assert ernie_server.violations == []
    assert ernie_server.pending == 0
