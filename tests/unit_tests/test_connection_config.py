import socket

import pytest

from langchain_aimlernie._http import config as configs
from langchain_aimlernie._http.config import ConnectionConfig, resolve, ssl_context
from langchain_aimlernie.errors import APIConnectionError

P = "http://proxy:3128"
HTTPS, LOCAL = "https://api.aimlapi.com/v1", "http://127.0.0.1:8000/v1"
OF_THE_API = "*", "aimlapi.com", ".aimlapi.com", "api.aimlapi.com", "example.com, aimlapi.com"

OF_LOCALHOST = "127.0.0.0/8", "10.0.0.0/8, 127.0.0.1/24 ", "::1/128,127.0.0.1/32", "0.0.0.0/0"


@pytest.mark.parametrize(
    ("address", "environment", "proxy"),
    [
        (HTTPS, {}, None),
        *((HTTPS, {name: P}, P) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY")),
        (HTTPS, {"HTTP_PROXY": P}, None),
        (HTTPS, {"ALL_PROXY": "http://other:1", "HTTPS_PROXY": P}, P),
        (HTTPS, {"HTTPS_PROXY": "proxy:3128"}, P),
        (HTTPS, {"HTTPS_PROXY": "http://u:p@proxy:1"}, "http://u:p@proxy:1"),
        ("http://localhost:8000/v1", {"http_proxy": P}, P),
        *((HTTPS, {"ALL_PROXY": P, "NO_PROXY": no}, None) for no in OF_THE_API),
        (HTTPS, {"ALL_PROXY": P, "NO_PROXY": "example.com"}, P),
        ("https://notaimlapi.com/v1", {"ALL_PROXY": P, "NO_PROXY": "aimlapi.com"}, P),
        ("http://localhost:8000/v1", {"ALL_PROXY": P, "NO_PROXY": "localhost"}, None),
        (LOCAL, {"ALL_PROXY": P, "NO_PROXY": "127.0.0.1"}, None),
        (LOCAL, {"ALL_PROXY": P, "NO_PROXY": "127.0.0.1:8000"}, None),
        (LOCAL, {"ALL_PROXY": P, "NO_PROXY": "127.0.0.1:9000"}, P),
        *((LOCAL, {"ALL_PROXY": P, "NO_PROXY": network}, None) for network in OF_LOCALHOST),
        (LOCAL, {"ALL_PROXY": P, "NO_PROXY": "10.0.0.0/8,127.0.0.0/33,fd07:b51a::/64"}, P),
        (HTTPS, {"ALL_PROXY": P, "NO_PROXY": "0.0.0.0/0"}, P),
        ("http://[fd07:b51a::1]:80/v1", {"ALL_PROXY": P, "NO_PROXY": "x,fd07:b51a::/64"}, None),
    ],
)
def test_the_proxy_of_the_environment_is_chosen(monkeypatch, address, environment, proxy):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert resolve(ConnectionConfig(address)).proxy == proxy


def test_a_configuration_follows_the_environment(monkeypatch):
    config = ConnectionConfig(HTTPS)
    assert resolve(config) is resolve(ConnectionConfig(HTTPS))
    before = resolve(config)
    monkeypatch.setenv("HTTPS_PROXY", P)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    after = resolve(config)
    assert (before.proxy, after.proxy) == (None, P)
    assert before.certificates != after.certificates


def test_certificates_are_read_once_and_only_where_they_are_needed():
    first, second = resolve(ConnectionConfig(HTTPS)), resolve(ConnectionConfig("https://e.example"))
    assert ssl_context(first) is ssl_context(second)
    assert ssl_context(resolve(ConnectionConfig("http://127.0.0.1:1"))) is None


def test_certificates_that_cannot_be_read_are_named(monkeypatch, tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(bad))
    with pytest.raises(APIConnectionError, match="SSL_CERT_FILE") as caught:
        ssl_context(resolve(ConnectionConfig(HTTPS)))
    assert not caught.value.is_retryable


def test_the_socket_options_are_taken_by_this_system():
    options = resolve(ConnectionConfig(HTTPS)).pool_options(None)["socket_options"]
    with socket.socket() as probe:
        for level, name, value in options:
            probe.setsockopt(level, name, value)
            assert probe.getsockopt(level, name) >= 1
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in options


def test_an_environment_that_changes_meanwhile_is_read_again(monkeypatch):
    errors = [KeyError("PYTEST_CURRENT_TEST"), RuntimeError("dictionary changed size")]

    def getproxies():
        if errors:
            raise errors.pop()
        return {"https": "http://proxy.example:3128"}

    monkeypatch.setattr(configs, "getproxies", getproxies)
    monkeypatch.setattr(configs, "proxy_bypass", lambda _: False)
    resolved = resolve(ConnectionConfig("https://example.org/v1"))
    assert (resolved.proxy, errors) == ("http://proxy.example:3128", [])
