"""Middleware: summaries, fallbacks, retries and limits know the model's profile and errors."""

from _local import run
from langchain.agents import create_agent
from langchain.agents.middleware import (
    ClearToolUsesEdit,
    ContextEditingMiddleware,
    LLMToolSelectorMiddleware,
    ModelCallLimitMiddleware,
    ModelFallbackMiddleware,
    ModelRetryMiddleware,
    SummarizationMiddleware,
    ToolCallLimitMiddleware,
    ToolRetryMiddleware,
)
from langchain_core.exceptions import ModelAPIError, ModelRateLimitError
from langchain_core.tools import tool

from langchain_aimlernie import ChatAimlErnie


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


@tool
def get_time(city: str) -> str:
    """Get the local time of a city."""
    raise RuntimeError(f"The clock of {city} has stopped.")


def main() -> None:
    """Give an agent all of it; its first model is one that does not exist."""
    llm = ChatAimlErnie(temperature=0)
    agent = create_agent(
        ChatAimlErnie(model="baidu/ernie-0"),
        tools=[get_weather, get_time],
        middleware=[
            ModelFallbackMiddleware(llm),
            ModelRetryMiddleware(max_retries=1, retry_on=(ModelRateLimitError, ModelAPIError)),
            ModelCallLimitMiddleware(run_limit=8),
            ToolCallLimitMiddleware(run_limit=6),
            SummarizationMiddleware(llm, trigger=("fraction", 0.8), keep=("messages", 10)),
            ContextEditingMiddleware(edits=[ClearToolUsesEdit(trigger=50_000)]),
            LLMToolSelectorMiddleware(model=llm, max_tools=1, always_include=["get_time"]),
            ToolRetryMiddleware(max_retries=1, initial_delay=0.1, on_failure="continue"),
        ],
    )
    question = "What is the weather in Paris and what is the time in London?"
    for message in agent.invoke({"messages": [("human", question)]})["messages"]:
        message.pretty_print()


if __name__ == "__main__":
    run(main)
