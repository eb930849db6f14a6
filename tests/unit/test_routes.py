from __future__ import annotations

import pickle
import socket

import httpx
import pytest

from langchain_aimlernie._transport.routes import Connection, find_route, proxy_for, socket_options
from langchain_aimlernie.errors import APIConnectionError

P = "http://proxy:3128"
HTTPS = "https://api.aimlapi.com/v1"


def proxy_of_httpx(address, monkeypatch, environment):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with httpx.Client() as client:
        url = httpx.URL(address)
        transport = next(
            (t for pattern, t in client._mounts.items() if pattern.matches(url)), client._transport
        )
        if transport is None or not hasattr(transport._pool, "_proxy_url"):
            return None
        return (
            f"http://{transport._pool._proxy_url.host.decode()}:{transport._pool._proxy_url.port}"
        )


@pytest.mark.parametrize(
    ("address", "environment"),
    [
        (HTTPS, {}),
        (HTTPS, {"HTTPS_PROXY": P}),
        (HTTPS, {"https_proxy": P}),
        (HTTPS, {"HTTP_PROXY": P}),
        (HTTPS, {"ALL_PROXY": P}),
        (HTTPS, {"ALL_PROXY": "http://other:1", "HTTPS_PROXY": P}),
        (HTTPS, {"HTTPS_PROXY": "proxy:3128"}),
        ("http://localhost:8000/v1", {"http_proxy": P}),
        *(
            (address, {"ALL_PROXY": P, "NO_PROXY": exceptions})
            for address in (
                HTTPS,
                "https://aimlapi.com/v1",
                "https://notaimlapi.com/v1",
                "http://localhost:8000/v1",
                "http://127.0.0.1:8000/v1",
                "http://[::1]:8000/v1",
                "https://api.aimlapi.com:8443/v1",
            )
            for exceptions in (
                "",
                "*",
                "aimlapi.com",
                ".aimlapi.com",
                "api.aimlapi.com",
                "api.aimlapi.com:443",
                "api.aimlapi.com:8443",
                "https://api.aimlapi.com",
                "http://api.aimlapi.com",
                "localhost",
                "127.0.0.1",
                "127.0.0.0/8",
                "::1",
                "example.com, aimlapi.com",
                "example.com,*",
                "com",
            )
        ),
    ],
)
def test_proxies_are_chosen_as_httpx_does(monkeypatch, address, environment):
    wanted = proxy_of_httpx(address, monkeypatch, environment)
    assert find_route(Connection(address)).proxy == wanted


def test_a_proxy_keeps_its_user_and_password():
    assert proxy_for(HTTPS, {"https": "http://u:p@proxy:1"}) == "http://u:p@proxy:1"


def test_a_route_follows_the_environment(monkeypatch):
    connection = Connection(HTTPS)
    assert find_route(connection) is find_route(Connection(HTTPS))
    before = find_route(connection)
    monkeypatch.setenv("HTTPS_PROXY", P)
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    after = find_route(connection)
    assert (before.proxy, after.proxy) == (None, P)
    assert before.certificates != after.certificates


def test_certificates_are_read_once_and_only_where_they_are_needed():
    route = find_route(Connection(HTTPS))
    assert route.new_context() is find_route(Connection("https://elsewhere.example")).new_context()
    assert find_route(Connection("http://127.0.0.1:1")).is_plain
    assert find_route(Connection("http://127.0.0.1:1")).new_context() is not route.new_context()


def test_certificates_that_cannot_be_read_are_named(monkeypatch, tmp_path):
    bad = tmp_path / "bad.pem"
    bad.write_text("no certificate")
    monkeypatch.setenv("SSL_CERT_FILE", str(bad))
    with pytest.raises(APIConnectionError, match="SSL_CERT_FILE") as caught:
        find_route(Connection(HTTPS)).new_context()
    assert not caught.value.is_retryable


@pytest.mark.parametrize(
    ("environment", "name"),
    [
        ({"ALL_PROXY": P}, "ALL_PROXY"),
        ({"all_proxy": P, "ALL_PROXY": "http://other:1"}, "all_proxy"),
        ({"HTTPS_PROXY": P, "ALL_PROXY": "http://other:1"}, "HTTPS_PROXY"),
        ({"https_proxy": "", "HTTPS_PROXY": "http://other:1", "ALL_PROXY": P}, "ALL_PROXY"),
        ({"HTTPS_PROXY": "proxy:3128"}, "HTTPS_PROXY"),
        ({}, ""),
    ],
)
def test_a_route_knows_the_variable_of_its_proxy(monkeypatch, environment, name):
    for variable, value in environment.items():
        monkeypatch.setenv(variable, value)
    route = find_route(Connection(HTTPS))
    assert (route.proxy, route.proxy_variable) == (P if environment else None, name)


@pytest.mark.parametrize(
    "proxy", ["ftp://u:hunter2@proxy:1", "http://u:hunter2@proxy:nope", "socks9://x"]
)
def test_a_proxy_that_is_none_is_refused_without_its_password(monkeypatch, proxy):
    monkeypatch.setenv("HTTP_PROXY", proxy)
    route = find_route(Connection("http://api.example/v1"))
    with pytest.raises(APIConnectionError, match="HTTP_PROXY") as caught:
        route.new_connection(route.new_context(), route.new_network())
    assert "hunter2" not in str(caught.value)
    assert not caught.value.is_retryable


def test_the_socket_options_are_taken_by_this_system():
    with socket.socket() as probe:
        for level, name, value in socket_options():
            probe.setsockopt(level, name, value)
            assert probe.getsockopt(level, name) >= 1
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in socket_options()


def test_settings_are_keys_and_can_be_pickled():
    connection = Connection(HTTPS, max_connections=7)
    assert pickle.loads(pickle.dumps(connection)) == connection
    assert len({connection, Connection(HTTPS, max_connections=7), Connection(HTTPS)}) == 2
