"""Adding up what calls cost: every call once, however it is made, and never past the budget."""

import asyncio
import copy
import pickle
import uuid
from decimal import Decimal

import pytest
from langchain_core.exceptions import ModelError
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, LLMResult

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import InsufficientCreditsError
from langchain_aimlernie.spend import Spend, SpendTracker
from tests.support.spend import ONE_CALL

USAGE = {
    "input_tokens": 100,
    "output_tokens": 20,
    "total_tokens": 120,
    "input_token_details": {"cache_read": 40},
    "output_token_details": {"reasoning": 5},
}
PRICE = {"model_name": "baidu/ernie-4.5-21B-a3b", "credits_used": 300, "usd_spent": 0.00015}


def result(*messages):
    return LLMResult(generations=[[ChatGeneration(message=message) for message in messages]])


def spend_of(*generations, model="unknown"):
    spend = SpendTracker()
    for generation in generations:
        run = uuid.uuid4()
        spend.on_chat_model_start({}, [], run_id=run)
        spend.on_llm_end(generation, run_id=run)
    assert {*spend.by_model} <= {model}
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
        ({"credits_used": 2479, "usd_spent": 0.00124}, "0.00124", 2479),
    ],
)
def test_credits_and_dollars_are_made_from_each_other(metadata, usd, credit_count):
    expected = Spend(calls=1, credits=Decimal(credit_count), usd=Decimal(usd))
    assert spend_of(priced(**metadata)) == expected


@pytest.mark.parametrize("price", [None, True, "free", -5, float("nan"), float("inf"), [1], {}])
def test_an_invalid_price_counts_as_unpriced(price):
    assert spend_of(priced(credits_used=price, usd_spent=price)) == Spend(calls=1, unpriced=1)


@pytest.mark.parametrize("tokens", [None, -1, "many", 1.5, float("nan"), [1], True])
def test_whatever_a_model_states_is_counted_and_estimated(tokens):
    spend = SpendTracker(prices={"unknown": (1, 1)})
    run, message = uuid.uuid4(), AIMessage("")
    message.usage_metadata = {"input_tokens": tokens, "output_tokens": 7}
    spend.on_chat_model_start({}, [], run_id=run)
    spend.on_llm_end(result(message), run_id=run)
    assert spend.total.input_tokens == int(tokens == 1.5)
    assert spend.usd == Decimal(7 + int(tokens == 1.5)) / 1_000_000
    spend.on_chat_model_start({}, [[HumanMessage("Hi")]], run_id=run)
    chunk = AIMessageChunk("a", additional_kwargs={"reasoning_content": tokens})
    chunk.tool_call_chunks = [tool_call_chunk(name="f")]
    spend.on_llm_new_token("a", chunk=ChatGenerationChunk(message=chunk), run_id=run)
    thought = AIMessageChunk("", additional_kwargs={"reasoning_content": " thought" * 50})
    spend.on_llm_new_token("", chunk=ChatGenerationChunk(message=thought), run_id=run)
    for _ in range(50):
        spend.on_llm_new_token(" word", run_id=run)
    spend.on_llm_error(asyncio.CancelledError(), run_id=run)
    assert spend.total.calls == 2
    assert spend.total.output_tokens > 7 + 50 + 50


def test_results_and_not_their_choices_are_counted():
    message = AIMessage("", response_metadata=PRICE, usage_metadata=USAGE)
    assert spend_of(result(message, message), model="baidu/ernie-4.5-21b-a3b") == ONE_CALL
    cached = AIMessage("", usage_metadata=USAGE | {"total_cost": 0})
    assert spend_of(result(cached)) == Spend(cached=1)
    empty = [LLMResult(generations=each) for each in ([], [[]], [[], []])]
    assert spend_of(*empty) == Spend()
    assert spend_of(*[priced(usd_spent=0.1)] * 3).usd == Decimal("0.3"), "exactly"


def test_the_end_of_an_unknown_run_is_not_counted():
    spend = SpendTracker()
    spend.on_llm_error(ValueError(), run_id=uuid.uuid4())
    spend.on_llm_end(priced(usd_spent=1), run_id=uuid.uuid4())
    spend.on_llm_new_token("a", run_id=uuid.uuid4())
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


@pytest.mark.parametrize(
    "data",
    [
        *({}, [], {"total": {"x": 1}}, None),
        *({"total": {"usd": amount}} for amount in ("much", "NaN", "Infinity", "-1", None, True)),
        *({"total": {"calls": number}} for number in (-1, "many", None, float("nan"))),
        {"total": {}, "by_model": {"x": {"usd": "-1"}}, "by_tag": {}, "priced": {}},
    ],
)
def test_what_cannot_be_continued(data):
    with pytest.raises(ValueError, match=r"not a result of SpendTracker\.to_dict"):
        SpendTracker.from_dict(data)


def test_a_tracker_that_is_pickled_says_what_to_do_instead():
    """Else each process would have the whole budget."""
    spend = SpendTracker(limit_usd=1)
    llm = ChatAimlErnie(api_key="local", callbacks=[spend])
    for each in (spend, llm):
        with pytest.raises(TypeError, match=r"one in each process.+from_dict\(spend\.to_dict"):
            pickle.dumps(each)
    assert copy.copy(spend) is copy.deepcopy(spend) is spend


@pytest.mark.parametrize(
    ("spend", "line"),
    [
        (Spend(), "0 calls, 0 tokens in, 0 out, 0 credits, $0"),
        (ONE_CALL, "1 call, 100 tokens in (40 cached), 20 out (5 reasoning), 300 credits, $0.00015"),
        (
            Spend._make(10_000 * value for value in ONE_CALL)._replace(cached=1, retries=1, failed=2, unpriced=3),
            ("10,000 calls, 1,000,000 tokens in (400,000 cached), 200,000 out (50,000 reasoning), "
             "3,000,000 credits, $1.5, 1 from the cache, 1 retry, 2 failed, 3 without a price"),
        ),
    ],
)  # fmt: skip
def test_sums_print_as_one_line(spend, line):
    assert str(spend) == line
    tracker = SpendTracker()
    tracker._totals.total = spend
    assert (str(tracker), repr(tracker)) == (line, f"<SpendTracker: {line}>")
