"""An agent whose answer is an object: by the API's own JSON Schema, or by the call of a tool."""

from _local import run
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_aimlernie import ChatAimlErnie


class Report(BaseModel):
    """The weather of one city."""

    city: str
    degrees: int


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


def main() -> None:
    """Ask for the same object in three ways."""
    llm = ChatAimlErnie(temperature=0)
    # A schema alone: by the model's profile, the API supports structured output.
    for way in (Report, ProviderStrategy(Report, strict=True), ToolStrategy(Report)):
        agent = create_agent(llm, tools=[get_weather], response_format=way)
        state = agent.invoke({"messages": [("human", "What is the weather in Paris?")]})
        print(
            getattr(way, "__name__", type(way).__name__),
            [message.type for message in state["messages"]],
        )
        print(" ", state["structured_response"])


if __name__ == "__main__":
    run(main)
