"""The settings of a model.

The fields of `Settings` are the one definition of types and ranges: `ChatAimlErnie` inherits them,
and the arguments of `bind` and of a call are validated against them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import BaseTool
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Secret,
    SecretStr,
    StringConstraints,
)
from typing_extensions import TypedDict

from langchain_aimlernie._settings.values import (
    base_url_of_environment,
    check_client,
    check_headers,
    check_request_id,
    check_timeout,
    key_of_environment,
    parse_base_url,
    parse_key,
    to_int,
    to_list,
)
from langchain_aimlernie.profiles import DEFAULT_MODEL

ApiKey = SecretStr | str | Callable[[], str] | Callable[[], Awaitable[str]]
ToolLike = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
ToolChoice = str | bool | Sequence[str] | Mapping[str, Any]  # see `encode_tool_choice`
Method = Literal["auto", "json_schema", "function_calling", "json_mode"]

# Strict: for none of them is a string a value, and only for the last one is `True`.
Integer = Annotated[int, Field(strict=True), BeforeValidator(to_int)]  # also `50.0`
Number = Annotated[float, Field(strict=True)]
Boolean = Annotated[bool, Field(strict=True)]


def _check_key(value: Any) -> Any:
    if isinstance(value, Secret | SecretStr):
        value = value.get_secret_value()
    return SecretStr(parse_key(value)) if isinstance(value, str) else value


class RequestParams(BaseModel):
    """Parameters that are fields of the request body under the same name.

    Ranges are those of the API's published schema (`/v1/chat/completions`, OpenAPI of the models).
    `None` is unset, and is not sent.
    """

    # Built at the first call that has one, and for `ChatAimlErnie`, which inherits the fields.
    model_config = ConfigDict(defer_build=True)

    temperature: Number | None = Field(default=None, ge=0, le=2)
    """Sampling temperature, 0 to 2."""

    top_p: Number | None = Field(default=None, ge=0.01, le=1)
    """Probability mass considered for sampling, 0.01 to 1."""

    max_tokens: Integer | None = Field(default=None, ge=1)
    """Maximum number of tokens in the completion, reasoning included; at least 1."""

    max_completion_tokens: Integer | None = Field(default=None, ge=1)
    """The same under its newer name; sent as `max_tokens` to models that lack it."""

    stop: (
        Annotated[list[str], Field(strict=True, max_length=4), BeforeValidator(to_list)]
        | str
        | None
    ) = None
    """Up to 4 sequences that end the completion; `[]` in a call clears them. Also
    `stop_sequences`."""

    seed: Integer | None = Field(default=None, ge=1)
    """Makes sampling repeatable as far as the server can; at least 1."""

    frequency_penalty: Number | None = Field(default=None, ge=-2, le=2)
    """Penalty for tokens by how often they have appeared, -2 to 2."""

    presence_penalty: Number | None = Field(default=None, ge=-2, le=2)
    """Penalty for tokens that have appeared, -2 to 2."""

    response_format: Any = None
    """`{"type": "json_object"}`, a `json_schema` dict, or a schema in any form LangChain takes."""

    parallel_tool_calls: Boolean | None = None
    """Whether a completion may contain several tool calls."""

    prediction: dict[str, Any] | None = None
    """`{"type": "content", "content": …}`: text that the completion will mostly repeat."""

    enable_thinking: Boolean | None = None
    """Whether the model reasons before it responds; only `baidu/ernie-5.0`."""

    thinking_budget: Integer | None = Field(default=None, ge=100)
    """Maximum number of reasoning tokens, at least 100; only `baidu/ernie-5.0`."""

    provider: str | None = None
    """Which upstream provider serves the call, for models that offer a choice."""

    normalize_tool_schemas: Boolean | None = None
    """Whether the API adapts tool schemas to the model; only `baidu/ernie-5.0`."""


class Settings(RequestParams):
    """The settings of `ChatAimlErnie`; those of `BaseChatModel` come on top."""

    model_config = ConfigDict(populate_by_name=True)

    model_name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        default=DEFAULT_MODEL, alias="model", min_length=1
    )
    """The model's id, such as `baidu/ernie-4.5-21b-a3b`; case does not matter."""

    api_key: Annotated[ApiKey | None, BeforeValidator(_check_key)] = Field(
        default_factory=key_of_environment, validate_default=True, repr=False
    )
    """The key, or a function (sync or async) that returns it for each call. Also
    `openai_api_key`."""

    base_url: Annotated[str, AfterValidator(parse_base_url)] = Field(
        default_factory=base_url_of_environment, validate_default=True
    )
    """The address below which `/chat/completions` is found: the AI/ML API, or any server with the
    same protocol. Also `api_base`, `openai_api_base` and `aimlapi_api_base`."""

    replay_reasoning: Boolean = False
    """Whether earlier reasoning is sent back with the assistant messages. The AI/ML API documents
    no field for it; some self-hosted servers read it."""

    on_unsupported_content: Literal["error", "omit"] = "error"
    """What happens to an image, file, audio or video that the model does not support, in a message
    or a tool result, or that is at an address the API cannot read: an error before anything is
    sent, or a text such as "[image omitted]"."""

    include_response_headers: Boolean = False
    """Whether `response_metadata["headers"]` has all headers, with secrets redacted."""

    streaming: Boolean | None = None
    """Whether `invoke` streams under the hood, so that token callbacks fire. Also `stream`."""

    stream_usage: Boolean = True
    """Whether a stream ends with its token usage."""

    timeout: Annotated[Any, AfterValidator(check_timeout)] = None
    """Seconds until an attempt must have its response (a stream: its first event), a `Timeout` of
    httpx or httpx2, or its tuple (connect, read, write, pool). A number also lowers the timeouts
    for connecting (5 s) and writing (30 s). Unset: 600 s, streams 300 s. Also
    `request_timeout`."""

    stream_idle_timeout: Annotated[Number, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Seconds between two events of a stream that carry data, more than 0. `None`: no limit;
    "auto": `timeout`, but at most 120 s. Also `stream_chunk_timeout`."""

    max_retries: Integer = Field(default=2, ge=0)
    """Retries after the first attempt, at least 0; see the page "Retries and timeouts"."""

    max_connections: Integer = Field(default=256, ge=1)
    """Concurrent connections to one server, at least 1; further calls wait in order."""

    default_headers: Annotated[Mapping[str, str] | None, BeforeValidator(check_headers)] = Field(
        default=None, exclude=True, repr=False
    )
    """Headers of every request, treated as secrets: never shown or traced. Also `extra_headers`
    and `headers`."""

    client_request_id: (
        Annotated[str, AfterValidator(check_request_id)] | Callable[[], str] | None
    ) = Field(default=None, exclude=True, repr=False)
    """The id of the call in the provider's log, or a function that returns one for each call.
    Unset: a new UUID for each call, the same for each attempt."""

    http_client: Annotated[
        Any, AfterValidator(partial(check_client, name="http_client", is_async=False))
    ] = Field(default=None, exclude=True, repr=False)
    """A `Client` of httpx or httpx2 for sync calls; used as it is, never closed."""

    http_async_client: Annotated[
        Any, AfterValidator(partial(check_client, name="http_async_client", is_async=True))
    ] = Field(default=None, exclude=True, repr=False)
    """An `AsyncClient` of httpx or httpx2 for async calls; used as it is, never closed."""

    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Fields of the request body that `ChatAimlErnie` does not have."""

    extra_body: dict[str, Any] | None = None
    """Fields that replace those of the finished request body, without validation."""


REQUEST_PARAMS = tuple(RequestParams.model_fields)

ALIASES: Mapping[str, str] = {
    "model": "model_name",
    "stop_sequences": "stop",
    "request_timeout": "timeout",
    "extra_headers": "default_headers",
    "headers": "default_headers",
    "openai_api_key": "api_key",
    "openai_api_base": "base_url",
    "api_base": "base_url",
    "aimlapi_api_base": "base_url",
    "stream": "streaming",
    "stream_chunk_timeout": "stream_idle_timeout",
}
"""Parameters of other chat models' constructors -> the names of our fields."""

PER_CALL_FIELDS = frozenset(Settings.model_fields) - {*REQUEST_PARAMS, "model_name", "streaming"}
"""Fields outside the request body; a call can override each of them."""

_NEVER_NONE = {
    name
    for name, field in Settings.model_fields.items()
    if field.annotation is not Any and NoneType not in get_args(field.annotation)
} - {"model_name"}
"""Fields that take no `None`, which there means the default, as in other chat models."""


def without_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields without those whose `None` means their default."""
    return {n: value for n, value in values.items() if value is not None or n not in _NEVER_NONE}


SHOWN = frozenset(name for name, field in Settings.model_fields.items() if field.repr) - {
    "base_url",
    "model_kwargs",
    "extra_body",
}
"""Fields whose value an error may show; any other may hold a secret."""


class Arguments(TypedDict, total=False):
    """The constructor's parameters, for type checkers; `Settings` documents them."""

    model: str
    model_name: str
    api_key: ApiKey | None
    openai_api_key: ApiKey | None
    base_url: str | None
    openai_api_base: str | None
    api_base: str | None
    aimlapi_api_base: str | None
    temperature: float | None
    top_p: float | None
    max_tokens: int | None
    max_completion_tokens: int | None
    stop: Sequence[str] | str | None
    stop_sequences: Sequence[str] | str | None
    seed: int | None
    frequency_penalty: float | None
    presence_penalty: float | None
    response_format: Any
    parallel_tool_calls: bool | None
    prediction: Mapping[str, Any] | None
    enable_thinking: bool | None
    thinking_budget: int | None
    provider: str | None
    normalize_tool_schemas: bool | None
    replay_reasoning: bool
    on_unsupported_content: Literal["error", "omit"]
    include_response_headers: bool
    streaming: bool | None
    stream: bool | None
    stream_usage: bool | None
    timeout: Any
    request_timeout: Any
    stream_idle_timeout: float | Literal["auto"] | None
    stream_chunk_timeout: float | None
    max_retries: int | None
    max_connections: int
    default_headers: Mapping[str, str | SecretStr] | None
    extra_headers: Mapping[str, str | SecretStr] | None
    headers: Mapping[str, str | SecretStr] | None
    client_request_id: str | Callable[[], str] | None
    http_client: Any
    http_async_client: Any
    model_kwargs: Mapping[str, Any]
    extra_body: Mapping[str, Any] | None
    name: str | None
    cache: BaseCache | bool | None
    verbose: bool
    callbacks: list[BaseCallbackHandler] | BaseCallbackManager | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    custom_get_token_ids: Callable[[str], list[int]] | None
    rate_limiter: BaseRateLimiter | None
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    profile: ModelProfile | None
