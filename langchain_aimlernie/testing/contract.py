"""The published request schema of `POST /v1/chat/completions`, and rules beyond a schema.

Written from the provider's reference of the four ERNIE models that have one,
https://docs.aimlapi.com/api-references/text-models-llm/baidu, with the limits that only its prose
has (4 stop sequences, 128 tools, function names). A model's spec says which of the fields it has.
Where the published schema allows further keys, the API drops them: these are reported as ignored.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from types import NoneType
from typing import Annotated, Any, Literal, Required, Union

from pydantic import (
    AfterValidator,
    Discriminator,
    StringConstraints,
    Tag,
    TypeAdapter,
    ValidationError,
    confloat,
    conlist,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from langchain_aimlernie.profiles import ModelSpec
from langchain_aimlernie.testing.models import BY_NAME

_JSON_TYPES = {str: "string", list: "array", dict: "object", NoneType: "null"}
_DATA_URL = re.compile(r"data:image/[a-z.+-]+;base64,(?=[A-Za-z0-9+/])", re.IGNORECASE)


def _check_image_url(value: str) -> str:
    """Return `value` if it is an http(s) URL or an image in base64, else raise."""
    if re.match(r"https?://[^\s/]", value):
        return value
    start = _DATA_URL.match(value)
    if start is None:
        raise PydanticCustomError("url", "neither an http(s) URL nor a base64 data URL")
    try:
        base64.b64decode(value[start.end() :], validate=True)
    except binascii.Error:
        raise PydanticCustomError("url", "not base64") from None
    return value


# The schema is computed, because the families of models differ in many small ways.

_NAME = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
_number = partial(confloat, allow_inf_nan=False)
_integer = partial(_number, multiple_of=1)  # 1.0 is an integer in JSON Schema


def _object(required: str = "", **fields: Any) -> Any:
    """Return the type of an object with these fields and no others; `required` names some."""
    fields |= {name: Required[fields[name]] for name in required.split()}
    typed_dict = TypedDict("Object", fields, total=False)  # type: ignore[misc]
    return with_config(extra="forbid", strict=True)(typed_dict)


def _typed(kind: str, value: Any = None, required: str = "", **fields: Any) -> Any:
    """Return the type of an object with `type` = `kind`, and a field `kind` of type `value`."""
    named = {} if value is None else {kind: value}
    required = " ".join(["type", required, *named])
    return _object(required, type=Literal[kind], **named, **fields)


def _union(key: str = "", **types: Any) -> Any:
    """Return the union of types by the value of `key` in an object, or by JSON type.

    In the location of an error the names are in angle brackets, to distinguish them from keys.
    A member named `other` is for names that are not listed; without one, they are an error.
    """

    def name_of(value: object) -> str:
        name: object = _JSON_TYPES.get(type(value))
        if key:
            name = value.get(key) if isinstance(value, dict) else None
        return f"<{name if name in list(types) else 'other'}>"

    *first, last = types
    text = f"not one of {', '.join(types)}" if key else f"expected {', '.join(first)} or {last}"
    members = [Annotated[each, Tag(f"<{name}>")] for name, each in types.items()]
    discriminator = Discriminator(
        name_of, custom_error_type=key or "types", custom_error_message=text
    )
    return Annotated[Union[tuple(members)], discriminator]  # noqa: UP007  # of a list


_ANY_OBJECT = dict[str, Any]
_CACHE_CONTROL = _typed("ephemeral", ttl=Literal["5m", "1h"])
_GRAMMAR = _object("definition syntax", definition=str, syntax=Literal["lark", "regex"])
_CUSTOM_FORMAT = _union("type", text=_typed("text"), grammar=_typed("grammar", _GRAMMAR))
_ALLOWED_TOOLS = _object("mode tools", mode=Literal["auto", "required"], tools=list[_ANY_OBJECT])
_JSON_SCHEMA = _object("name", name=_NAME, schema=_ANY_OBJECT, strict=bool | None, description=str)
_RESPONSE_FORMAT = _union(
    "type",
    text=_typed("text"),
    json_object=_typed("json_object"),
    json_schema=_typed("json_schema", _JSON_SCHEMA),
)


@cache
def _schema(*, is_5: bool, has_media: bool) -> TypeAdapter[object]:
    """Return the schema of the requests to a family of models.

    Args:
        is_5: Whether the model is ernie-5.0, else it is of the 4.5 family.
        has_media: Whether user messages may contain images and files.
    """

    def if_5(**fields: Any) -> dict[str, Any]:
        return fields if is_5 else {}

    cached = if_5(cache_control=_CACHE_CONTROL)
    text = _typed("text", str, **cached)
    string_or_texts = _union(string=str, array=conlist(text))

    # The published schema of ernie-5.0 accepts any string.
    url = str if is_5 else Annotated[str, AfterValidator(_check_image_url)]
    image = _object("url", url=url, detail=Literal["low", "high", "auto"])
    file = _object(file_data=str, filename=str, **if_5(file_id=str))
    image_url, file = _typed("image_url", image, **cached), _typed("file", file, **cached)
    part = _union("type", text=text, image_url=image_url, file=file) if has_media else text
    with_content = partial(_object, "role content", role=str, name=str)
    user = with_content(content=_union(string=str, array=conlist(part)))

    extra = if_5(extra_content=_ANY_OBJECT)
    call = _typed(
        "function", _object("name arguments", name=str, arguments=str), "id", id=str, **extra
    )
    if is_5:
        texts = _union(string=str, array=conlist(text), null=None)
        custom = _typed("custom", _object("name input", name=str, input=str), "id", id=str, **extra)
        call = _union("type", function=call, custom=custom)
    else:
        part = _union("type", text=text, refusal=_typed("refusal", str))
        texts = _union(string=str, array=conlist(part))

    system = with_content(content=string_or_texts)
    message = _union(
        "role",
        user=user,
        system=system,
        **if_5(developer=system),
        assistant=_object(
            "role", role=str, name=str, content=texts, refusal=str | None, tool_calls=conlist(call)
        ),
        tool=_object(
            "role content tool_call_id",
            role=str,
            name=str | None,
            content=string_or_texts if is_5 else str,
            tool_call_id=str,
        ),
    )

    function = _object(
        "name" if is_5 else "name parameters",
        name=_NAME,
        description=str,
        parameters=_ANY_OBJECT,
        strict=bool | None,
    )
    tool = _typed("function", function, **cached)
    choice = _typed("function", _object("name", name=str))
    if is_5:
        custom = _object("name format", name=str, description=str, format=_CUSTOM_FORMAT)
        tool = _union(
            "type",
            function=tool,
            custom=_typed("custom", custom, **cached),
            other=_object("type", type=Annotated[str, StringConstraints(min_length=1)]),
        )
        allowed_tools = _typed("allowed_tools", _ALLOWED_TOOLS)
        choice = _union("type", function=choice, allowed_tools=allowed_tools)

    return TypeAdapter(
        _object(
            "model messages",
            model=str,
            max_tokens=_number(ge=1),
            stream=bool,
            stream_options=_object("include_usage", include_usage=bool),
            parallel_tool_calls=bool,
            temperature=_number(ge=0, le=2),
            top_p=_number(ge=0.01, le=1),
            stop=_union(string=str, array=conlist(str, max_length=4), null=None),
            frequency_penalty=_number(ge=-2, le=2) | None,
            presence_penalty=_number(ge=-2, le=2) | None,
            seed=_integer(ge=1),
            response_format=_RESPONSE_FORMAT,
            provider=str,
            messages=conlist(message, min_length=1),
            tools=conlist(tool, max_length=128),
            tool_choice=_union(string=Literal["none", "auto", "required"], object=choice),
            max_completion_tokens=_integer(ge=1),
            prediction=_typed("content", string_or_texts),
            normalize_tool_schemas=bool,
            enable_thinking=bool,
            thinking_budget=_integer(ge=100),
        )
    )


def check(body: Mapping[str, Any], spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Return the violations of a body, one line each, and the paths of keys that the API drops."""
    fields = spec.fields or ()
    is_5 = spec.thinking_switch
    schema = _schema(is_5=is_5, has_media="image_url" in spec.parts)
    violations, ignored = [], []
    try:
        schema.validate_python({key: value for key, value in body.items() if key in fields})
    except ValidationError as error:
        for each in error.errors(include_url=False):
            location, text = _describe(each)
            if each["type"] == "extra_forbidden" and not _is_closed(each["loc"], is_5=is_5):
                ignored.append(location)
            else:
                violations.append(f"{location}: {text}")
    ignored += [key for key in body if key not in fields]
    return [*violations, *_conversation_errors(body)], ignored


def _describe(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return the location of an error, with dots and without tags, and its text."""
    steps = [str(step) for step in error["loc"]]
    location = ".".join(step for step in steps if not step.startswith("<"))
    text, value = error["msg"], error["input"]
    match error["type"]:
        case "extra_forbidden":
            return location, "not allowed here"
        case "missing":
            return location, "required, and missing"
        case "role" | "type" as key if isinstance(value, dict):
            location, value = f"{location}.{key}", value.get(key)
        case "role" | "type" | "dict_type":
            text = "expected object"
        case "multiple_of":
            text = "expected an integer"
    return location, f"{text}; got {value!r:.80}"


def _is_closed(location: tuple[str | int, ...], *, is_5: bool) -> bool:
    """Whether the published schema forbids further keys there; the API drops others."""
    match location:
        case ["response_format", *_]:
            return True
        case ["tools", *_] | ["messages", _, "<system>" | "<tool>", _]:
            return not is_5
    return False


def _conversation_errors(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield where results match no call, or `tool_choice` no tool, in a body of any form."""
    called: list[object] = []
    for index, message in enumerate(_objects(body.get("messages"))):
        content, calls = message.get("content"), message.get("tool_calls")
        call_id = message.get("tool_call_id")
        if message.get("role") == "tool" and call_id not in called:
            yield f"messages.{index}.tool_call_id: {call_id!r:.80} answers no earlier tool call"
        if message.get("role") == "assistant":
            if content is None and not calls and not message.get("refusal"):
                yield f"messages.{index}.content: required unless tool_calls is given"
            kinds = [part.get("type") for part in _objects(content)]
            is_uniform = kinds == ["refusal"] or kinds == ["text"] * (len(kinds) or 1)
            if isinstance(content, list) and not is_uniform:
                text = "must be one or more parts of type text, or exactly one of type refusal"
                yield f"messages.{index}.content: {text}"
        called += [call.get("id") for call in _objects(calls)]
    choice = body.get("tool_choice")
    if choice == "required" and not body.get("tools"):
        yield "tool_choice: required, but there are no tools"
    names = [_function_name(tool) for tool in _objects(body.get("tools"))]
    name = _function_name(*_objects([choice]))
    if isinstance(name, str) and name not in names:
        yield f"tool_choice.function.name: no tool is named {name!r:.80}"


def _objects(value: object) -> list[dict[str, Any]]:
    """Return the items of a list, each that is not an object replaced by an empty one."""
    items: list[Any] = value if isinstance(value, list) else []
    return [each if isinstance(each, dict) else {} for each in items]


def _function_name(tool: Mapping[str, Any]) -> object:
    [function] = _objects([tool.get("function")])
    return function.get("name")


def validate_request(body: Mapping[str, Any]) -> list[str]:
    """Return the violations of the API's schema in a request body, one line each.

    Args:
        body: The parsed body of a `POST /v1/chat/completions`; its `model` selects the schema.

    Returns:
        The violations; empty if the API accepts the request.
    """
    model = BY_NAME.get(str(body.get("model")))
    if model is None:
        return [f"model: {body.get('model')!r:.80} is not served"]
    violations, _ = check(body, model.spec)
    return violations


def ignored_fields(body: Mapping[str, Any]) -> list[str]:
    """Return the paths of keys that the API ignores, since the model's schema lacks them.

    Args:
        body: The parsed body of a `POST /v1/chat/completions`.
    """
    model = BY_NAME.get(str(body.get("model")))
    _, ignored = check(body, model.spec) if model else ([], [])
    return ignored
