"""Cases of tool calls in a stream: fragments in each odd form, and calls that are cut."""

from __future__ import annotations

from cases_stream import case, gives
from fault_bytes import (
    DONE,
    HEL,
    LO,
    STOP,
    TAIL,
    chunk,
    event,
    fragment,
    stream,
)
from fault_outcomes import Case, Fails

WEATHER = ("weather", {"city": "Paris"})
END = (STOP, TAIL, DONE)
CALLED = (event(chunk("", "tool_calls")), TAIL, DONE)


def calls(name: str, *events: bytes, end: tuple[bytes, ...] = CALLED, **expected: object) -> Case:
    return gives(name, *events, *end, **({"text": "", "calls": [WEATHER]} | expected))


def parts(*fragments: dict) -> bytes:
    """One chunk with these tool-call fragments."""
    return event(chunk({"tool_calls": list(fragments)}))


def part(arguments: object = None, **changes: object) -> dict:
    return {"index": 0, "function": {"arguments": arguments}} | changes


FIRST, SECOND = '{"city": ', '"Paris"}'
START = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": ""}}
TOOLS = (
    calls("id and name once", parts(part(**START)), parts(part(FIRST)), parts(part(SECOND))),
    calls("id and name in each fragment", event(fragment(FIRST)), event(fragment(SECOND))),
    calls("whole in one", event(fragment(FIRST + SECOND))),
    calls(
        "arguments in single letters",
        *(event(fragment(letter)) for letter in FIRST + SECOND),
    ),
    calls(
        "id and name empty later",
        event(fragment(FIRST)),
        event(fragment(SECOND, call_id="", name="")),
    ),
    calls(
        "id and name null later",
        event(fragment(FIRST)),
        event(fragment(SECOND, call_id=None, name=None)),
    ),
    calls(
        "no index",
        parts(START | {"function": {"name": "weather", "arguments": FIRST}}),
        parts({"function": {"arguments": SECOND}}),
    ),
    calls("index null", event(fragment(FIRST, index=None)), event(fragment(SECOND, index=None))),
    calls("index as text", event(fragment(FIRST, index="0")), event(fragment(SECOND, index="0"))),
    calls(
        "index as a float", event(fragment(FIRST, index=0.0)), event(fragment(SECOND, index=0.0))
    ),
    calls(
        "index that begins at 1", event(fragment(FIRST, index=1)), event(fragment(SECOND, index=1))
    ),
    calls(
        "one index for two ids",
        event(fragment(FIRST + SECOND)),
        event(fragment(FIRST + SECOND, call_id="call_2")),
        calls=[WEATHER, WEATHER],
    ),
    calls(
        "two calls interleaved",
        event(fragment(FIRST)),
        event(fragment('{"city": ', index=1, call_id="call_2")),
        event(fragment(SECOND)),
        event(fragment('"Rome"}', index=1, call_id="call_2")),
        calls=[WEATHER, ("weather", {"city": "Rome"})],
    ),
    calls(
        "two calls in one delta",
        parts(
            part(FIRST + SECOND, **{k: v for k, v in START.items() if k != "function"})
            | {"function": {"name": "weather", "arguments": FIRST + SECOND}},
            {"index": 1, "id": "call_2", "function": {"name": "weather", "arguments": "{}"}},
        ),
        calls=[WEATHER, ("weather", {})],
    ),
    calls(
        "no id at all", event(fragment(FIRST, call_id=None)), event(fragment(SECOND, call_id=None))
    ),
    calls(
        "no type",
        parts(part(id="call_1", function={"name": "weather", "arguments": FIRST + SECOND})),
    ),
    calls("arguments null first", event(fragment(None)), event(fragment(FIRST + SECOND))),
    calls(
        "arguments missing first",
        parts(part(id="call_1", function={"name": "weather"})),
        event(fragment(FIRST + SECOND)),
    ),
    calls("arguments null at the end", event(fragment(FIRST + SECOND)), event(fragment(None))),
    calls("no arguments ever", event(fragment("")), calls=[("weather", {})]),
    calls("arguments an object", event(fragment({"city": "Paris"}))),
    calls(
        "the name in two pieces",
        parts(part(id="call_1", function={"name": "wea", "arguments": ""})),
        parts(part(function={"name": "ther", "arguments": ""})),
        parts(part(FIRST + SECOND)),
        calls=None,
    ),
    calls(
        "text and a call in one delta",
        event(
            chunk(
                {"content": "Hello"}
                | fragment(FIRST + SECOND)["choices"][0]["delta"]
                | {"content": "Hello"}
            )
        ),
        text="Hello",
    ),
    calls(
        "text, then a call", HEL, LO, event(fragment(FIRST)), event(fragment(SECOND)), text="Hello"
    ),
    calls(
        "a call, then text", event(fragment(FIRST)), event(fragment(SECOND)), HEL, LO, text="Hello"
    ),
    calls(
        "a call in the last chunk",
        event(fragment(FIRST)),
        event(chunk({"tool_calls": [part(SECOND)]}, "tool_calls")),
        end=(TAIL, DONE),
    ),
    calls(
        "tool_calls null",
        event(chunk({"content": "Hello", "tool_calls": None})),
        text="Hello",
        calls=(),
    ),
    calls(
        "a fragment that is null",
        event(chunk({"tool_calls": [None]})),
        event(fragment(FIRST + SECOND)),
    ),
    calls(
        "cut by length",
        event(fragment(FIRST)),
        event(fragment('"Par')),
        calls=(),
        invalid=1,
        end=(event(chunk("", "length")), TAIL, DONE),
    ),
    calls(
        "cut by length where core can repair it",
        event(fragment('{"city": "Paris"')),
        calls=(),
        invalid=1,
        end=(event(chunk("", "length")), TAIL, DONE),
    ),
    calls(
        "cut by length inside a list",
        event(fragment('{"city": [1, 2')),
        calls=(),
        invalid=1,
        end=(event(chunk("", "length")), TAIL, DONE),
    ),
    calls(
        "cut by length after a backslash",
        event(fragment('{"city": "a\\')),
        calls=(),
        invalid=1,
        end=(event(chunk("", "length")), TAIL, DONE),
    ),
    calls(
        "complete although cut by length",
        event(fragment(FIRST + SECOND)),
        calls=None,
        end=(event(chunk("", "length")), TAIL, DONE),
    ),
    calls("arguments that are no JSON", event(fragment('{"city": oops')), calls=(), invalid=1),
    calls(
        "arguments 500 deep",
        event(fragment('{"a": ' + "[" * 500)),
        event(fragment("]" * 500 + "}")),
        calls=(),
        invalid=1,
    ),
    calls("arguments a list", event(fragment("[1]")), calls=(), invalid=1),
    calls(
        "half a call under finish_reason stop",
        event(fragment('{"city": "Par')),
        calls=(),
        invalid=1,
        end=END,
    ),
)


def half_call(name: str, *events: bytes) -> Case:
    return case(name, stream(*events), Fails("StreamInterruptedError", partial=""))


CUT_CALLS = (
    half_call("a call cut by the end", event(fragment('{"path": "/home/us'))),
    half_call("a call cut after a whole value", event(fragment('{"path": "/home"'))),
)

CASES = (*TOOLS, *CUT_CALLS)
