"""What the documents name exists."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md"]
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FOLDERS = (ROOT, ROOT / "langchain_aimlernie")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_lead_somewhere(name):
    page = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_the_paths_in_contributing_exist():
    names = re.findall(r"`([\w./*]+(?:/|\.py))`", CONTRIBUTING)
    assert len(names) > 30
    missing = [n for n in names if not any(any(folder.glob(n)) for folder in FOLDERS)]
    assert not missing


def test_the_make_targets_in_contributing_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z_]+):", makefile, re.MULTILINE))
    assert targets == {"help", "test", "integration_tests", "lint", "format", "type"}
    assert set(re.findall(r"`make (\w+)`", CONTRIBUTING)) == targets
    assert set(re.findall(r'@echo "(\w+) ', makefile)) == targets - {"help"}


def test_ci_runs_the_supported_pythons_on_three_systems():
    workflow = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    supported = [c.rpartition(" ")[2] for c in project["classifiers"] if ":: 3." in c]
    assert set(supported) <= set(matrix["python"])
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
