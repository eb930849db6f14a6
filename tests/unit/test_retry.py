from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie import errors
from langchain_aimlernie._error_answers import error_from_response, error_in_payload
from langchain_aimlernie._transport.retry import MAX_RETRY_AFTER, Outcome, Retries, outcome_of
from langchain_aimlernie.errors import (
    AimlErnieError,
    APIConnectionError,
    APITimeoutError,
    InternalServerError,
    InvalidResponseError,
    RateLimitError,
    StreamInterruptedError,
)

FOREVER = float("inf")


def status(number, body=b"", **headers):
    return error_from_response(number, headers, body)


def broken(phase, **facts):
    return APIConnectionError("broken", phase=phase, **facts)


def waits(*failed, max_retries=2, left=FOREVER, random=lambda: 1.0):
    """What the policy says after each of these errors of one call."""
    retries = Retries(max_retries)
    return [retries.delay(error, left=left, random=random) for error in failed]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        *((status(n), Outcome.FINAL) for n in (400, 401, 402, 403, 404, 405, 409, 413, 415, 422)),
        *((status(n), Outcome.FINAL) for n in (301, 304, 307, 451, 501, 505, 511, 600)),
        *((status(n), Outcome.REFUSED) for n in (408, 425, 500, 502, 503, 520, 524, 529)),
        (status(429), Outcome.LIMITED),
        (status(504), Outcome.UNKNOWN),
        (status(403, b'{"message": "out of credits"}'), Outcome.FINAL),
        (status(429, b'{"message": "Free-tier limit"}'), Outcome.FINAL),
        (status(500, b'{"message": "under maintenance"}'), Outcome.FINAL),
        (broken("reuse"), Outcome.DEAD_CONNECTION),
        (broken("connect"), Outcome.REFUSED),
        (APITimeoutError("late", phase="connect"), Outcome.REFUSED),
        (APITimeoutError("late", phase="pool"), Outcome.REFUSED),
        (broken("proxy"), Outcome.REFUSED),
        (broken("proxy", is_retryable=False), Outcome.FINAL),
        (broken("tls", is_retryable=False), Outcome.FINAL),
        (broken("request"), Outcome.UNKNOWN),
        (broken("head"), Outcome.UNKNOWN),
        (broken("body"), Outcome.UNKNOWN),
        (APITimeoutError("late", phase="head"), Outcome.UNKNOWN),
        (InvalidResponseError("no JSON"), Outcome.UNKNOWN),
        (InvalidResponseError("a page", is_retryable=False), Outcome.FINAL),
        (InvalidResponseError("no event", phase="empty"), Outcome.REFUSED),
        (StreamInterruptedError("cut"), Outcome.UNKNOWN),
        (error_in_payload({"error": "busy"}), Outcome.REFUSED),
        (error_in_payload({"error": {"message": "busy", "code": 429}}), Outcome.LIMITED),
        (errors.BadRequestError("ours"), Outcome.FINAL),
        (AimlErnieError("anything"), Outcome.FINAL),
    ],
    ids=lambda value: value.name if isinstance(value, Outcome) else repr(value),
)
def test_an_outcome_is_known_from_the_error_alone(error, outcome):
    assert outcome_of(error) is outcome


def test_what_was_refused_is_tried_as_often_as_the_limit_says():
    assert waits(*[status(500)] * 4, max_retries=2) == [0.5, 1.0, None, None]
    assert waits(*[status(500)] * 7, max_retries=6) == [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, None]
    assert waits(status(500), max_retries=0) == [None]


def test_a_limit_of_requests_waits_longer():
    assert waits(*[status(429)] * 7, max_retries=6) == [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, None]


def test_an_unknown_outcome_is_tried_once_more_and_counts():
    assert waits(broken("head"), broken("body"), max_retries=5) == [0.5, None]
    assert waits(status(500), broken("head"), status(500), max_retries=2) == [0.5, 1.0, None]
    assert waits(status(504), status(504), max_retries=5) == [0.5, None]


def test_a_dead_connection_costs_nothing_once():
    assert waits(broken("reuse"), max_retries=0) == [0.0]
    assert waits(broken("reuse"), status(500), status(500), status(500)) == [0.0, 0.5, 1.0, None]
    assert waits(broken("reuse"), broken("reuse"), broken("reuse")) == [0.0, 0.5, None]


def test_what_is_final_is_not_tried_again():
    assert waits(status(400), max_retries=9) == [None]


@pytest.mark.parametrize(("asked", "most"), [("0.1", 0.6), ("2", 4.0), ("30", 40.0), ("60", 70.0)])
def test_what_the_server_asks_for_is_kept_and_never_shortened(asked, most):
    error = status(503, **{"retry-after": asked})
    assert waits(error, random=lambda: 0.0) == [float(asked)]
    assert waits(error, random=lambda: 1.0) == [most]


@pytest.mark.parametrize("asked", ["60.1", "86400", "1e400"])
def test_a_longer_wish_is_an_error_at_once(asked):
    error = status(429, **{"retry-after": asked})
    assert error.retry_after > MAX_RETRY_AFTER
    assert waits(error) == [None]


@pytest.mark.parametrize("asked", ["0", "-1", "soon", "nan", ""])
def test_a_wish_without_sense_is_not_heard(asked):
    assert waits(status(429, **{"retry-after": asked})) == [1.0]


def test_no_wait_goes_beyond_the_deadline():
    assert waits(status(500), left=0.4) == [None]
    assert waits(status(500), left=0.6) == [0.5]
    assert waits(status(500), left=-1.0) == [None]
    assert waits(status(503, **{"retry-after": "20"}), left=10.0) == [None]


def test_the_tries_that_count_are_counted():
    retries = Retries(5)
    for error in (broken("reuse"), status(500), RateLimitError("slow")):
        retries.delay(error, left=FOREVER, random=lambda: 0.5)
    assert retries.made == 2


@given(
    st.lists(st.sampled_from([status(500), status(429), broken("head"), broken("reuse")])),
    st.integers(0, 2000),
    st.floats(0, 1),
)
def test_a_call_ends_and_its_waits_stay_under_their_cap(failed, max_retries, chance):
    delays = waits(*failed, max_retries=max_retries, random=lambda: chance)
    told = [delay for delay in delays if delay is not None]
    assert all(0 <= delay <= 16 for delay in told)
    assert len(told) <= max_retries + 1


def test_a_try_far_down_the_line_still_waits_its_cap():
    retries = Retries(10_000, made=9_999)
    assert retries.delay(InternalServerError("x"), left=FOREVER, random=lambda: 1.0) == 8.0
