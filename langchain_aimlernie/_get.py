"""GET requests: to the catalogue of models, the deprecations feed and the account endpoints."""

from __future__ import annotations

import inspect
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, TypeVar, get_type_hints
from urllib.parse import urlsplit

from pydantic import SecretStr

from langchain_aimlernie._imports import load_transport
from langchain_aimlernie._settings.values import (
    KEY_VARIABLE,
    NO_KEY,
    base_url_of_environment,
    check_client,
    check_timeout,
    is_count,
    is_default_host,
    parse_base_url,
    parse_key,
    to_int,
)
from langchain_aimlernie._text import Redactor
from langchain_aimlernie._version import __version__
from langchain_aimlernie.errors import AimlErnieError, AuthenticationError

if TYPE_CHECKING:
    from langchain_aimlernie._http import APIRequest, AsyncTransport, Transport

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_MAX_CACHED = 16
_NOT_MODIFIED = 304

Decode = Callable[[Mapping[str, str], bytes], T]
"""Turns the headers (names in lower case) and the body of a response into the result."""


class CachedResponse(NamedTuple):
    """A response to reuse; kept as bytes, so that callers cannot change it.

    `received_at` is when the server last sent or confirmed it, by `time.monotonic`.
    """

    etag: str
    body: bytes
    received_at: float


ETagCache = dict[tuple[str, str], CachedResponse]
"""Responses by URL and by a hash of the key: tools that report errors show local variables."""


class Connection(TypedDict, total=False):
    """The arguments of every function that sends GET requests; `account.balance` describes them."""

    base_url: str | None
    api_key: SecretStr | str | None
    timeout: Any
    max_retries: int
    http_client: Any


def takes_connection(function: F) -> F:
    """Name in the signature what `**connection` takes: tools of LangChain are made from it."""
    signature, hints = inspect.signature(function), get_type_hints(Connection)
    *own, _ = signature.parameters.values()
    of_server = inspect.signature(Server).parameters
    named = [of_server[name].replace(annotation=hint) for name, hint in hints.items()]
    function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined]
    del function.__annotations__["connection"]
    function.__annotations__ |= hints
    return function


def connect(connection: Connection, *, is_async: bool, needs_key: bool = False) -> Server:
    """Return the server that the arguments lead to.

    The key in `connection` is replaced by a secret before anything can fail, because tools that
    report errors show local variables. If it `needs_key`, the environment may have it, and the
    AI/ML API requires it. An invalid argument is a `ValueError`.
    """
    if problem := _wrap_key(connection, needs_key=needs_key):
        raise ValueError(problem)
    for name in connection.keys() - Connection.__annotations__.keys():
        raise TypeError(f"{name!r} is not an argument of this function.")
    return Server(**connection, is_async=is_async, needs_key=needs_key)


def _wrap_key(connection: Connection, *, needs_key: bool) -> str:
    """Replace the key by a `SecretStr`; return what is wrong with it, or "".

    The caller raises: a traceback would show the key, which is a local variable here.
    """
    key = connection.get("api_key")
    if isinstance(key, SecretStr):
        key = key.get_secret_value()
    if needs_key and not key:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    connection["api_key"] = None
    try:
        connection["api_key"] = SecretStr(parse_key(key)) if key else None
    except ValueError as error:
        return str(error)
    return ""


class Server:
    """A server to send GET requests to."""

    def __init__(  # noqa: PLR0913  those of `Connection`
        self,
        *,
        base_url: str | None = None,
        api_key: Any = None,
        timeout: Any = 30.0,
        max_retries: int | None = 2,
        http_client: Any = None,
        is_async: bool,
        needs_key: bool,
    ) -> None:
        if not (base_url is None or isinstance(base_url, str)):
            raise ValueError(f"base_url must be a string; got {type(base_url).__name__}.")
        retries: Any = 2 if max_retries is None else to_int(max_retries)
        if not is_count(retries, 0):
            raise ValueError(f"max_retries must be an integer of at least 0; got {max_retries!r}.")
        if http_client is not None:
            check_client(http_client, "http_client", is_async=is_async)
        self.base_url = parse_base_url(base_url or base_url_of_environment())
        self.redactor = Redactor("" if api_key is None else api_key.get_secret_value())
        self._key: SecretStr | None = api_key
        self._timeout = None if timeout is None else check_timeout(timeout)
        self._max_retries = retries
        self._http_client = http_client
        if needs_key and api_key is None and is_default_host(self.base_url):
            raise AuthenticationError(NO_KEY)

    @property
    def origin(self) -> str:
        """Scheme, host and port of `base_url`."""
        parts = urlsplit(self.base_url)
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def transport(self) -> Transport:
        from langchain_aimlernie._http import ConnectionConfig, Transport

        return Transport(ConnectionConfig(self.base_url), self._http_client)

    @cached_property
    def async_transport(self) -> AsyncTransport:
        from langchain_aimlernie._http import AsyncTransport, ConnectionConfig

        return AsyncTransport(ConnectionConfig(self.base_url), self._http_client)

    def get(self, url: str, decode: Decode[T], cache: ETagCache | None = None) -> T:
        """Return what `decode` makes of the response, or of that in `cache` if it still holds."""
        return get(self.transport, self._request(url), decode, {} if cache is None else cache)

    async def aget(self, url: str, decode: Decode[T], cache: ETagCache | None = None) -> T:
        """Return what `decode` makes of the response; see `get`."""
        await load_transport()
        request = self._request(url)
        return await aget(self.async_transport, request, decode, {} if cache is None else cache)

    def _request(self, url: str) -> APIRequest:
        key = "" if self._key is None else self._key.get_secret_value()
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return build_request(url, headers, self._timeout, self._max_retries, self.redactor)


def build_request(
    url: str, headers: Mapping[str, str], timeout: Any, max_retries: int, redactor: Redactor
) -> APIRequest:
    """Return a GET request for JSON; a timeout of `None` is no limit."""
    from langchain_aimlernie._http import APIRequest, Timeouts, parse_timeout

    own = {"accept": "application/json", "user-agent": f"langchain-aimlernie/{__version__}"}
    return APIRequest(
        method="GET",
        url=url,
        headers={**own, **headers},
        timeouts=Timeouts(read=float("inf")) if timeout is None else parse_timeout(timeout, None),
        max_retries=max_retries,
        redactor=redactor,
    )


def get(transport: Transport, request: APIRequest, decode: Decode[T], cache: ETagCache) -> T:
    """Send a GET request; see `Server.get`."""
    request, keep, reuse = _conditional(request, decode, cache)
    try:
        return transport.send(request, keep)
    except AimlErnieError as error:
        return reuse(error)


async def aget(
    transport: AsyncTransport, request: APIRequest, decode: Decode[T], cache: ETagCache
) -> T:
    """Send a GET request; see `Server.get`."""
    request, keep, reuse = _conditional(request, decode, cache)
    try:
        return await transport.send(request, keep)
    except AimlErnieError as error:
        return reuse(error)


def cache_key(request: APIRequest) -> tuple[str, str]:
    """Return the key of a request in an `ETagCache`."""
    return request.url, sha256(request.headers.get("authorization", "").encode()).hexdigest()


def _conditional(
    request: APIRequest, decode: Decode[T], cache: ETagCache
) -> tuple[APIRequest, Decode[T], Callable[[AimlErnieError], T]]:
    """Return the request with the ETag of the cached response, and what its outcomes lead to.

    That is a decoder, which fills `cache`, and a function that returns the cached response after
    304 Not Modified and raises any other error.
    """
    key = cache_key(request)
    cached = cache.get(key)
    if cached is not None:
        request = replace(request, headers={**request.headers, "if-none-match": cached.etag})

    def keep(headers: Mapping[str, str], body: bytes) -> T:
        result = decode(headers, body)
        if etag := headers.get("etag"):
            if len(cache) >= _MAX_CACHED:
                cache.clear()
            cache[key] = CachedResponse(etag, body, time.monotonic())
        return result

    def reuse(error: AimlErnieError) -> T:
        # Not looked up again: another thread may have emptied the cache.
        if error.status_code != _NOT_MODIFIED or error.response is None or cached is None:
            raise error
        cache[key] = cached._replace(received_at=time.monotonic())
        return decode(error.response.headers, cached.body)

    return request, keep, reuse
