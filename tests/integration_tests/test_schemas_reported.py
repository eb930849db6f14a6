"""Schemas that users of comparable packages reported, over a real socket, in all four modes."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import enum
import json
import subprocess
import sys
from typing import Annotated, Literal, NotRequired

import pydantic.dataclasses
import pytest
from langchain_core.tools import StructuredTool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.json_schema import dereference_refs
from pydantic import BaseModel, ConfigDict, Field, Json
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie.errors import StructuredOutputError

MODES = ("invoke", "ainvoke", "stream", "astream")
METHODS = ("json_schema", "function_calling", "json_mode")


def an_object(required=(), **properties):
    return {
        "title": "Answer",
        "type": "object",
        "properties": properties,
        "required": [*required],
    }


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


class Tree(BaseModel):
    value: int
    children: list[Tree] = []


class CatV1(BaseModelV1):
    name: str
    lives: int = 9


@pydantic.dataclasses.dataclass(config=ConfigDict(strict=True))
class Meeting:
    day: dt.date
    colour: Colour
    note: str = "none"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Order(TypedDict):
    total: Annotated[float, Field(gt=0)]
    note: NotRequired[str]


CIRCLE = an_object(first={"$ref": "#/$defs/Node"}) | {
    "$defs": {"Node": an_object(["v"], v={"type": "integer"}, next={"$ref": "#/$defs/Node"})}
}


async def run(chain, mode):
    if mode == "invoke":
        return chain.invoke("?")
    if mode == "ainvoke":
        return await chain.ainvoke("?")
    if mode == "stream":
        return list(chain.stream("?"))[-1]
    return [item async for item in chain.astream("?")][-1]


def chain_of(model, ernie_server, schema, value, method="json_schema", **options):
    """A chain, and the answer that it will get."""
    made = model(max_retries=0)
    chain = made.with_structured_output(schema, method=method, **options)
    text = json.dumps(value)
    if method == "function_calling":
        name = getattr(schema, "__name__", "Answer")
        ernie_server.reply(tool_calls=[{"name": name, "args": text}])
    else:
        ernie_server.reply(text=text)
    return chain


LOADED = [
    (Zoo, {"pets": [{"kind": "cat"}]}, Zoo(pets=[Cat(kind="cat")])),
    (Zoo, {"pets": [{"kind": "cat", "lives": None}]}, Zoo(pets=[Cat(kind="cat")])),
    (Zoo, {"pets": [{"kind": "dog", "name": None}]}, Zoo(pets=[Dog(kind="dog", name=None)])),
    (Zoo, {"pets": [], "counts": {"red": 1}}, Zoo(pets=[], counts={Colour.RED: 1})),
    (Tree, {"value": 1, "children": [{"value": 2, "children": None}]}, Tree(value=1, children=[Tree(value=2)])),
    (CatV1, {"name": "Tom", "lives": None}, CatV1(name="Tom")),
    (Point, {"x": 1, "y": None}, Point(1)),
    (Meeting, {"day": "2026-11-23", "colour": "red", "note": None}, Meeting(dt.date(2026, 11, 23), Colour.RED)),
    (Order, {"total": 1, "note": None}, {"total": 1}),
    (an_object(a={"type": "string"}), {"a": None}, {}),
    (an_object(a={"type": "string", "nullable": True}), {"a": None}, {"a": None}),
    (an_object(a={"description": "anything"}), {"a": None}, {"a": None}),
    (an_object(a={"type": "number", "multipleOf": 0.01}), {"a": 19.99}, {"a": 19.99}),
    (an_object(a={"items": [{"type": "integer"}]}), {"a": [1, "b"]}, {"a": [1, "b"]}),
    (CIRCLE, {"first": {"v": 1, "next": {"v": 2, "next": None}}}, {"first": {"v": 1, "next": {"v": 2}}}),
]  # fmt: skip

REJECTED = [
    (an_object(a={"pattern": "^a+$"}), {"a": "b"}, "a: \"b\" does not match '\\^a\\+\\$' \\(pattern\\)"),
    (an_object(a={"uniqueItems": True}), {"a": [1, 1]}, "a: .* \\(uniqueItems\\)"),
    (an_object(a={"multipleOf": 5}), {"a": 7}, "a: 7 is not a multiple of 5"),
    (an_object(a={"not": {"type": "string"}}), {"a": "b"}, 'a: "b" should not be valid .* \\(not\\)'),
    (an_object(a={"oneOf": [{"minimum": 1}, {"maximum": 5}]}), {"a": 3}, "a: 3 is valid under each of"),
    (an_object(a={"enum": [1]}), {"a": True}, "a: true is not one of \\[1\\]"),
    (an_object(a={"minProperties": 1}), {"a": {}}, "a: \\{\\} .* \\(minProperties 1\\)"),
    (an_object(a={"contains": {"const": 1}}), {"a": [2]}, "a: \\[2\\] does not contain .* \\(contains\\)"),
    (an_object(a={"if": {"minimum": 5}, "then": {"multipleOf": 2}}), {"a": 7}, "a: 7 is not a multiple of 2"),
    (an_object(a={"patternProperties": {"^n": {"type": "integer"}}}), {"a": {"n": "1"}}, 'a.n: "1" is not of type'),
    (an_object(**{"a/b": {"type": "integer"}}, c={"$ref": "#/properties/a~1b"}), {"c": "1"}, 'c: "1" is not of type'),
    (an_object(["a"], a={"type": "string"}), {"a": None}, "a: null is not of type 'string'"),
    (an_object(a={"type": "array", "items": {"type": "string"}}), {"a": [None]}, "a\\[0\\]: null is not of type"),
    (CIRCLE, {"first": {"v": 1, "next": {}}}, "first.next: 'v' is a required property"),
    (Order, {"total": 0}, "total: 0 is less than or equal to the minimum of 0 \\(exclusiveMinimum 0\\)"),
    (Zoo, {"pets": [{"kind": "cat", "lives": "x"}]}, "pets.0.cat.lives: "),
    (Meeting, {"day": "soon", "colour": "red"}, "day: "),
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", LOADED, ids=range(len(LOADED)))
async def test_an_instance_of_the_schema_is_the_answer(model, ernie_server, case, method, mode):
    schema, value, loaded = case
    chain = chain_of(model, ernie_server, schema, value, method)
    assert await run(chain, mode) == loaded


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", REJECTED, ids=range(len(REJECTED)))
async def test_what_is_no_instance_is_an_error_that_says_why(model, ernie_server, case, mode):
    schema, value, told = case
    chain = chain_of(model, ernie_server, schema, value)
    with pytest.raises(StructuredOutputError, match=told) as caught:
        await run(chain, mode)
    assert len(caught.value.observation) < 500


async def test_the_model_is_told_the_violation_when_it_is_asked_again(model, ernie_server):
    schema = an_object(a={"type": "string", "pattern": "^a+$"})
    chain = chain_of(model, ernie_server, schema, {"a": "b"}, retry=True)
    ernie_server.reply(text='{"a": "aa"}')
    assert chain.invoke("?") == {"a": "aa"}
    assert (
        "does not match '^a+$' (pattern)"
        in ernie_server.last_request.body["messages"][-1]["content"]
    )


# What is sent


def lookup(reference, root):
    target = root
    for token in reference.removeprefix("#/").split("/"):
        target = target[token]
    return target


def references_in(node):
    """All references of a schema that has no property or data that looks like one."""
    if isinstance(node, dict):
        yield from (node[key] for key in ("$ref",) if key in node)
        yield from node.get("discriminator", {}).get("mapping", {}).values()
    for part in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references_in(part)


def tool_with(schema):
    return StructuredTool(name="tool", description="d", args_schema=schema, func=str)


def function(zoo: Zoo, tree: Tree) -> str:
    """Do something."""


CONVERTED = convert_to_openai_tool(Zoo)
INLINED = {k: v for k, v in dereference_refs(Zoo.model_json_schema()).items() if k != "$defs"}

TOOLS = [Zoo, Tree, CatV1, Point, Order, function, tool_with(Zoo), tool_with(Zoo.model_json_schema()), tool_with(Tree.model_json_schema()), tool_with(CIRCLE), CONVERTED, CONVERTED["function"], Zoo.model_json_schema()]  # fmt: skip


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("tool", TOOLS, ids=range(len(TOOLS)))
async def test_the_schemas_of_tools_refer_to_nothing_that_is_lost(
    model, ernie_server, tool, strict
):
    model().bind_tools([tool], strict=strict).invoke("?")
    sent = ernie_server.last_request.body["tools"][0]["function"]["parameters"]
    assert sent["properties"]
    for reference in references_in(sent):
        assert lookup(reference, sent)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize("schema", [Zoo, Tree, CIRCLE])
async def test_answer_and_tool_have_the_same_schema(model, ernie_server, schema, strict, mode):
    chain = chain_of(model, ernie_server, schema, VALUES[id(schema)], strict=strict)
    await run(chain, mode)
    sent = ernie_server.last_request.body["response_format"]["json_schema"]["schema"]
    for reference in references_in(sent):
        assert lookup(reference, sent)
    ernie_server.reply(text="no call")
    model().bind_tools([schema], strict=strict).invoke("?")
    assert ernie_server.last_request.body["tools"][0]["function"]["parameters"] == sent


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize(
    ("schema", "has_mapping"),
    [(CONVERTED, False), (INLINED, False), (Zoo.model_json_schema(), True)],
)
def test_a_dict_loses_only_the_mapping_that_leads_nowhere(
    model, ernie_server, schema, has_mapping, strict
):
    before = copy.deepcopy(schema)
    chain_of(model, ernie_server, schema, {"pets": []}, strict=strict).invoke("?")
    sent = ernie_server.last_request.body["response_format"]["json_schema"]["schema"]
    discriminator = sent["properties"]["pets"]["items"]["discriminator"]
    assert discriminator["propertyName"] == "kind"
    assert ("mapping" in discriminator) is has_mapping
    for reference in references_in(sent):
        assert lookup(reference, sent)
    assert schema == before


VALUES = {id(Zoo): {"pets": []}, id(Tree): {"value": 1}, id(CIRCLE): {}}


def test_strict_closes_every_object_and_has_no_one_of(model, ernie_server):
    chain = chain_of(model, ernie_server, Zoo, {"pets": []}, strict=True)
    chain.invoke("?")
    sent = ernie_server.last_request.body["response_format"]["json_schema"]["schema"]
    pets = sent["properties"]["pets"]["items"]
    assert "oneOf" not in pets
    for closed in (
        sent,
        *pets["anyOf"],
        sent["properties"]["written"]["anyOf"][0]["contentSchema"],
    ):
        assert closed["additionalProperties"] is False
        assert closed["required"] == list(closed["properties"])
    assert sent["properties"]["counts"]["additionalProperties"] == {"type": "integer"}


@pytest.mark.parametrize("way", ["the call", "the function", "the flat function"])
def test_a_tool_is_closed_wherever_it_says_strict(model, ernie_server, way):
    own = {} if way == "the call" else {"strict": True}
    function = {"name": "f", "parameters": Zoo.model_json_schema(), **own}
    body = function if way == "the flat function" else {"function": function}
    strict = None if own else True
    model().bind_tools([{"type": "function", **body}], strict=strict).invoke("?")
    sent = ernie_server.last_request.body["tools"][0]["function"]
    assert sent["strict"] is True
    assert sent["parameters"]["additionalProperties"] is False
    assert sent["parameters"]["required"] == ["pets", "counts", "written"]
    assert "anyOf" in sent["parameters"]["properties"]["pets"]["items"]


BAD = [
    (an_object(a={"type": "str"}), "no valid JSON Schema: properties.a.type"),
    (an_object(a={"$ref": "#/$defs/Nowhere"}), "a \\$ref to '#/\\$defs/Nowhere', which is not in it"),
    (an_object(a={"$ref": "https://example.com/a.json"}), "nothing is fetched"),
    (an_object() | {"allOf": [{"$ref": "#"}]}, "only refers to itself"),
]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("schema", "told"), BAD, ids=range(len(BAD)))
def test_a_schema_that_cannot_work_is_refused_at_once(model, ernie_server, schema, told, method):
    with pytest.raises(ValueError, match=told):
        model().with_structured_output(schema, method=method)
    assert ernie_server.requests == []


@pytest.mark.slow
def test_jsonschema_is_imported_for_the_answers_of_dicts_only():
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
