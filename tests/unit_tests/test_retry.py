from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie import errors
from langchain_aimlernie._http.retry import MAX_RETRY_AFTER, FailureKind, RetryState, classify
from langchain_aimlernie._response.error_mapping import error_from_response, error_in_payload
from langchain_aimlernie.errors import (
    AimlErnieError,
    APIConnectionError,
    APITimeoutError,
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
    retries = RetryState(max_retries)
    return [retries.next_delay(error, left=left, random=random) for error in failed]


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        *((status(n), FailureKind.PERMANENT) for n in (*range(400, 408), 409, 413, 415, 422, 451)),
        *((status(n), FailureKind.PERMANENT) for n in (301, 304, 307, 501, 505, 511, 600)),
        *((status(n), FailureKind.NOT_PROCESSED) for n in (408, 425, 500, 502, 503, 520, 524, 529)),
        (status(429), FailureKind.RATE_LIMITED),
        (status(504), FailureKind.MAYBE_PROCESSED),
        (status(403, b'{"message": "out of credits"}'), FailureKind.PERMANENT),
        (status(429, b'{"message": "Free-tier limit"}'), FailureKind.PERMANENT),
        (status(500, b'{"message": "under maintenance"}'), FailureKind.PERMANENT),
        (broken("stale_connection"), FailureKind.STALE_CONNECTION),
        (broken("connect"), FailureKind.NOT_PROCESSED),
        *(
            (APITimeoutError("late", phase=p), FailureKind.NOT_PROCESSED)
            for p in ("connect", "pool")
        ),
        (broken("proxy"), FailureKind.NOT_PROCESSED),
        *((broken(p, is_retryable=False), FailureKind.PERMANENT) for p in ("proxy", "tls")),
        *(
            (broken(p), FailureKind.MAYBE_PROCESSED)
            for p in ("request", "response_headers", "response_body")
        ),
        (APITimeoutError("late", phase="response_headers"), FailureKind.MAYBE_PROCESSED),
        (InvalidResponseError("no JSON"), FailureKind.MAYBE_PROCESSED),
        (InvalidResponseError("a page", is_retryable=False), FailureKind.PERMANENT),
        (InvalidResponseError("no event", phase="empty_stream"), FailureKind.NOT_PROCESSED),
        (StreamInterruptedError("cut"), FailureKind.MAYBE_PROCESSED),
        (error_in_payload({"error": "busy"}), FailureKind.NOT_PROCESSED),
        (error_in_payload({"error": {"message": "busy", "code": 429}}), FailureKind.RATE_LIMITED),
        (errors.BadRequestError("ours"), FailureKind.PERMANENT),
        (AimlErnieError("anything"), FailureKind.PERMANENT),
    ],
    ids=lambda value: value.name if isinstance(value, FailureKind) else repr(value),
)
def test_an_outcome_is_known_from_the_error_alone(error, outcome):
    assert classify(error) is outcome


DEAD, LOST = broken("stale_connection"), broken("response_headers")
FAILED, LIMITED = status(500), status(429)


@pytest.mark.parametrize(
    ("failed", "max_retries", "delays"),
    [
        ([FAILED] * 4, 2, [0.5, 1.0, None, None]),
        ([FAILED] * 7, 6, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, None]),
        ([FAILED], 0, [None]),
        # A limit of requests waits longer.
        ([LIMITED] * 7, 6, [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, None]),
        # An unknown outcome is tried once more, and counts.
        ([LOST, broken("response_body")], 5, [0.5, None]),
        ([FAILED, LOST, FAILED], 2, [0.5, 1.0, None]),
        ([status(504), status(504)], 5, [0.5, None]),
        # A dead connection costs nothing once.
        ([DEAD], 0, [0.0]),
        ([DEAD, FAILED, FAILED, FAILED], 2, [0.0, 0.5, 1.0, None]),
        ([DEAD, DEAD, DEAD], 2, [0.0, 0.5, None]),
        # What is final is not tried again.
        ([status(400)], 9, [None]),
    ],
)
def test_what_is_tried_again_and_after_how_long(failed, max_retries, delays):
    assert waits(*failed, max_retries=max_retries) == delays


def test_retry_after_is_kept_and_never_shortened():
    for asked, most in (("0.1", 0.6), ("2", 4.0), ("30", 40.0), ("60", 70.0)):
        error = status(503, **{"retry-after": asked})
        assert waits(error, random=lambda: 0.0) == [float(asked)]
        assert waits(error, random=lambda: 1.0) == [most]


def test_a_longer_retry_after_is_an_error_at_once_and_one_without_sense_is_ignored():
    for asked in ("60.1", "86400", "1e400"):
        error = status(429, **{"retry-after": asked})
        assert error.retry_after > MAX_RETRY_AFTER
        assert waits(error) == [None]
    for asked in ("0", "-1", "soon", "nan", ""):
        assert waits(status(429, **{"retry-after": asked})) == [1.0], asked


def test_no_wait_goes_beyond_the_deadline():
    assert waits(status(500), left=0.4) == [None]
    assert waits(status(500), left=0.6) == [0.5]
    assert waits(status(500), left=-1.0) == [None]
    assert waits(status(503, **{"retry-after": "20"}), left=10.0) == [None]


def test_the_attempts_that_count_are_counted():
    retries = RetryState(5)
    for error in (DEAD, FAILED, RateLimitError("slow")):
        retries.next_delay(error, left=FOREVER, random=lambda: 0.5)
    assert retries.used == 2
    late = RetryState(10_000, used=9_999)
    assert late.next_delay(FAILED, left=FOREVER, random=lambda: 1.0) == 8.0


ERRORS = st.sampled_from([FAILED, LIMITED, LOST, DEAD])


@pytest.mark.slow
@given(st.lists(ERRORS), st.integers(0, 2000), st.floats(0, 1))
def test_a_call_ends_and_its_waits_stay_under_their_cap(failed, max_retries, chance):
    delays = waits(*failed, max_retries=max_retries, random=lambda: chance)
    retried = [delay for delay in delays if delay is not None]
    assert all(0 <= delay <= 16 for delay in retried)
    assert len(retried) <= max_retries + 1
