"""The rows of the table and the curves, with the goals that ours is held to.

In what is measured here, `s` is the setting of a sample, `c` a contender and `n` a size.
"""

from __future__ import annotations

from functools import partial

from contenders import AIOHTTP, CHAT_MODELS, PACKAGES
from measure import MEBIBYTES, MICROSECONDS, MILLISECONDS, SECONDS, Curve, Figure, Goal
from workloads import (
    CallsMade,
    ainvoke,
    astream,
    bursts,
    cold_import,
    construction,
    conversion,
    in_flight,
    invoke,
    memory,
    stream,
)

_CALL = Goal(1.20, "floor")
_CHUNK = Goal(1.10, "floor")

FIGURES = (
    Figure(
        "import",
        "cold import, by the clock, s",
        SECONDS,
        lambda _, c: cold_import(c),
        Goal(1.10, "floor"),
        of=CHAT_MODELS,
        rounds=3,
    ),
    Figure(
        "construct",
        "construction, settings seen before, ms",
        MILLISECONDS,
        lambda s, c: construction(s, c, known=True),
        Goal(1.0),
        of=CHAT_MODELS,
    ),
    Figure(
        "construct-new",
        "construction, new settings, ms",
        MILLISECONDS,
        lambda s, c: construction(s, c, known=False),
        Goal(1.0),
        of=CHAT_MODELS,
    ),
    Figure("invoke", "one invoke, ms", MILLISECONDS, invoke, _CALL),
    Figure("ainvoke", "one ainvoke, ms", MILLISECONDS, ainvoke, _CALL),
    Figure(
        "chunk",
        "one chunk of {chunks:,}, one event per write, µs",
        MICROSECONDS,
        lambda s, c: stream(s, c, "event", s.scale.chunks),
        _CHUNK,
    ),
    Figure(
        "achunk",
        "the same, async, µs",
        MICROSECONDS,
        lambda s, c: astream(s, c, "event", s.scale.chunks),
        _CHUNK,
    ),
    Figure(
        "chunk-bulk",
        "one chunk of {chunks:,}, 64 events per write, µs",
        MICROSECONDS,
        lambda s, c: stream(s, c, "bulk", s.scale.chunks),
        _CHUNK,
    ),
    Figure(
        "achunk-bulk",
        "the same, async, µs",
        MICROSECONDS,
        lambda s, c: astream(s, c, "bulk", s.scale.chunks),
        _CHUNK,
    ),
    Figure(
        "chunk-paced",
        "CPU of one chunk, events 1 ms apart, µs",
        MICROSECONDS,
        lambda s, c: stream(s, c, "paced", s.scale.paced_chunks),
        _CHUNK,
    ),
    Figure(
        "achunk-paced",
        "the same, async, µs",
        MICROSECONDS,
        lambda s, c: astream(s, c, "paced", s.scale.paced_chunks),
        _CHUNK,
    ),
    Figure(
        "burst",
        "{burst:,} ainvoke at once, answered in {delay_ms} ms, s",
        SECONDS,
        lambda s, c: bursts(s, c, s.scale.burst, times=1)[0].of(s),
        Goal(0.25, "openai"),
        rounds=3,
    ),
    Figure(
        "burst-aiohttp",
        "the same with a user-supplied httpx2.AsyncClient on aiohttp, s",
        SECONDS,
        lambda s, c: bursts(s, c, s.scale.burst, times=1)[0].of(s),
        Goal(0.20, "openai"),
        of=frozenset({AIOHTTP, "openai"}),
        rounds=3,
        subject=AIOHTTP,
    ),
    Figure(
        "history",
        "one invoke with {history:,} messages, ms",
        MILLISECONDS,
        lambda s, c: invoke(s, c, s.scale.history),
        Goal(2.0, "floor"),
    ),
    Figure(
        "convert",
        "their conversion alone, ms",
        MILLISECONDS,
        conversion,
        of=PACKAGES,
    ),
    Figure(
        "memory",
        "growth over a stream of {memory_chunks:,}, MiB",
        MEBIBYTES,
        lambda s, c: memory(s, c, "stream"),
        rounds=1,
    ),
    Figure(
        "memory-own",
        "the same, without what core keeps, MiB",
        MEBIBYTES,
        lambda s, c: memory(s, c, "_stream"),
        Goal(1.0),
        of=CHAT_MODELS,
        rounds=1,
    ),
)

CURVES = (
    Curve(
        "calls-made",
        "one invoke by the number of calls made before",
        "calls made",
        (("one invoke", MILLISECONDS),),
        lambda scale: scale.calls_made,
        CallsMade,
    ),
    Curve(
        "in-flight",
        "ainvoke at once, each answered in {delay_ms} ms, connections open",
        "calls in flight",
        (("by the clock, all answered after", SECONDS), ("CPU per call", MILLISECONDS)),
        lambda scale: scale.in_flight,
        lambda s: partial(in_flight, s),
    ),
    Curve(
        "chunks",
        "one stream, one event per write",
        "streamed chunks",
        (("one chunk", MICROSECONDS),),
        lambda scale: scale.stream_chunks,
        lambda s: lambda c, n: (stream(s, c, "event", n),),
    ),
    Curve(
        "achunks",
        "one astream, one event per write",
        "streamed chunks",
        (("one chunk", MICROSECONDS),),
        lambda scale: scale.stream_chunks,
        lambda s: lambda c, n: (astream(s, c, "event", n),),
    ),
    Curve(
        "histories",
        "one invoke by the length of its history",
        "messages",
        (("one invoke", MILLISECONDS),),
        lambda scale: scale.histories,
        lambda s: lambda c, n: (invoke(s, c, n),),
    ),
)
