"""Does a JSON value fit a JSON Schema? The part of the standard that schemas of answers use.

Only what is certainly wrong is reported: keywords that are not listed here (`format`, `pattern`,
whose dialects differ, and rarer ones) let everything pass. A `null` under a property that is not
required counts as the property left out, since that is how models leave it out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import ge, gt, le, lt
from typing import Any, NamedTuple


class _Place(NamedTuple):
    """Where in the answer, and under which schema, a rule is asked."""

    root: Mapping[str, Any]
    schema: Mapping[str, Any]
    path: str

    def problem(self, what: str) -> str:
        return f"{self.path.lstrip('.') or 'the answer'}: {what}"

    def within(self, value: object, schema: object, step: str = "") -> Iterator[str]:
        if schema is False:
            yield self.problem(f"{step.lstrip('.')} is not allowed")
        elif isinstance(schema, Mapping):
            yield from _violations(value, _Place(self.root, schema, self.path + step))


def find_violations(value: object, schema: Mapping[str, Any]) -> Iterator[str]:
    """Tell, one by one, where `value` does not fit `schema`; nothing if it fits.

    Args:
        value: What came out of a JSON text.
        schema: A JSON Schema; `$ref` may point into it.
    """
    return _violations(value, _Place(schema, schema, ""))


def _violations(value: object, place: _Place) -> Iterator[str]:
    for keyword, rule in _RULES.items():
        if keyword in place.schema:
            yield from rule(place, value, place.schema[keyword])


def _ref(place: _Place, value: object, pointer: Any) -> Iterator[str]:
    target: Any = place.root
    for key in str(pointer).removeprefix("#").strip("/").split("/"):
        if key:
            target = target.get(key) if isinstance(target, Mapping) else None
    return place.within(value, target)


_KINDS: Mapping[str, Callable[[object], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "number": lambda value: isinstance(value, (int, float)) and not isinstance(value, bool),
    "integer": lambda value: (
        not isinstance(value, bool)
        and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))
    ),
}


def _anything(_value: object) -> bool:
    return True


def _type(place: _Place, value: object, names: Any) -> Iterator[str]:
    kinds = [names] if isinstance(names, str) else list(names)
    if place.schema.get("nullable") is True:  # OpenAPI 3.0's way to say "or null"
        kinds.append("null")
    if not any(_KINDS.get(kind, _anything)(value) for kind in kinds):
        yield place.problem(f"{_shown(value)} is not of type {' or '.join(kinds)}")


def _enum(place: _Place, value: object, allowed: Any) -> Iterator[str]:
    if value not in allowed:
        yield place.problem(f"{_shown(value)} is none of {_shown(list(allowed))}")


def _const(place: _Place, value: object, allowed: Any) -> Iterator[str]:
    return _enum(place, value, [allowed])


def _required(place: _Place, value: object, names: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name in names:
            if name not in value:
                yield place.problem(f"{name!r} is missing")


def _properties(place: _Place, value: object, schemas: Any) -> Iterator[str]:
    if not isinstance(value, dict):
        return
    required = place.schema.get("required") or ()
    for name, schema in schemas.items():
        if name in value and (value[name] is not None or name in required):
            yield from place.within(value[name], schema, f".{name}")


def _additional(place: _Place, value: object, schema: Any) -> Iterator[str]:
    if not isinstance(value, dict) or "patternProperties" in place.schema:
        return
    known = place.schema.get("properties") or {}
    for name in value.keys() - known.keys():
        yield from place.within(value[name], schema, f".{name}")


def _items(place: _Place, value: object, schema: Any) -> Iterator[str]:
    if not isinstance(value, list):
        return
    start = len(place.schema.get("prefixItems") or ())
    for index, item in enumerate(value[start:], start):
        yield from place.within(item, schema, f"[{index}]")


def _prefix_items(place: _Place, value: object, schemas: Any) -> Iterator[str]:
    if isinstance(value, list):
        for index, (item, schema) in enumerate(zip(value, schemas, strict=False)):
            yield from place.within(item, schema, f"[{index}]")


def _any_of(place: _Place, value: object, schemas: Any) -> Iterator[str]:
    """`oneOf` too: an answer that fits two alternatives is not worth an error."""
    found = [list(place.within(value, schema)) for schema in schemas]
    if found and all(found):
        yield from min(found, key=len)


def _all_of(place: _Place, value: object, schemas: Any) -> Iterator[str]:
    for schema in schemas:
        yield from place.within(value, schema)


def _limit(
    measure: Callable[[Any], Any], kind: str, holds: Callable[[Any, Any], bool], words: str
) -> Callable[[_Place, object, Any], Iterator[str]]:
    def rule(place: _Place, value: object, limit: Any) -> Iterator[str]:
        applies = _KINDS[kind](value) and _KINDS["number"](limit)  # draft 4 has booleans here
        if applies and not holds(measure(value), limit):
            yield place.problem(f"{_shown(value)} is not {words} {limit}")

    return rule


def _itself(value: Any) -> Any:
    return value


_RULES: Mapping[str, Callable[[_Place, object, Any], Iterator[str]]] = {
    "$ref": _ref,
    "type": _type,
    "enum": _enum,
    "const": _const,
    "required": _required,
    "properties": _properties,
    "additionalProperties": _additional,
    "items": _items,
    "prefixItems": _prefix_items,
    "anyOf": _any_of,
    "oneOf": _any_of,
    "allOf": _all_of,
    "minimum": _limit(_itself, "number", ge, "at least"),
    "maximum": _limit(_itself, "number", le, "at most"),
    "exclusiveMinimum": _limit(_itself, "number", gt, "above"),
    "exclusiveMaximum": _limit(_itself, "number", lt, "below"),
    "minLength": _limit(len, "string", ge, "of a length of at least"),
    "maxLength": _limit(len, "string", le, "of a length of at most"),
    "minItems": _limit(len, "array", ge, "of a length of at least"),
    "maxItems": _limit(len, "array", le, "of a length of at most"),
}

_SHOWN = 60


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
