"""The interactive chat."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from langchain_core.messages import HumanMessage

from langchain_aimlernie._cli.completion import Completion, Printer, summarize
from langchain_aimlernie._cli.output import has_colour, is_terminal, write_error
from langchain_aimlernie.errors import AimlErnieError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_core.messages import BaseMessage

    from langchain_aimlernie.chat_models import ChatAimlErnie

_PROMPT = "> "
_HINT = "Ctrl-D ends the chat, Ctrl-C stops a response."
_PASTE_GAP = 0.05
"""Seconds within which the next line of a paste follows, where the terminal does not mark it."""


def run(llm: ChatAimlErnie, history: list[BaseMessage], *, is_reasoning_shown: bool) -> int:
    """Chat until Ctrl-D, and append the messages to `history`; return the exit code, 0."""
    write_error(f"{llm.model_name}. {_HINT}\n")
    with _restored_terminal():
        _set_up_readline()
        while True:
            try:
                message = _read_message()
                if message.strip():
                    _respond(llm, history, message, is_reasoning_shown=is_reasoning_shown)
            except KeyboardInterrupt:
                write_error(f"\n{_HINT}\n")
            except (EOFError, OSError):  # the latter if the terminal is gone
                write_error("\n")
                return 0


def _respond(
    llm: ChatAimlErnie, history: list[BaseMessage], message: str, *, is_reasoning_shown: bool
) -> None:
    """Show the response to a message; the history keeps the part before Ctrl-C."""
    completion, question = Completion(), HumanMessage(message)
    try:
        printer = Printer(is_reasoning_shown=is_reasoning_shown)
        completion.stream(llm, [*history, question], printer)
        write_error(f"{summarize(completion.message())}\n")
    except AimlErnieError as error:
        write_error(f"error: {error}\n")
    except KeyboardInterrupt:
        write_error("[stopped]\n")
    response = completion.message()
    if response.text:
        history += [question, response]


def _read_message() -> str:
    """Return the next message: a line, or the lines of a paste.

    Raises:
        EOFError: Ctrl-D.
        KeyboardInterrupt: Ctrl-C.
        OSError: The terminal is gone.
    """
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
    """Return whether another line has been entered, which nobody types that fast."""
    if sys.platform == "win32":
        return False
    return bool(select.select([sys.stdin], [], [], _PASTE_GAP)[0])


def _set_up_readline() -> None:
    """Let `input` edit lines, with a history, and take a paste as one line."""
    if not is_terminal(sys.stdout):
        return
    with contextlib.suppress(ImportError):  # Windows, and some builds of Python
        import readline  # noqa: PLC0415

        readline.parse_and_bind("set enable-bracketed-paste on")  # Python switches it off
        # Since version 8.1 a paste is highlighted.
        if not has_colour(sys.stdout) and getattr(readline, "_READLINE_VERSION", 0) >= 0x801:  # noqa: PLR2004
            readline.parse_and_bind("set enable-active-region off")


@contextlib.contextmanager
def _restored_terminal() -> Iterator[None]:
    """Restore the terminal at the end and while the chat is suspended, whatever ends it.

    Input that was not read is dropped: the shell would execute it.
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
        with contextlib.suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(sys.stdin, termios.TCSAFLUSH, attributes)
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _exit(number: int, _: object) -> NoReturn:
    raise SystemExit(128 + number)
