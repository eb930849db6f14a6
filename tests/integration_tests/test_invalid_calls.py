"""Tool calls with invalid arguments: what the user gets, and that the conversation can continue."""

from __future__ import annotations

import json

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage, message_chunk_to_message

from tests.support.modes import joined

MODES = ("invoke", "stream", "streaming")
COMPLETED_BY_CORE = (
    '{"a": NaN}',
    '{"a": [1e999]}',
    '{"a": -Infinity, "b": "c\nd"}',
    '{"path": "/ho',
    '{"path": "a\\',
    '{"a": 1} and more',
)
TEXTS = (*COMPLETED_BY_CORE, '{"a":1,}}', "[1]", "5", '"a: 1"', "oops")


def ask(llm, mode, messages):
    if mode == "stream":
        return message_chunk_to_message(joined(llm.stream(messages)))
    return llm.invoke(messages, **({"stream": True} if mode == "streaming" else {}))


@pytest.mark.parametrize("version", ["v0", "v1"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", TEXTS)
def test_an_invalid_call_keeps_its_text_and_can_be_answered(
    model, ernie_server, text, mode, version
):
    llm = model(output_version=version)
    ernie_server.reply(tool_calls=[{"name": "f", "args": text, "id": "c1"}])
    message = ask(llm, mode, "hi")
    assert type(message) is AIMessage
    assert message.tool_calls == []
    (call,) = message.invalid_tool_calls
    assert (call["name"], call["id"]) == ("f", "c1")
    if mode == "invoke" or text not in COMPLETED_BY_CORE:
        assert call["args"] == text
    else:
        # langchain-core would complete the text or accept it; the suffix prevents that.
        assert call["args"].startswith(text)
        assert set(call["args"][len(text) :]) <= set('\\"]}')
    ernie_server.reply("Sorry.")
    answer = ToolMessage("Error: invalid arguments", tool_call_id="c1")
    assert (ask(llm, mode, [HumanMessage("hi"), message, answer])).text == "Sorry."
    sent = ernie_server.last_request.body["messages"]
    (sent_call,) = sent[1]["tool_calls"]
    assert sent_call["id"] == "c1"
    assert json.loads(sent_call["function"]["arguments"]) == {"invalid_arguments": call["args"]}
    assert (sent[2]["role"], sent[2]["tool_call_id"]) == ("tool", "c1")
    assert ernie_server.violations == []


@pytest.mark.parametrize("text", TEXTS)
def test_events_report_an_invalid_call_as_one(model, ernie_server, text):
    ernie_server.reply(tool_calls=[{"name": "f", "args": text, "id": "c1"}])
    stream = model().stream_events("hi", version="v3")
    message = stream.output
    assert message.tool_calls == []
    (call,) = message.invalid_tool_calls
    assert call["args"].startswith(text)
