"""What the tests of agents share: models, a tool and a question."""

from langchain_core.messages import HumanMessage

PLAIN = "baidu/ernie-4.5-21b-a3b"
THINKING = "baidu/ernie-4.5-21b-a3b-thinking"
FIVE = "baidu/ernie-5.0"
VISION = "baidu/ernie-4.5-vl-28b-a3b"
TWO_CITIES = [
    {"name": "weather", "args": {"city": "Köln"}, "id": "call_a"},
    {"name": "weather", "args": {"city": "北京"}, "id": "call_b"},
]


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"{city}: sun"


def question(text="Weather?"):
    return {"messages": [HumanMessage(text)]}
