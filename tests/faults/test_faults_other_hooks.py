"""A stream's fault is the same fault under LangChain's other ways of calling a model."""

from __future__ import annotations

import asyncio

import pytest

from langchain_aimlernie import errors
from tests.faults import cases_calls, cases_http, cases_stream
from tests.support.byte_server import ByteServer, Close
from tests.support.fault_outcomes import (
    PROMPT,
    STREAM_MODES,
    Raises,
    bounded,
    check_error,
    make_model,
    outcome_of,
    run_async,
    text_of,
)
from tests.support.response_bytes import GOOD_RESPONSE, HEL, aiml_error, response, unfinished

STREAM_FAULTS = [
    case
    for case in (
        *cases_http.CUTS,
        *cases_http.STALLS[:4],
        *cases_stream.CASES,
        *cases_calls.CASES,
    )
    if isinstance(case.expect, Raises) and case.modes == STREAM_MODES
]


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        pytest.param(case, mode, id=f"{case.name} [{mode}]")
        for number, case in enumerate(STREAM_FAULTS)
        for mode in (("invoke", "ainvoke") if number < 4 else ("invoke",))
    ],
)
def test_a_stream_under_invoke_fails_as_it_does_in_the_open(case, mode):
    with ByteServer(*case.scripts) as endpoint:
        model = make_model(endpoint.base_url, streaming=True, **case.settings)
        outcome = outcome_of(model, mode)
        check_error(outcome.error)
        case.expect.check(outcome)
        assert endpoint.settle()


CUT = (unfinished(HEL), Close())


async def by_events_v2(model):
    return [event async for event in model.astream_events(PROMPT, version="v2")]


async def by_log(model):
    return [patch async for patch in model.astream_log(PROMPT)]


@pytest.mark.parametrize("way", [by_events_v2, by_log], ids=lambda way: way.__name__)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_events_and_logs_end_in_the_stream_s_error(way):
    with ByteServer(CUT) as endpoint:
        model = make_model(endpoint.base_url)

        async def main():
            with pytest.raises(errors.StreamInterruptedError) as caught:
                await way(model)
            return caught.value

        check_error(bounded(lambda: run_async(main)))
        assert endpoint.settle()


def test_a_batch_keeps_what_came_and_what_failed():
    def by_prompt(request):
        said = request.json["messages"][-1]["content"]
        return (GOOD_RESPONSE if said == "good" else response(aiml_error(400), 400),)

    prompts = ["good", "bad"] * 10
    with ByteServer(rest=by_prompt) as endpoint, make_model(endpoint.base_url) as model:
        runs = [
            bounded(lambda: model.batch(prompts, return_exceptions=True)),
            bounded(lambda: asyncio.run(model.abatch(prompts, return_exceptions=True))),
        ]
        for results in runs:
            assert [text_of(message) for message in results[::2]] == ["Hello"] * 10
            assert {type(error) for error in results[1::2]} == {errors.BadRequestError}
            for error in results[1::2]:
                check_error(error)


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "stream", "astream"])
def test_a_fallback_takes_over_before_the_first_chunk(mode):
    with ByteServer((response(aiml_error(503), 503),)) as broken, ByteServer() as good:
        chain = make_model(broken.base_url).with_fallbacks(
            [make_model(good.base_url)], exceptions_to_handle=(errors.InternalServerError,)
        )

        async def main():
            if mode == "ainvoke":
                return text_of(await chain.ainvoke(PROMPT))
            return "".join([text_of(chunk) async for chunk in chain.astream(PROMPT)])

        def sync():
            if mode == "invoke":
                return text_of(chain.invoke(PROMPT))
            return "".join(text_of(chunk) for chunk in chain.stream(PROMPT))

        assert bounded((lambda: run_async(main)) if mode[0] == "a" else sync) == "Hello"
        assert len(broken.requests) == len(good.requests) == 1
