"""Convert classes, functions, tools and dicts to OpenAI functions.

Core's `convert_to_openai_tool` loses recursive definitions, but keeps the references to them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import is_dataclass
from functools import lru_cache
from types import UnionType
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
from pydantic.v1 import BaseModel as BaseModelV1
from typing_extensions import NoExtraItems, ReadOnly, TypedDict, is_typeddict

from langchain_aimlernie._structured.json_schema import check_references, dereference

PARAMETERS_KEYS = ("parameters", "input_schema", "inputSchema")
"""The keys of OpenAI, Anthropic and MCP for the schema of a tool's parameters."""

_WRAPPERS = ("json_schema", "function", "toolSpec")
_BODIES = ("schema", *PARAMETERS_KEYS)
_KEYWORDS = frozenset({"type", "properties", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"})
_OTHER_KEYS = frozenset({"cache_control", "annotations", "_meta"})
"""Keys with an object that is not the schema, in tools of Anthropic and MCP."""


def encode_function(tool: Any) -> dict[str, Any] | None:
    """Return a tool or a schema as an OpenAI function.

    Returns `None` for what has no schema, such as a `Tool` for one string or a class of tools.
    """
    if isinstance(tool, Mapping):
        return _read_dict(tool)
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
    elif is_class(tool):
        schema = _class_schema(tool)
        name, description = schema["title"], schema.get("description")
    elif callable(tool) and isinstance(name, str):
        arguments = _function_arguments(name, tool)
        # If annotations are strings, core leaves out injected arguments only for a tool.
        as_tool = StructuredTool(name=name, description="", args_schema=arguments)
        schema, description = _class_schema(_arguments_schema(as_tool)), arguments.__doc__
    else:
        return None
    parameters = without_labels(schema)
    return {"name": name, "description": description or "", "parameters": parameters}


def _read_dict(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return a JSON Schema, with or without wrappers, as a function; `None` if there is none."""
    for wrapper in _WRAPPERS:
        if isinstance(given.get(wrapper), Mapping):
            given = given[wrapper]
    kind = given.get("type")
    is_schema = kind != "function" and not given.keys().isdisjoint(_KEYWORDS)
    body = _body(given)
    if body is None and not is_schema and _has_no_parameters(given):
        body = {"type": "object", "properties": {}}
    if body is not None:
        name = given.get("name") or body.get("title")
        description = given.get("description", body.get("description"))
        parameters, strict = check_references(body), given.get("strict")
    elif is_schema and kind not in ("text", "json_object", *_WRAPPERS):
        body, strict = check_references(given), None
        name, description = body.get("title") or given.get("name"), body.get("description")
        parameters = without_labels(body)
    else:
        return None
    function = {"name": name, "description": description, "parameters": parameters}
    function["strict"] = strict
    return {key: value for key, value in function.items() if value is not None}


def _body(given: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return the JSON Schema in a function or a named schema; `None` if it has none."""
    bodies = [] if "properties" in given else map(given.get, _BODIES)
    body = next((body for body in bodies if isinstance(body, Mapping)), None)
    within = body and body.get("json")  # Bedrock's
    return within if isinstance(within, Mapping) else body


def _has_no_parameters(given: Mapping[str, Any]) -> bool:
    """Whether this is a function without parameters, not a dict of another format."""
    objects = {key for key, value in given.items() if isinstance(value, Mapping)}
    return "name" in given and objects <= _OTHER_KEYS and not any(map(given.get, _BODIES))


def _arguments_schema(tool: BaseTool) -> Any:
    """Return the class or, for tools of MCP servers, the JSON Schema of a tool's arguments.

    Core's class does not have the aliases of fields, or not such a field at all; but a tool expects
    an argument under its alias.
    """
    schema: Any = tool.tool_call_schema
    fields: Mapping[str, Any] = getattr(tool.args_schema, "model_fields", {})
    if not any(field.validation_alias for field in fields.values()):
        return schema
    kept: dict[str, Any] = {
        name: (field.annotation, field)
        for name, field in fields.items()
        if field.validation_alias or name in schema.model_fields
    }
    return create_model(tool.name, **kept)


def _function_arguments(name: str, function: Any) -> Any:
    """Return the class of a function's arguments, without those that LangChain passes."""
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


def without_labels(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema without its title and description, which are sent beside it."""
    return {key: value for key, value in schema.items() if key not in ("title", "description")}


# Classes


def is_class(given: object) -> bool:
    """Whether this is a class with fields."""
    return is_typeddict(given) or (
        isinstance(given, type)
        and (issubclass(given, (BaseModel, BaseModelV1)) or is_dataclass(given))
    )


def _class_schema(cls: Any) -> dict[str, Any]:
    """Return the JSON Schema of a class, dereferenced, without the titles of its fields."""
    try:
        if is_typeddict(cls):
            schema = _typed_dict_schema(cls)
        elif issubclass(cls, BaseModelV1):
            schema = cls.schema()
        elif issubclass(cls, BaseModel):
            schema = cls.model_json_schema()
        else:
            schema = adapter_of(cls).json_schema()
        schema = dereference(schema)
    except (PydanticUserError, AttributeError, NameError, RecursionError) as error:
        raise ValueError(f"{cls.__name__} has no JSON Schema: {error}") from error
    return {**schema, "title": schema.get("title") or cls.__name__}


@lru_cache(maxsize=256)
def adapter_of(cls: type) -> TypeAdapter[Any]:
    """Return pydantic's validator of a class."""
    return TypeAdapter(cls)


# TypedDicts: core's conversion loses `None`, `NotRequired` and `total=False`, takes the docstring
# of `dict` for the class's, and fails on a class that contains itself; pydantic's rejects
# `typing.TypedDict` before Python 3.12 and ignores `Annotated[type, default, "description"]`.

_QUALIFIERS = (Required, NotRequired, ReadOnly)


def _typed_dict_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of a TypedDict class.

    Descriptions come from `Annotated[type, "description"]`, from LangChain's
    `Annotated[type, default, "description"]`, where a default other than `...` makes the key
    optional, and from the section "Args:" of the docstring, as core reads it. Where a class
    contains itself, any object is allowed.
    """
    schema = TypeAdapter(_normalize(cls, frozenset())).json_schema()
    if "Args:" not in (cls.__doc__ or ""):
        return schema
    try:
        function = convert_to_openai_function(cls)
    except Exception:  # noqa: BLE001  core cannot convert every class; then the docstring describes it
        return schema
    schema["description"] = function["description"]
    for name, described in function["parameters"]["properties"].items():
        if "description" in described:
            schema["properties"][name].setdefault("description", described["description"])
    return schema


def _normalize(hint: Any, within: frozenset[type]) -> Any:
    """Return an annotation whose TypedDicts are rewritten for pydantic."""
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
    return origin[rebuilt]


def _field(hint: Any, required: bool, within: frozenset[type]) -> Any:
    """Return the annotation of a TypedDict's key, rewritten for pydantic."""
    while (qualifier := get_origin(hint)) in _QUALIFIERS:
        if qualifier is not ReadOnly:  # if annotations are strings, the class does not know these
            required = qualifier is Required
        hint = get_args(hint)[0]
    extras: list[Any] = []
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
    match extras:
        case [default, str(description), *_]:
            schema_extra = None if default is ... or default is None else {"default": default}
            extras.append(Field(description=description, json_schema_extra=schema_extra))
            required = required and default is ...
        case [str(description), *_]:
            extras.append(Field(description=description))
    hint = _normalize(hint, within)
    for extra in extras:
        hint = Annotated[hint, extra]
    return hint if required else NotRequired[hint]
