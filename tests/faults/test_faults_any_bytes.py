"""Whatever bytes come: the message, or an error of ours; never half an answer as a whole one."""

from __future__ import annotations

import json
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.byte_server import ByteServer, Close
from tests.support.fault_outcomes import (
    Outcome,
    aattempt,
    attempt,
    bounded,
    check_error,
    make_model,
    run_async,
    text_of,
    usage_of,
)
from tests.support.response_bytes import (
    DONE,
    EVENTS,
    GOOD_RESPONSE,
    GOOD_STREAM,
    SSE_TYPE,
    STOP,
    TAIL,
    TEXT,
    as_bytes,
    chunk,
    completion,
    event,
    fragment,
    response,
    split_stream,
)

BODY = b"".join(EVENTS)
RELAXED = settings(
    max_examples=100,
    deadline=timedelta(seconds=20),
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def tried():
    """Plays one script on a model that stays, sync and async, and gives both outcomes."""
    with ByteServer() as endpoint, make_model(endpoint.base_url, timeout=5.0) as model:

        def play(*scripts, mode="stream"):
            model.close()  # a cut before the headers on an old connection is sent again
            endpoint.play(*scripts[:1])
            outcome = bounded(lambda: attempt(model, mode))
            check_error(outcome.error)
            endpoint.play(*scripts[:1])
            twin = bounded(lambda: run_async(lambda: aattempt(model, f"a{mode}")))
            check_error(twin.error)
            assert type(outcome.error) is type(twin.error)
            assert shown(outcome) == shown(twin)
            assert not endpoint.busy or endpoint.settle(2)
            return outcome

        yield play


def shown(outcome: Outcome):
    if outcome.message is None:
        return str(outcome.error)
    return (text_of(outcome.message), usage_of(outcome.message), len(outcome.message.tool_calls))


def whole(outcome: Outcome) -> bool:
    return outcome.message is not None and text_of(outcome.message) == TEXT


@RELAXED
@given(cuts=st.lists(st.integers(1, len(BODY) - 1), max_size=40))
def test_any_split_gives_the_same_message(tried, cuts):
    outcome = tried((split_stream(BODY, cuts),))
    assert shown(outcome) == (TEXT, (11, 7, 18), 0), outcome.error


NOISE = st.sampled_from(
    [b": ping\n\n", b":\n", b"\n", b"retry: 3\n\n", b"event: ping\n\n", b"id: 1\n\n"]
)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@RELAXED
@given(
    parts=st.lists(st.text(max_size=12), max_size=8),
    noise=st.lists(NOISE, max_size=10),
    line_end=LINE_ENDS,
    bom=st.booleans(),
    cuts=st.lists(st.integers(0, 3000), max_size=20),
    done=st.booleans(),
)
def test_any_text_in_any_framing_arrives(tried, *, parts, noise, line_end, bom, cuts, done):
    chunks = [event(chunk(part)).replace(b"\n\n", line_end * 2) for part in parts]
    places = [noise[i] if i < len(noise) else b"" for i in range(len(chunks))]
    body = b"".join(a + b for a, b in zip(places, chunks, strict=True)) + STOP + TAIL
    data = b"\xef\xbb\xbf" * bom + body + DONE * done
    outcome = tried((split_stream(data, cuts),))
    assert outcome.error is None, outcome.error
    assert text_of(outcome.message) == "".join(parts)
    assert usage_of(outcome.message) == (11, 7, 18)


@RELAXED
@given(at=st.integers(0, len(BODY)), clean=st.booleans())
def test_a_stream_cut_anywhere_is_whole_or_an_error(tried, at, clean):
    data = response(BODY[:at], content_type=SSE_TYPE, length=at if clean else at + 1)
    outcome = tried((data,) if clean else (data, Close()))
    ended = at >= BODY.index(STOP.rstrip()) + len(STOP.rstrip())
    if outcome.error is None:
        assert ended, f"{BODY[:at]!r} passed for an answer"
        assert whole(outcome)
    else:
        partial = getattr(outcome.error, "partial", None)
        assert TEXT.startswith(text_of(partial) if partial is not None else "")
        assert not (ended and clean), outcome.error


@RELAXED
@given(at=st.integers(1, len(GOOD_RESPONSE) - 1))
def test_an_answer_cut_anywhere_is_an_error(tried, at):
    outcome = tried((GOOD_RESPONSE[:at], Close()), mode="invoke")
    assert outcome.error is not None


@RELAXED
@given(at=st.integers(0, len(GOOD_STREAM) - 1), byte=st.integers(0, 255))
def test_a_wrong_byte_anywhere_gives_a_message_or_an_error_of_ours(tried, at, byte):
    tried((GOOD_STREAM[:at] + bytes([byte]) + GOOD_STREAM[at + 1 :], Close()))


@RELAXED
@given(at=st.integers(0, len(GOOD_RESPONSE) - 1), byte=st.integers(0, 255))
def test_a_wrong_byte_in_an_answer_gives_a_message_or_an_error_of_ours(tried, at, byte):
    tried((GOOD_RESPONSE[:at] + bytes([byte]) + GOOD_RESPONSE[at + 1 :], Close()), mode="invoke")


@RELAXED
@given(junk=st.binary(max_size=300))
def test_any_bytes_as_events_give_a_message_or_an_error_of_ours(tried, junk):
    tried((response(junk, content_type=SSE_TYPE),))


@RELAXED
@given(junk=st.binary(max_size=300))
def test_any_bytes_as_an_answer_are_an_error(tried, junk):
    assert tried((response(junk),), mode="invoke").error is not None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def places(tree, path=()):
    """All paths into a JSON value."""
    yield path
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in items:
        yield from places(value, (*path, key))


def with_value(tree, path, value):
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = with_value(tree[path[0]], path[1:], value)
    return copy


COMPLETION = completion(message__tool_calls=fragment("{}")["choices"][0]["delta"]["tool_calls"])
CHUNK = fragment("{}") | {"usage": completion()["usage"], "meta": completion()["meta"]}


@RELAXED
@given(path=st.sampled_from(list(places(COMPLETION))[1:]), value=JSON)
def test_any_value_anywhere_in_an_answer_is_borne(tried, path, value):
    tried((response(as_bytes(json.dumps(with_value(COMPLETION, path, value)))),), mode="invoke")


@RELAXED
@given(path=st.sampled_from(list(places(CHUNK))[1:]), value=JSON)
def test_any_value_anywhere_in_a_chunk_is_borne(tried, path, value):
    odd = event(json.dumps(with_value(CHUNK, path, value)))
    tried((response(EVENTS[1] + odd + STOP + TAIL + DONE, content_type=SSE_TYPE),))


@RELAXED
@given(
    arguments=st.text(max_size=30) | JSON.map(json.dumps),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
def test_any_arguments_are_a_call_or_an_invalid_call(tried, arguments, cuts):
    edges = sorted({0, len(arguments), *(c for c in cuts if c < len(arguments))})
    pieces = [arguments[a:b] for a, b in pairwise(edges)] or [arguments]
    data = b"".join(event(fragment(piece)) for piece in pieces)
    outcome = tried(
        (response(data + event(chunk("", "tool_calls")) + TAIL + DONE, content_type=SSE_TYPE),)
    )
    assert outcome.error is None, outcome.error
    message = outcome.message
    assert len(message.tool_calls) + len(message.invalid_tool_calls) == 1
    try:
        meant = json.loads(arguments, strict=False) if arguments.strip() else {}
    except ValueError:
        assert not message.tool_calls, f"{arguments!r} became {message.tool_calls}"
        return
    if isinstance(meant, dict):
        assert (
            "NaN" in arguments or "Infinity" in arguments or message.tool_calls[0]["args"] == meant
        )
