"""Tries are counted, spaced, told to callbacks and the same on the wire; the waits run side by side."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from langchain_core.callbacks import BaseCallbackHandler

from tests.faults.cases_retry import CASES, GOOD, STALE
from tests.support.byte_server import ByteServer, Close, Pause
from tests.support.fault_outcomes import (
    ALL_MODES,
    JSON_MODES,
    SYNC_MODES,
    Outcome,
    Returns,
    aattempt,
    acall,
    attempt,
    bounded,
    call,
    check_error,
    make_model,
    outcome_of,
    run_async,
    text_of,
)

ASYNC_EVERY = 8
"""Every so many cases run async, too: the policy is one, and the sync loop is generated."""

RUNS = [
    (case, mode)
    for number, case in enumerate(CASES)
    for mode in case.modes
    if mode in SYNC_MODES or number % ASYNC_EVERY == 0
]


class Retries(BaseCallbackHandler):
    """Counts what the run manager is told."""

    def __init__(self):
        self.told = 0

    def on_retry(self, retry_state, **kwargs):
        self.told += 1


def run(endpoint, case, mode):
    told = Retries()
    settings = {"max_retries": 2, "client_request_id": None, "callbacks": [told], **case.settings}
    model = make_model(endpoint.base_url, **settings)

    return outcome_of(model, mode, seconds=60), told


@pytest.fixture(scope="module")
def outcomes():
    """All cases at once: each mostly waits."""
    with ExitStack() as stack, ThreadPoolExecutor(24, "retries") as pool:
        endpoints = [stack.enter_context(ByteServer(*case.scripts)) for case, _ in RUNS]
        futures = [
            pool.submit(run, endpoint, case, mode)
            for endpoint, (case, mode) in zip(endpoints, RUNS, strict=True)
        ]
        yield {
            (case.name, mode): (endpoint, future)
            for endpoint, future, (case, mode) in zip(endpoints, futures, RUNS, strict=True)
        }


@pytest.mark.parametrize(
    ("case", "mode"), [pytest.param(c, m, id=f"{c.name} [{m}]") for c, m in RUNS]
)
def test_a_fault_is_tried_again_as_the_policy_says(outcomes, case, mode):
    endpoint, future = outcomes[case.name, mode]
    outcome, retries = future.result(90)
    case.expect.check(outcome)
    check_error(outcome.error)
    seen = endpoint.requests
    if case.requests:
        assert len(seen) == case.requests
    # Core's `stream` and `astream` hand no run manager to the model, so nobody can be told there.
    assert retries.told == (len(seen) - 1 if mode in JSON_MODES else 0), "on_retry"
    assert outcome.seconds >= case.at_least
    assert len({request.body for request in seen}) == 1, "the tries differ"
    assert len({request.headers["x-client-request-id"] for request in seen}) == 1
    assert endpoint.settle(), "a connection is left"


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("case", STALE, ids=lambda case: case.name)
def test_a_kept_connection_that_went_stale_costs_nothing(case, mode):
    good = GOOD["sse" if "stream" in mode else "json"]
    scripts = [(good, *case.first), *([case.second] if case.second else [])]
    with ByteServer(*scripts) as endpoint:
        model = make_model(endpoint.base_url)
        gone = threading.Event()

        def sync():
            with model:
                assert text_of(call(model, mode)) == "Hello"
                gone.wait(0.3 if case.first else 0)
                return attempt(model, mode)

        async def main():
            async with model:
                assert text_of(await acall(model, mode)) == "Hello"
                gone.wait(0.3 if case.first else 0)
                return await aattempt(model, mode)

        outcome: Outcome = bounded((lambda: run_async(main)) if mode[0] == "a" else sync)
        case.expect.check(outcome)
        assert len(endpoint.requests) == case.requests
        assert endpoint.connections == case.connections


@pytest.mark.parametrize("mode", ["invoke", "ainvoke"])
def test_one_more_try_is_enough_when_every_kept_connection_is_stale(mode):
    """A server that restarted behind its balancer: none of three kept connections answers again."""
    asked: dict[int, int] = {}

    def once_each(request):
        asked[request.connection] = asked.get(request.connection, 0) + 1
        is_stale = request.connection <= 3 and asked[request.connection] > 1
        return (Close(),) if is_stale else (Pause(0.3), GOOD["json"])

    with ByteServer(rest=once_each) as endpoint:
        model = make_model(endpoint.base_url)

        def sync():
            with ThreadPoolExecutor(3) as pool:
                list(pool.map(lambda _: call(model, mode), range(3)))
            with model:
                return attempt(model, mode)

        async def main():
            await asyncio.gather(*(acall(model, mode) for _ in range(3)))
            return await aattempt(model, mode)

        outcome = bounded((lambda: run_async(main)) if mode[0] == "a" else sync)
        Returns().check(outcome)
        assert endpoint.connections == 4
        assert len(endpoint.requests) == 5
