"""Who may use which connection: one pool for each server and kind of settings.

httpx's own pool looks at every connection for every request, loses slots when async calls are
cancelled (encode/httpcore#1093) and can deadlock when the garbage collector closes a stream in the
middle of its work (encode/httpcore#996). Transports of one connection each, behind a free list,
have none of that: a connection belongs to one call from send to close, and one whose call was
cancelled or broke is thrown away.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING

from langchain_aimlernie._transport.clocks import FOREVER
from langchain_aimlernie._transport.failures import host_of
from langchain_aimlernie._transport.given import GivenAsyncLine, GivenLine
from langchain_aimlernie._transport.lines import OwnAsyncLine, OwnLine
from langchain_aimlernie._transport.slots import AsyncTurn, Slot, Slots, Turn

if TYPE_CHECKING:
    import ssl

    import httpx

    from langchain_aimlernie._transport.lines import AsyncLine, Line
    from langchain_aimlernie._transport.routes import Route


class Pool:
    """The connections of one route; calls beyond its limit wait in their order.

    Args:
        route: Where the connections lead.

    Attributes:
        slots: Who has what.
        proxy: The host of the proxy, if one is on the way.
    """

    def __init__(self, route: Route) -> None:
        self.slots: Slots[Line] = Slots(route.connection.max_connections)
        self.proxy = host_of(route.proxy or "")
        self._route = route
        self._expiry = route.connection.keepalive_expiry
        self._tls = _Tls(route)
        self._is_retired = False

    def take(self, *, fresh: bool = False) -> Slot[Line]:
        """Give a connection, a new one if it must be `fresh`, as soon as it is our turn."""
        slot = self.slots.take()
        if slot is None:
            slot = self._wait()
        if fresh or not self._is_fresh(slot):
            try:
                self._renew(slot)
            except BaseException:
                self.give(slot, reusable=False)
                raise
        return slot

    def give(self, slot: Slot[Line], *, reusable: bool) -> None:
        """Take a connection back; it is closed unless it is `reusable`."""
        line, slot.line = slot.line, None
        try:
            if line is not None and reusable and self._is_ours(slot):
                with contextlib.suppress(Exception):
                    line.finish()
                    slot.line = line
        finally:
            self._put_back(slot, line)
        self.close_idle(before=slot.idle_since - self._expiry)

    def close_idle(self, before: float = FOREVER) -> None:
        """Close the connections that have not been used since the time `before`."""
        while slot := self.slots.pop_idle(before):
            line, slot.line = slot.line, None
            self._put_back(slot, line)

    def retire(self) -> None:
        """Close the idle connections, and from now on each other one when its call ends."""
        self._is_retired = True
        self.close_idle()

    def close_dead(self) -> None:
        """Close the idle connections that are too old, or that the server has closed."""
        idle = list(iter(self.slots.pop_idle, None))
        for slot in idle:
            self.give(slot, reusable=self._is_fresh(slot))

    def _wait(self) -> Slot[Line]:
        turn: Turn[Line] = Turn()
        self.slots.wait(turn)
        try:
            return turn.wait()
        except BaseException:
            late = turn.leave()
            if late is not None:
                self.slots.give(late)
            raise

    def _is_ours(self, slot: Slot[Line]) -> bool:
        return slot.era is self.slots.era and not self._is_retired

    def _is_fresh(self, slot: Slot[Line]) -> bool:
        line = slot.line
        if line is None or line.is_dead:
            return False
        return slot.idle_since >= time.monotonic() - self._expiry

    def _renew(self, slot: Slot[Line]) -> None:
        line, slot.line = slot.line, None
        if line is not None:
            line.close()
        slot.line = OwnLine(self._route, self._tls.context())

    def _put_back(self, slot: Slot[Line], line: Line | None) -> None:
        try:
            if line is not None and slot.line is None:
                line.close()
        finally:
            slot.idle_since = time.monotonic()
            self.slots.give(slot)


class AsyncPool:
    """The connections of one route; calls beyond its limit wait in their order.

    Args:
        route: Where the connections lead.

    Attributes:
        slots: Who has what.
        proxy: The host of the proxy, if one is on the way.
    """

    def __init__(self, route: Route) -> None:
        self.slots: Slots[AsyncLine] = Slots(route.connection.max_connections)
        self.proxy = host_of(route.proxy or "")
        self._route = route
        self._expiry = route.connection.keepalive_expiry
        self._tls = _AsyncTls(route)
        self._is_retired = False

    async def take(self, *, fresh: bool = False) -> Slot[AsyncLine]:
        """Give a connection, a new one if it must be `fresh`, as soon as it is our turn."""
        slot = self.slots.take()
        if slot is None:
            slot = await self._wait()
        if fresh or not self._is_fresh(slot):
            try:
                await self._renew(slot)
            except BaseException:
                await self.give(slot, reusable=False)
                raise
        return slot

    async def give(self, slot: Slot[AsyncLine], *, reusable: bool) -> None:
        """Take a connection back; it is closed unless it is `reusable`."""
        line, slot.line = slot.line, None
        try:
            if line is not None and reusable and self._is_ours(slot):
                with contextlib.suppress(Exception):
                    await line.finish()
                    slot.line = line
        finally:
            await self._put_back(slot, line)
        await self.close_idle(before=slot.idle_since - self._expiry)

    async def close_idle(self, before: float = FOREVER) -> None:
        """Close the connections that have not been used since the time `before`."""
        while slot := self.slots.pop_idle(before):
            line, slot.line = slot.line, None
            await self._put_back(slot, line)

    async def retire(self) -> None:
        """Close the idle connections, and from now on each other one when its call ends."""
        self._is_retired = True
        await self.close_idle()

    async def close_dead(self) -> None:
        """Close the idle connections that are too old, or that the server has closed."""
        idle = list(iter(self.slots.pop_idle, None))
        for slot in idle:
            await self.give(slot, reusable=self._is_fresh(slot))

    async def _wait(self) -> Slot[AsyncLine]:
        turn: AsyncTurn[AsyncLine] = AsyncTurn()
        self.slots.wait(turn)
        try:
            return await turn.wait()
        except BaseException:
            late = turn.leave()
            if late is not None:
                self.slots.give(late)
            raise

    def _is_ours(self, slot: Slot[AsyncLine]) -> bool:
        return slot.era is self.slots.era and not self._is_retired

    def _is_fresh(self, slot: Slot[AsyncLine]) -> bool:
        line = slot.line
        if line is None or line.is_dead:
            return False
        return slot.idle_since >= time.monotonic() - self._expiry

    async def _renew(self, slot: Slot[AsyncLine]) -> None:
        line, slot.line = slot.line, None
        if line is not None:
            await line.close()
        slot.line = OwnAsyncLine(self._route, await self._tls.context())

    async def _put_back(self, slot: Slot[AsyncLine], line: AsyncLine | None) -> None:
        try:
            if line is not None and slot.line is None:
                await line.close()
        finally:
            slot.idle_since = time.monotonic()
            self.slots.give(slot)


class GivenPool:
    """The user's own client in the place of a pool: it is used as it is and never closed.

    Args:
        client: The client.

    Attributes:
        proxy: Empty: what the client knows of proxies is its own.
    """

    def __init__(self, client: httpx.Client) -> None:
        self.proxy = ""
        self._client = client

    def take(self, *, fresh: bool = False) -> Slot[Line]:  # noqa: ARG002  as in `Pool`
        """Give one of the client's connections; the client lets calls beyond its limit wait."""
        return Slot(line=GivenLine(self._client))

    def give(self, slot: Slot[Line], *, reusable: bool) -> None:  # noqa: ARG002  as in `Pool`
        """Give a connection back to the client, which closes it unless it is `reusable`."""
        if slot.line is not None:
            slot.line.close()

    def close_idle(self) -> None:
        """Leave the client alone."""


class GivenAsyncPool:
    """The user's own client in the place of a pool: it is used as it is and never closed.

    Args:
        client: The client.

    Attributes:
        proxy: Empty: what the client knows of proxies is its own.
    """

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.proxy = ""
        self._client = client

    async def take(self, *, fresh: bool = False) -> Slot[AsyncLine]:  # noqa: ARG002  as in `AsyncPool`
        """Give one of the client's connections; the client lets calls beyond its limit wait."""
        return Slot(line=GivenAsyncLine(self._client))

    async def give(self, slot: Slot[AsyncLine], *, reusable: bool) -> None:  # noqa: ARG002  as in `AsyncPool`
        """Give a connection back to the client, which closes it unless it is `reusable`."""
        if slot.line is not None:
            await slot.line.close()

    async def close_idle(self) -> None:
        """Leave the client alone."""


class _Tls:
    """The TLS settings of a route."""

    def __init__(self, route: Route) -> None:
        self._route = route

    def context(self) -> ssl.SSLContext:
        """Give them, made at the first use."""
        return self._route.new_context()


class _AsyncTls:
    """The TLS settings of a route, made in a thread: the loop does not wait for the disk."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._context = route.new_context() if route.is_plain else None
        self._lock = asyncio.Lock()

    async def context(self) -> ssl.SSLContext:
        """Give them, made at the first use."""
        if self._context is None:
            async with self._lock:
                if self._context is None:
                    self._context = await asyncio.to_thread(self._route.new_context)
        return self._context
