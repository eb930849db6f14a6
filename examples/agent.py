"""An agent: the loop of model and tools run by LangChain, with parallel calls and a memory."""

from _local import run
from langchain.agents import create_agent
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_aimlernie import ChatAimlErnie


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


@tool
def divide(dividend: float, divisor: float) -> float:
    """Divide one number by another."""
    return dividend / divisor


def main() -> None:
    """Ask three questions in one conversation; the second needs no tool."""
    agent = create_agent(
        ChatAimlErnie(temperature=0),
        tools=[get_weather, divide],
        system_prompt="Use the tools where they help. Answer in one sentence.",
        checkpointer=InMemorySaver(),
    )
    thread = {"configurable": {"thread_id": "ada"}}
    for question in (
        "What is the weather in Paris and in London?",
        "Which of them did I ask about first?",
        "Please divide 84 by 2.",
    ):
        state = agent.invoke({"messages": [("human", question)]}, thread)
        calls = [
            f"{call['name']}({call['args']})"
            for message in state["messages"]
            for call in getattr(message, "tool_calls", [])
        ]
        print(f"> {question}\n{state['messages'][-1].text}\n  all calls so far: {calls}\n")


if __name__ == "__main__":
    run(main)
