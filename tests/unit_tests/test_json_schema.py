import copy
import dataclasses
import enum
import json
from typing import Annotated, Literal, Optional

import pytest
from jsonschema import Draft202012Validator
from langchain_core.tools import InjectedToolArg, StructuredTool, Tool, tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_core.utils.json_schema import dereference_refs
from pydantic import BaseModel, ConfigDict, Field, Json
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import TypedDict

from langchain_aimlernie._request.tools import encode_tools
from langchain_aimlernie._structured.schema import (
    encode_output_tool,
    encode_response_format,
    parse_schema,
)
from tests.support.schemas import check_sent, schemas_within

# Every keyword that holds a schema, with one in it; then what only looks like one.
PART = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
REF = {"$ref": "#/$defs/Part"}
NULL = {"type": "null"}
HOLDERS = [
    *(
        {key: REF}
        for key in ("additionalItems", "additionalProperties", "contains", "items", "not")
    ),
    *({key: REF} for key in ("propertyNames", "unevaluatedItems", "unevaluatedProperties")),
    *({key: [REF, NULL]} for key in ("allOf", "anyOf", "oneOf", "prefixItems", "items")),
    *({key: {"^a": REF}} for key in ("dependentSchemas", "patternProperties", "properties")),
    {"contentMediaType": "application/json", "contentSchema": REF},
    {"if": REF, "then": REF, "else": REF},
    {"dependencies": {"a": REF, "b": ["a"]}},
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
    replaced = json.dumps(holder).replace(json.dumps(REF), json.dumps(PART))
    assert sent["properties"]["x"] == json.loads(replaced)
    assert schema == before


@pytest.mark.parametrize("data", DATA, ids=" ".join)
def test_data_and_property_names_are_not_taken_for_schemas(data):
    schema = {"type": "object", "properties": {"x": data, "y": REF}, "$defs": {"Part": PART}}
    assert parameters_of(tool_with(schema))["properties"] == {"x": data, "y": PART}


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
        ("#/$defs/A", {"$defs": {"A": True}}),
    ],
)
def test_references_of_every_form_are_found(reference, definitions):
    properties = {"x": {"$ref": reference}, "y": PART}
    sent = parameters_of(tool_with({"type": "object", "properties": properties, **definitions}))
    target = {} if definitions == {"$defs": {"A": True}} else PART
    assert sent == {"type": "object", "properties": {"x": target, "y": PART}}


def test_what_stands_beside_a_reference_is_kept():
    beside = {"description": "the first", "default": {"n": 1}}
    schema = {
        "type": "object",
        "properties": {
            "a": {**REF, **beside},
            "b": {**REF, "required": ["m"], "allOf": [{"required": ["k"]}]},
        },
        "$defs": {"Part": {**PART, "description": "a part"}},
    }
    properties = parameters_of(tool_with(schema))["properties"]
    assert properties["a"] == {**PART, **beside}
    both = Draft202012Validator(properties["b"])
    assert both.is_valid({"n": 1, "m": 2, "k": 3})
    for lacking in ({"n": 1, "m": 2}, {"n": 1, "k": 3}, {"m": 2, "k": 3}):
        assert not both.is_valid(lacking)


def test_identifiers_may_be_referred_to():
    node = {"$id": "T0", "type": "object", "properties": {"next": {"$ref": "T0"}}}
    schema = {"type": "object", "properties": {"first": node}}
    assert parameters_of(tool_with(schema)) == schema
    answer = parse_schema(schema)
    assert answer.validate({"first": {"next": {}}})
    with pytest.raises(ValueError, match=r"first\.next: 3 is not of type 'object'"):
        answer.validate({"first": {"next": 3}})


DANGLING = [
    *("#/$defs/Nowhere", "#/$defs/Part/n", "#/required/0", "#nowhere", "Part"),
    *("https://example.com/part.json", "file:///etc/passwd", 3),
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
def test_a_reference_that_leads_nowhere_is_refused_at_once(form):
    for reference in DANGLING:
        schema = {"type": "object", "properties": {"x": {"$ref": reference}}, "required": ["x"]}
        with pytest.raises(ValueError, match=r"a \$ref to .*nothing is fetched"):
            FORMS[form](schema)
    schema = {"type": "object", "properties": {}}
    schema["properties"]["x"] = schema
    with pytest.raises(ValueError, match="nested too deeply"):
        FORMS[form](schema)


# Classes, for answers and for tools


@pytest.mark.parametrize("given", CLASSES)
def test_answers_and_tools_get_the_same_schema(given):
    for strict in (None, True, False):
        schema = encode_response_format(given, strict)["json_schema"]["schema"]
        function = encode_tools([given], strict=strict)[0]["function"]
        assert function["parameters"] == schema
        answer = encode_output_tool(parse_schema(given, strict))["function"]
        assert {"description": "", **answer} == function
        check_sent(schema)
    schema = parse_schema(given).definition
    references = [part for part, _ in schemas_within(schema) if "$ref" in part]
    assert bool(references) is ("$defs" in schema) is (given in RECURSIVE)
    assert "$ref" not in schema


CONVERTED = convert_to_openai_tool(Owner)
INLINED = {k: v for k, v in dereference_refs(Owner.model_json_schema()).items() if k != "$defs"}
TOOLS = [
    *(function, tool(function), tool_with(Owner), tool_with(Tree), tool_with(WholeV1)),
    *(tool_with(Owner.model_json_schema()), tool_with(Tree.model_json_schema())),
    *(tool_with(WholeV1.schema()), CONVERTED, CONVERTED["function"], Owner.model_json_schema()),
]


@pytest.mark.parametrize("given", TOOLS, ids=range(len(TOOLS)))
def test_tools_of_every_kind_refer_to_nothing_that_is_lost(given):
    for strict in (None, True):
        schema = parameters_of(given, strict)
        check_sent(schema)
        assert schema["properties"]
        assert "secret" not in schema["properties"]
        assert "description" not in schema


@pytest.mark.parametrize("given", [CONVERTED, INLINED, Owner.model_json_schema()], ids=range(3))
def test_a_dict_loses_the_mapping_that_may_lead_nowhere(given):
    before = copy.deepcopy(given)
    for strict in (None, True):
        sent = encode_response_format(given, strict)["json_schema"]["schema"]
        check_sent(sent)
        discriminator = sent["properties"]["pet"]["discriminator"]
        assert discriminator == {"propertyName": "kind"}
        assert given == before


def test_functions_are_described_by_their_docstrings():
    sent, titled, named = (each["function"] for each in encode_tools([function, Named, Cat]))
    assert (sent["name"], sent["description"]) == ("function", "Do something.")
    assert parse_schema(Tree).description == "A tree."
    described = sent["parameters"]["properties"]["tree"]
    assert described == {"$ref": "#/$defs/Tree", "description": "the tree"}
    assert [titled["name"], named["name"]] == ["its_own_title", "Cat"]


def test_tools_without_arguments_have_an_empty_schema():
    empty = {"type": "object", "properties": {}}
    assert parameters_of(tool_with({})) == empty
    for given in ({"name": "a"}, {"type": "function", "function": {"name": "a"}}):
        assert parameters_of(given) == empty
    assert parameters_of(Tool(name="a", description="d", func=str))["required"] == ["__arg1"]


# Strict mode

CLOSED = {"additionalProperties": False}


def closed(**properties):
    return {"type": "object", "properties": properties, "required": [*properties], **CLOSED}


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


UNION = {"anyOf": [{"required": ["n"]}, {"required": ["m"]}]}
MAP = {"type": "object"}


@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        (MAP, MAP | CLOSED),
        ({"type": ["object", "null"]}, {"type": ["object", "null"], **CLOSED}),
        # A map is no record: what OpenAI's own client leaves as it is.
        (MAP | {"additionalProperties": True}, None),
        (MAP | {"additionalProperties": {"type": "integer"}}, None),
        (MAP | {"additionalProperties": MAP}, MAP | {"additionalProperties": MAP | CLOSED}),
        ({}, None),
        # What only restricts further would contradict the rest if it were closed.
        ({"not": PART}, None),
        ({"if": PART, "then": PART, "else": PART}, None),
        ({"allOf": [PART, {"properties": {"m": {}}, "required": ["m"]}]}, None),
        ({"allOf": [PART], "properties": {"m": {}}}, None),
        ({**PART, "anyOf": [{"properties": {"m": {"const": 1}}}, {"required": ["n"]}]}, None),
        (PART | UNION, PART | UNION | CLOSED),
        (MAP | {"oneOf": [PART, NULL]}, MAP | {"anyOf": [PART | CLOSED, NULL]}),
        ({"dependentSchemas": {"a": PART}}, None),
        ({"allOf": [PART]}, {"allOf": [PART | CLOSED]}),
        ({"oneOf": [True, PART, NULL]}, {"anyOf": [True, PART | CLOSED, NULL]}),
        ({"oneOf": [{}], "anyOf": [{}]}, None),
        ({"enum": [{"type": "object"}], "default": PART}, None),
    ],
)
def test_strict_changes_what_describes_an_object(schema, sent):
    whole = {"type": "object", "properties": {"x": schema}}
    before = copy.deepcopy(whole)
    for own, strict in (({}, True), ({"strict": True}, None)):
        function = {"name": "a", "parameters": whole, **own}
        response_format = encode_response_format({"name": "a", "schema": whole, **own}, strict)
        for sent_whole in (
            response_format["json_schema"]["schema"],
            parameters_of(function, strict),
            parameters_of({"type": "function", "function": function}, strict),
            parameters_of({"type": "function", **function}, strict),
        ):
            assert sent_whole == closed(x=sent or schema)
    assert whole == before


@pytest.mark.parametrize("strict", [True, False])
def test_a_schema_that_says_another_strict_is_refused(strict):
    own = {"name": "a", "parameters": PART, "strict": not strict}
    for encode in (
        lambda strict: encode_tools([own], strict=strict)[0],
        lambda strict: encode_tools([{"type": "function", "function": own}], strict=strict)[0],
        lambda strict: {"function": encode_response_format(own, strict)["json_schema"]},
    ):
        with pytest.raises(ValueError, match="say it in one place"):
            encode(strict)
        assert encode(None)["function"]["strict"] is not strict
