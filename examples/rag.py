"""Retrieval-augmented generation: the answer is streamed, then the sources that it cites."""

import re
from zlib import crc32

from _local import run
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.vectorstores import InMemoryVectorStore

from langchain_aimlernie import ChatAimlErnie

PAGES = {
    "opening-hours.md": "The library is open from 9 to 18 on weekdays. It is closed on Sundays.",
    "loans.md": "Books can be borrowed for four weeks. Films can be borrowed for one week.",
    "fees.md": "A book that is returned late costs 20 cents a day. Children pay no late fees.",
    "rooms.md": "Study rooms can be reserved online, for two hours a day.",
}
PROMPT = ChatPromptTemplate.from_messages(
    [
        ("system", "Answer from these sources only, and cite them as [1]:\n\n{sources}"),
        ("human", "{question}"),
    ]
)


class WordEmbeddings(Embeddings):
    """Stand for an embedding model: count words, so that texts with common words are similar."""

    def embed_query(self, text: str) -> list[float]:
        """Return a vector for a text."""
        vector = [0.0] * 512
        for word in re.findall(r"\w{3,}", text.lower()):
            vector[crc32(word.rstrip("s").encode()) % 512] += 1
        return vector

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return a vector for each text."""
        return [self.embed_query(text) for text in texts]


def answer(store: InMemoryVectorStore, question: str) -> None:
    """Print the chunks of the answer as they arrive, then what the answer cites."""
    found = store.similarity_search(question, k=3)
    sources = "\n".join(f"[{number}] {page.page_content}" for number, page in enumerate(found, 1))
    text = ""
    for chunk in (PROMPT | ChatAimlErnie(temperature=0)).stream(
        {"sources": sources, "question": question}
    ):
        print(chunk.text, end="", flush=True)
        text += chunk.text
    print()
    for number in sorted({int(each) for each in re.findall(r"\[(\d+)\]", text)}):
        if number <= len(found):  # a model may cite what does not exist
            print(f"  [{number}] {found[number - 1].metadata['file']}")


def main() -> None:
    """Ask two questions about some pages."""
    store = InMemoryVectorStore(WordEmbeddings())
    store.add_documents([Document(text, metadata={"file": file}) for file, text in PAGES.items()])
    for question in (
        "For how long can books be borrowed, and what does a late book cost?",
        "Is the library open on Sundays?",
    ):
        print(f"> {question}")
        answer(store, question)


if __name__ == "__main__":
    run(main)
