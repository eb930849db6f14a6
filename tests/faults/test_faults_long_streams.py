"""A long stream costs no more memory than a short one."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from langchain_core.messages import HumanMessage

from tests.support.byte_server import ByteServer, Close, Repeat
from tests.support.fault_outcomes import make_model
from tests.support.response_bytes import DONE, SSE_TYPE, STOP, TAIL, chunk, event, head

TOKEN = event(chunk("x"))
PACKET = TOKEN * 20


def peak(events):
    """The most bytes in use while so many events are read by the hook below core's own list."""
    start = head(200, {"Connection": "close"}, SSE_TYPE)
    script = (start, Repeat(PACKET, times=events // 20), STOP + TAIL + DONE, Close())
    with ByteServer(script) as endpoint, make_model(endpoint.base_url, timeout=30.0) as model:
        gc.collect()
        tracemalloc.start()
        try:
            seen = sum(len(piece.text) for piece in model._stream([HumanMessage("hi")]))
            return seen, tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_events():
    peak(200)
    few, at_few = peak(2_000)
    many, at_many = peak(12_000)
    assert (few, many) == (2_000, 12_000)
    assert at_many - at_few < 1_000_000, f"{at_few} bytes, then {at_many}"
