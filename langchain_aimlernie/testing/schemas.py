"""Reading a JSON Schema: references, merged parts, types and bounds."""

from __future__ import annotations

import math
from typing import Any

Schema = dict[str, Any]

_KINDS = frozenset({"object", "array", "integer", "number", "boolean", "null", "string"})


def target(root: Schema, ref: str) -> Schema:
    """What a local reference (`#/$defs/Cat`) points at, `{}` if that is nothing."""
    found: Any = root
    for step in ref.removeprefix("#").split("/")[1:]:
        key = step.replace("~1", "/").replace("~0", "~")
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, dict) else {}


def resolved(root: Schema, schema: Schema) -> Schema:
    """The schema with its own reference followed; keywords beside the reference stay."""
    if "$ref" not in schema:
        return schema
    return {**schema, "$ref": None} | target(root, schema["$ref"])


def merged(root: Schema, schema: Schema) -> Schema:
    """The schema with the parts of its `allOf` put together."""
    result = {key: held for key, held in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        for key, held in resolved(root, part).items():
            result[key] = _joined(result.get(key), held)
    return result


def _joined(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {**one, **other}
    if isinstance(one, list) and isinstance(other, list):
        return one + [each for each in other if each not in one]
    return other


def type_of(schema: Schema) -> str:
    """The type that an instance should have; of several the first that is not null."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str) and kind in _KINDS:
        return kind
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def names_in(schema: Schema) -> list[str]:
    """The words by which a prompt may choose this of several alternatives."""
    fields = [each for each in schema.get("properties", {}).values() if isinstance(each, dict)]
    names = [schema.get("title"), *schema.get("enum", ())]
    names += [each.get("const") for each in (schema, *fields)]
    return [name for name in names if isinstance(name, str) and name]


def bounds(schema: Schema) -> tuple[float, float]:
    """The least and the greatest number that the schema allows."""
    whole = type_of(schema) == "integer"
    step = 1 if whole else 1e-3
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + step)
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - step)
    return low, high


def fitted(value: float, schema: Schema) -> float:
    """The value within the schema's bounds and on its step; an int where it is whole."""
    low, high = bounds(schema)
    value = min(max(value, low), high)
    step = schema.get("multipleOf")
    if step and not math.isclose(value / step, round(value / step)):
        value = math.ceil(low / step) * step if math.isfinite(low) else round(value / step) * step
    whole = type_of(schema) == "integer"
    return math.ceil(value) if whole or float(value).is_integer() else value
