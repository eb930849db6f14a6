"""Prepare messages for langchain-core, which reads them before it calls a model.

Core fails on some messages that the API accepts, and loses or misreads parts of others.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
    convert_to_openai_image_block,
    is_data_content_block,
)

from langchain_aimlernie._request.content import (
    INVALID_ARGUMENTS,
    ToolCallPart,
    parse_content,
    parse_tool_call,
)
from langchain_aimlernie._text import json_text

_CHUNK = "MessageChunk"
_NOT_PDF = re.compile(r"data:(?!application/pdf\b)")


def repair_message(message: Any) -> Any:
    """Return the message; a pair or dict, in any provider's format, such that core can convert it.

    Core fails on arguments that are not a JSON object (they are wrapped in one), on an assistant
    message without content and on a tool result without an id; it writes an object in a tool result
    as its repr. It loses `invalid_tool_calls`, and calls that are blocks of the content.
    """
    match message:
        case [role, content]:
            return _repair_dict({"role": role, "content": content})
        case dict():
            return _repair_dict(message)
    if type(message) is BaseMessage:  # what pydantic makes of JSON for a `list[BaseMessage]`
        return _repair_dict(message.model_dump())
    return message


def _repair_dict(message: dict[str, Any]) -> dict[str, Any]:
    if isinstance(kwargs := message.get("kwargs"), dict):  # of `langchain_core.load.dumpd`
        return {**message, "kwargs": _repair_dict(kwargs)}
    kind = message.get("type")
    if isinstance(kind, str) and kind.endswith(_CHUNK):  # of merged chunks
        message = {**message, "type": kind.removesuffix(_CHUNK).lower()}
    role = message.get("role") or message.get("type")
    if role == "tool":
        result = message.get("content")
        content = result if isinstance(result, str | list | None) else json_text(result)
        return {**message, "content": content, "tool_call_id": message.get("tool_call_id") or ""}
    is_assistant = role in ("assistant", "ai")
    if is_assistant:
        message = {"content": "", **message}
    calls, invalid = message.get("tool_calls"), message.get("invalid_tool_calls") or []
    if calls is None and is_assistant:
        parts = parse_content(message.get("content"))
        calls = [part for part in parts if isinstance(part, ToolCallPart)]
    if not (isinstance(calls, list) and isinstance(invalid, list) and (calls or invalid)):
        return message
    return {"content": "", **message, "tool_calls": [_repair_call(c) for c in (*calls, *invalid)]}


def _repair_call(call: Any) -> object:
    part = parse_tool_call(call) if isinstance(call, Mapping) else call
    given = part.args.strip() if isinstance(part.args, str) else part.args
    args = given or {}
    if isinstance(args, str):
        with suppress(ValueError):
            args = json.loads(args, strict=False)
    if not isinstance(args, Mapping):
        args = {INVALID_ARGUMENTS: given}
    return {"type": "tool_call", "name": part.name, "args": args, "id": part.id}


def wrap_incomplete(messages: list[BaseMessage]) -> list[BaseMessage]:
    """Return the messages, with each media block wrapped that core fails on or misreads.

    Core converts the blocks of each message before it calls a model. It raises `KeyError` or
    `ValueError` for a block without a required key, such as a v0 file with a `text`, and takes each
    OpenAI file for a PDF. Wrapped as `non_standard`, such a block reaches this package's parser.
    """
    return [_wrap(message) if type(message.content) is list else message for message in messages]


def _wrap(message: BaseMessage) -> BaseMessage:
    content = [_wrap_block(block) for block in message.content]
    is_same = content == message.content
    return message if is_same else message.model_copy(update={"content": content})


def _wrap_block(block: str | dict[Any, Any]) -> str | dict[Any, Any]:
    if not isinstance(block, dict):
        return block
    if _fails_in_core(block):
        return {"type": "non_standard", "value": block}
    if block.get("type") == "file" and "file" in block:
        # Core gives an OpenAI file a new id in each call, so a cache would never match.
        (converted,) = HumanMessage([block]).content_blocks
        return {key: value for key, value in converted.items() if key != "id"}
    return block


def _fails_in_core(block: dict[Any, Any]) -> bool:
    """Whether core cannot convert a block to its v1 form, or an image for a trace."""
    kind, source = block.get("type"), block.get("source_type")
    if not (isinstance(kind, str | None) and isinstance(source, str | None)):
        return True  # core looks both up in sets, which fails for a list
    if kind not in ("image", "audio", "file"):
        return False
    if _is_misread_file(block):
        return True
    try:
        _ = HumanMessage([block]).content_blocks
        if kind == "image" and is_data_content_block(block):
            has_id = "file_id" in block or source == "id"
            _ = has_id or convert_to_openai_image_block(block)
    except (KeyError, TypeError, ValueError):
        return True
    return False


def _is_misread_file(block: dict[Any, Any]) -> bool:
    """Whether core reads an OpenAI file as a v0 block, without its data, or its data as a PDF."""
    if "file" not in block:
        return False
    if block.get("source_type"):
        return True
    file = block["file"] if isinstance(block["file"], dict) else {}
    data = file.get("file_data")
    return isinstance(data, str) and ("file_id" in file or bool(_NOT_PDF.match(data)))
