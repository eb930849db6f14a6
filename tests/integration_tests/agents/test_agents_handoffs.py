"""Several agents in one conversation: handoffs, supervisors, different models."""

from __future__ import annotations

from typing import Annotated

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import InjectedToolCallId, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command

from tests.support.agents import FIVE, THINKING, question

THREAD = {"configurable": {"thread_id": "1"}}


def hand_off_to(name: str):
    """Make the tool by which an agent hands the whole conversation to another one."""

    @tool(f"transfer_to_{name}", description=f"Hand the user over to {name}.")
    def transfer(
        state: Annotated[dict, InjectedState],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> Command:
        done = ToolMessage(f"Over to {name}.", name=f"to_{name}", tool_call_id=tool_call_id)
        messages = [*state["messages"], done]
        return Command(goto=name, graph=Command.PARENT, update={"messages": messages})

    return transfer


def roles(server, number=-1):
    return [each["role"] for each in server.requests[number].body["messages"]]


@pytest.fixture
def team(model):
    """Two agents of different models who hand the user to each other."""

    def team(**settings):
        desk = create_agent(
            model(**settings),
            [hand_off_to("refunds")],
            name="desk",
            system_prompt="You are the desk.",
        )
        refunds = create_agent(
            model(model=THINKING, **settings),
            [hand_off_to("desk")],
            name="refunds",
            system_prompt="You make refunds.",
        )
        builder = StateGraph(MessagesState)
        builder.add_node("desk", desk, destinations=("refunds",))
        builder.add_node("refunds", refunds, destinations=("desk",))
        builder.add_edge(START, "desk")
        return builder.compile(checkpointer=InMemorySaver())

    return team


@pytest.mark.parametrize("settings", [{}, {"streaming": True}, {"output_version": "v1"}])
def test_handoffs_between_agents_of_different_models(ernie_server, ask, team, settings):
    ernie_server.reply("One moment.", tool_calls=[{"name": "transfer_to_refunds", "args": {}}])
    ernie_server.reply(reasoning="Not mine.", tool_calls=[{"name": "transfer_to_desk", "args": {}}])
    ernie_server.reply("No refund.")
    graph = team(**settings)
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


def test_a_handoff_in_parallel_with_another_call(model, ernie_server, ask):
    def note(text: str) -> str:
        """Take a note."""
        return f"noted {text}"

    desk = create_agent(model(), [note, hand_off_to("other")], name="desk")
    other = create_agent(model(model=FIVE), name="other")
    builder = StateGraph(MessagesState)
    builder.add_node("desk", desk, destinations=("other",))
    builder.add_node("other", other)
    builder.add_edge(START, "desk")
    calls = [
        {"name": "note", "args": {"text": "x"}, "id": "n"},
        {"name": "transfer_to_other", "args": {}, "id": "t"},
    ]
    ernie_server.reply(tool_calls=calls)
    ernie_server.reply("Here is the other.")
    result = ask(builder.compile(), question())
    assert result["messages"][-1].text == "Here is the other."
    body = ernie_server.last_request.body
    assert body["model"] == FIVE
    # LangGraph drops the other call's result with the agent that it leaves.
    assert [call["id"] for call in body["messages"][1]["tool_calls"]] == ["n", "t"]
    assert body["messages"][-1]["tool_call_id"] == "t"


def test_content_of_an_ai_message_works_as_a_user_message(model, ernie_server, ask):
    """People turn answers into user messages, thoughts, calls and all."""
    ernie_server.reply("Draft.", reasoning="Write.")
    ernie_server.reply("Better.")
    writer = create_agent(model(model=THINKING, output_version="v1"))
    critic = create_agent(model())
    draft = ask(writer, question("Write."))["messages"][-1]
    result = ask(critic, {"messages": [HumanMessage(draft.content)]})
    assert result["messages"][-1].text == "Better."
    assert ernie_server.last_request.body["messages"] == [{"role": "user", "content": "Draft."}]
