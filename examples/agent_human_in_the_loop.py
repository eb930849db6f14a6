"""An agent that asks before it acts: it pauses at a tool call and resumes with a decision."""

from _local import run
from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from langchain_aimlernie import ChatAimlErnie


@tool
def send_email(recipient: str, text: str) -> str:
    """Send an email."""
    return f"Sent to {recipient}: {text}"


def main() -> None:
    """Have one email approved, one changed and one rejected."""
    agent = create_agent(
        ChatAimlErnie(temperature=0),
        tools=[send_email],
        middleware=[HumanInTheLoopMiddleware(interrupt_on={"send_email": True})],
        checkpointer=InMemorySaver(),  # one on disk, if the program may stop meanwhile
    )
    action = {"name": "send_email", "args": {"recipient": "bob@example.com", "text": "Hello!"}}
    decisions = (
        {"type": "approve"},
        {"type": "edit", "edited_action": action},
        {"type": "reject", "message": "Not now."},
    )
    for number, decision in enumerate(decisions):
        thread = {"configurable": {"thread_id": str(number)}}
        question = "Send an email to ada@example.com with the text 'Good morning'."
        state = agent.invoke({"messages": [("human", question)]}, thread)
        request = state["__interrupt__"][0].value["action_requests"][0]
        print(f"asked: {request['name']}({request['args']})  answered: {decision['type']}")
        state = agent.invoke(Command(resume={"decisions": [decision]}), thread)
        print(state["messages"][-1].text, "\n")


if __name__ == "__main__":
    run(main)
