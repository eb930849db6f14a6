import copy
import dataclasses
import datetime as dt
import enum
import functools
import typing
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypeVar

import pytest
from langchain_core.tools import tool
from pydantic import BaseModel, ConfigDict, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie._structured.schema import (
    encode_output_tool,
    encode_response_format,
    parse_schema,
)

T = TypeVar("T")


class Joke(BaseModel):
    """Joke to tell user."""

    setup: str = Field(description="question to set up a joke")
    title: str = Field(description="a field that is called like a keyword")
    rating: int | None = None


class JokeV1(BaseModelV1):
    """Joke to tell user."""

    setup: str
    rating: Optional[int] = None  # noqa: UP045  pydantic v1 on Python 3.10


class JokeDict(TypedDict):
    """Joke to tell user."""

    setup: Annotated[str, ..., "question to set up a joke"]
    rating: Annotated[Optional[int], None, "how funny"]  # noqa: UP045


class PlainTypedDict(typing.TypedDict):  # pydantic refuses this one before Python 3.12
    name: str


class Line(TypedDict, total=False):
    sku: Annotated[str, "stock keeping unit"]


class Order(TypedDict):
    """An order."""

    lines: list[Line]
    by_name: dict[str, Line | None]
    note: NotRequired[str]
    state: Literal["open", "closed"]
    parent: "Order | None"
    schema: str
    _hidden: Annotated[int, 3, "hidden"]


class Chain(TypedDict):
    """A chain.

    Args:
        next: the next one
    """

    next: "Chain | None"


class Tree(BaseModel):
    value: int
    children: "list[Tree]" = []


class Box(BaseModel, Generic[T]):
    item: T


class Colour(enum.Enum):
    RED = "red"


class Strict(BaseModel):
    model_config = ConfigDict(strict=True)
    day: dt.date
    colour: Colour
    pair: tuple[int, int]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


def tell(setup: str, rating: int = 3) -> None:
    """Tell a joke."""


JOKE_SCHEMA = {
    "title": "Joke",
    "description": "Joke to tell user.",
    "type": "object",
    "properties": {"setup": {"type": "string", "title": "Setup"}},
    "required": ["setup"],
}
BODY = {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"]}


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (Joke, "Joke"),
        (JokeV1, "JokeV1"),
        (JokeDict, "JokeDict"),
        (PlainTypedDict, "PlainTypedDict"),
        (Point, "Point"),
        (Tree, "Tree"),
        (Box[int], "Box_int"),
        (tell, "tell"),
        (tool(tell), "tell"),
        (JOKE_SCHEMA, "Joke"),
        (BODY, "Answer"),
        ({"$ref": "#/$defs/A", "$defs": {"A": BODY}}, "Answer"),
        ({"name": "joke", "schema": BODY}, "joke"),
        ({"name": "joke", "parameters": BODY, "description": "d"}, "joke"),
        ({"name": "joke", "input_schema": BODY}, "joke"),
        ({"name": "joke", "description": "no parameters"}, "joke"),
        ({"name": "joke", **BODY}, "joke"),
        ({"type": "function", "function": {"name": "joke", "parameters": BODY}}, "joke"),
        ({"type": "json_schema", "json_schema": {"name": "joke", "schema": BODY}}, "joke"),
        ({"type": "json_schema", "name": "joke", "schema": BODY}, "joke"),
        ({"title": "笑话", **BODY}, "Answer"),
        ({"schema": {"title": "Joke", **BODY}}, "Joke"),
        ({"title": "a joke, " + "long " * 20, **BODY}, "a_joke__" + "long_" * 10 + "long_l"),
    ],
)
def test_every_form_is_understood_and_named_as_the_api_allows(given, name):
    answer = parse_schema(given)
    assert answer.name == name
    assert answer.definition.get("type", "object") == "object"


def test_what_is_no_schema_is_refused_with_the_accepted_forms():
    dicts = {}, {"type": "json_object"}, {"type": "json_schema"}, {"foo": 1}
    lost = {"name": "joke", "parametersJsonSchema": BODY}
    for given in (*dicts, lost, "Joke", 3, Joke(setup="a", title="b"), int):
        problem = "contains no JSON Schema" if isinstance(given, dict) else "is not a schema"
        with pytest.raises(ValueError, match=f"{problem}. Give a pydantic class, a TypedDict"):
            parse_schema(given)


class Opaque(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    sentinel: type(dataclasses.MISSING)


def test_a_class_without_json_schema_is_refused_by_name():
    with pytest.raises(ValueError, match="Opaque has no JSON Schema"):
        parse_schema(Opaque)
    with pytest.raises(ValueError, match="BaseModel has no JSON Schema"):
        parse_schema(BaseModel)
    broken = typing.TypedDict("Broken", {"x": "Nowhere", "a-b": int})  # noqa: F821
    with pytest.raises(ValueError, match=r"Broken has .*: name 'Nowhere'"):
        parse_schema(broken)


ABOUT = {"name": "Joke", "description": "Joke to tell user."}
NULLABLE = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


def test_a_class_becomes_a_lean_response_format():
    title = {"description": "a field that is called like a keyword", "type": "string"}
    setup = {"description": "question to set up a joke", "type": "string"}
    properties = {"setup": setup, "title": title, "rating": NULLABLE | {"default": None}}
    schema = {"type": "object", "properties": properties, "required": ["setup", "title"]}
    assert encode_response_format(Joke) == {
        "type": "json_schema",
        "json_schema": {**ABOUT, "schema": schema},
    }


def test_what_is_a_response_format_goes_out_as_it_is():
    body = {**BODY, "title": "Kept", "$defs": {"A": {"title": "A"}}}
    wrapped = {"name": "joke", "schema": body, "strict": False}
    for given in (
        {"type": "json_schema", "json_schema": wrapped},
        {"type": "text"},
        {"type": "json_object"},
    ):
        assert encode_response_format(given) == given
    for given in (Joke, JokeDict, JOKE_SCHEMA, {"name": "n", "schema": BODY}):
        for strict in (None, True, False):
            once = encode_response_format(given, strict)
            assert encode_response_format(once) == once
            assert encode_response_format(once, strict) == once


def test_a_list_cannot_be_the_arguments_of_a_function():
    with pytest.raises(ValueError, match="use method='json_schema'"):
        encode_output_tool(parse_schema({"title": "Names", "type": "array"}))


def test_the_arguments_in_a_typed_dict_s_docstring_describe_its_keys():
    class Weather(TypedDict):
        """Look up the weather.

        Args:
            city: the name of the city
            days: how far ahead
        """

        city: str
        days: Annotated[int, 1, "own description"]
        unit: str

    assert "next: the next one" in parse_schema(Chain).description  # which core cannot read
    assert parse_schema(PlainTypedDict).description == ""
    answer = parse_schema(Weather)
    assert answer.description == "Look up the weather."
    properties = answer.definition["properties"]
    assert properties["city"] == {"type": "string", "description": "the name of the city"}
    assert properties["days"]["description"] == "own description"
    assert properties["unit"] == {"type": "string"}


def test_typed_dicts_keep_descriptions_none_and_what_is_required():
    answer = parse_schema(JokeDict)
    assert answer.description == "Joke to tell user."
    setup = {"type": "string", "description": "question to set up a joke"}
    properties = {"setup": setup, "rating": NULLABLE | {"description": "how funny"}}
    assert answer.definition == {"type": "object", "properties": properties, "required": ["setup"]}


def test_typed_dicts_of_every_making_are_understood():
    definition = parse_schema(Order).definition
    sku = {"type": "string", "description": "stock keeping unit"}
    line = {"type": "object", "properties": {"sku": sku}}
    properties = definition["properties"]
    assert properties["lines"] == {"type": "array", "items": line}
    assert properties["by_name"]["additionalProperties"] == {"anyOf": [line, {"type": "null"}]}
    assert properties["parent"]["anyOf"][0] == {"type": "object", "additionalProperties": True}
    assert properties["_hidden"] == {"type": "integer", "description": "hidden", "default": 3}
    assert definition["required"] == ["lines", "by_name", "state", "parent", "schema"]


class Sku(BaseModel):
    sku: str
    count: int = 1


class Basket(BaseModel):
    line: Sku = Sku(sku="-")
    lines: list[Sku] = []
    by_name: dict[str, Sku] = {}
    note: str | None = "none"
    anything: Any = 1
    total: float


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9
    name: str | None = "Tom"


class Dog(BaseModel):
    kind: Literal["dog"]
    lives: int | None = 1
    name: str = "Rex"


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]


class LineV1(BaseModelV1):
    sku: str
    count: int = 1


class BasketV1(BaseModelV1):
    lines: list[LineV1] = []
    total: float


@dataclasses.dataclass
class BasketOfDataclass:
    total: float
    lines: list[Point] = dataclasses.field(default_factory=list)


class LineOfDict(TypedDict):
    sku: str
    count: Annotated[int, 1, "how many"]
    note: NotRequired[str | None]


class BasketOfDict(TypedDict):
    total: float
    lines: NotRequired[list[LineOfDict]]


REF = {"$ref": "#/$defs/Line"}
LINE = {
    "type": "object",
    "properties": {
        "sku": {"type": "string"},
        "count": {"type": "integer", "default": 1},
        "state": {"enum": ["open", "closed"]},
        "note": {"type": "string", "nullable": True},
        "more": {"description": "no type"},
        "next": REF,
    },
    "required": ["sku"],
}
BASKET = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "lines": {"type": "array", "items": REF},
        "first": {"anyOf": [REF, {"const": "none"}]},
        "pair": {"type": "array", "prefixItems": [REF]},
    },
    "additionalProperties": REF,
    "required": ["total"],
    "$defs": {"Line": LINE},
}
A, ABSENT = {"sku": "a"}, {"sku": "a", "count": None}
ONE = {"total": 1}


@pytest.mark.parametrize(
    ("given", "value", "loaded"),
    [
        (Joke, {"setup": "a", "title": "b"}, Joke(setup="a", title="b")),
        (JokeV1, {"setup": "a"}, JokeV1(setup="a")),
        (Point, {"x": 1}, Point(1)),
        (JokeDict, {"setup": "a", "rating": None}, {"setup": "a", "rating": None}),
        (JOKE_SCHEMA, {"setup": "a", "extra": 1}, {"setup": "a", "extra": 1}),
        (Strict, {"day": "2026-11-23", "colour": "red", "pair": [1, 2]}, Strict(day=dt.date(2026, 11, 23), colour=Colour.RED, pair=(1, 2))),
        (Box[float], {"item": float("inf")}, Box[float](item=float("inf"))),
        (Box[int], {"item": 10**40}, Box[int](item=10**40)),
        (Box[Any], {"item": "\ud83d"}, Box[Any](item="\ud83d")),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(value=1, children=[Tree(value=2)])),
        # null for what may be absent, and not null, is absence
        (Basket, {"total": 1, "lines": None}, Basket(total=1)),
        (Basket, ONE | {"line": ABSENT, "lines": [ABSENT], "by_name": {"b": ABSENT}}, Basket(total=1, line=A, lines=[A], by_name={"b": A})),
        (Basket, ONE | {"line": None, "note": None, "anything": None}, Basket(total=1, note=None, anything=None)),
        (Owner, {"pet": {"kind": "cat", "lives": None, "name": None}}, Owner(pet=Cat(kind="cat", name=None))),
        (Owner, {"pet": {"kind": "dog", "lives": None, "name": None}}, Owner(pet=Dog(kind="dog", lives=None))),
        (Tree, {"value": 1, "children": [{"value": 2, "children": None}]}, Tree(value=1, children=[Tree(value=2)])),
        (BasketV1, ONE | {"lines": [ABSENT]}, BasketV1(total=1, lines=[LineV1(sku="a")])),
        (BasketV1, ONE | {"lines": None}, BasketV1(total=1)),
        (BasketOfDataclass, ONE | {"lines": [{"x": 1, "y": None}]}, BasketOfDataclass(1, [Point(1)])),
        (BasketOfDataclass, ONE | {"lines": None}, BasketOfDataclass(1)),
        (BasketOfDict, ONE | {"lines": [ABSENT]}, ONE | {"lines": [A]}),
        (BasketOfDict, ONE | {"lines": None}, ONE),
        (BasketOfDict, ONE | {"lines": [ABSENT | {"note": None}]}, ONE | {"lines": [A | {"note": None}]}),
        (BASKET, ONE | {"lines": None}, ONE),
        (BASKET, ONE | {"lines": [ABSENT | {"state": None, "note": None, "more": None}]}, ONE | {"lines": [A | {"note": None, "more": None}]}),
        (BASKET, ONE | {"first": A | {"next": ABSENT}, "pair": [ABSENT], "other": ABSENT}, ONE | {"first": A | {"next": A}, "pair": [A], "other": A}),
        (BASKET, ONE | {"first": None}, ONE),
    ],
)  # fmt: skip
def test_json_is_loaded_as_what_was_given_and_null_may_be_absence(given, value, loaded):
    before = copy.deepcopy(value)
    assert parse_schema(given).validate(value) == loaded
    assert value == before


DEEP = functools.reduce(lambda inner, _: {"a": inner}, range(2000), None)


@pytest.mark.parametrize(
    ("given", "value", "told"),
    [
        (Basket, {"total": None}, "total"),
        (Basket, ONE | {"lines": [{"sku": None}]}, r"lines\.0\.sku"),
        (Basket, ONE | {"lines": [None]}, r"lines\.0"),
        (Basket, ONE | {"by_name": {"a": None}}, r"by_name\.a"),
        (BasketV1, {"total": None}, "total"),
        (BasketOfDataclass, {"total": None}, "total"),
        (BasketOfDict, {"total": None}, "total: null"),
        (BASKET, {"total": None}, "total: null"),
        (BASKET, ONE | {"lines": [{"sku": None}]}, r"lines\[0\]\.sku: null"),
        (BASKET, ONE | {"other": None}, "other: null"),
        # What counts as absent is not named.
        (BASKET, {"total": "much", "lines": None}, "^total: \"much\" is not of type 'number' \\(type\\)$"),
        ({"type": "object", "minProperties": 1, "properties": {"a": {"type": "string"}}}, {"a": None}, "minProperties"),
        ({"properties": {"a": {"$ref": "#"}}}, DEEP, "nested too deeply"),
    ],
    ids=range(13),
)  # fmt: skip
def test_null_for_anything_else_is_a_violation(given, value, told):
    with pytest.raises(ValueError, match=told):
        parse_schema(given).validate(value)
