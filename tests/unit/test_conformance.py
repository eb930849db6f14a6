import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_aimlernie._conformance import find_violations

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
FITTING = {"id": 7, "note": "short", "state": "open", "lines": [{"sku": "a"}], "price": None}


def test_a_fitting_value_has_no_violation():
    assert list(find_violations(FITTING, ORDER)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"id": "7"}, "id: '7' is not of type integer"),
        ({"id": True}, "id: True is not of type integer"),
        ({"id": 0}, "id: 0 is not at least 1"),
        ({"note": "too long"}, "note: 'too long' is not of a length of at most 5"),
        ({"state": "lost"}, "state: 'lost' is none of ['open', 'closed']"),
        ({"lines": []}, "lines: [] is not of a length of at least 1"),
        ({"lines": [{"sku": "a"}, {"sku": 3}]}, "lines[1].sku: 3 is not of type string"),
        ({"lines": [{}]}, "lines[0]: 'sku' is missing"),
        ({"price": 0}, "price: 0 is not above 0"),
        ({"colour": "red"}, "the answer: colour is not allowed"),
    ],
)
def test_each_violation_names_its_place_and_reason(change, problem):
    assert list(find_violations({**FITTING, **change}, ORDER)) == [problem]


def test_a_missing_key_is_named():
    assert list(find_violations({"id": 1}, ORDER)) == ["the answer: 'price' is missing"]


def test_null_for_an_optional_key_is_the_key_left_out():
    assert list(find_violations({**FITTING, "note": None}, ORDER)) == []


def test_null_for_a_required_key_must_be_allowed():
    assert list(find_violations({**FITTING, "id": None}, ORDER)) == [
        "id: None is not of type integer"
    ]


@pytest.mark.parametrize(
    ("value", "schema", "fits"),
    [
        (2.0, {"type": "integer"}, True),
        (2.5, {"type": "integer"}, False),
        (1, {"type": ["string", "integer"]}, True),
        (None, {"type": "string", "nullable": True}, True),
        ("b", {"const": "a"}, False),
        (
            [1, "a"],
            {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
            True,
        ),
        (
            [1, "a", 2],
            {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False},
            False,
        ),
        ({"a": 1}, {"additionalProperties": {"type": "string"}}, False),
        ({"a": 1}, {"patternProperties": {"a": {}}, "additionalProperties": False}, True),
        (3, {"allOf": [{"minimum": 1}, {"maximum": 2}]}, False),
        (3, {"oneOf": [{"minimum": 1}, {"maximum": 5}]}, True),
        (3, {"minimum": 3, "exclusiveMinimum": True}, True),
        ("anything", True, True),
        ("anything", {"$ref": "#/$defs/Nowhere"}, True),
        ("anything", {"type": "frobnitz", "format": "date", "pattern": "^x"}, True),
    ],
)
def test_keywords(value, schema, fits):
    wrapped = {"type": "object", "properties": {"x": schema}}
    assert (list(find_violations({"x": value}, wrapped)) == []) is fits


def test_a_schema_may_hold_itself():
    tree = {"type": "object", "required": ["v"], "properties": {"v": {}, "next": {"$ref": "#"}}}
    assert list(find_violations({"v": 1, "next": {"v": 2, "next": {"v": 3}}}, tree)) == []
    assert list(find_violations({"v": 1, "next": {"v": 2, "next": {}}}, tree)) == [
        "next.next: 'v' is missing"
    ]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(_JSON)
def test_any_value_can_be_held_against_a_schema(value):
    for problem in find_violations(value, ORDER):
        assert problem


@given(_JSON)
def test_every_value_fits_the_empty_schema(value):
    assert list(find_violations(value, {})) == []
