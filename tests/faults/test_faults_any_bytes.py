"""Whatever bytes come: the message, or an error of ours; never half a response as a whole one."""

import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.support.byte_server import ByteServer, Close
from tests.support.fault_table import (
    ALL_MODES,
    JSON_MODES,
    STREAM_MODES,
    TEXT,
    attempt,
    check_error,
    make_model,
    run_in,
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
    chunk,
    completion,
    event,
    response,
    split_stream,
    tool_call,
)

BODY = b"".join(EVENTS)
MODES = st.sampled_from(ALL_MODES)
RELAXED = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    phases=(Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def tried():
    """Plays one script on a model that stays."""
    with ByteServer() as server, make_model(server.base_url) as model:

        def play(script, mode):
            model.close()  # a cut before the headers on an old connection is sent again
            server.play(script)
            outcome = run_in(mode, lambda: attempt(model, mode))
            check_error(outcome.error)
            return outcome

        yield play


def shown(outcome):
    message = outcome.message
    if message is None:
        return str(outcome.error)
    calls = [(call["name"], repr(call["args"])) for call in message.tool_calls]
    return text_of(message), usage_of(message), calls


def sse(body, **more):
    return response(body, content_type=SSE_TYPE, **more)


NOISE = st.sampled_from(
    [b": x\n\n", b":\n", b"\n", b"retry: 3\n\n", b"event: ping\n\n", b"id: 1\n\n"]
)


@RELAXED
@given(
    parts=st.lists(st.tuples(st.text(max_size=12), st.just(b"") | NOISE), max_size=8),
    line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
    bom=st.booleans(),
    cuts=st.lists(st.integers(0, 3000), max_size=20),
    done=st.booleans(),
    mode=st.sampled_from(STREAM_MODES),
)
def test_any_text_in_any_framing_arrives(tried, *, parts, line_end, bom, cuts, done, mode):
    events = [noise + event(chunk(text)).replace(b"\n\n", line_end * 2) for text, noise in parts]
    data = b"\xef\xbb\xbf" * bom + b"".join(events) + STOP + TAIL + DONE * done
    outcome = tried(split_stream(data, cuts), mode)
    assert outcome.error is None, outcome.error
    assert shown(outcome) == ("".join(text for text, _ in parts), (11, 7, 18), [])


@RELAXED
@given(at=st.integers(0, len(BODY)), clean=st.booleans(), mode=st.sampled_from(STREAM_MODES))
def test_a_stream_cut_anywhere_is_whole_or_an_error(tried, at, clean, mode):
    data = sse(BODY[:at], length=at if clean else at + 1)
    outcome = tried(data if clean else (data, Close()), mode)
    ended = at >= BODY.index(STOP.rstrip()) + len(STOP.rstrip())
    if outcome.error is None:
        assert ended, f"{BODY[:at]!r} passed for a response"
        assert text_of(outcome.message) == TEXT
    else:
        partial = getattr(outcome.error, "partial", None)
        assert TEXT.startswith(text_of(partial) if partial is not None else "")
        assert not (ended and clean), outcome.error


@RELAXED
@given(at=st.integers(1, len(GOOD_RESPONSE) - 1), mode=st.sampled_from(JSON_MODES))
def test_a_response_cut_anywhere_is_an_error(tried, at, mode):
    assert tried((GOOD_RESPONSE[:at], Close()), mode).error is not None


@RELAXED
@given(mode=MODES, place=st.floats(0, 0.9999), byte=st.binary(min_size=1, max_size=1))
def test_a_wrong_byte_anywhere_gives_a_message_or_an_error_of_ours(tried, mode, place, byte):
    data = GOOD_RESPONSE if mode in JSON_MODES else GOOD_STREAM
    at = int(place * len(data))
    tried((data[:at] + byte + data[at + 1 :], Close()), mode)


@RELAXED
@given(mode=MODES, junk=st.binary(max_size=300))
def test_any_bytes_give_an_error_of_ours(tried, mode, junk):
    outcome = tried(response(junk) if mode in JSON_MODES else sse(junk), mode)
    assert mode in STREAM_MODES or outcome.error is not None


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
    keys = tree if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ()
    for key in keys:
        yield from places(tree[key], (*path, key))


def with_value(tree, path, value):
    if not path:
        return value
    copy = tree.copy()
    copy[path[0]] = with_value(tree[path[0]], path[1:], value)
    return copy


COMPLETION = completion(message__tool_calls=[tool_call()])
CHUNK = chunk({"tool_calls": [tool_call("{}") | {"index": 0}]}, usage={}, meta=COMPLETION["meta"])


@RELAXED
@given(mode=MODES, data=st.data(), value=JSON)
def test_any_value_anywhere_gives_a_message_or_an_error_of_ours(tried, mode, data, value):
    whole = COMPLETION if mode in JSON_MODES else CHUNK
    path = data.draw(st.sampled_from(list(places(whole))[1:]))
    odd = json.dumps(with_value(whole, path, value))
    tried(response(odd) if mode in JSON_MODES else sse(EVENTS[1] + event(odd) + STOP + DONE), mode)
