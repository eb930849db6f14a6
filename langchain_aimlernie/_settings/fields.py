"""The settings of a model; the docstring of `ChatAimlErnie` describes them.

The fields of `Settings` are the only definition of types and ranges: `ChatAimlErnie` inherits them,
and the arguments of `bind` and of calls are validated against them.
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

# Strict: none of them accepts a string, and only the last one accepts `True`.
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
    `None` means unset: the parameter is not sent.
    """

    # The validator is built at the first call with parameters.
    model_config = ConfigDict(defer_build=True)

    temperature: Number | None = Field(default=None, ge=0, le=2)
    top_p: Number | None = Field(default=None, ge=0.01, le=1)
    max_tokens: Integer | None = Field(default=None, ge=1)
    max_completion_tokens: Integer | None = Field(default=None, ge=1)
    stop: (
        Annotated[list[str], Field(strict=True, max_length=4), BeforeValidator(to_list)]
        | str
        | None
    ) = None
    seed: Integer | None = Field(default=None, ge=1)
    frequency_penalty: Number | None = Field(default=None, ge=-2, le=2)
    presence_penalty: Number | None = Field(default=None, ge=-2, le=2)
    response_format: Any = None
    parallel_tool_calls: Boolean | None = None
    prediction: dict[str, Any] | None = None
    enable_thinking: Boolean | None = None
    thinking_budget: Integer | None = Field(default=None, ge=100)
    provider: str | None = None
    normalize_tool_schemas: Boolean | None = None


class Settings(RequestParams):
    """The settings of `ChatAimlErnie`, without those of `BaseChatModel`."""

    model_config = ConfigDict(populate_by_name=True)

    model_name: Annotated[str, StringConstraints(strip_whitespace=True)] = Field(
        default=DEFAULT_MODEL, alias="model", min_length=1
    )
    api_key: Annotated[ApiKey | None, BeforeValidator(_check_key)] = Field(
        default_factory=key_of_environment, validate_default=True, repr=False
    )
    base_url: Annotated[str, AfterValidator(parse_base_url)] = Field(
        default_factory=base_url_of_environment, validate_default=True
    )
    replay_reasoning: Boolean = False
    on_unsupported_content: Literal["error", "omit"] = "error"
    include_response_headers: Boolean = False
    streaming: Boolean | None = None
    stream_usage: Boolean = True
    timeout: Annotated[Any, AfterValidator(check_timeout)] = None
    stream_idle_timeout: Annotated[Number, Field(gt=0)] | Literal["auto"] | None = "auto"
    max_retries: Integer = Field(default=2, ge=0)
    max_connections: Integer = Field(default=256, ge=1)
    default_headers: Annotated[Mapping[str, str] | None, BeforeValidator(check_headers)] = Field(
        default=None, exclude=True, repr=False
    )
    client_request_id: (
        Annotated[str, AfterValidator(check_request_id)] | Callable[[], str] | None
    ) = Field(default=None, exclude=True, repr=False)
    http_client: Annotated[
        Any, AfterValidator(partial(check_client, name="http_client", is_async=False))
    ] = Field(default=None, exclude=True, repr=False)
    http_async_client: Annotated[
        Any, AfterValidator(partial(check_client, name="http_async_client", is_async=True))
    ] = Field(default=None, exclude=True, repr=False)
    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    extra_body: dict[str, Any] | None = None


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
"""Fields without the value `None`; for them `None` means the default, as in other chat models."""


def without_defaults(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields without those whose `None` means the default."""
    return {n: value for n, value in values.items() if value is not None or n not in _NEVER_NONE}


SHOWN = frozenset(name for name, field in Settings.model_fields.items() if field.repr) - {
    "base_url",
    "model_kwargs",
    "extra_body",
}
"""Fields whose value an error may show; any other may hold a secret."""


class Arguments(TypedDict, total=False):
    """The constructor's parameters, for type checkers."""

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
