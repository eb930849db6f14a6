"""Imports go downwards, and each library has one place."""

import ast
import functools
from pathlib import Path

import langchain_aimlernie

ROOT = Path(langchain_aimlernie.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))
ORDER = {
    name: place
    for place, names in enumerate(
        [
            ["_version", "_coroutines", "_imports", "_text"],
            ["errors", "profiles"],
            ["_settings", "_bindings", "_runnable_retry"],
            ["_response"],
            ["_structured"],
            ["_request"],
            ["_http"],
            ["_get", "_deprecations"],
            ["_client", "account", "chat_models", "models", "spend"],
            ["batch", "middleware", "tracing"],
            ["_cli"],
            ["__init__", "__main__"],
        ]
    )
    for name in names
}
"""A module may import those of its own group and of the groups above."""

HTTP = ("httpx2", "httpcore2", "httpx", "httpcore")
READY_CODECS = {"ascii", "latin-1", "utf-8", "utf-16"}
PREFIX = "langchain_aimlernie."


@functools.cache
def tree_of(path):
    return ast.parse(path.read_text())


@functools.cache
def imports_of(path):
    names = []
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append("." * node.level + (node.module or ""))
            if node.module == "langchain_aimlernie":
                names += [f"{PREFIX}{alias.name}" for alias in node.names]
    return names


def part_of(path):
    """The module, or the package, directly within ours that a file belongs to."""
    return path.relative_to(ROOT).with_suffix("").parts[0]


def own_modules():
    return [path for path in MODULES if part_of(path) != "testing"]


def test_modules_import_downwards_only():
    upwards = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in own_modules()
        for name in imports_of(path)
        if (part := name.removeprefix(PREFIX).partition(".")[0]) in ORDER
        and name.startswith(PREFIX)
        and part != part_of(path)
        and ORDER[part] > ORDER[part_of(path)]
    ]
    assert not upwards


def test_only_the_transport_imports_httpx2_and_nothing_imports_httpx():
    users = {
        (name.partition(".")[0], part_of(path))
        for path in MODULES
        for name in imports_of(path)
        if name.partition(".")[0] in HTTP
    }
    assert users == {("httpx2", "_http"), ("httpcore2", "_http")}


def codecs_of(tree):
    """The codecs that a module names; Python knows those of `READY_CODECS` without an import."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and n.args]
    methods = [n for n in calls if isinstance(n.func, ast.Attribute)]
    coding = [n.args[0] for n in methods if n.func.attr in ("encode", "decode")]
    return {n.value for n in coding if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def test_no_codec_is_imported_in_the_event_loop():
    named = {codec for path in own_modules() for codec in codecs_of(tree_of(path))}
    assert not named - READY_CODECS


def test_the_local_api_shares_nothing_with_the_package_but_the_table_of_models():
    testing = [path for path in MODULES if part_of(path) == "testing"]
    own = ("langchain_aimlernie", "..")
    shared = {
        name
        for path in testing
        for name in imports_of(path)
        if name.startswith(own) and not name.startswith("langchain_aimlernie.testing")
    }
    assert shared == {"langchain_aimlernie.profiles"}
