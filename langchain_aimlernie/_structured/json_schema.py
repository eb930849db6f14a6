"""JSON Schemas as data: the schemas within a schema, references, strict mode.

Schemas of every draft since 4 are understood. Properties may be named like keywords, and what
stands under `enum`, `const`, `default` or `examples` is data, however much it looks like a schema.

`langchain_core.utils.json_schema.dereference_refs` would rewrite such data, and lose definitions
that contain themselves. `referencing` walks the keywords of one draft, which few schemas name.
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
    """Return a copy in which each schema directly within `schema` is replaced by `change` of it.

    Boolean schemas, and those under the keywords `without`, stay as they are.
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
    """Return the schema as the strict mode of the OpenAI API wants it.

    Every property is required and no other is allowed, in every object; `oneOf` is `anyOf`. As in
    OpenAI's own client, a map (`dict[str, int]`) keeps the `additionalProperties` that it has.
    What only restricts an object further (`if`, `not`), and an object that is described in several
    places (two `allOf`, `properties` beside `anyOf`) stays open: no value could meet all otherwise.
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
    """Count the places that say which properties one and the same object has."""
    if not isinstance(schema, Mapping):
        return 0
    alternatives = [any(map(_places_of_properties, schema.get(key) or ())) for key in _UNIONS]
    together = [_places_of_properties(part) > 0 for part in schema.get("allOf") or ()]
    return sum((*alternatives, *together, "properties" in schema, "$ref" in schema))


# References


def resolve(reference: object, root: Schema) -> Schema:
    """Return what a `$ref` refers to: a JSON pointer into `root`, or an `$anchor` or `$id` in it.

    A ValueError if there is no such schema: nothing is ever fetched.
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
    """Return a copy that can be sent; a ValueError if a `$ref` leads nowhere.

    A `$ref` at the top, which servers take for no object, is replaced by what it refers to.
    """
    try:
        result = _copy(schema, schema, None)
    except RecursionError:
        raise ValueError("The schema is nested too deeply.") from None
    return _with_target(result, resolve(result["$ref"], result)) if "$ref" in result else result


def dereference(schema: Schema) -> dict[str, Any]:
    """Return a schema whose `$ref`s are replaced by what they refer to: not every server follows.

    The titles within it, which pydantic makes of field names, are left out. If a definition
    contains itself, the schema keeps its `$defs` and `$ref`s, except one at the top.
    """
    try:
        result = _copy(schema, schema, ())
    except RecursionError:
        result = check_references(schema)
    return map_subschemas(result, _untitled)


def _untitled(schema: Schema) -> dict[str, Any]:
    untitled = {key: value for key, value in schema.items() if key != "title"}
    return map_subschemas(untitled, _untitled)


def _copy(schema: Schema, root: Schema, within: tuple[object, ...] | None) -> dict[str, Any]:
    """Return a copy that can be sent, without references unless `within` is `None`.

    `within` are the references in whose targets the schema stands. A default of infinity or NaN is
    left out, which pydantic writes and JSON has not, as is OpenAPI's `discriminator.mapping`: what
    inlines a schema, such as core's conversion of tools, leaves it behind to refer to nothing. So
    is `null` for a keyword, which some MCP servers write for an absent one. Gemini writes types in
    capitals.
    """
    while "$ref" in schema:
        reference = schema["$ref"]
        target = resolve(reference, root)
        if within is None:
            break
        if reference in within:
            raise RecursionError
        within = (*within, reference)
        schema = _with_target(schema, target)
    lost = () if within is None else _DEFINITIONS
    result = {
        key: value
        for key, value in schema.items()
        if key not in lost and (value is not None or key in _MAY_BE_NULL)
    }
    if isinstance(default := schema.get("default"), float) and not isfinite(default):
        del result["default"]
    if isinstance(kind := schema.get("type"), str):
        result["type"] = kind.lower()
    if isinstance(given := schema.get("discriminator"), Mapping):
        result["discriminator"] = {key: given[key] for key in given if key != "mapping"}
    return map_subschemas(result, lambda part: _copy(part, root, within))


def _with_target(schema: Schema, target: Schema) -> dict[str, Any]:
    """Join a schema and what its `$ref` refers to, both of which a value must meet."""
    own = {key: value for key, value in schema.items() if key != "$ref"}
    differing = {key for key in own.keys() & target.keys() if own[key] != target[key]}
    if differing <= _ANNOTATIONS | _DEFINITIONS:
        return {**target, **own}
    return {**own, "allOf": [*own.get("allOf", ()), target]}
