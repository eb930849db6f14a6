"""What the README and the examples say is true: their programs run, their tables fit the code."""

from __future__ import annotations

import importlib.util
import os
import re
import runpy
import sys
from copy import deepcopy
from pathlib import Path

import httpx2
import nbformat
import pytest
from langchain_core._api import LangChainBetaWarning
from nbclient import NotebookClient

from langchain_aimlernie import AuthenticationError

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
EXAMPLES = {path.stem: path for path in sorted(FOLDER.glob("[!_]*.py"))}
RUNNER = EXAMPLES.pop("run_all")

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.{LangChainBetaWarning.__name__}"
)


@pytest.fixture
def no_key(monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    monkeypatch.delenv("AIMLAPI_API_BASE", raising=False)
    monkeypatch.syspath_prepend(FOLDER)


# Examples


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_runs_without_a_key(name, no_key, monkeypatch, capfd):
    """With `--local`; it then fails if it sends what the API forbids or ignores."""
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--local"])
    assert not run(EXAMPLES[name])
    printed = capfd.readouterr().out
    assert printed.strip()
    assert "[local ErnieServer" not in printed, "script the reply in _replies.py"


def run(path):
    """Run a program in this process; give its exit code."""
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return end.code
    return 0


def test_the_example_for_ray_is_skipped_without_ray(no_key, monkeypatch, capfd):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    main = runpy.run_path(str(EXAMPLES["bulk_ray"]))["main"]
    main()
    assert capfd.readouterr().out.startswith("skipped: Ray is not installed")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({"role": "nobody", "content": "Hello"}, "messages.0"),
        ({"role": "user", "content": "Hello", "mood": "calm"}, "mood"),
    ],
)
def test_an_example_that_sends_what_the_api_forbids_fails(content, problem, no_key, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["wrong.py", "--local"])
    local_run = runpy.run_path(str(FOLDER / "_local.py"))["run"]

    def main():
        url = f"{os.environ['AIMLAPI_API_BASE']}/chat/completions"
        body = {"model": "baidu/ernie-4.5-21b-a3b", "messages": [content]}
        headers = {"authorization": f"Bearer {os.environ['AIMLAPI_API_KEY']}"}
        httpx2.post(url, json=body, headers=headers)

    with pytest.raises(SystemExit, match=problem):
        local_run(main)


def test_no_example_goes_local_by_itself():
    """Only the environment can lead it to another server than the API."""
    for name in EXAMPLES.keys() - {"local_tests", "models", "self_hosted"}:
        source = EXAMPLES[name].read_text(encoding="utf-8")
        assert "langchain_aimlernie.testing" not in source, name
        assert "localhost" not in source, name


def test_an_example_without_a_key_names_the_variable_and_the_option(no_key, monkeypatch):
    path = EXAMPLES["quick_start"]
    monkeypatch.setattr(sys, "argv", [str(path)])
    with pytest.raises(AuthenticationError, match="AIMLAPI_API_KEY") as caught:
        run(path)
    assert caught.value.__notes__ == [f"To run it without a key: python {path} --local"]


def test_every_example_is_short_and_listed():
    for path in EXAMPLES.values():
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 100, path.name
        assert 'if __name__ == "__main__":' in source, path.name
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\) \| \w", page, re.MULTILINE)
    assert sorted(listed) == list(EXAMPLES)
    replies = runpy.run_path(str(FOLDER / "_replies.py"))["REPLIES"]
    assert replies.keys() <= EXAMPLES.keys()


def test_the_runner_shows_what_the_examples_print(tmp_path, monkeypatch, capsys):
    (tmp_path / "fine.py").write_text("import sys; print(sys.argv[1:])", encoding="utf-8")
    (tmp_path / "quiet.py").write_text("", encoding="utf-8")
    (tmp_path / "broken.py").write_text("print('so far')\nraise SystemExit(3)", encoding="utf-8")
    runner = runpy.run_path(str(RUNNER))["main"]
    monkeypatch.setitem(runner.__globals__, "FOLDER", tmp_path)
    assert runner(["quiet", "fine.py", "broken"]) == 2
    told = capsys.readouterr().out
    assert re.search(r"^=== fine.py .*\n\['--local']\n", told, re.MULTILINE)
    assert "so far\n\n*** broken.py: exit code 3" in told
    assert "*** quiet.py: printed nothing" in told
    assert told.endswith("failed: quiet.py, broken.py\n")
    assert runner(["fine"]) == 0
    assert capsys.readouterr().out.endswith("1 examples run\n")


@pytest.mark.slow
def test_the_runner_ends_an_example_that_takes_too_long(tmp_path, monkeypatch, capsys):
    endless = "import threading\nprint('so far', flush=True)\nthreading.Event().wait()"
    (tmp_path / "endless.py").write_text(endless, encoding="utf-8")
    runner = runpy.run_path(str(RUNNER))["main"]
    monkeypatch.setitem(runner.__globals__, "FOLDER", tmp_path)
    monkeypatch.setitem(runner.__globals__, "MOST_SECONDS", 1)
    assert runner([]) == 1
    assert "*** endless.py: did not end within 1 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--help"], 0, "usage: run_all.py [-h] [NAME ...]"),
        (["tolls"], 2, "no example tolls; there are: agent, agent_budget,"),
    ],
)
def test_the_runner_explains_itself(arguments, code, said, capsys):
    runner = runpy.run_path(str(RUNNER))["main"]
    with pytest.raises(SystemExit) as caught:
        runner(arguments)
    assert caught.value.code == code
    assert said in "".join(capsys.readouterr())


@pytest.mark.slow
def test_the_notebook_runs_without_a_key_and_stores_what_it_gives(no_key):
    """In a kernel of its own; every run gives the same."""
    stored = nbformat.read(FOLDER / "quick_start.ipynb", as_version=4)
    client = NotebookClient(deepcopy(stored), timeout=120, kernel_name="python3")
    assert outputs_of(client.execute()) == outputs_of(stored)
    assert all(text or data for text, data in outputs_of(stored)[1:])  # the first starts the server


def outputs_of(notebook):
    """Return what each cell printed, in one string however often the kernel sent it, and shows."""
    outputs = [cell.outputs for cell in notebook.cells if cell.cell_type == "code"]
    return [
        ("".join(o.get("text", "") for o in cell), [o.data for o in cell if "data" in o])
        for cell in outputs
    ]
