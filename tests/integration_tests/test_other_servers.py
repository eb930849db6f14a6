"""Self-hosted servers: the same protocol in several dialects, without a key.

The dialects follow the sources of vLLM, FastDeploy and SGLang (2026) and what llama.cpp's server sent
to `test_real_server`: keys that are `null`, missing or additional, and where usage and reasoning are
found.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie, errors
from langchain_aimlernie.testing import ErnieServer, Reply
from tests.support.agents import TWO_CITIES, question, weather
from tests.support.modes import ask

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME = "ERNIE-4.5-21B-A3B-PT"
VISION = "ERNIE-4.5-VL-28B-A3B-PT"
REASONING = "ERNIE-4.5-21B-A3B-Thinking-PT"
FINE_TUNED = "ERNIE-4.5-21B-A3B-fine-tuned"


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


NOTHING: Mapping[str, Any] = MappingProxyType({})


def empty(names, **others):
    """Keys that a server sends with nothing in them, and others."""
    return MappingProxyType({**dict.fromkeys(names.split()), **others})


class Dialect(NamedTuple):
    """How a server writes a completion: its own names, and what it sends besides."""

    reasoning: str = "reasoning_content"
    usage: Mapping[str, Any] = NOTHING
    end: Mapping[str, Any] = NOTHING
    head: Mapping[str, Any] = NOTHING
    body: Mapping[str, Any] = empty(
        "service_tier system_fingerprint prompt_logprobs prompt_token_ids kv_transfer_params"
    )
    event: Mapping[str, Any] = empty("prompt_token_ids")
    choice: Mapping[str, Any] = empty("logprobs stop_reason token_ids")
    message: Mapping[str, Any] = empty("refusal annotations audio function_call")
    delta: Mapping[str, Any] = NOTHING
    call: Mapping[str, Any] = NOTHING
    """Of a delta, as `function`."""
    function: Mapping[str, Any] = NOTHING
    first_content: str | None = ""
    first_arguments: int = 0
    """How many characters of its arguments the first delta of a call has."""
    counts_calls: bool = False
    """Whether the calls of a message have an index, as those of a delta have."""
    sends_empty: bool = True
    """Whether a message has keys for the reasoning and calls that it lacks."""

    def reply_to(self, request, completion):
        ids = {"id": f"chatcmpl-{request.number}", "created": 1_764_547_200, "model": NAME}
        head = {**ids, **self.head}
        end = {"usage": {**USAGE, **self.usage}, **self.end}
        if not request.body.get("stream"):
            choice = {"index": 0, **self.choice, "finish_reason": completion.reason}
            body = {**self.body, **head, "object": "chat.completion", **end}
            return Reply(body={**body, "choices": [{**choice, "message": self.whole(completion)}]})
        head["object"] = "chat.completion.chunk"
        events = [{**head, "choices": [], **end}, "[DONE]"]
        deltas = [(delta, None) for delta in self.deltas(completion)]
        for delta, reason in reversed([*deltas, ({}, completion.reason)]):
            choice = {"index": 0, **self.choice, "finish_reason": reason}
            choices = [{**choice, "delta": {**self.delta, **delta}}]
            events.insert(0, {**head, "choices": choices, **self.event})
        return Reply(events=events)

    def whole(self, completion):
        calls = [
            {**_call(index), "function": {"name": name, "arguments": arguments}}
            for index, (name, arguments) in enumerate(completion.calls)
        ]
        for index, call in enumerate(calls):
            call.update({"index": index} if self.counts_calls else {})
        parts = {self.reasoning: completion.reasoning or None, "tool_calls": calls}
        if not self.sends_empty:
            parts = {key: part for key, part in parts.items() if part}
        content = completion.text or (None if self.sends_empty else "")
        return {**self.message, "role": "assistant", "content": content, **parts}

    def deltas(self, completion):
        yield {"role": "assistant", "content": self.first_content}
        for part in split(completion.reasoning):
            yield {self.reasoning: part}
        for part in split(completion.text):
            yield {"content": part}
        for index, (name, arguments) in enumerate(completion.calls):
            first, rest = arguments[: self.first_arguments], arguments[self.first_arguments :]
            function = {"name": name, "arguments": first} if first else {"name": name}
            fragments = [{"arguments": part} for part in split(rest)]
            for start, each in [(_call(index), function), *(({}, each) for each in fragments)]:
                call = {**self.call, "index": index, **start}
                yield {"tool_calls": [{**call, "function": {**self.function, **each}}]}


def _call(index):
    return {"id": f"chatcmpl-tool-{index}", "type": "function"}


USAGE = {"prompt_tokens": 9, "total_tokens": 21, "completion_tokens": 12}
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 4, "image_tokens": 0, "video_tokens": 0},
    "completion_tokens_details": {"reasoning_tokens": 5, "image_tokens": 0},
}
EVERY_KEY = {
    **empty("multimodal_content audio_content tool_calls prompt_token_ids completion_token_ids"),
    "role": "assistant",
    "content": "",
    "reasoning_content": "",
}
VLLM = Dialect("reasoning", empty("prompt_tokens_details"))
DIALECTS = {
    "vLLM": VLLM,
    "older vLLM, whose usage grows with every event": VLLM._replace(
        reasoning="reasoning_content",
        delta=empty("reasoning_content"),
        event=empty(
            "prompt_token_ids", usage={**USAGE, "completion_tokens": 3, "total_tokens": 12}
        ),
    ),
    "FastDeploy, with every key in every delta": Dialect(
        usage=DETAILS,
        message=EVERY_KEY,
        delta=EVERY_KEY,
        choice=empty("logprobs draft_logprobs", arrival_time=0.25),
        event=empty("usage metrics"),
        call=empty("id type"),
        function=empty("name arguments"),
    ),
    "SGLang, with arguments that begin as nothing": Dialect(
        usage=empty("prompt_tokens_details", reasoning_tokens=0),
        body={"metadata": {"weight_version": "default"}},
        delta=empty("role content reasoning_content tool_calls"),
        choice=empty("logprobs", matched_stop=2),
        event=empty("usage"),
        call={"id": None, "type": "function"},
        function={"name": None, "arguments": ""},
        counts_calls=True,
    ),
    "llama.cpp, whose first fragment of a call has a bracket": Dialect(
        usage={"prompt_tokens_details": {"cached_tokens": 0}},
        end={"timings": {"cache_n": 0, "prompt_n": 9, "predicted_n": 12, "predicted_ms": 16.284}},
        head={"system_fingerprint": "b0-unknown"},
        **dict.fromkeys(("body", "event", "choice", "message"), NOTHING),
        first_content=None,
        first_arguments=1,
        sends_empty=False,
    ),
}


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
        left = iter(answers)
        server.on_request = lambda request: dialect.reply_to(request, next(left))

    respond.usage = dialect.usage
    return respond


class Weather(BaseModel):
    """The weather of a city."""

    city: str


CALLS = (("weather", '{"city": "Köln"}'), ("weather", '{"city": "北京"}'))


async def test_text_reasoning_tool_calls_and_usage_are_read_in_every_dialect(
    llm, respond, mode, version
):
    respond(Completion("\nI look it up.", "Two cities, two calls.", CALLS))
    bound = llm.model_copy(update={"output_version": version}).bind_tools([weather])
    message = await ask(bound, "hi", mode)
    assert message.text == "\nI look it up."
    assert message.additional_kwargs == {"reasoning_content": "Two cities, two calls."}
    called = [(call["name"], call["args"]) for call in message.tool_calls]
    assert called == [(call["name"], call["args"]) for call in TWO_CITIES]
    assert message.invalid_tool_calls == []
    assert len({call["id"] for call in message.tool_calls}) == 2
    kinds = [block["type"] for block in message.content_blocks]
    assert kinds == ["reasoning", "text", "tool_call", "tool_call"]
    usage, expected = message.usage_metadata, respond.usage
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == (9, 12, 21)
    if expected == DETAILS:
        assert usage["output_token_details"]["reasoning"] == 5
        assert usage["input_token_details"]["cache_read"] == 4
    metadata = message.response_metadata
    assert metadata["model_name"] == NAME
    assert metadata["model_provider"] == "aimlernie"
    assert metadata["finish_reason"] == "tool_calls"
    assert not {"credits_used", "usd_spent"} & metadata.keys()


def test_a_model_name_is_sent_unchanged_to_the_server_of_the_environment(server, monkeypatch):
    monkeypatch.setenv("AIMLAPI_API_BASE", server.base_url)
    for name in (NAME, REASONING, VISION):
        server.reply("ok")
        message = ChatAimlErnie(model=name).invoke("hi")
        assert (message.text, message.response_metadata["model_name"]) == ("ok", name)
        assert server.last_request.body["model"] == name


def test_an_agent_without_a_profile_gets_its_schema_as_a_tool(server):
    llm = ChatAimlErnie(model=FINE_TUNED, base_url=server.base_url)
    assert llm.profile is None
    server.reply(tool_calls=[{"name": "Weather", "args": {"city": "Köln"}}])
    server.reply('{"city": "Köln"}')
    known = llm.model_copy(update={"profile": {"structured_output": True}})
    for each in (llm, known):
        result = create_agent(each, response_format=Weather).invoke(question("hi"))
        assert result["structured_response"] == Weather(city="Köln")
    as_a_tool, as_a_format = (request.body for request in server.requests)
    assert as_a_tool["tool_choice"] == "required"
    assert as_a_format["response_format"]["type"] == "json_schema"


def test_a_stream_in_one_event_is_read(server, llm):
    """Some gateways buffer: one event with the whole message, or a JSON response to a stream."""
    message = VLLM.whole(Completion("whole"))
    whole = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    for reply in ({"body": whole}, {"events": [whole, "[DONE]"]}):
        server.reply(**reply)
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
