"""What the documents say is true: links, names, tables and commands exist."""

import inspect
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from langchain_core import exceptions
from langchain_core.runnables import RunnablePassthrough

import langchain_aimlernie
from langchain_aimlernie import errors
from langchain_aimlernie.__main__ import main
from langchain_aimlernie.batch.ray import RayBatch
from langchain_aimlernie.profiles import _SPECS

ROOT = Path(__file__).parents[2]
PAGES = ["README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
DOCUMENTS = [*PAGES, "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "examples/README.md"]
FOLDERS = (ROOT, ROOT / "langchain_aimlernie")


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name):
    """A document without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", read(name), flags=re.MULTILINE | re.DOTALL)


def anchors(name):
    """The anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(name), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# Links


@pytest.mark.parametrize("name", DOCUMENTS)
def test_relative_links_and_anchors_lead_somewhere(name):
    links = re.findall(r"\]\((?!https?://)([^)#]*)#?([^)]*)\)", prose(name))
    for path, anchor in links:
        target = (ROOT / name).parent / path if path else ROOT / name
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_the_index_has_every_page():
    linked = re.findall(r"\]\(([\w-]+\.md)\)", read("docs/index.md"))
    assert sorted(f"docs/{name}" for name in (*linked, "index.md")) == PAGES[1:]


# README


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) <= 250


@pytest.mark.parametrize(
    "command",
    [
        'python -m pip install . && python -m langchain_aimlernie --local "Why is the sky blue?"',
        'python -m pip install ".[test]" && python -m pytest',
    ],
)
def test_the_readme_has_the_commands_on_lines_of_their_own(command):
    assert read("README.md").splitlines().count(command) == 1


# Tables


def rows_of(name, heading):
    """The cells of the first table under a heading, without its head."""
    section = read(name).split(f"# {heading}\n")[1].split("\n## ")[0]
    table = re.search(r"(?:^\|.*\n)+", section, re.MULTILINE)[0]
    lines = table.splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def words_in(cell):
    return re.findall(r"`([^`]+)`", cell)


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
    assert set(map(tuple, rows_of("docs/models.md", "Models and prices"))) == expected


def test_the_table_of_errors_is_that_of_the_package():
    classes = {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, errors.AimlErnieError)
    }
    rows = rows_of("docs/errors.md", "Table of errors")
    assert {words_in(name)[0] for name, _, _ in rows} == classes
    newer = {"ModelRefusalError"} - vars(exceptions).keys()  # of core 1.8
    for name, bases, _ in rows:
        lineage = {base.__name__ for base in getattr(errors, words_in(name)[0]).__mro__}
        assert set(words_in(bases)) - newer <= lineage, name


@pytest.mark.parametrize(
    ("arguments", "page"),
    [(["--help"], "docs/command-line.md"), (["batch", "--help"], "docs/bulk.md")],
)
def test_the_options_of_the_command_line_are_listed(arguments, page, capsys):
    main(arguments)
    options = set(re.findall(r"(?<!\w)--[a-z-]*[a-z]", capsys.readouterr().out))
    assert len(options) > 5
    documented = set(re.findall(r"(?<!\w)--[a-z-]*[a-z]", read(page)))
    assert options - documented <= {"--help", "--version"}


def test_the_columns_of_ray_are_listed(tmp_path):
    added = RayBatch(RunnablePassthrough(), tmp_path, 1)({"prompt": []}).keys() - {"prompt"}
    assert added <= set(words_in(prose("docs/bulk.md")))


@pytest.mark.parametrize("name", PAGES)
def test_every_name_that_is_imported_is_public(name):
    imported = re.findall(r"^from langchain_aimlernie import (.+)$", read(name), re.MULTILINE)
    names = {each.strip() for line in imported for each in line.split(",")}
    assert {each.partition(" as ")[0] for each in names} <= set(langchain_aimlernie.__all__)


# Contributing


def test_the_paths_that_are_named_exist():
    for name in ("CONTRIBUTING.md", "docs/how-it-works.md"):
        names = re.findall(r"`([\w./*]+(?:/|\.py))`", read(name))
        assert len(names) > 5
        assert not [n for n in names if not any(any(folder.glob(n)) for folder in FOLDERS)]


def test_the_make_targets_in_contributing_exist():
    makefile = read("Makefile")
    targets = set(re.findall(r"^([a-z_]+):", makefile, re.MULTILINE))
    contributing = read("CONTRIBUTING.md")
    assert set(re.findall(r"`make (\w+)`", contributing)) == targets
    assert set(re.findall(r'@echo "(\w+) ', makefile)) == targets - {"help"}
    assert {"test", "integration_tests", "lint", "format", "type"} < targets  # of LangChain


def test_ci_runs_the_supported_pythons_on_three_systems():
    workflow = yaml.safe_load(read(".github/workflows/ci.yml"))
    matrix = workflow["jobs"]["test"]["strategy"]["matrix"]
    project = tomllib.loads(read("pyproject.toml"))["project"]
    supported = [c.rpartition(" ")[2] for c in project["classifiers"] if ":: 3." in c]
    assert set(supported) <= set(matrix["python"])
    assert {system.partition("-")[0] for system in matrix["os"]} == {"ubuntu", "macos", "windows"}
