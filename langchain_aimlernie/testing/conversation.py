"""Rules of a request that no schema expresses: tool results match calls, the choice a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class Violation(NamedTuple):
    """One thing that is wrong with a body.

    Attributes:
        path: The keys and indices that lead to it.
        text: What is wrong.
        ignored: Whether it is a key that the API drops, so that the request is still answered.
    """

    path: tuple[str | int, ...]
    text: str
    ignored: bool = False

    @property
    def location(self) -> str:
        """The path, with dots."""
        return ".".join(map(str, self.path))

    def __str__(self) -> str:
        return f"{self.location or 'body'}: {self.text}"


def check_conversation(body: Mapping[str, Any]) -> Iterator[Violation]:
    """Return the violations of the conversation's rules in a body of any shape."""
    messages = body.get("messages")
    called: set[object] = set()
    for index, message in enumerate(messages if isinstance(messages, list) else ()):
        if not isinstance(message, dict):
            continue
        for key, text in _message(message, called):
            yield Violation(("messages", index, key), text)
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
    if isinstance(content, list) and not _is_uniform(content):
        yield "content", "must be one or more parts of type text, or exactly one of type refusal"


def _is_uniform(parts: list[Any]) -> bool:
    kinds = [part.get("type") for part in parts if isinstance(part, dict)]
    return kinds == ["refusal"] or (bool(kinds) and set(kinds) == {"text"})


def _call_ids(message: Mapping[str, Any]) -> Iterator[object]:
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if isinstance(call, dict) and isinstance(call.get("id"), str):
            yield call["id"]


def _choice(body: Mapping[str, Any]) -> Iterator[Violation]:
    choice, names = body.get("tool_choice"), list(tool_names(body))
    if choice == "required" and not body.get("tools"):
        yield Violation(("tool_choice",), "required, but there are no tools")
    function = choice.get("function") if isinstance(choice, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if isinstance(name, str) and name not in names:
        yield Violation(("tool_choice", "function", "name"), f"no tool is named {name!r:.80}")


def tool_names(body: Mapping[str, Any]) -> Iterator[object]:
    """Return the names of the functions that a request offers."""
    tools = body.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        function = tool.get("function") if isinstance(tool, dict) else None
        if isinstance(function, dict):
            yield function.get("name")
