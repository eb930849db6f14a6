"""Tool calls in agents: parallel, failed, invalid, without text."""

from __future__ import annotations

import json

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import ToolException, tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, create_react_agent, tools_condition
from langgraph.warnings import LangGraphDeprecatedSinceV10
from pydantic import BaseModel

from tests.support.agents import FIVE, PLAIN, THINKING, TWO_CITIES, question, weather

SETTINGS = [{}, {"output_version": "v1", "streaming": True}]


def sent(server, number=-1):
    """Return a request's messages as (role, text, tool call ids or tool_call_id)."""
    facts = []
    for message in server.requests[number].body["messages"]:
        calls = [call["id"] for call in message.get("tool_calls", ())]
        identity = message.get("tool_call_id")
        facts.append((message["role"], message["content"], calls or identity))
    return facts


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("model_id", [PLAIN, THINKING, FIVE])
def test_parallel_tool_calls_each_get_a_result(model, ernie_server, ask, settings, model_id):
    reasoning = None if model_id == PLAIN else "Two cities, two calls."
    ernie_server.reply("I look.", reasoning=reasoning, tool_calls=TWO_CITIES)
    ernie_server.reply("Sun in both.")
    llm = model(model=model_id, **settings)
    result = ask(create_agent(llm, [weather], system_prompt="Be brief."), question())
    assert sent(ernie_server) == [
        ("system", "Be brief.", None),
        ("user", "Weather?", None),
        ("assistant", "I look.", ["call_a", "call_b"]),
        ("tool", "Köln: sun", "call_a"),
        ("tool", "北京: sun", "call_b"),
    ]
    _, called, *_, answer = result["messages"]
    kinds = [block["type"] for block in called.content_blocks]
    assert kinds == ["reasoning"] * bool(reasoning) + ["text", "tool_call", "tool_call"]
    assert answer.text == "Sun in both."
    assert answer.usage_metadata["total_tokens"] > 0


@pytest.fixture
def failed():
    """A tool that fails as tools do, and tells the model so."""

    @tool
    def broken() -> str:
        """Fail."""
        raise ToolException("out of order")

    broken.handle_tool_error = True
    return broken


def test_tool_errors_are_sent_to_the_model(model, ernie_server, ask, failed):
    calls = [
        {"name": "broken", "args": {}, "id": "c1"},
        {"name": "weather", "args": {"place": "Köln"}, "id": "c2"},
        {"name": "no_such_tool", "args": {}, "id": "c3"},
        {"name": "weather", "args": {"city": "Köln"}, "id": "c4"},
    ]
    ernie_server.reply(tool_calls=calls)
    ernie_server.reply("Sorry.")
    result = ask(create_agent(model(), [weather, failed]), question())
    statuses = [each.status for each in result["messages"] if isinstance(each, ToolMessage)]
    assert statuses == ["error", "error", "error", "success"]
    *errors, (_, worked, worked_id) = sent(ernie_server)[2:]
    assert [identity for *_, identity in errors] == ["c1", "c2", "c3"]
    for (_, sent_back, _), word in zip(
        errors, ("out of order", "city", "no_such_tool"), strict=True
    ):
        assert sent_back.startswith("Error")
        assert word in sent_back
    assert (worked, worked_id) == ("Köln: sun", "c4")


BROKEN = ['{"city": "Kö', "{'city': 'Köln'}", "[1, 2]", "Köln", '{"city": "Köln"} and more']


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("settings", SETTINGS)
def test_invalid_tool_calls_are_sent_back_with_an_error_result(
    model, ernie_server, ask, arguments, settings
):
    calls = [{"name": "weather", "args": arguments, "id": "bad"}, TWO_CITIES[1]]
    ernie_server.reply(tool_calls=calls)
    ernie_server.reply("Only one.")
    llm = model(**settings)
    result = ask(create_agent(llm, [weather]), question())
    called = result["messages"][1]
    (valid,), (invalid,) = called.tool_calls, called.invalid_tool_calls
    assert (valid["id"], valid["args"]) == ("call_b", {"city": "北京"})
    assert (invalid["id"], invalid["name"]) == ("bad", "weather")
    assert invalid["args"].startswith(arguments)
    results = {identity: text for role, text, identity in sent(ernie_server) if role == "tool"}
    assert results.keys() == {"bad", "call_b"}
    assert "malformed" in results["bad"]
    echoed = ernie_server.last_request.body["messages"][1]["tool_calls"]
    assert {call["id"] for call in echoed} == {"bad", "call_b"}
    for call in echoed:
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


def test_a_tool_call_truncated_by_the_token_limit_is_invalid(model, ernie_server, ask):
    ernie_server.reply(
        tool_calls=[{"name": "weather", "args": '{"city": "北', "id": "cut"}],
        finish_reason="length",
    )
    result = ask(create_agent(model(streaming=True), [weather]), question())
    answer = result["messages"][-1]
    assert answer.tool_calls == []
    assert answer.invalid_tool_calls[0]["args"].startswith('{"city": "北')
    assert answer.response_metadata["finish_reason"] == "length"


def test_a_tool_without_parameters_is_called_without_arguments(model, ernie_server, ask):
    def clock() -> dict[str, int]:
        """Return the time."""
        return {"时": 12}

    ernie_server.reply(tool_calls=[{"name": "clock", "args": "", "id": "c"}])
    ernie_server.reply("Noon.")
    result = ask(create_agent(model(streaming=True), [clock]), question())
    assert result["messages"][1].tool_calls[0]["args"] == {}
    assert sent(ernie_server)[-1] == ("tool", '{"时": 12}', "c")
    (tool,) = ernie_server.last_request.body["tools"]
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}


def test_multiple_turns_with_tools_and_reasoning(model, ernie_server, ask):
    agent = create_agent(model(model=THINKING), [weather])
    messages = []
    for turn in range(3):
        ernie_server.reply(reasoning="Think.", tool_calls=TWO_CITIES[:1])
        ernie_server.reply(f"Answer {turn}", reasoning="Think more.")
        state = {"messages": [*messages, HumanMessage(f"Question {turn}")]}
        messages = ask(agent, state)["messages"]
    roles = [role for role, *_ in sent(ernie_server)]
    assert roles == ["user", "assistant", "tool", "assistant"] * 2 + ["user", "assistant", "tool"]
    assert len({message.id for message in messages}) == len(messages)
    for message in ernie_server.last_request.body["messages"]:
        assert "reasoning_content" not in message


def test_custom_graph_with_tool_node(model, ernie_server, ask, failed):
    llm = model(streaming=True).bind_tools([weather, failed])

    def call(state):
        return {"messages": [llm.invoke(state["messages"])]}

    async def acall(state):
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", RunnableLambda(call, acall))
    builder.add_node("tools", ToolNode([weather, failed]))
    builder.add_edge(START, "model")
    builder.add_conditional_edges("model", tools_condition, {"tools": "tools", END: END})
    builder.add_edge("tools", "model")
    ernie_server.reply(tool_calls=[{"name": "broken", "args": {}, "id": "c"}, TWO_CITIES[0]])
    ernie_server.reply("Sun in one.")
    result = ask(builder.compile(), question())
    assert result["messages"][-1].text == "Sun in one."
    assert [identity for *_, identity in sent(ernie_server)[2:]] == ["c", "call_a"]


class Summary(BaseModel):
    """What was found."""

    city: str


def prebuilt(*args, **kwargs):
    with pytest.warns(LangGraphDeprecatedSinceV10):
        return create_react_agent(*args, **kwargs)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_create_react_agent(model, ernie_server, ask, version):
    ernie_server.reply("I look.", tool_calls=TWO_CITIES)
    ernie_server.reply("Sun in both.")
    ernie_server.reply('{"city": "Köln"}')
    agent = prebuilt(
        model(), [weather], prompt="Be brief.", response_format=Summary, version=version
    )
    result = ask(agent, question())
    assert isinstance(result["messages"][-1], AIMessage)
    assert result["structured_response"] == Summary(city="Köln")
    roles = [role for role, *_ in sent(ernie_server, 1)]
    assert roles == ["system", "user", "assistant", "tool", "tool"]


def test_create_react_agent_accepts_a_bound_model(model, ernie_server, ask):
    ernie_server.reply(tool_calls=TWO_CITIES[:1])
    ernie_server.reply("Sun.")
    bound = model().bind_tools([weather], tool_choice="auto", parallel_tool_calls=False)
    result = ask(prebuilt(bound, [weather]), question())
    assert result["messages"][-1].text == "Sun."
    for request in ernie_server.requests:
        assert len(request.body["tools"]) == 1
        assert request.body["parallel_tool_calls"] is False
