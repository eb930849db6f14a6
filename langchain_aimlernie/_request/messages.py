"""LangChain's messages -> the wire's, one small encoder for each class.

The wire knows fewer kinds of message than LangChain, and asks more of them: a tool's result must
follow the turn that called it, name its call, and be a text. So the encoders write into a
`_Conversation`, which remembers the open calls, and puts what no tool message may hold into a
user message after the results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
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
    Wire,
    read_call,
    read_content,
    supported_media,
    system_content,
    text_content,
    text_part,
    tool_content,
    user_content,
    user_parts,
)
from langchain_aimlernie._request.media import first_string
from langchain_aimlernie._text import clean_text
from langchain_aimlernie.errors import BadRequestError

if TYPE_CHECKING:
    from langchain_aimlernie.profiles import ModelSpec

_OURS = (None, "aimlernie")
_NO_NAME = "unknown"
_BROKEN = "invalid_arguments"
_SHOWN = "[What this result shows follows in a user message.]"
_to_json = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode


def encode_messages(
    messages: Sequence[BaseMessage],
    spec: ModelSpec,
    *,
    replay_reasoning: bool = False,
    omit_unsupported: bool = False,
) -> list[Wire]:
    """Write a conversation as the model's published schema has it; `messages` stay as they are.

    Args:
        messages: Messages of any class, with content of any provider.
        spec: What the model takes.
        replay_reasoning: Send earlier reasoning along, if it is this provider's own or nobody's.
        omit_unsupported: Send a text such as `[image omitted]` for a medium that the model does
            not take, instead of raising.

    Raises:
        BadRequestError: Something cannot be sent to this model. The text names the message, what
            is wrong with it and what to do about it.
    """
    if not messages:
        raise BadRequestError("There are no messages to send. Pass at least one.")
    conversation = _Conversation(spec, replay_reasoning=replay_reasoning, omit=omit_unsupported)
    for index, message in enumerate(messages):
        try:
            _encoder(type(message))(message, conversation)
        except UnsupportedContentError as error:
            reason = str(error)
        except RecursionError:
            reason = "its content is nested too deeply. Send the inner part as text."
        else:
            continue
        kind = type(message).__name__
        raise BadRequestError(f"messages[{index}] ({kind}) cannot be sent to {spec.id}: {reason}")
    conversation.tell_aside()
    return conversation.messages


class _OpenCall(NamedTuple):
    """A call that waits for its result: its own id (perhaps none), name, and id on the wire."""

    own_id: str
    name: str
    wire_id: str


class _Conversation:
    """The messages written so far, and what the next one must know of them."""

    __slots__ = (
        *("_aside", "_called", "_function_call", "_open"),
        *("messages", "omit", "replay_reasoning", "spec"),
    )

    def __init__(self, spec: ModelSpec, *, replay_reasoning: bool, omit: bool) -> None:
        self.messages: list[Wire] = []
        self.spec = spec
        self.replay_reasoning = replay_reasoning
        self.omit = omit
        self._aside: list[Wire] = []
        self._called: set[str] = set()
        self._function_call: ToolCallPart | None = None
        self._open: list[_OpenCall] = []

    def say(self, role: str, content: object, name: str | None, **more: object) -> None:
        """Add a message that is no tool's result."""
        self.tell_aside()
        self._function_call = None
        message: Wire = {"role": role, "content": content, **more}
        if name:
            message["name"] = clean_text(name)
        self.messages.append(message)

    def show(self, label: str, media: Sequence[Wire]) -> None:
        """Keep media that only a user message may hold for the next one that can be added."""
        if media:
            self._aside += (text_part(label), *media)

    def tell_aside(self) -> None:
        """Say what the tools' results could not hold, now that it parts none from its call."""
        if self._aside:
            self.messages.append({"role": "user", "content": user_content(self._aside)})
            self._aside = []

    def call(self, calls: Iterable[ToolCallPart]) -> list[Wire]:
        """Write the calls of a turn, each under an id of its own."""
        self._open = []
        wire: list[Wire] = []
        for call in calls:
            wire_id = self._free_id(call.id or f"call_{len(self.messages)}_{len(wire)}")
            self._open.append(_OpenCall(call.id, call.name, wire_id))
            function = {"name": call.name or _NO_NAME, "arguments": _arguments(call)}
            wire.append({"id": wire_id, "type": "function", "function": function})
        self._called.update(call.wire_id for call in self._open)
        return wire

    def await_function(self, call: ToolCallPart) -> None:
        """Add a legacy `function_call` to the turn just written, should a function answer it."""
        self._open = []
        self._function_call = call

    def _free_id(self, wanted: str) -> str:
        taken = {call.wire_id for call in self._open}
        wire_id, number = wanted, 1
        while wire_id in taken:
            number += 1
            wire_id = f"{wanted}_{number}"
        return wire_id

    def answer(self, result: ToolResultPart) -> None:
        """Add a tool's result; one that answers no call is told as a user message."""
        lines, media = tool_content(result.content, self.spec, omit=self.omit)
        first = lines[0].text if lines else ""
        if result.error and not first.lstrip().lower().startswith("error"):
            mark = lines[0].cache_control if lines else None
            lines[:1] = [Text(f"Error: {first}", mark)]
        if result.cache_control and lines:
            lines[-1] = replace(lines[-1], cache_control=result.cache_control)
        wire_id = self._claim(result)
        label = f"[Result of the tool {result.name or result.id or _NO_NAME}]"
        if wire_id is None:
            text = "\n".join([label, *(line.text for line in lines)])
            self._aside += (text_part(text), *media)
            return
        if media:
            self.show(label, media)
            lines.append(Text(_SHOWN))
        content = text_content(lines, self.spec, "\n")
        name = {"name": result.name} if result.name else {}
        self.messages.append({"role": "tool", "content": content, "tool_call_id": wire_id, **name})

    def _claim(self, result: ToolResultPart) -> str | None:
        """Find the call that `result` answers: by id, else by name, else in order."""
        fits = [call for call in self._open if call.own_id == result.id]
        if not fits and result.id in self._called:
            return result.id
        if not result.id:
            fits += [call for call in self._open if call.own_id and call.name == result.name]
        fits = fits or [call for call in self._open if not call.own_id]
        call = min(fits, key=lambda call: result.name not in ("", call.name), default=None)
        if call is None:
            return self._claim_function_call(result)
        self._open.remove(call)
        return call.wire_id

    def _claim_function_call(self, result: ToolResultPart) -> str | None:
        call = self._function_call
        if call is None or result.id or result.name != call.name:
            return None
        self._function_call = None
        self.messages[-1]["tool_calls"] = self.call([call])
        return self._open.pop().wire_id


def _arguments(call: ToolCallPart) -> str:
    """Write a call's arguments as a JSON object; text that is none is kept inside one."""
    args = call.args
    if isinstance(args, str):
        args = clean_text(args).strip()
        if _is_object(args):
            return args
    if args and not isinstance(args, Mapping):
        args = {_BROKEN: args}
    try:
        return clean_text(_json_object(args or {}))
    except (TypeError, ValueError) as error:
        raise UnsupportedContentError(
            f"the arguments of its call of {call.name or _NO_NAME!r} are not JSON ({error}). "
            "Use only strings, numbers, booleans, None, lists and dicts in them."
        ) from None


def _json_object(args: object) -> str:
    """Write arguments as JSON; with a number that JSON does not have, as text within an object.

    Such a call stands in threads of other packages, which could not go on otherwise.
    """
    try:
        return _to_json(args)
    except ValueError:
        return _to_json({_BROKEN: json.dumps(args, ensure_ascii=False)})


def _is_object(text: str) -> bool:
    try:
        value = from_json(text, allow_inf_nan=False)
        _to_json(value)  # refuses the infinity that `1e999` became
    except ValueError:
        return False
    return isinstance(value, dict)


# One encoder for each class.


def _encode_user(message: BaseMessage, conversation: _Conversation) -> None:
    if isinstance(message.content, str):
        conversation.say("user", clean_text(message.content), message.name)
        return
    pieces = read_content(message.content)
    said = [piece for piece in pieces if not isinstance(piece, ToolResultPart)]
    for piece in pieces:
        if isinstance(
            piece, ToolResultPart
        ):  # Anthropic's and Gemini's users bring the tools' results
            conversation.answer(piece)
    if said or not pieces:
        parts = user_parts(said, conversation.spec, omit=conversation.omit)
        conversation.say("user", user_content(parts), message.name)


def _encode_system(message: BaseMessage, conversation: _Conversation) -> None:
    # LangChain has no class for developer messages, only this mark.
    if message.additional_kwargs.get("__openai_role__") == "developer":
        _encode_developer(message, conversation)
    else:
        _instruct("system", message, conversation)


def _encode_developer(message: BaseMessage, conversation: _Conversation) -> None:
    _instruct("developer" if conversation.spec.developer_role else "system", message, conversation)


def _instruct(role: str, message: BaseMessage, conversation: _Conversation) -> None:
    content = system_content(message.content, conversation.spec, omit=conversation.omit)
    conversation.say(role, content, message.name)


def _encode_assistant(message: BaseMessage, conversation: _Conversation) -> None:
    content, spec, additional = message.content, conversation.spec, message.additional_kwargs
    if isinstance(content, str):
        pieces: list[ContentPart] = []
        text: object = clean_text(content)
    else:
        pieces = read_content(content)
        text = text_content([piece for piece in pieces if isinstance(piece, Text)], spec)
    more: Wire = {}
    refusal = _refusal(additional, pieces) if additional or pieces else ""
    if refusal:
        more["refusal"] = refusal
    if conversation.replay_reasoning and (reasoning := _reasoning(message, pieces)):
        more["reasoning_content"] = reasoning
    if calls := _calls(message, pieces):
        more["tool_calls"] = conversation.call(calls)
    # Never null, which the 4.5 schemas refuse; "" is what every server takes beside tool calls.
    conversation.say("assistant", text, message.name, **more)
    raw = additional.get("function_call")
    if isinstance(raw, Mapping) and not calls:
        conversation.await_function(read_call(raw))
    if pieces:
        conversation.show("[What the assistant showed]", supported_media(pieces, spec))


def _refusal(additional: Mapping[str, object], pieces: Iterable[ContentPart]) -> str:
    return first_string(additional, "refusal") or _said(pieces, Refusal)


def _said(pieces: Iterable[ContentPart], kind: type[Refusal | Reasoning]) -> str:
    return clean_text("".join(piece.text for piece in pieces if isinstance(piece, kind)))


def _reasoning(message: BaseMessage, pieces: Iterable[ContentPart]) -> str:
    if message.response_metadata.get("model_provider") not in _OURS:
        return ""
    return first_string(message.additional_kwargs, "reasoning_content") or _said(pieces, Reasoning)


def _calls(message: BaseMessage, pieces: Sequence[ContentPart]) -> list[ToolCallPart]:
    """Collect a turn's calls, valid or not: every one of them has a result that must follow.

    In an `AIMessage` they are the ones in its fields. Content blocks and `additional_kwargs` only
    repeat them, and still hold those that a program has removed.
    """
    if isinstance(message, AIMessage):
        raws = [*(message.tool_calls or ()), *(message.invalid_tool_calls or ())]
        return [read_call(raw) for raw in raws]
    raw_calls = getattr(message, "tool_calls", message.additional_kwargs.get("tool_calls"))
    if isinstance(raw_calls, list) and raw_calls:
        return [read_call(raw) for raw in raw_calls if isinstance(raw, Mapping)]
    return [piece for piece in pieces if isinstance(piece, ToolCallPart)]


def _encode_tool(message: BaseMessage, conversation: _Conversation) -> None:
    identity = getattr(message, "tool_call_id", None) or message.additional_kwargs.get(
        "tool_call_id"
    )
    error = getattr(message, "status", None) == "error"
    name = clean_text(message.name or "")
    conversation.answer(
        ToolResultPart(clean_text(str(identity or "")), name, message.content, error)
    )


def _encode_chat(message: BaseMessage, conversation: _Conversation) -> None:
    role = getattr(message, "role", "")
    encode = _ROLES.get(role.lower())
    if encode is None:
        raise UnsupportedContentError(
            f"the API has no role {role!r}. Use one of {', '.join(map(repr, _ROLES))}."
        )
    encode(message, conversation)


def _refuse(_: BaseMessage, __: _Conversation) -> None:
    raise UnsupportedContentError(
        "its class is nothing that a model reads. Use SystemMessage, HumanMessage, AIMessage, "
        "ToolMessage or ChatMessage; a RemoveMessage is for `add_messages`, before the call."
    )


_Encoder = Callable[[BaseMessage, _Conversation], None]

_ENCODERS: dict[type, _Encoder] = {
    HumanMessage: _encode_user,
    AIMessage: _encode_assistant,
    ToolMessage: _encode_tool,
    SystemMessage: _encode_system,
    FunctionMessage: _encode_tool,
    ChatMessage: _encode_chat,
    object: _refuse,
}
_ROLES: dict[str, _Encoder] = {
    **dict.fromkeys(("user", "human"), _encode_user),
    **dict.fromkeys(("assistant", "ai", "model"), _encode_assistant),
    "system": _encode_system,
    "developer": _encode_developer,
    **dict.fromkeys(("tool", "function"), _encode_tool),
}


@lru_cache(maxsize=128)
def _encoder(kind: type) -> _Encoder:
    return next(_ENCODERS[base] for base in kind.__mro__ if base in _ENCODERS)
