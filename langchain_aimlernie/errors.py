"""The errors of a call.

Each class is also a subclass of langchain-core's class for the same error, so that middleware,
fallbacks and retries handle it:

    AimlErnieError                          ModelError
    ├── AuthenticationError                 ModelAuthenticationError     401, no key
    ├── PermissionDeniedError               ModelPermissionDeniedError   403
    │   └── InsufficientCreditsError                                     402, no credits
    │       └── BudgetExceededError                                      the limit of a SpendTracker
    ├── BadRequestError                     ModelInvalidRequestError     400 409 413 422, not sent
    │   └── ContextWindowExceededError      ContextOverflowError         the prompt is too long
    ├── NotFoundError                       ModelNotFoundError           404, 410
    ├── RateLimitError                      ModelRateLimitError          429
    ├── InternalServerError                 ModelAPIError                5xx
    ├── InvalidResponseError                ModelAPIError                not a completion
    ├── APIConnectionError                  ModelConnectionError         a network error
    │   ├── APITimeoutError                 ModelTimeoutError            timed out
    │   └── StreamInterruptedError                                       a stream that ended early
    └── StructuredOutputError               OutputParserException        no valid object
        └── RefusalError                    ModelRefusalError            refused, or withheld
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_core import exceptions as core
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic_core import from_json

from langchain_aimlernie._text import truncate

if TYPE_CHECKING:
    from langchain_core.exceptions import ModelRefusalError
else:  # langchain-core before 1.7.5 lacks it
    ModelRefusalError = getattr(core, "ModelRefusalError", core.ModelError)

__all__ = [
    "APIConnectionError",
    "APITimeoutError",
    "AimlErnieError",
    "AuthenticationError",
    "BadRequestError",
    "BudgetExceededError",
    "ContextWindowExceededError",
    "ErrorResponse",
    "InsufficientCreditsError",
    "InternalServerError",
    "InvalidResponseError",
    "NotFoundError",
    "PermissionDeniedError",
    "RateLimitError",
    "RefusalError",
    "StreamInterruptedError",
    "StructuredOutputError",
]

_MAX_TEXT = 700
_MAX_ID = 80


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """The HTTP response of an error, redacted, since langchain-core copies it into traces.

    Attributes:
        status_code: The HTTP status.
        headers: All headers, names in lower case, secrets replaced by `***`.
        text: The first 8 KiB of the body, secrets replaced by `***`.
    """

    status_code: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        """Return the body, parsed as JSON.

        Raises:
            ValueError: It is not JSON, or was cut at 8 KiB.
        """
        return from_json(self.text)


class AimlErnieError(core.ModelError):
    """The base class of the errors of a call.

    `str()` has the message, the status, the code, and each id once.

    Attributes:
        message: What went wrong, and what to do about it.
        status_code: The HTTP status, or the status that an error inside a 200 names.
        request_id: The server's id of the request, for the provider's support.
        inference_id: The id of the call in the provider's log and bill.
        client_request_id: The id that was sent with the request.
        code: The provider's error code.
        body: The JSON of the response, or the first 8 KiB of its text; redacted.
        retry_after: Seconds that the server asks to wait before a retry.
        response: The HTTP response, if there is one.
        is_retryable: Whether the same request may succeed later.
        partial: The output received before the failure, as one chunk.
        phase: The phase of the request in which the network failed: `connect`, `tls`, `proxy`,
            `pool`, `stale_connection` (a keep-alive connection that the server had closed),
            `request`, `response_headers`, `response_body`, `empty_stream` (a stream without
            events); `None` for all other errors.
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
        message = truncate(self.message, _MAX_TEXT)
        ids: dict[str, str] = {}  # names by value, so that each id is shown once
        for name, value in (
            ("request id", self.request_id),
            ("inference id", self.inference_id),
            ("client request id", self.client_request_id),
        ):
            if value and not re.search(rf"(?<!\w){re.escape(str(value))}(?!\w)", message):
                ids.setdefault(str(value), name)
        facts = [("HTTP", self.status_code), ("code", self.code)]
        facts += [(name, value) for value, name in ids.items()]
        known = [f"{name} {truncate(str(fact), _MAX_ID)}" for name, fact in facts if fact]
        if not known:
            return message
        suffix = f" [{', '.join(known)}]"
        return truncate(self.message, _MAX_TEXT - len(suffix)) + suffix


class AuthenticationError(AimlErnieError, core.ModelAuthenticationError):
    """There is no API key, or the server rejects it (401, some servers 400)."""


class PermissionDeniedError(AimlErnieError, core.ModelPermissionDeniedError):
    """The key is not allowed to do this (403)."""


class InsufficientCreditsError(PermissionDeniedError):
    """The account is out of credits (402, or a 400, 401 or 403 that says so)."""


class BudgetExceededError(InsufficientCreditsError):
    """The call could exceed the limit of a tracker or middleware, and was not sent."""


class BadRequestError(AimlErnieError, core.ModelInvalidRequestError):
    """The request is invalid: the server rejects it (400, 409, 413, 422), or it was not sent."""


class ContextWindowExceededError(BadRequestError, core.ContextOverflowError):
    """The prompt, or the prompt plus `max_tokens`, exceeds the model's context."""


class NotFoundError(AimlErnieError, core.ModelNotFoundError):
    """There is no such model, or no longer, or no such path under `base_url` (404, 410)."""


class RateLimitError(AimlErnieError, core.ModelRateLimitError):
    """Too many requests (429); not retryable if funds, a quota or the free tier is used up."""


class InternalServerError(AimlErnieError, core.ModelAPIError):
    """The server failed (5xx); the request may be valid."""


class InvalidResponseError(AimlErnieError, core.ModelAPIError):
    """The response is not a valid completion."""


class APIConnectionError(AimlErnieError, core.ModelConnectionError):
    """A network error; `phase` names the phase of the request."""


class APITimeoutError(APIConnectionError, core.ModelTimeoutError):
    """A timeout expired; the message names it, its seconds, and what was received before."""


class StreamInterruptedError(APIConnectionError):
    """A stream ended early; `partial` has the output received."""


class StructuredOutputError(AimlErnieError, core.OutputParserException):
    """The completion has no valid object: no tool call, truncated, refused, or not valid JSON.

    Attributes:
        ai_message: The model's message.
        finish_reason: Why the completion ended.
        llm_output: The text of the message.
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


class RefusalError(StructuredOutputError, ModelRefusalError):
    """The model refused, or a content filter withheld the completion.

    Attributes:
        raw_message: The same as `ai_message`, under langchain-core's name.
    """

    def __init__(self, message: str, *, ai_message: AIMessage | None = None, **facts: Any) -> None:
        facts.setdefault("is_retryable", False)
        super().__init__(message, ai_message=ai_message, **facts)
        self.raw_message = ai_message
