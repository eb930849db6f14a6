"""Tool calls in agents, alone, with a human in the loop, and as handoffs from agent to agent."""

from __future__ import annotations

import json
from typing import Annotated

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, create_react_agent
from langgraph.types import Command
from langgraph.warnings import LangGraphDeprecatedSinceV10

from langchain_aimlernie.errors import AuthenticationError
from tests.support.agents import FIVE, PLAIN, THINKING, TWO_CITIES, question, weather

SETTINGS = [{}, {"output_version": "v1", "streaming": True}]
THREAD = {"configurable": {"thread_id": "1"}}


def sent(server, number=-1):
    """Return a request's messages as (role, text, tool call ids or tool_call_id)."""
    facts = []
    for message in server.requests[number].body["messages"]:
        calls = [call["id"] for call in message.get("tool_calls", ())]
        identity = message.get("tool_call_id")
        facts.append((message["role"], message["content"], calls or identity))
    return facts


def roles(server, number=-1):
    return [role for role, *_ in sent(server, number)]


def results(server):
    return {identity: text for role, text, identity in sent(server) if role == "tool"}


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


BROKEN = ['{"city": "Kö', "{'city': 'Köln'}", "[1, 2]", "Köln", '{"city": "Köln"} and more']


@pytest.mark.parametrize("arguments", BROKEN)
@pytest.mark.parametrize("settings", SETTINGS)
def test_invalid_tool_calls_are_sent_back_with_an_error_result(
    model, ernie_server, ask, arguments, settings
):
    calls = [{"name": "weather", "args": arguments, "id": "bad"}, TWO_CITIES[1]]
    ernie_server.reply(tool_calls=calls)
    ernie_server.reply("Only one.")
    called = ask(create_agent(model(**settings), [weather]), question())["messages"][1]
    (valid,), (invalid,) = called.tool_calls, called.invalid_tool_calls
    assert (valid["id"], valid["args"]) == ("call_b", {"city": "北京"})
    assert (invalid["id"], invalid["name"]) == ("bad", "weather")
    assert invalid["args"].startswith(arguments)
    sent_back = results(ernie_server)
    assert sent_back.keys() == {"bad", "call_b"}
    assert "malformed" in sent_back["bad"]
    echoed = ernie_server.last_request.body["messages"][1]["tool_calls"]
    assert {call["id"] for call in echoed} == {"bad", "call_b"}
    for call in echoed:
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


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


def test_create_react_agent_accepts_a_bound_model(model, ernie_server, ask):
    ernie_server.reply(tool_calls=TWO_CITIES[:1])
    ernie_server.reply("Sun.")
    bound = model().bind_tools([weather], tool_choice="auto", parallel_tool_calls=False)
    with pytest.warns(LangGraphDeprecatedSinceV10):
        agent = create_react_agent(bound, [weather])
    assert ask(agent, question())["messages"][-1].text == "Sun."
    for request in ernie_server.requests:
        assert len(request.body["tools"]) == 1
        assert request.body["parallel_tool_calls"] is False


# Checkpoints.

TRANSFERS = [
    {"name": "transfer", "args": {"euros": 10, "to": "Anna"}, "id": "a"},
    {"name": "transfer", "args": {"euros": 9000, "to": "Mallory"}, "id": "m"},
    {"name": "balance", "args": {}, "id": "b"},
]


@pytest.fixture
def bank():
    """Tools, and what they did."""
    done = []

    def transfer(euros: int, to: str) -> str:
        """Transfer money."""
        done.append((euros, to))
        return f"{euros} to {to}"

    def balance() -> str:
        """Return the balance."""
        return "500"

    return [transfer, balance], done


@pytest.mark.parametrize("settings", SETTINGS)
def test_human_in_the_loop_edits_and_rejects(model, ernie_server, ask, bank, settings):
    tools, done = bank
    ernie_server.reply("Paying.", reasoning="Three steps.", tool_calls=TRANSFERS)
    ernie_server.reply("Paid one.")
    agent = create_agent(
        model(model=THINKING, **settings),
        tools,
        middleware=[HumanInTheLoopMiddleware({"transfer": True})],
        checkpointer=InMemorySaver(),
    )
    (request,) = ask(agent, question(), THREAD)["__interrupt__"]
    assert [each["args"]["to"] for each in request.value["action_requests"]] == ["Anna", "Mallory"]
    assert done == []
    assert len(ernie_server.requests) == 1

    five = {"name": "transfer", "args": {"euros": 5, "to": "Anna"}}
    reject = {"type": "reject", "message": "Never to Mallory."}
    resume = {"decisions": [{"type": "edit", "edited_action": five}, reject]}
    result = ask(agent, Command(resume=resume), THREAD)
    assert result["messages"][-1].text == "Paid one."
    assert done == [(5, "Anna")]
    sent_back = results(ernie_server)
    assert sent_back.keys() == {"a", "m", "b"}
    assert "5 to Anna" in sent_back["a"]
    assert "Never to Mallory." in sent_back["m"]
    assert sent_back["m"].startswith("Error")
    assert sent_back["b"] == "500"


def test_messages_survive_checkpoint_serialization(model, ernie_server, version):
    calls = [*TRANSFERS, {"name": "transfer", "args": '{"euros": ', "id": "x"}]
    ernie_server.reply("Paying.", reasoning="Steps.", tool_calls=calls)
    message = model(model=THINKING, output_version=version).invoke("hi")
    serde = JsonPlusSerializer()
    again = serde.loads_typed(serde.dumps_typed(message))
    assert isinstance(again, AIMessage)
    assert again == message
    assert again.content_blocks == message.content_blocks


def test_a_rejected_key_is_not_in_the_checkpoint(model, ernie_server, ask):
    saver = InMemorySaver()
    agent = create_agent(model(api_key="wrong-key-value"), checkpointer=saver)
    with pytest.raises(AuthenticationError):
        ask(agent, question(), THREAD)
    assert "wrong-key-value" not in repr(list(saver.list(THREAD)))


# Handoffs.


def hand_off_to(name: str):
    """Make the tool by which an agent hands the whole conversation to another one."""

    @tool(f"transfer_to_{name}", description=f"Hand the user over to {name}.")
    def transfer(
        state: Annotated[dict, InjectedState], tool_call_id: Annotated[str, InjectedToolCallId]
    ) -> Command:
        done = ToolMessage(f"Over to {name}.", name=f"to_{name}", tool_call_id=tool_call_id)
        messages = [*state["messages"], done]
        return Command(goto=name, graph=Command.PARENT, update={"messages": messages})

    return transfer


def team(*agents):
    """A graph of agents, each of whom may hand the user over to the others."""
    builder = StateGraph(MessagesState)
    for agent in agents:
        others = tuple(each.name for each in agents if each is not agent)
        builder.add_node(agent.name, agent, destinations=others)
    builder.add_edge(START, agents[0].name)
    return builder.compile(checkpointer=InMemorySaver())


@pytest.mark.parametrize("settings", [{}, {"streaming": True}, {"output_version": "v1"}])
def test_handoffs_between_agents_of_different_models(model, ernie_server, ask, settings):
    prompts = {"desk": "You are the desk.", "refunds": "You make refunds."}
    models = {"desk": model(**settings), "refunds": model(model=THINKING, **settings)}
    tools = {"desk": [hand_off_to("refunds")], "refunds": [hand_off_to("desk")]}
    graph = team(
        *(
            create_agent(models[name], tools[name], name=name, system_prompt=prompts[name])
            for name in prompts
        )
    )
    ernie_server.reply("One moment.", tool_calls=[{"name": "transfer_to_refunds", "args": {}}])
    ernie_server.reply(reasoning="Not mine.", tool_calls=[{"name": "transfer_to_desk", "args": {}}])
    ernie_server.reply("No refund.")
    result = ask(graph, question(), THREAD)
    speakers = [each.name for each in result["messages"] if isinstance(each, AIMessage)]
    assert speakers == ["desk", "refunds", "desk"]
    assert result["messages"][-1].text == "No refund."
    assert roles(ernie_server, 1) == ["system", "user", "assistant", "tool"]
    assert roles(ernie_server, 2) == ["system", "user", *["assistant", "tool"] * 2]
    body = ernie_server.requests[1].body
    assert body["model"] == THINKING
    assert body["messages"][0]["content"] == "You make refunds."
    assert body["messages"][2]["name"] == "desk"
    assert "Not mine." not in str(ernie_server.last_request.body)

    ernie_server.reply("Still no.")
    ask(graph, question("Really?"), THREAD)
    assert roles(ernie_server)[-2:] == ["assistant", "user"]
