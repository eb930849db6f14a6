"""Which connections a model uses: their settings, and the clients that calls share.

Sync calls share one client a process and configuration; async calls, one a running event loop.
The clients of a loop are closed with it by an async generator, which the loop finalizes when it
shuts down (`asyncio.run` sees to that); nothing but the loop itself keeps them, so that they go
with a loop that is dropped. A forked child leaves its parent's connections alone.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import importlib.util
import os
import socket
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary, ref

import httpcore2
import httpx2

from langchain_aimlernie._http._async.client import AsyncPooledClient
from langchain_aimlernie._http._sync.client import PooledClient
from langchain_aimlernie._http.request import host_of
from langchain_aimlernie.errors import APIConnectionError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Mapping

_MAX_IDLE_CLIENTS = 16
"""Configurations whose connections are kept while no call uses them."""

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

    def pool_options(self, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
        """Return what httpcore2's pools must know of the way to the server.

        Raises:
            APIConnectionError: The environment names a proxy that is none.
        """
        return {
            "ssl_context": ssl_context,
            "proxy": _parse_proxy(self, ssl_context),
            "keepalive_expiry": self.config.keepalive_expiry,
            "socket_options": _SOCKET_OPTIONS,
        }


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
        proxy = httpx2.Proxy(_check_proxy(resolved.proxy, resolved.proxy_variable))
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


def _check_proxy(proxy: str, variable: str) -> str:
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


class ClientRegistry:
    """The clients of sync calls, by their configurations."""

    def __init__(self) -> None:
        self.clients: dict[ResolvedConfig, PooledClient] = {}

    def get(self, resolved: ResolvedConfig) -> PooledClient:
        """Return the client of a configuration."""
        client = self.clients.get(resolved)
        if client is None:
            client = PooledClient(resolved, resolved.ssl_context())
            client = self.clients.setdefault(resolved, client)
            for evicted in _evict(self.clients):
                evicted.close()
        client.last_used = time.monotonic()
        return client

    def close_idle(self, resolved: ResolvedConfig) -> None:
        """Close the idle connections of a configuration; nothing else is disturbed."""
        if (client := self.clients.get(resolved)) is not None:
            client.close_idle()


_registry = ClientRegistry()


def client_registry() -> ClientRegistry:
    """Return the registry of this process."""
    return _registry


def _evict(clients: dict[ResolvedConfig, Any]) -> list[Any]:
    """Remove and return the least recently used idle clients beyond the maximum."""
    unused = [(key, client) for key, client in list(clients.items()) if client.is_unused]
    unused.sort(key=lambda item: item[1].last_used, reverse=True)
    return [clients.pop(key, client) for key, client in unused[_MAX_IDLE_CLIENTS:]]


class AsyncClientRegistry:
    """The clients of async calls in one event loop, by their configurations."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.clients: dict[ResolvedConfig, AsyncPooledClient] = {}
        self._loop = ref(loop)
        self._closer = self._close_with_loop()
        self._keep()

    async def get(self, resolved: ResolvedConfig) -> AsyncPooledClient:
        """Return the client of a configuration."""
        client = self.clients.get(resolved)
        if client is None:
            ssl_context = None
            if not resolved.is_cleartext:  # the loop does not wait for the disk
                ssl_context = await asyncio.to_thread(resolved.ssl_context)
            client = AsyncPooledClient(resolved, ssl_context)
            client = self.clients.setdefault(resolved, client)
            for evicted in _evict(self.clients):
                await evicted.close()
        client.last_used = time.monotonic()
        return client

    async def close_idle(self, resolved: ResolvedConfig) -> None:
        """Close the idle connections of a configuration; nothing else is disturbed."""
        if (client := self.clients.get(resolved)) is not None:
            await client.close_idle()

    async def start(self) -> None:
        """Start the async generator that the loop finalizes in `shutdown_asyncgens`."""
        await anext(self._closer)

    def _keep(self) -> None:
        """Keep this object alive as long as the loop, by a timer that does nothing."""
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.call_later(_FAR_AWAY, self._keep)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            loop = self._loop()
            if loop is not None:
                _by_loop.pop(loop, None)
            for client in self.clients.values():
                await client.close()


_FAR_AWAY = 3600.0
"""Seconds between two calls of a timer that does nothing."""

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[AsyncClientRegistry]] = (
    WeakKeyDictionary()
)


async def async_client_registry() -> AsyncClientRegistry:
    """Return the registry of the running loop."""
    loop = asyncio.get_running_loop()
    reference = _by_loop.get(loop)
    registry = None if reference is None else reference()
    if registry is None:
        registry = AsyncClientRegistry(loop)
        _by_loop[loop] = ref(registry)
        await registry.start()
    return registry


_inherited: list[Mapping[Any, Any]] = []


def _reset_after_fork() -> None:
    """Leave all connections to the parent process.

    Closing a socket here ends nothing there. A loop's connections are not even closed: the child's
    loop shares the parent's selector.
    """
    _close_all()
    _inherited.extend([_registry.clients.copy(), {loop: r() for loop, r in _by_loop.items()}])
    _registry.clients.clear()
    _by_loop.clear()


@atexit.register
def _close_all() -> None:
    for client in _registry.clients.values():
        client.close_idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
