"""Errors as servers send them, from their documentation and from public reports.

`error_samples.jsonl` has one a line: the server, its response, and the error that must be made of
it. At least one sample matches each wording of the package; those of `BadRequestError` are near
misses, which no shorter prompt makes right. Names in the samples are shortened, numbers are kept.
"""

import json
from pathlib import Path
from typing import NamedTuple


class Sample(NamedTuple):
    """An error, and what must be made of it."""

    server: str
    status: int
    body: object
    error: str
    retryable: bool = False
    headers: tuple[tuple[str, str], ...] = ()
    in_200: str = ""
    """The error if the body comes with a 200 instead, where it is another one."""


def _sample(line: str) -> Sample:
    fields = json.loads(line)
    return Sample(**{**fields, "headers": tuple(fields.get("headers", {}).items())})


_FILE = Path(__file__).with_suffix(".jsonl")
SAMPLES = tuple(map(_sample, _FILE.read_text(encoding="utf-8").splitlines()))
