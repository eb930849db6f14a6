"""The account behind a key: balance, limits, spend, and the log of requests.

Each function sends GET requests with the key. Each has an async variant with the same arguments,
but an `AsyncClient` as `http_client`. Fields of results are named as in the API, and `raw` is the
whole JSON. Amounts are exact decimals in US dollars, times are timezone-aware.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import deque
from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Unpack, cast
from urllib.parse import urlencode, urljoin

from pydantic import AfterValidator, BeforeValidator, TypeAdapter, ValidationError

from langchain_aimlernie._coroutines import iterate, run
from langchain_aimlernie._get import Connection, Server, takes_connection
from langchain_aimlernie._response.schema import is_object, object_or_empty, parse_json
from langchain_aimlernie._settings.values import is_count
from langchain_aimlernie.errors import AimlErnieError, InvalidResponseError

if TYPE_CHECKING:
    from langchain_aimlernie.chat_models import ChatAimlErnie

__all__ = [
    "Balance",
    "Cost",
    "KeyInfo",
    "KeyLimit",
    "LogEntry",
    "TokenCounts",
    "Usage",
    "abalance",
    "akey_info",
    "alogs",
    "ausage",
    "balance",
    "key_info",
    "logs",
    "usage",
]

T = TypeVar("T")

_PERIOD = re.compile(r"[1-9][0-9]{0,4}[hd]")
_MAX_WINDOW = timedelta(days=92)
_CLOCK_SKEW = timedelta(minutes=5)
_PAGE_SIZE = 100
_MAX_SHOWN_ERRORS = 5
_connect = partial(Server, needs_key=True)


def _as_utc(value: datetime) -> datetime:
    """Return a time in UTC; one without an offset is UTC, as the API documents."""
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


_Time = Annotated[datetime, AfterValidator(_as_utc)]


@dataclass(frozen=True, slots=True)
class Balance:
    """The balance of the account.

    Attributes:
        current_balance: The balance; may be negative.
        currency: Its currency, `USD`.
        raw: The whole response as parsed JSON.
    """

    current_balance: Decimal
    currency: str = "USD"
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class KeyLimit:
    """A key's own spending limit, which the provider enforces.

    Attributes:
        retention: How often the limit is reset, at 00:00 UTC: `day`, `week`, `month`, `no_reset`.
        threshold: The limit in US dollars.
    """

    retention: str | None = None
    threshold: Decimal | None = None


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """The parameters of a key.

    Attributes:
        prefix: The first 8 characters of the key.
        disabled: Whether the key is disabled.
        monthly_usage: US dollars that the key has spent this month.
        name: The key's name, given by its owner.
        scopes: What it may be used for, for example `("model:chat",)`; `None`: not restricted.
        limit: Its spending limit, or `None`.
        created_at: When it was created.
        updated_at: When it was last changed.
        raw: The whole entry as parsed JSON.
    """

    prefix: str
    disabled: bool
    monthly_usage: Decimal
    name: str | None = None
    scopes: tuple[str, ...] | None = None
    limit: KeyLimit | None = None
    created_at: _Time | None = None
    updated_at: _Time | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """What a key has spent in a window of time.

    Attributes:
        start: Start of the window.
        end: End of the window.
        spend: The amount spent.
        requests: Number of requests that were charged.
        currency: The currency of `spend`, `USD`.
        raw: The whole response as parsed JSON.
    """

    start: _Time
    end: _Time
    spend: Decimal
    requests: int
    currency: str = "USD"
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Cost:
    """The price of a request.

    Attributes:
        usd: In US dollars.
        credits: In credits.
    """

    usd: Decimal
    credits: Decimal | None = None


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """The tokens of a request; 0 for models that are not billed by tokens.

    Attributes:
        input: Tokens of the prompt.
        output: Tokens of the completion.
        total: Their sum.
    """

    input: int = 0
    output: int = 0
    total: int = 0


@dataclass(frozen=True, slots=True)
class LogEntry:
    """A request in the log.

    Attributes:
        inference_id: The id of the call, as in `response_metadata["inference_id"]` and in errors.
        created: When the request was made.
        status: `succeeded` or `failed`; a failed request is not billed.
        model: The model's id.
        cost: Its price.
        tokens: Its token counts.
        origin: `api` or `playground`.
        request_id: The server's id of the HTTP request.
        client_request_id: The caller's id of the call, as in `response_metadata`.
        raw: The whole entry as parsed JSON.
    """

    inference_id: str
    created: _Time
    status: str
    model: str
    cost: Cost
    tokens: TokenCounts = TokenCounts()
    origin: str | None = None
    request_id: str | None = None
    client_request_id: str | None = None
    raw: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class _Pagination:
    total: int
    has_more: bool


def _with_raw(value: object) -> object:
    return {**value, "raw": value} if is_object(value) else value


@dataclass(frozen=True, slots=True)
class _Page:
    data: tuple[Annotated[LogEntry, BeforeValidator(_with_raw)], ...]
    pagination: _Pagination


_PATHS = {Balance: "/v2/billing", KeyInfo: "/v1/key", Usage: "/v2/usage", _Page: "/v2/logs"}
_ADAPTERS: dict[type, TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in _PATHS}


async def _fetch(server: Server, kind: type[T], query: str = "") -> T:
    """Return the response of an endpoint, parsed as its class `kind`."""

    def decode(_: Mapping[str, str], body: bytes) -> T:
        value = parse_json(body, server.redactor)
        if kind is KeyInfo:
            value = object_or_empty(value).get("data")
        try:
            return cast("T", _ADAPTERS[kind].validate_python(_with_raw(value)))
        except ValidationError as error:
            problems = "; ".join(_problems(error))
        # Not raised above: the context of the error would show the values.
        raise InvalidResponseError(
            f"The response is not valid: {problems}. Check base_url.",
            body=server.redactor.json(value),
        )

    return await server.get(urljoin(server.base_url, f"{_PATHS[kind]}?{query}".rstrip("?")), decode)


def _problems(error: ValidationError) -> Iterator[str]:
    """Yield what is wrong, without values."""
    for each in error.errors()[:_MAX_SHOWN_ERRORS]:
        place = ".".join(map(str, each["loc"]))
        yield f"{place}: {each['msg']}" if place else each["msg"]


@takes_connection
def balance(**connection: Unpack[Connection]) -> Balance:
    """Return the balance of the account.

    Args:
        base_url: Address of the API. `None` reads `AIMLAPI_API_BASE`, else uses the AI/ML API. Only
            its origin counts; `/v2/billing` is the path.
        api_key: The key; `None` reads `AIMLAPI_API_KEY`.
        timeout: Seconds per attempt, or a `Timeout` of httpx or httpx2; `None` for no limit.
        max_retries: Maximum number of retries after the first attempt.
        http_client: A `Client` of httpx or httpx2 to use instead of the shared connection pool.

    Raises:
        AimlErnieError: The request failed; the subclass names the reason.
        ValueError: An argument is invalid.
    """
    return run(_fetch(_connect(connection, is_async=False), Balance))


@takes_connection
async def abalance(**connection: Unpack[Connection]) -> Balance:
    """Return the balance of the account; see `balance`."""
    return await _fetch(_connect(connection, is_async=True), Balance)


@takes_connection
def key_info(**connection: Unpack[Connection]) -> KeyInfo:
    """Return the key's scopes, spending limit and spend of this month.

    The arguments and errors are those of `balance`.
    """
    return run(_fetch(_connect(connection, is_async=False), KeyInfo))


@takes_connection
async def akey_info(**connection: Unpack[Connection]) -> KeyInfo:
    """Return the key's scopes, spending limit and spend of this month; see `key_info`."""
    return await _fetch(_connect(connection, is_async=True), KeyInfo)


@takes_connection
def usage(
    period: str | None = None,
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    **connection: Unpack[Connection],
) -> Usage:
    """Return what the key has spent in a window of time.

    Args:
        period: Length of a window that ends now, in hours or days: "24h"; by default "7d".
        start: Start of the window, instead of `period`: an aware `datetime`, or text in ISO 8601,
            which is UTC unless it has an offset.
        end: End of the window, at most 92 days after `start`.
        base_url: As for `balance`, like those that follow.
        api_key: The key.
        timeout: Seconds per attempt.
        max_retries: Maximum number of retries.
        http_client: A user-supplied client.

    Raises:
        AimlErnieError: The request failed; the subclass names the reason.
        ValueError: An argument is invalid.
    """
    server = _connect(connection, is_async=False)
    return run(_fetch(server, Usage, urlencode(_window(period, start, end))))


@takes_connection
async def ausage(
    period: str | None = None,
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    **connection: Unpack[Connection],
) -> Usage:
    """Return what the key has spent in a window of time; see `usage`."""
    server = _connect(connection, is_async=True)
    return await _fetch(server, Usage, urlencode(_window(period, start, end)))


@takes_connection
def logs(
    period: str | None = None,
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    limit: int | None = None,
    offset: int = 0,
    **connection: Unpack[Connection],
) -> Generator[LogEntry, None, None]:
    """Yield the log of the requests made with the key, newest first.

    Pages of up to 100 entries are requested as the iteration reaches them. Requests made meanwhile
    shift the pages; entries that come twice for this reason are left out. The API allows 200 pages
    a minute.

    Args:
        period: Length of a window that ends now, as for `usage`.
        start: Start of the window, instead of `period`, as for `usage`.
        end: End of the window.
        limit: Maximum number of entries, at least 1; `None` for all.
        offset: Number of the newest entries to skip, at least 0.
        base_url: As for `balance`, like those that follow.
        api_key: The key.
        timeout: Seconds per attempt.
        max_retries: Maximum number of retries of each page.
        http_client: A user-supplied client.

    Raises:
        AimlErnieError: A request failed (during the iteration), or there is no key (at once).
        ValueError: An argument is invalid (at once).
    """
    server = _connect(connection, is_async=False)
    return iterate(_log(server, _window(period, start, end), limit, offset))


@takes_connection
def alogs(
    period: str | None = None,
    *,
    start: datetime | str | None = None,
    end: datetime | str | None = None,
    limit: int | None = None,
    offset: int = 0,
    **connection: Unpack[Connection],
) -> AsyncGenerator[LogEntry, None]:
    """Yield the log of the requests made with the key, newest first; see `logs`."""
    server = _connect(connection, is_async=True)
    return _log(server, _window(period, start, end), limit, offset)


def _log(
    server: Server, window: Mapping[str, str], limit: int | None = None, offset: int = 0
) -> AsyncGenerator[LogEntry, None]:
    """Return the log as an async generator, which `iterate` runs for sync callers."""
    if limit is not None and not is_count(limit, 1):
        raise ValueError(f"limit must be an integer of at least 1, or None; got {limit!r}.")
    if not is_count(offset, 0):
        raise ValueError(f"offset must be an integer of at least 0; got {offset!r}.")
    return _read_log(server, window, sys.maxsize if limit is None else limit, offset)


async def _read_log(
    server: Server, window: Mapping[str, str], left: int, offset: int
) -> AsyncGenerator[LogEntry, None]:
    # New requests shift the entries down, so only the latest ones can come twice.
    recent: deque[tuple[str, str | None]] = deque(maxlen=10 * _PAGE_SIZE)
    has_more = True
    while has_more and left:
        query = urlencode({**window, "limit": min(left, _PAGE_SIZE), "offset": offset})
        page = await _fetch(server, _Page, query)
        for entry in page.data:
            key = (entry.inference_id, entry.request_id)
            if left and key not in recent:
                recent.append(key)
                left -= 1
                yield entry
        offset += len(page.data)
        # A server that ignores `offset` must not make the iteration endless.
        has_more = bool(page.data) and page.pagination.has_more and offset < page.pagination.total


async def log_since(
    llm: ChatAimlErnie, start: datetime, *, is_async: bool
) -> AsyncGenerator[LogEntry, None]:
    """Yield the log of `llm`'s key since `start`, at most 92 days ago."""
    from langchain_aimlernie._client import current_key

    key = await current_key(llm, is_async=is_async)
    if isinstance(key, AimlErnieError):
        raise key
    client = llm.http_async_client if is_async else llm.http_client
    connection: Connection = {"base_url": llm.base_url, "api_key": key, "http_client": client}
    end = datetime.now(UTC) + _CLOCK_SKEW
    window = _window(None, max(start - _CLOCK_SKEW, end - _MAX_WINDOW), end)
    async for entry in _log(_connect(connection, is_async=is_async), window):
        yield entry


def _window(
    period: str | None, start: datetime | str | None, end: datetime | str | None
) -> dict[str, str]:
    """Return the query parameters of a window of time."""
    if start is None and end is None:
        period = "7d" if period is None else period
        if not _PERIOD.fullmatch(str(period)):
            raise ValueError(
                "period must be a number of hours or days, such as '24h' or '7d', of at most five "
                f"digits; got {period!r}."
            )
        return {"period": period}
    if period is not None:
        raise ValueError("Pass either period or start and end, not both.")
    if start is None or end is None:
        raise ValueError("start and end must be passed together.")
    first, last = _moment(start, "start"), _moment(end, "end")
    if not timedelta(0) <= last - first <= _MAX_WINDOW:
        raise ValueError(
            f"end must be 0 to {_MAX_WINDOW.days} days after start; got {start!s} and {end!s}."
        )
    return {"start": first.isoformat(), "end": last.isoformat()}


def _moment(value: object, name: str) -> datetime:
    with contextlib.suppress(ValueError, OverflowError):
        if isinstance(value, str):
            return _as_utc(datetime.fromisoformat(value))
        if isinstance(value, datetime) and value.utcoffset() is not None:
            return value.astimezone(UTC)
    raise ValueError(
        f"{name} must be a datetime with a time zone, such as datetime.now(UTC), or text in "
        f"ISO 8601; got {value!r}."
    )
