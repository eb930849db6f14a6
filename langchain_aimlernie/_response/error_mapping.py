"""Map error responses, in any format, to the classes of `langchain_aimlernie.errors`.

The API's own body is `{"message", "path", "requestId", "statusCode", "timestamp"}`; OpenAI's
format, lists of messages, pages of a proxy, empty bodies and broken ones occur as well.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from codecs import BOM_UTF8
from datetime import UTC
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from pydantic_core import from_json

from langchain_aimlernie._response import error_patterns as patterns
from langchain_aimlernie._response.schema import coerce_number, is_object, request_id_in
from langchain_aimlernie._text import NO_SECRETS, Redactor, truncate
from langchain_aimlernie.errors import (
    AimlErnieError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    ContextWindowExceededError,
    ErrorResponse,
    InsufficientCreditsError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

MAX_BODY = 8 * 1024
"""Maximum number of characters of the response that an error keeps."""

_MAX_PARSED = 64 * 1024
_MAX_MESSAGE = 500
_MAX_DEPTH = 8
_MAX_ITEMS = 20
_NO_MESSAGE = "The server returned an error without a message."
_BROKEN_OFF = "The server broke off the completion and did not say why (finish_reason {!r})."
_UNPROMPTED = "The server generated nothing (finish_reason {!r}): Ollama needs a user message."
_NOTHING: Mapping[str, str] = {}
_BY_STATUS: Mapping[int, type[AimlErnieError]] = {
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: APITimeoutError,
    410: NotFoundError,  # NVIDIA's and Hugging Face's for a withdrawn model
    425: InternalServerError,
    429: RateLimitError,
    499: InternalServerError,  # "client closed request", from a proxy; this client did not
}
_BY_STATUS_CLASS: Mapping[int, type[AimlErnieError]] = {4: BadRequestError, 5: InternalServerError}
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_REDIRECTS = range(300, 400)
_NOT_RETRYABLE = frozenset({501, 505, 511})
"""Permanent: not implemented, HTTP version, network login (RFC 9110, RFC 6585)."""

_HINTS: Mapping[type[AimlErnieError], str] = {
    AuthenticationError: "Check api_key or AIMLAPI_API_KEY.",
    InsufficientCreditsError: "Top up the account's credits; a retry cannot help.",
    ContextWindowExceededError: "Shorten the messages, lower max_tokens, or use a model with a "
    "longer context.",
    NotFoundError: "Check model (list_models() has the ids of the API) and base_url.",
    InvalidResponseError: "Check base_url.",
}

_MESSAGE_KEYS = (
    *("fault", "faultstring"),  # Apigee, WSO2
    *("message", "error_description", "error", "error_msg", "error_message", "detail", "details"),
    *("msg", "status_msg", "errorMsg", "errorMessage", "Message", "errors"),
    *("description", "reason", "title"),
)
_ENTRIES = ("detail", "details", "errors", "issues", "invalid-params", "fieldViolations")
"""Keys of lists with one entry for each invalid part of the request."""

_UPSTREAM = (("metadata", "raw"), ("value", "error_message"))
"""Where the gateways of OpenRouter and Vercel have the message of the upstream server."""

_LOCATIONS = ("loc", "field", "path", "param", "pointer", "instancePath", "property", "name")
"""Keys of an entry's location: FastAPI, Google, zod, OpenAI, RFC 9457, ajv, RFC 7807."""

_CODE_KEYS = ("code", "error_code", "errorCode", "type", "error_type", "errorType")
_REQUEST_ID_KEYS = ("requestId", "request_id")
_STATUS_KEYS = ("statusCode", "status_code", "status", "code")
_ERROR_KEYS = (
    *("error", "message", "statusCode", "error_msg", "error_code", "error_message", "detail"),
    *("errors", "msg", "errorMsg", "errorMessage"),
)
"""Keys of known error bodies; a response without choices that has one is an error."""

_FAILURES = {
    **dict.fromkeys(
        (
            *("error", "abort", "aborted", "cancelled", "canceled", "timeout"),  # vLLM, SGLang
            "recover_stop",  # FastDeploy gave up on a preempted request
            *("network_error", "insufficient_system_resource"),  # Zhipu, DeepSeek
        ),
        _BROKEN_OFF,
    ),
    **dict.fromkeys(("load", "unload"), _UNPROMPTED),
}
"""Finish reasons that are failures of the server, and their messages."""

_NO_ERROR: tuple[object, ...] = (None, 0, "", [], "0", "ok", "OK", "success", "Success")
"""Values of these keys if there is no error."""

_ERROR_TEXT = re.compile(
    rf"""\s*(?:\{{\s*["'](?:{"|".join(_ERROR_KEYS)}|type["']\s*:\s*["']error)["']|error\s*:)""",
    re.IGNORECASE,
)
"""The beginning of an error in broken JSON, or of a line such as `error: out of memory`."""

_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)
_EVENT = re.compile(r"\s*(?:(?:event|id|retry)?:.*\n)*data:(.*)")
"""An event as the body of an error response, as DashScope sends it."""

_PAGE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype|html|head|body)\b", re.IGNORECASE)
_PERMANENT = (
    *("maintenance", "coupon", "needs a user message"),
    r"sensitive[ _]words[ _]detected|new_sensitive",  # filters of New API and MiniMax, with a 500
)
_WAIT = re.compile(
    patterns.TRY_AGAIN + r"((?:\d+(?:\.\d+)? ?(?:ms|[hms]|hours?|minutes?|seconds?)(?![a-z]) ?)+)",
    re.IGNORECASE,
)
"""The time to wait in a message: `12m2.3s`, `9 seconds`, `120ms`."""

_WAIT_FIELD = re.compile(
    r'\bretry_?(?:after|delay)(?:_seconds)?\\*"\s*:[\s\\"]*(\d+(?:\.\d+)?)(?=[s"\\,}\s])',
    re.IGNORECASE,
)
"""The same as a field: Cloudflare's `"retry_after": 30`, Gemini's `"retryDelay": "38s"`."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}

_CODES_OF_STATUS: Mapping[int | None, Sequence[str]] = {
    None: ["context_length_exceeded"],  # whatever the type beside it
    400: ["invalid_request_error", "invalid_request", "bad_request", "validation_error"],
    401: ["invalid_api_key", "authentication_error", "auth_error", "unauthorized"],
    402: ["insufficient_credits"],
    403: ["permission_error", "permission_denied"],
    404: ["model_not_found", "not_found_error", "model_not_support"],
    429: [
        *("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "insufficient_quota"),
        *("exceeded_current_quota_error", "resource_exhausted"),
    ],
    500: ["server_error", "internal_server_error"],
    503: ["overloaded_error", "service_unavailable", "unavailable"],
    504: ["timeout"],
}
_STATUS_OF_CODE = {code: status for status, codes in _CODES_OF_STATUS.items() for code in codes}


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, redactor: Redactor = NO_SECRETS
) -> AimlErnieError:
    """Return the error for an HTTP response that is not a success; `body` may be incomplete."""
    parsed = _parse_body(body, redactor)
    details = _details(parsed)
    is_redirect = status in _REDIRECTS and "location" in headers
    message = _redirect_message(headers) if is_redirect else details.message
    if not message:
        phrase = _PHRASES.get(status, "Unknown HTTP status")
        message = f"{phrase}; the response has no error message."
    details = details._replace(message=message, status=status)
    return _error(details, parsed, status, headers, redactor)


def error_in_payload(
    payload: Mapping[str, object],
    headers: Mapping[str, str] = _NOTHING,
    redactor: Redactor = NO_SECRETS,
) -> AimlErnieError | None:
    """Return the error in the JSON of an event or of a response with status 200, if any.

    Its class depends on the code or status in the JSON, as otherwise on the HTTP status.
    """
    found = _failed_part(payload)
    if found is None:
        return None
    return _error_in_200(found, redactor.json(payload), headers, redactor)


def error_in_text(
    data: bytes, headers: Mapping[str, str], redactor: Redactor, *, is_error: bool
) -> AimlErnieError | None:
    """Return the error in data that is not a JSON object, of an event or with status 200, if any.

    Unless the event has the type `error` (`is_error`), the data must begin like an error.
    """
    body = _parse_body(data, redactor)
    if not is_error and not (isinstance(body, str) and _ERROR_TEXT.match(body)):
        return None
    return _error_in_200(body, body, headers, redactor)


def response_of(
    status: int, headers: Mapping[str, str], body: object, redactor: Redactor
) -> ErrorResponse:
    """Return the HTTP response for an error to keep; `body` is text or JSON without secrets."""
    if not isinstance(body, str):
        body = "" if body is None else json.dumps(body, ensure_ascii=False, default=str)
    return ErrorResponse(status, redactor.headers(headers), body[:MAX_BODY])


def _failed_part(payload: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the part of an event, or of a response with status 200, that is an error, if any."""
    choices = payload.get("choices")
    objects = [*filter(is_object, choices)] if isinstance(choices, list) else []
    for each in (payload, *objects):
        if _is_error(each.get("error")):
            return each
    status = payload.get("base_resp")  # MiniMax
    if is_object(status) and status.get("status_code") not in _NO_ERROR:
        return status
    for reason in (choice.get("finish_reason") for choice in objects):
        if failure := _FAILURES.get(str(reason).lower()):  # Cohere uses capitals
            return {"message": failure.format(reason), **payload}
    values = () if choices else map(payload.get, _ERROR_KEYS)
    return payload if any(value not in _NO_ERROR for value in values) else None


def _is_error(value: object) -> bool:
    """Whether the value of `error` is one: some servers always send one with empty fields."""
    values = value.values() if isinstance(value, dict) else (value,)
    return any(value not in _NO_ERROR for value in values)


def _error_in_200(
    found: object, body: object, headers: Mapping[str, str], redactor: Redactor
) -> AimlErnieError:
    details = _details(found)
    # An `invalid_request_error` about too many requests is not one.
    lowest = 401 if details.matches(patterns.RATE_LIMITS) else 400
    if details.status is not None and details.status < lowest:
        details = details._replace(status=None)
    return _error(details, body, 200, headers, redactor)


class _Details(NamedTuple):
    """The facts in the body of an error response; `codes` are all its codes and types."""

    message: str
    code: str | None = None
    status: int | None = None
    request_id: str | None = None
    codes: tuple[str, ...] = ()

    def implied_status(self, default: int | None = None) -> int | None:
        """Return the status that the first known code, type or message stands for."""
        names = map(str.lower, (*self.codes, self.message))
        return next((_STATUS_OF_CODE[name] for name in names if name in _STATUS_OF_CODE), default)

    def matches(self, group: tuple[str, ...]) -> bool:
        """Whether the message, a code or a type matches one of the patterns."""
        return patterns.any_of(group).search("\n".join((*self.codes, self.message))) is not None


def _error(
    details: _Details, body: object, status: int, headers: Mapping[str, str], redactor: Redactor
) -> AimlErnieError:
    cls = _class_of(details)
    hint = _HINTS.get(cls)
    message = truncate(redactor.text(details.message or _NO_MESSAGE), _MAX_MESSAGE)
    response = response_of(status, headers, body, redactor)
    headers = response.headers
    retry_after = _retry_after(headers, response.text, details.message)
    return cls(
        f"{message.rstrip('.')}. {hint}" if hint else message,
        status_code=details.status,
        request_id=details.request_id or request_id_in(headers),
        inference_id=headers.get("x-inference-id"),
        client_request_id=headers.get("x-client-request-id"),
        code=details.code,
        body=body if len(response.text) < MAX_BODY else response.text,
        retry_after=retry_after,
        response=response,
        is_retryable=_is_retryable(cls, details, headers, retry_after),
    )


def _class_of(details: _Details) -> type[AimlErnieError]:
    status, matches = details.status, details.matches
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:  # FastDeploy's status for any error
        status = details.implied_status(status)
    # A limit of tokens per minute is not one of the context. For the latter, llama.cpp and Ollama
    # send 500, gateways 500 or 503.
    is_rate = matches(patterns.RATE_LIMITS)
    if status in (None, 400, 413, 422, 500, 503) and matches(patterns.OVERFLOWS) and not is_rate:
        return ContextWindowExceededError
    if status in (None, 400, 401, 403, 412) and matches(patterns.EXHAUSTED_FUNDS):
        return InsufficientCreditsError
    if status in (None, 400) and matches(patterns.INVALID_KEYS):
        return AuthenticationError
    if status in (None, 400, 401, 503) and matches(patterns.UNKNOWN_MODELS):
        return NotFoundError
    if status is None:
        limits = patterns.FREE_TIER + patterns.EXHAUSTED_QUOTAS + patterns.LIMITS
        return RateLimitError if is_rate or matches(limits) else InternalServerError
    return _BY_STATUS.get(status) or _BY_STATUS_CLASS.get(status // 100, InvalidResponseError)


def _is_retryable(
    cls: type[AimlErnieError],
    details: _Details,
    headers: Mapping[str, str],
    retry_after: float | None,
) -> bool:
    matches = details.matches
    if headers.get("x-should-retry") == "false" or details.status in _NOT_RETRYABLE:
        return False
    if cls is RateLimitError:
        # Funds and the free tier are not restored within seconds, a quota only if the response
        # says so.
        is_brief = retry_after is not None or matches(patterns.RATE_LIMITS)
        is_used_up = matches(patterns.EXHAUSTED_QUOTAS) and not is_brief
        # Gemini calls a limit per minute "your current quota", too, but with a time to wait.
        is_unpaid = matches(patterns.EXHAUSTED_FUNDS) and not _WAIT.search(details.message)
        return not (is_used_up or is_unpaid or matches(patterns.FREE_TIER))
    if cls is InternalServerError:
        return not matches(_PERMANENT)
    return cls.is_retryable and cls is not InvalidResponseError


def _details(body: object) -> _Details:
    """Return the facts of an error body: parsed JSON, or text if it is not valid JSON."""
    if isinstance(body, list) and len(body) == 1:
        body = body[0]  # as Gemini sends it
    if not isinstance(body, dict):
        return _Details(_message(body))
    levels = [*filter(is_object, map(body.get, ("error", "errors", "message"))), body]
    if is_object(inner := levels[0].get("error")):
        levels.insert(0, inner)
    statuses = filter(re.compile(r"[1-5]\d\d").fullmatch, _texts(levels[::-1], _STATUS_KEYS))
    details = _Details(
        _message(body),
        code=next(_texts(levels, _CODE_KEYS), None),
        status=next(map(int, statuses), None),
        request_id=next(_texts(levels, _REQUEST_ID_KEYS), None),
        codes=tuple(_texts(levels, (*_CODE_KEYS, "status"))),
    )
    return details._replace(status=details.status or details.implied_status())


def _message(value: object, depth: int = 0) -> str:
    """Return the message in a JSON value; `depth` is that of the value in the body."""
    if isinstance(value, str):
        return _message_in_text(value.strip(), depth)
    if depth > _MAX_DEPTH or not isinstance(value, list | dict):
        return ""
    if isinstance(value, list):
        return _join(_entry(item, depth + 1) for item in value[:_MAX_ITEMS])
    about_all = [
        key
        for key in _MESSAGE_KEYS
        if key in value and not (key in _ENTRIES and isinstance(value[key], list))
    ]
    found = next(filter(None, (_message(value[key], depth + 1) for key in about_all)), "")
    entries = _entries(value, depth + 1)
    if found in entries:
        return entries
    return found if entries in found else f"{found}; {entries}"


def _message_in_text(text: str, depth: int) -> str:
    """Return the text, or the message in it if it is JSON, as proxies forward it, or a page."""
    if text.startswith(("{", "[")) and depth <= _MAX_DEPTH:
        with contextlib.suppress(ValueError):
            return _message(from_json(text), depth + 1) or text
    if not _PAGE.match(text):
        return text
    title = _TITLE.search(text)
    return f'a page of HTML titled "{title[1].strip()}"' if title else "a page of HTML"


def _entries(value: Mapping[str, object], depth: int) -> str:
    """Return the messages about parts of the request, with their locations; "" if there are none.

    A gateway's error contains that of the upstream server, too.
    """
    error = value.get("error")
    inside = _entries(error, depth + 1) if isinstance(error, dict) and depth <= _MAX_DEPTH else ""
    upstream = [(value.get(outer), inner) for outer, inner in _UPSTREAM]
    texts = [each.get(inner) for each, inner in upstream if isinstance(each, dict)]
    lists = [_as_list(value[key]) for key in _ENTRIES if key in value]
    return _join((inside, *(_message(entries, depth) for entries in (*texts, *lists))))


def _as_list(value: object) -> object:
    """Return `{field: [messages]}`, as ASP.NET and Rails write it, as a list of entries."""
    if isinstance(value, dict) and all(isinstance(messages, list) for messages in value.values()):
        return [{"loc": field, "msg": messages} for field, messages in value.items()]
    return value if isinstance(value, list) else []


def _entry(item: object, depth: int) -> str:
    """Return the message about a part of the request, after its location."""
    message = _message(item, depth)
    for location in map(item.get, _LOCATIONS) if message and is_object(item) else ():
        parts = location if isinstance(location, list) else [location]
        if location and all(isinstance(part, str | int) for part in parts):
            return f"{'.'.join(map(str, parts))}: {message}"
    return message


def _join(texts: Iterable[str]) -> str:
    return "; ".join(filter(None, texts))


def _texts(levels: Sequence[Mapping[str, object]], keys: Sequence[str]) -> Iterator[str]:
    """Yield the texts and integers under `keys`, in the order of the levels."""
    for value in (level.get(key) for level in levels for key in keys):
        if isinstance(value, str) and value:
            yield truncate(value, 200)
        elif isinstance(number := coerce_number(value), int) and abs(number) < 10**9:
            yield str(number)


def _redirect_message(headers: Mapping[str, str]) -> str:
    try:
        host = urlsplit(headers.get("location", "")).hostname
    except ValueError:
        host = None
    return (
        f"The server redirects to {host or 'another address'}. Redirects are not followed, so that "
        "the key and the messages are sent to base_url only."
    )


def _parse_body(body: bytes, redactor: Redactor) -> object:
    """Return the JSON of an error body, or its text, with secrets redacted; never raises."""
    text = body[:_MAX_PARSED].removeprefix(BOM_UTF8).decode(errors="replace")
    text = redactor.text(text)
    try:
        event = _EVENT.match(text)
        value = from_json(event[1] if event else text)
    except ValueError:
        return text
    return redactor.json(value) if isinstance(value, dict | list) else text


def _retry_after(headers: Mapping[str, str], body: str, message: str) -> float | None:
    """Return the seconds that the server asks to wait; `None` if it does not.

    `retry-after-ms` takes precedence over `Retry-After`, which is seconds or an HTTP date (RFC
    9110, 10.2.3). Gateways may drop both, leaving it in the body only. A past date is 0.
    """
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    for text, unit in ((milliseconds, 1000), (value.partition(",")[0], 1)):
        with contextlib.suppress(ValueError):
            seconds = float(text) / unit
            if seconds >= 0:
                return seconds
    with contextlib.suppress(ValueError, TypeError, OverflowError, IndexError):
        date = parsedate_to_datetime(value)  # RFC 9110 has no zone but GMT
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - time.time())
    if field := _WAIT_FIELD.search(body):
        return float(field[1])
    if not (found := _WAIT.search(message)):
        return None
    parts = re.findall(r"([\d.]+) ?(ms|[hms])", found[1].lower())
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
