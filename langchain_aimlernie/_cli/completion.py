"""Calls of the model, and how their responses are shown."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING, Any, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, message_chunk_to_message

from langchain_aimlernie._cli.output import has_colour, is_terminal, write, write_error

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from langchain_aimlernie.chat_models import ChatAimlErnie

_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
"""Control characters, with which a text could change more of a terminal than its own lines."""


class Printer:
    """Shows the chunks of one completion as they arrive.

    Reasoning comes first: dimmed on a terminal, else on standard error.
    """

    def __init__(self, *, is_reasoning_shown: bool) -> None:
        self._is_reasoning_shown = is_reasoning_shown
        self._is_terminal = is_terminal(sys.stdout)
        self._has_colour = has_colour(sys.stdout if self._is_terminal else sys.stderr)
        self._write_reasoning = write if self._is_terminal else write_error
        self._in_reasoning = False
        self._has_text = False

    def show(self, chunk: AIMessageChunk) -> None:
        """Show the next chunk."""
        reasoning = chunk.additional_kwargs.get("reasoning_content")
        if reasoning and self._is_reasoning_shown:
            self._set_reasoning(active=True)
            self._write_reasoning(self._clean(reasoning, is_terminal(sys.stderr)))
        if text := str(chunk.text) or chunk.additional_kwargs.get("refusal"):
            self._set_reasoning(active=False)
            write(self._clean(text))
            self._has_text = True

    def end(self) -> None:
        """End the last line."""
        self._set_reasoning(active=False)
        if self._has_text:
            write("\n")

    def _clean(self, text: str, is_terminal: bool = False) -> str:
        return text.translate(_CONTROLS) if self._is_terminal or is_terminal else text

    def _set_reasoning(self, *, active: bool) -> None:
        if active == self._in_reasoning:
            return
        self._in_reasoning = active
        style = _DIM if active else _RESET
        self._write_reasoning((style if self._has_colour else "") + ("" if active else "\n\n"))


class Completion:
    """The chunks of a completion, complete or not."""

    def __init__(self) -> None:
        self._chunks: list[AIMessageChunk] = []

    def __len__(self) -> int:
        return len(self._chunks)

    def stream(
        self, llm: ChatAimlErnie, messages: Sequence[BaseMessage], printer: Printer | None
    ) -> None:
        """Make the call, and show the chunks if there is a printer.

        Raises:
            AimlErnieError: The call failed.
        """
        try:
            stream = cast("Generator[AIMessageChunk]", llm.stream([*messages]))
            with closing(stream) as chunks:
                for chunk in chunks:
                    self._chunks.append(chunk)
                    if printer is not None:
                        printer.show(chunk)
        finally:
            if printer is not None:
                printer.end()

    def message(self) -> AIMessage:
        """Return what has been received."""
        first, *rest = self._chunks or [AIMessageChunk(content="")]
        return cast("AIMessage", message_chunk_to_message(first + rest if rest else first))


def summarize(message: AIMessage) -> str:
    """Return a line with model, tokens and cost."""
    usage, metadata = message.usage_metadata, message.response_metadata
    parts = [str(metadata.get("model_name"))]
    if usage is not None:
        parts.append(f"{usage['input_tokens']} + {usage['output_tokens']} tokens")
    if (credits_used := metadata.get("credits_used")) is not None:
        parts.append(f"{credits_used:,} credits")
    if (usd := metadata.get("usd_spent")) is not None:
        parts.append(f"${usd:.6f}")
    if metadata.get("finish_reason") not in ("stop", None):
        parts.append(f"ended by {metadata['finish_reason']}")
    return f"[{' · '.join(parts)}]"


def to_object(message: AIMessage, *, is_reasoning_shown: bool) -> dict[str, Any]:
    """Return a message as an object for JSON."""
    metadata = message.response_metadata
    reasoning = message.additional_kwargs.get("reasoning_content")
    return {
        "text": str(message.text),
        "reasoning": reasoning if is_reasoning_shown else None,
        "model": metadata.get("model_name"),
        "finish_reason": metadata.get("finish_reason"),
        "usage": message.usage_metadata,
        "cost": {"usd": metadata.get("usd_spent"), "credits": metadata.get("credits_used")},
        "ids": {
            "id": metadata.get("id"),
            "inference_id": metadata.get("inference_id"),
            "client_request_id": metadata.get("client_request_id"),
            "request_id": metadata.get("request_id"),
        },
    }
