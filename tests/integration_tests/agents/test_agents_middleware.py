"""LangChain's middleware with ERNIE: fallback, retry, tool selection, settings, context."""

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    LLMToolSelectorMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
)
from langchain_core.exceptions import ModelAuthenticationError
from langchain_core.messages import AIMessage, HumanMessage

from langchain_aimlernie.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InternalServerError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_aimlernie.testing import Fault, Reply
from tests.support.agents import FIVE, PLAIN, THINKING, VISION, question, weather

OUT_OF_CREDITS = {"status": 403, "message": "You've run out of credits."}


def clock() -> str:
    """Return the time."""
    return "noon"


def tools_of(request):
    return [each["function"]["name"] for each in request.body["tools"]]


# Fallback.


@pytest.mark.parametrize(
    "failure", [*({"status": status} for status in (503, 401, 429, 404)), OUT_OF_CREDITS]
)
def test_fallback_middleware_calls_the_next_model(model, ernie_server, ask, failure):
    ernie_server.fail(**failure)
    ernie_server.reply("From five.")
    fallback = ModelFallbackMiddleware(model(model=FIVE))
    result = ask(create_agent(model(), [weather], middleware=[fallback]), question())
    assert result["messages"][-1].text == "From five."
    first, second = (each.body for each in ernie_server.requests if each.body)  # 404: also a GET
    assert [first["model"], second["model"]] == [PLAIN, FIVE]
    assert first["tools"] == second["tools"]


# Retry.


def retry(**settings):
    return [ModelRetryMiddleware(initial_delay=0, jitter=False, **settings)]


@pytest.mark.parametrize(
    ("streaming", "failure", "error"),
    [
        (None, Reply(status=503, body={"message": "Busy."}), InternalServerError),
        (True, Reply("half an answer", fault=Fault(events=3)), StreamInterruptedError),
    ],
)
def test_retry_middleware_retries_overload_and_interrupted_streams(
    model, ernie_server, ask, *, streaming, failure, error
):
    def ask_with(**settings):
        llm = model(streaming=streaming)
        return ask(create_agent(llm, middleware=retry(**settings)), question())["messages"][-1].text

    ernie_server.reply(failure, times=2)
    ernie_server.reply("A whole one.")
    assert ask_with(max_retries=2) == "A whole one."
    ernie_server.reply(failure, times=4)
    assert error.__name__ in ask_with(max_retries=1)
    with pytest.raises(error):
        ask_with(max_retries=1, on_failure="error")
    assert len(ernie_server.requests) == 7


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        ({"status": 401}, AuthenticationError),
        ({"status": 401}, ModelAuthenticationError),
        ({"status": 402}, InsufficientCreditsError),
        ({"status": 429, "message": "Free tier limit reached."}, RateLimitError),
    ],
)
def test_errors_that_are_not_retryable_are_not_retried(model, ernie_server, ask, failure, error):
    ernie_server.fail(**failure)
    with pytest.raises(error):
        ask(create_agent(model(), middleware=retry(max_retries=5)), question())
    assert len(ernie_server.requests) == 1


# Tool selection.


def test_tools_are_selected_by_the_agents_own_reasoning_model(model, ernie_server, ask):
    ernie_server.reply('```json\n{"tools": ["weather"]}\n```', reasoning="Weather, then.")
    ernie_server.reply("Sun.", reasoning="So it is.")
    llm = model(model=THINKING, output_version="v1")
    agent = create_agent(llm, [weather, clock], middleware=[LLMToolSelectorMiddleware()])
    assert ask(agent, question())["messages"][-1].text == "Sun."
    assert tools_of(ernie_server.last_request) == ["weather"]


def test_a_selection_that_does_not_fit_is_repeated_by_the_retry_middleware(
    model, ernie_server, ask
):
    for text in ("weather", '{"tools": "all"}', '{"tools": ["weather"]}', "Sun."):
        ernie_server.reply(text)
    selector = LLMToolSelectorMiddleware(max_retries=0)
    agent = create_agent(model(), [weather, clock], middleware=[*retry(max_retries=2), selector])
    assert ask(agent, question())["messages"][-1].text == "Sun."
    assert tools_of(ernie_server.last_request) == ["weather"]


# Settings.


class Settings(AgentMiddleware):
    """Settings for one call, and another model for it."""

    def __init__(self, **changes):
        super().__init__()
        self.changes = changes

    def wrap_model_call(self, request, handler):
        return handler(request.override(**self.changes))

    async def awrap_model_call(self, request, handler):
        return await handler(request.override(**self.changes))


def test_middleware_overrides_model_settings_and_tool_choice(model, ernie_server, ask):
    ernie_server.reply("ok", reasoning="Hm.")
    sent = {"temperature": 0.1, "enable_thinking": True, "max_tokens": 9}
    settings = Settings(model=model(model=FIVE), model_settings=sent, tool_choice="none")
    ask(create_agent(model(), [weather], middleware=[settings]), question())
    sent |= {"model": FIVE, "tool_choice": "none"}
    assert sent.items() <= ernie_server.last_request.body.items()


# The context window: summaries and cleared results.

SMALL = "baidu/ernie-4-5-8k-preview"
CONTEXTS = {PLAIN: 120_000, VISION: 30_000, SMALL: 8_000}
HISTORY = [HumanMessage("Q1"), AIMessage("A1"), HumanMessage("Q2")]


def summarizing(llm, trigger, **settings):
    middleware = SummarizationMiddleware(llm, trigger=trigger, keep=("messages", 1), **settings)
    return create_agent(llm, middleware=[middleware])


@pytest.mark.parametrize("model_id", CONTEXTS)
@pytest.mark.parametrize("summaries", [0, 1])
def test_reported_usage_triggers_a_summary_at_a_fraction_of_the_context(
    model, ernie_server, ask, model_id, summaries
):
    total = CONTEXTS[model_id] * 8 // 10 - 1 + summaries
    usage = {"prompt_tokens": total - 1, "completion_tokens": 1, "total_tokens": total}
    ernie_server.reply("A1", usage=usage)
    agent = summarizing(model(model=model_id), ("fraction", 0.8))
    first = ask(agent, question("Q1"))
    assert len(ernie_server.requests) == 1

    ernie_server.reply("Li asked Q1.", times=summaries)
    ernie_server.reply("A2")
    result = ask(agent, {"messages": [*first["messages"], HumanMessage("Q2")]})
    assert result["messages"][-1].text == "A2"
    assert len(ernie_server.requests) == 2 + summaries
    sent = ernie_server.last_request.body["messages"]
    assert sent[-1] == {"role": "user", "content": "Q2"}
    assert len(sent) == 3 - summaries
    assert ("Li asked Q1." in sent[0]["content"]) == summaries


@pytest.mark.parametrize(
    ("words", "trigger", "cuts"), [(5_000, ("fraction", 0.5), 0), (20_000, ("tokens", 1_000), 1)]
)
def test_a_long_prompt_is_summarized_cut_if_it_is_longer_than_the_context(
    model, ernie_server, ask, *, words, trigger, cuts
):
    ernie_server.reply("It was long.")
    ernie_server.reply("A2")
    agent = summarizing(model(model=SMALL), trigger, trim_tokens_to_summarize=None)
    history = [HumanMessage("word " * words), *HISTORY[1:]]
    assert ask(agent, {"messages": history})["messages"][-1].text == "A2"
    first, *cut, last = (each.body["messages"][0]["content"] for each in ernie_server.requests)
    assert "word word" in first
    assert "It was long." in last
    assert len(cut) == cuts
    assert all(len(text) < len(first) and "omitted" in text for text in cut)


def report(text: str = "") -> str:
    """Write a long report."""
    return "天气" * 600


@pytest.fixture
def edited(ernie_server, ask):
    """Return a function that returns what an agent sends after so many calls of `report`."""

    def edited(llm, calls, text, method="approximate", **edit):
        for number in range(calls):
            call = {"name": "report", "args": {"text": text} if text else {}, "id": f"c{number}"}
            ernie_server.reply(tool_calls=[call])
        ernie_server.reply("Enough.")
        middleware = ContextEditingMiddleware(
            edits=[ClearToolUsesEdit(keep=1, **edit)], token_count_method=method
        )
        ask(create_agent(llm, [report], middleware=[middleware], system_prompt="-"), question())
        return ernie_server.last_request.body["messages"]

    return edited


@pytest.mark.parametrize(
    ("method", "calls", "trigger", "cleared"),
    [
        ("approximate", 3, 500, 2),
        ("model", 3, 500, 2),
        # LangChain counts four characters a token, which is a quarter of what Chinese takes.
        ("approximate", 2, 1_000, 0),
        ("model", 2, 1_000, 1),
    ],
)
def test_context_editing_clears_old_tool_results(model, edited, *, method, calls, trigger, cleared):
    sent = edited(model(), calls, "", method, trigger=trigger, placeholder="[cleared]")
    results = [message["content"] for message in sent if message["role"] == "tool"]
    assert results == ["[cleared]"] * cleared + [report()] * (calls - cleared)


def test_context_editing_clears_tool_arguments(model, edited, version):
    llm = model(output_version=version)
    sent = edited(llm, 2, "字" * 900, trigger=300, clear_tool_inputs=True)
    calls = [call["function"]["arguments"] for m in sent for call in m.get("tool_calls", ())]
    assert calls[0] == "{}"
    assert "字字" in calls[1]
