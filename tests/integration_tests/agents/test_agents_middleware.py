"""LangChain's middleware with ERNIE: fallback, retry, limits, tool selection, prompts."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    TodoListMiddleware,
    ToolCallLimitMiddleware,
)
from langchain_core.exceptions import ModelAuthenticationError

from langchain_aimlernie.errors import (
    AuthenticationError,
    InsufficientCreditsError,
    InternalServerError,
    RateLimitError,
    StreamInterruptedError,
)
from langchain_aimlernie.testing import Fault, Reply
from tests.support.agents import FIVE, PLAIN, THINKING, question, weather


def clock() -> str:
    """Return the time."""
    return "noon"


def translate(text: str) -> str:
    """Translate a text."""
    return text


def texts(server, number=-1):
    return [(m["role"], m["content"]) for m in server.requests[number].body["messages"]]


# Fallback.


@pytest.mark.parametrize(
    "failure",
    [
        {"status": 503},
        {"status": 401},
        {"status": 403, "message": "You've run out of credits."},
        {"status": 429},
        {"status": 404},
    ],
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


def test_the_last_error_is_raised_when_all_models_fail(model, ernie_server, ask):
    ernie_server.fail(503)
    ernie_server.fail(403, "You've run out of credits.")
    agent = create_agent(model(), middleware=[ModelFallbackMiddleware(model(model=FIVE))])
    with pytest.raises(InsufficientCreditsError):
        ask(agent, question())


# Retry.


def retry(**settings):
    return ModelRetryMiddleware(initial_delay=0, jitter=False, **settings)


@pytest.mark.parametrize("streaming", [None, True])
def test_retry_middleware_retries_overload_and_interrupted_streams(
    model, ernie_server, ask, streaming
):
    def fail(times):
        if streaming:
            ernie_server.reply("half an answer", fault=Fault(events=3), times=times)
        else:
            ernie_server.fail(503, "Busy.", times=times)

    def agent(**settings):
        return create_agent(model(streaming=streaming), middleware=[retry(**settings)])

    fail(2)
    ernie_server.reply("A whole one.")
    assert ask(agent(max_retries=2), question())["messages"][-1].text == "A whole one."
    fail(4)
    error = StreamInterruptedError if streaming else InternalServerError
    assert error.__name__ in ask(agent(max_retries=1), question())["messages"][-1].text
    with pytest.raises(error):
        ask(agent(max_retries=1, on_failure="error"), question())
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
    agent = create_agent(model(), middleware=[retry(max_retries=5)])
    with pytest.raises(error):
        ask(agent, question())
    assert len(ernie_server.requests) == 1


# Limits.


def test_model_call_limit(model, ernie_server, ask):
    ernie_server.on_request = lambda request: Reply(
        tool_calls=[{"name": "weather", "args": {"city": "A"}, "id": f"call_{request.number}"}]
    )
    agent = create_agent(model(), [weather], middleware=[ModelCallLimitMiddleware(run_limit=3)])
    answer = ask(agent, question())["messages"][-1]
    assert "limit" in answer.text
    assert len(ernie_server.requests) == 3


def test_tool_call_limit_gives_every_call_a_result(model, ernie_server, ask):
    calls = [{"name": "weather", "args": {"city": city}, "id": city} for city in "ABC"]
    ernie_server.reply(tool_calls=calls)
    ernie_server.reply("One is enough.")
    agent = create_agent(model(), [weather], middleware=[ToolCallLimitMiddleware(run_limit=1)])
    ask(agent, question())
    sent_back = [m for m in ernie_server.last_request.body["messages"] if m["role"] == "tool"]
    assert {m["tool_call_id"] for m in sent_back} == set("ABC")
    assert [m["content"] for m in sent_back if "limit" not in m["content"]] == ["A: sun"]


# Tool selection.


def test_tools_are_selected_by_another_model(model, ernie_server, ask):
    ernie_server.reply('{"tools": ["clock"]}')
    ernie_server.reply("Noon.")
    selector = LLMToolSelectorMiddleware(
        model=model(model=FIVE), max_tools=1, always_include=["translate"]
    )
    agent = create_agent(model(), [weather, clock, translate], middleware=[selector])
    assert ask(agent, question("What time is it?"))["messages"][-1].text == "Noon."
    chosen, answered = (each.body for each in ernie_server.requests)
    assert chosen["model"] == FIVE
    names = str(chosen["response_format"]["json_schema"]["schema"]["properties"]["tools"])
    assert "weather" in names
    assert "clock" in names
    assert [each["function"]["name"] for each in answered["tools"]] == ["clock", "translate"]


def test_tools_are_selected_by_the_agents_own_reasoning_model(model, ernie_server, ask):
    ernie_server.reply('```json\n{"tools": ["weather"]}\n```', reasoning="Weather, then.")
    ernie_server.reply("Sun.", reasoning="So it is.")
    agent = create_agent(
        model(model=THINKING, output_version="v1"),
        [weather, clock],
        middleware=[LLMToolSelectorMiddleware()],
    )
    assert ask(agent, question())["messages"][-1].text == "Sun."
    assert [each["function"]["name"] for each in ernie_server.last_request.body["tools"]] == [
        "weather"
    ]


# Prompts and lists.


@pytest.mark.parametrize("system_prompt", [None, "Be brief."])
def test_todo_list_prompt_is_part_of_one_system_message(model, ernie_server, ask, system_prompt):
    todos = [{"content": "看天气", "status": "in_progress"}]
    ernie_server.reply(tool_calls=[{"name": "write_todos", "args": {"todos": todos}}])
    ernie_server.reply("Done.")
    agent = create_agent(
        model(), [weather], middleware=[TodoListMiddleware()], system_prompt=system_prompt
    )
    assert ask(agent, question())["todos"] == todos
    (system, *others) = texts(ernie_server)
    assert system[0] == "system"
    assert isinstance(system[1], str)
    assert system[1].startswith(system_prompt or "")
    assert "write_todos" in system[1]
    assert "system" not in [role for role, _ in others]
    assert "看天气" in others[-1][1]


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
    settings = Settings(
        model=model(model=FIVE),
        model_settings={"temperature": 0.1, "enable_thinking": True, "max_tokens": 9},
        tool_choice="none",
    )
    ask(create_agent(model(), [weather], middleware=[settings]), question())
    body = ernie_server.last_request.body
    assert (body["model"], body["temperature"], body["max_tokens"]) == (FIVE, 0.1, 9)
    assert body["enable_thinking"] is True
    assert body["tool_choice"] == "none"
