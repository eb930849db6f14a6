"""Errors as servers send them, from their documentation and from public reports.

`error_samples.jsonl` has one a line: the server, its response, and the error that must be made of
it. At least one sample matches each wording of the package; those of `BadRequestError` are near
misses, which no shorter prompt makes right. Names in the samples are shortened, numbers are kept.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple


def openai(message: str, code: object = None, kind: str | None = "invalid_request_error") -> dict:
    """The form of OpenAI and of most servers that speak its protocol."""
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


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


class Sample(NamedTuple):
    """An error, and what must be made of it."""

    server: str
    status: int
    body: object
    error: str
    retryable: bool = False
    headers: tuple[tuple[str, str], ...] = ()


def _sample(line: str) -> Sample:
    fields = json.loads(line)
    return Sample(**{**fields, "headers": tuple(fields.get("headers", {}).items())})


_FILE = Path(__file__).with_suffix(".jsonl")
SAMPLES = tuple(map(_sample, _FILE.read_text(encoding="utf-8").splitlines()))
