"""A chain: prompt, model and parser joined by LCEL, called, streamed and in a batch."""

from operator import itemgetter

from _local import run
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnablePassthrough

from langchain_aimlernie import ChatAimlErnie


def main() -> None:
    """Write a motto, then translate it, as one runnable."""
    llm = ChatAimlErnie(temperature=0.7)
    motto = (
        ChatPromptTemplate.from_messages(
            [("system", "You write mottos of one sentence."), ("human", "A motto for {who}.")]
        )
        | llm
        | StrOutputParser()
    )
    translation = (
        ChatPromptTemplate.from_template("Translate into {language}: {motto}")
        | llm.bind(temperature=0.0)
        | StrOutputParser()
    )
    chain = RunnablePassthrough.assign(motto=motto) | {
        "motto": itemgetter("motto"),
        "translation": translation,
    }

    print(chain.invoke({"who": "a bakery", "language": "Chinese"}))
    for chunk in motto.stream({"who": "a harbour"}):
        print(chunk, end="", flush=True)
    print()
    print(motto.batch([{"who": "a library"}, {"who": "a school"}]))


if __name__ == "__main__":
    run(main)
