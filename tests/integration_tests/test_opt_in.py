"""What pytest runs only on request: nothing else may spend money or need a large download."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REAL_SERVER = "tests/integration_tests/test_real_server.py"
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


@pytest.mark.parametrize(("options", "calls"), [((), 0), (("--live",), 1)])
def test_the_official_suite_calls_the_api_only_with_the_option(ernie_server, options, calls):
    api = {"AIMLAPI_API_KEY": ernie_server.api_key, "AIMLAPI_API_BASE": ernie_server.base_url}
    run = run_pytest(*options, STANDARD, **api)
    assert run.returncode == 0, run.stdout
    assert "1 passed" in run.stdout
    assert len(ernie_server.requests) == calls


def test_live_runs_nothing_but_the_official_suite():
    other = "tests/unit_tests/test_profiles.py"
    run = run_pytest("--live", "--collect-only", STANDARD, other, AIMLAPI_API_KEY="key")
    assert run.returncode == 0, run.stdout
    assert f"{STANDARD}\n" in run.stdout
    assert other not in run.stdout


def test_live_needs_a_key():
    run = run_pytest("--live", STANDARD, AIMLAPI_API_KEY="")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "AIMLAPI_API_KEY" in run.stderr


@pytest.mark.parametrize("marker", ["slow", "real_server"])
def test_the_real_server_is_used_only_with_its_marker(marker):
    run = run_pytest("--collect-only", "-m", marker, REAL_SERVER)
    is_selected = f"{REAL_SERVER}::" in run.stdout
    assert is_selected is (marker == "real_server"), run.stdout
