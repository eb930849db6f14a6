"""Reasoning: its place in a message, its tokens, its settings, and when it is replayed."""

from __future__ import annotations

import asyncio

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.testing import ErnieServer, Reply
from tests.support.modes import MODES, ask, chunks_of, joined

THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
FIVE = "baidu/ernie-5.0"
SELF_HOSTED = "ERNIE-4.5-21B-A3B-Thinking-PT"
REASONING = "The sky scatters 蓝 light. "
ANSWER = "\nBecause of air."

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@pytest.fixture(scope="module")
def self_hosted_server():
    """A self-hosted server: no key, and no schema that rejects a field."""
    with ErnieServer(api_key=None, models={SELF_HOSTED: THINKING}) as server:
        yield server


@pytest.fixture
def self_hosted(self_hosted_server, monkeypatch):
    """Return a factory of models at that server."""
    monkeypatch.delenv("AIMLAPI_API_KEY", raising=False)
    self_hosted_server.reset()
    yield lambda **settings: ChatAimlErnie(
        model=SELF_HOSTED, base_url=self_hosted_server.base_url, **settings
    )
    self_hosted_server.reset()


# Its place in a message.


@pytest.mark.parametrize("method", MODES)
@pytest.mark.parametrize("model_id", [THINKING, FIVE, "baidu/ernie-x1-turbo-32k"])
async def test_reasoning_is_separate_from_the_text_and_counted(
    model, ernie_server, method, model_id
):
    ernie_server.reply(ANSWER, reasoning=REASONING)
    message = await ask(model(model=model_id), "why?", method)
    assert message.content == message.text == ANSWER
    assert message.additional_kwargs == {"reasoning_content": REASONING}
    first, second = message.content_blocks
    assert first["reasoning"] == REASONING
    assert second["text"] == ANSWER
    usage = message.usage_metadata
    counted = ernie_server.last_request.usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["output_token_details"]["reasoning"] == counted > 0
    assert usage["output_tokens"] > counted

    ernie_server.reply("", reasoning=REASONING, finish_reason="length")
    message = await ask(model(model=model_id), "why?", method)
    assert (message.text, message.response_metadata["finish_reason"]) == ("", "length")
    assert message.additional_kwargs["reasoning_content"] == REASONING


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("method", MODES)
async def test_reasoning_comes_before_the_text(model, ernie_server, method, version):
    call = {"name": "look", "args": {}, "id": "c"}
    ernie_server.reply(ANSWER, reasoning=REASONING, tool_calls=[call])
    chunks = await chunks_of(model(model=THINKING, output_version=version), "why?", method)
    types = [block["type"] for chunk in chunks for block in chunk.content_blocks]
    order = list(dict.fromkeys(types))
    assert order[:2] == ["reasoning", "text"]
    assert order[2] in ("tool_call", "tool_call_chunk")
    assert types == sorted(types, key=order.index)
    if "stream" in method:
        assert types.count("reasoning") > 3
        assert types.count("text") > 3
    whole = joined(chunks)
    reasoning, text, tool_call = whole.content if version == "v1" else whole.content_blocks
    assert (reasoning["reasoning"], text["text"]) == (REASONING, ANSWER)
    assert (tool_call["type"], whole.text) == ("tool_call", ANSWER)


async def test_v3_streams_reasoning_and_text_separately(model, ernie_server):
    ernie_server.reply(ANSWER, reasoning=REASONING, times=2)
    llm = model(model=THINKING)
    stream = llm.stream_events("why?", version="v3")
    assert "".join(stream.reasoning) == REASONING
    assert "".join(stream.text) == ANSWER
    later = await llm.astream_events("why?", version="v3")
    assert "".join([piece async for piece in later.reasoning]) == REASONING
    message = await later.output
    assert [block["type"] for block in message.content] == ["reasoning", "text"]


@pytest.mark.parametrize("method", MODES)
async def test_messages_without_reasoning_have_no_key_for_it(model, ernie_server, method):
    for reasoning in (None, ""):
        ernie_server.reply("Hi.", reasoning=reasoning)
        message = await ask(model(), "hi", method)
        assert "reasoning_content" not in message.additional_kwargs
        assert [block["type"] for block in message.content_blocks] == ["text"]
        assert message.usage_metadata["output_token_details"]["reasoning"] == 0


@pytest.mark.slow
async def test_reasoning_of_concurrent_calls_is_not_mixed(model, ernie_server):
    def respond(request):
        number = request.body["messages"][0]["content"]
        return Reply(f"answer {number}", reasoning=f"reasoning {number}")

    ernie_server.on_request = respond
    llm = model(model=THINKING, streaming=True)
    answers = await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(20)))
    assert [(each.additional_kwargs["reasoning_content"], each.text) for each in answers] == [
        (f"reasoning {number}", f"answer {number}") for number in range(20)
    ]


# Replay.


def history_of(llm, server, form):
    """Return a conversation with reasoning, a tool call and an answer, in one output form."""
    messages = [HumanMessage("why?")]
    server.reply(
        "I look.", reasoning="First. ", tool_calls=[{"name": "look", "args": {}, "id": "c"}]
    )
    server.reply("Air.", reasoning="Second. ")
    for more in ([], [ToolMessage("seen", tool_call_id="c")]):
        messages += more
        if form == "v3":
            messages.append(llm.stream_events(messages, version="v3").output)
        else:
            messages.append(llm.invoke(messages))
    return [*messages, HumanMessage("and?")]


OUTPUT_FORMS = {
    "v0": {},
    "v0 streamed": {"streaming": True},
    "v1": {"output_version": "v1"},
    "v1 streamed": {"output_version": "v1", "streaming": True},
    "v3": {},
}


@pytest.mark.parametrize("form", OUTPUT_FORMS)
async def test_earlier_reasoning_is_not_replayed(model, ernie_server, form):
    llm = model(model=FIVE, **OUTPUT_FORMS[form])
    messages = history_of(llm, ernie_server, form)
    for method in ("invoke", "astream"):
        await chunks_of(llm, messages, method)
        request = ernie_server.last_request
        assert request.ignored == []
        assert b"First." not in request.raw
        assert b"Second." not in request.raw
        texts = [each["content"] for each in request.body["messages"]]
        assert texts == ["why?", "I look.", "seen", "Air.", "and?"]


@pytest.mark.parametrize("form", OUTPUT_FORMS)
async def test_reasoning_is_replayed_on_request(self_hosted, self_hosted_server, form):
    messages = history_of(self_hosted(**OUTPUT_FORMS[form]), self_hosted_server, form)
    setting = {"replay_reasoning": True}
    for llm, mode, options in (
        (self_hosted(**setting), "invoke", {}),
        (self_hosted(), "astream", setting),
        (self_hosted().bind(**setting), "stream", {}),
    ):
        await chunks_of(llm, messages, mode, **options)
        sent = self_hosted_server.last_request.body["messages"]
        reasoning = [each.get("reasoning_content") for each in sent]
        assert reasoning == [None, "First. ", None, "Second. ", None]
        assert [each["content"] for each in sent] == ["why?", "I look.", "seen", "Air.", "and?"]
        await chunks_of(llm, messages, mode, replay_reasoning=False)
        assert b"First." not in self_hosted_server.last_request.raw


def test_only_our_own_reasoning_is_replayed(self_hosted, self_hosted_server):
    providers = ("aimlernie", "", "anthropic", "deepseek")
    messages = [
        AIMessage(
            [{"type": "reasoning", "reasoning": f"by {each}"}, {"type": "text", "text": "t"}],
            additional_kwargs={"reasoning_content": f"by {each}"},
            response_metadata={"model_provider": each} if each else {},
        )
        for each in providers
    ]
    self_hosted(replay_reasoning=True).invoke([HumanMessage("why?"), *messages])
    sent = self_hosted_server.last_request.body["messages"][1:]
    assert [each.get("reasoning_content") for each in sent] == ["by aimlernie", "by ", None, None]


# The thinking settings of ernie-5.0.


async def test_enable_thinking(model, ernie_server):
    for setting in ({"enable_thinking": False}, {"enable_thinking": True}, {}):
        message = await ask(model(model=FIVE), "why?", "invoke", **setting)
        assert ernie_server.last_request.body.get("enable_thinking") is setting.get(
            "enable_thinking"
        )
        assert ("reasoning_content" in message.additional_kwargs) is (False not in setting.values())


def test_thinking_budget(model, ernie_server):
    long = "why " * 500
    free = model(model=FIVE).invoke(long)
    bound = model(model=FIVE, thinking_budget=100).invoke(long)
    assert ernie_server.last_request.body["thinking_budget"] == 100
    counts = [each.usage_metadata["output_token_details"]["reasoning"] for each in (free, bound)]
    assert counts[0] > counts[1] == 100


# `<think>` blocks, which self-hosted servers leave in the text.

AIR = ANSWER.lstrip()  # line breaks after the tags are dropped
INLINE = {
    f"\n<think>\n{REASONING}\n</think>\n\n{ANSWER}": (REASONING, AIR),
    f"<think>\n{REASONING}\n</think>\n\n<response>\n{ANSWER}\n</response>\n": (REASONING, AIR),
    f"<think></think>{ANSWER}": ("", AIR),
    "<think>never ends": ("never ends", ""),
    "Use <think>tags</think> so.": ("", "Use <think>tags</think> so."),
}


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("text", INLINE)
async def test_think_blocks_are_parsed(self_hosted, self_hosted_server, text, version):
    reasoning_text, answer = INLINE[text]
    self_hosted_server.reply(text, times=2)
    for mode in ("invoke", "astream"):
        message = await ask(self_hosted(output_version=version), "why?", mode)
        assert message.text == answer
        assert message.additional_kwargs.get("reasoning_content", "") == reasoning_text
        types = [block["type"] for block in message.content_blocks]
        assert types == ["reasoning"] * bool(reasoning_text) + ["text"] * bool(answer)


def test_think_blocks_are_streamed_and_replayed_on_request(self_hosted, self_hosted_server):
    self_hosted_server.reply(f"<think>{REASONING * 5}</think>Air.")
    chunks = list(self_hosted().stream("why?"))
    reasoning = [each.additional_kwargs.get("reasoning_content", "") for each in chunks]
    assert len(list(filter(None, reasoning))) > 10
    assert "".join(reasoning) == REASONING * 5
    messages = [HumanMessage("why?"), joined(chunks), HumanMessage("and?")]
    answer = {"role": "assistant", "content": "Air."}
    self_hosted().invoke(messages)
    assert self_hosted_server.last_request.body["messages"][1] == answer
    self_hosted(replay_reasoning=True).invoke(messages)
    answer["reasoning_content"] = REASONING * 5
    assert self_hosted_server.last_request.body["messages"][1] == answer
