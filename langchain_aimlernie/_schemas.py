"""The schema of an answer: read from whatever users have, told to the API, held against answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache, partial
from itertools import islice
from types import FunctionType
from typing import Any, cast

from langchain_core.tools import BaseTool
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic_core import to_json
from typing_extensions import is_typeddict

from langchain_aimlernie._conformance import find_violations
from langchain_aimlernie._typed_dicts import typed_dict_schema

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
_PROBLEMS_TOLD = 5


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """What an answer must look like.

    Attributes:
        name: What the API is told, 1 to 64 of `A-Z a-z 0-9 _ -`.
        description: What the answer is for; empty if unknown.
        definition: The JSON Schema, without title and description unless the user wrapped it.
        load: Turns parsed JSON into what the user gets.
            Raises ValueError if it does not fit.
        output: The class of what `load` gives.
        traced: What tracers are told as the schema; core turns it into a JSON Schema.
        strict: Whether the API must follow the schema exactly; `None` leaves it to the API.
    """

    name: str
    description: str
    definition: Mapping[str, Any]
    load: Callable[[object], object]
    output: type
    traced: object
    strict: bool | None = None

    @property
    def wire_definition(self) -> dict[str, Any]:
        """The JSON Schema for the API: closed, and with every property required, if strict."""
        return _closed(self.definition) if self.strict else dict(self.definition)


def read_schema(given: object, strict: bool | None = None) -> AnswerSchema:
    """Understand any of the forms in which users have a schema. Nothing given is changed.

    Args:
        given: See `Schema`. A dict is told to the API as it is; classes lose their titles, and
            their `$ref`s are filled in unless a class holds itself.
        strict: Whether the API must follow the schema exactly.

    Raises:
        ValueError: `given` is none of the accepted forms, has no JSON Schema, or says another
            `strict` than the argument.
    """
    for applies, read in _READERS:
        if applies(given):
            return _with_strict(read(given), strict)
    raise ValueError(f"{given!r} is no schema of an answer. Give {_ACCEPTED}.")


def encode_response_format(schema: object, strict: bool | None = None) -> dict[str, Any]:
    """Turn a schema, or a response format that is already one, into the API's `response_format`.

    Args:
        schema: What `read_schema` takes, or `{"type": "text"}` or `{"type": "json_object"}`.
        strict: Whether the API must follow the schema exactly; `None` leaves it to the API.

    Raises:
        ValueError: `schema` is none of the accepted forms, has no JSON Schema, or says another
            `strict` than the argument.
    """
    if isinstance(schema, Mapping) and schema.get("type") in ("text", "json_object"):
        return {"type": schema["type"]}
    return encode_answer_format(read_schema(schema, strict))


def encode_answer_format(answer: AnswerSchema) -> dict[str, Any]:
    """Turn a schema into the `response_format` that makes the API keep to it."""
    json_schema = _described(answer) | {"schema": answer.wire_definition}
    return {"type": "json_schema", "json_schema": json_schema}


def encode_answer_tool(answer: AnswerSchema) -> dict[str, Any]:
    """Turn a schema into the function whose call is the answer.

    Raises:
        ValueError: The schema describes no object, so it cannot be a function's arguments.
    """
    if answer.definition.get("type", "object") != "object":
        raise ValueError(
            f"{answer.name} is of type {answer.definition['type']!r}, and only an object can be "
            "the arguments of a function: use method='json_schema', or a schema with fields."
        )
    function = _described(answer) | {"parameters": answer.wire_definition}
    return {"type": "function", "function": function}


def _described(answer: AnswerSchema) -> dict[str, Any]:
    described: dict[str, Any] = {"name": answer.name}
    if answer.description:
        described["description"] = answer.description
    if answer.strict is not None:
        described["strict"] = answer.strict
    return described


def _with_strict(answer: AnswerSchema, strict: bool | None) -> AnswerSchema:
    if strict is None or strict is answer.strict:
        return answer
    if answer.strict is not None:
        raise ValueError(
            f"The schema of {answer.name} says strict={answer.strict}, the call strict={strict}: "
            "say it in one place."
        )
    return replace(answer, strict=strict)


def _wire_name(name: object) -> str:
    """Keep what the API allows in a name (a generic class is called `Box[int]`)."""
    kept = _NOT_IN_NAMES.sub("_", str(name or ""))[:_LONGEST_NAME].strip("_")
    return kept or DEFAULT_NAME


# Classes


def _read_model(cls: type[BaseModel]) -> AnswerSchema:
    schema = _generated(cls, cls.model_json_schema)
    return _of_class(cls, schema, partial(_load_model, cls), cls)


def _read_model_v1(cls: type[BaseModelV1]) -> AnswerSchema:
    return _of_class(cls, _generated(cls, cls.schema), cls.parse_obj, cls)


def _read_dataclass(cls: type) -> AnswerSchema:
    schema = _generated(cls, lambda: _adapter(cls).json_schema())
    return _of_class(cls, schema, partial(_load_dataclass, cls))


def _read_typed_dict(cls: type) -> AnswerSchema:
    schema = _generated(cls, partial(typed_dict_schema, cls))
    return _of_schema(_without_titles(_inlined(schema)), cls.__name__)


def _generated(cls: type, generate: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return generate()
    except (PydanticUserError, NameError, RecursionError) as error:
        raise ValueError(f"{cls.__name__} has no JSON Schema: {error}") from error


def _of_class(
    cls: type,
    schema: Mapping[str, Any],
    load: Callable[[object], object],
    traced: object = None,
) -> AnswerSchema:
    name = schema.get("title") or cls.__name__
    answer = _of_schema(_without_titles(_inlined(schema)), name)
    return replace(answer, load=load, output=cls, traced=traced or answer.traced)


def _load_model(cls: type[BaseModel], value: object) -> BaseModel:
    """Validate as JSON, where a strict model takes dates, enums and tuples as JSON writes them."""
    try:
        text = to_json(value, inf_nan_mode="constants")
    except ValueError:  # half a surrogate pair, which JSON can escape and UTF-8 cannot write
        return cls.model_validate(value)
    return cls.model_validate_json(text)


def _load_dataclass(cls: type, value: object) -> object:
    return cast("object", _adapter(cls).validate_python(value))


@lru_cache(maxsize=256)
def _adapter(cls: type) -> TypeAdapter[Any]:
    return TypeAdapter(cls)


# Dicts and functions

_EMPTY_OBJECT: Mapping[str, Any] = {"type": "object", "properties": {}}
_WRAPPERS = ("json_schema", "function")
_BODIES = ("schema", "parameters", "input_schema")
_KEYWORDS = frozenset({"type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"})


def _read_dict(given: Mapping[str, Any]) -> AnswerSchema:
    """Tell JSON Schemas from their wrappers, which core takes for schemas or loses."""
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
    return _of_schema(given, given.get("title") or given.get("name"))


def _of_wrapped(given: Mapping[str, Any], body: Mapping[str, Any]) -> AnswerSchema:
    answer = _of_schema(body, given.get("name") or body.get("title"))
    description = given.get("description") or answer.description
    return replace(
        answer,
        description=description,
        definition=body,
        strict=given.get("strict"),
        traced=_as_function(answer.name, description, body),
    )


def _of_schema(schema: Mapping[str, Any], name: object) -> AnswerSchema:
    wire_name, description = _wire_name(name), schema.get("description") or ""
    definition = {k: v for k, v in schema.items() if k not in ("title", "description")}
    return AnswerSchema(
        name=wire_name,
        description=description,
        definition=definition,
        load=partial(_load_conforming, definition),
        output=dict,
        traced=_as_function(wire_name, description, definition),
    )


def _as_function(name: str, description: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """Give the one form that core turns into a JSON Schema without loss or failure."""
    described = {"name": name, "description": description} if description else {"name": name}
    return {**described, "parameters": dict(schema)}


def _load_conforming(definition: Mapping[str, Any], value: object) -> object:
    problems = list(islice(find_violations(value, definition), _PROBLEMS_TOLD))
    if problems:
        raise ValueError("; ".join(problems))
    return value


ANY_JSON = _of_schema({"type": ["object", "array"]}, None)
"""What an answer in JSON must look like where the user gave no schema."""


def _read_function(given: BaseTool | FunctionType) -> AnswerSchema:
    return _read_dict(convert_to_openai_function(given))


_Reader = tuple[Callable[[Any], bool], Callable[[Any], AnswerSchema]]
_READERS: tuple[_Reader, ...] = (
    (lambda given: isinstance(given, type) and issubclass(given, BaseModel), _read_model),
    (lambda given: isinstance(given, type) and issubclass(given, BaseModelV1), _read_model_v1),
    (is_typeddict, _read_typed_dict),
    (lambda given: isinstance(given, type) and is_dataclass(given), _read_dataclass),
    (lambda given: isinstance(given, Mapping), _read_dict),
    (lambda given: isinstance(given, (BaseTool, FunctionType)), _read_function),
)


# Rewriting JSON Schemas

_SCHEMA_MAPS = frozenset({"properties", "patternProperties", "$defs", "definitions"})
_SCHEMA_LISTS = frozenset({"anyOf", "oneOf", "allOf", "prefixItems"})
_SCHEMA_VALUES = frozenset({"items", "additionalProperties", "not", "contains"})

_Change = Callable[[Mapping[str, Any]], dict[str, Any]]


def _rewritten(schema: Mapping[str, Any], change: _Change) -> dict[str, Any]:
    """Apply `change` to each schema directly within; a property may be named like a keyword."""

    def changed(value: Any) -> Any:
        return change(value) if isinstance(value, Mapping) else value

    result = dict(schema)
    for key, value in schema.items():
        if key in _SCHEMA_MAPS and isinstance(value, Mapping):
            result[key] = {name: changed(part) for name, part in value.items()}
        elif key in _SCHEMA_LISTS and isinstance(value, list):
            result[key] = [changed(part) for part in value]
        elif key in _SCHEMA_VALUES:
            result[key] = changed(value)
    return result


def _without_titles(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the titles that pydantic makes of field names: tokens that say nothing."""
    untitled = {key: value for key, value in schema.items() if key != "title"}
    return _rewritten(untitled, _without_titles)


def _closed(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Ask for every property and no other, as strict modes of OpenAI's dialect demand."""
    closed = _rewritten(schema, _closed)
    if isinstance(closed.get("properties"), Mapping):
        closed["required"] = list(closed["properties"])
        closed["additionalProperties"] = False
    return closed


class _HoldsItselfError(Exception):
    """A class holds itself, so its `$ref`s cannot be filled in."""


def _inlined(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the `$ref`s, which not every server follows; leave them if a class holds itself."""
    definitions = schema.get("$defs") or schema.get("definitions") or {}
    body = {key: value for key, value in schema.items() if key not in ("$defs", "definitions")}
    try:
        return _filled_in(body, definitions, ())
    except _HoldsItselfError:
        root = definitions.get(str(schema.get("$ref")).rpartition("/")[2], {})
        rest = {key: value for key, value in schema.items() if key != "$ref"}
        return {**rest, **root}


def _filled_in(
    schema: Mapping[str, Any], definitions: Mapping[str, Any], open_names: tuple[str, ...]
) -> dict[str, Any]:
    reference = schema.get("$ref")
    if isinstance(reference, str):
        name = reference.rpartition("/")[2]
        if name in open_names:
            raise _HoldsItselfError
        siblings = {key: value for key, value in schema.items() if key != "$ref"}
        open_names = (*open_names, name)
        schema = {**definitions[name], **siblings}
    return _rewritten(schema, lambda part: _filled_in(part, definitions, open_names))
