"""Conversations that models of other providers began are continued by ERNIE.

The histories are the real packages' messages for their providers' responses: langchain-anthropic
1.7, langchain-openai 1.7 (Chat Completions and Responses), langchain-google-genai 4.4 and
langchain-mistralai 1.1, each in its own form (v0) and in LangChain's v1 content blocks. The unit
tests check their encoding in detail.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage, messages_from_dict
from langgraph.checkpoint.memory import InMemorySaver

HISTORIES = json.loads(
    (Path(__file__).parents[2] / "unit_tests" / "histories.json").read_text(encoding="utf-8")
)
FIVE = "baidu/ernie-5.0"
MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal"}

each_history = pytest.mark.parametrize("name", HISTORIES)


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: sun"


def history(name):
    """Return the messages, each with an id, as graphs need it."""
    messages = messages_from_dict(HISTORIES[name])
    return [each.model_copy(update={"id": f"m{n}"}) for n, each in enumerate(messages)]


def check(request):
    """Check that the conversation is complete and results follow their calls; return messages."""
    assert request.ignored == []
    open_calls = []
    for message in request.body["messages"]:
        assert message.keys() <= MESSAGE_KEYS
        if message["role"] == "tool":
            open_calls.remove(message["tool_call_id"])
            continue
        assert open_calls == []
        for call in message.get("tool_calls", ()):
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            open_calls.append(call["id"])
    assert open_calls == []
    sent = json.dumps(request.body["messages"], ensure_ascii=False)
    for expected in ("You are brief.", "Beijing and in Shanghai", "北京", "sun, 22", "22 degrees."):
        assert expected in sent
    for foreign in ("Two cities", "signature", "encrypted", "annotations"):
        assert foreign not in sent
    return request.body["messages"]


@each_history
@pytest.mark.parametrize("settings", [{}, {"output_version": "v1"}, {"streaming": True}])
def test_an_agent_continues_a_history(model, ernie_server, name, settings):
    cities = [{"name": "get_weather", "args": {"city": city}} for city in ("北京", "上海")]
    ernie_server.reply("I look again.", tool_calls=cities)
    ernie_server.reply("Sun in both.")
    agent = create_agent(model(model=FIVE, **settings), [get_weather])
    messages = [*history(name), HumanMessage("And now?")]
    result = agent.invoke({"messages": messages})
    assert 50 < model().get_num_tokens_from_messages(messages) < 2_000  # Gemini's has an image
    assert result["messages"][-1].text == "Sun in both."
    sent = check(ernie_server.last_request)
    assert [each["role"] for each in sent[-4:]] == ["user", "assistant", "tool", "tool"]


@each_history
def test_an_agent_interrupted_before_its_tools_continues(model, ernie_server, name):
    """The other model called tools, the process ended, and ERNIE gets the results."""
    system, question, called, *rest = history(name)
    results = [each for each in rest[:2] if isinstance(each, ToolMessage)]
    thread = {"configurable": {"thread_id": name}}
    agent = create_agent(model(), [get_weather], checkpointer=InMemorySaver())
    agent.update_state(thread, {"messages": [system, question, called]}, as_node="model")
    stored = agent.get_state(thread).values["messages"]

    ernie_server.reply("22 degrees.")
    assert model().invoke([*stored, *results]).text == "22 degrees."
    *_, turn, first, second = ernie_server.last_request.body["messages"]
    call_ids = [call["id"] for call in turn["tool_calls"]]
    assert call_ids == [first["tool_call_id"], second["tool_call_id"]]
