"""What a batch has done, or would do."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from langchain_aimlernie.spend.amounts import pluralize


@dataclass(slots=True)
class BatchReport:
    """The result of a run.

    Attributes:
        rows: Rows of the input; `None` until it has been read.
        succeeded: Rows that this run has completed.
        failed: Rows that failed in this run.
        skipped: Rows that an earlier run had completed.
        failed_before: Rows of earlier runs that are in the file of errors and were not run again.
        input_tokens: Tokens of the prompts of this run.
        output_tokens: Tokens of the completions of this run.
        usd: US dollars that this run has cost, as far as the responses state it.
        total_usd: The same for all runs on this output.
        credits: Credits of the AI/ML API that this run has cost.
        unsaved_usd: US dollars of calls of this batch that the provider's log has and the output
            lacks, because a run was killed or a response was lost; `None` if the log was not
            read.
        seconds: Time that the run took.
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
        """The command's exit code: 0, 2 with failed rows, 3 stopped by money, 130 by Ctrl-C."""
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


_STOPPED = {
    "budget": "stopped: the budget is spent; run again with a higher limit",
    "credits": "stopped: the account is out of credits; top up and run again",
    "interrupt": "interrupted; run again to continue",
}


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """What a run would do.

    Attributes:
        rows: Rows that would be sent.
        input_tokens: Estimated tokens of their prompts.
        output_tokens: Assumed tokens of their completions: `max_tokens`, or 500 a row.
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
