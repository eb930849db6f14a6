"""The published request schema of `POST /v1/chat/completions`, and what no schema expresses.

Written from the provider's reference of the four ERNIE models that have one,
https://docs.aimlapi.com/api-references/text-models-llm/baidu, with the limits that only its prose
names (4 stop sequences, 128 tools, function names). Where the published schema leaves an object
open, the API drops unknown keys: these are reported as ignored.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, NamedTuple

from pydantic_core import (
    CoreSchema,
    PydanticCustomError,
    SchemaValidator,
    ValidationError,
    core_schema,
)

from langchain_aimlernie.profiles import ModelSpec
from langchain_aimlernie.testing.models import BY_NAME


class Violation(NamedTuple):
    """One thing that is wrong with a body.

    Attributes:
        path: The keys and indices that lead to it.
        text: What is wrong.
        ignored: Whether it is a key that the API drops, so that the request is still answered.
    """

    path: tuple[str | int, ...]
    text: str
    ignored: bool = False

    @property
    def location(self) -> str:
        """The path, with dots."""
        return ".".join(map(str, self.path))

    def __str__(self) -> str:
        return f"{self.location or 'body'}: {self.text}"


# The vocabulary of the schema. Tags of unions are written "<…>", so that they can be told from
# keys in the location of an error.

_JSON_TYPES = {str: "string", list: "array", dict: "object", type(None): "null"}


def _object(
    required: Mapping[str, CoreSchema], optional: Mapping[str, CoreSchema] | None = None
) -> CoreSchema:
    fields = {key: core_schema.typed_dict_field(each) for key, each in required.items()}
    for key, each in (optional or {}).items():
        fields[key] = core_schema.typed_dict_field(each, required=False)
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid", config={"strict": True})


def _typed(
    name: str,
    value: CoreSchema,
    optional: Mapping[str, CoreSchema] | None = None,
    **required: CoreSchema,
) -> CoreSchema:
    """Return the schema of an object with its `type`, and its value under the type's name."""
    return _object({"type": _only(name), name: value, **required}, optional)


def _only(*values: str) -> CoreSchema:
    return core_schema.literal_schema(list(values))


def _number(low: float, high: float | None = None) -> CoreSchema:
    return core_schema.float_schema(ge=low, le=high, allow_inf_nan=False)


def _integer(low: int) -> CoreSchema:
    """Return the schema of an integer, which may be written 1.0 as JSON Schema has it."""
    return core_schema.no_info_after_validator_function(_check_integer, _number(low))


def _check_integer(value: float) -> float:
    if not value.is_integer():
        raise PydanticCustomError("integer", "expected an integer")
    return value


def _by_json_type(**members: CoreSchema) -> CoreSchema:
    """Return a union by JSON type."""
    *names, last = members
    return core_schema.tagged_union_schema(
        {f"<{name}>": each for name, each in members.items()},
        lambda value: f"<{_JSON_TYPES.get(type(value))}>",
        custom_error_type="wrong_kind",
        custom_error_message=f"expected {', '.join(names)} or {last}",
    )


def _by_key(
    key: str, members: Mapping[str, CoreSchema], other: CoreSchema | None = None
) -> CoreSchema:
    """Return a union of objects by the string under `key`; `other` is for all other strings."""

    def tag(value: object) -> str | None:
        found = value.get(key) if isinstance(value, dict) else None
        if other is not None and isinstance(found, str) and found not in members:
            return "<other>"
        return f"<{found}>" if isinstance(found, str) else None

    tagged = {f"<{name}>": each for name, each in members.items()}
    return core_schema.tagged_union_schema(
        tagged if other is None else {**tagged, "<other>": other},
        tag,
        custom_error_type=f"unknown_{key}",
        custom_error_message=f"not one of {', '.join(members)}",
    )


_DATA_URL = re.compile(r"data:image/[a-z.+-]+;base64,(?=[A-Za-z0-9+/])", re.IGNORECASE)


def _check_image_url(value: str) -> str:
    """Accept an http(s) URL, or a data URL that holds an image in base64."""
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


_list = core_schema.list_schema
_STRING = core_schema.str_schema()
_STRING_OR_NULL = core_schema.nullable_schema(_STRING)
_BOOLEAN = core_schema.bool_schema()
_BOOLEAN_OR_NULL = core_schema.nullable_schema(_BOOLEAN)
_ANY_OBJECT = core_schema.dict_schema(_STRING)
_NAME = core_schema.str_schema(pattern=r"^[A-Za-z0-9_-]{1,64}$")
_PENALTY = core_schema.nullable_schema(_number(-2, 2))


def _text_or(part: CoreSchema, **more: CoreSchema) -> CoreSchema:
    return _by_json_type(string=_STRING, array=_list(part), **more)


# The schema. ernie-5.0 has one of its own, the models of the 4.5 family share the rest.

_CACHE = _object({"type": _only("ephemeral")}, {"ttl": _only("5m", "1h")})
_NULL = core_schema.none_schema()
_TEXT_FORMAT = _object({"type": _only("text")})
_OUTPUT_SCHEMA = _object(
    {"name": _NAME},
    {"schema": _ANY_OBJECT, "strict": _BOOLEAN_OR_NULL, "description": _STRING},
)
_GRAMMAR = _object({"definition": _STRING, "syntax": _only("lark", "regex")})
_ALLOWED = _object({"mode": _only("auto", "required"), "tools": _list(_ANY_OBJECT)})
_CHOSEN = _typed("function", _object({"name": _STRING}))


def _messages(*, five: bool, media: bool) -> CoreSchema:
    cached = {"cache_control": _CACHE} if five else {}
    extra = {"extra_content": _ANY_OBJECT} if five else {}
    check = core_schema.no_info_after_validator_function(_check_image_url, _STRING)
    # The published schema of 5.0 takes any string as the URL of an image.
    image = _object({"url": _STRING if five else check}, {"detail": _only("low", "high", "auto")})
    file_keys = ("file_data", "filename", *(("file_id",) if five else ()))
    file = _object({}, dict.fromkeys(file_keys, _STRING))
    text = _typed("text", _STRING, cached)
    parts = {
        "text": text,
        "image_url": _typed("image_url", image, cached),
        "file": _typed("file", file, cached),
    }
    spoken = _by_key("type", {"text": text, "refusal": _typed("refusal", _STRING)})
    called = _object({"name": _STRING, "arguments": _STRING})
    call = _typed("function", called, extra, id=_STRING)
    if five:
        custom = _object({"name": _STRING, "input": _STRING})
        calls = {"function": call, "custom": _typed("custom", custom, extra, id=_STRING)}
        call = _by_key("type", calls)
    named = {"name": _STRING}
    system = _object({"role": _STRING, "content": _text_or(text)}, named)
    user_part = _by_key("type", parts) if media else text
    user = _object({"role": _STRING, "content": _text_or(user_part)}, named)
    content = _text_or(text, null=_NULL) if five else _text_or(spoken)
    assistant = _object(
        {"role": _STRING},
        named | {"content": content, "refusal": _STRING_OR_NULL, "tool_calls": _list(call)},
    )
    result = {"content": _text_or(text) if five else _STRING, "tool_call_id": _STRING}
    tool = _object({"role": _STRING, **result}, {"name": _STRING_OR_NULL})
    developer = {"developer": system} if five else {}
    roles = {"user": user, "system": system, **developer, "assistant": assistant, "tool": tool}
    return _list(_by_key("role", roles), min_length=1)


def _tool(*, five: bool) -> CoreSchema:
    parameters = {"parameters": _ANY_OBJECT}
    optional: dict[str, CoreSchema] = {"description": _STRING, "strict": _BOOLEAN_OR_NULL}
    if not five:
        return _typed("function", _object({"name": _NAME, **parameters}, optional))
    cached = {"cache_control": _CACHE}
    formats = {"text": _TEXT_FORMAT, "grammar": _typed("grammar", _GRAMMAR)}
    custom = {"name": _STRING, "format": _by_key("type", formats)}
    return _by_key(
        "type",
        {
            "function": _typed(
                "function", _object({"name": _NAME}, {**optional, **parameters}), cached
            ),
            "custom": _typed("custom", _object(custom, {"description": _STRING}), cached),
        },
        other=_object({"type": core_schema.str_schema(min_length=1)}),
    )


@cache
def _validator(*, five: bool, media: bool) -> SchemaValidator:
    """Return the validator of bodies; which of the fields a model has is its spec's matter."""
    choices = {"function": _CHOSEN, "allowed_tools": _typed("allowed_tools", _ALLOWED)}
    chosen = _by_key("type", choices) if five else _CHOSEN
    formats = {
        "text": _TEXT_FORMAT,
        "json_object": _object({"type": _only("json_object")}),
        "json_schema": _typed("json_schema", _OUTPUT_SCHEMA),
    }
    stops = _list(_STRING, max_length=4)
    said = _text_or(_typed("text", _STRING))
    body = _object(
        {"model": _STRING, "messages": _messages(five=five, media=media)},
        {
            "max_tokens": _number(1),
            "max_completion_tokens": _integer(1),
            "stream": _BOOLEAN,
            "stream_options": _object({"include_usage": _BOOLEAN}),
            "tools": _list(_tool(five=five), max_length=128),
            "tool_choice": _by_json_type(string=_only("none", "auto", "required"), object=chosen),
            "parallel_tool_calls": _BOOLEAN,
            "temperature": _number(0, 2),
            "top_p": _number(0.01, 1),
            "stop": _by_json_type(string=_STRING, array=stops, null=_NULL),
            "frequency_penalty": _PENALTY,
            "presence_penalty": _PENALTY,
            "seed": _integer(1),
            "response_format": _by_key("type", formats),
            "prediction": _object({"type": _only("content"), "content": said}),
            "provider": _STRING,
            "normalize_tool_schemas": _BOOLEAN,
            "enable_thinking": _BOOLEAN,
            "thinking_budget": _integer(100),
        },
    )
    return SchemaValidator(body)


def errors(body: Mapping[str, Any], spec: ModelSpec) -> list[Violation]:
    """Return all violations in `body`, those among them that the API would ignore included."""
    return [*_schema_errors(body, spec), *_conversation_errors(body)]


def _schema_errors(body: Mapping[str, Any], spec: ModelSpec) -> Iterator[Violation]:
    fields = spec.fields or ()
    validator = _validator(five=spec.thinking_switch, media="image_url" in spec.parts)
    try:
        validator.validate_python({key: value for key, value in body.items() if key in fields})
    except ValidationError as error:
        for each in error.errors(include_url=False):
            yield _violation(each, spec)
    for key in body:
        if key not in fields:
            yield Violation((key,), "not known here, and ignored", ignored=True)


def _violation(error: Mapping[str, Any], spec: ModelSpec) -> Violation:
    *outer, last = error["loc"]
    location = [step for step in outer if not str(step).startswith("<")]
    if error["type"] == "extra_forbidden":
        ignored = not _is_closed(error["loc"], spec)
        text = "not known here, and ignored" if ignored else "not allowed here"
        return Violation((*location, last), text, ignored)
    if not str(last).startswith("<"):
        location.append(last)
    if error["type"] == "missing":
        return Violation(tuple(location), "required, and missing")
    value = error["input"]
    if error["type"] in {"unknown_role", "unknown_type"}:
        key = error["type"].removeprefix("unknown_")
        if not isinstance(value, dict):
            return Violation(tuple(location), "expected object")
        location.append(key)
        value = value.get(key)
    return Violation(tuple(location), f"{error['msg']}; got {value!r:.80}")


def _is_closed(location: tuple[str | int, ...], spec: ModelSpec) -> bool:
    """Whether the published schema forbids further keys there; the API drops those elsewhere."""
    if location[0] == "response_format":
        return True
    if spec.thinking_switch:
        return False
    if location[0] == "tools":
        return True
    return location[0] == "messages" and location[2:-1] in {("<system>",), ("<tool>",)}


def _conversation_errors(body: Mapping[str, Any]) -> Iterator[Violation]:
    """Return where results match no call, or the choice no tool, in a body of any shape."""
    called: list[object] = []
    for index, message in enumerate(_objects(body.get("messages"))):
        content, calls = message.get("content"), message.get("tool_calls")
        call_id = message.get("tool_call_id")
        if message.get("role") == "tool" and call_id not in called:
            text = f"{call_id!r:.80} answers no earlier tool call"
            yield Violation(("messages", index, "tool_call_id"), text)
        if message.get("role") == "assistant":
            if content is None and not calls and not message.get("refusal"):
                text = "required unless tool_calls is given"
                yield Violation(("messages", index, "content"), text)
            kinds = [part.get("type") for part in _objects(content)]
            is_uniform = kinds == ["refusal"] or kinds == ["text"] * (len(kinds) or 1)
            if isinstance(content, list) and not is_uniform:
                text = "must be one or more parts of type text, or exactly one of type refusal"
                yield Violation(("messages", index, "content"), text)
        called += [call.get("id") for call in _objects(calls)]
    choice = body.get("tool_choice")
    if choice == "required" and not body.get("tools"):
        yield Violation(("tool_choice",), "required, but there are no tools")
    name = _function_name(choice) if isinstance(choice, dict) else None
    names = [_function_name(tool) for tool in _objects(body.get("tools"))]
    if isinstance(name, str) and name not in names:
        yield Violation(("tool_choice", "function", "name"), f"no tool is named {name!r:.80}")


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
    return [str(each) for each in errors(body, model.spec) if not each.ignored]


def ignored_fields(body: Mapping[str, Any]) -> list[str]:
    """Return the paths of keys that the schema of the body's model does not know."""
    model = BY_NAME.get(str(body.get("model")))
    found = errors(body, model.spec) if model else []
    return [each.location for each in found if each.ignored]
