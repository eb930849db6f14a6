"""What the tests of this folder share: a first call before all of them."""

import asyncio
import gc
from pathlib import Path

import pytest

from langchain_aimlernie import APIConnectionError, ChatAimlErnie

HERE = Path(__file__).parent


@pytest.fixture(scope="session", autouse=True)
def _first_call():
    """Load what the first call loads, certificates included: it would take a case's time."""
    model = ChatAimlErnie(base_url="https://127.0.0.1:1/v1", api_key="sk-0123456789", max_retries=0)
    with pytest.raises(APIConnectionError):
        asyncio.run(model.ainvoke("hi"))
    # What the imports left is never garbage: each `gc.collect()` of the tests is spared it.
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


def pytest_collection_modifyitems(items):
    """Leave all but the tables of faults to the whole run, and to that of the lowest versions."""
    for item in items:
        if item.path.parent == HERE and item.path.stem != "test_faults_cases":
            if item.get_closest_marker("slow") is None:
                item.add_marker(pytest.mark.fault)
            item.add_marker(pytest.mark.slow)
