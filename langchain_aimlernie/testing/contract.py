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
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    ValidationError,
)
from pydantic_core import PydanticCustomError

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


T = TypeVar("T")

# Tags are written "<…>", so that they can be told from keys in the location of an error.
_JSON_TYPES = {str: "<string>", list: "<array>", dict: "<object>", type(None): "<null>"}


def _by_json_type(expected: str) -> Discriminator:
    """Return a discriminator of a union by JSON type."""
    return Discriminator(
        lambda value: _JSON_TYPES.get(type(value)),
        custom_error_type="wrong_kind",
        custom_error_message=f"expected {expected}",
    )


def _by_key(key: str, expected: str, *, other: bool = False) -> Discriminator:
    """Return a discriminator of a union of objects by the string under `key`.

    Args:
        key: "role" or "type".
        expected: The values that have a member, separated by ", ".
        other: Whether the union has a member "<other>" for all other values.
    """
    known = expected.split(", ")

    def tag(value: object) -> str | None:
        found = value.get(key) if isinstance(value, dict) else None
        if other and isinstance(found, str) and found not in known:
            return "<other>"
        return f"<{found}>" if isinstance(found, str) else None

    return Discriminator(
        tag,
        custom_error_type=f"unknown_{key}",
        custom_error_message=f"not one of {expected}",
    )


def _check_integer(value: float) -> float:
    if not value.is_integer():
        raise PydanticCustomError("integer", "expected an integer")
    return value


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


Number = Annotated[float, Field(allow_inf_nan=False)]
Integer = Annotated[Number, AfterValidator(_check_integer)]  # 1.0 is an integer in JSON Schema
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
ImageUrl = Annotated[str, AfterValidator(_check_image_url)]
TextOr = Annotated[
    Annotated[str, Tag("<string>")] | Annotated[list[T], Tag("<array>")],
    _by_json_type("string or array"),
]
TextOrNullOr = Annotated[
    Annotated[str, Tag("<string>")]
    | Annotated[list[T], Tag("<array>")]
    | Annotated[None, Tag("<null>")],
    _by_json_type("string, array or null"),
]


class _Object(BaseModel):
    """An object of the request; defaults stand for absent keys, null only where it is allowed."""

    model_config = ConfigDict(extra="forbid", strict=True)


# Content parts


class TextPart(_Object):
    type: Literal["text"]
    text: str


class RefusalPart(_Object):
    type: Literal["refusal"]
    refusal: str


class Image(_Object):
    url: ImageUrl
    detail: Literal["low", "high", "auto"] = "auto"


class ImagePart(_Object):
    type: Literal["image_url"]
    image_url: Image


class File(_Object):
    file_data: str = ""
    filename: str = ""


class FilePart(_Object):
    type: Literal["file"]
    file: File


class CacheControl(_Object):
    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] = "5m"


_CACHE = CacheControl(type="ephemeral")


class TextPart5(TextPart):
    cache_control: CacheControl = _CACHE


class Image5(_Object):
    url: str  # the published schema takes any string here
    detail: Literal["low", "high", "auto"] = "auto"


class ImagePart5(_Object):
    type: Literal["image_url"]
    image_url: Image5
    cache_control: CacheControl = _CACHE


class File5(File):
    file_id: str = ""


class FilePart5(_Object):
    type: Literal["file"]
    file: File5
    cache_control: CacheControl = _CACHE


VisionPart = Annotated[
    Annotated[TextPart, Tag("<text>")]
    | Annotated[ImagePart, Tag("<image_url>")]
    | Annotated[FilePart, Tag("<file>")],
    _by_key("type", "text, image_url, file"),
]
VisionPart5 = Annotated[
    Annotated[TextPart5, Tag("<text>")]
    | Annotated[ImagePart5, Tag("<image_url>")]
    | Annotated[FilePart5, Tag("<file>")],
    _by_key("type", "text, image_url, file"),
]
AssistantPart = Annotated[
    Annotated[TextPart, Tag("<text>")] | Annotated[RefusalPart, Tag("<refusal>")],
    _by_key("type", "text, refusal"),
]


# Messages


class CalledFunction(_Object):
    name: str
    arguments: str


class FunctionCall(_Object):
    id: str
    type: Literal["function"]
    function: CalledFunction


class CalledCustom(_Object):
    name: str
    input: str


class FunctionCall5(FunctionCall):
    extra_content: dict[str, Any] = {}


class CustomCall5(_Object):
    id: str
    type: Literal["custom"]
    custom: CalledCustom
    extra_content: dict[str, Any] = {}


ToolCall5 = Annotated[
    Annotated[FunctionCall5, Tag("<function>")] | Annotated[CustomCall5, Tag("<custom>")],
    _by_key("type", "function, custom"),
]


class _Message(_Object):
    role: str
    name: str = ""


class TextMessage(_Message):
    content: TextOr[TextPart]


class VisionUserMessage(_Message):
    content: TextOr[VisionPart]


class AssistantMessage(_Message):
    content: TextOr[AssistantPart] = ""
    refusal: str | None = None
    tool_calls: list[FunctionCall] = []


class ToolMessage(_Object):
    role: str
    content: str
    tool_call_id: str
    name: str | None = None


class UserMessage5(_Message):
    content: TextOr[VisionPart5]


class SystemMessage5(_Message):
    content: TextOr[TextPart5]


class AssistantMessage5(AssistantMessage):
    content: TextOrNullOr[TextPart5] = ""  # type: ignore[assignment]  # other parts, and null
    tool_calls: list[ToolCall5] = []  # type: ignore[assignment]  # more kinds


class ToolMessage5(ToolMessage):
    content: TextOr[TextPart5]  # type: ignore[assignment]  # text, or parts


_ROLES = _by_key("role", "user, system, assistant, tool")
Message = Annotated[
    Annotated[TextMessage, Tag("<user>")]
    | Annotated[TextMessage, Tag("<system>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")],
    _ROLES,
]
VisionMessage = Annotated[
    Annotated[VisionUserMessage, Tag("<user>")]
    | Annotated[TextMessage, Tag("<system>")]
    | Annotated[AssistantMessage, Tag("<assistant>")]
    | Annotated[ToolMessage, Tag("<tool>")],
    _ROLES,
]
Message5 = Annotated[
    Annotated[UserMessage5, Tag("<user>")]
    | Annotated[SystemMessage5, Tag("<system>")]
    | Annotated[SystemMessage5, Tag("<developer>")]
    | Annotated[AssistantMessage5, Tag("<assistant>")]
    | Annotated[ToolMessage5, Tag("<tool>")],
    _by_key("role", "user, system, developer, assistant, tool"),
]


# Tools


class Function(_Object):
    name: Name
    description: str = ""
    parameters: dict[str, Any]
    strict: bool | None = None


class Tool(_Object):
    type: Literal["function"]
    function: Function


class Function5(Function):
    parameters: dict[str, Any] = {}


class FunctionTool5(_Object):
    type: Literal["function"]
    function: Function5
    cache_control: CacheControl = _CACHE


class Grammar(_Object):
    definition: str
    syntax: Literal["lark", "regex"]


class GrammarFormat(_Object):
    type: Literal["grammar"]
    grammar: Grammar


class TextFormat(_Object):
    type: Literal["text"]


class Custom(_Object):
    name: str
    description: str = ""
    format: Annotated[
        Annotated[TextFormat, Tag("<text>")] | Annotated[GrammarFormat, Tag("<grammar>")],
        _by_key("type", "text, grammar"),
    ]


class CustomTool5(_Object):
    type: Literal["custom"]
    custom: Custom
    cache_control: CacheControl = _CACHE


class OtherTool5(_Object):
    type: Annotated[str, StringConstraints(min_length=1)]


Tool5 = Annotated[
    Annotated[FunctionTool5, Tag("<function>")]
    | Annotated[CustomTool5, Tag("<custom>")]
    | Annotated[OtherTool5, Tag("<other>")],
    _by_key("type", "function, custom", other=True),
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


ChoiceMode = Literal["none", "auto", "required"]
ToolChoice = Annotated[
    Annotated[ChoiceMode, Tag("<string>")] | Annotated[ChosenTool, Tag("<object>")],
    _by_json_type("string or object"),
]
ChosenTool5 = Annotated[
    Annotated[ChosenTool, Tag("<function>")] | Annotated[AllowedTools, Tag("<allowed_tools>")],
    _by_key("type", "function, allowed_tools"),
]
ToolChoice5 = Annotated[
    Annotated[ChoiceMode, Tag("<string>")] | Annotated[ChosenTool5, Tag("<object>")],
    _by_json_type("string or object"),
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
    _by_key("type", "text, json_object, json_schema"),
]


class StreamOptions(_Object):
    include_usage: bool


class Prediction(_Object):
    type: Literal["content"]
    content: TextOr[TextPart]


class _Body(_Object):
    model: str
    max_tokens: Annotated[Number, Field(ge=1)] = 1
    stream: bool = False
    stream_options: StreamOptions = StreamOptions(include_usage=False)
    parallel_tool_calls: bool = True
    temperature: Annotated[Number, Field(ge=0, le=2)] = 1
    top_p: Annotated[Number, Field(ge=0.01, le=1)] = 1
    stop: Annotated[
        Annotated[str, Tag("<string>")]
        | Annotated[list[str], Field(max_length=4), Tag("<array>")]
        | Annotated[None, Tag("<null>")],
        _by_json_type("string, array or null"),
    ] = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    seed: Annotated[Integer, Field(ge=1)] = 1
    response_format: ResponseFormat = TextFormat(type="text")
    provider: str = "auto"


class TextBody(_Body):
    """A request to a model of the 4.5 family that reads text."""

    messages: list[Message] = Field(min_length=1)
    tools: list[Tool] = Field(default=[], max_length=128)
    tool_choice: ToolChoice = "auto"
    max_completion_tokens: Annotated[Integer, Field(ge=1)] = 1
    prediction: Prediction = Prediction(type="content", content="")


class VisionBody(TextBody):
    """A request to a model of the 4.5 family that reads images and files."""

    messages: list[VisionMessage] = Field(min_length=1)  # type: ignore[assignment]  # more parts


class Ernie5Body(_Body):
    """A request to ernie-5.0."""

    messages: list[Message5] = Field(min_length=1)
    tools: list[Tool5] = Field(default=[], max_length=128)
    tool_choice: ToolChoice5 = "auto"
    normalize_tool_schemas: bool = True
    enable_thinking: bool = True
    thinking_budget: Annotated[Integer, Field(ge=100)] = 100


def errors(body: Mapping[str, Any], spec: ModelSpec) -> list[Violation]:
    """Return all violations in `body`, those among them that the API would ignore included."""
    return [*_schema_errors(body, spec), *_conversation_errors(body)]


def _schema_errors(body: Mapping[str, Any], spec: ModelSpec) -> Iterator[Violation]:
    fields = spec.fields or ()
    family = TextBody if "image_url" not in spec.parts else VisionBody
    try:
        (Ernie5Body if spec.thinking_switch else family).model_validate(
            {key: value for key, value in body.items() if key in fields}
        )
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
