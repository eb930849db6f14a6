import pytest

from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.error_mapping import error_from_response
from langchain_aimlernie.errors import (
    AimlErnieError,
    APIConnectionError,
    APITimeoutError,
    InvalidResponseError,
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


DEAD, LOST = broken("stale_connection"), broken("response_headers")
FAILED, LIMITED = status(500), status(429)


@pytest.mark.parametrize(
    ("failed", "max_retries", "delays"),
    [
        *(([status(n)] * 3, 2, [0.5, 1.0, None]) for n in (408, 425, 502, 503, 520, 523, 529)),
        ([FAILED] * 4, 2, [0.5, 1.0, None, None]),
        ([FAILED] * 7, 6, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, None]),
        ([FAILED], 0, [None]),
        # A limit of requests waits longer.
        ([LIMITED] * 7, 6, [1.0, 2.0, 4.0, 8.0, 16.0, 16.0, None]),
        # An unknown outcome is tried once more, and counts.
        ([LOST, broken("response_body")], 5, [0.5, None]),
        ([FAILED, LOST, FAILED], 2, [0.5, 1.0, None]),
        *(([status(n)] * 2, 5, [0.5, None]) for n in (504, 524)),
        # A dead connection costs nothing once.
        ([DEAD], 0, [0.0]),
        ([DEAD, FAILED, FAILED, FAILED], 2, [0.0, 0.5, 1.0, None]),
        ([DEAD, DEAD, DEAD], 2, [0.0, 0.5, None]),
        # What never reached the model is tried as often as allowed.
        (
            [broken("connect"), APITimeoutError("late", phase="pool"), broken("proxy")],
            2,
            [0.5, 1.0, None],
        ),
        ([InvalidResponseError("no event", phase="empty_stream")] * 2, 2, [0.5, 1.0]),
        (
            [APITimeoutError("late", phase="response_headers"), StreamInterruptedError("cut")],
            5,
            [0.5, None],
        ),
        # What is final is not tried again.
        *(
            ([error], 9, [None])
            for error in (status(400), AimlErnieError("x"), broken("tls", is_retryable=False))
        ),
    ],
)
def test_what_is_tried_again_and_after_how_long(failed, max_retries, delays):
    assert waits(*failed, max_retries=max_retries) == delays


def test_retry_after_is_kept_and_never_shortened():
    for asked, most in (("0.1", 0.6), ("2", 4.0), ("30", 40.0), ("60", 70.0)):
        error = status(503, **{"retry-after": asked})
        assert waits(error, random=lambda: 0.0) == [float(asked)]
        assert waits(error, random=lambda: 1.0) == [most]


def test_no_wait_goes_beyond_the_deadline_or_a_cap():
    late = RetryState(10_000, used=9_999)
    assert late.next_delay(FAILED, left=FOREVER, random=lambda: 1.0) == 8.0
    assert waits(status(500), left=0.4) == [None]
    assert waits(status(500), left=0.6) == [0.5]
    assert waits(status(500), left=-1.0) == [None]
    assert waits(status(503, **{"retry-after": "20"}), left=10.0) == [None]
