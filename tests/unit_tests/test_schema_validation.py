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
        ({"id": None}, "id: null is not of type 'integer' (type)"),
        ({"id": 0}, "id: 0 is less than the minimum of 1 (minimum 1)"),
        ({"note": "too long"}, 'note: "too long" is too long (maxLength 5)'),
        ({"state": "lost"}, "state: \"lost\" is not one of ['open', 'closed'] (enum)"),
        ({"lines": [{"sku": "a"}, {"sku": 3}]}, "lines[1].sku: 3 is not of type 'string' (type)"),
        ({"lines": [{}]}, "lines[0]: 'sku' is a required property (required)"),
        ({"colour": "red"}, f"the answer: {ADDITIONAL} (additionalProperties)"),
        ({"lines": []}, "lines: [] … (minItems 1)"),
        ({"price": 0}, "price: 0 … (exclusiveMinimum 0)"),
        ({"price": "free"}, 'price: "free" … (anyOf)'),
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


# One keyword a line: an instance, and what is none.
KEYWORDS = [
    ({"type": "integer"}, 2.0, 2.5),
    ({"type": ["string", "integer"]}, 1, 1.5),
    ({"type": "number"}, 1e400, True),
    ({"enum": [1, "1"]}, 1, True),
    ({"enum": [True]}, True, 1),
    ({"const": 0}, 0, False),
    ({"const": {"a": [1]}}, {"a": [1]}, {"a": [True]}),
    ({"pattern": "^a+$"}, "aa", "ab"),
    ({"minLength": 2}, "ab", "a"),
    ({"uniqueItems": True}, [1, True], [1, 1]),
    ({"multipleOf": 3}, 9, 10),
    ({"multipleOf": 0.01}, 19.99, 19.995),
    ({"multipleOf": 0.1}, 0.3, float("inf")),
    ({"multipleOf": 1e-3}, 10**400, float("nan")),
    ({"maximum": 5}, 5, 5.1),
    ({"exclusiveMaximum": 5}, 4.9, 5),
    ({"not": {"type": "string"}}, 1, "a"),
    ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1, 3),
    ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, 0, 3),
    ({"anyOf": [{"type": "integer"}, {"minimum": 2}]}, 3, 1.5),
    ({"allOf": [{"minimum": 1}, {"maximum": 2}]}, 2, 3),
    ({"if": {"minimum": 5}, "then": {"multipleOf": 2}, "else": {"minimum": 3}}, 6, 7),
    ({"if": {"minimum": 5}, "then": {"multipleOf": 2}, "else": {"minimum": 3}}, 3, 2),
    ({"minProperties": 1}, {"a": 1}, {}),
    ({"maxProperties": 1}, {"a": 1}, {"a": 1, "b": 1}),
    ({"propertyNames": {"pattern": "^a"}}, {"ab": 1}, {"ba": 1}),
    ({"patternProperties": {"^n_": {"type": "integer"}}}, {"n_a": 1, "m": ""}, {"n_a": ""}),
    ({"patternProperties": {"a": {}}, "additionalProperties": False}, {"a": 1}, {"b": 1}),
    ({"additionalProperties": {"type": "string"}}, {"a": ""}, {"a": 1}),
    ({"dependentRequired": {"a": ["b"]}}, {"b": 1}, {"a": 1}),
    ({"dependentSchemas": {"a": {"required": ["b"]}}}, {"a": 1, "b": 1}, {"a": 1}),
    ({"allOf": [{"properties": {"a": {}}}], "unevaluatedProperties": False}, {"a": 1}, {"b": 1}),
    ({"contains": {"const": 1}}, [2, 1], [2]),
    ({"contains": {"const": 1}, "maxContains": 1}, [2, 1], [1, 1]),
    ({"prefixItems": PAIR, "items": False}, [1, "a"], [1, "a", 2]),
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
@pytest.mark.parametrize("within", [False, True])
def test_the_standard_decides(schema, instance, other, within):
    if within and "$ref" not in schema:  # in a property, where it is said as well
        schema = {"type": "object", "properties": {"x": schema}}
        instance, other = {"x": instance}, {"x": other}
    assert violations(instance, schema) is None
    assert violations(other, schema)


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
        ({"properties": []}, "properties: [] is not of type 'object'"),
        ({"minLength": "3"}, "minLength: \"3\" is not of type 'integer'"),
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


@pytest.mark.parametrize("schema", [{"enum": [object()]}, {"const": {1, 2}}])
def test_a_schema_that_is_no_json_is_refused(schema):
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        check_schema(schema)


def test_a_schema_may_contain_itself():
    tree = {"type": "object", "required": ["v"], "properties": {"v": {}, "next": {"$ref": "#"}}}
    assert violations({"v": 1, "next": {"v": 2, "next": {"v": 3}}}, tree) is None
    told = violations({"v": 1, "next": {"v": 2, "next": {}}}, tree)
    assert told == "next.next: 'v' is a required property (required)"


def within_calls(count, function):
    return within_calls(count - 1, function) if count else function()


@pytest.mark.parametrize("calls", range(12))
def test_a_value_that_is_too_deep_is_no_instance_wherever_the_stack_ends(calls):
    value = 1
    for _ in range(5000):
        value = {"next": value}
    tree = {"type": "object", "properties": {"next": {"$ref": "#"}}}
    told = within_calls(calls, lambda: violations(value, tree))
    assert "nested too deeply" in told


def test_nothing_is_fetched(monkeypatch):
    def refuse(*_args, **_kwargs):
        pytest.fail("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    told = violations(1, {"$ref": "http://127.0.0.1:9/schema.json"})
    assert "a $ref that leads nowhere" in told
