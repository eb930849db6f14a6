"""The words in which `contract` is written: small rules over parsed JSON.

A rule takes a JSON value and gives its findings; a value that keeps the rule gives an empty
tuple and costs next to nothing, for the paths are put together only where something is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple


class Finding(NamedTuple):
    """One thing that a body does wrong, or, if `ignored`, one key that the API would not read."""

    path: tuple[str | int, ...]
    text: str
    ignored: bool = False

    def __str__(self) -> str:
        return f"{'.'.join(map(str, self.path)) or 'body'}: {self.text}"


Findings = Sequence[Finding]
Rule = Callable[[object], Findings]


def kind_of(value: object) -> str:
    """JSON's name for the type of `value`."""
    for types, name in _KINDS:
        if isinstance(value, types):
            return name
    return type(value).__name__


_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (str, "string"),
    (bool, "boolean"),
    ((int, float), "number"),
    (list, "array"),
    (dict, "object"),
    (type(None), "null"),
)


def null(value: object) -> Findings:
    """Nothing but null."""
    return () if value is None else _wrong("null", value)


def boolean(value: object) -> Findings:
    """True or false."""
    return () if isinstance(value, bool) else _wrong("boolean", value)


def string(value: object) -> Findings:
    """Any string."""
    return () if isinstance(value, str) else _wrong("string", value)


def mapping(value: object) -> Findings:
    """Any object."""
    return () if isinstance(value, dict) else _wrong("object", value)


def one_of(*choices: str) -> Rule:
    """One of these strings."""

    def check(value: object) -> Findings:
        if isinstance(value, str) and value in choices:
            return ()
        return (Finding((), f"{value!r:.80} is not one of {', '.join(choices)}"),)

    return check


def matching(pattern: str, wanted: str) -> Rule:
    """A string that the whole of `pattern` fits; `wanted` says so in words."""
    fits = re.compile(pattern).fullmatch

    def check(value: object) -> Findings:
        if not isinstance(value, str):
            return _wrong("string", value)
        return () if fits(value) else (Finding((), f"{value!r:.80} is not {wanted}"),)

    return check


def number(low: float, high: float = float("inf"), *, whole: bool = False) -> Rule:
    """A number from `low` to `high`, both included; booleans are none."""
    kind = "integer" if whole else "number"

    def check(value: object) -> Findings:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return _wrong(kind, value)
        if whole and isinstance(value, float) and not value.is_integer():
            return _wrong(kind, value)
        if not low <= value <= high:
            return (Finding((), f"{value!r:.80} is not between {low} and {high}"),)
        return ()

    return check


def array(item: Rule, *, least: int = 0, most: int | None = None) -> Rule:
    """A list of `least` to `most` values that each keep `item`."""

    def check(value: object) -> Findings:
        if not isinstance(value, list):
            return _wrong("array", value)
        found: list[Finding] = []
        if len(value) < least:
            found.append(Finding((), f"{len(value)} items, at least {least} are needed"))
        if most is not None and len(value) > most:
            found.append(Finding((), f"{len(value)} items, at most {most} are taken"))
        for index, each in enumerate(value):
            if inner := item(each):
                found += _under(index, inner)
        return found

    return check


def record(
    fields: Mapping[str, Rule], *, required: Sequence[str] = (), closed: bool = False
) -> Rule:
    """An object with these fields; other keys are refused if `closed`, ignored if not."""

    def check(value: object) -> Findings:
        if not isinstance(value, dict):
            return _wrong("object", value)
        found = [Finding((key,), "required, and missing") for key in required if key not in value]
        for key, each in value.items():
            rule = fields.get(key)
            if rule is None:
                verb = "not allowed here" if closed else "not known here, and ignored"
                found.append(Finding((key,), verb, ignored=not closed))
            elif inner := rule(each):
                found += _under(key, inner)
        return found

    return check


def by_kind(**rules: Rule) -> Rule:
    """The rule for the value's kind (`kind_of`), written `by_kind(string=…, array=…)`."""
    wanted = " or ".join(rules)

    def check(value: object) -> Findings:
        rule = rules.get(kind_of(value))
        return _wrong(wanted, value) if rule is None else rule(value)

    return check


def nullable(rule: Rule) -> Rule:
    """Null, or what `rule` takes."""

    def check(value: object) -> Findings:
        return () if value is None else rule(value)

    return check


def tagged(tag: str, cases: Mapping[str, Rule], *, otherwise: Rule | None = None) -> Rule:
    """An object whose string under `tag` says which rule it keeps."""

    def check(value: object) -> Findings:
        if not isinstance(value, dict):
            return _wrong("object", value)
        name = value.get(tag)
        rule = cases.get(name, otherwise) if isinstance(name, str) else None
        if rule is None:
            return (Finding((tag,), f"{name!r:.80} is not one of {', '.join(cases)}"),)
        return rule(value)

    return check


def _wrong(wanted: str, value: object) -> Findings:
    return (Finding((), f"expected {wanted}, got {kind_of(value)}"),)


def _under(key: str | int, found: Findings) -> list[Finding]:
    return [each._replace(path=(key, *each.path)) for each in found]
