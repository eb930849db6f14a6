"""Encodes replies as the API does, as JSON or server-sent events, and counts their tokens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from langchain_aimlernie.testing.account import token_counts
from langchain_aimlernie.testing.models import CREDIT, ServedModel
from langchain_aimlernie.testing.replies import Reply, Request

_CREATED = 1_764_547_200  # constant, so that responses can be compared
_MEDIA_TOKENS = 256
_MESSAGE_TOKENS = 3
_BYTES_PER_TOKEN = 4
_TOKEN = re.compile(r"\s*[A-Za-z0-9_]{1,8}|\s*[^\sA-Za-z0-9_]|\s+")
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))

Json = dict[str, Any]


def split_tokens(text: str) -> list[str]:
    """Return `text` in parts of about a model's tokens; joined, they are the text."""
    return _TOKEN.findall(text)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the estimated tokens of a prompt: texts by length, each medium a fixed number."""
    total = 0
    for message in body["messages"]:
        content = message.get("content")
        parts = content if isinstance(content, list) else [{"type": "text", "text": content or ""}]
        total += _MESSAGE_TOKENS
        for part in parts:
            text = part.get("text", part.get("refusal"))
            total += _MEDIA_TOKENS if text is None else _estimate(text)
        for call in message.get("tool_calls") or ():
            total += _estimate(str(call.get("function")))
    return total + sum(_estimate(str(tool)) for tool in body.get("tools") or ())


def _estimate(text: str) -> int:
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return 1 + size // _BYTES_PER_TOKEN


def to_bytes(value: object) -> bytes:
    """Return a body: bytes and text unchanged, else JSON, in which lone surrogates become "?"."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    return value if isinstance(value, bytes) else _ENCODER.encode(value).encode("utf-8", "replace")


def event(value: object) -> bytes:
    """Return a server-sent event: bytes unchanged, text and JSON values as `data:`."""
    return value if isinstance(value, bytes) else b"data: %b\n\n" % to_bytes(value)


def complete(reply: Reply, request: Request, model: ServedModel) -> Json:
    """Return the completion that a reply describes; usage and cost are scripted or computed."""
    choices = [
        _choice(each, request.id, index) for index, each in enumerate((reply, *reply.choices))
    ]
    usage, meta = reply.usage, reply.meta
    if usage is ...:
        usage = _usage([each["message"] for each in choices], prompt_tokens(request.body))
    if meta is ...:
        credits_used = model.price(*token_counts(usage))
        cost = {"credits_used": credits_used, "usd_spent": round(credits_used * CREDIT, 10)}
        meta = {"usage": cost}
    return {
        "id": f"chatcmpl-local-{request.id}",
        "created": _CREATED,
        "model": reply.model or request.body["model"],
        "system_fingerprint": "local-ErnieServer",
        "object": "chat.completion",
        "choices": choices,
        **({} if usage is None else {"usage": usage}),
        **({} if meta is None else {"meta": meta}),
    }


def _choice(reply: Reply, request_id: str, index: int) -> Json:
    calls = [
        _call(dict(call), f"call_{request_id}_{index}{number}")
        for number, call in enumerate(reply.tool_calls)
    ]
    message = {
        "role": "assistant",
        "content": reply.text,
        "refusal": reply.refusal,
        "annotations": None,
        "audio": None,
        "tool_calls": calls or None,
    }
    if reply.reasoning is not None:
        message["reasoning_content"] = reply.reasoning
    reason = reply.finish_reason or ("tool_calls" if calls else "stop")
    return {"index": index, "message": message, "finish_reason": reason, "logprobs": None}


def _call(call: Json, default_id: str) -> Json:
    if "function" in call:
        return call
    args = call.get("args", call.get("arguments", {}))
    arguments = args if isinstance(args, str) else json.dumps(args, ensure_ascii=False)
    function = {"name": call["name"], "arguments": arguments}
    return {"id": call.get("id", default_id), "type": "function", "function": function}


def _usage(messages: list[Json], prompt: int) -> Json:
    calls = [call for message in messages for call in message["tool_calls"] or ()]
    texts = [message[key] or "" for message in messages for key in ("content", "refusal")]
    texts += [call["function"]["arguments"] for call in calls]
    reasonings = [message.get("reasoning_content") or "" for message in messages]
    reasoning = sum(len(split_tokens(text)) for text in reasonings)
    completion = reasoning + len(calls) + sum(len(split_tokens(text)) for text in texts)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": None},
        "completion_tokens_details": {
            "reasoning_tokens": reasoning,
            "audio_tokens": None,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def stream_events(completion: Json, *, include_usage: bool) -> Iterator[Json | str]:
    """Yield the events of a streamed completion.

    The published schema requires role and content in every delta, and index, id, type and name in
    every fragment of a call. Usage, if requested, has its own chunk; the last chunk has the cost.
    """
    head = {**completion, "object": "chat.completion.chunk"}
    choices, usage = head.pop("choices"), head.pop("usage", None)
    price = {"meta": head.pop("meta")} if "meta" in head else {}
    no_usage = {"usage": None} if include_usage else {}

    def chunk(choice: Json, delta: Json, reason: str | None = None, **more: object) -> Json:
        delta = {"role": "assistant", "content": "", **delta}
        step = {"index": choice["index"], "delta": delta, "finish_reason": reason, "logprobs": None}
        return {**head, "choices": [step], **no_usage, **more}

    for choice in choices:
        for delta in _deltas(choice["message"]):
            yield chunk(choice, delta)
    *others, last = choices
    for choice in others:
        yield chunk(choice, {}, choice["finish_reason"])
    yield chunk(last, {}, last["finish_reason"], **({} if include_usage else price))
    if include_usage:
        yield {**head, "choices": [], "usage": usage, **price}
    yield "[DONE]"


def _deltas(message: Json) -> Iterator[Json]:
    yield {}
    for key in ("reasoning_content", "refusal", "content"):
        for token in split_tokens(message.get(key) or ""):
            yield {key: token}
    for index, call in enumerate(message["tool_calls"] or ()):
        for fragment in split_tokens(call["function"]["arguments"]) or [""]:
            function = {**call["function"], "arguments": fragment}
            yield {"tool_calls": [{**call, "index": index, "function": function}]}
