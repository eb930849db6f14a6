"""Models of several packages at the local API."""

import httpx
import pytest

from tests.support.agents import FIVE


@pytest.fixture
def model_defaults():
    return {"max_retries": 0}


@pytest.fixture
async def openai(ernie_server):
    """OpenAI's client of the local server."""
    from langchain_openai import ChatOpenAI

    at = {"base_url": ernie_server.base_url, "api_key": ernie_server.api_key}
    async with httpx.AsyncClient() as client:
        yield ChatOpenAI(model=FIVE, max_retries=0, http_async_client=client, **at)


@pytest.fixture(autouse=True)
def contract(ernie_server):
    """Every request was valid, and used the scripts up."""
    yield
    assert ernie_server.violations == []
    assert ernie_server.pending == 0
