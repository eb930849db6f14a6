"""Calls of the model, the output of their responses, and the interactive chat."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    HumanMessage,
    message_chunk_to_message,
)

from langchain_aimlernie._cli.output import has_colour, is_terminal, write, write_error
from langchain_aimlernie.errors import AimlErnieError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.chat_models import ChatAimlErnie

_PROMPT = "> "
_HINT = "Ctrl-D or exit ends the chat, Ctrl-C stops a response."
_PASTE_GAP = 0.05
"""Seconds within which the next line of a paste follows, if the terminal does not mark pastes."""

_DIM, _RESET = "\x1b[2m", "\x1b[0m"


class Completion:
    """A completion, complete or not, which can be shown while it arrives.

    Reasoning is dimmed on a terminal, else on standard error.
    """

    def __init__(self, *, is_shown: bool = False, is_reasoning_shown: bool = False) -> None:
        self._chunks: list[AIMessageChunk] = []
        self._is_shown, self._is_reasoning_shown = is_shown, is_reasoning_shown
        to_stdout = is_terminal(sys.stdout)
        self._has_colour = has_colour(sys.stdout if to_stdout else sys.stderr)
        self._write_reasoning = write if to_stdout else write_error
        self._in_reasoning = False

    def __len__(self) -> int:
        return len(self._chunks)

    def stream(self, llm: ChatAimlErnie, messages: Sequence[BaseMessage]) -> None:
        """Make the call, and collect its chunks."""
        has_text = False
        try:
            stream = cast("Generator[AIMessageChunk]", llm.stream([*messages]))
            with contextlib.closing(stream) as chunks:
                for chunk in chunks:
                    self._chunks.append(chunk)
                    has_text = (self._is_shown and self._show(chunk)) or has_text
        finally:
            self._set_reasoning(active=False)
            if has_text:
                write("\n")

    def _show(self, chunk: AIMessageChunk) -> bool:
        """Show a chunk; return whether it has text."""
        reasoning = chunk.additional_kwargs.get("reasoning_content")
        if reasoning and self._is_reasoning_shown:
            self._set_reasoning(active=True)
            self._write_reasoning(reasoning)
        if text := str(chunk.text) or chunk.additional_kwargs.get("refusal"):
            self._set_reasoning(active=False)
            write(text)
        return bool(text)

    def _set_reasoning(self, *, active: bool) -> None:
        if active == self._in_reasoning:
            return
        self._in_reasoning = active
        style = _DIM if active else _RESET
        self._write_reasoning("" if active else "\n\n", style if self._has_colour else "")

    def message(self) -> AIMessage:
        """Return the message received so far."""
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
    """Return a message as a JSON object, for `--json`."""
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


def run(llm: ChatAimlErnie, history: list[BaseMessage], *, is_reasoning_shown: bool) -> int:
    """Chat until Ctrl-D or `exit`, and append the messages to `history`; return 0."""
    write_error(f"{llm.model_name}. {_HINT}\n")
    with _restored_terminal():
        _set_up_readline()
        while True:
            try:
                message = _read_message()
                if message.strip() in ("exit", "quit"):
                    return 0
                if message.strip():
                    _respond(llm, history, message, is_reasoning_shown=is_reasoning_shown)
            except KeyboardInterrupt:
                write_error(f"\n{_HINT}\n")
            except (EOFError, OSError):  # OSError: the terminal was closed
                write_error("\n")
                return 0


def _respond(
    llm: ChatAimlErnie, history: list[BaseMessage], message: str, *, is_reasoning_shown: bool
) -> None:
    """Show the response to a message; after Ctrl-C the history has the part received."""
    completion = Completion(is_shown=True, is_reasoning_shown=is_reasoning_shown)
    question = HumanMessage(message)
    try:
        completion.stream(llm, [*history, question])
        write_error(f"{summarize(completion.message())}\n")
    except AimlErnieError as error:
        write_error(f"error: {error}\n")
    except KeyboardInterrupt:
        write_error("[stopped]\n")
    response = completion.message()
    if response.text:
        history += [question, response]


def _read_message() -> str:
    """Return the next message: a line, or the lines of a paste."""
    lines = [_read_line(_PROMPT)]
    with contextlib.suppress(EOFError):
        while _has_more():
            lines.append(_read_line(""))
    return "\n".join(lines).strip("\n")


def _read_line(prompt: str) -> str:
    if is_terminal(sys.stdout):
        return input(prompt)
    write_error(prompt)  # input() would write it to standard output
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.removesuffix("\n")


def _has_more() -> bool:
    """Return whether another line follows faster than anyone types, so that it is a paste."""
    if sys.platform == "win32":
        return False
    return bool(select.select([sys.stdin], [], [], _PASTE_GAP)[0])


def _set_up_readline() -> None:
    """Make `input` edit lines, with a history, and read a paste as one line."""
    if not is_terminal(sys.stdout):
        return
    with contextlib.suppress(ImportError):  # Windows, and some builds of Python
        import readline  # noqa: PLC0415

        readline.parse_and_bind("set enable-bracketed-paste on")  # Python switches it off
        # Since version 8.1, readline highlights a paste.
        if not has_colour(sys.stdout) and getattr(readline, "_READLINE_VERSION", 0) >= 0x801:  # noqa: PLR2004
            readline.parse_and_bind("set enable-active-region off")


@contextlib.contextmanager
def _restored_terminal() -> Iterator[None]:
    """Restore the terminal at the end and while the chat is suspended.

    Unread input is dropped, since the shell would execute it.
    """
    if sys.platform == "win32":
        yield
        return
    import termios  # noqa: PLC0415

    attributes = termios.tcgetattr(sys.stdin)

    def suspend(number: int, _: object) -> None:
        current = termios.tcgetattr(sys.stdin)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, attributes)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)  # returns when the shell continues the chat
        signal.signal(number, suspend)
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, current)

    actions = {signal.SIGTERM: _exit, signal.SIGHUP: _exit, signal.SIGTSTP: suspend}
    handlers = {number: signal.signal(number, action) for number, action in actions.items()}
    try:
        yield
    finally:
        with contextlib.suppress(termios.error):  # the terminal was closed
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, attributes)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _exit(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
