"""Agents over sockets, sync and async; every request must be valid under the published schema."""

import asyncio

import pytest


@pytest.fixture
def model_defaults():
    return {"max_retries": 0}


@pytest.fixture(autouse=True)
def contract(ernie_server):
    """Check that all requests were valid, no field was ignored, and all replies were used."""
    yield
    assert ernie_server.violations == []
    assert [key for request in ernie_server.requests for key in request.ignored] == []
    assert ernie_server.pending == 0


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Return a function that runs a graph, sync or in a new event loop."""

    def ask(graph, value, config=None, **kwargs):
        if request.param == "sync":
            return graph.invoke(value, config, **kwargs)
        return asyncio.run(graph.ainvoke(value, config, **kwargs))

    return ask
