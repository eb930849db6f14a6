"""TypedDict classes to JSON Schema, with the descriptions that LangChain's users write into them.

Core's own conversion loses `None`, `NotRequired` and `total=False`, takes the docstring of `dict`
for the class's, and fails on a class that holds itself; pydantic's refuses `typing.TypedDict`
before Python 3.12 and knows nothing of `Annotated[type, default, "description"]`.
"""

from __future__ import annotations

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

from langchain_core.utils.function_calling import convert_to_openai_function
from pydantic import Field, TypeAdapter
from typing_extensions import ReadOnly, TypedDict, is_typeddict

_QUALIFIERS = (Required, NotRequired, ReadOnly)
_WITH_DEFAULT = 2


def typed_dict_schema(cls: type) -> dict[str, Any]:
    """Return the JSON Schema of a TypedDict class.

    Descriptions come from `Annotated[type, "description"]`, from LangChain's
    `Annotated[type, default, "description"]`, where a default other than `...` makes the key
    optional, and from the section "Args:" of the docstring. A class within itself becomes any
    object.

    Raises:
        NameError: An annotation names what cannot be found.
        pydantic.errors.PydanticUserError: A type has no JSON Schema.
    """
    schema = TypeAdapter(_normalize(cls, frozenset())).json_schema()
    if "Args:" in (cls.__doc__ or ""):
        _take_docstring(schema, cls)
    return schema


def _take_docstring(schema: dict[str, Any], cls: type) -> None:
    """Add the descriptions that core reads from a docstring."""
    try:
        function = convert_to_openai_function(cls)
    except Exception:  # noqa: BLE001  core cannot convert every class; then the whole text describes it
        return
    schema["description"] = function["description"]
    for name, described in function["parameters"]["properties"].items():
        if "description" in described:
            schema["properties"][name].setdefault("description", described["description"])


def _normalize(cls: type, enclosing: frozenset[type]) -> Any:
    """Return a TypedDict in the form that pydantic reads."""
    hints = get_type_hints(cls, include_extras=True)
    required = cls.__required_keys__  # type: ignore[attr-defined]  # every TypedDict has it
    within = enclosing | {cls}
    fields = {key: _field(hint, key in required, within) for key, hint in hints.items()}
    readable = TypedDict(cls.__name__, fields)  # type: ignore[misc]  # made at run time
    readable.__doc__ = cls.__doc__
    return readable


def _field(hint: Any, required: bool, within: frozenset[type]) -> Any:
    """Return the annotation of a key in the form that pydantic reads."""
    while (qualifier := get_origin(hint)) in _QUALIFIERS:
        if qualifier is not ReadOnly:  # an annotation that is text hides it from the class
            required = qualifier is Required
        hint = get_args(hint)[0]
    extras: tuple[Any, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *rest = get_args(hint)
        extras = tuple(rest)
    hint = _normalize_nested(hint, within)
    for extra in (*extras, *_description(extras)):
        hint = Annotated[hint, extra]
    if _has_default(extras) and extras[0] is not ...:
        required = False
    return hint if required else NotRequired[hint]


def _has_default(extras: tuple[Any, ...]) -> bool:
    return len(extras) >= _WITH_DEFAULT and isinstance(extras[1], str)


def _description(extras: tuple[Any, ...]) -> list[Any]:
    if not _has_default(extras):
        texts = [extra for extra in extras[:1] if isinstance(extra, str)]
        return [Field(description=text) for text in texts]
    default, description, *_ = extras
    if default is ... or default is None:
        return [Field(description=description)]
    return [Field(description=description, json_schema_extra={"default": default})]


def _normalize_nested(hint: Any, within: frozenset[type]) -> Any:
    """Normalize the TypedDicts within an annotation."""
    if is_typeddict(hint):
        return dict[str, Any] if hint in within else _normalize(hint, within)
    arguments = get_args(hint)
    rebuilt = tuple(_normalize_nested(argument, within) for argument in arguments)
    if rebuilt == arguments:
        return hint
    origin = get_origin(hint)
    if origin is UnionType:
        return Union[rebuilt]  # noqa: UP007  of as many as there are
    return origin[rebuilt if len(rebuilt) > 1 else rebuilt[0]]
