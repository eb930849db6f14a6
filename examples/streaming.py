"""Streaming: chunks as they arrive, sync, async, two at once, and stopped early."""

import asyncio

from _local import run

from langchain_aimlernie import ChatAimlErnie

ENOUGH = 5


def stream(llm: ChatAimlErnie) -> None:
    """Print chunks as they arrive; their sum is the message that `invoke` would return."""
    whole = None
    for chunk in llm.stream("Tell me a story about a lighthouse."):
        print(chunk.text, end="", flush=True)
        whole = chunk if whole is None else whole + chunk
    print()
    print(whole and whole.usage_metadata)


def stop_early(llm: ChatAimlErnie) -> None:
    """Leave a stream: `break` frees its connection, and the server stops writing."""
    for count, chunk in enumerate(llm.stream("Count to one hundred."), start=1):
        print(chunk.text, end="|")
        if count == ENOUGH:
            break
    print("enough")


async def stream_two(llm: ChatAimlErnie) -> None:
    """Run two streams in one event loop."""

    async def collect(question: str) -> str:
        return "".join([str(chunk.text) async for chunk in llm.astream(question)])

    for text in await asyncio.gather(collect("What is a quay?"), collect("What is a pier?")):
        print(text)


def main() -> None:
    """Stream in all these ways."""
    llm = ChatAimlErnie()
    stream(llm)
    stop_early(llm)
    asyncio.run(stream_two(llm))


if __name__ == "__main__":
    run(main)
