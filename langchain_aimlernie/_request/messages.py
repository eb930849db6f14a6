"""Encode LangChain messages as the messages of a request.

The API is stricter than LangChain: a tool message must follow the assistant message with its call,
name that call's id, and contain text only. `ConversationEncoder` therefore keeps track of open
calls, and defers media in tool results to a user message after all results of the turn.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import singledispatch
from typing import TYPE_CHECKING, NamedTuple

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from pydantic_core import from_json

from langchain_aimlernie._request.content import (
    ContentPart,
    Reasoning,
    Refusal,
    Text,
    ToolCallPart,
    ToolResultPart,
    UnsupportedContentError,
    parse_content,
    parse_tool_call,
    supported_media,
    system_content,
    text_content,
    text_part,
    tool_content,
    user_content,
    user_parts,
)
from langchain_aimlernie._request.media import JsonObject, first_string
from langchain_aimlernie._text import clean_text
from langchain_aimlernie.errors import BadRequestError

if TYPE_CHECKING:
    from langchain_aimlernie.profiles import ModelSpec

_OWN_PROVIDERS = (None, "aimlernie")
_NO_NAME = "unknown"
_INVALID_ARGUMENTS = "invalid_arguments"
_MEDIA_FOLLOW = "[What this result shows follows in a user message.]"
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode_messages(
    messages: Sequence[BaseMessage],
    spec: ModelSpec,
    *,
    replay_reasoning: bool = False,
    omit_unsupported: bool = False,
) -> list[JsonObject]:
    """Return the messages in the form of the model's published schema.

    Args:
        messages: Messages of any class with content of any provider; not changed.
        spec: The capabilities of the model.
        replay_reasoning: Whether earlier reasoning is sent, if its provider is this package or
            unknown.
        omit_unsupported: Whether a text such as `[image omitted]` replaces media that the model
            does not take.

    Raises:
        BadRequestError: A message cannot be sent to this model. The text names the message, the
            block and the model, and says what to do.
    """
    if not messages:
        raise BadRequestError("There are no messages to send. Pass at least one.")
    encoder = ConversationEncoder(spec, replay_reasoning=replay_reasoning, omit=omit_unsupported)
    for index, message in enumerate(messages):
        try:
            _encode(message, encoder)
        except UnsupportedContentError as error:
            reason = str(error)
        except RecursionError:
            reason = "its content is nested too deeply. Send the inner part as text."
        else:
            continue
        # Raised here, outside `except`, so that the error has no context.
        kind = type(message).__name__
        raise BadRequestError(f"messages[{index}] ({kind}) cannot be sent to {spec.id}: {reason}")
    encoder.flush_deferred()
    return encoder.messages


class _OpenCall(NamedTuple):
    """A call without a result so far: its original id (may be empty), name and sent id."""

    original_id: str
    name: str
    sent_id: str


class ConversationEncoder:
    """Collects the encoded messages and matches tool results to calls.

    Attributes:
        messages: The messages encoded so far.
    """

    def __init__(self, spec: ModelSpec, *, replay_reasoning: bool, omit: bool) -> None:
        self.messages: list[JsonObject] = []
        self.spec = spec
        self.replay_reasoning = replay_reasoning
        self.omit = omit
        self._deferred: list[JsonObject] = []
        self._sent_ids: set[str] = set()
        self._function_call: ToolCallPart | None = None
        self._open: list[_OpenCall] = []

    def add_message(self, role: str, content: object, name: str | None, **fields: object) -> None:
        """Add a message that is not a tool result."""
        self.flush_deferred()
        self._function_call = None
        message: JsonObject = {"role": role, "content": content, **fields}
        if name:
            message["name"] = clean_text(name)
        self.messages.append(message)

    def defer_media(self, label: str, media: Sequence[JsonObject]) -> None:
        """Keep media that only a user message may contain until no tool result can follow."""
        if media:
            self._deferred += (text_part(label), *media)

    def flush_deferred(self) -> None:
        """Add the deferred parts as a user message."""
        if self._deferred:
            self.messages.append({"role": "user", "content": user_content(self._deferred)})
            self._deferred = []

    def add_tool_calls(self, calls: Iterable[ToolCallPart]) -> list[JsonObject]:
        """Encode the calls of an assistant message, each with a unique id, and await results."""
        self._open = []
        encoded: list[JsonObject] = []
        for call in calls:
            sent_id = self._unique_id(call.id or f"call_{len(self.messages)}_{len(encoded)}")
            self._open.append(_OpenCall(call.id, call.name, sent_id))
            function = {"name": call.name or _NO_NAME, "arguments": _encode_arguments(call)}
            encoded.append({"id": sent_id, "type": "function", "function": function})
        self._sent_ids.update(call.sent_id for call in self._open)
        return encoded

    def await_function(self, call: ToolCallPart) -> None:
        """Remember a legacy `function_call`; it is sent only if its result follows."""
        self._open = []
        self._function_call = call

    def _unique_id(self, wanted: str) -> str:
        taken = {call.sent_id for call in self._open}
        unique, number = wanted, 1
        while unique in taken:
            number += 1
            unique = f"{wanted}_{number}"
        return unique

    def add_tool_result(self, result: ToolResultPart) -> None:
        """Add a tool result; one without a call is deferred to a user message."""
        lines, media = tool_content(result.content, self.spec, omit=self.omit)
        first = lines[0] if lines else Text("")
        if result.error and not first.text.lstrip().lower().startswith("error"):
            lines[:1] = [replace(first, text=f"Error: {first.text}")]
        if result.cache_control and lines:
            lines[-1] = replace(lines[-1], cache_control=result.cache_control)
        call_id = self._match_call(result)
        label = f"[Result of the tool {result.name or result.id or _NO_NAME}]"
        if call_id is None:
            text = "\n".join([label, *(line.text for line in lines)])
            self._deferred += (text_part(text), *media)
            return
        if media:
            self.defer_media(label, media)
            lines.append(Text(_MEDIA_FOLLOW))
        content = text_content(lines, self.spec, "\n")
        name = {"name": result.name} if result.name else {}
        self.messages.append({"role": "tool", "content": content, "tool_call_id": call_id, **name})

    def _match_call(self, result: ToolResultPart) -> str | None:
        """Return the sent id of the result's call: by id, else by name, else the first open one."""
        matches = [call for call in self._open if call.original_id == result.id]
        if not matches and result.id in self._sent_ids:
            return result.id
        if not result.id:
            matches += [c for c in self._open if c.original_id and c.name == result.name]
        matches = matches or [call for call in self._open if not call.original_id]
        call = min(matches, key=lambda call: result.name not in ("", call.name), default=None)
        if call is None:
            return self._match_function_call(result)
        self._open.remove(call)
        return call.sent_id

    def _match_function_call(self, result: ToolResultPart) -> str | None:
        call = self._function_call
        if call is None or result.id or result.name != call.name:
            return None
        self._function_call = None
        self.messages[-1]["tool_calls"] = self.add_tool_calls([call])
        return self._open.pop().sent_id


def _encode_arguments(call: ToolCallPart) -> str:
    """Return arguments as a JSON object; anything else is wrapped in one."""
    args = call.args
    if isinstance(args, str):
        args = clean_text(args).strip()
        if _is_json_object(args):
            return args
    if args and not isinstance(args, Mapping):
        args = {_INVALID_ARGUMENTS: args}
    try:
        return clean_text(_dump_arguments(args or {}))
    except (TypeError, ValueError) as error:
        raise UnsupportedContentError(
            f"the arguments of its call of {call.name or _NO_NAME!r} are not JSON ({error}). "
            "Use only strings, numbers, booleans, None, lists and dicts in them."
        ) from None


def _dump_arguments(args: object) -> str:
    try:
        return _to_json(args)
    except ValueError:
        # NaN and infinity occur in threads of other packages, which must stay usable.
        return _to_json({_INVALID_ARGUMENTS: json.dumps(args, ensure_ascii=False)})


def _is_json_object(text: str) -> bool:
    try:
        value = from_json(text, allow_inf_nan=False)
        _to_json(value)  # rejects the infinity that `1e999` became
    except ValueError:
        return False
    return isinstance(value, dict)


@singledispatch
def _encode(_: BaseMessage, __: ConversationEncoder) -> None:
    """Add a message to the conversation, by its class."""
    raise UnsupportedContentError(
        "its class has no role in a conversation. Use SystemMessage, HumanMessage, AIMessage, "
        "ToolMessage or ChatMessage; a RemoveMessage is for `add_messages`, before the call."
    )


@_encode.register(HumanMessage)
def _encode_user(message: BaseMessage, encoder: ConversationEncoder) -> None:
    if isinstance(message.content, str):
        encoder.add_message("user", clean_text(message.content), message.name)
        return
    parts = parse_content(message.content)
    own = [part for part in parts if not isinstance(part, ToolResultPart)]
    for part in parts:
        if isinstance(part, ToolResultPart):  # Anthropic and Gemini send results as user content
            encoder.add_tool_result(part)
    if own or not parts:
        content = user_content(user_parts(own, encoder.spec, omit=encoder.omit))
        encoder.add_message("user", content, message.name)


@_encode.register(SystemMessage)
def _encode_system(message: BaseMessage, encoder: ConversationEncoder) -> None:
    # LangChain has no class for developer messages; this key marks them.
    is_developer = message.additional_kwargs.get("__openai_role__") == "developer"
    _add_instructions("developer" if is_developer else "system", message, encoder)


def _encode_developer(message: BaseMessage, encoder: ConversationEncoder) -> None:
    _add_instructions("developer", message, encoder)


def _add_instructions(role: str, message: BaseMessage, encoder: ConversationEncoder) -> None:
    if not encoder.spec.developer_role:
        role = "system"
    content = system_content(message.content, encoder.spec, omit=encoder.omit)
    encoder.add_message(role, content, message.name)


@_encode.register(AIMessage)
def _encode_assistant(message: BaseMessage, encoder: ConversationEncoder) -> None:
    content, additional = message.content, message.additional_kwargs
    # Never null, which the schemas of the 4.5 models reject; all servers take "" with tool calls.
    text: object
    if isinstance(content, str):
        parts: list[ContentPart] = []
        text = clean_text(content)
    else:
        parts = parse_content(content)
        text = text_content([part for part in parts if isinstance(part, Text)], encoder.spec)
    fields: JsonObject = {}
    if refusal := first_string(additional, "refusal") or _join_text(parts, Refusal):
        fields["refusal"] = refusal
    if encoder.replay_reasoning and (reasoning := _own_reasoning(message, parts)):
        fields["reasoning_content"] = reasoning
    if calls := _find_calls(message, parts):
        fields["tool_calls"] = encoder.add_tool_calls(calls)
    encoder.add_message("assistant", text, message.name, **fields)
    function_call = additional.get("function_call")
    if isinstance(function_call, Mapping) and not calls:
        encoder.await_function(parse_tool_call(function_call))
    if parts:
        encoder.defer_media("[What the assistant showed]", supported_media(parts, encoder.spec))


def _join_text(parts: Iterable[ContentPart], kind: type[Refusal | Reasoning]) -> str:
    return clean_text("".join(part.text for part in parts if isinstance(part, kind)))


def _own_reasoning(message: BaseMessage, parts: Iterable[ContentPart]) -> str:
    if message.response_metadata.get("model_provider") not in _OWN_PROVIDERS:
        return ""
    reasoning = first_string(message.additional_kwargs, "reasoning_content")
    return reasoning or _join_text(parts, Reasoning)


def _find_calls(message: BaseMessage, parts: Sequence[ContentPart]) -> list[ToolCallPart]:
    """Return all calls of an assistant message, valid or not, since each has a result.

    Only the fields of an `AIMessage` count: content blocks and `additional_kwargs` repeat them, and
    still contain calls that a program has removed.
    """
    if isinstance(message, AIMessage):
        return [parse_tool_call(c) for c in (*message.tool_calls, *message.invalid_tool_calls)]
    raw_calls = getattr(message, "tool_calls", message.additional_kwargs.get("tool_calls"))
    if isinstance(raw_calls, list) and raw_calls:
        return [parse_tool_call(raw) for raw in raw_calls if isinstance(raw, Mapping)]
    return [part for part in parts if isinstance(part, ToolCallPart)]


@_encode.register(ToolMessage)
@_encode.register(FunctionMessage)
def _encode_tool(message: BaseMessage, encoder: ConversationEncoder) -> None:
    additional = message.additional_kwargs
    call_id = getattr(message, "tool_call_id", None) or additional.get("tool_call_id") or ""
    is_error = getattr(message, "status", None) == "error"
    name = clean_text(message.name or "")
    encoder.add_tool_result(
        ToolResultPart(clean_text(str(call_id)), name, message.content, is_error)
    )


@_encode.register(ChatMessage)
def _encode_chat(message: BaseMessage, encoder: ConversationEncoder) -> None:
    role = getattr(message, "role", "")
    encode = _BY_ROLE.get(role.lower())
    if encode is None:
        roles = ", ".join(map(repr, _BY_ROLE))
        raise UnsupportedContentError(f"the API has no role {role!r}. Use one of {roles}.")
    encode(message, encoder)


_BY_ROLE: dict[str, Callable[[BaseMessage, ConversationEncoder], None]] = {
    **dict.fromkeys(("user", "human"), _encode_user),
    **dict.fromkeys(("assistant", "ai", "model"), _encode_assistant),
    "system": _encode_system,
    "developer": _encode_developer,
    **dict.fromkeys(("tool", "function"), _encode_tool),
}
