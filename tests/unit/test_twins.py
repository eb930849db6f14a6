"""The sync and async shells cannot drift: the async one without its `async` is the sync one."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import langchain_aimlernie

ROOT = Path(langchain_aimlernie.__file__).parent
NAMES = {
    "__aiter__": "__iter__",
    "__anext__": "__next__",
    "_agenerate": "_generate",
    "_astream": "_stream",
    "_async_retry_told": "_retry_told",
    "aclose": "close",
    "aclosing": "closing",
    "agenerate": "generate",
    "ainflated": "inflated",
    "aiter": "iter",
    "anext": "next",
    "async_call": "call",
    "astream": "stream",
    "async_transport": "transport",
    "asyncio": "time",
    "anote": "note",
    "handle_async_request": "handle_request",
    "new_async_connection": "new_connection",
    "new_async_network": "new_network",
    "StopAsyncIteration": "StopIteration",
}
# Where the worlds differ: a thread is woken by its socket, a task by its loop; only sockets that
# block are left half made.
OWN = {
    "Line": {"clock", "_cut", "_timeouts"},
    "AsyncLine": {"clock", "_timeouts"},
    "Network": {"start_tls"},
    "AsyncNetwork": {"start_tls"},
}
TWINS = [
    ("_calls", "generate", "agenerate"),
    ("_calls", "stream", "astream"),
    ("_transport.transport", "Stream", "AsyncStream"),
    ("_transport.transport", "Transport", "AsyncTransport"),
    ("_transport.exchanges", "Exchange", "AsyncExchange"),
    ("_transport.inflate", "inflated", "ainflated"),
    ("_transport.network", "Network", "AsyncNetwork"),
    ("_transport.lines", "Line", "AsyncLine"),
    ("_transport.lines", "OwnLine", "OwnAsyncLine"),
    ("_transport.given", "GivenLine", "GivenAsyncLine"),
    ("_transport.pools", "Pool", "AsyncPool"),
    ("_transport.pools", "GivenPool", "GivenAsyncPool"),
]


class Unasync(ast.NodeTransformer):
    def visit_AsyncFunctionDef(self, node):
        return self.visit(ast.FunctionDef(**vars(node)))

    def visit_AsyncFor(self, node):
        return self.generic_visit(ast.For(**vars(node)))

    def visit_AsyncWith(self, node):
        return self.generic_visit(ast.With(**vars(node)))

    def visit_Await(self, node):
        return self.visit(node.value)

    def visit_Subscript(self, node):
        name = getattr(node.value, "id", "")
        if name == "AsyncGenerator":  # has nothing to return, and so one parameter less
            node.slice.elts.append(ast.Constant(None))
        node = self.generic_visit(node)
        return node.slice if name == "Awaitable" else node

    def visit_alias(self, node):
        return ast.alias(renamed(node.name), node.asname)

    def visit_Name(self, node):
        return ast.Name(renamed(node.id), node.ctx)

    def visit_Attribute(self, node):
        return ast.Attribute(self.visit(node.value), renamed(node.attr), node.ctx)

    def visit_Constant(self, node):
        text = isinstance(node.value, str)
        return ast.Constant(node.value.replace("Async", "") if text else node.value)

    def visit_FunctionDef(self, node):
        node.name = renamed(node.name)
        return self.generic_visit(node)

    def visit_ClassDef(self, node):
        node.name = renamed(node.name)
        return self.generic_visit(node)


def renamed(name):
    return NAMES.get(name, name.replace("AsyncByteStream", "SyncByteStream").replace("Async", ""))


def definition(module, name):
    tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
    (found,) = [node for node in tree.body if getattr(node, "name", None) == name]
    own = OWN.get(name, set())
    found.body = [node for node in found.body if getattr(node, "name", None) not in own]
    return strip_prose(found)


def strip_prose(node):
    """Docstrings may speak of their own world."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner.body = inner.body[1:] if ast.get_docstring(inner) else inner.body
    return node


def normal(node):
    text = ast.unparse(ast.fix_missing_locations(Unasync().visit(node)))
    return text.replace("httpx.AsyncByteStream", "httpx.SyncByteStream").replace(
        "httpx.ByteStream", "httpx.SyncByteStream"
    )


@pytest.mark.parametrize(("module", "sync", "twin"), TWINS, ids=lambda name: name)
def test_the_async_twin_is_the_sync_one_with_await(module, sync, twin):
    assert normal(definition(module, twin)) == normal(definition(module, sync))


@pytest.mark.parametrize(("sync", "twin"), [("_generate", "_agenerate"), ("_stream", "_astream")])
def test_the_hooks_of_langchain_are_twins(sync, twin):
    methods = {
        getattr(node, "name", None): node
        for node in definition("chat_models", "ChatAimlErnie").body
    }
    assert normal(methods[twin]) == normal(methods[sync])


@pytest.mark.parametrize(
    "changed",
    [
        "async def f(self): await self.a(1)",
        "async def f(self): self.a()",
        "async def f(self): await self.b()",
        "async def f(self, x): await self.a()",
    ],
)
def test_the_comparison_sees_a_difference(changed):
    sync = normal(ast.parse("def f(self): self.a()"))
    assert (normal(ast.parse(changed)) == sync) is (changed == "async def f(self): self.a()")


def test_a_class_with_async_in_its_name_has_a_twin_here():
    compared = {twin for _, _, twin in TWINS}
    exempt = {
        "AsyncClients",
        "AsyncClock",
        "AsyncTurn",
        "AsyncioBackend",
        "AsyncioStream",
        "_AsyncTls",
    }
    for path in ROOT.rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and "Async" in node.name:
                assert node.name in compared | exempt, f"{path.name}: {node.name}"
