"""Settings, messages and the options of a call -> the body of a request."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._params import REQUEST_PARAMS, validate_param
from langchain_aimlernie._request.content import has_cache_control
from langchain_aimlernie._request.messages import encode_messages
from langchain_aimlernie._request.tools import (
    allow_tools,
    allows_parallel_calls,
    encode_tool_choice,
    encode_tools,
)
from langchain_aimlernie._structured.schema import encode_response_format
from langchain_aimlernie.errors import BadRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.profiles import ModelSpec

_OWN_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "tools", "tool_choice"})
_LANGCHAIN_WORDS = frozenset({"ls_structured_output_format", "structured_output_format", "strict"})


def _warn(_field: str, message: str) -> None:
    warnings.warn(message, stacklevel=3)


def build_payload(  # noqa: PLR0913  what a body is made of
    messages: Sequence[BaseMessage],
    spec: ModelSpec,
    model: str,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    replay_reasoning: bool = False,
    omit_unsupported: bool = False,
    warn: Callable[[str, str], None] = _warn,
) -> dict[str, Any]:
    """Build the body of a request; nothing that is `None` is in it.

    Args:
        messages: The conversation; not changed.
        spec: What the model takes on the server that is asked.
        model: The model's id, as it is to be sent.
        settings: The model's settings, by name.
        options: The options of the call, which win; `None` unsets a setting. Words that are no
            settings go into the body with a warning.
        replay_reasoning: Whether the model's own earlier reasoning is sent with its turns.
        omit_unsupported: Whether media that the model does not take are replaced by a text.
        warn: What reports a field that the API's limits leave out or change: its name and a
            message.

    Raises:
        BadRequestError: The API would refuse it, with the reason; nothing has been sent.
    """
    try:
        fields = _fields({**settings, **_known(options)})
        _check_fields(fields, spec)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    encoded = encode_messages(
        messages, spec, replay_reasoning=replay_reasoning, omit_unsupported=omit_unsupported
    )
    if spec.fields is not None and not spec.cache_control and has_cache_control(messages):
        warn("cache_control", _NO_CACHE_CONTROL.format(spec.id))
    return {"model": model, "messages": encoded, **_for_model(fields, spec, warn)}


def _known(options: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out LangChain's own words; warn of words that nobody here knows, and keep them."""
    known = {name: value for name, value in options.items() if name not in _LANGCHAIN_WORDS}
    if known.get("n") == 1:
        del known["n"]
    for name in known:
        if name not in REQUEST_PARAMS and name not in _OWN_FIELDS:
            warnings.warn(
                f"{name!r} is no setting of ChatAimlErnie; it is sent as a field of the body.",
                stacklevel=2,
            )
    return known


def _fields(values: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in values.items():
        validate_param(name, value)
        if value is not None:
            encode = _ENCODERS.get(name)
            fields[name] = value if encode is None else encode(value)
    given = fields.pop("tool_choice", None)
    if choice := encode_tool_choice(given, fields.get("tools", ())):
        fields["tool_choice"], fields["tools"] = allow_tools(choice, fields.get("tools", []))
    if (parallel := allows_parallel_calls(given)) is not None:
        fields.setdefault("parallel_tool_calls", parallel)
    if not fields.get("tools"):
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            fields.pop(name, None)
    if fields.get("stop") == []:
        del fields["stop"]
    return fields


def _encode_stop(stop: str | Sequence[str]) -> list[str]:
    return [stop] if isinstance(stop, str) else list(stop)


_ENCODERS: Mapping[str, Callable[[Any], object]] = {
    "tools": encode_tools,
    "response_format": encode_response_format,
    "stop": _encode_stop,
    "max_tokens": int,
    "max_completion_tokens": int,
    "seed": int,
    "thinking_budget": int,
}


def _check_fields(fields: Mapping[str, Any], spec: ModelSpec) -> None:
    """Refuse settings of other models' schemas: the API would drop them in silence."""
    if spec.fields is None:
        return
    if fields.get("n", 1) != 1:
        raise ValueError("The API gives one choice a call; n cannot be more than 1.")
    for name in REQUEST_PARAMS:
        if name in fields and name not in spec.fields and name != "max_completion_tokens":
            raise ValueError(
                f"{spec.id} does not take {name}; leave it out, or choose a model that has it."
            )


def _for_model(
    fields: dict[str, Any], spec: ModelSpec, warn: Callable[[str, str], None]
) -> dict[str, Any]:
    """Write the fields as the model's schema has them, and report what is lost by it."""
    if spec.fields is not None and "max_completion_tokens" not in spec.fields:
        limit = fields.pop("max_completion_tokens", None)
        if limit is not None and fields.setdefault("max_tokens", limit) != limit:
            warn(
                "max_completion_tokens",
                f"max_completion_tokens={limit} is not sent beside max_tokens: "
                f"{spec.id} has one limit only.",
            )
    is_thinking = spec.reasoning and fields.get("enable_thinking") is not False
    is_forced = fields.get("tool_choice") not in (None, "auto", "none")
    if is_forced and is_thinking and not spec.forced_tool_choice:
        remedy = " Set enable_thinking=False to force a call." if spec.thinking_switch else ""
        warn(
            "tool_choice",
            f'tool_choice is sent as "auto": {spec.id} cannot be forced to call a tool while it '
            f"thinks, so it may answer without a call.{remedy}",
        )
        fields["tool_choice"] = "auto"
    if "tools" in fields and not spec.cache_control:
        fields["tools"] = _without_cache_control(fields["tools"], spec, warn)
    return fields


def _without_cache_control(
    tools: list[dict[str, object]], spec: ModelSpec, warn: Callable[[str, str], None]
) -> list[dict[str, object]]:
    if not any("cache_control" in tool for tool in tools):
        return tools
    if spec.fields is not None:
        warn("cache_control", _NO_CACHE_CONTROL.format(spec.id))
    return [{k: v for k, v in tool.items() if k != "cache_control"} for tool in tools]


_NO_CACHE_CONTROL = "cache_control is not sent: {} does not take it."


def encode_body(payload: Mapping[str, Any]) -> bytes:
    """Write the body as JSON in UTF-8.

    Raises:
        BadRequestError: It holds what JSON has no form for, such as NaN or an object in a cycle.
    """
    try:
        return json.dumps(
            payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        reason = _reason(error)
        raise BadRequestError(f"The request cannot be written as JSON: {reason}.") from None


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return "a tool, a schema or a setting holds half a surrogate pair"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
