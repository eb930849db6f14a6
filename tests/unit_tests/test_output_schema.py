import copy
import dataclasses
import datetime as dt
import enum
import typing
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypeVar

import pydantic.dataclasses
import pytest
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_json_schema
from pydantic import BaseModel, ConfigDict, Field
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie._structured.schema import (
    ANY_JSON,
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
    """A tree."""

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
    """A point."""

    x: int
    y: int = 0


JOKE_SCHEMA = {
    "title": "Joke",
    "description": "Joke to tell user.",
    "type": "object",
    "properties": {"setup": {"type": "string", "title": "Setup"}},
    "required": ["setup"],
}
BODY = {"type": "object", "properties": {"setup": {"type": "string"}}, "required": ["setup"]}


# Understanding


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (Joke, "Joke"),
        (JokeV1, "JokeV1"),
        (JokeDict, "JokeDict"),
        (PlainTypedDict, "PlainTypedDict"),
        (Point, "Point"),
        (Box[int], "Box_int"),
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
        ({"title": "a joke, " + "long " * 20, **BODY}, "a_joke__" + "long_" * 11),
    ],
)
def test_every_form_is_understood_and_named_as_the_api_allows(given, name):
    answer = parse_schema(given)
    assert answer.name.startswith(name)
    assert len(answer.name) <= 64
    assert set(answer.name) <= set(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-"
    )
    assert answer.definition.get("type", "object") == "object"


@pytest.mark.parametrize(
    "given",
    [{}, {"type": "json_object"}, {"type": "json_schema"}, {"foo": 1}, "Joke", 3, Joke, int],
)
def test_what_is_no_schema_is_refused_with_the_accepted_forms(given):
    if given is Joke:
        given = Joke(setup="a", title="b")
    with pytest.raises(ValueError, match="Give a pydantic class, a TypedDict"):
        parse_schema(given)


def test_a_class_without_json_schema_is_refused_by_name():
    class Opaque(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        value: object.__class__
        sentinel: type(dataclasses.MISSING)

    with pytest.raises(ValueError, match="Opaque has no JSON Schema"):
        parse_schema(Opaque)


def test_an_annotation_that_cannot_be_resolved_is_refused_by_name():
    broken = typing.TypedDict("broken", {"x": "Nowhere", "a-b": int})  # noqa: F821  the point
    with pytest.raises(ValueError, match="broken has no JSON Schema: name 'Nowhere'"):
        parse_schema(broken)


def test_functions_and_tools_are_understood_by_their_arguments():
    def tell(setup: str, rating: int = 3) -> None:
        """Tell a joke."""

    for given in (tell, tool(tell)):
        answer = parse_schema(given)
        assert (answer.name, answer.description) == ("tell", "Tell a joke.")
        assert answer.definition["required"] == ["setup"]


def test_the_given_dict_is_never_changed():
    for given in (
        copy.deepcopy(JOKE_SCHEMA),
        {"name": "joke", "schema": copy.deepcopy(BODY), "strict": True},
    ):
        before = copy.deepcopy(given)
        encode_response_format(given, True)
        encode_output_tool(parse_schema(given, True))
        assert given == before


# On the wire


def test_a_class_becomes_a_lean_response_format():
    assert encode_response_format(Joke) == {
        "type": "json_schema",
        "json_schema": {
            "name": "Joke",
            "description": "Joke to tell user.",
            "schema": {
                "type": "object",
                "properties": {
                    "setup": {"description": "question to set up a joke", "type": "string"},
                    "title": {
                        "description": "a field that is called like a keyword",
                        "type": "string",
                    },
                    "rating": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                },
                "required": ["setup", "title"],
            },
        },
    }


def test_strict_closes_every_object_and_requires_every_property():
    class Outer(BaseModel):
        jokes: list[Joke]
        loose: dict[str, int] = {}

    schema = encode_response_format(Outer, True)["json_schema"]
    assert schema["strict"] is True
    outer = schema["schema"]
    assert (outer["required"], outer["additionalProperties"]) == (["jokes", "loose"], False)
    inner = outer["properties"]["jokes"]["items"]
    assert (inner["required"], inner["additionalProperties"]) == (
        ["setup", "title", "rating"],
        False,
    )
    assert outer["properties"]["loose"]["additionalProperties"] == {"type": "integer"}


def test_strict_false_is_told_and_changes_nothing_else():
    loose = encode_response_format(Joke, False)["json_schema"]
    assert loose.pop("strict") is False
    assert loose == encode_response_format(Joke)["json_schema"]


@pytest.mark.parametrize("strict", [True, False])
def test_two_different_stricts_are_refused(strict):
    given = {"name": "joke", "schema": BODY, "strict": not strict}
    with pytest.raises(ValueError, match="say it in one place"):
        encode_response_format(given, strict)


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("given", [Joke, JokeDict, JOKE_SCHEMA, {"name": "n", "schema": BODY}])
def test_a_response_format_is_its_own_response_format(given, strict):
    once = encode_response_format(given, strict)
    assert encode_response_format(once) == once
    assert encode_response_format(once, strict) == once


@pytest.mark.parametrize("given", [{"type": "text"}, {"type": "json_object"}])
def test_formats_without_a_schema_pass(given):
    assert encode_response_format(given) == given


def test_a_wrapped_schema_goes_out_as_it_is():
    body = {**BODY, "title": "Kept", "$defs": {"A": {"title": "A"}}}
    given = {
        "type": "json_schema",
        "json_schema": {"name": "joke", "schema": body, "strict": False},
    }
    assert encode_response_format(given) == given


def test_references_are_filled_in_unless_a_class_holds_itself():
    class Forest(BaseModel):
        first: Box[int]
        second: Box[int] = Field(description="another")

    properties = parse_schema(Forest).definition["properties"]
    box = {"type": "object", "properties": {"item": {"type": "integer"}}, "required": ["item"]}
    assert properties == {"first": box, "second": {**box, "description": "another"}}

    tree = parse_schema(Tree)
    assert (tree.name, tree.description) == ("Tree", "A tree.")
    assert tree.definition["type"] == "object"
    assert tree.definition["properties"]["children"]["items"] == {"$ref": "#/$defs/Tree"}
    assert "Tree" in tree.definition["$defs"]


def test_the_tool_carries_name_description_parameters_and_strict():
    assert encode_output_tool(parse_schema(JOKE_SCHEMA, False)) == {
        "type": "function",
        "function": {
            "name": "Joke",
            "description": "Joke to tell user.",
            "strict": False,
            "parameters": {
                k: v for k, v in JOKE_SCHEMA.items() if k not in ("title", "description")
            },
        },
    }


def test_a_list_cannot_be_the_arguments_of_a_function():
    with pytest.raises(ValueError, match="use method='json_schema'"):
        encode_output_tool(parse_schema({"title": "Names", "type": "array"}))


# TypedDicts


def test_the_arguments_in_a_typed_dict_s_docstring_describe_its_keys():
    class Weather(TypedDict):
        """Look up the weather.

        Args:
            city: the name of the city
            days: how far ahead
        """

        city: str
        days: Annotated[int, 1, "own description"]

    answer = parse_schema(Weather)
    assert answer.description == "Look up the weather."
    properties = answer.definition["properties"]
    assert properties["city"] == {"type": "string", "description": "the name of the city"}
    assert properties["days"]["description"] == "own description"


def test_a_docstring_that_core_cannot_read_describes_the_whole():
    assert "next: the next one" in parse_schema(Chain).description


def test_typed_dicts_keep_descriptions_none_and_what_is_required():
    answer = parse_schema(JokeDict)
    assert answer.description == "Joke to tell user."
    assert answer.definition == {
        "type": "object",
        "properties": {
            "setup": {"type": "string", "description": "question to set up a joke"},
            "rating": {
                "anyOf": [{"type": "integer"}, {"type": "null"}],
                "description": "how funny",
            },
        },
        "required": ["setup"],
    }


def test_typed_dicts_of_every_making_are_understood():
    definition = parse_schema(Order).definition
    line = {
        "type": "object",
        "properties": {"sku": {"type": "string", "description": "stock keeping unit"}},
    }
    properties = definition["properties"]
    assert properties["lines"] == {"type": "array", "items": line}
    assert properties["by_name"]["additionalProperties"] == {"anyOf": [line, {"type": "null"}]}
    assert properties["parent"]["anyOf"][0] == {"type": "object", "additionalProperties": True}
    assert properties["_hidden"] == {"type": "integer", "description": "hidden", "default": 3}
    assert definition["required"] == ["lines", "by_name", "state", "parent", "schema"]


def test_a_typed_dict_without_docstring_has_no_description():
    assert parse_schema(PlainTypedDict).description == ""


# Tracing


@pytest.mark.parametrize("given", [Joke, JokeV1, JOKE_SCHEMA, JokeDict])
def test_tracers_are_told_what_core_would_tell_them(given):
    expected = convert_to_json_schema(given)
    traced = convert_to_json_schema(parse_schema(given).tracing_schema)
    if given is JokeDict:  # core loses the None
        expected["properties"]["rating"] = traced["properties"]["rating"]
    assert traced == expected


@pytest.mark.parametrize("given", [Order, Point, BODY, Tree, {"name": "joke", "schema": BODY}])
def test_tracers_get_a_schema_of_every_form(given):
    assert convert_to_json_schema(parse_schema(given).tracing_schema)["properties"]


def test_what_tracers_are_told_is_not_touched_by_strict():
    assert (
        parse_schema(JOKE_SCHEMA, True).tracing_schema == parse_schema(JOKE_SCHEMA).tracing_schema
    )


# Loading


def tolerant_model():
    class Line(BaseModel):
        sku: str
        count: int = 1

    class Basket(BaseModel):
        line: Line = Line(sku="-")
        lines: list[Line] = []
        by_name: dict[str, Line] = {}
        note: str | None = "none"
        anything: Any = 1
        total: float

    return Basket


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


class Counted(BaseModel):
    counts: dict[str, int] = {}
    pair: tuple[int, str] = (1, "a")


class LineV1(BaseModelV1):
    sku: str
    count: int = 1


class BasketV1(BaseModelV1):
    lines: list[LineV1] = []
    total: float


@dataclasses.dataclass
class LineOfDataclass:
    sku: str
    count: int = 1


@dataclasses.dataclass
class BasketOfDataclass:
    total: float
    lines: list[LineOfDataclass] = dataclasses.field(default_factory=list)


class LineOfDict(TypedDict):
    sku: str
    count: Annotated[int, 1, "how many"]
    note: NotRequired[str | None]


class BasketOfDict(TypedDict):
    total: float
    lines: NotRequired[list[LineOfDict]]


LINE = {
    "type": "object",
    "properties": {
        "sku": {"type": "string"},
        "count": {"type": "integer", "default": 1},
        "state": {"enum": ["open", "closed"]},
        "note": {"type": "string", "nullable": True},
        "more": {"description": "no type"},
        "next": {"$ref": "#/$defs/Line"},
    },
    "required": ["sku"],
}
BASKET = {
    "type": "object",
    "properties": {
        "total": {"type": "number"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/Line"}},
        "first": {"anyOf": [{"$ref": "#/$defs/Line"}, {"const": "none"}]},
        "pair": {"type": "array", "prefixItems": [{"$ref": "#/$defs/Line"}]},
    },
    "additionalProperties": {"$ref": "#/$defs/Line"},
    "required": ["total"],
    "$defs": {"Line": LINE},
}
ABSENT = {"sku": "a", "count": None}
Tolerant = tolerant_model()


@pytest.mark.parametrize(
    ("given", "value", "loaded"),
    [
        (Tolerant, {"total": 1, "lines": None}, Tolerant(total=1)),
        (
            Tolerant,
            {"total": 1, "line": ABSENT, "lines": [ABSENT], "by_name": {"b": ABSENT}},
            Tolerant(total=1, line={"sku": "a"}, lines=[{"sku": "a"}], by_name={"b": {"sku": "a"}}),
        ),
        (
            Tolerant,
            {"total": 1, "line": None, "note": None, "anything": None},
            Tolerant(total=1, note=None, anything=None),
        ),
        (
            Owner,
            {"pet": {"kind": "cat", "lives": None, "name": None}},
            Owner(pet=Cat(kind="cat", name=None)),
        ),
        (
            Owner,
            {"pet": {"kind": "dog", "lives": None, "name": None}},
            Owner(pet=Dog(kind="dog", lives=None)),
        ),
        (
            Tree,
            {"value": 1, "children": [{"value": 2, "children": None}]},
            Tree(value=1, children=[Tree(value=2)]),
        ),
        (BasketV1, {"total": 1, "lines": [ABSENT]}, BasketV1(total=1, lines=[LineV1(sku="a")])),
        (BasketV1, {"total": 1, "lines": None}, BasketV1(total=1)),
        (
            BasketOfDataclass,
            {"total": 1, "lines": [ABSENT]},
            BasketOfDataclass(1, [LineOfDataclass("a")]),
        ),
        (BasketOfDataclass, {"total": 1, "lines": None}, BasketOfDataclass(1)),
        (BasketOfDict, {"total": 1, "lines": [ABSENT]}, {"total": 1, "lines": [{"sku": "a"}]}),
        (BasketOfDict, {"total": 1, "lines": None}, {"total": 1}),
        (
            BasketOfDict,
            {"total": 1, "lines": [{**ABSENT, "note": None}]},
            {"total": 1, "lines": [{"sku": "a", "note": None}]},
        ),
        (BASKET, {"total": 1, "lines": None}, {"total": 1}),
        (
            BASKET,
            {"total": 1, "lines": [{**ABSENT, "state": None, "note": None, "more": None}]},
            {"total": 1, "lines": [{"sku": "a", "note": None, "more": None}]},
        ),
        (
            BASKET,
            {"total": 1, "first": {"sku": "a", "next": ABSENT}, "pair": [ABSENT], "other": ABSENT},
            {
                "total": 1,
                "first": {"sku": "a", "next": {"sku": "a"}},
                "pair": [{"sku": "a"}],
                "other": {"sku": "a"},
            },
        ),
        (BASKET, {"total": 1, "first": None}, {"total": 1}),
    ],
)
def test_null_for_what_may_be_absent_and_not_null_is_absence(given, value, loaded):
    before = copy.deepcopy(value)
    assert parse_schema(given).validate(value) == loaded
    assert value == before


@pytest.mark.parametrize(
    ("given", "value"),
    [
        (Tolerant, {"total": None}),
        (Tolerant, {"total": 1, "lines": [{"sku": None}]}),
        (Tolerant, {"total": 1, "lines": [None]}),
        (Tolerant, {"total": 1, "by_name": {"a": None}}),
        (Counted, {"counts": {"a": None}}),
        (Counted, {"pair": [None, "a"]}),
        (BasketV1, {"total": None}),
        (BasketOfDataclass, {"total": None}),
        (BasketOfDict, {"total": None}),
        (BASKET, {"total": None}),
        (BASKET, {"total": 1, "lines": [{"sku": None}]}),
        (BASKET, {"total": 1, "other": None}),
        (
            {"type": "object", "minProperties": 1, "properties": {"a": {"type": "string"}}},
            {"a": None},
        ),
    ],
)
def test_null_for_anything_else_is_a_violation(given, value):
    with pytest.raises(ValueError):
        parse_schema(given).validate(value)


def test_the_violations_of_a_value_do_not_name_what_counts_as_absent():
    with pytest.raises(ValueError) as caught:
        parse_schema(BASKET).validate({"total": "much", "lines": None})
    assert str(caught.value) == "total: \"much\" is not of type 'number' (type)"


def test_a_strict_dataclass_takes_what_json_writes():
    @pydantic.dataclasses.dataclass(config=ConfigDict(strict=True))
    class Meeting:
        day: dt.date
        colour: Colour
        pair: tuple[int, int]
        note: str = "none"

    loaded = parse_schema(Meeting).validate(
        {"day": "2026-11-23", "colour": "red", "pair": [1, 2], "note": None}
    )
    assert loaded == Meeting(dt.date(2026, 11, 23), Colour.RED, (1, 2))
    with pytest.raises(ValueError, match="day"):
        parse_schema(Meeting).validate({"day": 5, "colour": "red", "pair": [1, 2]})


def test_a_dataclass_takes_what_json_can_escape_and_utf_8_cannot_write():
    @dataclasses.dataclass
    class Note:
        text: Any

    assert parse_schema(Note).validate({"text": "\ud83d"}) == Note("\ud83d")


@pytest.mark.parametrize(
    ("given", "value", "loaded"),
    [
        (Joke, {"setup": "a", "title": "b"}, Joke(setup="a", title="b")),
        (JokeV1, {"setup": "a"}, JokeV1(setup="a")),
        (Point, {"x": 1}, Point(1)),
        (JokeDict, {"setup": "a", "rating": None}, {"setup": "a", "rating": None}),
        (JOKE_SCHEMA, {"setup": "a", "extra": 1}, {"setup": "a", "extra": 1}),
        (
            Strict,
            {"day": "2026-11-23", "colour": "red", "pair": [1, 2]},
            Strict(day=dt.date(2026, 11, 23), colour=Colour.RED, pair=(1, 2)),
        ),
        (Box[float], {"item": float("inf")}, Box[float](item=float("inf"))),
        (Box[int], {"item": 10**40}, Box[int](item=10**40)),
        (Box[Any], {"item": "\ud83d"}, Box[Any](item="\ud83d")),
        (Tree, {"value": 1, "children": [{"value": 2}]}, Tree(value=1, children=[Tree(value=2)])),
    ],
)
def test_json_is_loaded_as_what_was_given(given, value, loaded):
    assert parse_schema(given).validate(value) == loaded


@pytest.mark.parametrize("given", [Joke, JokeV1, Point, JokeDict, JOKE_SCHEMA, Order, Tree])
def test_json_that_does_not_fit_is_a_value_error(given):
    answer = parse_schema(given)
    for value in ({}, [], None, "text"):
        with pytest.raises(ValueError):
            answer.validate(value)


def test_any_json_takes_objects_and_lists_only():
    assert ANY_JSON.validate({"a": 1}) == {"a": 1}
    assert ANY_JSON.validate([1]) == [1]
    for value in (None, 1, "text"):
        with pytest.raises(ValueError):
            ANY_JSON.validate(value)
