"""The four kinds of call of a chat model, for tests of what is the same in all of them."""

import asyncio
import functools
import operator

from langchain_aimlernie import alist_models, list_models

MODES = ("invoke", "ainvoke", "stream", "astream")
LISTS = {"sync": list_models, "async": lambda **settings: asyncio.run(alist_models(**settings))}
"""The two kinds of call for a list of models."""

OUTPUT_FORMS = {
    "v0": {},
    "v0 streamed": {"streaming": True},
    "v1": {"output_version": "v1"},
    "v1 streamed": {"output_version": "v1", "streaming": True},
    "v3": {},
}
"""The forms in which a model gives its messages, with its settings for them."""


def respond(llm, messages, form):
    """Return the next message of a conversation in one of the forms."""
    if form == "v3":
        return llm.stream_events(messages, version="v3").output
    return llm.invoke(messages)


async def each_chunk(llm, value, mode, **options):
    """Yield the chunks of a call as they come; a whole message is one."""
    if mode == "astream":
        async for chunk in llm.astream(value, **options):
            yield chunk
    elif mode == "stream":
        for chunk in llm.stream(value, **options):
            yield chunk
    elif mode == "ainvoke":
        yield await llm.ainvoke(value, **options)
    else:
        yield llm.invoke(value, **options)


async def chunks_of(llm, value, mode, **options):
    """Return the chunks of a call."""
    return [chunk async for chunk in each_chunk(llm, value, mode, **options)]


async def ask(llm, value, mode, **options):
    """Return the message of a call, merged from its chunks."""
    return joined(await chunks_of(llm, value, mode, **options))


def joined(chunks):
    """Return the message that chunks add up to."""
    return functools.reduce(operator.add, chunks)


def by_hand(coroutine):
    """Run a coroutine that makes sync calls only: it needs no event loop, as it waits for none."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("A sync mode has waited for an event loop.")
