"""Adding up what calls cost: every call once, however it is made, and never past the budget."""

import asyncio
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.runnables import RunnableLambda
from pydantic import Field

from langchain_aimlernie import models
from langchain_aimlernie.errors import InsufficientCreditsError, InternalServerError
from langchain_aimlernie.spend import BudgetExceededError, Spend, SpendTracker

USAGE = {
    "input_tokens": 100,
    "output_tokens": 20,
    "total_tokens": 120,
    "input_token_details": {"cache_read": 40},
    "output_token_details": {"reasoning": 5},
}
PRICE = {"model_name": "baidu/ernie-4.5-21B-a3b", "credits_used": 300, "usd_spent": 0.00015}
ONE_CALL = Spend(
    calls=1,
    input_tokens=100,
    cached_tokens=40,
    output_tokens=20,
    reasoning_tokens=5,
    credits=Decimal(300),
    usd=Decimal("0.00015"),
)


class PricedModel(BaseChatModel):
    """A chat model that answers with a price and makes no request."""

    model: str = "ernie-4.5-21b-a3b"
    usage: dict = USAGE
    metadata_sent: dict = PRICE
    fails: bool = False
    sent: list = Field(default_factory=list)

    @property
    def _llm_type(self):
        return "priced"

    @property
    def _identifying_params(self):
        return {"model": self.model}

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        self.sent.append(messages)
        if self.fails:
            raise InternalServerError("no luck")
        message = AIMessage("Hi", usage_metadata=self.usage, response_metadata=self.metadata_sent)
        return ChatResult(generations=[ChatGeneration(message=message)])

    def _stream(self, messages, stop=None, run_manager=None, **kwargs):
        self.sent.append(messages)
        yield ChatGenerationChunk(message=AIMessageChunk("H"))
        if self.fails:
            raise InternalServerError("no luck")
        yield ChatGenerationChunk(message=AIMessageChunk("i", usage_metadata=self.usage))
        yield ChatGenerationChunk(
            message=AIMessageChunk("", response_metadata=self.metadata_sent, chunk_position="last")
        )


@pytest.fixture
def model():
    return PricedModel(sent=[])


def times(number, spend=ONE_CALL):
    return Spend._make(number * value for value in spend)


async def ainvoke(model, **config):
    return await model.ainvoke("Hello", **config)


async def astream(model, **config):
    return [chunk async for chunk in model.astream("Hello", **config)]


CALLS = {
    "invoke": lambda model, **config: model.invoke("Hello", **config),
    "stream": lambda model, **config: list(model.stream("Hello", **config)),
    "batch": lambda model, **config: model.batch(["Hello"], **config),
    "chain": lambda model, **config: (RunnableLambda(str) | model).invoke("Hello", **config),
    "ainvoke": lambda model, **config: asyncio.run(ainvoke(model, **config)),
    "astream": lambda model, **config: asyncio.run(astream(model, **config)),
    "events": lambda model, **config: model.stream_events("Hello", version="v3", **config).output,
}


@pytest.mark.parametrize("call", CALLS)
def test_a_call_counts_once_however_it_is_made(model, call):
    with SpendTracker() as spend:
        CALLS[call](model)
        CALLS[call](model)
    assert spend.total == times(2)
    assert spend.by_model == {"baidu/ernie-4.5-21b-a3b": times(2)}


@pytest.mark.parametrize("call", CALLS)
def test_a_tracker_works_as_a_callback(model, call):
    spend = SpendTracker()
    CALLS[call](model, config={"callbacks": [spend]})
    assert spend.total == ONE_CALL


def test_a_tracker_registered_twice_counts_once(model):
    with SpendTracker() as spend, spend:
        model.invoke("Hello", config={"callbacks": [spend]})
    assert spend.total == ONE_CALL


def test_nothing_is_counted_outside_the_block(model):
    with SpendTracker() as spend:
        pass
    model.invoke("Hello")
    assert spend.total == Spend()


def test_the_block_ends_when_it_raises(model):
    spend = SpendTracker()
    with pytest.raises(KeyError), spend:
        raise KeyError
    model.invoke("Hello")
    assert spend.total == Spend()


def test_a_tracker_can_be_entered_again(model):
    spend = SpendTracker()
    for _ in range(3):
        with spend:
            model.invoke("Hello")
    assert spend.total == times(3)


def test_nested_trackers_each_count_their_own_calls(model):
    with SpendTracker() as outer:
        model.invoke("Hello")
        with SpendTracker() as inner:
            model.invoke("Hello")
        model.invoke("Hello")
    assert (outer.total, inner.total) == (times(3), times(1))


def test_leaving_a_reentered_block_keeps_the_tracker_active(model):
    with SpendTracker() as spend:
        with spend:
            model.invoke("Hello")
        model.invoke("Hello")
    model.invoke("Hello")
    assert spend.total == times(2)


def test_a_call_in_a_plain_thread_counts_through_its_config(model):
    def work(_, config):
        thread = threading.Thread(target=model.invoke, args=("Hello", config))
        thread.start()
        thread.join()

    with SpendTracker() as spend:
        RunnableLambda(work).invoke(None)
    assert spend.total == ONE_CALL


def test_trackers_of_concurrent_tasks_are_independent(model):
    async def task(calls):
        with SpendTracker() as spend:
            for _ in range(calls):
                await model.ainvoke("Hello")
                await asyncio.sleep(0)
        return spend.total.calls

    async def main():
        with SpendTracker() as spend:
            counts = await asyncio.gather(*(task(calls) for calls in range(5)))
        return counts, spend.total.calls

    assert asyncio.run(main()) == ([0, 1, 2, 3, 4], 10)


def test_many_threads_lose_no_call(model):
    spend = SpendTracker()
    start = threading.Barrier(8)

    def work(_):
        start.wait()
        for _ in range(50):
            model.invoke("Hello", config={"callbacks": [spend]})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert spend.total == times(400)


def test_sums_are_kept_by_model(model):
    other = PricedModel(model="baidu/ernie-5.0", metadata_sent={"credits_used": 1000})
    with SpendTracker() as spend:
        model.invoke("Hello")
        other.invoke("Hello")
        other.invoke("Hello")
    assert {name: sum_.calls for name, sum_ in spend.by_model.items()} == {
        "baidu/ernie-4.5-21b-a3b": 1,
        "baidu/ernie-5.0": 2,
    }
    assert spend.credits == 2300


def test_failed_calls_are_counted_separately(model):
    failing = PricedModel(fails=True)
    with SpendTracker() as spend:
        model.invoke("Hello")
        with pytest.raises(InternalServerError):
            failing.invoke("Hello")
        with pytest.raises(InternalServerError):
            list(failing.stream("Hello"))
    assert (spend.total.calls, spend.total.failed) == (1, 2)
    # The stream had begun, so that it is billed.
    assert spend.usd == ONE_CALL.usd + spend.total.estimated_usd > ONE_CALL.usd


def test_an_abandoned_stream_is_a_call_without_a_price(model, monkeypatch):
    monkeypatch.setattr(models, "listed_prices", lambda _: None)
    with SpendTracker() as spend:
        stream = model.stream("Hello")
        next(stream)
        stream.close()
    total = spend.total
    assert total == Spend(calls=1, unpriced=1, input_tokens=total.input_tokens, output_tokens=1)
    assert total.input_tokens > 0


def test_retries_are_counted_with_their_model():
    spend = SpendTracker()
    run = uuid.uuid4()
    spend.on_chat_model_start({}, [[]], run_id=run, metadata={"ls_model_name": "ernie-5.0"})
    spend.on_retry(object(), run_id=run)
    spend.on_retry(object(), run_id=run)
    spend.on_llm_end(result(AIMessage("")), run_id=run)
    assert spend.by_model == {"baidu/ernie-5.0": Spend(calls=1, retries=2, unpriced=1)}


def test_a_cached_response_costs_nothing():
    model = PricedModel(cache=InMemoryCache(), sent=[])
    with SpendTracker() as spend:
        for _ in range(3):
            model.invoke("Hello")
    assert len(model.sent) == 1
    assert spend.total == ONE_CALL._replace(cached=2)


def result(*messages):
    return LLMResult(generations=[[ChatGeneration(message=message) for message in messages]])


def spend_of(metadata, usage=None):
    spend = SpendTracker()
    message = AIMessage("", response_metadata=metadata, usage_metadata=usage)
    spend.on_llm_end(result(message), run_id=uuid.uuid4())
    return spend.total


def test_credits_and_dollars_are_made_from_each_other_where_one_is_missing():
    assert spend_of({"credits_used": 120_000}).usd == Decimal("0.06")
    assert spend_of({"usd_spent": 0.00124}).credits == 2480
    assert spend_of({"usd_spent": "0.001240000"}).usd == Decimal("0.00124")
    assert spend_of({"credits_used": 0}) == Spend(calls=1)


@pytest.mark.parametrize("price", [None, True, "free", -5, float("nan"), float("inf"), [1], {}])
def test_an_invalid_price_counts_as_unpriced(price):
    assert spend_of({"credits_used": price, "usd_spent": price}) == Spend(calls=1, unpriced=1)


def test_a_response_without_usage_counts_as_a_call():
    assert spend_of({"credits_used": 1}) == Spend(
        calls=1, credits=Decimal(1), usd=Decimal("0.0000005")
    )


def test_a_price_for_several_choices_counts_once():
    spend = SpendTracker()
    message = AIMessage("", response_metadata=PRICE, usage_metadata=USAGE)
    spend.on_llm_end(result(message, message), run_id=uuid.uuid4())
    assert spend.total == ONE_CALL


@pytest.mark.parametrize("generations", [[], [[]], [[], []]])
def test_an_empty_result_is_not_a_call(generations):
    spend = SpendTracker()
    spend.on_llm_end(LLMResult(generations=generations), run_id=uuid.uuid4())
    assert spend.total == Spend()


def test_the_failure_of_an_unknown_run_is_not_counted():
    spend = SpendTracker()
    spend.on_llm_error(ValueError(), run_id=uuid.uuid4())
    assert spend.total == Spend()


def test_many_small_sums_are_exact():
    spend = SpendTracker(limit_usd=0.3)
    for _ in range(3):
        message = AIMessage("", response_metadata={"usd_spent": 0.1})
        spend.on_llm_end(result(message), run_id=uuid.uuid4())
    assert spend.usd == Decimal("0.3")
    with pytest.raises(BudgetExceededError):
        spend.on_chat_model_start({}, [[]], run_id=uuid.uuid4())


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("limit", [{"limit_usd": 0.0003}, {"limit_credits": 600}])
def test_no_call_is_sent_once_the_budget_is_spent(model, call, limit):
    with SpendTracker(**limit) as spend:
        CALLS[call](model)
        CALLS[call](model)
        with pytest.raises(BudgetExceededError, match=next(iter(limit))):
            CALLS[call](model)
    assert len(model.sent) == 2
    assert spend.total == times(2)


def test_a_spent_budget_raises_an_error_that_is_not_retryable():
    spend = SpendTracker(limit_usd=0)
    with pytest.raises(InsufficientCreditsError) as caught:
        spend.on_chat_model_start({}, [[]], run_id=uuid.uuid4())
    assert isinstance(caught.value, ModelError)
    assert not caught.value.is_retryable
    assert "limit_usd=0" in str(caught.value)
    assert "Raise the limit" in str(caught.value)


@pytest.mark.parametrize("limit", ["much", -1, float("nan"), True])
def test_a_limit_must_be_an_amount(limit):
    with pytest.raises(ValueError, match="limit_usd"):
        SpendTracker(limit_usd=limit)
    with pytest.raises(ValueError, match="limit_credits"):
        SpendTracker(limit_credits=limit)
    spend = SpendTracker(limit_usd=1)
    for name in ("limit_usd", "limit_credits"):
        with pytest.raises(ValueError, match=name):
            setattr(spend, name, limit)
    assert (spend.limit_usd, spend.limit_credits) == (1, None)


def test_a_limit_can_be_changed_on_a_tracker(model):
    spend = SpendTracker(limit_usd=0)
    config = {"callbacks": [spend]}
    with pytest.raises(BudgetExceededError):
        model.invoke("hi", config)
    spend.limit_usd = "2"
    assert spend.limit_usd == Decimal(2)
    model.invoke("hi", config)
    spend.limit_usd, spend.limit_credits = None, 0
    with pytest.raises(BudgetExceededError, match="limit_credits"):
        model.invoke("hi", config)


def test_other_handlers_are_not_disturbed(model):
    seen = []

    class Listener(BaseCallbackHandler):
        def on_llm_end(self, response, **kwargs):
            seen.append(response)

    with SpendTracker():
        model.invoke([HumanMessage("Hello")], config={"callbacks": [Listener()]})
    assert len(seen) == 1


def test_a_tracker_prints_as_one_line(model):
    spend = SpendTracker()
    assert str(spend) == "0 calls, 0 tokens in, 0 out, 0 credits, $0"
    with spend:
        model.invoke("Hello")
    assert str(spend) == (
        "1 call, 100 tokens in (40 cached), 20 out (5 reasoning), 300 credits, $0.00015"
    )
    line = str(times(10_000)._replace(cached=1, retries=1, failed=2, unpriced=3))
    assert line == (
        "10,000 calls, 1,000,000 tokens in (400,000 cached), 200,000 out (50,000 reasoning), "
        "3,000,000 credits, $1.5, 1 from the cache, 1 retry, 2 failed, 3 without a price"
    )
    assert "\n" not in repr(spend)
