"""One fault server for all tests of this folder, and the soak's figures at the end of the run."""

from __future__ import annotations

import gc
import shutil

import pytest
from fault_server import FaultServer
from paper import paper_mill

FIGURES = pytest.StashKey[list[str]]()


@pytest.fixture(scope="session")
def faults():
    # What the imports left is never garbage: each `gc.collect()` of the tests is spared it.
    gc.collect()
    gc.freeze()
    with FaultServer() as server:
        yield server
    gc.unfreeze()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Makes a certificate for a host's name or number."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    return paper_mill(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def trusted(certificate):
    """The certificate of loopback."""
    return certificate("127.0.0.1")


@pytest.fixture
def figures(request):
    """Lines that the end of the test run shall show."""
    return request.config.stash.setdefault(FIGURES, [])


def pytest_terminal_summary(terminalreporter, config):
    for line in config.stash.get(FIGURES, []):
        terminalreporter.write_line(line)
