"""A whole answer of the API -> LangChain's `ChatResult`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import InputTokenDetails, OutputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_aimlernie._error_answers import error_in_payload
from langchain_aimlernie._text import NO_SECRETS, Redactor, clean_text
from langchain_aimlernie._thoughts import split_thoughts
from langchain_aimlernie._tools import decode_tool_calls
from langchain_aimlernie._wire import (
    Answer,
    Choice,
    as_int,
    as_number,
    is_object,
    parse_answer,
    parse_object,
)
from langchain_aimlernie.errors import InvalidResponseError
from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping

_INPUT_DETAILS = {"cached_tokens": "cache_read", "audio_tokens": "audio"}
_OUTPUT_DETAILS = {"reasoning_tokens": "reasoning", "audio_tokens": "audio"}
_SPENT = {
    "credits_used": ("credits_used", "x-aimlapi-credits-used"),
    "usd_spent": ("usd_spent", "x-aimlapi-usd-spent"),
}
_TRACE_HEADERS = {
    "inference_id": "x-inference-id",
    "client_request_id": "x-client-request-id",
}
_RATE_LIMITS = ("x-ratelimit-", "ratelimit")


def decode_completion(
    body: bytes, headers: Mapping[str, str], *, model: str, redactor: Redactor = NO_SECRETS
) -> ChatResult:
    """Turn the body of a JSON answer into a result with every choice.

    Args:
        body: The answer's bytes.
        headers: The answer's headers, names in lower case.
        model: The model that was asked, for answers that do not name one.
        redactor: Removes what no error may show.

    Raises:
        AimlErnieError: The body is an error object, whatever its HTTP status was.
        InvalidResponseError: The body is no answer.
    """
    answer = parse_completion(body, headers, redactor)
    usage = decode_usage(answer.usage)
    shared = answer_metadata(answer, headers, model)
    generations = [
        _decode_choice(choice, answer.id, shared, usage if place == 0 else None)
        for place, choice in enumerate(answer.choices)
    ]
    return ChatResult(
        generations=generations,
        llm_output={"token_usage": dict(answer.usage or {}), "model_name": shared["model_name"]},
    )


def parse_completion(
    body: bytes, headers: Mapping[str, str], redactor: Redactor = NO_SECRETS
) -> Answer:
    """Read a JSON answer and make sure that it is one; see `decode_completion`."""
    payload = parse_object(body, redactor)
    error = error_in_payload(payload, headers=headers, redactor=redactor)
    if error is not None:
        raise error
    answer = parse_answer(payload)
    choices = payload.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not is_object(first) or not is_object(first.get("message", first.get("delta"))):
        raise InvalidResponseError(
            "The server's answer has no choice with a message; it has the keys "
            f"{', '.join(map(repr, payload)) or '(none)'}.",
            status_code=200,
            inference_id=headers.get("x-inference-id"),
            client_request_id=headers.get("x-client-request-id"),
            body=redactor.json(payload),
        )
    return answer


def _decode_choice(
    choice: Choice,
    answer_id: str | None,
    shared: Mapping[str, Any],
    usage: UsageMetadata | None,
) -> ChatGeneration:
    thought, text = split_thoughts(choice.text)
    tool_calls, invalid_tool_calls = decode_tool_calls(choice.tool_calls)
    metadata = {**shared, **choice_metadata(choice)}
    message = AIMessage(
        content=clean_text(text),
        additional_kwargs=message_extras(choice, choice.reasoning + thought),
        response_metadata=metadata,
        tool_calls=tool_calls,
        invalid_tool_calls=invalid_tool_calls,
        usage_metadata=usage,
        id=answer_id,
    )
    return ChatGeneration(message=message, generation_info={"finish_reason": choice.finish_reason})


def message_extras(choice: Choice, reasoning: str) -> dict[str, Any]:
    """Collect what a message carries beside its text; absent parts have no key."""
    extras: dict[str, Any] = dict(choice.message_extras)
    if reasoning:
        extras["reasoning_content"] = clean_text(reasoning)
    if choice.refusal:
        extras["refusal"] = clean_text(choice.refusal)
    return extras


def choice_metadata(choice: Choice) -> dict[str, Any]:
    """Collect a choice's own metadata: finish_reason, logprobs and keys we do not know."""
    metadata: dict[str, Any] = dict(choice.choice_extras)
    if choice.finish_reason is not None:
        metadata["finish_reason"] = choice.finish_reason
    if choice.logprobs is not None:
        metadata["logprobs"] = choice.logprobs
    return metadata


def answer_metadata(answer: Answer, headers: Mapping[str, str], model: str) -> dict[str, Any]:
    """Collect the metadata that a whole answer has, streamed or not.

    `credits_used` and `usd_spent` come from the body (`meta.usage`), or else from the headers.
    """
    metadata: dict[str, Any] = {
        "model_provider": PROVIDER,
        "model_name": answer.model or model,
        "id": answer.id,
        "created": answer.created,
        "system_fingerprint": answer.system_fingerprint,
        "service_tier": answer.service_tier,
    }
    for name, (key, header) in _SPENT.items():
        metadata[name] = as_number(answer.spent.get(key, headers.get(header)))
    for name, header in _TRACE_HEADERS.items():
        metadata[name] = headers.get(header)
    if answer.usage is not None:
        metadata["token_usage"] = dict(answer.usage)
    limits = {k: v for k, v in headers.items() if k.startswith(_RATE_LIMITS)}
    if limits:
        metadata["rate_limits"] = limits
    return {key: value for key, value in metadata.items() if value is not None}


def decode_usage(usage: Mapping[str, object] | None) -> UsageMetadata | None:
    """Turn the API's usage into LangChain's; counts that are no whole numbers ≥ 0 are left out."""
    if usage is None:
        return None
    sent, received = _count(usage.get("prompt_tokens")), _count(usage.get("completion_tokens"))
    if sent is None and received is None:
        return None
    total = _count(usage.get("total_tokens"))
    decoded = UsageMetadata(
        input_tokens=sent or 0,
        output_tokens=received or 0,
        total_tokens=(sent or 0) + (received or 0) if total is None else total,
    )
    if read := _details(usage.get("prompt_tokens_details"), _INPUT_DETAILS):
        decoded["input_token_details"] = InputTokenDetails(**read)  # type: ignore[typeddict-item]  # keys are the table's
    # SGLang counts reasoning beside the totals instead of among the details.
    written = _details(usage, {"reasoning_tokens": "reasoning"})
    written |= _details(usage.get("completion_tokens_details"), _OUTPUT_DETAILS)
    if written:
        decoded["output_token_details"] = OutputTokenDetails(**written)  # type: ignore[typeddict-item]  # likewise
    return decoded


def _details(value: object, names: Mapping[str, str]) -> dict[str, int]:
    if not is_object(value):
        return {}
    counts = {ours: _count(value.get(theirs)) for theirs, ours in names.items()}
    return {name: count for name, count in counts.items() if count is not None}


def _count(value: object) -> int | None:
    number = as_int(value)
    return number if number is not None and number >= 0 else None
