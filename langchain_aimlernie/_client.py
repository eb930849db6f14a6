"""The four calls of a model: settings and options worked out, sent, and the answer decoded.

The transport is imported with the first call, because importing httpx takes longer than importing
all other modules of this package: sync calls wait for it, async ones leave it to a thread.
"""

from __future__ import annotations

import inspect
import json
import warnings
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage
from pydantic import SecretStr
from tenacity import RetryCallState

from langchain_aimlernie._imports import DeferredImport
from langchain_aimlernie._params import REQUEST_PARAMS, read_options
from langchain_aimlernie._request.payload import build_payload, encode_body
from langchain_aimlernie._response.completion import decode_completion
from langchain_aimlernie._response.stream import StreamDecoder
from langchain_aimlernie._secrets import SHORTEST_SECRET
from langchain_aimlernie._text import Redactor
from langchain_aimlernie._validation import (
    check_request_id,
    endpoint_url,
    is_default_host,
    parse_key,
)
from langchain_aimlernie._version import __version__
from langchain_aimlernie.errors import AimlErnieError, AuthenticationError, BadRequestError
from langchain_aimlernie.profiles import find_model

if TYPE_CHECKING:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.messages import BaseMessage
    from langchain_core.outputs import ChatGenerationChunk, ChatResult

    from langchain_aimlernie._http import APIRequest
    from langchain_aimlernie.chat_models import ChatAimlErnie

KEY_VARIABLE = "AIMLAPI_API_KEY"
"""The environment variable that holds the key."""

_HEADERS: Mapping[str, str] = {
    "content-type": "application/json",
    "user-agent": f"langchain-aimlernie/{__version__}",
}
_ACCEPTED = {False: "application/json", True: "text/event-stream"}

# anyio alone knows what it imports at its first use.
_transport = DeferredImport("langchain_aimlernie._http", "anyio._backends._asyncio")

load_transport = _transport.aload
"""Every async function must await this before it uses the transport."""


_NO_OPTIONS = frozenset({"stream", "streaming", *BaseChatModel.model_fields})
"""What langchain-core reads itself, and what can be set on the model only: no field of the body."""

_IS_KNOWN = frozenset({"stream", "streaming", "cache"})

_SAME_MESSAGE = frozenset(
    {
        "api_key",
        "timeout",
        "stream_idle_timeout",
        "max_retries",
        "max_connections",
        "default_headers",
        "client_request_id",
        "http_client",
        "http_async_client",
        "streaming",
        *BaseChatModel.model_fields,
    }
) - {"output_version"}
"""Settings that do not change the message, and so are in no cache key."""

_IN_BODY = frozenset({*REQUEST_PARAMS, "model_name", "model_kwargs", "extra_body"})


class ParameterError(BadRequestError, ValueError):
    """A parameter of a call has a value that it cannot have; nothing has been sent."""


@dataclass(frozen=True, slots=True)
class PreparedRequest:
    """One call of a model, its body written; a retry sends the same bytes again."""

    settings: ChatAimlErnie
    model: str
    body: bytes
    is_stream: bool

    @classmethod
    def of(
        cls,
        model: ChatAimlErnie,
        messages: Sequence[BaseMessage],
        stop: list[str] | None,
        options: Mapping[str, Any],
        *,
        stream: bool = False,
    ) -> PreparedRequest:
        """Work out a call.

        Args:
            model: The model with its settings.
            messages: The conversation.
            stop: The call's stop texts, which win over the settings'; `None` leaves those.
            options: The call's other options.
            stream: Whether the answer is to be streamed.

        Raises:
            ParameterError: A setting that cannot be, or a field of the body that looks like a
                secret.
            BadRequestError: The API would refuse it; nothing has been sent.
        """
        problem = ""
        try:
            rest = read_options(_own_options(options), model.api_key)
            settings = model.with_call_settings(rest)
        except ValueError as error:
            problem = str(error)
        if problem:
            raise ParameterError(problem)
        name = rest.pop("model", None) or settings.model_name
        if stop is not None:
            rest.setdefault("stop", stop)  # what is there was given as stop_sequences, and later
        if stream and settings.stream_usage:
            rest.setdefault("stream_options", {"include_usage": True})
        spec = find_model(name)
        is_api = is_default_host(settings.base_url)
        payload = build_payload(
            messages,
            spec if is_api else spec.on_other_server(),
            # A server of one's own may know the weights by a name of another case.
            spec.id if is_api else name,
            {**settings.request_params(), **settings.model_kwargs},
            rest,
            replay_reasoning=settings.replay_reasoning,
            omit_unsupported=settings.on_unsupported_content == "omit",
            warn=settings.warn_once,
        )
        if stream:
            payload["stream"] = True
        body = encode_body({**payload, **(settings.extra_body or {})})
        return cls(settings, name, body, stream)

    def call(self) -> APIRequest:
        """Give the request, with the key of the moment."""
        key = self.settings.api_key
        return self._call(_read_key(key() if callable(key) else key))

    async def async_call(self) -> APIRequest:
        """Give the request, with the key of the moment."""
        await load_transport()
        key = self.settings.api_key
        return self._call(_read_key(await _awaited(key() if callable(key) else key)))

    def _call(self, key: SecretStr | AimlErnieError | None) -> APIRequest:
        from langchain_aimlernie._http import APIRequest, parse_timeout

        settings = self.settings
        if key is None and is_default_host(settings.base_url):
            key = AuthenticationError(f"There is no API key: set {KEY_VARIABLE} or pass api_key.")
        if isinstance(key, AimlErnieError):
            raise key
        headers = {
            **_HEADERS,
            "accept": _ACCEPTED[self.is_stream],
            "x-client-request-id": _request_id(settings.client_request_id),
        }
        # From here on local variables are secrets, and nothing is raised.
        secret = "" if key is None else key.get_secret_value()
        if secret:
            headers["authorization"] = f"Bearer {secret}"
        own = {name.lower(): value for name, value in (settings.default_headers or {}).items()}
        hidden = [value for value in own.values() if len(value) >= SHORTEST_SECRET]
        return APIRequest(
            method="POST",
            url=endpoint_url(settings.base_url, "/chat/completions"),
            headers={**headers, **own},
            body=self.body,
            timeouts=parse_timeout(settings.timeout, settings.stream_idle_timeout),
            max_retries=settings.max_retries,
            redactor=Redactor(*hidden, secret),
            model=self.model,
        )


def _read_key(given: object) -> SecretStr | AimlErnieError | None:
    """Return a key as an object that does not show it, or the error that it is none.

    Nothing is raised where the key is a local variable, which tools that report errors show.
    """
    if given is None or isinstance(given, SecretStr):
        return given
    if inspect.isawaitable(given):
        if inspect.iscoroutine(given):
            given.close()
        return BadRequestError("api_key is an async function; it works with async calls only.")
    try:
        return SecretStr(parse_key(given))
    except ValueError as error:
        return AuthenticationError(str(error))


async def _awaited(given: object) -> object:
    return await given if inspect.isawaitable(given) else given


def _own_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are ours; warn of those that a call cannot change."""
    own: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _NO_OPTIONS:
            own[name] = value
        elif name not in _IS_KNOWN:
            warnings.warn(
                f"{name!r} cannot be set for a single call, and has no effect; set it on the "
                "model. A field of the body that has this name can be given in extra_body.",
                stacklevel=2,
            )
    return own


def cache_key(model: ChatAimlErnie, stop: list[str] | None, options: Mapping[str, Any]) -> str:
    """Return what of a call, but for its messages, changes the message that comes back.

    Args:
        model: The model with its settings.
        stop: The call's stop texts, or `None`.
        options: The call's other options.

    Raises:
        BadRequestError: The API would refuse the call.
    """
    prepared = PreparedRequest.of(model, [_ANY_MESSAGE], stop, options)
    settings = prepared.settings
    body = json.loads(prepared.body)
    if "messages" not in (settings.extra_body or {}):
        del body["messages"]
    values = {
        name: getattr(settings, name)
        for name, field in type(settings).model_fields.items()
        if name not in _SAME_MESSAGE | _IN_BODY
        and getattr(settings, name) not in (None, field.default)
    }
    parts = {"class": settings.lc_id(), "body": body, **values}
    return json.dumps(parts, sort_keys=True, ensure_ascii=False, default=repr)


_ANY_MESSAGE = HumanMessage("?")


def _completion_decoder(
    call: APIRequest, settings: ChatAimlErnie
) -> Callable[[Mapping[str, str], bytes], ChatResult]:
    """Give what turns the JSON answer to `call` into the result."""

    def decode(headers: Mapping[str, str], body: bytes) -> ChatResult:
        return decode_completion(
            body,
            headers,
            model=call.model,
            redactor=call.redactor,
            include_headers=settings.include_response_headers,
        )

    return decode


def _stream_decoders(
    call: APIRequest, settings: ChatAimlErnie
) -> Callable[[Mapping[str, str]], StreamDecoder]:
    """Give what makes the decoder of each try's stream."""

    def new_decoder(headers: Mapping[str, str]) -> StreamDecoder:
        return StreamDecoder(
            headers,
            model=call.model,
            redactor=call.redactor,
            include_headers=settings.include_response_headers,
        )

    return new_decoder


def _request_id(given: str | Callable[[], str] | None) -> str:
    if given is None:
        return uuid4().hex
    if isinstance(given, str):
        return given
    try:
        return check_request_id(given())
    except ValueError as error:
        raise BadRequestError(str(error)) from None


def generate(prepared: PreparedRequest, run_manager: CallbackManagerForLLMRun | None) -> ChatResult:
    """Make a call and give the whole answer.

    Raises:
        AimlErnieError: The call failed.
    """
    call = prepared.call()
    on_retry = None if run_manager is None else _retry_told(run_manager)
    transport = prepared.settings.transport
    return transport.send(call, _completion_decoder(call, prepared.settings), on_retry=on_retry)


async def agenerate(
    prepared: PreparedRequest, run_manager: AsyncCallbackManagerForLLMRun | None
) -> ChatResult:
    """Make a call and give the whole answer.

    Raises:
        AimlErnieError: The call failed.
    """
    call = await prepared.async_call()
    on_retry = None if run_manager is None else _async_retry_told(run_manager)
    transport = prepared.settings.async_transport
    return await transport.send(
        call, _completion_decoder(call, prepared.settings), on_retry=on_retry
    )


def stream(
    prepared: PreparedRequest, run_manager: CallbackManagerForLLMRun | None
) -> Generator[ChatGenerationChunk, None, None]:
    """Make a call and give the chunks of the answer as they come.

    Raises:
        AimlErnieError: The call failed; `.partial` is what had come.
    """
    call = prepared.call()
    on_retry = None if run_manager is None else _retry_told(run_manager)
    transport = prepared.settings.transport
    with closing(
        transport.stream(call, _stream_decoders(call, prepared.settings), on_retry=on_retry)
    ) as chunks:
        for chunk in chunks:
            if run_manager is not None:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


async def astream(
    prepared: PreparedRequest, run_manager: AsyncCallbackManagerForLLMRun | None
) -> AsyncGenerator[ChatGenerationChunk, None]:
    """Make a call and give the chunks of the answer as they come.

    Raises:
        AimlErnieError: The call failed; `.partial` is what had come.
    """
    call = await prepared.async_call()
    on_retry = None if run_manager is None else _async_retry_told(run_manager)
    transport = prepared.settings.async_transport
    async with aclosing(
        transport.stream(call, _stream_decoders(call, prepared.settings), on_retry=on_retry)
    ) as chunks:
        async for chunk in chunks:
            if run_manager is not None:
                await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


OnRetry = Callable[[int, AimlErnieError, float], None]
OnRetryAsync = Callable[[int, AimlErnieError, float], Awaitable[None]]


def _retry_told(run_manager: CallbackManagerForLLMRun) -> OnRetry:
    """Give what tells LangChain's callbacks of each retry."""

    def tell(attempt: int, error: AimlErnieError, delay: float) -> None:
        run_manager.on_retry(_retry_state(attempt, error, delay))

    return tell


def _async_retry_told(run_manager: AsyncCallbackManagerForLLMRun) -> OnRetryAsync:
    """Give what tells LangChain's callbacks of each retry."""

    async def tell(attempt: int, error: AimlErnieError, delay: float) -> None:
        await run_manager.on_retry(_retry_state(attempt, error, delay))

    return tell


def _retry_state(attempt: int, error: AimlErnieError, delay: float) -> RetryCallState:
    """Tell of a failed try in tenacity's words, which are LangChain's."""
    state = RetryCallState(cast("Any", None), None, (), {})
    state.attempt_number = attempt
    state.idle_for = state.upcoming_sleep = delay
    state.set_exception((type(error), error, error.__traceback__))
    return state
