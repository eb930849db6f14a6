"""Instances of JSON Schemas as the local server makes them: valid, and from the prompt's words."""

import json
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field, create_model

from langchain_aimlernie.testing.fake_model import complete
from langchain_aimlernie.testing.generate import generate
from langchain_aimlernie.testing.models import BY_NAME

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(ge=1, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str]


class Node(BaseModel):
    value: int
    next: "Node | None"
    children: list["Node"]


class Everything(BaseModel):
    pet: Cat | Dog
    colour: Colour
    node: Node
    day: date
    moment: datetime
    hour: time
    id: UUID
    price: Decimal
    share: float = Field(gt=0, lt=1)
    even: int = Field(multiple_of=4, ge=10)
    short: str = Field(max_length=3)
    long: str = Field(min_length=80)
    code: str = Field(pattern=r"^[A-Z]{3}-\d{3}$")
    several: list[int] = Field(min_length=3)
    different: set[Colour] = Field(min_length=2)
    distinct: set[int] = Field(min_length=4)
    pair: tuple[int, str]
    table: dict[str, float] = Field(min_length=2)
    anything: Any
    nothing: None
    maybe: int | None
    sure: bool
    constant: Literal[7]


class Joke(BaseModel):
    punchline: str


class Person(BaseModel):
    name: str
    age: int
    city: str
    email: str | None = None


def structured(question, model):
    json_schema = {"name": "n", "schema": model.model_json_schema()}
    body = {
        "messages": [{"role": "user", "content": question}],
        "response_format": {"type": "json_schema", "json_schema": json_schema},
    }
    reply = complete(body, BY_NAME["baidu/ernie-4.5-21b-a3b"])
    return model.model_validate_json(reply.text)


@pytest.mark.parametrize("model", [Everything, Cat, Dog, Node, Person])
def test_structured_output_is_an_instance_of_its_schema(model):
    structured("Whatever you like", model)


def test_structured_output_is_taken_from_the_prompt():
    person = structured("The person is called 'Bob Smith' and 41 years old", Person)
    assert (person.name, person.age) == ("Bob Smith", 41)
    assert structured("a dog, please", Everything).pet.kind == "dog"
    assert structured("12 cats, 7 lives", Cat).lives == 7
    assert structured("something blue", Everything).colour is Colour.BLUE
    assert structured("a joke", Joke).punchline == "punchline made up by the local ErnieServer"


BOUNDS = st.integers(-1000, 1000).flatmap(
    lambda low: st.integers(0, 50).map(lambda width: Field(ge=low, le=low + width))
)
LENGTHS = st.integers(0, 20).flatmap(
    lambda low: st.integers(0, 20).map(lambda more: Field(min_length=low, max_length=low + more))
)
LEAVES = st.one_of(
    st.sampled_from([int, float, str, bool, date, datetime, UUID, Colour, Literal["a", "b"], None]),
    BOUNDS.map(lambda field: Annotated[int, field]),
    BOUNDS.map(lambda field: Annotated[float, field]),
    LENGTHS.map(lambda field: Annotated[str, field]),
)


def models(fields):
    names = st.text("abcdefg_", min_size=1, max_size=5).filter(lambda name: name[0] != "_")
    return st.dictionaries(names, fields, max_size=4).map(
        lambda held: create_model("Made", **{name: (kind, ...) for name, kind in held.items()})
    )


def nested(kinds):
    return st.one_of(
        kinds.map(lambda kind: kind | None if isinstance(kind, type) else kind),
        kinds.map(lambda kind: list[kind]),
        kinds.map(lambda kind: dict[str, kind]),
        models(kinds),
    )


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(model=models(st.recursive(LEAVES, nested, max_leaves=5)), prompt=st.text(max_size=50))
def test_any_schema_gets_an_instance(model, prompt):
    made = generate(model.model_json_schema(), prompt, "{name}")
    model.model_validate_json(json.dumps(made))


WORDS = st.text("ab", max_size=2) | st.sampled_from(
    (
        *("type", "$ref", "$defs", "properties", "items", "anyOf", "allOf", "enum", "const"),
        *("format", "pattern", "minimum", "maximum", "multipleOf", "minLength", "maxLength"),
        *("minItems", "maxItems", "uniqueItems", "required", "default", "title"),
    )
)
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(schema=st.dictionaries(WORDS, JSON | st.sampled_from(["object", "array", "#"])))
def test_invalid_schema_raises_nothing_and_gives_json(schema):
    json.dumps(generate(schema, "3 'x' of Paris"))


HAS_X = {"type": "object", "properties": {"x": STRING}, "required": ["x"]}
HAS_Y = {"properties": {"y": INTEGER}, "required": ["y"]}


@pytest.mark.parametrize(
    ("schema", "made"),
    [
        (
            {"allOf": [{"$ref": "#/$defs/a/b~1c"}, HAS_Y], "$defs": {"a": {"b/c": HAS_X}}},
            {"x": "x", "y": 1},
        ),
        ({"type": "string", "minLength": 10**9}, "x" + "." * 9_999),
        ({"type": ["null", "integer"]}, 1),
        ({"type": "integer", "minimum": 1.5}, 2),
        ({"items": {"enum": ["a", "b"]}, "minItems": 2, "uniqueItems": True}, ["a", "b"]),
        ({"type": "array", "prefixItems": [{"const": 1}], "items": False}, [1]),
        ({"type": "string", "pattern": "^no sample of ours$"}, "x"),
        ({"properties": {"a": {"type": "number"}}}, {"a": 1}),
        ({"$ref": "#/nowhere"}, "x"),
        ({"properties": {"y": True}, "minProperties": 3}, {"y": "x", "key1": "x", "key2": "x"}),
        ({"properties": {"y": True, "more": {"$ref": "#"}}}, {"y": "x", "more": {"y": "x"}}),
        # An empty object for what cannot be satisfied.
        ({"type": "string", "pattern": "(?<"}, {}),
        ({"items": {"type": "array", "minItems": 10**9}, "minItems": 10**9}, {}),
        ({"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, {}),
    ],
)
def test_odd_schemas_are_met_as_far_as_they_can_be(schema, made):
    assert generate(schema, "x") == made
