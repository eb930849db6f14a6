"""Token streaming through graphs: an agent inside a graph, its tokens outside of both."""

import asyncio

from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph

from langchain_aimlernie import ChatAimlErnie


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


MODEL = "baidu/ernie-4.5-21b-a3b-thinking"
AGENT = create_agent(ChatAimlErnie(model=MODEL), tools=[get_weather])
GRAPH = StateGraph(MessagesState).add_node("helper", AGENT).add_edge(START, "helper").compile()
QUESTION = {"messages": [("human", "What is the weather in Paris?")]}


def by_messages() -> None:
    """Take the chunks as they are; `metadata` names the node that each comes from."""
    for _, (chunk, metadata) in GRAPH.stream(QUESTION, stream_mode="messages", subgraphs=True):
        if isinstance(chunk, AIMessageChunk) and metadata["langgraph_node"] == "model":
            thought = chunk.additional_kwargs.get("reasoning_content", "")
            calls = "".join(call["args"] or "" for call in chunk.tool_call_chunks)
            print(f"{thought}{calls}{chunk.text}", end="|")
    print()


async def by_events() -> None:
    """Take events of everything that runs."""
    async for event in GRAPH.astream_events(QUESTION, version="v2"):
        if event["event"] == "on_chat_model_stream":
            print(event["data"]["chunk"].text, end="|")
        elif event["event"] in ("on_tool_start", "on_chat_model_end"):
            print(f"[{event['event']} {event['name']}]")


def by_blocks() -> None:
    """Take typed blocks (version v3, which LangChain calls experimental)."""
    for message in AGENT.stream_events(QUESTION, version="v3").messages:
        print("thought:", "".join(message.reasoning))
        print("text:", "".join(message.text), "called:", message.tool_calls.get())


def main() -> None:
    """Stream the same run in three ways."""
    by_messages()
    asyncio.run(by_events())
    by_blocks()


if __name__ == "__main__":
    main()
