"""Streaming from agents and subgraphs: `messages` mode, events v2 and v3."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableConfig  # noqa: TC002  # tools read their signatures
from langchain_core.tools import StructuredTool
from langgraph.graph import START, MessagesState, StateGraph

from tests.support.agents import PLAIN, THINKING, TWO_CITIES, question, weather

V3 = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
ARGS = [call["args"] for call in TWO_CITIES]


@pytest.fixture(params=["sync", "async"])
def stream(request):
    """List what a graph streams, in this thread or in an event loop of its own."""

    async def collect(graph, value, **kwargs):
        return [each async for each in graph.astream(value, **kwargs)]

    def stream(graph, value, **kwargs):
        if request.param == "sync":
            return list(graph.stream(value, **kwargs))
        return asyncio.run(collect(graph, value, **kwargs))

    return stream


def merged(chunks):
    """Merge chunks by message."""
    whole = {}
    for chunk in chunks:
        whole[chunk.id] = whole[chunk.id] + chunk if chunk.id in whole else chunk
    return list(whole.values())


@pytest.mark.parametrize("model_id", [PLAIN, THINKING])
def test_messages_mode_streams_each_token_once(model, ernie_server, stream, version, model_id):
    reasoning = "Two cities, two calls." if model_id == THINKING else None
    ernie_server.reply("I look it up.", reasoning=reasoning, tool_calls=TWO_CITIES)
    ernie_server.reply("Sun in both cities.", reasoning=reasoning)
    agent = create_agent(model(model=model_id, output_version=version), [weather])
    streamed = [message for message, _ in stream(agent, question(), stream_mode="messages")]
    chunks = [message for message in streamed if isinstance(message, AIMessageChunk)]
    results = [message for message in streamed if isinstance(message, ToolMessage)]
    assert len(chunks) > 10
    assert sorted(result.tool_call_id for result in results) == ["call_a", "call_b"]
    assert all(request.body["stream"] is True for request in ernie_server.requests)

    called, answered = merged(chunks)
    assert called.text == "I look it up."
    assert answered.text == "Sun in both cities."
    assert [call["args"] for call in called.tool_calls] == ARGS
    assert called.invalid_tool_calls == []
    kinds = [block["type"] for block in called.content_blocks]
    assert kinds == ["reasoning"] * bool(reasoning) + ["text", "tool_call", "tool_call"]
    for message in (called, answered):
        assert message.usage_metadata["total_tokens"] > 0
        assert message.response_metadata["model_provider"] == "aimlernie"
        assert message.response_metadata["model_name"] == model_id
        assert message.response_metadata["credits_used"] > 0


def nested(model):
    """An agent in a graph, whose tool asks an agent of its own."""
    expert = create_agent(model(model=THINKING), [weather], name="expert")

    def consult(config: RunnableConfig, request: str) -> str:
        """Ask the expert."""
        return expert.invoke(question(request), config)["messages"][-1].text

    async def aconsult(config: RunnableConfig, request: str) -> str:
        """Ask the expert."""
        result = await expert.ainvoke(question(request), config)
        return result["messages"][-1].text

    tool = StructuredTool.from_function(consult, aconsult, name="consult")
    builder = StateGraph(MessagesState)
    builder.add_node("boss", create_agent(model(), [tool], name="boss"))
    builder.add_edge(START, "boss")
    return builder.compile()


def nested_script(server):
    server.reply("I ask.", tool_calls=[{"name": "consult", "args": {"request": "天气?"}}])
    server.reply("Looking it up.", reasoning="One call.", tool_calls=TWO_CITIES[:1])
    server.reply("Köln has sun.", reasoning="It is said.")
    server.reply("The expert says sun.")


TEXTS = ["I ask.", "Looking it up.", "Köln has sun.", "The expert says sun."]


def test_messages_mode_streams_from_subgraphs(model, ernie_server, stream):
    nested_script(ernie_server)
    streamed = stream(nested(model), question(), stream_mode="messages", subgraphs=True)
    depths = defaultdict(set)
    chunks = []
    for namespace, (message, metadata) in streamed:
        if isinstance(message, AIMessageChunk):
            chunks.append(message)
            depths[message.id].add(len(namespace))
            assert metadata["ls_provider"] == "aimlernie"
    messages = merged(chunks)
    assert [message.text for message in messages] == TEXTS
    assert [sorted(depths[message.id]) for message in messages] == [[1], [2], [2], [1]]
    reasoning = [message.additional_kwargs.get("reasoning_content") for message in messages]
    assert reasoning == [None, "One call.", "It is said.", None]
    assert len(chunks) > 20


def stream_v3(agent):
    """Return what v3 streams of each message, and the history."""
    with agent.stream_events(question(), version="v3") as run:
        seen = [
            (list(each.reasoning), list(each.text), each.tool_calls.get()) for each in run.messages
        ]
        return seen, run.output["messages"]


async def astream_v3(agent):
    async with await agent.astream_events(question(), version="v3") as run:
        seen = []
        async for each in run.messages:
            reasoning = [part async for part in each.reasoning]
            seen.append((reasoning, [part async for part in each.text], await each.tool_calls))
        return seen, (await run.output())["messages"]


@V3
@pytest.mark.parametrize("run", [stream_v3, lambda agent: asyncio.run(astream_v3(agent))])
def test_v3_streams_reasoning_text_and_tool_calls(model, ernie_server, run):
    ernie_server.reply("I look.", reasoning="Two cities.", tool_calls=TWO_CITIES)
    ernie_server.reply("Sun in both.", reasoning="Good.")
    agent = create_agent(model(model=THINKING), [weather])
    ((first_reasoning, first_text, calls), (reasoning, text, none)), messages = run(agent)
    assert ("".join(first_reasoning), "".join(first_text)) == ("Two cities.", "I look.")
    assert ("".join(reasoning), "".join(text)) == ("Good.", "Sun in both.")
    assert min(len(first_reasoning), len(text)) > 1
    assert [call["args"] for call in calls] == ARGS
    assert none == []
    _, called, *results, answer = messages
    kinds = [block["type"] for block in called.content]
    assert kinds == ["reasoning", "text", "tool_call", "tool_call"]
    assert {each.tool_call_id for each in results} == {"call_a", "call_b"}
    assert answer.text == "Sun in both."
    assert answer.usage_metadata["output_token_details"]["reasoning"] > 0
    assert answer.response_metadata["credits_used"] > 0

    # v3 leaves lists of blocks in the history, which must go on as text and calls.
    ernie_server.reply("Yes.")
    agent.invoke({"messages": [*messages, HumanMessage("Really?")]})
    _, called, *_, answered, asked = ernie_server.last_request.body["messages"]
    assert called["content"] == "I look."
    assert [call["id"] for call in called["tool_calls"]] == ["call_a", "call_b"]
    assert answered == {"role": "assistant", "content": "Sun in both."}
    assert asked["content"] == "Really?"
    for thought in ("Two cities.", "Good."):
        assert thought not in str(ernie_server.last_request.body)
