"""Conversations that other providers' models began go on with ERNIE.

The histories are what the real packages make of their providers' answers: langchain-anthropic 1.7,
langchain-openai 1.7 (Chat Completions and Responses), langchain-google-genai 4.4 and
langchain-mistralai 1.1, each in its own dialect (v0) and in LangChain's blocks (v1).
"""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, ToolMessage, messages_from_dict
from langgraph.checkpoint.memory import InMemorySaver

HISTORIES = json.loads(
    (Path(__file__).parents[2] / "unit_tests" / "histories.json").read_text(encoding="utf-8")
)
MODELS = [
    "baidu/ernie-4.5-21b-a3b",
    "baidu/ernie-4.5-21b-a3b-thinking",
    "baidu/ernie-4.5-vl-28b-a3b",
    "baidu/ernie-5.0",
]
MESSAGE_KEYS = {"role", "content", "name", "tool_calls", "tool_call_id", "refusal"}


def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"{city}: sun"


def history(name):
    """Give the messages, each under an id of its own as graphs want it."""
    messages = messages_from_dict(HISTORIES[name])
    return [each.model_copy(update={"id": f"m{n}"}) for n, each in enumerate(messages)]


def check(server, number=-1):
    """The conversation is whole, its results follow their calls, and nothing is foreign."""
    request = server.requests[number]
    assert request.ignored == []
    open_calls = []
    for message in request.body["messages"]:
        assert message.keys() <= MESSAGE_KEYS
        if message["role"] == "tool":
            assert isinstance(message["content"], str) or "cache_control" in str(message)
            open_calls.remove(message["tool_call_id"])
            continue
        assert open_calls == []
        for call in message.get("tool_calls", ()):
            assert call.keys() == {"id", "type", "function"}
            assert isinstance(json.loads(call["function"]["arguments"]), dict)
            open_calls.append(call["id"])
    assert open_calls == []
    sent = json.dumps(request.body["messages"], ensure_ascii=False)
    for needed in ("You are brief.", "Beijing and in Shanghai", "北京", "sun, 22", "22 degrees."):
        assert needed in sent
    for foreign in ("Two cities", "signature", "encrypted", "annotations"):
        assert foreign not in sent
    assert "cache_control" not in sent or request.body["model"] == "baidu/ernie-5.0"
    return request.body["messages"]


@pytest.mark.parametrize("model_id", MODELS)
@pytest.mark.parametrize("name", HISTORIES)
async def test_what_another_model_began_is_sent_and_answered(model, ernie_server, name, model_id):
    llm = model(model=model_id)
    asked = [*history(name), HumanMessage("And tomorrow?")]
    before = copy.deepcopy(asked)
    ernie_server.reply("Rain.", times=4)
    answers = [
        llm.invoke(asked).text,
        (await llm.ainvoke(asked)).text,
        "".join(chunk.text for chunk in llm.stream(asked)),
        "".join([chunk.text async for chunk in llm.astream(asked)]),
    ]
    assert answers == ["Rain."] * 4
    assert asked == before
    sent = [check(ernie_server, number) for number in range(4)]
    assert sent.count(sent[0]) == 4
    assert sent[0][-1] == {"role": "user", "content": "And tomorrow?"}


@pytest.mark.parametrize("replay", [False, True])
@pytest.mark.parametrize("name", HISTORIES)
def test_anothers_thoughts_are_never_replayed(model, ernie_server, name, replay):
    ernie_server.reply("Rain.")
    model(replay_reasoning=replay).invoke(history(name))
    for message in check(ernie_server):
        assert "reasoning_content" not in message


@pytest.mark.parametrize("name", HISTORIES)
@pytest.mark.parametrize("settings", [{}, {"output_version": "v1"}, {"streaming": True}])
def test_an_agent_takes_a_conversation_over_with_its_calls(model, ernie_server, name, settings):
    ernie_server.reply(
        "I look again.",
        tool_calls=[
            {"name": "get_weather", "args": {"city": "北京"}},
            {"name": "get_weather", "args": {"city": "上海"}},
        ],
    )
    ernie_server.reply("Sun in both.")
    agent = create_agent(model(model="baidu/ernie-5.0", **settings), [get_weather])
    result = agent.invoke({"messages": [*history(name), HumanMessage("And now?")]})
    assert result["messages"][-1].text == "Sun in both."
    sent = check(ernie_server)
    assert [each["role"] for each in sent[-4:]] == ["user", "assistant", "tool", "tool"]


@pytest.mark.parametrize("name", HISTORIES)
def test_an_agent_that_stopped_before_its_tools_goes_on_with_another_model(
    model, ernie_server, name
):
    """The other model called, the process ended, and ERNIE gets the tools' results."""
    system, question, called, *rest = history(name)
    results = [each for each in rest[:2] if isinstance(each, ToolMessage)]
    thread = {"configurable": {"thread_id": name}}
    agent = create_agent(model(), [get_weather], checkpointer=InMemorySaver())
    agent.update_state(thread, {"messages": [system, question, called]}, as_node="model")
    kept = agent.get_state(thread).values["messages"]

    ernie_server.reply("Beijing: sun, 22 and 22 degrees.")
    assert model().invoke([*kept, *results]).text.endswith("degrees.")
    *_, turn, first, second = ernie_server.last_request.body["messages"]
    assert [call["id"] for call in turn["tool_calls"]] == [
        first["tool_call_id"],
        second["tool_call_id"],
    ]


def test_all_of_them_in_one_conversation(model, ernie_server):
    asked = [message for name in HISTORIES for message in messages_from_dict(HISTORIES[name])]
    ernie_server.reply("That was long.")
    assert model(model="baidu/ernie-5.0").invoke(asked).text == "That was long."
    check(ernie_server)


@pytest.mark.parametrize("name", HISTORIES)
def test_their_tokens_can_be_counted_offline(model, name):
    counted = model().get_num_tokens_from_messages(history(name))
    assert 50 < counted < 2_000  # Gemini's shows an image


def test_structured_output_reads_on_after_another_model(model, ernie_server):
    schema = {
        "title": "Weather",
        "description": "The weather.",
        "type": "object",
        "properties": {"degrees": {"type": "integer"}},
        "required": ["degrees"],
    }
    for name in HISTORIES:
        ernie_server.reply('{"degrees": 22}')
        llm = model().with_structured_output(schema)
        assert llm.invoke(history(name)) == {"degrees": 22}
        check(ernie_server)
