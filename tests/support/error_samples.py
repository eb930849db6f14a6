"""Bodies of errors as servers send them, from their documentation and from public reports.

They are in `error_samples.jsonl`, one a line. Names in the samples are shortened, numbers are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """An error, and what must be made of it."""

    group: str
    server: str
    status: int
    body: object
    error: str
    retryable: bool = False
    headers: tuple[tuple[str, str], ...] = ()


_LINES = Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines()
SAMPLES = tuple(Sample(**json.loads(line)) for line in _LINES)


def _group(name: str) -> tuple[Sample, ...]:
    return tuple(sample for sample in SAMPLES if sample.group == name)


OVERFLOWS = _group("overflows")
"""At least one for each wording of the package."""
REFUSALS = _group("refusals")
"""Near misses of these: the request is wrong, and no shorter prompt makes it right."""
RATE_LIMITS, ACCOUNTS = _group("rate_limits"), _group("accounts")


def openai(message: str, code: object = None, kind: str | None = "invalid_request_error") -> dict:
    """The form of OpenAI and of most servers that speak its protocol."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def bare(message: str, code: object = None) -> dict:
    """The same without a type."""
    return {"error": {"message": message, "code": code}}


def aimlapi(message: str, status: int) -> dict:
    """The form of AI/ML API that was observed."""
    return {
        "title": "Whatever",
        "status": status,
        "message": message,
        "instance": "/v1/chat/completions",
        "requestId": "req-0001",
        "timestamp": "2026-08-30T10:00:00.000Z",
        "error": {"name": "WhateverException", "message": message},
    }
