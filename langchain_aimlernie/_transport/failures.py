"""What the network did wrong -> an error of ours, in words: the host, how far it got, the time.

Errors of the network are often without text, and httpx's hold the request with the key; so the
words are our own, taken from the innermost cause, and the exceptions are not kept.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from langchain_aimlernie._error_answers import error_from_response
from langchain_aimlernie._problems import clip
from langchain_aimlernie._transport.clocks import ClockExpiredError
from langchain_aimlernie.errors import (
    AimlErnieError,
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    InvalidResponseError,
    StreamInterruptedError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_aimlernie._transport.requests import Call

_DEAD_WITHIN = 3.0
"""Seconds: a kept connection that the server had closed shows it within a round trip. One that
breaks later had taken the request."""

_MAX_CAUSE = 200
_MAX_CAUSES = 50
_HTTP_LIBRARIES = ("httpx", "httpcore", "httpx2", "httpcore2")
_WRAPPERS = (*_HTTP_LIBRARIES, "anyio", "h11")
_LIBRARIES = (*_HTTP_LIBRARIES, "builtins", __name__.partition(".")[0])
_TLS_ALERT = r"\x15\x03"
"""How h11 shows the first bytes of a TLS alert, a TLS server's answer to plain HTTP."""

_NOT_HTTPS = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
_PASSING_TLS = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
"""A connection that breaks during a handshake; unlike a bad certificate, that may pass."""


class Trip(NamedTuple):
    """How far a try had come when it failed.

    Attributes:
        call: What was to be done.
        proxy: The proxy's host, if one is on the way.
        phase: `connect`, `head` or `body`.
        reused: Whether it went over a connection that was there before.
        seconds: How long it had taken.
        clock: Which clock was running.
        limit: Its seconds.
        events: How many events of a stream had come.
    """

    call: Call
    proxy: str
    phase: str
    reused: bool
    seconds: float
    clock: str
    limit: float
    events: int

    @property
    def host(self) -> str:
        """The server's name, and its port if that is not the usual one."""
        return host_of(self.call.url)

    @property
    def next_host(self) -> str:
        """What we connect to."""
        return f"the proxy {self.proxy} on the way to {self.host}" if self.proxy else self.host


def host_of(url: str) -> str:
    """Give the host, and the port if one is named, without user and password."""
    return urlsplit(url).netloc.rpartition("@")[2]


def failure(error: Exception, trip: Trip) -> AimlErnieError:
    """Make the error of ours for what a try ended with.

    An error of a decoder loses its traceback: the local variables of those frames are the response,
    in which a server may have echoed the key, and tools that report errors show them.
    """
    if isinstance(error, AimlErnieError):
        return error.with_traceback(None)
    names = {cls.__name__ for cls in type(error).__mro__ if _top(cls) in _LIBRARIES}
    for kinds, explain in _EXPLANATIONS:
        if not names.isdisjoint(kinds):
            return explain(error, trip)
    return _unexpected(error, trip)


def _top(cls: type) -> str:
    """Return the package that a class is from."""
    return cls.__module__.partition(".")[0]


def _clock_expired(_: Exception, trip: Trip) -> AimlErnieError:
    return _too_late(trip, trip.limit)


def _read_timeout(_: Exception, trip: Trip) -> AimlErnieError:
    return _too_late(trip, min(trip.limit, round(trip.seconds, 1)))


def _too_late(trip: Trip, seconds: float) -> AimlErnieError:
    if trip.phase == "connect":
        return _not_connected(trip, seconds)
    words = _LATE[trip.clock]
    return APITimeoutError(
        words.format(host=trip.host, seconds=f"{seconds:g}", events=trip.events),
        phase=trip.phase,
    )


def _not_connected(trip: Trip, seconds: float) -> AimlErnieError:
    return APITimeoutError(
        f"No connection to {trip.next_host} was made within {seconds:g} s.", phase="connect"
    )


_LATE = {
    "answer": "{host} gave no whole answer within {seconds} s (timeout).",
    "total": "{host} gave no whole answer within the {seconds} s that the call had left.",
    "first event": "{host} sent no event of the stream within {seconds} s (timeout).",
    "idle": "The stream from {host} was silent for {seconds} s (stream_idle_timeout or timeout); "
    "events before that: {events}.",
}


def _connect_timeout(_: Exception, trip: Trip) -> AimlErnieError:
    return _not_connected(trip, trip.call.clocks.connect or round(trip.seconds, 1))


def _write_timeout(_: Exception, trip: Trip) -> AimlErnieError:
    seconds = trip.call.clocks.write or trip.seconds
    return APITimeoutError(
        f"{trip.host} took nothing of the request for {seconds:g} s.", phase="request"
    )


def _pool_timeout(_: Exception, trip: Trip) -> AimlErnieError:
    return APITimeoutError(
        f"The given client had no free connection to {trip.host} for {trip.seconds:.1f} s.",
        phase="pool",
    )


def _proxy_error(error: Exception, trip: Trip) -> AimlErnieError:
    refused = str(error)[:1] == "4"  # the text begins with the proxy's status
    return APIConnectionError(
        f"The proxy on the way to {trip.host} refused: {_words(error, trip)}.",
        phase="proxy",
        is_retryable=not refused,
    )


def _connect_error(error: Exception, trip: Trip) -> AimlErnieError:
    tls = next((cause for cause in _causes(error) if isinstance(cause, ssl.SSLError)), None)
    if tls is None or isinstance(tls, _PASSING_TLS):
        return APIConnectionError(
            f"Cannot connect to {trip.next_host}: {_words(error, trip)}.", phase="connect"
        )
    reason = clip(getattr(tls, "verify_message", "") or tls.reason or str(tls), _MAX_CAUSE)
    remedy = (
        "Does base_url rightly begin with https?"
        if tls.reason in _NOT_HTTPS
        else "If the server or a proxy has a certificate of its own, name it in SSL_CERT_FILE."
    )
    return APIConnectionError(
        f"No secure connection to {trip.host}: {reason}. {remedy}", phase="tls", is_retryable=False
    )


def _unsendable(_: Exception, trip: Trip) -> AimlErnieError:
    # The exception's words may hold the header with the key.
    return BadRequestError(
        f"The request to {trip.host} cannot be sent: a header or the address is not valid HTTP."
    )


def _bad_status(error: Exception, trip: Trip) -> AimlErnieError:
    response: Any = error.response  # type: ignore[attr-defined]  # an HTTPStatusError, as the table says
    return error_from_response(
        response.status_code, dict(response.headers), b"", redactor=trip.call.redactor
    )


def _undecodable(error: Exception, trip: Trip) -> AimlErnieError:
    return InvalidResponseError(f"{trip.host} packed its answer wrongly: {_words(error, trip)}.")


def _broken(error: Exception, trip: Trip) -> AimlErnieError:
    why = _words(error, trip)
    if trip.events:
        return StreamInterruptedError(
            f"The stream from {trip.host} broke off (events before that: {trip.events}): {why}. "
            "What came is in `.partial`; it is not the whole answer.",
            phase="body",
        )
    hint = " Does base_url lack an https?" if _TLS_ALERT in why else ""
    died = trip.phase == "head" and trip.reused and trip.seconds < _DEAD_WITHIN
    host = trip.next_host if trip.phase == "connect" else trip.host
    return APIConnectionError(
        f"The connection to {host} broke {_WHERE[trip.phase]}: {why}.{hint}",
        phase="reuse" if died else trip.phase,
    )


_WHERE = {
    "connect": "while it was made",
    "head": "before an answer came",
    "body": "in the middle of the answer",
}


def _unexpected(error: Exception, trip: Trip) -> AimlErnieError:
    """Say what nobody thought of: of the user's client, of httpx, or of decoding the answer."""
    if any(isinstance(cause, OSError | EOFError) for cause in _causes(error)):
        return _broken(error, trip)
    what = f"{type(error).__name__}: {_words(error, trip)}."
    is_foreign = _top(type(error)) in _WRAPPERS
    unexpected: AimlErnieError
    if trip.phase == "body" and not is_foreign:
        unexpected = InvalidResponseError(f"The answer of {trip.host} cannot be decoded: {what}")
    else:
        unexpected = APIConnectionError(
            f"The call to {trip.host} failed {_WHERE[trip.phase]}: {what}",
            phase=trip.phase,
            is_retryable=is_foreign,
        )
    unexpected.__cause__ = error
    return unexpected


_Explain = Callable[[Exception, Trip], AimlErnieError]
_EXPLANATIONS: tuple[tuple[tuple[str, ...], _Explain], ...] = (
    ((ClockExpiredError.__name__,), _clock_expired),
    (("ConnectTimeout",), _connect_timeout),
    (("WriteTimeout",), _write_timeout),
    (("PoolTimeout",), _pool_timeout),
    (("TimeoutException",), _read_timeout),
    (("ProxyError",), _proxy_error),
    (("ConnectError",), _connect_error),
    (("LocalProtocolError", "UnsupportedProtocol", "InvalidURL", "UnicodeError"), _unsendable),
    (("HTTPStatusError",), _bad_status),
    (("DecodingError",), _undecodable),
    (("NetworkError", "ProtocolError", "HTTPError"), _broken),
)
"""By the names of classes: our connections raise httpcore's; a user-supplied client, those of httpx
or of httpx2, which need not be installed."""


def _words(error: Exception, trip: Trip) -> str:
    """What the innermost cause says, on one line and without secrets."""
    said = [text for text in map(_say, _causes(error)) if text]
    words = said[-1] if said else type(error).__name__
    return clip(trip.call.redactor.text(words), _MAX_CAUSE).rstrip(".")


def _say(error: BaseException) -> str:
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
        is_wrapper = type(error).__module__.startswith(_WRAPPERS)
        cause = error.__cause__ or (error.__context__ if is_wrapper else None)
        inner = (cause, *getattr(error, "exceptions", ()))
        todo.extend(cause for cause in inner if isinstance(cause, BaseException))
