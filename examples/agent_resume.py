"""An agent whose program crashes: a new one goes on where it stopped, and repeats nothing."""

import tempfile
from pathlib import Path
from typing import Any

from _local import run
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver

from langchain_aimlernie import ChatAimlErnie, SpendTracker

THREAD: Any = {"configurable": {"thread_id": "order-1"}}
QUESTION = "Charge 20 dollars to Ada's card, and send her a receipt at ada@example.com."
failures = [ConnectionError("the mail server does not respond")]


@tool
def charge_card(customer: str, dollars: float) -> str:
    """Charge a customer's card."""
    print(f"  charged ${dollars:g} to {customer}")
    return "charged"


@tool
def send_receipt(address: str) -> str:
    """Send a receipt."""
    if failures:  # the first time
        raise failures.pop()
    print(f"  sent a receipt to {address}")
    return "sent"


def run_once(database: Path, task: dict[str, Any] | None) -> None:
    """Do what a program does when it starts; None instead of a task resumes the thread."""
    with SqliteSaver.from_conn_string(str(database)) as checkpointer, SpendTracker() as spend:
        agent = create_agent(
            ChatAimlErnie(temperature=0), [charge_card, send_receipt], checkpointer=checkpointer
        )
        try:
            # "sync": each step is on disk before the next one begins.
            state = agent.invoke(task, THREAD, durability="sync")
            print(f"  {state['messages'][-1].text}")
        finally:
            print(f"  {spend}")


def main() -> None:
    """Crash in the middle of a run, then resume it: the card is charged once."""
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder, "threads.sqlite")
        print("first program:")
        try:
            run_once(database, {"messages": [("human", QUESTION)]})
        except ConnectionError as error:
            print(f"  crashed: {error}")
        print("second program:")
        run_once(database, None)


if __name__ == "__main__":
    run(main)
