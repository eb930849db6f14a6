"""How a server is reached: proxies and certificates of the environment, and socket options.

httpx reads the environment's proxies only for transports of its own, so it is read here anew, by
the same rules.
"""

from __future__ import annotations

import asyncio
import functools
import os
import re
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.request import getproxies

import httpcore
import httpx

from langchain_aimlernie._endpoint import check_proxy
from langchain_aimlernie._transport.network import AsyncNetwork, Network
from langchain_aimlernie._transport.requests import address_of, core_url
from langchain_aimlernie._transport.sockets import AsyncioBackend
from langchain_aimlernie.errors import APIConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    SyncConnection = httpcore.ConnectionInterface | httpcore.ConnectionPool
    AsyncConnection = httpcore.AsyncConnectionInterface | httpcore.AsyncConnectionPool

_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_VARIABLES = (*_CERTIFICATES, *_PROXIES, *map(str.upper, _PROXIES))
# A peer that is gone without a word is noticed after 60 + 3 * 10 s of silence; one that takes no
# bytes, after 120 s. Names differ between systems.
_SOCKET_OPTIONS = (
    ("SOL_SOCKET", "SO_KEEPALIVE", 1),
    ("IPPROTO_TCP", "TCP_KEEPIDLE", 60),
    ("IPPROTO_TCP", "TCP_KEEPALIVE", 60),
    ("IPPROTO_TCP", "TCP_KEEPINTVL", 10),
    ("IPPROTO_TCP", "TCP_KEEPCNT", 3),
    ("IPPROTO_TCP", "TCP_USER_TIMEOUT", 120_000),
)


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings that decide which calls can share connections.

    Attributes:
        base_url: The server.
        max_connections: How many connections there are at a time; more calls wait in order.
        keepalive_expiry: Seconds after which a connection that was not used is closed.
    """

    base_url: str
    max_connections: int = 256
    keepalive_expiry: float = 60.0


class Route(NamedTuple):
    """A connection's settings and what the environment adds to them."""

    connection: Connection
    proxy: str | None
    certificates: tuple[str | None, ...]
    proxy_variable: str = ""

    def new_context(self) -> ssl.SSLContext:
        """Give the TLS settings, one object a process; reading the certificates takes 50 ms.

        Raises:
            APIConnectionError: The environment names certificates that cannot be read.
        """
        if self.is_plain:
            return _PLAIN_CONTEXT
        try:
            with _reading_certificates:
                return _context(self.certificates)
        except OSError as error:
            reason = error.strerror or "no certificates are in it"
        raise APIConnectionError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {reason}.",
            phase="tls",
            is_retryable=False,
        )

    @property
    def is_plain(self) -> bool:
        """Whether no TLS is needed, neither for the server nor for the proxy."""
        return not any(
            address.startswith("https:") for address in (self.connection.base_url, self.proxy or "")
        )

    def new_connection(self, context: ssl.SSLContext, network: Network) -> SyncConnection:
        """Make what opens one connection at most, over `network`."""
        way, settings = self._way(context)
        return _SYNC[way](**settings, network_backend=network)

    def new_async_connection(
        self, context: ssl.SSLContext, network: AsyncNetwork
    ) -> AsyncConnection:
        """Make what opens one connection at most, over `network`."""
        way, settings = self._way(context)
        return _ASYNC[way](**settings, network_backend=network)

    def new_network(self) -> Network:
        """Make the network of one connection."""
        return Network(httpcore.SyncBackend())

    def new_async_network(self) -> AsyncNetwork:
        """Make the network of one connection of the running loop.

        Loops of unknown make may have transports without TLS, and TLS within TLS is new in asyncio
        with Python 3.11: there it is anyio's.
        """
        loop = asyncio.get_running_loop()
        is_known = isinstance(loop, asyncio.BaseEventLoop) or type(loop).__module__ == "uvloop"
        is_tls_proxy = (self.proxy or "").startswith("https:")
        return AsyncNetwork(
            AsyncioBackend() if is_known and not is_tls_proxy else httpcore.AnyIOBackend()
        )

    def _way(self, context: ssl.SSLContext) -> tuple[str, dict[str, Any]]:
        """Give the kind of connection, and what httpcore must know to make it."""
        if self.proxy is None:
            origin = address_of(self.connection.base_url)[0].origin
            options = socket_options()
            return "direct", {"origin": origin, "ssl_context": context, "socket_options": options}
        proxy = self._parsed_proxy()
        settings = {
            "proxy_url": core_url(proxy.url),
            "proxy_auth": proxy.raw_auth,
            "ssl_context": context,
            "max_connections": 1,
        }
        if proxy.url.scheme.startswith("socks"):
            return "socks", settings
        return "http", {
            **settings,
            "proxy_headers": proxy.headers.raw,
            "proxy_ssl_context": context if proxy.url.scheme == "https" else None,
            "socket_options": socket_options(),
        }

    def _parsed_proxy(self) -> httpx.Proxy:
        try:
            return httpx.Proxy(check_proxy(self.proxy or "", self.proxy_variable))
        except httpx.InvalidURL:  # its words may hold the proxy's password
            reason = f"{self.proxy_variable} is not the address of a proxy."
        except ValueError as error:
            reason = str(error)
        raise APIConnectionError(reason, phase="proxy", is_retryable=False)


_SYNC: Mapping[str, Callable[..., SyncConnection]] = {
    "direct": httpcore.HTTPConnection,
    "http": httpcore.HTTPProxy,
    "socks": httpcore.SOCKSProxy,
}
_ASYNC: Mapping[str, Callable[..., AsyncConnection]] = {
    "direct": httpcore.AsyncHTTPConnection,
    "http": httpcore.AsyncHTTPProxy,
    "socks": httpcore.AsyncSOCKSProxy,
}

_reading_certificates = threading.Lock()


@functools.cache
def _context(_certificates: tuple[str | None, ...]) -> ssl.SSLContext:
    return httpx.create_ssl_context()


_PLAIN_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For connections without TLS; otherwise httpx reads the certificates. OpenSSL is initialised here,
with the import of this module, and not in the event loop."""


def find_route(connection: Connection) -> Route:
    """Look up what the environment says now about the way to a server."""
    return _route(connection, tuple(map(os.environ.get, _VARIABLES)))


@functools.lru_cache(maxsize=256)
def _route(connection: Connection, _variables: tuple[str | None, ...]) -> Route:
    certificates = tuple(map(os.environ.get, _CERTIFICATES))
    proxies = {scheme: proxy.strip() for scheme, proxy in getproxies().items() if proxy.strip()}
    proxy = proxy_for(connection.base_url, proxies)
    return Route(connection, proxy, certificates, _variable_of(proxy) if proxy else "")


def _variable_of(proxy: str) -> str:
    """Return the name of the environment variable that holds a proxy's address."""
    for name in (*_PROXIES, *map(str.upper, _PROXIES)):
        value = os.environ.get(name, "").strip()
        if value and value in (proxy, proxy.removeprefix("http://")):
            return name
    return "The proxy in the system's settings"


def proxy_for(address: str, environment: Mapping[str, str]) -> str | None:
    """Give the proxy for `address`, by httpx's reading of HTTP_PROXY, ALL_PROXY, NO_PROXY.

    Args:
        address: A URL.
        environment: The proxies by scheme, and the exceptions under `no`, as `getproxies` gives.
    """
    url = httpx.URL(address)
    exceptions = [entry.strip() for entry in environment.get("no", "").split(",")]
    proxy = environment.get(url.scheme) or environment.get("all")
    if not proxy or "*" in exceptions or any(_matches(entry, url) for entry in exceptions if entry):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _matches(entry: str, url: httpx.URL) -> bool:
    """Tell whether an entry of NO_PROXY is about `url`: `host`, `.domain`, `host:port`, an URL."""
    bare = "://" not in entry
    if bare and entry.count(":") > 1 and not entry.startswith("["):
        entry = f"[{entry}]"
    try:
        pattern = httpx.URL(f"all://{entry}" if bare else entry)
    except httpx.InvalidURL:
        return False
    if pattern.scheme not in ("all", url.scheme):
        return False
    if pattern.port not in (None, url.port):
        return False
    return not pattern.host or _host_matches(pattern.host, url.host, exact=not bare)


def _host_matches(pattern: str, host: str, *, exact: bool) -> bool:
    pattern = pattern.removeprefix("*")
    is_address = ":" in pattern or re.fullmatch(r"[\d.]+", pattern) or pattern == "localhost"
    if exact or is_address:
        return host == pattern
    if pattern.startswith("."):
        return host.endswith(pattern) and host != pattern
    return host == pattern or host.endswith(f".{pattern}")


@functools.cache
def socket_options() -> tuple[tuple[int, int, int], ...]:
    """Give the options that this system takes; some systems refuse what they name."""
    with socket.socket() as probe:
        return tuple(option for option in _named_options() if _takes(probe, option))


def _named_options() -> list[tuple[int, int, int]]:
    return [
        (getattr(socket, level), getattr(socket, name), value)
        for level, name, value in _SOCKET_OPTIONS
        if hasattr(socket, name)
    ]


def _takes(probe: socket.socket, option: tuple[int, int, int]) -> bool:
    try:
        probe.setsockopt(*option)
    except OSError:
        return False
    return True
