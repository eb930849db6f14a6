"""The account of the local server: its key, balance, spend and log, and the deprecations feed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from langchain_aimlernie.testing.models import CREDIT

if TYPE_CHECKING:
    from langchain_aimlernie.testing.models import ServedModel

BALANCE = Decimal(100)
"""US dollars of a new server's account."""

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

_CREATED = "2025-12-01T00:00:00.000Z"
_PERIOD = re.compile(r"([1-9]\d{0,4})([hd])")
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1)}
_MAX_WINDOW = timedelta(days=92)
_MAX_LIMIT = 100
_DEFAULT_LIMIT = 50

Query = Mapping[str, Sequence[str]]
Row = dict[str, Any]


class QueryError(ValueError):
    """A query parameter that the API rejects."""


def log_row(ids: Mapping[str, str | None], model: str, status: int, billed: Row) -> Row:
    """Return the row of a request in the log.

    Args:
        ids: Its ids, by their names in the row.
        model: The model's id.
        status: The HTTP status of the response.
        billed: `cost` and `tokens` of the row.
    """
    return {
        "created": _text_of(datetime.now(UTC)),
        "status": "succeeded" if status < 400 else "failed",  # noqa: PLR2004  HTTP
        "origin": "api",
        "model": model,
        **billed,
        **ids,
    }


def bill_of(model: ServedModel, usage: object, meta: object, prompt_tokens: int) -> Row:
    """Return `cost` and `tokens` of a row: what the response stated, else the model's price."""
    tokens = token_counts(as_object(usage) or {"prompt_tokens": prompt_tokens})
    stated = stated_cost(meta)
    usd, credits_used = (_number(stated.get(key)) for key in ("usd_spent", "credits_used"))
    if usd is None:
        usd = (model.price(*tokens) if credits_used is None else credits_used) * CREDIT
    if credits_used is None:
        credits_used = round(usd / CREDIT)
    return bill(usd, credits_used, *tokens)


def token_counts(usage: object) -> tuple[int, int]:
    """Return the tokens of prompt and completion that a usage of any shape states."""
    stated = as_object(usage)
    return int(count_of(stated, "prompt_tokens")), int(count_of(stated, "completion_tokens"))


def stated_cost(meta: object) -> Mapping[str, object]:
    """Return the cost that a `meta` of any shape states."""
    return as_object(as_object(meta).get("usage"))


def bill(usd: float = 0, credits_used: float = 0, prompt: int = 0, completion: int = 0) -> Row:
    """Return `cost` and `tokens` of a row; nothing for a failed request."""
    return {
        "cost": {"usd": round(usd, 10), "credits": credits_used},
        "tokens": {"input": prompt, "output": completion, "total": prompt + completion},
    }


def as_object(value: object) -> Mapping[str, object]:
    """Return a JSON object; empty for what a script has in its place."""
    return value if isinstance(value, dict) else {}


def count_of(held: Mapping[str, object], key: str) -> float:
    """Return a number of an object; 0 for what a script has in its place."""
    return _number(held.get(key)) or 0


def _number(value: object) -> float | None:
    return value if isinstance(value, (int, float)) and math.isfinite(value) else None


def usd_of(rows: Iterable[Row]) -> Decimal:
    """Return the US dollars that requests were charged."""
    return sum((Decimal(str(row["cost"]["usd"])) for row in rows), Decimal(0))


def key_info(key: str | None, spent: Decimal) -> Row:
    """Return the body of `GET /v1/key`."""
    return {
        "data": {
            "name": "ErnieServer",
            "disabled": False,
            "prefix": (key or "none")[:8],
            "scopes": ["model:chat"],
            "limit": None,
            "created_at": _CREATED,
            "updated_at": _CREATED,
            "monthly_usage": float(spent),
        }
    }


def balance(usd: Decimal) -> Row:
    """Return the body of `GET /v2/billing`."""
    return {"current_balance": float(usd), "currency": "USD"}


def usage(query: Query, rows: Iterable[Row]) -> Row:
    """Return the body of `GET /v2/usage`.

    Raises:
        QueryError: The window of time is invalid.
    """
    start, end = _window(query)
    found = list(_within(rows, start, end))
    charged = [row for row in found if row["cost"]["usd"]]
    return {
        "api_key_prefix": None,
        "start": _text_of(start),
        "end": _text_of(end),
        "spend": float(usd_of(found)),
        "currency": "USD",
        "requests": len(charged),
    }


def logs(query: Query, rows: Sequence[Row]) -> Row:
    """Return the body of `GET /v2/logs`: a page of the rows, which are the oldest first.

    Raises:
        QueryError: The window of time, `limit` or `offset` is invalid.
    """
    limit = _integer(query, "limit", 1, _MAX_LIMIT, _DEFAULT_LIMIT)
    offset = _integer(query, "offset", 0, None, 0)
    models, statuses = query.get("model"), query.get("status")
    found = [
        row
        for row in _within(reversed(rows), *_window(query))
        if (models is None or {row["model"], row["model"].rpartition("/")[2]} & {*models})
        and (statuses is None or row["status"] in statuses)
    ]
    page = found[offset : offset + limit]
    pagination = {"limit": limit, "offset": offset, "total": len(found)}
    return {
        "data": page,
        "pagination": {**pagination, "has_more": offset + len(page) < len(found)},
    }


def deprecations(query: Query, entries: Iterable[Mapping[str, object]]) -> Row:
    """Return the body of `GET /v1/models/deprecations`; unknown filters are ignored."""
    statuses, since = query.get("status"), query.get("since")
    found = [
        entry
        for entry in entries
        if (statuses is None or entry.get("status") in statuses)
        and (since is None or str(entry.get("deprecated_at")) >= since[-1])
    ]
    return {"generated_at": _CREATED, "data": found}


def withdrawn(entries: Iterable[Mapping[str, Any]]) -> set[object]:
    """Return the ids and aliases of the models that get a 404."""
    gone = [entry for entry in entries if entry.get("status") == "withdrawn"]
    return {name for entry in gone for name in (entry.get("id"), *(entry.get("aliases") or ()))}


def _window(query: Query) -> tuple[datetime, datetime]:
    period, start, end = (query.get(key, [""])[-1] for key in ("period", "start", "end"))
    if period and (start or end):
        raise QueryError("Provide either period or start and end, not both")
    if not (start or end):
        found = _PERIOD.fullmatch(period or "7d")
        if found is None:
            raise QueryError("period must be a positive integer followed by h or d")
        now = datetime.now(UTC)
        return now - int(found[1]) * _UNITS[found[2]], now
    try:
        first, last = (_moment(each) for each in (start, end))
    except ValueError:
        raise QueryError("start and end must be ISO 8601 dates, both of them") from None
    if not timedelta(0) <= last - first <= _MAX_WINDOW:
        raise QueryError("end must not be earlier than start, nor more than 92 days later")
    return first, last


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _within(rows: Iterable[Row], start: datetime, end: datetime) -> Iterable[Row]:
    # Rows have whole milliseconds.
    first, last = _text_of(start), _text_of(end)
    return (row for row in rows if first <= row["created"] <= last)


def _text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _integer(query: Query, name: str, low: int, high: int | None, default: int) -> int:
    text = (query.get(name) or [str(default)])[-1]
    if not re.fullmatch(r"\d{1,9}", text, re.ASCII):
        raise QueryError(f"{name} must be an integer")
    value = int(text)
    if value < low or (high is not None and value > high):
        raise QueryError(f"{name} must be {low} or more" + (f", at most {high}" if high else ""))
    return value
