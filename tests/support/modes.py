"""The four kinds of call of a chat model, for tests of what is the same in all of them."""

from __future__ import annotations

import functools
import operator

MODES = ("invoke", "ainvoke", "stream", "astream")


async def chunks_of(llm, value, mode, **options):
    """Return the chunks of a call; a whole message is a list of one."""
    if mode == "stream":
        return list(llm.stream(value, **options))
    if mode == "astream":
        return [chunk async for chunk in llm.astream(value, **options)]
    if mode == "ainvoke":
        return [await llm.ainvoke(value, **options)]
    return [llm.invoke(value, **options)]


async def ask(llm, value, mode, **options):
    """Return the message of a call, merged from its chunks."""
    return joined(await chunks_of(llm, value, mode, **options))


def joined(chunks):
    """Return the message that chunks add up to."""
    return functools.reduce(operator.add, chunks)
