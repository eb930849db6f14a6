"""Checkpoints: interrupts, resuming after errors, time travel."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Command

from langchain_aimlernie.errors import AuthenticationError, InternalServerError
from tests.support.agents import THINKING, question

SETTINGS = [{}, {"output_version": "v1", "streaming": True}]
THREAD = {"configurable": {"thread_id": "1"}}
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


def results(server):
    messages = server.last_request.body["messages"]
    return {each["tool_call_id"]: each["content"] for each in messages if each["role"] == "tool"}


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
    stopped = ask(agent, question(), THREAD)
    (request,) = stopped["__interrupt__"]
    assert [each["args"]["to"] for each in request.value["action_requests"]] == ["Anna", "Mallory"]
    assert done == []
    assert len(ernie_server.requests) == 1

    decisions = [
        {
            "type": "edit",
            "edited_action": {"name": "transfer", "args": {"euros": 5, "to": "Anna"}},
        },
        {"type": "reject", "message": "Never to Mallory."},
    ]
    result = ask(agent, Command(resume={"decisions": decisions}), THREAD)
    assert result["messages"][-1].text == "Paid one."
    assert done == [(5, "Anna")]
    sent_back = results(ernie_server)
    assert sent_back.keys() == {"a", "m", "b"}
    assert "5 to Anna" in sent_back["a"]
    assert "Never to Mallory." in sent_back["m"]
    assert sent_back["m"].startswith("Error")
    assert sent_back["b"] == "500"


def test_a_checkpointed_conversation_continues(model, ernie_server, ask):
    saver = InMemorySaver()
    ernie_server.reply("Hello Li.", reasoning="A greeting.")
    ask(create_agent(model(model=THINKING), checkpointer=saver), question("I am Li."), THREAD)
    ernie_server.reply("Li.")
    again = create_agent(model(model=THINKING), checkpointer=saver)
    result = ask(again, question("Who am I?"), THREAD)
    assert ernie_server.last_request.body["messages"] == [
        {"role": "user", "content": "I am Li."},
        {"role": "assistant", "content": "Hello Li."},
        {"role": "user", "content": "Who am I?"},
    ]
    _, kept, *_ = result["messages"]
    assert kept.additional_kwargs["reasoning_content"] == "A greeting."
    assert kept.usage_metadata["output_token_details"]["reasoning"] > 0
    assert kept.response_metadata["credits_used"] > 0


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_messages_survive_checkpoint_serialization(model, ernie_server, version):
    serde = JsonPlusSerializer()
    ernie_server.reply(
        "Paying.",
        reasoning="Steps.",
        tool_calls=[*TRANSFERS, {"name": "transfer", "args": '{"euros": ', "id": "x"}],
    )
    message = model(model=THINKING, output_version=version).invoke("hi")
    again = serde.loads_typed(serde.dumps_typed(message))
    assert isinstance(again, AIMessage)
    assert again == message
    assert again.content_blocks == message.content_blocks


def test_an_agent_resumes_after_an_error(model, ernie_server, ask, bank):
    tools, done = bank
    ernie_server.reply(tool_calls=TRANSFERS[:1])
    ernie_server.fail(503)
    agent = create_agent(model(), tools, checkpointer=InMemorySaver())
    with pytest.raises(InternalServerError):
        ask(agent, question(), THREAD)
    ernie_server.reply("Paid.")
    result = ask(agent, None, THREAD)
    assert result["messages"][-1].text == "Paid."
    assert done == [(10, "Anna")]


def test_a_rejected_key_is_not_in_the_checkpoint(model, ernie_server, ask):
    saver = InMemorySaver()
    agent = create_agent(model(api_key="wrong-key-value"), checkpointer=saver)
    with pytest.raises(AuthenticationError):
        ask(agent, question(), THREAD)
    assert "wrong-key-value" not in repr(list(saver.list(THREAD)))
