"""What the local server sends over real sockets, and what it keeps of it."""

import json
from decimal import Decimal

import httpx
import pytest

from langchain_aimlernie.testing import ErnieServer
from langchain_aimlernie.testing.models import MODELS
from tests.support.local_server import CHAT, TEXT, body, deltas, events

PREFIX = "[local ErnieServer, not ERNIE]"
LOCATION = {"type": "object", "properties": {"location": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "get_weather", "parameters": LOCATION}}


def test_json_response_has_the_documented_format_and_price(client):
    response = client.post(CHAT, json=body("Hi"))
    completion = response.json()
    assert response.headers["content-type"].startswith("application/json")
    assert (completion["object"], completion["model"]) == ("chat.completion", TEXT)
    assert completion["system_fingerprint"] == "local-ErnieServer"
    unset = dict.fromkeys(("refusal", "annotations", "audio", "tool_calls"))
    message = {"role": "assistant", "content": f"{PREFIX} You said: Hi", **unset}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    assert completion["choices"] == [choice]
    usage, price = completion["usage"], completion["meta"]["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert usage["prompt_tokens_details"]["cached_tokens"] == 0
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 0
    assert response.headers["x-aimlapi-credits-used"] == str(price["credits_used"])
    assert Decimal(response.headers["x-aimlapi-usd-spent"]) == Decimal(str(price["usd_spent"]))
    again = client.post(CHAT, json=body("Hi")).json()
    assert again.pop("id") != completion.pop("id")
    assert again == completion


def test_a_stream_has_the_text_and_price_of_json_and_usage_only_if_requested(client, ernie_server):
    whole = client.post(CHAT, json=body()).json()
    response = client.post(CHAT, json=body(stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert "x-aimlapi-credits-used" not in response.headers
    assert response.text.endswith("data: [DONE]\n\n")
    parts = deltas(response)
    assert all(delta["role"] == "assistant" for delta in parts)
    assert len(parts) > 8
    text = "".join(delta["content"] for delta in parts)
    assert text == whole["choices"][0]["message"]["content"]
    sent = events(response)
    assert sent[-1]["meta"] == whole["meta"]
    assert all("usage" not in event for event in sent)
    asked = body(stream=True, stream_options={"include_usage": True})
    *others, last = events(client.post(CHAT, json=asked))
    assert all(event["usage"] is None and event["choices"] for event in others)
    assert not any("meta" in event for event in others)
    assert others[-1]["choices"][0]["finish_reason"] == "stop"
    assert (last["choices"], last["usage"], last["meta"]) == ([], whole["usage"], whole["meta"])
    assert (ernie_server.connections, ernie_server.connections_total) == (1, 1)
    assert {request.connection for request in ernie_server.requests} == {1}


def test_every_fragment_of_a_call_repeats_its_name(client, ernie_server):
    calls = [{"name": "get_weather", "args": {"location": city}} for city in ("Paris", "London")]
    ernie_server.reply(tool_calls=calls)
    response = client.post(CHAT, json=body("The weather?", stream=True, tools=[WEATHER]))
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


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("a.B_9:-", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)],
)
def test_every_response_has_its_ids_and_says_that_it_is_local(client, sent, echoed):
    headers = {"x-client-request-id": sent}
    requests = [("POST", CHAT, each) for each in (body(), body(stream=True), {})]
    requests += [("GET", "/models", None), ("GET", "/nowhere", None)]
    responses = [
        client.request(method, path, json=given, headers=headers)
        for method, path, given in requests
    ]
    for response in responses:
        assert "not the AI/ML API" in response.headers["x-aimlernie-local"]
        assert response.headers.get("x-client-request-id") == (sent if echoed else None)
    assert len({each.headers["x-inference-id"] for each in responses}) == 5


@pytest.mark.slow
def test_a_key_is_needed_to_chat_unless_the_server_has_none(client):
    ids = set()
    for free_key in (None, ""):
        with ErnieServer(api_key=free_key) as server:
            for sent in ("Bearer wrong", ""):
                headers = {"authorization": sent}
                assert client.post(CHAT, json=body(), headers=headers).status_code == 401
                free = httpx.post(server.base_url + CHAT, json=body(), headers=headers)
                ids |= {free.json()["id"], free.headers["x-request-id"]}
    assert len(ids) == 8  # unique across servers


@pytest.mark.parametrize(
    ("method", "path"), [("GET", CHAT), ("POST", "/models"), ("GET", "/x"), ("HEAD", "/models")]
)
def test_other_paths_and_models_are_not_found(client, ernie_server, method, path):
    assert client.request(method, path).status_code == 404
    response = client.post(CHAT, json=body(model="gpt-4o"))
    assert (response.status_code, response.json()["status"]) == (404, 404)
    without_v1 = ernie_server.base_url.removesuffix("/v1") + CHAT
    assert client.post(without_v1, json=body()).status_code == 200
    assert ernie_server.connections_total == 1


def test_error_is_problem_json(client):
    response = client.post(CHAT, json=body(top_p=7, stop=list("abcde")))
    assert response.status_code == 400
    assert response.headers["content-type"] == "application/problem+json; charset=utf-8"
    error = response.json()
    message = error["message"]
    assert message.startswith("Body validation error! top_p: ")
    assert "stop: " in message
    assert error == {
        "title": "Bad Request",
        "status": 400,
        "message": message,
        "instance": "/v1/chat/completions",
        "requestId": response.headers["x-request-id"],
        "timestamp": "2025-12-01T00:00:00.000Z",
        "error": {"name": "BadRequestException", "message": message},
    }


def test_prompt_longer_than_the_context_is_rejected(client, ernie_server):
    ernie_server.reply("unused")
    response = client.post(CHAT, json=body("word " * 200_000))
    assert response.status_code == 400
    assert "maximum context length is 120000 tokens" in response.json()["message"]
    assert (ernie_server.pending, ernie_server.violations) == (1, [])


NAN = json.dumps(body(more=float("nan"))).encode()
NO_OBJECTS = [
    *(b"", b"{", b"[]", b'"x"', b"\xff", b"\xef\xbb\xbf{}", b"[" * 100_000, NAN),
    *(b'{"model": 7}', b'{"seed": ' + b"9" * 5_000 + b"}"),
]


@pytest.mark.parametrize("raw", NO_OBJECTS)
def test_body_that_is_not_a_json_object_is_rejected(client, raw):
    response = client.post(CHAT, content=raw)
    assert response.status_code == 400
    assert response.json()["message"].startswith("Body validation error!")


@pytest.mark.slow
def test_a_chunked_request_of_tens_of_megabytes_works(client, ernie_server):
    text = "大" * 8_000_000
    raw = json.dumps(body(text), ensure_ascii=False).encode()
    parts = (raw[start : start + 1_000_003] for start in range(0, len(raw), 1_000_003))
    response = client.post(CHAT, content=parts)
    assert response.status_code == 400  # longer than the context
    assert ernie_server.last_request.body["messages"][0]["content"] == text


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
    assert ernie_server.violations == [
        "n: not known here, and ignored",
        "seed: Input should be greater than or equal to 1; got 0",
    ]


def test_reset_clears_requests_and_replies(client, ernie_server):
    ernie_server.reply("x")
    ernie_server.on_request = lambda _: None
    client.post(CHAT, json=body(seed=0))
    ernie_server.reset()
    assert (ernie_server.requests, ernie_server.pending) == ([], 0)
    assert ernie_server.on_request is None
    assert ernie_server.totals.answers == 0
    with pytest.raises(LookupError, match="no request"):
        _ = ernie_server.last_request


# `GET /models`


@pytest.mark.parametrize("asked", [TEXT, TEXT.removeprefix("baidu/")])
def test_models_are_found_by_id_and_alias_without_a_key(ernie_server, asked):
    response = httpx.get(ernie_server.base_url + "/models", params={"id": asked})
    (model,) = response.json()["data"]
    assert model["id"] == TEXT
    assert model["info"]["contextLength"] == 120_000
    assert "made up" in model["info"]["description"]
    assert not {"pricing", "modalities", "capabilities"} & set(model)


PRICED, ABLE = {"pricing"}, {"capabilities"}
SECTIONS = {*PRICED, *ABLE, "modalities"}


@pytest.mark.parametrize(
    ("query", "count", "sections"),
    [
        ("include=pricing,capabilities", len(MODELS), PRICED | ABLE),
        ("include=pricing&include=modalities", len(MODELS), SECTIONS - ABLE),
        ("include=nonsense&foo=bar", len(MODELS), set()),
        ("type=openai/chat-completions", len(MODELS), set()),
        ("type=image", 0, set()),
        ("id=ernie-5.0,baidu/ernie-4.5-0.3b", 2, set()),
    ],
)
def test_models_are_filtered_and_described_as_documented(client, query, count, sections):
    data = client.get(f"/models?{query}").json()["data"]
    assert len(data) == count
    assert all(SECTIONS & set(model) == sections for model in data)
    units = [unit for model in data if "pricing" in model for unit in model["pricing"]["units"]]
    assert all(unit["price"] > 0 for unit in units)


def test_an_unchanged_catalogue_is_not_sent_again(client):
    etag = client.get("/models").headers["etag"]
    again = client.get("/models", headers={"if-none-match": f'"other", {etag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", etag)
    other = client.get("/models?include=pricing", headers={"if-none-match": etag})
    assert other.status_code == 200
