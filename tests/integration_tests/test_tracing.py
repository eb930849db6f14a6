"""LangSmith receives what calls cost, and no secret."""

from __future__ import annotations

import asyncio
import json
import threading
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

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


class Ingest(ThreadingHTTPServer):
    """A stand-in for LangSmith that keeps what it receives."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.received = b""
        self.runs = {}
        self.posted = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer({"batch_ingest_config": BATCHES})

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received += body
        batch = json.loads(body)
        for run in (*batch.get("post", ()), *batch.get("patch", ())):
            self.server.runs.setdefault(run["id"], {}).update(run)
        self.server.posted += [run["id"] for run in batch.get("post", ())]
        self.answer({})

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def ingest():
    server = Ingest()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(ingest):
    client = Client(f"http://127.0.0.1:{ingest.server_port}", api_key="lsv2-secret")
    yield client
    client.cleanup()


@pytest.fixture
def tracer(client):
    return CostTracer(client=client, project_name="costs")


@pytest.fixture
def traced(tracer, ingest):
    """Return a function that returns the runs of chat models that LangSmith has received."""

    def traced():
        tracer.wait_for_futures()
        assert len(ingest.posted) == len(set(ingest.posted)) == len(ingest.runs)
        runs = sorted(ingest.runs.values(), key=lambda run: run["dotted_order"])
        return [run for run in runs if run["run_type"] == "llm"]

    return traced


def usage_of(run):
    return run["extra"]["metadata"].get("usage_metadata")


async def collect(stream):
    return [chunk async for chunk in stream]


CALLS = {
    "invoke": lambda llm, config: llm.invoke("Hi", config),
    "stream": lambda llm, config: list(llm.stream("Hi", config)),
    "ainvoke": lambda llm, config: asyncio.run(llm.ainvoke("Hi", config)),
    "astream": lambda llm, config: asyncio.run(collect(llm.astream("Hi", config))),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
def test_the_run_has_the_cost_and_core_still_sums_the_usage(
    model, ernie_server, tracer, traced, call
):
    ernie_server.reply("A few words.", meta=COST, times=2)
    usage = UsageMetadataCallbackHandler()
    for _ in range(2):
        result = call(model(), {"callbacks": [tracer, usage]})
    runs = traced()
    assert [usage_of(run)["total_cost"] for run in runs] == [0.0012345] * 2
    counted = usage.usage_metadata[MODEL]
    assert counted["total_tokens"] == sum(usage_of(run)["total_tokens"] for run in runs) > 0
    assert "total_cost" not in counted
    chunks = result if isinstance(result, list) else [result]
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


def test_credits_alone_are_converted(model, ernie_server, tracer, traced):
    ernie_server.reply("Hello.", meta={"usage": {"credits_used": 1000}})
    model().invoke("Hi", {"callbacks": [tracer]})
    assert usage_of(traced()[0])["total_cost"] == 0.0005


def test_a_response_from_the_cache_costs_nothing(model, ernie_server, tracer, traced):
    llm = model(cache=InMemoryCache())
    for _ in range(2):
        llm.invoke("Hi", {"callbacks": [tracer]})
    first, cached = traced()
    assert usage_of(first)["total_cost"] > 0
    assert usage_of(cached)["total_cost"] == 0


def test_a_response_without_a_price_has_no_cost(model, ernie_server, tracer, traced):
    ernie_server.reply("Hello.", meta=None)
    model().invoke("Hi", {"callbacks": [tracer]})
    FakeListChatModel(responses=["Hello."]).invoke("Hi", {"callbacks": [tracer]})
    own, other = traced()
    assert "total_cost" not in usage_of(own)
    assert not usage_of(other)


@pytest.fixture(params=["true", "false"])
def langsmith_tracing(request, monkeypatch):
    monkeypatch.setenv("LANGSMITH_TRACING", request.param)


@pytest.mark.usefixtures("langsmith_tracing")
def test_an_agent_is_traced_once(model, ernie_server, tracer, traced, ingest):
    """Also with a function that LangSmith traces itself, whose calls the middleware counts."""
    llm = model()

    @traceable(client=tracer.client)
    def ask(text):
        return llm.invoke(text).text

    @tool
    def think(text: str) -> str:
        """Think."""
        return ask(text)

    calls = [{"name": "think", "args": {"text": "Hm."}}]
    ernie_server.reply(tool_calls=calls, meta=COST)
    ernie_server.reply("Hm.", meta=COST)
    ernie_server.reply("Yes.", meta=COST)
    limit = SpendLimitMiddleware(thread_limit_usd=1)
    agent = create_agent(llm, [think], middleware=[limit], checkpointer=InMemorySaver())
    thread = {"configurable": {"thread_id": "1"}, "callbacks": [tracer]}
    agent.invoke({"messages": [("user", "Hi")]}, thread)
    runs = traced()
    assert [usage_of(run)["total_cost"] for run in runs] == [0.0012345] * 3
    assert len({run["trace_id"] for run in ingest.runs.values()}) == 1
    assert agent.get_state(thread).values["thread_spent_usd"] == str(3 * Decimal("0.0012345"))
