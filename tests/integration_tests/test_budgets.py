"""A budget holds, whatever runs at once, and every call is counted, whatever becomes of it."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from decimal import Decimal
from uuid import UUID

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from langchain_aimlernie import (
    AimlErnieError,
    AuthenticationError,
    BadRequestError,
    ChatAimlErnie,
    InternalServerError,
    SpendTracker,
    StreamInterruptedError,
    account,
    list_models,
)
from langchain_aimlernie.spend import BudgetExceededError, Spend
from langchain_aimlernie.testing import Fault, Reply
from tests.support.byte_server import ByteServer, Until, wait_until
from tests.support.garbage import collect
from tests.support.response_bytes import GOOD_RESPONSE
from tests.support.spend import ONE_CALL

pytestmark = pytest.mark.usefixtures("no_cached_lists")  # they have prices
TEXT = "A sentence of some words."
PROMPT = "What is a byte?"
PRICES = {"prices": {"baidu/ernie-4.5-21b-a3b": ("0.07", "0.28")}}


@pytest.fixture
def server(ernie_server):
    """A server that replies `TEXT` where a test scripts nothing else."""
    ernie_server.on_request = lambda _: None if ernie_server._queue else TEXT
    return ernie_server


@pytest.fixture(autouse=True)
def trackers(monkeypatch):
    """The trackers of a test: in the end, every call has ended, and nothing is reserved."""
    trackers = set()
    monkeypatch.setattr("langchain_aimlernie.spend.tracker._trackers", trackers)
    yield trackers
    assert not any(each._calls or each._reserved for each in trackers)


@pytest.fixture
def price(server):
    """The price of one call of `PROMPT`."""
    with SpendTracker() as spend:
        chat(server).invoke(PROMPT)
    assert spend.usd > 0
    return spend.usd


def account_of(server):
    return {"base_url": server.base_url, "api_key": server.api_key}


def chat(server, **settings):
    return ChatAimlErnie(**{**account_of(server), **settings})


def counted(server, **settings):
    """A tracker, and a model whose calls it counts."""
    spend = SpendTracker(**settings)
    return spend, chat(server, callbacks=[spend])


def gather(number, function):
    """The results of so many calls in threads, all at once, but for those that were rejected."""
    barrier = threading.Barrier(number or 1)

    def call(_):
        barrier.wait()
        try:
            return function()
        except BudgetExceededError:
            return None

    with ThreadPoolExecutor(number or 1) as pool:
        return [result for result in pool.map(call, range(number)) if result is not None]


async def agather(number, function):
    async def call():
        try:
            return await function()
        except BudgetExceededError:
            return None

    results = await asyncio.gather(*(call() for _ in range(number)))
    return [result for result in results if result is not None]


@pytest.mark.slow
@pytest.mark.parametrize("model", ["baidu/ernie-4.5-21b-a3b", "baidu/ernie-5.0"])
async def test_the_sums_are_what_the_server_billed(server, model):
    @tool
    def get_weather(city: str) -> str:
        """Get the weather in a city."""
        return f"18 degrees in {city}"

    server.on_request = None
    llm = chat(server, model=model)
    with SpendTracker() as spend:
        llm.invoke("One")
        list(llm.stream("Two"))
        llm.batch(["Three", "Four"])
        await llm.ainvoke("Five")
        assert [chunk async for chunk in llm.astream("Six")]
        await llm.abatch(["Seven", "Eight"])
        assert llm.stream_events("Nine", version="v3").output.text
        chat(server, model=model, streaming=True).invoke("Ten")
        create_agent(llm, [get_weather]).invoke({"messages": ["Call get_weather for Paris."]})
    billed, total = server.totals, spend.total
    assert total.calls == billed.answers >= 12
    assert (total.input_tokens, total.output_tokens, total.reasoning_tokens) == (
        billed.prompt_tokens,
        billed.completion_tokens,
        billed.reasoning_tokens,
    )
    assert (spend.credits, spend.usd) == (billed.credits_used, billed.usd_spent)
    assert (total.unpriced, total.failed, total.retries) == (0, 0, 0)
    assert list(spend.by_model) == [model]


# What a call is, and which calls a tracker sees


MODEL = "baidu/ernie-4.5-21b-a3b"


@pytest.fixture
def llm(server):
    """A model each of whose calls counts as `ONE_CALL`."""
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "total_tokens": 120,
        "prompt_tokens_details": {"cached_tokens": 40},
        "completion_tokens_details": {"reasoning_tokens": 5},
    }
    price = {"usage": {"credits_used": 300, "usd_spent": 0.00015}}
    server.on_request = lambda _: Reply("Hi", usage=usage, meta=price)
    return chat(server)


def times(number):
    return Spend._make(number * value for value in ONE_CALL)


async def astream(model, **config):
    return [chunk async for chunk in model.astream("Hello", **config)]


def in_a_plain_thread(model):
    def work(_, config):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model.invoke, "Hello", config).result()

    return RunnableLambda(work)


CALLS = {
    "invoke": lambda model, **config: model.invoke("Hello", **config),
    "stream": lambda model, **config: list(model.stream("Hello", **config)),
    "batch": lambda model, **config: model.batch(["Hello"], **config),
    "chain": lambda model, **config: (RunnableLambda(str) | model).invoke("Hello", **config),
    "ainvoke": lambda model, **config: asyncio.run(model.ainvoke("Hello", **config)),
    "astream": lambda model, **config: asyncio.run(astream(model, **config)),
    "plain thread": lambda model, **config: in_a_plain_thread(model).invoke(None, **config),
    "events": lambda model, **config: model.stream_events("Hello", version="v3", **config).output,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("limit", [{"limit_usd": 0.0003}, {"limit_credits": 600}])
def test_a_call_counts_once_however_it_is_made_until_the_budget_is_spent(server, llm, call, limit):
    given, make = SpendTracker(), CALLS[call]
    with SpendTracker(**limit) as block:
        for _ in range(2):
            make(llm, config={"callbacks": [given, block, given]})
        with pytest.raises(BudgetExceededError, match=next(iter(limit))):
            make(llm)
    assert len(server.requests) == 2
    assert block.total == given.total == times(2)
    assert block.by_model == {MODEL: times(2)}


def test_nested_and_reentered_blocks_count_the_calls_within_them(llm):
    with SpendTracker() as outer:
        llm.invoke("Hello")
        with SpendTracker() as middle:
            with SpendTracker() as inner, outer:
                llm.invoke("Hello")
            llm.invoke("Hello")
        with contextlib.suppress(KeyError), inner:
            llm.invoke("Hello")
            raise KeyError
        llm.invoke("Hello")
    llm.invoke("Hello")
    assert [each.total.calls for each in (outer, middle, inner)] == [5, 2, 2]


async def test_trackers_of_concurrent_tasks_are_independent(llm):
    async def task(calls):
        with SpendTracker() as spend:
            for _ in range(calls):
                await llm.ainvoke("Hello")
        return spend.total.calls

    with SpendTracker() as spend:
        assert await asyncio.gather(*map(task, range(5))) == [0, 1, 2, 3, 4]
    assert spend.total.calls == 10


def test_a_stream_that_fails_is_billed_and_an_abandoned_one_is_a_call(server, llm):
    with SpendTracker() as spend:
        llm.invoke("Hello")
        server.on_request = lambda _: Reply("Hi, " * 9, fault=Fault("drop", events=9))
        with pytest.raises(StreamInterruptedError):
            list(llm.stream("Hello"))
    assert (spend.total.calls, spend.total.failed) == (1, 1)
    assert spend.usd == ONE_CALL.usd + spend.total.estimated_usd > ONE_CALL.usd
    with SpendTracker() as spend, contextlib.closing(llm.stream("Hello")) as stream:
        next(stream)
    total = spend.total
    expected = {"input_tokens": total.input_tokens, "output_tokens": total.output_tokens}
    assert total == Spend(calls=1, unpriced=1, **expected)
    assert min(expected.values()) > 0


def test_a_tracker_that_is_among_the_callbacks_twice_counts_once(server):
    once, twice = SpendTracker(), SpendTracker()
    llm = chat(server, callbacks=[twice]).with_config(callbacks=[twice, once])
    config = {"callbacks": [twice]}
    server.fail(503, headers={"retry-after-ms": "1"})
    llm.invoke("Hello", config)
    with contextlib.closing(llm.stream("Hello", config)) as stream:
        assert [next(stream) for _ in TEXT.split()]
    server.fail(400)
    with pytest.raises(BadRequestError):
        llm.invoke("Hello", config, model="baidu/ernie-5.0")
    assert once.total == twice.total
    assert once.by_model == twice.by_model
    counts = {name: (s.calls, s.retries, s.failed) for name, s in once.by_model.items()}
    assert counts == {MODEL: (2, 1, 0), "baidu/ernie-5.0": (0, 0, 1)}


def test_calls_that_the_garbage_collector_ends_within_another_are_counted():
    spend = SpendTracker()
    priced = AIMessage("a", response_metadata={"usd_spent": 0.001})
    result = LLMResult(generations=[[ChatGeneration(message=priced)]])

    def start(number):
        spend.on_chat_model_start({}, [[]], run_id=UUID(int=number), metadata={})

    class Abandoned:
        def __init__(self, number):
            self.itself, self.number = self, number
            start(number)

        def __del__(self):
            spend.on_llm_error(GeneratorExit(), run_id=UUID(int=self.number))

    before = gc.get_threshold()
    gc.set_threshold(50, 5, 5)
    try:
        for number in range(0, 2000, 2):
            Abandoned(number)
            start(number + 1)
            spend.on_llm_end(result, run_id=UUID(int=number + 1))
    finally:
        gc.set_threshold(*before)
    collect()
    assert spend.total.calls == 2000
    assert spend.by_model["unknown"].calls == 2000
    assert spend.usd == 1


@pytest.mark.parametrize(
    ("reply", "is_billed"),
    [
        (Reply(body=b'{"choices": ['), True),
        (Reply(body={"choices": []}), True),
        *((Reply(status=status), True) for status in (504, 524)),
        (Reply(TEXT, delay=30), True),
        *((Reply(TEXT, fault=Fault(bytes=number)), True) for number in (0, 20)),
        (Reply(body=b"<html>", headers={"content-type": "text/html"}), False),
        (Reply(body={"error": {"message": "x", "code": 500}}), False),
        *((Reply(status=status), False) for status in (400, 429, 500, 503)),
    ],
)
def test_a_failed_call_that_may_have_been_processed_is_billed(server, reply, is_billed):
    """The retry policy says which."""
    spend = SpendTracker(**PRICES)
    server.on_request = lambda _: reply
    timeout = 2.5 if reply.delay else 60.0
    with pytest.raises(AimlErnieError):
        chat(server, callbacks=[spend], max_retries=0, timeout=timeout).invoke(PROMPT)
    assert (spend.total.calls, spend.total.failed) == (0, 1)
    assert (spend.usd > 0) == is_billed
    assert spend.usd == spend.total.estimated_usd


def test_a_limit_can_be_changed_on_a_tracker(llm):
    spend = SpendTracker(limit_usd=0)
    config = {"callbacks": [spend]}
    with pytest.raises(BudgetExceededError):
        llm.invoke("hi", config)
    spend.limit_usd = "2"
    assert spend.limit_usd == Decimal(2)
    llm.invoke("hi", config)
    spend.limit_usd, spend.limit_credits = None, 0
    with pytest.raises(BudgetExceededError, match="limit_credits"):
        llm.invoke("hi", config)


# A budget, whatever runs at once


@pytest.mark.slow
@pytest.mark.parametrize("way", ["threads", "tasks", "both"])
def test_calls_at_once_keep_the_budget(server, price, way):
    number = 100
    server.reply(TEXT, times=number, delay=0.05)
    limit = {"limit_credits": price * 10_000_000} if way == "tasks" else {"limit_usd": price * 5}
    spend, llm = counted(server, **limit)
    sent_before = len(server.requests)
    in_tasks = {"threads": 0, "tasks": number, "both": number // 2}[way]
    with ThreadPoolExecutor(1) as pool:
        threads = pool.submit(gather, number - in_tasks, lambda: llm.invoke(PROMPT))
        answers = asyncio.run(agather(in_tasks, lambda: llm.ainvoke(PROMPT)))
        answers += threads.result()
    assert len(answers) == len(server.requests) - sent_before == 5
    assert spend.usd == price * 5
    assert spend.total.failed == 0


def test_calls_that_fail_and_wait_for_a_price_do_not_wait_for_ever(server, price):
    server.fail(400, times=3)
    llm = counted(server, limit_usd=price * 2)[1]

    async def call():
        try:
            return await llm.ainvoke(PROMPT)
        except BadRequestError:
            return "failed"

    results = asyncio.run(agather(20, call))
    assert results.count("failed") == 3
    assert len(results) == 5


def test_a_call_within_the_first_stream_does_not_wait_for_it(server, price):
    spend, llm = counted(server, limit_usd=1)
    stream = llm.stream(PROMPT)
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        batch = pool.submit(copy_context().run, llm.batch, [PROMPT] * 2)
        assert [each.text for each in batch.result(10)] == [TEXT] * 2
    stream.close()

    async def astream():
        spend.reset()
        stream = llm.astream(PROMPT)
        await anext(stream)
        async with asyncio.timeout(10):
            messages = await asyncio.gather(llm.ainvoke(PROMPT), llm.ainvoke(PROMPT))
        await stream.aclose()
        return [each.text for each in messages]

    assert asyncio.run(astream()) == [TEXT] * 2


def test_a_call_waits_for_the_first_price_that_comes_and_not_for_a_certain_call(server):
    spend, llm = counted(server, limit_usd=1)
    stream = llm.stream(PROMPT)
    next(stream)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(llm.invoke, PROMPT)
        assert wait_until(lambda: len(spend._calls) == 2)
        llm.invoke(PROMPT)  # within the stream, for which it does not wait
        try:
            assert waiting.result(10).text == TEXT
        finally:
            stream.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_a_forked_process_does_not_wait_for_the_calls_of_its_parent(server, price):
    spend, llm = counted(server, limit_usd=1)
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(llm.stream, PROMPT).result()
        pool.submit(next, stream).result()  # in another context
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: there is a thread
            child = os.fork()
        if not child:
            signal.alarm(60)
            is_counted = llm.invoke(PROMPT).text == TEXT and spend.usd == price
            os._exit(not (is_counted and not spend._calls and not spend._reserved))
    assert os.waitpid(child, 0)[1] == 0
    stream.close()


@pytest.mark.parametrize("reserve", ["expected", "worst", None])
def test_a_small_budget_gets_its_first_call(server, price, reserve):
    spend = SpendTracker(limit_usd=price, reserve=reserve, **PRICES)
    llm = chat(server, callbacks=[spend], max_tokens=100_000)
    assert llm.invoke(PROMPT).text == TEXT
    with pytest.raises(BudgetExceededError, match="limit_usd"):
        llm.invoke(PROMPT)


@pytest.mark.slow
def test_the_worst_case_is_reserved_while_calls_are_under_way(server):
    rejected = []

    def respond(_):
        assert wait_until(lambda: len(rejected) == 8)
        return Reply(TEXT)

    async def call():
        try:
            return await llm.ainvoke(PROMPT, max_completion_tokens=20_000.0)  # $0.02 each
        except BudgetExceededError:
            rejected.append(1)
            raise

    server.on_request = respond
    spend = SpendTracker(
        limit_usd="0.05", reserve="worst", prices={"baidu/ernie-4.5-21b-a3b": (0, 1)}
    )
    llm = chat(server, callbacks=[spend])
    assert len(asyncio.run(agather(10, call))) == 2
    assert spend.remaining_usd == Decimal("0.05") - spend.usd


def test_a_rejected_call_is_silent_and_no_failure(server, price, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    spend, llm = counted(server, limit_usd=price)
    llm.invoke(PROMPT)
    caplog.clear()
    for call in (llm.invoke, lambda prompt: list(llm.stream(prompt)), lambda p: llm.batch([p])):
        with pytest.raises(BudgetExceededError, match="The budget is spent"):
            call(PROMPT)
    with pytest.raises(BudgetExceededError):
        asyncio.run(llm.ainvoke(PROMPT))
    own = [each for each in caplog.records if not each.name.startswith("asyncio")]
    assert (own, *capfd.readouterr()) == ([], "", "")
    assert (spend.total.calls, spend.total.failed) == (1, 0)


def test_cached_responses_pass_an_exhausted_budget(server, price):
    spend = SpendTracker(limit_usd=price)
    llm = chat(server, callbacks=[spend], cache=InMemoryCache())
    llm.invoke(PROMPT)
    assert llm.invoke(PROMPT).text == TEXT
    assert asyncio.run(llm.ainvoke(PROMPT)).text == TEXT
    assert (spend.total.calls, spend.total.cached) == (1, 2)
    with pytest.raises(BudgetExceededError):
        llm.invoke("Something else")


@pytest.mark.slow
def test_streams_that_the_consumer_abandons_are_counted(server, price):
    server.reply(TEXT * 40, times=20)
    spend, llm = counted(server)

    async def abandon():
        for _ in range(10):
            await anext(aiter(llm.astream(PROMPT)))
        collect()
        await asyncio.sleep(0)  # the loop begins to close the streams, in tasks
        while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks)

    asyncio.run(abandon())
    for _ in range(10):
        next(iter(llm.stream(PROMPT)))
    collect()
    total = spend.total
    assert (total.calls, total.failed, total.unpriced) == (20, 0, 20)
    assert total.input_tokens > 20
    assert total.output_tokens >= 20
    assert total.usd == 0  # no price is known yet
    llm.invoke(PROMPT)
    assert spend.total.unpriced == 0
    assert spend.total.estimated_usd > 0
    assert spend.usd == price + spend.total.estimated_usd


@pytest.mark.filterwarnings(
    "ignore::RuntimeWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)
@pytest.mark.parametrize("is_price_known", [True, False])
def test_a_stream_whose_loop_was_closed_around_it_has_ended(server, price, is_price_known):
    """The loop is closed without `shutdown_asyncgens`, as programs did before `asyncio.run`."""
    spend, llm = counted(server, limit_usd=3 * price)
    if is_price_known:
        llm.invoke(PROMPT)
    loop = asyncio.new_event_loop()
    stream = llm.astream(PROMPT)
    loop.run_until_complete(anext(stream))
    loop.close()
    del stream, loop
    collect()
    llm.invoke(PROMPT)  # neither refused nor waiting for the price of the stream
    assert spend.remaining_usd < (2 - is_price_known) * price
    assert spend.total.calls == 2 + is_price_known


DEAR = {"prices": {MODEL: (1_000_000, 0)}}


@pytest.mark.parametrize(
    ("settings", "source", "is_dear"),
    [
        ({}, "calls", False),
        ({}, "list_models", False),
        (DEAR, "prices", True),
        (DEAR, "calls", False),
        ({**DEAR, "reserve": "worst"}, "calls", True),
    ],
)
def test_where_the_price_of_an_abandoned_call_comes_from(server, price, settings, source, is_dear):
    spend, llm = counted(server, **settings)
    if source == "calls":
        llm.invoke(PROMPT)
    elif source == "list_models":
        list_models(base_url=server.base_url)
    next(iter(llm.stream(PROMPT)))
    collect()
    assert spend.total.estimated_usd > 0
    assert (spend.total.estimated_usd > 1) == is_dear
    assert spend.total.unpriced == 0


@pytest.mark.slow
@pytest.mark.parametrize("streaming", [False, True])
def test_a_cancelled_call_is_counted_and_reported_as_ended(server, streaming):
    server.reply(TEXT)
    server.reply(TEXT * 20, delay=30, times=2)
    ended = []

    class Callbacks(SpendTracker):
        def on_llm_error(self, error, *, run_id, **kwargs):
            ended.append(type(error))
            super().on_llm_error(error, run_id=run_id, **kwargs)

    spend = Callbacks()
    llm = chat(server, callbacks=[spend], streaming=streaming)

    async def cancel():
        await llm.ainvoke(PROMPT)
        for number in (2, 3):
            task = asyncio.create_task(llm.ainvoke(PROMPT))
            assert await asyncio.to_thread(wait_until, lambda n=number: len(server.requests) == n)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(cancel())
    assert ended == [asyncio.CancelledError] * 2
    assert (spend.total.calls, spend.total.failed) == (3, 0)
    assert spend.total.estimated_usd > 0


def test_calls_of_other_models_are_checked_and_priced(server):
    class Paid(GenericFakeChatModel):
        def _get_ls_params(self, stop=None, **kwargs):
            return {**super()._get_ls_params(stop, **kwargs), "ls_model_name": "paid-1"}

    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    paid = Paid(messages=iter([AIMessage("a", usage_metadata=usage)] * 9))
    seen = []

    def price(model, usage):
        seen.append((model, usage["input_tokens"], usage["output_tokens"]))
        return Decimal("0.25")

    spend = SpendTracker(limit_usd="0.6", price=price)
    config = {"callbacks": [spend, spend], "tags": ["blue", "green"]}
    paid.invoke("One", config)
    paid.invoke("Two", config)
    with pytest.raises(BudgetExceededError, match=r"could exceed limit_usd=0\.6: 0\.5 is spent"):
        paid.invoke("Three", config)
    assert seen == [("paid-1", 10, 5)] * 2
    assert spend.usd == Decimal("0.5")
    assert {name: each.usd for name, each in spend.by_model.items()} == {"paid-1": Decimal("0.5")}
    assert set(spend.by_tag) == {"blue", "green"}
    assert spend.by_tag["blue"] == spend.total


def test_a_call_of_another_model_that_one_tracker_rejects_is_reserved_by_none():
    """Trackers of the same call, in either order."""
    usage = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
    other = GenericFakeChatModel(messages=iter([AIMessage("a", usage_metadata=usage)] * 2))
    outer, inner = (SpendTracker(limit_usd=limit, price=lambda *_: 1) for limit in (3, 1))
    for callbacks in ([outer, inner], [outer, inner], [inner, outer], [outer]):
        with contextlib.suppress(BudgetExceededError):
            other.invoke("Hi", {"callbacks": callbacks})
    assert (outer.total.calls, inner.total.calls) == (2, 1)
    assert outer.remaining_usd == 1


@pytest.mark.parametrize("price", [lambda *_: {}["unknown"], lambda *_: -1])
def test_a_call_counts_whose_price_function_fails(server, price):
    server.reply(TEXT, meta={"usage": {}})
    spend = SpendTracker(price=price, **PRICES)
    with pytest.raises((KeyError, ValueError)):
        chat(server, callbacks=[spend]).invoke(PROMPT)
    assert spend.total.calls == 1
    assert spend.usd == spend.total.estimated_usd > 0


def test_a_price_function_may_make_calls_in_other_threads(server, price):
    server.reply(TEXT, meta={"usage": {}})
    with ThreadPoolExecutor(1) as pool:

        def ask(*_):
            pool.submit(llm.invoke, PROMPT).result(5)
            return 1

        spend, llm = counted(server, price=ask)
        llm.invoke(PROMPT)
    assert (spend.total.calls, spend.usd) == (2, 1 + price)


@pytest.mark.parametrize(("unpriced", "number"), [("reserve", 1), ("ignore", 0)])
def test_what_a_response_without_a_price_costs(unpriced, number):
    other = FakeListChatModel(responses=["Hello"])
    spend = SpendTracker(
        unpriced=unpriced, prices={"unknown": (1, 1)}, price=lambda _, usage: len(usage)
    )
    other.invoke("Hi", config={"callbacks": [spend]})
    usd = spend.usd
    assert (usd > 0) == (number == 1)
    assert spend.total.unpriced == 1 - number
    with pytest.raises(ValueError, match="validation error"):
        GenericFakeChatModel(messages=iter([1])).invoke("Hi", config={"callbacks": [spend]})
    assert (spend.total.failed, spend.usd, [*spend.by_model]) == (1, usd, ["unknown"])


def test_a_tracker_can_be_stored_and_continued(server, price):
    spend = SpendTracker(spent_usd="0.5", limit_usd=1)
    assert spend.remaining_usd == Decimal("0.5")
    chat(server, callbacks=[spend]).invoke(PROMPT, config={"tags": ["night"]})
    again = SpendTracker.from_dict(spend.to_dict(), limit_usd=Decimal("0.5") + price)
    for name in ("total", "by_model", "by_tag"):
        assert getattr(again, name) == getattr(spend, name)
    assert SpendTracker.from_dict(spend.to_dict(), spent_usd=1).usd == spend.usd + 1
    knows_price = SpendTracker.from_dict(spend.to_dict())
    next(iter(chat(server, callbacks=[knows_price]).stream(PROMPT)))
    assert knows_price.total.estimated_usd > 0
    with pytest.raises(BudgetExceededError):
        chat(server, callbacks=[again]).invoke(PROMPT)
    again.reset()
    assert again.to_dict() == SpendTracker().to_dict()
    assert again.remaining_usd == Decimal("0.5") + price
    assert chat(server, callbacks=[again]).invoke(PROMPT).text == TEXT


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
@pytest.mark.parametrize("limit", [{"limit_usd": 1}, {}])
def test_a_call_does_not_wait_for_a_price_for_ever_nor_without_a_limit(monkeypatch, mode, limit):
    if limit:
        monkeypatch.setattr("langchain_aimlernie._client._MAX_WAIT", 0.05)
    spend, has_second = SpendTracker(**limit), Until()
    with ByteServer((has_second, GOOD_RESPONSE)) as server, ThreadPoolExecutor(1) as pool:
        llm = ChatAimlErnie(base_url=server.base_url, api_key="local", callbacks=[spend])
        first = pool.submit(llm.invoke, PROMPT)
        assert server.received(1)
        second = llm.invoke(PROMPT) if mode == "invoke" else asyncio.run(llm.ainvoke(PROMPT))
        assert not first.done()
        has_second.set()
        assert second.text == first.result().text == "Hello"
        llm.close()


def test_a_call_that_stops_waiting_for_a_price_leaves_the_others_waiting():
    spend, has_first = SpendTracker(limit_usd=1), Until()

    async def main(server, llm):
        first = asyncio.create_task(llm.ainvoke(PROMPT))
        assert await asyncio.to_thread(server.received, 1)
        others = [asyncio.create_task(llm.ainvoke(PROMPT)) for _ in range(3)]
        assert await asyncio.to_thread(wait_until, lambda: len(spend._calls) == 4)
        assert len(server.requests) == 1
        others[0].cancel()
        has_first.set()
        return await asyncio.gather(first, *others, return_exceptions=True)

    with ByteServer((has_first, GOOD_RESPONSE), rest=GOOD_RESPONSE) as server:
        llm = ChatAimlErnie(base_url=server.base_url, api_key="local", callbacks=[spend])
        first, cancelled, *others = asyncio.run(main(server, llm))
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [each.text for each in (first, *others)] == ["Hello"] * 3


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_every_prompt_of_a_batch_that_fails_or_is_cancelled_is_counted_once(
    server, price, is_async
):
    spend = SpendTracker()
    llm = chat(server, callbacks=[spend], max_retries=0, max_connections=1)
    prompts = [[HumanMessage(PROMPT)]] * 3
    server.reply(TEXT)

    async def cancel():
        task = asyncio.create_task(llm.agenerate(prompts))
        # The second request is sent when the first response has freed the only connection.
        assert await asyncio.to_thread(wait_until, lambda: len(server.requests) == 3)
        task.cancel()
        await task

    if is_async:
        server.reply(TEXT, delay=30)
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(cancel())
        assert spend.total.calls == 3
    else:
        server.fail(500)
        with pytest.raises(InternalServerError):
            llm.generate(prompts)
        assert (spend.total.calls, spend.total.failed) == (1, 1)
    assert spend.usd - spend.total.estimated_usd == price


def test_what_a_call_would_cost(server):
    llm = chat(server, max_tokens=1_000)
    with pytest.raises(ValueError, match=r"call list_models\(\) first"):
        llm.estimate_cost(PROMPT)
    card = next(each for each in list_models(base_url=server.base_url) if each.id == llm.model)
    million = 1_000_000
    prompt = llm.get_num_tokens_from_messages([HumanMessage(PROMPT)])
    assert llm.estimate_cost(PROMPT, max_output_tokens=0) == prompt * card.input_price / million
    most = llm.estimate_cost([("human", PROMPT)])
    assert most == (prompt * card.input_price + 1_000 * card.output_price) / million
    assert chat(server).estimate_cost(PROMPT) > 100 * most  # all that the context leaves
    assert llm.estimate_cost(PROMPT, tools=[chat]) > most
    for invalid in (-1, 2.5, True, "5"):
        with pytest.raises(ValueError, match=f"integer of at least 0; got {invalid!r}"):
            llm.estimate_cost(PROMPT, max_output_tokens=invalid)


@pytest.mark.slow
@pytest.mark.parametrize("is_async", [False, True])
def test_reconcile_replaces_estimates_with_what_the_log_says(server, price, is_async):
    server.reply(TEXT * 40, times=5)
    server.reply("priced", meta={"usage": {"usd_spent": 0.0019}})
    spend, llm = counted(server)
    for number in range(5):  # their estimates are no finite decimals
        next(iter(llm.stream(PROMPT * (1 + 9 * number), config={"tags": ["left"]})))
    collect()
    exact = llm.invoke(f"{PROMPT * 3} Hi").response_metadata["usd_spent"]
    estimated = spend.total
    assert estimated.estimated_usd > 0

    def reconcile():
        return asyncio.run(spend.areconcile(llm)) if is_async else spend.reconcile(llm)

    assert reconcile() == 5
    logged = {entry.client_request_id: entry for entry in account.logs(**account_of(server))}
    total = spend.total
    sent = [request.headers["x-client-request-id"] for request in server.requests if request.body]
    assert total.estimated_usd == total.unpriced == 0
    assert total.usd == Decimal(str(exact)) + sum(logged[id_].cost.usd for id_ in sent[1:6])
    assert spend.by_tag["left"].usd == total.usd - Decimal(str(exact))
    left = [logged[id_].tokens for id_ in sent[1:6]]
    for name in ("input", "output"):
        expected = sum(getattr(tokens, name) for tokens in left)
        assert getattr(spend.by_tag["left"], f"{name}_tokens") == expected
    assert (total.calls, spend.by_tag["left"].estimated_usd) == (6, 0)
    assert reconcile() == 0


@pytest.mark.slow
def test_reconcile_loses_nothing_when_it_fails_or_calls_share_one_request_id(server, price):
    server.reply(TEXT * 40, times=3)
    spend, shared = SpendTracker(), SpendTracker()
    llm = chat(server, callbacks=[spend], api_key=lambda: server.api_key)
    same = chat(server, callbacks=[shared], client_request_id="customer-42")
    for each in (llm, same):
        next(iter(each.stream(PROMPT)))
    collect()
    same.invoke(PROMPT)
    before = shared.total
    assert shared.reconcile(same) == 0
    assert shared.total == before
    with pytest.raises(AuthenticationError):
        spend.reconcile(chat(server, api_key="wrong"))
    assert spend.reconcile(llm) == 1


@pytest.mark.slow
def test_only_the_latest_calls_without_a_price_are_estimated(server, price, monkeypatch):
    monkeypatch.setattr("langchain_aimlernie.spend.prices._MAX_ESTIMATES", 3)
    server.reply(TEXT * 9, times=9)
    spend, llm = counted(server)
    for _ in range(9):
        next(iter(llm.stream(PROMPT)))
    collect()
    assert spend.total.unpriced == 9
    llm.invoke(PROMPT)
    assert (spend.total.calls, spend.total.unpriced) == (10, 6)
    assert spend.total.estimated_usd > 0
    assert spend.reconcile(llm) == 3
