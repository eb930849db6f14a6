"""What is refused before a byte is sent, without showing a secret, and what arrives as it is."""

import functools
import math
import socket

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import ValidationError

from langchain_aimlernie import errors
from tests.support.byte_server import ByteServer
from tests.support.fault_table import (
    HEADERS,
    SYNC_MODES,
    TEXT,
    call,
    check_frames,
    check_secrets,
    make_model,
    outcome_of,
    text_of,
)
from tests.support.response_bytes import KEY

NOWHERE = "http://127.0.0.1:9/v1"
REFUSALS = (ValueError, errors.AimlErnieError)
BAD_KEYS = {
    "a newline inside": (f"{KEY}\nX-Evil: 1{KEY}", f"position {len(KEY) + 1} of "),
    "CR": (f"{KEY}\r{KEY}", "control character"),
    "NUL": (f"{KEY}\0{KEY}", "control character"),
    "a space inside": (f"{KEY} {KEY}", "space"),
    "a zero-width space": (f"{KEY}\u200b", "non-ASCII"),
    "a smart quote": (f"\u201c{KEY}\u201d", "non-ASCII"),
    "a lone surrogate": (f"{KEY}\ud800", "non-ASCII"),
    "nothing": (" \n", "empty"),
    "no text": ([KEY], ""),
    "bytes": (KEY.encode(), ""),
}
SCHEME = "Put https:// or http:// before it"
BAD_URLS = (
    ("localhost:8000/v1", SCHEME, "localhost:8000/v1"),
    ("127.0.0.1:8000", SCHEME, "127.0.0.1:8000"),
    ("api.aimlapi.com/v1", SCHEME, "api.aimlapi.com/v1"),
    ("//host/v1", SCHEME, "//host/v1"),
    ("user:hunter2@host:8000/v1", SCHEME, "host:8000/v1"),
    ("user:hunter2/@host:8000/v1", SCHEME, "host:8000/v1"),
    ("host/v1?key=hunter2", SCHEME, "host/v1"),
    ("", SCHEME, ""),
    ("ftp://user:hunter2@host/v1", "https://", "ftp://host/v1"),
    ("https://", "host", "https://"),
    ("https:///v1", "host", None),
    ("https://user:hunter2@host", "api_key", None),
    ("https://hunter2@host", "api_key", None),
    ("https://user:hunter2#@host:1/v1", "address", "https://host:1/v1"),
    ("https://user:hunter2/@host:1/v1", "address", "https://host:1/v1"),
    ("https://host:99999/v1", "address", "https://host:99999/v1"),
    ("https://host:port/v1", "address", "https://host:port/v1"),
    ("https://host/v1?api-version=1", "query", "https://host/v1"),
    ("https://host/v1?key=hunter2&x=https://y@z", "query", "https://host/v1"),
    ("https://host/#x", "fragment", "https://host/"),
    ("https://ho st", "space", None),
    ("https://host\x00", "control", None),
    ("https://host/v1\r\nHost: evil", "control", None),
    ("https://[::1", "address", "https://[::1"),
)
BAD_SETTINGS = (
    *(("api_key", key, says) for key, says in BAD_KEYS.values() if says and says != "empty"),
    *(
        ("base_url", url, says, "" if shown is None else f"got {shown!r}")
        for url, says, shown in BAD_URLS
    ),
    *(("default_headers", {"x-tenant": v}) for v in (f"a\r\nX-Evil: {KEY}", f"{KEY}\u4f60", 1)),
    *(
        ("default_headers", {name: KEY})
        for name in ("x tenant", "x-tenant\n", "", "Host", "Content-Length", 1)
    ),
    ("default_headers", "x"),
    *(
        ("client_request_id", value, "1 to 128")
        for value in ("a b", "a\r\nb", "x" * 129, "", "ä", "a/b")
    ),
    ("timeout", "soon"),
)


@pytest.mark.parametrize("row", BAD_SETTINGS, ids=ascii)
def test_a_setting_that_cannot_be_is_refused_and_no_secret_shown(row):
    name, value, *says = row
    given = {"base_url": NOWHERE, "default_headers": HEADERS, name: value}
    with pytest.raises(REFUSALS, match=name) as caught:
        make_model(**given)
    error = caught.value
    assert not [words for words in says if words not in str(error)]
    assert (SCHEME in str(error)) is (SCHEME in says)
    for secret in (KEY, "hunter2"):
        check_secrets(error, secret)
        if isinstance(error, ValidationError):
            assert secret not in error.json() + repr(error.errors())
    frame = error.__traceback__
    while "langchain_aimlernie" not in frame.tb_frame.f_code.co_filename:
        frame = frame.tb_next  # the test and `make_model` have the secrets, too
    check_frames(error.with_traceback(frame))


@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize(("key", "says"), BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_key_from_a_function_is_a_typed_error_and_not_shown(key, says, is_async, mode):
    keys = iter([key])  # a closure's variable is not one of a frame

    async def aget_key():
        return next(keys)

    with ByteServer() as server:
        model = make_model(server.base_url, api_key=aget_key if is_async else lambda: next(keys))
        outcome = outcome_of(model, mode)
        no_loop = is_async and mode in SYNC_MODES
        expected = errors.BadRequestError if no_loop else errors.AuthenticationError
        assert type(outcome.error) is expected
        assert no_loop or says in str(outcome.error)
        check_secrets(outcome.error)
        check_frames(outcome.error)
        assert not server.requests


def tool(name):
    parameters = {"type": "object", "properties": {}}
    function = {"name": name, "description": "d", "parameters": parameters}
    return {"type": "function", "function": function}


class Deep(list):
    """A list that is too deep for a `repr` of what is in it."""

    def __repr__(self):
        return "deep"


CYCLE: dict = {}
CYCLE["again"] = CYCLE
NO_JSON = {
    "object is not JSON": object(),
    "set is not JSON": {1, 2},
    "bytes is not JSON": b"\xff",
    "not JSON compliant": [math.nan],
    "Out of range": -math.inf,
    "Circular": CYCLE,
    "nested too deeply": Deep([functools.reduce(lambda inner, _: [inner], range(100_000), [])]),
    "half a surrogate pair": "\ud83d",
}
BAD_OPTIONS = {
    "a temperature in words": {"temperature": "hot"},
    "a bad id": {"client_request_id": "a b"},
    "a bad key": {"api_key": f"{KEY}\n{KEY}"},
    "a bad address": {"base_url": "ftp://127.0.0.1"},
    "a bad header": {"default_headers": {"no name": "x"}},
    "129 tools": {"tools": [tool(f"t{i}") for i in range(129)]},
    **{f"a tool {name!r}": {"tools": [tool(name)]} for name in ("get weather", "x" * 65, "")},
    "no messages": {"prompt": []},
}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        *((options, "") for options in BAD_OPTIONS.values()),
        *(({"extra_body": {"x": value}}, says) for says, value in NO_JSON.items()),
    ],
    ids=[*BAD_OPTIONS, *NO_JSON],
)
def test_an_option_that_cannot_be_sent_is_a_typed_error(options, says, mode):
    with ByteServer() as server:
        model = make_model(server.base_url, default_headers=HEADERS)
        outcome = outcome_of(model, mode, **options)
        assert isinstance(outcome.error, errors.BadRequestError | errors.AuthenticationError)
        assert says in str(outcome.error)
        check_secrets(outcome.error)
        if "api_key" not in options:  # this file's own frames hold it
            check_frames(outcome.error)
        assert not server.requests


@pytest.mark.parametrize("get_id", [lambda: "no\nid", lambda: 1 / 0], ids=["bad", "failing"])
def test_a_request_id_from_a_function_that_cannot_be_is_a_typed_error(get_id, mode):
    outcome = outcome_of(
        make_model(NOWHERE, default_headers=HEADERS, client_request_id=get_id), mode
    )
    assert outcome.error is not None
    check_frames(outcome.error)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]"])
def test_loopback_needs_no_tls(host):
    ipv6 = host == "[::1]"
    if ipv6:
        try:
            with socket.create_server(("::1", 0), family=socket.AF_INET6):
                pass
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    with ByteServer(host="::1" if ipv6 else "127.0.0.1") as server:
        with make_model(f"http://{host}:{server.port}/v1") as model:
            assert text_of(call(model, "stream")) == TEXT
        assert server.requests[0].headers["host"] == f"{host.lower()}:{server.port}"


@pytest.mark.parametrize(
    "text", ["a\0b\u2028c\u2029d\x85\"\\'", "好" * 700_000], ids=["odd", "2 MB"]
)
@pytest.mark.parametrize("mode", SYNC_MODES)
def test_odd_prompts_arrive_as_they_are(text, mode):
    with ByteServer() as server, make_model(server.base_url) as model:
        call(model, mode, text)
        assert server.requests[0].json["messages"][0]["content"] == text


def test_a_long_history_and_many_tools_arrive():
    turns = [cls(f"turn {i}") for i in range(1000) for cls in (HumanMessage, AIMessage)]
    with ByteServer() as server, make_model(server.base_url) as model:
        model.bind_tools([tool(f"t{i}") for i in range(128)]).invoke([*turns, HumanMessage("now")])
        sent = server.requests[0].json
        assert len(sent["tools"]) == 128
        assert len(sent["messages"]) == 2001
        assert sent["messages"][1999]["content"] == "turn 999"
