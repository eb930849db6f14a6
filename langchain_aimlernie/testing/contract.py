"""The published request schema of `POST /v1/chat/completions`, and what no schema expresses.

Written from the provider's reference of the four ERNIE models that have one,
https://docs.aimlapi.com/api-references/text-models-llm/baidu, with the limits that only its prose
names (4 stop sequences, 128 tools, function names). Which of the fields a model has is a matter of
its spec. Where the published schema leaves an object open, the API drops unknown keys: these are
reported as ignored.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from types import NoneType
from typing import Annotated, Any, Literal, NotRequired, Union

from pydantic import (
    AfterValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
    with_config,
)
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from langchain_aimlernie.profiles import ModelSpec
from langchain_aimlernie.testing.models import BY_NAME

_JSON_TYPES = {str: "string", list: "array", dict: "object", NoneType: "null"}
_DATA_URL = re.compile(r"data:image/[a-z.+-]+;base64,(?=[A-Za-z0-9+/])", re.IGNORECASE)
_NAME = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


def _check_integer(value: float) -> float:
    if not value.is_integer():
        raise PydanticCustomError("integer", "expected an integer")
    return value


def _check_image_url(value: str) -> str:
    """Accept an http(s) URL or an image in base64."""
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


# The schema is built of expressions, because its families differ in many small ways.


def _number(ge: float, le: float | None = None) -> Any:
    return Annotated[float, Field(ge=ge, le=le, allow_inf_nan=False)]


def _integer(ge: int) -> Any:
    """Return the type of JSON Schema's integer, to which 1.0 belongs."""
    return Annotated[
        float, Field(allow_inf_nan=False), AfterValidator(_check_integer), Field(ge=ge)
    ]


def _array(item: Any, min_length: int | None = None, max_length: int | None = None) -> Any:
    return Annotated[list[item], Field(min_length=min_length, max_length=max_length)]


def _object(**fields: Any) -> Any:
    """Return the type of an object with these fields and no others."""
    return with_config(extra="forbid", strict=True)(TypedDict("Object", fields))  # type: ignore[operator]


def _typed(kind: str, **fields: Any) -> Any:
    """Return the type of an object whose `type` is `kind`."""
    return _object(type=Literal[kind], **fields)


def _either(**types: Any) -> Any:
    """Return the type of a value that has one of these JSON types."""
    *others, last = types
    text = f"expected {', '.join(others)} or {last}"
    return _union("types", types, lambda value: _JSON_TYPES.get(type(value)), text)


def _tagged(key: str, **types: Any) -> Any:
    """Return the type of an object that has one of these types, or `other`, as `key` says."""

    def name_of(value: object) -> object:
        name = value.get(key) if isinstance(value, dict) else None
        return name if name in list(types) else "other"

    return _union(key, types, name_of, f"not one of {', '.join(types)}")


def _union(
    error: str, types: Mapping[str, Any], name_of: Callable[[Any], object], text: str
) -> Any:
    """Return the union of types, of which a function names the one to validate by.

    The names are written "<…>" in the location of an error, so that they can be told from keys.
    """
    members = [Annotated[each, Tag(f"<{name}>")] for name, each in types.items()]
    discriminator = Discriminator(
        lambda value: f"<{name_of(value)}>", custom_error_type=error, custom_error_message=text
    )
    return Annotated[Union[tuple(members)], discriminator]  # noqa: UP007  # made of a list


_ANY_OBJECT = dict[str, Any]
_CACHE_CONTROL = _typed("ephemeral", ttl=NotRequired[Literal["5m", "1h"]])
_GRAMMAR = _object(definition=str, syntax=Literal["lark", "regex"])
_CUSTOM_FORMAT = _tagged("type", text=_typed("text"), grammar=_typed("grammar", grammar=_GRAMMAR))
_ALLOWED_TOOLS = _object(mode=Literal["auto", "required"], tools=list[_ANY_OBJECT])
_JSON_SCHEMA = _object(
    name=_NAME,
    schema=NotRequired[_ANY_OBJECT],
    strict=NotRequired[bool | None],
    description=NotRequired[str],
)
_RESPONSE_FORMAT = _tagged(
    "type",
    text=_typed("text"),
    json_object=_typed("json_object"),
    json_schema=_typed("json_schema", json_schema=_JSON_SCHEMA),
)


@cache
def _schema(*, is_5: bool, sees: bool) -> TypeAdapter[object]:
    """Return the schema of the requests to a family of models.

    Args:
        is_5: Whether it is that of ernie-5.0, else one of the 4.5 family.
        sees: Whether user messages may contain images and files.
    """

    def if_5(**fields: Any) -> dict[str, Any]:
        return fields if is_5 else {}

    cached = if_5(cache_control=NotRequired[_CACHE_CONTROL])
    text = _typed("text", text=str, **cached)
    string_or_texts = _either(string=str, array=_array(text))

    # As published, any string is an image of ernie-5.0.
    url = str if is_5 else Annotated[str, AfterValidator(_check_image_url)]
    image = _object(url=url, detail=NotRequired[Literal["low", "high", "auto"]])
    file = _object(
        file_data=NotRequired[str], filename=NotRequired[str], **if_5(file_id=NotRequired[str])
    )
    seen = _tagged(
        "type",
        text=text,
        image_url=_typed("image_url", image_url=image, **cached),
        file=_typed("file", file=file, **cached),
    )

    extra_content = if_5(extra_content=NotRequired[_ANY_OBJECT])
    call = _typed("function", id=str, function=_object(name=str, arguments=str), **extra_content)
    custom_call = _typed("custom", id=str, custom=_object(name=str, input=str), **extra_content)
    refusal = _typed("refusal", refusal=str)
    if is_5:
        said = _either(string=str, array=_array(text), null=None)
        calls = _array(_tagged("type", function=call, custom=custom_call))
    else:
        said = _either(string=str, array=_array(_tagged("type", text=text, refusal=refusal)))
        calls = _array(call)

    system = _object(role=str, content=string_or_texts, name=NotRequired[str])
    message = _tagged(
        "role",
        user=_object(
            role=str,
            content=_either(string=str, array=_array(seen if sees else text)),
            name=NotRequired[str],
        ),
        system=system,
        **if_5(developer=system),
        assistant=_object(
            role=str,
            content=NotRequired[said],
            name=NotRequired[str],
            refusal=NotRequired[str | None],
            tool_calls=NotRequired[calls],
        ),
        tool=_object(
            role=str,
            content=string_or_texts if is_5 else str,
            tool_call_id=str,
            name=NotRequired[str | None],
        ),
    )

    function = _object(
        name=_NAME,
        description=NotRequired[str],
        parameters=NotRequired[_ANY_OBJECT] if is_5 else _ANY_OBJECT,
        strict=NotRequired[bool | None],
    )
    tool = _typed("function", function=function, **cached)
    choice = _typed("function", function=_object(name=str))
    if is_5:
        custom = _object(name=str, description=NotRequired[str], format=_CUSTOM_FORMAT)
        tool = _tagged(
            "type",
            function=tool,
            custom=_typed("custom", custom=custom, **cached),
            other=_object(type=Annotated[str, Field(min_length=1)]),
        )
        allowed_tools = _typed("allowed_tools", allowed_tools=_ALLOWED_TOOLS)
        choice = _tagged("type", function=choice, allowed_tools=allowed_tools)

    return TypeAdapter(
        _object(
            model=str,
            max_tokens=NotRequired[_number(1)],
            stream=NotRequired[bool],
            stream_options=NotRequired[_object(include_usage=bool)],
            parallel_tool_calls=NotRequired[bool],
            temperature=NotRequired[_number(0, 2)],
            top_p=NotRequired[_number(0.01, 1)],
            stop=NotRequired[_either(string=str, array=_array(str, max_length=4), null=None)],
            frequency_penalty=NotRequired[_number(-2, 2) | None],
            presence_penalty=NotRequired[_number(-2, 2) | None],
            seed=NotRequired[_integer(1)],
            response_format=NotRequired[_RESPONSE_FORMAT],
            provider=NotRequired[str],
            messages=_array(message, min_length=1),
            tools=NotRequired[_array(tool, max_length=128)],
            tool_choice=NotRequired[
                _either(string=Literal["none", "auto", "required"], object=choice)
            ],
            max_completion_tokens=NotRequired[_integer(1)],
            prediction=NotRequired[_typed("content", content=string_or_texts)],
            normalize_tool_schemas=NotRequired[bool],
            enable_thinking=NotRequired[bool],
            thinking_budget=NotRequired[_integer(100)],
        )
    )


def check(body: Mapping[str, Any], spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Return what is wrong with a body, one line each, and the paths of keys that the API drops."""
    fields = spec.fields or ()
    is_5 = spec.thinking_switch
    schema = _schema(is_5=is_5, sees="image_url" in spec.parts)
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
    """Return the location of an error, with dots and without tags, and what is wrong there."""
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
    return location, f"{text}; got {value!r:.80}"


def _is_closed(location: tuple[str | int, ...], *, is_5: bool) -> bool:
    """Whether the published schema forbids further keys there; the API drops those elsewhere."""
    if location[0] == "response_format":
        return True
    if is_5:
        return False
    if location[0] == "tools":
        return True
    return location[0] == "messages" and location[2:-1] in {("<system>",), ("<tool>",)}


def _conversation_errors(body: Mapping[str, Any]) -> Iterator[str]:
    """Return where results match no call, or the choice no tool, in a body of any shape."""
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
    name = _function_name(choice) if isinstance(choice, dict) else None
    names = [_function_name(tool) for tool in _objects(body.get("tools"))]
    if isinstance(name, str) and name not in names:
        yield f"tool_choice.function.name: no tool is named {name!r:.80}"


def _objects(value: object) -> list[dict[str, Any]]:
    """Return the items of a list, empty objects in the place of those that are none."""
    items: list[Any] = value if isinstance(value, list) else []
    return [each if isinstance(each, dict) else {} for each in items]


def _function_name(tool: Mapping[str, Any]) -> object:
    function = tool.get("function")
    return function.get("name") if isinstance(function, dict) else None


def validate_request(body: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with a request body, one line each; empty if the API accepts it.

    Args:
        body: The parsed body of a `POST /v1/chat/completions`. Its `model` decides which schema
            applies.
    """
    model = BY_NAME.get(str(body.get("model")))
    if model is None:
        return [f"model: {body.get('model')!r:.80} is not served"]
    violations, _ = check(body, model.spec)
    return violations


def ignored_fields(body: Mapping[str, Any]) -> list[str]:
    """Return the paths of keys that the schema of the body's model does not know."""
    model = BY_NAME.get(str(body.get("model")))
    _, ignored = check(body, model.spec) if model else ([], [])
    return ignored
