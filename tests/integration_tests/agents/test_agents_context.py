"""Middleware that keeps an agent within the context window: summaries and cleared results."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage

from langchain_aimlernie.errors import AuthenticationError, ContextWindowExceededError
from tests.support.agents import PLAIN, VISION, question

SMALL = "baidu/ernie-4-5-8k-preview"
CONTEXTS = {PLAIN: 120_000, VISION: 30_000, SMALL: 8_000}


def summarizing(llm, trigger, **settings):
    middleware = SummarizationMiddleware(llm, trigger=trigger, keep=("messages", 1), **settings)
    return create_agent(llm, middleware=[middleware])


@pytest.mark.parametrize("model_id", CONTEXTS)
@pytest.mark.parametrize("full", [False, True])
def test_reported_usage_triggers_a_summary_at_a_fraction_of_the_context(
    model, ernie_server, ask, model_id, full
):
    summaries = int(full)
    total = CONTEXTS[model_id] * 8 // 10 - 1 + summaries
    usage = {"prompt_tokens": total - 1, "completion_tokens": 1, "total_tokens": total}
    ernie_server.reply("A1", usage=usage)
    agent = summarizing(model(model=model_id), ("fraction", 0.8))
    first = ask(agent, question("Q1"))
    assert len(ernie_server.requests) == 1

    if full:
        ernie_server.reply("Li asked Q1.")
    ernie_server.reply("A2")
    result = ask(agent, {"messages": [*first["messages"], HumanMessage("Q2")]})
    assert result["messages"][-1].text == "A2"
    assert len(ernie_server.requests) == 2 + summaries
    sent = ernie_server.last_request.body["messages"]
    assert sent[-1] == {"role": "user", "content": "Q2"}
    assert len(sent) == 3 - summaries
    assert ("Li asked Q1." in sent[0]["content"]) is full


def test_a_long_prompt_is_summarized_before_the_call(model, ernie_server, ask):
    ernie_server.reply("It was long.")
    ernie_server.reply("A2")
    agent = summarizing(model(model=SMALL), ("fraction", 0.5), trim_tokens_to_summarize=None)
    history = [HumanMessage("word " * 5_000), AIMessage("A1"), HumanMessage("Q2")]
    result = ask(agent, {"messages": history})
    assert result["messages"][-1].text == "A2"
    assert "word word" in ernie_server.requests[0].body["messages"][0]["content"]
    assert "It was long." in ernie_server.last_request.body["messages"][0]["content"]


def test_a_history_longer_than_the_context_is_truncated_for_the_summary(model, ernie_server, ask):
    ernie_server.reply("The gist.")
    ernie_server.reply("A2")
    agent = summarizing(model(model=SMALL), ("tokens", 1_000), trim_tokens_to_summarize=None)
    history = [HumanMessage("word " * 20_000), AIMessage("A1"), HumanMessage("Q2")]
    assert ask(agent, {"messages": history})["messages"][-1].text == "A2"
    whole, cut = (ernie_server.requests[n].body["messages"][0]["content"] for n in (0, 1))
    assert len(cut) < len(whole)
    assert "omitted" in cut


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ({"status": 401}, AuthenticationError),
        ({"status": 400, "code": "context_length_exceeded"}, ContextWindowExceededError),
    ],
)
def test_a_failed_summary_raises(model, ernie_server, ask, failure, error):
    tries = 2 if error is ContextWindowExceededError else 1
    ernie_server.fail(**failure, times=tries)
    agent = summarizing(model(), ("messages", 3))
    history = [HumanMessage("Q1"), AIMessage("A1"), HumanMessage("Q2")]
    with pytest.raises(error):
        ask(agent, {"messages": history})
    assert len(ernie_server.requests) == tries


def report() -> str:
    """Write a long report."""
    return "天气" * 600


@pytest.mark.parametrize("method", ["approximate", "model"])
def test_context_editing_clears_old_tool_results(model, ernie_server, ask, method):
    for number in range(3):
        ernie_server.reply(tool_calls=[{"name": "report", "args": {}, "id": f"c{number}"}])
    ernie_server.reply("Enough.")
    edit = ClearToolUsesEdit(trigger=500, keep=1, placeholder="[cleared]")
    middleware = ContextEditingMiddleware(edits=[edit], token_count_method=method)
    agent = create_agent(model(), [report], middleware=[middleware], system_prompt="Be brief.")
    ask(agent, question("Go."))
    results = [m for m in ernie_server.last_request.body["messages"] if m["role"] == "tool"]
    assert [m["content"] for m in results] == ["[cleared]", "[cleared]", report()]


def test_the_models_token_count_is_right_for_chinese(model, ernie_server, ask):
    """LangChain counts four characters a token, which is a quarter of what Chinese takes."""
    for count, cleared in (("approximate", False), ("model", True)):
        for number in range(2):
            ernie_server.reply(tool_calls=[{"name": "report", "args": {}, "id": f"c{number}"}])
        ernie_server.reply("Enough.")
        edit = ClearToolUsesEdit(trigger=1_000, keep=1)
        middleware = ContextEditingMiddleware(edits=[edit], token_count_method=count)
        ask(create_agent(model(), [report], middleware=[middleware]), question("Go."))
        results = [m for m in ernie_server.last_request.body["messages"] if m["role"] == "tool"]
        assert (results[0]["content"] != report()) is cleared


@pytest.mark.parametrize("version", ["v0", "v1"])
def test_context_editing_clears_tool_arguments(model, ernie_server, ask, version):
    def note(text: str) -> str:
        """Take a note."""
        return text

    for number in range(2):
        ernie_server.reply(
            tool_calls=[{"name": "note", "args": {"text": "字" * 900}, "id": f"c{number}"}],
        )
    ernie_server.reply("Enough.")
    edit = ClearToolUsesEdit(trigger=300, keep=1, clear_tool_inputs=True)
    agent = create_agent(
        model(output_version=version), [note], middleware=[ContextEditingMiddleware(edits=[edit])]
    )
    ask(agent, question("Go."))
    calls = [
        call["function"]["arguments"]
        for message in ernie_server.last_request.body["messages"]
        for call in message.get("tool_calls", ())
    ]
    assert calls[0] == "{}"
    assert "字字" in calls[1]
