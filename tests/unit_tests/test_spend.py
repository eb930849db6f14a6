"""Adding up what calls cost: every call once, however it is made, and never past the budget."""

import asyncio
import contextlib
import uuid
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest
from langchain_core.exceptions import ModelError
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
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


def times(number):
    return Spend._make(number * value for value in ONE_CALL)


async def astream(model, **config):
    return [chunk async for chunk in model.astream("Hello", **config)]


CALLS = {
    "invoke": lambda model, **config: model.invoke("Hello", **config),
    "stream": lambda model, **config: list(model.stream("Hello", **config)),
    "batch": lambda model, **config: model.batch(["Hello"], **config),
    "chain": lambda model, **config: (RunnableLambda(str) | model).invoke("Hello", **config),
    "ainvoke": lambda model, **config: asyncio.run(model.ainvoke("Hello", **config)),
    "astream": lambda model, **config: asyncio.run(astream(model, **config)),
    "events": lambda model, **config: model.stream_events("Hello", version="v3", **config).output,
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("limit", [{"limit_usd": 0.0003}, {"limit_credits": 600}])
def test_a_call_counts_once_however_it_is_made_until_the_budget_is_spent(model, call, limit):
    given, make = SpendTracker(), CALLS[call]
    with SpendTracker(**limit) as block:
        for _ in range(2):
            make(model, config={"callbacks": [given, block]})
        with pytest.raises(BudgetExceededError, match=next(iter(limit))):
            make(model)
    assert len(model.sent) == 2
    assert block.total == given.total == times(2)
    assert block.by_model == {"baidu/ernie-4.5-21b-a3b": times(2)}


def test_nested_and_reentered_blocks_count_the_calls_within_them(model):
    with SpendTracker() as outer:
        model.invoke("Hello")
        with SpendTracker() as middle:
            with SpendTracker() as inner, outer:
                model.invoke("Hello")
            model.invoke("Hello")
        with contextlib.suppress(KeyError), inner:
            model.invoke("Hello")
            raise KeyError
        model.invoke("Hello")
    model.invoke("Hello")
    assert [each.total.calls for each in (outer, middle, inner)] == [5, 2, 2]


def test_a_call_in_a_plain_thread_counts_through_its_config(model):
    def work(_, config):
        with ThreadPoolExecutor(1) as pool:
            pool.submit(model.invoke, "Hello", config).result()

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


def test_sums_are_kept_by_model(model):
    other = PricedModel(model="baidu/ernie-5.0", metadata_sent={"credits_used": 1000})
    with SpendTracker() as spend:
        model.invoke("Hello")
        other.invoke("Hello")
        other.invoke("Hello")
    calls = [(name, spent.calls) for name, spent in spend.by_model.items()]
    assert calls == [("baidu/ernie-4.5-21b-a3b", 1), ("baidu/ernie-5.0", 2)]
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


def result(*messages):
    return LLMResult(generations=[[ChatGeneration(message=message) for message in messages]])


def spend_of(*generations):
    spend = SpendTracker()
    for generation in generations:
        spend.on_llm_end(generation, run_id=uuid.uuid4())
    return spend.total


def priced(**metadata):
    return result(AIMessage("", response_metadata=metadata))


@pytest.mark.parametrize(
    ("metadata", "usd", "credit_count"),
    [
        ({"credits_used": 120_000}, "0.06", 120_000),
        ({"usd_spent": 0.00124}, "0.00124", 2480),
        ({"usd_spent": "0.001240000"}, "0.00124", 2480),
        ({"credits_used": 0}, "0", 0),
    ],
)
def test_credits_and_dollars_are_made_from_each_other(metadata, usd, credit_count):
    expected = Spend(calls=1, credits=Decimal(credit_count), usd=Decimal(usd))
    assert spend_of(priced(**metadata)) == expected


@pytest.mark.parametrize("price", [None, True, "free", -5, float("nan"), float("inf"), [1], {}])
def test_an_invalid_price_counts_as_unpriced(price):
    assert spend_of(priced(credits_used=price, usd_spent=price)) == Spend(calls=1, unpriced=1)


def test_results_and_not_their_choices_are_counted():
    message = AIMessage("", response_metadata=PRICE, usage_metadata=USAGE)
    assert spend_of(result(message, message)) == ONE_CALL
    cached = AIMessage("", usage_metadata=USAGE | {"total_cost": 0})
    assert spend_of(result(cached)) == Spend(cached=1)
    empty = [LLMResult(generations=each) for each in ([], [[]], [[], []])]
    assert spend_of(*empty) == Spend()
    assert spend_of(*[priced(usd_spent=0.1)] * 3).usd == Decimal("0.3"), "exactly"


def test_the_failure_of_an_unknown_run_is_not_counted():
    spend = SpendTracker()
    spend.on_llm_error(ValueError(), run_id=uuid.uuid4())
    assert spend.total == Spend()


def test_a_spent_budget_raises_an_error_that_is_not_retryable():
    with pytest.raises(InsufficientCreditsError, match=r"limit_usd=0\b.+Raise the limit") as caught:
        SpendTracker(limit_usd=0).on_chat_model_start({}, [[]], run_id=uuid.uuid4())
    assert isinstance(caught.value, ModelError)
    assert not caught.value.is_retryable


INVALID_SETTINGS = [
    *(
        (name, v)
        for name in ("limit_usd", "limit_credits")
        for v in ("much", -1, float("nan"), True)
    ),
    *(("spent_usd", -1), ("reserve", "most"), ("unpriced", "free"), ("prices", {"x": ("much", 1)})),
    *(("prices", prices) for prices in ([("x", (1, 2))], {5: (1, 2)}, "x")),
    *(("prices", {"x": rates}) for rates in ((1,), (1, 2, 3), 5, {"input": 1, "output": 2}, "12")),
    ("price", 0.5),
]


@pytest.mark.parametrize(("name", "value"), INVALID_SETTINGS)
def test_invalid_settings_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        SpendTracker(**{name: value})
    if name.startswith("limit"):
        spend = SpendTracker(**{name: 1})
        with pytest.raises(ValueError, match=name):
            setattr(spend, name, value)
        assert getattr(spend, name) == 1


@pytest.mark.parametrize("data", [{}, [], {"total": {"usd": "much"}}, {"total": {"x": 1}}, None])
def test_what_cannot_be_continued(data):
    with pytest.raises(ValueError, match="to_dict"):
        SpendTracker.from_dict(data)


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


@pytest.mark.parametrize(
    ("spend", "line"),
    [
        (Spend(), "0 calls, 0 tokens in, 0 out, 0 credits, $0"),
        (ONE_CALL, "1 call, 100 tokens in (40 cached), 20 out (5 reasoning), 300 credits, $0.00015"),
        (
            times(10_000)._replace(cached=1, retries=1, failed=2, unpriced=3),
            ("10,000 calls, 1,000,000 tokens in (400,000 cached), 200,000 out (50,000 reasoning), "
             "3,000,000 credits, $1.5, 1 from the cache, 1 retry, 2 failed, 3 without a price"),
        ),
    ],
)  # fmt: skip
def test_sums_print_as_one_line(spend, line):
    assert str(spend) == line


def test_a_tracker_prints_its_sums(model):
    with SpendTracker() as spend:
        model.invoke("Hello")
    assert str(spend) == str(ONE_CALL)
    assert repr(spend) == f"<SpendTracker: {ONE_CALL}>"
