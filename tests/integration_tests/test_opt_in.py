"""What pytest runs only on request: nothing else may spend money or need a large download."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import pytest_configure

ROOT = Path(__file__).parents[2]
REAL_SERVER = "tests/integration_tests/test_real_server.py"
OTHER = "tests/unit_tests/test_text.py"
STANDARD = "tests/integration_tests/test_standard.py::TestPlainModel::test_invoke"

pytestmark = pytest.mark.slow


def run_pytest(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-n0", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )


@pytest.mark.parametrize(
    ("options", "tests", "calls"),
    [((), (STANDARD, REAL_SERVER), 0), (("--live",), (STANDARD, OTHER), 1)],
)
def test_only_the_official_suite_calls_the_api_and_only_with_the_option(
    ernie_server, options, tests, calls
):
    api = {"AIMLAPI_API_KEY": ernie_server.api_key, "AIMLAPI_API_BASE": ernie_server.base_url}
    run = run_pytest(*options, *tests, **api)
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout
    assert "deselected" in run.stdout
    assert len(ernie_server.requests) == calls


def test_live_needs_a_key(pytestconfig, monkeypatch):
    monkeypatch.setattr(pytestconfig.option, "live", True)
    with pytest.raises(pytest.UsageError, match="AIMLAPI_API_KEY"):
        pytest_configure(pytestconfig)


def test_the_real_server_is_used_with_its_marker():
    run = run_pytest("--collect-only", "-m", "real_server", REAL_SERVER)
    assert f"{REAL_SERVER}::" in run.stdout
