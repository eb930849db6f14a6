"""Structured output: an instance of a pydantic class, or an error with the reason."""

from typing import Literal

from _local import run
from pydantic import BaseModel, Field

from langchain_aimlernie import ChatAimlErnie, StructuredOutputError


class Contact(BaseModel):
    """A person as a note mentions them."""

    name: str
    email: str
    mood: Literal["calm", "angry"] = Field(description="how the person sounds")


NOTE = "Ada Lovelace (ada@example.com) is angry: her parcel has not come."


def main() -> None:
    """Ask plainly, with the message beside the object, streamed, and with too few tokens."""
    llm = ChatAimlErnie()
    reader = llm.with_structured_output(Contact)
    print(reader.invoke(NOTE))

    # Nothing is raised here: `parsing_error` holds what would be.
    both = llm.with_structured_output(Contact, include_raw=True).invoke(NOTE)
    print(both["parsed"], both["parsing_error"], both["raw"].usage_metadata)

    # A JSON Schema or TypedDict gives dicts, which a stream gives as they grow.
    schema = Contact.model_json_schema()
    for part in llm.with_structured_output(schema).stream(NOTE):
        print(part)

    # Other ways to ask: a tool's call, or the schema in the prompt; `retry` asks once more.
    by_call = llm.with_structured_output(Contact, method="function_calling", retry=True)
    print(by_call.invoke(NOTE))

    try:
        llm.with_structured_output(Contact, max_tokens=3).invoke(NOTE)
    except StructuredOutputError as error:
        print(error.finish_reason, "->", error)


if __name__ == "__main__":
    run(main)
