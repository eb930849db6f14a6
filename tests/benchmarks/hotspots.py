"""Profile one workload with cProfile."""

from __future__ import annotations

import asyncio
import cProfile
import io
import pstats
from typing import TYPE_CHECKING, Any

from workloads import QUESTION, TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable

    from contenders import Contender
    from measure import Setting

_LINES = 45


def _invoke(setting: Setting, contender: Contender) -> tuple[str, Callable[[], object]]:
    model = contender.make(setting.server.url(), TOKENS)
    model.invoke(QUESTION)
    calls = 5 * setting.scale.calls
    return f"{calls:,} invoke", lambda: [model.invoke(QUESTION) for _ in range(calls)]


def _stream(setting: Setting, contender: Contender) -> tuple[str, Callable[[], object]]:
    chunks = 10 * setting.scale.chunks
    model = contender.make(setting.server.url(), chunks)
    model.invoke(QUESTION)
    return f"a stream of {chunks:,} chunks", lambda: sum(1 for _ in model.stream(QUESTION))


def _many(setting: Setting, contender: Contender) -> tuple[str, Callable[[], object]]:
    calls = setting.scale.burst
    url = setting.server.url(delay_ms=setting.scale.delay_ms)

    async def at_once() -> None:
        model: Any = contender.make(url, TOKENS)
        await asyncio.gather(*(model.ainvoke(QUESTION) for _ in range(calls)))
        await contender.aclose(model)

    return f"{calls:,} ainvoke at once", lambda: asyncio.run(at_once())


KINDS = {"invoke": _invoke, "stream": _stream, "many": _many}


def hotspots(kind: str, setting: Setting, contender: Contender) -> str:
    """The functions that took most time themselves, as a table."""
    title, work = KINDS[kind](setting, contender)
    profile = cProfile.Profile()
    profile.runcall(work)
    table = io.StringIO()
    pstats.Stats(profile, stream=table).sort_stats("tottime").print_stats(_LINES)
    return f"{contender.label}: {title}\n{table.getvalue()}"
