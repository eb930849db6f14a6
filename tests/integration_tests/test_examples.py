"""What the README and the examples say is true: their programs run, their tables fit the code."""

from __future__ import annotations

import importlib.util
import inspect
import os
import re
import runpy
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import httpx2
import nbformat
import pytest
from langchain_core import exceptions
from langchain_core._api import LangChainBetaWarning
from langchain_core.language_models import BaseChatModel
from nbclient import NotebookClient

import langchain_aimlernie
from langchain_aimlernie import AuthenticationError, ChatAimlErnie, errors
from langchain_aimlernie.profiles import _SPECS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FOLDER = ROOT / "examples"
EXAMPLES = {path.stem: path for path in sorted(FOLDER.glob("[!_]*.py"))}
RUNNER = EXAMPLES.pop("run_all")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OF_THE_API = [name for name in EXAMPLES if name not in ("local_tests", "models", "self_hosted")]

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.{LangChainBetaWarning.__name__}"
)


@pytest.fixture
def local(ernie_server, monkeypatch):
    """Lead what reads the environment to the local server."""
    monkeypatch.setenv("AIMLAPI_API_KEY", ernie_server.api_key)
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    return ernie_server


@pytest.fixture
def no_key(monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    monkeypatch.delenv("AIMLAPI_API_BASE", raising=False)
    monkeypatch.syspath_prepend(FOLDER)


# Examples


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


@pytest.mark.parametrize("name", OF_THE_API)
def test_no_example_goes_local_by_itself(name):
    """Only the environment can lead it to another server than the API."""
    source = EXAMPLES[name].read_text(encoding="utf-8")
    assert "langchain_aimlernie.testing" not in source
    assert "localhost" not in source


def test_an_example_without_a_key_names_the_variable_and_the_option(no_key, monkeypatch):
    path = EXAMPLES["quick_start"]
    monkeypatch.setattr(sys, "argv", [str(path)])
    with pytest.raises(AuthenticationError, match="AIMLAPI_API_KEY") as caught:
        run(path)
    assert caught.value.__notes__ == [f"To run it without a key: python {path} --local"]


def test_every_example_is_short_and_has_a_main():
    for path in EXAMPLES.values():
        source = path.read_text(encoding="utf-8")
        assert len(source.splitlines()) <= 100, path.name
        assert 'if __name__ == "__main__":' in source, path.name


def test_the_list_of_examples_is_whole():
    page = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| \[(\w+)\.py\]\(\1\.py\) \| \w", page, re.MULTILINE)
    assert sorted(listed) == list(EXAMPLES)


def test_the_table_of_replies_has_only_examples():
    replies = runpy.run_path(str(FOLDER / "_replies.py"))["REPLIES"]
    assert replies.keys() <= EXAMPLES.keys()


@pytest.mark.slow
def test_the_runner_shows_what_the_examples_print():
    done = subprocess.run(
        [sys.executable, str(RUNNER), "quick_start", "tools.py"],
        capture_output=True,
        env=os.environ | {"PYTHONUTF8": "1"},
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = done.stdout.index
    assert shown("=== quick_start.py") < shown("Air scatters blue") < shown("=== tools.py")
    assert done.stdout.endswith("2 examples run\n")


def test_the_runner_fails_when_an_example_does(tmp_path, monkeypatch, capsys):
    (tmp_path / "quiet.py").write_text("", encoding="utf-8")
    (tmp_path / "broken.py").write_text("print('so far')\nraise SystemExit(3)", encoding="utf-8")
    runner = runpy.run_path(str(RUNNER))["main"]
    monkeypatch.setitem(runner.__globals__, "FOLDER", tmp_path)
    assert runner(["quiet", "broken"]) == 2
    told = capsys.readouterr().out
    assert "so far\n\n*** broken.py: exit code 3" in told
    assert "*** quiet.py: printed nothing" in told
    assert told.endswith("failed: quiet.py, broken.py\n")


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
    assert all(outputs_of(stored)[1:])  # the first starts the server


def outputs_of(notebook):
    return [
        [output.get("text") or output.get("data") for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


# README


def test_every_python_block_of_the_readme_runs(local, capfd):
    """One after the other in one namespace, as a reader goes through them."""
    names = {"__name__": "readme"}
    for block in BLOCK.finditer(README):
        line = README.count("\n", 0, block.start(1))
        code = compile("\n" * line + block[1], str(ROOT / "README.md"), "exec")
        exec(code, names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        test(local)
    assert "[local ErnieServer, not ERNIE]" in capfd.readouterr().out
    assert local.violations == []


@pytest.mark.parametrize(
    "command",
    [
        'python -m pip install . && python -m langchain_aimlernie --local "Why is the sky blue?"',
        'python -m pip install ".[test]" && python -m pytest',
    ],
)
def test_the_readme_has_the_commands_on_lines_of_their_own(command):
    assert README.splitlines().count(command) == 1


def test_every_link_of_the_readme_leads_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def rows_of(heading):
    """The cells of the first table under a heading of the README, without its head."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def words_in(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_the_table_of_settings_is_that_of_the_class():
    told = {name: default for cell, default, _ in rows_of("Settings") for name in words_in(cell)}
    own = ChatAimlErnie.model_fields.keys() - BaseChatModel.model_fields.keys()
    assert told.keys() == {"model" if name == "model_name" else name for name in own}
    made = ChatAimlErnie()
    for name, default in told.items():
        if name in ("api_key", "base_url", "client_request_id"):
            continue
        shown = default.strip("`")
        value = getattr(made, name)
        assert shown == ("unset" if value is None else str(value)), name
    assert f"`{made.base_url}`" in told["base_url"]


def test_the_table_of_models_is_that_of_the_package():
    takes = {1: "text", 3: "text, images, PDF"}
    expected = {
        (
            f"`{spec.id}`",
            f"{spec.context:,}",
            takes[len(spec.parts)],
            "switch" if spec.thinking_switch else "yes" if spec.reasoning else "no",
            "yes" if spec.tools else "not listed",
        )
        for spec in _SPECS.values()
    }
    assert set(map(tuple, rows_of("Models"))) == expected


def test_the_table_of_errors_is_that_of_the_package():
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.AimlErnieError)
    }
    rows = rows_of("Errors")
    assert {words_in(name)[0] for name, _, _ in rows} == classes
    newer = {"ModelRefusalError"} - vars(exceptions).keys()  # of core 1.8
    for name, bases, _ in rows:
        lineage = {base.__name__ for base in getattr(errors, words_in(name)[0]).__mro__}
        assert set(words_in(bases)) - newer <= lineage, name


def test_every_name_that_the_readme_imports_is_public():
    imported = re.findall(r"^from langchain_aimlernie import (.+)$", README, re.MULTILINE)
    names = {name.strip() for line in imported for name in line.split(",")}
    assert names <= set(langchain_aimlernie.__all__)
