"""A SpendTracker's sums equal what the server billed, however the calls are made."""

import pytest
from langchain.agents import create_agent
from langchain_core.tools import tool

from langchain_aimlernie import ChatAimlErnie, InternalServerError, SpendTracker
from langchain_aimlernie.spend import BudgetExceededError
from langchain_aimlernie.testing import ErnieServer


@pytest.fixture
def server():
    with ErnieServer() as server:
        yield server


def chat(server, model="baidu/ernie-4.5-21b-a3b", **settings):
    return ChatAimlErnie(model=model, api_key=server.api_key, base_url=server.base_url, **settings)


def assert_sums_agree(spend, server):
    billed = server.totals
    assert (spend.total.calls, spend.total.input_tokens, spend.total.output_tokens) == (
        billed.answers,
        billed.prompt_tokens,
        billed.completion_tokens,
    )
    assert spend.total.reasoning_tokens == billed.reasoning_tokens
    assert (spend.credits, spend.usd) == (billed.credits_used, billed.usd_spent)
    assert spend.total.unpriced == spend.total.failed == 0


@pytest.mark.parametrize("model", ["baidu/ernie-4.5-21b-a3b", "baidu/ernie-5.0"])
async def test_every_kind_of_call_is_counted(server, model):
    ernie = chat(server, model)
    with SpendTracker() as spend:
        ernie.invoke("One")
        list(ernie.stream("Two"))
        ernie.batch(["Three", "Four"])
        await ernie.ainvoke("Five")
        async for _ in ernie.astream("Six"):
            pass
        await ernie.abatch(["Seven", "Eight"])
        assert ernie.stream_events("Nine", version="v3").output.text
        chat(server, model, streaming=True).invoke("Ten")
    assert spend.total.calls == 10
    assert spend.credits > 0
    assert_sums_agree(spend, server)
    assert list(spend.by_model) == [model]


def test_the_calls_of_an_agent_are_counted(server):
    @tool
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        return f"18 degrees in {city}"

    agent = create_agent(chat(server), [get_weather])
    with SpendTracker() as spend:
        agent.invoke({"messages": [("user", "Call get_weather for Paris.")]})
    assert spend.total.calls >= 2
    assert_sums_agree(spend, server)


def test_retries_and_failures_are_counted(server):
    server.fail(503, headers={"retry-after": "0"})
    with SpendTracker() as spend:
        chat(server).invoke("Hello")
        server.fail(500)
        with pytest.raises(InternalServerError):
            chat(server, max_retries=0).invoke("Hello")
    assert (spend.total.calls, spend.total.retries, spend.total.failed) == (1, 1, 1)


def test_a_spent_budget_sends_no_request(server):
    with SpendTracker(limit_credits=1) as spend:
        chat(server).invoke("Hello")
        with pytest.raises(BudgetExceededError):
            chat(server).invoke("Hello")
    assert len(server.requests) == 1
    assert_sums_agree(spend, server)
