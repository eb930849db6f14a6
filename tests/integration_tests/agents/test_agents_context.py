"""Middleware that keeps an agent within the context window: summaries and cleared results."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    SummarizationMiddleware,
)
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import AuthenticationError, ContextWindowExceededError

VISION = "baidu/ernie-4.5-vl-28b-a3b"
SMALL = "baidu/ernie-4-5-8k-preview"
CONTEXTS = {"baidu/ernie-4.5-21b-a3b": 120_000, VISION: 30_000, SMALL: 8_000}


def usage(total):
    return {"prompt_tokens": total - 1, "completion_tokens": 1, "total_tokens": total}


def summarizing(llm, trigger, **settings):
    middleware = SummarizationMiddleware(llm, trigger=trigger, keep=("messages", 1), **settings)
    return create_agent(llm, middleware=[middleware])


@pytest.mark.parametrize("model_id", CONTEXTS)
@pytest.mark.parametrize("full", [False, True])
def test_reported_usage_triggers_a_summary_at_a_fraction_of_the_context(
    model, ernie_server, ask, model_id, full
):
    llm = model(model=model_id)
    summaries = int(full)
    ernie_server.reply("A1", usage=usage(CONTEXTS[model_id] * 8 // 10 - 1 + summaries))
    agent = summarizing(llm, ("fraction", 0.8))
    first = ask(agent, {"messages": [HumanMessage("Q1")]})
    assert len(ernie_server.requests) == 1

    for _ in range(summaries):
        ernie_server.reply("Li asked Q1.")
    ernie_server.reply("A2")
    result = ask(agent, {"messages": [*first["messages"], HumanMessage("Q2")]})
    assert result["messages"][-1].text == "A2"
    assert len(ernie_server.requests) == 2 + summaries
    sent = ernie_server.last_request.body["messages"]
    assert sent[-1] == {"role": "user", "content": "Q2"}
    assert len(sent) == 3 - summaries
    assert ("Li asked Q1." in sent[0]["content"]) is full


@pytest.mark.parametrize("streaming", [None, True])
@pytest.mark.parametrize("version", ["v0", "v1"])
def test_model_provider_equals_ls_provider(model, ernie_server, streaming, version):
    ernie_server.reply("hi")
    llm = model(streaming=streaming, output_version=version)
    answer = llm.invoke("hi")
    assert answer.response_metadata["model_provider"] == llm._get_ls_params()["ls_provider"]
    assert answer.response_metadata["model_provider"] == "aimlernie"
    middleware = SummarizationMiddleware(llm, trigger=("tokens", 1))
    assert middleware._should_summarize_based_on_reported_tokens([answer], 1)


def test_usage_reported_by_another_provider_is_ignored(model, ernie_server, ask):
    foreign = AIMessage(
        "A1",
        usage_metadata={"input_tokens": 10**6, "output_tokens": 1, "total_tokens": 10**6 + 1},
        response_metadata={"model_provider": "openai"},
    )
    ernie_server.reply("A2")
    agent = summarizing(model(), ("fraction", 0.8))
    ask(agent, {"messages": [HumanMessage("Q1"), foreign, HumanMessage("Q2")]})
    assert len(ernie_server.requests) == 1


def test_a_long_prompt_is_summarized_before_the_call(model, ernie_server, ask):
    ernie_server.reply("It was long.")
    ernie_server.reply("A2")
    agent = summarizing(model(model=SMALL), ("fraction", 0.5), trim_tokens_to_summarize=None)
    history = [HumanMessage("word " * 5_000), AIMessage("A1"), HumanMessage("Q2")]
    result = ask(agent, {"messages": history})
    assert result["messages"][-1].text == "A2"
    assert "word word" in ernie_server.requests[0].body["messages"][0]["content"]
    assert "It was long." in ernie_server.last_request.body["messages"][0]["content"]


def test_a_summary_keeps_tool_calls_and_results_together(model, ernie_server, ask):
    history = [
        HumanMessage("Q1"),
        AIMessage("", tool_calls=[{"name": "look", "args": {}, "id": "1"}]),
        ToolMessage("R1", tool_call_id="1"),
        HumanMessage("Q2"),
        AIMessage(
            "", tool_calls=[{"name": "look", "args": {}, "id": identity} for identity in "23"]
        ),
        ToolMessage("R2", tool_call_id="2"),
        ToolMessage("R3", tool_call_id="3"),
    ]

    def look() -> str:
        """Look."""
        return "seen"

    ernie_server.reply("S")
    ernie_server.reply("A")
    llm = model()
    middleware = SummarizationMiddleware(llm, trigger=("messages", 7), keep=("messages", 2))
    ask(create_agent(llm, [look], middleware=[middleware]), {"messages": history})
    roles = [each["role"] for each in ernie_server.last_request.body["messages"]]
    assert roles == ["user", "assistant", "tool", "tool"]


def test_a_fraction_trigger_needs_a_profile(ernie_server):
    llm = ChatAimlErnie(model="my-own/ernie", base_url=ernie_server.base_url, api_key="x")
    with pytest.raises(ValueError, match="profile"):
        SummarizationMiddleware(llm, trigger=("fraction", 0.8))
    known = llm.model_copy(update={"profile": {"max_input_tokens": 4_096}})
    assert SummarizationMiddleware(known, trigger=("fraction", 0.8))._get_profile_limits() == 4_096


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
    ask(agent, {"messages": [HumanMessage("Go.")]})
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
        ask(
            create_agent(model(), [report], middleware=[middleware]),
            {"messages": [HumanMessage("Go.")]},
        )
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
    ask(agent, {"messages": [HumanMessage("Go.")]})
    calls = [
        call["function"]["arguments"]
        for message in ernie_server.last_request.body["messages"]
        for call in message.get("tool_calls", ())
    ]
    assert calls[0] == "{}"
    assert "字字" in calls[1]
