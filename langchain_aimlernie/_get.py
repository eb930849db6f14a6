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
    from langchain_aimlernie._http import APIRequest, Transport

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])

_MAX_CACHED = 16
_NOT_MODIFIED = 304

Decode = Callable[[Mapping[str, str], bytes], T]
"""Decodes the headers (names in lower case) and the body of a response."""


class CachedResponse(NamedTuple):
    """A cached response; as bytes, so that callers cannot change it.

    `received_at` is when the server last sent or confirmed it, by `time.monotonic`.
    """

    etag: str
    body: bytes
    received_at: float


ETagCache = dict[tuple[str, str], CachedResponse]
"""Responses by URL and hash of the key; not by the key, since error reports show variables."""


class Connection(TypedDict, total=False):
    """The arguments of every function that sends GET requests; `account.balance` describes them."""

    base_url: str | None
    api_key: SecretStr | str | None
    timeout: Any
    max_retries: int
    http_client: Any


_DEFAULTS: Connection = {
    "base_url": None,
    "api_key": None,
    "timeout": 30.0,
    "max_retries": 2,
    "http_client": None,
}


def takes_connection(function: F) -> F:
    """Name the arguments in `**connection` in the signature, from which LangChain makes tools."""
    signature, hints = inspect.signature(function), get_type_hints(Connection)
    *own, rest = signature.parameters.values()
    named = [
        rest.replace(name=name, kind=rest.KEYWORD_ONLY, default=default, annotation=hints[name])
        for name, default in _DEFAULTS.items()
    ]
    # Pydantic reads the names in the signature, and their types in the annotations.
    function.__signature__ = signature.replace(parameters=[*own, *named])  # type: ignore[attr-defined]
    del function.__annotations__["connection"]
    function.__annotations__ |= hints
    return function


def _take_key(connection: Connection, *, needs_key: bool) -> SecretStr | ValueError | None:
    """Remove the key from `connection` and return it, or return the error to raise.

    Raised here, it would show the key, a local variable, in error reports.
    """
    key = connection.pop("api_key", None)
    if isinstance(key, SecretStr):
        key = key.get_secret_value()
    if needs_key and not key:
        key = os.environ.get(KEY_VARIABLE, "").strip()
    try:
        return SecretStr(parse_key(key)) if key else None
    except ValueError as error:
        return ValueError(str(error))


class Server:
    """A server to send GET requests to; an invalid argument is a `ValueError`.

    With `needs_key`, the key may come from the environment, and the AI/ML API requires one.
    """

    def __init__(self, connection: Connection, *, is_async: bool, needs_key: bool = False) -> None:
        key = _take_key(connection, needs_key=needs_key)
        if isinstance(key, ValueError):
            raise key
        for name in connection.keys() - _DEFAULTS.keys():
            raise TypeError(f"{name!r} is not an argument of this function.")
        given: dict[str, Any] = {**_DEFAULTS, **connection}
        base_url, timeout, retries = given["base_url"], given["timeout"], given["max_retries"]
        if not (base_url is None or isinstance(base_url, str)):
            raise ValueError(f"base_url must be a string; got {type(base_url).__name__}.")
        self._max_retries: Any = 2 if retries is None else to_int(retries)
        if not is_count(self._max_retries, 0):
            raise ValueError(f"max_retries must be an integer of at least 0; got {retries!r}.")
        self._http_client = check_client(given["http_client"], "http_client", is_async=is_async)
        self.base_url = parse_base_url(base_url or base_url_of_environment())
        self._key = key
        self.redactor = Redactor("" if key is None else key.get_secret_value())
        self._timeout = None if timeout is None else check_timeout(timeout)
        self._is_async = is_async
        if needs_key and key is None and is_default_host(self.base_url):
            raise AuthenticationError(NO_KEY)

    @cached_property
    def transport(self) -> Transport:
        from langchain_aimlernie._http import ConnectionConfig, Transport

        config = ConnectionConfig(self.base_url)
        return Transport(config, self._http_client, is_async=self._is_async)

    async def get(self, url: str, decode: Decode[T], cache: ETagCache | None = None) -> T:
        """Return the decoded response, from `cache` if the server confirms that it is current."""
        if self._is_async:
            await load_transport()
        request = build_request(url, self._key, self._timeout, self._max_retries, self.redactor)
        return await get(self.transport, request, decode, {} if cache is None else cache)


def build_request(
    url: str, key: SecretStr | None, timeout: Any, max_retries: int, redactor: Redactor
) -> APIRequest:
    """Return a GET request for JSON; a timeout of `None` is no limit."""
    from langchain_aimlernie._http import NO_LIMIT, APIRequest, Timeouts, parse_timeout

    headers = {"accept": "application/json", "user-agent": f"langchain-aimlernie/{__version__}"}
    if key is not None:
        headers["authorization"] = f"Bearer {key.get_secret_value()}"
    return APIRequest(
        method="GET",
        url=url,
        headers=headers,
        timeouts=Timeouts(read=NO_LIMIT) if timeout is None else parse_timeout(timeout, None),
        max_retries=max_retries,
        redactor=redactor,
    )


async def get(
    transport: Transport,
    request: APIRequest,
    decode: Decode[T],
    cache: ETagCache,
    *,
    max_age: float = -1,
) -> T:
    """Return the decoded response to a GET request; see `Server.get`.

    A cached response that is at most `max_age` seconds old is used without a request.
    """
    key = request.url, sha256(request.headers.get("authorization", "").encode()).hexdigest()
    cached = cache.get(key)
    if cached is not None and time.monotonic() - cached.received_at <= max_age:
        return decode({}, cached.body)
    if cached is not None:
        request = replace(request, headers={**request.headers, "if-none-match": cached.etag})

    def decode_and_cache(headers: Mapping[str, str], body: bytes) -> T:
        result = decode(headers, body)
        if etag := headers.get("etag"):
            if len(cache) >= _MAX_CACHED:
                cache.clear()
            cache[key] = CachedResponse(etag, body, time.monotonic())
        return result

    try:
        return await transport.send(request, decode_and_cache)
    except AimlErnieError as error:
        # Not looked up again: another thread may have emptied the cache.
        if error.status_code != _NOT_MODIFIED or error.response is None or cached is None:
            raise
        cache[key] = cached._replace(received_at=time.monotonic())
        headers = error.response.headers
    return decode(headers, cached.body)
