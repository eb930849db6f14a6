"""Tools: the whole loop by hand. The model asks for calls, we run them, it answers."""

from _local import run
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from langchain_aimlernie import ChatAimlErnie


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


@tool
def get_time(city: str) -> str:
    """Get the local time of a city."""
    return f"It is 10:30 in {city}."


TOOLS = {each.name: each for each in (get_weather, get_time)}


def run_calls(answer: AIMessage) -> list[BaseMessage]:
    """Answer every call, also one whose arguments are not JSON: the model then tries again."""
    results: list[BaseMessage] = [TOOLS[call["name"]].invoke(call) for call in answer.tool_calls]
    results += [
        ToolMessage(f"Not valid: {call['error']}", tool_call_id=call["id"] or "", status="error")
        for call in answer.invalid_tool_calls
    ]
    return results


def main() -> None:
    """Ask what needs several calls at once; at most five turns."""
    llm = ChatAimlErnie().bind_tools(list(TOOLS.values()), parallel_tool_calls=True)
    messages: list[BaseMessage] = [
        HumanMessage("What is the weather in Paris and what is the time in London?")
    ]
    for _ in range(5):
        answer = llm.invoke(messages)
        results = run_calls(answer)
        messages += [answer, *results]
        if not results:
            break
    for message in messages:
        message.pretty_print()


if __name__ == "__main__":
    run(main)
