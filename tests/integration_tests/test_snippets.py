"""Every snippet of the README and of `docs/` runs, against the local server."""

import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
from langchain_core._api import LangChainBetaWarning

from langchain_aimlernie.__main__ import main

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
IN_TURN = {"docs/integration.md"}  # its blocks need each other, as in LangChain's documentation
LANGUAGES = {"python", "bash", "json", "diff", "mermaid"}
NOT_RUN = {"text", "console"}  # `console`: what installs packages; `text`: what needs Ray or a key
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)

pytestmark = pytest.mark.filterwarnings(
    f"ignore::{LangChainBetaWarning.__module__}.{LangChainBetaWarning.__name__}"
)
SHELL = r"""
aimlernie() { { printf '%s\0' "$@" && printf '\1' && cat && printf '\2'; } >> calls; }
"""
"""Stores the arguments of each call, and its input."""


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    code: str
    line: int

    def compiled(self):
        return compile("\n" * self.line + self.code, str(ROOT / self.page), "exec")


def read_blocks():
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(ROOT).as_posix()
        for found in FENCE.finditer(text):
            yield Block(name, found[1], found[2], text.count("\n", 0, found.start(2)))


BLOCKS = list(read_blocks())


def blocks_of(*languages):
    chosen = [block for block in BLOCKS if block.language in languages]
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in chosen]


@pytest.fixture
def local(api_server, monkeypatch, tmp_path):
    """The server to which the environment leads; files go to a temporary folder."""
    monkeypatch.chdir(tmp_path)
    return api_server


@pytest.mark.parametrize("block", blocks_of("python"))
def test_python_runs_after_the_set_up_of_its_page(block, local):
    """The first block of a page is its set-up; each other one needs nothing but that."""
    before = [each for each in BLOCKS if each.page == block.page and each.language == "python"]
    before = before[: before.index(block)]
    names = {"__name__": "documents"}
    for each in before if block.page in IN_TURN else before[:1]:
        exec(each.compiled(), names)
    known = set(names)
    exec(block.compiled(), names)
    for name in names.keys() - known:
        if name.startswith("test_"):
            names[name](local)
    assert local.violations == []


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.skipif(sys.platform == "win32", reason="bash there is another system")
@pytest.mark.parametrize("block", blocks_of("bash"))
def test_shell_commands_succeed(block, local, tmp_path, monkeypatch, capfd):
    """The shell reads the block; the calls then run in this process."""
    subprocess.run(
        ["bash", "-euo", "pipefail", "-c", SHELL + block.code], stdin=subprocess.DEVNULL, check=True
    )
    for call in (tmp_path / "calls").read_bytes().split(b"\2")[:-1]:
        arguments, _, given = call.partition(b"\1")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        assert main(arguments.decode().split("\0")[:-1]) == 0
        assert any(capfd.readouterr())
    assert local.violations == [] or "doctor" in block.code  # which tries what a model lacks


@pytest.mark.parametrize("block", blocks_of("json"))
def test_json_is_json(block):
    for line in block.code.splitlines():
        assert isinstance(json.loads(line), dict)


def test_no_block_is_left_out():
    assert {block.language for block in BLOCKS} <= LANGUAGES | NOT_RUN
    skipped = [block for block in BLOCKS if block.language in NOT_RUN]
    assert len(skipped) <= 5, [f"{block.page}:{block.line}" for block in skipped]
