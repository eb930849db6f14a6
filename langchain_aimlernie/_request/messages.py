"""Encode LangChain messages as the messages of a request.

The API is stricter than LangChain: a tool message must follow the assistant message with its call,
name that call's id, and contain text only. `_ConversationEncoder` therefore moves each result to
its call, and defers media in results to a user message after all results of the turn.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import TYPE_CHECKING

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
    merge_content,
)
from pydantic_core import from_json

from langchain_aimlernie._request.content import (
    INVALID_ARGUMENTS,
    ContentPart,
    Reasoning,
    Refusal,
    Text,
    ToolCallPart,
    ToolResultPart,
    UnsupportedContentError,
    check_media,
    encode_parts,
    parse_content,
    parse_tool_call,
    system_content,
    text_content,
    text_part,
    tool_content,
    user_content,
)
from langchain_aimlernie._request.media import JsonObject, Media, first_string
from langchain_aimlernie._text import clean_text
from langchain_aimlernie.errors import BadRequestError

if TYPE_CHECKING:
    from langchain_aimlernie.profiles import ModelSpec

_OWN_PROVIDERS = (None, "aimlernie")
_NO_NAME = "unknown"
_MEDIA_FOLLOW = "[What this result shows follows in a user message.]"
_ROLES = {
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "ai", "model"), "assistant"),
    "system": "system",
    "developer": "developer",
    **dict.fromkeys(("tool", "function"), "tool"),
}
"""The API's role by that of a `ChatMessage`."""
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode_messages(
    messages: Sequence[BaseMessage],
    spec: ModelSpec,
    *,
    replay_reasoning: bool = False,
    omit_unsupported: bool = False,
) -> list[JsonObject]:
    """Return messages of any class, with content of any provider, in the API's format.

    With `replay_reasoning`, reasoning is sent if its provider is this package or unknown. Raises a
    `BadRequestError` for a message that cannot be sent to this model.
    """
    if not messages:
        raise BadRequestError("There are no messages to send. Pass at least one.")
    encoder = _ConversationEncoder(spec, replay_reasoning=replay_reasoning, omit=omit_unsupported)
    for index, message in enumerate(messages):
        try:
            encoder.add(message)
        except UnsupportedContentError as error:
            reason = str(error)
        except RecursionError:
            reason = "its content is nested too deeply. Send the inner part as text."
        else:
            continue
        # Raised here, outside `except`, so that the error has no context.
        kind = type(message).__name__
        raise BadRequestError(f"messages[{index}] ({kind}) cannot be sent to {spec.id}: {reason}")
    return encoder.finish()


class _ConversationEncoder:
    """Collects the encoded messages and matches tool results to calls."""

    def __init__(self, spec: ModelSpec, *, replay_reasoning: bool, omit: bool) -> None:
        self._spec = spec
        self._replay_reasoning = replay_reasoning
        self._omit = omit
        self._turns: list[list[JsonObject]] = []  # each: a message, then the results of its calls
        self._turn_of_call: dict[str, list[JsonObject]] = {}  # by sent id
        self._open: dict[str, ToolCallPart] = {}  # calls without a result so far, by sent id
        self._function_call: ToolCallPart | None = None
        self._deferred: list[JsonObject] = []

    def add(self, message: BaseMessage) -> None:
        """Encode a message, or raise an `UnsupportedContentError`."""
        match _role_of(message):
            case "user":
                self._add_user(message)
            case "assistant":
                self._add_assistant(message)
            case "tool":
                self._add_tool_message(message)
            case role:
                role = role if self._spec.developer_role else "system"
                content = system_content(message.content, self._spec, omit=self._omit)
                if not content and message.content and self._turns:
                    return  # all its blocks are left out, such as a `tool_addition`
                self._add(role, content, message.name)

    def finish(self) -> list[JsonObject]:
        """Return all messages."""
        self._flush_deferred()
        return list(chain.from_iterable(self._turns))

    def _add(self, role: str, content: object, name: str | None, **fields: object) -> None:
        self._flush_deferred()
        self._function_call = None
        message: JsonObject = {"role": role, "content": content, **fields}
        if name:
            message["name"] = clean_text(name)
        self._turns.append([message])

    def _defer_media(self, label: str, media: Sequence[JsonObject]) -> None:
        """Keep media that only a user message may contain until no tool result can follow."""
        if media:
            self._deferred += (text_part(label), *media)

    def _flush_deferred(self) -> None:
        if self._deferred:
            self._turns.append([{"role": "user", "content": user_content(self._deferred)}])
            self._deferred = []

    def _add_user(self, message: BaseMessage) -> None:
        if isinstance(message.content, str):  # a fast path: each turn encodes the history again
            self._add("user", clean_text(message.content), message.name)
            return
        parts = parse_content(message.content)
        others = [part for part in parts if not isinstance(part, ToolResultPart)]
        for part in parts:
            if isinstance(part, ToolResultPart):  # Anthropic's and Gemini's are user content
                self._add_result(part)
        if others or not parts:
            content = user_content(encode_parts(others, self._spec, omit=self._omit))
            self._add("user", content, message.name)

    def _add_assistant(self, message: BaseMessage) -> None:
        additional = message.additional_kwargs
        parts: list[ContentPart] = []
        # Never null, which the schemas of the 4.5 models reject; all servers accept "" with calls.
        content: object
        if isinstance(message.content, str):
            content = clean_text(message.content)
        else:
            parts = parse_content(message.content)
            texts = [part for part in parts if isinstance(part, Text)]
            content = text_content(encode_parts(texts, self._spec))
        if not content and isinstance(audio := additional.get("audio"), Mapping):
            content = first_string(audio, "transcript")  # OpenAI's audio completions have no text
        fields: JsonObject = {}
        if refusal := first_string(additional, "refusal") or _join_text(parts, Refusal):
            fields["refusal"] = refusal
        provider = message.response_metadata.get("model_provider")
        if self._replay_reasoning and provider in _OWN_PROVIDERS:
            reasoning = first_string(additional, "reasoning_content")
            if reasoning := reasoning or _join_text(parts, Reasoning):
                fields["reasoning_content"] = reasoning
        calls = _find_calls(message, parts)
        self._add("assistant", content, message.name, **fields)
        if calls:
            self._add_calls(calls)
        elif isinstance(function_call := additional.get("function_call"), Mapping):
            self._open, self._function_call = {}, parse_tool_call(function_call)
        media = [part for part in parts if isinstance(part, Media)]
        supported = [each.part for each in media if check_media(each, self._spec) is each]
        self._defer_media("[What the assistant showed]", supported)

    def _add_calls(self, calls: Iterable[ToolCallPart]) -> None:
        """Add calls to the last message, each with a unique id, and await their results."""
        turn = self._turns[-1]
        self._open = {}
        for call in calls:
            wanted = call.id or f"call_{len(self._turns)}_{len(self._open)}"
            sent_id, number = wanted, 1
            while sent_id in self._open:
                number += 1
                sent_id = f"{wanted}_{number}"
            self._open[sent_id] = call
            self._turn_of_call[sent_id] = turn
        turn[0]["tool_calls"] = [
            {"id": sent_id, "type": "function", "function": _encode_call(call)}
            for sent_id, call in self._open.items()
        ]

    def _add_tool_message(self, message: BaseMessage) -> None:
        call_id = getattr(message, "tool_call_id", None)
        call_id = call_id or message.additional_kwargs.get("tool_call_id") or ""
        is_error = getattr(message, "status", None) == "error"
        name = clean_text(message.name or "")
        self._add_result(ToolResultPart(clean_text(str(call_id)), name, message.content, is_error))

    def _add_result(self, result: ToolResultPart) -> None:
        """Add a tool result to its call's turn; one without a call goes into a user message."""
        lines, media = tool_content(result.content, self._spec, omit=self._omit)
        first = str(lines[0]["text"]) if lines else ""
        if result.error and not first.lstrip().lower().startswith("error"):
            lines[:1] = [{**(lines or [text_part("")])[0], "text": f"Error: {first}"}]
        if result.cache_control and lines and self._spec.cache_control:
            lines[-1]["cache_control"] = result.cache_control
        self._add_legacy_call(result)
        call_id = self._match_call(result)
        label = f"[Result of the tool {result.name or result.id or _NO_NAME}]"
        if call_id is None:
            text = "\n".join([label, *(str(line["text"]) for line in lines)])
            self._deferred += (text_part(text), *media)
            return
        if media:
            self._defer_media(label, media)
            lines.append(text_part(_MEDIA_FOLLOW))
        message: JsonObject = {
            "role": "tool",
            "content": text_content(lines, "\n"),
            "tool_call_id": call_id,
        }
        if result.name:
            message["name"] = result.name
        self._turn_of_call[call_id].append(message)

    def _add_legacy_call(self, result: ToolResultPart) -> None:
        """Add the legacy call of the last message, which is sent only if this is its result."""
        call = self._function_call
        if call and not result.id and result.name == call.name:
            self._function_call = None
            self._add_calls([call])

    def _match_call(self, result: ToolResultPart) -> str | None:
        """Return the sent id of the result's call: by id, else by name, else the first open one."""

        def has_name(call: ToolCallPart) -> bool:
            return result.name in ("", call.name)

        calls = self._open.items()
        without_id = [item for item in calls if not item[1].id]
        if result.id:
            matches = [item for item in calls if item[1].id == result.id]
            if not matches and result.id in self._turn_of_call:
                return result.id
            matches = matches or without_id
        else:
            matches = without_id + [item for item in calls if item[1].id and has_name(item[1])]
        if not matches:
            return None
        sent_id, _ = next((item for item in matches if has_name(item[1])), matches[0])
        del self._open[sent_id]
        return sent_id


def _role_of(message: BaseMessage) -> str:
    match message:
        case HumanMessage():
            return "user"
        case AIMessage():
            return "assistant"
        case ToolMessage() | FunctionMessage():
            return "tool"
        case SystemMessage(additional_kwargs={"__openai_role__": "developer"}):
            return "developer"  # LangChain has no class for developer messages
        case SystemMessage():
            return "system"
        case ChatMessage(role=role):
            if role.lower() in _ROLES:
                return _ROLES[role.lower()]
            roles = ", ".join(map(repr, _ROLES))
            raise UnsupportedContentError(f"the API has no role {role!r}. Use one of {roles}.")
    raise UnsupportedContentError(
        "its class has no role in a conversation. Use SystemMessage, HumanMessage, AIMessage, "
        "ToolMessage or ChatMessage; a RemoveMessage is for `add_messages`, before the call."
    )


def _join_text(parts: Iterable[ContentPart], kind: type[Refusal | Reasoning]) -> str:
    return clean_text("".join(part.text for part in parts if isinstance(part, kind)))


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


def _encode_call(call: ToolCallPart) -> JsonObject:
    return {"name": call.name or _NO_NAME, "arguments": _encode_arguments(call)}


def _encode_arguments(call: ToolCallPart) -> str:
    """Return arguments as a JSON object; anything else is wrapped in one."""
    args = call.args
    if isinstance(args, str):
        args = clean_text(args).strip()
        if _is_json_object(args):
            return args
    if args and not isinstance(args, Mapping):
        args = {INVALID_ARGUMENTS: args}
    try:
        try:
            text = _to_json(args or {})
        except ValueError:
            # NaN and infinity occur in threads of other packages, which must stay usable.
            text = _to_json({INVALID_ARGUMENTS: json.dumps(args, ensure_ascii=False)})
    except (TypeError, ValueError) as error:
        raise UnsupportedContentError(
            f"the arguments of its call of {call.name or _NO_NAME!r} are not JSON ({error}). "
            "Use only strings, numbers, booleans, None, lists and dicts in them."
        ) from None
    return clean_text(text)


def _is_json_object(text: str) -> bool:
    try:
        value = from_json(text, allow_inf_nan=False)
        _to_json(value)  # rejects the infinity that `1e999` became
    except ValueError:
        return False
    return isinstance(value, dict)


def add_instruction(messages: Sequence[BaseMessage], instruction: str) -> list[BaseMessage]:
    """Return the messages with `instruction` at the end of the system message, or as a new one."""
    for index, message in enumerate(messages):
        if isinstance(message, SystemMessage):
            content = merge_content(message.content or "", f"\n\n{instruction}")
            changed = message.model_copy(update={"content": content})
            return [*messages[:index], changed, *messages[index + 1 :]]
    return [SystemMessage(instruction), *messages]
