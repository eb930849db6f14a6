"""The fake model: computes the replies that no test has scripted.

It repeats the question, calls the tools that the question names, and fills schemas from the prompt;
the same for the same request. Tests that need a certain reply script it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_aimlernie.testing.encoding import split_tokens
from langchain_aimlernie.testing.generate import READ_LIMIT, find_schema, generate
from langchain_aimlernie.testing.models import ServedModel
from langchain_aimlernie.testing.replies import Reply

PREFIX = "[local ErnieServer, not ERNIE]"
"""The beginning of every text of the fake model."""

_QUOTE_LIMIT = 400
_SHOWN_URL = 60
_DEFAULT_TEXT = "{name} made up by the local ErnieServer"
_ANSWER = {"type": "object", "properties": {"answer": {"type": "string"}}}
_STOP_WORDS = frozenset(("a", "an", "and", "current", "for", "get", "in", "is", "of", "the", "to"))


def complete(body: Mapping[str, Any], model: ServedModel) -> Reply:
    """Return the completion of a valid request."""
    messages = body["messages"]
    start = _last_question(messages)
    question = _text_of(messages[start].get("content"))
    calls = _tool_calls(body, question, set(_tool_names(messages[start:]).values()))
    text = "" if calls else _content(body, question, messages[start + 1 :])
    reply = Reply(text, reasoning=_reasoning(body, model, question), tool_calls=calls)
    return _limit(_stop(reply, body.get("stop")), body, model)


def _last_question(messages: Sequence[Mapping[str, Any]]) -> int:
    """Return the index of the last user message that does not just follow a tool's result."""
    for index in reversed(range(len(messages))):
        follows_result = index > 0 and messages[index - 1]["role"] == "tool"
        if messages[index]["role"] == "user" and not follows_result:
            return index
    return 0


def _tool_names(messages: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Return the names of the tools that messages call, by the ids of the calls."""
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    return {call["id"]: call[call["type"]]["name"] for call in calls}


def _text_of(content: object) -> str:
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if part["type"] == "text")
    return content if isinstance(content, str) else ""


def _tool_calls(body: Mapping[str, Any], question: str, called: set[str]) -> list[dict[str, Any]]:
    """Return a call of each tool that the question names; one if `tool_choice` forces it.

    Args:
        body: The request.
        question: The last question.
        called: The tools called since the last question; a forced call prefers others.
    """
    choice = body.get("tool_choice")
    functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
    forced = choice == "required"
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools", {"mode": "required", "tools": [choice]})
        names = [tool.get("function", {}).get("name") for tool in allowed["tools"]]
        forced = allowed["mode"] == "required"
        functions = [each for each in functions if each["name"] in names]
    if choice == "none" or not functions or (called and not forced):
        return []
    functions = [each for each in functions if each["name"] not in called] or functions
    named = [each for each in functions if _names_tool(question, each["name"])]
    exact = [each for each in named if each["name"] in question]
    chosen = exact or named or (functions[:1] if forced else [])
    if isinstance(choice, dict) or body.get("parallel_tool_calls") is False:
        chosen = chosen[:1]
    return [{"name": each["name"], "args": _arguments(each, question)} for each in chosen]


def _names_tool(question: str, name: str) -> bool:
    """Whether a question contains a tool's name, or a word of it: "weather" for get_weather."""
    words = set(re.findall(r"[a-z]+|\d+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
    asked = set(re.findall(r"[a-z]+|\d+", question.lower()))
    return name in question or bool((words - _STOP_WORDS) & asked)


def _arguments(function: Mapping[str, Any], question: str) -> str:
    schema = {"type": "object", **function.get("parameters", {})}
    return json.dumps(generate(schema, question), ensure_ascii=False)


def _content(body: Mapping[str, Any], question: str, following: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a reply without calls: JSON if requested, else prose."""
    messages, expected = body["messages"], body.get("response_format") or {"type": "text"}
    results = [each for each in following if each["role"] == "tool"]
    if expected["type"] == "text":
        return f"{PREFIX} {_prose(question, results, messages)}"
    if expected["type"] == "json_schema":
        schema = expected["json_schema"].get("schema") or {"type": "object"}
    else:
        texts = [_text_of(each.get("content")) for each in reversed(messages)]
        schema = next(filter(None, map(find_schema, texts)), _ANSWER)
    prompt = re.sub(r"\{.*\}", " ", question[:READ_LIMIT], flags=re.DOTALL)
    prompt = "\n".join([prompt, *(_text_of(each["content"]) for each in results)])
    return json.dumps(generate(schema, prompt, _DEFAULT_TEXT), ensure_ascii=False)


def _prose(
    question: str, results: Sequence[Mapping[str, Any]], messages: Sequence[Mapping[str, Any]]
) -> str:
    names = _tool_names(messages)
    lines = [
        f"The tool {each.get('name') or names[each['tool_call_id']]} gave: "
        f"{_shorten(_text_of(each['content']))}"
        for each in results
    ] or [f"You said: {_shorten(question)}"]
    contents = [each["content"] for each in messages if each["role"] == "user"] or [""]
    parts = contents[-1] if isinstance(contents[-1], list) else []
    media = [_describe(part) for part in parts if part["type"] != "text"]
    return "\n".join([*lines, *([f"I was given {' and '.join(media)}."] if media else [])])


def _shorten(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _QUOTE_LIMIT else f"{text[:_QUOTE_LIMIT]}…"


def _describe(part: Mapping[str, Any]) -> str:
    """Return a description of a medium: its name, or the beginning of its URL."""
    medium = part[part["type"]]
    name = str(medium.get("filename") or medium.get("url") or "without a name")
    return f"{'a file' if part['type'] == 'file' else 'an image'} ({name[:_SHOWN_URL]})"


def _reasoning(body: Mapping[str, Any], model: ServedModel, question: str) -> str | None:
    """Return the reasoning, or None; only ernie-5.0 has a switch and a budget for it."""
    settings = body if model.spec.thinking_switch else {}
    if not model.spec.reasoning or settings.get("enable_thinking") is False:
        return None
    budget = settings.get("thinking_budget")
    text = f"{PREFIX} The user says: {question.strip()[:READ_LIMIT]}\nI will answer that."
    return "".join(split_tokens(text)[: None if budget is None else int(budget)])


def _stop(reply: Reply, stop: str | Sequence[str] | None) -> Reply:
    """Return the reply up to the first stop sequence in its text."""
    sequences = [stop] if isinstance(stop, str) else stop or ()
    ends = [reply.text.find(each) for each in sequences if each and each in reply.text]
    return replace(reply, text=reply.text[: min(ends)]) if ends else reply


def _limit(reply: Reply, body: Mapping[str, Any], model: ServedModel) -> Reply:
    """Return the reply, cut at the token limit of the request, reasoning included."""
    keys = {"max_tokens", "max_completion_tokens"} & (model.spec.fields or set())
    left = min((int(body[key]) for key in keys if key in body), default=None)
    if left is None:
        return reply
    kept = []
    texts = [reply.reasoning or "", reply.text, *(call["args"] for call in reply.tool_calls)]
    for number, text in enumerate(texts):
        if number > 1:
            left -= 1  # the name of the call
            if left < 0:
                break
        tokens = split_tokens(text)
        kept.append("".join(tokens[: max(0, left)]))
        left -= len(tokens)
    if left >= 0:
        return reply
    reasoning, text, *arguments = kept
    return replace(
        reply,
        text=text,
        reasoning=reply.reasoning and reasoning,
        tool_calls=[{**call, "args": args} for call, args in zip(reply.tool_calls, arguments)],  # noqa: B905
        finish_reason="length",
    )
