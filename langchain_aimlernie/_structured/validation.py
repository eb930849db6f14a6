"""Validate JSON values with the library jsonschema, and repair what models write.

Real schemas need four additions. `nullable`, of OpenAPI 3.0, allows `null`. `multipleOf` is
computed in decimals, where 0.3 is a multiple of 0.1. A `pattern` that Python cannot compile (JSON
Schema's are ECMAScript's) is not checked. A schema without `$schema` is of the newest of the drafts
2020-12, 7 and 4 under which it is valid. As in the standard, `format` is not checked. Nothing is
fetched from the network.

Importing this module imports jsonschema, which takes a tenth of a second.
"""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, suppress
from copy import deepcopy
from fractions import Fraction
from functools import lru_cache, partial, reduce
from itertools import chain, groupby, islice
from operator import getitem
from typing import TYPE_CHECKING, Any

from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator, validators
from jsonschema.exceptions import FormatError, ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

from langchain_aimlernie._structured.json_extraction import whole_json
from langchain_aimlernie._text import truncate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DRAFTS = (Draft202012Validator, Draft7Validator, Draft4Validator)
_MAX_ERRORS = 5
_MAX_VALUE = 60
_MAX_MESSAGE = 300


def check_schema(schema: Mapping[str, Any]) -> None:
    """Raise a ValueError if `schema` is not valid under the draft of JSON Schema that it names."""
    with _limited_depth("The schema"):
        _validator(_to_json(schema))


def check_instance(schema: Mapping[str, Any], value: object) -> object:
    """Return `value`, or raise a ValueError with up to five violations of `schema`."""
    if errors := _find_errors(schema, value, _MAX_ERRORS):
        raise ValueError("; ".join(map(_describe, errors)))
    return value


def repair(schema: Mapping[str, Any], value: object) -> object:
    """Return a value with common mistakes of models corrected.

    At every depth, a property that is `null` is removed if `schema` neither requires it nor allows
    `null`, an invalid string is replaced by the JSON in it (`null` if it is empty), and an object
    instead of a list by the list that is its only value. In a union, the first two are done for the
    first member that they make valid. At the top, an object instead of a string, number or boolean
    is replaced by its only value, and a list of objects instead of an object with one property
    becomes the value of that property.
    """
    try:
        result: Any = [deepcopy(value)]
        errors = _find_errors(schema, value, formats=_NoNullText())
    except (ValueError, RecursionError):  # the schema of a class may be invalid
        return value
    for path, replacement in chain.from_iterable(map(_replacements, errors)):
        *parents, name = [0, *path]
        with suppress(LookupError, TypeError):  # within a value that has been replaced
            part = reduce(getitem, parents, result)
            if replacement is _ABSENT:
                del part[name]
            else:
                part[name] = replacement
    return result[0]


class _NoNullText:
    """A checker of `format` that rejects only strings for `null`, which are no date or the like."""

    def check(self, instance: object, format: str) -> None:  # noqa: A002  the name in jsonschema
        if isinstance(instance, str) and _json_in(instance) == [None]:
            raise FormatError(f"{instance!r} is not a {format}")


def _find_errors(
    schema: Mapping[str, Any],
    value: object,
    limit: int | None = None,
    formats: _NoNullText | None = None,
) -> list[Any]:
    with _limited_depth("it"):
        try:
            validator = _validator(_to_json(schema)).evolve(format_checker=formats)
            return list(islice(validator.iter_errors(value), limit))
        except Unresolvable as error:
            raise ValueError(f"the schema has a $ref that leads nowhere: {error}") from None


@contextmanager
def _limited_depth(subject: str) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        # Within rpds, which is written in Rust, a RecursionError becomes a panic.
        if isinstance(error, RecursionError) or type(error).__name__ == "PanicException":
            raise ValueError(f"{subject} is nested too deeply to be checked") from None
        raise


def _to_json(schema: Mapping[str, Any]) -> str:
    try:
        return json.dumps(schema, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The schema cannot be written as JSON: {error}") from None


@lru_cache(maxsize=64)
def _validator(text: str) -> Any:
    schema = json.loads(text)
    draft = _draft_of(schema)
    properties = partial(_properties, draft.VALIDATORS["properties"])
    rules = {**draft.VALIDATORS, "multipleOf": _multiple_of, "properties": properties}
    adapted = {keyword: partial(_apply, rule) for keyword, rule in rules.items()}
    return validators.extend(draft, adapted)(schema, registry=Registry())


def _draft_of(schema: Mapping[str, Any]) -> Any:
    """Return the draft that a schema names, or the newest under which it is valid."""
    named = schema.get("$schema")
    draft = validators.validator_for(schema, default=None) if isinstance(named, str) else None
    drafts = _DRAFTS if draft is None else (draft,)
    for each in drafts:
        if each(each.META_SCHEMA).is_valid(schema):
            return each
    problem = best_match(drafts[0](drafts[0].META_SCHEMA).iter_errors(schema))
    raise ValueError(f"The schema is not a valid JSON Schema: {_describe(problem)}.")


def _apply(
    rule: Callable[..., Iterator[Any] | None],
    validator: Any,
    limit: Any,
    value: object,
    schema: Mapping[str, Any],
) -> Iterator[Any]:
    """Apply a rule, except to a `null` that is allowed, and unless its `pattern` is no Python's."""
    if value is None and schema.get("nullable") is True:
        return
    with suppress(re.error):
        yield from rule(validator, limit, value, schema) or ()


def _properties(
    rule: Callable[..., Iterator[Any]],
    validator: Any,
    properties: Any,
    value: object,
    schema: Mapping[str, Any],
) -> Iterator[Any]:
    """Apply the draft's rule, and mark errors of a `null` for a property that may be absent.

    The error itself knows the schema of the property only, not what the object requires.
    """
    for error in rule(validator, properties, value, schema):
        if error.instance is None and len(error.path) == 1:
            error.may_be_absent = error.path[0] not in schema.get("required", ())
        yield error


_ABSENT = object()


def _replacements(error: Any) -> list[tuple[list[str | int], object]]:
    """Return the paths of the values that cause an error, with their replacements, if any."""
    path = list(error.absolute_path)
    if getattr(error, "may_be_absent", False):
        return [(path, _ABSENT)]
    if error.validator == "type" and isinstance(error.instance, str):
        return [(path, value) for value in _json_in(error.instance)]
    if error.validator == "type" and isinstance(error.instance, dict) and error.parent is None:
        parts = [*error.instance.values()]
        wants_list = "array" in error.validator_value
        if len(parts) == 1 and (isinstance(parts[0], list) if wants_list else not path):
            return [(path, parts[0])]
    if error.validator == "type" and isinstance(error.instance, list) and not path:
        # Only for an object: else the next round would take the list out of it again.
        names = [*error.schema.get("properties", ())]
        if (
            len(names) == 1
            and "object" in error.validator_value
            and error.instance
            and all(_is_item(p, names[0]) for p in error.instance)
        ):
            return [(path, {names[0]: error.instance})]
    for _, errors in groupby(error.context, lambda each: each.schema_path[0]):  # of each member
        replacements = [_replacements(each) for each in errors]
        if all(replacements):
            return list(chain.from_iterable(replacements))
    return []


def _json_in(text: str) -> list[object]:
    """Return a list with the JSON value in a string, if any; in an empty one, it is `null`."""
    return whole_json(text.strip() or "null")


def _is_item(part: object, name: str) -> bool:
    """Whether a part of a list is an object, and neither one of several answers nor a call."""
    return isinstance(part, dict) and name not in part and not {"name", "arguments"} <= part.keys()


def _multiple_of(
    validator: Any, limit: float, value: Any, _schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "number"):
        return
    try:
        remainder = Fraction(str(value)) % Fraction(str(limit))
    except ValueError:  # infinity or NaN
        remainder = Fraction(1)
    if remainder:
        yield ValidationError(f"{value!r} is not a multiple of {limit!r}")


def _describe(error: Any) -> str:
    """Return the message of a validation error, with its location and keyword."""
    error = best_match([error])
    location = error.json_path.removeprefix("$").lstrip(".") or "the answer"
    message, value = error.message, repr(error.instance)
    if message.startswith(value):
        message = truncate(json.dumps(error.instance, ensure_ascii=False), _MAX_VALUE)
        message += error.message.removeprefix(value)
    limit, keyword = error.validator_value, error.validator or "false"
    is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    rule = f"{keyword} {limit}" if is_number else keyword
    return f"{location}: {truncate(message, _MAX_MESSAGE)} ({rule})"
