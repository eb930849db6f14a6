"""The settings: how single values are checked, the fields, and how errors read.

The fields of `Settings` are the one definition of types and ranges: `ChatAimlErnie` inherits them,
and the arguments of `bind` and of a call are validated against them.

For an invalid key in a header, httpx and h11 print the whole key in their errors, and the server
drops an invalid `X-Client-Request-Id` silently. Both are rejected here; no message shows a key.
A key under an unknown name would become a field of the request body, and would be shown in the
model's repr, its dump, cache keys and traces: parameters that look like secrets are errors.
"""

from __future__ import annotations

import inspect
import ipaddress
import os
import re
import warnings
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin
from urllib.parse import SplitResult, urlsplit

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Secret,
    SecretBytes,
    SecretStr,
    StringConstraints,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError
from typing_extensions import TypedDict

from langchain_aimlernie._text import truncate
from langchain_aimlernie.profiles import DEFAULT_MODEL

ApiKey = SecretStr | str | Callable[[], str] | Callable[[], Awaitable[str]]
"""A key, or a function that returns it."""

ToolLike = Mapping[str, Any] | type | Callable[..., Any] | BaseTool
"""A tool for `bind_tools`: a tool object, a function, a class with fields, or a schema."""

ToolChoice = str | bool | Sequence[str] | Mapping[str, Any]
"""Values of `tool_choice`; see `encode_tool_choice`."""

Method = Literal["auto", "json_schema", "function_calling", "json_mode"]
"""Method of structured output; see `ChatAimlErnie.with_structured_output`."""


DEFAULT_BASE_URL = "https://api.aimlapi.com/v1"
"""The AI/ML API's address (its reference pages, "servers")."""

BASE_URL_VARIABLE = "AIMLAPI_API_BASE"
"""The environment variable that holds `base_url`."""

KEY_VARIABLE = "AIMLAPI_API_KEY"
"""The environment variable that holds the key."""

_COMPLETIONS = "/chat/completions"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OWN_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection"})


def parse_base_url(url: str) -> str:
    """Return the address below which `/chat/completions` is found, without a trailing slash.

    A host alone gets the API's `/v1`, any other path is kept, and a trailing `/chat/completions`
    is removed, unless it is the whole path: a host alone would be another address.

    Raises:
        ValueError: Not an http(s) address, an invalid port, or credentials or a query in it.
    """
    url = url.strip()
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        hint = "" if "://" in url else " Put https:// or http:// before it."
        raise ValueError(
            f"base_url must begin with https:// or http:// and name a host; got {_display(url)!r}."
            f"{hint}"
        )
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "base_url must not contain a user name or password; pass the key as api_key instead."
        )
    if parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.netloc}{parts.path}"
        raise ValueError(f"base_url must not have a query or a fragment; got {shown!r} with one.")
    path = parts.path.rstrip("/")
    path = path.removesuffix(_COMPLETIONS).rstrip("/") or path or "/v1"
    base = f"{parts.scheme}://{parts.netloc}{path}"
    if parts.scheme == "http" and not _is_loopback(parts.hostname):
        warnings.warn(
            f"base_url {base!r} is not encrypted: others can read the key and all messages. "
            "Use https.",
            stacklevel=5,  # where the model is created
        )
    return base


def endpoint_url(base_url: str, path: str) -> str:
    """Return the URL of an endpoint of the API.

    Args:
        base_url: An address that `parse_base_url` returned.
        path: The path of the endpoint, such as `/models`.
    """
    return base_url.removesuffix(_COMPLETIONS) + path


def base_url_of_environment() -> str:
    """Return the environment's `base_url` or the default; an empty variable counts as unset."""
    return os.environ.get(BASE_URL_VARIABLE, "").strip() or DEFAULT_BASE_URL


def _split(url: str) -> SplitResult:
    if not url.isprintable() or " " in url:
        raise ValueError("base_url contains a space or a control character.")
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  reading it is the check
    except ValueError:  # its message may contain a part of a password
        raise ValueError(
            f"base_url is not an address: its host or port is malformed; got {_display(url)!r}."
        ) from None
    return parts


def _display(url: str) -> str:
    """Return an address without its user name, password and query, which may be secret."""
    scheme = _SCHEME.match(url)
    start = scheme.end() if scheme else 0
    rest = url[start:].rpartition("@")[2]
    return url[:start] + re.split(r"[?#]", rest)[0]


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_default_host(base_url: str) -> bool:
    """Whether `base_url` is the AI/ML API itself, which requires a key."""
    return urlsplit(base_url).hostname == urlsplit(DEFAULT_BASE_URL).hostname


def parse_key(key: object) -> str:
    """Return the key without surrounding white space.

    Raises:
        ValueError: It is not a string, is empty, or contains a character that no key has. The
            message shows nothing of the key.
    """
    if not isinstance(key, str):
        raise ValueError(f"api_key must be a string; got {type(key).__name__}.")  # noqa: TRY004  as for all fields
    key = key.strip()
    if not key.strip("*"):  # pydantic's dumps have asterisks
        raise ValueError("api_key is empty or masked; set AIMLAPI_API_KEY or pass api_key.")
    if key[0] == key[-1] and key[0] in "\"'":
        raise ValueError("api_key is in quotation marks; remove them (env files may keep them).")
    for position, char in enumerate(key, start=1):
        if not "!" <= char <= "~":
            kind = "a control character or space" if char.isascii() else "a non-ASCII character"
            raise ValueError(
                f"api_key has {kind} at position {position} of {len(key)}; "
                "copy it again from the provider's page."
            )
    return key


def key_of_environment() -> SecretStr | None:
    """Return the environment's key; an empty variable counts as unset."""
    key = os.environ.get(KEY_VARIABLE, "")
    return SecretStr(key) if key.strip() else None


def _check_key(value: ApiKey | None) -> ApiKey | None:
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return SecretStr(parse_key(value)) if isinstance(value, str) else value


def check_request_id(value: object) -> str:
    """Return an id that the server accepts as `X-Client-Request-Id`.

    Raises:
        ValueError: It is not 1 to 128 characters of A-Z a-z 0-9 . _ : - (the API's rule).
    """
    if isinstance(value, str) and _REQUEST_ID.fullmatch(value):
        return value
    shown = value[:40] if isinstance(value, str) else value
    raise ValueError(
        f"client_request_id must be 1 to 128 of the characters A-Z a-z 0-9 . _ : -; got {shown!r}."
    )


def check_headers(headers: Mapping[Any, Any] | None) -> dict[str, str] | None:
    """Return a copy of `headers`, without `SecretStr` and surrounding white space.

    Raises:
        ValueError: A name or value that HTTP forbids, or a header that the transport sets. Values
            are not shown: headers are treated as secrets.
    """
    if headers is None:
        return None
    if not isinstance(headers, Mapping):
        raise ValueError(f"default_headers must be a dict; got {type(headers).__name__}.")  # noqa: TRY004  as for all fields
    plain = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in headers.items()
    }
    for name, value in plain.items():
        if not isinstance(name, str) or not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"default_headers: {name!r} is not a valid header name.")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(f"default_headers: {name!r} is set by the transport; leave it out.")
        if not isinstance(value, str) or not value.isascii() or not value.strip().isprintable():
            raise ValueError(
                f"default_headers: the value of {name!r} must be printable ASCII text."
            )
    return {name: value.strip() for name, value in plain.items()}


def check_timeout(value: Any) -> Any:
    """Return a timeout: seconds, a tuple of four, a `Timeout` of httpx or httpx2, or `None`.

    Raises:
        ValueError: It is something else, or not positive.
    """
    if value is None:
        return None
    if all(hasattr(value, name) for name in _TIMEOUTS):
        limits = [getattr(value, name) for name in _TIMEOUTS]
    else:
        limits = list(value) if isinstance(value, (tuple, list)) else [value] * 4
    if len(limits) != len(_TIMEOUTS) or not all(map(_is_time, limits)):
        raise ValueError(
            "timeout must be a number of seconds greater than 0, (connect, read, write, pool) or "
            f"a Timeout of httpx or httpx2; got {value!r}."
        )
    if isinstance(value, Real):
        return float(value)
    return tuple(value) if isinstance(value, list) else value


_TIMEOUTS = ("connect", "read", "write", "pool")
"""The attributes of a `Timeout`, in the order of the tuple."""


def _is_time(limit: object) -> bool:
    is_number = isinstance(limit, Real) and not isinstance(limit, bool)
    return limit is None or (is_number and limit > 0)  # type: ignore[operator]  # a number by then


def check_client(value: object, name: str, *, is_async: bool) -> object:
    """Return a user-supplied HTTP client of httpx or httpx2.

    Args:
        value: The client, or `None`.
        name: The field's name.
        is_async: Whether an async client is needed.

    Raises:
        ValueError: It is a class, a client of the other kind, or not a client.
    """
    if value is None:
        return None
    kind = "AsyncClient" if is_async else "Client"
    send = getattr(value, "send", None)
    if isinstance(value, type):
        problem = f"the class {value.__name__} itself"
    elif not callable(send) or not hasattr(value, "build_request"):
        problem = f"an object of type {type(value).__name__}"
    elif inspect.iscoroutinefunction(send) != is_async:
        problem = "a sync client" if is_async else "an async client"
    else:
        return value
    raise ValueError(f"{name} must be an instance of httpx.{kind} or httpx2.{kind}; got {problem}.")


def to_int(value: object) -> object:
    """Return a float such as `50.0`, or numpy's integer, as an `int`; anything else as it is."""
    is_whole = isinstance(value, float) and value.is_integer()
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if is_whole or is_integer else value  # type: ignore[call-overload]  # a number by then


def is_count(value: object, least: int) -> bool:
    """Whether a value is an integer of at least `least`."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _to_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


Integer = Annotated[int, Field(strict=True), BeforeValidator(to_int)]
"""An integer, also written as `50.0`; `True` and `"5"` are errors."""

Number = Annotated[float, Field(strict=True)]
"""A number; `True` and `"0.5"` are errors."""

Boolean = Annotated[bool, Field(strict=True)]
"""`True` or `False`; `1` and `"yes"` are errors."""


class RequestParams(BaseModel):
    """Parameters that are fields of the request body under the same name.

    Ranges are those of the API's published schema (`/v1/chat/completions`, OpenAPI of the models).
    `None` is unset, and is not sent.
    """

    temperature: Number | None = Field(default=None, ge=0, le=2)
    """Sampling temperature, 0 to 2."""

    top_p: Number | None = Field(default=None, ge=0.01, le=1)
    """Probability mass considered for sampling, 0.01 to 1."""

    max_tokens: Integer | None = Field(default=None, ge=1)
    """Maximum number of tokens in the completion, reasoning included; at least 1."""

    max_completion_tokens: Integer | None = Field(default=None, ge=1)
    """The same under its newer name; sent as `max_tokens` to models that lack it."""

    stop: (
        Annotated[list[str], Field(strict=True, max_length=4), BeforeValidator(_to_list)]
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

    api_key: Annotated[ApiKey | None, AfterValidator(_check_key)] = Field(
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
    """Headers of every request, treated as secrets: never shown or traced. Also `extra_headers`."""

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
"""The names of the parameters that are fields of the request body."""

ALIASES: Mapping[str, str] = {
    "model": "model_name",
    "stop_sequences": "stop",
    "request_timeout": "timeout",
    "extra_headers": "default_headers",
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


OPTIONS: Mapping[str, str] = {
    **{alias: name for alias, name in ALIASES.items() if alias not in ("model", "stream")},
    "model_name": "model",
}
"""Other names of a call's keyword arguments -> the names used for them."""

INSTRUCTION = "json_instruction"
"""The keyword argument of a call in JSON mode: a text to be added to the system message."""

_KNOWN = frozenset({*Settings.model_fields, *ALIASES})

_SHOWN = frozenset(name for name, field in Settings.model_fields.items() if field.repr) - {
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


def read_options(options: dict[str, Any], api_key: object = None) -> dict[str, Any]:
    """Return the keyword arguments of a call with their aliases resolved.

    Args:
        options: The keyword arguments. They are removed if one looks like a secret.
        api_key: The model's own key, if it is known.

    Raises:
        ValueError: A parameter is outside its range, one that would become a field of the request
            body looks like a secret, or one belongs to the config of a run.
    """
    if not options:
        return options
    if problem := secret_problem(options, api_key):
        options.clear()  # or the error's traceback would show it
        raise ValueError(problem)
    if misplaced := sorted(options.keys() & RunnableConfig.__annotations__):
        name = misplaced[0]
        raise ValueError(f"{name!r} belongs to the config of a run: use with_config({name}=…).")
    named = {OPTIONS.get(name, name): value for name, value in options.items()}
    if not isinstance(model := named.get("model"), str | None):
        raise ValueError(f"model must be a string; got {model!r}.")  # noqa: TRY004  as for all parameters
    if model is not None:
        named["model"] = model.strip()
    params = {name: named[name] for name in REQUEST_PARAMS if named.get(name) is not None}
    if not params:
        return named
    problem = ""
    try:
        valid = RequestParams.model_validate(params)
    except ValidationError as error:
        problem = first_message(translate(error, RequestParams.model_fields))
    if problem:  # not in the handler: pydantic's error would be its context
        raise ValueError(problem)
    return {**named, **{name: getattr(valid, name) for name in params}}


def secret_problem(parameters: Mapping[str, Any], api_key: object = None) -> str | None:
    """Return the error message if a parameter would be a secret in the request body, or `None`.

    Args:
        parameters: Keyword arguments of the constructor or of a call, including those inside of
            `model_kwargs` and `extra_body`.
        api_key: The model's own key, if it is known.
    """
    unknown = {name: value for name, value in parameters.items() if name not in _KNOWN}
    for fields in (unknown, parameters.get("model_kwargs"), parameters.get("extra_body")):
        if isinstance(fields, Mapping) and (name := find_secret(fields, api_key)):
            return (
                f"{name!r} looks like a secret and would be sent in the request body. Pass the API "
                "key as api_key, and any other key in default_headers."
            )
    return None


_SECRET_WORDS = frozenset(
    {"key", "apikey", "token", "secret", "password", "authorization", "ak", "sk"}
)
"""Last words of the names of secrets; `ak` and `sk` are Qianfan's access key and secret key."""

_HARMLESS_NAMES = ("cache_key", "bos_token", "eos_token", "pad_token", "stop_token")
"""Endings of documented parameter names whose values are not secret."""

_SECRET_PREFIXES = (
    "sk-",
    "Bearer ",
    "Basic ",
    "bce-v3/",
    "AIza",
    "gsk_",
    "hf_",
    "lsv2_",
    "nvapi-",
    "xai-",
    "ghp_",
    "github_pat_",
)
"""Prefixes of keys: the AI/ML API's and OpenAI's, HTTP's, Baidu's and other providers'."""

SHORTEST_SECRET = 8
"""Minimum length of a secret: redacting shorter values would redact ordinary words."""

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def find_secret(parameters: Mapping[str, object], api_key: object = None) -> str | None:
    """Return the name of the first parameter that holds a secret, or `None`.

    Args:
        parameters: Parameters that would become fields of the request body.
        api_key: The model's own key, if it is known.
    """
    own = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
    for name, value in parameters.items():
        if _has_secret_name(str(name)) and not (value is None or isinstance(value, bool)):
            return name
        if _has_secret_value(value, own if isinstance(own, str) else ""):
            return name
    return None


def _has_secret_name(name: str) -> bool:
    """Whether a parameter of this name holds a secret; `api_key` and `apiKey` are alike."""
    words = [word.lower() for word in _WORD.findall(name)]
    if "_".join(words).endswith(_HARMLESS_NAMES):
        return False
    return bool(words) and (words[-1] in _SECRET_WORDS or "".join(words).endswith("apikey"))


def _has_secret_value(value: object, api_key: str = "") -> bool:
    """Whether a value is a secret: declared as one, the model's own key, or shaped like a key."""
    if isinstance(value, (SecretStr, SecretBytes, Secret)):
        return True
    if isinstance(value, Mapping):  # such as headers
        return any(_has_secret_value(inner, api_key) for inner in value.values())
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if not isinstance(value, str) or len(value) < SHORTEST_SECRET:
        return False
    is_own = len(api_key) >= SHORTEST_SECRET and api_key in value
    return is_own or value.startswith(_SECRET_PREFIXES)


_MAX_SHOWN = 100
"""How many characters of a value an error message shows."""


def translate(error: ValidationError, fields: Mapping[str, FieldInfo]) -> ValidationError:
    """Return the same error with one plain message for each field and no value that may be secret.

    Args:
        error: An error of pydantic's.
        fields: The fields of the validated model.
    """
    found: dict[str, ErrorDetails] = {}
    # Each member of a union has its own error: a validator's reason wins, then the outermost.
    for details in sorted(error.errors(include_url=False), key=_rank):
        name = str(details["loc"][0]) if details["loc"] else ""
        found.setdefault(ALIASES.get(name, name), details)
    return ValidationError.from_exception_data(
        error.title,
        [
            InitErrorDetails(
                # The text is a value of the template, which would replace braces in it.
                type=PydanticCustomError(
                    details["type"], "{message}", {"message": _message(name, details, fields)}
                ),
                loc=details["loc"][:1],
                input=details["input"] if name in _SHOWN else "(not shown)",
            )
            for name, details in found.items()
        ],
    )


def first_message(error: ValidationError) -> str:
    """Return the message of the first problem that a translated error reports."""
    return error.errors(include_url=False, include_context=False, include_input=False)[0]["msg"]


def _rank(details: ErrorDetails) -> tuple[bool, int]:
    return details["type"] != "value_error", len(details["loc"])


def _message(name: str, details: ErrorDetails, fields: Mapping[str, FieldInfo]) -> str:
    if details["type"] == "value_error":
        return str(details["ctx"]["error"])
    value = details["input"]
    shown = truncate(repr(value), _MAX_SHOWN) if name in _SHOWN else type(value).__name__
    if details["loc"][-1:] == ("[key]",):
        return f"{name} must have strings as keys; got {shown}."
    field = fields.get(name)
    if field is None or field.annotation is None:
        return f"{name}: {details['msg']}; got {shown}."
    return f"{name} must be {_describe(field.annotation, field.metadata)}; got {shown}."


_KINDS: Mapping[object, str] = {
    int: "an integer",
    float: "a number",
    bool: "True or False",
    str: "a string",
    SecretStr: "a string",
    list: "a list",
    dict: "a dict",
    Mapping: "a dict",
    Callable: "a function",
}


def _describe(annotation: Any, constraints: Iterable[object] = ()) -> str:
    """Return what a field accepts, such as "a number from 0 to 2"; `None` is not mentioned."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        annotation, *added = arguments
        unpacked = [part for a in added for part in (a.metadata if hasattr(a, "metadata") else [a])]
        return _describe(annotation, [*constraints, *unpacked])
    if origin in (Union, UnionType):
        kinds = [_describe(kind, constraints) for kind in arguments if kind is not NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if annotation is str and any(hasattr(c, "min_length") for c in constraints):
        return "a non-empty string"
    kind = _KINDS.get(origin or annotation) or f"a {getattr(annotation, '__name__', annotation)}"
    return f"{kind}{_describe_limits(constraints)}"


def _describe_limits(constraints: Iterable[object]) -> str:
    names = ("ge", "gt", "le", "max_length")
    limits = {name: getattr(c, name) for c in constraints for name in names if hasattr(c, name)}
    if "max_length" in limits:
        return f" of at most {limits['max_length']} strings"
    if "gt" in limits:
        return f" greater than {limits['gt']}"
    if "le" in limits:
        return f" from {limits['ge']} to {limits['le']}"
    return f" of at least {limits['ge']}" if "ge" in limits else ""
