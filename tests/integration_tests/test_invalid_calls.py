"""A turn with an invalid tool call: what the user gets, and the thread goes on."""

from __future__ import annotations

import functools
import json
import operator

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_chunk_to_message

MODES = ("invoke", "ainvoke", "stream", "astream", "streaming")
TEXTS = (
    '{"a":1,}}',
    '{"a": NaN}',
    '{"a": [1e999]}',
    '{"a": -Infinity, "b": "c\nd"}',
    '{"path": "/ho',
    '{"path": "a\\',
    '{"a": 1} and more',
    "[1]",
    "5",
    '"{\\"a\\": 1}"',
    "oops",
)
TAKEN_BY_CORE = (
    '{"a": NaN}',
    '{"a": [1e999]}',
    '{"a": -Infinity, "b": "c\nd"}',
    '{"path": "/ho',
    '{"path": "a\\',
    '{"a": 1} and more',
)


async def ask(llm, mode, messages):
    if mode == "invoke":
        return llm.invoke(messages)
    if mode == "ainvoke":
        return await llm.ainvoke(messages)
    if mode == "streaming":
        return llm.invoke(messages, stream=True)
    if mode == "stream":
        chunks = list(llm.stream(messages))
    else:
        chunks = [chunk async for chunk in llm.astream(messages)]
    return message_chunk_to_message(functools.reduce(operator.add, chunks))


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", TEXTS)
async def test_an_invalid_call_keeps_its_text_and_can_be_answered(
    model, ernie_server, text, mode, version
):
    llm = model(output_version=version)
    ernie_server.reply(tool_calls=[{"name": "f", "args": text, "id": "c1"}])
    message = await ask(llm, mode, "hi")
    assert type(message) is AIMessage
    assert message.tool_calls == []
    (call,) = message.invalid_tool_calls
    assert (call["name"], call["id"]) == ("f", "c1")
    if mode.endswith("invoke") or text not in TAKEN_BY_CORE:
        assert call["args"] == text
    else:
        # Core would complete the text, or take it: what follows keeps it from that.
        assert call["args"].startswith(text)
        assert set(call["args"][len(text) :]) <= set('\\"]}')
    ernie_server.reply("Sorry.")
    answer = ToolMessage("Error: invalid arguments", tool_call_id="c1")
    assert (await ask(llm, mode, [HumanMessage("hi"), message, answer])).text == "Sorry."
    sent = ernie_server.last_request.body["messages"]
    (sent_call,) = sent[1]["tool_calls"]
    assert sent_call["id"] == "c1"
    assert json.loads(sent_call["function"]["arguments"]) == {"invalid_arguments": call["args"]}
    assert (sent[2]["role"], sent[2]["tool_call_id"]) == ("tool", "c1")
    assert ernie_server.violations == []


@pytest.mark.parametrize("text", TEXTS)
async def test_events_report_an_invalid_call_as_one(model, ernie_server, text):
    ernie_server.reply(tool_calls=[{"name": "f", "args": text, "id": "c1"}])
    stream = model().stream_events("hi", version="v3")
    message = stream.output
    assert message.tool_calls == []
    (call,) = message.invalid_tool_calls
    assert call["args"].startswith(text)
