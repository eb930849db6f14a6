"""Error responses to the classes of `langchain_aimlernie.errors`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, NamedTuple

from langchain_aimlernie._response.error_body import (
    MAX_BODY,
    NO_MESSAGE,
    ErrorDetails,
    find_error,
    is_error_text,
    parse_body,
    parse_error_body,
    parse_retry_after,
    redirect_message,
    status_message,
)
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
    from collections.abc import Mapping

_MAX_MESSAGE = 500
_NOTHING: Mapping[str, str] = {}
_REQUEST_IDS = ("x-request-id", "request-id", "x-litellm-call-id")
_BY_STATUS: Mapping[int, type[AimlErnieError]] = {
    401: AuthenticationError,
    402: InsufficientCreditsError,
    403: PermissionDeniedError,
    404: NotFoundError,
    408: APITimeoutError,
    425: InternalServerError,
    429: RateLimitError,
}
_BY_STATUS_CLASS: Mapping[int, type[AimlErnieError]] = {4: BadRequestError, 5: InternalServerError}
_REDIRECTS = range(300, 400)
_NOT_RETRYABLE = frozenset({501, 505, 511})
"""Server errors that stay: not implemented, HTTP version, network login (RFC 9110, RFC 6585)."""

_HINTS: Mapping[type[AimlErnieError], str] = {
    AuthenticationError: "Check api_key or AIMLAPI_API_KEY.",
    InsufficientCreditsError: "Top up the account's credits; a retry cannot help.",
    ContextWindowExceededError: "Shorten the messages, lower max_tokens, or use a model with a "
    "longer context.",
    NotFoundError: "Check model and base_url.",
    InvalidResponseError: "Check base_url.",
}


def error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, *, redactor: Redactor = NO_SECRETS
) -> AimlErnieError:
    """Return the error for an HTTP response that is not a success.

    Args:
        status: The HTTP status.
        headers: The response headers.
        body: The body, or the part received.
        redactor: Removes secrets.
    """
    parsed = parse_body(body, redactor)
    details = parse_error_body(parsed)
    message = redirect_message(headers) if status in _REDIRECTS else details.message
    details = details._replace(message=message or status_message(status), status=status)
    return _error(details, parsed, _ResponseContext(status, headers, redactor))


def error_in_payload(
    payload: Mapping[str, object],
    *,
    headers: Mapping[str, str] = _NOTHING,
    redactor: Redactor = NO_SECRETS,
) -> AimlErnieError | None:
    """Return the error in the JSON of a 200 or of an event; `None` if it has none.

    The class depends on the code or status inside, as it does on an HTTP status.
    """
    details = find_error(payload)
    if details is None:
        return None
    return _error(details, redactor.json(payload), _ResponseContext(200, headers, redactor))


def error_in_text(
    data: bytes,
    *,
    is_error: bool = False,
    headers: Mapping[str, str] = _NOTHING,
    redactor: Redactor = NO_SECRETS,
) -> AimlErnieError | None:
    """Return the error in the data of a 200 or of an event that is not a JSON object, if any.

    Args:
        data: The data.
        is_error: Whether the event is of the type `error`; otherwise the data must begin like one.
        headers: The response's headers.
        redactor: Removes secrets.
    """
    body = parse_body(data, redactor)
    if not is_error and not (isinstance(body, str) and is_error_text(body)):
        return None
    details = parse_error_body(body)
    details = details._replace(message=details.message or NO_MESSAGE)
    return _error(details, body, _ResponseContext(200, headers, redactor))


def request_id_in(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of a request; `x-litellm-call-id` is LiteLLM's."""
    return next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)


def response_of(
    status: int, headers: Mapping[str, str], body: object, redactor: Redactor
) -> ErrorResponse:
    """Return the HTTP response as an error keeps it.

    Args:
        status: The HTTP status.
        headers: All headers; kept without secrets.
        body: Text or JSON without secrets; `None` if it was not read.
        redactor: Removes what no header may show.
    """
    return ErrorResponse(status, redactor.headers(headers), _text_of(body)[:MAX_BODY])


def _text_of(body: object) -> str:
    if body is None or isinstance(body, str):
        return body or ""
    return json.dumps(body, ensure_ascii=False, default=str)


class _ResponseContext(NamedTuple):
    """The HTTP response that an error body belongs to."""

    status: int
    headers: Mapping[str, str]
    redactor: Redactor


def _error(details: ErrorDetails, body: object, context: _ResponseContext) -> AimlErnieError:
    cls = _class_of(details)
    hint = _HINTS.get(cls)
    message = truncate(context.redactor.text(details.message), _MAX_MESSAGE)
    response = response_of(context.status, context.headers, body, context.redactor)
    headers = response.headers
    retry_after = parse_retry_after(headers, time.time())
    text = _text_of(body)
    return cls(
        f"{message.rstrip('.')}. {hint}" if hint else message,
        status_code=details.status,
        request_id=details.request_id or request_id_in(headers),
        inference_id=headers.get("x-inference-id"),
        client_request_id=headers.get("x-client-request-id"),
        code=details.code,
        body=body if len(text) <= MAX_BODY else text[:MAX_BODY],
        retry_after=retry_after,
        response=response,
        is_retryable=_is_retryable(cls, details, headers, retry_after),
    )


def _class_of(details: ErrorDetails) -> type[AimlErnieError]:
    status = details.status
    if status in (None, 400, 413, 422) and details.is_overflow:
        return ContextWindowExceededError
    if status in (None, 400, 403) and details.is_out_of_credits:
        return InsufficientCreditsError
    if status is None:
        return RateLimitError if details.is_limit else InternalServerError
    return _BY_STATUS.get(status) or _BY_STATUS_CLASS.get(status // 100, InvalidResponseError)


def _is_retryable(
    cls: type[AimlErnieError],
    details: ErrorDetails,
    headers: Mapping[str, str],
    retry_after: float | None,
) -> bool:
    if headers.get("x-should-retry", "").lower() == "false" or details.status in _NOT_RETRYABLE:
        return False
    if issubclass(cls, RateLimitError):
        return not details.is_final_limit(has_retry_after=retry_after is not None)
    if issubclass(cls, InternalServerError):
        return not details.is_permanent
    return cls.is_retryable and not issubclass(cls, InvalidResponseError)
