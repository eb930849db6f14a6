"""Content blocks of every dialect, read as a handful of plain values.

A history may hold LangChain's own blocks (v0 with `source_type`, v1), OpenAI's (Chat Completions
and Responses), Anthropic's, Gemini's, Bedrock Converse's and Mistral's, often in one message.
`read_content` says what they hold; the functions below it write that for one kind of message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from langchain_aimlernie._request.media import (
    KINDS,
    Media,
    UnsupportedContent,
    first_string,
    read_media,
)
from langchain_aimlernie._text import clean_text, json_text

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.profiles import ModelSpec

Wire = dict[str, object]
Block = Mapping[str, object]


class UnsupportedContentError(Exception):
    """Content that the wire has no form for; the text says what it is and what to do about it."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a person, a tool or the model says, perhaps with a mark for the prompt cache."""

    text: str
    cache_control: Block | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a model says when it declines to answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought; empty where it is encrypted or redacted."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallPart:
    """A tool call; absent parts are empty. `args` is what the model wrote: an object or text."""

    id: str
    name: str
    args: object


@dataclass(frozen=True, slots=True)
class ToolResultPart:
    """The answer to a tool call; absent parts are empty. `content` is content again."""

    id: str
    name: str
    content: object
    error: bool = False
    cache_control: Block | None = None


ContentPart = (
    Text | Refusal | Reasoning | Media | ToolCallPart | ToolResultPart | UnsupportedContent
)
Reader = Callable[[str, Block], Iterable[ContentPart]]


# Reading. A reader gets the block's type and the block, and says what it holds.


def read_cache_control(block: Block) -> Block | None:
    """Return the `cache_control` of a content block or tool, as the API's schema has it.

    Anything else than `{"type": "ephemeral"}`, with "5m" or "1h" as `ttl` or without one, counts as
    absent. LangChain keeps keys that it does not know in a block's `extras`.
    """
    extras = block.get("extras")
    mark = block.get("cache_control")
    if mark is None and isinstance(extras, Mapping):
        mark = extras.get("cache_control")
    if not isinstance(mark, Mapping) or mark.get("type") != "ephemeral":
        return None
    ttl = {"ttl": mark["ttl"]} if mark.get("ttl") in ("5m", "1h") else {}
    return {"type": "ephemeral", **ttl}


def has_cache_control(messages: Iterable[BaseMessage]) -> bool:
    """Return whether a content block of one of the messages has a `cache_control`."""
    return any(
        isinstance(block, Mapping) and read_cache_control(block) is not None
        for message in messages
        if isinstance(message.content, list)
        for block in message.content
    )


def _read_text(_: str, block: Block) -> Iterable[ContentPart]:
    if "text" not in block:
        return (_unknown(block),)
    text = block["text"]
    if text is None or text == "":
        return ()
    return (Text(text, read_cache_control(block)) if isinstance(text, str) else _unknown(block),)


def _read_json(kind: str, block: Block) -> Iterable[ContentPart]:
    return (Text(json_text(block[kind])) if kind in block else _unknown(block),)


def _read_search_result(_: str, block: Block) -> Iterable[ContentPart]:
    content = block.get("content")
    if not isinstance(content, list):
        return (_unknown(block),)
    texts = (piece.text for piece in read_content(content) if isinstance(piece, Text))
    lines = (first_string(block, "title"), first_string(block, "source"), *texts)
    return (Text("\n".join(filter(None, lines))),)


def _read_document(kind: str, block: Block) -> Iterable[ContentPart]:
    """Read a medium; Anthropic's and Converse's documents may hold content blocks instead."""
    holder = block.get(kind)
    source = (holder if isinstance(holder, Mapping) else block).get("source")
    if isinstance(source, Mapping) and source.get("content"):
        return read_content(source["content"])
    medium = read_media(kind, block)
    mark = read_cache_control(block)
    if isinstance(medium, str):
        return (Text(medium, mark),) if medium else ()
    return (replace(medium, cache_control=mark) if isinstance(medium, Media) else medium,)


def _read_output(_: str, block: Block) -> Iterable[ContentPart]:
    return read_content(block["output"]) if "output" in block else (_unknown(block),)


def _read_refusal(_: str, block: Block) -> Iterable[ContentPart]:
    return (Refusal(first_string(block, "refusal", "text")),)


def _read_reasoning(_: str, block: Block) -> Iterable[ContentPart]:
    return (Reasoning(first_string(block, "reasoning", "thinking")),)


def read_call(block: Block, kind: str = "") -> ToolCallPart:
    """Read a tool call of any dialect: a content block, or an item of a message's `tool_calls`."""
    body = _body(block, kind, "function")
    # Responses has two ids in a block: `call_id` is the one that the tool's answer names.
    identity = first_string(block, "call_id", "id") or first_string(body, "toolUseId", "id")
    args = next((body[key] for key in _ARGUMENTS if body.get(key)), None)
    return ToolCallPart(identity, first_string(body, "name"), args)


def _read_call(kind: str, block: Block) -> Iterable[ContentPart]:
    return (read_call(block, kind),)


def _read_result(kind: str, block: Block) -> Iterable[ContentPart]:
    body = _body(block, kind)
    identity = first_string(body, "tool_use_id", "toolUseId", "call_id", "tool_call_id", "id")
    content = next((body[key] for key in _RESULTS if body.get(key) is not None), "")
    error = body.get("is_error") is True or body.get("status") == "error"
    name, mark = first_string(body, "name"), read_cache_control(block)
    return (ToolResultPart(identity, name, content, error, mark),)


def _read_non_standard(_: str, block: Block) -> Iterable[ContentPart]:
    return _read_block(block.get("value"), READERS)


def _read_non_standard_result(_: str, block: Block) -> Iterable[ContentPart]:
    return (
        _read_block(block.get("value"), _RESULT_READERS) if "value" in block else (_unknown(block),)
    )


def _read_nothing(_: str, __: Block) -> Iterable[ContentPart]:
    return ()


def _leave_out(_: str, block: Block) -> Iterable[ContentPart]:
    """Leave out a block; an object that only has a key of the same name is data."""
    return () if "type" in block else (_unknown(block),)


_ARGUMENTS = ("args", "arguments", "input", "partial_json")
_RESULTS = ("content", "output", "response")

_SAYINGS: dict[str, Reader] = {
    **dict.fromkeys(("text", "input_text", "output_text", "guard_content"), _read_text),
    **dict.fromkeys(KINDS, _read_document),
    "json": _read_json,
    "search_result": _read_search_result,
    "custom_tool_call_output": _read_output,
    **dict.fromkeys(("cachePoint", "cache_point"), _read_nothing),
}
"""What can be said in any message. In a tool's result every other object is data."""

_CALLS = (
    *("tool_call", "invalid_tool_call", "tool_use", "toolUse"),
    *("function_call", "functionCall", "custom_tool_call", "function"),
)
_ANSWERS = (
    *("tool_result", "toolResult", "function_response", "functionResponse"),
    "function_call_output",
)
_THOUGHTS = (
    *("reasoning", "reasoning_content", "reasoningContent"),
    *("thinking", "redacted_thinking", "redacted_reasoning"),
)
_MACHINERY = (
    "tool_call_chunk",
    *("server_tool_call", "server_tool_call_chunk", "server_tool_result", "server_tool_use"),
    *("web_search_tool_result", "web_fetch_tool_result", "tool_search_tool_result"),
    *("code_execution_tool_result", "bash_code_execution_tool_result"),
    *("text_editor_code_execution_tool_result", "mcp_tool_use", "mcp_tool_result"),
    *("web_search_call", "file_search_call", "code_interpreter_call", "computer_call"),
    *("image_generation_call", "local_shell_call", "mcp_call", "mcp_list_tools"),
    *("mcp_approval_request", "executable_code", "executableCode", "code_execution_result"),
    *("codeExecutionResult", "function_call_signature", "reference", "compaction"),
)

READERS: dict[str, Reader] = {
    **_SAYINGS,
    "non_standard": _read_non_standard,
    "refusal": _read_refusal,
    **dict.fromkeys(_THOUGHTS, _read_reasoning),
    **dict.fromkeys(_CALLS, _read_call),
    **dict.fromkeys(_ANSWERS, _read_result),
    # What a provider's servers did for its model, whose text tells the outcome; fragments of
    # calls, which a message has whole among its `tool_calls`.
    **dict.fromkeys(_MACHINERY, _read_nothing),
}

_DATA = frozenset({"function", "reference", "compaction"})
"""Types that the data of a tool are as likely to have as blocks of a model."""

_RESULT_READERS: dict[str, Reader] = {
    **{kind: _leave_out for kind in (*_THOUGHTS, *_CALLS, *_MACHINERY) if kind not in _DATA},
    **_SAYINGS,
    "non_standard": _read_non_standard_result,
}
"""A tool that is an agent may return its model's blocks: its thoughts and calls are left out."""


def _body(block: Block, *keys: str) -> Block:
    """Return the object under one of `keys`, where the dialect nests, else the block itself."""
    for key in keys:
        inner = block.get(key)
        if isinstance(inner, Mapping):
            return inner
    return block


def _unknown(block: object) -> UnsupportedContent:
    kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
    return UnsupportedContent(
        block, f"its block of type {kind!r:.80} is of no known kind. Send its content as text."
    )


def _read_block(block: object, readers: Mapping[str, Reader]) -> Iterable[ContentPart]:
    if isinstance(block, str):
        return (Text(block),) if block else ()
    if not isinstance(block, Mapping):
        return (_unknown(block),)
    kind = block.get("type")
    if kind is None and len(block) == 1:
        # Gemini's and Converse's own blocks have no type: their only key says what they are.
        kind = next(iter(block))
    reader = readers.get(kind) if isinstance(kind, str) else None
    return (_unknown(block),) if reader is None else reader(str(kind), block)


def read_content(content: object, readers: Mapping[str, Reader] = READERS) -> list[ContentPart]:
    """Say what `content` holds, in its order: a string, a list of strings and blocks, or `None`."""
    if content is None:
        return []
    blocks = content if isinstance(content, list | tuple) else (content,)
    return [piece for block in blocks for piece in _read_block(block, readers)]


# Writing, for one kind of message each. Strings take the short way.

_REMEDIES = {
    "image_url": "Use a model that sees, such as baidu/ernie-5.0, or leave the block out.",
    "file": "Use a model that takes PDF, such as baidu/ernie-5.0, or send the text of the file.",
    "file_id": "Send the file itself, in base64.",
    "audio": "No ERNIE model here takes audio: send a transcript.",
    "video": "No ERNIE model here takes video: send single frames as images.",
}
_REMEDY_OF_FORM = "Send an image as PNG, JPEG, GIF or WebP, anything else as PDF or as text."


def _takes(spec: ModelSpec, need: str) -> bool:
    if need == "file_id":
        return spec.file_ids
    return need in spec.parts or (spec.any_formats and "/" in need)


def _media_part(medium: Media, spec: ModelSpec, *, omit: bool) -> Wire:
    """Write a medium as a content part; with `omit` as a text if the model does not take it.

    Raises:
        NotSendableError: The model does not take it.
    """
    for need in medium.needs:
        if not _takes(spec, need):
            if omit:
                return text_part(medium.omitted)
            form = f" ({need})" if need != medium.needs[0] else ""
            raise UnsupportedContentError(
                f"the model does not take its block of type {medium.block!r}{form}. "
                f"{_REMEDIES.get(need, _REMEDY_OF_FORM)} {_omission(medium)}"
            )
    return _marked(medium.part, medium.cache_control, spec)


def _omission(medium: Media | UnsupportedContent) -> str:
    return f'With on_unsupported_content="omit", {medium.omitted!r} is sent instead.'


def _stand_in(block: UnsupportedContent, *, omit: bool) -> str:
    """Return the text that stands in for a medium, if it is to be omitted.

    Raises:
        NotSendableError: It is not, or the block is no medium.
    """
    if omit and block.omitted:
        return block.omitted
    raise UnsupportedContentError(f"{block.why} {_omission(block)}" if block.omitted else block.why)


def _marked(part: Wire, mark: Block | None, spec: ModelSpec) -> Wire:
    return {**part, "cache_control": mark} if mark and spec.cache_control else part


def supported_media(pieces: Iterable[ContentPart], spec: ModelSpec) -> list[Wire]:
    """Write the media among `pieces` that the model takes as content parts; leave out the rest."""
    media = [piece for piece in pieces if isinstance(piece, Media)]
    return [each.part for each in media if all(_takes(spec, need) for need in each.needs)]


def text_content(texts: Sequence[Text], spec: ModelSpec, separator: str = "") -> str | list[Wire]:
    """Write texts as one; as parts only if a mark for the prompt cache has to stand on one."""
    if spec.cache_control and any(text.cache_control for text in texts):
        return [_marked(text_part(each.text), each.cache_control, spec) for each in texts]
    return clean_text(separator.join(text.text for text in texts))


def system_content(content: object, spec: ModelSpec, *, omit: bool = False) -> str | list[Wire]:
    """Write what a system message says: its texts, with nothing added in between.

    Raises:
        NotSendableError: It holds something that is no text, or, with `omit`, no medium either.
    """
    if isinstance(content, str):
        return clean_text(content)
    texts: list[Text] = []
    for piece in read_content(content):
        match piece:
            case Text():
                texts.append(piece)
            case Refusal(text):
                texts.append(Text(text))
            case Media() if omit:
                texts.append(Text(piece.omitted))
            case Media(block):
                raise UnsupportedContentError(
                    f"its block of type {block!r} is no text, and instructions are nothing else. "
                    f"Put it into a user message. {_omission(piece)}"
                )
            case UnsupportedContent():
                texts.append(Text(_stand_in(piece, omit=omit)))
    return text_content(texts, spec)


def text_part(text: str) -> Wire:
    """Write a text as a content part."""
    return {"type": "text", "text": clean_text(text)}


def user_parts(pieces: Iterable[ContentPart], spec: ModelSpec, *, omit: bool = False) -> list[Wire]:
    """Write what a user says and shows as content parts.

    People make user messages of another agent's answer: its thoughts and calls are left out.

    Args:
        pieces: What the message holds.
        spec: What the model takes.
        omit: Whether a text such as `[image omitted]` is sent for what it does not take.

    Raises:
        NotSendableError: The model does not take one of the blocks.
    """
    parts: list[Wire] = []
    for piece in pieces:
        match piece:
            case Text(text, mark):
                parts.append(_marked(text_part(text), mark, spec))
            case Refusal(text):
                parts.append(text_part(text))
            case Media():
                parts.append(_media_part(piece, spec, omit=omit))
            case UnsupportedContent():
                parts.append(text_part(_stand_in(piece, omit=omit)))
    return parts


def user_content(parts: list[Wire]) -> object:
    """Choose the simplest form that holds `parts`: a string for no or one text, else a list."""
    if not parts:
        return ""
    is_plain = len(parts) == 1 and parts[0].keys() == {"type", "text"}
    return parts[0]["text"] if is_plain else parts


def tool_content(
    content: object, spec: ModelSpec, *, omit: bool = False
) -> tuple[list[Text], list[Wire]]:
    """Write a tool's result as its texts and its media, which no tool message may hold.

    Each text is a line or more; objects that are no content blocks are data, and go as JSON.

    Args:
        content: What the tool returned.
        spec: What the model takes.
        omit: Whether a text such as `[image omitted]` stands for what it does not take.

    Raises:
        NotSendableError: The model does not take one of the media.
    """
    if isinstance(content, str):
        return [Text(content)], []
    pieces = read_content(content, _RESULT_READERS)
    data = [
        each.value for each in pieces if isinstance(each, UnsupportedContent) and not each.omitted
    ]
    if data and len(data) == len(pieces):
        return [Text(json_text(data if isinstance(content, list | tuple) else content))], []
    lines: list[Text] = []
    media: list[Wire] = []
    for piece in pieces:
        match piece:
            case Text():
                lines.append(piece)
            case Media():
                part = _media_part(piece, spec, omit=omit)
                if part["type"] == "text":
                    lines.append(Text(piece.omitted))
                else:
                    media.append(part)
            case UnsupportedContent(value, _, omitted):
                text = _stand_in(piece, omit=omit) if omitted else json_text(value)
                lines.append(Text(text))
    return lines, media
