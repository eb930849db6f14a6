"""The loop of a batch: sends each row when it may be sent, and saves or retries its result."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.exceptions import ModelAuthenticationError, ModelRateLimitError

from langchain_aimlernie._http.retry import FailureKind, RetryState, classify
from langchain_aimlernie._settings.values import is_default_host
from langchain_aimlernie.account import log_since
from langchain_aimlernie.batch.caller import Caller, Outcome
from langchain_aimlernie.batch.journal import Journal
from langchain_aimlernie.batch.lines import (
    OUTPUT_PARSING_FAILED,
    Job,
    RetryFailed,
    from_completion,
    status_of,
    to_json,
)
from langchain_aimlernie.batch.pace import Pace
from langchain_aimlernie.errors import (
    AimlErnieError,
    BudgetExceededError,
    InsufficientCreditsError,
    PermissionDeniedError,
)
from langchain_aimlernie.spend.amounts import CREDITS_PER_USD, ZERO

if TYPE_CHECKING:
    from langchain_aimlernie.batch.run import BatchReport

_PATIENCE = 600.0
"""Seconds without any success after which a row that is rejected again has failed."""

_FOREVER = float("inf")
_MAX_WAITING = 1_000
"""Maximum number of rows that wait for another attempt; then no new ones are read."""

_MAX_AT_ONCE = 500
"""Rows that are read without a break, if all are done, before other tasks can run."""


@dataclass(eq=False)
class RunLoop:
    """One run of a batch with an open journal.

    One task reads the input; each row has its own task, which makes the attempts.
    """

    caller: Caller
    journal: Journal
    callbacks: list[BaseCallbackHandler]
    pace: Pace
    report: BatchReport
    on_progress: Callable[[BatchReport], object] | None

    def __post_init__(self) -> None:
        self._started = time.time()
        # Contains the start of the first run, which the lines may lose when its rows run again.
        start = max(1, int(self.journal.started or self._started))  # a file may be older than 1970
        self._run_id = f"{self.journal.digest}{start:08x}{uuid4().hex[:6]}"
        self._loop = asyncio.get_running_loop()
        self._count = 0  # rows that were read
        self._rows: set[asyncio.Task[None]] = set()  # of the rows that have started
        self._slots = asyncio.Semaphore(self.pace.max_in_flight + _MAX_WAITING)  # for `_rows`
        self._idle: set[asyncio.Task[Any]] = set()  # the reader, and rows without a call
        self._in_flight = 0
        self._gate = asyncio.Lock()  # its holder is the next to send
        self._changed = asyncio.Event()  # a call has ended: `_delay` may have changed
        # The budget did not allow the last call that ended: the next one waits until another ends,
        # which may have reserved more than it cost.
        self._is_over_budget = False
        self._is_stopping = False
        self._has_lost = False
        self._fatal: BaseException | None = None
        self._last_success = time.monotonic()

    def interrupt(self) -> None:
        """Start nothing new; the second time, cancel calls in flight. For signal handlers."""
        self._loop.call_soon_threadsafe(self._on_interrupt)

    def _on_interrupt(self) -> None:
        if self.report.stopped == "interrupt":
            for task in self._rows | self._idle:
                task.cancel()
        self._stop("interrupt")

    async def run(
        self, rows: Iterable[Any] | AsyncIterable[Any], retry_failed: RetryFailed
    ) -> None:
        """Run the rows that are not done."""
        started = time.monotonic()
        syncing = asyncio.create_task(self.journal.sync_each_second())
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._idle.add(self._tasks.create_task(self._read_all(rows, retry_failed)))
        finally:
            syncing.cancel()
            await asyncio.gather(syncing, return_exceptions=True)
            report = self.report
            report.total_usd = self.journal.usd + report.usd
            await self._find_lost()
            unsaved = self.journal.save_rest()
            report.failed_before = max(0, self.journal.drop_solved_errors() - report.failed)
            report.seconds = time.monotonic() - started
        if self._fatal is not None:
            if unsaved:
                self._fatal.add_note(unsaved)
            raise self._fatal

    async def _find_lost(self) -> None:
        """Add up the cost of this batch that is in the provider's log, but not in the output."""
        model, start = self.caller.model, self.journal.started
        if model is None or not self._count or (start is None and not self._has_lost):
            return
        if not self.report.total_usd and not is_default_host(model.base_url):
            return  # a server without prices has no log
        since = datetime.fromtimestamp(start or self._started, UTC)
        lost: dict[str, Decimal] = defaultdict(Decimal)  # credits, by key
        with contextlib.suppress(AimlErnieError, ValueError):
            async for entry in log_since(model, since, is_async=True):
                run, _, call = (entry.client_request_id or "").partition(":")
                if run.startswith(self.journal.digest):
                    lost[call[:16]] += entry.cost.credits or 0
            # Only of rows here: an output on another machine may have the same path and digest.
            saved: dict[str, Decimal] = defaultdict(Decimal)  # credits, by key
            for key, amount in self.journal.credits():
                if key in lost:
                    saved[key] += amount
            total = sum(max(ZERO, lost[key] - amount) for key, amount in saved.items())
            self.report.unsaved_usd = Decimal(total) / CREDITS_PER_USD

    async def _read_all(
        self, rows: Iterable[Any] | AsyncIterable[Any], retry_failed: RetryFailed
    ) -> None:
        """Read the input, and start the rows that are to be run as soon as each may be sent."""
        try:
            await asyncio.sleep(0)  # until `_idle` has this task, also where tasks start eagerly
            self._check_all(rows)
            self._parse_again()
            async with contextlib.aclosing(_each(rows)) as items:
                async for item in items:
                    if self._is_stopping:
                        return  # the source ignored its cancellation
                    row = self.caller.read(item, self._count)
                    self._count += 1
                    past = self.journal.read(row)
                    if past.is_due(retry_failed):
                        line_id = f"batch_req_{self._run_id}-{row.number:08x}"
                        retries = RetryState(self.caller.max_retries)
                        await self._start(Job(row, line_id, retries, past.usd, past.credits))
                    else:
                        self.report.skipped += past.state == "done"
            self.report.rows = self._count
        except BaseException as error:  # noqa: BLE001  raised once the calls in flight are saved
            self._fail(error)

    def _check_all(self, rows: object) -> None:
        """Reject invalid rows and duplicates before any call, if `rows` can be read twice."""
        if not isinstance(rows, Iterable) or isinstance(rows, Iterator):
            return
        count = 0
        for count, item in enumerate(rows, 1):
            self.journal.read(self.caller.read(item, count - 1))
        self.journal.read_again()
        self.report.rows = count

    def _parse_again(self) -> None:
        """Parse again, offline, the completions that did not match the schema."""
        for line in map(json.loads, self.journal.lines(failed=True)):
            if (line["error"] or {}).get("code") != OUTPUT_PARSING_FAILED:
                continue
            # An edited line may have no completion.
            with contextlib.suppress(LookupError, TypeError, ValueError, AimlErnieError):
                parsed = to_json(self.caller.parse(from_completion(line["response"]["body"])))
                facts = {**line["aimlernie"], "parsed": parsed}
                self.journal.add({**line, "error": None, "aimlernie": facts})

    async def _start(self, job: Job) -> None:
        if self.pace.counts_tokens:
            job.tokens = self.caller.tokens(job.row)[0]
        await self._slots.acquire()
        await self._turn(job)
        self._rows.add(self._tasks.create_task(self._run_row(job)))

    async def _turn(self, job: Job) -> None:
        """Wait until the row may be sent, and count it as in flight."""
        async with self._gate:
            while delay := self._delay():
                if self._is_over_budget and not self._in_flight:
                    self._stop("budget")
                self._changed.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay if delay < _FOREVER else None):
                        await self._changed.wait()
            self._in_flight += 1
            self.pace.start(job.tokens)

    def _delay(self) -> float:
        """Return the seconds until a call may be sent; infinite while it must wait for another."""
        return _FOREVER if self._is_over_budget else self.pace.wait(self._in_flight)

    async def _run_row(self, job: Job) -> None:
        """Make the attempts of a row; the first may be sent now."""
        task: Any = asyncio.current_task()
        try:
            while (delay := await self._attempt(job)) is not None and not self._is_stopping:
                self._idle.add(task)
                await asyncio.sleep(delay)
                await self._turn(job)
                self._idle.discard(task)
        except BaseException as error:  # noqa: BLE001  of the output, or of the caller's code
            self._fail(error)
        finally:
            self._rows.discard(task)
            self._slots.release()

    async def _attempt(self, job: Job) -> float | None:
        """Make a call; return the seconds until the next attempt, or `None` if it was the last."""
        job.attempts += 1
        job.client_request_id = f"{self._run_id}:{job.row.key[:16]}:{job.attempts}"
        window = self.pace.window
        try:
            outcome = await self.caller.call(job.row, job.client_request_id, self.callbacks)
        except asyncio.CancelledError:
            task: Any = asyncio.current_task()
            if task.cancelling():
                self._has_lost = True
                raise
            return self._failed(job, RuntimeError("The call cancelled itself."), window)
        except Exception as error:  # noqa: BLE001  each is saved in the file of errors
            return self._failed(job, error, window)
        else:
            self._succeeded(job, outcome)
            return None
        finally:
            self._in_flight -= 1
            self._changed.set()

    def _succeeded(self, job: Job, outcome: Outcome) -> None:
        self._is_over_budget = False
        self.pace.accepted()
        self._last_success = time.monotonic()
        report, spend = self.report, outcome.spend
        self.pace.correct(spend.input_tokens + spend.output_tokens - job.tokens)
        report.input_tokens += spend.input_tokens
        report.output_tokens += spend.output_tokens
        report.usd += spend.usd
        report.credits += spend.credits
        job.add(outcome)
        self._save(job, outcome.output, outcome.error)

    def _failed(self, job: Job, error: Exception, window: int) -> float | None:
        """Return the seconds until the next attempt, or `None` if the row or the run failed."""
        self._is_over_budget = isinstance(error, BudgetExceededError)
        if self._is_over_budget:
            job.attempts -= 1  # it was not sent
            return 0.0
        is_used_up = _is_rate_limit(error) and not _may_pass(error)
        if is_used_up or isinstance(error, InsufficientCreditsError):
            self._stop("credits")
            return None
        is_key_invalid = status_of(error) == HTTPStatus.UNAUTHORIZED
        if is_key_invalid or isinstance(error, ModelAuthenticationError | PermissionDeniedError):
            self._fail(error)
            return None
        if _is_busy(error) and time.monotonic() - self._last_success < _PATIENCE:
            job.rejections += 1
            retry_after = getattr(error, "retry_after", None)  # of any type in other packages
            seconds = retry_after if isinstance(retry_after, int | float) else None
            return self.pace.rejected(window, job.rejections, seconds)
        delay = None
        if isinstance(error, AimlErnieError):
            if classify(error) is FailureKind.MAYBE_PROCESSED:
                self._has_lost = True
            if self.caller.max_retries:
                delay = job.retries.next_delay(error, left=_FOREVER, random=random.random)
        if delay is None:
            self._save(job, None, error)
        return delay

    def _save(self, job: Job, output: object, error: Exception | None) -> None:
        self.journal.add(job.line(output, error), failed=error is not None)
        self.report.succeeded += error is None
        self.report.failed += error is not None
        if self.on_progress is not None:
            self.on_progress(self.report)

    def _stop(self, reason: Literal["budget", "credits", "interrupt"] | None = None) -> None:
        """Start nothing new."""
        if reason == "interrupt" or self.report.stopped is None:
            self.report.stopped = reason
        if not self._is_stopping:  # once only: the source may be closing
            for task in self._idle:
                task.cancel()
        self._is_stopping = True

    def _fail(self, error: BaseException) -> None:
        """Start nothing new; the error is raised once the calls in flight are saved."""
        if isinstance(error, asyncio.CancelledError):
            task: Any = asyncio.current_task()
            if task.cancelling():
                raise error
            error = RuntimeError("The source of the rows, or on_progress, cancelled itself.")
        self._fatal = self._fatal or error
        self._stop()


def _is_busy(error: Exception) -> bool:
    """Whether the server has rejected the call because it is too busy."""
    is_rejection = status_of(error) == HTTPStatus.SERVICE_UNAVAILABLE or _is_rate_limit(error)
    return is_rejection and _may_pass(error)


def _is_rate_limit(error: Exception) -> bool:
    """Whether it is one by langchain-core's class, which not every package has, or by status."""
    is_status = status_of(error) == HTTPStatus.TOO_MANY_REQUESTS
    return is_status or isinstance(error, ModelRateLimitError)


def _may_pass(error: Exception) -> bool:
    is_used_up = getattr(error, "code", None) == "insufficient_quota"  # OpenAI's: no credits
    return not is_used_up and bool(getattr(error, "is_retryable", True))


async def _each(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncGenerator[Any, None]:
    """Yield the rows; let other tasks run, even if all rows are done already."""
    if not isinstance(rows, AsyncIterable):
        for number, item in enumerate(rows, 1):
            yield item
            if number % _MAX_AT_ONCE == 0:
                await asyncio.sleep(0)
        return
    items = aiter(rows)
    try:
        async for item in items:
            yield item
    finally:
        if (close := getattr(items, "aclose", None)) is not None:
            await close()
