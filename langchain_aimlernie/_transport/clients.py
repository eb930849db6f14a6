"""Which connections a model uses: the shared ones of its settings, or a client of the user's.

Sync calls share one pool a process and kind of settings; async calls, one a running event loop.
The pools of a loop are owned by an async generator: the loop closes it when it shuts down
(`asyncio.run` sees to that). Loops that were closed without are swept out when the next one comes;
those that nobody closes, the garbage collector takes, and their connections with them. A forked
child forgets the parent's connections.

Pools are shared, so closing one model closes idle connections only. A model with the same settings
connects anew; calls under way are not disturbed.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import weakref
from typing import TYPE_CHECKING

from langchain_aimlernie._transport.pools import AsyncPool, GivenAsyncPool, GivenPool, Pool
from langchain_aimlernie._transport.routes import Connection, Route, find_route

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    import httpx


class Clients:
    """The connections of sync calls.

    Args:
        connection: The settings that shared connections must have.
        given: The user's client, to be used instead.
    """

    def __init__(self, connection: Connection, given: httpx.Client | None = None) -> None:
        self._connection = connection
        self._given = None if given is None else GivenPool(given)
        self._known_route: Route | None = None

    def pool(self) -> Pool | GivenPool:
        """Give the pool; the environment's proxies are read the first time."""
        if self._given is not None:
            return self._given
        route = self._route()
        return _pools.get(route) or _new_pool(route)

    def close(self) -> None:
        """Close the idle connections; nothing else is disturbed."""
        pool = None if self._given else _pools.get(self._route())
        if pool is not None:
            pool.close_idle()

    def _route(self) -> Route:
        route = self._known_route
        if route is None:
            route = self._known_route = find_route(self._connection)
        return route


class AsyncClients:
    """The connections of async calls in the running loop.

    Args:
        connection: The settings that shared connections must have.
        given: The user's client, to be used instead.
    """

    def __init__(self, connection: Connection, given: httpx.AsyncClient | None = None) -> None:
        self._connection = connection
        self._given = None if given is None else GivenAsyncPool(given)
        self._known_route: Route | None = None

    async def pool(self) -> AsyncPool | GivenAsyncPool:
        """Give the pool; the environment's proxies are read the first time."""
        if self._given is not None:
            return self._given
        route, home = self._route(), await _home()
        return home.pools.get(route) or await home.new_pool(route)

    async def close(self) -> None:
        """Close the idle connections; nothing else is disturbed."""
        pool = None if self._given else (await _home()).pools.get(self._route())
        if pool is not None:
            await pool.close_idle()

    def _route(self) -> Route:
        route = self._known_route
        if route is None:
            route = self._known_route = find_route(self._connection)
        return route


_pools: dict[Route, Pool] = {}


def _new_pool(route: Route) -> Pool:
    for other, pool in list(_pools.items()):
        pool.close_dead()
        if pool.slots.is_unused:
            _pools.pop(other, None)
    return _pools.setdefault(route, Pool(route))


class _Home:
    """The pools of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.pools: dict[Route, AsyncPool] = {}
        self._owner = self._own()

    async def settle(self) -> None:
        """Make the loop close the connections when it shuts down: it knows started generators."""
        await anext(self._owner)

    async def new_pool(self, route: Route) -> AsyncPool:
        for other, pool in list(self.pools.items()):
            await pool.close_dead()
            if pool.slots.is_unused:
                self.pools.pop(other, None)
        return self.pools.setdefault(route, AsyncPool(route))

    async def _own(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            _homes.discard(self)
            delattr(self.loop, _HOME)
            for pool in self.pools.values():
                await pool.retire()


_HOME = "_aimlernie_home"
"""The attribute of a loop that is its `_Home`. No table can be the only owner of the homes and yet
let the loops go, not even a weak one: connections refer to their loop."""

_homes: weakref.WeakSet[_Home] = weakref.WeakSet()


async def _home() -> _Home:
    loop = asyncio.get_running_loop()
    home: _Home | None = getattr(loop, _HOME, None)
    if home is None:
        for other in list(_homes):
            if other.loop.is_closed():
                _homes.discard(other)
                other.pools.clear()
        home = _Home(loop)
        setattr(loop, _HOME, home)
        _homes.add(home)
        await home.settle()
    return home


_left_to_parent: list[dict[Route, AsyncPool]] = []


def _forget() -> None:
    """Leave all connections to the parent process.

    Closing a socket here ends nothing there. A loop's connections are not even closed: the child's
    loop shares the parent's selector.
    """
    for pool in _pools.values():
        pool.close_idle()
        pool.slots.forget()
    for home in _homes:
        _left_to_parent.append(home.pools)
        home.pools = {}


@atexit.register
def _close_all() -> None:
    for pool in _pools.values():
        pool.close_idle()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
