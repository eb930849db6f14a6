"""Any text in any pieces gives a stream that ends with what `invoke` returns, or with its error."""

import math
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk
from pydantic import RootModel

from langchain_aimlernie import ChatAimlErnie
from langchain_aimlernie.errors import StructuredOutputError
from tests.support.splits import split_at
from tests.support.structured import City


class Numbers(RootModel[list[int]]):
    pass


F = "```"
FRAGMENTS = [
    '{"name": "Paris", "people": 2100000}', '{"name": "Köln"}', '{"name": "x\ny"}', '{"name": 1}',
    '{"name": "a", "people": "12"}', '{"name": "a", "people": true}', '{"name": "a", "people": 1}',
    '{"name": "', "Rome", '"', ", ", '"people": ', "12", "3.5", "1e5", "}", "{", "[", "]", "[1, 2]",
    "[3]", "{}", "[1", ":[", "{x}", "'", "\\", " ", "\n", f"{F}json\n", f"\n{F}\n", F, "~~~\n", "python\n",
    "json", "<think>", "</think>", "<response>", "So: ", "null", "true", "nul", "-", "NaN", "0" * 20,
]  # fmt: skip
TEXTS = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=3), max_size=12).map("".join)
CUTS = st.lists(st.integers(0, 150), max_size=12)
SCHEMAS: dict[str, Any] = {
    "class": City,
    "list class": Numbers,
    "dict": City.model_json_schema(),
    "list": {"title": "Numbers", "type": "array", "items": {"type": "integer"}},
    "any object": {"title": "Any", "type": "object", "properties": {}},
    "anything": None,
}
LLM = ChatAimlErnie(api_key="k")
PARSERS = {
    name: LLM.with_structured_output(schema, method="json_mode").last
    for name, schema in SCHEMAS.items()
}


def outcome(give):
    """The last item or the error; `repr` tells `1` from `True` and takes NaN for itself."""
    try:
        return repr(give())
    except StructuredOutputError as error:
        return type(error), str(error)


def pieces(text, cuts):
    return map(AIMessageChunk, split_at(text, cuts))


@pytest.mark.slow
@pytest.mark.parametrize("schema", SCHEMAS)
@settings(max_examples=30)
@given(text=TEXTS, cuts=CUTS)
@example(
    text=f'{F}json\n{{"name": "a", "people": 1}}\n{F}\n{F}\n{{"name": "a", "people": true}}',
    cuts=[],
)
@example(
    text=f'{F}json\n{{"name": "a"}}\n{F}\nNo: {F}json\n{{"name": "b"}}\n{F}', cuts=[10, 20, 45]
)
def test_a_stream_ends_with_what_invoke_returns(schema, text, cuts):
    parser = PARSERS[schema]
    streamed = list[Any]()

    def last():
        for item in parser.transform(pieces(text, cuts)):
            streamed.append(item)
        return streamed[-1]

    assert outcome(last) == outcome(lambda: parser.invoke(AIMessage(text)))
    assert all(type(item) is type(streamed[-1]) for item in streamed) or schema == "anything"


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.fixed_dictionaries({"name": st.text(max_size=6), "people": st.integers(-(10**12), 10**12)}),
    st.sampled_from(["{}", f"{F}json\n{{}}\n{F}", f"So:\n{F}\n{{}}"]),
    st.booleans(),
    CUTS,
)
def test_a_number_is_whole_or_not_there(city, wrapping, is_quoted, cuts):
    before, after = wrapping.split("{}")
    number = f'"{city["people"]}"' if is_quoted else str(city["people"])
    name = City(**city).model_dump_json(include={"name"})
    text = f'{before}{name[:-1]}, "people": {number}}}{after}'
    items = list(PARSERS["class"].transform(pieces(text, [*cuts, *range(0, 150, 2)])))
    assert items[-1] == City(**city)
    assert {item.people for item in items} <= {0, city["people"]}
    assert not any(math.isnan(item.people) for item in items)
