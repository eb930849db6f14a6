"""The account of the local server: its balance and log, and the deprecations feed."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, NamedTuple

from pydantic import BaseModel, BeforeValidator, Field, ValidationError

from langchain_aimlernie.testing.models import CREDIT, ServedModel
from langchain_aimlernie.testing.replies import KEPT_REQUESTS

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

Query = Mapping[str, Sequence[str]]
Row = dict[str, Any]


def _moment(values: Sequence[str]) -> datetime:
    moment = datetime.fromisoformat(values[-1])
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


_Last = BeforeValidator(lambda values: values[-1])
_Moment = Annotated[datetime, BeforeValidator(_moment)]


class _Window(BaseModel):
    """The parameters of `GET /v2/usage`; others are ignored."""

    period: Annotated[str, _Last, Field(pattern=r"^[1-9][0-9]{0,4}[hd]$")] | None = None
    start: _Moment | None = None
    end: _Moment | None = None

    def bounds(self) -> tuple[datetime, datetime]:
        """Return start and end; those of the last seven days if the query names none."""
        if self.start is None and self.end is None:
            period, now = self.period or "7d", datetime.now(UTC)
            return now - int(period[:-1]) * _UNITS[period[-1]], now
        if self.period is not None or self.start is None or self.end is None:
            raise ValueError("Provide either period, or both start and end")
        if not timedelta(0) <= self.end - self.start <= _MAX_WINDOW:
            raise ValueError("end must not be earlier than start, nor more than 92 days later")
        return self.start, self.end


class _Page(_Window):
    """The parameters of `GET /v2/logs`."""

    limit: Annotated[int, _Last, Field(ge=1, le=100)] = 50
    offset: Annotated[int, _Last, Field(ge=0)] = 0


class Bill(NamedTuple):
    """What a request costs, and the tokens of its prompt and completion."""

    usd: float = 0
    credits_used: float = 0
    prompt: int = 0
    completion: int = 0


class Account:
    """The balance in US dollars, and the log with a row for each chat request, the newest first."""

    def __init__(self) -> None:
        self.balance = Decimal(100)
        self._rows: deque[Row] = deque(maxlen=KEPT_REQUESTS)

    def charge(self, ids: Mapping[str, str | None], model: str, bill: Bill | None) -> None:
        """Charge a request, and log it under its ids; one without a bill has failed."""
        usd, credits_used, prompt, completion = bill or Bill()
        row: Row = {
            "created": _text_of(datetime.now(UTC)),
            "status": "succeeded" if bill else "failed",
            "origin": "api",
            "model": model,
            "cost": {"usd": round(usd, 10), "credits": credits_used},
            "tokens": {"input": prompt, "output": completion, "total": prompt + completion},
            **ids,
        }
        self._rows.appendleft(row)
        self.balance -= _spend([row])

    def read(self, path: str, values: Query, key: str | None) -> Row:
        """Return the body of `GET` on a path of the account.

        Raises:
            ValueError: A parameter of the query is invalid.
        """
        if path == "/v1/key":
            return {"data": _key_info(key, _spend(self._rows))}
        if path == "/v2/billing":
            return {"current_balance": float(self.balance), "currency": "USD"}
        try:
            query = (_Page if path == "/v2/logs" else _Window).model_validate(values)
        except ValidationError as error:
            wrong = [f"{each['loc'][0]}: {each['msg']}" for each in error.errors()]
            raise ValueError("; ".join(wrong)) from None
        start, end = map(_text_of, query.bounds())
        rows = [row for row in self._rows if start <= row["created"] <= end]
        return _logs(query, rows) if isinstance(query, _Page) else _usage(start, end, rows)


def _key_info(key: str | None, spent: Decimal) -> Row:
    return {
        "name": "ErnieServer",
        "disabled": False,
        "prefix": (key or "none")[:8],
        "scopes": ["model:chat"],
        "limit": None,
        "created_at": CREATED,
        "updated_at": CREATED,
        "monthly_usage": float(spent),
    }


def _usage(start: str, end: str, rows: Sequence[Row]) -> Row:
    return {
        "api_key_prefix": None,
        "start": start,
        "end": end,
        "spend": float(_spend(rows)),
        "currency": "USD",
        "requests": len([row for row in rows if row["cost"]["usd"]]),
    }


def _logs(query: _Page, rows: Sequence[Row]) -> Row:
    end = query.offset + query.limit
    page = {"limit": query.limit, "offset": query.offset, "total": len(rows)}
    return {
        "data": rows[query.offset : end],
        "pagination": {**page, "has_more": end < len(rows)},
    }


def _spend(rows: Iterable[Row]) -> Decimal:
    return sum((Decimal(str(row["cost"]["usd"])) for row in rows), Decimal(0))


def _text_of(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def numbers(value: object, *path: str) -> dict[str, float]:
    """Return the finite numbers of the object under `path`; a script may have anything there."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    held = value.items() if isinstance(value, dict) else ()
    return {k: each for k, each in held if isinstance(each, (int, float)) and math.isfinite(each)}


def token_counts(usage: object) -> tuple[int, int]:
    """Return the tokens of prompt and completion that a usage of any shape states."""
    stated = numbers(usage)
    return int(stated.get("prompt_tokens", 0)), int(stated.get("completion_tokens", 0))


def bill(model: ServedModel, usage: object, meta: object, prompt_tokens: int) -> Bill:
    """Return the bill of a response: what it stated, else the model's price."""
    is_stated = isinstance(usage, dict) and usage
    tokens = token_counts(usage) if is_stated else (prompt_tokens, 0)
    stated = numbers(meta, "usage")
    usd, credits_used = stated.get("usd_spent"), stated.get("credits_used")
    if usd is None:
        usd = (model.price(*tokens) if credits_used is None else credits_used) * CREDIT
    return Bill(usd, round(usd / CREDIT) if credits_used is None else credits_used, *tokens)


def withdrawn(entries: Iterable[Mapping[str, Any]]) -> set[object]:
    """Return the ids and aliases of the models that get a 404."""
    gone = [entry for entry in entries if entry.get("status") == "withdrawn"]
    return {name for entry in gone for name in (entry.get("id"), *(entry.get("aliases") or ()))}
