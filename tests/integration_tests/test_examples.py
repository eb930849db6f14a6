"""The examples run, and their list is whole."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core._api import LangChainBetaWarning

from langchain_aimlernie import AuthenticationError
from langchain_aimlernie.testing import ErnieServer

ROOT = Path(__file__).parents[2]
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("*.py"))}
RUNNER = EXAMPLES.pop("run_all")
OF_THE_API = [name for name in EXAMPLES if name not in ("local_tests", "models", "self_hosted")]
OWN = {"ERNIE-4.5-21B-A3B": "baidu/ernie-4.5-21b-a3b"}

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.{LangChainBetaWarning.__name__}"
)


@pytest.fixture
def local(ernie_server, monkeypatch):
    """Lead what reads the environment to the local server."""
    monkeypatch.setenv("AIMLAPI_API_KEY", ernie_server.api_key)
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    return ernie_server


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs_and_says_something(name, local, monkeypatch, capfd):
    with ErnieServer(api_key=None, models=OWN) as own:
        monkeypatch.setenv("ERNIE_SERVER", own.base_url)
        outcome = run(EXAMPLES[name])
        assert [request for request in own.requests if request.status == 400] == []
    assert not outcome
    assert capfd.readouterr().out.strip()
    assert local.violations == []
    assert [path for request in local.requests for path in request.ignored] == []


def run(path):
    """Run a program in this process; give its exit code."""
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return end.code
    return 0


@pytest.mark.parametrize("name", OF_THE_API)
def test_no_example_goes_local_by_itself(name):
    """Only the environment can lead it to another server than the API."""
    source = EXAMPLES[name].read_text(encoding="utf-8")
    assert "langchain_aimlernie.testing" not in source
    assert "localhost" not in source


def test_an_example_without_a_key_names_the_variable(monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    monkeypatch.delenv("AIMLAPI_API_BASE", raising=False)
    with pytest.raises(AuthenticationError, match="AIMLAPI_API_KEY"):
        runpy.run_path(str(EXAMPLES["quick_start"]), run_name="__main__")


def test_every_example_is_short_and_has_a_main():
    for path in EXAMPLES.values():
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 60, path.name
        assert 'if __name__ == "__main__":' in source, path.name


def test_the_list_of_examples_is_whole():
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\) \| \w", page, re.MULTILINE)
    assert sorted(listed) == list(EXAMPLES)


@pytest.mark.slow
def test_the_runner_runs_what_it_is_told_and_says_how_it_went():
    done = subprocess.run(
        [sys.executable, str(RUNNER), "quick_start"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"quick_start\.py +ok", done.stdout)


def test_the_runner_fails_when_an_example_does(tmp_path, monkeypatch, capsys):
    (tmp_path / "quiet.py").write_text("", encoding="utf-8")
    (tmp_path / "broken.py").write_text("print('so far')\nraise SystemExit(3)", encoding="utf-8")
    runner = runpy.run_path(str(RUNNER))
    monkeypatch.setitem(runner["main"].__globals__, "FOLDER", tmp_path)
    assert runner["main"]() == 2
    told = capsys.readouterr().out
    assert "exit code 3\nso far" in told
    assert "exit code 0" in told
