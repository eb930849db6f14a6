"""Types of the public signatures."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Literal

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.tools import BaseTool
from pydantic import SecretStr
from typing_extensions import TypedDict

ApiKey = SecretStr | str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A key, or a function that returns it."""

ToolLike = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
"""A tool for `bind_tools`: a tool object, a function, a class with fields, or a schema."""

ToolChoice = str | bool | Sequence[str] | Mapping[str, Any]
"""Values of `tool_choice`; see `encode_tool_choice`."""

Method = Literal["auto", "json_schema", "function_calling", "json_mode"]
"""Method of structured output; see `ChatAimlErnie.with_structured_output`."""


class Settings(TypedDict, total=False):
    """The constructor's parameters, for type checkers; `ChatAimlErnie` documents them."""

    model: str
    model_name: str
    api_key: ApiKey | None
    openai_api_key: ApiKey | None
    base_url: str
    openai_api_base: str
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
    stream_usage: bool
    timeout: Any
    request_timeout: Any
    stream_idle_timeout: float | Literal["auto"] | None
    max_retries: int
    max_connections: int
    default_headers: Mapping[str, str | SecretStr] | None
    extra_headers: Mapping[str, str | SecretStr] | None
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
