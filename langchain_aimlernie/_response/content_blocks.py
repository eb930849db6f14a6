"""The block translator by which core computes the `content_blocks` of this provider's messages.

Core increments its block index where the type changes, but tool calls have their own indexes, so a
tool call could be merged into the text before it. Blocks whose index begins with `lc_` are merged
only if the indexes are equal, which works for v0, `output_version="v1"` and v3 events.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages.block_translators import register_translator
from langchain_core.messages.content import KNOWN_BLOCK_TYPES
from langchain_core.messages.tool import tool_call_chunk

from langchain_aimlernie.profiles import PROVIDER

if TYPE_CHECKING:
    from langchain_core.messages import AIMessage, AIMessageChunk
    from langchain_core.messages import content as types

_REFUSAL = "refusal" if "refusal" in KNOWN_BLOCK_TYPES else None


def translate_message(message: AIMessage) -> list[types.ContentBlock]:
    """Return the content blocks of a message: reasoning, text, refusal, tool calls."""
    blocks = _text_blocks(message) + _call_blocks(message)
    return cast("list[types.ContentBlock]", blocks)


def translate_chunk(chunk: AIMessageChunk) -> list[types.ContentBlock]:
    """Return the content blocks of a chunk, each with its index in the stream."""
    blocks = _text_blocks(chunk)
    for block in blocks:
        block["index"] = f"lc_{block['type']}"
    if chunk.chunk_position == "last":
        return cast("list[types.ContentBlock]", blocks + _call_blocks(chunk))
    # Core's events accept any JSON as arguments; an unmatched bracket makes it invalid.
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


def _text_blocks(message: AIMessage) -> list[dict[str, Any]]:
    if not isinstance(message.content, str):
        raise NotImplementedError
    texts = {
        "reasoning": message.additional_kwargs.get("reasoning_content"),
        "text": message.content,
        _REFUSAL: message.additional_kwargs.get("refusal"),
    }
    return [{"type": kind, kind: text} for kind, text in texts.items() if kind and text]


def _call_blocks(message: AIMessage) -> list[dict[str, Any]]:
    valid = [{**call, "type": "tool_call"} for call in message.tool_calls]
    return valid + [{**call, "type": "invalid_tool_call"} for call in message.invalid_tool_calls]


def register() -> None:
    """Register the block translator of this provider with core."""
    register_translator(PROVIDER, translate_message, translate_chunk)
