"""Schemas that users of comparable packages reported, over a real socket, in all four modes."""

from __future__ import annotations

import datetime as dt
import enum
import json
import math
import re
import subprocess
import sys
from typing import Annotated, Literal, NotRequired

import pydantic.dataclasses
import pytest
from pydantic import (
    AliasPath,
    BaseModel,
    ConfigDict,
    Field,
    Json,
    RootModel,
    model_validator,
    with_config,
)
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import ReadOnly, TypedDict

from tests.support.structured import WAYS, ask

METHODS = ("json_schema", "function_calling", "json_mode")


def an_object(required=(), **properties):
    return {"title": "Answer", "type": "object", "properties": properties, "required": [*required]}


class Colour(enum.Enum):
    RED = "red"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str | None = "Rex"


class Zoo(BaseModel):
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]]
    counts: dict[Colour, int] = {}
    written: Json[Cat] | None = None


class CatV1(BaseModelV1):
    name: str
    lives: int = 9


@pydantic.dataclasses.dataclass(config=ConfigDict(strict=True))
class Meeting:
    day: dt.date
    colour: Colour
    note: str = "none"


class Range(BaseModel):
    """Its validator expects both keys, and numbers."""

    low: int
    high: int

    @model_validator(mode="before")
    @classmethod
    def _order(cls, values):
        return {"low": min(values["low"], values["high"]), "high": values["high"]}


class Page(BaseModel):
    """Nothing is required."""

    text: str = "?"
    lines: list[Cat] = []
    by_name: dict[str, Cat] = {}
    best: Cat | None = Cat(kind="cat")


class Pet(RootModel[Annotated[Cat | Dog, Field(discriminator="kind")]]):
    """Either."""


class Pets(BaseModel):
    """A list."""

    pets: list[Cat]


class ByName(RootModel[Page | dict[str, Page]]):
    """One, or some by their names."""


class OneOrMore(RootModel[Page | list[Page]]):
    """One, or some."""


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    a: int


class ByAlias(BaseModel):
    """Its JSON Schema has its name or its alias, as pydantic chooses, and it reads the other."""

    model_config = ConfigDict(validate_by_alias=False, validate_by_name=True)
    a: int = Field(validation_alias=AliasPath("within", "a"))
    b: int = Field(0, alias="B")


class Limits(BaseModel):
    """JSON has no infinity."""

    most: float = math.inf
    least: dict[str, float] = {"a": -math.inf}


class Visit(BaseModel):
    day: dt.date | None
    at: dt.datetime | None = None


class Named(BaseModel):
    """A property may be called like a keyword."""

    reference: str = Field(alias="$ref")


class Closed(TypedDict, closed=True):
    a: int


class Counts(TypedDict, extra_items=ReadOnly[int]):
    a: NotRequired[int]


@with_config(ConfigDict(extra="forbid"))
class Forbidding(TypedDict):
    a: int


class Order(TypedDict):
    total: Annotated[float, Field(gt=0)]
    note: NotRequired[str]


class Loose(TypedDict, total=False):
    a: int


CIRCLE = an_object(first={"$ref": "#/$defs/Node"}) | {
    "$defs": {"Node": an_object(["v"], v={"type": "integer"}, next={"$ref": "#/$defs/Node"})}
}


CAT = {"kind": "cat"}
LOADED = [
    (Zoo, {"pets": [{"kind": "cat", "lives": None}], "counts": {"red": 1}}, Zoo(pets=[Cat(kind="cat")], counts={Colour.RED: 1})),
    (Zoo, {"pets": [{"kind": "dog", "name": None}], "written": None}, Zoo(pets=[Dog(kind="dog", name=None)])),
    (CatV1, {"name": "Tom", "lives": None}, CatV1(name="Tom")),
    (Meeting, {"day": "2026-11-23", "colour": "red", "note": None}, Meeting(dt.date(2026, 11, 23), Colour.RED)),
    (Order, {"total": 1, "note": None}, {"total": 1}),
    (an_object(a={"type": "number", "multipleOf": 0.01}), {"a": 19.99}, {"a": 19.99}),
    (CIRCLE, {"first": {"v": 1, "next": {"v": 2, "next": None}}}, {"first": {"v": 1, "next": {"v": 2}}}),
    (Range, {"low": 3, "high": 2}, Range(low=2, high=2)),
    (Counts, {"b": 1}, {"b": 1}),
    (ByAlias, {"a": 1, "B": 2}, ByAlias(a=1, b=2)),
    (ByAlias, {"a": 1, "b": 2}, ByAlias(a=1, b=2)),
    (Limits, {}, Limits()),
    (an_object(a={"type": "number", "default": math.inf}), {"a": 1}, {"a": 1}),
    ({"name": "Answer", "inputSchema": an_object(["a"], a={"type": "integer"})}, {"a": "1"}, {"a": 1}),
    ({"toolSpec": {"name": "Answer", "inputSchema": {"json": an_object(["a"], a={"type": "integer"})}}}, {"a": "1"}, {"a": 1}),
    (Named, {"$ref": "a"}, Named(**{"$ref": "a"})),
    # Strings in the place of what they hold, at every depth
    (Page, {"lines": json.dumps([CAT]), "by_name": json.dumps({"a": CAT})}, Page(lines=[CAT], by_name={"a": CAT})),
    (Page, {"lines": [json.dumps(CAT)], "best": "null"}, Page(lines=[CAT], best=None)),
    (Page, {"lines": json.dumps([json.dumps(CAT | {"lives": None})])}, Page(lines=[CAT])),
    (Page, {"text": "[1, 2]"}, Page(text="[1, 2]")),
    (Page, {"lines": {"line": [CAT]}}, Page(lines=[CAT])),
    (Page, {"lines": "", "best": " ", "text": ""}, Page(text="", best=None)),
    (Limits, {"most": "", "least": ""}, Limits()),
    (Visit, {"day": "", "at": " "}, Visit(day=None)),
    (Visit, {"day": "null", "at": "null"}, Visit(day=None)),
    (an_object(["a"], a={"type": ["integer", "null"]}, b={"type": "integer"}), {"a": "", "b": ""}, {"a": None}),
    (an_object(a={"type": "array"}), {"a": json.dumps({"item": [1]})}, {"a": [1]}),
    (Zoo, {"pets": json.dumps([{"kind": "dog"}])}, Zoo(pets=[Dog(kind="dog")])),
    (an_object(a={"type": "array", "items": {"type": "integer"}}, b={"type": "boolean"}), {"a": "[1, 2]", "b": "true"}, {"a": [1, 2], "b": True}),
    # A list in the place of the object around it
    (Pets, [CAT, CAT], Pets(pets=[CAT, CAT])),
    (Pets, [CAT | {"lives": None}], Pets(pets=[CAT])),
    (an_object(["a"], a={"type": "array"}), [{}], {"a": [{}]}),
    # Within an object that is none of the schema, whose properties unions list, too
    *((Pet, value, Pet(Cat(kind="cat"))) for value in ({"Pet": CAT}, {"name": "Pet", "arguments": CAT})),
    *(
        (an_object() | {union: [an_object(["a"], a={"type": "integer"}), {"$ref": "#/$defs/B"}], "$defs": {"B": an_object(["b"], b={})}}, {"Answer": {"a": 1, "b": 2}}, {"a": 1, "b": 2})
        for union in ("allOf", "anyOf")
    ),
    (ByName, {"b": {"text": "a"}}, ByName({"b": Page(text="a")})),
    (OneOrMore, [{"text": "a"}], OneOrMore([Page(text="a")])),
    (OneOrMore, {"page": {"text": "a"}}, OneOrMore(Page(text="a"))),
    (CIRCLE | {"properties": {}, "oneOf": [{"$ref": "#/$defs/Node"}]}, {"Node": {"v": 1}}, {"v": 1}),
    (Page, {"Page": {"text": "a"}}, Page(text="a")),
    (Page, {"page": {"text": "a"}}, Page(text="a")),
    (Page, {"type": "object", "properties": {"text": "a"}, "required": ["text"]}, Page(text="a")),
    (Page, {"name": "Page", "arguments": {"text": "a"}}, Page(text="a")),
    (CatV1, {"name": "CatV1", "arguments": {"name": "Tom"}}, CatV1(name="Tom")),
    (CatV1, {"function": {"name": "CatV1", "arguments": '{"name": "Tom"}'}}, CatV1(name="Tom")),
    (Page, {"response": {"Page": {"text": "a"}}}, Page(text="a")),
    (Page, {"pages": [{"text": "a"}]}, Page(text="a")),
    (Page, {"tool_calls": [{"function": {"name": "Page", "arguments": '{"text": "a"}'}}]}, Page(text="a")),
    (an_object(["a"], a={"type": "integer"}), [{"a": 1}], {"a": 1}),
    (CatV1, {"name": "CatV1"}, CatV1(name="CatV1")),
    (Page, {"text": "a", "other": {"text": "b"}}, Page(text="a")),
    (Page, {"one": {"text": "a"}, "other": {"text": "b"}}, Page()),
    (Page, {"page": {"text": "a"}, "notes": {"draft": {"text": "b"}}}, Page()),
    (an_object(["a"], a={"type": "integer"}), {"Answer": {"a": "1"}}, {"a": 1}),
    (an_object(a={"type": "integer"}), {"Answer": {"a": 1}}, {"a": 1}),
    (an_object(name={"type": "string"}), {"name": "Answer", "arguments": {"name": "b"}}, {"name": "b"}),
    (Loose, {"type": "object", "properties": {"a": 1}}, {"a": 1}),
    (an_object(a={}) | {"additionalProperties": {}}, {"b": {"a": 1}}, {"b": {"a": 1}}),
    *(
        (an_object(a={}) | more, {"b": {"a": 1}}, {"b": {"a": 1}})
        for more in (
            {"patternProperties": {"^b": {}}},
            {"allOf": [{"properties": {"b": {}}}]},
            {"anyOf": [{"required": ["b"]}, {"required": ["c"]}]},
            {"if": {"required": ["b"]}, "then": {"required": ["b"]}},
            {"dependentSchemas": {"b": True}},
        )
    ),
    (Open, {"a": 1, "b": {"a": 2}}, Open(a=1, b={"a": 2})),
    (Open, {"Open": {"a": 1, "b": 2}}, Open(a=1, b=2)),
]  # fmt: skip

NEEDS_2_12 = pytest.mark.skipif(
    pydantic.VERSION.startswith("2.11."), reason="reads neither `closed` nor `extra_items`"
)
REJECTED = [
    (an_object(a={"pattern": "^a+$"}), {"a": "b"}, "a: \"b\" does not match '\\^a\\+\\$' \\(pattern\\)"),
    (an_object(["a"], a={"type": "string"}), {"a": None}, "a: null is not of type 'string'"),
    (an_object(["a"], a={"type": "integer"}), {"a": ""}, "a: .* is not of type 'integer'"),
    (CIRCLE, {"first": {"v": 1, "next": {}}}, "first.next: 'v' is a required property"),
    (Order, {"total": 0}, "total: 0 is less than or equal to the minimum of 0 \\(exclusiveMinimum 0\\)"),
    (Zoo, {"pets": [{"kind": "cat", "lives": "x"}]}, "pets.0.cat.lives: "),
    (Meeting, {"day": "soon", "colour": "red"}, "day: "),
    (Range, {"low": 1}, "does not fit Range: KeyError: 'high'"),
    (Range, {"low": 1, "high": [2]}, "does not fit Range: TypeError: '<' not supported"),
    (Page, Page.model_json_schema(), "text: Input should be a valid string"),
    (Page, {"lines": "[1]"}, "lines.0: Input should be an object"),
    (Page, [CAT, CAT], "the answer: Input should be an object"),
    *((Pets, value, "the answer: Input should be an object") for value in ([], [1], [1, CAT])),
    # Several answers or calls, of which none is an item
    *(
        (an_object(a={}), [part, part], "the answer: .* is not of type 'object'")
        for part in ({"a": 1}, {"name": "Answer", "arguments": {"a": 1}})
    ),
    (Page, {"lines": "a, b"}, "lines: Input should be a valid array"),
    (Page, {"lines": {"line": [CAT], "more": []}}, "lines: Input should be a valid array"),
    pytest.param((Closed, {"a": 1, "b": 2}, "\\('b' was unexpected\\)"), marks=NEEDS_2_12),
    pytest.param((Counts, {"b": "x"}, "b: \"x\" is not of type 'integer'"), marks=NEEDS_2_12),
    (Forbidding, {"a": 1, "b": 2}, "\\('b' was unexpected\\)"),
]  # fmt: skip


@pytest.fixture
def chain_of(model, ernie_server):
    """Make a chain, and script the answer that it will get in each mode."""

    def make(schema, value, method="json_schema"):
        text = json.dumps(value)
        call = {"name": getattr(schema, "__name__", "Answer"), "args": text}
        reply = {"tool_calls": [call]} if method == "function_calling" else {"text": text}
        ernie_server.reply(**reply, times=len(WAYS))
        return model(max_retries=0).with_structured_output(schema, method=method)

    return make


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", LOADED, ids=range(len(LOADED)))
async def test_an_instance_of_the_schema_is_the_answer(chain_of, case, method):
    schema, value, loaded = case
    ways = WAYS if method == "json_schema" else WAYS[::3]  # the rest is the same for each method
    chain = chain_of(schema, value, method)
    assert [(await ask(chain, way)).answer for way in ways] == [loaded] * len(ways)


@pytest.mark.parametrize("case", REJECTED, ids=range(len(REJECTED)))
async def test_what_is_no_instance_is_an_error_that_says_why(chain_of, case):
    schema, value, told = case
    chain = chain_of(schema, value)
    for way in WAYS:
        outcome = await ask(chain, way)
        assert re.search(told, str(outcome.error))
        assert len(outcome.error.observation) < 500


@pytest.mark.slow
def test_jsonschema_is_imported_early_for_dicts_only():
    program = f"""
import sys
from pydantic import BaseModel
from langchain_aimlernie import ChatAimlErnie

class Cat(BaseModel):
    lives: int

SCHEMA = {an_object(a={"type": "string"})}
model = ChatAimlErnie(api_key="k")
model.with_structured_output(Cat)
model.with_structured_output(Cat, method="function_calling")
model.with_structured_output(None)
model.bind_tools([SCHEMA, Cat], response_format=SCHEMA)
assert "jsonschema" not in sys.modules
model.with_structured_output(SCHEMA)
assert "jsonschema" in sys.modules
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True)
