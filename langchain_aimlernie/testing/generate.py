"""Minimal valid instances of a JSON Schema, with values from a prompt where possible."""

from __future__ import annotations

import json
import math
import re
from typing import Any

Schema = dict[str, Any]

READ_LIMIT = 10_000
"""Characters of a prompt that are searched for values; the maximum length of a text."""

_MAX_VALUES = 20_000
_MAX_ITEMS = 1000
_INVALID_SCHEMA = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?!\w)")
_QUOTED = re.compile(r"(?<!\w)'([^'\n]+)'(?!\w)|\"([^\"\n]+)\"|`([^`\n]+)`")
_PROPER_NAME = re.compile(r"(?<!\w)(?<![.!?] )(?<!^)[A-Z][\w-]*(?: [A-Z][\w-]*)*")
_FORMATS = {
    "date": "2025-01-31",
    "date-time": "2025-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "email": "someone@example.com",
    "hostname": "example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
# Matches for common patterns; other patterns get a text that may not match.
_SAMPLES = (
    "a", "A", "0", "ab", "AB", "12", "abc", "ABC", "123", "abcd", "1234", "12345", "a1", "A1",
    "AB12", "ABC-123", "abc-def", "a_b", "2025-01-31", "12:00", "1.0.0", "#000000", "+15550100",
    "555-0100", "a@example.com", "https://example.com/",
)  # fmt: skip


def generate(schema: Schema, prompt: str, default_text: str = "") -> Any:
    """Return an instance of `schema`; `{}` if it is invalid or has no finite instance.

    Args:
        schema: A JSON Schema; a `$ref` must be local.
        prompt: Its numbers, quoted texts and proper names are used in turn.
        default_text: The string to use once the prompt has no more, with "{name}" for the
            property's name; by default the prompt's first 200 characters.
    """
    try:
        return _Generator(schema, prompt, default_text).value(schema, "")
    except (*_INVALID_SCHEMA, RecursionError):
        return {}


class _Generator:
    """Generates one instance, from the root of the schema down; see `generate`."""

    def __init__(self, root: Schema, prompt: str, default_text: str) -> None:
        self._root = root
        self._prompt = prompt[:READ_LIMIT]
        self._default_text = default_text
        self._numbers = [float(found) for found in _NUMBER.findall(self._prompt)]
        quoted = ["".join(groups) for groups in _QUOTED.findall(self._prompt)]
        names = _PROPER_NAME.findall(_QUOTED.sub(" ", self._prompt))
        self._texts = quoted or [name for name in names if name != "I"]
        self._open_refs: list[str] = []
        self._values = 0

    def value(self, schema: Schema | bool, name: str) -> Any:
        """Return an instance of a schema for the property `name`."""
        self._values += 1
        if self._values > _MAX_VALUES:
            raise ValueError("the instance has no end")
        if isinstance(schema, bool):
            schema = {}
        if "$ref" in schema:
            self._open_refs.append(schema["$ref"])
            value = self.value(self._resolve(schema), name)
            self._open_refs.pop()
            return value
        if "allOf" in schema:
            return self.value(self._merge(schema), name)
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self.value(_without(key, schema) | self._option(schema[key]), name)
        if "const" in schema:
            return schema["const"]
        if options := schema.get("enum"):
            named = (each for each in options if each is not None and self._mentions(each))
            return next(named, schema.get("default", options[0]))
        return self._plain(schema, name)

    def _plain(self, schema: Schema, name: str) -> Any:
        match _type_of(schema):
            case "object":
                return self._object(schema)
            case "array":
                return self._array(schema, name)
            case "integer" | "number" as kind:
                return self._number(schema, whole=kind == "integer")
            case "boolean":
                return schema.get("default", True) is True
            case "null":
                return None
        return self._string(schema, name)

    def _resolve(self, schema: Schema | bool) -> Schema:
        """Return the schema with its `$ref`, if it has one, replaced by the target."""
        if isinstance(schema, bool):
            return {}
        if "$ref" not in schema:
            return schema
        target: Any = self._root
        for step in schema["$ref"].removeprefix("#").split("/")[1:]:
            key = step.replace("~1", "/").replace("~0", "~")
            target = target.get(key) if isinstance(target, dict) else None
        return _without("$ref", schema) | (target if isinstance(target, dict) else {})

    def _is_open(self, schema: Schema | bool) -> bool:
        """Whether the schema is a reference to one that contains it."""
        return isinstance(schema, dict) and schema.get("$ref") in self._open_refs

    def _merge(self, schema: Schema) -> Schema:
        result = _without("allOf", schema)
        for key, new in [pair for each in schema["allOf"] for pair in self._resolve(each).items()]:
            old = result.get(key)
            if isinstance(old, dict) and isinstance(new, dict):
                result[key] = {**old, **new}
            elif isinstance(old, list) and isinstance(new, list):
                result[key] = [*old, *new]
            else:
                result[key] = new
        return result

    def _option(self, options: list[Schema]) -> Schema:
        """Return the option that the prompt names, else the first finite one, null last."""
        options = [each for each in options if not self._is_open(each)] or options
        for each in map(self._resolve, options):
            fields = [f for f in each.get("properties", {}).values() if isinstance(f, dict)]
            names = [each.get("title"), *(field.get("const") for field in fields)]
            if any(isinstance(name, str) and self._mentions(name) for name in names):
                return each
        return min(options, key=lambda each: each.get("type") == "null")

    def _mentions(self, word: object) -> bool:
        pattern = rf"(?<![A-Za-z0-9]){re.escape(str(word))}(?![A-Za-z0-9])"
        return bool(re.search(pattern, self._prompt, re.IGNORECASE))

    def _object(self, schema: Schema) -> dict[str, Any]:
        fields: dict[str, Schema | bool] = schema.get("properties") or {}
        finite = [name for name, field in fields.items() if not self._is_open(field)]
        required = schema.get("required", finite)
        names = dict.fromkeys(each for each in fields if each in required or self._mentions(each))
        names |= dict.fromkeys(required)
        least = min(schema.get("minProperties", 0), _MAX_ITEMS)
        names |= {f"key{index}": None for index in range(1, 1 + least - len(names))}
        other: Schema | bool = schema.get("additionalProperties", {})
        return {name: self.value(fields.get(name, other), name) for name in names}

    def _array(self, schema: Schema, name: str) -> list[Any]:
        prefix = schema.get("prefixItems") or []
        item = schema.get("items", not prefix)
        items = [self.value(each, name) for each in prefix]
        least = max(schema.get("minItems", 0), 0 if self._is_open(item) else 1)
        count = 0 if item is False else min(least, schema.get("maxItems", _MAX_ITEMS), _MAX_ITEMS)
        while len(items) < count:
            value = self.value(item, name)
            if schema.get("uniqueItems") is True and value in items:
                options = self._resolve(item).get("enum") or _variants(value, 1 + len(items))
                value = next((each for each in options if each not in items), value)
            items.append(value)
        return items

    def _number(self, schema: Schema, *, whole: bool) -> float:
        gap = 1 if whole else 1e-3
        low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf) + gap)
        high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf) - gap)
        value = schema.get("default")
        for each in self._numbers:
            if low <= each <= high and (each.is_integer() or not whole):
                self._numbers.remove(each)
                value = each
                break
        value = min(max(value if isinstance(value, (int, float)) else 1, low), high)
        step = schema.get("multipleOf")
        if step and not math.isclose(value / step, round(value / step)):
            value = math.ceil(low / step) * step if math.isfinite(low) else 0
        return math.ceil(value) if whole or float(value).is_integer() else value

    def _string(self, schema: Schema, name: str) -> str:
        low, high = schema.get("minLength", 0), schema.get("maxLength", READ_LIMIT)
        if pattern := schema.get("pattern"):
            for each in (*self._prompt.split(), *_SAMPLES):
                if low <= len(each) <= high and re.search(pattern, each):
                    return each
        if sample := _FORMATS.get(schema.get("format", "")):
            return sample
        text = schema.get("default")
        if self._texts:
            text = self._texts.pop(0)
        elif not isinstance(text, str):
            default = self._default_text.format(name=name or "text") or self._prompt.strip()[:200]
            text = default or name
        return text[:high].ljust(min(low, READ_LIMIT), ".")


def _without(key: str, schema: Schema) -> Schema:
    return {name: value for name, value in schema.items() if name != key}


def _variants(value: Any, count: int) -> list[Any]:
    """Return `count` different values similar to `value`; none for a type without such."""
    if isinstance(value, (int, float)):
        return [value + number for number in range(1, 1 + count)]
    return [f"{value} {number}" for number in range(2, 2 + count)] if type(value) is str else []


def _type_of(schema: Schema) -> str:
    """Return the type of an instance: the first of several that is not null."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "string"


def find_schema(text: str) -> Schema | None:
    """Return the first JSON Schema of an object in a text, bare or as `{"schema": …}`."""
    decoder = json.JSONDecoder()
    for start in [each.start() for each in re.finditer("{", text)][:100]:
        try:
            found, _ = decoder.raw_decode(text, start)
        except (ValueError, RecursionError):
            continue
        for each in (found, found.get("schema"), found.get("parameters")):
            if isinstance(each, dict) and isinstance(each.get("properties"), dict):
                return each
    return None
