"""Output schemas: parse user input, encode for the API, validate completions."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import lru_cache
from types import FunctionType, UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from langchain_core.runnables import RunnableConfig
from langchain_core.tools import (
    FILTERED_ARGS,
    BaseTool,
    StructuredTool,
    Tool,
    create_schema_from_function,
)
from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import BaseModel, Field, TypeAdapter, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.v1 import BaseModel as BaseModelV1
from pydantic_core import to_json
from typing_extensions import NoExtraItems, ReadOnly, TypedDict, is_typeddict

from langchain_aimlernie._imports import DeferredImport
from langchain_aimlernie._structured.json_schema import (
    check_references,
    dereference,
    strict_schema,
)

DEFAULT_NAME = "Answer"
"""What a schema without a title is called on the wire."""

_ACCEPTED = (
    "a pydantic class, a TypedDict, a dataclass, a JSON Schema, an OpenAI function, "
    '{"name": …, "schema": …} or {"type": "json_schema", …}; for a list or a union, a subclass of '
    "pydantic's RootModel[…]"
)
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]")
_LONGEST_NAME = 64

_validation = DeferredImport("langchain_aimlernie._structured.validation")
load_jsonschema = _validation.aload


@dataclass(frozen=True, slots=True)
class OutputSchema:
    """The schema of a structured output.

    Attributes:
        name: What the API is told, 1 to 64 of `A-Z a-z 0-9 _ -`.
        description: What the output is for; empty if unknown.
        definition: The JSON Schema, without title and description unless the user wrapped it.
        output: The class of the user's objects.
        strict: Whether the API must follow the schema exactly; `None` leaves it to the API.
    """

    name: str
    description: str
    definition: Mapping[str, Any]
    output: type = dict
    strict: bool | None = None

    @property
    def is_object(self) -> bool:
        """Whether the output can be the arguments of a function."""
        return bool(self.definition.get("type", "object") == "object")

    @property
    def wire_definition(self) -> dict[str, Any]:
        """The JSON Schema for the API: closed, and with every property required, if strict."""
        return strict_schema(self.definition) if self.strict else dict(self.definition)

    @property
    def tracing_schema(self) -> object:
        """The schema for tracers, in a form that core converts without loss or failure."""
        if issubclass(self.output, (BaseModel, BaseModelV1)):
            return self.output
        described = {"description": self.description} if self.description else {}
        return {"name": self.name, **described, "parameters": dict(self.definition)}

    def convert(self, value: object) -> object:
        """Return the user's object for parsed JSON as it stands; a ValueError if it is none."""
        if self.output is dict:
            from langchain_aimlernie._structured.validation import check_instance

            return check_instance(self.definition, value)
        try:
            return self._instance(value)
        except ValueError:
            raise
        except Exception as error:  # of the class's own validators, which expect other data
            raise ValueError(f"{type(error).__name__}: {error}") from error

    def _instance(self, value: object) -> object:
        cls: Any = self.output
        if issubclass(cls, BaseModelV1):
            return cls.parse_obj(value)
        # As JSON: a strict class then accepts dates, enums and tuples in JSON's form.
        try:
            text = to_json(value, inf_nan_mode="constants")
        except ValueError:  # half a surrogate pair, which JSON can escape and UTF-8 cannot write
            return _adapter(cls).validate_python(value)
        return _adapter(cls).validate_json(text)

    def validate(self, value: object) -> object:
        """Return the user's object for parsed JSON; a ValueError if it is not an instance.

        Models write absent properties as `null`, lists and objects as strings that hold them, and
        an object within another, which has its name: what the schema does not allow otherwise
        counts as what is meant.
        """
        if self.output is not dict and not self.definition.get("additionalProperties"):
            value = self._unwrapped(value)  # else the class would leave out what it does not know
        try:
            return self.convert(value)
        except ValueError:
            from langchain_aimlernie._structured.validation import mend

            meant = self._unwrapped(mend(self.definition, value))
            if meant is value or meant == value:  # NaN is not equal to itself
                raise
        return self.validate(meant)

    def _unwrapped(self, value: object) -> object:
        """Return the object within one that has no property of the schema, such as `{"City": {…}}`.

        A call that is written as text has the schema's name under "name".
        """
        known = self.definition.get("properties")
        if not isinstance(value, dict) or not isinstance(known, Mapping):
            return value
        if any(key in known and (key, part) != ("name", self.name) for key, part in value.items()):
            return value
        parts = [p for p in value.values() if isinstance(p, dict) and p.keys() & known.keys()]
        return parts[0] if len(parts) == 1 else value


def parse_schema(given: object, strict: bool | None = None) -> OutputSchema:
    """Return a schema in any form as an `OutputSchema`.

    A dict is sent to the API as it is, except for a `discriminator.mapping` that refers to what is
    not there; classes lose their titles, and their `$ref`s are replaced by what they refer to
    unless a class contains itself.

    Raises:
        ValueError: `given` has an unknown form, no JSON Schema, an invalid one (in a running event
            loop, jsonschema may say so only with the first completion), a `$ref` that leads nowhere
            or only to itself, or another `strict` than the argument.
    """
    schema = _read(given, strict)
    if schema.output is not dict:
        return schema
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        _validation.load()
    if not _validation.is_done:  # an event loop does not wait for it
        threading.Thread(target=_validation.load, daemon=True).start()
        return schema
    from langchain_aimlernie._structured.validation import check_schema

    check_schema(schema.definition)
    return schema


def _read(given: Any, strict: bool | None) -> OutputSchema:
    """Return the parsed schema, whose definition need not be valid."""
    is_function = isinstance(given, (BaseTool, FunctionType))
    function = encode_function(given) if is_function else given
    if _is_class(given):
        schema = _read_class(given)
    elif isinstance(function, Mapping):
        schema = _read_dict(function)
    else:
        raise ValueError(f"{given!r} is not a schema. Give {_ACCEPTED}.")
    return replace(schema, strict=merge_strict(schema.name, schema.strict, strict))


def merge_strict(name: object, own: bool | None, given: bool | None) -> bool | None:
    """Return the `strict` of a schema: its own or that of the call; a ValueError if they differ."""
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

    Takes what `parse_schema` takes, and `{"type": "text"}` and `{"type": "json_object"}`.
    """
    if isinstance(schema, Mapping) and schema.get("type") in ("text", "json_object"):
        return {"type": schema["type"]}
    return encode_output_format(_read(schema, strict))


def encode_output_format(schema: OutputSchema) -> dict[str, Any]:
    """Return the `response_format` of type `json_schema` for a schema."""
    json_schema = _with_description(schema) | {"schema": schema.wire_definition}
    return {"type": "json_schema", "json_schema": json_schema}


def encode_output_tool(schema: OutputSchema) -> dict[str, Any]:
    """Return the function whose arguments are the object; a ValueError if it is not an object."""
    if not schema.is_object:
        raise ValueError(
            f"{schema.name} is of type {schema.definition['type']!r}, and only an object can be "
            "the arguments of a function: use method='json_schema', or a schema with fields."
        )
    function = _with_description(schema) | {"parameters": schema.wire_definition}
    return {"type": "function", "function": function}


def _with_description(schema: OutputSchema) -> dict[str, Any]:
    described: dict[str, Any] = {"name": schema.name}
    if schema.description:
        described["description"] = schema.description
    if schema.strict is not None:
        described["strict"] = schema.strict
    return described


# Classes


def _read_class(cls: type) -> OutputSchema:
    schema = _class_schema(cls)
    target = _of_schema(schema, schema["title"])
    return target if is_typeddict(cls) else replace(target, output=cls)


def _class_schema(cls: Any) -> dict[str, Any]:
    """Return the JSON Schema of a class, inlined, with no title but its own."""
    try:
        if is_typeddict(cls):
            schema = _typed_dict_schema(cls)
        elif issubclass(cls, BaseModelV1):
            schema = cls.schema()
        elif issubclass(cls, BaseModel):
            schema = cls.model_json_schema()
        else:
            schema = _adapter(cls).json_schema()
        schema = dereference(schema)
    except (PydanticUserError, AttributeError, NameError, RecursionError) as error:
        raise ValueError(f"{cls.__name__} has no JSON Schema: {error}") from error
    return {**schema, "title": schema.get("title") or cls.__name__}


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
    is_schema = not given.keys().isdisjoint(_KEYWORDS)
    keys = () if "properties" in given else _BODIES
    body = next((given[key] for key in keys if isinstance(given.get(key), Mapping)), None)
    if body is None and "name" in given and not is_schema:
        body = _EMPTY_OBJECT
    if body is not None:
        body = check_references(body)
        target = _of_schema(body, given.get("name") or body.get("title"))
        description = given.get("description") or target.description
        strict = given.get("strict")
        return replace(target, description=description, definition=body, strict=strict)
    if not is_schema or given.get("type") in ("text", "json_object", *_WRAPPERS):
        raise ValueError(f"{dict(given)!r} holds no JSON Schema. Give {_ACCEPTED}.")
    return _of_schema(check_references(given), given.get("title") or given.get("name"))


def _of_schema(schema: Mapping[str, Any], name: object) -> OutputSchema:
    definition = _definition(schema)
    # A generic class is called `Box[int]`, which the API does not allow.
    wire_name = _NOT_IN_NAMES.sub("_", str(name or ""))[:_LONGEST_NAME].strip("_") or DEFAULT_NAME
    return OutputSchema(wire_name, schema.get("description") or "", definition)


def _definition(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


ANY_JSON = _of_schema({"type": ["object", "array"]}, None)
"""The output in JSON mode without a schema."""


def _is_class(given: object) -> bool:
    return is_typeddict(given) or (
        isinstance(given, type)
        and (issubclass(given, (BaseModel, BaseModelV1)) or is_dataclass(given))
    )


# Tools


def encode_function(tool: Any) -> dict[str, Any] | None:
    """Return a tool as an OpenAI function, with the schema that `parse_schema` would read.

    `None` for what has no schema of its own (a dict, a tool for one string, a class of tools).
    Core's conversion loses recursive definitions, and keeps what refers to lost ones.
    """
    name: Any = getattr(tool, "__name__", None)
    description: Any
    if isinstance(tool, BaseTool):
        if isinstance(tool, Tool) and not tool.args_schema:
            return None
        given = _arguments_schema(tool)
        schema = dereference(given) if isinstance(given, Mapping) else _class_schema(given)
        name, description = tool.name, tool.description
    elif isinstance(tool, type) and issubclass(tool, BaseTool):
        return None
    elif _is_class(tool):
        schema = _class_schema(tool)
        name, description = schema["title"], schema.get("description")
    elif callable(tool) and isinstance(name, str):
        arguments = _function_arguments(name, tool)
        # As a tool, since only there core leaves out what is injected if annotations are strings.
        made = StructuredTool(name=name, description="", args_schema=arguments)
        schema, description = _class_schema(_arguments_schema(made)), arguments.__doc__
    else:
        return None
    parameters = _definition(schema) or _EMPTY_OBJECT
    return {"name": name, "description": description or "", "parameters": parameters}


def _arguments_schema(tool: BaseTool) -> Any:
    """Return the schema of what a model passes to a tool; of the tools of MCP servers, a dict.

    Core's own class of it leaves out the aliases of fields, or such a field itself; but a tool
    takes an argument by its alias.
    """
    schema: Any = tool.tool_call_schema
    fields: Mapping[str, FieldInfo] = getattr(tool.args_schema, "model_fields", {})
    if not any(field.validation_alias for field in fields.values()):
        return schema
    kept: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in fields.items()
        if field.validation_alias or name in schema.model_fields
    }
    return create_model(tool.name, **kept)


def _function_arguments(name: str, function: Any) -> Any:
    """Return the class of a function's arguments, but for those that LangChain passes."""
    try:
        hints = get_type_hints(function)
        configs = [key for key, hint in hints.items() if RunnableConfig in (hint, *get_args(hint))]
        return create_schema_from_function(
            name,
            function,
            filter_args=[*configs, *FILTERED_ARGS] if configs else (),
            parse_docstring=True,
        )
    except (NameError, TypeError, PydanticUserError) as error:
        raise ValueError(f"The arguments of {name} have no JSON Schema: {error}") from error


# TypedDicts: core's conversion loses `None`, `NotRequired` and `total=False`, takes the docstring
# of `dict` for the class's, and fails on a class that contains itself; pydantic's refuses
# `typing.TypedDict` before Python 3.12 and ignores `Annotated[type, default, "description"]`.

_QUALIFIERS = (Required, NotRequired, ReadOnly)


def _typed_dict_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of a TypedDict class.

    Descriptions come from `Annotated[type, "description"]`, from LangChain's
    `Annotated[type, default, "description"]`, where a default other than `...` makes the key
    optional, and from the section "Args:" of the docstring, as core reads it. A class within itself
    becomes any object.
    """
    schema = TypeAdapter(_normalize(cls, frozenset())).json_schema()
    if "Args:" not in (cls.__doc__ or ""):
        return schema
    try:
        function = convert_to_openai_function(cls)
    except Exception:  # noqa: BLE001  core cannot convert every class; then the whole text describes it
        return schema
    schema["description"] = function["description"]
    for name, described in function["parameters"]["properties"].items():
        if "description" in described:
            schema["properties"][name].setdefault("description", described["description"])
    return schema


def _normalize(hint: Any, within: frozenset[type]) -> Any:
    """Return an annotation whose TypedDicts have the form that pydantic reads."""
    if is_typeddict(hint):
        if hint in within:
            return dict[str, Any]
        keys, required = get_type_hints(hint, include_extras=True), hint.__required_keys__
        fields = {key: _field(keys[key], key in required, within | {hint}) for key in keys}
        extra = _field(getattr(hint, "__extra_items__", NoExtraItems), True, within | {hint})
        closed = getattr(hint, "__closed__", None)
        readable: Any = TypedDict(hint.__name__, fields, closed=closed, extra_items=extra)  # type: ignore[misc]  # made at run time
        readable.__doc__ = hint.__doc__
        readable.__pydantic_config__ = getattr(hint, "__pydantic_config__", {})  # type: ignore[attr-defined]  # pydantic reads it
        return readable
    arguments = get_args(hint)
    rebuilt = tuple(_normalize(argument, within) for argument in arguments)
    if rebuilt == arguments:
        return hint
    origin = get_origin(hint)
    if origin is UnionType:
        return Union[rebuilt]  # noqa: UP007  of as many as there are
    return origin[rebuilt if len(rebuilt) > 1 else rebuilt[0]]


def _field(hint: Any, required: bool, within: frozenset[type]) -> Any:
    """Return the annotation of a key in the form that pydantic reads."""
    while (qualifier := get_origin(hint)) in _QUALIFIERS:
        if qualifier is not ReadOnly:  # an annotation that is text hides it from the class
            required = qualifier is Required
        hint = get_args(hint)[0]
    extras: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
    match extras:
        case [default, str(description), *_]:
            shown = None if default is ... or default is None else {"default": default}
            extras.append(Field(description=description, json_schema_extra=shown))
            required = required and default is ...
        case [str(description), *_]:
            extras.append(Field(description=description))
    hint = _normalize(hint, within)
    for extra in extras:
        hint = Annotated[hint, extra]
    return hint if required else NotRequired[hint]
