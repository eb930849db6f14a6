"""What a server says instead of an answer -> an error of ours."""

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

_MAX_WORDS = 500
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
_BY_HUNDRED: Mapping[int, type[AimlErnieError]] = {4: BadRequestError, 5: InternalServerError}
_REDIRECTS = range(300, 400)
_HOPELESS = frozenset({501, 505, 511})
"""Server errors that stay: not implemented, HTTP version, network login (RFC 9110, RFC 6585)."""

_REMEDY: Mapping[type[AimlErnieError], str] = {
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
    """Make the error for an HTTP answer that is no success.

    Args:
        status: The HTTP status.
        headers: The answer's headers.
        body: The body, or what came of it.
        redactor: Removes what no part of the error may show.
    """
    parsed = parse_body(body, redactor)
    problem = parse_error_body(parsed)
    words = redirect_message(headers) if status in _REDIRECTS else problem.words
    problem = problem._replace(words=words or status_message(status), status=status)
    return _error(problem, parsed, _Answer(status, headers, redactor))


def error_in_payload(
    payload: Mapping[str, object],
    *,
    headers: Mapping[str, str] = _NOTHING,
    redactor: Redactor = NO_SECRETS,
) -> AimlErnieError | None:
    """Give the error that the JSON of a 200 or of an event holds, `None` if it is none.

    Its class follows the code or status inside, exactly as it follows an HTTP status.
    """
    problem = find_error(payload)
    if problem is None:
        return None
    return _error(problem, redactor.json(payload), _Answer(200, headers, redactor))


def error_in_text(
    data: bytes,
    *,
    is_error: bool = False,
    headers: Mapping[str, str] = _NOTHING,
    redactor: Redactor = NO_SECRETS,
) -> AimlErnieError | None:
    """Return the error that a 200 or an event holds whose data is no JSON object, if it is one.

    Args:
        data: The data.
        is_error: Whether the server calls it an error; otherwise it must begin like one.
        headers: The response's headers.
        redactor: Removes what no part of the error may show.
    """
    body = parse_body(data, redactor)
    if not is_error and not (isinstance(body, str) and is_error_text(body)):
        return None
    problem = parse_error_body(body)
    problem = problem._replace(words=problem.words or NO_MESSAGE)
    return _error(problem, body, _Answer(200, headers, redactor))


def request_id_in(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of a request; `x-litellm-call-id` is what LiteLLM logs it under."""
    return next((headers[name] for name in _REQUEST_IDS if headers.get(name)), None)


def response_of(
    status: int, headers: Mapping[str, str], body: object, redactor: Redactor
) -> ErrorResponse:
    """Return what an error keeps of the HTTP response that it came from.

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


class _Answer(NamedTuple):
    """The HTTP answer around a problem."""

    status: int
    headers: Mapping[str, str]
    redactor: Redactor


def _error(problem: ErrorDetails, body: object, answer: _Answer) -> AimlErnieError:
    cls = _class_of(problem)
    remedy = _REMEDY.get(cls)
    words = truncate(answer.redactor.text(problem.words), _MAX_WORDS)
    response = response_of(answer.status, answer.headers, body, answer.redactor)
    headers = response.headers
    retry_after = parse_retry_after(headers, time.time())
    text = _text_of(body)
    return cls(
        f"{words.rstrip('.')}. {remedy}" if remedy else words,
        status_code=problem.status,
        request_id=problem.request_id or request_id_in(headers),
        inference_id=headers.get("x-inference-id"),
        client_request_id=headers.get("x-client-request-id"),
        code=problem.code,
        body=body if len(text) <= MAX_BODY else text[:MAX_BODY],
        retry_after=retry_after,
        response=response,
        is_retryable=_is_retryable(cls, problem, headers, retry_after),
    )


def _class_of(problem: ErrorDetails) -> type[AimlErnieError]:
    status = problem.status
    if status in (None, 400, 413, 422) and problem.is_overflow:
        return ContextWindowExceededError
    if status in (None, 400, 403) and problem.is_about_credits:
        return InsufficientCreditsError
    if status is None:
        return RateLimitError if problem.is_limit else InternalServerError
    return _BY_STATUS.get(status) or _BY_HUNDRED.get(status // 100, InvalidResponseError)


def _is_retryable(
    cls: type[AimlErnieError],
    problem: ErrorDetails,
    headers: Mapping[str, str],
    retry_after: float | None,
) -> bool:
    if headers.get("x-should-retry", "").lower() == "false" or problem.status in _HOPELESS:
        return False
    if issubclass(cls, RateLimitError):
        return not problem.is_final_limit(has_retry_after=retry_after is not None)
    if issubclass(cls, InternalServerError):
        return not problem.is_shutdown
    return cls.is_retryable and not issubclass(cls, InvalidResponseError)
