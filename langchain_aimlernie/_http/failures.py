"""Map network exceptions to this package's errors, which name the host, the phase and the time.

Network exceptions often have no text, and httpx's contain the request with the key; so they are not
kept, and the messages are written here, from the innermost cause. Exceptions are recognized by
class name, since a user-supplied client may be of httpx or httpx2, which use the same names.
"""

from __future__ import annotations

import os
import socket
import ssl
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._response.error_mapping import error_from_response, response_of
from langchain_aimlernie._response.schema import request_id_in
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

    from langchain_aimlernie._http.transport import Attempt

_STALE_WINDOW = 3.0
"""Seconds. A keep-alive connection that the server had closed fails within a round trip. One that
fails later had taken the request: load balancers reset connections that are idle while a model
reasons. If this process itself was suspended meanwhile, the request counts as perhaps processed,
which is safe: there is still one retry."""

_MAX_CAUSE = 200
_MAX_CAUSES = 50
_LIBRARIES = ("httpx2", "httpcore2", "httpx", "httpcore", "anyio", "h11")
_TLS_ALERT = r"\x15\x03"
"""The first bytes of a TLS alert in h11's messages: how a TLS server responds to plain HTTP."""

_NOT_HTTPS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_TRANSIENT_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""A connection that breaks during the handshake: unlike a bad certificate, perhaps temporary."""


def to_error(error: Exception, attempt: Attempt) -> AimlErnieError:
    """Return this package's error for the exception of an attempt, with what was received.

    An error of a decoder loses its traceback: the local variables of those frames contain the
    response, in which a server may repeat the key, and error reports show them.
    """
    if isinstance(error, AimlErnieError):
        converted = error.with_traceback(None)
    elif isinstance(error, UnicodeError):
        converted = _unsendable(error, attempt)
    else:
        names = (kind.__name__ for kind in type(error).__mro__ if _is_of_library(kind))
        converted = next((_HANDLERS[name] for name in names if name in _HANDLERS), _unexpected)(
            error, attempt
        )
    _add_response(converted, attempt)
    if converted.__suppress_context__:  # httpx's exceptions contain the request with the key
        converted.__context__ = None
    return converted


def _add_response(error: AimlErnieError, attempt: Attempt) -> None:
    """Add what was received of the response, where the error lacks it."""
    request, decoder = attempt.request, attempt.decoder
    if error.partial is None and decoder is not None:
        error.partial = decoder.partial
    if error.response is None and attempt.status:
        error.response = response_of(attempt.status, attempt.headers, error.body, request.redactor)
    headers = {} if error.response is None else error.response.headers
    if isinstance(error, InvalidResponseError):
        error.status_code = error.status_code or attempt.status or None
        if "content-encoding" in headers:
            error.message += f" Its Content-Encoding is {headers['content-encoding']}."
    name = "x-client-request-id"
    sent = headers.get(name) or request.headers.get(name)
    error.request_id = error.request_id or request_id_in(headers)
    error.inference_id = error.inference_id or headers.get("x-inference-id")
    error.client_request_id = error.client_request_id or sent
    if attempt.has_ended and not attempt.events:
        error.phase = error.phase or "empty_stream"


def _is_of_library(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _LIBRARIES


def _timeout(kind: str, _: Exception, attempt: Attempt) -> AimlErnieError:
    """Return the error for a timeout of httpx's `kind`; if empty, for an expired deadline."""
    timeouts, deadline = attempt.request.timeouts, attempt.deadline
    if kind == "request" and deadline.left <= 0:  # less than the write timeout was left
        kind = ""
    passed = float(f"{attempt.seconds:.2g}")  # 0 if the client reported no start of the sending
    match kind:
        case "connect":
            seconds = passed or timeouts.connect
        case "request":
            seconds = min(timeouts.write, passed)
        case "pool":
            seconds = passed
        case _ if deadline.left > 0:  # it was a user-supplied client's own timeout
            seconds = min(deadline.limit, passed or deadline.limit)
        case _:
            seconds = deadline.limit
    return APITimeoutError(
        _TIMEOUT_MESSAGES[kind or deadline.waiting_for].format(
            host=attempt.host, peer=attempt.peer, seconds=f"{seconds:g}", events=attempt.events
        ),
        phase=kind or attempt.phase,
    )


_TIMEOUT_MESSAGES = {
    "connect": "No connection to {peer} was made within {seconds} s.",
    "request": "{host} did not accept any of the request for {seconds} s.",
    "pool": "The client had no free connection to {host} for {seconds} s.",
    "response": "{host} sent no complete response within {seconds} s (timeout).",
    "total": "{host} sent no complete response within the {seconds} s left for the call.",
    "first event": "{host} sent no event of the stream within {seconds} s (timeout).",
    "idle": "The stream from {host} was silent for {seconds} s (stream_idle_timeout); "
    "events before that: {events}.",
}
"""By the kind of timeout, or by what the deadline was for."""


def _proxy_error(error: Exception, attempt: Attempt) -> AimlErnieError:
    refused = str(error)[:1] == "4"  # the text begins with the proxy's status
    return APIConnectionError(
        f"The proxy on the way to {attempt.host} refused: {_message(error, attempt)}.",
        phase="proxy",
        is_retryable=not refused,
    )


def _connect_error(error: Exception, attempt: Attempt) -> AimlErnieError:
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is None or isinstance(tls, _TRANSIENT_TLS):
        return APIConnectionError(
            f"Cannot connect to {attempt.peer}: {_message(error, attempt)}. Check base_url, the "
            "network and any proxy.",
            phase="connect",
        )
    reason = truncate(getattr(tls, "verify_message", "") or tls.reason or str(tls), _MAX_CAUSE)
    hint = (
        "Should base_url begin with http:// instead of https://?"
        if tls.reason in _NOT_HTTPS
        else "If the server or a proxy has a private certificate, set SSL_CERT_FILE to its file."
    )
    return APIConnectionError(
        f"No secure connection to {attempt.host}: {reason}. {hint}",
        phase="tls",
        is_retryable=False,
    )


def _unsendable(_: Exception, attempt: Attempt) -> AimlErnieError:
    # The exception's own text may contain the header with the key.
    return BadRequestError(
        f"The request to {attempt.host} cannot be sent: a header or the address is not valid HTTP."
    )


def _bad_status(error: Exception, attempt: Attempt) -> AimlErnieError:
    response: Any = getattr(error, "response", None)
    return error_from_response(
        response.status_code, dict(response.headers), b"", redactor=attempt.request.redactor
    )


def _undecodable(error: Exception, attempt: Attempt) -> AimlErnieError:
    return InvalidResponseError(
        f"{attempt.host} sent a body that cannot be decompressed: {_message(error, attempt)}."
    )


def _broken(error: Exception, attempt: Attempt) -> AimlErnieError:
    why = _message(error, attempt)
    if attempt.events:
        return StreamInterruptedError(
            f"The stream from {attempt.host} broke off "
            f"(events before that: {attempt.events}): {why}. "
            "The output so far is in `.partial`; it is incomplete.",
            phase="response_body",
        )
    hint = " Should base_url begin with https://?" if _TLS_ALERT in why else ""
    awaits_headers = attempt.phase == "response_headers"
    is_stale = awaits_headers and attempt.is_reused and attempt.seconds < _STALE_WINDOW
    host = attempt.peer if attempt.phase == "connect" else attempt.host
    return APIConnectionError(
        f"The connection to {host} broke {_PHASES[attempt.phase]}: {why}.{hint}",
        phase="stale_connection" if is_stale else attempt.phase,
    )


_PHASES = {
    "connect": "while it was made",
    "response_headers": "before complete response headers arrived",
    "response_body": "in the middle of the response",
}


def _unexpected(error: Exception, attempt: Attempt) -> AimlErnieError:
    """Return the error for any other exception of a client, of httpx or of decoding."""
    if any(isinstance(cause, OSError | EOFError) for cause in _causes(error)):
        return _broken(error, attempt)
    what = f"{type(error).__name__}: {_message(error, attempt)}."
    if isinstance(error, RuntimeError) and "event loop" in str(error).lower():
        what += (
            " A user-supplied async client belongs to one event loop; without one, each loop has "
            "its own connections."
        )
    is_foreign = _is_of_library(type(error))
    unexpected: AimlErnieError
    if attempt.phase == "response_body" and not is_foreign:
        unexpected = InvalidResponseError(
            f"The response of {attempt.host} cannot be decoded: {what}"
        )
    else:
        unexpected = APIConnectionError(
            f"The call to {attempt.host} failed {_PHASES[attempt.phase]}: {what}",
            phase=attempt.phase,
            is_retryable=is_foreign,
        )
    unexpected.__cause__ = error
    return unexpected


_HANDLERS: Mapping[str, Callable[[Exception, Attempt], AimlErnieError]] = {
    "ConnectTimeout": partial(_timeout, "connect"),
    "WriteTimeout": partial(_timeout, "request"),
    "PoolTimeout": partial(_timeout, "pool"),
    "TimeoutException": partial(_timeout, ""),
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
"""By the name of the exception's class, or of the nearest listed base class."""


def _message(error: Exception, attempt: Attempt) -> str:
    """Return the text of the innermost cause, on one line and redacted."""
    texts = [text for text in map(_describe, _causes(error)) if text]
    text = texts[-1] if texts else type(error).__name__
    return truncate(attempt.request.redactor.text(text), _MAX_CAUSE).rstrip(".")


def _describe(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return "the name of the host cannot be resolved"
    if isinstance(error, OSError) and error.errno and not isinstance(error, ssl.SSLError):
        return os.strerror(error.errno)
    return str(error)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield the error and then its causes, outermost first, exception groups included."""
    todo, seen = [error], set[int]()
    while todo and len(seen) < _MAX_CAUSES:
        error = todo.pop(0)
        if id(error) in seen:
            continue
        seen.add(id(error))
        yield error
        # httpcore drops causes, but not contexts. Any other context may be an error that the
        # caller was just handling.
        is_wrapper = _is_of_library(type(error))
        cause = error.__cause__ or (error.__context__ if is_wrapper else None)
        inner = (cause, *getattr(error, "exceptions", ()))
        todo.extend(cause for cause in inner if isinstance(cause, BaseException))
