"""Build the body of a request from settings, messages and the options of a call."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._request.content import has_cache_control
from langchain_aimlernie._request.messages import encode_messages
from langchain_aimlernie._request.tools import (
    allows_parallel_calls,
    encode_tool_choice,
    encode_tools,
)
from langchain_aimlernie._settings.arguments import is_foreign, is_unset, suggest_name
from langchain_aimlernie._settings.fields import REQUEST_PARAMS
from langchain_aimlernie._structured.schema import encode_response_format
from langchain_aimlernie._text import warn_user
from langchain_aimlernie.errors import BadRequestError

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.profiles import ModelSpec

_BODY_FIELDS = frozenset({"model", "messages", "stream", "stream_options", "tools", "tool_choice"})
_LANGCHAIN_KWARGS = frozenset({"ls_structured_output_format", "structured_output_format", "strict"})

Warn = Callable[[str, str], None]  # takes the name of a field and a message


def build_payload(  # noqa: PLR0913  the parts of a body
    messages: Sequence[BaseMessage],
    spec: ModelSpec,
    model: str,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],
    *,
    replay_reasoning: bool = False,
    omit_unsupported: bool = False,
    warn: Warn,
) -> dict[str, Any]:
    """Return the body of a request, or raise a `BadRequestError` if the API would reject it.

    The options of the call override the settings of the model, both validated; `None` unsets one.
    `warn` is called for each field that the API's limits change.
    """
    try:
        fields = _encode_fields({**settings, **_drop_internal(options)})
        _reject_unsupported(fields, spec)
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    encoded = encode_messages(
        messages, spec, replay_reasoning=replay_reasoning, omit_unsupported=omit_unsupported
    )
    if not spec.cache_control:
        removed = [tool.pop("cache_control", None) for tool in fields.get("tools", ())]
        if spec.fields is not None and (any(removed) or has_cache_control(messages)):
            warn("cache_control", f"cache_control is not sent: {spec.id} does not support it.")
    return {"model": model, "messages": encoded, **_adapt(fields, spec, warn)}


def _drop_internal(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options for the body, without those for other packages; warn of unknown ones."""
    kept: dict[str, Any] = {}
    for name, value in options.items():
        known = name in REQUEST_PARAMS or name in _BODY_FIELDS or is_unset(name, value)
        if name in _LANGCHAIN_KWARGS or (not known and is_foreign(name, value)):
            continue
        if not known:
            warn_user(
                f"{name!r} is not a setting of ChatAimlErnie; it is sent as a field of the body."
                + suggest_name(name)
            )
        kept[name] = value
    return kept


def _encode_fields(values: Mapping[str, Any]) -> dict[str, Any]:
    fields = {name: value for name, value in values.items() if not is_unset(name, value)}
    if "tools" in fields:
        fields["tools"] = encode_tools(fields["tools"])
    if "response_format" in fields:
        fields["response_format"] = encode_response_format(fields["response_format"])
    if isinstance(stop := fields.get("stop"), str):
        fields["stop"] = [stop]
    if (given := fields.pop("tool_choice", None)) is not None:
        choice, tools = encode_tool_choice(given, fields.get("tools", []))
        if choice is not None:
            fields |= {"tool_choice": choice, "tools": tools}
            if (parallel := allows_parallel_calls(given)) is not None:
                fields.setdefault("parallel_tool_calls", parallel)
    if not fields.get("tools"):
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            fields.pop(name, None)
    return fields


def _reject_unsupported(fields: Mapping[str, Any], spec: ModelSpec) -> None:
    """Raise for parameters of other models, which the API would ignore without an error."""
    if spec.fields is None:
        return
    if "n" in fields:
        raise ValueError(f"The API returns one choice a call; n must be 1, got {fields['n']!r}.")
    if functions := sorted(fields.keys() & {"functions", "function_call"}):
        raise ValueError(
            f"The API has tools instead of {' and '.join(functions)}: use bind_tools, or in an "
            "agent create_tool_calling_agent."
        )
    for name in REQUEST_PARAMS:
        if name in fields and name not in spec.fields and name != "max_completion_tokens":
            raise ValueError(
                f"{spec.id} does not support {name}; leave it out, or choose a model that does."
            )


def _adapt(fields: dict[str, Any], spec: ModelSpec, warn: Warn) -> dict[str, Any]:
    """Map parameters to what this model accepts; warn of what is lost."""
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
        hint = " Set enable_thinking=False to force a call." if spec.thinking_switch else ""
        warn(
            "tool_choice",
            f'tool_choice is sent as "auto": {spec.id} cannot be forced to call a tool while it '
            f"thinks, so it may respond without a call.{hint}",
        )
        fields["tool_choice"] = "auto"
    return fields


def encode_body(payload: Mapping[str, Any]) -> bytes:
    """Return the body as JSON in UTF-8, or raise a `BadRequestError` if it is not JSON."""
    try:
        return json.dumps(
            payload, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    except UnicodeEncodeError:
        reason = "a tool, a schema or a setting contains half a surrogate pair"
    except RecursionError:
        reason = "it is nested too deeply"
    except (TypeError, ValueError) as error:
        reason = str(error)
    raise BadRequestError(f"The request cannot be encoded as JSON: {reason}.")
