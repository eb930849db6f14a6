"""The settings of `ChatAimlErnie`, checked when they are set, and how a call changes them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

from langchain_core.language_models import BaseChatModel, ModelProfile
from langchain_core.utils.utils import get_pydantic_field_names
from pydantic import (
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError
from typing_extensions import override

from langchain_aimlernie._params import ALIASES, PER_CALL_FIELDS, find_secret_field
from langchain_aimlernie._ranges import REQUEST_PARAMS, validate_param
from langchain_aimlernie._secrets import secret_message
from langchain_aimlernie._types import ApiKey
from langchain_aimlernie._validation import (
    base_url_of_environment,
    check_client,
    check_headers,
    check_request_id,
    check_timeout,
    parse_base_url,
    parse_key,
)
from langchain_aimlernie.profiles import DEFAULT_MODEL, is_published, model_profile

KEY_VARIABLE = "AIMLAPI_API_KEY"
"""The environment variable that holds the key."""

if TYPE_CHECKING:
    from langchain_aimlernie._http import AsyncTransport, Transport


def _key_of_environment() -> SecretStr | None:
    """Give the key of the environment; a variable that is there and empty is none."""
    key = os.environ.get(KEY_VARIABLE, "")
    return SecretStr(key) if key.strip() else None


class ErnieSettings(BaseChatModel):
    """What a user can set. All but `streaming` can also be given per call and through `bind`.

    What is not set is not sent. Ranges are those of the API's published schema; a value outside
    raises an error that names the setting, the value and the range.
    """

    model_config = ConfigDict(populate_by_name=True, defer_build=True)

    model_name: str = Field(default=DEFAULT_MODEL, alias="model", min_length=1)
    """The model's id, such as `baidu/ernie-4.5-21b-a3b`; case does not matter."""

    api_key: ApiKey | None = Field(
        default_factory=_key_of_environment, validate_default=True, repr=False
    )
    """The key, or a function (also an async one) that gives it anew for each call. Also
    `openai_api_key`."""

    base_url: str = Field(
        default_factory=base_url_of_environment,
        validate_default=True,
    )
    """Where `/chat/completions` lies: AI/ML API, or any server that speaks the same protocol.
    Also `openai_api_base`."""

    temperature: float | None = None
    """Randomness of the choice of tokens, 0 to 2."""

    top_p: float | None = None
    """Share of the probability mass that tokens are chosen from, 0.01 to 1."""

    max_tokens: int | None = None
    """Most tokens that an answer may have, reasoning included; at least 1."""

    max_completion_tokens: int | None = None
    """The same under its newer name; sent as `max_tokens` to models that lack it."""

    stop: list[str] | str | None = None
    """Up to 4 texts before which the answer ends; `[]` in a call clears. Also `stop_sequences`."""

    seed: int | None = None
    """Makes answers repeatable as far as the server can; at least 1."""

    frequency_penalty: float | None = None
    """Makes tokens less likely the more often they have come, -2 to 2."""

    presence_penalty: float | None = None
    """Makes tokens less likely once they have come, -2 to 2."""

    response_format: Any = None
    """`{"type": "json_object"}`, a `json_schema` dict, or a schema in any form LangChain takes."""

    parallel_tool_calls: bool | None = None
    """Whether an answer may call several tools at once."""

    prediction: dict[str, Any] | None = None
    """`{"type": "content", "content": …}`: text that the answer will mostly repeat."""

    enable_thinking: bool | None = None
    """Whether the model thinks before it answers; only `baidu/ernie-5.0` has the switch."""

    thinking_budget: int | None = None
    """Most tokens of thought, at least 100; only `baidu/ernie-5.0`."""

    provider: str | None = None
    """Which of the API's own providers serves the call, on models that let one choose."""

    normalize_tool_schemas: bool | None = None
    """Whether the API adapts tool schemas to the model; only `baidu/ernie-5.0`."""

    replay_reasoning: bool = False
    """Whether the model's earlier reasoning is sent with its turns. AI/ML API documents no field
    for it, so it is left out unless a server of your own wants it."""

    on_unsupported_content: Literal["error", "omit"] = "error"
    """What becomes of an image, file, audio or video that the model does not take, in a message or
    a tool's result: an error before anything is sent, or a text such as "[image omitted]"."""

    include_response_headers: bool = False
    """Whether `response_metadata["headers"]` has all headers, without those that are secrets."""

    streaming: bool | None = None
    """Whether `invoke` streams under the hood, so that token callbacks fire."""

    stream_usage: bool = True
    """Whether a stream ends with its token counts."""

    timeout: Any = Field(default=None, repr=False)
    """Seconds that an attempt may take to answer (a stream: to its first event), a `Timeout` of
    httpx or httpx2, or its tuple (connect, read, write, pool). A number also lowers the limits of
    connecting (5 s) and writing (30 s). Unset: 600 s, streams 300 s. Also `request_timeout`."""

    stream_idle_timeout: Annotated[float, Field(gt=0)] | Literal["auto"] | None = "auto"
    """Seconds that a stream may go without an event that carries something; `None`: for ever;
    "auto": as long as `timeout` lets a try wait, but 120 s at most."""

    max_retries: int = Field(default=2, ge=0)
    """Tries after the first one; see the table of retries in the README."""

    max_connections: int = Field(default=256, ge=1)
    """Connections to one server at a time; more calls wait their turn, in order."""

    default_headers: Mapping[str, str] | None = Field(default=None, exclude=True, repr=False)
    """Headers of every request. They count as secrets and are never shown or traced. Also
    `extra_headers`."""

    client_request_id: str | Callable[[], str] | None = Field(
        default=None, exclude=True, repr=False
    )
    """What the provider's log shall know the call by, or a function that makes one for each call.
    Unset: a new UUID for each call, the same on each try."""

    http_client: Any = Field(default=None, exclude=True, repr=False)
    """A `Client` of httpx or httpx2 for sync calls; used as it is and never closed."""

    http_async_client: Any = Field(default=None, exclude=True, repr=False)
    """An `AsyncClient` of httpx or httpx2 for async calls; used as it is and never closed."""

    model_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Fields of the body that are no settings."""

    extra_body: dict[str, Any] | None = None
    """Fields that are written over the finished body, unchecked."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the settings.

        Raises:
            ValidationError: A setting that cannot be; the error shows no value that may be secret.
        """
        refusal = None
        try:
            super().__init__(*args, **kwargs)
        except ValidationError as error:
            refusal = without_secrets(error)
        # Raised here, it does not have the other error, which shows all values, as its context.
        if refusal is not None:
            kwargs.clear()
            del args, kwargs  # tools that report errors show local variables
            raise refusal

    @property
    def model(self) -> str:
        """The model's id; the same as `model_name`."""
        return self.model_name

    @model_validator(mode="before")
    @classmethod
    def _sort_words(cls, values: dict[str, Any]) -> dict[str, Any]:
        """Resolve aliases; move unknown parameters to `model_kwargs`, with a warning."""
        names = get_pydantic_field_names(cls)
        key = values.get("api_key", values.get("openai_api_key")) or _key_of_environment()
        unknown = {word: value for word, value in values.items() if word not in names}
        nested = {name: values.get(name) for name in ("model_kwargs", "extra_body")}
        if name := find_secret_field({**unknown, **nested}, key):
            raise ValueError(secret_message(name))
        sorted_values: dict[str, Any] = {}
        extra: dict[str, Any] = dict(values.get("model_kwargs") or {})
        for word, value in values.items():
            name = ALIASES.get(word, word)
            if name not in names:
                warnings.warn(
                    f"{word!r} is no setting of {cls.__name__}; it was moved to model_kwargs. "
                    "If it is a typing error, it has no effect or the API refuses it.",
                    stacklevel=4,
                )
            target = sorted_values if name in names else extra
            if name in target and name != "model_kwargs":
                raise ValueError(f"{name} was given twice.")
            target[name] = value
        for word in extra.keys() & {*names, *ALIASES}:
            name, value = ALIASES.get(word, word), extra.pop(word)
            if sorted_values.get(name) is None:
                sorted_values[name] = value
        return {**sorted_values, "model_kwargs": extra}

    @field_validator(*REQUEST_PARAMS, mode="before")
    @classmethod
    def _check_body_setting(cls, value: object, info: Any) -> object:
        validate_param(info.field_name, value)
        return value

    @field_validator("base_url")
    @classmethod
    def _check_base_url(cls, value: str) -> str:
        return parse_base_url(value)

    @field_validator("api_key")
    @classmethod
    def _check_api_key(cls, value: ApiKey | None) -> ApiKey | None:
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        return SecretStr(parse_key(value)) if isinstance(value, str) else value

    @field_validator("timeout")
    @classmethod
    def _check_timeout(cls, value: Any) -> Any:
        return None if value is None else check_timeout(value)

    @field_validator("http_client", "http_async_client")
    @classmethod
    def _check_client(cls, value: Any, info: Any) -> Any:
        if value is not None:
            is_async = info.field_name == "http_async_client"
            check_client(value, info.field_name, is_async=is_async)
        return value

    @field_validator("default_headers", mode="before")
    @classmethod
    def _check_headers(cls, value: Any) -> Mapping[str, str] | None:
        return None if value is None else check_headers(value)

    @field_validator("client_request_id")
    @classmethod
    def _check_request_id(cls, value: Any) -> Any:
        return check_request_id(value) if isinstance(value, str) else value

    @override
    def _resolve_model_profile(self) -> ModelProfile | None:
        return model_profile(self.model_name)

    @model_validator(mode="after")
    def _check_profile(self) -> Self:
        self.follow_model()
        return self

    def follow_model(self) -> None:
        """Replace a profile that is another model's; one that a user has written stays.

        `configurable_fields` hands a model's profile on with its other settings.
        """
        if self.profile is not None and is_published(self.profile):
            self.profile = self._resolve_model_profile()

    def __setattr__(self, name: str, value: Any) -> None:
        """Check a setting that is changed on the object as one that is given to it."""
        name = ALIASES.get(name, name)
        if name in ErnieSettings.__annotations__:
            changes, value = {name: value}, None
            value = getattr(self.changed(changes), name)
        super().__setattr__(name, value)
        if name in type(self).model_fields:
            self.forget_derived()
        if name == "model_name":
            self.follow_model()

    def changed(self, changes: dict[str, Any]) -> Self:
        """Return a model with other settings.

        Args:
            changes: The settings, by the constructor's words; emptied if one cannot be.

        Raises:
            ValidationError: A setting that cannot be.
        """
        values = {name: getattr(self, name) for name in type(self).model_fields}
        values.update({ALIASES.get(word, word): value for word, value in changes.items()})
        try:
            return type(self)(**values)
        except ValidationError:
            values.clear()  # or the error's traceback would show them
            changes.clear()
            raise

    @cached_property
    def transport(self) -> Transport:
        """What sends the sync calls of these settings."""
        from langchain_aimlernie._http import ConnectionConfig, Transport

        return Transport(ConnectionConfig(self.base_url, self.max_connections), self.http_client)

    @cached_property
    def async_transport(self) -> AsyncTransport:
        """What sends the async calls of these settings."""
        from langchain_aimlernie._http import AsyncTransport, ConnectionConfig

        config = ConnectionConfig(self.base_url, self.max_connections)
        return AsyncTransport(config, self.http_async_client)

    def warn_once(self, field: str, message: str) -> None:
        """Warn of a field that a limit of the API changes, once for these settings.

        Args:
            field: The field's name in the body.
            message: What is changed, and why.
        """
        warned = self.__dict__.setdefault(_WARNED, {})
        mine = object()
        if warned.setdefault(field, mine) is mine:  # one step, so that threads cannot both warn
            warnings.warn(message, stacklevel=2)

    def forget_warnings(self) -> None:
        """Warn anew, as another model does."""
        self.__dict__.pop(_WARNED, None)

    def forget_derived(self) -> None:
        """Drop what was worked out from settings that have changed since."""
        for name in _DERIVED:
            self.__dict__.pop(name, None)

    def __getstate__(self) -> dict[Any, Any]:
        """Give what a copy in another process needs: the settings and nothing else."""
        state = super().__getstate__()
        unset = (*_DERIVED, _WARNED)
        values = {name: v for name, v in state["__dict__"].items() if name not in unset}
        return {**state, "__dict__": values}

    def body_settings(self) -> dict[str, Any]:
        """Give the settings that are fields of the body and set."""
        values = {name: getattr(self, name) for name in REQUEST_PARAMS}
        return {name: value for name, value in values.items() if value is not None}

    def with_call_settings(self, options: dict[str, Any]) -> Self:
        """Take the settings of a call out of its options; return the model that has them.

        Raises:
            ValueError: A setting that cannot be.
        """
        update = {
            name: options.pop(word) for word, name in PER_CALL_FIELDS.items() if word in options
        }
        if not update:
            return self
        changed = self._with(update)
        if isinstance(changed, ValueError):
            raise changed
        return changed

    def _with(self, update: dict[str, Any]) -> Self | ValueError:
        """Return the model with other settings, or the error; to raise it here shows `values`."""
        if headers := update.get("default_headers"):
            update = {**update, "default_headers": {**(self.default_headers or {}), **headers}}
        try:
            # Our constructor's errors show no value that may be secret.
            model = self.changed(update)
        except ValidationError as error:
            return ValueError(first_message(error))
        model.__dict__[_WARNED] = self.__dict__.setdefault(_WARNED, {})
        return model


_DERIVED = ("_serialized", "transport", "async_transport")
"""Cached values of a model that follow from its settings; the first one is core's."""

_WARNED = "_warned"
"""Where a model keeps the fields that it has warned of: no setting, so neither compared nor copied
to another process. The models of its calls share it."""


_SHOWN = frozenset({*REQUEST_PARAMS, "model", "model_name", "timeout", "max_retries"})
"""Settings whose values a validation error may show."""


def without_secrets(error: ValidationError) -> ValidationError:
    """Make the same error, without the values that were given for what may be a secret."""
    lines: list[InitErrorDetails] = []
    for found in error.errors(include_url=False, include_context=False):
        place = found["loc"]
        shown = bool(place) and place[0] in _SHOWN
        message = found["msg"].replace("{", "{{").replace("}", "}}")
        lines.append(
            InitErrorDetails(
                type=PydanticCustomError("value_error", cast("Any", message)),
                loc=place,
                input=found["input"] if shown else "(not shown)",
            )
        )
    return ValidationError.from_exception_data(error.title, lines)


def first_message(error: ValidationError) -> str:
    """Say what pydantic found first, without the value: it may be a secret."""
    found = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{found['loc'][0] if found['loc'] else 'settings'}: {found['msg']}"
