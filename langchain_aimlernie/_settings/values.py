"""Parse and check single values: address, key, headers, timeout, clients and numbers.

An invalid key would be shown by the errors of httpx and h11, and an invalid `X-Client-Request-Id`
would be dropped by the server; both are rejected here, in messages that do not show the key.
"""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from langchain_aimlernie._text import warn_user

DEFAULT_BASE_URL = "https://api.aimlapi.com/v1"
BASE_URL_VARIABLE = "AIMLAPI_API_BASE"
KEY_VARIABLE = "AIMLAPI_API_KEY"
NO_KEY = (
    f"No API key: create one at https://aimlapi.com/app/keys, and set {KEY_VARIABLE} or pass "
    "api_key."
)

_COMPLETIONS = "/chat/completions"
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)?.*@")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})
_TIMEOUTS = ("connect", "read", "write", "pool")  # the attributes of a `Timeout`, in its order


def parse_base_url(url: str) -> str:
    """Return the base URL, without a trailing slash.

    A host alone gets the path `/v1`; any other path is kept. A trailing `/chat/completions` is
    removed, unless it is the whole path, since a host alone would get `/v1`.
    """
    url = url.strip()
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "" if "://" in url else " Put https:// or http:// before it."
        raise ValueError(
            f"base_url must begin with https:// or http:// and name a host; got {_display(url)!r}."
            f"{hint}"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "base_url must not contain a user name or password; pass the key as api_key instead."
        )
    if parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        raise ValueError(f"base_url must not have a query or a fragment; got {shown!r} with one.")
    path = parts.path.rstrip("/")
    path = path.removesuffix(_COMPLETIONS).rstrip("/") or path or "/v1"
    base = f"{parts.scheme}://{parts.netloc}{path}"
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        warn_user(
            f"base_url {base!r} is not encrypted: others can read the key and all messages. "
            "Use https."
        )
    return base


def endpoint_url(base_url: str, path: str) -> str:
    """Return the URL of an endpoint, such as `/models`, below a parsed `base_url`."""
    return base_url.removesuffix(_COMPLETIONS) + path


def base_url_of_environment() -> str:
    """Return `base_url` from the environment or the default; an empty variable counts as unset."""
    return os.environ.get(BASE_URL_VARIABLE, "").strip() or DEFAULT_BASE_URL


def _split(url: str) -> SplitResult:
    if not url.isprintable() or " " in url:
        raise ValueError("base_url contains a space or a control character.")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  reading it is the check
    except ValueError:  # its message may contain a part of a password
        raise ValueError(
            f"base_url is not an address: its host or port is malformed; got {_display(url)!r}."
        ) from None
    return parts


def _display(url: str) -> str:
    """Return an address without its user name, password and query, which may be secret."""
    return re.split(r"[?#]", _USER.sub(r"\1", url))[0]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_default_host(base_url: str) -> bool:
    """Whether `base_url` is the AI/ML API itself, which requires a key."""
    return urlsplit(base_url).hostname == urlsplit(DEFAULT_BASE_URL).hostname


def parse_key(key: object) -> str:
    """Return the key without surrounding white space; a ValueError does not show it."""
    if not isinstance(key, str):
        raise ValueError(f"api_key must be a string; got {type(key).__name__}.")  # noqa: TRY004  as for all fields
    key = key.strip()
    if not key.strip("*"):  # pydantic dumps a key as asterisks
        raise ValueError("api_key is empty or masked; set AIMLAPI_API_KEY or pass api_key.")
    if key[0] == key[-1] and key[0] in "\"'":
        raise ValueError("api_key is in quotation marks; remove them (env files may keep them).")
    for position, char in enumerate(key, start=1):
        if not "!" <= char <= "~":
            kind = "a control character or space" if char.isascii() else "a non-ASCII character"
            raise ValueError(
                f"api_key has {kind} at position {position} of {len(key)}; "
                "copy it again from the provider's page."
            )
    return key


def key_of_environment() -> SecretStr | None:
    """Return the environment's key; an empty variable counts as unset."""
    key = os.environ.get(KEY_VARIABLE, "")
    return SecretStr(key) if key.strip() else None


def check_request_id(value: object) -> str:
    """Return an id if the server accepts it as `X-Client-Request-Id`, else raise a ValueError."""
    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
        return value
    shown = value[:40] if isinstance(value, str) else value
    raise ValueError(
        f"client_request_id must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -; got {shown!r}."
    )


def check_headers(headers: Mapping[Any, Any] | None) -> dict[str, str] | None:
    """Return a copy of `headers`, with plain strings and without surrounding white space.

    No ValueError shows a value, which may be a secret.
    """
    if headers is None:
        return None
    if not isinstance(headers, Mapping):
        raise ValueError(f"default_headers must be a dict; got {type(headers).__name__}.")  # noqa: TRY004  as for all fields
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in headers.items()
    }
    for name, value in plain.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"default_headers: {name!r} is not a valid header name.")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"default_headers: {name!r} is set by the transport; leave it out.")
        if not isinstance(value, str) or not value.isascii() or not value.strip().isprintable():
            raise ValueError(
                f"default_headers: the value of {name!r} must be printable ASCII text."
            )
    return {name: value.strip() for name, value in plain.items()}


def check_timeout(value: Any) -> Any:
    """Return a timeout: seconds, a tuple of four, a `Timeout` of httpx or httpx2, or `None`."""
    if all(hasattr(value, name) for name in _TIMEOUTS):
        limits = [getattr(value, name) for name in _TIMEOUTS]
    elif isinstance(value, (tuple, list)):
        # ChatOpenAI accepts (connect, read); as in httpx, what is missing has no limit.
        is_short = 1 < len(value) < len(_TIMEOUTS)
        limits = [*value, *[None] * (len(_TIMEOUTS) - len(value)) * is_short]
    else:
        limits = [value] * 4
    if len(limits) != len(_TIMEOUTS) or not all(map(_is_time, limits)):
        raise ValueError(
            "timeout must be a number of seconds greater than 0, (connect, read, write, pool) or "
            f"a Timeout of httpx or httpx2; got {value!r}."
        )
    if isinstance(value, Real):
        return float(value)
    return tuple(limits) if isinstance(value, (tuple, list)) else value


def _is_time(limit: object) -> bool:
    is_number = isinstance(limit, Real) and not isinstance(limit, bool)
    return limit is None or (is_number and limit > 0)  # type: ignore[operator]  # a number by then


def check_client(value: object, name: str, *, is_async: bool) -> object:
    """Return a user-supplied client of httpx or httpx2; `name` is the field's, for the error."""
    if value is None:
        return None
    kind = "AsyncClient" if is_async else "Client"
    send = getattr(value, "send", None)
    if isinstance(value, type):
        problem = f"the class {value.__name__} itself"
    elif not callable(send) or not hasattr(value, "build_request"):
        problem = f"an object of type {type(value).__name__}"
    elif inspect.iscoroutinefunction(send) != is_async:
        problem = "a sync client" if is_async else "an async client"
    else:
        return value
    raise ValueError(f"{name} must be an instance of httpx.{kind} or httpx2.{kind}; got {problem}.")


def to_int(value: object) -> object:
    """Return a float such as `50.0`, or an integer of numpy, as an `int`; other values as is."""
    is_whole = isinstance(value, float) and value.is_integer()
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if is_whole or is_integer else value  # type: ignore[call-overload]  # a number by then


def is_count(value: object, least: int) -> bool:
    """Whether a value is an integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def to_list(value: object) -> object:
    """Return a tuple as a list; other values as is."""
    return list(value) if isinstance(value, tuple) else value
