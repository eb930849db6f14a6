"""`ChatAimlErnie`: Baidu's ERNIE models as a LangChain chat model.

Its settings are in `_settings`. The transport is imported with the first call (see `_client`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from decimal import Decimal
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, cast, overload

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, ValidationError
from typing_extensions import Unpack, override

from langchain_aimlernie._bindings import Bindable
from langchain_aimlernie._client import (
    ParameterError,
    PreparedRequest,
    cache_key,
    on_retry,
)
from langchain_aimlernie._coroutines import awaited, iterate, run
from langchain_aimlernie._imports import load_transport
from langchain_aimlernie._request.core_input import repair_message, wrap_incomplete
from langchain_aimlernie._request.tokens import count_message_tokens, count_tokens
from langchain_aimlernie._request.tools import (
    allows_parallel_calls,
    encode_tool_choice,
    encode_tools,
)
from langchain_aimlernie._response import content_blocks
from langchain_aimlernie._settings.arguments import OPTIONS, read_options
from langchain_aimlernie._settings.errors import first_message
from langchain_aimlernie._settings.fields import (
    PER_CALL_FIELDS,
    Arguments,
    Method,
    ToolChoice,
    ToolLike,
)
from langchain_aimlernie._settings.model import SettingsModel
from langchain_aimlernie._settings.secrets import is_secret
from langchain_aimlernie._settings.values import KEY_VARIABLE, is_count, to_int
from langchain_aimlernie._structured.output import structured_output
from langchain_aimlernie._structured.schema import encode_response_format
from langchain_aimlernie.errors import NotFoundError
from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from langchain_aimlernie._http import Transport

content_blocks.register()

_F = TypeVar("_F", bound=Callable[..., object])
_T = TypeVar("_T")


def _cached_signature(function: _F) -> _F:
    """Store a function's signature, which core inspects in each call (about 16 µs)."""
    function.__signature__ = signature(function)  # type: ignore[attr-defined]  # `inspect` reads it
    return function


class ChatAimlErnie(Bindable, SettingsModel):
    """Chat with Baidu's ERNIE models on the AI/ML API.

    Calls raise the errors of `langchain_aimlernie.errors`. Parameters that are not set are not
    sent; a value outside its range raises an error when it is set. All but `streaming` can also be
    given per call and through `bind`. The parameters of `BaseChatModel` are accepted, too.

    Args:
        model: The model's id; by default `baidu/ernie-4.5-21b-a3b`. Case makes no difference. Also
            `model_name`.
        temperature: Sampling temperature, 0 to 2.
        top_p: Probability mass considered for sampling, 0.01 to 1.
        max_tokens: Maximum number of tokens in the completion, reasoning included; at least 1.
        max_completion_tokens: The same under OpenAI's newer name; sent as `max_tokens` to models
            that lack it.
        stop: Up to 4 sequences that end the completion; `[]` in a call clears them. Also
            `stop_sequences`.
        seed: Makes sampling repeatable, as far as the server supports it; at least 1.
        frequency_penalty: Penalty for tokens by how often they have appeared, -2 to 2.
        presence_penalty: Penalty for tokens that have appeared, -2 to 2.
        response_format: `{"type": "json_object"}`, a `json_schema` dict, or a schema in any form
            that LangChain accepts.
        parallel_tool_calls: Whether a completion may contain several tool calls.
        prediction: `{"type": "content", "content": …}`: text that the completion will mostly
            repeat.
        enable_thinking: Whether the model reasons before it responds; only `baidu/ernie-5.0`.
        thinking_budget: Maximum number of reasoning tokens, at least 100; only `baidu/ernie-5.0`.
        provider: Which upstream provider serves the call, for models that offer a choice.
        normalize_tool_schemas: Whether the API adapts tool schemas to the model; only
            `baidu/ernie-5.0`.
        api_key: The key, or a function (sync or async) that returns it for each call; by default
            `AIMLAPI_API_KEY`. Also `openai_api_key`.
        base_url: The address of the API or of a server with the same protocol, without
            `/chat/completions`; by default `AIMLAPI_API_BASE`, or the AI/ML API. Also `api_base`,
            `openai_api_base` and `aimlapi_api_base`.
        replay_reasoning: Whether the reasoning of earlier turns is sent. The AI/ML API documents no
            field for it; some self-hosted servers have one.
        on_unsupported_content: For media, in a message or a tool result, that the model does not
            support or that are at an address the API cannot read: "error" raises before anything is
            sent, "omit" sends a text such as "[image omitted]".
        include_response_headers: Whether `response_metadata["headers"]` has all headers, with
            secrets redacted.
        streaming: Whether `invoke` streams under the hood, so that token callbacks fire. Also
            `stream`.
        stream_usage: Whether a stream ends with its token usage.
        timeout: Seconds for an attempt to receive its response, or the first event of a stream; a
            `Timeout` of httpx or httpx2, or its tuple (connect, read, write, pool). A number also
            lowers the timeouts for connecting (5 s) and writing (30 s). By default 600 s, for
            streams 300 s. Also `request_timeout`.
        stream_idle_timeout: Seconds between two events of a stream that have data, more than 0.
            `None`: no limit; "auto": `timeout`, but at most 120 s. Also `stream_chunk_timeout`.
        max_retries: Retries after the first attempt, at least 0; by default 2.
        max_connections: Concurrent connections to one server, at least 1; by default 256. Further
            calls wait in order.
        default_headers: Headers of every request, treated as secrets: never shown or traced. Also
            `extra_headers` and `headers`.
        client_request_id: The id of the call in the provider's log, or a function that returns one
            for each call. Unset: a new UUID for each call, the same for each attempt.
        http_client: A `Client` of httpx or httpx2 for sync calls; used as it is, never closed.
        http_async_client: An `AsyncClient` of httpx or httpx2 for async calls; used as it is, never
            closed.
        model_kwargs: Further fields of the request body.
        extra_body: Fields that override those of the request body, without validation.

    Example:
        ```python
        from langchain_aimlernie import ChatAimlErnie

        llm = ChatAimlErnie(model="baidu/ernie-4.5-21b-a3b", temperature=0.2)
        llm.invoke("Why is the sky blue?").text
        for chunk in llm.stream("Tell me a story."):
            print(chunk.text, end="", flush=True)
        llm.bind_tools([get_weather]).invoke("What is the weather in Paris?").tool_calls
        llm.with_structured_output(City).invoke("Paris has 2100000 people.")
        ```
    """

    model_config = ConfigDict(defer_build=False)

    if TYPE_CHECKING:  # pydantic's signature lacks the aliases

        def __init__(self, **settings: Unpack[Arguments]) -> None: ...

    @cached_property
    def transport(self) -> Transport:
        """The transport of sync calls."""
        from langchain_aimlernie._http import ConnectionConfig, Transport

        config = ConnectionConfig(self.base_url, self.max_connections)
        return Transport(config, self.http_client)

    @cached_property
    def async_transport(self) -> Transport:
        """The transport of async calls."""
        from langchain_aimlernie._http import ConnectionConfig, Transport

        config = ConnectionConfig(self.base_url, self.max_connections)
        return Transport(config, self.http_async_client, is_async=True)

    @override
    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        if isinstance(model_input, Sequence) and not isinstance(model_input, str):
            model_input = [*map(repair_message, model_input)]
        prompt = super()._convert_input(model_input)
        if isinstance(prompt, ChatPromptValue):
            prompt = ChatPromptValue(messages=wrap_incomplete(prompt.to_messages()))
        return prompt

    @override
    def generate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        # Core ends the runs of several prompts together: an error or Ctrl-C would leave the
        # complete ones open.
        if len(messages) > 1:
            runs = _runs_of(messages, kwargs)
            return self._combine([self.generate([m], *args, **options) for m, options in runs])
        model, wrapped = self._with_cache_of(kwargs), [*map(wrap_incomplete, messages)]
        return _name_model(super(ChatAimlErnie, model).generate(wrapped, *args, **kwargs))

    @override
    async def agenerate(
        self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any
    ) -> LLMResult:
        if len(messages) > 1:
            runs = _runs_of(messages, kwargs)
            results = await asyncio.gather(
                *(self.agenerate([m], *args, **options) for m, options in runs),
                return_exceptions=True,
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            return self._combine([result for result in results if isinstance(result, LLMResult)])
        model, wrapped = self._with_cache_of(kwargs), [*map(wrap_incomplete, messages)]
        return _name_model(await super(ChatAimlErnie, model).agenerate(wrapped, *args, **kwargs))

    def _combine(self, results: Sequence[LLMResult]) -> LLMResult:
        """Return one result for several prompts."""
        return LLMResult(
            generations=[result.generations[0] for result in results],
            llm_output=self._combine_llm_outputs([result.llm_output for result in results]),
            run=[run for result in results for run in result.run or ()],
        )

    @override
    @_cached_signature
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return run(_complete(PreparedRequest.of(self, messages, stop, kwargs), run_manager))

    @override
    @_cached_signature
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        prepared = PreparedRequest.of(self, messages, stop, kwargs, is_async=True)
        return await _complete(prepared, run_manager)

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        prepared = PreparedRequest.of(self, messages, stop, kwargs, stream=True)
        return iterate(_chunks(prepared, run_manager))

    @override
    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        prepared = PreparedRequest.of(self, messages, stop, kwargs, stream=True, is_async=True)
        return _chunks(prepared, run_manager)

    @override
    def bind_tools(
        self,
        tools: Sequence[ToolLike],
        *,
        tool_choice: ToolChoice | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        response_format: Any = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools that it may call.

        Args:
            tools: Tools, functions, classes with fields, or schemas; 0 to 128.
            tool_choice: "auto", "none", "any" or "required" or `True` (some tool), the name of a
                tool, or a dict of OpenAI, Anthropic, Bedrock or Gemini. For a model that reasons,
                "auto" is sent to the AI/ML API in place of a forced choice, with a warning.
            strict: Whether arguments must match the schemas exactly.
            parallel_tool_calls: Whether a completion may contain several tool calls.
            response_format: The format of the completion's text, as a dict or a schema.
            **kwargs: Parameters of every call.

        Raises:
            ValueError: The API would reject a tool or the choice, a parameter is outside its range,
                or one looks like a secret and would be sent in the body.
        """
        kwargs = read_options(kwargs, self.api_key)
        encoded = encode_tools(tools, strict=strict)
        if parallel_tool_calls is None:
            parallel_tool_calls = allows_parallel_calls(tool_choice)
        choice, encoded = encode_tool_choice(tool_choice, encoded)
        options = {
            "tool_choice": choice,
            "parallel_tool_calls": parallel_tool_calls,
            "response_format": response_format and encode_response_format(response_format, strict),
        }
        is_set = {name: value for name, value in options.items() if value is not None}
        return self.bind(tools=encoded, **is_set, **kwargs)

    @overload
    def with_structured_output(
        self,
        schema: type[_T],
        *,
        include_raw: Literal[False] = False,
        method: Method = "auto",
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        retry: bool | int = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, _T]: ...

    @overload
    def with_structured_output(
        self,
        schema: Mapping[str, Any] | type | None = None,
        *,
        include_raw: Literal[True],
        method: Method = "auto",
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        retry: bool | int = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any]]: ...

    @overload
    def with_structured_output(
        self,
        schema: Mapping[str, Any] | None = None,
        *,
        include_raw: bool = False,
        method: Method = "auto",
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        retry: bool | int = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any]]: ...

    @overload
    def with_structured_output(
        self,
        schema: Mapping[str, Any] | type[_T] | None = None,
        *,
        include_raw: bool = False,
        method: Method = "auto",
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        retry: bool | int = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, _T | dict[str, Any]]: ...

    @override
    def with_structured_output(
        self,
        schema: Any = None,
        *,
        include_raw: bool = False,
        method: Method = "auto",
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        retry: bool | int = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a runnable whose output is an instance of a schema.

        The runnable never returns `None`, but raises a `StructuredOutputError` if the completion
        has no tool call or invalid JSON, is truncated or refused, or does not match the schema. Its
        stream yields growing dicts, or instances once the part received is valid.

        Args:
            schema: A pydantic class (v2 or v1) or dataclass, for an instance; a TypedDict, JSON
                Schema, function schema or response format, for a dict. `None` is allowed for
                "json_mode" only.
            method: "json_schema" (the API enforces the schema), "function_calling" (the output is
                the arguments of a tool call), "json_mode" (the schema is put into the prompt), or
                "auto": the first of these that the model's profile lists; without a profile, and
                on other servers, the first that the server accepts.
            include_raw: Whether to return `{"raw", "parsed", "parsing_error"}` and raise nothing.
                A stream yields the chunks of "raw" first.
            strict: Whether the output must match the schema exactly.
            tools: Tools that the model may call instead of responding; "json_schema" only. After a
                call, "parsed" and "parsing_error" are `None` with `include_raw`; without it, an
                error is raised.
            retry: How often, up to 3, the model is re-prompted with the error; `True` is once.
                There is no retry after a refusal, nor after the first item of a stream.
            **kwargs: Parameters of every call.

        Raises:
            ValueError: The schema or a combination of arguments is invalid, a parameter is outside
                its range, or one looks like a secret and would be sent in the body.
        """
        return self._structured_output(
            self,
            schema,
            include_raw=include_raw,
            method=method,
            strict=strict,
            tools=tools,
            retry=retry,
            **read_options(kwargs, self.api_key),
        )

    _structured_output = structured_output  # `_bindings` calls it for the wrappers of a model

    @override
    def get_num_tokens(self, text: str) -> int:
        """Estimate a text's tokens offline; with `custom_get_token_ids` the number is exact."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return count_tokens(text)

    @override
    def get_token_ids(self, text: str) -> list[int]:
        """Return a text's token ids from `custom_get_token_ids`.

        Raises:
            NotImplementedError: It is not set; ERNIE's tokenizer is not part of this package.
        """
        if self.custom_get_token_ids is None:
            raise NotImplementedError(
                "There are no token ids without custom_get_token_ids=…, a function that returns "
                "them; get_num_tokens estimates their number."
            )
        return self.custom_get_token_ids(text)

    @override
    def get_num_tokens_from_messages(
        self,
        messages: list[BaseMessage],
        tools: Sequence[ToolLike] | None = None,
        *,
        allow_fetching_images: bool = False,
    ) -> int:
        """Estimate the tokens of a conversation, tools and media included, offline.

        Args:
            messages: The conversation.
            tools: Tools that are sent with it.
            allow_fetching_images: No effect, since nothing is fetched; accepted as in `ChatOpenAI`.
        """
        encoded = encode_tools(tools) if tools else None
        return count_message_tokens(messages, encoded, count=self.get_num_tokens)

    def estimate_cost(
        self,
        messages: LanguageModelInput,
        *,
        tools: Sequence[ToolLike] | None = None,
        max_output_tokens: int | None = None,
    ) -> Decimal:
        """Estimate the maximum cost of a call offline, at the prices of `list_models()`.

        Args:
            messages: The input of the call; its tokens are estimated.
            tools: Tools that are sent with it.
            max_output_tokens: Output tokens to assume, at least 0; by default `max_tokens`, or what
                the model's context leaves.

        Returns:
            US dollars.

        Raises:
            ValueError: `list_models()` has not returned the model's prices in this process, or
                `max_output_tokens` is not an integer of at least 0.
        """
        from langchain_aimlernie.spend.prices import cost_of_tokens

        most: Any = to_int(max_output_tokens)
        if most is not None and not is_count(most, 0):
            raise ValueError(
                f"max_output_tokens must be an integer of at least 0; got {max_output_tokens!r}."
            )
        prompt = self.get_num_tokens_from_messages(
            self._convert_input(messages).to_messages(), tools
        )
        return cost_of_tokens(self.model_name, prompt, self.request_params(), most)

    @property
    @override
    def _llm_type(self) -> str:
        return "aimlernie-chat"

    @property
    @override
    def _identifying_params(self) -> dict[str, Any]:
        return {
            "model": self.model_name,
            "base_url": self.base_url,
            **self.request_params(),
            **self.model_kwargs,
            **(self.extra_body or {}),
        }

    @override
    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for keyword, value in kwargs.items():
            name = OPTIONS.get(keyword, keyword)
            # A call with a secret in its body fails, but only after it was traced.
            if name not in PER_CALL_FIELDS and not is_secret(keyword, value, self.api_key):
                shown[name] = value
        stops: Any = shown.pop("stop", stop)  # `stop_sequences` of the call, else core's `stop`
        stops = self.stop if stops is None else stops
        params = super()._get_invocation_params(stop=stops, **shown)
        name = shown.get("model") or self.model_name
        return {**params, "model": name, "model_name": name}  # tracers read either

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:
        return cache_key(self, stop, kwargs)

    def _with_cache_of(self, options: dict[str, Any]) -> Self:
        """Return the model with the `cache` of a call, which is removed from `options`."""
        if "cache" not in options:
            return self
        try:
            return self.model_copy(update={"cache": options.pop("cache")})
        except ValidationError as error:
            raise ParameterError(first_message(error)) from None

    @override
    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        try:
            return await super()._agenerate_with_cache(messages, stop, run_manager, **kwargs)
        except asyncio.CancelledError as error:
            # Core does not report a cancellation of the caller's task.
            task = asyncio.current_task()
            if run_manager is not None and task is not None and task.cancelling():
                await run_manager.on_llm_error(error, response=LLMResult(generations=[]))
            raise

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        call = {OPTIONS.get(name, name): value for name, value in kwargs.items()}
        options = {**self.request_params(), **call}
        params = LangSmithParams(
            ls_provider=PROVIDER,
            ls_model_type="chat",
            ls_model_name=call.get("model") or self.model_name,
        )
        if options.get("temperature") is not None:
            params["ls_temperature"] = options["temperature"]
        limit = options.get("max_tokens") or options.get("max_completion_tokens")
        if limit is not None:
            params["ls_max_tokens"] = limit
        stops = call.get("stop", stop if stop is not None else self.stop)
        if isinstance(stops, (str, list, tuple)) and stops:  # not validated yet
            params["ls_stop"] = [stops] if isinstance(stops, str) else list(stops)
        return params

    @override
    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        combined: dict[str, Any] = {}
        usage: dict[str, Any] = {}
        for output in llm_outputs:  # `None` for a streamed call
            combined = {**(output or {}), **combined}
            usage = _sum(usage, (output or {}).get("token_usage") or {})
        return {**combined, "token_usage": usage}

    @property
    @override
    def lc_secrets(self) -> dict[str, str]:
        names = {"api_key", "openai_api_key"} & type(self).model_fields.keys()
        return dict.fromkeys(names, KEY_VARIABLE)

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    def close(self) -> None:
        """Close the idle connections of sync calls to this model's server.

        Other models with the same settings share these connections, and reconnect. User-supplied
        clients are not closed.
        """
        run(self.transport.close())

    async def aclose(self) -> None:
        """Close the idle connections of this event loop's async calls and of sync calls.

        See `close`.
        """
        await load_transport()
        await self.async_transport.close()
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _complete(prepared: PreparedRequest, run_manager: Any) -> ChatResult:
    request, report = await prepared.build(), on_retry(run_manager)
    try:
        response = prepared.transport.send(request, prepared.decoder(request), on_retry=report)
        return cast("ChatResult", await response)
    except NotFoundError as error:
        await prepared.explain(error)
        raise


async def _chunks(
    prepared: PreparedRequest, run_manager: Any
) -> AsyncGenerator[ChatGenerationChunk, None]:
    request, report = await prepared.build(), on_retry(run_manager)
    try:
        stream = prepared.transport.stream(request, prepared.decoder(request), on_retry=report)
        async with aclosing(await stream) as chunks:
            async for chunk in chunks:
                if run_manager is not None:
                    await awaited(run_manager.on_llm_new_token(chunk.text, chunk=chunk))
                yield chunk
    except NotFoundError as error:
        await prepared.explain(error)
        raise


def _runs_of(
    messages: Sequence[list[BaseMessage]], options: Mapping[str, Any]
) -> Iterator[tuple[list[BaseMessage], dict[str, Any]]]:
    """Yield each prompt with its keyword arguments; only the first has the `run_id`, as in core."""
    for index, each in enumerate(messages):
        yield each, {**options, "run_id": None if index else options.get("run_id")}


def _name_model(result: LLMResult) -> LLMResult:
    """Return a result with the model's name in `llm_output`, which core omits if streamed."""
    choices = [choice for choices in result.generations for choice in choices]
    messages = [choice.message for choice in choices if isinstance(choice, ChatGeneration)]
    if messages:
        name = messages[0].response_metadata.get("model_name")
        result.llm_output = {"model_name": name, **(result.llm_output or {})}
    return result


def _sum(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of two usages, details included; values that are not numbers are ignored."""
    total = dict(left)
    for name, value in right.items():
        if isinstance(value, Mapping):
            total[name] = _sum(total.get(name) or {}, value)
        elif isinstance(value, (int, float)):
            total[name] = (total.get(name) or 0) + value
    return total
