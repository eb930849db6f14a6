"""Loops that are not asyncio's own: uvloop's, and one that nobody has heard of."""

from __future__ import annotations

import asyncio
import gc
import importlib
import sys
from pathlib import Path

import httpcore
import pytest

from tests.support.byte_server import ByteServer, Hold, Reset
from tests.support.fault_outcomes import (
    Raises,
    aattempt,
    acall,
    bounded,
    cancelled,
    make_model,
    text_of,
)
from tests.support.loops import LOOPS, run_on
from tests.support.response_bytes import HEL, SSE_HEAD, TEXT, frame

if sys.platform == "win32":
    pytest.skip("there is no uvloop for Windows", allow_module_level=True)


class Unheard(importlib.import_module("uvloop").Loop):
    """A loop of a package that we do not know, without TLS, as young ones are."""

    def start_tls(self, *_, **__):
        raise NotImplementedError


@pytest.fixture(params=["uvloop", "unheard"])
def run(request, monkeypatch):
    if request.param == "unheard":
        return run_on(Unheard)
    monkeypatch.delattr(httpcore.AnyIOBackend, "connect_tcp")  # what is known needs no anyio
    return LOOPS["uvloop"]


def descriptors():
    gc.collect()
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture(params=["http", "https"])
def tls(request, trusted, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", trusted.file)
    return trusted.server if request.param == "https" else None


def test_all_calls_work_in_loop_after_loop(tls, run):
    async def main():
        answers = await asyncio.gather(*(acall(model, "ainvoke") for _ in range(30)))
        return {text_of(answer) for answer in [*answers, await acall(model, "astream")]}

    with ByteServer(tls=tls) as endpoint:
        model = make_model(endpoint.base_url)
        assert bounded(lambda: run(main())) == {TEXT}
        assert endpoint.settle(), "the loop closed its connections"
        before = descriptors()
        for _ in range(3):
            assert bounded(lambda: run(main())) == {TEXT}
        assert endpoint.settle()
        assert descriptors() <= before


def test_cancelling_and_breaking_off_free_the_connection(tls, run):
    async def main():
        await cancelled(acall(model, "ainvoke"), after=0.1)
        assert await endpoint.asettle()
        async for _ in model.astream("hello"):
            break
        assert await endpoint.asettle()
        return text_of(await acall(model, "ainvoke"))

    with ByteServer((Hold(),), (SSE_HEAD + frame(HEL), Hold()), tls=tls) as endpoint:
        model = make_model(endpoint.base_url)
        assert bounded(lambda: run(main())) == TEXT
        assert endpoint.settle()


def test_faults_are_the_same_errors(tls, run):
    async def main():
        reset = await aattempt(model, "astream")
        silent = await aattempt(make_model(endpoint.base_url, timeout=0.2), "ainvoke")
        refused = await aattempt(make_model("http://127.0.0.1:1/v1"), "ainvoke")
        return reset, silent, refused

    with ByteServer((SSE_HEAD + frame(HEL), Reset()), (Hold(),), tls=tls) as endpoint:
        model = make_model(endpoint.base_url)
        reset, silent, refused = bounded(lambda: run(main()))
    Raises("StreamInterruptedError", partial="Hel").check(reset)
    Raises("APITimeoutError", says=("0.2",)).check(silent)
    Raises("APIConnectionError", says=("127.0.0.1:1",)).check(refused)
