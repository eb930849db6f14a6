"""Chat with ERNIE in a terminal: `python -m langchain_aimlernie [--local] "prompt"`."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import TYPE_CHECKING

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    message_chunk_to_message,
)
from pydantic import ValidationError

from langchain_aimlernie._params import first_message
from langchain_aimlernie.chat_models import ChatAimlErnie
from langchain_aimlernie.errors import AimlErnieError
from langchain_aimlernie.profiles import DEFAULT_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TextIO

_DIM, _RESET = "\x1b[2m", "\x1b[0m"
_INTERRUPTED = 130
"""Exit code of shells for a program that was ended by SIGINT (128 + 2)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: Command-line arguments; `sys.argv[1:]` by default.

    Returns:
        The exit code: 0, 1 after an error (reported on stderr), 130 after Ctrl-C.
    """
    options = _build_parser().parse_args(arguments)
    try:
        with _open_model(options) as llm:
            return _run_command(llm, options)
    except ValidationError as error:
        _print_status(f"error: {first_message(error)}")
        return 1
    except AimlErnieError as error:
        _print_status(f"error: {error}")
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m langchain_aimlernie",
        description="Stream a response of an ERNIE model, then print what it cost.",
        epilog="The key is read from AIMLAPI_API_KEY; AIMLAPI_API_BASE names another server.",
    )
    parser.add_argument("prompt", nargs="?", help="what to ask; - reads it from standard input")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="the model (default: %(default)s)")
    parser.add_argument("--system", help="instructions for the whole conversation")
    parser.add_argument(
        "--local",
        action="store_true",
        help="use a local test server with a fake model; needs no key",
    )
    return parser


@contextlib.contextmanager
def _open_model(options: argparse.Namespace) -> Iterator[ChatAimlErnie]:
    if not options.local:
        with ChatAimlErnie(model=options.model) as llm:
            yield llm
        return
    from langchain_aimlernie.testing import ErnieServer  # noqa: PLC0415  only when asked for

    with (
        ErnieServer() as server,
        ChatAimlErnie(model=options.model, base_url=server.base_url, api_key=server.api_key) as llm,
    ):
        yield llm


def _run_command(llm: ChatAimlErnie, options: argparse.Namespace) -> int:
    history: list[BaseMessage] = [SystemMessage(options.system)] if options.system else []
    if options.prompt is None:
        return _chat(llm, history)
    prompt = sys.stdin.read() if options.prompt == "-" else options.prompt
    _stream_completion(llm, [*history, HumanMessage(prompt)])
    return 0


def _chat(llm: ChatAimlErnie, history: list[BaseMessage]) -> int:
    _print_status(f"{llm.model_name} - an empty line or Ctrl-D ends the conversation")
    while True:
        try:
            prompt = input("> ").strip()
        except EOFError:
            prompt = ""
        if not prompt:
            return 0
        history.append(HumanMessage(prompt))
        try:
            history.append(_stream_completion(llm, history))
        except AimlErnieError as error:
            history.pop()
            _print_status(f"error: {error}")


def _stream_completion(llm: ChatAimlErnie, messages: list[BaseMessage]) -> AIMessage:
    printer = _Printer(sys.stdout)
    whole: AIMessageChunk | None = None
    for chunk in llm.stream(messages):
        printer.show(chunk)
        whole = chunk if whole is None else whole + chunk
    printer.end()
    message = message_chunk_to_message(whole or AIMessageChunk(content=""))
    if not isinstance(message, AIMessage):
        raise TypeError(f"Expected an AIMessage from the stream, got {type(message).__name__}.")
    _print_status(_usage_line(message))
    return message


class _Printer:
    """Print chunks as they arrive: reasoning dimmed (on a terminal), then the completion."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._colour = out.isatty()
        self._in_reasoning = False

    def show(self, chunk: AIMessageChunk) -> None:
        if reasoning := chunk.additional_kwargs.get("reasoning_content"):
            self._set_reasoning(active=True)
            self._out.write(reasoning)
        if text := str(chunk.text):
            self._set_reasoning(active=False)
            self._out.write(text)
        self._out.flush()

    def end(self) -> None:
        self._set_reasoning(active=False)
        self._out.write("\n")
        self._out.flush()

    def _set_reasoning(self, *, active: bool) -> None:
        if active == self._in_reasoning:
            return
        self._in_reasoning = active
        if self._colour:
            self._out.write(_DIM if active else _RESET)
        if not active:
            self._out.write("\n\n")


def _usage_line(message: AIMessage) -> str:
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


def _print_status(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
