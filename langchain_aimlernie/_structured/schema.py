"""Output schemas: parse user input, encode for the API, validate completions."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache, partial
from types import FunctionType
from typing import Any, cast

from langchain_core.tools import BaseTool, Tool, create_schema_from_function
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic_core import to_json
from typing_extensions import is_typeddict

from langchain_aimlernie._imports import DeferredImport
from langchain_aimlernie._structured.json_schema import (
    check_references,
    dereference,
    strict_schema,
    without_absent,
    without_lost_mappings,
    without_titles,
)
from langchain_aimlernie._structured.typed_dict import typed_dict_schema

Schema = Mapping[str, Any] | type | Callable[..., Any]
"""A pydantic class (v2 or v1), TypedDict, dataclass, JSON Schema, function schema or function."""

DEFAULT_NAME = "Answer"
"""What a schema without a title is called on the wire."""

_ACCEPTED = (
    "a pydantic class, a TypedDict, a dataclass, a JSON Schema, an OpenAI function, "
    '{"name": …, "schema": …} or {"type": "json_schema", …}'
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The schema of a structured output.

    Attributes:
        name: What the API is told, 1 to 64 of `A-Z a-z 0-9 _ -`.
        description: What the answer is for; empty if unknown.
        definition: The JSON Schema, without title and description unless the user wrapped it.
        validate: Turns parsed JSON into what the user gets.
            Raises ValueError if it is no instance of the schema.
        output: The class of what `validate` gives.
        traced: What tracers are told as the schema; core turns it into a JSON Schema.
        strict: Whether the API must follow the schema exactly; `None` leaves it to the API.
    """

    name: str
    description: str
    definition: Mapping[str, Any]
    validate: Callable[[object], object]
    output: type
    traced: object
    strict: bool | None = None

    @property
    def wire_definition(self) -> dict[str, Any]:
        """The JSON Schema for the API: closed, and with every property required, if strict."""
        return strict_schema(self.definition) if self.strict else dict(self.definition)

    def load(self, value: object) -> object:
        """Return the user's object for parsed JSON.

        A `null` that the schema does not allow, for a property that it does not require, counts as
        the property's absence: models write it so.

        Raises:
            ValueError: `value` is no instance of the schema.
        """
        try:
            return self.validate(value)
        except ValueError:
            without = without_absent(value, self.definition)
            if without == value:
                raise
        return self.validate(without)


def parse_schema(given: object, strict: bool | None = None) -> OutputSchema:
    """Return a schema in any form as an `OutputSchema`; the argument is not changed.

    Args:
        given: See `Schema`. A dict is sent to the API as it is, except for a
            `discriminator.mapping` that refers to what is not there; classes lose their titles, and
            their `$ref`s are replaced by what they refer to unless a class contains itself.
        strict: Whether the API must follow the schema exactly.

    Raises:
        ValueError: `given` is none of the accepted forms, has no JSON Schema or an invalid one, has
            a `$ref` that leads nowhere or only to itself, or says another `strict` than the
            argument.
    """
    answer = _read(given, strict)
    if answer.output is not dict:
        return answer
    return replace(answer, validate=_check_of(answer.definition))


_jsonschema = DeferredImport("langchain_aimlernie._structured.validation")

load_jsonschema = _jsonschema.aload


def _check_of(definition: Mapping[str, Any]) -> Callable[[object], object]:
    """Return the check of a dict.

    In a running event loop jsonschema is imported by a thread, and the schema itself is checked
    with the first answer.
    """
    if _jsonschema.is_done or not _is_in_event_loop():
        _jsonschema.load()
        return _make_check(definition)
    threading.Thread(target=_jsonschema.load, daemon=True).start()
    return partial(_check, definition)


def _is_in_event_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _make_check(definition: Mapping[str, Any]) -> Callable[[object], object]:
    from langchain_aimlernie._structured.validation import compile_check

    return compile_check(definition)


def _check(definition: Mapping[str, Any], value: object) -> object:
    return _make_check(definition)(value)


def _read(given: object, strict: bool | None) -> OutputSchema:
    """Return the parsed schema without the check of dicts."""
    for applies, read in _PARSERS:
        if applies(given):
            return _with_strict(read(given), strict)
    raise ValueError(f"{given!r} is no schema of an answer. Give {_ACCEPTED}.")


def encode_response_format(schema: object, strict: bool | None = None) -> dict[str, Any]:
    """Return a schema, or a response format, as the API's `response_format`.

    Args:
        schema: What `parse_schema` takes, or `{"type": "text"}` or `{"type": "json_object"}`.
        strict: Whether the API must follow the schema exactly; `None` leaves it to the API.

    Raises:
        ValueError: `schema` is none of the accepted forms, has no JSON Schema, has a `$ref` that
            leads nowhere or only to itself, or says another `strict` than the argument.
    """
    if isinstance(schema, Mapping) and schema.get("type") in ("text", "json_object"):
        return {"type": schema["type"]}
    return encode_output_format(_read(schema, strict))


def encode_output_format(answer: OutputSchema) -> dict[str, Any]:
    """Return the `response_format` of type `json_schema` for a schema."""
    json_schema = _with_description(answer) | {"schema": answer.wire_definition}
    return {"type": "json_schema", "json_schema": json_schema}


def encode_output_tool(answer: OutputSchema) -> dict[str, Any]:
    """Return the function whose arguments are the object.

    Raises:
        ValueError: The schema describes no object, so it cannot be a function's arguments.
    """
    if answer.definition.get("type", "object") != "object":
        raise ValueError(
            f"{answer.name} is of type {answer.definition['type']!r}, and only an object can be "
            "the arguments of a function: use method='json_schema', or a schema with fields."
        )
    function = _with_description(answer) | {"parameters": answer.wire_definition}
    return {"type": "function", "function": function}


def _with_description(answer: OutputSchema) -> dict[str, Any]:
    described: dict[str, Any] = {"name": answer.name}
    if answer.description:
        described["description"] = answer.description
    if answer.strict is not None:
        described["strict"] = answer.strict
    return described


def _with_strict(answer: OutputSchema, strict: bool | None) -> OutputSchema:
    if strict is None or strict is answer.strict:
        return answer
    if answer.strict is not None:
        raise ValueError(
            f"The schema of {answer.name} says strict={answer.strict}, the call strict={strict}: "
            "say it in one place."
        )
    return replace(answer, strict=strict)


def _wire_name(name: object) -> str:
    """Return a name with the characters that the API allows (a generic class is `Box[int]`)."""
    kept = _NOT_IN_NAMES.sub("_", str(name or ""))[:_LONGEST_NAME].strip("_")
    return kept or DEFAULT_NAME


# Classes


def _read_model(cls: type[BaseModel]) -> OutputSchema:
    return replace(_read_class(cls), validate=partial(_load_model, cls), output=cls, traced=cls)


def _read_model_v1(cls: type[BaseModelV1]) -> OutputSchema:
    return replace(_read_class(cls), validate=cls.parse_obj, output=cls, traced=cls)


def _read_dataclass(cls: type) -> OutputSchema:
    return replace(_read_class(cls), validate=partial(_load_dataclass, cls), output=cls)


def _read_class(cls: type) -> OutputSchema:
    schema = _class_schema(cls)
    return _of_schema(schema, schema["title"])


def _class_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of a class, inlined, with no title but its own."""
    try:
        schema = dereference(_json_schema_of(cls))
    except (PydanticUserError, NameError, RecursionError) as error:
        raise ValueError(f"{cls.__name__} has no JSON Schema: {error}") from error
    return {**without_titles(schema), "title": schema.get("title") or cls.__name__}


def _json_schema_of(cls: Any) -> dict[str, Any]:
    if issubclass(cls, BaseModelV1):
        return cast("dict[str, Any]", cls.schema())
    if issubclass(cls, BaseModel):
        return cast("dict[str, Any]", cls.model_json_schema())
    return typed_dict_schema(cls) if is_typeddict(cls) else _adapter(cls).json_schema()


def _load_model(cls: type[BaseModel], value: object) -> BaseModel:
    return cast("BaseModel", _load_json(cls.model_validate_json, cls.model_validate, value))


def _load_dataclass(cls: type, value: object) -> object:
    adapter = _adapter(cls)
    return _load_json(adapter.validate_json, adapter.validate_python, value)


def _load_json(
    load_json: Callable[[bytes], object], load_python: Callable[[object], object], value: object
) -> object:
    """Validate as JSON: a strict class then accepts dates, enums and tuples in JSON's form."""
    try:
        text = to_json(value, inf_nan_mode="constants")
    except ValueError:  # half a surrogate pair, which JSON can escape and UTF-8 cannot write
        return load_python(value)
    return load_json(text)


@lru_cache(maxsize=256)
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


# Dicts and functions

_EMPTY_OBJECT: Mapping[str, Any] = {"type": "object", "properties": {}}
_WRAPPERS = ("json_schema", "function")
_BODIES = ("schema", "parameters", "input_schema")
_KEYWORDS = frozenset({"type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"})


def _read_dict(given: Mapping[str, Any]) -> OutputSchema:
    """Distinguish JSON Schemas from their wrappers, which core takes for schemas or loses."""
    for wrapper in _WRAPPERS:
        if isinstance(given.get(wrapper), Mapping):
            given = given[wrapper]
    if "properties" not in given:
        body = next((given[key] for key in _BODIES if isinstance(given.get(key), Mapping)), None)
        if body is None and "name" in given and not _KEYWORDS & given.keys():
            body = _EMPTY_OBJECT
        if body is not None:
            return _of_wrapped(given, body)
    if not _KEYWORDS & given.keys() or given.get("type") in ("text", "json_object", *_WRAPPERS):
        raise ValueError(f"{dict(given)!r} holds no JSON Schema. Give {_ACCEPTED}.")
    check_references(given)
    given = without_lost_mappings(given)
    return _of_schema(given, given.get("title") or given.get("name"))


def _of_wrapped(given: Mapping[str, Any], body: Mapping[str, Any]) -> OutputSchema:
    check_references(body)
    body = without_lost_mappings(body)
    answer = _of_schema(body, given.get("name") or body.get("title"))
    description = given.get("description") or answer.description
    return replace(
        answer,
        description=description,
        definition=body,
        strict=given.get("strict"),
        traced=_as_function(answer.name, description, body),
    )


def _of_schema(schema: Mapping[str, Any], name: object) -> OutputSchema:
    wire_name, description = _wire_name(name), schema.get("description") or ""
    definition = _definition(schema)
    return OutputSchema(
        name=wire_name,
        description=description,
        definition=definition,
        validate=_unchecked,
        output=dict,
        traced=_as_function(wire_name, description, definition),
    )


def _definition(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


def _as_function(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the one form that core converts to a JSON Schema without loss or failure."""
    described = {"name": name, "description": description} if description else {"name": name}
    return {**described, "parameters": dict(schema)}


def _unchecked(value: object) -> object:
    return value


def _object_or_list(value: object) -> object:
    if not isinstance(value, (dict, list)):
        raise ValueError("the answer: it is neither an object nor a list")  # noqa: TRY004
    return value


ANY_JSON = replace(_of_schema({"type": ["object", "array"]}, None), validate=_object_or_list)
"""What an answer in JSON must look like where the user gave no schema."""


def _read_function(given: BaseTool | FunctionType) -> OutputSchema:
    return _read_dict(cast("Mapping[str, Any]", encode_function(given)))


_Reader = tuple[Callable[[Any], bool], Callable[[Any], OutputSchema]]
_PARSERS: tuple[_Reader, ...] = (
    (lambda given: isinstance(given, type) and issubclass(given, BaseModel), _read_model),
    (lambda given: isinstance(given, type) and issubclass(given, BaseModelV1), _read_model_v1),
    (is_typeddict, _read_class),
    (lambda given: isinstance(given, type) and is_dataclass(given), _read_dataclass),
    (lambda given: isinstance(given, Mapping), _read_dict),
    (lambda given: isinstance(given, (BaseTool, FunctionType)), _read_function),
)


# Tools


def encode_function(tool: Any) -> Any:
    """Return a tool as an OpenAI function, with the schema that `parse_schema` would read.

    Core's conversion loses recursive definitions, and keeps what refers to lost ones.

    Args:
        tool: What `bind_tools` takes. What has no schema of its own (a dict, a tool for one string)
            is returned as it is, for core to convert.

    Raises:
        ValueError: A class has no JSON Schema, or a tool's schema has a `$ref` that leads nowhere.
    """
    if isinstance(tool, BaseTool):
        is_plain = isinstance(tool, Tool) and not tool.args_schema
        return tool if is_plain else _function_of_tool(tool)
    if isinstance(tool, type) and any(applies(tool) for applies, _ in _PARSERS):
        schema = _class_schema(tool)
        return _function(schema["title"], schema.get("description"), schema)
    if callable(tool) and isinstance(name := getattr(tool, "__name__", None), str):
        arguments = create_schema_from_function(
            name, tool, filter_args=(), parse_docstring=True, include_injected=False
        )
        return _function(name, arguments.__doc__, _class_schema(arguments))
    return tool


def _function_of_tool(tool: BaseTool) -> dict[str, Any]:
    given = tool.tool_call_schema
    if isinstance(given, Mapping):  # as the tools of MCP servers have it
        return _function(tool.name, tool.description, without_titles(dereference(given)))
    return _function(tool.name, tool.description, _class_schema(given))


def _function(name: str, description: str | None, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "description": description or "", "parameters": _definition(schema)}


def encode_parameters(function: Mapping[str, Any], strict: bool | None) -> dict[str, Any]:
    """Return the `parameters` of an OpenAI function as they are sent.

    Args:
        function: The function, as users or `encode_function` have it.
        strict: Whether the arguments must follow the schema exactly; the function may say so, too.

    Raises:
        ValueError: A `$ref` leads nowhere, or the function says another `strict`.
    """
    own = function.get("strict")
    if None not in (own, strict) and own is not strict:
        raise ValueError(
            f"The tool {function.get('name')} says strict={own}, the call strict={strict}: "
            "say it in one place."
        )
    parameters = function.get("parameters") or _EMPTY_OBJECT
    check_references(parameters)
    parameters = without_lost_mappings(parameters)
    return strict_schema(parameters) if own or strict else parameters
