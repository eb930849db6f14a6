"""JSON Schemas as data: the schemas within a schema, references, strict mode, absent properties.

Schemas of every draft since 4 are understood. Properties may be named like keywords, and what
stands under `enum`, `const`, `default` or `examples` is data, however much it looks like a schema.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import unquote

Schema = Mapping[str, Any]

_DEFINITIONS = frozenset({"$defs", "definitions"})
_MAPS_OF_SCHEMAS = _DEFINITIONS | {
    "properties",
    "patternProperties",
    "dependentSchemas",
    "dependencies",
}
_CONDITIONS = frozenset({"not", "if", "then", "else"})
_UNIONS = ("anyOf", "oneOf")
_IN_PLACE = _CONDITIONS | {"allOf", *_UNIONS}
_SCHEMAS = _IN_PLACE | {
    "items",
    "prefixItems",
    "additionalItems",
    "unevaluatedItems",
    "contains",
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "contentSchema",
}
_KEYWORDS = _MAPS_OF_SCHEMAS | _SCHEMAS
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)


def map_subschemas(
    schema: Schema, change: Callable[[Schema], Any], *, without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return a copy in which each schema directly within `schema` is replaced by `change` of it.

    Args:
        schema: A JSON Schema.
        change: Takes a schema that is no boolean, and returns what replaces it.
        without: The keywords whose schemas stay as they are.
    """

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, Mapping) else value

    result = dict(schema)
    for key, value in schema.items():
        if key in without:
            continue
        if key in _MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            result[key] = {name: changed(part) for name, part in value.items()}
        elif key in _SCHEMAS:
            is_list = isinstance(value, (list, tuple))
            result[key] = [changed(part) for part in value] if is_list else changed(value)
    return result


def without_titles(schema: Schema) -> dict[str, Any]:
    """Return a schema without the titles that pydantic makes of field names."""
    untitled = {key: value for key, value in schema.items() if key != "title"}
    return map_subschemas(untitled, without_titles)


def strict_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema as the strict mode of the OpenAI API wants it.

    Every property is required and no other is allowed, in every object; `oneOf` is `anyOf`. As in
    OpenAI's own client, a map (`dict[str, int]`) keeps the `additionalProperties` that it has.
    What only restricts an object further (`if`, `not`), and an object that is described in several
    places (two `allOf`, `properties` beside `anyOf`) stays open: no value could meet all otherwise.
    """
    places = _places_of_properties(schema)
    without = _CONDITIONS | {"dependentSchemas", "dependencies", "propertyNames"}
    result = map_subschemas(
        schema, strict_schema, without=without | (_IN_PLACE if places > 1 else set())
    )
    if places == 0 and "object" in _types(result):
        result.setdefault("additionalProperties", False)
    elif places == 1 and isinstance(result.get("properties"), Mapping):
        result["required"] = list(result["properties"])
        result["additionalProperties"] = False
    if "oneOf" in result and "anyOf" not in result:
        result["anyOf"] = result.pop("oneOf")
    return result


def _places_of_properties(schema: Schema) -> int:
    """Count the places that say which properties one and the same object has."""
    alternatives = [any(map(_has_properties, schema.get(union) or ())) for union in _UNIONS]
    together = map(_has_properties, schema.get("allOf") or ())
    return sum((*alternatives, *together, "properties" in schema, "$ref" in schema))


def _has_properties(schema: object) -> bool:
    return isinstance(schema, Mapping) and _places_of_properties(schema) > 0


def _types(schema: Schema) -> tuple[object, ...]:
    types = schema.get("type", ())
    return (types,) if isinstance(types, str) else tuple(types)


# References


def resolve(reference: object, root: Schema) -> Schema:
    """Return what a `$ref` refers to: a JSON pointer into `root`, or an `$anchor` or `$id` in it.

    Raises:
        ValueError: There is no such schema. Nothing is ever fetched.
    """
    target: Any = None
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        target = _at_pointer(unquote(reference[1:]), root)
    elif isinstance(reference, str):
        target = dict(_identifiers(root)).get(reference)
    if isinstance(target, bool):
        return {} if target else {"not": {}}
    if not isinstance(target, Mapping):
        raise ValueError(  # noqa: TRY004  the schema is wrong, not our types
            f"The schema has a $ref to {reference!r}, which is not in it; nothing is fetched. "
            'Put the definition under "$defs" and refer to it as "#/$defs/…".'
        )
    return target


def _at_pointer(pointer: str, root: Schema) -> Any:
    target: Any = root
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        try:
            target = target[int(key)] if isinstance(target, (list, tuple)) else target[key]
        except (LookupError, TypeError, ValueError):
            return None
    return target


def _identifiers(schema: Schema) -> Iterator[tuple[object, Schema]]:
    for keyword, prefix in (("$id", ""), ("$anchor", "#"), ("$dynamicAnchor", "#")):
        if isinstance(name := schema.get(keyword), str):
            yield prefix + name, schema
    for part in _subschemas(schema):
        yield from _identifiers(part)


def _subschemas(schema: Schema) -> list[Schema]:
    """Return the schemas directly within `schema`."""
    candidates: list[object] = []
    for key, value in () if _KEYWORDS.isdisjoint(schema) else schema.items():
        if key not in _KEYWORDS:
            continue
        if isinstance(value, (list, tuple)):
            candidates.extend(value)
        elif key in _MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            candidates.extend(value.values())
        else:
            candidates.append(value)
    return _only_schemas(candidates)


def check_references(schema: Schema) -> None:
    """Raise an error for a `$ref` to nothing, or to itself.

    Raises:
        ValueError: There is such a `$ref`, or the schema is nested too deeply.
    """
    try:
        _check_references(schema, schema, set())
    except RecursionError:
        raise ValueError("The schema is nested too deeply.") from None


def without_lost_mappings(schema: Schema) -> dict[str, Any]:
    """Return a copy without each `discriminator.mapping` that refers to what is not in the schema.

    What inlines the `$ref`s of a schema often leaves it behind, as core's conversion of tools does.
    """
    return _without_lost_mappings(schema, schema)


def _without_lost_mappings(schema: Schema, root: Schema) -> dict[str, Any]:
    result = map_subschemas(schema, lambda part: _without_lost_mappings(part, root))
    if isinstance(discriminator := result.get("discriminator"), Mapping):
        mapping = discriminator.get("mapping")
        references = mapping.values() if isinstance(mapping, Mapping) else ()
        if not all(_leads(reference, root) for reference in references):
            result["discriminator"] = _without_mapping(discriminator)
    return result


def _without_mapping(discriminator: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in discriminator.items() if key != "mapping"}


def _leads(reference: object, root: Schema) -> bool:
    try:
        resolve(reference, root)
    except ValueError:
        return False
    return True


def _check_references(schema: Schema, root: Schema, checked: set[object]) -> None:
    if "$ref" in schema:
        _follow(schema, root, (), checked)
    for part in _subschemas(schema):
        _check_references(part, root, checked)


def _follow(
    schema: Schema, root: Schema, followed: tuple[object, ...], checked: set[object]
) -> None:
    """Follow the subschemas that apply to the same value; a circle would be endless."""
    reference = schema.get("$ref")
    if reference in followed:
        raise ValueError(f"The schema has a $ref to {reference!r} that only refers to itself.")
    if "$ref" in schema and str(reference) not in checked:
        _follow(resolve(reference, root), root, (*followed, reference), checked)
        checked.add(str(reference))
    for part in _subschemas({key: schema[key] for key in _IN_PLACE & schema.keys()}):
        _follow(part, root, followed, checked)


class RecursiveSchemaError(Exception):
    """A definition contains itself, so its `$ref`s cannot be replaced."""


def dereference(schema: Schema) -> dict[str, Any]:
    """Return a schema whose `$ref`s are replaced by what they refer to: not every server follows.

    If a definition contains itself, the schema keeps its `$defs` and `$ref`s, except one at the
    top. Core's `dereference_refs` would lose the former and rewrite data and property names.

    Raises:
        ValueError: See `check_references`.
    """
    check_references(schema)
    try:
        return _dereference(schema, schema, ())
    except RecursiveSchemaError:
        return (
            _with_target(schema, resolve(schema["$ref"], schema))
            if "$ref" in schema
            else {**schema}
        )


def _dereference(schema: Schema, root: Schema, within: tuple[object, ...]) -> dict[str, Any]:
    while "$ref" in schema:
        reference = schema["$ref"]
        if reference in within:
            raise RecursiveSchemaError
        within = (*within, reference)
        schema = _with_target(schema, resolve(reference, root))
    result = {key: value for key, value in schema.items() if key not in _DEFINITIONS}
    if isinstance(discriminator := result.get("discriminator"), Mapping):
        result["discriminator"] = _without_mapping(discriminator)
    return map_subschemas(result, lambda part: _dereference(part, root, within))


def _with_target(schema: Schema, target: Schema) -> dict[str, Any]:
    """Join a schema and what its `$ref` refers to, both of which a value must meet."""
    own = {key: value for key, value in schema.items() if key != "$ref"}
    if own.keys() & target.keys() <= _ANNOTATIONS | _DEFINITIONS:
        return {**target, **own}
    return {**own, "allOf": [*own.get("allOf", ()), target]}


# Null for absent


def without_absent(value: object, schema: Schema) -> object:
    """Return a value without the properties that are `null` in the place of being absent.

    These are the properties that `schema` neither requires nor lets be `null`, at every depth.

    Args:
        value: What a JSON text stands for; not changed.
        schema: A JSON Schema whose `$ref`s are known to be good.
    """
    try:
        return _without_absent(value, [schema], schema)
    except RecursionError:
        return value


def _without_absent(value: object, schemas: list[Schema], root: Schema) -> object:
    every = [part for schema in schemas for part in _applied(schema, value, root)]
    if isinstance(value, list):
        return [
            _without_absent(item, [s for schema in every for s in _of_item(schema, index)], root)
            for index, item in enumerate(value)
        ]
    if not isinstance(value, dict):
        return value
    return {
        name: _without_absent(part, [s for schema in every for s in _of_key(schema, name)], root)
        for name, part in value.items()
        if part is not None or not any(_may_be_absent_only(schema, name, root) for schema in every)
    }


def _applied(schema: Schema, value: object, root: Schema) -> Iterator[Schema]:
    """Go through all schemas that apply to the same value, and may describe it."""
    if "$ref" in schema:
        yield from _applied(resolve(schema["$ref"], root), value, root)
    if _is_meant(schema, value):
        yield schema
        for part in _subschemas(
            {key: schema[key] for key in _IN_PLACE - {"not", "if"} & schema.keys()}
        ):
            yield from _applied(part, value, root)


def _is_meant(schema: Schema, value: object) -> bool:
    """Whether the constants, which tell the members of a union apart, are those of the value."""
    properties = schema.get("properties") or {}
    return not isinstance(value, dict) or all(
        value[name] == part["const"]
        for name, part in properties.items()
        if isinstance(part, Mapping) and "const" in part and name in value
    )


def _may_be_absent_only(schema: Schema, name: str, root: Schema) -> bool:
    properties = schema.get("properties") or {}
    required = schema.get("required") or ()
    return name in properties and name not in required and _rejects_null(properties[name], root)


def _rejects_null(schema: Any, root: Schema) -> bool:
    if not isinstance(schema, Mapping):
        return schema is False
    if "$ref" in schema and _rejects_null(resolve(schema["$ref"], root), root):
        return True
    if schema.get("nullable") is True:
        return False
    return (
        ("type" in schema and "null" not in _types(schema))
        or None not in schema.get("enum", (None,))
        or schema.get("const") is not None
        or any(_rejects_null(part, root) for part in schema.get("allOf", ()))
        or any(
            all(_rejects_null(part, root) for part in schema[union])
            for union in _UNIONS
            if union in schema
        )
    )


def _of_item(schema: Schema, index: int) -> list[Schema]:
    listed = schema.get("prefixItems", schema.get("items"))
    if isinstance(listed, (list, tuple)) and index < len(listed):
        return _only_schemas((listed[index],))
    return _only_schemas((schema.get("items"), schema.get("additionalItems")))


def _of_key(schema: Schema, name: str) -> list[Schema]:
    properties = schema.get("properties") or {}
    if name in properties:
        return _only_schemas((properties[name],))
    patterns = schema.get("patternProperties") or {}
    return _only_schemas((schema.get("additionalProperties"), *patterns.values()))


def _only_schemas(candidates: Iterable[object]) -> list[Schema]:
    return [each for each in candidates if isinstance(each, (dict, Mapping))]
