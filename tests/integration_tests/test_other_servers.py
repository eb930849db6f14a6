"""Self-hosted servers: the same protocol in several dialects, without a key.

The dialects follow the sources of vLLM, FastDeploy and SGLang (2026) and what llama.cpp's server sent
to `test_real_server`: keys that are `null`, missing or additional, and where usage and reasoning are
found.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie, errors
from langchain_aimlernie.testing import ErnieServer, Reply
from tests.support.modes import MODES, ask

NAME = "ERNIE-4.5-21B-A3B-PT"
VISION = "ERNIE-4.5-VL-28B-A3B-PT"
REASONING = "ERNIE-4.5-21B-A3B-Thinking-PT"
FINE_TUNED = "ERNIE-4.5-21B-A3B-fine-tuned"
KINDS_OF_CALL = pytest.mark.parametrize("mode", MODES)


class Completion(NamedTuple):
    """The content of a completion, whatever its dialect."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()

    @property
    def reason(self):
        return "tool_calls" if self.calls else "stop"


def split(text, size=4):
    return [text[start : start + size] for start in range(0, len(text), size)]


class VLLM:
    """Deltas without a role, `stop_reason`, token ids, first tool-call deltas without arguments."""

    reasoning_key = "reasoning"
    answer_id = ""
    first_content: str | None = ""
    first_arguments = 0
    """How many characters of its arguments the first delta of a call has."""
    usage: ClassVar = {
        "prompt_tokens": 9,
        "total_tokens": 21,
        "completion_tokens": 12,
        "prompt_tokens_details": None,
    }
    absent: ClassVar = dict.fromkeys(
        [
            *("service_tier", "system_fingerprint", "prompt_logprobs", "prompt_token_ids"),
            "kv_transfer_params",
        ]
    )
    absent_in_message: ClassVar = dict.fromkeys(
        ["refusal", "annotations", "audio", "function_call"]
    )

    def body(self, completion):
        calls = [
            {"id": f"chatcmpl-tool-{n}", "type": "function", "function": _function(call)}
            for n, call in enumerate(completion.calls)
        ]
        message = {
            "role": "assistant",
            "content": completion.text or None,
            **self.absent_in_message,
            "tool_calls": calls,
            self.reasoning_key: completion.reasoning or None,
        }
        choice = self.choice("message", message, completion.reason)
        return {**self.absent, **self.head("chat.completion"), "choices": [choice], **self.end()}

    def events(self, completion):
        yield self.event({"role": "assistant", "content": self.first_content})
        for part in split(completion.reasoning):
            yield self.event({self.reasoning_key: part})
        for part in split(completion.text):
            yield self.event({"content": part})
        for index, (name, arguments) in enumerate(completion.calls):
            start = {"id": f"chatcmpl-tool-{index}", "type": "function", "index": index}
            first, rest = arguments[: self.first_arguments], arguments[self.first_arguments :]
            function = {"name": name, "arguments": first} if first else {"name": name}
            yield self.event({"tool_calls": [{**start, "function": function}]})
            for part in split(rest):
                fragment = {"index": index, "function": {"arguments": part}}
                yield self.event({"tool_calls": [fragment]})
        yield self.event({}, completion.reason)
        yield {**self.head("chat.completion.chunk"), "choices": [], **self.end()}
        yield "[DONE]"

    def event(self, delta, reason=None):
        choice = self.choice("delta", delta, reason)
        return {**self.head("chat.completion.chunk"), "choices": [choice], "prompt_token_ids": None}

    def choice(self, key, completion, reason):
        additional = {"logprobs": None, "stop_reason": None, "token_ids": None}
        return {"index": 0, key: completion, "finish_reason": reason, **additional}

    def head(self, kind):
        return {"id": self.answer_id, "object": kind, "created": 1_764_547_200, "model": NAME}

    def end(self):
        return {"usage": self.usage}


class OlderVLLM(VLLM):
    """`reasoning_content` as `null` additional text, and a usage that grows with every event."""

    reasoning_key = "reasoning_content"

    def event(self, delta, reason=None):
        delta = {"reasoning_content": None, **delta}
        grown = {**self.usage, "completion_tokens": 3, "total_tokens": 12}
        return {**super().event(delta, reason), "usage": grown}


class FastDeploy(VLLM):
    """Every key in every delta, `null` or "" if it is empty; usage only at the end."""

    reasoning_key = "reasoning_content"
    usage: ClassVar = {
        **VLLM.usage,
        "prompt_tokens_details": {"cached_tokens": 4, "image_tokens": 0, "video_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 5, "image_tokens": 0},
    }

    def choice(self, key, completion, reason):
        empty = {
            "role": "assistant",
            "content": "",
            "multimodal_content": None,
            "reasoning_content": "",
            "audio_content": None,
            "tool_calls": None,
            "prompt_token_ids": None,
            "completion_token_ids": None,
        }
        additional = {"logprobs": None, "draft_logprobs": None, "arrival_time": 0.25}
        return {"index": 0, key: {**empty, **completion}, "finish_reason": reason, **additional}

    def event(self, delta, reason=None):
        for call in delta.get("tool_calls", ()):
            call.setdefault("id", None)
            call.setdefault("type", None)
            call["function"] = {"name": None, "arguments": None, **call["function"]}
        return {**super().event(delta, reason), "usage": None, "metrics": None}


class SGLang(VLLM):
    """`matched_stop`, tool calls with an index in completions, too, arguments that begin as ""."""

    reasoning_key = "reasoning_content"
    usage: ClassVar = {**VLLM.usage, "reasoning_tokens": 0}

    def body(self, completion):
        body = super().body(completion)
        calls = body["choices"][0]["message"]["tool_calls"]
        for index, call in enumerate(calls):
            call["index"] = index
        return {**body, "metadata": {"weight_version": "default"}}

    def choice(self, key, completion, reason):
        empty = {"role": None, "content": None, "reasoning_content": None, "tool_calls": None}
        additional = {"logprobs": None, "matched_stop": 2 if reason == "stop" else None}
        return {"index": 0, key: {**empty, **completion}, "finish_reason": reason, **additional}

    def event(self, delta, reason=None):
        for call in delta.get("tool_calls", ()):
            call.setdefault("id", None)
            call.setdefault("type", "function")
            call["function"] = {"name": None, "arguments": "", **call["function"]}
        return {**super().event(delta, reason), "usage": None}


class LlamaCpp(VLLM):
    """A first delta whose content is `null`; the first fragment of a call has a bracket."""

    reasoning_key = "reasoning_content"
    first_content = None
    first_arguments = 1
    absent: ClassVar = {}
    absent_in_message: ClassVar = {}
    usage: ClassVar = {**VLLM.usage, "prompt_tokens_details": {"cached_tokens": 0}}
    timings: ClassVar = {"cache_n": 0, "prompt_n": 9, "predicted_n": 12, "predicted_ms": 16.284}

    def body(self, completion):
        body = super().body(completion)
        (choice,) = body["choices"]
        message = {key: part for key, part in choice["message"].items() if part}
        choice["message"] = {**message, "content": completion.text}
        return body

    def choice(self, key, completion, reason):
        return {"finish_reason": reason, "index": 0, key: completion}

    def head(self, kind):
        return {**super().head(kind), "system_fingerprint": "b0-unknown"}

    def end(self):
        return {"usage": self.usage, "timings": self.timings}


DIALECTS = {
    "vLLM": VLLM(),
    "older vLLM": OlderVLLM(),
    "FastDeploy": FastDeploy(),
    "SGLang": SGLang(),
    "llama.cpp": LlamaCpp(),
}


def _function(call):
    name, arguments = call
    return {"name": name, "arguments": arguments}


@pytest.fixture(scope="module")
def running():
    models = {
        NAME: "baidu/ernie-4.5-21b-a3b",
        VISION: "baidu/ernie-4.5-vl-28b-a3b",
        REASONING: "baidu/ernie-4.5-21b-a3b-thinking",
        FINE_TUNED: "baidu/ernie-4.5-21b-a3b",
    }
    with ErnieServer(api_key=None, models=models) as server:
        yield server


@pytest.fixture
def server(running):
    """A server without a key; every request must be valid and contain no `null`."""
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
def respond(request, server):
    """Return a function that scripts completions in one of the dialects."""
    dialect = DIALECTS[request.param]

    def respond(*answers):
        left = list(answers)

        def answer(asked):
            completion = left.pop(0)
            dialect.answer_id = f"chatcmpl-{asked.number}"
            if asked.body.get("stream"):
                return Reply(events=list(dialect.events(completion)))
            return Reply(body=dialect.body(completion))

        server.on_request = answer

    respond.usage = dialect.usage
    return respond


class Weather(BaseModel):
    """The weather of a city."""

    city: str


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sun"


CALLS = (("weather", '{"city": "Köln"}'), ("weather", '{"city": "北京"}'))


@KINDS_OF_CALL
@pytest.mark.parametrize("version", ["v0", "v1"])
async def test_text_reasoning_tool_calls_and_usage_are_read_in_every_dialect(
    llm, respond, mode, version
):
    respond(Completion("\nI look it up.", "Two cities, two calls.", CALLS))
    bound = llm.model_copy(update={"output_version": version}).bind_tools([weather])
    message = await ask(bound, "hi", mode)
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
    usage, expected = message.usage_metadata, respond.usage
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (9, 12, 21)
    if "completion_tokens_details" in expected:
        assert usage["output_token_details"]["reasoning"] == 5
        assert usage["input_token_details"]["cache_read"] == 4
    metadata = message.response_metadata
    assert metadata["model_name"] == NAME
    assert metadata["model_provider"] == "aimlernie"
    assert metadata["finish_reason"] == "tool_calls"
    assert not {"credits_used", "usd_spent"} & metadata.keys()


@pytest.mark.parametrize("streaming", [None, True])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_agents_work_in_every_dialect(llm, server, respond, streaming, asynchronous):
    respond(Completion("", "Two calls.", CALLS), Completion("Sun in both.", "So it is."))
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


@pytest.mark.parametrize("method", ["json_schema", "function_calling", "json_mode", "auto"])
def test_structured_output_works_in_every_dialect(llm, server, respond, method):
    completion = Completion('{"city": "Köln"}', "A form.")
    if method == "function_calling":
        completion = Completion(reasoning="A form.", calls=(("Weather", '{"city": "Köln"}'),))
    respond(completion)
    structured = llm.with_structured_output(Weather, method=method)
    assert structured.invoke("hi") == Weather(city="Köln")
    if method == "function_calling":
        choice = server.last_request.body["tool_choice"]
        assert choice == {"type": "function", "function": {"name": "Weather"}}


def test_the_api_itself_requires_a_key(monkeypatch):
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    with pytest.raises(errors.AuthenticationError, match="AIMLAPI_API_KEY"):
        ChatAimlErnie(model=NAME).invoke("hi")


def test_the_servers_address_can_come_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_BASE", server.base_url)
    server.reply("ok")
    assert ChatAimlErnie(model=NAME).invoke("hi").text == "ok"


def test_a_model_name_is_sent_unchanged(server):
    for name in (NAME, REASONING, VISION):
        server.reply("ok")
        llm = ChatAimlErnie(model=name, base_url=server.base_url)
        assert llm.invoke("hi").response_metadata["model_name"] == name
        assert server.last_request.body["model"] == name


def test_images_are_sent_to_an_unknown_model(server):
    server.reply("A cat.")
    llm = ChatAimlErnie(model=VISION, base_url=server.base_url)
    image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    llm.invoke([HumanMessage([{"type": "text", "text": "What is it?"}, image])])
    kinds = [part["type"] for part in server.last_request.body["messages"][0]["content"]]
    assert kinds == ["text", "image_url"]


def test_a_reasoning_model_reasons(server):
    llm = ChatAimlErnie(model=REASONING, base_url=server.base_url)
    for message in (llm.invoke("why?"), llm.invoke("why?", stream=True)):
        assert message.additional_kwargs["reasoning_content"]
        assert message.usage_metadata["output_token_details"]["reasoning"] > 0


def test_additional_fields_are_sent(server, llm):
    """How to switch off reasoning and set sampling for vLLM, FastDeploy and SGLang."""
    server.reply("ok", times=2)
    extra = {"top_k": 20, "chat_template_kwargs": {"enable_thinking": False}}
    llm.invoke("hi", extra_body=extra)
    body = server.last_request.body
    assert (body["top_k"], body["chat_template_kwargs"]) == (20, {"enable_thinking": False})
    llm.model_copy(update={"model_kwargs": {"repetition_penalty": 1.1}}).invoke("hi")
    assert server.last_request.body["repetition_penalty"] == 1.1


def test_an_agent_without_a_profile_gets_its_schema_as_a_tool(server):
    llm = ChatAimlErnie(model=FINE_TUNED, base_url=server.base_url)
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
BAD_REQUEST = {"message": LENGTH, "type": "BadRequestError", "param": None, "code": 400}
ERRORS = {
    "vLLM's": {"error": BAD_REQUEST},
    "SGLang's": {"object": "error", **BAD_REQUEST},
    "FastDeploy's": {
        "error": {**BAD_REQUEST, "type": "invalid_request_error", "code": "context_length_exceeded"}
    },
    "llama.cpp's": {
        "error": {
            "code": 400,
            "message": "request (5000 tokens) exceeds the available context size (4096 tokens), "
            "try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 5000,
            "n_ctx": 4096,
        }
    },
}


@KINDS_OF_CALL
@pytest.mark.parametrize("dialect", ERRORS)
async def test_errors_are_understood_in_every_dialect(server, llm, mode, dialect):
    server.fail(400, body=ERRORS[dialect])
    with pytest.raises(errors.ContextWindowExceededError, match="4096 tokens"):
        await ask(llm, "hi", mode)


@pytest.mark.parametrize("dialect", ["vLLM's", "SGLang's"])
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_an_error_within_a_stream_is_raised(server, llm, dialect, asynchronous):
    first = {"choices": [{"index": 0, "delta": {"content": "half"}, "finish_reason": None}]}
    server.reply(events=[first, ERRORS[dialect], "[DONE]"])
    with pytest.raises(errors.ContextWindowExceededError) as caught:
        await ask(llm, "hi", "astream" if asynchronous else "stream")
    assert caught.value.partial.text == "half"


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["recover_stop", "abort", "eos_token"])
def test_other_finish_reasons_are_kept(server, llm, reason):
    body = VLLM().body(Completion("done"))
    body["choices"][0]["finish_reason"] = reason
    server.reply(body=body)
    assert llm.invoke("hi").response_metadata["finish_reason"] == reason


def test_a_stream_in_one_event_is_read(server, llm):
    """Some gateways buffer: one event with the whole message, or a JSON response to a stream."""
    whole = VLLM().body(Completion("whole"))
    server.reply(body=whole)
    assert "".join(chunk.text for chunk in llm.stream("hi")) == "whole"
    server.reply(events=[whole, "[DONE]"])
    assert "".join(chunk.text for chunk in llm.stream("hi")) == "whole"


def test_a_known_name_keeps_its_schema_on_another_server(server):
    """The weights are the same, and so are their limits: a text model supports no images."""
    llm = ChatAimlErnie(model="ernie-4.5-21b-a3b", base_url=server.base_url)
    image = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}
    with pytest.raises(errors.BadRequestError, match="image"):
        llm.invoke([HumanMessage([image])])
    server.reply("ok")
    llm.invoke("hi")
    assert server.last_request.body["model"] == "ernie-4.5-21b-a3b"
