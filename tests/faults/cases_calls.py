"""Cases of tool calls in a stream: fragments in each odd form, and calls that are cut."""

from __future__ import annotations

from itertools import pairwise

from tests.faults.cases_json import NO_OBJECTS
from tests.faults.cases_stream import case, gives
from tests.support.fault_outcomes import Case, Raises, Returns
from tests.support.response_bytes import (
    DONE,
    HEL,
    LO,
    STOP,
    TAIL,
    chunk,
    completion,
    event,
    fragment,
    response,
    stream,
    tool_call,
)

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
    *(
        calls(f"a name {name!r} with each later piece of one call", *events)
        for name in ("null", "None")
        for events in [
            (
                event(fragment("")),
                event(fragment(FIRST, call_id=name, name=name)),
                event(fragment(SECOND, call_id=name, name=name)),
                event(fragment("", call_id=name, name=name)),
            )
        ]
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
    ),
    calls(
        "the name in two pieces, each with the id",
        event(fragment("", name="wea")),
        event(fragment("", name="ther")),
        event(fragment(FIRST + SECOND, name="")),
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
        "cut by length before the arguments",
        event(fragment("")),
        calls=(),
        invalid=["}"],
        end=(event(chunk("", "length")), TAIL, DONE),
    ),
    calls(
        "cut by a filter before the arguments of the second call",
        event(fragment(FIRST + SECOND)),
        event(fragment(None, index=1, call_id="call_2")),
        invalid=["}"],
        end=(event(chunk("", "content_filter")), TAIL, DONE),
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
    calls(
        "half a call under finish_reason stop",
        event(fragment('{"city": "Par')),
        calls=(),
        invalid=1,
        end=END,
    ),
)


ROME = ("weather", {"city": "Rome"})
PARIS_TEXT, ROME_TEXT = FIRST + SECOND, '{"city": "Rome"}'


def many(name: str, *deltas: list[dict], **expected: object) -> Case:
    """Deltas of any fragments, each without the keys that it does not have."""
    return calls(name, *(event(chunk({"tool_calls": delta})) for delta in deltas), **expected)


def piece(arguments: object = "", name: object = "", call_id: object = "", **keys: object) -> dict:
    """A fragment at index 0, unless `keys` says otherwise; what is empty is left out."""
    function = {"name": name, "arguments": arguments}
    given = {"index": 0, "id": call_id, **keys}
    given = {key: value for key, value in given.items() if value not in ("", "none")}
    return given | {"function": {key: value for key, value in function.items() if value != ""}}


NO_INDEX = {"index": "none"}
IN_ONE_DELTA = (
    many("two fragments", [piece(FIRST, "weather", "a"), piece(SECOND)]),
    many("the opening and the first arguments", [piece("", "weather", "a"), piece(FIRST + SECOND)]),
    many(
        "fragments over two deltas",
        [piece("", "weather", "a"), piece('{"ci'), piece('ty": ')],
        [piece('"Pa'), piece('ris"'), piece("}")],
    ),
    many(
        "two interleaved calls",
        [
            piece(FIRST, "weather", "a"),
            piece(FIRST, "weather", "b", index=1),
            piece(SECOND),
            piece('"Rome"}', index=1),
        ],
        calls=[WEATHER, ROME],
    ),
    many(
        "two calls at index 0",
        [piece("", "weather", "a"), piece(PARIS_TEXT), piece("", "weather", "b"), piece(ROME_TEXT)],
        calls=[WEATHER, ROME],
    ),
    many(
        "two fragments without an index", [piece(FIRST, "weather", "a", **NO_INDEX), piece(SECOND)]
    ),
)
SAME_INDEX = tuple(
    case
    for kind, index in {"index 0": {}, "no index": NO_INDEX, "index null": {"index": None}}.items()
    for case in (
        many(
            f"ids that change, names repeated, {kind}",
            [piece("", "weather", "a1", **index)],
            [piece(FIRST, "weather", "a2", **index)],
            [piece(SECOND, "weather", "a3", **index)],
        ),
        many(
            f"ids that change, the name once, {kind}",
            [piece("", "weather", "a1", **index)],
            [piece(FIRST, "", "a2", **index)],
            [piece(SECOND, "", "a3", **index)],
        ),
        *(
            many(
                f"placeholder ids {call_id!r}, {kind}",
                [piece("", "weather", call_id, **index)],
                [piece(FIRST, "weather", call_id, **index)],
                [piece(SECOND, None, call_id, **index)],
                [piece("", "weather", call_id, **index)],
                calls=[WEATHER],
            )
            for call_id in ("null", "None", "", None)
        ),
        *(
            many(
                f"two whole calls, ids {first!r} and {second!r}, {kind}",
                [piece(PARIS_TEXT, "weather", first, **index)],
                [piece(ROME_TEXT, "weather", second, **index)],
                calls=[WEATHER, ROME],
            )
            for first, second in (("", ""), ("a", "b"), ("null", "null"), ("a", ""), ("a", "a"))
        ),
        many(
            f"two calls, opened without arguments, {kind}",
            [piece("", "weather", "a", **index)],
            [piece(FIRST, **index)],
            [piece(SECOND, **index)],
            [piece("", "weather", "b", **index)],
            [piece('{"city": ', **index)],
            [piece('"Rome"}', **index)],
            calls=[WEATHER, ROME],
        ),
        many(
            f"two calls of one text without ids, {kind}",
            [piece(PARIS_TEXT, "weather", **index)],
            [piece(PARIS_TEXT, "weather", **index)],
            calls=[WEATHER, WEATHER],
        ),
        many(
            f"two names without arguments, {kind}",
            [piece("", "now", "a", **index)],
            [piece("", "here", "b", **index)],
            calls=[("now", {}), ("here", {})],
        ),
        many(
            f"a call without arguments, then one with, {kind}",
            [piece("", "now", **index)],
            [piece(FIRST, "weather", **index)],
            [piece(SECOND, **index)],
            calls=[("now", {}), WEATHER],
        ),
        many(
            f"a call with, then one without arguments, {kind}",
            [piece(PARIS_TEXT, "weather", "a", **index)],
            [piece("", "now", "b", **index)],
            calls=[WEATHER, ("now", {})],
        ),
        many(
            f"a name repeated after the whole call, {kind}",
            [piece(PARIS_TEXT, "weather", "a", **index)],
            [piece("", "weather", "b", **index)],
            [piece(" \n", **index)],
        ),
        many(
            f"white space after the whole call, {kind}",
            [piece(PARIS_TEXT, "weather", "a", **index)],
            [piece("\n", "weather", "a", **index)],
        ),
        many(
            f"the whole arguments again at the end, {kind}",
            [piece("", "weather", "a", **index)],
            [piece(FIRST, **index)],
            [piece(SECOND, **index)],
            [piece('{"city":"Paris"}', **index)],
        ),
        many(
            f"the whole call again at the end, {kind}",
            [piece(PARIS_TEXT, "weather", "a", **index)],
            [piece(PARIS_TEXT, "weather", "a", **index)],
        ),
        many(
            f"other arguments after the whole call, {kind}",
            [piece(PARIS_TEXT, "weather", "a", **index)],
            [piece(ROME_TEXT, **index)],
            calls=(),
            invalid=[PARIS_TEXT + ROME_TEXT + "}"],
        ),
        *(
            many(
                f"{empty} before the arguments, {kind}",
                [piece(empty, "weather", "a", **index)],
                [piece(FIRST, **index)],
                [piece(SECOND, **index)],
            )
            for empty in ("{}", "null", " {} ")
        ),
        many(
            f"{{}} before the arguments, with id and name, {kind}",
            [piece("{}", "weather", "a", **index)],
            [piece(FIRST, "weather", "a", **index)],
            [piece(SECOND, "weather", "a", **index)],
        ),
        many(f"{{}} alone, {kind}", [piece("{}", "now", "a", **index)], calls=[("now", {})]),
        many(
            f"{{}} twice, {kind}",
            [piece("{}", "now", "a", **index)],
            [piece("{}", "now", "b", **index)],
            calls=[("now", {}), ("now", {})],
        ),
        many(
            f"{{}} and then no JSON, {kind}",
            [piece("{}", "now", "a", **index)],
            [piece("oops", **index)],
            calls=(),
            invalid=["{}oops}"],
        ),
        many(
            f"arguments before the name, {kind}",
            [piece(FIRST, **index)],
            [piece(SECOND, **index)],
            [piece("", "weather", "a", **index)],
        ),
    )
)
ODD_INDEXES = (
    many(
        "the index only once",
        [piece("", "weather", "a")],
        [piece(FIRST, **NO_INDEX)],
        [piece(SECOND, **NO_INDEX)],
    ),
    many(
        "the index from the second fragment on",
        [piece("", "weather", "a", **NO_INDEX)],
        [piece(FIRST)],
        [piece(SECOND)],
    ),
    many(
        "an index that counts the fragments of one id",
        [piece("", "weather", "a")],
        [piece(FIRST, "", "a")],
        [piece(SECOND, "weather", "a", index=1)],
    ),
    many(
        "one id for two calls, interleaved",
        [piece(FIRST, "weather", "x")],
        [piece('{"city": ', "weather", "x", index=1)],
        [piece(SECOND, "weather", "x")],
        [piece('"Rome"}', "weather", "x", index=1)],
        calls=[WEATHER, ROME],
    ),
    many(
        "the first of two calls again at the end",
        [piece(PARIS_TEXT, "weather", "a")],
        [piece(ROME_TEXT, "weather", "b")],
        [piece(PARIS_TEXT, "weather", "a")],
        calls=[WEATHER, ROME],
    ),
    many(
        "an empty fragment at an index of its own",
        [piece(PARIS_TEXT, "weather", "a")],
        [piece(index=1)],
    ),
    many(
        "one call of rm under three ids is no rm without arguments",
        [piece("", "rm", "a1")],
        [piece('{"path": ', "rm", "a2")],
        [piece('"/tmp/x"}', "rm", "a3")],
        calls=[("rm", {"path": "/tmp/x"})],
    ),
    many(
        "one call of rm under three ids, cut",
        [piece("", "rm", "a1")],
        [piece('{"path": ', "rm", "a2")],
        calls=(),
        invalid=['{"path": ]'],
    ),
    calls(
        "whole calls in a message at the end",
        event(chunk("")),
        event(
            chunk(
                choices=[
                    {
                        "index": 0,
                        "message": {"tool_calls": [tool_call(), tool_call(ROME_TEXT)]},
                        "finish_reason": "tool_calls",
                    }
                ]
            )
        ),
        calls=[WEATHER, ROME],
        end=(TAIL, DONE),
    ),
    case(
        "a JSON answer with one id twice",
        response(completion(None, "tool_calls", message__tool_calls=[tool_call(), tool_call()])),
        Returns("", calls=[WEATHER, WEATHER]),
    ),
)
STOPPED = {
    '{"city": oops': "]",
    '{"city": "Par': '"]',
    '{"a":1,}}': "",
    '{"a":1} and more': "}",
    '{"a":1}{"a":2}': "}",
    "[1]": "",
    "5": "",
    "true": "",
    '"text"': "",
    "oops": "",
    '{"n": NaN}': "}",
    '{"n": [1, -Infinity]}': "}",
    '{"n": {"m": 1e999}}': "}",
    '{"n": -1e999, "s": "a\nb"}': "}",
    '{"n": Infinity, "s": "a\nb"}': "}",
}
"""What follows the text of an invalid call, so that core does not complete or take it."""
assert tuple(STOPPED) == NO_OBJECTS


def cut_up(text: str, size: int) -> list[str]:
    edges = [*range(0, len(text), size), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


INVALID = (
    *(
        calls(
            f"arguments that are no object: {text}",
            *(event(fragment(piece)) for piece in cut_up(text, 3)),
            calls=(),
            invalid=[text + ending],
        )
        for text, ending in STOPPED.items()
    ),
    calls(
        "arguments 500 deep",
        event(fragment('{"a": ' + "[" * 500)),
        event(fragment("]" * 500 + "}")),
        calls=(),
        invalid=1,
    ),
)


def old(**function_call: object) -> bytes:
    return event(chunk({"function_call": function_call}))


OLD_END = (event(chunk("", "function_call")), TAIL, DONE)
OLD = (
    calls(
        "function_call, the name once",
        old(name="weather", arguments=""),
        old(arguments=FIRST),
        old(arguments=SECOND),
        end=OLD_END,
        metadata={"finish_reason": "function_call"},
    ),
    calls(
        "function_call, the name in each chunk",
        old(name="weather", arguments=FIRST),
        old(name="weather", arguments=SECOND),
        end=OLD_END,
    ),
    calls(
        "function_call cut",
        old(name="weather", arguments=FIRST),
        end=OLD_END,
        calls=(),
        invalid=['{"city": ]'],
    ),
    calls(
        "function_call null beside tool_calls",
        *(event(chunk({"function_call": None, "tool_calls": [part(**START)]})),),
        parts(part(PARIS_TEXT)),
    ),
    calls(
        "function_call null beside text",
        event(chunk({"content": "Hello", "function_call": None})),
        text="Hello",
        calls=(),
    ),
)


def half_call(name: str, *events: bytes) -> Case:
    return case(name, stream(*events), Raises("StreamInterruptedError", partial=""))


CUT_CALLS = (
    half_call("a call cut before its arguments", event(fragment(""))),
    half_call("a call without an id, cut", event(fragment("", call_id=None))),
    half_call("a call cut by the end", event(fragment('{"path": "/home/us'))),
    half_call("a call cut after a whole value", event(fragment('{"path": "/home"'))),
)

CASES = (*TOOLS, *IN_ONE_DELTA, *SAME_INDEX, *ODD_INDEXES, *INVALID, *OLD, *CUT_CALLS)
