import httpx
import pytest

from langchain_aimlernie.testing import ErnieServer


@pytest.fixture
def ernie_server():
    """A server of its own for each test."""
    with ErnieServer() as server:
        yield server


@pytest.fixture
def client(ernie_server):
    """A plain HTTP client of `ernie_server`."""
    headers = {"authorization": f"Bearer {ernie_server.api_key}"}
    with httpx.Client(base_url=ernie_server.base_url, headers=headers, trust_env=False) as client:
        yield client
