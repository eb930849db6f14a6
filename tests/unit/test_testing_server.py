"""The local server over real sockets: what it answers, and how it behaves as a server."""

import asyncio
import gc
import json
import socket
import subprocess
import sys
import threading
import time
import warnings
from decimal import Decimal

import httpx
import pytest

from langchain_aimlernie.testing import ErnieServer

TEXT = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
FIVE = "baidu/ernie-5.0"
SIGNATURE = "[local ErnieServer, not ERNIE]"
CHAT = "/chat/completions"
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {
            "type": "object",
            "properties": {"location": {"type": "string"}},
            "required": ["location"],
        },
    },
}


@pytest.fixture
def client(ernie_server):
    headers = {"authorization": f"Bearer {ernie_server.api_key}"}
    with httpx.Client(base_url=ernie_server.base_url, headers=headers, trust_env=False) as client:
        yield client


def body(text="Hello", model=TEXT, **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def events(response):
    lines = [line.removeprefix("data: ") for line in response.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def deltas(response):
    return [choice["delta"] for event in events(response) for choice in event["choices"]]


def test_a_json_answer_has_the_documented_shape(client):
    response = client.post(CHAT, json=body("Hi"))
    answer = response.json()
    assert response.headers["content-type"].startswith("application/json")
    assert answer["object"] == "chat.completion"
    assert answer["model"] == TEXT
    assert answer["system_fingerprint"] == "local-ErnieServer"
    assert answer["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": f"{SIGNATURE} Hello! You said: Hi",
                "refusal": None,
                "annotations": None,
                "audio": None,
                "tool_calls": None,
            },
            "finish_reason": "stop",
            "logprobs": None,
        }
    ]
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0


def test_the_price_is_in_meta_and_in_headers_of_json_alone(client):
    answer = client.post(CHAT, json=body())
    price = answer.json()["meta"]["usage"]
    assert answer.headers["x-aimlapi-credits-used"] == str(price["credits_used"])
    assert Decimal(answer.headers["x-aimlapi-usd-spent"]) == Decimal(str(price["usd_spent"]))
    streamed = client.post(CHAT, json=body(stream=True))
    assert "x-aimlapi-credits-used" not in streamed.headers
    assert events(streamed)[-1]["meta"]["usage"] == price


def test_every_delta_has_role_and_content_and_the_text_is_that_of_json(client):
    whole = client.post(CHAT, json=body()).json()["choices"][0]["message"]["content"]
    response = client.post(CHAT, json=body(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    pieces = deltas(response)
    assert all(delta["role"] == "assistant" for delta in pieces)
    assert "".join(delta["content"] for delta in pieces) == whole
    assert len(pieces) > 8


def test_usage_comes_last_in_a_stream_and_only_if_asked_for(client):
    assert all("usage" not in event for event in events(client.post(CHAT, json=body(stream=True))))
    asked = body(stream=True, stream_options={"include_usage": True})
    *others, last = events(client.post(CHAT, json=asked))
    assert all(event["usage"] is None and event["choices"] for event in others)
    assert last["choices"] == []
    assert last["usage"] == client.post(CHAT, json=body()).json()["usage"]
    assert last["meta"]["usage"]["credits_used"] > 0
    assert others[-1]["choices"][0]["finish_reason"] == "stop"


def test_every_fragment_of_a_call_names_it_again(client):
    response = client.post(
        CHAT, json=body("The weather in Paris and in London?", stream=True, tools=[WEATHER])
    )
    fragments = [call for delta in deltas(response) for call in delta.get("tool_calls", ())]
    arguments = {}
    for each in fragments:
        assert each["type"] == "function"
        assert each["function"]["name"] == "get_weather"
        arguments.setdefault((each["index"], each["id"]), []).append(each["function"]["arguments"])
    assert [json.loads("".join(each)) for each in arguments.values()] == [
        {"location": "Paris"},
        {"location": "London"},
    ]
    assert len(fragments) > len(arguments)


@pytest.mark.parametrize("model", [THINKING, FIVE])
def test_thinking_models_reason_before_they_answer(client, model):
    message = client.post(CHAT, json=body(model=model)).json()["choices"][0]["message"]
    assert message["reasoning_content"].startswith(SIGNATURE)
    pieces = deltas(client.post(CHAT, json=body(model=model, stream=True)))
    thoughts = [delta.get("reasoning_content", "") for delta in pieces]
    assert "".join(thoughts) == message["reasoning_content"]
    first_text = next(index for index, delta in enumerate(pieces) if delta["content"])
    assert not any(thoughts[first_text:])


def test_every_answer_says_that_it_is_local_and_which_it_is(client):
    paths = [
        client.post(CHAT, json=body()),
        client.post(CHAT, json=body(stream=True)),
        client.post(CHAT, json={}),
        client.get("/models"),
        client.get("/nowhere"),
    ]
    assert all("not the AI/ML API" in each.headers["x-aimlernie-local"] for each in paths)
    assert len({each.headers["x-inference-id"] for each in paths}) == len(paths)


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("a.B_9:-", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)],
)
def test_a_client_request_id_comes_back_if_it_is_one(client, sent, echoed):
    response = client.post(CHAT, json=body(), headers={"x-client-request-id": sent})
    assert response.headers.get("x-client-request-id") == (sent if echoed else None)


@pytest.mark.parametrize(
    ("sent", "status"),
    [({}, 200), ({"authorization": "Bearer wrong"}, 401), ({"authorization": ""}, 401)],
)
def test_a_key_is_needed_to_chat(client, sent, status):
    assert client.post(CHAT, json=body(), headers=sent).status_code == status


def test_a_server_without_a_key_takes_everyone():
    with ErnieServer(api_key=None) as server:
        assert httpx.post(server.base_url + CHAT, json=body()).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", CHAT, 404), ("POST", "/models", 404), ("GET", "/x", 404), ("HEAD", "/models", 404)],
)
def test_other_paths_are_not_found(client, ernie_server, method, path, status):
    response = client.request(method, path)
    assert response.status_code == status
    assert client.post(CHAT, json=body()).status_code == 200
    assert ernie_server.connections_total == 1


def test_a_refusal_has_the_shape_of_the_api(client):
    response = client.post(CHAT, json=body(top_p=7, stop=list("abcde")))
    assert response.status_code == 400
    assert response.json() == {
        "message": "Body validation error! top_p: 7 is not between 0.01 and 1; "
        "stop: 5 items, at most 4 are taken",
        "path": "/v1/chat/completions",
        "requestId": response.headers["x-inference-id"],
        "statusCode": 400,
        "timestamp": "2025-12-01T00:00:00.000Z",
    }


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b'"x"',
        b"\xff",
        b"\xef\xbb\xbf{}",
        b'{"model": NaN}',
        b"[" * 100_000,
        b'{"model": 7}',
        b'{"seed": ' + b"9" * 5_000 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(client, raw):
    response = client.post(CHAT, content=raw)
    assert response.status_code == 400
    assert response.json()["message"].startswith("Body validation error!")


def test_a_model_that_is_not_served_is_not_found(client):
    response = client.post(CHAT, json=body(model="gpt-4o"))
    assert (response.status_code, response.json()["statusCode"]) == (404, 404)


def test_more_models_are_served_like_the_one_they_name():
    with ErnieServer(api_key=None, models={"my/ernie": FIVE}) as server:
        answer = httpx.post(server.base_url + CHAT, json=body(model="my/ernie")).json()
        listed = httpx.get(server.base_url + "/models", params={"id": "my/ernie"}).json()["data"]
    assert answer["model"] == "my/ernie"
    assert answer["choices"][0]["message"]["reasoning_content"]
    assert [each["id"] for each in listed] == ["my/ernie"]


def test_the_path_without_v1_is_served_too(client, ernie_server):
    url = ernie_server.base_url.removesuffix("/v1") + CHAT
    assert client.post(url, json=body()).status_code == 200


@pytest.mark.parametrize("asked", [TEXT, TEXT.removeprefix("baidu/")])
def test_models_are_found_by_id_and_alias_without_a_key(ernie_server, asked):
    response = httpx.get(ernie_server.base_url + "/models", params={"id": asked})
    (model,) = response.json()["data"]
    assert model["id"] == TEXT
    assert model["info"]["contextLength"] == 120_000
    assert "made up" in model["info"]["description"]
    assert not {"pricing", "modalities", "capabilities"} & set(model)


@pytest.mark.parametrize(
    ("query", "keys"),
    [
        ("include=pricing,capabilities", {"pricing", "capabilities"}),
        ("include=pricing&include=modalities", {"pricing", "modalities"}),
        ("include=all", {"pricing", "capabilities", "modalities"}),
        ("details=1", {"pricing", "capabilities", "modalities"}),
        ("include=nonsense&foo=bar", set()),
    ],
)
def test_sections_of_models_are_given_as_asked(client, query, keys):
    data = client.get(f"/models?{query}").json()["data"]
    assert len(data) == 15
    shown = {"pricing", "capabilities", "modalities"}
    assert all(shown & set(model) == keys for model in data)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("input_modalities=image", 4),
        ("output_modalities=image", 0),
        ("modalities=file", 4),
        ("capabilities=reasoning,tools", 10),
        ("capabilities=tools&input_modalities=image", 2),
        ("type=openai/chat-completions", 15),
        ("tags=playground:video", 0),
        ("id=ernie-5.0,baidu/ernie-4.5-0.3b", 2),
    ],
)
def test_models_are_filtered_as_documented(client, query, count):
    assert len(client.get(f"/models?{query}").json()["data"]) == count


def test_an_unchanged_catalogue_is_not_sent_again(client):
    etag = client.get("/models").headers["etag"]
    again = client.get("/models", headers={"if-none-match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = client.get("/models?include=all", headers={"if-none-match": etag})
    assert other.status_code == 200


def test_one_connection_carries_many_requests(client, ernie_server):
    for _ in range(5):
        client.post(CHAT, json=body())
        client.post(CHAT, json=body(stream=True))
    assert (ernie_server.connections, ernie_server.connections_total) == (1, 1)
    assert {request.connection for request in ernie_server.requests} == {1}


def test_a_chunked_request_of_tens_of_megabytes_works(client, ernie_server):
    text = "大" * 8_000_000
    raw = json.dumps(body(text), ensure_ascii=False).encode()
    parts = (raw[start : start + 1_000_003] for start in range(0, len(raw), 1_000_003))
    response = client.post(CHAT, content=parts)
    assert response.json()["usage"]["prompt_tokens"] > 5_000_000
    assert ernie_server.last_request.body["messages"][0]["content"] == text


def test_the_totals_are_the_sums_of_what_was_given_out(client, ernie_server):
    usages = [client.post(CHAT, json=body("Hi " * count)).json() for count in range(1, 4)]
    asked = body(stream=True, stream_options={"include_usage": True})
    usages.append(events(client.post(CHAT, json=asked))[-1])
    totals = ernie_server.totals
    assert totals.answers == 4
    assert totals.prompt_tokens == sum(each["usage"]["prompt_tokens"] for each in usages)
    assert totals.completion_tokens == sum(each["usage"]["completion_tokens"] for each in usages)
    assert totals.credits_used == sum(each["meta"]["usage"]["credits_used"] for each in usages)
    spent = [Decimal(str(each["meta"]["usage"]["usd_spent"])) for each in usages]
    assert totals.usd_spent == sum(spent)


def test_requests_can_be_read_back(client, ernie_server):
    client.post(CHAT, json=body(n=1), headers={"X-Client-Request-Id": "abc"})
    client.get("/models?id=a&id=b")
    first, last = ernie_server.requests
    assert (first.method, first.path) == ("POST", "/v1/chat/completions")
    assert first.headers["X-CLIENT-REQUEST-ID"] == "abc"
    assert first.body == json.loads(first.raw) == body(n=1)
    assert (first.status, first.complete, first.ignored) == (200, True, ["n"])
    assert last is ernie_server.last_request
    assert last.query == {"id": ["a", "b"]}
    client.post(CHAT, json=body(seed=0))
    assert ernie_server.violations == ["seed: 0 is not between 1 and inf"]


def test_reset_forgets_what_was_asked_and_scripted(client, ernie_server):
    ernie_server.reply("x")
    ernie_server.on_request = lambda _: None
    client.post(CHAT, json=body(seed=0))
    ernie_server.reset()
    assert (ernie_server.requests, ernie_server.pending) == ([], 0)
    assert ernie_server.on_request is None
    assert ernie_server.totals.answers == 0
    with pytest.raises(LookupError, match="no request"):
        _ = ernie_server.last_request


def test_the_same_request_gets_the_same_answer(client):
    answers = [client.post(CHAT, json=body("Tell me a story")).json() for _ in range(2)]
    assert answers[0].pop("id") != answers[1].pop("id")
    assert answers[0] == answers[1]


async def test_a_thousand_connections_are_answered_at_once():
    with ErnieServer(delay=0.2) as server:
        raw = json.dumps(body()).encode()
        head = f"POST /v1{CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {server.api_key}\r\n"
        request = f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw

        async def ask():
            reader, writer = await asyncio.open_connection(server.host, server.port)
            writer.write(request)
            status = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return status

        assert set(await asyncio.gather(*(ask() for _ in range(1000)))) == {b"HTTP/1.1 200 OK\r\n"}
        assert server.connections_total == 1000
        assert server.totals.answers == 1000


def test_requests_sent_ahead_are_answered_in_order(ernie_server):
    ernie_server.reply("first", delay=0.05)
    ernie_server.reply("second")
    raw = json.dumps(body()).encode()
    head = f"POST /v1{CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {ernie_server.api_key}\r\n"
    request = f"{head}content-length: {len(raw)}\r\n\r\n".encode() + raw
    with socket.create_connection((ernie_server.host, ernie_server.port)) as sock:
        sock.sendall(
            request + request.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\r\nconnection: close\r\n")
        )
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.index(b"first") < answer.index(b"second")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nno header\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000, b"431"),
        (b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\ncontent-length: 999999999999\r\n\r\n", b"413"),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n", b"400"),
        (b"GET / HTTP/1.0\r\n\r\n", b"404"),
    ],
)
def test_bytes_that_are_no_request_end_the_connection(ernie_server, request_bytes, status):
    with socket.create_connection((ernie_server.host, ernie_server.port)) as sock:
        sock.sendall(request_bytes)
        answer = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 " + status)


def test_a_client_that_waits_for_the_go_ahead_gets_it(ernie_server):
    with socket.create_connection((ernie_server.host, ernie_server.port)) as sock:
        sock.sendall(b"POST /x HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"x")
        assert sock.recv(100).startswith(b"HTTP/1.1 404 ")


def test_a_server_can_be_stopped_and_started_again():
    server = ErnieServer(api_key=None)
    for _ in range(2):
        with server:
            assert httpx.post(server.base_url + CHAT, json=body()).status_code == 200
            with pytest.raises(RuntimeError, match="runs already"):
                server.start()
        server.stop()
        assert "stopped" in repr(server)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection((server.host, server.port))


def test_a_taken_port_is_an_error(ernie_server):
    with pytest.raises(OSError, match="in use"):
        ErnieServer(ernie_server.port).start()


def test_stopping_in_the_middle_of_answers_leaves_nothing_behind():
    threads = threading.active_count()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with ErnieServer(api_key=None, interval=60) as server, httpx.Client() as client:
            url = server.base_url + CHAT
            with client.stream("POST", url, json=body(stream=True)) as response:
                pieces = response.iter_bytes()
                next(pieces)
                server.stop()
                with pytest.raises(httpx.HTTPError):
                    next(pieces)
        del server, client, response, pieces
        gc.collect()
    assert threading.active_count() == threads


async def test_it_can_be_used_inside_a_running_event_loop():
    with ErnieServer(api_key=None) as server:
        async with httpx.AsyncClient() as client:
            response = await client.post(server.base_url + CHAT, json=body())
    assert response.status_code == 200


def test_it_listens_on_ipv6_too():
    try:
        server = ErnieServer(host="::1", api_key=None).start()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with httpx.Client() as client:
        assert client.get(server.base_url + "/models").status_code == 200
    server.stop()


def test_it_starts_and_stops_in_milliseconds():
    start = time.monotonic()
    for _ in range(20):
        ErnieServer().start().stop()
    assert time.monotonic() - start < 5


def test_the_plugin_costs_next_to_nothing_to_import():
    code = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import langchain_aimlernie.testing.fixtures\n"
        "new = set(sys.modules) - before\n"
        "print(sorted(name for name in new if not name.startswith('langchain_aimlernie')))\n"
        "print(sorted(name for name in new if name.startswith('langchain_aimlernie')))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    others, own = run.stdout.splitlines()
    assert others == "[]"
    assert "testing.server" not in own


def test_the_command_serves_until_it_is_told_to_end():
    command = [sys.executable, "-m", "langchain_aimlernie.testing", "--api-key", "k"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        settings = dict(line.strip().removeprefix("export ").split("=") for line in lines[1:])
        assert settings["AIMLAPI_API_KEY"] == "k"
        response = httpx.post(
            settings["AIMLAPI_API_BASE"] + CHAT,
            json=body(),
            headers={"authorization": "Bearer k"},
        )
        assert response.status_code == 200
        process.terminate()
        assert process.wait(10) == 0


def test_the_command_says_when_it_cannot_listen(ernie_server):
    command = [
        sys.executable,
        "-m",
        "langchain_aimlernie.testing",
        "--port",
        str(ernie_server.port),
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "Cannot listen" in run.stderr


def test_there_is_no_other_name():
    from langchain_aimlernie import testing

    assert dir(testing) == testing.__all__
    assert all(getattr(testing, name) for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = testing.Nothing
