"""The house keeps its shape: sizes, layers, one place for each library."""

from __future__ import annotations

import ast
import itertools
import statistics
from pathlib import Path

import pytest

import langchain_aimlernie

ROOT = Path(langchain_aimlernie.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
LAYERS = {
    "data": ["_version", "_ranges", "_problems", "errors", "profiles"],
    "text": ["_text", "_json_text", "_thoughts", "_endpoint", "_tokens", "_wire", "_sse"],
    "schemas": ["_typed_dicts", "_conformance", "_schemas"],
    "content": ["_media", "_content", "_messages", "_tools"],
    "answers": ["_payload", "_responses", "_blocks", "_stream"],
    "structured output": ["_answers", "_reasking", "_structured"],
    "transport, pure": ["_retry", "_slots", "_clocks"],
    "transport": [
        "_requests",
        "_inflate",
        "_happy_eyeballs",
        "_sockets",
        "_network",
        "_routes",
        "_failures",
        "_lines",
        "_pools",
        "_clients",
        "_progress",
        "_exchanges",
        "_transport",
    ],
    "model": ["_settings", "_calls", "chat_models"],
    "around it": ["spend", "catalogue", "__init__", "__main__"],
}
"""Every module may import those before it, in its own group and in the groups above."""

ORDER = {name: place for place, name in enumerate(itertools.chain(*LAYERS.values()))}
MOVES_BYTES = {*LAYERS["transport"]}
HTTPX_TYPES = {"_settings", "catalogue"}
WAITS = MOVES_BYTES | {*LAYERS["structured output"], "_clocks", "_slots", "_calls", "chat_models"}


def tree_of(path):
    return ast.parse(path.read_text())


def functions_of(tree):
    return [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]


def length_of(function):
    docstring = ast.get_docstring(function, clean=False)
    lines = function.end_lineno - function.lineno + 1
    return lines - (docstring.count("\n") + 1 if docstring else 0)


def imports_of(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")
            if node.module == "langchain_aimlernie":
                yield from (f"langchain_aimlernie.{alias.name}" for alias in node.names)


def own_modules():
    return [path for path in MODULES if path.parent == ROOT]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) < 400
    assert not [f.name for f in functions_of(tree_of(path)) if length_of(f) > 40]


def test_most_functions_are_a_few_lines():
    lengths = [length_of(f) for path in MODULES for f in functions_of(tree_of(path))]
    assert statistics.median(lengths) < 9


def test_no_module_is_named_after_nothing():
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "common", "base", "misc"}


@pytest.mark.parametrize("path", own_modules(), ids=lambda path: path.stem)
def test_modules_import_from_lower_layers_only(path):
    place = ORDER[path.stem]
    prefix = "langchain_aimlernie."
    for name in imports_of(tree_of(path)):
        if not name.startswith(prefix):
            continue
        module = name.removeprefix(prefix).split(".")[0]
        if module == "testing":
            assert path.stem == "__main__"
        elif module in ORDER:
            assert ORDER[module] < place, name


@pytest.mark.parametrize("path", own_modules(), ids=lambda path: path.stem)
def test_httpx_is_imported_where_bytes_are_moved_only(path):
    uses = any(name.split(".")[0] in ("httpx", "httpcore") for name in imports_of(tree_of(path)))
    assert not uses or path.stem in MOVES_BYTES | HTTPX_TYPES


@pytest.mark.parametrize("path", own_modules(), ids=lambda path: path.stem)
def test_nothing_waits_outside_the_layers_that_move_bytes(path):
    waits = [n for n in ast.walk(tree_of(path)) if isinstance(n, (ast.AsyncFunctionDef, ast.Await))]
    assert not waits or path.stem in WAITS | {"catalogue"}


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.parent.name == "testing"], ids=lambda path: path.stem
)
def test_the_local_api_imports_nothing_of_the_package(path):
    own = ("langchain_aimlernie", "..")
    assert not [
        name
        for name in imports_of(tree_of(path))
        if name.startswith(own) and not name.startswith("langchain_aimlernie.testing")
    ]
