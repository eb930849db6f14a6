"""What can go wrong in a call, as one tree.

Each class is also core's class for the same thing, so middleware, fallbacks and retries know it:

    AimlErnieError                          ModelError
    ├── AuthenticationError                 ModelAuthenticationError     401, no key
    ├── PermissionDeniedError               ModelPermissionDeniedError   403
    │   └── InsufficientCreditsError                                     402, a 403 about credits
    ├── BadRequestError                     ModelInvalidRequestError     400, 409, 413, 422, ours
    │   └── ContextWindowExceededError      ContextOverflowError         the prompt is too long
    ├── NotFoundError                       ModelNotFoundError           404
    ├── RateLimitError                      ModelRateLimitError          429
    ├── InternalServerError                 ModelAPIError                5xx
    ├── InvalidResponseError                ModelAPIError                a 200 that is no answer
    ├── APIConnectionError                  ModelConnectionError         the network
    │   ├── APITimeoutError                 ModelTimeoutError            a clock ran out
    │   └── StreamInterruptedError                                       a stream cut short
    └── StructuredOutputError               OutputParserException        not what the schema asks
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_core.exceptions import (
    ContextOverflowError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelError,
    ModelInvalidRequestError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
    ModelRateLimitError,
    ModelTimeoutError,
    OutputParserException,
)
from pydantic_core import from_json

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
    redact,
    redacted,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.messages import AIMessage, AIMessageChunk

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AimlErnieError",
    "AuthenticationError",
    "BadRequestError",
    "ContextWindowExceededError",
    "ErrorResponse",
    "InsufficientCreditsError",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "StreamInterruptedError",
    "StructuredOutputError",
    "error_from_response",
    "error_in_payload",
]

_MAX_TEXT = 700
_MAX_WORDS = 500
_MAX_ID = 80
_NOTHING: Mapping[str, str] = {}
_SHOWN_HEADERS = re.compile(
    r"x-inference-id|x-client-request-id|(?:x-)?request-id|x-aimlapi-.+|(?:x-)?ratelimit-.+"
    r"|retry-after(?:-ms)?|x-should-retry|content-type|content-length|date|server|cf-ray"
)


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """What an error keeps of the HTTP answer: core copies this into traces.

    Attributes:
        status_code: The HTTP status.
        headers: Ids, limits and the like, names in lower case; nothing that could hold a secret.
        text: At most 8 KiB of the body, secrets blotted out.
    """

    status_code: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        """Parse the body.

        Raises:
            ValueError: It is no JSON, or was cut.
        """
        return from_json(self.text)


class AimlErnieError(ModelError):
    """Any failure of a call; the classes below say which.

    `str()` gives the message with the status, the code and the ids that are known.

    Attributes:
        message: What went wrong, and what to do about it.
        status_code: The HTTP status, or the one that an error inside a 200 names.
        request_id: The server's id of the request, for the provider's support.
        inference_id: The id under which the call is billed and logged.
        client_request_id: The id that the caller gave the request.
        code: The provider's own code.
        body: The answer's JSON, or at most 8 KiB of its text.
        retry_after: Seconds after which the server wants to be asked again.
        response: The HTTP answer, if the error came from one.
        is_retryable: Whether the same request may succeed later.
        partial: What a stream had given before it failed, as one chunk.
        phase: How far the network got: `connect`, `tls`, `proxy`, `pool`, `reuse` (a kept
            connection that was dead), `request`, `head`, `body`, `empty` (a stream without
            events); `None` where the network did its work.
    """

    def __init__(  # noqa: PLR0913  one keyword for each fact, all of them optional
        self,
        message: str,
        *,
        status_code: int | None = None,
        request_id: str | None = None,
        inference_id: str | None = None,
        client_request_id: str | None = None,
        code: str | None = None,
        body: object = None,
        retry_after: float | None = None,
        response: ErrorResponse | None = None,
        is_retryable: bool | None = None,
        partial: AIMessageChunk | None = None,
        phase: str | None = None,
    ) -> None:
        Exception.__init__(self, message)
        self.message = message
        self.status_code = status_code
        self.request_id = request_id
        self.inference_id = inference_id
        self.client_request_id = client_request_id
        self.code = code
        self.body = body
        self.retry_after = retry_after
        self.response = response
        self.partial = partial
        self.phase = phase
        if is_retryable is not None:
            self.is_retryable = is_retryable

    def __str__(self) -> str:
        facts = {
            "HTTP": self.status_code,
            "code": self.code,
            "request id": self.request_id,
            "inference id": self.inference_id,
            "client request id": self.client_request_id,
        }
        known = [f"{name} {clip(str(fact), _MAX_ID)}" for name, fact in facts.items() if fact]
        if not known:
            return clip(self.message, _MAX_TEXT)
        suffix = f" [{', '.join(known)}]"
        return clip(self.message, _MAX_TEXT - len(suffix)) + suffix

    def __reduce__(self) -> tuple[Callable[..., AimlErnieError], tuple[Any, ...], dict[str, Any]]:
        return _revive, (type(self), self.args), self.__dict__


def _revive(cls: type[AimlErnieError], args: tuple[Any, ...]) -> AimlErnieError:
    """Make an error again without its constructor; pickle and copy then set its attributes."""
    return cls.__new__(cls, *args)


class AuthenticationError(AimlErnieError, ModelAuthenticationError):
    """There is no API key, or the server does not know it (401)."""


class PermissionDeniedError(AimlErnieError, ModelPermissionDeniedError):
    """The key may not do this (403)."""


class InsufficientCreditsError(PermissionDeniedError):
    """The account is out of credits (402, or a 403 that says so)."""


class BadRequestError(AimlErnieError, ModelInvalidRequestError):
    """The request is wrong: refused by the server (400, 409, 413, 422), or by us before sending."""


class ContextWindowExceededError(BadRequestError, ContextOverflowError):
    """The prompt is longer than the model's context."""


class NotFoundError(AimlErnieError, ModelNotFoundError):
    """There is no such model, or no such path under `base_url` (404)."""


class RateLimitError(AimlErnieError, ModelRateLimitError):
    """Too many requests (429); not retryable when a quota or the free tier is used up."""


class InternalServerError(AimlErnieError, ModelAPIError):
    """The server failed (5xx); the request may be right."""


class InvalidResponseError(AimlErnieError, ModelAPIError):
    """The server answered, but with something that is no answer."""


class APIConnectionError(AimlErnieError, ModelConnectionError):
    """The network failed; `phase` says where."""


class APITimeoutError(APIConnectionError, ModelTimeoutError):
    """A clock ran out; the message says which, after how long and with how much received."""


class StreamInterruptedError(APIConnectionError):
    """A stream ended without its end; `partial` holds what came, which is not the whole answer."""


class StructuredOutputError(AimlErnieError, OutputParserException):
    """The answer is not what the schema asks for: no tool call, cut, refused, or not valid.

    Attributes:
        ai_message: The answer.
        finish_reason: Why the answer ended.
        llm_output: The answer's text.
    """

    def __init__(
        self,
        message: str,
        *,
        ai_message: AIMessage | None = None,
        finish_reason: str | None = None,
        llm_output: str | None = None,
        **facts: Any,
    ) -> None:
        # The same request would be cut or refused again; another sample may fit the schema.
        facts.setdefault("is_retryable", finish_reason not in ("length", "content_filter"))
        super().__init__(message, **facts)
        self.ai_message = ai_message
        self.finish_reason = finish_reason
        self.llm_output = llm_output
        self.observation: str | None = None
        self.send_to_llm = False


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
    status: int, headers: Mapping[str, str], body: bytes, *, secrets: Sequence[str] = ()
) -> AimlErnieError:
    """Make the error for an HTTP answer that is no success.

    Args:
        status: The HTTP status.
        headers: The answer's headers.
        body: The body, or what came of it.
        secrets: Texts that no part of the error may show.
    """
    parsed = parse_body(body, secrets)
    problem = parse_problem(parsed)
    words = phrase_of_redirect(headers) if status in _REDIRECTS else problem.words
    problem = problem._replace(words=words or phrase_of(status), status=status)
    return _error(problem, parsed, _Answer(status, headers, secrets))


def error_in_payload(
    payload: Mapping[str, object],
    *,
    headers: Mapping[str, str] = _NOTHING,
    secrets: Sequence[str] = (),
) -> AimlErnieError | None:
    """Give the error that the JSON of a 200 or of an event holds, `None` if it is none.

    Its class follows the code or status inside, exactly as it follows an HTTP status.
    """
    problem = find_problem(payload)
    if problem is None:
        return None
    return _error(problem, redacted(payload, secrets), _Answer(200, headers, secrets))


class _Answer(NamedTuple):
    """The HTTP answer around a problem."""

    status: int
    headers: Mapping[str, str]
    secrets: Sequence[str]

    def shown_headers(self) -> dict[str, str]:
        """The headers that may be shown, names in lower case."""
        return {
            name: redact(value, self.secrets)
            for name, value in ((name.lower(), value) for name, value in self.headers.items())
            if _SHOWN_HEADERS.fullmatch(name)
        }


def _error(problem: Problem, body: object, answer: _Answer) -> AimlErnieError:
    cls = _class_of(problem)
    remedy = _REMEDY.get(cls)
    words = clip(redact(problem.words, answer.secrets), _MAX_WORDS)
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
