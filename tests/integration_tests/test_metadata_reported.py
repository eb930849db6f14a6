"""What a call reports beside its text: ids, headers, the price, and what tracers read."""

import pickle

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph

from langchain_aimlernie import SpendTracker, errors
from tests.support.modes import MODES, ask

LITELLM = {
    "x-litellm-call-id": "call-7",
    "x-litellm-response-cost": "0.00025",
    "x-aimlapi-usd-spent": None,
    "x-aimlapi-credits-used": None,
}
"""Headers as a LiteLLM proxy sends them."""


class Ended(BaseCallbackHandler):
    """Keeps what a tracer sees of the end of each call."""

    def __init__(self):
        self.results = []
        self.errors = []

    def on_llm_end(self, response, **_):
        self.results.append(response)

    def on_llm_error(self, error, *, response=None, **_):
        self.errors.append(response)


# Ids


@pytest.mark.parametrize("streaming", [None, True])
async def test_each_chunk_of_a_stream_has_one_id(model, streaming):
    llm = model(streaming=streaming)
    chunks = [chunk async for chunk in llm.astream("hi")]
    assert len({chunk.id for chunk in chunks}) == 1
    assert len([c for c in chunks if "id" in c.response_metadata]) == 1
    assert llm.invoke("hi").id.startswith("lc_run-")


def test_the_id_of_what_a_broken_stream_gave_is_left_to_core(model, ernie_server):
    ernie_server.reply(events=[{"id": "x", "choices": [{"delta": {"content": "a"}}]}])
    with pytest.raises(errors.StreamInterruptedError) as caught:
        list(model().stream("hi"))
    assert caught.value.partial.id is None
    assert caught.value.partial.response_metadata["id"] == "x"


def repeat_ids(server, times):
    """Answer as many self-hosted servers do, or one that was started again: with the same id."""
    for number in range(times):
        choice = {"message": {"content": f"answer {number}"}, "finish_reason": "stop"}
        server.reply(body={"id": "chatcmpl-0", "choices": [{"index": 0, **choice}]})


@pytest.mark.parametrize("streaming", [None, True])
def test_a_graph_keeps_every_answer_of_a_server_that_repeats_its_ids(
    model, ernie_server, streaming
):
    llm = model(streaming=streaming)
    graph = StateGraph(MessagesState)
    graph.add_node("model", lambda state: {"messages": [llm.invoke(state["messages"])]})
    graph.add_edge(START, "model")
    app = graph.compile(checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}}
    repeat_ids(ernie_server, 2)
    told = []
    for question in ("one", "two"):
        messages = {"messages": [HumanMessage(question)]}
        stream = app.stream(messages, thread, stream_mode="messages")
        told.append("".join(message.text for message, _ in stream))
    history = [message.text for message in app.get_state(thread).values["messages"]]
    assert history == ["one", "answer 0", "two", "answer 1"]
    assert told == ["answer 0", "answer 1"]


# Headers


@pytest.mark.parametrize("way", ["set", "bound", "per call"])
async def test_all_headers_are_reported_when_asked_for(model, ernie_server, mode, way):
    ernie_server.reply("Hello", headers={"X-Served-By": "a", "Set-Cookie": "session=1; Secure"})
    wanted = {"include_response_headers": True}
    llm = model(**wanted) if way == "set" else model()
    llm = llm.bind(**wanted) if way == "bound" else llm
    message = await ask(llm, "hi", mode, **(wanted if way == "per call" else {}))
    headers = message.response_metadata["headers"]
    assert headers["x-served-by"] == "a"
    assert headers["content-type"].partition(";")[0] in ("application/json", "text/event-stream")
    assert headers["set-cookie"] == "***"
    assert headers["x-inference-id"] == message.response_metadata["inference_id"]
    assert "include_response_headers" not in ernie_server.last_request.body
    assert ernie_server.last_request.violations == []


async def test_headers_are_not_reported_unless_asked_for(model, mode):
    llm = model()
    assert "headers" not in (await ask(llm, "hi", mode)).response_metadata
    llm = model(include_response_headers=True)
    message = await ask(llm, "hi", mode, include_response_headers=False)
    assert "headers" not in message.response_metadata


async def test_secrets_in_headers_are_redacted(model, ernie_server, mode):
    secrets = {"X-Tenant": "tenant-secret-1"}
    echo = {
        "x-echo": f"Bearer {ernie_server.api_key}, tenant-secret-1",
        "authorization": "Basic abc",
        "x-session-token": "abc",
        "x-ratelimit-remaining-tokens": "5",
        "www-authenticate": 'Bearer realm="x"',
    }
    ernie_server.reply("Hello", headers=echo)
    llm = model(include_response_headers=True, default_headers=secrets)
    headers = (await ask(llm, "hi", mode)).response_metadata["headers"]
    shown = {name: headers[name] for name in echo}
    assert shown == {
        "x-echo": "Bearer ***, ***",
        "authorization": "***",
        "x-session-token": "***",
        "x-ratelimit-remaining-tokens": "5",
        "www-authenticate": 'Bearer realm="x"',
    }


FAILURES = {
    "a status": {"status": 503, "body": {"message": "down", "statusCode": 503}},
    "an error in a 200": {"body": {"error": {"message": "down", "code": 503}}},
    "no JSON": {"body": b"hello?"},
    "JSON that is no answer": {"body": {"hello": 1}},
    "a page": {"body": b"<html></html>", "headers": {"content-type": "text/html"}},
    "a redirect": {"status": 307, "body": b"", "headers": {"location": "https://x.example/"}},
    "a stream without an end": {"events": [{"choices": [{"delta": {"content": "a"}}]}]},
    "an event that is no JSON": {"events": ["hello?"]},
    "an error event": {"events": [b"event: error\ndata: down\n\n"]},
}


@pytest.mark.parametrize(
    ("failure", "mode"),
    [
        (failure, mode)
        for failure, reply in FAILURES.items()
        for mode in (MODES[2:] if "events" in reply else MODES)
    ],
)
async def test_an_error_has_all_headers_of_its_response(model, ernie_server, failure, mode):
    reply = FAILURES[failure]
    more = {"x-served-by": "a", "x-echo": ernie_server.api_key, "set-cookie": "session=1"}
    headers = {
        **more,
        "x-litellm-call-id": "call-7",
        "x-request-id": None,
        **reply.get("headers", {}),
    }
    ernie_server.reply(**{**reply, "headers": headers})
    ended = Ended()
    with pytest.raises(errors.AimlErnieError) as caught:
        await ask(model(max_retries=0), "hi", mode, config={"callbacks": [ended]})
    error = pickle.loads(pickle.dumps(caught.value))
    response = error.response
    assert response.status_code == reply.get("status", 200)
    found = {name: response.headers[name] for name in more}
    assert found == {"x-served-by": "a", "x-echo": "***", "set-cookie": "***"}
    assert (error.inference_id, error.request_id) == (response.headers["x-inference-id"], "call-7")
    traced = [g.message.response_metadata for g in ended.errors[0].generations[-1]]
    assert traced[0]["headers"] == response.headers


async def test_rate_limits_are_reported_whatever_comes_before_their_names(
    model, ernie_server, mode
):
    """Azure's and OpenAI's behind LiteLLM, ModelScope's, Anthropic's, and the ones of the RFC."""
    limits = {
        "x-ratelimit-remaining-tokens": "5",
        "llm_provider-x-ratelimit-remaining-requests": "6",
        "modelscope-ratelimit-model-requests-remaining": "7",
        "anthropic-ratelimit-tokens-remaining": "8",
        "ratelimit-reset": "9",
    }
    ernie_server.reply("Hello", headers=limits)
    assert (await ask(model(), "hi", mode)).response_metadata["rate_limits"] == limits


# Gateways


@pytest.mark.parametrize("name", ["request-id", "X-Oneapi-Request-Id", "X-Bce-Request-Id"])
async def test_the_id_of_a_request_is_read_from_the_header_of_each_gateway(
    model, ernie_server, mode, name
):
    headers = {"x-request-id": None, name: "req-7"}
    ernie_server.reply("Hello", headers=headers)
    assert (await ask(model(), "hi", mode)).response_metadata["request_id"] == "req-7"
    ernie_server.fail(500, headers=headers, body={"error": "it died"})
    with pytest.raises(errors.InternalServerError) as caught:
        await ask(model(max_retries=0), "hi", mode)
    assert caught.value.request_id == "req-7"


async def test_a_litellm_proxy_s_call_id_is_the_request_id(model, ernie_server, mode):
    llm = model()
    ernie_server.reply("Hello", headers={**LITELLM, "x-request-id": None})
    assert (await ask(llm, "hi", mode)).response_metadata["request_id"] == "call-7"
    ernie_server.reply("Hello", headers={**LITELLM, "x-request-id": "better"})
    assert (await ask(llm, "hi", mode)).response_metadata["request_id"] == "better"
    ernie_server.reply("Hello", headers={"x-request-id": None})
    assert "request_id" not in (await ask(llm, "hi", mode)).response_metadata


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
@pytest.mark.parametrize(
    "price",
    [
        (None, {}, 0.00025),
        ({"usage": {}}, {}, 0.00025),
        ({"usage": {"usd_spent": 0.5}}, {}, 0.5),
        (None, {"x-aimlapi-usd-spent": "0.25"}, 0.25),
        (None, {"x-litellm-response-cost": "0.0"}, 0),
        (None, {"x-litellm-response-cost": "None"}, None),
    ],
)
async def test_a_litellm_proxy_s_price_counts_where_there_is_none_better(
    model, ernie_server, mode, price
):
    meta, headers, usd = price
    ernie_server.reply("Hello", meta=meta, headers={**LITELLM, **headers})
    with SpendTracker(unpriced="ignore") as spend:
        message = await ask(model(), "hi", mode)
    assert message.response_metadata.get("usd_spent") == usd
    assert float(spend.usd) == (usd or 0)
    assert spend.total.unpriced == (usd is None)


@pytest.mark.parametrize(
    "cost",
    [
        {"cost": 0.125},
        {"cost": {"request_cost": 0.1, "total_cost": 0.125}},
        {"estimated_cost": 0.125},
        {"cost_usd_total": 0.125, "cost_usd_input": 0.1},
        {
            "cost": 0.025,
            "is_byok": True,
            "cost_details": {"upstream_inference_cost": 0.1},
        },
        {
            "cost": 0.125,
            "is_byok": False,
            "cost_details": {"upstream_inference_cost": 0.1},
        },
        {"cost": 0.125, "is_byok": True, "cost_details": {"upstream_inference_cost": None}},
    ],
    ids=[
        *("OpenRouter", "Perplexity", "DeepInfra", "LLM Gateway"),
        *("OpenRouter, own key", "OpenRouter, its key", "OpenRouter, own key without its price"),
    ],
)
async def test_a_price_in_usage_counts_in_streams_too(model, ernie_server, mode, cost):
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, **cost}
    headers = {**LITELLM, "x-litellm-response-cost": None}
    ernie_server.reply("Hello", meta=None, usage=usage, headers=headers)
    with SpendTracker() as spend:
        message = await ask(model(), "hi", mode)
    assert message.response_metadata["usd_spent"] == 0.125
    assert float(spend.usd) == 0.125


# llm_output


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_llm_output_has_what_tracers_read(model, ernie_server, mode):
    names = ("model_name", "id", "system_fingerprint", "model_provider")
    for reply, more in (({}, ("token_usage",)), ({"usage": None}, ())):
        ernie_server.reply("Hello", **reply)
        ended = Ended()
        message = await ask(model(), "hi", mode, config={"callbacks": [ended]})
        metadata = message.response_metadata
        assert ended.results[0].llm_output == {name: metadata[name] for name in (*names, *more)}
        assert ("token_usage" in metadata) is bool(more)


@pytest.mark.parametrize("options", [{}, {"model": "baidu/ernie-4.5-0.3b"}])
async def test_llm_output_of_several_prompts_is_their_sum(model, options):
    llm, streaming = model(), model(streaming=True)
    name = options.get("model", llm.model)
    assert llm.generate([]).generations == []
    questions = [[HumanMessage("hi")], [HumanMessage("ho ho ho")]]
    for result in (llm.generate(questions, **options), await llm.agenerate(questions, **options)):
        messages = [generations[0].message for generations in result.generations]
        first = messages[0].response_metadata
        assert result.llm_output == {
            "token_usage": result.llm_output["token_usage"],
            "model_name": name,
            "id": first["id"],
            "system_fingerprint": "local-ErnieServer",
            "model_provider": "aimlernie",
        }
        usages = [message.response_metadata["token_usage"] for message in messages]
        summed = result.llm_output["token_usage"]
        for kind in ("prompt_tokens", "total_tokens"):
            assert summed[kind] == sum(usage[kind] for usage in usages)
        assert usages[0]["prompt_tokens"] != usages[1]["prompt_tokens"]
        assert summed["prompt_tokens_details"]["cached_tokens"] == 0
    for result in (
        streaming.generate(questions, **options),
        await streaming.agenerate(questions[:1], **options),
    ):
        assert result.llm_output["model_name"] == name
    with pytest.raises(errors.BadRequestError):
        await llm.agenerate([*questions, []])
