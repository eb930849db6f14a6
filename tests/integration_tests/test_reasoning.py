"""Reasoning: its place in a message, its tokens, its settings, and when it is replayed."""

import functools

import pytest
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.testing import ErnieServer
from tests.support.agents import FIVE, THINKING
from tests.support.modes import MODES, OUTPUT_FORMS, ask, chunks_of, joined, respond

SELF_HOSTED = "ERNIE-4.5-21B-A3B-Thinking-PT"
REASONING = "The sky scatters 蓝 light. "
ANSWER = "\nBecause of air."
LOOK = {"name": "look", "args": {}, "id": "c"}

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")


@pytest.fixture(scope="module")
def self_hosted_server():
    """A self-hosted server: no key, and no schema that rejects a field."""
    with ErnieServer(api_key=None, models={SELF_HOSTED: THINKING}) as server:
        yield server


@pytest.fixture
def self_hosted(self_hosted_server):
    """Return a factory of models at that server."""
    yield functools.partial(ChatAimlErnie, model=SELF_HOSTED, base_url=self_hosted_server.base_url)
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
    assert message.content_blocks == [
        *[{"type": "reasoning", "reasoning": REASONING} | _index(message, "lc_reasoning")],
        *[{"type": "text", "text": ANSWER} | _index(message, "lc_text")],
    ]
    usage = message.usage_metadata
    counted = ernie_server.last_request.usage["completion_tokens_details"]["reasoning_tokens"]
    assert usage["output_token_details"]["reasoning"] == counted > 0
    assert usage["output_tokens"] > counted


def _index(message, name):
    return {"index": name} if isinstance(message, AIMessageChunk) else {}


@pytest.mark.parametrize("method", MODES)
async def test_reasoning_comes_before_the_text(model, ernie_server, method, version):
    ernie_server.reply(ANSWER, reasoning=REASONING, tool_calls=[LOOK])
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


# Replay.


def history_of(llm, server, form):
    """Return a conversation with reasoning, a tool call and an answer, in one output form."""
    messages = [HumanMessage("why?")]
    server.reply("I look.", reasoning="First. ", tool_calls=[LOOK])
    server.reply("Air.", reasoning="Second. ")
    for more in ([], [ToolMessage("seen", tool_call_id="c")]):
        messages += more
        messages.append(respond(llm, messages, form))
    return [*messages, HumanMessage("and?")]


@pytest.mark.parametrize("form", OUTPUT_FORMS)
@pytest.mark.parametrize("model_id", [THINKING, FIVE])
async def test_earlier_reasoning_is_not_replayed(model, ernie_server, form, model_id):
    llm = model(model=model_id, **OUTPUT_FORMS[form])
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
@pytest.mark.parametrize("how", ["constructor", "call", "bind"])
async def test_reasoning_is_replayed_on_request(self_hosted, self_hosted_server, form, how):
    messages = history_of(self_hosted(**OUTPUT_FORMS[form]), self_hosted_server, form)
    setting = {"replay_reasoning": True}
    llm = self_hosted(**(setting if how == "constructor" else {}))
    llm = llm.bind(**setting) if how == "bind" else llm
    for method in ("invoke", "astream"):
        await chunks_of(llm, messages, method, **(setting if how == "call" else {}))
        sent = self_hosted_server.last_request.body["messages"]
        reasoning = [each.get("reasoning_content") for each in sent]
        assert reasoning == [None, "First. ", None, "Second. ", None]
        assert [each["content"] for each in sent] == ["why?", "I look.", "seen", "Air.", "and?"]
    await ask(llm, messages, "invoke", replay_reasoning=False)
    assert b"First." not in self_hosted_server.last_request.raw


# `<think>` blocks and `<response>` tags, which self-hosted servers leave in the text.


@pytest.mark.parametrize("method", MODES)
async def test_response_tags_after_reasoning_in_its_field_are_a_self_hosted_server_s(
    self_hosted, self_hosted_server, method
):
    text = "\n\n<response>\nAir.\n</response>\n"
    for header, expected in ((None, "Air."), ("inf-1", text)):
        headers = {"x-inference-id": header}
        self_hosted_server.reply(text, reasoning=REASONING, headers=headers)
        message = await ask(self_hosted(), "why?", method)
        assert message.content == expected
        assert message.additional_kwargs == {"reasoning_content": REASONING}
    headers = {"x-inference-id": None}
    self_hosted_server.reply(f"<think>More.</think>{text}", reasoning=REASONING, headers=headers)
    message = await ask(self_hosted(), "why?", method)
    assert message.additional_kwargs == {"reasoning_content": f"{REASONING}More."}
    assert message.content == "Air."
    self_hosted_server.reply(text, headers=headers)
    assert (await ask(self_hosted(), "why?", method, enable_thinking=False)).content == text


def test_think_blocks_are_streamed(self_hosted, self_hosted_server):
    self_hosted_server.reply(f"<think>{REASONING * 5}</think>{ANSWER}")
    messages = list(self_hosted().stream("why?"))
    reasoning = [each.additional_kwargs.get("reasoning_content", "") for each in messages]
    assert len(list(filter(None, reasoning))) > 10
    assert "".join(reasoning) == REASONING * 5
