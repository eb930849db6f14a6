"""What a test can make the local server say and do: replies, failures, faults."""

import itertools
import json
import time

import httpx
import pytest

from langchain_aimlernie.testing import ErnieServer, Fault, Reply
from langchain_aimlernie.testing.encoding import split_tokens
from tests.support.local_server import (
    CHAT,
    body,
    connect,
    deltas,
    events,
    raw_request,
    read_to_end,
    wait_until,
)


def ask(client, **fields):
    return client.post(CHAT, json=body(**fields))


def message(client, **fields):
    return ask(client, **fields).json()["choices"][0]["message"]


def test_replies_are_sent_in_order_then_the_fake_model_replies(ernie_server, client):
    ernie_server.reply("one")
    ernie_server.reply(Reply("two", finish_reason="stop"), finish_reason="length", times=2)
    assert ernie_server.pending == 3
    assert ask(client, seed=0).status_code == 400  # an invalid request takes no reply
    first, *seconds, made = (ask(client).json()["choices"][0] for _ in range(4))
    assert first["message"]["content"] == "one"
    assert [each["message"]["content"] for each in seconds] == ["two", "two"]
    assert [each["finish_reason"] for each in seconds] == ["length", "length"]
    assert made["message"]["content"].startswith("[local ErnieServer, not ERNIE]")
    with pytest.raises(TypeError, match="txet"):
        ernie_server.reply(txet="one")
    with pytest.raises(TypeError, match="a Reply or a text, got dict"):
        ernie_server.reply({"text": "one"})
    with pytest.raises(ValueError, match="kind='dorp': must be 'drop' or 'stall'"):
        Fault("dorp")


OPENAI_CALL = {"id": "y", "type": "function", "function": {"name": "g", "arguments": "1"}}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ({"name": "f", "args": {"a": "ä"}}, ("f", '{"a": "ä"}', None)),
        ({"name": "f", "args": "{broken"}, ("f", "{broken", None)),
        ({"name": "f", "args": "", "id": "x"}, ("f", "", "x")),
        (OPENAI_CALL, ("g", "1", "y")),
    ],
)
def test_tool_calls_can_be_scripted(ernie_server, client, call, expected):
    name, arguments, call_id = expected
    ernie_server.reply(tool_calls=[call], times=2)
    completion = ask(client).json()
    choice = completion["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (sent,) = choice["message"]["tool_calls"]
    assert sent["function"] == {"name": name, "arguments": arguments}
    assert completion["usage"]["completion_tokens"] == 1 + len(split_tokens(arguments))
    assert sent["id"] == (call_id or f"call_{ernie_server.last_request.id}_00")
    streamed = deltas(ask(client, stream=True))
    fragments = [each for delta in streamed for each in delta.get("tool_calls", ())]
    assert "".join(each["function"]["arguments"] for each in fragments) == arguments


@pytest.mark.parametrize("stream", [False, True])
def test_several_choices_can_be_scripted(ernie_server, client, stream):
    ernie_server.reply("a", choices=[Reply("b", finish_reason="length"), Reply("c")])
    response = ask(client, stream=stream)
    sent = events(response) if stream else [response.json()]
    choices = [choice for each in sent for choice in each["choices"] if choice["finish_reason"]]
    reasons = {choice["index"]: choice["finish_reason"] for choice in choices}
    assert reasons == {0: "stop", 1: "length", 2: "stop"}


def test_usage_and_price_can_be_scripted_or_left_out(ernie_server, client):
    ernie_server.reply("a", usage={"prompt_tokens": 1.5}, meta={"usage": None})
    ernie_server.reply("a", usage=None, meta=None)
    first, second = ask(client), ask(client)
    assert first.json()["usage"] == {"prompt_tokens": 1.5}
    assert first.json()["meta"] == {"usage": None}
    assert not {"usage", "meta"} & set(second.json())
    assert "x-aimlapi-credits-used" not in second.headers
    usage = {"prompt_tokens": 3, "completion_tokens": 4}
    ernie_server.reply(body={"usage": usage, "meta": {"usage": {"credits_used": 5}}})
    ask(client)
    totals = ernie_server.totals
    assert (totals.prompt_tokens, totals.completion_tokens, totals.credits_used) == (4.5, 4, 5)


@pytest.mark.parametrize(
    ("scripted", "sent"),
    [
        ({"body": b"\xff\x00"}, b"\xff\x00"),
        ({"body": "no JSON"}, b"no JSON"),
        ({"body": {"a": ["ä", None]}}, '{"a":["ä",null]}'.encode()),
        ({"body": []}, b"[]"),
        ({"body": lambda request: {"n": request.number}}, b'{"n":1}'),
        (
            {"events": [b": hello\n\n", "[1]", {"a": "ä"}, b"data: cut"]},
            ': hello\n\ndata: [1]\n\ndata: {"a":"ä"}\n\ndata: cut'.encode(),
        ),
        ({"body": b"x", "events": ["longer than the body"]}, b"data: longer than the body\n\n"),
        ({"body": b"x", "status": 204}, b""),
        ({"body": b"x", "status": 304}, b""),
        ({"body": b"x", "status": 299}, b"x"),
    ],
)
def test_any_body_events_and_status_can_be_scripted(ernie_server, client, scripted, sent):
    reply = ernie_server.reply(**scripted)
    response = ask(client)
    assert (response.status_code, response.content) == (reply.status, sent)
    kind = "text/event-stream" if reply.events else "application/json"
    assert response.headers["content-type"].startswith(kind)
    assert ask(client).status_code == 200


@pytest.mark.slow
def test_an_endless_stream_ends_with_its_client_and_harms_no_other(ernie_server, client):
    ernie_server.reply(events=itertools.repeat({"choices": []}))
    with client.stream("POST", CHAT, json=body()) as response:
        for _ in zip(range(1000), response.iter_bytes(), strict=False):
            pass
        assert httpx.get(ernie_server.base_url + "/models").status_code == 200
    assert ernie_server.requests[0].complete is False
    wait_until(lambda: not ernie_server.connections)


@pytest.mark.parametrize("stream", [False, True])
def test_stream_can_be_forced_or_refused(ernie_server, client, stream):
    ernie_server.reply("x", stream=not stream)
    kind = ask(client, stream=stream).headers["content-type"]
    assert kind.startswith("application/json" if stream else "text/event-stream")


@pytest.mark.slow
def test_a_client_that_does_not_read_stops_the_stream(ernie_server):
    made = []

    def endless():
        while True:
            made.append(1)
            yield b"x" * 2**16

    ernie_server.reply(events=endless())
    with connect(ernie_server) as sock:
        sock.sendall(raw_request(ernie_server))
        before, now = -1, 0
        while before != now or not now:
            time.sleep(0.2)
            before, now = now, len(made)
        assert 0 < now < 1000
        sock.recv(2**16)
        while len(sock.recv(2**16)) and len(made) == now:
            pass
        assert len(made) > now


def test_headers_can_be_added_changed_and_left_out(ernie_server, client):
    headers = {"Content-Type": "text/plain", "x-new": 1, "x-aimlapi-usd-spent": None, "x-b": "ä大"}
    ernie_server.reply("x", headers=headers)
    sent = ask(client).headers
    assert (sent["content-type"], sent["x-new"]) == ("text/plain", "1")
    assert sent["x-b"] == "ä大"
    assert "x-aimlapi-usd-spent" not in sent
    assert "x-aimlapi-credits-used" in sent


def test_failure_has_the_format_of_the_api_or_any_body(ernie_server, client):
    ernie_server.fail(429, "Slow down", code="rate", headers={"retry-after": "1"}, times=2)
    for _ in range(2):
        response = ask(client)
        assert (response.status_code, response.headers["retry-after"]) == (429, "1")
        error = response.json()
        assert (error["message"], error["code"], error["status"]) == ("Slow down", "rate", 429)
        assert error["requestId"] == response.headers["x-request-id"]
    ernie_server.fail(502, body="<html>", headers={"content-type": "text/html"})
    response = ask(client)
    assert (response.status_code, response.text) == (502, "<html>")
    assert response.headers["content-type"] == "text/html"
    assert ask(client).status_code == 200
    assert ernie_server.totals.answers == 1


def test_on_request_replies_or_leaves_it_to_the_queue_or_fails(ernie_server, client, caplog):
    ernie_server.on_request = lambda r: Reply("seeded") if "seed" in r.body else None
    ernie_server.reply("queued")
    assert message(client, seed=1)["content"] == "seeded"
    assert message(client)["content"] == "queued"
    assert message(client)["content"].startswith("[local")
    ernie_server.on_request = lambda r: r.body["messages"][0]["content"]
    assert message(client, text="a text")["content"] == "a text"
    for failing, error in (
        (lambda _: 1 / 0, "ZeroDivisionError"),
        (lambda _: {"text": "x"}, "expected a Reply or a text, got dict"),
        (lambda _: Reply(body={"x": {1}}), "not JSON serializable"),
        (lambda _: ernie_server.stop(), "not allowed in on_request"),
        (lambda _: ernie_server.close_connections(), "not allowed in on_request"),
    ):
        ernie_server.on_request = failing
        response = ask(client)
        assert response.status_code == 500
        assert error in response.json()["message"]
    assert "a script of ErnieServer failed" in caplog.text


def test_events_that_fail_break_the_connection(ernie_server, client, caplog):
    ernie_server.reply(events=(1 / 0 for _ in range(1)))
    with pytest.raises(httpx.HTTPError):
        ask(client)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.slow
def test_delay_and_interval_are_kept(ernie_server, client):
    ernie_server.reply(events=["a", "b", "c"], delay=0.2, interval=0.1)
    start, times = time.monotonic(), []
    with client.stream("POST", CHAT, json=body()) as response:
        for part in response.iter_raw():
            times.append((part, time.monotonic() - start))  # noqa: PERF401  # as they come
    assert [part for part, _ in times] == [b"data: a\n\n", b"data: b\n\n", b"data: c\n\n"]
    assert [at >= 0.2 + 0.1 * index for index, (_, at) in enumerate(times)] == [True] * 3


def test_a_server_can_delay_every_response():
    with ErnieServer(delay=0.5) as server, httpx.Client(base_url=server.base_url) as client:
        start = time.monotonic()
        assert client.post(CHAT, json=body()).status_code == 401
        assert time.monotonic() - start >= 0.5


def test_a_chunk_has_the_size_that_was_scripted_whatever_the_events(ernie_server):
    ernie_server.reply(events=["a" * 20, "b" * 20], chunk_size=7)
    with connect(ernie_server) as sock:
        sock.sendall(raw_request(ernie_server, header="connection: close\r\n"))
        _, _, chunks = read_to_end(sock).partition(b"\r\n\r\n")
    assert chunks.split(b"\r\n")[0:-3:2] == [b"7"] * 8  # of 2 * (6 + 20 + 2) bytes


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("stream", [False, True])
def test_a_connection_can_be_dropped_before_the_head(ernie_server, client, stream, reset):
    ernie_server.reply("x", fault=Fault("drop", reset=reset))
    with pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
        ask(client, stream=stream)
    assert ernie_server.last_request.complete is False
    assert ernie_server.totals.answers == 0


@pytest.mark.parametrize("fault", [Fault(events=2), Fault(bytes=100), Fault(bytes=0)])
def test_a_stream_can_be_cut(ernie_server, client, fault):
    ernie_server.reply("one two three four", fault=fault)
    parts = []
    with client.stream("POST", CHAT, json=body(stream=True)) as response:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete chunked read"):
            parts.extend(response.iter_raw())
        assert response.status_code == 200
    got = b"".join(parts)
    assert got.count(b"\n\n") == fault.events if fault.events else len(got) == fault.bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", [Fault("stall"), Fault("stall", events=1), Fault("stall", bytes=5)]
)
def test_response_can_stall(ernie_server, client, fault):
    ernie_server.reply("x", fault=fault)
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=body(stream=True), timeout=httpx.Timeout(30, read=1))
    assert ernie_server.last_request.complete is False


def test_a_json_body_can_be_cut_or_have_a_wrong_length(ernie_server, client):
    ernie_server.reply("one two three four", fault=Fault(bytes=10))
    with pytest.raises(httpx.RemoteProtocolError, match="10 bytes"):
        ask(client)
    ernie_server.reply(body=b"12345", headers={"content-length": "9", "connection": "close"})
    with pytest.raises(httpx.RemoteProtocolError, match="5 bytes, expected 9"):
        ask(client)


@pytest.mark.parametrize("reset", [False, True])
def test_idle_connections_can_be_closed_under_the_client(ernie_server, client, reset):
    ask(client)
    assert ernie_server.connections == 1
    ernie_server.close_connections(reset=reset)
    assert ernie_server.connections == 0
    ernie_server.reply("x", headers={"connection": "close"})
    ask(client)
    ask(client)
    assert ernie_server.connections_total == 3


def test_lone_surrogates_do_no_harm(ernie_server, client):
    raw = json.dumps(body("Hi")).replace("Hi", "\\ud83d Hi").encode()
    assert "? Hi" in client.post(CHAT, content=raw).json()["choices"][0]["message"]["content"]
