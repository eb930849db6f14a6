# ruff: noqa: D101  # the classes are named after the objects of the reference
"""The published request schema of `POST /v1/chat/completions`, and what no schema expresses.

Written from the provider's reference of the four ERNIE models that have one, one pydantic model
per family, https://docs.aimlapi.com/api-references/text-models-llm/baidu, with the limits that only
its prose names (4 stop sequences, 128 tools, function names). Which of the fields a model has is a
matter of its spec. Where the published schema leaves an object open, the API drops unknown keys:
these are reported as ignored.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError, PydanticKnownError

from langchain_aimlernie.profiles import ModelSpec
from langchain_aimlernie.testing.models import BY_NAME

T = TypeVar("T")
PartT = TypeVar("PartT")
ContentT = TypeVar("ContentT")
CallT = TypeVar("CallT")
FunctionT = TypeVar("FunctionT")

# Discriminators. Tags are written "<…>", so that they can be told from keys in the location of an
# error, which names the discriminator, too.
_JSON_TYPES = {str: "<string>", list: "<array>", dict: "<object>", type(None): "<null>"}


def _json_type(value: object) -> str:
    return _JSON_TYPES.get(type(value), "<number>")


def _role(value: object) -> str:
    return f"<{value.get('role')}>" if isinstance(value, dict) else "<>"


def _type(value: object) -> str:
    return f"<{value.get('type')}>" if isinstance(value, dict) else "<>"


def _tool(value: object) -> str:
    return tag if (tag := _type(value)) in {"<function>", "<custom>"} else "<other>"


def _check_integer(value: float) -> float:
    if not value.is_integer():
        raise PydanticCustomError("integer", "expected an integer")
    return value


_DATA_URL = re.compile(r"data:image/[a-z.+-]+;base64,(?=[A-Za-z0-9+/])", re.IGNORECASE)


def _check_image_url(value: str, info: ValidationInfo) -> str:
    """Accept an http(s) URL or an image in base64; any string for ernie-5.0, as published."""
    if _is_5(info.context) or re.match(r"https?://[^\s/]", value):
        return value
    start = _DATA_URL.match(value)
    if start is None:
        raise PydanticCustomError("url", "neither an http(s) URL nor a base64 data URL")
    try:
        base64.b64decode(value[start.end() :], validate=True)
    except binascii.Error:
        raise PydanticCustomError("url", "not base64") from None
    return value


def _check_family(value: object, info: ValidationInfo) -> object:
    """Raise what an unknown key raises, unless the model is ernie-5.0."""
    if not _is_5(info.context):
        raise PydanticKnownError("extra_forbidden")
    return value


def _is_5(spec: Any) -> bool:
    """Whether a spec, the context of a validation, is that of ernie-5.0."""
    return spec.thinking_switch is True


Number = Annotated[float, Field(allow_inf_nan=False)]
Integer = Annotated[Number, AfterValidator(_check_integer)]  # 1.0 is an integer in JSON Schema
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Only5 = Annotated[T, BeforeValidator(_check_family)]
StringOr = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[T, Tag("<array>")],
    Discriminator(_json_type),
]
StringNullOr = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[T, Tag("<array>")] | Annotated[None, Tag("<null>")],
    Discriminator(_json_type),
]


class _Object(BaseModel):
    """An object of the request; defaults stand for absent keys, null only where it is allowed."""

    model_config = ConfigDict(extra="forbid", strict=True)


# Content parts


class CacheControl(_Object):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


_CACHE = CacheControl(type="ephemeral")


class TextPart(_Object):
    type: Literal["text"]
    text: str
    cache_control: Only5[CacheControl] = _CACHE


class RefusalPart(_Object):
    type: Literal["refusal"]
    refusal: str


class Image(_Object):
    url: Annotated[str, AfterValidator(_check_image_url)]
    detail: Literal["low", "high", "auto"] = "auto"


class ImagePart(_Object):
    type: Literal["image_url"]
    image_url: Image
    cache_control: Only5[CacheControl] = _CACHE


class File(_Object):
    file_data: str = ""
    filename: str = ""
    file_id: Only5[str] = ""


class FilePart(_Object):
    type: Literal["file"]
    file: File
    cache_control: Only5[CacheControl] = _CACHE


VisionPart = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[ImagePart, Tag("<image_url>")]
    | Annotated[FilePart, Tag("<file>")],
    Discriminator(_type),
]
AssistantPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalPart, Tag("<refusal>")],
    Discriminator(_type),
]


# Messages


class CalledFunction(_Object):
    name: str
    arguments: str


class FunctionCall(_Object):
    id: str
    type: Literal["function"]
    function: CalledFunction
    extra_content: Only5[dict[str, Any]] = {}


class CalledCustom(_Object):
    name: str
    input: str


class CustomCall(_Object):
    id: str
    type: Literal["custom"]
    custom: CalledCustom
    extra_content: dict[str, Any] = {}


ToolCall5 = Annotated[
    Annotated[FunctionCall, Tag("<function>")] | Annotated[CustomCall, Tag("<custom>")],
    Discriminator(_type),
]


class Message(_Object, Generic[PartT]):
    """A message of the user, the system or the developer."""

    role: str
    content: StringOr[list[PartT]]
    name: str = ""


class AssistantMessage(_Object, Generic[ContentT, CallT]):
    role: str
    content: ContentT = ""  # type: ignore[assignment]  # every content may be a string
    name: str = ""
    refusal: str | None = None
    tool_calls: list[CallT] = []


class ToolMessage(_Object, Generic[ContentT]):
    role: str
    content: ContentT
    tool_call_id: str
    name: str | None = None


# Tools


class Function(_Object):
    name: Name
    description: str = ""
    parameters: dict[str, Any]
    strict: bool | None = None


class Function5(Function):
    parameters: dict[str, Any] = {}


class FunctionTool(_Object, Generic[FunctionT]):
    type: Literal["function"]
    function: FunctionT
    cache_control: Only5[CacheControl] = _CACHE


class TextFormat(_Object):
    type: Literal["text"]


class Grammar(_Object):
    definition: str
    syntax: Literal["lark", "regex"]


class GrammarFormat(_Object):
    type: Literal["grammar"]
    grammar: Grammar


class Custom(_Object):
    name: str
    description: str = ""
    format: Annotated[
        Annotated[TextFormat, Tag("<text>")] | Annotated[GrammarFormat, Tag("<grammar>")],
        Discriminator(_type),
    ]


class CustomTool(_Object):
    type: Literal["custom"]
    custom: Custom
    cache_control: CacheControl = _CACHE


class OtherTool(_Object):
    type: Annotated[str, StringConstraints(min_length=1)]


Tool5 = Annotated[
    Annotated[FunctionTool[Function5], Tag("<function>")]
    | Annotated[CustomTool, Tag("<custom>")]
    | Annotated[OtherTool, Tag("<other>")],
    Discriminator(_tool),
]


class ChosenFunction(_Object):
    name: str


class ChosenTool(_Object):
    type: Literal["function"]
    function: ChosenFunction


class Allowed(_Object):
    mode: Literal["auto", "required"]
    tools: list[dict[str, Any]]


class AllowedTools(_Object):
    type: Literal["allowed_tools"]
    allowed_tools: Allowed


ChosenTool5 = Annotated[
    Annotated[ChosenTool, Tag("<function>")] | Annotated[AllowedTools, Tag("<allowed_tools>")],
    Discriminator(_type),
]
ModeOr = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("<string>")] | Annotated[T, Tag("<object>")],
    Discriminator(_json_type),
]


# Bodies


class JsonObjectFormat(_Object):
    type: Literal["json_object"]


class OutputSchema(_Object):
    name: Name
    schema_: dict[str, Any] = Field(default={}, alias="schema")
    strict: bool | None = None
    description: str = ""


class JsonSchemaFormat(_Object):
    type: Literal["json_schema"]
    json_schema: OutputSchema


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("<text>")]
    | Annotated[JsonObjectFormat, Tag("<json_object>")]
    | Annotated[JsonSchemaFormat, Tag("<json_schema>")],
    Discriminator(_type),
]


class StreamOptions(_Object):
    include_usage: bool


class Prediction(_Object):
    type: Literal["content"]
    content: StringOr[list[TextPart]]


class _Body(_Object):
    model: str
    max_tokens: Annotated[Number, Field(ge=1)] = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions(include_usage=False)
    parallel_tool_calls: bool = True
    temperature: Annotated[Number, Field(ge=0, le=2)] = 1
    top_p: Annotated[Number, Field(ge=0.01, le=1)] = 1
    stop: StringNullOr[Annotated[list[str], Field(max_length=4)]] = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    seed: Annotated[Integer, Field(ge=1)] = 1
    response_format: ResponseFormat = TextFormat(type="text")
    provider: str = "auto"


class Ernie45Body(_Body, Generic[PartT]):
    """A request to a model of the 4.5 family; some read text, some all parts of `VisionPart`."""

    messages: list[
        Annotated[
            Annotated[Message[PartT], Tag("<user>")]
            | Annotated[Message[TextPart], Tag("<system>")]
            | Annotated[
                AssistantMessage[StringOr[list[AssistantPart]], FunctionCall], Tag("<assistant>")
            ]
            | Annotated[ToolMessage[str], Tag("<tool>")],
            Discriminator(_role),
        ]
    ] = Field(min_length=1)
    tools: list[FunctionTool[Function]] = Field(default=[], max_length=128)
    tool_choice: ModeOr[ChosenTool] = "auto"
    max_completion_tokens: Annotated[Integer, Field(ge=1)] = 1
    prediction: Prediction = Prediction(type="content", content="")


class Ernie5Body(_Body):
    """A request to ernie-5.0."""

    messages: list[
        Annotated[
            Annotated[Message[VisionPart], Tag("<user>")]
            | Annotated[Message[TextPart], Tag("<system>")]
            | Annotated[Message[TextPart], Tag("<developer>")]
            | Annotated[
                AssistantMessage[StringNullOr[list[TextPart]], ToolCall5], Tag("<assistant>")
            ]
            | Annotated[ToolMessage[StringOr[list[TextPart]]], Tag("<tool>")],
            Discriminator(_role),
        ]
    ] = Field(min_length=1)
    tools: list[Tool5] = Field(default=[], max_length=128)
    tool_choice: ModeOr[ChosenTool5] = "auto"
    normalize_tool_schemas: bool = True
    enable_thinking: bool = True
    thinking_budget: Annotated[Integer, Field(ge=100)] = 100


def check(body: Mapping[str, Any], spec: ModelSpec) -> tuple[list[str], list[str]]:
    """Return what is wrong with a body, one line each, and the paths of keys that the API drops."""
    fields = spec.fields or ()
    family = Ernie45Body[VisionPart] if "image_url" in spec.parts else Ernie45Body[TextPart]
    violations, ignored = [], []
    try:
        (Ernie5Body if _is_5(spec) else family).model_validate(
            {key: value for key, value in body.items() if key in fields}, context=spec
        )
    except ValidationError as error:
        for each in error.errors(include_url=False):
            location, text = _describe(each)
            if each["type"] == "extra_forbidden" and not _is_closed(each["loc"], spec):
                ignored.append(location)
            else:
                violations.append(f"{location}: {text}")
    ignored += [key for key in body if key not in fields]
    return [*violations, *_conversation_errors(body)], ignored


def _describe(error: Mapping[str, Any]) -> tuple[str, str]:
    """Return the location of an error, with dots and without tags, and what is wrong there."""
    steps = [str(step) for step in error["loc"]]
    location = ".".join(step for step in steps if not step.startswith("<"))
    kind, text, value = error["type"], error["msg"], error["input"]
    if kind == "extra_forbidden":
        return location, "not allowed here"
    if kind == "missing":
        return location, "required, and missing"
    if kind == "union_tag_invalid":
        tags = re.findall(r"<(\w+)>", error["ctx"]["expected_tags"])
        key = error["ctx"]["discriminator"].strip("_()")
        if key == "json_type":
            text = f"expected {', '.join(tags[:-1])} or {tags[-1]}"
        elif isinstance(value, dict):
            location, value = f"{location}.{key}", value.get(key)
            text = f"not one of {', '.join(tags)}"
        else:
            text = "expected object"
    if kind == "model_type":
        text = "expected object"
    return location, f"{text}; got {value!r:.80}"


def _is_closed(location: tuple[str | int, ...], spec: ModelSpec) -> bool:
    """Whether the published schema forbids further keys there; the API drops those elsewhere."""
    if location[0] == "response_format":
        return True
    if _is_5(spec):
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
