"""Offline estimates of the number of tokens of a text or a conversation.

ERNIE's tokenizer would be a download. LangChain's approximate counter assumes four characters
per token for any script, a third of the true number for Chinese. Here each kind of character has
its own rate:

- English from the provider's reference pages: for the fourteen completions printed there with
  their `completion_tokens`, the estimate is 1.00 to 1.16 times the billed number, 1.07 overall.
- Chinese has no such pairs. Rates between 0.6 and 1 token per character are reported for ERNIE
  (Baidu's own SDK estimates with 1); 0.8 is at most a third too high or a fifth too low.
- Code, other scripts, emoji and control characters follow byte-pair vocabularies of about 100,000
  entries: expect errors of up to 50%.

Where in doubt the estimate is high, so that a conversation trimmed to a context fits.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from langchain_core.messages import AIMessage, ToolMessage

from langchain_aimlernie._request.content import Refusal, Text, ToolResultPart, parse_content
from langchain_aimlernie._request.media import Media, UnsupportedContent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from langchain_core.messages import BaseMessage

_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_HAN_TOKENS, _HAN_CHARACTERS = 4, 5
# Emoji and rare Han characters are encoded as bytes, or as two or three entries.
_PER_ASTRAL_CHARACTER = 3

# Each match is a token; a single space belongs to the one after it.
_TOKEN = re.compile(
    r"""
    [ ]?(?:
        [A-Z]{2,3}(?![a-z])               # part of an abbreviation or a constant
      | [A-Za-z][a-z]{0,7}                # a word, or a part of a long or camelCase one
      | [!-/:-@\[-`{-~]{1,2}              # punctuation
      | [0-9]
    )
    | \s{2,4}                             # indent, empty lines
    | [\u00c0-\u024f\u0370-\u052f]{1,2}  # accented Latin, Greek, Cyrillic
    | [^ ]                                # kana, hangul, every other script, control characters
    """,
    re.VERBOSE,
)

# "<role>: ", the delimiters of a message and, once, the start of the completion. A one-message
# prompt of 9 tokens is billed as 13 or 16 on the reference pages, more where the model adds its own
# system prompt.
_PER_MESSAGE = 4
_PER_CONVERSATION = 3
_PER_TOOL_CALL = 8
_PER_TOOL = 8

# ERNIE 4.5 VL has one token per 28 x 28 pixels, from 4 to 6,177 an image (the defaults of Baidu's
# FastDeploy). The size in pixels is not known here, so an image counts as 1036 x 1036.
_PER_IMAGE = 37 * 37
# Nothing is published about files: 500 tokens, about a page, or one token per 60 characters of
# base64, as PDF files with text and few pictures have.
_PER_FILE = 500
_FILE_CHARACTERS = 60


def count_tokens(text: str) -> int:
    """Return an estimate of the number of tokens in `text`, in linear time."""
    if text.isascii():
        return _TOKEN.subn("", text)[1]
    rest, runs = _HAN.subn(" ", text)
    han = len(text) - len(rest) + runs
    astral = len(rest.encode("utf-16", "surrogatepass")) // 2 - 1 - len(rest)
    tokens = -(-han * _HAN_TOKENS // _HAN_CHARACTERS) + _TOKEN.subn("", rest)[1]
    return tokens + astral * (_PER_ASTRAL_CHARACTER - 1)


def count_message_tokens(
    messages: Iterable[BaseMessage],
    tools: Iterable[Mapping[str, object]] | None = None,
    *,
    count: Callable[[str], int] = count_tokens,
) -> int:
    """Return an estimate of the prompt tokens of a conversation; `count` counts those of a text."""
    tokens = _PER_CONVERSATION + sum(_count_message(message, count) for message in messages)
    return tokens + sum(_PER_TOOL + count(str(tool)) for tool in tools or ())


def _count_message(message: BaseMessage, count: Callable[[str], int]) -> int:
    is_result = isinstance(message, ToolMessage)
    tokens = _PER_MESSAGE + _count_content(message.content, count, in_result=is_result)
    if message.name:
        tokens += count(message.name)
    if isinstance(message, AIMessage):
        for call in (*message.tool_calls, *message.invalid_tool_calls):
            # The arguments are sent as JSON, which is as long as their repr.
            tokens += _PER_TOOL_CALL + count(f"{call['name']}{call['args']}")
    return tokens


def _count_content(content: object, count: Callable[[str], int], *, in_result: bool) -> int:
    tokens = 0
    for part in parse_content(content, in_result=in_result):
        match part:
            case Text(text) | Refusal(text):
                tokens += count(text)
            case Media():
                tokens += _count_media(part)
            case ToolResultPart():
                tokens += _count_content(part.content, count, in_result=True)
            case UnsupportedContent(is_data=True):
                tokens += count(str(part.block))
    return tokens


def _count_media(media: Media) -> int:
    match media.part:
        case {"type": "image_url"}:
            return _PER_IMAGE
        case {"type": "file", "file": {"file_data": str(data)}}:
            return max(_PER_FILE, len(data) // _FILE_CHARACTERS)
        case {"type": "file"}:
            return _PER_FILE
    return 0  # no ERNIE model accepts audio or video
