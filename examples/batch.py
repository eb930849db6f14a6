"""Many calls at once: batches, tasks, limits, and what happens to the one that fails."""

import asyncio
import time

from _local import run
from langchain_core.rate_limiters import InMemoryRateLimiter

from langchain_aimlernie import ChatAimlErnie

NUMBERS = [f"What is {number} squared?" for number in range(20)]


async def ask_all(llm: ChatAimlErnie) -> list[str]:
    """Ask everything at once; calls beyond `max_connections` wait their turn, in order."""
    return [str(each.text) for each in await asyncio.gather(*map(llm.ainvoke, NUMBERS))]


def main() -> None:
    """Run the same twenty questions in four ways."""
    llm = ChatAimlErnie(max_connections=10)
    print(len(llm.batch(NUMBERS, config={"max_concurrency": 4})), "answers, four at a time")

    for index, answer in llm.batch_as_completed(NUMBERS[:3]):
        print(index, answer.text)

    # One that fails does not take the others with it.
    mixed = llm.batch([*NUMBERS[:2], [("human", [{"type": "video"}])]], return_exceptions=True)
    print([type(each).__name__ for each in mixed])

    # One model serves any number of event loops and threads.
    for _ in range(2):
        print(len(asyncio.run(ask_all(llm))), "answers at once")

    limiter = InMemoryRateLimiter(requests_per_second=50, check_every_n_seconds=0.01)
    limited = ChatAimlErnie(rate_limiter=limiter)
    start = time.monotonic()
    limited.batch(NUMBERS[:10])
    print(f"ten calls at 50 a second took {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    run(main)
