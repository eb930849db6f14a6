"""Every case of the tables, in every mode that it has."""

from __future__ import annotations

import re

import httpx
import httpx2
import pytest

from tests.faults import (
    cases_calls,
    cases_chunks,
    cases_http,
    cases_json,
    cases_status,
    cases_stream,
)
from tests.support.byte_server import ByteServer
from tests.support.fault_outcomes import SYNC_MODES, own_client_outcome, play

pytestmark = pytest.mark.filterwarnings("ignore:.*several choices:UserWarning")
TABLES = {
    "http": cases_http.CASES,
    "json": cases_json.CASES,
    "status": cases_status.CASES,
    "stream": cases_stream.CASES,
    "chunks": cases_chunks.CASES,
    "calls": cases_calls.CASES,
}
SAID: dict[tuple[str, str], str] = {}
"""What the sync twin of a run said."""

DECODING = {"json", "status", "chunks", "calls"}
"""Tables of what decoding makes of whole responses, which has no async variant."""

ASYNC_CASES = 4
"""How many cases of each of these tables run async all the same."""

RUNS = [
    pytest.param(case, mode, id=f"{table}: {case.name} [{mode}]")
    for table, cases in TABLES.items()
    for number, case in enumerate(cases)
    for mode in case.modes
    if mode in SYNC_MODES or table not in DECODING or number < ASYNC_CASES
]


@pytest.mark.parametrize(("case", "mode"), RUNS)
def test_a_fault_gives_what_the_table_says(case, mode):
    with ByteServer(*case.scripts) as endpoint:
        outcome = play(endpoint, mode, case.requests, **case.settings)
    case.expect.check(outcome)
    said = SAID.setdefault((case.name, mode.lstrip("a")), as_said(outcome.error))
    assert as_said(outcome.error) == said, "sync and async say different things"


def as_said(error):
    """An error's words without what differs from run to run."""
    return re.sub(r"127\.0\.0\.1:\d+", "HOST", re.sub(r"x{2,}", "xx", str(error)))


@pytest.mark.parametrize(
    ("case", "mode"), [(c, m) for c in cases_http.CASES for m in c.modes[::3] or c.modes]
)
@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test_a_fault_is_the_same_over_a_client_of_the_user(case, mode, library):
    with ByteServer(*case.scripts) as endpoint:
        outcome = own_client_outcome(endpoint.base_url, mode, library=library, **case.settings)
    case.expect.check(outcome)


def test_no_two_cases_have_one_name():
    names = [f"{table}: {case.name}" for table, cases in TABLES.items() for case in cases]
    assert len(names) == len(set(names))
    assert len(names) >= 120
