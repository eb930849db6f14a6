"""Parse the JSON of completions into typed values.

A JSON response and an event of a stream differ in one key, `message` or `delta`; one type serves
both. Single values that are wrong (a missing key, a `null`, a number as text) are corrected here;
what is not a response at all is an `InvalidResponseError`.
"""

from __future__ import annotations

import json
import math
import re
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard

from pydantic_core import from_json

from langchain_aimlernie._text import NO_SECRETS, Redactor, json_text
from langchain_aimlernie.errors import InvalidResponseError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_EXCERPT = 200
_MAX_BODY = 8192
_DEEPEST_PART = 8
_DEEPEST_EXTRA = 16
_RESERVED_KEYS = frozenset({"finish_reason", "logprobs", "output_version"})
"""Keys of `response_metadata` with a meaning in core, or with values merged from all chunks."""

_COMPLETION_KEYS = _RESERVED_KEYS | {
    *("id", "object", "created", "model", "system_fingerprint", "service_tier"),
    *("choices", "usage", "meta", "error"),
    "obfuscation",  # random text with which OpenAI hides the length of an event
}
_CHOICE_KEYS = _RESERVED_KEYS | {"index", "message", "delta", "text", "error"}
_MESSAGE_KEYS = frozenset(
    {"role", "content", "refusal", "tool_calls", "function_call", "reasoning_content", "reasoning"}
)
_FINISH_REASONS = {
    # Anthropic's and Gemini's, Mistral's, z.ai's
    **dict.fromkeys(("max_tokens", "model_length", "model_context_window_exceeded"), "length"),
    **dict.fromkeys(
        (
            *("refusal", "sensitive"),  # Anthropic, z.ai
            *("guardrail_intervened", "content_filtered"),  # Bedrock
            *("safety", "recitation", "blocklist", "prohibited_content", "spii"),  # Gemini
        ),
        "content_filter",
    ),
}
"""Finish reasons of other APIs (in lower case), which gateways pass on, and OpenAI's for them."""

_REQUEST_ID_HEADERS = (
    *("x-request-id", "request-id"),
    *("x-litellm-call-id", "x-oneapi-request-id", "x-bce-request-id"),  # LiteLLM, One API, Qianfan
)
_TEXT_TYPES = ("text", "output_text", "refusal")
_REASONING_TYPES = ("thinking", "reasoning", "reasoning_content")
_ARGUMENTS = ("arguments", "parameters", "input")
"""OpenAI's key, Llama's, and Anthropic's, which gateways pass on."""

_NOTHING: Mapping[str, object] = {}


class ToolCallDelta(NamedTuple):
    """A tool call, or a delta of one in a stream; absent parts are empty.

    `wire_index` is the server's `index`.
    """

    wire_index: int | None
    id: str
    name: str
    arguments: str


class Choice(NamedTuple):
    """One choice of a completion, or its delta in an event (then `is_message` is false).

    `wire_index` is the server's `index`; the extras are the items with unknown keys.
    """

    is_message: bool
    wire_index: int
    text: str
    reasoning: str
    refusal: str
    tool_calls: tuple[ToolCallDelta, ...]
    finish_reason: str | None
    logprobs: dict[str, object] | None
    message_extras: Mapping[str, object]
    choice_extras: Mapping[str, object]


NO_CHOICE = Choice(False, 0, "", "", "", (), None, None, _NOTHING, _NOTHING)


class Completion(NamedTuple):
    """A completion, or one event of a stream.

    `facts` are `id`, `model`, `created`, `system_fingerprint` and `service_tier`, absent ones left
    out; `extras` are the items with unknown keys.
    """

    choices: tuple[Choice, ...] = ()
    facts: Mapping[str, object] = _NOTHING
    usage: Mapping[str, object] | None = None
    cost: Mapping[str, object] = _NOTHING
    extras: Mapping[str, object] = _NOTHING

    def merge(self, later: Completion) -> Completion:
        """Return the metadata of two events of one completion: the first facts, the last counts.

        A count is not replaced by a zero, and the earlier total is dropped.
        """
        usage = self.usage or later.usage
        if self.usage and later.usage:
            kept = {name: value for name, value in self.usage.items() if name != "total_tokens"}
            given = [(k, v) for k, v in later.usage.items() if v or k not in self.usage]
            usage = {**kept, **dict(given)}
        return Completion(
            facts={**later.facts, **self.facts},
            usage=usage,
            cost={**self.cost, **later.cost},
            extras={**self.extras, **later.extras},
        )


_EMPTY: tuple[object, ...] = (None, "", [], {})


def is_empty(value: object) -> bool:
    """Whether a JSON value is null or has no content; 0 and `false` are not empty."""
    return value in _EMPTY


def is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    """Whether `value` is a JSON object."""
    return isinstance(value, dict)


def object_or_empty(value: object) -> Mapping[str, object]:
    """Return a JSON object, an empty one for anything else."""
    return value if is_object(value) else _NOTHING


def parse_json(data: bytes | str, redactor: Redactor = NO_SECRETS) -> Any:
    """Parse JSON leniently, because it has been paid for, or raise an `InvalidResponseError`.

    Accepts what the fast parser rejects: a byte order mark, lone surrogate escapes, bytes that are
    not UTF-8 (they become U+FFFD), and integers of any length.
    """
    try:
        return from_json(data)
    except ValueError:
        text = data if isinstance(data, str) else data.decode(errors="replace")
    try:
        return json.loads(text.removeprefix("\ufeff"), parse_int=_parse_int)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:
        reason = str(error)
    if text.lstrip().startswith("<"):
        page = unreadable("The server sent a page of HTML; check base_url.", text, redactor)
        page.is_retryable = False
        raise page
    raise unreadable(f"The response is not valid JSON ({reason}).", text, redactor)


def unreadable(problem: str, text: str, redactor: Redactor) -> InvalidResponseError:
    """Return the error for a response that is not in the API's format; it shows an excerpt."""
    text = redactor.text(text[:_MAX_BODY])
    excerpt = text[:_EXCERPT].strip()
    return InvalidResponseError(
        f"{problem} It begins: {excerpt}" if excerpt else problem, body=text
    )


def _parse_int(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float(digits)  # noqa: PLR2004  the digits of the largest double


def parse_object(data: bytes, redactor: Redactor = NO_SECRETS) -> Mapping[str, object]:
    """Parse a JSON object; raise `InvalidResponseError` for JSON of another kind, too."""
    value = parse_json(data, redactor)
    if is_object(value):
        return value
    text = data.decode(errors="replace")
    raise unreadable("The response is not a JSON object.", text, redactor)


def request_id_in(headers: Mapping[str, str]) -> str | None:
    """Return the server's id of a request."""
    return next((headers[name] for name in _REQUEST_ID_HEADERS if headers.get(name)), None)


def parse_event(payload: Mapping[str, object]) -> Completion:
    """Parse a completion or an event; values of undocumented types count as absent."""
    choices, usage = payload.get("choices"), payload.get("usage")
    choices = [*filter(is_object, choices)] if isinstance(choices, list) else []
    if not usage:  # Moonshot has it in the choice, Groq in `x_groq`
        objects = filter(is_object, (*choices, payload.get("x_groq")))
        usage = next(filter(None, (each.get("usage") for each in objects)), None)
    facts = [(name, parse(payload.get(name))) for name, parse in _FACTS.items()]
    return Completion(
        tuple(map(_parse_choice, choices)),
        {name: value for name, value in facts if value is not None},
        usage if is_object(usage) else None,
        object_or_empty(object_or_empty(payload.get("meta")).get("usage")),
        _extras(payload, _COMPLETION_KEYS),
    )


def plain_delta(payload: Mapping[str, Any], index: int) -> tuple[str, str] | None:
    """Return the (text, reasoning) of an event that has nothing else; `None` for other events.

    Nearly all events of a stream are such, and need no full parsing. The delta must belong to the
    choice with this index.
    """
    try:
        (choice,) = payload["choices"]
        delta = choice["delta"]
        text, reasoning = delta.get("content"), delta.get("reasoning_content")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
    text = "" if text is None else text
    reasoning = "" if reasoning is None else reasoning
    if not (type(text) is type(reasoning) is str and (text or reasoning)):
        return None
    if choice.get("index", 0) != index or choice.get("finish_reason") or choice.get("logprobs"):
        return None
    if choice.get("error") or payload.get("usage") or payload.get("meta") or payload.get("error"):
        return None
    has_more = (
        _extras(payload, _COMPLETION_KEYS)
        or _extras(choice, _CHOICE_KEYS)
        or _extras(delta, _PLAIN_DELTA_KEYS)
    )
    return None if has_more else (text, reasoning)


_PLAIN_DELTA_KEYS = frozenset({"role", "content", "reasoning_content"})


def _parse_choice(choice: Mapping[str, object]) -> Choice:
    message = choice.get("delta")
    is_message = message is None
    if is_message:
        message = choice.get("message")
    if not is_object(message):  # text completions have `text` only, Together has both
        message = {"content": choice.get("text")}
    logprobs = choice.get("logprobs")
    finish_reason = _unless_placeholder(choice.get("finish_reason")) or None
    if finish_reason:
        finish_reason = _FINISH_REASONS.get(finish_reason.lower(), finish_reason)
    content, reasoning = message.get("content"), message.get("reasoning_content")
    if content is None or (content == "" and not (reasoning or message.get("tool_calls"))):
        # FastDeploy has the text of models that can generate images here; beside reasoning and
        # calls, it is the text from which they were parsed.
        content = message.get("multimodal_content")
    if isinstance(content, list):  # Magistral's reasoning is in parts of the content
        reasoning = reasoning or [*filter(_is_reasoning, content)]
        content = [part for part in content if not _is_reasoning(part)]
    return Choice(
        is_message,
        coerce_int(choice.get("index")) or 0,
        parse_text(content),
        parse_text([reasoning or message.get("reasoning") or None]),
        parse_text(message.get("refusal") or None),
        _parse_tool_calls(message, is_message=is_message),
        finish_reason,
        logprobs if isinstance(logprobs, dict) else None,
        _extras(message, _MESSAGE_KEYS),
        _extras(choice, _CHOICE_KEYS),
    )


def _extras(part: Mapping[str, object], known: frozenset[str]) -> Mapping[str, object]:
    """Return the items with keys that are not `known`, without empty values.

    A value nested too deeply to be copied or traced is left out.
    """
    if known.issuperset(part):
        return _NOTHING
    return {
        key: value
        for key, value in part.items()
        if key not in known and not is_empty(value) and is_shallow(value, _DEEPEST_EXTRA)
    }


def is_shallow(value: object, levels: int) -> bool:
    """Whether the lists and objects in a JSON value are nested at most `levels` deep."""
    if isinstance(value, dict):
        value = [*value.values()]
    if not isinstance(value, list):
        return True
    return levels > 0 and all(is_shallow(item, levels - 1) for item in value)


def _is_reasoning(part: object) -> bool:
    return is_object(part) and part.get("type") in _REASONING_TYPES


def parse_text(value: object, depth: int = 0) -> str:
    """Return the text of a string, `null` or a list of text parts; of other values their JSON.

    The text of a part is under "text" or the name of its type; other parts have none. Content that
    is itself an object is a completion in JSON mode.
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if depth > _DEEPEST_PART:
        raise InvalidResponseError("The text of the response is nested too deeply.")
    if isinstance(value, list):
        return "".join([parse_text(part, depth + 1) for part in value])
    if is_object(value):
        # Databricks has a summary, ChatMock content
        keys = ["text", str(value.get("type")), "value", "summary"]
        if value.get("type") in (None, *_TEXT_TYPES, *_REASONING_TYPES):  # not a tool's result
            keys.append("content")
        text = next((value[key] for key in keys if value.get(key)), None)
        if depth or value.get("type") in _TEXT_TYPES or value.keys() <= {"text"}:
            return parse_text(text, depth + 1)
    return json_text(value)


def _parse_tool_calls(
    message: Mapping[str, object], *, is_message: bool
) -> tuple[ToolCallDelta, ...]:
    """Return the calls of a delta, or of a message, in which each entry is one whole call."""
    sent, function = message.get("tool_calls"), message.get("function_call")
    calls = [*filter(is_object, sent if isinstance(sent, list) else [sent])]
    if not calls and is_object(function):  # the form before `tool_calls`: one call, no id
        calls = [{"index": 0, "function": function}]
    indexes = count() if is_message else (coerce_int(call.get("index")) for call in calls)
    return tuple(map(_parse_tool_call, calls, indexes))


def _parse_tool_call(call: Mapping[str, object], index: int | None) -> ToolCallDelta:
    function, custom = call.get("function"), call.get("custom")
    if is_object(custom):  # its input is one text, `__arg1` in LangChain
        function = {**custom, "arguments": {"__arg1": parse_text(custom.get("input"))}}
    if not is_object(function):
        function = call  # some servers send name and arguments beside the id
    arguments = next((function[key] for key in _ARGUMENTS if function.get(key) is not None), "")
    if not isinstance(arguments, str):
        arguments = json.dumps(arguments, ensure_ascii=False)
    return ToolCallDelta(
        index,
        _unless_placeholder(call.get("id")),
        _unless_placeholder(function.get("name")).strip(),
        # Surrogates as JSON escapes, so that parsers join the halves of a pair in two deltas.
        _SURROGATE.sub(lambda half: f"\\u{ord(half[0]):x}", arguments),
    )


_SURROGATE = re.compile("[\ud800-\udfff]")


def _unless_placeholder(value: object) -> str:
    """Return an id, a name or a finish reason; empty for another type, "null" and "None"."""
    return value if isinstance(value, str) and value not in ("null", "None") else ""


def string_or_none(value: object) -> str | None:
    """Return a string that is not empty, `None` for anything else."""
    return value if isinstance(value, str) and value else None


def strings(value: object) -> tuple[str, ...]:
    """Return the strings of a list that are not empty; none for anything else."""
    return tuple(filter(None, map(string_or_none, value))) if isinstance(value, list) else ()


def coerce_int(value: object) -> int | None:
    """Return the integer part of a finite number, or of one in a string; else `None`."""
    number = coerce_number(value)
    return None if number is None else int(number)


def coerce_number(value: object) -> int | float | None:
    """Return a finite number, or one in a string, as an integer if it is one; else `None`."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if number.is_integer():
        return value if isinstance(value, int) else int(number)
    return number if math.isfinite(number) else None


_FACTS: Mapping[str, Callable[[object], object]] = {
    "id": string_or_none,
    "model": string_or_none,
    "created": coerce_int,
    "system_fingerprint": string_or_none,
    "service_tier": string_or_none,
}
