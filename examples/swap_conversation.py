"""A conversation that another provider's model began goes on with ERNIE, and back."""

from _local import run
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
    convert_to_openai_messages,
)
from langchain_core.tools import tool

from langchain_aimlernie import ChatAimlErnie


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


# As it comes out of ChatAnthropic: thinking with a signature, and calls as content blocks.
BEGUN: list[BaseMessage] = [
    HumanMessage("What is the weather in Paris?"),
    AIMessage(
        content=[
            {"type": "thinking", "thinking": "I need the tool.", "signature": "EqoB"},
            {"type": "text", "text": "I will look.", "cache_control": {"type": "ephemeral"}},
            {"type": "tool_use", "id": "tu_1", "name": "get_weather", "input": {"city": "Paris"}},
        ],
        tool_calls=[{"id": "tu_1", "name": "get_weather", "args": {"city": "Paris"}}],
        response_metadata={"model_provider": "anthropic", "model_name": "claude"},
    ),
    ToolMessage("It is sunny in Paris, 21 degrees.", tool_call_id="tu_1"),
]


def main() -> None:
    """Answer what another model left open, then show that our answer can be carried on too."""
    llm = ChatAimlErnie(model="baidu/ernie-4.5-21b-a3b-thinking").bind_tools([get_weather])
    answer = llm.invoke(BEGUN)
    print(answer.text)

    answer = llm.invoke([*BEGUN, answer, HumanMessage("And what is the weather in London?")])
    print([(call["name"], call["args"]) for call in answer.tool_calls])

    # Back: other packages read the standard blocks, or the fields of the message.
    print([block["type"] for block in answer.content_blocks])
    print(convert_to_openai_messages([*BEGUN, answer])[-1])


if __name__ == "__main__":
    run(main)
