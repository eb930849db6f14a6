"""The parameters of the request body, what a call may override, and how their errors read.

The fields of `RequestParams` are the one definition of types and ranges: `ChatAimlErnie` inherits
them, and the arguments of `bind`, `invoke` and the payload are validated against them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from langchain_core.language_models import BaseChatModel
from pydantic import BaseModel, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from langchain_aimlernie._secrets import find_secret, secret_message
from langchain_aimlernie._text import truncate

_MAX_SHOWN = 100
"""How many characters of a value an error message shows."""


def _to_int(value: object) -> object:
    """Return a float such as `50.0`, or numpy's integer, as an `int`; anything else as it is."""
    is_whole = isinstance(value, float) and value.is_integer()
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    return int(value) if is_whole or is_integer else value  # type: ignore[call-overload]  # a number by then


def _to_list(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


Integer = Annotated[int, Field(strict=True), BeforeValidator(_to_int)]
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


REQUEST_PARAMS = tuple(RequestParams.model_fields)
"""The names of the parameters that are fields of the request body."""

ALIASES: Mapping[str, str] = {
    "model": "model_name",
    "stop_sequences": "stop",
    "request_timeout": "timeout",
    "extra_headers": "default_headers",
    "openai_api_key": "api_key",
    "openai_api_base": "base_url",
}
"""Parameters of other chat models' constructors -> the names of our fields."""

CONNECTION_FIELDS = (
    "api_key",
    "timeout",
    "stream_idle_timeout",
    "max_retries",
    "max_connections",
    "default_headers",
    "client_request_id",
    "http_client",
    "http_async_client",
)
"""Fields that say how a request is sent, and do not change the message that comes back."""

_NOT_IN_BODY = (
    *CONNECTION_FIELDS,
    "base_url",
    "stream_usage",
    "model_kwargs",
    "extra_body",
    "replay_reasoning",
    "on_unsupported_content",
    "include_response_headers",
)

PER_CALL_FIELDS: Mapping[str, str] = {
    **{name: name for name in _NOT_IN_BODY},
    **{alias: name for alias, name in ALIASES.items() if name in _NOT_IN_BODY},
}
"""Keyword arguments of a call that override a field outside the request body -> the field."""

OPTIONS: Mapping[str, str] = {
    **{alias: name for alias, name in ALIASES.items() if alias != "model"},
    "model_name": "model",
}
"""Other names of a call's keyword arguments -> the names used for them."""

_KNOWN = frozenset(
    {*REQUEST_PARAMS, *PER_CALL_FIELDS, *ALIASES, *OPTIONS, *BaseChatModel.model_fields}
)

_SHOWN = frozenset({*REQUEST_PARAMS, *_NOT_IN_BODY, "model_name", "streaming"}) - {
    "api_key",
    "base_url",
    "default_headers",
    "client_request_id",
    "http_client",
    "http_async_client",
    "model_kwargs",
    "extra_body",
}
"""Fields whose value an error may show; any other may hold a secret."""


def read_options(options: dict[str, Any], api_key: object = None) -> dict[str, Any]:
    """Return the keyword arguments of a call with their aliases resolved.

    Args:
        options: The keyword arguments. They are removed if one looks like a secret.
        api_key: The model's own key, if it is known.

    Raises:
        ValueError: A parameter is outside its range, or one that would become a field of the
            request body looks like a secret.
    """
    if not options:
        return options
    name = find_secret_field(options, api_key)
    if name is not None:
        options.clear()  # or the error's traceback would show it
        raise ValueError(secret_message(name))
    return {
        name: validate_param(name, value)
        for name, value in ((OPTIONS.get(name, name), value) for name, value in options.items())
    }


def validate_param(name: str, value: Any) -> Any:
    """Return the value of a request parameter, or of anything else, once it is validated.

    Args:
        name: A field of `RequestParams`; values of other names are returned as they are.
        value: Its value; `None` is unset.

    Raises:
        ValueError: It has another type or is outside its range.
    """
    if value is None or name not in RequestParams.model_fields:
        return value
    problem = ""
    try:
        return getattr(RequestParams.model_validate({name: value}), name)
    except ValidationError as error:
        problem = first_message(translate(error, RequestParams.model_fields))
    raise ValueError(problem)  # not in the handler: pydantic's error would be its context


def find_secret_field(parameters: Mapping[str, Any], api_key: object = None) -> str | None:
    """Return the name of the first parameter that would be a secret in the body, or `None`.

    Args:
        parameters: Keyword arguments of the constructor or of a call, including those inside of
            `model_kwargs` and `extra_body`.
        api_key: The model's own key, if it is known.
    """
    unknown = {name: value for name, value in parameters.items() if name not in _KNOWN}
    nested = [parameters.get(name) for name in ("model_kwargs", "extra_body")]
    for fields in (unknown, *nested):
        if isinstance(fields, Mapping) and (name := find_secret(fields, api_key)):
            return name
    return None


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
