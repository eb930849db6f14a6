"""Every case of the tables, in every mode that it has, and under other ways of calling."""

import re
from functools import partial

import httpx
import httpx2
import pytest
from langchain_core.messages import HumanMessage

from tests.faults import (
    cases_calls,
    cases_chunks,
    cases_http,
    cases_json,
    cases_status,
    cases_stream,
)
from tests.support.byte_server import ByteServer
from tests.support.fault_table import (
    ASYNC_MODES,
    HEADERS,
    PROMPT,
    SOON,
    SYNC_MODES,
    TEXT,
    Raises,
    Returns,
    at_once,
    attempt,
    check_error,
    make_model,
    outcome_of,
    own_client_outcome,
    play,
    run_in,
    text_of,
)
from tests.support.modes import joined
from tests.support.response_bytes import aiml_error, completion, response

pytestmark = pytest.mark.filterwarnings("ignore:.*several choices:UserWarning")
BELOW_JSON = {"http": cases_http.CASES, "status": cases_status.CASES}
WHOLE_RESPONSES = {
    "json": cases_json.CASES,
    "stream": cases_stream.CASES,
    "chunks": cases_chunks.CASES,
    "calls": cases_calls.CASES,
}
TABLES = BELOW_JSON | WHOLE_RESPONSES
STREAM_FAULTS = [
    case
    for case in (
        *cases_http.CUTS,
        *cases_http.STALLS[:4],
        *cases_stream.NOTHING,
        *cases_stream.BROKEN,
        *cases_stream.ERRORS[::3],
        *cases_calls.CUT_CALLS,
    )
    if isinstance(case.expect, Raises)
]
SAID: dict[tuple[str, str], str] = {}
"""What the sync twin of a run said."""

ASYNC_CASES = 4
"""How many cases of each table but "http" run async: decoding has no async variant."""


def in_the_open(case, mode):
    """A call, and a good one after it."""
    with ByteServer(case.script) as server:
        check(case, mode, play(server, mode, **case.settings))


def check(case, mode, outcome):
    case.expect.check(outcome)
    said = SAID.setdefault((case.name, mode.lstrip("a")), as_said(outcome.error))
    assert as_said(outcome.error) == said, "sync and async say different things"


def as_said(error):
    """An error's words without what differs from run to run."""
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", re.sub(r"x{2,}", "xx", str(error)))


def under_invoke(case, mode):
    """A stream whose chunks `invoke` merges."""
    with ByteServer(case.script) as server:
        outcome = outcome_of(make_model(server.base_url, streaming=True, **case.settings), mode)
        check_error(outcome.error)
        case.expect.check(outcome)
        assert server.settle()


def over_own_client(library, case, mode):
    """A call over a user-supplied client."""
    with ByteServer(case.script) as server:
        case.expect.check(
            own_client_outcome(server.base_url, mode, library=library, **case.settings)
        )


CALLS = [
    *(
        (table, in_the_open, case, mode)
        for table, cases in BELOW_JSON.items()
        for case in cases
        for mode in case.modes
        if mode in SYNC_MODES
    ),
    *(
        (table, in_the_open, case, mode)
        for table, cases in TABLES.items()
        for number, case in enumerate(cases)
        for mode in case.modes
        if mode in ASYNC_MODES and (table == "http" or number < ASYNC_CASES)
    ),
    *(
        ("under invoke", under_invoke, case, mode)
        for number, case in enumerate(STREAM_FAULTS)
        for mode in ("invoke", "ainvoke")[: 1 + (number < ASYNC_CASES)]
    ),
    *(
        (
            library.__name__,
            partial(over_own_client, library),
            case,
            case.modes[(number + shift) % len(case.modes)],
        )
        for shift, library in enumerate((httpx, httpx2))
        for number, case in enumerate(cases_http.CASES)
    ),
]


def waits(case):
    """Whether the case mostly waits for a clock of its own."""
    return any(seconds <= SOON for seconds in case.settings.values())


def run(way, case, mode, *play_case):
    is_large = case in (*cases_http.FLOODS, *cases_stream.LARGE)
    is_slow = case.settings or is_large or way in ("httpx", "httpx2")
    marks = [pytest.mark.slow, pytest.mark.fault] if is_slow else []
    return pytest.param(*play_case, case, mode, id=f"{way}: {case.name} [{mode}]", marks=marks)


@pytest.mark.parametrize(
    ("play_case", "case", "mode"),
    [run(way, case, mode, play_case) for way, play_case, case, mode in CALLS if not waits(case)],
)
def test_a_fault_gives_what_the_table_says(play_case, case, mode):
    play_case(case, mode)


@pytest.fixture(scope="module")
def kept():
    """A server and a model, which share one connection."""
    with ByteServer() as server, make_model(server.base_url, default_headers=HEADERS) as model:
        yield server, model


@pytest.mark.parametrize(
    ("case", "mode"),
    [
        run(table, case, mode)
        for table, cases in WHOLE_RESPONSES.items()
        for case in cases
        for mode in case.modes
        if mode in SYNC_MODES
    ],
)
def test_a_wrong_response_gives_what_the_table_says_one_after_the_other(kept, case, mode):
    server, model = kept
    server.play(case.script)
    server.requests.clear()
    outcome = run_in(mode, lambda: attempt(model, mode, **case.settings))
    assert len(server.requests) == 1
    check_error(outcome.error)
    check(case, mode, outcome)
    assert server.settle(1)


def said_in_blocks(message):
    """The text, the calls and the number of invalid calls in the blocks of a message."""
    blocks = message.content_blocks
    calls = [(each["name"], each["args"]) for each in blocks if each["type"] == "tool_call"]
    invalid = [each for each in blocks if each["type"] in ("invalid_tool_call", "tool_call_chunk")]
    return "".join(each.get("text", "") for each in blocks), calls, len(invalid)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")
@pytest.mark.parametrize(
    "case",
    [case for case in cases_calls.CASES if isinstance(case.expect, Returns)],
    ids=lambda case: case.name,
)
def test_blocks_and_events_have_the_calls_that_chunks_have(kept, case):
    server, model = kept
    server.play(*[case.script] * 3)
    message = joined(model.stream(PROMPT))
    expected = said_in_blocks(message)
    assert len(message.tool_calls) == len(expected[1])
    in_blocks = model.model_copy(update={"output_version": "v1"})
    assert said_in_blocks(joined(in_blocks.stream(PROMPT))) == expected
    assert said_in_blocks(model.stream_events(PROMPT, version="v3").output) == expected


@pytest.mark.slow
@pytest.mark.fault
def test_faults_that_take_time_give_what_the_table_says(subtests):
    rows = [row for row in CALLS if waits(row[2])]
    at_once(
        subtests,
        {
            f"{way}: {case.name} [{mode}]": partial(play_case, case, mode)
            for way, play_case, case, mode in rows
        },
    )


def test_every_choice_is_a_generation_and_usage_counts_once():
    choices = [
        {"index": i, "message": {"content": text}, "finish_reason": "stop", "flag": i}
        for i, text in enumerate("ab")
    ]
    with ByteServer(response(completion(choices=choices))) as server:
        (generations,) = make_model(server.base_url).generate([[HumanMessage(PROMPT)]]).generations
    messages = [each.message for each in generations]
    assert [(m.content, m.response_metadata.get("flag")) for m in messages] == [("a", 0), ("b", 1)]
    assert [bool(message.usage_metadata) for message in messages] == [True, False]


def test_a_fallback_takes_over_before_the_first_chunk():
    with ByteServer(rest=response(aiml_error(503), 503)) as broken, ByteServer() as good:
        chain = make_model(broken.base_url).with_fallbacks([make_model(good.base_url)])
        assert text_of(chain.invoke(PROMPT)) == text_of(joined(list(chain.stream(PROMPT)))) == TEXT
        assert len(broken.requests) == len(good.requests) == 2
        assert chain.get_name() == "RunnableWithFallbacks"


def test_no_two_cases_have_one_name():
    names = [f"{table}: {case.name}" for table, cases in TABLES.items() for case in cases]
    assert len(names) == len(set(names))
