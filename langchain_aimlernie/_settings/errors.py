"""Translate pydantic's errors into one plain message for each field, without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from langchain_aimlernie._settings.fields import ALIASES, SHOWN
from langchain_aimlernie._text import truncate

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

_MAX_SHOWN = 100  # characters of a value


def translate(error: ValidationError, fields: Mapping[str, FieldInfo]) -> ValidationError:
    """Return the error with one plain message for each field, without values that may be secret.

    `fields` are those of the validated model.
    """
    found: dict[str, ErrorDetails] = {}
    # Each member of a union has its own error: prefer a validator's reason, then the outermost.
    by_rank = sorted(
        error.errors(include_url=False), key=lambda e: (e["type"] != "value_error", len(e["loc"]))
    )
    for details in by_rank:
        name = str(details["loc"][0]) if details["loc"] else ""
        found.setdefault(ALIASES.get(name, name), details)
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                # Not as the template itself, in which braces would be replaced.
                type=PydanticCustomError(
                    details["type"], "{message}", {"message": _message(name, details, fields)}
                ),
                loc=details["loc"][:1],
                input=details["input"] if name in SHOWN else "(not shown)",
            )
            for name, details in found.items()
        ],
    )


def first_message(error: ValidationError) -> str:
    """Return the message of the first problem that a translated error reports."""
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]


def _message(name: str, details: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    value = details["input"]
    shown = truncate(repr(value), _MAX_SHOWN) if name in SHOWN else type(value).__name__
    if details["loc"][-1:] == ("[key]",):
        return f"{name} must have strings as keys; got {shown}."
    field = fields.get(name)
    if field is None:
        return f"{name}: {details['msg']}; got {shown}."
    return f"{name} must be {_describe(field.annotation, field.metadata)}; got {shown}."


_KINDS: Mapping[object, str] = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "a string",
    SecretStr: "a string",
    list: "a list",
    dict: "a dict",
    Mapping: "a dict",
    Callable: "a function",
}


def _describe(annotation: Any, constraints: Iterable[object] = ()) -> str:
    """Return the values that a field accepts, such as "a number from 0 to 2", without `None`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        annotation, *added = arguments
        unpacked = [part for a in added for part in (a.metadata if hasattr(a, "metadata") else [a])]
        return _describe(annotation, [*constraints, *unpacked])
    if origin in (Union, UnionType):
        kinds = [_describe(kind, constraints) for kind in arguments if kind is not NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if annotation is str and any(hasattr(c, "min_length") for c in constraints):
        return "a non-empty string"
    kind = _KINDS.get(origin or annotation) or f"a {getattr(annotation, '__name__', annotation)}"
    return f"{kind}{_describe_limits(constraints)}"


def _describe_limits(constraints: Iterable[object]) -> str:
    names = ("ge", "gt", "le", "max_length")
    limits = {name: getattr(c, name) for c in constraints for name in names if hasattr(c, name)}
    if "max_length" in limits:
        return f" of at most {limits['max_length']} strings"
    if "gt" in limits:
        return f" greater than {limits['gt']}"
    if "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    return f" of at least {limits['ge']}" if "ge" in limits else ""
