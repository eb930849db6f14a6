"""A schema, and the four ways to call a structured output."""

from typing import Any, NamedTuple

from pydantic import BaseModel

from langchain_aimlernie.errors import StructuredOutputError
from tests.support.modes import MODES, each_chunk

WAYS = MODES


class City(BaseModel):
    """A city."""

    name: str
    people: int = 0


class Outcome(NamedTuple):
    """All that came, and the error at the end, if any."""

    items: list[Any]
    error: StructuredOutputError | None = None

    @property
    def answer(self):
        assert self.error is None, self.error
        return self.items[-1]


async def ask(chain, way, **kwargs):
    """Call a chain; return what comes, and a `StructuredOutputError` at the end."""
    items: list[Any] = []
    try:
        async for item in each_chunk(chain, "hi", way, **kwargs):
            items.append(item)  # noqa: PERF401  what came before an error counts, too
    except StructuredOutputError as error:
        return Outcome(items, error)
    return Outcome(items)
