"""How calls reach the server: connections, clocks, retries, and errors with names.

All that knows of sockets, httpx and httpcore is in here; the rest of the package needs these names.
Two twins move the bytes, `Transport` and `AsyncTransport`; what decides is shared by them.
"""

from __future__ import annotations

from langchain_aimlernie._transport.requests import Call, Clocks, Decoder, read_clocks
from langchain_aimlernie._transport.routes import Connection
from langchain_aimlernie._transport.transport import AsyncTransport, Transport

__all__ = [
    "AsyncTransport",
    "Call",
    "Clocks",
    "Connection",
    "Decoder",
    "Transport",
    "read_clocks",
]
