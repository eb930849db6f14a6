"""What no schema can say of a request: who answers whom, and whether a choice can be met."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_aimlernie.testing.rules import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def conversation(body: Mapping[str, Any]) -> Iterator[Finding]:
    """The faults of a dialogue; `body` may be of any shape, for the schema speaks of that."""
    messages = body.get("messages")
    called: set[object] = set()
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        for key, text in _message(message, called):
            yield Finding(("messages", index, key), text)
        called.update(_call_ids(message))
    yield from _choice(body)


def _message(message: Mapping[str, Any], called: set[object]) -> Iterator[tuple[str, str]]:
    role, content = message.get("role"), message.get("content")
    if role == "tool" and message.get("tool_call_id") not in called:
        yield "tool_call_id", f"{message.get('tool_call_id')!r:.80} answers no earlier tool call"
    if role != "assistant":
        return
    if content is None and not message.get("tool_calls") and not message.get("refusal"):
        yield "content", "required unless tool_calls is given"
    if isinstance(content, list) and not _is_one_voice(content):
        yield "content", "must be one or more parts of type text, or exactly one of type refusal"


def _is_one_voice(parts: list[Any]) -> bool:
    kinds = [part.get("type") for part in parts if isinstance(part, dict)]
    return kinds == ["refusal"] or (bool(kinds) and set(kinds) == {"text"})


def _call_ids(message: Mapping[str, Any]) -> Iterator[object]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            yield call["id"]


def _choice(body: Mapping[str, Any]) -> Iterator[Finding]:
    choice, names = body.get("tool_choice"), set(tool_names(body))
    if choice == "required" and not body.get("tools"):
        yield Finding(("tool_choice",), "required, but there are no tools")
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if isinstance(name, str) and name not in names:
        yield Finding(("tool_choice", "function", "name"), f"no tool is named {name!r:.80}")


def tool_names(body: Mapping[str, Any]) -> Iterator[object]:
    """The names of the functions that a request offers."""
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            yield function.get("name")
