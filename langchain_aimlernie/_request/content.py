"""Parse content blocks of any provider, and encode them for each kind of message.

A history may contain LangChain's blocks (v0 with `source_type`, v1) and those of OpenAI (Chat
Completions and Responses), Anthropic, Gemini, Bedrock Converse and Mistral, even in one message.
langchain-core reads only some of these formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from langchain_aimlernie._request.media import (
    MEDIA_KINDS,
    Block,
    JsonObject,
    Media,
    UnsupportedContent,
    first_string,
    parse_media,
)
from langchain_aimlernie._text import clean_text, json_text

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.profiles import ModelSpec


class UnsupportedContentError(Exception):
    """Content cannot be sent; the message names it and says what to do."""


class Text(NamedTuple):
    """A text."""

    text: str
    cache_control: Block | None = None


class Refusal(NamedTuple):
    """The text with which a model declined to answer."""

    text: str


class Reasoning(NamedTuple):
    """The reasoning of a model; empty if it is encrypted or redacted."""

    text: str


class ToolCallPart(NamedTuple):
    """A tool call; absent values are empty."""

    id: str
    name: str
    args: object  # a dict, or the text that was generated


class ToolResultPart(NamedTuple):
    """A tool result; absent values are empty."""

    id: str
    name: str
    content: object  # not parsed
    error: bool = False
    cache_control: Block | None = None


ContentPart = (
    Text | Refusal | Reasoning | Media | ToolCallPart | ToolResultPart | UnsupportedContent
)

_TYPES: Mapping[str, Sequence[str]] = {
    "text": ["text", "input_text", "output_text"],
    "guarded": ["guard_content", "guardContent", "guarded_text"],
    "media": [*MEDIA_KINDS],
    "resource": ["resource"],
    "json": ["json"],
    "search_result": ["search_result", "searchResult"],
    "wrapped_output": ["custom_tool_call_output", "computer_call_output"],
    "citations": ["citations_content", "citationsContent"],
    "cache_point": ["cachePoint", "cache_point"],
    "refusal": ["refusal"],
    "reasoning": [
        *("reasoning", "reasoning_content", "reasoningContent"),
        *("thinking", "redacted_thinking", "redacted_reasoning"),
    ],
    "call": [
        *("tool_call", "invalid_tool_call", "tool_use", "toolUse"),
        *("function_call", "functionCall", "custom_tool_call"),
    ],
    "function": ["function"],  # also a call
    "result": [
        *("tool_result", "toolResult", "function_response", "functionResponse"),
        "function_call_output",
    ],
    # Tools that a provider ran itself, changes of its tools or settings, and fragments of calls;
    # texts or `tool_calls` repeat them.
    "server_tool": [
        "tool_call_chunk",
        *("server_tool_call", "server_tool_call_chunk", "server_tool_result", "server_tool_use"),
        *("web_search_tool_result", "web_fetch_tool_result", "tool_search_tool_result"),
        *("code_execution_tool_result", "bash_code_execution_tool_result"),
        *("text_editor_code_execution_tool_result", "mcp_tool_use", "mcp_tool_result"),
        *("web_search_call", "file_search_call", "code_interpreter_call", "computer_call"),
        *("image_generation_call", "local_shell_call", "mcp_call", "mcp_list_tools"),
        *("shell_call", "shell_call_output", "apply_patch_call", "apply_patch_call_output"),
        *("tool_search_call", "tool_search_output", "advisor_tool_result"),
        *("mcp_approval_request", "executable_code", "executableCode", "code_execution_result"),
        *("codeExecutionResult", "function_call_signature", "mcp_approval_response"),
        *("mcp_tool_listing", "tool_addition", "tool_removal", "additional_tools"),
        *("toolAddition", "toolRemoval"),
    ],
    "server_state": ["reference", "compaction", "fallback", "configuration_update"],
}
"""The block types of all providers, by group."""

_GROUPS = {kind: group for group, kinds in _TYPES.items() for kind in kinds}
INVALID_ARGUMENTS = "invalid_arguments"
"""The key of a call's arguments that are not a JSON object."""

_ARGUMENT_KEYS = ("args", "arguments", "input", "partial_json")
_RESULT_KEYS = ("content", "output", "response")


def parse_content(content: object, *, in_result: bool = False) -> list[ContentPart]:
    """Return the parts of message content: a string, `None`, or a list of strings and blocks.

    In a tool result, a model's reasoning and calls are left out, and unknown objects are data.
    """
    if content is None:
        return []
    return [part for b in _listed(content) for part in _parse_block(b, in_result=in_result)]


def _listed(content: object) -> Sequence[object]:
    return content if isinstance(content, list | tuple) else (content,)


def _parse_block(block: object, *, in_result: bool) -> Iterable[ContentPart]:
    if isinstance(block, str):
        return [Text(block)] if block else []
    if not isinstance(block, Mapping):
        return [_unknown(block)]
    kind = _find_type(block, in_result=in_result)
    if kind == "non_standard" and "value" in block:
        return _parse_block(block["value"], in_result=in_result)
    parsers = _PARSERS_IN_RESULTS if in_result else _PARSERS
    return parsers[_GROUPS.get(kind, "unknown")](kind, block)


def _find_type(block: Block, *, in_result: bool) -> str:
    """Return the type of a block, or an empty string.

    In blocks of Gemini and Converse, a key is the type: `{"text": "a"}`. In a tool result, such an
    object with further keys is data.
    """
    kind = block.get("type")
    if kind is None and (len(block) == 1 or not in_result):
        kind = next((key for key in block if key in _GROUPS), None)
        if kind is None and not in_result and "url" in block:
            return "image_url"  # of core's ImagePromptValue
    return kind if isinstance(kind, str) else ""


def _unknown(block: object) -> UnsupportedContent:
    kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
    return UnsupportedContent(
        block, f"its block of type {kind!r:.80} is not supported. Send its content as text."
    )


def read_cache_control(block: Block) -> Block | None:
    """Return the `cache_control` of a content block or tool, if it is ephemeral, else `None`.

    LangChain moves keys that it does not know to a block's `extras`. A `ttl` other than "5m" and
    "1h" is left out.
    """
    extras = block.get("extras")
    value = block.get("cache_control")
    if value is None and isinstance(extras, Mapping):
        value = extras.get("cache_control")
    if not isinstance(value, Mapping) or value.get("type") != "ephemeral":
        return None
    ttl = {"ttl": value["ttl"]} if value.get("ttl") in ("5m", "1h") else {}
    return {"type": "ephemeral", **ttl}


def has_cache_control(messages: Iterable[BaseMessage]) -> bool:
    """Whether a content block of one of the messages has a `cache_control`."""
    return any(
        isinstance(block, Mapping) and read_cache_control(block) is not None
        for message in messages
        if isinstance(message.content, list)
        for block in message.content
    )


def parse_tool_call(block: Block, kind: str = "") -> ToolCallPart:
    """Parse a tool call of any provider: a content block, or an item of `tool_calls`."""
    body = _nested(block, kind, "function", "custom")
    # A block of the Responses API has two ids; results refer to `call_id`.
    call_id = first_string(block, "call_id", "id") or first_string(body, "toolUseId", "id")
    args = next((body[key] for key in _ARGUMENT_KEYS if body.get(key)), None)
    return ToolCallPart(call_id, first_string(body, "name"), args)


def _nested(block: Block, *keys: str) -> Block:
    """Return the object under one of `keys`, else the block itself."""
    return next((inner for key in keys if isinstance(inner := block.get(key), Mapping)), block)


def _parse_text(_: str, block: Block) -> Iterable[ContentPart]:
    text = block.get("text", block)  # without the key the block itself, which is not a string
    if text is None or text == "":
        return []
    if not isinstance(text, str):
        return [UnsupportedContent(block, "its block of type 'text' has no string as its text.")]
    if block.get("thought") is True:  # Gemini's reasoning
        return [Reasoning(text)]
    return [Text(text, read_cache_control(block))]


def _parse_guarded(kind: str, block: Block) -> Iterable[ContentPart]:
    body = _nested(block, kind)
    if "image" in body:
        return _parse_media("image", body)
    return _parse_text(kind, _nested(body, "text"))


def _parse_media(kind: str, block: Block) -> Iterable[ContentPart]:
    """Parse media; documents of Anthropic and Converse may contain content blocks instead."""
    body = _nested(block, kind)
    source = body.get("source")
    if isinstance(source, Mapping) and source.get("content"):
        lines = (first_string(body, "title", "name"), first_string(body, "context"))
        return parse_content(["\n".join(filter(None, lines)), *_listed(source["content"])])
    parsed = parse_media(kind, block)
    cache_control = read_cache_control(block)
    match parsed:
        case str():
            return [Text(parsed, cache_control)] if parsed else []
        case Media(context=context):
            media = parsed._replace(cache_control=cache_control)
            return [Text(context), media] if context else [media]
    return [parsed]


def _parse_resource(kind: str, block: Block) -> Iterable[ContentPart]:
    """Parse an embedded resource of MCP; any other object of that name is data."""
    resource = block.get(kind)
    if "type" not in block or not isinstance(resource, Mapping):
        return [_unknown(block)]
    if resource.get("text") is not None:
        return _parse_text(kind, resource)
    return _parse_media("media", {**resource, "data": resource.get("blob")})


def _parse_result(kind: str, block: Block) -> ToolResultPart:
    body = _nested(block, kind)
    return ToolResultPart(
        first_string(body, "tool_use_id", "toolUseId", "call_id", "tool_call_id", "id"),
        first_string(body, "name"),
        next((body[key] for key in _RESULT_KEYS if body.get(key) is not None), ""),
        body.get("is_error") is True or body.get("status") == "error",
        read_cache_control(block),
    )


def _parse_search_result(kind: str, block: Block) -> Iterable[ContentPart]:
    body = _nested(block, kind)
    if not isinstance(body.get("content"), list):
        return [_unknown(block)]
    texts = [part.text for part in parse_content(body["content"]) if isinstance(part, Text)]
    lines = (first_string(body, "title"), first_string(body, "source"), *texts)
    return [Text("\n".join(filter(None, lines)))]


def _parse_server_tool(kind: str, block: Block) -> Iterable[ContentPart]:
    """Parse OpenAI's generated image and Anthropic's summary; text blocks repeat the rest."""
    image = first_string(block, "result") if kind == "image_generation_call" else ""
    if image:
        return _parse_media("image", {"base64": image})
    # The turns before a summary may have been removed.
    summary = first_string(block, "content") if kind == "compaction" else ""
    return [Text(f"{summary}\n\n")] if summary else []


_PARSERS: Mapping[str, Callable[[str, Block], Iterable[ContentPart]]] = {
    "text": _parse_text,
    "guarded": _parse_guarded,
    "media": _parse_media,
    "resource": _parse_resource,
    "json": lambda kind, block: [
        Text(json_text(block[kind])) if kind in block else _unknown(block)
    ],
    "search_result": _parse_search_result,
    "wrapped_output": lambda _, block: (
        parse_content(block["output"]) if "output" in block else [_unknown(block)]
    ),
    "citations": lambda kind, block: parse_content(_nested(block, kind).get("content")),
    "cache_point": lambda *_: [],
    "refusal": lambda _, block: [Refusal(first_string(block, "refusal", "text"))],
    "reasoning": lambda _, block: [Reasoning(first_string(block, "reasoning", "thinking"))],
    "call": lambda kind, block: [parse_tool_call(block, kind)],
    "function": lambda kind, block: [parse_tool_call(block, kind)],
    "result": lambda kind, block: [_parse_result(kind, block)],
    "server_tool": _parse_server_tool,
    "server_state": _parse_server_tool,
    "unknown": lambda _, block: [_unknown(block)],
}

_PARSERS_IN_RESULTS = {
    **_PARSERS,
    # A tool that is an agent may return its model's blocks: only its texts and media are sent. An
    # object whose only key has the name of a block type is the tool's own data.
    **dict.fromkeys(
        ("reasoning", "call", "server_tool"),
        lambda kind, block: [] if "type" in block else _PARSERS["unknown"](kind, block),
    ),
    # These may be the tool's own data as well.
    **dict.fromkeys(
        ("function", "result", "refusal", "citations", "server_state"), _PARSERS["unknown"]
    ),
}


# Encoding.

_HINTS = {
    "image_url": "Use a vision model, such as baidu/ernie-5.0, or leave the block out.",
    "file": "Use a model that accepts PDF, such as baidu/ernie-5.0, or send the text of the file.",
    "file_id": "Send the file itself, in base64.",
    "audio": "No ERNIE model of the API accepts audio: send a transcript.",
    "video": "No ERNIE model of the API accepts video: send single frames as images.",
}
_FORMAT_HINT = "Send an image as PNG, JPEG, GIF or WebP, anything else as PDF or as text."


def encode_parts(
    parts: Iterable[ContentPart], spec: ModelSpec, *, omit: bool = False, in_result: bool = False
) -> list[JsonObject]:
    """Return the content parts of a message, or raise an `UnsupportedContentError`.

    Reasoning and calls are left out: in a user message they come from another agent's response.
    With `omit`, a text such as `[image omitted]` replaces media that the model does not support.
    With `in_result`, objects of unknown types are sent as JSON.
    """
    encoded: list[JsonObject] = []
    for part in parts:
        match check_media(part, spec) if isinstance(part, Media) else part:
            case Text(text, cache_control):
                encoded.append(_with_cache_control(text_part(text), cache_control, spec))
            case Refusal(text):
                encoded.append(text_part(text))
            case Media(part=media, cache_control=cache_control):
                encoded.append(_with_cache_control(media, cache_control, spec))
            case UnsupportedContent(block, is_data=True) if in_result:
                encoded.append(text_part(json_text(block)))
            case UnsupportedContent(placeholder=placeholder) if omit and placeholder:
                encoded.append(text_part(placeholder))
            case UnsupportedContent(reason=reason, placeholder=placeholder):
                hint = f' With on_unsupported_content="omit", {placeholder!r} is sent instead.'
                raise UnsupportedContentError(reason + hint if placeholder else reason)
    return encoded


def check_media(media: Media, spec: ModelSpec) -> Media | UnsupportedContent:
    """Return the media if the model supports it, else the reason why it does not."""
    supported = spec.parts | {"file_id"} if spec.file_ids else spec.parts
    for missing in media.requires:
        if missing not in supported and not ("/" in missing and spec.any_formats):
            detail = f" ({missing})" if missing != media.requires[0] else ""
            reason = (
                f"the model does not support its block of type {media.type!r}{detail}. "
                f"{_HINTS.get(missing, _FORMAT_HINT)}"
            )
            return UnsupportedContent(media, reason, media.placeholder, is_data=False)
    return media


def _with_cache_control(part: JsonObject, value: Block | None, spec: ModelSpec) -> JsonObject:
    return {**part, "cache_control": value} if value and spec.cache_control else part


def text_part(text: str) -> JsonObject:
    """Return a text as a content part."""
    return {"type": "text", "text": clean_text(text)}


def text_content(parts: list[JsonObject], separator: str = "") -> str | list[JsonObject]:
    """Return text parts as one string, or as they are if one has a `cache_control`."""
    if any("cache_control" in part for part in parts):
        return parts
    return separator.join(str(part["text"]) for part in parts)


def user_content(parts: list[JsonObject]) -> str | list[JsonObject]:
    """Return the simplest form of `parts`: a string for no or one plain text, else a list."""
    is_plain = all(part["type"] == "text" for part in parts)
    return text_content(parts) if is_plain and len(parts) <= 1 else parts


def system_content(
    content: object, spec: ModelSpec, *, omit: bool = False
) -> str | list[JsonObject]:
    """Return the content of a system message: its texts, concatenated."""
    parts: list[ContentPart] = []
    for part in parse_content(content):
        if isinstance(part, Media):
            reason = (
                f"its block of type {part.type!r} is not text, and instructions may contain text "
                "only. Put it into a user message."
            )
            parts.append(UnsupportedContent(part, reason, part.placeholder))
        else:
            parts.append(part)
    return text_content(encode_parts(parts, spec, omit=omit))


def tool_content(
    content: object, spec: ModelSpec, *, omit: bool = False
) -> tuple[list[JsonObject], list[JsonObject]]:
    """Return the texts and the media of a tool result; a tool message may contain text only."""
    if isinstance(content, str):
        return [text_part(content)], []
    parts = parse_content(content, in_result=True)
    data = [part.block for part in parts if isinstance(part, UnsupportedContent) and part.is_data]
    if data and len(data) == len(parts):
        whole = data if isinstance(content, list | tuple) else content
        return [text_part(json_text(whole))], []
    encoded = encode_parts(parts, spec, omit=omit, in_result=True)
    texts = [part for part in encoded if part["type"] == "text"]
    return texts, [part for part in encoded if part["type"] != "text"]
