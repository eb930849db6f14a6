"""The common part of the four kinds of call: the prepared request, and the check of budgets.

A callback cannot refuse a call well: it runs before the cache lookup, its errors are logged as
failures of a callback, and it cannot wait without blocking the event loop. So each call itself asks
the trackers among its callbacks. LangChain does not pass callbacks to `_stream`; so the trackers
add themselves to a context variable when a run starts.

The transport is imported with the first call, in async calls in a thread, because importing httpx2
takes longer than importing all other modules of this package.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from pydantic import SecretStr, ValidationError

from langchain_aimlernie._coroutines import awaited
from langchain_aimlernie._deprecations import explain_not_found
from langchain_aimlernie._imports import load_transport
from langchain_aimlernie._request.messages import add_instruction
from langchain_aimlernie._request.payload import build_payload, encode_body
from langchain_aimlernie._response.completion import ResponseDecoder
from langchain_aimlernie._response.stream import StreamDecoder
from langchain_aimlernie._settings.arguments import INSTRUCTION, read_options
from langchain_aimlernie._settings.errors import first_message
from langchain_aimlernie._settings.fields import REQUEST_PARAMS
from langchain_aimlernie._settings.secrets import SHORTEST_SECRET
from langchain_aimlernie._settings.values import (
    NO_KEY,
    check_request_id,
    endpoint_url,
    is_default_host,
    parse_key,
)
from langchain_aimlernie._text import Redactor, warn_user
from langchain_aimlernie._version import __version__
from langchain_aimlernie.errors import (
    AimlErnieError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
)
from langchain_aimlernie.profiles import find_model

if TYPE_CHECKING:
    from uuid import UUID

    from langchain_core.messages import BaseMessage

    from langchain_aimlernie._http import APIRequest, Transport
    from langchain_aimlernie.chat_models import ChatAimlErnie
    from langchain_aimlernie.spend.tracker import SpendTracker

_CORE_FIELDS = frozenset(BaseChatModel.model_fields)
"""Fields of every chat model; of these, a call can set `cache` only."""

_NOT_IN_CACHE_KEY = {
    *REQUEST_PARAMS,  # the body has them
    *("model_name", "model_kwargs", "extra_body"),
    *("api_key", "timeout", "stream_idle_timeout", "max_retries", "max_connections"),
    *("default_headers", "client_request_id", "http_client", "http_async_client", "streaming"),
    *(_CORE_FIELDS - {"output_version"}),
}
"""Fields that the body contains, or that do not affect the message."""

_SAME_PROMPT = HumanMessage("?")
"""In each cache key, which LangChain looks up together with the prompt of the call."""


class ParameterError(BadRequestError, ValueError):
    """A parameter of a call is invalid; nothing was sent."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """The request of one call; `settings` is the model with the settings of the call."""

    settings: ChatAimlErnie
    model: str
    body: bytes
    is_stream: bool
    is_async: bool

    @classmethod
    def of(  # noqa: PLR0913
        cls,
        model: ChatAimlErnie,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        options: Mapping[str, Any],
        *,
        stream: bool = False,
        is_async: bool = False,
    ) -> PreparedRequest:
        """Return the request of a call; raise a `BadRequestError` if the API would reject it."""
        settings, rest = _apply_options(model, stop, options)
        name = rest.pop("model", None) or settings.model_name
        if instruction := rest.pop(INSTRUCTION, None):
            messages = add_instruction(messages, instruction)
        if stream and settings.stream_usage:
            given = rest.get("stream_options", settings.model_kwargs.get("stream_options", {}))
            if isinstance(given, Mapping):
                rest["stream_options"] = {"include_usage": True, **given}
        spec = find_model(name)
        is_api = is_default_host(settings.base_url)
        payload = build_payload(
            messages,
            spec if is_api else spec.on_other_server(),
            # A self-hosted server may have the weights under a name in another case.
            spec.id if is_api else name,
            {**settings.request_params(), **settings.model_kwargs},
            rest,
            replay_reasoning=settings.replay_reasoning,
            omit_unsupported=settings.on_unsupported_content == "omit",
            warn=settings.warn_once,
        )
        if stream:
            payload["stream"] = True
        else:
            payload.pop("stream_options", None)  # an error without `stream`
        body = encode_body({**payload, **(settings.extra_body or {})})
        return cls(settings, name, body, stream, is_async)

    async def build(self) -> APIRequest:
        """Return the HTTP request with the current key, once each tracker admits the call."""
        if self.is_async:
            await load_transport()
        request = self._build(await current_key(self.settings, is_async=self.is_async))
        await _admit(self._unique_id(request), is_async=self.is_async)
        return request

    @property
    def transport(self) -> Transport:
        """The transport that sends the request."""
        return self.settings.async_transport if self.is_async else self.settings.transport

    async def explain(self, error: NotFoundError) -> None:
        """Add the model's status in the deprecations feed to the message of a 404."""
        await explain_not_found(error, self.transport, self.settings.base_url, self.model)

    def _build(self, key: SecretStr | AimlErnieError | None) -> APIRequest:
        from langchain_aimlernie._http import APIRequest, parse_timeout

        settings = self.settings
        if key is None and is_default_host(settings.base_url):
            key = AuthenticationError(NO_KEY)
        if isinstance(key, AimlErnieError):
            raise key
        headers = {
            "content-type": "application/json",
            "user-agent": f"langchain-aimlernie/{__version__}",
            "accept": "text/event-stream" if self.is_stream else "application/json",
            "x-client-request-id": _request_id(settings.client_request_id),
        }
        # Nothing is raised from here on, since error reports would show the local variables.
        secret = "" if key is None else key.get_secret_value()
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        extra = {name.lower(): value for name, value in (settings.default_headers or {}).items()}
        secrets = [value for value in extra.values() if len(value) >= SHORTEST_SECRET]
        return APIRequest(
            method="POST",
            url=endpoint_url(settings.base_url, "/chat/completions"),
            headers={**headers, **extra},
            body=self.body,
            timeouts=parse_timeout(settings.timeout, settings.stream_idle_timeout),
            max_retries=settings.max_retries,
            redactor=Redactor(*secrets, secret),
            model=self.model,
        )

    def _unique_id(self, request: APIRequest) -> str | None:
        """Return the request's `X-Client-Request-Id`; `None` if every call has the same."""
        name = "x-client-request-id"
        fixed = {header.lower() for header in self.settings.default_headers or ()}
        is_fixed = isinstance(self.settings.client_request_id, str) or name in fixed
        return None if is_fixed else request.headers[name]

    def decoder(self, request: APIRequest) -> Any:
        """Return a function that decodes the response, or that makes the decoder of a stream."""
        options: dict[str, Any] = {
            "model": request.model,
            "redactor": request.redactor,
            "include_headers": self.settings.include_response_headers,
        }
        if self.is_stream:
            return partial(StreamDecoder, **options)
        return lambda headers, body: ResponseDecoder(headers, **options).decode(body)


def _request_id(setting: str | Callable[[], str] | None) -> str:
    if not callable(setting):
        return setting or uuid4().hex
    try:
        return check_request_id(setting())
    except ValueError as error:
        raise BadRequestError(str(error)) from None


async def current_key(model: ChatAimlErnie, *, is_async: bool) -> SecretStr | AimlErnieError | None:
    """Return a model's current key, or the error to raise.

    Raised here, it would show the key, a local variable, in error reports.
    """
    key: object = model.api_key
    if callable(key):
        key = key()
    if is_async:
        key = await awaited(key)
    if key is None or isinstance(key, SecretStr):
        return key
    if inspect.iscoroutine(key):
        key.close()
        return BadRequestError("api_key is an async function; it works with async calls only.")
    try:
        return SecretStr(parse_key(key))
    except ValueError as error:
        return AuthenticationError(str(error))


def _apply_options(
    model: ChatAimlErnie, stop: list[str] | None, options: Mapping[str, Any]
) -> tuple[ChatAimlErnie, dict[str, Any]]:
    """Return the model with the settings of a call, and the call's fields of the request body.

    Raises:
        ParameterError: A keyword argument is invalid.
    """
    rest: dict[str, Any] = {} if stop is None else {"stop": stop}  # `stop_sequences` win
    for name, value in options.items():
        if name in ("stream", "streaming", "cache"):
            continue  # langchain-core reads them
        if name in _CORE_FIELDS:
            warn_user(
                f"{name!r} has no effect in a single call; set it on the model. To send a field "
                "of this name in the request body, use extra_body."
            )
        else:
            rest[name] = value
    if not rest:
        return model, {}
    try:
        rest = read_options(rest, model.api_key)
        return model.with_call_settings(rest), rest
    except ValidationError as error:
        problem = first_message(error)
    except ValueError as error:
        problem = str(error)
    raise ParameterError(problem)  # not in the handler: its context would show the values


def cache_key(model: ChatAimlErnie, stop: list[str] | None, options: Mapping[str, Any]) -> str:
    """Return the cache key of a call: everything that affects the message, but the prompt."""
    prepared = PreparedRequest.of(model, [_SAME_PROMPT], stop, options)
    settings = prepared.settings
    values = {
        name: getattr(settings, name)
        for name, field in type(settings).model_fields.items()
        if name not in _NOT_IN_CACHE_KEY and getattr(settings, name) not in (None, field.default)
    }
    parts = {"class": settings.lc_id(), "body": json.loads(prepared.body), **values}
    return json.dumps(parts, sort_keys=True, ensure_ascii=False, default=repr)


_MAX_WAIT = 60.0
"""Seconds that a call waits for the price of another one, before it continues without it."""

trackers: ContextVar[tuple[tuple[UUID, SpendTracker], ...]] = ContextVar(
    "aimlernie_trackers", default=()
)
"""Run ids and trackers of the calls started in this context, or before it was copied.

At most the last run is about to be sent.
"""


async def _admit(request_id: str | None, *, is_async: bool) -> None:
    """Reserve the cost of this call with each tracker, and wait for other calls if one asks."""
    started = trackers.get()
    loop = asyncio.get_running_loop() if is_async else None
    for run_id, tracker in started:
        if run_id != started[-1][0]:
            continue
        reserve, may_wait = tracker._reserve_call, True  # noqa: SLF001  not for users
        while (future := reserve(run_id, request_id, loop, may_wait=may_wait)) is not None:
            try:
                if is_async:
                    async with asyncio.timeout(_MAX_WAIT):
                        await asyncio.wrap_future(future)
                else:
                    future.result(_MAX_WAIT)
            except TimeoutError:
                may_wait = False


def on_retry(run_manager: Any) -> Callable[[int, AimlErnieError, float], Any] | None:
    """Return the function that reports a retry to LangChain's callbacks.

    With an async run manager it returns an awaitable.
    """

    def report(attempt: int, error: AimlErnieError, delay: float) -> Any:
        # LangChain's callbacks expect tenacity's object, which takes long to import.
        from tenacity import RetryCallState

        state = RetryCallState(cast("Any", None), None, (), {})
        state.attempt_number = attempt
        state.idle_for = state.upcoming_sleep = delay
        state.set_exception((type(error), error, error.__traceback__))
        return run_manager.on_retry(state)

    return None if run_manager is None else report
