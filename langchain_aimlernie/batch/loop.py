"""The loop of a batch: what is sent when, and what becomes of each result."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from decimal import Decimal
from typing import Any, Literal
from uuid import uuid4

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import AIMessage

from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie.batch.caller import Caller, Outcome
from langchain_aimlernie.batch.journal import Index, Journal
from langchain_aimlernie.batch.lines import OUTPUT_PARSING_FAILED, Job, from_completion, to_json
from langchain_aimlernie.batch.pace import Pace
from langchain_aimlernie.batch.report import BatchReport
from langchain_aimlernie.errors import (
    AimlErnieError,
    APIConnectionError,
    AuthenticationError,
    BudgetExceededError,
    InsufficientCreditsError,
    PermissionDeniedError,
    RateLimitError,
)
from langchain_aimlernie.spend import SpendTracker

RetryFailed = Literal["none", "transient", "all"]

_PATIENCE = 600.0
"""Seconds without any success after which a row that is rejected again and again has failed."""

_FOREVER = float("inf")
_MAX_WAITING = 1_000
"""Rows that wait for another attempt before no new ones are read."""

_MAX_AT_ONCE = 500
"""Rows that are read, and found to be done, before other tasks get their turn."""

_BUSY = frozenset({429, 503})
"""Statuses by which a server says that it has too much to do."""


class RunLoop:
    """One run of a batch, within the budget of `tracker` and with an open journal."""

    def __init__(  # noqa: PLR0913, PLR0917  the parts of a run
        self,
        caller: Caller,
        journal: Journal,
        tracker: SpendTracker | None,
        pace: Pace,
        report: BatchReport,
        on_progress: Callable[[BatchReport], object] | None,
    ) -> None:
        self._caller = caller
        self._journal = journal
        self._callbacks: list[BaseCallbackHandler] = [] if tracker is None else [tracker]
        self._pace = pace
        self._report = report
        self._on_progress = on_progress
        self._run_id = f"{int(time.time()):x}{uuid4().hex[:6]}"
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[tuple[float, int, Job]] = []
        # The last call that ended was not allowed by the budget: the next one waits for another to
        # end, which may have reserved more than it cost.
        self._is_over_budget = False
        self._changed = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._is_stopping = False
        self._interrupts = 0
        self._has_lost = False
        self._fatal: BaseException | None = None
        self._last_success = time.monotonic()

    def interrupt(self) -> None:
        """Start nothing new; at the second time, cancel what is in flight. For signal handlers."""
        self._interrupts += 1
        self._loop.call_soon_threadsafe(self._on_interrupt, self._interrupts)

    def _on_interrupt(self, number: int) -> None:
        self._stop("interrupt")
        if number > 1:
            for task in self._tasks:
                task.cancel()

    async def run(
        self, rows: Iterable[Any] | AsyncIterable[Any], retry_failed: RetryFailed
    ) -> None:
        """Run the rows that are not done."""
        started = time.monotonic()
        self._started = time.time()
        syncing = asyncio.create_task(self._journal.sync_each_second())
        source = _Source(rows, self._changed)
        try:
            self._check_all(rows)
            self._parse_again()
            await self._run_rows(source, retry_failed)
        finally:
            for task in (syncing, *self._tasks):
                task.cancel()
            await asyncio.gather(syncing, *self._tasks, return_exceptions=True)
            await source.close()
            if source.count:
                await self._find_lost()
            unsaved = self._journal.save_rest()
            remaining = self._journal.drop_solved_errors()
            report = self._report
            report.failed_before = max(0, remaining - report.failed)
            report.total_usd = self._journal.usd + report.usd
            report.seconds = time.monotonic() - started
        if self._fatal is not None:
            if unsaved:
                self._fatal.add_note(unsaved)
            raise self._fatal

    async def _find_lost(self) -> None:
        """Add up what the provider's log has of this batch and the output lacks."""
        is_new = self._journal.started is None
        has_log = self._caller.has_log or self._journal.has_log
        if not has_log or (is_new and not self._has_lost):
            return
        start = self._journal.started or self._started
        with contextlib.suppress(AimlErnieError, ValueError):
            lost: dict[str, Decimal] = {}
            async for request_id, usd in self._caller.paid_since(start):
                if self._journal.is_of_batch(request_id):
                    lost[request_id] = lost.get(request_id, Decimal(0)) + usd
            for request_id in self._journal.request_ids():
                lost.pop(request_id, None)
            self._report.unsaved_usd = sum(lost.values(), Decimal(0))

    def _check_all(self, rows: object) -> None:
        """Find invalid rows and duplicates before anything is sent, if `rows` can be read twice."""
        if not isinstance(rows, Iterable) or isinstance(rows, Iterator):
            return
        count = 0
        with contextlib.closing(Index()) as index:
            for count, item in enumerate(rows, 1):
                row = self._caller.read(item, count - 1)
                index.see(row)
                self._journal.check(row)
        self._report.rows = count

    def _parse_again(self) -> None:
        """Parse the completions that did not match the schema once more, offline."""
        for line, _ in self._journal.remaining_errors():
            if (line["error"] or {}).get("code") != OUTPUT_PARSING_FAILED:
                continue
            with contextlib.suppress(ValueError, AimlErnieError):
                parsed = to_json(self._caller.parse(from_completion(line["response"]["body"])))
                facts = {**line["aimlernie"], "parsed": parsed}
                self._journal.add({**line, "error": None, "aimlernie": facts})

    async def _run_rows(self, source: _Source, retry_failed: RetryFailed) -> None:
        while True:
            self._changed.clear()
            if self._is_over_budget and not self._tasks:
                self._stop("budget")
            delay = _FOREVER if self._is_over_budget else self._pace.wait(len(self._tasks))
            if delay == 0 and not self._is_stopping:
                try:
                    job = self._next_job(source, retry_failed)
                except BaseException as error:  # noqa: BLE001  raised when what is in flight is saved
                    self._fatal = error
                    self._is_stopping = True
                    continue
                if job is not None:
                    self._start(job)
                    continue
            is_over = self._is_stopping or (source.is_exhausted and not self._waiting)
            if is_over and not self._tasks:
                return
            if delay == 0 and self._waiting and not self._is_stopping:
                delay = max(0.001, self._waiting[0][0] - time.monotonic())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay if 0 < delay < _FOREVER else None):
                    await self._changed.wait()

    def _next_job(self, source: _Source, retry_failed: RetryFailed) -> Job | None:
        """Return a job that may start now, if there is one."""
        if self._waiting and self._waiting[0][0] <= time.monotonic():
            return heapq.heappop(self._waiting)[2]
        if len(self._waiting) >= _MAX_WAITING:
            return None
        for item in source.ready():
            row = self._caller.read(item, source.count - 1)
            state = self._journal.read(row)
            if state is None or (state != "done" and retry_failed in ("all", state)):
                line_id = f"batch_req_{self._run_id}-{row.number:08x}"
                return Job(row, line_id, RetryState(self._caller.max_retries))
            self._report.skipped += state == "done"
        if source.is_exhausted:
            self._report.rows = source.count
        return None

    def _start(self, job: Job) -> None:
        tokens = self._caller.tokens(job.row)[0] if self._pace.counts_tokens else 0
        self._pace.start(tokens)
        task = asyncio.create_task(self._work(job, tokens))
        self._tasks.add(task)
        task.add_done_callback(self._on_end)

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._changed.set()

    async def _work(self, job: Job, expected_tokens: int) -> None:
        job.attempts += 1
        job.client_request_id = f"{self._run_id}:{job.row.key[:16]}:{job.attempts}"
        window = self._pace.window
        try:
            try:
                outcome = await self._caller.call(job.row, job.client_request_id, self._callbacks)
            except Exception as error:  # noqa: BLE001  every one ends in the file of errors
                self._is_over_budget = isinstance(error, BudgetExceededError)
                self._failed(job, error, window)
            else:
                self._is_over_budget = False
                spend = outcome.spend
                self._pace.correct(spend.input_tokens + spend.output_tokens - expected_tokens)
                self._succeeded(job, outcome)
        except Exception as error:  # noqa: BLE001  the output, or the caller's `on_progress`
            self._fail(error)
        except asyncio.CancelledError:
            self._has_lost = True
            raise

    def _succeeded(self, job: Job, outcome: Outcome) -> None:
        self._pace.accepted()
        self._last_success = time.monotonic()
        report, spend = self._report, outcome.spend
        report.input_tokens += spend.input_tokens
        report.output_tokens += spend.output_tokens
        report.usd += spend.usd
        report.credits += spend.credits
        job.add(outcome)
        if outcome.error is not None:
            raw = outcome.output if isinstance(outcome.output, AIMessage) else None
            self._save_error(job, outcome.error, raw)
            return
        self._journal.add(job.success_line(outcome.output))
        report.succeeded += 1
        self._progress()

    def _failed(self, job: Job, error: Exception, window: int) -> None:
        """Try again, give the row up, or stop the run."""
        if isinstance(error, BudgetExceededError):
            job.attempts -= 1  # it was not sent
            self._wait(job, 0.0)
        elif isinstance(error, InsufficientCreditsError) or _is_used_up(error):
            self._stop("credits")
        elif isinstance(error, AuthenticationError | PermissionDeniedError):
            self._fail(error)
        elif _is_busy(error) and time.monotonic() - self._last_success < _PATIENCE:
            job.rejections += 1
            retry_after = getattr(error, "retry_after", None)
            self._wait(job, self._pace.rejected(window, job.rejections, retry_after))
        else:
            delay = None
            if isinstance(error, AimlErnieError) and self._caller.max_retries:
                delay = job.retries.next_delay(error, left=_FOREVER, random=random.random)
            if delay is None:
                self._save_error(job, error)
            else:
                self._wait(job, delay)
            self._has_lost = self._has_lost or isinstance(error, APIConnectionError)

    def _save_error(self, job: Job, error: Exception, raw: AIMessage | None = None) -> None:
        self._journal.add(job.error_line(error, raw), failed=True)
        self._report.failed += 1
        self._progress()

    def _wait(self, job: Job, seconds: float) -> None:
        heapq.heappush(self._waiting, (time.monotonic() + seconds, job.row.number, job))

    def _progress(self) -> None:
        if self._on_progress is not None:
            self._on_progress(self._report)

    def _stop(self, reason: Literal["budget", "credits", "interrupt"]) -> None:
        self._is_stopping = True
        if self._report.stopped is None or reason == "interrupt":
            self._report.stopped = reason
        self._changed.set()

    def _fail(self, error: BaseException) -> None:
        self._is_stopping = True
        self._fatal = self._fatal or error
        self._changed.set()


def _is_busy(error: Exception) -> bool:
    """Return whether the server has rejected the call because it has too much to do."""
    response = getattr(error, "response", None)
    status = getattr(error, "status_code", None) or getattr(response, "status_code", None)
    is_rejection = status in _BUSY or isinstance(error, RateLimitError)
    return is_rejection and bool(getattr(error, "is_retryable", True))


def _is_used_up(error: Exception) -> bool:
    """Return whether a quota is used up, so that each further call would fail as well."""
    return isinstance(error, RateLimitError) and not error.is_retryable


class _Source:
    """The input, read one by one; `changed` is set when an async one has another row."""

    def __init__(self, rows: Iterable[Any] | AsyncIterable[Any], changed: asyncio.Event) -> None:
        self.count = 0
        self.is_exhausted = False
        self._changed = changed
        self._reading: asyncio.Task[Any] | None = None
        self._async = aiter(rows) if isinstance(rows, AsyncIterable) else None
        self._items = self._poll() if isinstance(rows, AsyncIterable) else iter(rows)

    def ready(self) -> Iterator[Any]:
        """Yield the rows that are there; at most some hundred, so that others get their turn."""
        for _ in range(_MAX_AT_ONCE):
            item = next(self._items, _END)
            if item is _END:
                self.is_exhausted = True
                return
            if item is _NOT_YET:
                return
            self.count += 1
            yield item
        self._changed.set()

    def _poll(self) -> Iterator[Any]:
        """Yield the rows of an async input, and `_NOT_YET` while the next one has not come."""
        item = None
        while self._async is not None and item is not _END:
            self._reading = asyncio.ensure_future(_read(self._async))
            self._reading.add_done_callback(lambda _: self._changed.set())
            while not self._reading.done():
                yield _NOT_YET
            item = self._reading.result()
            yield item

    async def close(self) -> None:
        """Stop reading."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        close = getattr(self._async, "aclose", None)
        if close is not None:
            await close()


async def _read(rows: AsyncIterator[Any]) -> Any:
    return await anext(rows, _END)


_END, _NOT_YET = object(), object()
