"""`with_structured_output`: an object of a schema, or an error that states the reason."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import LanguageModelInput, ModelProfile
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    ToolMessage,
)
from langchain_core.prompt_values import PromptValue
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from langchain_core.runnables.utils import ConfigurableFieldSpec, get_unique_config_specs
from pydantic import InstanceOf
from typing_extensions import override

from langchain_aimlernie._bindings import RunnableSequence, Structured
from langchain_aimlernie._coroutines import awaited, run
from langchain_aimlernie._settings.arguments import INSTRUCTION
from langchain_aimlernie._settings.values import is_default_host
from langchain_aimlernie._structured.parser import StructuredOutputParser, is_refusal
from langchain_aimlernie._structured.schema import (
    ANY_JSON,
    OutputSchema,
    encode_output_format,
    encode_output_tool,
    parse_schema,
)
from langchain_aimlernie.errors import (
    BadRequestError,
    ContextWindowExceededError,
    StructuredOutputError,
)
from langchain_aimlernie.profiles import is_published, model_profile

if TYPE_CHECKING:
    from langchain_aimlernie._settings.fields import Method, ToolLike

MAX_RETRIES = 3  # each sends, and pays for, the failed completions again
Server = tuple[str, str]  # the `base_url` and the model of a call


def structured_output(  # noqa: PLR0913  the parameters of core's method, and two more
    model: Any,
    runnable: Any,
    schema: object = None,
    /,
    *,
    method: Method = "auto",
    include_raw: bool = False,
    strict: bool | None = None,
    retry: bool | int = False,
    tools: Sequence[ToolLike] | None = None,
    **kwargs: Any,
) -> Runnable[LanguageModelInput, Any]:
    """Return a runnable with the input of a chat model and an object as its output.

    `model` is a `ChatAimlErnie`; `runnable`, which is called, is the model or a wrapper around it.
    The other parameters are those of `with_structured_output`. If no profile applies, "auto" tries
    the methods in order: if the server rejects one (HTTP 400 with a message about `response_format`
    or tools), the next one is tried, which is remembered for the server and the model.
    """
    _reject_unknown(model, kwargs)
    if schema is None and method == "auto":
        method = "json_mode"
    server = _server_of(kwargs, (model.base_url, model.model_name))
    profile = model.profile if server[1] == model.model_name else model_profile(server[1])
    if profile and is_published(profile) and not is_default_host(server[0]):
        profile = None  # published ones describe the AI/ML API only
    first, *others = _choose_methods(method, profile, with_tools=bool(tools))
    if strict is not None and first == "json_mode":
        raise ValueError(
            "strict is not an option of method='json_mode', where nothing enforces it."
        )
    if schema is None and first != "json_mode":
        raise ValueError(f"method={first!r} needs a schema; only 'json_mode' works without.")
    if retry not in range(MAX_RETRIES + 1):
        raise ValueError(f"retry={retry!r} must be a boolean, or a number from 0 to {MAX_RETRIES}.")
    target = ANY_JSON if schema is None else parse_schema(schema, strict)
    suitable = {"function_calling": target.is_object, "json_mode": strict is None}

    def chain_of(method: str) -> RunnableSequence:
        traced = {"kwargs": {"method": method, "strict": strict}, "schema": target.tracing_schema}
        settings = {"ls_structured_output_format": traced, **kwargs}
        parser = StructuredOutputParser(
            target=target,
            by_call=method == "function_calling",
            with_tools=bool(tools),
            include_raw=bool(include_raw),
        )
        model = _bind(runnable, method, target, tools, settings)
        return RunnableSequence(first=model, last=parser)

    chains = {name: chain_of(name) for name in (first, *filter(suitable.get, others))}
    if not retry and len(chains) == 1:
        return chains[first]
    return StructuredOutputWithRetry(
        chains=chains, server=server, include_raw=bool(include_raw), retries=int(retry)
    )


def _choose_methods(method: str, profile: ModelProfile | None, *, with_tools: bool) -> list[str]:
    """Return the methods to try, in their order."""
    methods = [method]
    if method == "auto":
        if profile is None:
            methods = ["json_schema"] if with_tools else [*_METHODS]
        else:
            methods = [next(name for name, key in _METHODS.items() if not key or profile.get(key))]
    if methods[0] not in list(_METHODS):
        raise ValueError(
            f"method must be one of {', '.join(map(repr, ('auto', *_METHODS)))}; got {method!r}."
        )
    if with_tools and methods != ["json_schema"]:
        raise ValueError(f"tools need method='json_schema'; got {methods[0]!r}.")
    return methods


_METHODS = {"json_schema": "structured_output", "function_calling": "tool_calling", "json_mode": ""}
"""The methods, in the order of "auto", with the key of a profile that lists them."""


def _reject_unknown(model: Any, kwargs: Mapping[str, object]) -> None:
    """Reject a misspelt keyword at once, not in the first call."""
    known = {"model", "tool_choice", *type(model).model_fields} - {"response_format"}
    if unknown := [name for name in kwargs if name not in known]:
        raise ValueError(
            f"with_structured_output got {', '.join(unknown)}, neither one of its options nor "
            f"a setting of {type(model).__name__} that can be passed here."
        )


def _server_of(options: Mapping[str, Any], default: Server) -> Server:
    """Return the server and the model of a call with these options."""
    base_url, model = default
    model = options.get("model") or options.get("model_name") or model
    return str(options.get("base_url") or base_url), str(model)


# Requests


def _bind(
    model: Any,
    method: str,
    target: OutputSchema,
    tools: Sequence[Any] | None,
    settings: Mapping[str, Any],
) -> Any:
    """Return the model bound to the parameters of `method`; `settings` take precedence."""
    if method == "function_calling":
        options = {"tool_choice": target.name, "parallel_tool_calls": False, **settings}
        return model.bind_tools([encode_output_tool(target)], **options)
    if method == "json_mode":
        options = {"response_format": {"type": "json_object"}, INSTRUCTION: _instruction(target)}
        return model.bind(**options, **settings)
    options = {"response_format": encode_output_format(target), **settings}
    if tools:
        return model.bind_tools(tools, **{"strict": target.strict, **options})
    return model.bind(**options)


def _instruction(target: OutputSchema) -> str:
    if target is ANY_JSON:
        return "Answer with JSON and nothing else: no prose, no code fence."
    headline = f"{target.name} ({target.description})" if target.description else target.name
    return (
        f"Answer with JSON for {headline} and nothing else: no prose, no code fence. "
        "It must be valid under this JSON Schema, and must not repeat the schema:\n"
        + json.dumps(target.definition, ensure_ascii=False)
    )


# Retries, with another method or with the validation error as feedback


class StructuredOutputWithRetry(Structured, RunnableSerializable[LanguageModelInput, Any]):
    """A structured output that re-prompts the model while its completion is invalid.

    If the server rejects a method, the next one is tried, and the process remembers that for the
    model and the server. A stream is repeated only before its first item.
    """

    chains: dict[str, InstanceOf[RunnableSequence]]  # by method, in order
    server: Server
    include_raw: bool
    retries: int

    @property
    def steps(self) -> list[Runnable[Any, Any]]:
        """The model and the parser of the first method, as of a `RunnableSequence`."""
        return next(iter(self.chains.values())).steps

    @property
    def first(self) -> Runnable[LanguageModelInput, AIMessage]:
        """The model of the first method, bound to its parameters."""
        return self.steps[0]

    @property
    def last(self) -> Runnable[AIMessage, Any]:
        """The parser of the first method."""
        return self.steps[-1]

    @property
    @override
    def OutputType(self) -> Any:
        return self.last.OutputType

    @property
    @override
    def config_specs(self) -> list[ConfigurableFieldSpec]:
        specs = (spec for chain in self.chains.values() for spec in chain.config_specs)
        return get_unique_config_specs(specs)

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return self._call_with_config(self._invoke, input, config, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return await self._acall_with_config(self._ainvoke, input, config, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[Any]:
        inputs = iter([input])
        yield from self._transform_stream_with_config(inputs, self._stream, config, **kwargs)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        async def inputs() -> AsyncIterator[LanguageModelInput]:
            yield input

        parts = self._atransform_stream_with_config(inputs(), self._astream, config, **kwargs)
        async for part in parts:
            yield part

    def _invoke(
        self, model_input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return run(self._repeat("invoke", model_input, config, kwargs))

    async def _ainvoke(
        self, model_input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Any:
        return await self._repeat("ainvoke", model_input, config, kwargs)

    async def _repeat(
        self,
        call: str,
        model_input: LanguageModelInput,
        config: RunnableConfig | None,
        kwargs: dict[str, Any],
    ) -> Any:
        """Return the output of the last attempt; `call` is the method that makes one."""
        loop = _RepairLoop(self, model_input, kwargs)
        while True:
            attempt = getattr(self.chains[loop.method], call)
            try:
                output = await awaited(attempt(loop.messages, config, **kwargs))
            except _REPAIRABLE as error:
                if not loop.prepare_retry(error):
                    raise
            else:
                if not loop.prepare_retry(output["parsing_error"] if self.include_raw else None):
                    return output

    def _stream(
        self,
        model_input: Iterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> Iterator[Any]:
        loop = _RepairLoop(self, next(model_input), kwargs)
        while True:
            try:
                for part in self.chains[loop.method].stream(loop.messages, config, **kwargs):
                    loop.accept_part()
                    yield part
            except _REPAIRABLE as error:
                if not loop.prepare_retry(error):
                    raise
            else:
                return

    async def _astream(
        self,
        model_input: AsyncIterator[LanguageModelInput],
        config: RunnableConfig | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[Any]:
        loop = _RepairLoop(self, await anext(model_input), kwargs)
        while True:
            try:
                async for part in self.chains[loop.method].astream(loop.messages, config, **kwargs):
                    loop.accept_part()
                    yield part
            except _REPAIRABLE as error:
                if not loop.prepare_retry(error):
                    raise
            else:
                return


_REPAIRABLE = (BadRequestError, StructuredOutputError)
"""Errors after which an attempt may be repeated."""


class _RepairLoop:
    """The `method` and the `messages` of the next attempt of one structured call.

    A failed attempt is repeated with the next method if the server rejected its method, or with the
    error as feedback in the messages.
    """

    def __init__(
        self,
        runnable: StructuredOutputWithRetry,
        model_input: LanguageModelInput,
        options: Mapping[str, Any],
    ) -> None:
        self.messages = model_input
        self._known = _rejected_methods(*_server_of(options, runnable.server))
        self._rejected: list[str] = []
        methods = [*runnable.chains]
        self.method, *self._methods = [m for m in methods if m not in self._known] or methods[-1:]
        self._left = runnable.retries

    def prepare_retry(self, error: BadRequestError | StructuredOutputError | None) -> bool:
        """Prepare the attempt that follows one with this error; return whether there is one."""
        if isinstance(error, BadRequestError):
            return self._change_method(error)
        # A completion shows that the method works: those rejected before it are not tried again.
        self._known.update(self._rejected)
        return error is not None and self._add_feedback(error)

    def accept_part(self) -> None:
        """Accept the method at the first item of a stream, after which nothing is repeated."""
        self._known.update(self._rejected)
        self._methods, self._left = [], 0

    def _change_method(self, error: BadRequestError) -> bool:
        if not (self._methods and _is_method_error(error)):
            return False
        self._rejected.append(self.method)
        self.method = self._methods.pop(0)
        return True

    def _add_feedback(self, error: StructuredOutputError) -> bool:
        output = error.ai_message
        if not (output and self._left) or is_refusal(output):
            return False
        self._left -= 1
        given = self.messages
        if isinstance(given, PromptValue):
            given = given.to_messages()
        messages = [given] if isinstance(given, str) else given
        self.messages = [*messages, *_feedback(output, str(error.observation))]
        return True


@lru_cache(maxsize=256)
def _rejected_methods(base_url: str, model: str) -> set[str]:  # noqa: ARG001  they are the cache's key
    """Return the methods that the server rejects for a model; callers add to the set."""
    return set()


# Phrases with which servers (vLLM, SGLang, llama.cpp, LM Studio, Ollama, LiteLLM, OpenAI) reject a
# response format, a schema or tools.
_METHOD_PATTERN = re.compile(
    r"response[ _-]?format|json[ _-]?(?:schema|object|mode)|structured[ _-]?output"
    r"|guided[ _-]?(?:json|decoding)|grammar|\btools?\b|\btool_choice|function[ _-]?call",
    re.IGNORECASE,
)


def _is_method_error(error: BadRequestError) -> bool:
    """Whether a server rejects the method, not the request as such."""
    if isinstance(error, ContextWindowExceededError) or error.partial is not None:
        return False
    body = error.body.get("error", error.body) if isinstance(error.body, Mapping) else None
    parameter = body.get("param") if isinstance(body, Mapping) else None  # in OpenAI's format
    text = f"{error.message} {parameter}"
    return error.status_code in (400, 422) and _METHOD_PATTERN.search(text) is not None


def _feedback(output: AIMessage, problem: str) -> list[BaseMessage]:
    """Return the completion and the feedback; every tool call needs a result."""
    text = f"Your answer could not be used. {problem} Answer again, in the requested format."
    if calls := [*output.tool_calls, *output.invalid_tool_calls]:
        replies = [
            ToolMessage(text, tool_call_id=call["id"] or "", name=call["name"], status="error")
            for call in calls
        ]
        return [output, *replies]
    completion = [output] if str(output.text).strip() else []
    return [*completion, HumanMessage(text)]
