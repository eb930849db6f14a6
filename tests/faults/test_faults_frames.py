"""No local variable in the traceback of an error is a secret; `check_frames` checks each fault, too.

loguru, Sentry, rich and structlog show the local variables of each frame.
"""

from __future__ import annotations

import asyncio

import httpx
import pytest
from pydantic import ValidationError

from langchain_aimlernie import alist_models, errors, list_models
from tests.support.byte_server import ByteServer, Hold
from tests.support.fault_outcomes import (
    ALL_MODES,
    HEADER_SECRET,
    HEADERS,
    acall,
    bounded,
    check_frames,
    make_model,
    outcome_of,
    run_async,
)
from tests.support.response_bytes import HEL, KEY, SSE_HEAD, aiml_error, frame, response

NOWHERE = "http://127.0.0.1:9/v1"


def test_the_check_finds_a_secret_in_any_frame_of_the_chain():
    def fail(key):
        raise ValueError

    def fail_later():
        try:
            fail(KEY)
        except ValueError:
            raise RuntimeError from None

    with pytest.raises(RuntimeError) as caught:
        fail_later()
    with pytest.raises(AssertionError, match="key = 'sk-"):
        check_frames(caught.value)


BAD_KEYS = {
    "a newline": f"{KEY}\n{KEY}",
    "a full-width letter": f"{KEY}\uff21",
    "no text": [KEY],
    "bytes": KEY.encode(),
}


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize("is_async", [False, True], ids=["def", "async def"])
@pytest.mark.parametrize("key", BAD_KEYS.values(), ids=BAD_KEYS)
def test_a_bad_key_that_a_function_returns(key, is_async, mode):
    keys = iter([key])  # a closure's variable is not one of a frame

    def get_key():
        return next(keys)

    async def aget_key():
        return next(keys)

    model = make_model(NOWHERE, api_key=aget_key if is_async else get_key, default_headers=HEADERS)
    outcome = outcome_of(model, mode)
    assert type(outcome.error).__name__ == (
        "BadRequestError" if is_async and mode[0] != "a" else "AuthenticationError"
    )
    check_frames(outcome.error)


@pytest.mark.parametrize("mode", ALL_MODES)
@pytest.mark.parametrize(
    ("settings", "options"),
    [
        ({"client_request_id": lambda: "no\nid"}, {}),
        ({"client_request_id": lambda: 1 / 0}, {}),
        ({}, {"timeout": -1}),
        ({}, {"base_url": "ftp://127.0.0.1"}),
        ({}, {"default_headers": {"no name": "x"}}),
        ({}, {"temperature": 9}),
        ({}, {"extra_body": {"x": object()}}),
    ],
    ids=["bad id", "no id", "timeout", "base_url", "default_headers", "temperature", "extra_body"],
)
def test_a_call_that_cannot_be_sent(settings, options, mode):
    model = make_model(NOWHERE, default_headers=HEADERS, **settings)
    outcome = outcome_of(model, mode, **options)
    assert outcome.error is not None
    check_frames(outcome.error)


@pytest.mark.parametrize("settings", [{"temperature": 9}, {"model": ""}, {"timeout": "soon"}])
def test_settings_that_cannot_be(settings):
    with pytest.raises(ValidationError) as caught:
        make_model(NOWHERE, default_headers=HEADERS, **settings)
    traceback = caught.value.__traceback__
    while "langchain_aimlernie" not in traceback.tb_frame.f_code.co_filename:
        traceback = traceback.tb_next  # `make_model` has the key of the tests, too
    check_frames(caught.value.with_traceback(traceback))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("key", [KEY, f"{KEY}\n{KEY}"], ids=["a good key", "a bad key"])
def test_a_list_of_models_that_cannot_be_had(key, is_async):
    async def main():
        with pytest.raises((errors.InternalServerError, ValueError)) as caught:
            await alist_models(base_url=endpoint.base_url, api_key=keys.pop(), max_retries=0)
        return caught.value

    def sync():
        with pytest.raises((errors.InternalServerError, ValueError)) as caught:
            list_models(base_url=endpoint.base_url, api_key=keys.pop(), max_retries=0)
        return caught.value

    keys = [key]
    with ByteServer((response(aiml_error(500), 500),)) as endpoint:
        error = bounded((lambda: run_async(main)) if is_async else sync)
    assert isinstance(error, errors.InternalServerError) == (key == KEY)
    check_frames(error)


@pytest.mark.parametrize("own_client", [False, True], ids=["shared", "own client"])
@pytest.mark.parametrize(
    ("mode", "script"),
    [
        ("ainvoke", (Hold(),)),
        ("astream", (Hold(),)),
        ("astream", (SSE_HEAD + frame(HEL), Hold())),
    ],
    ids=["ainvoke", "astream", "astream in the middle"],
)
def test_a_call_that_is_cancelled(mode, script, own_client):
    async def main():
        async with httpx.AsyncClient() as client:
            model = make_model(
                endpoint.base_url,
                default_headers=HEADERS,
                http_async_client=client if own_client else None,
            )
            with pytest.raises(asyncio.TimeoutError) as caught:
                await asyncio.wait_for(acall(model, mode), 0.1)
            return caught.value

    with ByteServer(script) as endpoint:
        error = bounded(lambda: run_async(main))
        assert endpoint.requests[0].headers["x-tenant-token"] == HEADER_SECRET
    check_frames(error)
