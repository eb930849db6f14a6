"""Standard output and error, without a traceback if they are closed, full or not UTF-8."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import fields, is_dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TextIO

FAILED, USAGE, INTERRUPTED = 1, 2, 130
"""Exit codes; the last one is what shells return for a program ended by SIGINT (128 + 2)."""


_CONTROLS = {code: None for code in (*range(32), *range(127, 160)) if chr(code) not in "\t\n"}
"""Control characters, with which a text could take control of the terminal."""


class CommandError(Exception):
    """Ends the command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


class ReaderGoneError(Exception):
    """The program that reads the output, such as `head`, has closed the pipe."""


def replace_unencodable() -> None:
    """Make standard streams replace what their encoding lacks, instead of raising an error."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal; `None` is a closed one."""
    return stream is not None and stream.isatty()


def has_colour(stream: TextIO | None) -> bool:
    """Return whether escape sequences may be written (https://no-color.org)."""
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return is_terminal(stream) and not is_plain


def check_output() -> None:
    """Raise if standard output is closed, before a call is paid for."""
    if sys.stdout is None:
        raise CommandError("standard output is closed.")


def write(text: str, style: str = "") -> None:
    """Write to standard output, after the escape sequence `style`; on failure end the command."""
    try:
        sys.stdout.write(style + _clean(text, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        _discard(sys.stdout)
        raise ReaderGoneError from None
    except OSError as error:
        _discard(sys.stdout)
        raise CommandError(f"cannot write to standard output: {error.strerror}.") from None


def write_error(text: str, style: str = "") -> None:
    """Write to standard error, as `write` does, but ignore errors."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(style + _clean(text, sys.stderr))
        sys.stderr.flush()
    except OSError:
        _discard(sys.stderr)


def _clean(text: str, stream: TextIO) -> str:
    return text.translate(_CONTROLS) if is_terminal(stream) else text


def finish() -> None:
    """Flush the output, so that the interpreter does not fail to do so and print an error."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            _discard(stream)


def _discard(stream: TextIO) -> None:
    """Redirect a stream, with what it still has buffered, to the null device."""
    with contextlib.suppress(OSError):  # a stream in memory has no descriptor
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def write_json(value: object) -> None:
    """Write a value as JSON; dataclasses with the fields that their repr shows."""
    is_unicode = (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    write(json.dumps(value, indent=2, ensure_ascii=not is_unicode, default=_encode) + "\n")


def _encode(value: Any) -> object:
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value) if each.repr}
    if isinstance(value, datetime):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else str(value)


def format_table(rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Return rows as lines with aligned columns; those with the indices `right` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)


def format_usd(value: Decimal | None) -> str:
    """Return an amount with two to six decimals; an empty text for `None`."""
    if value is None:
        return ""
    dollars, _, decimals = f"{value:,.6f}".partition(".")
    return f"${dollars}.{decimals.rstrip('0').ljust(2, '0')}"
