"""An instance of a JSON Schema, made from what a prompt offers and plausible where it does not."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, ClassVar

from langchain_aimlernie.testing.schemas import bounds, fitted, merged, names_in, resolved, type_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from langchain_aimlernie.testing.hints import Hints
    from langchain_aimlernie.testing.schemas import Schema

_DEEPEST = 40
_MANY = 1000
_LONG = 10_000
_LARGEST = 20_000
_NO_SCHEMA = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, re.error)
_FORMATS: Mapping[str, str] = {
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
    "binary": "bG9jYWw=",
    "byte": "bG9jYWw=",
}
# What common patterns ask for; a pattern that none of these fits gets the ordinary text.
_SAMPLES = (
    "a", "A", "0", "ab", "AB", "12", "abc", "ABC", "123", "abcd", "1234", "12345", "a1", "A1",
    "AB12", "ABC-123", "abc-def", "a_b", "2025-01-31", "12:00", "1.0.0", "#000000", "+15550100",
    "555-0100", "a@example.com", "https://example.com/",
)  # fmt: skip


def make(schema: Schema, hints: Hints, filler: str | None = None) -> Any:
    """An instance of `schema`; `{}` for what is no schema, or for one without end.

    Args:
        schema: A JSON Schema; `$ref` is followed inside it.
        hints: The prompt.
        filler: What strings hold that the prompt does not give, with "{name}" for the property's
            name. None: the question itself, as the argument of a tool would.
    """
    try:
        return _Maker(schema, hints, filler).value(schema, "")
    except (*_NO_SCHEMA, RecursionError):
        return {}


class _Maker:
    """Makes one instance; `value` goes down the schema, `open` holds the references on the way."""

    def __init__(self, root: Schema, hints: Hints, filler: str | None) -> None:
        self.root = root
        self.hints = hints
        self.filler = filler
        self.open: list[object] = []
        self.left = _LARGEST

    def value(self, schema: Schema | bool, name: str) -> Any:
        """An instance of a schema that stands under the property `name`."""
        self.left -= 1
        if self.left < 0:
            raise ValueError("the instance has no end")
        if isinstance(schema, bool):
            schema = {}
        if schema.get("$ref"):
            return self._referred(schema, name)
        if "allOf" in schema:
            return self.value(merged(self.root, schema), name)
        for key in ("anyOf", "oneOf"):
            if schema.get(key):
                return self.value({**schema, key: None, **self._option(schema[key])}, name)
        if "const" in schema:
            return schema["const"]
        kind = "choice" if schema.get("enum") else type_of(schema)
        return self._makers[kind](self, schema, name)

    def _referred(self, schema: Schema, name: str) -> Any:
        if len(self.open) > _DEEPEST:
            return None
        self.open.append(schema["$ref"])
        made = self.value(resolved(self.root, schema), name)
        self.open.pop()
        return made

    def _option(self, options: Sequence[Schema]) -> Schema:
        """The alternative that the prompt names, else the first that is neither null nor a loop."""
        options = [_dict(each) for each in options]
        real = [each for each in options if each.get("type") != "null"]
        ending = [each for each in real if not self._is_loop(each)]
        for each in ending:
            if any(self.hints.mentions(name) for name in names_in(resolved(self.root, each))):
                return each
        others = [each for each in options if each not in real]
        return [*ending, *others, *real][0]

    def _is_loop(self, schema: Schema | bool) -> bool:
        return isinstance(schema, dict) and schema.get("$ref") in self.open

    def _choice(self, schema: Schema, name: str) -> Any:
        options = schema["enum"]
        assigned = (self.hints.assigned(name) or "").lower()
        exact = [each for each in options if str(each).lower() == assigned]
        return next(iter(exact + self._named(options)), schema.get("default", options[0]))

    def _named(self, options: Sequence[Any]) -> list[Any]:
        return [each for each in options if each is not None and self.hints.mentions(each)]

    def _object(self, schema: Schema, _: str) -> dict[str, Any]:
        fields: dict[str, Schema | bool] = schema.get("properties") or {}
        required: Sequence[str] = schema.get("required", tuple(fields))
        wanted = [k for k, held in fields.items() if k in required or self._is_offered(k, held)]
        names: dict[str, None] = dict.fromkeys([*wanted, *required])
        spare = (f"key{count}" for count in range(1, _MANY))
        while len(names) < min(schema.get("minProperties", 0), _MANY):
            names[next(spare)] = None
        other: Schema | bool = schema.get("additionalProperties", {})
        return {key: self.value(fields.get(key, other), key) for key in names}

    def _is_offered(self, name: str, field: Schema | bool) -> bool:
        """Whether the prompt speaks of a property that may be left out."""
        if self.hints.denies(name):
            return False
        options = field.get("enum", ()) if isinstance(field, dict) else ()
        return self.hints.mentions(name) or bool(self._named(options))

    def _array(self, schema: Schema, name: str) -> list[Any]:
        prefix = schema.get("prefixItems") or ()
        made = [self.value(each, name) for each in prefix]
        item = schema.get("items", not prefix)
        least, most = schema.get("minItems", 0), min(schema.get("maxItems", _MANY), _MANY)
        if item is False:
            return made
        offered = 0 if self._is_loop(item) else max(1, self._supply(item))
        wanted = min(max(least, len(made) or offered), most)
        unique = schema.get("uniqueItems") or "enum" in resolved(self.root, _dict(item))
        while len(made) < wanted:
            made.append(self._another(item, name, made if unique else ()))
        return made

    def _supply(self, item: Schema | bool) -> int:
        """How many items the prompt has to offer for a list."""
        schema = resolved(self.root, _dict(item))
        if schema.get("enum"):
            return len(self._named(schema["enum"]))
        supplies: dict[str, Sequence[object]] = {
            "integer": self.hints.numbers,
            "number": self.hints.numbers,
            "string": self.hints.quoted or self.hints.names,
        }
        return len(supplies.get(type_of(schema), ())) if item is not True else 0

    def _another(self, item: Schema | bool, name: str, taken: Sequence[Any]) -> Any:
        """One more item, other than those that are taken."""
        value = self.value(item, name)
        options = resolved(self.root, _dict(item)).get("enum", ())
        others = [*self._named(options), *options, *_variations(value, len(taken))]
        return next((each for each in (value, *others) if each not in taken), value)

    def _number(self, schema: Schema, name: str) -> float:
        assigned = _as_number(self.hints.assigned(name))
        whole = type_of(schema) == "integer"
        found = self.hints.number(*bounds(schema), whole=whole, first=assigned)
        default = schema.get("default")
        spare = default if isinstance(default, (int, float)) else 1
        return fitted(spare if found is None else found, schema)

    def _boolean(self, schema: Schema, name: str) -> bool:
        assigned = (self.hints.assigned(name) or "").lower()
        said = {"true": True, "yes": True, "false": False, "no": False}.get(assigned)
        if said is None:
            said = not self.hints.denies(name) and schema.get("default", True) is True
        return said

    def _null(self, _schema: Schema, _name: str) -> None:
        return None

    def _text(self, schema: Schema, name: str) -> str:
        if schema.get("pattern"):
            return self._fitting(schema, name)
        sample = _FORMATS.get(schema.get("format", ""))
        if sample is not None:
            assigned = self.hints.assigned(name) or ""
            return assigned if len(assigned) == len(sample) else sample
        text = next(filter(None, self._texts(schema, name)), name)[: schema.get("maxLength")]
        return text.ljust(min(schema.get("minLength", 0), _LONG), ".")

    def _texts(self, schema: Schema, name: str) -> Iterator[str]:
        """What a string may hold, the best first."""
        yield (self.hints.word(name) if name else None) or ""
        yield str(schema.get("default") or "")
        yield from self.hints.results[-1:]
        yield self.filler.format(name=name or "text") if self.filler else self.hints.whole()

    def _fitting(self, schema: Schema, name: str) -> str:
        """A word of the prompt or a sample that fits the pattern."""
        low, high = schema.get("minLength", 0), schema.get("maxLength", math.inf)
        for each in (self.hints.assigned(name) or "", *self.hints.text.split(), *_SAMPLES):
            if low <= len(each) <= high and re.search(schema["pattern"], each):
                return each
        return self._text({**schema, "pattern": None}, name)

    _makers: ClassVar[Mapping[str, Callable[[_Maker, Schema, str], Any]]] = {
        "choice": _choice,
        "object": _object,
        "array": _array,
        "integer": _number,
        "number": _number,
        "boolean": _boolean,
        "null": _null,
        "string": _text,
    }


def _dict(schema: Schema | bool) -> Schema:
    return {} if isinstance(schema, bool) else schema


def _as_number(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None


def _variations(value: Any, count: int) -> Iterator[Any]:
    for number in range(1, count + 1):
        if isinstance(value, str):
            yield f"{value} {number + 1}"
        elif isinstance(value, (int, float)):
            yield value + number
