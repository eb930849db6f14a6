"""Whether a JSON value is an instance of a JSON Schema, as the library jsonschema decides it.

Four things that real schemas need are added. `nullable`, of OpenAPI 3.0, allows `null`.
`multipleOf` counts in decimals, where 0.3 is a multiple of 0.1. A `pattern` that Python cannot
compile (JSON Schema's are ECMAScript's) is not checked. A schema without `$schema` is of the newest
of the drafts 2020-12, 7 and 4 under which it is valid. As in the standard, `format` asserts
nothing. Nothing is fetched from the network.

Importing this module imports jsonschema, which takes a tenth of a second.
"""

from __future__ import annotations

import json
import re
from fractions import Fraction
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any

from jsonschema import Draft4Validator, Draft7Validator, Draft202012Validator, validators
from jsonschema.exceptions import ValidationError, best_match
from referencing import Registry
from referencing.exceptions import Unresolvable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_DRAFTS = (Draft202012Validator, Draft7Validator, Draft4Validator)
_MAX_ERRORS = 5
_MAX_VALUE = 60
_MAX_MESSAGE = 300


def compile_check(schema: Mapping[str, Any]) -> Callable[[object], object]:
    """Return a function that returns a value if it is an instance of `schema`.

    It raises a ValueError that names, for up to five violations, the place in the value, the value
    and the keyword. It can be pickled.

    Raises:
        ValueError: `schema` is no valid JSON Schema.
    """
    try:
        text = json.dumps(schema)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"The schema cannot be written as JSON: {error}") from None
    _validator(text)
    return partial(_check, text)


def _check(schema: str, value: object) -> object:
    try:
        errors = list(islice(_validator(schema).iter_errors(value), _MAX_ERRORS))
    except RecursionError:
        raise ValueError("it is nested too deeply to be checked") from None
    except Unresolvable as error:
        raise ValueError(f"the schema has a $ref that leads nowhere: {error}") from None
    if errors:
        raise ValueError("; ".join(map(_describe, errors)))
    return value


@lru_cache(maxsize=64)
def _validator(text: str) -> Any:
    schema = json.loads(text)
    draft = _draft_of(schema)
    rules = {**draft.VALIDATORS, "multipleOf": _multiple_of}
    adapted = {keyword: partial(_apply, rule) for keyword, rule in rules.items()}
    return validators.extend(draft, adapted)(schema, registry=Registry())


def _draft_of(schema: Mapping[str, Any]) -> Any:
    """Return the draft of a schema: the one that it names, or the newest that it is valid in."""
    named = schema.get("$schema")
    draft = validators.validator_for(schema, default=None) if isinstance(named, str) else None
    drafts = _DRAFTS if draft is None else (draft,)
    problems = [best_match(each(each.META_SCHEMA).iter_errors(schema)) for each in drafts]
    for each, problem in zip(drafts, problems, strict=True):
        if problem is None:
            return each
    raise ValueError(f"The schema is no valid JSON Schema: {_describe(problems[0])}.")


def _apply(
    rule: Callable[..., Iterator[Any] | None],
    validator: Any,
    limit: object,
    value: object,
    schema: Mapping[str, Any],
) -> Iterator[Any]:
    if value is None and schema.get("nullable") is True:
        return
    try:
        yield from rule(validator, limit, value, schema) or ()
    except re.error:
        return


def _multiple_of(
    validator: Any, limit: float, value: Any, _schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "number"):
        return
    try:
        remainder = _exact(value) % _exact(limit)
    except ValueError:  # an infinity, or no number
        remainder = Fraction(1)
    if remainder:
        yield ValidationError(f"{value!r} is not a multiple of {limit!r}")


def _exact(number: Any) -> Fraction:
    return Fraction(str(number) if isinstance(number, float) else number)


def _describe(error: Any) -> str:
    """Return the message of a validation error, with its location and keyword."""
    error = best_match([error])
    place = error.json_path.removeprefix("$").lstrip(".") or "the answer"
    message, value = error.message, repr(error.instance)
    if message.startswith(value):
        message = _display(error.instance) + message.removeprefix(value)
    limit, keyword = error.validator_value, error.validator or "false"
    is_number = isinstance(limit, (int, float)) and not isinstance(limit, bool)
    rule = f"{keyword} {limit}" if is_number else keyword
    return f"{place}: {_truncated(message, _MAX_MESSAGE)} ({rule})"


def _display(value: object) -> str:
    return _truncated(json.dumps(value, ensure_ascii=False), _MAX_VALUE)


def _truncated(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[:limit] + "…"
