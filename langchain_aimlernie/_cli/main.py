"""The entry point of the command line."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING

from langchain_aimlernie._cli.arguments import parse_arguments
from langchain_aimlernie._cli.output import (
    FAILED,
    INTERRUPTED,
    CommandError,
    ReaderGoneError,
    check_output,
    finish,
    replace_unencodable,
    write_error,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: The arguments; `sys.argv[1:]` by default.

    Returns:
        The exit code: 0, 1 after an error, 2 for a usage error, 130 if interrupted. Errors are
        reported on stderr.
    """
    replace_unencodable()
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return _run(sys.argv[1:] if arguments is None else arguments)
    except CommandError as error:
        write_error(f"error: {error}\n")
        return error.code
    except KeyboardInterrupt:
        write_error("\n")
        return INTERRUPTED
    except ReaderGoneError:
        return 0
    except SystemExit as error:  # of argparse, or a signal
        return error.code if isinstance(error.code, int) else FAILED
    finally:
        finish()


def _run(arguments: Sequence[str]) -> int:
    is_batch = [*arguments[:1]] == ["batch"]
    options = None if is_batch else parse_arguments(arguments)
    check_output()
    from langchain_aimlernie._cli import commands  # noqa: PLC0415  it imports LangChain
    from langchain_aimlernie.errors import AimlErnieError  # noqa: PLC0415  likewise

    try:
        if options is None:
            from langchain_aimlernie._cli import batch  # noqa: PLC0415  likewise

            return batch.run(arguments[1:])
        return commands.run(options)
    except AimlErnieError as error:
        raise CommandError(str(error)) from None


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    write_error(f"warning: {message}\n")
