"""Quick start: one question, one answer, and what the answer carries beside its text."""

from _local import run
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_aimlernie import ChatAimlErnie


def main() -> None:
    """Ask once with a string, once with messages."""
    llm = ChatAimlErnie(temperature=0.2)
    print(llm.invoke("Why is the sky blue?").text)

    answer = llm.invoke([SystemMessage("You translate into Chinese."), HumanMessage("Good night")])
    print(answer.text)
    print(answer.usage_metadata)
    for fact in ("model_name", "finish_reason", "usd_spent", "inference_id"):
        print(f"{fact}: {answer.response_metadata.get(fact)}")


if __name__ == "__main__":
    run(main)
