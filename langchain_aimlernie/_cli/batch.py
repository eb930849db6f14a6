"""The command `batch`: many prompts from a file."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_aimlernie._cli.commands import choose_server, create_model
from langchain_aimlernie._cli.main import Options, add_model_options
from langchain_aimlernie._cli.output import (
    FAILED,
    INTERRUPTED,
    CommandError,
    check_output,
    is_terminal,
    write,
    write_error,
)
from langchain_aimlernie.batch import BatchError, BatchReport, BatchRun, RowFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_EPILOG = """\
The input is JSON Lines, in OpenAI's batch format or with "prompt" or "messages" in each line, or
CSV with --template. A run on the same output continues where the last one stopped. Failed rows go
to NAME.errors.jsonl beside NAME.jsonl.

exit codes: 0 all rows succeeded; 1 the run was refused or failed; 2 some rows failed, now or in
earlier runs; 3 stopped by the budget or by missing credits; 130 interrupted. After 3 and 130, run
it again to continue.
"""


def run(arguments: Sequence[str]) -> int:
    """Run the command; return the exit code."""
    try:
        options = _build_parser().parse_args(arguments, Options())
    except SystemExit as error:
        return FAILED if error.code else 0  # 2 is for failed rows
    if options.input == "-":
        raise CommandError("the input must be a file: it is read twice.")
    if options.output in ("", "-"):
        raise CommandError("the output must be a file: the next run continues it.")
    try:
        rows = RowFile(options.input, options.template, options.system, options.shard)
        schema = None if options.schema is None else _read_schema(options.schema)
        with (
            choose_server(options, needs_key=not options.dry_run) as server,
            create_model(options, server) as llm,
            _progress(is_shown=not options.dry_run) as on_progress,
        ):
            batch = BatchRun(
                llm,
                options.output,
                schema=schema,
                limit_usd=options.limit_usd,
                max_in_flight=options.max_in_flight,
                rpm=options.rpm,
                tpm=options.tpm,
                retry_failed=options.retry_failed,
                on_progress=on_progress,
            )
            if options.dry_run:
                check_output()
                write(f"{batch.estimate(rows)}\n")
                return 0
            try:
                code = batch.run(rows).exit_code
            except KeyboardInterrupt:
                code = INTERRUPTED
    except (CommandError, ValueError, ImportError) as error:
        raise CommandError(str(error)) from None  # with code 1: 2 is for failed rows
    except OSError as error:
        notes = " ".join(getattr(error, "__notes__", ()))
        problem = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        raise CommandError(f"{problem}. {notes}".strip()) from None
    write_error(f"{batch.report}\n")
    return code


@contextlib.contextmanager
def _progress(*, is_shown: bool) -> Iterator[Callable[[BatchReport], None] | None]:
    """Yield a function that shows a run's progress; `None` if stderr is not a terminal."""
    if not (is_shown and is_terminal(sys.stderr)):
        yield None
        return
    from tqdm import tqdm  # noqa: PLC0415  of the extra `batch`

    with tqdm(unit="row", file=sys.stderr) as bar:

        def show(report: BatchReport) -> None:
            bar.total = report.rows  # the run has counted them
            done = report.succeeded + report.failed + report.skipped
            tokens = report.input_tokens + report.output_tokens
            bar.set_postfix_str(f"{tokens:,} tokens, ${report.usd:f}", refresh=False)
            bar.update(done - bar.n)

        yield show


def _read_schema(path: str) -> dict[str, Any]:
    try:
        schema = json.loads(Path(path).read_bytes())
    except (ValueError, RecursionError) as error:
        raise BatchError(f"{path}: invalid JSON: {error}.") from None
    if not isinstance(schema, dict):
        raise BatchError(f"{path}: a JSON Schema must be an object.")
    return schema


def _shard(text: str) -> tuple[int, int]:
    """Return the two numbers of `3/16`."""
    first, _, count = text.partition("/")
    if first.isdecimal() and count.isdecimal() and 1 <= int(first) <= int(count):
        return int(first), int(count)
    raise argparse.ArgumentTypeError(f"must be like 3/16, with 1 to 16 before the slash: {text}")


def _build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aimlernie batch",
        description="Run many prompts from a file, and save every response.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("input", help="the rows: JSON Lines, or CSV if the name ends in .csv")
    add("-o", "--output", required=True, metavar="OUT.jsonl", help="the file for the responses")
    add("--system", help="system message of each row that has none")
    add("--template", help="the prompt, with columns in braces: 'Summarise: {text}'")
    add("--schema", metavar="S.json", help="JSON Schema of the completions")
    add(
        "--max-in-flight",
        type=int,
        default=64,
        help="maximum number of concurrent calls (default: 64)",
    )
    add("--rpm", type=float, help="requests per minute")
    add("--tpm", type=float, help="tokens per minute")
    add("--limit-usd", help="budget in US dollars of all runs on this output")
    add(
        "--retry-failed",
        choices=("none", "transient", "all"),
        default="none",
        help="which failed rows of earlier runs to run again (default: none)",
    )
    add("--shard", type=_shard, default=(1, 1), metavar="I/N", help="only every N-th row, from I")
    add("--dry-run", action="store_true", help="print what it would cost; send nothing")
    add_model_options(parser)
    return parser
