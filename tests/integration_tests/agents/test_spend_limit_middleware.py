"""An agent stops at its limit, whoever spends, and continues its sum in later runs."""

import asyncio
import importlib
import sys
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import (
    AgentMiddleware,
    HumanInTheLoopMiddleware,
    SummarizationMiddleware,
    hook_config,
)
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.documents import Document
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, ensure_config
from langchain_core.tools import StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.types import Command

from langchain_aimlernie import BudgetExceededError, SpendTracker, middleware
from langchain_aimlernie.middleware import SpendLimitMiddleware
from langchain_aimlernie.testing import Fault
from tests.support.agents import question
from tests.support.byte_server import wait_until
from tests.support.modes import chunks_of

THREAD = {"configurable": {"thread_id": "1"}}
COST = {"usage": {"credits_used": 2000, "usd_spent": 0.001}}
CALL = {"name": "work", "args": {"task": "dig"}}


@pytest.fixture
def script(ernie_server):
    """Return a function that scripts replies of $0.001: texts, or numbers of tool calls."""

    def script(*replies):
        for reply in replies:
            calls = [] if isinstance(reply, str) else [CALL] * reply
            ernie_server.reply(reply if isinstance(reply, str) else "", tool_calls=calls, meta=COST)

    return script


def tool_of(function, afunction=None, name="work"):
    """A tool; without `afunction` an async agent runs it in a thread."""
    return StructuredTool.from_function(function, afunction, name=name, description="Work.")


def work(task: str) -> str:
    return f"{task}: done"


def spent(agent, thread=THREAD):
    return agent.get_state(thread).values["thread_spent_usd"]


def has_no_open_calls(messages):
    calls = {c["id"] for m in messages if isinstance(m, AIMessage) for c in m.tool_calls}
    return calls == {m.tool_call_id for m in messages if isinstance(m, ToolMessage)}


def agent_of(llm, *tools, before=(), checkpointer=None, **limits):
    return create_agent(
        llm,
        list(tools),
        middleware=[*before, SpendLimitMiddleware(**{"thread_limit_usd": 1, **limits})],
        checkpointer=checkpointer or InMemorySaver(),
    )


# What is counted.


class Planner(AgentMiddleware):
    """Calls a model before the agent starts, and after it."""

    def __init__(self, llm):
        super().__init__()
        self.llm = llm

    def before_agent(self, state, runtime):
        self.llm.invoke("Plan.")

    async def abefore_agent(self, state, runtime):
        await self.llm.ainvoke("Plan.")


def plain_tool(runnable):
    def call(task: str) -> str:
        return runnable.invoke(task).text

    async def acall(task: str) -> str:
        return (await runnable.ainvoke(task)).text

    return tool_of(call, acall)


def agent_tool(agent):
    return plain_tool(RunnableLambda(question) | agent | (lambda state: state["messages"][-1]))


def threaded_tool(llm):
    return tool_of(lambda task: llm.invoke(task).text)


def in_plain_thread(function, *arguments):
    with ThreadPoolExecutor() as pool:
        return pool.submit(function, *arguments).result()


class Rewriting(BaseRetriever):
    """A retriever that asks a model."""

    llm: Any

    def _get_relevant_documents(self, query, *, run_manager):
        config = {"callbacks": run_manager.get_child()}
        return [Document(self.llm.invoke(query, config).text)]


TOOLS = {
    "plain": plain_tool,
    "in a thread": threaded_tool,
    "stream": lambda llm: tool_of(lambda task: "".join(each.text for each in llm.stream(task))),
    "batch": lambda llm: tool_of(lambda task: llm.batch([task])[0].text),
    # Its own callbacks replace those that lead to the agent's run.
    "own callbacks": lambda llm: tool_of(
        lambda task: llm.invoke(task, {"callbacks": [UsageMetadataCallbackHandler()]}).text
    ),
    "plain thread": lambda llm: tool_of(
        lambda task: in_plain_thread(llm.invoke, task, ensure_config()).text
    ),
    "retriever in a plain thread": lambda llm: tool_of(
        lambda task: (
            in_plain_thread(Rewriting(llm=llm).invoke, task, ensure_config())[0].page_content
        )
    ),
    "agent": lambda llm: agent_tool(create_agent(llm)),
    "agent with a limit": lambda llm: agent_tool(
        create_agent(llm, middleware=[SpendLimitMiddleware(run_limit_usd=1)])
    ),
}


@pytest.mark.parametrize("make_tool", TOOLS.values(), ids=TOOLS)
def test_a_tool_that_calls_a_model_counts(model, ernie_server, script, ask, make_tool):
    script(2, "Inner.", "Inner.", "Outer.")
    agent = agent_of(model(), make_tool(model()))
    ask(agent, question(), THREAD)
    assert spent(agent) == "0.004"
    assert ernie_server.totals.usd_spent == Decimal("0.004")
    assert middleware._counter._runs == middleware._counter._calls == {}  # nothing is kept


@pytest.mark.parametrize("streaming", [False, True])
def test_the_middleware_a_tracker_and_the_server_count_the_same(
    model, ernie_server, ask, streaming
):
    llm = model(streaming=streaming)
    spend = SpendTracker()
    look = tool_of(lambda task: llm.invoke(task).text, name="look")
    summary = SummarizationMiddleware(llm, trigger=("messages", 3), keep=("messages", 2))
    agent = agent_of(llm, agent_tool(create_agent(llm)), look, before=[Planner(llm), summary])
    ernie_server.reply("A plan.")
    ernie_server.reply("Two tasks.", tool_calls=[CALL, {**CALL, "name": "look"}])
    for text in ("The first result.", "The second, longer result.", "A summary.", "All done."):
        ernie_server.reply(text)
    ask(agent, question(), {**THREAD, "callbacks": [spend]})
    assert len(ernie_server.requests) == 6
    assert Decimal(spent(agent)) == ernie_server.totals.usd_spent == spend.usd > 0


@pytest.mark.slow
def test_concurrent_runs_without_a_thread_have_their_own_limits(model, ernie_server, script):
    script(*[1] * 5, *["Yes."] * 5)
    limit = SpendLimitMiddleware(run_limit_usd="0.002")
    agent = create_agent(model(), [tool_of(work)], middleware=[limit])

    async def run():
        return await asyncio.gather(*(agent.ainvoke(question()) for _ in range(5)))

    for result in asyncio.run(run()):
        assert result["messages"][-1].text == "Yes."
        assert "thread_spent_usd" not in result
    assert len(ernie_server.requests) == 10


@pytest.mark.parametrize("is_streamed", [False, True])
def test_a_call_that_is_left_counts_in_the_next_run_of_the_thread(
    model, ernie_server, script, is_streamed
):
    script("First.")
    if is_streamed:
        ernie_server.reply("Second, " * 50, fault=Fault("stall", events=9))
    else:
        ernie_server.reply("Never.", delay=60)
    script("Third.")
    agent = agent_of(model())

    async def leave():
        if is_streamed:
            stream = agent.astream(question(), THREAD, stream_mode="messages")
            await anext(stream)
            await stream.aclose()
            return
        task = asyncio.create_task(agent.ainvoke(question(), THREAD))
        assert await asyncio.to_thread(wait_until, lambda: len(ernie_server.requests) == 2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def run():
        await agent.ainvoke(question(), THREAD)
        await leave()
        assert spent(agent) == "0.001"
        await agent.ainvoke(question(), THREAD)

    asyncio.run(run())
    assert Decimal(spent(agent)) > Decimal("0.002")
    assert Decimal(agent.get_state(THREAD).values["run_spent_usd"]) == Decimal("0.001")
    assert middleware._counter._runs == middleware._counter._calls == {}


def test_what_a_failing_tool_spent_counts_in_the_next_run(model, script, ask):
    llm = model()

    def fail(task: str) -> str:
        llm.invoke(task)
        raise RuntimeError("No spade.")

    agent = agent_of(llm, tool_of(fail))
    for total in ("0.001", "0.003"):
        script(1, "Inner.")
        with pytest.raises(RuntimeError):
            ask(agent, question(), THREAD)
        assert spent(agent) == total


@pytest.mark.parametrize("mode", ["messages", "updates", "values"])
def test_a_streamed_run_counts(model, script, mode):
    agent = agent_of(model(), plain_tool(model()))
    for way, total in (("stream", "0.003"), ("astream", "0.006")):
        script(1, "Inner.", "Outer.")
        asyncio.run(chunks_of(agent, question(), way, config=THREAD, stream_mode=mode))
        assert spent(agent) == total


def test_a_call_of_another_model_has_the_price_that_the_user_knows(model, script, ask):
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    other = GenericFakeChatModel(messages=iter([AIMessage("a", usage_metadata=usage)]))
    script(1, "Two cents.", "Yes.")
    with ThreadPoolExecutor(1) as pool:

        def price(name, usage):
            pool.submit(model().invoke, "What does it cost?").result(5)
            return Decimal("0.02") * usage["output_tokens"]

        agent = agent_of(model(), threaded_tool(other), price=price)
        ask(agent, question(), THREAD)
    assert spent(agent) == "0.102"


# What happens at the limit.


@pytest.mark.parametrize("name", ["thread_limit_usd", "run_limit_usd"])
def test_the_run_ends_with_a_message(model, ernie_server, script, ask, name):
    script(2, 1)
    agent = agent_of(model(), tool_of(work), **{"thread_limit_usd": None, name: "0.002"})
    messages = ask(agent, question(), THREAD)["messages"]
    reached = f"this {name.partition('_')[0]} has spent $0.002 of $0.002."
    assert messages[-1].text == f"The spend limit is reached: {reached}"
    assert isinstance(messages[-1], AIMessage)
    assert has_no_open_calls(messages)
    assert len(ernie_server.requests) == 2


class AsyncHooks(SpendLimitMiddleware):
    """Calls the limit's own hooks from async ones, as a subclass does that adds to them."""

    async def abefore_agent(self, state, runtime):
        return await super().abefore_agent(state, runtime)

    @hook_config(can_jump_to=["end"])
    async def abefore_model(self, state, runtime):
        return await super().abefore_model(state, runtime)

    async def aafter_model(self, state, runtime):
        return await super().aafter_model(state, runtime)

    @hook_config(can_jump_to=["model"])
    async def aafter_agent(self, state, runtime):
        return await super().aafter_agent(state, runtime)


async def test_a_subclass_with_async_hooks_stops_at_the_limit(model, ernie_server, script):
    script(1, 1)
    limit = AsyncHooks(run_limit_usd="0.002")
    agent = create_agent(model(), [tool_of(work)], middleware=[limit])
    messages = (await agent.ainvoke(question()))["messages"]
    assert "this run has spent $0.002 of $0.002." in messages[-1].text
    assert len(ernie_server.requests) == 2


def test_the_thread_is_at_its_limit_and_a_run_is_not(model, ernie_server, script, ask):
    script("Yes.", "Yes.")
    agent = agent_of(model(), thread_limit_usd="0.002", run_limit_usd="0.002")
    for _ in range(2):
        assert ask(agent, question(), THREAD)["messages"][-1].text == "Yes."
    last = ask(agent, question(), THREAD)["messages"][-1]
    assert "this thread has spent $0.002 of $0.002." in last.text
    script("Yes.")
    other = {"configurable": {"thread_id": "2"}}
    assert ask(agent, question(), other)["messages"][-1].text == "Yes."


def test_a_limit_that_a_tool_exceeds_stops_the_next_call(model, ernie_server, script, ask):
    script(1, "Inner.", "Inner.")
    llm = model()
    tool = tool_of(lambda task: llm.invoke(task).text + llm.invoke(task).text)
    agent = agent_of(llm, tool, run_limit_usd="0.0015")
    messages = ask(agent, question(), THREAD)["messages"]
    assert "this run has spent $0.003 of $0.0015" in messages[-1].text
    assert messages[-2].text == "Inner.Inner."


@pytest.mark.parametrize("later", [[], [HumanMessage("Well?")]])
def test_a_limit_of_zero_sends_nothing_and_gives_open_calls_a_result(
    model, ernie_server, ask, later
):
    calls = [{"name": "work", "args": {}, "id": number} for number in "ab"]
    broken = {"name": "work", "args": "{", "id": "c", "error": None, "type": "invalid_tool_call"}
    history = [
        AIMessage("", tool_calls=[{"name": "work", "args": {}, "id": "b"}]),
        ToolMessage("Dug.", tool_call_id="b"),
        HumanMessage("Dig!"),
        AIMessage("", tool_calls=calls, invalid_tool_calls=[broken]),
        ToolMessage("Dug.", tool_call_id="a"),
        *later,
    ]
    agent = agent_of(model(), tool_of(work), thread_limit_usd=0)
    messages = ask(agent, {"messages": history}, THREAD)["messages"]
    results = messages[4:7]
    assert [message.tool_call_id for message in results] == ["a", "b", "c"]
    assert [message.status for message in results] == ["success", "error", "error"]
    assert [message.name for message in results] == [None, "work", "work"]
    assert [type(message) for message in messages[7:]] == [*map(type, later), AIMessage]
    assert "$0 of $0" in messages[-1].text
    assert not ernie_server.requests


def test_an_error_names_the_amounts_and_leaves_a_thread_that_can_go_on(
    model, ernie_server, script, ask
):
    script(1, "Inner.")
    saver = InMemorySaver()
    llm = model()
    limits = {"thread_limit_usd": "0.002", "exit_behavior": "error"}
    agent = agent_of(llm, threaded_tool(llm), checkpointer=saver, **limits)
    reached = r"thread has spent \$0.002 of \$0.002.+Raise"
    for _ in range(2):
        with pytest.raises(BudgetExceededError, match=reached):
            ask(agent, question(), THREAD)
    state = agent.get_state(THREAD).values
    assert state["thread_spent_usd"] == "0.002"
    assert has_no_open_calls(state["messages"])
    script("Outer.")
    agent = agent_of(llm, checkpointer=saver, **{**limits, "thread_limit_usd": "0.003"})
    assert ask(agent, None, THREAD)["messages"][-1].text == "Outer."


@pytest.mark.slow
def test_a_human_raises_the_limit(model, ernie_server, script, ask):
    script(1, "Inner.")
    limit = {"run_limit_usd": "0.002", "exit_behavior": "interrupt"}
    agent = agent_of(model(), threaded_tool(model()), **limit)
    (request,) = ask(agent, question(), THREAD)["__interrupt__"]
    assert request.value == {
        "type": "spend_limit",
        "message": "The spend limit is reached: this run has spent $0.002 of $0.002.",
        "thread_spent_usd": "0.002",
        "thread_limit_usd": "1",
        "run_spent_usd": "0.002",
        "run_limit_usd": "0.002",
    }
    script(1, "Inner.")
    state = ask(agent, Command(resume={"run_limit_usd": 0.0035}), THREAD)
    assert state["__interrupt__"][0].value["run_spent_usd"] == "0.004"
    script("Outer.")
    state = ask(agent, Command(resume={"run_limit_usd": "0.01"}), THREAD)
    assert state["messages"][-1].text == "Outer."
    assert has_no_open_calls(state["messages"])
    assert spent(agent) == "0.005"
    # The next run has the run's own limit again.
    script(1, "Inner.")
    state = ask(agent, question(), THREAD)
    assert state["__interrupt__"][0].value["run_limit_usd"] == "0.002"


def test_a_raised_limit_of_the_thread_stays(model, ernie_server, script, ask):
    script("Yes.")
    agent = agent_of(model(), thread_limit_usd="0.001", exit_behavior="interrupt")
    ask(agent, question(), THREAD)
    assert "__interrupt__" in ask(agent, question(), THREAD)
    script("Yes.", "Yes.")
    ask(agent, Command(resume={"thread_limit_usd": "0.003"}), THREAD)
    assert ask(agent, question(), THREAD)["messages"][-1].text == "Yes."
    assert "__interrupt__" in ask(agent, question(), THREAD)


@pytest.mark.parametrize("value", [True, "0.5", {"run_limit": 1}, {"thread_limit_usd": "much"}])
def test_a_human_is_asked_again_or_ends_the_run(model, ernie_server, ask, value):
    agent = agent_of(model(), thread_limit_usd=0, exit_behavior="interrupt")
    ask(agent, question(), THREAD)
    (request,) = ask(agent, Command(resume=value), THREAD)["__interrupt__"]
    assert "thread_limit_usd" in request.value["error"]
    assert "much" not in str(value) or "'much'" in request.value["error"]
    state = ask(agent, Command(resume=False), THREAD)
    assert "limit is reached" in state["messages"][-1].text
    assert not ernie_server.requests


def test_a_price_is_saved_before_a_human_is_asked_about_a_tool(model, script, ask):
    script(1)
    agent = agent_of(model(), tool_of(work), before=[HumanInTheLoopMiddleware({"work": True})])
    ask(agent, question(), THREAD)
    assert spent(agent) == "0.001"


# Checkpoints.


def test_a_new_agent_continues_the_thread_from_sqlite(model, script, tmp_path):
    script("Yes.", "Yes.")
    for total in ("0.001", "0.002", "0.002"):
        with SqliteSaver.from_conn_string(str(tmp_path / "threads.db")) as saver:
            agent = agent_of(model(), checkpointer=saver, thread_limit_usd="0.002")
            messages = agent.invoke(question(), THREAD)["messages"]
            assert spent(agent) == total
    assert "has spent $0.002 of $0.002" in messages[-1].text


def test_the_sum_is_exact_and_private(model, ernie_server, ask):
    cost = {"usage": {"credits_used": 1, "usd_spent": 0.1}}
    ernie_server.reply("Yes.", meta=cost, times=3)
    agent = agent_of(model())
    results = [ask(agent, {**question(), "thread_spent_usd": "9"}, THREAD) for _ in range(3)]
    assert spent(agent) == "0.3"
    assert set(results[-1]) == {"messages"}


# Settings.


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "There is no limit: set thread_limit_usd, run_limit_usd or both."),
        ({"run_limit_usd": -1}, "run_limit_usd=-1: must be a number of at least 0."),
        ({"thread_limit_usd": "a"}, "thread_limit_usd='a': must be a number of at least 0."),
        ({"thread_limit_usd": float("nan")}, "thread_limit_usd=nan: must be a number"),
        (
            {"run_limit_usd": 1, "exit_behavior": "stop"},
            "exit_behavior='stop': must be 'end', 'error' or 'interrupt'.",
        ),
    ],
)
def test_settings_are_checked(settings, message):
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        SpendLimitMiddleware(**settings)


@pytest.mark.parametrize("module", ["langchain.agents.middleware.types", "langgraph.config"])
def test_without_the_extra_the_error_names_it(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "langchain_aimlernie.middleware")
    with pytest.raises(ImportError, match=r'pip install "langchain-aimlernie\[agents\]"'):
        importlib.import_module("langchain_aimlernie.middleware")
