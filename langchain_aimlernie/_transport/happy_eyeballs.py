"""Connecting to the address of a host that answers first (RFC 8305, "Happy Eyeballs").

asyncio can do so by itself, but loses sockets where it is cancelled in the middle.
"""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from httpcore import SOCKET_OPTION

    Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, Any]

_HEAD_START = 0.25
"""Seconds that an address is tried alone before the next one is tried beside it (RFC 8305, 5)."""


async def open_socket(
    host: str, port: int, local_address: str | None, options: Iterable[SOCKET_OPTION]
) -> socket.socket:
    """Connect to a host.

    Args:
        host: Its name or number.
        port: Where it listens.
        local_address: Where to connect from; `None` leaves that to the system.
        options: What each socket is set to before it is connected.

    Raises:
        OSError: It has no address, or none can be reached.
    """
    waiting = deque(_alternating(await _resolve(host, port)))
    attempts: set[asyncio.Task[socket.socket]] = set()
    done: set[asyncio.Task[socket.socket]] = set()
    errors: list[BaseException] = []
    try:
        while waiting or attempts:
            if waiting:
                attempt = _connect(waiting.popleft(), local_address, options)
                attempts.add(asyncio.create_task(attempt))
            done, attempts = await asyncio.wait(
                attempts,
                timeout=_HEAD_START if waiting else None,
                return_when=asyncio.FIRST_COMPLETED,
            )
            connected = [task for task in done if task.exception() is None]
            attempts.update(connected[1:])
            if connected:
                return connected[0].result()
            errors += filter(None, [task.exception() for task in done])
    finally:
        for late in attempts:
            late.cancel()
            late.add_done_callback(_close)
    try:
        raise errors[0] if errors else OSError("the host has no address")
    finally:  # they hold this frame, and only the garbage collector would free both
        errors.clear()
        done.clear()


async def _resolve(host: str, port: int) -> Sequence[Address]:
    kind = socket.SOCK_STREAM
    try:  # a number needs no thread
        return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        return await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)


def _alternating(addresses: Iterable[Address]) -> Iterator[Address]:
    """Let the families take turns, the one that the system prefers first."""
    families: dict[int, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    for turn in itertools.zip_longest(*families.values()):
        yield from filter(None, turn)


async def _connect(
    address: Address, local_address: str | None, options: Iterable[SOCKET_OPTION]
) -> socket.socket:
    family, kind, protocol, _, place = address
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setblocking(False)
        for option in options:
            opened.setsockopt(*option)
        if local_address is not None:
            opened.bind((local_address, 0))
        await asyncio.get_running_loop().sock_connect(opened, place)
    except BaseException:
        opened.close()
        raise
    return opened


def _close(attempt: asyncio.Task[socket.socket]) -> None:
    """Close what nobody waits for any more."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()
