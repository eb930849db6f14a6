from __future__ import annotations

import importlib
import os
import signal

import pytest

for variable in ("AIMLAPI_API_KEY", "AIMLAPI_API_BASE", "LC_OUTPUT_VERSION"):
    os.environ.pop(variable, None)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    """Keep the settings of whoever runs the tests out of them."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture
def interruptible():
    """Let children take Ctrl-C, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def serializable():
    """Let core's `load` know the class, as the standard suite's round trip needs of any package."""
    load = importlib.import_module("langchain_core.load.load")
    path = ("langchain_aimlernie", "chat_models", "ChatAimlErnie")
    load.ALL_SERIALIZABLE_MAPPINGS[path] = path
    load._default_class_paths_cache.clear()
    yield
    del load.ALL_SERIALIZABLE_MAPPINGS[path]
    load._default_class_paths_cache.clear()


@pytest.fixture
def model_defaults():
    """Settings of every model that `model` makes; a folder may have its own."""
    return {}


@pytest.fixture
def model(ernie_server, model_defaults):
    """Make models that talk to the local API."""

    def make(**settings):
        from langchain_aimlernie import ChatAimlErnie

        server = {"base_url": ernie_server.base_url, "api_key": ernie_server.api_key}
        return ChatAimlErnie(**{**server, **model_defaults, **settings})

    return make
