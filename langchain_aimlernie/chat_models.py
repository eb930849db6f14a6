"""`ChatAimlErnie`: Baidu's ERNIE models as a LangChain chat model.

Only the transport is imported later (see `_calls`): what a method imported when it is first called
would block the event loop in which it is called.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, overload

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LangSmithParams, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable
from pydantic import ConfigDict, model_validator
from typing_extensions import Unpack, override

from langchain_aimlernie._bindings import Bindable, bindable
from langchain_aimlernie._client import (
    PreparedRequest,
    agenerate,
    astream,
    cache_key,
    generate,
    load_transport,
    stream,
)
from langchain_aimlernie._metering import set_meters
from langchain_aimlernie._params import ALIASES, OPTIONS, PER_CALL_FIELDS, read_options
from langchain_aimlernie._request.tools import (
    allows_parallel_calls,
    encode_tool_choice,
    encode_tools,
)
from langchain_aimlernie._response import content_blocks as _blocks
from langchain_aimlernie._secrets import find_secret
from langchain_aimlernie._settings import KEY_VARIABLE, ErnieSettings
from langchain_aimlernie._structured.output import structured_output
from langchain_aimlernie._structured.schema import encode_response_format
from langchain_aimlernie._tokens import count_message_tokens, count_tokens
from langchain_aimlernie._types import Method, Settings, ToolChoice, ToolLike
from langchain_aimlernie._version import __version__
from langchain_aimlernie.profiles import PROVIDER

_blocks.register()

_F = TypeVar("_F", bound=Callable[..., object])
_T = TypeVar("_T")


def _knows_signature(function: _F) -> _F:
    """Keep a function's signature, which core works out anew in each call (about 16 µs)."""
    function.__signature__ = signature(function)  # type: ignore[attr-defined]  # inspect reads it
    return function


class ChatAimlErnie(Bindable, ErnieSettings):  # type: ignore[misc]  # core's class of binding is private
    """Chat with Baidu's ERNIE models on the AI/ML API.

    The key comes from `api_key` or the environment variable `AIMLAPI_API_KEY`. Calls raise errors
    of `langchain_aimlernie.errors` only; settings raise theirs when they are set.

    Example:
        ```python
        from langchain_aimlernie import ChatAimlErnie

        llm = ChatAimlErnie(model="baidu/ernie-4.5-21b-a3b", temperature=0.2)
        llm.invoke("Why is the sky blue?").content
        for chunk in llm.stream("Tell me a story."):
            print(chunk.text, end="", flush=True)
        ```
    """

    model_config = ConfigDict(defer_build=False)

    if TYPE_CHECKING:

        def __init__(self, **settings: Unpack[Settings]) -> None: ...

    @override
    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        prompt = super()._convert_input(model_input)
        if not isinstance(prompt, ChatPromptValue):
            return prompt
        given = prompt.to_messages()
        messages = _blocks.wrap_incomplete(given)
        return prompt if messages is given else ChatPromptValue(messages=messages)

    @override
    def generate(self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any) -> LLMResult:
        return super().generate([*map(_blocks.wrap_incomplete, messages)], *args, **kwargs)

    @override
    async def agenerate(
        self, messages: list[list[BaseMessage]], *args: Any, **kwargs: Any
    ) -> LLMResult:
        return await super().agenerate([*map(_blocks.wrap_incomplete, messages)], *args, **kwargs)

    @override
    @_knows_signature
    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate(PreparedRequest.of(self, messages, stop, kwargs), run_manager)

    @override
    @_knows_signature
    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate(PreparedRequest.of(self, messages, stop, kwargs), run_manager)

    @override
    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        return stream(PreparedRequest.of(self, messages, stop, kwargs, stream=True), run_manager)

    @override
    def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        return astream(PreparedRequest.of(self, messages, stop, kwargs, stream=True), run_manager)

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
        """Give this model with tools that it may call.

        Args:
            tools: Tools, functions, classes with fields or schemas; at most 128, none is allowed.
            tool_choice: "auto", "none", "any" or "required" or `True` (some tool), the name of a
                tool, or a dict of OpenAI, Anthropic, Bedrock or Gemini. On the AI/ML API a model
                that is thinking cannot be forced; it is left free, with a warning.
            strict: Whether arguments must follow the schemas exactly.
            parallel_tool_calls: Whether an answer may call several tools at once.
            response_format: The form of the answer's text, as a dict or as a schema.
            **kwargs: Options for every call.

        Raises:
            ValueError: A tool or a choice that the API would refuse, or an option that looks like
                a secret and would be sent in the body.
        """
        kwargs = read_options(kwargs, self.api_key)
        encoded = encode_tools(tools, strict=strict)
        if parallel_tool_calls is None:
            parallel_tool_calls = allows_parallel_calls(tool_choice)
        options = {
            "tool_choice": encode_tool_choice(tool_choice, encoded),
            "parallel_tool_calls": parallel_tool_calls,
            "response_format": response_format and encode_response_format(response_format, strict),
        }
        given = {name: value for name, value in options.items() if value is not None}
        return self.bind(tools=encoded, **given, **kwargs)

    @overload
    def with_structured_output(
        self,
        schema: type[_T],
        *,
        include_raw: Literal[False] = False,
        method: Method = ...,
        strict: bool | None = ...,
        tools: Sequence[ToolLike] | None = ...,
        retry: bool | int = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, _T]: ...

    @overload
    def with_structured_output(
        self,
        schema: Mapping[str, Any] | type | None = None,
        *,
        include_raw: bool = ...,
        method: Method = ...,
        strict: bool | None = ...,
        tools: Sequence[ToolLike] | None = ...,
        retry: bool | int = ...,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any]]: ...

    @override
    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Method = "auto",
        include_raw: bool = False,
        strict: bool | None = None,
        tools: Sequence[ToolLike] | None = None,
        retry: bool | int = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Give a runnable that answers in the form of a schema, or raises; never a silent `None`.

        Args:
            schema: A pydantic class (v2 or v1), TypedDict, dataclass, JSON Schema or function
                schema. `None` goes with "json_mode" only.
            method: "json_schema" (the API keeps to the schema), "function_calling" (the answer is
                the call of a tool), "json_mode" (the schema is put into the prompt), or "auto":
                the first of these that the model's profile has; without a profile, and on other
                servers, the first that the server takes.
            include_raw: Whether to give `{"raw", "parsed", "parsing_error"}` and raise nothing.
            strict: Whether the API must follow the schema exactly.
            tools: Tools that the model may call instead of answering; "json_schema" only.
            retry: How often the model is shown its error and asked again; `True` is once.
            **kwargs: Options for every call.

        Raises:
            ValueError: A schema or a combination that cannot work, or an option that looks like a
                secret and would be sent in the body.

        The runnable raises `StructuredOutputError` when the answer is no instance of the schema:
        no tool call, invalid JSON, cut by length, refused.
        """
        kwargs = read_options(kwargs, self.api_key)
        return bindable(
            structured_output(
                self,
                schema,
                method=method,
                include_raw=include_raw,
                strict=strict,
                tools=tools,
                retry=retry,
                **kwargs,
            )
        )

    @override
    def get_num_tokens(self, text: str) -> int:
        """Estimate a text's tokens offline; exact if `custom_get_token_ids` is set."""
        if self.custom_get_token_ids is not None:
            return len(self.custom_get_token_ids(text))
        return count_tokens(text)

    @override
    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[ToolLike] | None = None
    ) -> int:
        """Estimate the tokens of a conversation, tools and images included, offline."""
        encoded = encode_tools(tools) if tools else None
        return count_message_tokens(messages, encoded, count=self.get_num_tokens)

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
            **self.body_settings(),
            **self.model_kwargs,
            **(self.extra_body or {}),
        }

    @override
    def _get_invocation_params(
        self, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        shown: dict[str, Any] = {}
        for name, value in kwargs.items():
            # A call with a secret among its fields fails, and is traced before it does.
            if name not in PER_CALL_FIELDS and not find_secret({name: value}, self.api_key):
                shown[OPTIONS.get(name, name)] = value
        stop = shown.pop("stop", stop)  # given as stop_sequences, and later than a bound one
        params = super()._get_invocation_params(stop=stop, **shown)
        return {**params, "model": shown.get("model") or self.model_name}

    @override
    def _get_llm_string(self, stop: list[str] | None = None, **kwargs: Any) -> str:

        return cache_key(self, stop, kwargs)

    @override
    def _generate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        set_meters(run_manager)
        if "cache" not in kwargs:
            return super()._generate_with_cache(messages, stop, run_manager, **kwargs)
        model = self.model_copy(update={"cache": kwargs.pop("cache")})
        return model._generate_with_cache(  # noqa: SLF001  another model of this class
            messages, stop, run_manager, **kwargs
        )

    @override
    async def _agenerate_with_cache(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        set_meters(run_manager)
        model = self
        if "cache" in kwargs:
            model = self.model_copy(update={"cache": kwargs.pop("cache")})
        try:
            return await super(ChatAimlErnie, model)._agenerate_with_cache(
                messages, stop, run_manager, **kwargs
            )
        except asyncio.CancelledError as error:
            # Core reports only a cancellation that began within the call.
            task = asyncio.current_task()
            if run_manager is not None and task is not None and task.cancelling():
                await run_manager.on_llm_error(error, response=LLMResult(generations=[]))
            raise

    @override
    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        given = {OPTIONS.get(name, name): value for name, value in kwargs.items()}
        options = {**self.body_settings(), **given}
        params = LangSmithParams(
            ls_provider=PROVIDER,
            ls_model_type="chat",
            ls_model_name=given.get("model") or self.model_name,
        )
        if options.get("temperature") is not None:
            params["ls_temperature"] = options["temperature"]
        limit = options.get("max_tokens") or options.get("max_completion_tokens")
        if limit is not None:
            params["ls_max_tokens"] = limit
        if stops := given.get("stop", stop if stop is not None else self.stop):
            params["ls_stop"] = [stops] if isinstance(stops, str) else list(stops)
        return params

    @override
    def _combine_llm_outputs(self, llm_outputs: list[dict[str, Any] | None]) -> dict[str, Any]:
        combined: dict[str, Any] = {}
        usage: dict[str, Any] = {}
        for output in llm_outputs:  # `None` for a call that streamed
            combined = {**(output or {}), **combined}
            usage = _sum(usage, (output or {}).get("token_usage") or {})
        return {**combined, "token_usage": usage}

    @property
    @override
    def lc_secrets(self) -> dict[str, str]:
        return {"api_key": KEY_VARIABLE}

    @classmethod
    @override
    def is_lc_serializable(cls) -> bool:
        return True

    @model_validator(mode="after")
    def _set_aimlernie_version(self) -> Self:
        self._add_version("langchain-aimlernie", __version__)
        return self

    @override
    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Copy the model; `update` takes the constructor's words and is checked likewise.

        Raises:
            ValueError: A setting has a value outside its range.
        """
        if not update:
            copy = super().model_copy(deep=deep)
            copy.forget_warnings()
            return copy
        changes, update = dict(update), None  # or the traceback of an error would show it
        names = {ALIASES.get(name, name) for name in changes}
        changed = self.changed(changes)
        fields = [*(names & type(self).model_fields.keys()), "model_kwargs"]
        copy = super().model_copy(update={f: getattr(changed, f) for f in fields}, deep=deep)
        copy.forget_derived()
        copy.forget_warnings()
        if "model_name" in names:
            copy.follow_model()
        return copy

    def close(self) -> None:
        """Close the idle connections that sync calls with these settings have left.

        Other models with the same settings share them and connect anew. Clients of your own are
        not closed.
        """
        self.transport.close()

    async def aclose(self) -> None:
        """Close the idle connections that calls in this event loop, and sync ones, have left."""
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


def _sum(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    """Add the API's usages up, details included; what is no number is left out."""
    total = dict(left)
    for name, value in right.items():
        if isinstance(value, Mapping):
            total[name] = _sum(total.get(name) or {}, value)
        elif isinstance(value, (int, float)):
            total[name] = (total.get(name) or 0) + value
    return total
