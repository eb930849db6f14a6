"""Requests as the server received them, for tests to read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs


class Headers(Mapping[str, str]):
    """HTTP headers by name in any case; a repeated one is joined by commas (RFC 9110 5.3)."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self._values: dict[str, str] = {}
        for name, value in pairs:
            key = name.lower()
            self._values[key] = f"{self._values[key]}, {value}" if key in self._values else value

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({self._values})"


@dataclass(slots=True)
class Request:
    """A request, and how it was answered.

    Attributes:
        method: The HTTP method.
        path: The path, without the query.
        query: The query parameters, each with all its values.
        headers: By name in any case.
        raw: The body's bytes.
        connection: Which connection it came on, counted from 1.
        number: Which request to the server it is, counted from 1.
        id: Unique across servers; the ids in the response contain it.
        body: The body as parsed JSON; None if it is not JSON.
        violations: The body's violations of the published schema, unknown top-level fields
            included.
        ignored: Paths of keys in the body that the API would not read.
        status: The status of the response; None while there is none.
        usage: The usage that was sent with the response, if any.
        meta: The `meta` that was sent with the response, if any.
        complete: Whether the response was sent completely.
    """

    method: str
    path: str
    query: dict[str, list[str]]
    headers: Headers
    raw: bytes = b""
    connection: int = 0
    number: int = 0
    id: str = ""
    body: Any = None
    violations: list[str] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)
    status: int | None = None
    usage: Mapping[str, Any] | None = None
    meta: Mapping[str, Any] | None = None
    complete: bool = False

    @classmethod
    def from_head(cls, method: str, target: str, headers: Headers) -> Request:
        """Return a request whose body has not been read yet."""
        path, _, query = target.partition("?")
        return cls(method, path, parse_qs(query), headers)
