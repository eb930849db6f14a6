"""`with_structured_output`: an object of a schema, or an error that states the reason."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from langchain_core.language_models import BaseChatModel, LanguageModelInput
from langchain_core.messages import AIMessage, BaseMessage, SystemMessage, merge_content
from langchain_core.runnables import Runnable, RunnableConfig, RunnableSerializable
from pydantic import InstanceOf
from typing_extensions import override

from langchain_aimlernie._structured.parser import StructuredOutputParser
from langchain_aimlernie._structured.repair import (
    Server,
    StructuredOutputWithRetry,
    as_messages,
    server_of,
)
from langchain_aimlernie._structured.schema import (
    ANY_JSON,
    OutputSchema,
    encode_output_format,
    encode_output_tool,
    parse_schema,
)
from langchain_aimlernie._validation import is_default_host
from langchain_aimlernie.profiles import is_published, model_profile

if TYPE_CHECKING:
    from langchain_aimlernie._types import Method, ToolLike

MAX_RETRIES = 3
"""How often `retry` may ask again: each sends, and pays for, the failed completions again."""


def structured_output(  # noqa: PLR0913  the words of the method of every chat model, and two more
    model: BaseChatModel,
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

    The parameters are those of `ChatAimlErnie.with_structured_output`.

    Args:
        model: The chat model to ask.
        schema: What `parse_schema` takes; `None` with "json_mode" is any JSON object or list.
        method: Without a profile that applies, "auto" tries the methods in their order, the next
            one when the server rejects one (HTTP 400 with a message about `response_format` or
            tools), which is remembered for the server and the model.
        include_raw: See there.
        strict: See there. The completion is validated against `schema` as given either way.
        retry: See there.
        tools: See there.
        **kwargs: Parameters of every call.

    Raises:
        ValueError: A value that is not listed there, options that exclude each other, or a keyword
            that is no parameter of the model.
    """
    _reject_unknown(model, kwargs)
    if schema is None and method == "auto":
        method = "json_mode"
    server = server_of(kwargs, (getattr(model, "base_url", ""), getattr(model, "model_name", "")))
    first, *others = _choose_methods(model, method, server, with_tools=bool(tools))
    if strict is not None and first == "json_mode":
        raise ValueError("strict is no option of method='json_mode', where nothing enforces it.")
    if schema is None and first != "json_mode":
        raise ValueError(f"method={first!r} needs a schema; only 'json_mode' goes without.")
    target = ANY_JSON if schema is None else parse_schema(schema, strict)

    def chain_of(method: str) -> Runnable[LanguageModelInput, Any]:
        traced = {"kwargs": {"method": method, "strict": strict}, "schema": target.tracing_schema}
        settings = {"ls_structured_output_format": traced, **kwargs}
        asking = _bind(model, method, target, tools, settings)
        return asking | StructuredOutputParser(
            target=target,
            by_call=method == "function_calling",
            with_tools=bool(tools),
            include_raw=include_raw,
        )

    methods = [first, *(name for name in others if _suits(name, target, strict))]
    chains = {name: chain_of(name) for name in methods}
    retries = _count_retries(retry)
    if not retries and not others:
        return chains[first]
    return StructuredOutputWithRetry(
        chains=chains, server=server, include_raw=include_raw, retries=retries
    )


def _choose_methods(
    model: BaseChatModel, method: str, server: Server, *, with_tools: bool
) -> list[str]:
    """Return the methods to try, in their order."""
    methods = [method]
    if method == "auto":
        profile = _profile_for(model, server)
        listed = [name for name, key in _PROFILE_KEYS.items() if profile and profile.get(key)]
        methods = [*_METHODS] if profile is None else [*listed, "json_mode"][:1]
        if with_tools and profile is None:
            methods = ["json_schema"]
    if methods[0] not in _METHODS:
        raise ValueError(
            f"method={method!r} is none of {', '.join(map(repr, ('auto', *_METHODS)))}."
        )
    if with_tools and methods != ["json_schema"]:
        raise ValueError(f"tools go with method='json_schema' only, not with {methods[0]!r}.")
    return methods


_METHODS = ("json_schema", "function_calling", "json_mode")
_PROFILE_KEYS = {"json_schema": "structured_output", "function_calling": "tool_calling"}


def _profile_for(model: BaseChatModel, server: Server) -> Mapping[str, Any] | None:
    """Return the profile that applies: published ones describe the AI/ML API only."""
    base_url, name = server
    is_own = name == getattr(model, "model_name", "")
    profile = model.profile if is_own else model_profile(name)
    if profile is None or (base_url and not is_default_host(base_url) and is_published(profile)):
        return None
    return {**profile}


def _suits(method: str, target: OutputSchema, strict: bool | None) -> bool:
    """Return whether a method that is only one of several suits the schema."""
    if method == "function_calling":
        return bool(target.definition.get("type", "object") == "object")
    return strict is None


def _count_retries(retry: object) -> int:
    if not isinstance(retry, int) or not 0 <= retry <= MAX_RETRIES:
        raise ValueError(f"retry={retry!r} must be a boolean, or a number from 0 to {MAX_RETRIES}.")
    return int(retry)


def _reject_unknown(model: BaseChatModel, kwargs: Mapping[str, object]) -> None:
    """Reject a misspelt keyword at once, not in the first call."""
    fields = type(model).model_fields
    known = {*_CALL_KWARGS, *fields, *(field.alias for field in fields.values())}
    unknown = [name for name in kwargs if name not in known or name == "response_format"]
    if unknown:
        raise ValueError(
            f"with_structured_output got {', '.join(unknown)}: no option of it, and no setting of "
            f"{type(model).__name__} that can be given here."
        )


_CALL_KWARGS = ("stop", "stop_sequences", "tool_choice", "request_timeout", "extra_headers")


# How to ask


def _bind(
    model: BaseChatModel,
    method: str,
    target: OutputSchema,
    tools: Sequence[Any] | None,
    settings: Mapping[str, Any],
) -> Runnable[LanguageModelInput, AIMessage]:
    """Return the model with what `method` sends; `settings` win."""
    if method == "function_calling":
        options = {"tool_choice": target.name, "parallel_tool_calls": False, **settings}
        return model.bind_tools([encode_output_tool(target)], **options)
    if method == "json_mode":
        bound = model.bind(response_format={"type": "json_object"}, **settings)
        return PromptedModel(model=bound, instruction=_instruction(target))
    options = {"response_format": encode_output_format(target), **settings}
    if tools:
        return model.bind_tools(list(tools), **{"strict": target.strict, **options})
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


class PromptedModel(RunnableSerializable[LanguageModelInput, AIMessage]):
    """A model with an additional instruction in the system message of each call."""

    model: InstanceOf[Runnable[LanguageModelInput, AIMessage]]
    instruction: str

    def _with_instruction(self, given: LanguageModelInput) -> list[BaseMessage]:
        messages = as_messages(given)
        for position, message in enumerate(messages):
            if isinstance(message, SystemMessage):
                content = merge_content(message.content, f"\n\n{self.instruction}")
                messages[position] = message.model_copy(update={"content": content})
                return messages
        return [SystemMessage(self.instruction), *messages]

    @override
    def invoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        return self.model.invoke(self._with_instruction(input), config, **kwargs)

    @override
    async def ainvoke(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AIMessage:
        return await self.model.ainvoke(self._with_instruction(input), config, **kwargs)

    @override
    def stream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Iterator[AIMessage]:
        yield from self.model.stream(self._with_instruction(input), config, **kwargs)

    @override
    async def astream(
        self, input: LanguageModelInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[AIMessage]:
        async for message in self.model.astream(self._with_instruction(input), config, **kwargs):
            yield message
