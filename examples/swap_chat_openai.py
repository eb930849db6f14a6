"""From ChatOpenAI to ChatAimlErnie: one line, or both side by side and chosen for each call."""

from importlib.util import find_spec
from os import environ

from _local import run
from langchain_core.language_models import BaseChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField, Runnable

from langchain_aimlernie import ChatAimlErnie

NAME = "baidu/ernie-4.5-21b-a3b"


def program(llm: BaseChatModel) -> Runnable[dict[str, str], str]:
    """Stand for the program that you have: it takes whichever chat model it is given."""
    return ChatPromptTemplate.from_template("Say {what} in one word.") | llm | StrOutputParser()


def openai_model() -> BaseChatModel:
    """Return the former model: the same parameters, for the same API."""
    from langchain_openai import ChatOpenAI  # noqa: PLC0415  it may not be installed

    return ChatOpenAI(
        model=NAME,
        temperature=0.2,
        max_tokens=100,
        timeout=60,
        max_retries=2,
        base_url=environ.get("AIMLAPI_API_BASE", "https://api.aimlapi.com/v1"),
        api_key=environ["AIMLAPI_API_KEY"],
    )


def main() -> None:
    """Run the same program on the new model, then on either, chosen by the config."""
    llm = ChatAimlErnie(model=NAME, temperature=0.2, max_tokens=100, timeout=60, max_retries=2)
    print("ernie:", program(llm).invoke({"what": "hello"}))

    if find_spec("langchain_openai") is None:
        print("For the rest: pip install langchain-openai")
        return
    either = llm.configurable_alternatives(
        ConfigurableField(id="client"), default_key="ernie", openai=openai_model
    )
    for client in ("ernie", "openai"):
        answer = either.invoke("Who are you?", config={"configurable": {"client": client}})
        print(f"{client}: {answer.text}")
        print("  price:", answer.response_metadata.get("usd_spent", "lost on the way"))


if __name__ == "__main__":
    run(main)
