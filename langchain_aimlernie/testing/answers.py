"""The made-up model: what the server answers when no test has told it.

It repeats what it was asked, calls the tools that the question names, fills schemas from the
prompt, and thinks aloud where a thinking model would; always the same for the same request.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_aimlernie.testing import pieces
from langchain_aimlernie.testing.choosing import (
    Call,
    call,
    calls,
    is_forced,
    offered,
    one_more,
    plan,
)
from langchain_aimlernie.testing.hints import READ_AT_MOST, Hints
from langchain_aimlernie.testing.instances import make
from langchain_aimlernie.testing.replies import Reply

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from langchain_aimlernie.testing.catalogue import Served

SIGNATURE = "[local ErnieServer, not ERNIE]"
"""How every text that the server makes up begins."""

_SHOWN = 400
_TRIES = 100
_FILLER = "{name} made up by the local ErnieServer"

Message = dict[str, Any]


class Turn(NamedTuple):
    """Where a conversation stands: its last question, and what was done about it since.

    Attributes:
        question: The text of the last user message.
        parts: The media that came with it or with tool results.
        results: (tool, text) of the tool messages since.
        called: How often each tool was called since.
        number: How many questions there have been.
    """

    question: str
    parts: list[Message]
    results: list[tuple[str, str]]
    called: Counter[str]
    number: int


def answer(body: Message, model: Served) -> Reply:
    """A made-up answer to a valid request."""
    turn = read(body["messages"])
    due = _calls(body, turn)
    if due:
        text = ""
        intent = "I will call " + ", ".join(each.name for each in due) + "."
    else:
        text, intent = _content(body, turn)
    reply = Reply(
        text=text,
        reasoning=_reasoning(turn, intent, body, model),
        tool_calls=[{"name": each.name, "args": each.arguments} for each in due],
    )
    return _limited(_stopped(reply, body.get("stop")), _limit(body, model))


def read(messages: Sequence[Message]) -> Turn:
    """Find the last question of a conversation, and the calls and results after it.

    A user message right after a tool's result belongs to the result: clients put there what a
    tool message cannot hold, an image for one.
    """
    asked = [i for i, each in enumerate(messages) if _is_question(messages, i)]
    start = asked[-1] if asked else 0
    names: dict[str, str] = {}
    results: list[tuple[str, str]] = []
    for message in messages[start:]:
        names |= _named_calls(message)
        if message["role"] == "tool":
            name = message.get("name") or names.get(message["tool_call_id"], "tool")
            results.append((name, text_of(message["content"])))
    since = [each for each in messages[start:] if each["role"] == "user"]
    return Turn(
        question=text_of(since[0]["content"]) if since else text_of(messages[-1].get("content")),
        parts=[part for each in since for part in _media(each["content"])],
        results=results,
        called=Counter(names.values()),
        number=len(asked),
    )


def _is_question(messages: Sequence[Message], index: int) -> bool:
    if messages[index]["role"] != "user":
        return False
    return index == 0 or messages[index - 1]["role"] != "tool"


def _named_calls(message: Message) -> dict[str, str]:
    calls = message.get("tool_calls") or ()
    return {each["id"]: each["function"]["name"] for each in calls if "function" in each}


def text_of(content: object) -> str:
    """The text of a message's content."""
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if part["type"] == "text")
    return content if isinstance(content, str) else ""


def _media(content: object) -> Iterator[Message]:
    for part in content if isinstance(content, list) else ():
        if part["type"] != "text":
            yield part


def _calls(body: Message, turn: Turn) -> list[Call]:
    tools = offered(body)
    if not tools:
        return []
    results = [text for _, text in turn.results]
    parallel = body.get("parallel_tool_calls") is not False
    question = turn.question[:READ_AT_MOST]
    due = calls(plan(question, tools), turn.called, results, parallel=parallel)
    if due or not is_forced(body.get("tool_choice")):
        return due
    return [call(one_more(question, tools, turn.called), results)]


def _content(body: Message, turn: Turn) -> tuple[str, str]:
    """The text of an answer without calls, and what the model would think before it."""
    wanted = body.get("response_format") or {}
    schema = _wanted_schema(wanted, body["messages"])
    if schema is None:
        return f"{SIGNATURE} {_said(turn)}", "I will answer in plain text."
    hints = Hints(_without_json(turn.question), [text for _, text in turn.results])
    made = make(schema, hints, _FILLER)
    return json.dumps(made, ensure_ascii=False), "I will answer in JSON."


def _said(turn: Turn) -> str:
    """Plain prose: what the tools gave, else what the user said, and what came with it."""
    question = _shortened(turn.question)
    if turn.results:
        told = [f"The tool {name} gave: {_shortened(text)}" for name, text in turn.results]
    elif re.search(r"[\u4e00-\u9fff]", question):
        told = [f"您说：{question}"]  # noqa: RUF001  # Chinese
    else:
        greeting = "Hello! " if re.match(r"(?i)(hello|hi|hey)\b", question) else ""
        told = [f"{greeting}You said: {question}"]
    if turn.parts:
        told.append("I was given " + " and ".join(map(_described, turn.parts)) + ".")
    if turn.number > 1:
        told.append(f"(This is question {turn.number} of our conversation.)")
    return "\n".join(told)


def _shortened(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _described(part: Message) -> str:
    """A medium in words: "a file (report.pdf, application/pdf, 1204 bytes)"."""
    held = part.get(part["type"]) or {}
    source = str(held.get("url") or held.get("file_data") or "")
    kind, data = "a file" if part["type"] == "file" else "an image", source
    facts = [held["filename"]] if held.get("filename") else []
    if source.startswith("data:"):
        media_type, _, data = source[5:].partition(";base64,")
        facts.append(media_type)
    if source.startswith("http"):
        facts.append(source[:_SHOWN])
    else:
        facts.append(f"{len(data) * 3 // 4 - data[-2:].count('=')} bytes")
    return f"{kind} ({', '.join(facts)})"


def _reasoning(turn: Turn, intent: str, body: Message, model: Served) -> str | None:
    """What a thinking model would think; ernie-5.0 alone has a switch and a budget for it."""
    switches = body if model.family == "five" else {}
    if not model.reasoning or switches.get("enable_thinking") is False:
        return None
    budget = switches.get("thinking_budget")
    question = turn.question.strip()[:READ_AT_MOST]
    thought = f"{SIGNATURE} The user says: {question}\n"
    if turn.results:
        thought += f"The tools have given {len(turn.results)} results.\n"
    return "".join(pieces.split(thought + intent)[: None if budget is None else int(budget)])


def _wanted_schema(wanted: Mapping[str, Any], messages: Sequence[Message]) -> Message | None:
    if wanted.get("type") == "json_schema":
        return wanted["json_schema"].get("schema") or {"type": "object"}
    if wanted.get("type") == "json_object":
        return schema_in([text_of(each.get("content")) for each in messages])
    return None


def schema_in(texts: Sequence[str]) -> Message:
    """The JSON Schema that a prompt describes, in JSON or by naming the keys."""
    for text in reversed(texts):
        for found, _ in _json_objects(text):
            if schema := _schema_within(found):
                return schema
    keys = re.findall(r"['\"`](\w+)['\"`]", texts[-1]) if re.search("key|field", texts[-1]) else []
    return {"type": "object", "properties": {key: {"type": "string"} for key in keys or ["answer"]}}


def _schema_within(found: Message) -> Message | None:
    """The object itself or one that it wraps, as `{"name", "schema"}` does."""
    if isinstance(found.get("properties"), dict):
        return found
    wrapped = (found.get(key) for key in ("schema", "json_schema", "parameters", "function"))
    return next((_schema_within(each) for each in wrapped if isinstance(each, dict)), None)


def _json_objects(text: str) -> Iterator[tuple[Message, slice]]:
    """Each outermost JSON object in a text, and where it stands, as far as it is worth looking."""
    decoder, at = json.JSONDecoder(), text.find("{")
    for _ in range(_TRIES):
        if at == -1:
            return
        try:
            found, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            yield found, slice(at, end)
        at = text.find("{", end)


def _without_json(text: str) -> str:
    text = text[:READ_AT_MOST]
    for _, where in reversed(list(_json_objects(text))):
        text = text[: where.start] + text[where.stop :]
    return text


def _stopped(reply: Reply, stop: str | Sequence[str] | None) -> Reply:
    """The reply up to the first stop sequence in its text."""
    stops = [stop] if isinstance(stop, str) else stop or ()
    ends = [at for each in stops if each and (at := reply.text.find(each)) != -1]
    return replace(reply, text=reply.text[: min(ends)]) if ends else reply


def _limit(body: Message, model: Served) -> float | None:
    """The tokens that an answer may have; ernie-5.0 does not know `max_completion_tokens`."""
    keys = ("max_tokens",) if model.family == "five" else ("max_tokens", "max_completion_tokens")
    return min((body[key] for key in keys if key in body), default=None)


def _limited(reply: Reply, limit: float | None) -> Reply:
    """The reply within so many tokens, thinking included; broken off where they end."""
    if limit is None or tokens_of(reply) <= limit:
        return reply
    reasoning, left = _cut(reply.reasoning or "", int(limit))
    text, left = _cut(reply.text, left)
    made = []
    for each in reply.tool_calls if left else ():
        arguments, left = _cut(each["args"], left - 1)
        made.append({**each, "args": arguments})
        if left <= 0:
            break
    return replace(
        reply,
        text=text,
        reasoning=None if reply.reasoning is None else reasoning,
        tool_calls=made,
        finish_reason="length",
    )


def _cut(text: str, tokens: int) -> tuple[str, int]:
    some = pieces.split(text)
    return "".join(some[: max(0, tokens)]), max(0, tokens - len(some))


def tokens_of(reply: Reply) -> int:
    """Completion tokens of a made-up reply, each call's name counted as one."""
    texts = [reply.reasoning or "", reply.text, *(each["args"] for each in reply.tool_calls)]
    return sum(len(pieces.split(text)) for text in texts) + len(reply.tool_calls)
