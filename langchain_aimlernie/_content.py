"""Content blocks of every dialect, read as a handful of plain values.

A history may hold LangChain's own blocks (v0 with `source_type`, v1), OpenAI's (Chat Completions
and Responses), Anthropic's, Gemini's, Bedrock Converse's and Mistral's, often in one message.
`read_content` says what they hold; the functions below it write that for one kind of message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_aimlernie._media import KINDS, Media, Unsendable, first_string, read_media
from langchain_aimlernie._text import clean_text, json_text

if TYPE_CHECKING:
    from langchain_aimlernie.profiles import ModelSpec

Wire = dict[str, object]
Block = Mapping[str, object]


class NotSendableError(Exception):
    """Content that the wire has no form for; the text says what it is and what to do about it."""


@dataclass(frozen=True, slots=True)
class Text:
    """What a person, a tool or the model says."""

    text: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a model says when it declines to answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What a model thought; empty where it is encrypted or redacted."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call; absent parts are empty. `args` is what the model wrote: an object or text."""

    id: str
    name: str
    args: object


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to a tool call; absent parts are empty. `content` is content again."""

    id: str
    name: str
    content: object
    error: bool = False


Piece = Text | Refusal | Reasoning | Media | Call | Result | Unsendable
Reader = Callable[[str, Block], Iterable[Piece]]


# Reading. A reader gets the block's type and the block, and says what it holds.


def _read_text(_: str, block: Block) -> Iterable[Piece]:
    if "text" not in block:
        return (_unknown(block),)
    text = block["text"]
    if text is None or text == "":
        return ()
    return (Text(text) if isinstance(text, str) else _unknown(block),)


def _read_json(kind: str, block: Block) -> Iterable[Piece]:
    return (Text(json_text(block[kind])) if kind in block else _unknown(block),)


def _read_search_result(_: str, block: Block) -> Iterable[Piece]:
    content = block.get("content")
    if not isinstance(content, list):
        return (_unknown(block),)
    texts = (piece.text for piece in read_content(content) if isinstance(piece, Text))
    lines = (first_string(block, "title"), first_string(block, "source"), *texts)
    return (Text("\n".join(filter(None, lines))),)


def _read_document(kind: str, block: Block) -> Iterable[Piece]:
    """Read a medium; Anthropic's and Converse's documents may hold content blocks instead."""
    holder = block.get(kind)
    source = (holder if isinstance(holder, Mapping) else block).get("source")
    if isinstance(source, Mapping) and source.get("content"):
        return read_content(source["content"])
    medium = read_media(kind, block)
    return read_content(medium) if isinstance(medium, str) else (medium,)


def _read_output(_: str, block: Block) -> Iterable[Piece]:
    return read_content(block["output"]) if "output" in block else (_unknown(block),)


def _read_refusal(_: str, block: Block) -> Iterable[Piece]:
    return (Refusal(first_string(block, "refusal", "text")),)


def _read_reasoning(_: str, block: Block) -> Iterable[Piece]:
    return (Reasoning(first_string(block, "reasoning", "thinking")),)


def read_call(block: Block, kind: str = "") -> Call:
    """Read a tool call of any dialect: a content block, or an item of a message's `tool_calls`."""
    body = _body(block, kind, "function")
    # Responses has two ids in a block: `call_id` is the one that the tool's answer names.
    identity = first_string(block, "call_id", "id") or first_string(body, "toolUseId", "id")
    args = next((body[key] for key in _ARGUMENTS if body.get(key)), None)
    return Call(identity, first_string(body, "name"), args)


def _read_call(kind: str, block: Block) -> Iterable[Piece]:
    return (read_call(block, kind),)


def _read_result(kind: str, block: Block) -> Iterable[Piece]:
    body = _body(block, kind)
    identity = first_string(body, "tool_use_id", "toolUseId", "call_id", "tool_call_id", "id")
    content = next((body[key] for key in _RESULTS if body.get(key) is not None), "")
    error = body.get("is_error") is True or body.get("status") == "error"
    return (Result(identity, first_string(body, "name"), content, error),)


def _read_non_standard(_: str, block: Block) -> Iterable[Piece]:
    return _read_block(block.get("value"), READERS)


def _read_nothing(_: str, __: Block) -> Iterable[Piece]:
    return ()


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


def _body(block: Block, *keys: str) -> Block:
    """Return the object under one of `keys`, where the dialect nests, else the block itself."""
    for key in keys:
        inner = block.get(key)
        if isinstance(inner, Mapping):
            return inner
    return block


def _unknown(block: object) -> Unsendable:
    kind = block.get("type") if isinstance(block, Mapping) else type(block).__name__
    return Unsendable(
        block, f"its block of type {kind!r:.80} is of no known kind. Send its content as text."
    )


def _read_block(block: object, readers: Mapping[str, Reader]) -> Iterable[Piece]:
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


def read_content(content: object, readers: Mapping[str, Reader] = READERS) -> list[Piece]:
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
    return not spec.known or need in spec.parts or (need == "file_id" and spec.file_ids)


def _sendable(medium: Media, spec: ModelSpec) -> Wire:
    for need in medium.needs:
        if not _takes(spec, need):
            form = f" ({need})" if need != medium.needs[0] else ""
            raise NotSendableError(
                f"the model does not take its block of type {medium.block!r}{form}. "
                f"{_REMEDIES.get(need, _REMEDY_OF_FORM)}"
            )
    return medium.part


def media_shown(pieces: Iterable[Piece], spec: ModelSpec) -> list[Wire]:
    """Write the media among `pieces` that the model takes as content parts; leave out the rest."""
    media = [piece for piece in pieces if isinstance(piece, Media)]
    return [each.part for each in media if all(_takes(spec, need) for need in each.needs)]


def system_content(content: object) -> str:
    """Write what a system message says: its texts, with nothing added in between.

    Raises:
        NotSendableError: It holds something that is no text.
    """
    if isinstance(content, str):
        return clean_text(content)
    texts = []
    for piece in read_content(content):
        match piece:
            case Text(text) | Refusal(text):
                texts.append(text)
            case Media(block):
                raise NotSendableError(
                    f"its block of type {block!r} is no text, and instructions are nothing else. "
                    "Put it into a user message."
                )
            case Unsendable(_, why):
                raise NotSendableError(why)
    return clean_text("".join(texts))


def text_part(text: str) -> Wire:
    """Write a text as a content part."""
    return {"type": "text", "text": clean_text(text)}


def user_parts(pieces: Iterable[Piece], spec: ModelSpec) -> list[Wire]:
    """Write what a user says and shows as content parts.

    People make user messages of another agent's answer: its thoughts and calls are left out.

    Raises:
        NotSendableError: The model does not take one of the blocks.
    """
    parts: list[Wire] = []
    for piece in pieces:
        match piece:
            case Text(text) | Refusal(text):
                parts.append(text_part(text))
            case Media():
                parts.append(_sendable(piece, spec))
            case Unsendable(_, why):
                raise NotSendableError(why)
    return parts


def user_content(parts: list[Wire]) -> object:
    """Choose the simplest form that holds `parts`: a string for no or one text, else a list."""
    if not parts:
        return ""
    return parts[0].get("text", parts) if len(parts) == 1 else parts


def tool_content(content: object, spec: ModelSpec) -> tuple[str, list[Wire]]:
    """Write a tool's result as its text and its media, which no tool message may hold.

    Texts stand on lines of their own; objects that are no content blocks are data, and go as JSON.

    Raises:
        NotSendableError: The model does not take one of the media.
    """
    if isinstance(content, str):
        return clean_text(content), []
    pieces = read_content(content, _SAYINGS)
    if pieces and all(isinstance(piece, Unsendable) for piece in pieces):
        return json_text(content), []
    lines: list[str] = []
    media: list[Wire] = []
    for piece in pieces:
        match piece:
            case Text(text):
                lines.append(text)
            case Media():
                media.append(_sendable(piece, spec))
            case Unsendable(value):
                lines.append(json_text(value))
    return clean_text("\n".join(lines)), media
