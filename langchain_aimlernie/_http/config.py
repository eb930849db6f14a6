"""The way to a server: the settings of connections, and what the environment adds to them."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import os
import socket
import threading
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpcore2
import httpx2

from langchain_aimlernie.errors import APIConnectionError

if TYPE_CHECKING:
    import ssl

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
        proxy: The proxy that the environment names, as `resolve` finds it.
        certificates: What the environment says of certificates, likewise.
    """

    base_url: str
    max_connections: int = 256
    keepalive_expiry: float = 60.0
    proxy: str | None = None
    certificates: tuple[str | None, ...] = ()

    @property
    def is_cleartext(self) -> bool:
        """Whether no TLS is needed, neither for the server nor for the proxy."""
        return not any(url.startswith("https:") for url in (self.base_url, self.proxy or ""))

    def pool_options(self, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
        """Return what httpcore2's pools must know of the way to the server.

        Raises:
            APIConnectionError: The environment names a proxy that is none.
        """
        return {
            "ssl_context": ssl_context,
            "proxy": _parse_proxy(self.proxy, ssl_context),
            "keepalive_expiry": self.keepalive_expiry,
            "socket_options": _SOCKET_OPTIONS,
        }


_reading_certificates = threading.Lock()


def reset_lock() -> None:
    """Make the lock anew in a forked child: a thread of the parent may hold it."""
    global _reading_certificates  # noqa: PLW0603
    _reading_certificates = threading.Lock()


def ssl_context(config: ConnectionConfig) -> ssl.SSLContext | None:
    """Return the TLS settings, one object a process; reading the certificates takes 50 ms.

    Raises:
        APIConnectionError: The environment names certificates that cannot be read.
    """
    if config.is_cleartext:
        return None
    try:
        with _reading_certificates:
            return _ssl_context(config.certificates)
    except OSError as error:
        reason = error.strerror or "no certificates are in it"
    raise APIConnectionError(
        f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {reason}.",
        phase="tls",
        is_retryable=False,
    )


@functools.cache
def _ssl_context(_certificates: tuple[str | None, ...]) -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def resolve(config: ConnectionConfig) -> ConnectionConfig:
    """Return a configuration with what the environment says now about the way to the server."""
    return _resolve(config, tuple(map(os.environ.get, _VARIABLES)))


@functools.lru_cache(maxsize=256)
def _resolve(config: ConnectionConfig, _variables: tuple[str | None, ...]) -> ConnectionConfig:
    certificates = tuple(map(os.environ.get, _CERTIFICATES))
    return replace(config, proxy=_proxy_for(config.base_url), certificates=certificates)


def _proxy_for(url: str) -> str | None:
    """Return the proxy that the environment, or the system, names for `url`."""
    parts = urlsplit(url)
    proxies = {scheme: proxy.strip() for scheme, proxy in _environment_proxies().items()}
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc) or _is_exempt(parts.hostname, proxies.get("no")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str | None, no_proxy: str | None) -> bool:
    """Whether `NO_PROXY` exempts an address by its network, such as 10.0.0.0/8.

    The standard library compares names only.
    """
    for network in (no_proxy or "").split(","):
        with contextlib.suppress(ValueError):  # a name
            if ip_address(host or "") in ip_network(network.strip(), strict=False):
                return True
    return False


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


class _Secret(bytes):
    """Bytes that httpcore2 logs, at DEBUG, without showing them."""

    def __repr__(self) -> str:
        return "***"


def _parse_proxy(address: str | None, ssl_context: ssl.SSLContext | None) -> httpcore2.Proxy | None:
    if address is None:
        return None
    url = httpx2.URL()
    with contextlib.suppress(ValueError, httpx2.InvalidURL):  # whose text may hold a password
        parts = urlsplit(address)
        if parts.hostname and parts.port != 0 and " " not in address:
            url = httpx2.URL(address)
    named = f"names a proxy with the scheme {url.scheme}://,"
    if not url.raw_host:
        reason = "must be the address of a proxy, such as http://host:3128."
    elif url.scheme not in _PROXY_SCHEMES:
        reason = (
            f"{named} which is not supported. Use http://, https://, socks5:// or socks5h://; "
            "a proxy given as socks:// usually speaks socks5://."
        )
    elif url.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        reason = f"{named} for which the package socksio is needed: pip install socksio."
    else:
        proxy = httpx2.Proxy(url)
        user, password = proxy.raw_auth or (b"", b"")
        return httpcore2.Proxy(
            str(proxy.url),
            auth=(_Secret(user), _Secret(password)) if proxy.raw_auth else None,
            ssl_context=ssl_context if url.scheme == "https" else None,
        )
    variable = _variable_of(address)
    raise APIConnectionError(f"{variable} {reason}", phase="proxy", is_retryable=False)


def host_of(url: str) -> str:
    """Return the host, and the port if one is named, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]
