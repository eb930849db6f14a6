"""A line of the output: the form of OpenAI's batch files, and one key more."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal, cast

from langchain_core import exceptions as core
from langchain_core.messages import AIMessage, convert_to_openai_messages
from pydantic_core import to_jsonable_python

from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.completion import ResponseDecoder
from langchain_aimlernie.batch.caller import Outcome
from langchain_aimlernie.batch.rows import Row
from langchain_aimlernie.errors import InvalidResponseError

State = Literal["done", "failed", "transient"]
"""What is known of a row: "transient" has failed, but may succeed when it is run again."""

RetryFailed = Literal["none", "transient", "all"]
"""Which of them are run again."""

OUTPUT_PARSING_FAILED = "output_parsing_failed"
_CODES = (
    ((core.ModelTimeoutError, TimeoutError), "timeout"),
    ((core.ModelConnectionError, ConnectionError), "connection_error"),
    (core.OutputParserException, OUTPUT_PARSING_FAILED),
    (InvalidResponseError, "invalid_response"),
    ((core.ModelInvalidRequestError, ValueError), "invalid_request"),
)
_TRANSIENT = ("timeout", "connection_error", "invalid_response", 408, 425, 429, *range(500, 600))
"""Codes and statuses of failures that may pass."""

_OK, _MIN_ERROR = 200, 400
_TO_ESCAPE = re.compile("[\x85\u2028\u2029\ud800-\udfff]")
"""What some readers end lines at, and what UTF-8 lacks."""


@dataclass(slots=True, eq=False)
class Job:
    """A row under way, and what is known of it; amounts are the sum over all attempts.

    Attributes:
        retries: Its retries, without those after a rejection.
        usd: US dollars; `None` if no response stated a price.
        tokens: Tokens of its prompt, estimated if there is a limit of them.
        rejections: How often the server was too busy for it.
        client_request_id: The `X-Client-Request-Id` of the last attempt.
        inference_id: The id of the response in the provider's log.
        parsed: The object of the schema.
    """

    row: Row
    line_id: str
    retries: RetryState
    usd: Decimal | None
    credits: Decimal | None
    tokens: int = 0
    rejections: int = 0
    attempts: int = 0
    client_request_id: str | None = None
    inference_id: str | None = None
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

    def line(self, output: object, error: Exception | None = None) -> dict[str, Any]:
        """Return the line of the row: its output, or its error with the message that it is about.

        An HTTP error is a response, as in OpenAI's files; any other is an `error`.
        """
        status = status_of(error)
        request_id, body = self.inference_id, None
        if isinstance(output, AIMessage):
            request_id = output.response_metadata.get("request_id") or request_id
            status, body = _OK, to_completion(output)
        elif error is None:
            status, body = _OK, {"output": to_json(output)}
        elif status is not None and status >= _MIN_ERROR:
            request_id = to_json(getattr(error, "request_id", None))
            details = {
                "message": _text(getattr(error, "message", error)),
                "type": type(error).__name__,
                "param": None,
                "code": to_json(getattr(error, "code", None)),
            }
            body, error = {"error": details}, None
        response = {"status_code": status, "request_id": request_id or "", "body": body}
        return {
            "id": self.line_id,
            "custom_id": self.row.custom_id,
            "response": response if body else None,
            "error": None if error is None else {"code": _code_of(error), "message": _text(error)},
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


def status_of(error: object) -> int | None:
    """Return the HTTP status that an error of any package states."""
    for source in (error, getattr(error, "response", None)):
        if isinstance(status := getattr(source, "status_code", None), int):
            return status
    return None


def _code_of(error: Exception) -> str:
    found = (code for kinds, code in _CODES if isinstance(error, kinds))
    return next(found, type(error).__name__)


def failure_of(line: Mapping[str, Any]) -> State:
    """Return the state of a row that has failed with this line."""
    response, error = line["response"] or {}, line["error"] or {}
    facts = (response.get("status_code"), error.get("code"))
    return "transient" if any(each in _TRANSIENT for each in facts) else "failed"


def is_paid(line: Mapping[str, Any]) -> bool:
    """Return whether a line has a completion."""
    return (line["response"] or {}).get("status_code") == _OK


def encode_line(line: Mapping[str, Any]) -> bytes:
    """Return a line as JSON in UTF-8, which ends at its newline for every reader."""
    text = json.dumps(line, ensure_ascii=False)
    return _TO_ESCAPE.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def to_completion(message: AIMessage) -> dict[str, Any]:
    """Return a message as a chat completion in the API's form."""
    facts = message.response_metadata
    wire: dict[str, Any] = {"role": "assistant", "content": None, **_to_openai(message)}
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
    completion = {
        "id": facts.get("id") or message.id or "",
        "object": "chat.completion",
        "created": facts.get("created") or 0,
        "model": facts.get("model_name") or "",
        "choices": [choice],
        "usage": facts.get("token_usage"),
        **({"meta": {"usage": spent}} if spent else {}),
    }
    return {name: to_json(value) for name, value in completion.items()}


def _to_openai(message: AIMessage) -> dict[str, Any]:
    try:
        return convert_to_openai_messages(message)
    except Exception:  # noqa: BLE001  content of another model, which was paid for, too
        calls = [
            {**call, "args": {name: to_json(value) for name, value in call["args"].items()}}
            for call in message.tool_calls
        ]
        plain = message.model_copy(update={"content": "", "tool_calls": calls})
        return {**convert_to_openai_messages(plain), "content": to_json(message.content)}


def from_completion(body: Mapping[str, Any]) -> AIMessage:
    """Return the message of a chat completion that `to_completion` has made."""
    decoder = ResponseDecoder({}, model=str(body.get("model")))
    result = decoder.decode(json.dumps(body).encode())
    return cast("AIMessage", result.generations[0].message)


def to_json(value: object) -> Any:
    """Return a value as JSON; what has no form in JSON becomes its `str`."""
    try:
        return to_jsonable_python(value, fallback=_text, inf_nan_mode="null")
    except Exception:  # noqa: BLE001  bytes, cycles, depth: the result is saved nevertheless
        return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  of the caller's own method
        return f"<{type(value).__name__}>"
