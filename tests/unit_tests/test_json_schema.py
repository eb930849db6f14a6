import copy
import dataclasses
import enum
import json
from typing import Annotated, Any, Literal, Optional

import pytest
from jsonschema import Draft202012Validator
from langchain_core.tools import InjectedToolArg, StructuredTool, Tool, tool
from pydantic import BaseModel, ConfigDict, Field, Json
from pydantic.v1 import BaseModel as BaseModelV1
from referencing import Registry
from referencing.jsonschema import DRAFT202012
from typing_extensions import TypedDict

from langchain_aimlernie._request.tools import encode_tools
from langchain_aimlernie._structured.schema import (
    encode_output_tool,
    encode_response_format,
    parse_schema,
)

# Every keyword that holds a schema, with one in it; then what only looks like one.
PART = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
REF = {"$ref": "#/$defs/Part"}
HOLDERS = [
    {"additionalProperties": REF},
    {"allOf": [REF]},
    {"anyOf": [REF, {"type": "null"}]},
    {"contains": REF},
    {"contentMediaType": "application/json", "contentSchema": REF},
    {"dependentSchemas": {"a": REF}},
    {"if": REF, "then": REF, "else": REF},
    {"items": REF},
    {"not": REF},
    {"oneOf": [REF, {"type": "null"}]},
    {"patternProperties": {"^a": REF}},
    {"prefixItems": [REF, REF]},
    {"properties": {"a": REF}},
    {"propertyNames": REF},
    {"unevaluatedItems": REF},
    {"unevaluatedProperties": REF},
    {"additionalItems": REF},
    {"dependencies": {"a": REF, "b": ["a"]}},
    {"items": [REF, REF]},
    {"properties": {"a": {"properties": {"$ref": REF, "items": REF, "enum": REF}}}},
]
DATA = [
    {"const": REF},
    {"enum": [REF]},
    {"default": REF},
    {"examples": [REF, {"title": "kept"}]},
    {"default": {"title": "kept", "properties": {"a": {}}}},
    {"properties": {"title": {"type": "string"}, "$defs": {"type": "string"}}},
]


class Status(enum.Enum):
    OPEN = "open"
    CLOSED = "closed"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str = Field("Rex", title="The name")


class Owner(BaseModel):
    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    pets: list[Annotated[Cat | Dog, Field(discriminator="kind")]] = []
    counts: dict[Status, int] = {}
    written: Json[Cat] | None = None
    title: str = ""


class Tree(BaseModel):
    """A tree."""

    value: int
    children: list["Tree"] = []
    owner: Owner | None = None


class Named(BaseModel):
    model_config = ConfigDict(title="its_own_title")
    ref: str = Field(alias="$ref")
    tree: Tree | None = None


class PartV1(BaseModelV1):
    n: int


class WholeV1(BaseModelV1):
    part: PartV1
    parts: dict[str, PartV1] = {}
    maybe: Optional[PartV1] = None  # noqa: UP045  pydantic v1 on Python 3.10


@dataclasses.dataclass
class Point:
    """A point."""

    x: int
    owner: Owner


class PointDict(TypedDict):
    """A point."""

    x: int
    owner: Owner
    tree: Tree


def function(tree: Tree, owner: Owner, secret: Annotated[str, InjectedToolArg] = "") -> str:
    """Do something.

    Args:
        tree: the tree
        owner: the owner
    """
    return secret


CLASSES = [Cat, Owner, Tree, Named, WholeV1, Point, PointDict]
RECURSIVE = {Tree, Named, PointDict}


def schemas_within(schema):
    """Every schema in a schema, as an independent library finds them."""

    def walk(resource, resolver):
        yield resource.contents, resolver
        for part in resource.subresources():
            yield from walk(part, resolver.in_subresource(part))

    resource = DRAFT202012.create_resource(schema)
    return list(walk(resource, Registry().resolver_with_root(resource)))


def check_sent(schema):
    """A schema is valid, and refers to nothing that is not there."""
    Draft202012Validator.check_schema(schema)
    for part, resolver in schemas_within(schema):
        if isinstance(part, dict):
            if "$ref" in part:
                resolver.lookup(part["$ref"])
            for reference in part.get("discriminator", {}).get("mapping", {}).values():
                resolver.lookup(reference)


def tool_with(schema):
    return StructuredTool(name="mcp", description="d", args_schema=schema, func=str)


def parameters_of(given, strict=None):
    return encode_tools([given], strict=strict)[0]["function"]["parameters"]


# References


@pytest.mark.parametrize("holder", HOLDERS, ids=" ".join)
def test_a_reference_is_replaced_under_every_keyword(holder):
    schema = {"type": "object", "properties": {"x": holder}, "$defs": {"Part": PART}}
    before = copy.deepcopy(schema)
    sent = parameters_of(tool_with(schema))
    assert "$defs" not in sent
    assert sent["properties"]["x"] == json.loads(
        json.dumps(holder).replace(json.dumps(REF), json.dumps(PART))
    )
    assert schema == before


@pytest.mark.parametrize("data", DATA, ids=" ".join)
def test_data_and_property_names_are_not_taken_for_schemas(data):
    schema = {"type": "object", "properties": {"x": data, "y": REF}, "$defs": {"Part": PART}}
    sent = parameters_of(tool_with(schema))
    assert sent["properties"] == {"x": data, "y": PART}


@pytest.mark.parametrize(
    ("reference", "definitions"),
    [
        ("#/$defs/a~1b", {"$defs": {"a/b": PART}}),
        ("#/$defs/a~0b", {"$defs": {"a~b": PART}}),
        ("#/$defs/a%20b", {"$defs": {"a b": PART}}),
        ("#/definitions/A", {"definitions": {"A": PART}}),
        ("#/$defs/A", {"$defs": {"A": {"$ref": "#/$defs/B"}, "B": PART}}),
        ("#/$defs/A/items/0", {"$defs": {"A": {"items": [PART]}}}),
        ("#/properties/y", {}),
    ],
)
def test_references_of_every_form_are_found(reference, definitions):
    properties = {"x": {"$ref": reference}, "y": PART}
    sent = parameters_of(tool_with({"type": "object", "properties": properties, **definitions}))
    assert sent == {"type": "object", "properties": {"x": PART, "y": PART}}


def test_what_stands_beside_a_reference_is_kept():
    beside = {"description": "the first", "default": {"n": 1}}
    schema = {
        "type": "object",
        "properties": {"a": {**REF, **beside}, "b": {**REF, "required": ["m"]}},
        "$defs": {"Part": {**PART, "description": "a part"}},
    }
    properties = parameters_of(tool_with(schema))["properties"]
    assert properties["a"] == {**PART, **beside}
    both = Draft202012Validator(properties["b"])
    assert both.is_valid({"n": 1, "m": 2})
    assert not both.is_valid({"n": 1})
    assert not both.is_valid({"m": 1})


def test_identifiers_may_be_referred_to():
    node = {"$id": "T0", "type": "object", "properties": {"next": {"$ref": "T0"}}}
    schema = {"type": "object", "properties": {"first": node}}
    assert parameters_of(tool_with(schema)) == schema
    answer = parse_schema(schema)
    assert answer.validate({"first": {"next": {}}})
    with pytest.raises(ValueError, match=r"first\.next: 3 is not of type 'object'"):
        answer.validate({"first": {"next": 3}})


DANGLING = [
    "#/$defs/Nowhere",
    "#/$defs/Part/n",
    "#/required/0",
    "#nowhere",
    "Part",
    "https://example.com/part.json",
    "file:///etc/passwd",
    3,
]
CIRCLES = [
    {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
    {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/B"}, "B": {"$ref": "#/$defs/A"}}},
    {"type": "object", "allOf": [{"$ref": "#"}]},
    {"type": "object", "anyOf": [{"type": "object"}, {"not": {"$ref": "#"}}]},
]
FORMS = {
    "answer": parse_schema,
    "response format": encode_response_format,
    "wrapped": lambda schema: parse_schema({"name": "a", "schema": schema}),
    "tool": lambda schema: encode_tools([{"name": "a", "parameters": schema}]),
    "OpenAI tool": lambda schema: encode_tools(
        [{"type": "function", "function": {"name": "a", "parameters": schema}}]
    ),
    "Anthropic tool": lambda schema: encode_tools([{"name": "a", "input_schema": schema}]),
    "BaseTool": lambda schema: encode_tools([tool_with(schema)]),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reference", DANGLING)
def test_a_reference_that_leads_nowhere_is_refused_at_once(reference, form):
    schema = {"type": "object", "properties": {"x": {"$ref": reference}}, "required": ["x"]}
    with pytest.raises(ValueError, match=r"a \$ref to .*nothing is fetched"):
        FORMS[form](schema)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schema", CIRCLES)
def test_a_reference_to_nothing_but_itself_is_refused_at_once(schema, form):
    with pytest.raises(ValueError, match=r"a \$ref to .* that only refers to itself"):
        FORMS[form](schema)


@pytest.mark.parametrize("form", FORMS)
def test_a_schema_that_holds_itself_in_python_is_refused(form):
    schema = {"type": "object", "properties": {}}
    schema["properties"]["x"] = schema
    with pytest.raises(ValueError, match="nested too deeply"):
        FORMS[form](schema)


# Classes, for answers and for tools


@pytest.mark.parametrize("strict", [None, True, False])
@pytest.mark.parametrize("given", CLASSES)
def test_answers_and_tools_get_the_same_schema(given, strict):
    schema = encode_response_format(given, strict)["json_schema"]["schema"]
    function = encode_tools([given], strict=strict)[0]["function"]
    assert function["parameters"] == schema
    answer = encode_output_tool(parse_schema(given, strict))["function"]
    assert {"description": "", **answer} == function
    check_sent(schema)


@pytest.mark.parametrize("strict", [None, True])
@pytest.mark.parametrize(
    "given",
    [
        function,
        tool(function),
        tool_with(Owner),
        tool_with(Tree),
        tool_with(WholeV1),
        tool_with(Owner.model_json_schema()),
        tool_with(Tree.model_json_schema()),
        tool_with(WholeV1.schema()),
    ],
    ids=range(8),
)
def test_tools_of_every_kind_refer_to_nothing_that_is_lost(given, strict):
    schema = parameters_of(given, strict)
    check_sent(schema)
    assert schema["properties"]
    assert "secret" not in schema["properties"]
    assert "description" not in schema


@pytest.mark.parametrize("given", CLASSES)
def test_definitions_stay_in_recursive_schemas_only(given):
    schema = parse_schema(given).definition
    assert ("$defs" in schema) is (given in RECURSIVE)
    references = [part for part, _ in schemas_within(schema) if "$ref" in part]
    assert bool(references) is (given in RECURSIVE)
    assert "$ref" not in schema


def test_functions_are_described_by_their_docstrings():
    sent = encode_tools([function])[0]["function"]
    assert (sent["name"], sent["description"]) == ("function", "Do something.")
    assert sent["parameters"]["properties"]["tree"] == {
        "$ref": "#/$defs/Tree",
        "description": "the tree",
    }


def test_a_class_is_called_by_its_title():
    assert encode_tools([Named])[0]["function"]["name"] == "its_own_title"
    assert encode_tools([Cat])[0]["function"]["name"] == "Cat"


def test_tools_without_arguments_have_an_empty_schema():
    empty = {"type": "object", "properties": {}}
    assert parameters_of(tool_with({})) == empty
    assert parameters_of({"name": "a"}) == empty
    assert parameters_of(Tool(name="a", description="d", func=str))["required"] == ["__arg1"]


# Strict mode


def test_strict_closes_every_object():
    strict_schema = {"additionalProperties": False}
    cat = {
        "type": "object",
        "properties": {"kind": {"type": "string", "const": "cat"}, "lives": {"type": "integer"}},
        "required": ["kind", "lives"],
        **strict_schema,
    }
    dog = {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "const": "dog"},
            "name": {"type": "string", "default": "Rex"},
        },
        "required": ["kind", "name"],
        **strict_schema,
    }
    sent = encode_response_format(Owner, True)["json_schema"]["schema"]
    assert (sent["required"], sent["additionalProperties"]) == (list(Owner.model_fields), False)
    pet = sent["properties"]["pet"]
    assert pet == {"anyOf": [cat, dog], "discriminator": {"propertyName": "kind"}}
    assert sent["properties"]["pets"]["items"] == pet
    assert sent["properties"]["counts"]["additionalProperties"] == {"type": "integer"}
    assert sent["properties"]["written"]["anyOf"][0]["contentSchema"] == cat


@pytest.mark.parametrize("given", [*CLASSES, {"$ref": "#/$defs/T", "$defs": {"T": PART}}])
def test_strict_leaves_no_object_open_nor_one_of(given):
    sent = encode_response_format(given, True)["json_schema"]["schema"]
    check_sent(sent)
    for part, _ in schemas_within(sent):
        if isinstance(part, dict):
            assert "oneOf" not in part
            if "properties" in part:
                assert part["additionalProperties"] is False
                assert part["required"] == list(part["properties"])


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({"type": "object"}, {"type": "object", "additionalProperties": False}),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], "additionalProperties": False}),
        # A map is no record: what OpenAI's own client leaves as it is.
        ({"type": "object", "additionalProperties": True},) * 2,
        ({"type": "object", "additionalProperties": {"type": "integer"}},) * 2,
        (
            {"type": "object", "additionalProperties": {"type": "object"}},
            {
                "type": "object",
                "additionalProperties": {"type": "object", "additionalProperties": False},
            },
        ),
        # What only restricts further would contradict the rest if it were closed.
        ({"not": PART},) * 2,
        ({"if": PART, "then": PART, "else": PART},) * 2,
        ({"allOf": [PART, {"properties": {"m": {}}, "required": ["m"]}]},) * 2,
        ({"allOf": [PART], "properties": {"m": {}}},) * 2,
        ({**PART, "anyOf": [{"properties": {"m": {"const": 1}}}, {"required": ["n"]}]},) * 2,
        (
            {**PART, "anyOf": [{"required": ["n"]}, {"required": ["m"]}]},
            {
                **PART,
                "anyOf": [{"required": ["n"]}, {"required": ["m"]}],
                "additionalProperties": False,
            },
        ),
        (
            {"type": "object", "oneOf": [PART, {"type": "null"}]},
            {
                "type": "object",
                "anyOf": [{**PART, "additionalProperties": False}, {"type": "null"}],
            },
        ),
        ({"dependentSchemas": {"a": PART}},) * 2,
        ({"allOf": [PART]}, {"allOf": [{**PART, "additionalProperties": False}]}),
        (
            {"oneOf": [PART, {"type": "null"}]},
            {"anyOf": [{**PART, "additionalProperties": False}, {"type": "null"}]},
        ),
        ({"oneOf": [{}], "anyOf": [{}]},) * 2,
        ({"enum": [{"type": "object"}], "default": PART},) * 2,
    ],
)
def test_strict_changes_what_describes_an_object(schema, sent):
    whole = {"type": "object", "properties": {"x": schema}}
    before = copy.deepcopy(whole)
    for sent_whole in (
        encode_response_format(whole, True)["json_schema"]["schema"],
        parameters_of({"name": "a", "parameters": whole}, strict=True),
        parameters_of(
            {"type": "function", "function": {"name": "a", "parameters": whole}}, strict=True
        ),
    ):
        assert sent_whole["properties"] == {"x": sent}
    assert whole == before


@pytest.mark.parametrize("strict", [True, False])
def test_a_tool_that_says_another_strict_is_refused(strict):
    own = {"name": "a", "parameters": PART, "strict": not strict}
    for given in (own, {"type": "function", "function": own}):
        with pytest.raises(ValueError, match="say it in one place"):
            encode_tools([given], strict=strict)
        assert encode_tools([given])[0]["function"]["strict"] is not strict


def test_any_is_no_object():
    class Loose(BaseModel):
        anything: Any
        record: dict[str, Any]

    sent = encode_response_format(Loose, True)["json_schema"]["schema"]["properties"]
    assert sent == {"anything": {}, "record": {"type": "object", "additionalProperties": True}}
