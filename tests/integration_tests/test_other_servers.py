"""ERNIE on servers of one's own: the same protocol, each in its own dialect, without a key.

The dialects are those of vLLM, FastDeploy and SGLang as their sources have them (2026): which keys
are `null` or missing, which beside the protocol come along, where usage and thoughts stand.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie, errors
from langchain_aimlernie.testing import ErnieServer, Reply

NAME = "ERNIE-4.5-21B-A3B-PT"
SEES = "ERNIE-4.5-VL-28B-A3B-PT"
THINKS = "ERNIE-4.5-21B-A3B-Thinking-PT"
OWN = "ERNIE-4.5-21B-A3B-fine-tuned"
WAYS = pytest.mark.parametrize("way", ["invoke", "ainvoke", "stream", "astream"])


class Said(NamedTuple):
    """What a model says, in whatever dialect its server tells it."""

    text: str = ""
    thought: str = ""
    calls: tuple[tuple[str, str], ...] = ()

    @property
    def reason(self):
        return "tool_calls" if self.calls else "stop"


def pieces(text, size=4):
    return [text[start : start + size] for start in range(0, len(text), size)]


class VLLM:
    """Deltas without a role, `stop_reason`, token ids, calls whose first piece has no arguments."""

    thought_key = "reasoning"
    answer_id = ""
    usage: ClassVar = {
        "prompt_tokens": 9,
        "total_tokens": 21,
        "completion_tokens": 12,
        "prompt_tokens_details": None,
    }

    def body(self, said):
        calls = [
            {"id": f"chatcmpl-tool-{n}", "type": "function", "function": _function(call)}
            for n, call in enumerate(said.calls)
        ]
        message = {
            "role": "assistant",
            "content": said.text or None,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "tool_calls": calls,
            self.thought_key: said.thought or None,
        }
        return {
            **self.head("chat.completion"),
            "choices": [self.choice("message", message, said.reason)],
            "service_tier": None,
            "system_fingerprint": None,
            "usage": self.usage,
            "prompt_logprobs": None,
            "prompt_token_ids": None,
            "kv_transfer_params": None,
        }

    def events(self, said):
        yield self.event({"role": "assistant", "content": ""})
        for piece in pieces(said.thought):
            yield self.event({self.thought_key: piece})
        for piece in pieces(said.text):
            yield self.event({"content": piece})
        for index, (name, arguments) in enumerate(said.calls):
            start = {"id": f"chatcmpl-tool-{index}", "type": "function", "index": index}
            yield self.event({"tool_calls": [{**start, "function": {"name": name}}]})
            for piece in pieces(arguments):
                fragment = {"index": index, "function": {"arguments": piece}}
                yield self.event({"tool_calls": [fragment]})
        yield self.event({}, said.reason)
        yield {**self.head("chat.completion.chunk"), "choices": [], "usage": self.usage}
        yield "[DONE]"

    def event(self, delta, reason=None):
        choice = self.choice("delta", delta, reason)
        return {**self.head("chat.completion.chunk"), "choices": [choice], "prompt_token_ids": None}

    def choice(self, key, said, reason):
        beside = {"logprobs": None, "stop_reason": None, "token_ids": None}
        return {"index": 0, key: said, "finish_reason": reason, **beside}

    def head(self, kind):
        return {"id": self.answer_id, "object": kind, "created": 1_764_547_200, "model": NAME}


class OlderVLLM(VLLM):
    """`reasoning_content` as `null` beside text, and a usage that grows with every event."""

    thought_key = "reasoning_content"

    def event(self, delta, reason=None):
        delta = {"reasoning_content": None, **delta}
        grown = {**self.usage, "completion_tokens": 3, "total_tokens": 12}
        return {**super().event(delta, reason), "usage": grown}


class FastDeploy(VLLM):
    """Every key in every delta, `null` or "" where it says nothing; no usage unless at the end."""

    thought_key = "reasoning_content"
    usage: ClassVar = {
        "prompt_tokens": 9,
        "total_tokens": 21,
        "completion_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4, "image_tokens": 0, "video_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5, "image_tokens": 0},
    }

    def choice(self, key, said, reason):
        silent = {
            "role": "assistant",
            "content": "",
            "multimodal_content": None,
            "reasoning_content": "",
            "audio_content": None,
            "tool_calls": None,
            "prompt_token_ids": None,
            "completion_token_ids": None,
        }
        beside = {"logprobs": None, "draft_logprobs": None, "arrival_time": 0.25}
        return {"index": 0, key: {**silent, **said}, "finish_reason": reason, **beside}

    def event(self, delta, reason=None):
        for call in delta.get("tool_calls", ()):
            call.setdefault("id", None)
            call.setdefault("type", None)
            call["function"] = {"name": None, "arguments": None, **call["function"]}
        return {**super().event(delta, reason), "usage": None, "metrics": None}


class SGLang(VLLM):
    """`matched_stop`, calls with an index in whole answers, too, arguments that begin as ""."""

    thought_key = "reasoning_content"
    usage: ClassVar = {
        "prompt_tokens": 9,
        "total_tokens": 21,
        "completion_tokens": 12,
        "prompt_tokens_details": None,
        "reasoning_tokens": 0,
    }

    def body(self, said):
        body = super().body(said)
        calls = body["choices"][0]["message"]["tool_calls"]
        for index, call in enumerate(calls):
            call["index"] = index
        return {**body, "metadata": {"weight_version": "default"}}

    def choice(self, key, said, reason):
        silent = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
        beside = {"logprobs": None, "matched_stop": 2 if reason == "stop" else None}
        return {"index": 0, key: {**silent, **said}, "finish_reason": reason, **beside}

    def event(self, delta, reason=None):
        for call in delta.get("tool_calls", ()):
            call.setdefault("id", None)
            call.setdefault("type", "function")
            call["function"] = {"name": None, "arguments": "", **call["function"]}
        return {**super().event(delta, reason), "usage": None}


DIALECTS = {
    "vLLM": VLLM(),
    "older vLLM": OlderVLLM(),
    "FastDeploy": FastDeploy(),
    "SGLang": SGLang(),
}


def _function(call):
    name, arguments = call
    return {"name": name, "arguments": arguments}


@pytest.fixture(scope="module")
def running():
    models = {
        NAME: "baidu/ernie-4.5-21b-a3b",
        SEES: "baidu/ernie-4.5-vl-28b-a3b",
        THINKS: "baidu/ernie-4.5-21b-a3b-thinking",
        OWN: "baidu/ernie-4.5-21b-a3b",
    }
    with ErnieServer(api_key=None, models=models) as server:
        yield server


@pytest.fixture
def server(running):
    """A server without a key; whatever it is asked must be valid, and hold no `null`."""
    running.reset()
    yield running
    refused = [request for request in running.requests if request.status == 400]
    assert [each for request in refused for each in request.violations] == []
    assert running.pending == 0
    for request in running.requests:
        assert b"null" not in request.raw
    running.reset()


@pytest.fixture
def llm(server):
    return ChatAimlErnie(model=NAME, base_url=server.base_url, max_retries=0)


@pytest.fixture(params=DIALECTS)
def says(request, server):
    """Let the server say things, in one of the dialects."""
    dialect = DIALECTS[request.param]

    def says(*answers):
        left = list(answers)

        def answer(asked):
            said = left.pop(0)
            dialect.answer_id = f"chatcmpl-{asked.number}"
            if asked.body.get("stream"):
                return Reply(events=list(dialect.events(said)))
            return Reply(body=dialect.body(said))

        server.on_request = answer

    says.usage = dialect.usage
    return says


async def ask(llm, value, way, **kwargs):
    """Ask in one of four ways; chunks are merged."""
    if way == "invoke":
        return llm.invoke(value, **kwargs)
    if way == "ainvoke":
        return await llm.ainvoke(value, **kwargs)
    if way == "stream":
        chunks = list(llm.stream(value, **kwargs))
    else:
        chunks = [chunk async for chunk in llm.astream(value, **kwargs)]
    assert len(chunks) > 2
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    return whole


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: sun"


CALLS = (("weather", '{"city": "Köln"}'), ("weather", '{"city": "北京"}'))


@WAYS
@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_text_thoughts_calls_and_usage_are_read_in_every_dialect(llm, says, way, version):
    says(Said("\nI look it up.", "Two cities, two calls.", CALLS))
    bound = llm.model_copy(update={"output_version": version}).bind_tools([weather])
    message = await ask(bound, "hi", way)
    assert message.text == "\nI look it up."
    assert message.additional_kwargs == {"reasoning_content": "Two cities, two calls."}
    assert [(call["name"], call["args"]) for call in message.tool_calls] == [
        ("weather", {"city": "Köln"}),
        ("weather", {"city": "北京"}),
    ]
    assert message.invalid_tool_calls == []
    assert len({call["id"] for call in message.tool_calls}) == 2
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds == ["reasoning", "text", "tool_call", "tool_call"]
    usage, told = message.usage_metadata, says.usage
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (9, 12, 21)
    if "completion_tokens_details" in told:
        assert usage["output_token_details"]["reasoning"] == 5
        assert usage["input_token_details"]["cache_read"] == 4
    metadata = message.response_metadata
    assert metadata["model_name"] == NAME
    assert metadata["model_provider"] == "aimlernie"
    assert metadata["finish_reason"] == "tool_calls"
    assert not {"credits_used", "usd_spent"} & metadata.keys()


@WAYS
async def test_plain_text_is_plain_in_every_dialect(llm, says, way):
    says(Said("one two three four five"))
    message = await ask(llm, "hi", way)
    assert message.content == "one two three four five"
    assert message.additional_kwargs == {}
    assert message.tool_calls == message.invalid_tool_calls == []
    assert message.response_metadata["finish_reason"] == "stop"


@pytest.mark.parametrize("streaming", [None, True])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_agents_work_in_every_dialect(llm, server, says, streaming, asynchronous):
    says(Said("", "Two calls.", CALLS), Said("Sun in both.", "So it is."))
    agent = create_agent(llm.model_copy(update={"streaming": streaming}), [weather])
    asked = {"messages": [HumanMessage("Weather?")]}
    result = await agent.ainvoke(asked) if asynchronous else agent.invoke(asked)
    assert result["messages"][-1].text == "Sun in both."
    _, called, *results = server.last_request.body["messages"]
    assert called["content"] == ""
    assert [call["id"] for call in called["tool_calls"]] == [
        each["tool_call_id"] for each in results
    ]
    assert [each["content"] for each in results] == ["Köln: sun", "北京: sun"]


@pytest.mark.parametrize("asynchronous", [False, True])
@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode", "auto"])
async def test_structured_output_works_in_every_dialect(llm, server, says, method, asynchronous):
    said = Said('{"city": "Köln"}', "A form.")
    if method == "function_calling":
        said = Said(thought="A form.", calls=(("Weather", '{"city": "Köln"}'),))
    says(said)
    structured = llm.with_structured_output(Weather, method=method)
    answer = await structured.ainvoke("hi") if asynchronous else structured.invoke("hi")
    assert answer == Weather(city="Köln")
    if method == "function_calling":
        choice = server.last_request.body["tool_choice"]
        assert choice == {"type": "function", "function": {"name": "Weather"}}


@WAYS
async def test_no_key_is_needed_and_none_is_sent(server, llm, way, monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    server.reply("one two three", times=2)
    assert (await ask(llm, "hi", way)).text == "one two three"
    assert "authorization" not in server.last_request.headers
    keyed = llm.model_copy(update={"api_key": "a-key-of-my-own"})
    await ask(keyed, "hi", way)
    assert server.last_request.headers["authorization"] == "Bearer a-key-of-my-own"


def test_the_providers_own_server_does_need_one(monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    with pytest.raises(errors.AuthenticationError, match="AIMLAPI_API_KEY"):
        ChatAimlErnie(model=NAME).invoke("hi")


def test_the_servers_address_can_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_BASE", server.base_url)
    server.reply("ok")
    assert ChatAimlErnie(model=NAME).invoke("hi").text == "ok"


def test_the_name_of_the_weights_is_sent_as_it_is_written(server):
    for name in (NAME, THINKS, SEES):
        server.reply("ok")
        llm = ChatAimlErnie(model=name, base_url=server.base_url)
        assert llm.invoke("hi").response_metadata["model_name"] == name
        assert server.last_request.body["model"] == name


def test_pictures_go_to_weights_whose_abilities_are_not_known(server):
    server.reply("A cat.")
    llm = ChatAimlErnie(model=SEES, base_url=server.base_url)
    picture = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    llm.invoke([HumanMessage([{"type": "text", "text": "What is it?"}, picture])])
    kinds = [part["type"] for part in server.last_request.body["messages"][0]["content"]]
    assert kinds == ["text", "image_url"]


def test_the_thinking_weights_think(server):
    llm = ChatAimlErnie(model=THINKS, base_url=server.base_url)
    for message in (llm.invoke("why?"), llm.invoke("why?", stream=True)):
        assert message.additional_kwargs["reasoning_content"]
        assert message.usage_metadata["output_token_details"]["reasoning"] > 0


def test_fields_of_a_server_of_ones_own_go_along(server, llm):
    """How vLLM, FastDeploy and SGLang are told not to think, and how to choose tokens."""
    server.reply("ok", times=2)
    extra = {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
    llm.invoke("hi", extra_body=extra)
    body = server.last_request.body
    assert (body["top_k"], body["chat_template_kwargs"]) == (20, {"enable_thinking": False})
    llm.model_copy(update={"model_kwargs": {"repetition_penalty": 1.1}}).invoke("hi")
    assert server.last_request.body["repetition_penalty"] == 1.1


def test_an_agent_without_a_profile_gets_its_schema_as_a_tool(server):
    llm = ChatAimlErnie(model=OWN, base_url=server.base_url)
    assert llm.profile is None
    server.reply(tool_calls=[{"name": "Weather", "args": {"city": "Köln"}}])
    result = create_agent(llm, response_format=Weather).invoke({"messages": [HumanMessage("hi")]})
    assert result["structured_response"] == Weather(city="Köln")
    assert server.last_request.body["tool_choice"] == "required"

    server.reply('{"city": "Köln"}')
    known = llm.model_copy(update={"profile": {"structured_output": True}})
    result = create_agent(known, response_format=Weather).invoke({"messages": [HumanMessage("hi")]})
    assert result["structured_response"] == Weather(city="Köln")
    assert server.last_request.body["response_format"]["type"] == "json_schema"


LENGTH = (
    "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens in "
    "the messages. Please reduce the length of the messages."
)
ERRORS = {
    "vLLM's": {"error": {"message": LENGTH, "type": "BadRequestError", "param": None, "code": 400}},
    "SGLang's": {
        "object": "error",
        "message": LENGTH,
        "type": "BadRequestError",
        "param": None,
        "code": 400,
    },
    "FastDeploy's": {
        "error": {
            "message": LENGTH,
            "type": "invalid_request_error",
            "param": None,
            "code": "context_length_exceeded",
        }
    },
}


@WAYS
@pytest.mark.parametrize("dialect", ERRORS)
async def test_errors_are_understood_in_every_dialect(server, llm, way, dialect):
    server.fail(400, body=ERRORS[dialect])
    with pytest.raises(errors.ContextWindowExceededError, match="4096 tokens"):
        await ask(llm, "hi", way)


@pytest.mark.parametrize("dialect", ["vLLM's", "SGLang's"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_amid_a_stream_is_one(server, llm, dialect, asynchronous):
    begun = {"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]}
    server.reply(events=[begun, ERRORS[dialect], "[DONE]"])
    with pytest.raises(errors.ContextWindowExceededError) as caught:
        await ask(llm, "hi", "astream" if asynchronous else "stream")
    assert caught.value.partial.text == "half"


def test_an_unknown_model_is_told_as_such(server):
    body = {
        "error": {"message": "The model `x` does not exist.", "type": "NotFoundError", "code": 404}
    }
    server.fail(404, body=body)
    with pytest.raises(errors.NotFoundError, match="does not exist"):
        ChatAimlErnie(model=NAME, base_url=server.base_url).invoke("hi")


@pytest.mark.parametrize("reason", ["recover_stop", "abort", "eos_token"])
def test_reasons_to_finish_of_their_own_are_kept(server, llm, reason):
    body = VLLM().body(Said("done"))
    body["choices"][0]["finish_reason"] = reason
    server.reply(body=body)
    assert llm.invoke("hi").response_metadata["finish_reason"] == reason


def test_a_stream_that_the_server_tells_in_one_piece_is_taken(server, llm):
    """Some gateways buffer: one event with the whole message, or a JSON answer to a stream."""
    whole = VLLM().body(Said("whole"))
    server.reply(body=whole)
    assert "".join(chunk.text for chunk in llm.stream("hi")) == "whole"
    server.reply(events=[whole, "[DONE]"])
    assert "".join(chunk.text for chunk in llm.stream("hi")) == "whole"


def test_a_known_name_keeps_its_schema_on_a_server_of_ones_own(server):
    """The weights are the same, so is what they take: a text model gets no pictures."""
    llm = ChatAimlErnie(model="ernie-4.5-21b-a3b", base_url=server.base_url)
    picture = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    with pytest.raises(errors.BadRequestError, match="image"):
        llm.invoke([HumanMessage([picture])])
    server.reply("ok")
    llm.invoke("hi")
    assert server.last_request.body["model"] == "ernie-4.5-21b-a3b"
