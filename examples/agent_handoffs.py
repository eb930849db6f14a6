"""Several agents: each hands the conversation over to the one that can answer."""

from typing import Annotated

from _local import run
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState
from langgraph.types import Command

from langchain_aimlernie import ChatAimlErnie


def handoff_to(name: str, skill: str) -> BaseTool:
    """Make the tool with which an agent hands over to another."""

    @tool(f"transfer_to_{name}", description=f"Hand the conversation over to {name}: {skill}.")
    def transfer(
        state: Annotated[MessagesState, InjectedState],
        tool_call_id: Annotated[str, InjectedToolCallId],
    ) -> Command[str]:
        note = ToolMessage(f"Handed over to {name}.", tool_call_id=tool_call_id)
        update = {"messages": [*state["messages"], note]}
        return Command(goto=name, graph=Command.PARENT, update=update)

    return transfer


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


def main() -> None:
    """Ask the desk for the weather, which it does not know."""
    llm = ChatAimlErnie(temperature=0)
    desk = create_agent(llm, tools=[handoff_to("meteorologist", "weather")], name="desk")
    meteorologist = create_agent(llm, tools=[get_weather], name="meteorologist")
    graph = StateGraph(MessagesState)
    graph.add_node("desk", desk, destinations=("meteorologist",))
    graph.add_node("meteorologist", meteorologist)
    graph.add_edge(START, "desk")
    question = "Transfer me to the meteorologist, then tell me the weather in Paris."
    state = graph.compile().invoke({"messages": [("human", question)]})
    for message in state["messages"]:
        message.pretty_print()


if __name__ == "__main__":
    run(main)
