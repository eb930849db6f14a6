"""Which connections a model uses: their settings, and the clients that calls share.

Sync calls share one client a process and configuration; async calls, one a running event loop. A
forked child leaves its parent's connections alone.
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
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakSet

import httpcore2
import httpx2

from langchain_aimlernie._http.request import host_of
from langchain_aimlernie._imports import is_loop_running
from langchain_aimlernie.errors import APIConnectionError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Callable

    from langchain_aimlernie._http._async.transport import AsyncPooledClient
    from langchain_aimlernie._http._sync.transport import PooledClient
    from langchain_aimlernie._http.request import Progress

_MAX_IDLE_CLIENTS = 16
"""Configurations whose connections are kept while no call uses them."""

_POOL_SIZE = 16

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

    @property
    def proxy_host(self) -> str:
        """The proxy's host and port; empty if there is none."""
        return host_of(self.proxy or "")

    @property
    def is_cleartext(self) -> bool:
        """Whether no TLS is needed, neither for the server nor for the proxy."""
        return not any(url.startswith("https:") for url in (self.config.base_url, self.proxy or ""))

    def pool_options(self, ssl_context: ssl.SSLContext | None) -> dict[str, Any]:
        """Return what httpcore2's pools must know of the way to the server.

        Raises:
            APIConnectionError: The environment names a proxy that is none.
        """
        return {
            "ssl_context": ssl_context,
            "proxy": _parse_proxy(self.proxy, ssl_context),
            "keepalive_expiry": self.config.keepalive_expiry,
            "socket_options": _SOCKET_OPTIONS,
        }


_reading_certificates = threading.Lock()


def ssl_context(resolved: ResolvedConfig) -> ssl.SSLContext | None:
    """Return the TLS settings, one object a process; reading the certificates takes 50 ms.

    Raises:
        APIConnectionError: The environment names certificates that cannot be read.
    """
    if resolved.is_cleartext:
        return None
    try:
        with _reading_certificates:
            return _ssl_context(resolved.certificates)
    except OSError as error:
        reason = error.strerror or "no certificates are in it"
    raise APIConnectionError(
        f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR name cannot be read: {reason}.",
        phase="tls",
        is_retryable=False,
    )


async def async_ssl_context(resolved: ResolvedConfig) -> ssl.SSLContext | None:
    """Return the TLS settings; the loop does not wait for the disk."""
    return None if resolved.is_cleartext else await asyncio.to_thread(ssl_context, resolved)


@functools.cache
def _ssl_context(_certificates: tuple[str | None, ...]) -> ssl.SSLContext:
    return httpx2.create_ssl_context()


def resolve(config: ConnectionConfig) -> ResolvedConfig:
    """Return a configuration with what the environment says now about the way to the server."""
    return _resolve(config, tuple(map(os.environ.get, _VARIABLES)))


@functools.lru_cache(maxsize=256)
def _resolve(config: ConnectionConfig, _variables: tuple[str | None, ...]) -> ResolvedConfig:
    certificates = tuple(map(os.environ.get, _CERTIFICATES))
    return ResolvedConfig(config, _proxy_for(config.base_url), certificates)


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
            "what calls itself socks:// is mostly socks5://."
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


class SuppliedClient:
    """What the sync and the async wrapper of a user's client of httpx2 or httpx share."""

    proxy = ""
    phase = "response_headers"
    """It may know no `trace`, and tell nothing until the response is there."""

    is_ours = False

    def __init__(self, client: Any) -> None:
        self._client = client

    def _request(self, progress: Progress, accept_encoding: str, trace: Any) -> Any:
        """Return the client's own request, with its own timeout if its maker has set one."""
        request, timeouts = progress.request, progress.request.timeouts
        timeout = self._client.timeout
        kind = type(timeout)
        if timeout == kind(5.0):  # httpx's default
            longest = max(timeouts.read, timeouts.first_event, timeouts.idle)
            timeout = kind(**timeouts.extension(longest))
        return self._client.build_request(
            request.method,
            request.url,
            headers=request.encoded_headers(accept_encoding),
            content=request.body or None,
            timeout=timeout,
            extensions={"trace": trace},
        )


def unread(response: Any) -> Any:
    """Return a response as if unread, also one that a hook has read, and so decompressed."""
    if not response.is_stream_consumed:
        return response
    headers = [pair for pair in response.headers.raw if pair[0].lower() != b"content-encoding"]
    return type(response)(response.status_code, headers=headers, content=response.content)


def evict(clients: dict[ResolvedConfig, Any]) -> list[Any]:
    """Remove and return the least recently used idle clients beyond the maximum."""
    unused = [(key, client) for key, client in list(clients.items()) if client.is_unused]
    unused.sort(key=lambda item: item[1].last_used, reverse=True)
    return [clients.pop(key, client) for key, client in unused[_MAX_IDLE_CLIENTS:]]


class Pools:
    """What the sync and the async client of one configuration share: all but I/O.

    A pool of httpcore2 looks at each of its connections for every request, so that many small ones
    are faster than a large one.

    Attributes:
        new_pool: Makes a pool.
        proxy: The host of the proxy; empty if there is none.
        phase: Where an attempt begins.
        is_ours: Whether reads and writes keep to the deadline of their context.
        last_used: When a call has last asked for it, in seconds of the monotonic clock.
    """

    new_pool: Callable[..., Any]
    phase = "connect"
    is_ours = True

    def __init__(self, config: ResolvedConfig, ssl_context: ssl.SSLContext | None) -> None:
        size = min(config.config.max_connections, 2**16)  # each has a port of its own
        self._new_pool = functools.partial(self.new_pool, **config.pool_options(ssl_context))
        self._pools = [
            _Pool(self._new_pool(max_connections=limit), limit, set())
            for limit in (min(_POOL_SIZE, size - start) for start in range(0, size, _POOL_SIZE))
        ]
        self.proxy = config.proxy_host
        self.last_used = time.monotonic()
        self._is_closed = False

    def _pool_for(self, progress: Progress) -> Any:
        """Return the first pool that has room, else the one with the fewest requests."""
        if progress.is_replay:
            # A full pool would hand on the next connection that is free.
            return self._new_pool(max_connections=1)
        free = (pool for pool in self._pools if len(pool.active) < pool.limit)
        pool = next(free, None) or min(self._pools, key=lambda pool: len(pool.active))
        pool.active.add(progress)
        return pool.pool

    @property
    def is_unused(self) -> bool:
        """Whether no request is under way."""
        return not any(pool.active for pool in self._pools)


class _Pool(NamedTuple):
    pool: Any
    limit: int
    active: set[Progress]
    """A set and no counter: the garbage collector may close a response at any moment, also between
    the two halves of `+= 1`."""


_clients: dict[ResolvedConfig, PooledClient] = {}


def open_clients() -> dict[ResolvedConfig, PooledClient]:
    """Return the clients of this process."""
    return _clients


class _LoopClients:
    """The clients of an event loop.

    An attribute of the loop holds them, so that they go with a loop that is dropped; one that shuts
    down (`asyncio.run` sees to that) finalizes the generator, which closes them.
    """

    def __init__(self) -> None:
        self.clients: dict[ResolvedConfig, AsyncPooledClient] = {}
        self.closer = self._close_with_loop()

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            # Else a loop without hooks for generators was dropped, such as nest_asyncio's.
            if is_loop_running():
                for client in [*self.clients.values()]:
                    await client.close()


_LOOP_ATTRIBUTE = "_langchain_aimlernie_clients"
_all_loop_clients: WeakSet[_LoopClients] = WeakSet()


async def async_open_clients() -> dict[ResolvedConfig, AsyncPooledClient]:
    """Return the clients of the running loop."""
    loop = asyncio.get_running_loop()
    held: _LoopClients | None = getattr(loop, _LOOP_ATTRIBUTE, None)
    if held is None:
        held = _LoopClients()
        _all_loop_clients.add(held)
        setattr(loop, _LOOP_ATTRIBUTE, held)
        await anext(held.closer)
    return held.clients


_inherited: list[object] = []


def _reset_after_fork() -> None:
    """Leave all connections to the parent process.

    Closing a socket here ends nothing there. A loop's connections are not even closed: the child's
    loop shares the parent's selector.
    """
    global _reading_certificates  # noqa: PLW0603  a thread of the parent may hold it
    _reading_certificates = threading.Lock()
    _close_all()
    _inherited.append(_clients.copy())
    _clients.clear()
    for held in _all_loop_clients:
        _inherited.append((held, held.clients))
        held.clients = {}


@atexit.register
def _close_all() -> None:
    for client in [*_clients.values()]:
        client.close_idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
