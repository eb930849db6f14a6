"""The account of the local server: its balance and log, and the deprecations feed."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from http import HTTPStatus
from typing import Any

from langchain_aimlernie.testing.models import CREDIT, ServedModel
from langchain_aimlernie.testing.replies import KEPT_REQUESTS, Reply

DEPRECATIONS: tuple[Mapping[str, object], ...] = (
    {
        "id": "baidu/ernie-4-5-8k-preview",
        "aliases": ["ernie-4-5-8k-preview"],
        "status": "deprecated",
        "deprecated_at": "2026-06-01T00:00:00.000Z",
        "shutdown_at": "2027-06-01T00:00:00.000Z",
        "replaced_by": "baidu/ernie-4-5-turbo-128k",
        "reason": "Made up by ErnieServer.",
    },
    {
        "id": "baidu/ernie-4-0-8k",
        "aliases": ["ernie-4-0-8k"],
        "status": "withdrawn",
        "deprecated_at": "2025-12-01T00:00:00.000Z",
        "shutdown_at": "2026-06-01T00:00:00.000Z",
        "replaced_by": "baidu/ernie-4.5-21b-a3b",
        "reason": "Made up by ErnieServer.",
    },
)

CREATED = "2025-12-01T00:00:00.000Z"
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}
_MAX_WINDOW = timedelta(days=92)
_TOO_LARGE = 1e18  # for a cost or a number of tokens

Row = dict[str, Any]


class Account:
    """The balance in US dollars, and the log: a row for each chat request, newest first."""

    def __init__(self) -> None:
        self.balance = Decimal(100)
        self._rows: deque[Row] = deque(maxlen=KEPT_REQUESTS)

    def charge(
        self, ids: Mapping[str, str | None], model: ServedModel, reply: Reply, prompt_tokens: int
    ) -> None:
        """Charge a request the price in its reply, else the model's, and log it with its ids."""
        usd: float = 0
        credits_used: float | None = 0
        tokens = 0, 0
        is_failed = reply.status >= HTTPStatus.BAD_REQUEST
        if not is_failed:
            is_stated = isinstance(reply.usage, dict) and reply.usage
            tokens = token_counts(reply.usage) if is_stated else (prompt_tokens, 0)
            stated = numbers(reply.meta, "usage")
            credits_used = stated.get("credits_used")
            price = model.price(*tokens) if credits_used is None else credits_used
            usd = stated.get("usd_spent", price * CREDIT)
        row: Row = {
            "created": _text_of(datetime.now(UTC)),
            "status": "failed" if is_failed else "succeeded",
            "origin": "api",
            "model": model.id,
            "cost": {
                "usd": round(usd, 10),
                "credits": round(usd / CREDIT) if credits_used is None else credits_used,
            },
            "tokens": {"input": tokens[0], "output": tokens[1], "total": sum(tokens)},
            **ids,
        }
        self._rows.appendleft(row)
        self.balance -= _spend([row])

    def read(self, path: str, values: Mapping[str, Sequence[str]], key: str | None) -> Row:
        """Return the body of the response to `GET` on a path of the account.

        Raises:
            ValueError: A query parameter is invalid.
        """
        if path == "/v1/key":
            return {
                "data": {
                    "name": "ErnieServer",
                    "disabled": False,
                    "prefix": (key or "none")[:8],
                    "scopes": ["model:chat"],
                    "limit": None,
                    "created_at": CREATED,
                    "updated_at": CREATED,
                    "monthly_usage": float(_spend(self._rows)),
                }
            }
        if path == "/v2/billing":
            return {"current_balance": float(self.balance), "currency": "USD"}
        query = {name: each[-1] for name, each in values.items()}
        start, end = map(_text_of, _window(query))
        rows = [row for row in self._rows if start <= row["created"] <= end]
        if path == "/v2/usage":
            return {
                "api_key_prefix": None,
                "start": start,
                "end": end,
                "spend": float(_spend(rows)),
                "currency": "USD",
                "requests": len([row for row in rows if row["cost"]["usd"]]),
            }
        limit = _integer(query, "limit", 50, range(1, 101))
        offset = _integer(query, "offset", 0, range(2**31))
        more = offset + limit < len(rows)
        page = {"limit": limit, "offset": offset, "total": len(rows), "has_more": more}
        return {"data": rows[offset : offset + limit], "pagination": page}


def _window(query: Mapping[str, str]) -> tuple[datetime, datetime]:
    """Return start and end of the window that a query names, by default the last seven days."""
    period = query.get("period")
    named = [_moment(query, name) for name in ("start", "end") if name in query]
    if not named:
        found = re.fullmatch(r"([1-9][0-9]{0,4})([hd])", period or "7d")
        if found is None:
            raise ValueError("period: must be a number of hours or days, such as 24h or 7d")
        now = datetime.now(UTC)
        return now - int(found[1]) * _UNITS[found[2]], now
    if period is not None or len(named) == 1:
        raise ValueError("Provide either period, or both start and end")
    start, end = named
    if not timedelta(0) <= end - start <= _MAX_WINDOW:
        raise ValueError("end must not be earlier than start, nor more than 92 days later")
    return start, end


def _moment(query: Mapping[str, str], name: str) -> datetime:
    try:
        moment = datetime.fromisoformat(query[name])
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _integer(query: Mapping[str, str], name: str, default: int, allowed: range) -> int:
    given = query.get(name, str(default))
    value = int(given) if given.isdecimal() else None
    if value is None or value not in allowed:
        raise ValueError(f"{name}: must be from {allowed[0]} to {allowed[-1]}")
    return value


def _spend(rows: Iterable[Row]) -> Decimal:
    return sum((Decimal(str(row["cost"]["usd"])) for row in rows), Decimal(0))


def _text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def numbers(value: object, *path: str) -> dict[str, float]:
    """Return the numbers in the object at `path`; a script may have any value there."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    items = value.items() if isinstance(value, dict) else ()
    return {k: each for k, each in items if type(each) in (int, float) and abs(each) < _TOO_LARGE}


def token_counts(usage: object) -> tuple[int, int]:
    """Return the tokens of prompt and completion in a usage of any form."""
    stated = numbers(usage)
    return int(stated.get("prompt_tokens", 0)), int(stated.get("completion_tokens", 0))


def withdrawn(entries: Iterable[Mapping[str, Any]]) -> set[object]:
    """Return the ids and aliases of the models that get a 404."""
    found = [entry for entry in entries if entry.get("status") == "withdrawn"]
    return {name for entry in found for name in (entry.get("id"), *(entry.get("aliases") or ()))}
