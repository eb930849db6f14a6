"""How a server is reached: the settings of connections, proxies and certificates."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from langchain_aimlernie._http.deadlines import DeadlineBackend
from langchain_aimlernie.errors import APIConnectionError

if TYPE_CHECKING:
    import ssl

POOL_SIZE = 16
"""Connections in one of httpcore2's pools: it looks at each of them for every request."""

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_VARIABLES = (*_CERTIFICATES, *_PROXIES, *map(str.upper, _PROXIES))
# Keep a connection alive on which a model thinks for minutes: networks forget silent ones. Names
# differ between systems.
_SOCKET_OPTIONS = tuple(
    (getattr(socket, level), getattr(socket, name), value)
    for level, name, value in (
        ("SOL_SOCKET", "SO_KEEPALIVE", 1),
        ("IPPROTO_TCP", "TCP_KEEPIDLE", 60),
        ("IPPROTO_TCP", "TCP_KEEPALIVE", 60),
        ("IPPROTO_TCP", "TCP_KEEPINTVL", 10),
        ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    )
    if hasattr(socket, name)
)


@dataclass(frozen=True, slots=True)
class ConnectionConfig:
    """The settings that decide which calls can share connections.

    Attributes:
        base_url: The server.
        max_connections: How many connections there are at a time; more calls wait in order.
        keepalive_expiry: Seconds after which a connection that was not used is closed.
    """

    base_url: str
    max_connections: int = 256
    keepalive_expiry: float = 60.0


class ResolvedConfig(NamedTuple):
    """The settings of connections and what the environment adds to them."""

    config: ConnectionConfig
    proxy: str | None
    certificates: tuple[str | None, ...]
    proxy_variable: str = ""

    @property
    def max_connections(self) -> int:
        """How many connections there are at a time."""
        return self.config.max_connections

    @property
    def proxy_host(self) -> str:
        """The proxy's host and port; empty if there is none."""
        return host_of(self.proxy or "")

    @property
    def is_cleartext(self) -> bool:
        """Whether no TLS is needed, neither for the server nor for the proxy."""
        return not any(url.startswith("https:") for url in (self.config.base_url, self.proxy or ""))

    def ssl_context(self) -> ssl.SSLContext | None:
        """Return the TLS settings, one object a process; reading the certificates takes 50 ms.

        Raises:
            APIConnectionError: The environment names certificates that cannot be read.
        """
        if self.is_cleartext:
            return None
        try:
            with _reading_certificates:
                return _ssl_context(self.certificates)
        except OSError as error:
            reason = error.strerror or "no certificates are in it"
        raise APIConnectionError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {reason}.",
            phase="tls",
            is_retryable=False,
        )


_reading_certificates = threading.Lock()


@functools.cache
def _ssl_context(_certificates: tuple[str | None, ...]) -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def resolve(config: ConnectionConfig) -> ResolvedConfig:
    """Return a configuration with what the environment says now about the way to the server."""
    return _resolve(config, tuple(map(os.environ.get, _VARIABLES)))


@functools.lru_cache(maxsize=256)
def _resolve(config: ConnectionConfig, _variables: tuple[str | None, ...]) -> ResolvedConfig:
    certificates = tuple(map(os.environ.get, _CERTIFICATES))
    proxy = _proxy_for(config.base_url)
    return ResolvedConfig(config, proxy, certificates, _variable_of(proxy) if proxy else "")


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment, or the system, names for `url`."""
    parts = urlsplit(url)
    proxies = {scheme: proxy.strip() for scheme, proxy in _environment_proxies().items()}
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _environment_proxies() -> dict[str, str]:
    while True:
        # `getproxies` fails if another thread changes the environment in the meantime.
        with contextlib.suppress(KeyError, RuntimeError):
            return getproxies()


def _variable_of(proxy: str) -> str:
    """Return the name of the environment variable that holds a proxy's address."""
    for name in (*_PROXIES, *map(str.upper, _PROXIES)):
        value = os.environ.get(name, "").strip()
        if value and value in (proxy, proxy.removeprefix("http://")):
            return name
    return "The proxy in the system's settings"


def async_network_options(
    resolved: ResolvedConfig, ssl_context: ssl.SSLContext | None
) -> dict[str, Any]:
    """Return what httpcore2's pools must know of the way to the server.

    Raises:
        APIConnectionError: The environment names a proxy that is none.
    """
    return {
        "ssl_context": ssl_context,
        "proxy": _parse_proxy(resolved, ssl_context),
        "keepalive_expiry": resolved.config.keepalive_expiry,
        "socket_options": _SOCKET_OPTIONS,
    }


def network_options(resolved: ResolvedConfig, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
    """Return the same for sync pools, whose network keeps to the deadlines of the calls."""
    return {
        **async_network_options(resolved, ssl_context),
        "network_backend": DeadlineBackend(),
    }


class _Secret(bytes):
    """Bytes that httpcore2 logs, at DEBUG, without showing them."""

    def __repr__(self) -> str:
        return "***"


def _parse_proxy(
    resolved: ResolvedConfig, ssl_context: ssl.SSLContext | None
) -> httpcore2.Proxy | None:
    if resolved.proxy is None:
        return None
    try:
        proxy = httpx2.Proxy(check_proxy(resolved.proxy, resolved.proxy_variable))
        user, password = proxy.raw_auth or (b"", b"")
        return httpcore2.Proxy(
            str(proxy.url),
            auth=(_Secret(user), _Secret(password)) if proxy.raw_auth else None,
            ssl_context=ssl_context if proxy.url.scheme == "https" else None,
        )
    except httpx2.InvalidURL:  # its message may hold the proxy's password
        reason = f"{resolved.proxy_variable} is not the address of a proxy."
    except ValueError as error:
        reason = str(error)
    raise APIConnectionError(reason, phase="proxy", is_retryable=False)


@functools.lru_cache(maxsize=64)
def parse_url(url: str) -> tuple[httpcore2.URL, bytes]:
    """Return a URL as httpcore2 takes it, and the header `Host`."""
    parsed = httpx2.URL(url)
    core_url = httpcore2.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    return core_url, parsed.netloc


def host_of(url: str) -> str:
    """Return the host, and the port if one is named, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def check_proxy(proxy: str, variable: str) -> str:
    """Return the URL of a proxy; the scheme defaults to `http://`.

    Args:
        proxy: The address from the environment.
        variable: The environment variable that holds it.

    Raises:
        ValueError: Not the address of a supported proxy. The message names the variable and the
            scheme only, since the rest may contain a password.
    """
    proxy = proxy.strip()
    if "://" not in proxy:
        proxy = f"http://{proxy}"
    try:
        parts = urlsplit(proxy)
        is_address = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address or not proxy.isprintable() or " " in proxy:
        raise ValueError(f"{variable} must be the address of a proxy, such as http://host:3128.")
    if parts.scheme not in _PROXY_SCHEMES:
        raise ValueError(
            f"{variable} names a proxy with the scheme {parts.scheme}://, which is not supported. "
            "Use http://, https://, socks5:// or socks5h://; what calls itself socks:// is mostly "
            "socks5://."
        )
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ValueError(
            f"{variable} names a proxy with the scheme {parts.scheme}://, for which the package "
            "socksio is needed: pip install socksio."
        )
    return proxy
