"""Encodes replies as the API does: one JSON body, or server-sent events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_aimlernie.testing import tokens
from langchain_aimlernie.testing.models import CREDIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from langchain_aimlernie.testing.models import ServedModel
    from langchain_aimlernie.testing.replies import Reply

FINGERPRINT = "local-ErnieServer"
"""The `system_fingerprint` of every response."""

CREATED = 1_764_547_200
"""The `created` of every response; constant, so that responses can be compared."""

_MEDIA_TOKENS = 256
_MESSAGE_TOKENS = 3

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What a response depends on of its request.

    Attributes:
        id: The request's id; the ids in the response contain it.
        name: The model as the request names it.
        model: The model.
        prompt_tokens: Estimated tokens of the messages and tools.
        include_usage: Whether a stream ends with a chunk of usage.
    """

    id: str
    name: str
    model: ServedModel
    prompt_tokens: int
    include_usage: bool


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the estimated tokens of a prompt: texts by length, media at a flat number."""
    total = 0
    for message in body["messages"]:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        total += _MESSAGE_TOKENS
        for part in parts:
            text = part.get("text", part.get("refusal"))
            total += _MEDIA_TOKENS if text is None else tokens.estimate(text)
        for call in message.get("tool_calls") or ():
            total += tokens.estimate(str(call.get("function")))
    return total + sum(tokens.estimate(str(tool)) for tool in body.get("tools") or ())


class Cost(NamedTuple):
    """The `usage` and `meta` of a response; None where it has none."""

    usage: Mapping[str, Any] | None
    meta: Mapping[str, Any] | None


class _Choice(NamedTuple):
    text: str
    reasoning: str | None
    calls: list[Json]
    refusal: str | None
    finish_reason: str


def to_json(value: object) -> bytes:
    """Return JSON as UTF-8; lone surrogates become "?"."""
    return _ENCODER.encode(value).encode("utf-8", "replace")


def compute_cost(reply: Reply, info: RequestInfo) -> Cost:
    """Return usage and cost of a reply: scripted, else counted."""
    usage = _usage(reply, info) if reply.usage is ... else reply.usage
    if reply.meta is not ...:
        return Cost(usage, reply.meta)
    counted = [(usage or {}).get(key) for key in ("prompt_tokens", "completion_tokens")]
    counts = [int(each) if isinstance(each, (int, float)) else 0 for each in counted]
    credits_used = info.model.price(*counts)
    cost = {"credits_used": credits_used, "usd_spent": round(credits_used * CREDIT, 10)}
    return Cost(usage, {"usage": cost})


def _usage(reply: Reply, info: RequestInfo) -> Json:
    choices = [reply, *reply.choices]
    reasoning = sum(len(tokens.split(each.reasoning or "")) for each in choices)
    texts = [text for each in choices for text in (each.text, each.refusal or "")]
    calls = [call["function"] for each in choices for call in _calls(each, info, 0)]
    visible = [*texts, *(call["arguments"] for call in calls)]
    completion = reasoning + len(calls) + sum(len(tokens.split(text)) for text in visible)
    return {
        "prompt_tokens": info.prompt_tokens,
        "completion_tokens": completion,
        "total_tokens": info.prompt_tokens + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": None,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _choices(reply: Reply, info: RequestInfo) -> list[_Choice]:
    made = []
    for index, each in enumerate((reply, *reply.choices)):
        calls = _calls(each, info, index)
        reason = each.finish_reason or ("tool_calls" if calls else "stop")
        made.append(_Choice(each.text, each.reasoning, calls, each.refusal, reason))
    return made


def _calls(reply: Reply, info: RequestInfo, choice: int) -> list[Json]:
    """Return the reply's tool calls in the API's format."""
    return [
        call if "function" in call else _encode_call(call, f"call_{info.id}_{choice}{index}")
        for index, call in enumerate(map(dict, reply.tool_calls))
    ]


def _encode_call(call: Json, default_id: str) -> Json:
    args = call.get("args", call.get("arguments", {}))
    arguments = args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call.get("id", default_id), "type": "function", "function": function}


def encode_json(reply: Reply, info: RequestInfo, cost: Cost) -> bytes:
    """Return the body of a response that is not streamed."""
    choices = [
        {"index": index, "message": _message(each), "finish_reason": each.finish_reason}
        | {"logprobs": None}
        for index, each in enumerate(_choices(reply, info))
    ]
    body = {**_head(reply, info, "chat.completion"), "choices": choices}
    return to_json(body | {key: held for key, held in cost._asdict().items() if held is not None})


def _message(choice: _Choice) -> Json:
    message = {
        "role": "assistant",
        "content": choice.text,
        "refusal": choice.refusal,
        "annotations": None,
        "audio": None,
        "tool_calls": choice.calls or None,
    }
    more = {} if choice.reasoning is None else {"reasoning_content": choice.reasoning}
    return message | more


def _head(reply: Reply, info: RequestInfo, kind: str) -> Json:
    return {
        "id": f"chatcmpl-local-{info.id}",
        "object": kind,
        "created": CREATED,
        "model": reply.model or info.name,
        "system_fingerprint": FINGERPRINT,
    }


def encode_events(reply: Reply, info: RequestInfo, cost: Cost) -> Iterator[bytes]:
    """Return a streamed response, one server-sent event after the other.

    The published schema requires role and content in every delta, and index, id, type and name in
    every fragment of a call. Usage comes in a chunk of its own if requested, the cost in the
    last chunk.
    """
    head = _head(reply, info, "chat.completion.chunk")
    no_usage = {"usage": None} if info.include_usage else {}
    choices = _choices(reply, info)
    for index, choice in enumerate(choices):
        for delta in _deltas(choice):
            yield _event({**head, "choices": [_step(index, delta)], **no_usage})
    price = {} if cost.meta is None else {"meta": cost.meta}
    for index, choice in enumerate(choices):
        step = _step(index, {"role": "assistant", "content": ""}, choice.finish_reason)
        is_last = index == len(choices) - 1 and not info.include_usage
        yield _event({**head, "choices": [step], **no_usage, **(price if is_last else {})})
    if info.include_usage:
        yield _event({**head, "choices": [], "usage": cost.usage, **price})
    yield b"data: [DONE]\n\n"


def _step(index: int, delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "finish_reason": finish_reason, "logprobs": None}


def _deltas(choice: _Choice) -> Iterator[Json]:
    nothing = {"role": "assistant", "content": ""}
    yield nothing
    for piece in tokens.split(choice.reasoning or ""):
        yield {**nothing, "reasoning_content": piece}
    for piece in tokens.split(choice.refusal or ""):
        yield {**nothing, "refusal": piece}
    for piece in tokens.split(choice.text):
        yield {**nothing, "content": piece}
    for index, call in enumerate(choice.calls):
        for fragment in tokens.split(call["function"]["arguments"]) or [""]:
            function = {**call["function"], "arguments": fragment}
            yield {**nothing, "tool_calls": [{**call, "index": index, "function": function}]}


def _event(value: object) -> bytes:
    return b"data: %b\n\n" % to_json(value)


def scripted_events(events: Iterable[object]) -> Iterator[bytes]:
    """Return scripted events: bytes unchanged, text and JSON values as `data:`."""
    for each in events:
        if isinstance(each, bytes):
            yield each
        elif isinstance(each, str):
            yield b"data: %b\n\n" % each.encode("utf-8", "surrogatepass")
        else:
            yield _event(each)
