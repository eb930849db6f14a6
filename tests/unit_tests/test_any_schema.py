"""Whatever class is given: its schema is whole, and says of values what the class says."""

from __future__ import annotations

import enum
import itertools
import json
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, Optional

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, create_model

from langchain_aimlernie._request.tools import encode_tools
from langchain_aimlernie._structured.schema import encode_response_format, parse_schema
from tests.support.schemas import check_sent


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Node(BaseModel):
    a: int
    b: list[Node] = []


NAMES = ("a", "b", "$ref", "items", "title")
ANYTHING = st.recursive(
    st.sampled_from([None, True, False, 0, 1, 3, 1.5, "", "x", "xyz", "red"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([*NAMES, "kind", "red"]), inner, max_size=3)
    ),
    max_leaves=4,
)


class Kind(NamedTuple):
    """A type, and JSON values most of which it takes."""

    type: Any
    values: st.SearchStrategy[Any]


def leaf(annotation, *values):
    return Kind(annotation, st.sampled_from(values * 3) | ANYTHING)


LEAVES = [
    leaf(int, 0, 1, 3),
    leaf(str, "", "x"),
    leaf(bool, True, False),
    leaf(float, 1.5, 3),
    leaf(NoneType, None),
    leaf(Any, 1, "x", None),
    leaf(Colour, "red", "blue"),
    leaf(Node, {"a": 1}, {"a": 1, "b": [{"a": 1, "b": []}]}, {"a": 1, "b": [{"a": ""}]}),
    leaf(Literal["x", 3], "x", 3),  # pydantic takes True for the literal 1
    leaf(Annotated[int, Field(ge=0, lt=3)], 0, 2),
    leaf(Annotated[str, Field(min_length=1, max_length=2)], "x", "xy"),
    leaf(Annotated[str, Field(pattern="^[xy]+$")], "x", "xy"),
]
_numbers = itertools.count()


def models(kinds):
    """Models with a few fields, with and without defaults."""

    def make(fields):
        named = {
            f"field_{index}": (kind.type, Field(alias=alias, **default))
            for index, (alias, (kind, default)) in enumerate(fields.items())
        }
        required = {alias: kind.values for alias, (kind, default) in fields.items() if not default}
        optional = {alias: kind.values for alias, (kind, default) in fields.items() if default}
        values = st.fixed_dictionaries(required, optional=optional)
        return Kind(create_model(f"Model{next(_numbers)}", **named), values | ANYTHING)

    default = st.sampled_from([{}, {"default": None}])
    fields = st.dictionaries(st.sampled_from(NAMES), st.tuples(kinds, default), max_size=3)
    return fields.map(make)


def tagged(kinds):
    """A union of models that are told apart by a field."""

    def make(members):
        classes = tuple(
            create_model(f"Tagged{next(_numbers)}", kind=(Literal[tag], ...), a=(kind.type, ...))
            for tag, kind in zip("xy", members, strict=True)
        )
        values = [
            st.fixed_dictionaries({"kind": st.just(tag), "a": kind.values})
            for tag, kind in zip("xy", members, strict=True)
        ]
        union = Annotated[classes[0] | classes[1], Field(discriminator="kind")]
        return Kind(union, st.one_of(*values, ANYTHING))

    return st.tuples(kinds, kinds).map(make)


def pair_of(first, second):
    return Kind(tuple[first.type, second.type], st.tuples(first.values, second.values).map(list))


def map_of(values):
    return st.dictionaries(st.sampled_from(["x", "red", "blue"]), values, max_size=2)


def grown(kinds):
    return st.one_of(
        kinds.map(lambda kind: Kind(list[kind.type], st.lists(kind.values, max_size=2))),
        kinds.map(lambda kind: Kind(dict[str, kind.type], map_of(kind.values))),
        kinds.map(lambda kind: Kind(dict[Colour, kind.type], map_of(kind.values))),
        kinds.map(lambda kind: Kind(Optional[kind.type], kind.values | st.none())),  # noqa: UP045  of None, too
        st.builds(pair_of, kinds, kinds),
        models(kinds),
        tagged(kinds),
    )


MODELS = models(st.recursive(st.sampled_from(LEAVES), grown, max_leaves=4))


def accepts(adapter, value):
    """Whether pydantic takes a value as it stands, and not by turning it into another."""
    try:
        adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError:
        return False
    return True


FEW = settings(max_examples=30)


@pytest.mark.slow
@FEW
@given(st.data(), st.sampled_from([None, True]))
def test_a_schema_is_whole_and_means_what_the_class_means(data, strict):
    model, values = data.draw(MODELS)
    sent = encode_response_format(model, strict)["json_schema"]["schema"]
    assert encode_tools([model], strict=strict)[0]["function"]["parameters"] == sent
    check_sent(sent)
    adapter, validator = TypeAdapter(model), Draft202012Validator(sent)
    for value in data.draw(st.lists(values, min_size=5, max_size=10)):
        if strict:  # all that it lets through is good; not all that is good goes through
            assert accepts(adapter, value) or not validator.is_valid(value)
        else:
            assert accepts(adapter, value) == validator.is_valid(value)


@pytest.mark.slow
@FEW
@given(st.data())
def test_a_dict_schema_takes_what_its_class_takes(data):
    model, values = data.draw(MODELS)
    by_dict = parse_schema(model.model_json_schema())
    adapter, known = TypeAdapter(model), by_dict.definition["properties"]
    for value in data.draw(st.lists(values, min_size=5, max_size=10)):
        # Without a known key, an object within it that has one is the answer.
        if accepts(adapter, value) and not (value and known.keys().isdisjoint(value)):
            assert by_dict.validate(value) == value
