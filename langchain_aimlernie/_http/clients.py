"""Which connections a model uses: the shared ones of its settings, or the user's own client.

Sync calls share one client a process and configuration; async calls, one a running event loop.
The clients of a loop are closed with it by an async generator, which the loop finalizes when it
shuts down (`asyncio.run` sees to that); nothing but the loop itself keeps them, so that they go
with a loop that is dropped. A forked child leaves its parent's connections alone.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import time
from functools import cached_property
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

from langchain_aimlernie._http._async.client import AsyncPooledClient, AsyncUserClient
from langchain_aimlernie._http._sync.client import PooledClient, UserClient
from langchain_aimlernie._http.config import ConnectionConfig, ResolvedConfig, resolve

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from langchain_aimlernie._http._async.client import AsyncClient
    from langchain_aimlernie._http._sync.client import Client

_MAX_IDLE_CLIENTS = 16
"""Configurations whose connections are kept while no call uses them."""


class _Registry:
    """What sync and async calls have in common.

    Args:
        config: The settings that shared connections must have.
        user_client: The user's client, to be used instead.
    """

    def __init__(self, config: ConnectionConfig, user_client: Any = None) -> None:
        self._config = config
        self._user_client = user_client

    @cached_property
    def _resolved(self) -> ResolvedConfig:
        """The settings with the environment's proxies, which are read the first time."""
        return resolve(self._config)


class ClientRegistry(_Registry):
    """The connections of sync calls."""

    def get(self) -> Client:
        """Return the client."""
        if self._user_client is not None:
            return UserClient(self._user_client)
        resolved = self._resolved
        client = _clients.get(resolved)
        if client is None:
            client = _clients.setdefault(resolved, PooledClient(resolved, resolved.ssl_context()))
            for evicted in _evict(_clients):
                evicted.close()
        client.last_used = time.monotonic()
        return client

    def close(self) -> None:
        """Close the idle connections; nothing else is disturbed."""
        if self._user_client is None and (client := _clients.get(self._resolved)) is not None:
            client.close_idle()


class AsyncClientRegistry(_Registry):
    """The connections of async calls in the running loop."""

    async def get(self) -> AsyncClient:
        """Return the client."""
        if self._user_client is not None:
            return AsyncUserClient(self._user_client)
        resolved = self._resolved
        of_loop = await _for_running_loop()
        client = of_loop.clients.get(resolved) or await of_loop.new_client(resolved)
        client.last_used = time.monotonic()
        return client

    async def close(self) -> None:
        """Close the idle connections; nothing else is disturbed."""
        if self._user_client is None:
            client = (await _for_running_loop()).clients.get(self._resolved)
            if client is not None:
                await client.close_idle()


_clients: dict[ResolvedConfig, PooledClient] = {}


def _evict(clients: dict[ResolvedConfig, Any]) -> list[Any]:
    """Remove and return the least recently used idle clients beyond the maximum."""
    unused = [(key, client) for key, client in list(clients.items()) if client.is_unused]
    unused.sort(key=lambda item: item[1].last_used, reverse=True)
    return [clients.pop(key, client) for key, client in unused[_MAX_IDLE_CLIENTS:]]


class _LoopClients:
    """The clients of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.clients: dict[ResolvedConfig, AsyncPooledClient] = {}
        self._loop = ref(loop)
        self._closer = self._close_with_loop()
        self._keep()

    async def start(self) -> None:
        """Start the async generator that the loop finalizes in `shutdown_asyncgens`."""
        await anext(self._closer)

    def _keep(self) -> None:
        """Keep this object alive as long as the loop, by a timer that does nothing."""
        loop = self._loop()
        if loop is not None and not loop.is_closed():
            loop.call_later(_FAR_AWAY, self._keep)

    async def new_client(self, resolved: ResolvedConfig) -> AsyncPooledClient:
        ssl_context = None
        if not resolved.is_cleartext:  # the loop does not wait for the disk
            ssl_context = await asyncio.to_thread(resolved.ssl_context)
        client = AsyncPooledClient(resolved, ssl_context)
        client = self.clients.setdefault(resolved, client)
        for evicted in _evict(self.clients):
            await evicted.close()
        return client

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

_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, ref[_LoopClients]] = WeakKeyDictionary()


async def _for_running_loop() -> _LoopClients:
    loop = asyncio.get_running_loop()
    reference = _by_loop.get(loop)
    of_loop = None if reference is None else reference()
    if of_loop is None:
        of_loop = _LoopClients(loop)
        _by_loop[loop] = ref(of_loop)
        await of_loop.start()
    return of_loop


_inherited: list[Mapping[Any, Any]] = []


def _reset_after_fork() -> None:
    """Leave all connections to the parent process.

    Closing a socket here ends nothing there. A loop's connections are not even closed: the child's
    loop shares the parent's selector.
    """
    for client in _clients.values():
        client.close_idle()
    _inherited.extend([_clients.copy(), {loop: r() for loop, r in _by_loop.items()}])
    _clients.clear()
    _by_loop.clear()


@atexit.register
def _close_all() -> None:
    for client in _clients.values():
        client.close_idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_after_fork)
