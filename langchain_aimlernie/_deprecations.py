"""The deprecations feed: deprecated, superseded and withdrawn models, and their replacements.

`GET /v1/models/deprecations` is sent without a key, which it does not need. The feed is optional
information: if the request fails, no error is raised.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from langchain_aimlernie._get import ETagCache, build_request, get
from langchain_aimlernie._response.schema import is_object, parse_json, string_or_none, strings
from langchain_aimlernie._settings.values import endpoint_url, is_default_host
from langchain_aimlernie._text import NO_SECRETS, truncate
from langchain_aimlernie.errors import InvalidResponseError, NotFoundError
from langchain_aimlernie.profiles import find_model

if TYPE_CHECKING:
    from langchain_aimlernie._http import Transport

_TIMEOUT = 5.0
"""Seconds; short, since the result or error that the caller wants is there already."""

_MAX_AGE = 300.0
"""Seconds for which a response is reused without a request: the `max-age` of the API."""

_LISTS = ("data", "models")
_MAX_NAME = 100

_etag_cache: ETagCache = {}


@dataclass(frozen=True, slots=True)
class Deprecation:
    """An entry of the feed; `ModelCard` describes its attributes."""

    status: str
    deprecated_at: datetime | None = None
    shutdown_at: datetime | None = None
    replaced_by: str | None = None
    reason: str | None = None


Deprecations = Mapping[str, Deprecation]
"""The entries by ids and aliases; an id has priority over an equal alias."""


async def fetch_deprecations(
    transport: Transport, base_url: str, headers: Mapping[str, str]
) -> Deprecations:
    """Return the feed, with at most one request; empty if that fails.

    Only the AI/ML API and servers with its `x-inference-id` among the `headers` get the request.
    """
    if not (is_default_host(base_url) or "x-inference-id" in headers):
        return {}
    url = endpoint_url(base_url, "/models/deprecations")
    request = build_request(url, None, _TIMEOUT, 0, NO_SECRETS)
    with contextlib.suppress(Exception):
        return await get(transport, request, _decode, _etag_cache, max_age=_MAX_AGE)
    return {}


async def explain_not_found(
    error: NotFoundError, transport: Transport, base_url: str, model: str
) -> None:
    """Add the model's status and replacement in the feed, if any, to the message of a 404."""
    if error.response is None:
        return
    feed = await fetch_deprecations(transport, base_url, error.response.headers)
    entry = feed.get(model) or feed.get(find_model(model).id)
    if entry is None:
        return
    since = entry.shutdown_at or entry.deprecated_at
    text = f"{model} is listed as {truncate(entry.status, _MAX_NAME)}"
    text += f" ({since:%Y-%m-%d})" if since else ""
    if entry.replaced_by:
        text += f"; use {truncate(entry.replaced_by, _MAX_NAME)} instead"
    error.message = f"{error.message.rstrip('.')}. {text}."
    error.args = (error.message, *error.args[1:])


def _decode(_: Mapping[str, str], body: bytes) -> Deprecations:
    """Return the feed in a response.

    The key of the list is not documented: a bare list, `data` and `models` are accepted.
    """
    value = parse_json(body)
    if is_object(value):
        value = next((value[key] for key in _LISTS if isinstance(value.get(key), list)), None)
    if not isinstance(value, list):
        raise InvalidResponseError("The response is not a list of deprecations.")
    entries = [(item, entry) for item in value if is_object(item) and (entry := _parse(item))]
    feed = {name: entry for item, entry in entries for name in strings(item.get("aliases"))}
    return feed | {name: entry for item, entry in entries for name in strings([item.get("id")])}


def _parse(item: Mapping[str, object]) -> Deprecation | None:
    status = string_or_none(item.get("status"))
    if status is None:
        return None
    return Deprecation(
        status=status,
        deprecated_at=_date(item.get("deprecated_at")),
        shutdown_at=_date(item.get("shutdown_at")),
        replaced_by=string_or_none(item.get("replaced_by")),
        reason=string_or_none(item.get("reason")),
    )


def _date(value: object) -> datetime | None:
    """Return a date or time, in UTC unless it has an offset; `None` if it is invalid."""
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
