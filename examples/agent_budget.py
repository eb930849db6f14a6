"""An agent with a budget: a run that ends at its limit, and one that asks before it goes on."""

from _local import run
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.middleware import SpendLimitMiddleware

QUESTION = {"messages": [("human", "What is the weather in Paris? Ask the expert.")]}


@tool
def ask_expert(question: str) -> str:
    """Ask an expert on the weather."""
    expert = create_agent(ChatAimlErnie(), system_prompt="You know the weather of each season.")
    return expert.invoke({"messages": [("human", question)]})["messages"][-1].text


def main() -> None:
    """Reach the limit of a run, then that of a thread, which is raised."""
    llm = ChatAimlErnie(temperature=0)

    # The calls of the expert count, too. These limits are so low that one call reaches them.
    limit = SpendLimitMiddleware(run_limit_usd="0.0000001")
    agent = create_agent(llm, tools=[ask_expert], middleware=[limit])
    print(agent.invoke(QUESTION)["messages"][-1].text)

    limit = SpendLimitMiddleware(thread_limit_usd="0.0000001", exit_behavior="interrupt")
    agent = create_agent(
        llm,
        tools=[ask_expert],
        middleware=[limit],
        checkpointer=InMemorySaver(),  # one on disk, if the program may stop meanwhile
    )
    thread = {"configurable": {"thread_id": "1"}}
    state = agent.invoke(QUESTION, thread)
    if interrupts := state.get("__interrupt__"):
        print(interrupts[0].value)
        state = agent.invoke(Command(resume={"thread_limit_usd": "0.10"}), thread)
    print(state["messages"][-1].text)

    # A later run of the thread continues its sum, also in another process.
    agent.invoke({"messages": [("human", "Thank you.")]}, thread)
    print(f"spent: ${agent.get_state(thread).values['thread_spent_usd']}")


if __name__ == "__main__":
    run(main)
