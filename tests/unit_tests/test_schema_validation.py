import functools
import socket

import pytest

from langchain_aimlernie._structured.validation import check_instance, check_schema

ORDER = {
    "type": "object",
    "properties": {
        "id": {"type": "integer", "minimum": 1},
        "note": {"type": "string", "maxLength": 5},
        "state": {"enum": ["open", "closed"]},
        "lines": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/Line"}},
        "price": {"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "null"}]},
    },
    "required": ["id", "price"],
    "additionalProperties": False,
    "$defs": {
        "Line": {"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}
    },
}
INSTANCE = {"id": 7, "note": "short", "state": "open", "lines": [{"sku": "a"}], "price": None}
PAIR = [{"type": "integer"}, {"type": "string"}]


def violations(value, schema):
    """What is said of a value; `None` if it is an instance."""
    try:
        assert check_instance(schema, value) is value
    except ValueError as error:
        return str(error)


ADDITIONAL = "Additional properties are not allowed ('colour' was unexpected)"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({}, None),
        ({"id": "7"}, "id: \"7\" is not of type 'integer' (type)"),
        ({"id": True}, "id: true is not of type 'integer' (type)"),
        ({"id": 0}, "id: 0 is less than the minimum of 1 (minimum 1)"),
        ({"note": "too long"}, 'note: "too long" is too long (maxLength 5)'),
        ({"state": "lost"}, "state: \"lost\" is not one of ['open', 'closed'] (enum)"),
        ({"lines": [{"sku": "a"}, {"sku": 3}]}, "lines[1].sku: 3 is not of type 'string' (type)"),
        ({"lines": [{}]}, "lines[0]: 'sku' is a required property (required)"),
        ({"colour": "red"}, f"the answer: {ADDITIONAL} (additionalProperties)"),
        ({"price": 0}, "price: 0 … (exclusiveMinimum 0)"),
    ],
)
def test_a_violation_names_place_value_and_keyword(change, told):
    found = violations({**INSTANCE, **change}, ORDER)
    start, rest, end = (told or "").partition("…")
    assert (found.startswith(start) and found.endswith(end)) if rest else found == told


def test_every_violation_is_told_up_to_five():
    two = violations({"id": "7", "note": 1, "price": 1}, ORDER)
    assert two == (
        "id: \"7\" is not of type 'integer' (type); note: 1 is not of type 'string' (type)"
    )
    assert violations(list("abcdefgh"), {"items": {"type": "integer"}}).count("(type)") == 5


def test_long_values_and_long_rules_are_shortened():
    told = violations("x" * 1000, {"enum": ["y" * 1000]})
    assert len(told) < 400
    assert told.startswith('the answer: "xxxx')


# An instance, and what is none; what is left to jsonschema has few lines.
KEYWORDS = [
    ({"type": "integer"}, 2.0, 2.5),
    ({"type": "number"}, 1e400, True),
    ({"enum": [True]}, True, 1),
    ({"const": {"a": [1]}}, {"a": [1]}, {"a": [True]}),
    ({"uniqueItems": True}, [1, True], [1, 1]),
    ({"multipleOf": 3}, 9, 10),
    ({"multipleOf": 3}, "of no number", 10),
    ({"multipleOf": 0.01}, 19.99, 19.995),
    ({"multipleOf": 0.1}, 0.3, float("inf")),
    ({"multipleOf": 1e-3}, 10**400, float("nan")),
    ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": 1, "m": ""}, {"n_a": ""}),
    ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
    ({"prefixItems": PAIR, "unevaluatedItems": False}, [1, "a"], ["a"]),
    ({"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "string"}}}, "", 1),
    ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"type": "string"}}}, "", 1),
    ({"$ref": "#A", "$defs": {"a": {"$anchor": "A", "type": "string"}}}, "", 1),
    ({"required": ("a",), "properties": {"a": {"enum": ("x",)}}}, {"a": "x"}, {}),  # tuples
    # OpenAPI 3.0
    ({"type": "string", "nullable": True}, None, 1),
    ({"enum": ["a"], "nullable": True}, None, "b"),
    ({"allOf": [{"type": "string"}], "nullable": True}, None, 1),
    ({"type": "string", "nullable": False}, "", None),
    # Drafts 7 and 4, which need not be named
    ({"items": PAIR, "additionalItems": False}, [1, "a"], [1, "a", 2]),
    ({"dependencies": {"a": ["b"]}, "items": PAIR}, {"b": 1}, {"a": 1}),
    ({"$ref": "#/definitions/A", "definitions": {"A": {"type": "string"}}}, "", 1),
    ({"minimum": 3, "exclusiveMinimum": True}, 4, 3),
    ({"$schema": "http://json-schema.org/draft-07/schema#", "items": PAIR}, [1], ["a"]),
    ({"$schema": "https://example.com/none", "type": "string"}, "", 1),
]


@pytest.mark.parametrize(("schema", "instance", "other"), KEYWORDS)
def test_the_standard_decides(schema, instance, other):
    assert violations(instance, schema) is None
    assert violations(other, schema)
    if "$ref" not in schema:  # in a property, where it is said as well
        within = {"type": "object", "properties": {"x": schema}}
        assert violations({"x": instance}, within) is None
        assert violations({"x": other}, within)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"format": "date"}, "no date"),  # an annotation, unless a schema's dialect says otherwise
        ({"pattern": r"^\p{Han}+$"}, "abc"),  # ECMAScript, which Python cannot compile
        ({"patternProperties": {r"\p{L}": {"type": "string"}}}, {"a": 1}),
        ({"contentMediaType": "application/json"}, "{"),
        ({"x-order": 1, "nullable": True}, 1),
    ],
)
def test_what_is_no_assertion_asserts_nothing(schema, value):
    assert violations(value, schema) is None


@pytest.mark.parametrize(
    ("schema", "told"),
    [
        ({"properties": {"a": {"type": "str"}}}, 'properties.a.type: "str" is not'),
        ({"properties": {"a": {"required": True}}}, "properties.a.required: true is not of type"),
        ({"description": None}, "description: null is not of type 'string'"),
        ({"$schema": 5}, "['$schema']: 5 is not of type 'string'"),
        (
            {"$schema": "https://json-schema.org/draft/2020-12/schema", "items": PAIR},
            "items: .* is not of type 'object', 'boolean'",
        ),
    ],
)
def test_an_invalid_schema_is_refused_with_the_place_in_it(schema, told):
    told = told.replace("[", r"\[") if ".*" not in told else told
    with pytest.raises(ValueError, match=f"not a valid JSON Schema: {told}".replace("$", r"\$")):
        check_schema(schema)


def test_a_schema_that_is_no_json_is_refused():
    for value in (object(), float("nan")):
        with pytest.raises(ValueError, match="cannot be written as JSON"):
            check_schema({"enum": [value]})


def within_calls(count, function):
    return within_calls(count - 1, function) if count else function()


@pytest.mark.parametrize("calls", range(12))
def test_a_value_that_is_too_deep_is_no_instance_wherever_the_stack_ends(calls):
    value = functools.reduce(lambda inner, _: {"next": inner}, range(5000), 1)
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    assert "nested too deeply" in within_calls(calls, lambda: violations(value, tree))


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_args, **_kwargs):
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    told = violations(1, {"$ref": "http://127.0.0.1:9/schema.json"})
    assert "a $ref that leads nowhere" in told
