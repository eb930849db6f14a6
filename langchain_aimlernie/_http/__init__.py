"""Send requests and receive responses: connections, deadlines, retries and network errors.

Nothing else imports httpx2; other modules use the names below. Sync and async calls run the same
coroutines; what differs is in `network`.
"""

from __future__ import annotations

from langchain_aimlernie._http.config import ConnectionConfig
from langchain_aimlernie._http.network import NO_LIMIT, Timeouts, parse_timeout
from langchain_aimlernie._http.transport import APIRequest, Transport

__all__ = [
    "NO_LIMIT",
    "APIRequest",
    "ConnectionConfig",
    "Timeouts",
    "Transport",
    "parse_timeout",
]
