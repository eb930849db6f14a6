"""Transform JSON Schemas: subschemas, references, strict mode.

Schemas of every draft since 4 are supported. Properties may have the names of keywords, and values
of `enum`, `const`, `default` and `examples` are data, even if they look like schemas.

`langchain_core.utils.json_schema.dereference_refs` would change such data, and lose definitions
that contain themselves. `referencing` needs to know the draft, which few schemas name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from math import isfinite
from typing import Any
from urllib.parse import unquote

Schema = Mapping[str, Any]

_DEFINITIONS = frozenset({"$defs", "definitions"})
_DEPENDENCIES = frozenset({"dependentSchemas", "dependencies"})
_MAPS_OF_SCHEMAS = _DEFINITIONS | _DEPENDENCIES | {"properties", "patternProperties"}
_CONDITIONS = frozenset({"not", "if", "then", "else"})
_UNIONS = ("anyOf", "oneOf")
_IN_PLACE = _CONDITIONS | {"allOf", *_UNIONS}
_SCHEMAS = _IN_PLACE | {
    *("items", "prefixItems", "additionalItems", "unevaluatedItems", "contains"),
    *("additionalProperties", "unevaluatedProperties", "propertyNames", "contentSchema"),
}
_ANNOTATIONS = frozenset(
    {"title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly"}
)

_MAY_BE_NULL = frozenset({"default", "const", "example"})


def map_subschemas(
    schema: Schema, change: Callable[[Schema], Any], *, without: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return a copy with each direct subschema replaced by what `change` returns for it.

    Boolean schemas, and those under the keywords in `without`, are kept.
    """

    def changed(value: Any) -> Any:
        if isinstance(value, (list, tuple)):
            return [changed(part) for part in value]
        return change(value) if isinstance(value, Mapping) else value

    result = dict(schema)
    for key, value in schema.items():
        if key in without:
            continue
        if key in _MAPS_OF_SCHEMAS and isinstance(value, Mapping):
            result[key] = {name: changed(part) for name, part in value.items()}
        elif key in _SCHEMAS:
            result[key] = changed(value)
    return result


def schemas_of_value(schema: Schema) -> list[Schema]:
    """Return a schema, and those in its unions and `allOf`, which describe the same value."""
    parts = [schema]
    for part in parts:  # to which those within are added
        within = [*chain.from_iterable(part.get(key) or () for key in ("allOf", *_UNIONS))]
        if "$ref" in part:
            within.append(resolve(part["$ref"], schema))
        parts += [each for each in within if isinstance(each, Mapping) and each not in parts]
    return parts


def strict_schema(schema: Schema) -> dict[str, Any]:
    """Return the schema in the form that OpenAI's strict mode requires.

    In every object, every property is required and no other is allowed; `oneOf` becomes `anyOf`. As
    in OpenAI's client, a map (`dict[str, int]`) keeps its `additionalProperties`. A subschema that
    only restricts an object further (`if`, `not`), and an object described in several places (two
    `allOf`, `properties` beside `anyOf`), stays open: otherwise no value could be valid.
    Core's `convert_to_openai_function(strict=True)` leaves the objects within unions open.
    """
    places = _places_of_properties(schema)
    without = _CONDITIONS | _DEPENDENCIES | {"propertyNames"}
    result = map_subschemas(
        schema, strict_schema, without=without | (_IN_PLACE if places > 1 else set())
    )
    if places == 0 and "object" in result.get("type", ()):  # a name, or a list of names
        result.setdefault("additionalProperties", False)
    elif places == 1 and isinstance(result.get("properties"), Mapping):
        result["required"] = list(result["properties"])
        result["additionalProperties"] = False
    if "oneOf" in result and "anyOf" not in result:
        result["anyOf"] = result.pop("oneOf")
    return result


def _places_of_properties(schema: object) -> int:
    """Count the places that describe the properties of the same object."""
    if not isinstance(schema, Mapping):
        return 0
    alternatives = [any(map(_places_of_properties, schema.get(key) or ())) for key in _UNIONS]
    together = [_places_of_properties(part) > 0 for part in schema.get("allOf") or ()]
    return sum((*alternatives, *together, "properties" in schema, "$ref" in schema))


# References


def resolve(reference: object, root: Schema) -> Schema:
    """Return the target of a `$ref`: a JSON pointer into `root`, or an `$anchor` or `$id` in it.

    Raises a ValueError if there is no such schema; nothing is fetched.
    """
    name = str(reference)
    if name[:2] in ("#", "#/"):
        target = _at_pointer(unquote(name[1:]), root)
    else:
        target = dict(_identifiers(root)).get(name)
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
            target = target[int(key)] if isinstance(target, list) else target[key]
        except (LookupError, TypeError, ValueError):
            return None
    return target


def _identifiers(schema: Schema) -> Iterator[tuple[object, Schema]]:
    for keyword, prefix in (("$id", ""), ("$anchor", "#"), ("$dynamicAnchor", "#")):
        if isinstance(name := schema.get(keyword), str):
            yield prefix + name, schema
    parts: list[Schema] = []
    map_subschemas(schema, parts.append)
    yield from chain.from_iterable(map(_identifiers, parts))


def check_references(schema: Schema) -> dict[str, Any]:
    """Return a copy that can be sent, or raise a ValueError if a `$ref` has no target.

    A `$ref` at the top, in which servers do not see an object, is replaced by its target.
    """
    try:
        result = _checked(schema, schema)
    except RecursionError:
        raise ValueError("The schema is nested too deeply.") from None
    return _with_target(result, resolve(result["$ref"], result)) if "$ref" in result else result


def dereference(schema: Schema) -> dict[str, Any]:
    """Return a schema with each `$ref` replaced by its target: not every server resolves them.

    The titles within it, which pydantic derives from field names, are left out. If a definition
    contains itself, the schema keeps its `$defs` and `$ref`s, except one at the top.
    """
    try:
        result = _inlined(schema, schema)
    except RecursionError:
        result = check_references(schema)
    return map_subschemas(result, _untitled)


def _untitled(schema: Schema) -> dict[str, Any]:
    untitled = {key: value for key, value in schema.items() if key != "title"}
    return map_subschemas(untitled, _untitled)


def _checked(schema: Schema, root: Schema) -> dict[str, Any]:
    """Return a copy that can be sent, with its references, each of which has a target."""
    if "$ref" in schema:
        resolve(schema["$ref"], root)
    return map_subschemas(_sendable(schema), lambda part: _checked(part, root))


def _inlined(schema: Schema, root: Schema, within: tuple[object, ...] = ()) -> dict[str, Any]:
    """Return a copy that can be sent, with the targets of its references instead of them.

    `within` are the references whose targets contain the schema. Raises a RecursionError if one of
    the targets contains itself.
    """
    while "$ref" in schema:
        reference = schema["$ref"]
        target = resolve(reference, root)
        if reference in within:
            raise RecursionError
        within = (*within, reference)
        schema = _with_target(schema, target)
    copy = {key: value for key, value in schema.items() if key not in _DEFINITIONS}
    return map_subschemas(_sendable(copy), lambda part: _inlined(part, root, within))


def _sendable(schema: Schema) -> dict[str, Any]:
    """Return a copy without what cannot be sent; its subschemas stay as they are.

    Left out are a default of infinity or NaN, which pydantic writes but JSON does not have;
    OpenAPI's `discriminator.mapping`, which refers to definitions that core's conversion of tools
    removes; and keywords that are `null`, as some MCP servers write absent ones. Gemini writes
    types in capitals.
    """
    result = {k: value for k, value in schema.items() if value is not None or k in _MAY_BE_NULL}
    if isinstance(default := schema.get("default"), float) and not isfinite(default):
        del result["default"]
    if isinstance(kind := schema.get("type"), str):
        result["type"] = kind.lower()
    if isinstance(given := schema.get("discriminator"), Mapping):
        result["discriminator"] = {key: given[key] for key in given if key != "mapping"}
    return result


def _with_target(schema: Schema, target: Schema) -> dict[str, Any]:
    """Merge a schema and the target of its `$ref`: a value must be valid under both."""
    own = {key: value for key, value in schema.items() if key != "$ref"}
    differing = {key for key in own.keys() & target.keys() if own[key] != target[key]}
    if differing <= _ANNOTATIONS | _DEFINITIONS:
        return {**target, **own}
    return {**own, "allOf": [*own.get("allOf", ()), target]}
