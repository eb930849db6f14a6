"""The entry point of the command line, and its arguments."""

from __future__ import annotations

import argparse
import sys
import warnings
from difflib import get_close_matches
from typing import TYPE_CHECKING

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
from langchain_aimlernie._version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence


OPTIONS: dict[str | None, tuple[str, ...]] = {
    None: ("json", "model", "system", "temperature", "max_tokens", "no_reasoning"),
    "models": ("json",),
    "balance": ("json",),
    "usage": ("json", "period"),
    "doctor": ("json", "model"),
}
"""The options of each command besides `--local`; `None` is a prompt or a chat."""

_MIN_SIMILARITY = 0.8
"""For a misspelled command: two of five letters may be swapped.

The first letter must be right, else "match" and "watch" would be taken for "batch".
"""

_DEFAULT_PERIOD = "7d"
_EPILOG = """\
commands:
  models    list the models that the server has, with their prices
  balance   show the balance of the account, and the limit of the key
  usage     show what the key has spent (--period 24h, 7d, 30d)
  batch     run many prompts from a file: aimlernie batch in.jsonl -o out.jsonl; see batch --help
  doctor    make one call for each capability of a model, and compare it with the profile

Without a prompt a chat begins. Input from a pipe or a file is the prompt, or is added to it; the
prompt - reads standard input. Everything after -- is the prompt, whatever its first word.

environment:
  AIMLAPI_API_KEY    the key
  AIMLAPI_API_BASE   another server, such as http://localhost:8000/v1
  NO_COLOR           any value: no dim text

exit codes: 0, 1 after an error, 2 for a usage error, 130 if interrupted
"""


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
    options = parse_arguments(arguments)
    from langchain_aimlernie._cli import commands  # noqa: PLC0415  it imports LangChain
    from langchain_aimlernie.errors import AimlErnieError  # noqa: PLC0415  likewise

    try:
        if options is None:
            from langchain_aimlernie._cli import batch  # noqa: PLC0415  likewise

            rest = [*arguments]
            rest.remove("batch")
            return batch.run(rest)
        check_output()
        return commands.run(options)
    except AimlErnieError as error:
        raise CommandError(str(error)) from None


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    write_error(f"warning: {message}\n")


class Options(argparse.Namespace):
    """The parsed arguments; an option that was not given is `None` or `False`."""

    command: str | None = None  # a key of `OPTIONS`
    prompt: str | None = None
    model: str | None = None
    system: str | None = None
    temperature: float | None = None
    max_tokens: int | None = None
    period: str = _DEFAULT_PERIOD
    no_reasoning: bool = False
    json: bool = False
    local: bool = False


def parse_arguments(arguments: Sequence[str]) -> Options | None:
    """Return the options; `None` for the command `batch`, which has its own parser."""
    if arguments[:1] == ["batch"]:
        return None
    end = arguments.index("--") if "--" in arguments else len(arguments)
    parser = _build_parser()
    options, unknown = parser.parse_known_intermixed_args(arguments[:end], Options())
    words: list[str] = vars(options).pop("words", [])
    if words[:1] == ["batch"]:
        return None
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    literal = arguments[end + 1 :]
    command = words[0] if words and words[0] in OPTIONS else None
    if command and (len(words) > 1 or literal):
        parser.error(f"{command} takes no arguments; put -- before a prompt: -- {command} …")
    if not command and len(words) == 1 and not literal:
        first = words[0][:1].lower()
        candidates = [each for each in (*filter(None, OPTIONS), "batch") if each[0] == first]
        similar = get_close_matches(words[0], candidates, 1, _MIN_SIMILARITY)
        if similar:
            parser.error(f"did you mean {similar[0]}? Put -- before a prompt: -- {words[0]}")
    for name in vars(options).keys() - {*OPTIONS[command], "local"}:
        parser.error(f"--{name.replace('_', '-')} is not an option of {command or 'a prompt'}")
    options.command = command
    if not command and (words or end < len(arguments)):
        options.prompt = " ".join([*words, *literal])
    return options


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for the model, its parameters and the server."""
    add = parser.add_argument
    add("--model", help="the model's id (default: baidu/ernie-4.5-21b-a3b)")
    add("--temperature", type=float, help="0 to 2")
    add("--max-tokens", type=int, help="maximum tokens of a completion, reasoning included")
    add("--no-reasoning", action="store_true", help="hide reasoning; switch it off where possible")
    add("--local", action="store_true", help="use a local test server, without a key")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aimlernie",
        usage="aimlernie [options] [prompt ... | models | balance | usage | batch | doctor]",
        description="Ask an ERNIE model, or chat with it; the cost is shown after each response.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("words", nargs="*", default=[], metavar="prompt", help="what to ask")
    add("--version", action="version", version=f"%(prog)s {__version__}")
    add_model_options(parser)
    add("--system", help="instructions for the whole conversation")
    add("--json", action="store_true", help="print JSON: text, reasoning, usage, cost and ids")
    add("--period", help=f"time span of usage, in hours or days (default: {_DEFAULT_PERIOD})")
    return parser
