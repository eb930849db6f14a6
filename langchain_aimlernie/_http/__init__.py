"""Send requests and receive responses: connections, deadlines, retries and network errors.

Nothing else imports httpx2; the rest of the package uses the names below. The async transport
in `_async` is written by hand, the sync one in `_sync` is generated from it.
"""

from __future__ import annotations

from langchain_aimlernie._http._async.transport import AsyncTransport
from langchain_aimlernie._http._sync.transport import Transport
from langchain_aimlernie._http.clients import ConnectionConfig
from langchain_aimlernie._http.request import NO_LIMIT, APIRequest, Decoder, Timeouts, parse_timeout

__all__ = [
    "NO_LIMIT",
    "APIRequest",
    "AsyncTransport",
    "ConnectionConfig",
    "Decoder",
    "Timeouts",
    "Transport",
    "parse_timeout",
]
