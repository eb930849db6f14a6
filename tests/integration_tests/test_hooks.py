"""The hooks of LangChain's chat models, against the local server."""

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    message_chunk_to_message,
    trim_messages,
)
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.tracers.run_collector import RunCollectorCallbackHandler

from langchain_aimlernie import ChatAimlErnie
from tests.support.agents import FIVE, PLAIN, THINKING, TWO_CITIES, weather
from tests.support.modes import MODES, ask


class Tokens(BaseCallbackHandler):
    def __init__(self):
        self.tokens, self.ends, self.retries = [], [], []

    def on_llm_new_token(self, token, **kwargs):
        self.tokens.append(kwargs["chunk"].text)

    def on_llm_end(self, response, **kwargs):
        self.ends.append(response)

    def on_retry(self, retry_state, **kwargs):
        self.retries.append((retry_state.attempt_number, retry_state.outcome.exception()))


@pytest.mark.parametrize("model_id", [PLAIN, THINKING, FIVE])
async def test_every_kind_of_call_returns_the_same_message(model, ernie_server, model_id, version):
    llm = model(model=model_id, output_version=version, client_request_id="same")
    llm = llm.bind_tools([weather])
    scripted = {"reasoning": "Let me think. ", "tool_calls": TWO_CITIES}
    ernie_server.reply("\nThe weather:", **scripted, times=6)
    results = [await ask(llm, "hi", mode) for mode in MODES]
    results += [llm.invoke("hi", stream=True), *llm.batch(["hi"])]

    def facts(message):
        if isinstance(message, AIMessageChunk):
            message = message_chunk_to_message(message)
        metadata = dict(message.response_metadata)
        for name in ("id", "inference_id", "request_id"):
            metadata.pop(name, None)
        kinds = [block["type"] for block in message.content_blocks]
        calls = [(call["name"], call["args"]) for call in message.tool_calls]
        usage = message.usage_metadata
        return (message.text, message.additional_kwargs, metadata, kinds, calls, usage)

    first, *others = map(facts, results)
    text, _, metadata, kinds, *_ = first
    assert (text, kinds) == ("\nThe weather:", ["reasoning", "text", "tool_call", "tool_call"])
    assert min(metadata["credits_used"], metadata["usd_spent"]) > 0
    assert others == [first] * 5
    assert len({message.id for message in results}) == len(results)


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_token_callbacks_fire_once_for_each_chunk(model, mode):
    for version in ("v0", "v1"):
        handler = Tokens()
        llm = model(streaming=True, output_version=version, callbacks=[handler])
        answer = await ask(llm, "hi", mode)
        assert "".join(handler.tokens) == answer.text
        assert len(handler.tokens) > 3
        assert len(handler.ends) == 1


def test_stream_streams_unless_that_is_disabled(model):
    for settings in ({"streaming": False}, {"disable_streaming": True}):
        assert len(list(model(**settings).stream("hi"))) == 1
    llm = model(disable_streaming="tool_calling")
    assert len(list(llm.bind_tools([weather]).stream("hi"))) == 1
    for streams in (llm, model(streaming=None)):
        assert len(list(streams.stream("hi"))) > 3


def test_the_same_call_is_answered_from_the_cache(model, ernie_server):
    llm = model(cache=InMemoryCache())
    first, second = llm.invoke("hi"), llm.invoke("hi")
    assert len(ernie_server.requests) == 1
    assert first.content == second.content
    assert second.usage_metadata["total_cost"] == 0
    llm.invoke("hi", temperature=1)
    model(cache=llm.cache, temperature=0.5).invoke("hi")
    assert len(ernie_server.requests) == 3
    set_llm_cache(InMemoryCache())  # the global one
    try:
        model().invoke("hi")
        model().invoke("hi")
    finally:
        set_llm_cache(None)
    assert len(ernie_server.requests) == 4


@pytest.mark.slow
def test_a_rate_limiter_is_acquired_for_calls_but_not_for_retries(model, ernie_server):
    acquired = []

    class Limiter(InMemoryRateLimiter):
        def acquire(self, *, blocking=True):
            acquired.append(blocking)
            return True

    llm = model(rate_limiter=Limiter())
    ernie_server.fail(503, headers={"retry-after-ms": "1"})
    llm.invoke("hi")
    list(llm.stream("hi"))
    assert len(acquired) == 2


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
async def test_retries_are_reported(model, ernie_server, mode):
    handler = Tokens()
    ernie_server.fail(503, headers={"retry-after-ms": "1"}, times=2)
    await ask(model(callbacks=[handler]), "hi", mode)
    assert [(n, error.status_code) for n, error in handler.retries] == [(1, 503), (2, 503)]


def test_traces_name_provider_model_and_settings(model):
    collector = RunCollectorCallbackHandler()
    llm = model(temperature=0.5, max_tokens=9, stop="x")
    llm.invoke("hi", config={"callbacks": [collector]}, model="baidu/ernie-4.5-0.3b")
    (run,) = collector.traced_runs
    assert run.serialized["id"][-1] == "ChatAimlErnie"
    expected = {
        "ls_provider": "aimlernie",
        "ls_model_name": "baidu/ernie-4.5-0.3b",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 9,
        "ls_stop": ["x"],
    }
    metadata = run.extra["metadata"]
    assert {name: metadata[name] for name in expected} == expected


def test_traces_show_a_used_model_as_it_was_changed(model):
    collector = RunCollectorCallbackHandler()
    used = model()
    used.invoke("hi", {"callbacks": [collector]})
    used.output_version = "v1"
    used.invoke("hi", {"callbacks": [collector]})
    used.temperature = 0.5
    used.invoke("hi", {"callbacks": [collector]})
    used.model_copy(update={"temperature": 1}).invoke("hi", {"callbacks": [collector]})
    shown = [run.serialized["kwargs"] for run in collector.traced_runs]
    assert [each.get("output_version") for each in shown] == [None, "v1", "v1", "v1"]
    assert [each.get("temperature") for each in shown] == [None, None, 0.5, 1]


def test_tools_and_schemas_keep_what_is_bound(model, ernie_server):
    seen = RunCollectorCallbackHandler()
    tagged = model().with_config(tags=["mine"], callbacks=[seen])
    bound = tagged.bind(temperature=1, stop=["x"], response_format={"type": "json_object"})
    schema = {"title": "Answer", "type": "object", "properties": {"a": {"type": "integer"}}}
    ernie_server.reply('{"a": 1}', times=2)
    tagged.with_structured_output(schema).invoke("hi")
    structured = bound.with_structured_output(schema, temperature=0.5)
    forced = bound.bind_tools([weather], tool_choice="weather")
    safe = model().with_fallbacks([model()]).bind(**bound.kwargs).with_config(bound.config)
    for llm, form in (
        (structured, "json_schema"),
        (safe.bind_tools([weather], temperature=0.5), "json_object"),
        (forced.bind_tools([schema], temperature=0.5), "json_object"),
    ):
        llm.invoke("hi")
        body = ernie_server.last_request.body
        assert (body["temperature"], body["stop"]) == (0.5, ["x"])
        assert body["response_format"]["type"] == form
        assert "tool_choice" not in body
    assert ["mine" in run.tags for run in seen.traced_runs] == [True] * 4


def test_tokens_are_counted_without_a_download(model):
    llm = model()
    assert llm.get_num_tokens("Hello world") in range(1, 6)
    assert llm.get_num_tokens("你好世界" * 100) > 150
    messages = [HumanMessage("hi"), AIMessage("there" * 50), HumanMessage("again")]
    plain = llm.get_num_tokens_from_messages(messages)
    assert llm.get_num_tokens_from_messages(messages, [weather]) > plain
    assert trim_messages(messages, token_counter=llm, max_tokens=plain - 1) != messages
    assert llm.get_num_tokens_from_messages(messages, allow_fetching_images=True) == plain
    with pytest.raises(NotImplementedError, match="custom_get_token_ids"):
        llm.get_token_ids("hi")
    llm = model(custom_get_token_ids=lambda text: [0] * 7)
    assert (llm.get_num_tokens("hi"), llm.get_token_ids("hi")) == (7, [0] * 7)
    longer = [HumanMessage("hi" * 100), *messages[1:]]
    assert llm.get_num_tokens_from_messages(longer) == llm.get_num_tokens_from_messages(messages)


def test_construction_opens_nothing(ernie_server):
    before = ernie_server.connections_total
    models = [ChatAimlErnie(base_url=ernie_server.base_url) for _ in range(50)]
    assert ernie_server.connections_total == before
    assert all(isinstance(llm, BaseChatModel) for llm in models)


def test_the_names_of_langchain_are_kept(model):
    llm = model()
    assert llm._llm_type == "aimlernie-chat"
    assert llm.get_lc_namespace() == ["langchain_aimlernie", "chat_models"]
    assert llm.lc_secrets == {"api_key": "AIMLAPI_API_KEY"}
    assert llm.metadata["lc_versions"]["langchain-aimlernie"]
