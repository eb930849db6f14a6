"""Conversation: keep the messages, trim them to a budget of tokens, go on."""

from _local import run
from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage, trim_messages

from langchain_aimlernie import ChatAimlErnie

BUDGET = 60
QUESTIONS = ("My name is Ada.", "I live in London.", "Where do I live?")


def main() -> None:
    """Ask three questions in a row; the model is sent what fits into the budget."""
    llm = ChatAimlErnie()
    history: list[BaseMessage] = [SystemMessage("You are a friendly host.")]
    for question in QUESTIONS:
        history.append(HumanMessage(question))
        recent = trim_messages(
            history,
            max_tokens=BUDGET,
            token_counter=llm,  # counts offline, Chinese too
            strategy="last",
            include_system=True,
            start_on="human",
        )
        answer = llm.invoke(recent)
        history.append(answer)
        print(f"> {question}  [{len(recent)} of {len(history) - 1} messages sent]\n{answer.text}\n")


if __name__ == "__main__":
    run(main)
