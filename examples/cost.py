"""Cost: what a call cost, what a whole program cost, and a budget that is kept."""

from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context

from _local import run

from langchain_aimlernie import ChatAimlErnie, SpendTracker
from langchain_aimlernie.spend import BudgetExceededError


def main() -> None:
    """Read the price of a call, add up some calls, then run into a limit."""
    llm = ChatAimlErnie()
    answer = llm.invoke("What is a credit?")
    print(answer.usage_metadata)
    print({key: answer.response_metadata.get(key) for key in ("credits_used", "usd_spent")})

    # Every call in the block counts, also those of chains, agents and other threads' tasks.
    with SpendTracker() as spend:
        llm.invoke("What is a token?")
        llm.batch(["What is a byte?", "What is a bit?"])
        list(ChatAimlErnie(model="baidu/ernie-x1-turbo-32k").stream("What is a qubit?"))
        with ThreadPoolExecutor() as pool:
            pool.submit(copy_context().run, llm.invoke, "What is a nibble?").result()
    print(spend)
    for model, part in spend.by_model.items():
        print(f"  {model}: {part}")

    # A budget is checked before each call; a tracker can also be given as a callback.
    budget = SpendTracker(limit_usd="0.00001")
    try:
        for number in range(20):
            llm.invoke(f"What is {number} squared?", config={"callbacks": [budget]})
    except BudgetExceededError as error:
        print(error)


if __name__ == "__main__":
    run(main)
