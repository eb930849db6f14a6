"""Agents over sockets, sync and async; whatever they send must keep the published contract."""

from __future__ import annotations

import asyncio
import sys

import pytest


@pytest.fixture
def model_defaults():
    return {"max_retries": 0}


@pytest.fixture(autouse=True)
def contract(ernie_server):
    """Every request was valid, said nothing that the API ignores, and used the scripts up."""
    yield
    assert ernie_server.violations == []
    assert [key for request in ernie_server.requests for key in request.ignored] == []
    assert ernie_server.pending == 0


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Ask a graph, in this thread or in an event loop of its own."""

    def ask(graph, value, config=None, **kwargs):
        if request.param == "sync":
            return graph.invoke(value, config, **kwargs)
        return asyncio.run(graph.ainvoke(value, config, **kwargs))

    return ask


@pytest.fixture
def ask_interrupts(request, ask):
    """`ask` for graphs that interrupt themselves, which LangGraph cannot do everywhere."""
    if sys.version_info < (3, 11) and request.node.callspec.params["ask"] == "async":
        pytest.skip("LangGraph's interrupts need Python 3.11 in async code")
    return ask
