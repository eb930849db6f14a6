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
    "data": [
        "_version",
        "_text",
        "_ranges",
        "_secrets",
        "_signatures",
        "_error_wordings",
        "_problems",
        "errors",
        "_error_answers",
        "profiles",
    ],
    "text": [
        "_json_text",
        "_thoughts",
        "_endpoint",
        "_tokens",
        "_increments",
        "_wire",
        "_tool_calls",
        "_sse",
    ],
    "schemas": ["_json_schema", "_typed_dicts", "_conformance", "_schemas"],
    "content": ["_media", "_content", "_messages", "_tools"],
    "answers": ["_payload", "_responses", "_blocks", "_stream"],
    "structured output": ["_answers", "_reasking", "_structured"],
    "transport": [
        "_transport.retry",
        "_transport.slots",
        "_transport.clocks",
        "_transport.requests",
        "_transport.inflate",
        "_transport.happy_eyeballs",
        "_transport.sockets",
        "_transport.network",
        "_transport.routes",
        "_transport.failures",
        "_transport.lines",
        "_transport.given",
        "_transport.pools",
        "_transport.clients",
        "_transport.progress",
        "_transport.exchanges",
        "_transport.transport",
        "_transport",
    ],
    "model": ["_options", "_settings", "_bindings", "_calls", "chat_models"],
    "around it": ["spend", "catalogue", "__init__", "__main__"],
}
"""Every module may import those before it, in its own group and in the groups above."""

ORDER = {name: place for place, name in enumerate(itertools.chain(*LAYERS.values()))}
TRANSPORT = {*LAYERS["transport"]}
NO_BYTES = {"_transport.retry", "_transport.slots", "_transport.clocks"}
WAITS = TRANSPORT | {*LAYERS["structured output"], "_calls", "chat_models", "catalogue"}
READY_CODECS = {"ascii", "latin-1", "utf-8", "utf-16"}
PREFIX = "langchain_aimlernie."


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


def name_of(path):
    """The name within the package."""
    relative = path.relative_to(ROOT)
    parts = relative.with_suffix("").parts
    return ".".join(parts[:-1] if len(parts) > 1 and path.stem == "__init__" else parts)


def own_modules():
    return [path for path in MODULES if path.parent.name != "testing"]


def is_of(module, name):
    return module == name or module.startswith(f"{name}.")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_modules_and_functions_stay_small(path):
    assert len(path.read_text().splitlines()) < 500
    assert not [f.name for f in functions_of(tree_of(path)) if length_of(f) > 40]


def test_most_functions_are_a_few_lines():
    lengths = [length_of(f) for path in MODULES for f in functions_of(tree_of(path))]
    assert statistics.median(lengths) < 9


def test_no_module_is_named_after_nothing():
    assert not {path.stem for path in MODULES} & {"utils", "helpers", "common", "base", "misc"}


@pytest.mark.parametrize("path", own_modules(), ids=name_of)
def test_modules_import_from_lower_layers_only(path):
    place = ORDER[name_of(path)]
    for name in imports_of(tree_of(path)):
        if not name.startswith(PREFIX):
            continue
        module = name.removeprefix(PREFIX)
        if is_of(module, "testing"):
            assert name_of(path) == "__main__"
        elif module in ORDER:
            assert ORDER[module] < place, name


@pytest.mark.parametrize("path", own_modules(), ids=name_of)
def test_the_inside_of_the_transport_is_its_own(path):
    if name_of(path) in TRANSPORT:
        return
    inside = TRANSPORT - {"_transport"}
    assert not {name.removeprefix(PREFIX) for name in imports_of(tree_of(path))} & inside


@pytest.mark.parametrize("path", own_modules(), ids=name_of)
def test_httpx_is_imported_where_bytes_are_moved_only(path):
    libraries = ("httpx", "httpcore", "socket", "ssl", "select")
    uses = any(name.split(".")[0] in libraries for name in imports_of(tree_of(path)))
    assert not uses or name_of(path) in TRANSPORT - NO_BYTES


@pytest.mark.parametrize("path", own_modules(), ids=name_of)
def test_nothing_waits_outside_the_layers_that_move_bytes(path):
    waits = [n for n in ast.walk(tree_of(path)) if isinstance(n, (ast.AsyncFunctionDef, ast.Await))]
    assert not waits or name_of(path) in WAITS


def codecs_of(tree):
    """The codecs that a module names; Python knows those of `READY_CODECS` without an import."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.args]
    methods = [n for n in calls if isinstance(n.func, ast.Attribute)]
    coding = [n.args[0] for n in methods if n.func.attr in ("encode", "decode")]
    return {n.value for n in coding if isinstance(n, ast.Constant) and isinstance(n.value, str)}


@pytest.mark.parametrize("path", own_modules(), ids=name_of)
def test_no_codec_is_imported_in_the_event_loop(path):
    assert codecs_of(tree_of(path)) <= READY_CODECS


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
