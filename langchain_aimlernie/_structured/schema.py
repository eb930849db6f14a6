"""Output schemas: parse user input, encode for the API, validate completions."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from types import FunctionType
from typing import Any

from langchain_core.tools import BaseTool
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic_core import to_json
from typing_extensions import is_typeddict

from langchain_aimlernie._imports import DeferredImport, is_loop_running
from langchain_aimlernie._structured.functions import (
    adapter_of,
    encode_function,
    is_class,
)
from langchain_aimlernie._structured.json_extraction import whole_json
from langchain_aimlernie._structured.json_schema import schemas_of_value, strict_schema

DEFAULT_NAME = "Answer"  # of a schema without a title
_ACCEPTED = (
    "a pydantic class, a TypedDict, a dataclass, a JSON Schema, an OpenAI function, "
    '{"name": …, "schema": …} or {"type": "json_schema", …}; for a list or a union, a subclass of '
    "pydantic's RootModel[…]"
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64

_validation = DeferredImport("langchain_aimlernie._structured.validation")
load_jsonschema = _validation.aload


@dataclass(frozen=True)
class OutputSchema:
    """The schema of a structured output."""

    name: str  # valid for the API
    description: str
    definition: Mapping[str, Any]  # the JSON Schema
    output: type = dict  # the class of the user's objects
    strict: bool | None = None

    @property
    def is_object(self) -> bool:
        """Whether the output can be the arguments of a function."""
        return bool(self.definition.get("type", "object") == "object")

    @property
    def tracing_schema(self) -> object:
        """The schema for tracers, in a form that core converts without loss or failure."""
        return replace(self, strict=None).to_dict("parameters")

    def is_name(self, name: object) -> bool:
        """Whether a call has the name of the schema; some servers write `functions.City`."""
        return isinstance(name, str) and name.rpartition(".")[2] == self.name

    def to_dict(self, key: str) -> dict[str, Any]:
        """Return name, description and JSON Schema (under `key`), in strict form if `strict`."""
        definition = strict_schema(self.definition) if self.strict else dict(self.definition)
        encoded: dict[str, Any] = {"name": self.name}
        if self.description:
            encoded["description"] = self.description
        if self.strict is not None:
            encoded["strict"] = self.strict
        return encoded | {key: definition}

    def convert(self, value: object) -> object:
        """Return the user's object for parsed JSON as it is, or raise a ValueError."""
        cls: Any = self.output
        if cls is dict:
            from langchain_aimlernie._structured.validation import check_instance

            return check_instance(self.definition, value)
        try:
            if issubclass(cls, BaseModelV1):
                return cls.parse_obj(value)
            # As JSON: a strict class then accepts dates, enums and tuples in JSON's form. By alias
            # and by name: its JSON Schema, and so the model, may have either.
            adapter: Any = adapter_of(cls)
            data, validate = value, adapter.validate_python
            with suppress(ValueError):  # half a surrogate pair, which UTF-8 cannot encode
                data, validate = to_json(value, inf_nan_mode="constants"), adapter.validate_json
            return validate(data, by_alias=True, by_name=True)
        except ValueError:
            raise
        except Exception as error:  # of the class's own validators, which expect other data
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def validate(self, value: object) -> object:
        """Return the user's object for parsed JSON, repaired if needed, or raise a ValueError.

        Models write absent properties as `null`, lists and objects as JSON strings, and the object
        within another object or list: where the schema does not allow that, it is undone.
        """
        has_more = self.output is dict and not _MORE_PROPERTIES.isdisjoint(self.definition)
        schemas = self._schemas
        is_wrapper = isinstance(value, dict) or len(schemas) == 1  # a union may be of lists, too
        is_closed = all(s.get("additionalProperties", False) is False for s in schemas)
        if is_wrapper and is_closed and not has_more:
            value = self._unwrapped(value)  # else its keys may be meant, though none is known
        try:
            return self.convert(value)
        except ValueError:
            from langchain_aimlernie._structured.validation import repair

            repaired = self._unwrapped(repair(self.definition, value))
            if repaired is value or repaired == value:  # NaN is not equal to itself
                raise
        return self.validate(repaired)

    @cached_property
    def _schemas(self) -> list[Mapping[str, Any]]:
        """The schemas of the whole value, which each validation, also within a stream, reads."""
        return schemas_of_value(self.definition)

    def _unwrapped(self, value: object) -> object:
        """Return the object in `{"City": {…}}`, `[{…}]`, `{"name": "City", "arguments": "{…}"}`.

        It must be the only object with a property of the schema; else the value is returned.
        """
        known = {*chain.from_iterable(each.get("properties") or () for each in self._schemas)}

        def is_match(part: object) -> bool:
            if not isinstance(part, dict):
                return False
            is_call = self.is_name(part.get("name"))
            return any(key in known for key in part if not (is_call and key == "name"))

        parts, found = [value], list[object]()
        while parts:
            found += filter(is_match, parts)
            parts = [*chain.from_iterable(_parts_of(part) for part in parts if not is_match(part))]
        return found[0] if len(found) == 1 else value


def _parts_of(value: object) -> Iterable[object]:
    """Return the parts of a value, but not several items, since one or all may be meant."""
    if isinstance(value, str):
        return whole_json(value)
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) and len(value) == 1 else ()


def parse_schema(given: object, strict: bool | None = None) -> OutputSchema:
    """Return a schema in any format as an `OutputSchema`, or raise a ValueError.

    If an event loop is running, jsonschema may report an invalid one only with the first
    completion.
    """
    schema = _read(given, strict)
    if schema.output is not dict:
        return schema
    if not is_loop_running():
        _validation.load()
    if not _validation.is_done:  # an event loop must not wait for the import
        threading.Thread(target=_validation.load, daemon=True).start()
        return schema
    from langchain_aimlernie._structured.validation import check_schema

    check_schema(schema.definition)
    return schema


def _read(given: Any, strict: bool | None) -> OutputSchema:
    """Parse a schema, without a check of its definition."""
    is_readable = is_class(given) or isinstance(given, (Mapping, BaseTool, FunctionType))
    function = encode_function(given) if is_readable else None
    if function is None:
        problem = "contains no JSON Schema" if isinstance(given, Mapping) else "is not a schema"
        raise ValueError(f"{given!r} {problem}. Give {_ACCEPTED}.")
    name = _wire_name(function.get("name"))
    return OutputSchema(
        name,
        function.get("description") or "",
        function["parameters"],
        output=given if isinstance(given, type) and not is_typeddict(given) else dict,
        strict=merge_strict(name, function.get("strict"), strict),
    )


def merge_strict(name: object, own: bool | None, given: bool | None) -> bool | None:
    """Return the `strict` of the schema or the call, or raise a ValueError if they differ."""
    for value in (own, given):
        if not isinstance(value, bool | None):
            raise ValueError(f"strict must be True, False or None; got {value!r}.")  # noqa: TRY004  as for all parameters
    if None not in (own, given) and own is not given:
        raise ValueError(
            f"The schema of {name} says strict={own}, the call strict={given}: say it in one place."
        )
    return own if given is None else given


def encode_response_format(schema: object, strict: bool | None = None) -> dict[str, Any]:
    """Return a schema, or a response format, as the API's `response_format`.

    Accepts what `parse_schema` does, and `{"type": "text"}` and `{"type": "json_object"}`.
    """
    if isinstance(schema, Mapping) and schema.get("type") in ("text", "json_object"):
        return {"type": schema["type"]}
    return encode_output_format(_read(schema, strict))


def encode_output_format(schema: OutputSchema) -> dict[str, Any]:
    """Return the `response_format` of type `json_schema` for a schema."""
    return {"type": "json_schema", "json_schema": schema.to_dict("schema")}


def encode_output_tool(schema: OutputSchema) -> dict[str, Any]:
    """Return the tool whose arguments are the output, or raise a ValueError if it is no object."""
    if not schema.is_object:
        raise ValueError(
            f"{schema.name} is of type {schema.definition['type']!r}, but only an object can be "
            "the arguments of a function: use method='json_schema', or a schema with fields."
        )
    return {"type": "function", "function": schema.to_dict("parameters")}


_MORE_PROPERTIES = frozenset(
    {"patternProperties", "allOf", "anyOf", "oneOf", "if", "dependentSchemas", "$ref"}
)
"""Keywords that may name properties beside `properties`."""


def _wire_name(name: object) -> str:
    """Return a name that the API allows, unlike `Box[int]`, the name of a generic class."""
    return _NOT_IN_NAMES.sub("_", str(name or ""))[:_LONGEST_NAME].strip("_") or DEFAULT_NAME


ANY_JSON = OutputSchema(DEFAULT_NAME, "", {"type": ["object", "array"]})  # without a schema
