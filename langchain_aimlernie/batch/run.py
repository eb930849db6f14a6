"""`BatchRun`: runs many rows through a chat model or another runnable, and saves every result."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
import signal
import threading
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, Self

from langchain_core.runnables import Runnable

from langchain_aimlernie._imports import is_loop_running
from langchain_aimlernie.batch.caller import caller_of
from langchain_aimlernie.batch.journal import Journal
from langchain_aimlernie.batch.lines import RetryFailed
from langchain_aimlernie.batch.loop import RunLoop
from langchain_aimlernie.batch.pace import Pace
from langchain_aimlernie.batch.rows import BatchError, check_input
from langchain_aimlernie.spend import SpendTracker
from langchain_aimlernie.spend.amounts import check_choice, check_limit, pluralize

Rows = Iterable[Any] | AsyncIterable[Any]

_STOPPED = {
    "budget": "stopped: the budget is spent; run again with a higher limit",
    "credits": "stopped: the account is out of credits; top up and run again",
    "interrupt": "interrupted; run again to continue",
}


@dataclass(slots=True)
class BatchReport:
    """The result of a run.

    Attributes:
        rows: Rows of the input; `None` until it has been read.
        succeeded: Rows that this run has completed.
        failed: Rows that failed in this run.
        skipped: Rows that an earlier run completed.
        failed_before: Rows of earlier runs that are in the file of errors and were not run again.
        input_tokens: Tokens of the prompts of this run.
        output_tokens: Tokens of the completions of this run.
        usd: Cost of this run in US dollars, as far as the responses state it.
        total_usd: The same for all runs on this output.
        credits: Cost of this run in credits of the AI/ML API.
        unsaved_usd: Cost in US dollars of calls of this batch that are in the provider's log, but
            not in the output, because a run was killed or a response was lost; `None` if the log
            was not read. The log may lack the latest calls: the next run reports their cost.
        seconds: Duration of the run.
        stopped: Why it ended early: the budget, missing credits, an interrupt; `None` if it did
            not.
    """

    rows: int | None = None
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0
    failed_before: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    usd: Decimal = Decimal(0)
    total_usd: Decimal = Decimal(0)
    credits: Decimal = Decimal(0)
    unsaved_usd: Decimal | None = None
    seconds: float = 0.0
    stopped: Literal["budget", "credits", "interrupt"] | None = None

    @property
    def exit_code(self) -> int:
        """The command's exit code: 0; 2 failed rows; 3 budget or credits exhausted; 130 Ctrl-C."""
        if self.stopped is not None:
            return 130 if self.stopped == "interrupt" else 3
        return 2 if self.failed or self.failed_before else 0

    def __str__(self) -> str:
        parts = [f"{pluralize(self.succeeded, 'row')} done", f"{self.failed:,} failed"]
        if self.skipped:
            parts.append(f"{self.skipped:,} done before")
        if self.failed_before:
            parts.append(f"{self.failed_before:,} failed before")
        parts.append(f"{self.input_tokens:,} tokens in, {self.output_tokens:,} out")
        parts.append(f"${self.usd.normalize():f}")
        if self.total_usd != self.usd:
            parts.append(f"${self.total_usd.normalize():f} in all")
        if self.unsaved_usd:
            parts.append(f"${self.unsaved_usd.normalize():f} paid for responses that were lost")
        parts.append(f"{self.seconds:.1f} s")
        if self.stopped is not None:
            parts.append(_STOPPED[self.stopped])
        return ", ".join(parts)


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """An estimate of a run.

    Attributes:
        rows: Rows that would be sent.
        input_tokens: Estimated tokens of their prompts.
        output_tokens: Assumed tokens of their completions: `max_tokens`, or 500 per row.
        usd: Estimated US dollars; `None` if the model's prices are not known.
    """

    rows: int
    input_tokens: int
    output_tokens: int
    usd: Decimal | None

    def __str__(self) -> str:
        cost = "$ unknown: no prices" if self.usd is None else f"about ${self.usd.normalize():f}"
        return (
            f"{pluralize(self.rows, 'row')}, about {self.input_tokens:,} tokens in, "
            f"{self.output_tokens:,} out, {cost}"
        )


class BatchRun:
    """Runs many rows and appends each result to a file, so that nothing is lost or paid twice.

    A row is a prompt (`str`), messages, or a dict in one of these formats:

    - OpenAI's batch line: `{"custom_id", "method", "url", "body": {"messages": [...], ...}}`
    - `{"messages": [...]}` or `{"prompt": "..."}`, with parameters of the call, and a `custom_id`
    - for a runnable that is not a chat model: its input, as it is or as `{"input": ...}`; a
      `custom_id` is not part of it

    A run on the same output continues: rows that are done are not sent again.

    Args:
        runnable: What to run. The requests of a `ChatAimlErnie` get ids that name the row, and are
            retried here; any other runnable retries by itself.
        out: The output, JSON Lines in the format of OpenAI's batch output. Failed rows go to
            `NAME.errors.jsonl` beside `NAME.jsonl`.
        schema: Pydantic class, TypedDict, dataclass or JSON Schema of the completions, with a
            `ChatAimlErnie`: each line then has the object as `aimlernie.parsed`. A completion that
            does not match is an error with the completion, and is parsed again by the next run.
        limit_usd: Budget in US dollars of all runs on this output together.
        max_in_flight: Maximum number of concurrent calls, at least 1; the server may get fewer.
        rpm: Requests per minute, more than 0.
        tpm: Tokens per minute, prompts and completions, more than 0.
        retry_failed: Which rows in the file of errors are run again: "none", those whose error
            is "transient", or "all".
        on_progress: Called with the report so far after each row.

    Attributes:
        report: The report of the last run, even if it was interrupted.

    Raises:
        ValueError: An argument is invalid.
        ImportError: The extra `batch` is not installed.
    """

    def __init__(  # noqa: PLR0913  all but two are optional, by name
        self,
        runnable: Runnable[Any, Any],
        out: str | Path,
        *,
        schema: Any = None,
        limit_usd: Decimal | float | str | None = None,
        max_in_flight: int = 64,
        rpm: float | None = None,
        tpm: float | None = None,
        retry_failed: RetryFailed = "none",
        on_progress: Callable[[BatchReport], object] | None = None,
    ) -> None:
        if not (hasattr(max_in_flight, "__index__") and max_in_flight >= 1):
            raise ValueError(
                f"max_in_flight must be an integer of at least 1; got {max_in_flight!r}."
            )
        for name, rate in (("rpm", rpm), ("tpm", tpm)):
            if rate is not None and not (hasattr(rate, "__float__") and rate > 0):
                raise ValueError(f"{name} must be more than 0, or None; got {rate!r}.")
        self.report = BatchReport()
        self._out = Path(out)
        self._caller = caller_of(runnable, schema)
        self._limit_usd = check_limit(limit_usd, "limit_usd")
        self._pace = Pace(max_in_flight, rpm, tpm)  # also for the next run
        self._retry_failed = check_choice(
            retry_failed, ("none", "transient", "all"), "retry_failed"
        )
        self._on_progress = on_progress
        self._active: RunLoop | None = None

    def run(self, rows: Rows) -> BatchReport:
        """Run the rows that are not done yet.

        The first Ctrl-C, SIGTERM or SIGHUP starts nothing new and saves what is in flight, the
        second one cancels it; `KeyboardInterrupt` follows.

        Args:
            rows: The rows, any iterable, read as they are needed.

        Returns:
            The results in numbers, and their cost.

        Raises:
            BatchError: The input is invalid, a row occurs twice or has changed, or another run
                uses the output.
            AuthenticationError: The key is invalid. Rows that are done are saved.
            PermissionDeniedError: The key may not use the model. Rows that are done are saved.
            OSError: The output cannot be written.
        """
        with _on_interrupt(self._interrupt):
            if is_loop_running():  # as in a notebook
                with ThreadPoolExecutor(1) as thread:
                    report = thread.submit(asyncio.run, self.arun(rows)).result()
            else:
                report = asyncio.run(self.arun(rows))
        if report.stopped == "interrupt":
            raise KeyboardInterrupt
        return report

    async def arun(self, rows: Rows) -> BatchReport:
        """Run the rows that are not done yet; see `run`.

        Args:
            rows: The rows, any iterable, sync or async, read as they are needed.

        Returns:
            The results in numbers, and their cost.
        """
        check_input(rows)
        if self._active is not None:
            raise BatchError("This BatchRun is running already.")
        with contextlib.closing(Journal(self._out)) as journal:
            journal.open()
            self.report = BatchReport()
            limit = self._limit_usd
            budget = [] if limit is None else [SpendTracker(limit_usd=limit, spent_usd=journal.usd)]
            self._active = RunLoop(
                self._caller, journal, [*budget], self._pace, self.report, self._on_progress
            )
            try:
                await self._active.run(rows, self._retry_failed)
            finally:
                self._active = None
        return self.report

    def with_output(self, out: str | Path, limit_usd: Decimal | None) -> Self:
        """Return a run of the same runnable at the same pace with another output and budget."""
        other = copy.copy(self)
        other.report = BatchReport()
        other.__dict__.update(_out=Path(out), _limit_usd=limit_usd)
        return other

    def estimate(self, rows: Iterable[Any]) -> BatchEstimate:
        """Estimate the cost of the rows that are not done yet, without sending them.

        Completions are assumed to have `max_tokens`, or 500. Prices come from `list_models()`.

        Args:
            rows: The rows.

        Raises:
            BatchError: The input is invalid, or a row occurs twice or has changed.
        """
        check_input(rows)
        count = prompt = output = 0
        usd: Decimal | None = Decimal(0)
        with contextlib.closing(Journal(self._out)) as journal:
            journal.load()
            for number, item in enumerate(rows):
                row = self._caller.read(item, number)
                if not journal.read(row).is_due(self._retry_failed):
                    continue
                tokens = self._caller.tokens(row)
                price = self._caller.price(row, tokens)
                usd = None if usd is None or price is None else usd + price
                count, prompt, output = count + 1, prompt + tokens[0], output + tokens[1]
        return BatchEstimate(count, prompt, output, usd)

    def results(self, *, ordered: bool = False) -> Iterator[dict[str, Any]]:
        """Yield the lines of the rows that are done, then of those that failed.

        Args:
            ordered: Whether the order is that of the input; else as the rows were completed.

        Raises:
            BatchError: A file has an invalid line.
        """
        with contextlib.closing(Journal(self._out)) as journal:
            journal.load()
            yield from map(json.loads, journal.lines(ordered=ordered))

    def _interrupt(self, *_: object) -> None:
        if self._active is not None:
            self._active.interrupt()


@contextlib.contextmanager
def _on_interrupt(interrupt: Callable[..., None]) -> Iterator[None]:
    """Call `interrupt` at each Ctrl-C, SIGTERM or SIGHUP for which the program has no handler."""
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP")]
    handlers = {
        number: handler
        for number in filter(None, numbers)  # Windows has no SIGHUP, sent when the terminal closes
        if is_main and _is_default(handler := signal.getsignal(number))
    }
    for number in handlers:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def _is_default(handler: object) -> bool:
    """Whether a handler is Python's own, or `asyncio.run`'s, which would only cancel its task."""
    runner = getattr(getattr(handler, "func", None), "__self__", None)
    is_default = handler in (signal.default_int_handler, signal.SIG_DFL)
    return is_default or isinstance(runner, asyncio.Runner)
