"""In place of `init_chat_model`, which knows no outside packages: settings chosen for each call."""

from _local import run
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import ConfigurableField

from langchain_aimlernie import ChatAimlErnie


def main() -> None:
    """Build a chain once; choose its model and temperature when it runs."""
    llm = ChatAimlErnie(temperature=0.2).configurable_fields(
        model_name=ConfigurableField(id="model", name="Model"),
        temperature=ConfigurableField(id="temperature", name="Temperature"),
        max_tokens=ConfigurableField(id="max_tokens", name="Length"),
    )
    chain = ChatPromptTemplate.from_template("Name {what}.") | llm
    choices = (
        {},
        {"model": "baidu/ernie-x1-turbo-32k"},
        {"model": "baidu/ernie-5.0", "temperature": 0.9, "max_tokens": 300},
    )
    for choice in choices:
        answer = chain.invoke({"what": "a colour"}, config={"configurable": choice})
        print(answer.response_metadata["model_name"], "->", answer.text)

    # Fixed for good, and only for what follows: each gives a new model, none changes the old.
    fixed = (chain.with_config(configurable={"temperature": 0.0})) | StrOutputParser()
    print(fixed.invoke({"what": "a tree"}))
    print(ChatAimlErnie().bind(temperature=0.0, stop=["."]).invoke("Name a river.").text)


if __name__ == "__main__":
    run(main)
