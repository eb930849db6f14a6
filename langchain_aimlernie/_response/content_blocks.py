"""Content blocks between core and this package, in both directions.

The block translator is how core reads `content_blocks` out of this provider's messages.

Core numbers blocks by type change while tool calls have numbers of their own, so without names a
tool call is merged into the text before it. An index that begins with `lc_` is a name to core:
blocks of one name are joined and no others, which makes v0, `output_version="v1"` and v3 events
right alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import KNOWN_BLOCK_TYPES
from langchain_core.messages.tool import tool_call_chunk

from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
    from langchain_core.messages import content as types

_REFUSAL = "refusal" if "refusal" in KNOWN_BLOCK_TYPES else None


def translate_message(message: AIMessage) -> list[types.ContentBlock]:
    """Return the content blocks of a message: reasoning, text, refusal, tool calls."""
    blocks = _text_blocks(message) + _call_blocks(message)
    return cast("list[types.ContentBlock]", blocks)


def translate_chunk(chunk: AIMessageChunk) -> list[types.ContentBlock]:
    """Return the content blocks of a chunk, each with its index in the stream."""
    blocks = _text_blocks(chunk, named=True)
    if chunk.chunk_position == "last":
        return cast("list[types.ContentBlock]", blocks + _call_blocks(chunk))
    # Core's events take any JSON for arguments; a bracket that closes nothing stops them.
    ends = [
        tool_call_chunk(args="}", index=cast("int", call["index"]))
        for call in chunk.invalid_tool_calls
        if "index" in call
    ]
    blocks += [
        {"type": "tool_call_chunk", **call, "index": f"lc_tc_{call['index']}"}
        for call in [*chunk.tool_call_chunks, *ends]
    ]
    return cast("list[types.ContentBlock]", blocks)


def _text_blocks(message: AIMessage, *, named: bool = False) -> list[dict[str, Any]]:
    if not isinstance(message.content, str):
        raise NotImplementedError
    texts = {
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "text": message.content,
        _REFUSAL: message.additional_kwargs.get("refusal"),
    }
    blocks = []
    for kind, text in texts.items():
        if kind and text:
            block = {"type": kind, kind: text}
            if named:
                block["index"] = f"lc_{kind}"
            blocks.append(block)
    return blocks


def _call_blocks(message: AIMessage) -> list[dict[str, Any]]:
    valid = [{**call, "type": "tool_call"} for call in message.tool_calls]
    return valid + [{**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls]


def wrap_incomplete(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Return the messages without media blocks on which core raises.

    Core reads the blocks of each message before it calls a model, and raises `KeyError` or
    `ValueError` for one that lacks a key, such as a v0 file with a `text`. Wrapped as
    `non_standard`, such a block reaches this package's own reader, which takes it or says what is
    wrong. The messages given stay as they are; with no such block they are returned themselves.
    """
    # Of a long conversation, nearly all messages are plain texts.
    with_blocks = [message for message in messages if type(message.content) is not str]
    return (
        [_wrapped(message) for message in messages] if any(map(_fails, with_blocks)) else messages
    )


def _fails(message: BaseMessage) -> bool:
    return isinstance(message.content, list) and any(map(_is_incomplete, message.content))


def _wrapped(message: BaseMessage) -> BaseMessage:
    if not _fails(message):
        return message
    content = [
        {"type": "non_standard", "value": block} if _is_incomplete(block) else block
        for block in message.content
    ]
    return message.model_copy(update={"content": content})


def _is_incomplete(block: object) -> bool:
    if not isinstance(block, dict):
        return False
    kind, source = block.get("type"), block.get("source_type")
    if not isinstance(kind, str | None):
        return True
    if kind not in ("image", "audio", "file"):
        return False
    if isinstance(source, str) and source in _V0_KEYS:
        key = _V0_KEYS[source]
        if key not in block or block.keys() & _CLASHES - {key}:
            return True
    has_data = "mime_type" in block and ("base64" in block or source == "base64")
    is_readable = has_data or block.keys() & {"url", "file_id"} or source == "id"
    return kind == "image" and not is_readable and bool(block.keys() & {"base64", "data", "text"})


_V0_KEYS = {"url": "url", "base64": "data", "id": "id", "text": "url"}
"""Under which key core expects what a v0 block holds, by `source_type`."""

_CLASHES = {"id", "url", "base64", "file_id", "text"}
"""Keys that core passes on twice when it reads a v0 block."""


def register() -> None:
    """Register the block translator of this provider with core."""
    register_translator(PROVIDER, translate_message, translate_chunk)
