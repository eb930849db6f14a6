"""What went wrong on the network -> an error of ours: the host, how far it got, the time.

Errors of the network are often without text, and httpx's hold the request with the key; so the
messages are our own, taken from the innermost cause, and the exceptions are not kept. They are told
apart by the names of their classes, which httpx2, httpx and their httpcores share: a user-supplied
client may be of either.
"""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_aimlernie._http.config import host_of
from langchain_aimlernie._http.deadlines import DeadlineExceededError
from langchain_aimlernie._response.error_mapping import error_from_response
from langchain_aimlernie._text import truncate
from langchain_aimlernie.errors import (
    AimlErnieError,
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    InvalidResponseError,
    StreamInterruptedError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from langchain_aimlernie._http.request import APIRequest

_STALE_WINDOW = 3.0
"""Seconds: a kept connection that the server had closed shows it within a round trip. One that
breaks later had taken the request."""

_MAX_CAUSE = 200
_MAX_CAUSES = 50
_LIBRARIES = ("httpx2", "httpcore2", "httpx", "httpcore", "anyio", "h11")
_TLS_ALERT = r"\x15\x03"
"""How h11 shows the first bytes of a TLS alert, the response of a TLS server to plain HTTP."""

_NOT_HTTPS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_TRANSIENT_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""A connection that breaks during a handshake; unlike a bad certificate, that may pass."""


class FailureContext(NamedTuple):
    """How far an attempt had come when it failed.

    Attributes:
        request: What was sent.
        proxy: The proxy's host; empty if there is none.
        phase: `connect`, `response_headers` or `response_body`.
        is_reused: Whether no byte of a response has come over a connection that was there before.
        seconds: How long it had taken.
        waiting_for: Which deadline was running.
        limit: Its seconds.
        events: How many events of a stream had come.
    """

    request: APIRequest
    proxy: str
    phase: str
    is_reused: bool
    seconds: float
    waiting_for: str
    limit: float
    events: int

    @property
    def host(self) -> str:
        """The server's name, and its port if that is not the default."""
        return host_of(self.request.url)

    @property
    def peer(self) -> str:
        """What we connect to."""
        return f"the proxy {self.proxy} on the way to {self.host}" if self.proxy else self.host


def to_error(error: Exception, context: FailureContext) -> AimlErnieError:
    """Return the error of ours for what an attempt ended with.

    An error of a decoder loses its traceback: the local variables of those frames are the response,
    in which a server may have echoed the key, and tools that report errors show them.
    """
    if isinstance(error, AimlErnieError):
        return error.with_traceback(None)
    if isinstance(error, DeadlineExceededError):
        return _timeout(context, context.limit)
    if isinstance(error, UnicodeError):
        return _unsendable(error, context)
    for kind in type(error).__mro__:
        if _is_of_library(kind) and kind.__name__ in _HANDLERS:
            return _HANDLERS[kind.__name__](error, context)
    return _unexpected(error, context)


def _is_of_library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _LIBRARIES


def _read_timeout(_: Exception, context: FailureContext) -> AimlErnieError:
    seconds = round(context.seconds, 1) or context.limit  # 0: nothing was sent yet
    return _timeout(context, min(context.limit, seconds))


def _timeout(context: FailureContext, seconds: float) -> AimlErnieError:
    if context.phase == "connect":
        return _not_connected(context, seconds)
    words = _TIMEOUT_MESSAGES[context.waiting_for]
    return APITimeoutError(
        words.format(host=context.host, seconds=f"{seconds:g}", events=context.events),
        phase=context.phase,
    )


def _not_connected(context: FailureContext, seconds: float) -> AimlErnieError:
    return APITimeoutError(
        f"No connection to {context.peer} was made within {seconds:g} s.", phase="connect"
    )


_TIMEOUT_MESSAGES = {
    "response": "{host} sent no complete response within {seconds} s (timeout).",
    "total": "{host} sent no complete response within the {seconds} s that the call had left.",
    "first event": "{host} sent no event of the stream within {seconds} s (timeout).",
    "idle": "The stream from {host} was silent for {seconds} s (stream_idle_timeout); "
    "events before that: {events}.",
}


def _connect_timeout(_: Exception, context: FailureContext) -> AimlErnieError:
    return _not_connected(context, context.request.timeouts.connect or round(context.seconds, 1))


def _write_timeout(_: Exception, context: FailureContext) -> AimlErnieError:
    seconds = context.request.timeouts.write or context.seconds
    return APITimeoutError(
        f"{context.host} took nothing of the request for {seconds:g} s.", phase="request"
    )


def _pool_timeout(_: Exception, context: FailureContext) -> AimlErnieError:
    return APITimeoutError(
        f"The client had no free connection to {context.host} for {context.seconds:.1f} s.",
        phase="pool",
    )


def _proxy_error(error: Exception, context: FailureContext) -> AimlErnieError:
    refused = str(error)[:1] == "4"  # the text begins with the proxy's status
    return APIConnectionError(
        f"The proxy on the way to {context.host} refused: {_message(error, context)}.",
        phase="proxy",
        is_retryable=not refused,
    )


def _connect_error(error: Exception, context: FailureContext) -> AimlErnieError:
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is None or isinstance(tls, _TRANSIENT_TLS):
        return APIConnectionError(
            f"Cannot connect to {context.peer}: {_message(error, context)}.", phase="connect"
        )
    reason = truncate(getattr(tls, "verify_message", "") or tls.reason or str(tls), _MAX_CAUSE)
    remedy = (
        "Does base_url rightly begin with https?"
        if tls.reason in _NOT_HTTPS
        else "If the server or a proxy has a certificate of its own, name it in SSL_CERT_FILE."
    )
    return APIConnectionError(
        f"No secure connection to {context.host}: {reason}. {remedy}",
        phase="tls",
        is_retryable=False,
    )


def _unsendable(_: Exception, context: FailureContext) -> AimlErnieError:
    # The exception's words may hold the header with the key.
    return BadRequestError(
        f"The request to {context.host} cannot be sent: a header or the address is not valid HTTP."
    )


def _bad_status(error: Exception, context: FailureContext) -> AimlErnieError:
    response: Any = getattr(error, "response", None)
    return error_from_response(
        response.status_code, dict(response.headers), b"", redactor=context.request.redactor
    )


def _undecodable(error: Exception, context: FailureContext) -> AimlErnieError:
    return InvalidResponseError(
        f"{context.host} sent a body that cannot be decompressed: {_message(error, context)}."
    )


def _broken(error: Exception, context: FailureContext) -> AimlErnieError:
    why = _message(error, context)
    if context.events:
        return StreamInterruptedError(
            f"The stream from {context.host} broke off "
            f"(events before that: {context.events}): {why}. "
            "The output so far is in `.partial`; it is incomplete.",
            phase="response_body",
        )
    hint = " Does base_url lack an https?" if _TLS_ALERT in why else ""
    awaits_headers = context.phase == "response_headers"
    is_stale = awaits_headers and context.is_reused and context.seconds < _STALE_WINDOW
    host = context.peer if context.phase == "connect" else context.host
    return APIConnectionError(
        f"The connection to {host} broke {_PHASES[context.phase]}: {why}.{hint}",
        phase="stale_connection" if is_stale else context.phase,
    )


_PHASES = {
    "connect": "while it was made",
    "response_headers": "before complete response headers came",
    "response_body": "in the middle of the response",
}


def _unexpected(error: Exception, context: FailureContext) -> AimlErnieError:
    """Return the error for what nobody thought of, in a client, in httpx or in decoding."""
    if any(isinstance(cause, OSError | EOFError) for cause in _causes(error)):
        return _broken(error, context)
    what = f"{type(error).__name__}: {_message(error, context)}."
    is_foreign = _is_of_library(type(error))
    unexpected: AimlErnieError
    if context.phase == "response_body" and not is_foreign:
        unexpected = InvalidResponseError(
            f"The response of {context.host} cannot be decoded: {what}"
        )
    else:
        unexpected = APIConnectionError(
            f"The call to {context.host} failed {_PHASES[context.phase]}: {what}",
            phase=context.phase,
            is_retryable=is_foreign,
        )
    unexpected.__cause__ = error
    return unexpected


_HANDLERS: Mapping[str, Callable[[Exception, FailureContext], AimlErnieError]] = {
    "ConnectTimeout": _connect_timeout,
    "WriteTimeout": _write_timeout,
    "PoolTimeout": _pool_timeout,
    "TimeoutException": _read_timeout,
    "ProxyError": _proxy_error,
    "ConnectError": _connect_error,
    "LocalProtocolError": _unsendable,
    "UnsupportedProtocol": _unsendable,
    "InvalidURL": _unsendable,
    "HTTPStatusError": _bad_status,
    "DecodingError": _undecodable,
    "NetworkError": _broken,
    "ProtocolError": _broken,
    "HTTPError": _broken,
}
"""By the name of the exception's class, or of the nearest base that is listed."""


def _message(error: Exception, context: FailureContext) -> str:
    """What the innermost cause says, on one line and without secrets."""
    said = [text for text in map(_describe, _causes(error)) if text]
    words = said[-1] if said else type(error).__name__
    return truncate(context.request.redactor.text(words), _MAX_CAUSE).rstrip(".")


def _describe(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "the name of the host cannot be resolved"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, then what caused it, also inside groups, outermost first."""
    todo, seen = [error], set[int]()
    while todo and len(seen) < _MAX_CAUSES:
        error = todo.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        # httpcore drops causes, but not contexts. Any other context may be what the caller was
        # just handling.
        is_wrapper = _is_of_library(type(error))
        cause = error.__cause__ or (error.__context__ if is_wrapper else None)
        inner = (cause, *getattr(error, "exceptions", ()))
        todo.extend(cause for cause in inner if isinstance(cause, BaseException))
