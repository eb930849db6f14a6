"""Tools of an MCP server, which runs as a process of its own, in an agent."""

import asyncio
import sys
from pathlib import Path

from _local import run
from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient
from langchain_mcp_adapters.tools import load_mcp_tools

from langchain_aimlernie import ChatAimlErnie

SERVER = Path(__file__).with_name("_mcp_server.py")


async def ask(question: str) -> None:
    """Start the server, load its tools, and let an agent use them."""
    client = MultiServerMCPClient(
        {"weather": {"transport": "stdio", "command": sys.executable, "args": [str(SERVER)]}}
    )
    async with client.session("weather") as session:  # one process for all calls
        tools = await load_mcp_tools(session)
        print("tools:", ", ".join(tool.name for tool in tools), "\n")
        agent = create_agent(ChatAimlErnie(temperature=0), tools)
        state = await agent.ainvoke({"messages": [("human", question)]})
    for message in state["messages"]:
        message.pretty_print()


def main() -> None:
    """Ask what takes two tools of the server."""
    asyncio.run(ask("What is the weather in Paris, and the forecast for two days?"))


if __name__ == "__main__":
    run(main)
