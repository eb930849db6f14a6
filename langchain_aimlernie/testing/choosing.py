"""Which of the offered tools a question asks for, and with which arguments."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from langchain_aimlernie.testing.hints import Hints, split_name
from langchain_aimlernie.testing.instances import make

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Sequence

_IDLE_WORDS = (
    "a an and any api are as at be by can call current do fetch find for from function get give "
    "go handoff has have how i in input is it its look lookup make me my of on or please return "
    "returns run set some that the this to tool transfer up use user using value was what when "
    "which with you your"
)
_IDLE = frozenset(_IDLE_WORDS.split())
_SPOKEN = {
    "+": "add plus sum",
    "-": "subtract minus",
    "*": "multiply",
    "\u00d7": "multiply",
    "/": "divide",
    "plus": "add",
    "minus": "subtract",
    "times": "multiply",
    "天气": "weather",
    "时间": "time",
    "几点": "time",
    "搜索": "search",
    "翻译": "translate",
    "计算": "calculate",
}
_OPERATION = re.compile(r"(?<=\d)\s*([+*/\u00d7-])\s*(?=\d)")
_AND = re.compile(r"\s+and\s+|\s+then\s+|\s*;\s*|(?:以及|并且|和)")
_SHORTEST_STEM = 4
_ENOUGH_OF_A_DESCRIPTION = 4


class Tool(NamedTuple):
    """A function that a request offers."""

    name: str
    description: str
    parameters: dict[str, Any]


class Call(NamedTuple):
    """A call that the server makes up."""

    name: str
    arguments: str


def offered(body: dict[str, Any]) -> list[Tool]:
    """The functions of a valid request that its `tool_choice` leaves open, in their order."""
    functions = [tool["function"] for tool in body.get("tools") or () if "function" in tool]
    allowed = _allowed(body.get("tool_choice"))
    return [
        Tool(each["name"], each.get("description") or "", each.get("parameters") or {})
        for each in functions
        if allowed is None or each["name"] in allowed
    ]


def _allowed(choice: object) -> set[str] | None:
    if choice == "none":
        return set()
    if not isinstance(choice, dict):
        return None
    if choice["type"] == "function":
        return {choice["function"]["name"]}
    tools = choice["allowed_tools"]["tools"]
    return {each["function"]["name"] for each in tools if isinstance(each.get("function"), dict)}


def is_forced(choice: object) -> bool:
    """Whether a `tool_choice` leaves no way but a call."""
    if isinstance(choice, dict):
        allowed: dict[str, object] = choice.get("allowed_tools", {})
        return allowed.get("mode", "required") == "required"
    return choice == "required"


class Asked(NamedTuple):
    """A tool, and the part of the question that asks for it."""

    tool: Tool
    text: str


def plan(question: str, tools: Sequence[Tool]) -> list[Asked]:
    """What the question asks of the tools, in its order; nothing where no tool fits.

    "Weather in Paris and in London" asks one tool twice, "the weather and the time in Paris" two
    tools once each.
    """
    asked: list[Asked] = []
    for clause in _clauses(question):
        tool = best(clause, tools)
        if tool is not None:
            asked.append(Asked(tool, clause))
        elif asked and _is_same_again(asked[-1].tool, clause):
            asked.append(Asked(asked[-1].tool, clause))
        elif asked:
            asked[-1] = Asked(asked[-1].tool, f"{asked[-1].text} and {clause}")
    if len(asked) == 1:
        return [Asked(asked[0].tool, question)]
    return asked or _told_to(question, tools)


def _clauses(question: str) -> Iterable[str]:
    if any(Hints(question).quoted):
        return (question,)
    return filter(None, _AND.split(question))


def _is_same_again(tool: Tool, clause: str) -> bool:
    """Whether a clause is one more subject for a tool that takes a single text."""
    fields, required = tool.parameters.get("properties"), tool.parameters.get("required")
    if not isinstance(fields, dict) or not isinstance(required, list) or len(required) != 1:
        return False
    field = fields.get(str(required[0]))
    takes_a_text = isinstance(field, dict) and field.get("type") == "string"
    return takes_a_text and bool(Hints(clause).names)


def _told_to(question: str, tools: Sequence[Tool]) -> list[Asked]:
    """The first tool for a question that says "use the tool" and names none."""
    told = re.search(
        r"\busing? (?:the|a|your|this) tools?\b|\buse (?:the|a|your)\b.*\btool",
        question,
        re.IGNORECASE,
    )
    return [Asked(tools[0], question)] if told and tools else []


def best(text: str, tools: Sequence[Tool]) -> Tool | None:
    """The tool that the text names most plainly; the first of equals, none if it names none."""
    spoken = _spoken(text)
    scores = [_score(tool, text, spoken) for tool in tools]
    top = max(scores, default=(0, 0))
    return tools[scores.index(top)] if top > (0, 0) else None


def _score(tool: Tool, text: str, spoken: set[str]) -> tuple[int, int]:
    if re.search(rf"(?<!\w){re.escape(tool.name)}(?!\w)", text):
        return (3, len(tool.name))
    words = {word for word in split_name(tool.name) if word not in _IDLE}
    named = _shared(words or set(split_name(tool.name)), spoken)
    if named:
        return (2, named)
    described = _shared({w for w in split_name(tool.description) if w not in _IDLE}, spoken)
    return (1, 0) if described >= _ENOUGH_OF_A_DESCRIPTION else (0, 0)


def _spoken(text: str) -> set[str]:
    """The telling words of a question, with the words for its signs."""
    signs = [
        *_OPERATION.findall(text),
        *(sign for sign in _SPOKEN if len(sign) > 1 and sign in text),
    ]
    words = [*split_name(text), *(word for sign in signs for word in _SPOKEN[sign].split())]
    return {word for word in words if word not in _IDLE}


def _shared(words: set[str], spoken: set[str]) -> int:
    """How many of the words are spoken; a word itself counts twice what a form of it does."""
    akin = sum(any(_is_akin(word, other) for other in spoken) for word in words)
    return akin + len(words & spoken)


def _is_akin(one: str, other: str) -> bool:
    """Whether two words are one, or forms of one: adder and add, multiply and multiplication."""
    short, long = sorted((one, other), key=len)
    stem = short if len(short) <= _SHORTEST_STEM else short[: max(_SHORTEST_STEM, len(short) - 2)]
    return one == other or (len(short) > 2 and long.startswith(stem))  # noqa: PLR2004  # "is", "of"


def calls(
    asked: Iterable[Asked], made: Counter[str], results: Sequence[str], *, parallel: bool
) -> list[Call]:
    """The calls of a plan that have not been made yet; only the first unless `parallel`."""
    left = made.copy()
    due: list[Call] = []
    for each in asked:
        left[each.tool.name] -= 1
        if left[each.tool.name] < 0:
            due.append(call(each, results))
    unique = list(dict.fromkeys(due))
    return unique if parallel else unique[:1]


def call(asked: Asked, results: Sequence[str] = ()) -> Call:
    """A call with arguments from the tool's schema and the question."""
    schema = {"type": "object", **asked.tool.parameters}
    made = make(schema, Hints(asked.text, results, split_name(asked.tool.name)))
    arguments = made if isinstance(made, dict) else {}
    return Call(asked.tool.name, json.dumps(arguments, ensure_ascii=False))


def one_more(question: str, tools: Sequence[Tool], made: Counter[str]) -> Asked:
    """The tool for a call that must be made: the fittest, of those not called yet if there are."""
    fresh = [tool for tool in tools if not made[tool.name]] or list(tools)
    return Asked(best(question, fresh) or fresh[0], question)
