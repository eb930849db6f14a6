"""What a server says instead of an answer -> an error of ours."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from langchain_aimlernie._problems import (
    MAX_BODY,
    Problem,
    clip,
    find_problem,
    parse_body,
    parse_problem,
    parse_retry_after,
    phrase_of,
    phrase_of_redirect,
)
from langchain_aimlernie._text import NO_SECRETS, Redactor
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
_SHOWN_HEADERS = re.compile(
    r"x-inference-id|x-client-request-id|(?:x-)?request-id|x-aimlapi-.+|(?:x-)?ratelimit-.+"
    r"|retry-after(?:-ms)?|x-should-retry|content-type|content-length|date|server|cf-ray"
)
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
    ContextWindowExceededError: "Shorten the messages, or use a model with a longer context.",
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
    problem = parse_problem(parsed)
    words = phrase_of_redirect(headers) if status in _REDIRECTS else problem.words
    problem = problem._replace(words=words or phrase_of(status), status=status)
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
    problem = find_problem(payload)
    if problem is None:
        return None
    return _error(problem, redactor.json(payload), _Answer(200, headers, redactor))


class _Answer(NamedTuple):
    """The HTTP answer around a problem."""

    status: int
    headers: Mapping[str, str]
    redactor: Redactor

    def shown_headers(self) -> dict[str, str]:
        """The headers that may be shown, names in lower case."""
        return {
            name: self.redactor.text(value)
            for name, value in ((name.lower(), value) for name, value in self.headers.items())
            if _SHOWN_HEADERS.fullmatch(name)
        }


def _error(problem: Problem, body: object, answer: _Answer) -> AimlErnieError:
    cls = _class_of(problem)
    remedy = _REMEDY.get(cls)
    words = clip(answer.redactor.text(problem.words), _MAX_WORDS)
    headers = answer.shown_headers()
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False, default=str)
    return cls(
        f"{words.rstrip('.')}. {remedy}" if remedy else words,
        status_code=problem.status,
        request_id=problem.request_id or headers.get("x-request-id") or headers.get("request-id"),
        inference_id=headers.get("x-inference-id"),
        client_request_id=headers.get("x-client-request-id"),
        code=problem.code,
        body=body if len(text) <= MAX_BODY else text[:MAX_BODY],
        retry_after=parse_retry_after(headers, time.time()),
        response=ErrorResponse(answer.status, headers, text[:MAX_BODY]),
        is_retryable=_is_retryable(cls, problem, headers),
    )


def _class_of(problem: Problem) -> type[AimlErnieError]:
    status = problem.status
    if status in (None, 400, 413, 422) and problem.is_overflow:
        return ContextWindowExceededError
    if status in (None, 403) and problem.is_about_credits:
        return InsufficientCreditsError
    if status is None:
        return InternalServerError
    return _BY_STATUS.get(status) or _BY_HUNDRED.get(status // 100, InvalidResponseError)


def _is_retryable(cls: type[AimlErnieError], problem: Problem, headers: Mapping[str, str]) -> bool:
    if headers.get("x-should-retry", "").lower() == "false" or problem.status in _HOPELESS:
        return False
    if issubclass(cls, RateLimitError):
        return not problem.is_quota
    if issubclass(cls, InternalServerError):
        return not problem.is_shutdown
    return cls.is_retryable and not issubclass(cls, InvalidResponseError)
