"""Shared HTTP clients, and user-supplied ones.

Sync calls share one client per configuration, async calls one per configuration and event loop. A
forked child does not use its parent's connections.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

import httpcore2
import httpx2

from langchain_aimlernie._coroutines import awaited, run
from langchain_aimlernie._http.config import host_of, reset_lock, ssl_context
from langchain_aimlernie._http.network import set_deadline
from langchain_aimlernie._imports import is_loop_running

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, Awaitable

    from langchain_aimlernie._http.config import ConnectionConfig
    from langchain_aimlernie._http.network import Network
    from langchain_aimlernie._http.transport import Attempt

_MAX_IDLE_CLIENTS = 16
"""Configurations whose connections are kept while no call uses them."""

_POOL_SIZE = 16


class _Pool(NamedTuple):
    pool: Any
    limit: int
    active: set[Attempt]
    """A set, not a counter: the garbage collector may close a response at any moment, even in the
    middle of `+= 1`."""


class PooledClient:
    """The connections of one configuration.

    A pool of httpcore2 looks at each of its connections for every request, so many small pools are
    faster than a large one.

    Attributes:
        network: The network of the connections.
        proxy: The proxy's host; empty if there is none.
        phase: The phase in which an attempt begins.
        last_used: When a call last used it, in seconds of the monotonic clock.
    """

    phase = "connect"

    def __init__(
        self, network: Network, config: ConnectionConfig, context: ssl.SSLContext | None
    ) -> None:
        self.network = network
        self._options = config.pool_options(context)
        size = min(config.max_connections, 2**16)  # each needs its own port
        self._pools = [
            _Pool(self._new_pool(limit), limit, set())
            for limit in (min(_POOL_SIZE, size - start) for start in range(0, size, _POOL_SIZE))
        ]
        self.proxy = host_of(config.proxy or "")
        self.last_used = time.monotonic()
        self._is_closed = False

    def _new_pool(self, limit: int) -> Any:
        return self.network.new_pool(max_connections=limit, **self._options)

    def _pool_for(self, attempt: Attempt) -> Any:
        """Return the first pool that has room, else the one with the fewest requests."""
        if attempt.is_replay:
            # A full pool would reuse the next connection that becomes free.
            return self._new_pool(1)
        free = (pool for pool in self._pools if len(pool.active) < pool.limit)
        pool = next(free, None) or min(self._pools, key=lambda pool: len(pool.active))
        pool.active.add(attempt)
        return pool.pool

    @property
    def is_unused(self) -> bool:
        """Whether no request is under way."""
        return not any(pool.active for pool in self._pools)

    async def send(self, attempt: Attempt, accept_encoding: str) -> None:
        """Send a request and wait for the headers of the response.

        Raises:
            UnicodeEncodeError: A header cannot be sent.
        """
        if attempt.is_replay:
            await self.close_idle()  # the others may be stale as well
        pool = self._pool_for(attempt)
        set_deadline(attempt.deadline)
        response = await self.network.request(pool, self._request(attempt, accept_encoding))
        attempt.receive(response.status, response.headers, response)
        if is_encoded := "content-encoding" in attempt.headers:
            response = httpx2.Response(200, headers=response.headers, content=response.stream)
        attempt.parts = self.network.parts(response, decode=is_encoded)

    def read(self, attempt: Attempt) -> Awaitable[bytes | None]:
        """Return the next part of the response's body, `None` at its end."""
        set_deadline(attempt.deadline)
        return self.network.read(attempt)

    def _request(self, attempt: Attempt, accept_encoding: str) -> httpcore2.Request:
        """Return the request in httpcore2's form."""
        request = attempt.request
        url, host = _parse_url(request.url)
        headers = [(b"Host", host), *request.encoded_headers(accept_encoding)]
        if attempt.is_replay:  # its connection is not kept
            headers.append((b"Connection", b"close"))
        trace = attempt.async_trace if self.network.is_async else attempt.trace
        extensions = {"timeout": request.timeouts.extension(), "trace": trace}
        return httpcore2.Request(
            request.method, url, headers=headers, content=request.body, extensions=extensions
        )

    async def release(self, attempt: Attempt) -> None:
        """Note that an attempt has ended."""
        for pool in self._pools:
            pool.active.discard(attempt)
        if self._is_closed:  # it was evicted just before the attempt used it
            await self.close_idle()

    async def close_idle(self) -> None:
        """Close the connections that no call is using."""
        for pool in self._pools:
            for connection in pool.pool.connections:
                if connection.is_idle():
                    with contextlib.suppress(Exception):  # it may be broken
                        await self.network.close(connection)

    async def close(self) -> None:
        """Close all connections, also those that are in use."""
        self._is_closed = True
        for pool in self._pools:
            await self.network.close(pool.pool)


@lru_cache(maxsize=64)
def _parse_url(url: str) -> tuple[httpcore2.URL, bytes]:
    """Return a URL in httpcore2's form, and the value of the header `Host`."""
    parsed = httpx2.URL(url)
    core_url = httpcore2.URL(
        scheme=parsed.raw_scheme, host=parsed.raw_host, port=parsed.port, target=parsed.raw_path
    )
    return core_url, parsed.netloc


class UserClient:
    """A user-supplied client of httpx2 or httpx: used as it is, never closed.

    The attributes are those of `PooledClient`.
    """

    proxy = ""
    phase = "response_headers"
    """A client without `trace` reports no earlier phase."""

    def __init__(self, network: Network, client: Any) -> None:
        self.network = network
        self._client = client

    async def send(self, attempt: Attempt, accept_encoding: str) -> None:
        """Send a request and wait for the headers of the response."""
        attempt.start()
        async with self.network.watch(attempt):
            request = self._request(attempt, accept_encoding)
            response = await awaited(
                self._client.send(request, stream=True, follow_redirects=False)
            )
        if response.is_stream_consumed:  # a hook has read, and thereby decompressed, the body
            raw = [pair for pair in response.headers.raw if pair[0].lower() != b"content-encoding"]
            response = type(response)(response.status_code, headers=raw, content=response.content)
        attempt.receive(response.status_code, response.headers.raw, response)
        is_encoded = "content-encoding" in attempt.headers
        attempt.parts = self.network.parts(response, decode=is_encoded)

    async def read(self, attempt: Attempt) -> bytes | None:
        """Return the next part of the response's body, `None` at its end."""
        async with self.network.watch(attempt):
            return await self.network.read(attempt)

    def _request(self, attempt: Attempt, accept_encoding: str) -> Any:
        """Return the client's request, with the client's timeout if that is not the default."""
        request, timeouts = attempt.request, attempt.request.timeouts
        timeout = self._client.timeout
        kind = type(timeout)
        if timeout == kind(5.0):  # httpx's default
            longest = max(timeouts.read, timeouts.first_event, timeouts.idle)
            timeout = kind(**timeouts.extension(longest))
        trace = attempt.async_trace if self.network.is_async else attempt.trace
        return self._client.build_request(
            request.method,
            request.url,
            headers=request.encoded_headers(accept_encoding),
            content=request.body or None,
            timeout=timeout,
            extensions={"trace": trace},
        )

    async def release(self, attempt: Attempt) -> None:
        """Do nothing: the client is the user's."""


class _Clients:
    """The clients of an event loop, or of all sync calls.

    An attribute of the loop refers to them, so that they are freed with a loop that is dropped. A
    loop that shuts down its async generators, as `asyncio.run` does, finalizes `closer`, which
    closes them.
    """

    def __init__(self) -> None:
        self.by_config: dict[ConnectionConfig, PooledClient] = {}
        self.closer = self._close_with_loop()
        _all_clients.add(self)

    async def _close_with_loop(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            # Not if a loop without hooks for generators was dropped, such as nest_asyncio's.
            if is_loop_running():
                for client in [*self.by_config.values()]:
                    await client.close()


_LOOP_ATTRIBUTE = "_langchain_aimlernie_clients"
_all_clients: WeakSet[_Clients] = WeakSet()
_sync_clients = _Clients()


async def open_clients(network: Network) -> dict[ConnectionConfig, PooledClient]:
    """Return the clients of the running loop, or of sync calls."""
    if not network.is_async:
        return _sync_clients.by_config
    loop = asyncio.get_running_loop()
    clients: _Clients | None = getattr(loop, _LOOP_ATTRIBUTE, None)
    if clients is None:
        clients = _Clients()
        setattr(loop, _LOOP_ATTRIBUTE, clients)
        await anext(clients.closer)
    return clients.by_config


async def open_client(network: Network, config: ConnectionConfig) -> PooledClient:
    """Return the client of a configuration; a new one evicts the least recently used idle ones."""
    clients = await open_clients(network)
    client = clients.get(config)
    if client is None:
        if network.is_async and not config.is_cleartext:  # reading them would block the loop
            context = await asyncio.to_thread(ssl_context, config)
        else:
            context = ssl_context(config)
        client = clients.setdefault(config, PooledClient(network, config, context))
        unused = [(key, each) for key, each in [*clients.items()] if each.is_unused]
        unused.sort(key=lambda item: item[1].last_used, reverse=True)
        for each in [clients.pop(key, each) for key, each in unused[_MAX_IDLE_CLIENTS:]]:
            await each.close()
    client.last_used = time.monotonic()
    return client


_inherited: list[object] = []


def _reset_after_fork() -> None:
    """Start without the parent's connections.

    Closing a socket of a sync call here does not end the parent's connection. Those of event loops
    are kept open: the child's copy of a loop shares the parent's selector.
    """
    reset_lock()
    _close_all()
    for clients in _all_clients:
        _inherited.append((clients, clients.by_config))
        clients.by_config = {}


@atexit.register
def _close_all() -> None:
    for client in [*_sync_clients.by_config.values()]:
        run(client.close_idle())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
