from __future__ import annotations

import pytest

from langchain_aimlernie import ChatAimlErnie


@pytest.fixture
def model(ernie_server):
    """Make models that talk to the local API."""

    def make(**settings) -> ChatAimlErnie:
        return ChatAimlErnie(
            **{"base_url": ernie_server.base_url, "api_key": ernie_server.api_key, **settings}
        )

    return make
