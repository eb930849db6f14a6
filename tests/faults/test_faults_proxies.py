"""Proxies that work: tunnels of every kind, to servers with TLS and without."""

from __future__ import annotations

import base64
import logging
import sys
from itertools import repeat

import pytest

from tests.support.byte_server import ByteServer, Socks, Tunnel, refusing_port
from tests.support.fault_outcomes import ALL_MODES, acall, bounded, call, make_model, run_async
from tests.support.response_bytes import KEY

pytestmark = pytest.mark.filterwarnings("ignore:.*not encrypted.*:UserWarning")
TWO_MODES = ("invoke", "astream")
BASIC = "Basic " + base64.b64encode(b"user:hunter2").decode()
LOGIN = b"\x01\x04user\x07hunter2"


def url_of(proxy, scheme="http"):
    return f"{scheme}://user:hunter2@127.0.0.1:{proxy.port}"


@pytest.fixture(params=["http", "https", "socks5"])
def proxy(request, trusted, monkeypatch):
    """The proxy of the environment, which opens tunnels."""
    tls = trusted.server if request.param == "https" else None
    greetings = repeat(Socks()) if request.param == "socks5" else ()
    with ByteServer(rest=Tunnel(), greetings=greetings, tls=tls) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy, request.param))
        yield proxy


def texts(base_url, mode, times, **settings):
    """What so many calls, one after the other, say."""
    model = make_model(base_url, **settings)

    def sync():
        with model:
            return [str(call(model, mode).text) for _ in range(times)]

    async def main():
        async with model:
            return [str((await acall(model, mode)).text) for _ in range(times)]

    return bounded((lambda: run_async(main)) if mode[0] == "a" else sync)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_server_with_tls_is_reached_through_one_tunnel(proxy, trusted, mode):
    with ByteServer(tls=trusted.server) as endpoint:
        assert len(set(texts(endpoint.base_url, mode, 3))) == 1
        assert endpoint.settle()
        assert len(endpoint.requests) == 3
        assert len({request.connection for request in endpoint.requests}) == 1
        target = f"127.0.0.1:{endpoint.port}"
    assert proxy.settle()
    (tunnel,) = proxy.requests
    assert tunnel.target == target
    assert tunnel.headers.get("proxy-authorization") == BASIC or tunnel.body == LOGIN
    assert KEY not in str(tunnel)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_socks_reaches_a_server_without_tls(caplog, monkeypatch, mode):
    caplog.set_level(logging.DEBUG)
    with ByteServer(greetings=repeat(Socks())) as proxy, ByteServer() as endpoint:
        monkeypatch.setenv("ALL_PROXY", url_of(proxy, "socks5"))
        assert texts(endpoint.base_url, mode, 2)
        assert endpoint.settle()
        (tunnel,) = proxy.requests
        assert (tunnel.target, tunnel.body) == (f"127.0.0.1:{endpoint.port}", LOGIN)
    assert "setup_socks5_connection" in caplog.text
    assert "hunter2" not in caplog.text


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_proxy_that_nobody_vouches_for_is_not_tried_again(certificate, monkeypatch, mode):
    with ByteServer(rest=Tunnel(), tls=certificate("127.0.0.1").server) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", url_of(proxy, "https"))
        with pytest.raises(Exception, match="certificate") as caught:
            texts("https://behind.invalid/v1", mode, 1, max_retries=2)
        assert type(caught.value).__name__ == "APIConnectionError"
        assert not caught.value.is_retryable
        assert "hunter2" not in str(caught.value)
        assert not proxy.requests


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_server_that_a_tunnel_does_not_reach_is_an_error(proxy, mode):
    with refusing_port() as port, pytest.raises(Exception, match=r"127\.0\.0\.1") as caught:
        texts(f"https://127.0.0.1:{port}/v1", mode, 1)
    assert type(caught.value).__name__ == "APIConnectionError"
    assert proxy.settle()


BAD_PROXIES = {
    "socks://user:hunter2@127.0.0.1:7891/": ("socks://", "socks5://"),
    "SOCKS://127.0.0.1:7891": ("socks://", "socks5://"),
    "socks://127.0.0.1:1": ("socks://", "socks5://"),
    "socks4://user:hunter2@127.0.0.1:1": ("socks4://", "socks5://"),
    "ftp://user:hunter2@127.0.0.1:1": ("ftp://", "http://"),
    "http://user:hunter2@127.0.0.1:nope": ("must be the address of a proxy",),
    "http://user:hunter2/@127.0.0.1:1": ("must be the address of a proxy",),
    "http://user:hunter2@": ("must be the address of a proxy",),
    "http://": ("must be the address of a proxy",),
    "user:hunter2@a b": ("must be the address of a proxy",),
    "://user:hunter2@127.0.0.1:1": ("must be the address of a proxy",),
}


@pytest.mark.parametrize("mode", TWO_MODES)
@pytest.mark.parametrize(
    ("proxy", "variable"),
    [
        *((proxy, "ALL_PROXY") for proxy in BAD_PROXIES),
        *(("socks://127.0.0.1:1", name) for name in ("all_proxy", "HTTPS_PROXY", "https_proxy")),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named_by_its_variable(monkeypatch, mode, proxy, variable):
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(Exception, match=variable) as caught:
        texts("https://behind.invalid/v1", mode, 1, max_retries=2)
    error = caught.value
    assert (type(error).__name__, error.phase) == ("APIConnectionError", "proxy")
    assert not error.is_retryable
    assert all(part in str(error) for part in BAD_PROXIES[proxy])
    assert "hunter2" not in str(error)
    assert error.__cause__ is None


@pytest.mark.parametrize("mode", ALL_MODES)
def test_socks_without_its_package_says_which_one_is_needed(monkeypatch, mode):
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "socksio", None)
    with pytest.raises(Exception, match=r"ALL_PROXY.*socks5://.*pip install socksio") as caught:
        texts("https://behind.invalid/v1", mode, 1)
    assert (type(caught.value).__name__, caught.value.phase) == ("APIConnectionError", "proxy")


@pytest.mark.parametrize("mode", TWO_MODES)
@pytest.mark.parametrize("variable", ["ALL_PROXY", "HTTP_PROXY", "http_proxy"])
@pytest.mark.parametrize("value", ["", " ", "\t"])
def test_an_empty_variable_is_no_proxy(monkeypatch, mode, variable, value):
    monkeypatch.setenv(variable, value)
    with ByteServer() as endpoint:
        assert texts(endpoint.base_url, mode, 1)


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_proxy_without_a_scheme_speaks_http(monkeypatch, mode):
    with ByteServer() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f" 127.0.0.1:{proxy.port} ")
        assert texts(f"http://bare-{mode}.invalid/v1", mode, 1)
        assert proxy.requests[0].target == f"http://bare-{mode}.invalid/v1/chat/completions"
