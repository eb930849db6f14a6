"""Token streaming through graphs: an agent inside a graph, its tokens outside of both."""

import asyncio
from typing import Any

from _local import run
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.graph.state import CompiledStateGraph

from langchain_aimlernie import ChatAimlErnie


@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."


QUESTION = {"messages": [("human", "What is the weather in Paris?")]}


def by_messages(graph: CompiledStateGraph[Any, Any, Any, Any]) -> None:
    """Take the chunks as they are; `metadata` names the node that each comes from."""
    for _, (chunk, metadata) in graph.stream(QUESTION, stream_mode="messages", subgraphs=True):
        if isinstance(chunk, AIMessageChunk) and metadata["langgraph_node"] == "model":
            thought = chunk.additional_kwargs.get("reasoning_content", "")
            calls = "".join(call["args"] or "" for call in chunk.tool_call_chunks)
            print(f"{thought}{calls}{chunk.text}", end="|")
    print()


async def by_events(graph: CompiledStateGraph[Any, Any, Any, Any]) -> None:
    """Take events of everything that runs."""
    async for event in graph.astream_events(QUESTION, version="v2"):
        if event["event"] == "on_chat_model_stream":
            if text := event["data"]["chunk"].text:
                print(text, end="|")
        elif event["event"] in ("on_tool_start", "on_chat_model_end"):
            print(f"[{event['event']} {event['name']}]")


def by_blocks(agent: CompiledStateGraph[Any, Any, Any, Any]) -> None:
    """Take typed blocks (version v3, which LangChain calls experimental)."""
    for message in agent.stream_events(QUESTION, version="v3").messages:
        print("thought:", "".join(message.reasoning))
        print("text:", "".join(message.text), "called:", message.tool_calls.get())


def main() -> None:
    """Stream the same run in three ways."""
    llm = ChatAimlErnie(model="baidu/ernie-4.5-21b-a3b-thinking")
    agent = create_agent(llm, tools=[get_weather])
    graph = StateGraph(MessagesState).add_node("helper", agent).add_edge(START, "helper").compile()
    by_messages(graph)
    asyncio.run(by_events(graph))
    by_blocks(agent)


if __name__ == "__main__":
    run(main)
