"""What a failed answer says of itself: its words, code, status and ids, in whatever shape.

The API's own body is `{"message", "path", "requestId", "statusCode", "timestamp"}`; OpenAI's
shape, lists of messages, pages of a proxy, empty bodies and broken ones occur as well.
"""

from __future__ import annotations

import math
import re
from codecs import BOM_UTF8
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from pydantic_core import from_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from langchain_aimlernie._text import Redactor

MAX_BODY = 8 * 1024
"""Characters of a failed answer that an error keeps."""

_MAX_PARSED = 64 * 1024
_MAX_DEPTH = 8
_MAX_ITEMS = 20
_WORDS = ("message", "error", "error_msg", "detail", "details", "msg", "errors", "description")
_CODES = ("code", "error_code", "type")
_REQUEST_IDS = ("requestId", "request_id")
_STATUSES = ("statusCode", "status_code", "status", "code")
_FAILURE_KEYS = ("error", "message", "statusCode", "error_msg", "error_code", "detail", "errors")
"""Keys that no answer has without `choices`, and that stand in the bodies of errors we know."""

_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)
_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype|html|head|body)\b", re.IGNORECASE)
_OVERFLOW = re.compile(
    r"context[ _](?:length|window|size|limit)|too many (?:input |prompt )?tokens"
    r"|(?:prompt|input|messages?|request|text)[a-z ]{0,20} (?:is|are) too (?:long|large)"
    r"|(?:prompt|input)_?(?:tokens?)?_too_(?:long|large)|(?:prompt|input) tokens? too long"
    r"|max(?:imum)? (?:input|prompt|context)|(?:input|prompt) length[a-z ]{0,20} exceed"
    r"|(?:input|prompt)(?: tokens?)? exceeds?|上下文长度|输入过长|超出最大长度",
    re.IGNORECASE,
)
_CREDITS = re.compile(
    r"credit|balance|top[ -]?up|payment|billing|insufficient funds", re.IGNORECASE
)
_QUOTA = re.compile(
    r"free[- ](?:tier|plan|limit)|quota|credits|balance|daily limit|monthly limit", re.IGNORECASE
)
_DOWN = re.compile(r"maintenance|coupon", re.IGNORECASE)

_STATUS_OF_CODE: Mapping[str, int] = {
    "invalid_request_error": 400,
    "invalid_request": 400,
    "bad_request": 400,
    "validation_error": 400,
    "invalid_api_key": 401,
    "authentication_error": 401,
    "unauthorized": 401,
    "insufficient_credits": 402,
    "permission_error": 403,
    "permission_denied": 403,
    "model_not_found": 404,
    "not_found_error": 404,
    "rate_limit_exceeded": 429,
    "rate_limit_error": 429,
    "too_many_requests": 429,
    "insufficient_quota": 429,
    "server_error": 500,
    "internal_server_error": 500,
    "overloaded_error": 503,
    "service_unavailable": 503,
    "timeout": 504,
}


class Problem(NamedTuple):
    """What could be read of a failed answer; `words` may be empty."""

    words: str
    code: str | None = None
    status: int | None = None
    request_id: str | None = None

    @property
    def is_overflow(self) -> bool:
        """Whether the prompt was too long for the model."""
        return self._says(_OVERFLOW)

    @property
    def is_about_credits(self) -> bool:
        """Whether the account cannot pay."""
        return self._says(_CREDITS)

    @property
    def is_quota(self) -> bool:
        """Whether a limit was met that does not go away in seconds."""
        return self._says(_QUOTA)

    @property
    def is_shutdown(self) -> bool:
        """Whether the failure is one that stays, such as a model under maintenance."""
        return self._says(_DOWN)

    def _says(self, words: re.Pattern[str]) -> bool:
        return words.search(f"{self.code or ''} {self.words}") is not None


def parse_problem(body: object) -> Problem:
    """Read a failed answer: parsed JSON, or text where it was none."""
    if isinstance(body, str):
        return Problem(_words_of_text(body))
    if not isinstance(body, dict):
        return Problem(_words(body))
    places = [body, *(body[key] for key in ("message", "error") if isinstance(body.get(key), dict))]
    inner = places[-1].get("error")
    if len(places) > 1 and isinstance(inner, dict):
        places.append(inner)
    words, code = _words(body), _first(places, _CODES)
    status = _status(places) or _STATUS_OF_CODE.get((code or words).lower())
    return Problem(words, code, status, _first(places, _REQUEST_IDS))


def find_problem(payload: Mapping[str, object]) -> Problem | None:
    """Read the error that the JSON of a 200 or of an event may hold; `None` if it is an answer."""
    if not _is_failure(payload):
        return None
    failed = _failed_choice(payload.get("choices")) or {}
    inside = payload if payload.get("error") or not failed.get("error") else failed
    problem = parse_problem(dict(inside))
    words = problem.words or "The server answered with an error and did not say which."
    is_error = problem.status is not None and problem.status >= HTTPStatus.BAD_REQUEST
    return problem._replace(words=words, status=problem.status if is_error else None)


def _is_failure(payload: Mapping[str, object]) -> bool:
    if payload.get("error"):
        return True
    choices = payload.get("choices")
    if not choices:
        return "choices" not in payload and any(key in payload for key in _FAILURE_KEYS)
    return _failed_choice(choices) is not None


def _failed_choice(choices: object) -> Mapping[str, object] | None:
    if isinstance(choices, list):
        for choice in choices:
            if isinstance(choice, dict) and choice.get("finish_reason") == "error":
                return choice
    return None


def _words_of_text(text: str) -> str:
    if not _PAGE.match(text):
        return text.strip()
    title = _TITLE.search(text)
    return f'a page of HTML titled "{title[1].strip()}"' if title else "a page of HTML"


def _words(value: object, depth: int = 0) -> str:
    if isinstance(value, str):
        return value.strip()
    if depth > _MAX_DEPTH:
        return ""
    if isinstance(value, list):
        return "; ".join(filter(None, (_words(item, depth + 1) for item in value[:_MAX_ITEMS])))
    if isinstance(value, dict):
        found = (_words(value[key], depth + 1) for key in _WORDS if key in value)
        return next(filter(None, found), "")
    return ""


def _first(places: Sequence[Mapping[str, object]], keys: Sequence[str]) -> str | None:
    """The innermost text or whole number under one of `keys`."""
    for value in (place.get(key) for place in reversed(places) for key in keys):
        if isinstance(value, str) and value:
            return clip(value, 200)
        if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9:
            return str(value)
    return None


def _status(places: Sequence[Mapping[str, object]]) -> int | None:
    for value in (place.get(key) for place in places for key in _STATUSES):
        if isinstance(value, str | int | float) and re.fullmatch(r"[1-5]\d\d(?:\.0)?", str(value)):
            return int(float(value))
    return None


def phrase_of(status: int) -> str:
    """Say in words what a status means whose body says nothing."""
    try:
        return f"{HTTPStatus(status).phrase}; the server did not say more."
    except ValueError:
        return "The server answered with a status that HTTP does not know."


def phrase_of_redirect(headers: Mapping[str, str]) -> str:
    """Say where a redirect would have led."""
    try:
        host = urlsplit(headers.get("location", "")).hostname
    except ValueError:
        host = None
    return (
        f"The server sends us on to {host or 'another address'}. Redirects are not followed: "
        "the key and the messages stay with base_url."
    )


def parse_body(body: bytes, redactor: Redactor) -> object:
    """Give the JSON of a failed answer, else its text; secrets blotted out, never an error."""
    text = redactor.text(body.removeprefix(BOM_UTF8).decode(errors="replace"))
    if len(text) > _MAX_PARSED:
        return text[:MAX_BODY]
    try:
        value = from_json(text)
    except ValueError:
        return text
    return redactor.json(value) if isinstance(value, dict | list) else text


def clip(text: str, limit: int) -> str:
    """Give `text` on one line of at most `limit` characters.

    What is not printable is escaped: a server must not write lines into the user's log.
    """
    shown = text[:limit]
    if not shown.isprintable():
        shown = "".join(map(_printable, shown))
    if len(text) <= limit and len(shown) <= limit:
        return shown
    return f"{shown[: limit - 1]}…"


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    return " " if char.isspace() else ascii(char)[1:-1]


def parse_retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Give the seconds that the server asks to wait, `None` if it asks nothing that makes sense.

    `retry-after-ms` goes before `Retry-After`, which is seconds or an HTTP date (RFC 9110,
    10.2.3); a date is compared with `now`, in seconds since the epoch. A time gone by is 0.
    """
    asked = _number(headers.get("retry-after-ms"))
    if asked is not None and asked >= 0:
        return asked / 1000
    value = headers.get("retry-after", "")
    asked = _number(value.partition(",")[0])
    if asked is not None:
        return asked if asked >= 0 else None
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number
