"""One fault server for all tests of this folder, and the soak's figures at the end of the run."""

from __future__ import annotations

import gc

import pytest
from fault_server import FaultServer

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def faults():
    # What the imports left is never garbage: each `gc.collect()` of the tests is spared it.
    gc.collect()
    gc.freeze()
    with FaultServer() as server:
        yield server
    gc.unfreeze()


@pytest.fixture
def figures(request):
    """Lines that the end of the test run shall show."""
    return request.config.stash.setdefault(FIGURES, [])


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)
