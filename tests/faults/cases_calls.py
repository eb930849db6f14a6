"""Cases of tool calls in a stream: fragments in each odd form, and calls that are cut."""

import json
from itertools import pairwise

from tests.faults.cases_json import NO_OBJECTS
from tests.faults.cases_stream import case, gives
from tests.support.fault_table import Raises, Returns
from tests.support.response_bytes import (
    DONE,
    TAIL,
    chunk,
    completion,
    event,
    response,
    stream,
    tool_call,
)

PARIS, ROME = ("weather", {"city": "Paris"}), ("weather", {"city": "Rome"})
W, FIRST, SECOND = "weather", '{"city": ', '"Paris"}'
PARIS_TEXT, ROME_TEXT = FIRST + SECOND, '{"city": "Rome"}'
TWICE = json.dumps(PARIS_TEXT)


def fragment(arguments="", name="", call_id="", index=0):
    """A part of a call; what is empty, and an index of `...`, is left out."""
    function = {"name": name, "arguments": arguments}
    keys = {"id": call_id, "function": {k: v for k, v in function.items() if v != ""}}
    start = {} if index is ... else {"index": index}
    return start | {k: v for k, v in keys.items() if v != ""}


def calls(name, *deltas, index=0, end="tool_calls", **expected):
    """A stream of deltas that adds up to a call for Paris, unless another result is given.

    A tuple is the arguments of `fragment`, a dict a fragment as it is, a list several fragments
    of one delta; all else is as in `gives`.
    """

    def fragments(delta):
        items = delta if isinstance(delta, list) else [delta]
        return [
            fragment(*(*item, *("", "", "")[len(item) : 3], index)[:4]) if isinstance(item, tuple)
            else item
            for item in items
        ]  # fmt: skip

    events = [
        delta if isinstance(delta, bytes | str) else event(chunk({"tool_calls": fragments(delta)}))
        for delta in deltas
    ]
    stop = [] if end is None else [event(chunk("", end))]
    return gives(
        name, *events, *stop, end=(TAIL, DONE), **({"text": "", "calls": [PARIS]} | expected)
    )


EMPTY_LATER = {"index": 0, "id": "", "function": {"name": "", "arguments": SECOND}}
START = {"id": "call_1", "type": "function"}
TOOLS = (
    calls("id and name once", ("", W, "a"), (FIRST,), (SECOND,)),
    calls("id and name in each fragment", (FIRST, W, "a"), (SECOND, W, "a")),
    calls("whole in one", (PARIS_TEXT, W, "a")),
    calls("arguments in single letters", *((letter, W, "a") for letter in PARIS_TEXT)),
    calls("id and name empty later", (FIRST, W, "a"), EMPTY_LATER),
    calls("id and name null later", (FIRST, W, "a"), (SECOND, None, None)),
    *(
        calls(
            f"a name {name!r} with each later fragment of a call",
            *[("", W, "a"), (FIRST, name, name), (SECOND, name, name), ("", name, name)],
        )
        for name in ("null", "None")
    ),
    calls("index as text", (FIRST, W, "a"), (SECOND, W, "a"), index="0"),
    calls("index as a float", (FIRST, W, "a"), (SECOND, W, "a"), index=0.0),
    calls("index that begins at 1", (FIRST, W, "a"), (SECOND, W, "a"), index=1),
    calls(
        "two calls interleaved",
        *[(FIRST, W, "a"), (FIRST, W, "b", 1), (SECOND,), ('"Rome"}', "", "", 1)],
        calls=[PARIS, ROME],
    ),
    calls("two calls in one delta", [(PARIS_TEXT, W, "a"), ("{}", W, "b", 1)], calls=[PARIS, (W, {})]),
    calls("a second call without an id, at the same index", ("", "now", "a"), ("{}", W, None), calls=[("now", {}), (W, {})]),
    calls("no id at all", (FIRST, W, None), (SECOND, W, None)),
    calls("a type", START | fragment(FIRST, W), (SECOND,)),
    calls("arguments null first", (None, W, "a"), (PARIS_TEXT, W, "a")),
    calls("arguments null at the end", (PARIS_TEXT, W, "a"), (None, W, "a")),
    calls("no arguments ever", ("", W, "a"), calls=[(W, {})]),
    calls("a name with white space", ("", f" {W}\n", "a"), (PARIS_TEXT,)),
    calls("no function around name and arguments", {"id": "a", "name": W, "arguments": PARIS_TEXT}),
    calls("arguments an object", ({"city": "Paris"}, W, "a")),
    calls("the name in two fragments", ("", "wea", "a"), ("", "ther"), (PARIS_TEXT,)),
    calls("the name in two, each with the id", ("", "wea", "a"), ("", "ther", "a"), (PARIS_TEXT,)),
    calls(
        "text and a call in one delta",
        event(chunk({"content": "Hello", "tool_calls": [fragment(PARIS_TEXT, W, "a")]})),
        text="Hello",
    ),
    calls("text, then a call", "Hel", "lo", (FIRST, W, "a"), (SECOND,), text="Hello"),
    calls("a call, then text", (FIRST, W, "a"), (SECOND,), "Hel", "lo", text="Hello"),
    calls(
        "a call in the last chunk",
        (FIRST, W, "a"),
        event(chunk({"tool_calls": [fragment(SECOND)]}, "tool_calls")),
        end=None,
    ),
    calls(
        "tool_calls null",
        event(chunk({"content": "Hello", "tool_calls": None})),
        text="Hello",
        calls=(),
    ),
    calls("a fragment that is null", [None], (PARIS_TEXT, W, "a")),
    calls("`{}` after the arguments", (FIRST, W, "a"), (SECOND,), ("{}",)),
    calls("arguments under 'parameters'", START | {"function": {"name": W, "parameters": {"city": "Paris"}}}),
    calls("arguments encoded twice", (TWICE, W, "a")),
    calls("arguments encoded twice, in letters", *((letter, W, "a") for letter in TWICE)),
    calls("arguments encoded twice and sent again", ("", W, "a"), (TWICE, W, "a"), (TWICE, W, "a")),
    calls("arguments encoded twice after `{}`", ("{}", W, "a"), (TWICE[:9],), (TWICE[9:],)),
    calls("arguments encoded three times after `null`, and sent again", ("null", W, "a"), *[(json.dumps(TWICE), W, "a")] * 2),
    calls("arguments encoded three times, cut", (json.dumps(TWICE)[:-1], W, "a"), calls=(), invalid=1),
    calls(
        "two calls encoded twice, without an index",
        *((text, name, None) for text, name in ((TWICE[:9], W), (TWICE[9:], ""), (TWICE, W))),
        index=...,
        calls=[PARIS, PARIS],
    ),
    calls("no arguments encoded twice", ('""', W, "a"), calls=[(W, {})]),
    calls("a string within the arguments", ('{"city": ', W, "a"), (json.dumps("{}"),), ("}",), calls=[(W, {"city": "{}"})]),
    calls("half an escape, another id with each fragment", (r'{"city": "\u', W, "a"), (PARIS_TEXT[10:].replace("P", "0050"), W, "b")),
    calls("half a call under finish_reason stop", ('{"city": "Par', W, "a"), calls=(), invalid=1, end="stop"),
)  # fmt: skip


def cut(name, *deltas, end="length", **expected):
    return calls(
        f"cut by {end}: {name}", *deltas, end=end, **({"calls": (), "invalid": 1} | expected)
    )


CUT_BY = (
    cut("in the arguments", (FIRST, W, "a"), ('"Par',)),
    cut("before the arguments", ("", W, "a"), invalid=["}"]),
    cut("after a `null` before the arguments", ("null", W, "a"), invalid=["}"]),
    cut("before the arguments", ("", W, "a"), invalid=["}"], end="max_tokens"),
    cut("where core can repair it", ('{"city": "Paris"', W, "a")),
    cut("inside a list", ('{"city": [1, 2', W, "a")),
    cut("after a backslash", ('{"city": "a\\', W, "a")),
    cut("after the end", (PARIS_TEXT, W, "a"), calls=None, invalid=0),
    cut(
        "before the second call's arguments",
        *[(PARIS_TEXT, W, "a"), (None, W, "b", 1)],
        end="content_filter",
        calls=[PARIS],
        invalid=["}"],
    ),
)

IN_ONE_DELTA = (
    calls("two fragments", [(FIRST, W, "a"), (SECOND,)]),
    calls("the opening and the first arguments", [("", W, "a"), (PARIS_TEXT,)]),
    calls(
        "fragments over two deltas",
        [("", W, "a"), ('{"ci',), ('ty": ',)],
        [('"Pa',), ('ris"',), ("}",)],
    ),
    calls(
        "two interleaved calls",
        [(FIRST, W, "a"), (FIRST, W, "b", 1), (SECOND,), ('"Rome"}', "", "", 1)],
        calls=[PARIS, ROME],
    ),
    calls(
        "two calls at index 0",
        [("", W, "a"), (PARIS_TEXT,), ("", W, "b"), (ROME_TEXT,)],
        calls=[PARIS, ROME],
    ),
    calls("two fragments without an index", [(FIRST, W, "a"), (SECOND,)], index=...),
)


def same_index(kind, index):
    """Calls whose fragments all have one index, or none."""

    def row(name, *fragments, **expected):
        return calls(f"{name}, {kind}", *fragments, index=index, **expected)

    both = [PARIS, ROME]
    now = ("now", {})
    return (
        row("ids that change, names repeated", ("", W, "a1"), (FIRST, W, "a2"), (SECOND, W, "a3")),
        row("ids that change, the name once", ("", W, "a1"), (FIRST, "", "a2"), (SECOND, "", "a3")),
        *(
            row(f"ids {x!r}", ("", W, x), (FIRST, W, x), (SECOND, None, x), ("", W, x))
            for x in ("null", "None", "", None)
        ),
        *(
            row(f"two calls, ids {a!r} and {b!r}", (PARIS_TEXT, W, a), (ROME_TEXT, W, b), calls=both)
            for a, b in (("", ""), ("a", "b"), ("null", "null"), ("a", ""), ("a", "a"))
        ),
        row(
            "two calls, opened without arguments",
            *[("", W, "a"), (FIRST,), (SECOND,), ("", W, "b"), (FIRST,), ('"Rome"}',)],
            calls=both,
        ),
        row("the second call's id with its arguments", ("{}", "now", "a"), ("", "now", "a"), ("{}", "", "b"), calls=[now, now]),
        row("one text twice without ids", (PARIS_TEXT, W), (PARIS_TEXT, W), calls=[PARIS, PARIS]),
        row("two names", ("", "now", "a"), ("", "here", "b"), calls=[now, ("here", {})]),
        row("a call without arguments, then one with", ("", "now"), (FIRST, W), (SECOND,), calls=[now, PARIS]),
        row("a call with, then one without arguments", (PARIS_TEXT, W, "a"), ("", "now", "b"), calls=[PARIS, now]),
        row("a name repeated after the whole call", (PARIS_TEXT, W, "a"), ("", W, "b"), (" \n",)),
        row("white space after the whole call", (PARIS_TEXT, W, "a"), ("\n", W, "a")),
        row("the arguments again at the end", ("", W, "a"), (FIRST,), (SECOND,), ('{"city":"Paris"}',)),
        row("the call again at the end", (PARIS_TEXT, W, "a"), (PARIS_TEXT, W, "a")),
        row(
            "other arguments after the whole call",
            *[(PARIS_TEXT, W, "a"), (ROME_TEXT,)],
            calls=(),
            invalid=[PARIS_TEXT + ROME_TEXT + "}"],
        ),
        *(row(f"{x} before the arguments", (x, W, "a"), (FIRST,), (SECOND,)) for x in ("{}", "null", " {} ")),
        row("{} before the arguments, with id and name", ("{}", W, "a"), (FIRST, W, "a"), (SECOND, W, "a")),
        row('"" again after the whole call', ('""', "now", "a"), ('""', "", ""), calls=[now]),
        row(
            '"" before the arguments of two calls',
            *[('""', W, "a"), (PARIS_TEXT,), ('""', W, "b"), (ROME_TEXT,)],
            calls=both,
        ),
        row("{} alone", ("{}", "now", "a"), calls=[now]),
        row("{} twice", ("{}", "now", "a"), ("{}", "now", "b"), calls=[now, now]),
        row("{} and then no JSON", ("{}", "now", "a"), ("oops",), calls=(), invalid=["{}oops}"]),
        row("arguments sent whole each time", ('{"ci', W, "a"), ('{"city": "Pa',), (PARIS_TEXT,), (PARIS_TEXT, W, "a")),
        row("arguments sent whole each time, once cut after a colon", ("{", W, "a"), (FIRST, W, "a"), (PARIS_TEXT, W, "a")),
        row(
            "arguments that begin like themselves",
            *[('{"a":', W, "a"), ('{"a":',), ('{"a":1}}}',)],
            calls=[(W, {"a": {"a": {"a": 1}}})],
        ),
        row("arguments encoded twice, whole each time", *((TWICE[:end], W, "a") for end in (6, 15, -1, None))),
        row("null twice before the arguments", ("null", W, "a"), ("null", W, "a"), (PARIS_TEXT, W, "a")),
        row(
            "null before the arguments of two calls",
            *[("null", W, "a"), (PARIS_TEXT,), ("null", W, "b"), (ROME_TEXT,)],
            calls=both,
        ),
        row("one id and one text for two names", (PARIS_TEXT, W, "a"), (PARIS_TEXT, "now", "a"), calls=[PARIS, ("now", PARIS[1])]),
        row(
            "half a call, then one whose name comes before its arguments",
            *[('{"city": "Paris"', W, "a"), ("", "now", "b"), ("{}",)],
            calls=[now],
            invalid=1,
        ),
        row("the name sent whole each time", ("", "wea", "a"), ("", W, "a"), (PARIS_TEXT, W, "a")),
        row(
            "two calls interleaved by id",
            *[('{"ci', W, "a"), ('{"ci', W, "b"), ('ty": "Paris"}', "", "a"), ('ty": "Rome"}', "", "b")],
            calls=both,
        ),
        row("the name whole only with the arguments", ("", "wea", "a"), (PARIS_TEXT, W, "a")),
        row("arguments before the name", (FIRST,), (SECOND,), ("", W, "a")),
    )  # fmt: skip


SAME_INDEX = (
    *same_index("index 0", 0),
    *same_index("no index", ...),
    *same_index("index null", None),
)
TWO_CALLS = [tool_call(), tool_call(ROME_TEXT)]
WHOLE = completion(None, "tool_calls", message__tool_calls=TWO_CALLS)["choices"][0]
ODD_INDEXES = (
    calls("the index only once", ("", W, "a"), (FIRST, "", "", ...), (SECOND, "", "", ...)),
    calls("the index from the second fragment on", ("", W, "a", ...), (FIRST,), (SECOND,)),
    calls("an index that counts fragments", ("", W, "a"), (FIRST, "", "a"), (SECOND, W, "a", 1)),
    calls("an index that counts fragments, no more ids", ("", W, "a"), (FIRST, "", "", 1), (SECOND, "", "", 2)),
    calls(
        "one id for two calls, interleaved",
        *[(FIRST, W, "x"), (FIRST, W, "x", 1), (SECOND, W, "x"), ('"Rome"}', W, "x", 1)],
        calls=[PARIS, ROME],
    ),
    calls(
        "the first of two calls again at the end",
        *[(PARIS_TEXT, W, "a"), (ROME_TEXT, W, "b"), (PARIS_TEXT, W, "a")],
        calls=[PARIS, ROME],
    ),
    calls("an empty fragment at an index of its own", (PARIS_TEXT, W, "a"), ("", "", "", 1)),
    calls(
        "one call of rm under three ids is no rm without arguments",
        *[("", "rm", "a1"), ('{"path": ', "rm", "a2"), ('"/tmp/x"}', "rm", "a3")],
        calls=[("rm", {"path": "/tmp/x"})],
    ),
    calls(
        "one call of rm under three ids, cut",
        *[("", "rm", "a1"), ('{"path": ', "rm", "a2")],
        calls=(),
        invalid=['{"path": ]'],
    ),
    calls(
        "whole calls in a message at the end",
        event(chunk("")),
        event(chunk(choices=[WHOLE])),
        calls=[PARIS, ROME],
        end=None,
    ),
    case(
        "a JSON response with one id twice",
        response(completion(None, "tool_calls", message__tool_calls=[tool_call(), tool_call()])),
        Returns("", calls=[PARIS, PARIS]),
    ),
)  # fmt: skip

ENDINGS = ("]", '"]', "", "}", "}", "", "", "", "", "", "}", "}", "}", "}", "}")
"""What follows the text of each invalid call, so that core does not complete or take it."""


def split(text):
    edges = [*range(0, len(text), 3), len(text)]
    return [(text[start:end], W, "a") for start, end in pairwise(edges)]


INVALID = (
    *(
        calls(f"arguments that are no object: {text}", *split(text), calls=(), invalid=[text + ending])
        for text, ending in zip(NO_OBJECTS, ENDINGS, strict=True)
    ),
    calls("arguments 500 deep", ('{"a": ' + "[" * 500, W, "a"), ("]" * 500 + "}",), calls=(), invalid=1),
)  # fmt: skip


def old(name, *function_calls, **expected):
    """A call in the form before `tool_calls`."""
    events = [event(chunk({"function_call": call})) for call in function_calls]
    return calls(f"function_call, {name}", *events, end="function_call", **expected)


OLD = (
    old(
        "the name once",
        *[{"name": W, "arguments": ""}, {"arguments": FIRST}, {"arguments": SECOND}],
        metadata={"finish_reason": "function_call"},
    ),
    old("the name in each", {"name": W, "arguments": FIRST}, {"name": W, "arguments": SECOND}),
    old("cut", {"name": W, "arguments": FIRST}, calls=(), invalid=['{"city": ]']),
    calls(
        "function_call null beside tool_calls",
        event(chunk({"function_call": None, "tool_calls": [fragment("", W, "a")]})),
        (PARIS_TEXT,),
    ),
    calls(
        "function_call null beside text",
        event(chunk({"content": "Hello", "function_call": None})),
        text="Hello",
        calls=(),
    ),
)


def half_call(name, *parts):
    delta = event(chunk({"tool_calls": [fragment(*parts)]}))
    return case(name, stream(delta), Raises("StreamInterruptedError", partial=""))


CUT_CALLS = (
    half_call("a call cut before its arguments", "", W, "a"),
    half_call("a call without an id, cut", "", W, None),
    half_call("a call cut by the end", '{"path": "/home/us', W, "a"),
    half_call("a call cut after a whole value", '{"path": "/home"', W, "a"),
)

CASES = (*TOOLS, *CUT_BY, *IN_ONE_DELTA, *SAME_INDEX, *ODD_INDEXES, *INVALID, *OLD, *CUT_CALLS)
