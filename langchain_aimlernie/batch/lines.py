"""The lines of a batch's output, in the form of OpenAI's batch files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from langchain_core.messages import AIMessage, convert_to_openai_messages
from pydantic_core import to_jsonable_python

from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.completion import decode_completion
from langchain_aimlernie.batch.caller import Outcome
from langchain_aimlernie.batch.rows import Row
from langchain_aimlernie.errors import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    InvalidResponseError,
    StructuredOutputError,
)

_CODES = (
    (APITimeoutError, "timeout"),
    (APIConnectionError, "connection_error"),
    (StructuredOutputError, "output_parsing_failed"),
    (InvalidResponseError, "invalid_response"),
    (BadRequestError, "invalid_request"),
    (ValueError, "invalid_request"),
)
OUTPUT_PARSING_FAILED = "output_parsing_failed"
_TRANSIENT_CODES = {"timeout", "connection_error", "invalid_response"}
_TRANSIENT_STATUSES = {408, 425, 429, *range(500, 600)}


@dataclass(slots=True, eq=False)
class Job:
    """A row under way, and what is known of it; amounts are the sum over all attempts.

    Attributes:
        line_id: The id of its line.
        retries: Its retries, without those after a rejection.
        rejections: How often the server was too busy for it.
        attempts: Attempts so far.
        client_request_id: The `X-Client-Request-Id` of the last attempt.
        inference_id: The id of the response in the provider's log.
        usd: US dollars; `None` if no response stated a price.
        credits: The same in credits.
        parsed: The object of the schema.
    """

    row: Row
    line_id: str
    retries: RetryState
    rejections: int = 0
    attempts: int = 0
    client_request_id: str | None = None
    inference_id: str | None = None
    usd: Decimal | None = None
    credits: Decimal | None = None
    parsed: Any = None

    def add(self, outcome: Outcome) -> None:
        """Add what a response states."""
        spend = outcome.spend
        if spend.calls > spend.unpriced:
            self.usd = (self.usd or Decimal(0)) + spend.usd
            self.credits = (self.credits or Decimal(0)) + spend.credits
        if isinstance(outcome.output, AIMessage):
            metadata = outcome.output.response_metadata
            self.inference_id = metadata.get("inference_id") or self.inference_id
        self.parsed = outcome.parsed

    def success_line(self, output: object) -> dict[str, Any]:
        """Return the line of success with a message, or with another runnable's output."""
        if isinstance(output, AIMessage):
            return self._line(self._response_of(output), None)
        return self._line(_response(200, self.inference_id, {"output": to_json(output)}), None)

    def error_line(self, error: BaseException, raw: AIMessage | None = None) -> dict[str, Any]:
        """Return the line of a failure; `raw` is the message that could not be parsed."""
        status = getattr(error, "status_code", None)
        if raw is None and isinstance(status, int) and status >= 400:  # noqa: PLR2004  errors of HTTP
            details = {
                "message": str(getattr(error, "message", error)),
                "type": type(error).__name__,
                "param": None,
                "code": getattr(error, "code", None),
            }
            request_id = getattr(error, "request_id", None)
            return self._line(_response(status, request_id, {"error": details}), None)
        code = next((code for kind, code in _CODES if isinstance(error, kind)), None)
        return self._line(
            None if raw is None else self._response_of(raw),
            {"code": code or type(error).__name__, "message": str(error)},
        )

    def _response_of(self, message: AIMessage) -> dict[str, Any]:
        request_id = message.response_metadata.get("request_id") or self.inference_id
        return _response(200, request_id, to_completion(message))

    def _line(
        self, response: Mapping[str, Any] | None, error: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "id": self.line_id,
            "custom_id": self.row.custom_id,
            "response": response,
            "error": error,
            "aimlernie": {
                "key": self.row.key,
                "usd": None if self.usd is None else f"{self.usd:f}",
                "credits": None if self.credits is None else f"{self.credits:f}",
                "inference_id": self.inference_id,
                "client_request_id": self.client_request_id,
                "attempts": self.attempts,
                "parsed": to_json(self.parsed),
            },
        }


def _response(status: int, request_id: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    return {"status_code": status, "request_id": request_id or "", "body": body}


def is_transient(line: Mapping[str, Any]) -> bool:
    """Return whether the same row may succeed when it is run again."""
    response, error = line.get("response") or {}, line.get("error") or {}
    status = response.get("status_code")
    return status in _TRANSIENT_STATUSES or error.get("code") in _TRANSIENT_CODES


def to_completion(message: AIMessage) -> dict[str, Any]:
    """Return a message as a chat completion in the API's form."""
    facts = message.response_metadata
    said = convert_to_openai_messages(message)
    wire: dict[str, Any] = {**said, "role": "assistant"}
    wire.setdefault("content", None)
    for name in ("reasoning_content", "refusal"):
        if message.additional_kwargs.get(name):
            wire[name] = message.additional_kwargs[name]
    for call in message.invalid_tool_calls:
        function = {"name": call["name"], "arguments": call["args"]}
        wire.setdefault("tool_calls", []).append(
            {"id": call["id"], "type": "function", "function": function}
        )
    choice = {
        "index": 0,
        "message": wire,
        "finish_reason": facts.get("finish_reason"),
        "logprobs": facts.get("logprobs"),
    }
    spent = {name: facts[name] for name in ("credits_used", "usd_spent") if name in facts}
    return {
        "id": facts.get("id") or message.id or "",
        "object": "chat.completion",
        "created": facts.get("created") or 0,
        "model": facts.get("model_name") or "",
        "choices": [choice],
        "usage": to_json(facts.get("token_usage")),
        **({"meta": {"usage": to_json(spent)}} if spent else {}),
    }


def from_completion(body: Mapping[str, Any]) -> AIMessage:
    """Return the message of a chat completion that `to_completion` has made."""
    result = decode_completion(json.dumps(body).encode(), {}, model=str(body.get("model")))
    message = result.generations[0].message
    if not isinstance(message, AIMessage):
        raise TypeError(f"expected an AIMessage; got {type(message).__name__}")
    return message


def to_json(value: object) -> Any:
    """Return a value as JSON; what has no form in JSON becomes its `str`."""
    return to_jsonable_python(value, fallback=str, inf_nan_mode="null")
