"""LangSmith receives what calls cost, and no secret."""

import json
from decimal import Decimal

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langsmith import Client, traceable

from langchain_aimlernie import BadRequestError
from langchain_aimlernie.middleware import SpendLimitMiddleware
from langchain_aimlernie.tracing import CostTracer
from tests.support.byte_server import ByteServer
from tests.support.modes import chunks_of
from tests.support.response_bytes import plain_response

MODEL = "baidu/ernie-4.5-21b-a3b"
COST = {"usage": {"credits_used": 2469, "usd_spent": 0.0012345}}
BATCHES = {
    "use_multipart_endpoint": False,
    "size_limit": 100,
    "size_limit_bytes": 1_000_000,
    "scale_up_nthreads_limit": 1,
    "scale_up_qsize_trigger": 1000,
    "scale_down_nempty_trigger": 4,
}


class Ingest(ByteServer):
    """A stand-in for LangSmith that keeps what it receives."""

    def __init__(self):
        def respond(request):
            config = {"batch_ingest_config": BATCHES} if request.method == "GET" else {}
            return plain_response(json.dumps(config).encode(), content_type="application/json")

        super().__init__(rest=respond)

    @property
    def received(self):
        return b"".join(request.body for request in self.requests)

    def runs(self):
        """The runs by their ids; each was posted once."""
        runs, posted = {}, []
        for request in self.requests:
            batch = request.json if request.body else {}
            posted += [run["id"] for run in batch.get("post", ())]
            for run in (*batch.get("post", ()), *batch.get("patch", ())):
                runs.setdefault(run["id"], {}).update(run)
        assert sorted(posted) == sorted(runs)
        return sorted(runs.values(), key=lambda run: run["dotted_order"])


@pytest.fixture
def ingest():
    with Ingest() as server:
        yield server


@pytest.fixture
def tracer(ingest):
    client = Client(ingest.base_url, api_key="lsv2-secret")
    yield CostTracer(client=client, project_name="costs")
    client.cleanup()


@pytest.fixture
def traced(tracer, ingest):
    """Return a function that returns the runs of chat models that LangSmith has received."""

    def traced():
        tracer.wait_for_futures()
        return [run for run in ingest.runs() if run["run_type"] == "llm"]

    return traced


def usage_of(run):
    return run["extra"]["metadata"].get("usage_metadata")


async def test_the_run_has_the_cost_and_core_still_sums_the_usage(
    model, ernie_server, tracer, traced, mode
):
    ernie_server.reply("A few words.", meta=COST, times=2)
    usage = UsageMetadataCallbackHandler()
    for _ in range(2):
        chunks = await chunks_of(model(), "Hi", mode, config={"callbacks": [tracer, usage]})
    runs = traced()
    assert [usage_of(run)["total_cost"] for run in runs] == [0.0012345] * 2
    counted = usage.usage_metadata[MODEL]
    assert counted["total_tokens"] == sum(usage_of(run)["total_tokens"] for run in runs) > 0
    assert "total_cost" not in counted
    assert not any("total_cost" in (chunk.usage_metadata or {}) for chunk in chunks)
    assert all(run["session_name"] == "costs" and run["end_time"] for run in runs)


def test_nothing_secret_is_sent(model, ernie_server, tracer, traced, ingest):
    ernie_server.reply("Hello.")
    ernie_server.fail(400)
    llm = model(default_headers={"X-Secret": "header-secret"}, max_retries=0)
    llm.invoke("Hi", {"callbacks": [tracer]})
    with pytest.raises(BadRequestError):
        llm.invoke("Hi", {"callbacks": [tracer]})
    good, bad = traced()
    assert usage_of(good)["total_cost"] > 0
    assert bad["error"]
    assert usage_of(bad) is None
    for secret in (ernie_server.api_key, "header-secret", "lsv2-secret"):
        assert secret.encode() not in ingest.received


def test_the_cost_is_that_of_the_response(model, ernie_server, tracer, traced):
    """Credits are converted, a response from the cache costs nothing, one without a price has none."""
    config = {"callbacks": [tracer]}
    ernie_server.reply("Hello.", meta={"usage": {"credits_used": 1000}})
    ernie_server.reply("Hello.", meta=None)
    llm = model(cache=InMemoryCache())
    for each in (llm, llm, model(), FakeListChatModel(responses=["Hello."])):
        each.invoke("Hi", config)
    first, cached, unpriced, other = map(usage_of, traced())
    assert (first["total_cost"], cached["total_cost"]) == (0.0005, 0)
    assert "total_cost" not in unpriced
    assert not other


@pytest.mark.slow
@pytest.mark.parametrize("enabled", ["true", "false"])
def test_an_agent_is_traced_once(
    model, ernie_server, tracer, traced, ingest, *, monkeypatch, enabled
):
    """Also with a function that LangSmith traces itself, whose calls the middleware counts."""
    monkeypatch.setenv("LANGSMITH_TRACING", enabled)
    llm = model()

    @traceable(client=tracer.client)
    def ask(text):
        return llm.invoke(text).text

    @tool
    def think(text: str) -> str:
        """Think."""
        return ask(text)

    ernie_server.reply(tool_calls=[{"name": "think", "args": {"text": "Hm."}}], meta=COST)
    ernie_server.reply("Yes.", meta=COST, times=2)
    limit = SpendLimitMiddleware(thread_limit_usd=1)
    agent = create_agent(llm, [think], middleware=[limit], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}, "callbacks": [tracer]}
    agent.invoke({"messages": [("user", "Hi")]}, thread)
    runs = traced()
    assert [usage_of(run)["total_cost"] for run in runs] == [0.0012345] * 3
    assert len({run["trace_id"] for run in ingest.runs()}) == 1
    assert agent.get_state(thread).values["thread_spent_usd"] == str(3 * Decimal("0.0012345"))
