"""Connection settings, and what the environment adds to them: proxy and certificates."""

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
# Networks drop idle connections, and a model may reason for minutes before it responds. The names
# of the options differ between systems.
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
        max_connections: Maximum number of concurrent connections; further calls wait in order.
        keepalive_expiry: Seconds after which an idle connection is closed.
        proxy: URL of the proxy that the environment names; set by `resolve`.
        certificates: Values of `SSL_CERT_FILE` and `SSL_CERT_DIR`; set by `resolve`.
    """

    base_url: str
    max_connections: int = 256
    keepalive_expiry: float = 60.0
    proxy: str | None = None
    certificates: tuple[str | None, ...] = ()

    @property
    def is_cleartext(self) -> bool:
        """Whether neither the server nor the proxy uses TLS."""
        return not any(url.startswith("https:") for url in (self.base_url, self.proxy or ""))

    def pool_options(self, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
        """Return arguments for a connection pool of httpcore2.

        Raises:
            APIConnectionError: The proxy in the environment is invalid or unsupported.
        """
        return {
            "ssl_context": ssl_context,
            "proxy": _parse_proxy(self.proxy, ssl_context),
            "keepalive_expiry": self.keepalive_expiry,
            "socket_options": _SOCKET_OPTIONS,
        }


_certificates_lock = threading.Lock()


def reset_lock() -> None:
    """Replace the lock in a forked child: a thread of the parent may hold it."""
    global _certificates_lock  # noqa: PLW0603
    _certificates_lock = threading.Lock()


def ssl_context(config: ConnectionConfig) -> ssl.SSLContext | None:
    """Return the TLS context, `None` for cleartext; it is shared, since to create one takes 50 ms.

    Raises:
        APIConnectionError: The certificates that the environment names cannot be read.
    """
    if config.is_cleartext:
        return None
    try:
        with _certificates_lock:
            return _ssl_context(config.certificates)
    except OSError as error:
        reason = error.strerror or "no certificates found"
    raise APIConnectionError(
        f"The certificates in SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {reason}.",
        phase="tls",
        is_retryable=False,
    )


@functools.cache
def _ssl_context(_certificates: tuple[str | None, ...]) -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def resolve(config: ConnectionConfig) -> ConnectionConfig:
    """Return `config` with the proxy and the certificates that the environment names now."""
    return _resolve(config, tuple(map(os.environ.get, _VARIABLES)))


@functools.lru_cache(maxsize=256)
def _resolve(config: ConnectionConfig, _variables: tuple[str | None, ...]) -> ConnectionConfig:
    certificates = tuple(map(os.environ.get, _CERTIFICATES))
    return replace(config, proxy=_proxy_for(config.base_url), certificates=certificates)


def _proxy_for(url: str) -> str | None:
    """Return the proxy for `url` from the environment or the system's settings."""
    parts = urlsplit(url)
    proxies = {scheme: proxy.strip() for scheme, proxy in _environment_proxies().items()}
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc) or _is_exempt(parts.hostname, proxies.get("no")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_exempt(host: str | None, no_proxy: str | None) -> bool:
    """Whether a network in `NO_PROXY`, such as 10.0.0.0/8, contains `host`.

    The standard library compares names only.
    """
    for network in (no_proxy or "").split(","):
        with contextlib.suppress(ValueError):  # a name, not an address
            if ip_address(host or "") in ip_network(network.strip(), strict=False):
                return True
    return False


def _environment_proxies() -> dict[str, str]:
    while True:
        # `getproxies` fails if another thread changes the environment meanwhile.
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
    """Bytes with a repr that hides them: httpcore2 logs it at DEBUG."""

    def __repr__(self) -> str:
        return "***"


def _parse_proxy(address: str | None, ssl_context: ssl.SSLContext | None) -> httpcore2.Proxy | None:
    if address is None:
        return None
    url = httpx2.URL()
    with contextlib.suppress(ValueError, httpx2.InvalidURL):  # its text may contain a password
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
