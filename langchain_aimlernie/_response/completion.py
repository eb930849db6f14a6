"""Decode a completion to LangChain's `ChatResult`; what streams share with that."""

from __future__ import annotations

import re
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from langchain_aimlernie._response.error_mapping import error_in_payload, error_in_text
from langchain_aimlernie._response.schema import (
    Choice,
    Completion,
    coerce_int,
    coerce_number,
    is_object,
    object_or_empty,
    parse_event,
    parse_object,
    request_id_in,
    unreadable,
)
from langchain_aimlernie._response.tool_calls import decode_tool_calls
from langchain_aimlernie._text import NO_SECRETS, Redactor, clean_text
from langchain_aimlernie.errors import InvalidResponseError
from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from langchain_core.messages.ai import UsageMetadata

# Names of token counts, and LangChain's for them; of two with the same meaning the later one wins.
_TOTALS = {
    "input_tokens": "input_tokens",
    "prompt_tokens": "input_tokens",
    "output_tokens": "output_tokens",
    "completion_tokens": "output_tokens",
    "total_tokens": "total_tokens",
}
_INPUT_DETAILS = {
    "cached_tokens": "cache_read",  # Moonshot has it beside the totals
    "prompt_cache_hit_tokens": "cache_read",  # DeepSeek, beside the totals
    "cache_read_input_tokens": "cache_read",  # Anthropic, also of LiteLLM
    "cache_creation_input_tokens": "cache_creation",
    "cache_creation_tokens": "cache_creation",  # LiteLLM
    "cache_write_tokens": "cache_creation",  # OpenRouter
    "audio_tokens": "audio",
}
_OUTPUT_DETAILS = {"reasoning_tokens": "reasoning", "audio_tokens": "audio"}
_UPSTREAM = "upstream_inference_cost"
_DONE = b"data: [DONE]"
"""What some proxies append to JSON."""

_LLM_OUTPUT = ("token_usage", "model_provider", "model_name", "id", "system_fingerprint")
"""What tracers read in `llm_output`."""


@dataclass(repr=False, eq=False)
class ResponseDecoder:
    """Decodes a JSON response; the base class of the decoder of streams.

    Attributes:
        headers: The response headers, names in lower case.
        model: The model of the request, for responses that do not name one.
        redactor: Removes secrets from errors and unknown fields.
        include_headers: Whether the metadata has all headers.
    """

    headers: Mapping[str, str]
    _: KW_ONLY
    model: str
    redactor: Redactor = NO_SECRETS
    include_headers: bool = False

    @property
    def is_self_hosted(self) -> bool:
        """Whether the server is not the AI/ML API, whose responses have an inference id."""
        return "x-inference-id" not in self.headers

    def decode(self, body: bytes) -> ChatResult:
        """Return the body of a JSON response as a result with every choice.

        Raises:
            AimlErnieError: The body is an error or no completion, whatever its HTTP status was.
        """
        completion = self.parse_completion(body)
        choices = completion.choices
        if choices[0].finish_reason == "tool_calls" and not choices[0].tool_calls:
            # GitHub Copilot has the text in one choice and the calls in the next.
            calls = chain.from_iterable(choice.tool_calls for choice in choices)
            choices = (choices[0]._replace(tool_calls=tuple(calls)),)
        shared = self.metadata(completion)
        usage = decode_usage(completion.usage)  # of all choices together
        generations = [
            self._decode_choice(choice, shared, usage if index == 0 else None)
            for index, choice in enumerate(choices)
        ]
        llm_output = {key: shared[key] for key in _LLM_OUTPUT if key in shared}
        return ChatResult(generations=generations, llm_output=llm_output)

    def parse_payload(self, data: bytes, *, is_error: bool = False) -> Mapping[str, object]:
        """Return the JSON object of a response or an event, or raise the error that it is."""
        try:
            payload = parse_object(data, self.redactor)
        except InvalidResponseError as invalid:
            error = error_in_text(data, self.headers, self.redactor, is_error=is_error)
            raise error or invalid from None
        return {"error": payload} if is_error and "error" not in payload else payload

    def raise_error_in(self, payload: Mapping[str, object]) -> None:
        """Raise the error that is in the JSON object, if there is one."""
        if error := error_in_payload(payload, self.headers, self.redactor):
            raise error

    def parse_completion(self, body: bytes) -> Completion:
        """Parse a JSON response; raise if it is an error, or not a completion."""
        if body.lstrip().startswith((b"data:", b"event:", b"id:", b"retry:", b":")):
            problem = "The server sent events, not JSON; set streaming=True."
            raise unreadable(problem, body.decode(errors="replace"), self.redactor)
        payload = self.parse_payload(body.rstrip().removesuffix(_DONE))
        self.raise_error_in(payload)
        choices = payload.get("choices")
        first = choices[0] if isinstance(choices, list) and choices else None
        is_choice = is_object(first) and (
            is_object(first.get("message", first.get("delta")))
            or isinstance(first.get("text"), str)
        )
        if not is_choice:
            raise InvalidResponseError(
                "The response has no choice with a message; it has the keys "
                f"{', '.join(map(repr, payload)) or '(none)'}.",
                body=self.redactor.json(payload),
            )
        return parse_event(payload)

    def _decode_choice(
        self, choice: Choice, shared: Mapping[str, Any], usage: UsageMetadata | None
    ) -> ChatGeneration:
        reasoning, text = split_think_tags(choice.text, choice.reasoning, self.is_self_hosted)
        tool_calls, invalid_tool_calls = decode_tool_calls(choice.tool_calls, choice.finish_reason)
        ending = {"finish_reason": choice.finish_reason, "logprobs": choice.logprobs}
        message = AIMessage(
            content=clean_text(text),
            additional_kwargs={
                **self.redactor.json_object(choice.message_extras),
                **message_extras(reasoning, choice.refusal),
            },
            response_metadata={
                **self.redactor.json_object(choice.choice_extras),
                **shared,
                **{name: value for name, value in ending.items() if value is not None},
            },
            tool_calls=tool_calls,
            invalid_tool_calls=invalid_tool_calls,
            usage_metadata=usage,
        )
        return ChatGeneration(
            message=message, generation_info={"finish_reason": choice.finish_reason}
        )

    def metadata(self, completion: Completion) -> dict[str, Any]:
        """Return the metadata of a completion, streamed or not.

        Unknown top-level keys are kept, unless this package has a key of that name. The AI/ML API
        sends the cost in `meta.usage` or headers, LiteLLM in a header or, for streams, in
        `usage.cost`; OpenRouter in `usage.cost`, Perplexity in `usage.cost.total_cost`, DeepInfra
        in `usage.estimated_cost`, LLM Gateway in `usage.cost_usd_total`.
        """
        headers = self.headers
        facts, usage, cost = dict(completion.facts), completion.usage, completion.cost
        counts = usage or {}
        metadata: dict[str, Any] = {
            "model_provider": PROVIDER,
            "model_name": facts.pop("model", self.model),
            **facts,
            "credits_used": _first_number(
                cost.get("credits_used"), headers.get("x-aimlapi-credits-used")
            ),
            "usd_spent": _first_number(
                cost.get("usd_spent"),
                headers.get("x-aimlapi-usd-spent"),
                _cost_with_own_key(counts),
                counts.get("cost"),
                object_or_empty(counts.get("cost")).get("total_cost"),
                counts.get("estimated_cost"),
                counts.get("cost_usd_total"),
                headers.get("x-litellm-response-cost"),
            ),
            "request_id": request_id_in(headers),
            "inference_id": headers.get("x-inference-id"),
            "client_request_id": headers.get("x-client-request-id"),
            "token_usage": None if usage is None else dict(usage),
            "rate_limits": {k: v for k, v in headers.items() if "ratelimit" in k} or None,
            "headers": self.redactor.headers(headers) if self.include_headers else None,
        }
        known = {key: value for key, value in metadata.items() if value is not None}
        return {**self.redactor.json_object(completion.extras), **known}


def message_extras(reasoning: str, refusal: str) -> dict[str, Any]:
    """Return the texts for a message's `additional_kwargs`, without empty ones."""
    extras = {"reasoning_content": reasoning, "refusal": refusal}
    return {key: clean_text(text) for key, text in extras.items() if text}


def _cost_with_own_key(usage: Mapping[str, object]) -> float | None:
    """Return OpenRouter's fee plus what the provider charges the user's own key, if one is used."""
    fee = coerce_number(usage.get("cost"))
    upstream = coerce_number(object_or_empty(usage.get("cost_details")).get(_UPSTREAM))
    if usage.get("is_byok") is not True or fee is None or upstream is None:
        return None
    return fee + upstream


def _first_number(*values: object) -> int | float | None:
    return next((number for number in map(coerce_number, values) if number is not None), None)


def decode_usage(usage: Mapping[str, object] | None) -> UsageMetadata | None:
    """Return the API's usage as LangChain's; counts must be integers of at least 0."""
    if usage is None:
        return None
    totals = _counts(_TOTALS, usage)
    if totals.keys() <= {"total_tokens"}:
        return None
    totals = {"input_tokens": 0, "output_tokens": 0, **totals}
    # A total of zero, or of the last of several events, is less than the sum.
    total = totals["input_tokens"] + totals["output_tokens"]
    totals["total_tokens"] = max(total, totals.get("total_tokens", 0))
    top_level = {**usage, "audio_tokens": None}  # only the details say whether input or output
    inputs = (usage.get("input_tokens_details"), usage.get("prompt_tokens_details"))
    outputs = (usage.get("output_tokens_details"), usage.get("completion_tokens_details"))
    details = {
        "input_token_details": _counts(_INPUT_DETAILS, top_level, *inputs),
        "output_token_details": _counts(_OUTPUT_DETAILS, top_level, *outputs),
    }
    given = {name: counts for name, counts in details.items() if counts}
    return cast("UsageMetadata", {**totals, **given})


def _counts(names: Mapping[str, str], *objects: object) -> dict[str, int]:
    """Return the valid counts under the keys of `names`, by their names in LangChain."""
    counts = [
        (name, coerce_int(each.get(key)))
        for each in filter(is_object, objects)
        for key, name in names.items()
    ]
    return {name: count for name, count in counts if count is not None and count >= 0}


# Reasoning within the text is between `<think>` and `</think>`; in ERNIE's own format, `<response>`
# and `</response>` enclose the rest. Line breaks around the tags are dropped.
_THINK, _END_THINK, _RESPONSE, _END_RESPONSE = "<think>", "</think>", "<response>", "</response>"
_BREAKS = "\r\n"


def _next_tag(before: str, space: str, *tags: str) -> re.Pattern[str]:
    """Return a pattern whose groups are what precedes a tag, the tag or its beginning, and the tag.

    Up to 8 characters of white space are buffered, since a tag may follow; more are text.
    """
    parts = "|".join(tag[:length] for tag in tags for length in range(len(tag)))
    tag = rf"({'|'.join(tags)})[{_BREAKS}]*"
    return re.compile(rf"({before}*?)({space}{{0,8}}(?:{tag}|(?:{parts})\Z))", re.DOTALL)


_NEXT_TAG = {
    "": _next_tag(r"\s", r"\s", _THINK, _END_THINK),  # some servers' parsers leave the closing tag
    _THINK: _next_tag(".", rf"[{_BREAKS}]", _END_THINK),
    _END_THINK: _next_tag(r"\s", r"\s", _THINK, _END_THINK, _RESPONSE),
    _RESPONSE: _next_tag(".", rf"[{_BREAKS}]", _END_RESPONSE),
}
"""The pattern of the next tag by the last one, which is "" before the first."""


class ThinkTagParser:
    """Splits streamed text that begins with a `<think>` block into reasoning and text.

    The AI/ML API sends reasoning in a separate field; self-hosted servers without a reasoning
    parser leave the block in the text. Only a block at the beginning of the text counts, and
    `<response>` only after such a block or, if the server is `self_hosted`, after reasoning in its
    field: parsers for other models leave it (vLLM's `deepseek_r1`, LM Studio's). At most 8
    characters of white space and the beginning of a tag are buffered.
    """

    __slots__ = ("_buffered", "_is_after_tag", "_last_tag", "_self_hosted")

    def __init__(self, *, self_hosted: bool = False) -> None:
        self._self_hosted = self_hosted
        self._last_tag = ""
        self._is_after_tag = False  # and line breaks
        self._buffered = ""

    def feed(self, text: str, reasoning: str = "") -> tuple[str, str]:
        """Return the (reasoning, text) that can be emitted after the next part of each."""
        if reasoning and self._self_hosted and not self._last_tag:
            self._last_tag = _END_THINK
        if not text:
            return reasoning, ""
        if self._is_after_tag:
            text = text.lstrip(_BREAKS)
            self._is_after_tag = not text
        text, self._buffered = self._buffered + text, ""
        content = ""
        while self._last_tag != _END_RESPONSE:
            found = _NEXT_TAG[self._last_tag].match(text)
            if found is None:  # no tag comes next: the rest is text, as after the last one
                self._last_tag = _END_RESPONSE
                break
            before, rest, tag = found.groups()
            if self._last_tag == _THINK:
                reasoning += before
            else:
                content += before
            if tag is None:
                self._buffered = rest
                return reasoning, content
            self._last_tag = tag
            text = text[found.end() :]
            self._is_after_tag = not text
        return reasoning, content + text

    def close(self) -> tuple[str, str]:
        """Return the buffered rest as (reasoning, text)."""
        rest, self._buffered = self._buffered, ""
        return (rest, "") if self._last_tag == _THINK else ("", rest)


def split_think_tags(text: str, reasoning: str = "", self_hosted: bool = False) -> tuple[str, str]:
    """Split a whole text into (reasoning, text); `reasoning` is what its own field has."""
    parser = ThinkTagParser(self_hosted=self_hosted)
    reasonings, texts = zip(parser.feed(text, reasoning), parser.close(), strict=True)
    return "".join(reasonings), "".join(texts)
