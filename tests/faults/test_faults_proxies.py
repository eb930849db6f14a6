"""Proxies that work: tunnels of every kind, to servers with TLS and without."""

from __future__ import annotations

import base64

import pytest
from fault_bytes import KEY
from fault_outcomes import ALL_MODES, acall, bounded, call, make_model, run_async
from fault_server import refusing_port
from relays import Relay, SocksRelay

pytestmark = pytest.mark.filterwarnings("ignore:.*not encrypted.*:UserWarning")
KINDS = ("http", "https", "socks5")
BASIC = base64.b64encode(b"user:hunter2")


@pytest.fixture(params=KINDS)
def relay(request, trusted):
    kind = SocksRelay if request.param == "socks5" else Relay
    with kind(trusted.server if request.param == "https" else None) as relay:
        yield relay


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
def test_a_server_with_tls_is_reached_through_one_tunnel(faults, relay, trusted, monkeypatch, mode):
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
    monkeypatch.setenv("HTTPS_PROXY", relay.url)
    with faults.endpoint(tls=trusted.server) as endpoint:
        assert len(set(texts(endpoint.base_url, mode, 3))) == 1
        assert endpoint.settle()
        assert len(endpoint.requests) == 3
        assert len({request.connection for request in endpoint.requests}) == 1
    assert relay.settle()
    shown = b"\n".join(relay.asked)
    assert (BASIC in shown) or (b"hunter2" in shown and relay.scheme == "socks5")
    assert KEY.encode() not in shown


@pytest.mark.parametrize("mode", ALL_MODES)
def test_socks_reaches_a_server_without_tls(faults, monkeypatch, mode):
    with SocksRelay() as relay, faults.endpoint() as endpoint:
        monkeypatch.setenv("ALL_PROXY", relay.url)
        assert texts(endpoint.base_url, mode, 2)
        assert endpoint.settle()
        assert len(relay.asked) == 2, "user and request, once"


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_proxy_that_nobody_vouches_for_is_not_tried_again(certificate, monkeypatch, mode):
    with Relay(certificate("127.0.0.1").server) as relay:
        monkeypatch.setenv("HTTPS_PROXY", relay.url)
        with pytest.raises(Exception, match="certificate") as caught:
            texts("https://behind.invalid/v1", mode, 1, max_retries=2)
        assert type(caught.value).__name__ == "APIConnectionError"
        assert not caught.value.is_retryable
        assert "hunter2" not in str(caught.value)
        assert not relay.asked


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_server_that_a_tunnel_does_not_reach_is_an_error(relay, monkeypatch, trusted, mode):
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
    monkeypatch.setenv("HTTPS_PROXY", relay.url)
    with refusing_port() as port, pytest.raises(Exception, match=r"127\.0\.0\.1") as caught:
        texts(f"https://127.0.0.1:{port}/v1", mode, 1)
    assert type(caught.value).__name__ == "APIConnectionError"
    assert relay.settle()
