import gc
import importlib
import os
import shutil
import signal

import httpx
import pytest
from hypothesis import HealthCheck, settings

from tests.support.certificates import certificate_factory
from tests.support.modes import MODES
from tests.support.standard import pytest_runtest_makereport

__all__ = ["pytest_runtest_makereport"]

# A busy machine must not fail a test.
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")


def pytest_addoption(parser):
    parser.addoption(
        "--live",
        action="store_true",
        help="run LangChain's integration suite, and nothing else, against the live API; costs "
        "money. The key is in AIMLAPI_API_KEY.",
    )


def pytest_configure(config):
    os.environ.pop("LC_OUTPUT_VERSION", None)
    if not config.getoption("live"):
        for variable in ("AIMLAPI_API_KEY", "AIMLAPI_API_BASE"):
            os.environ.pop(variable, None)
    elif not os.environ.get("AIMLAPI_API_KEY"):
        raise pytest.UsageError("--live needs a key: set the environment variable AIMLAPI_API_KEY.")


@pytest.fixture(autouse=True)
def clean_environment(request, monkeypatch):
    """Remove proxies and tracing from the environment of the tests."""
    if not request.config.getoption("live"):
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
            monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)


@pytest.fixture
def interruptible():
    """Restore the SIGINT handler, which a shell ignores for background jobs, for child processes."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def serializable():
    """Register the class with core's `load`, which the standard suite's round trip requires."""
    load = importlib.import_module("langchain_core.load.load")
    path = ("langchain_aimlernie", "chat_models", "ChatAimlErnie")
    load.ALL_SERIALIZABLE_MAPPINGS[path] = path
    load._default_class_paths_cache.clear()
    yield
    del load.ALL_SERIALIZABLE_MAPPINGS[path]
    load._default_class_paths_cache.clear()


@pytest.fixture(params=MODES)
def mode(request):
    """Each of the four kinds of call; a test may name its own."""
    return request.param


@pytest.fixture(params=["v0", "v1"])
def version(request):
    """Each form of content that `output_version` may ask for."""
    return request.param


@pytest.fixture
def api_server(monkeypatch, ernie_server):
    """The local server, to which the environment leads."""
    monkeypatch.setenv("AIMLAPI_API_KEY", ernie_server.api_key)
    monkeypatch.setenv("AIMLAPI_API_BASE", ernie_server.base_url)
    return ernie_server


@pytest.fixture
def model_defaults():
    """Settings of every model that `model` creates; a folder may override them."""
    return {}


@pytest.fixture
def api_model(ernie_server, model_defaults):
    """Return a factory of models with the API's own base_url, connected to the local server.

    Limits of the AI/ML API apply to these; models of `model` talk to a self-hosted server.
    """
    local = httpx.URL(ernie_server.base_url)
    closed = {"limits": httpx.Limits(max_keepalive_connections=0), "verify": False}

    def redirect(request):
        request.url = request.url.copy_with(scheme="http", host=local.host, port=local.port)

    async def aredirect(request):
        redirect(request)

    def make(**settings):
        from langchain_aimlernie import ChatAimlErnie

        server = {
            "api_key": ernie_server.api_key,
            "http_client": httpx.Client(event_hooks={"request": [redirect]}, **closed),
            "http_async_client": httpx.AsyncClient(event_hooks={"request": [aredirect]}, **closed),
        }
        return ChatAimlErnie(**{**server, **model_defaults, **settings})

    return make


@pytest.fixture
def model(ernie_server, model_defaults):
    """Return a factory of models that talk to the local server."""

    def make(**settings):
        from langchain_aimlernie import ChatAimlErnie

        server = {"base_url": ernie_server.base_url, "api_key": ernie_server.api_key}
        return ChatAimlErnie(**{**server, **model_defaults, **settings})

    return make


@pytest.fixture
def no_cached_lists(monkeypatch):
    """Start without lists of models that a server has sent: a later one may get its port."""
    for module in ("models", "_deprecations"):
        monkeypatch.setattr(f"langchain_aimlernie.{module}._etag_cache", {})
    monkeypatch.setattr("langchain_aimlernie.spend.prices.listed", {})


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """Return a function that makes a certificate for a host name or IP address."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make a certificate with")
    return certificate_factory(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def trusted(certificate):
    """Return the certificate of 127.0.0.1."""
    return certificate("127.0.0.1")


def pytest_collection_finish():
    """Let the garbage collector leave alone what was imported: it would take most of its time."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(config, items):
    live = config.getoption("live")
    selected, deselected = [], []
    for item in items:
        if live:
            is_selected = item.get_closest_marker("live") is not None
        else:
            is_opt_in = item.get_closest_marker("real_server") is not None
            is_selected = not is_opt_in or "real_server" in config.option.markexpr
        (selected if is_selected else deselected).append(item)
        # Leave to the whole run what the sync variant of a test says as well: both run the same
        # coroutines.
        params = getattr(getattr(item, "callspec", None), "params", {})
        if params.get("mode") in ("ainvoke", "astream", "async"):
            item.add_marker(pytest.mark.slow)
        if live:
            item.add_marker(pytest.mark.timeout(900))
    if deselected:
        items[:] = selected
        config.hook.pytest_deselected(items=deselected)
