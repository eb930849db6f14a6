"""Draw the pictures of the README: `python .ci/pictures.py`, with the extra `docs`.

They show real output, that of the local server, so that everybody can repeat them.
"""

from __future__ import annotations

import os
import pty
import re
import sys
from io import StringIO
from pathlib import Path

from rich.console import Console, RenderableType
from rich.syntax import Syntax
from rich.text import Text

from langchain_aimlernie.testing import ErnieServer

FOLDER = Path(__file__).parents[1] / "docs" / "images"
WIDTH = 100

COMMANDS = (
    ("--local", "Why is the sky blue?"),
    ("--local", "--model", "baidu/ernie-4.5-21b-a3b-thinking", "Is 91 a prime?"),
    ("--local", "doctor", "--model", "baidu/ernie-4.5-vl-28b-a3b"),
)

AGENT = '''\
from langchain.agents import create_agent
from langchain_core.tools import tool
from langchain_aimlernie import ChatAimlErnie

@tool
def get_weather(city: str) -> str:
    """Get the weather of a city."""
    return f"It is sunny in {city}, 21 degrees."

agent = create_agent(ChatAimlErnie(), tools=[get_weather])
question = {"messages": [("human", "What is the weather in Paris?")]}
for state in agent.stream(question, stream_mode="values"):
    state["messages"][-1].pretty_print()
'''


def main() -> None:
    """Draw both pictures."""
    os.environ.update(COLUMNS=str(WIDTH), LANGSMITH_TRACING="false")
    screen = Text()
    for arguments in COMMANDS:
        shown = " ".join(f'"{each}"' if " " in each else each for each in arguments)
        screen.append(f"$ aimlernie {shown}\n", "bold")
        screen.append_text(run("-m", "langchain_aimlernie", *arguments))
        screen.append("\n\n")
    draw("terminal", screen)
    with ErnieServer() as server:
        os.environ.update(AIMLAPI_API_KEY=str(server.api_key), AIMLAPI_API_BASE=server.base_url)
        draw("agent", Syntax(AGENT, "python", background_color="default"), run("-c", AGENT))


def run(*arguments: str) -> Text:
    """Run Python in a terminal; return what it has shown."""
    output = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 1 << 16)
        output.extend(data)
        return data

    pty.spawn([sys.executable, *arguments], read)
    return Text.from_ansi(output.decode().replace("\r\n", "\n").rstrip())


def draw(name: str, *parts: RenderableType) -> None:
    """Save what a terminal shows as a picture."""
    console = Console(record=True, width=WIDTH, file=StringIO())
    console.print(*parts)
    FOLDER.mkdir(exist_ok=True)
    svg = console.export_svg(title="", unique_id=f"aimlernie-{name}")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # fonts from the network
    lines = (line.rstrip() for line in svg.splitlines())
    (FOLDER / f"{name}.svg").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
