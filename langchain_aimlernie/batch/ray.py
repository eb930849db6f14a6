"""Batches on Ray Data: what runs in each actor. Ray itself is not imported, nor a dependency."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import Runnable

from langchain_aimlernie.batch.rows import is_blank, key_of
from langchain_aimlernie.batch.run import BatchRun
from langchain_aimlernie.spend.amounts import check_limit


class RayBatch:
    """Runs the rows of a Ray dataset, for `ds.map_batches`, each batch with a `BatchRun`.

    ```python
    ds.map_batches(
        RayBatch,
        fn_constructor_kwargs={"runnable": make_model, "journal": "/shared/run-1", "actors": 4},
        compute=ray.data.ActorPoolStrategy(size=4),
        batch_size=256,
    )
    ```

    The result has the columns of the dataset and these, none of them ever null: `response_text`,
    `response_parsed` and `response_body` (JSON), `status_code` (0 without a response),
    `error_code` and `error_message` (empty for success), `usd` and `credits` (decimal numbers as
    text), `inference_id`, `client_request_id`, `input_tokens`, `output_tokens`. A row that fails
    has an error; nothing is raised for it, nor for a budget that is spent or a key that is refused.

    Ray runs a batch again whose actor was killed. Each batch has its own file in `journal`, named
    after its content, so that only the calls that were in flight are paid for twice.

    Args:
        runnable: A `ChatAimlErnie` or another runnable, or a function that makes one in the actor.
        journal: A directory that all actors can write to, one for each job.
        actors: The number of actors, at least 1: budget, rates and calls in flight are those of
            the whole job, and each actor has its share.
        template: The prompt, with the names of columns in braces; by default, the column `prompt`.
        system: The system message.
        schema: As for `BatchRun`.
        limit_usd: As for `BatchRun`.
        max_in_flight: As for `BatchRun`.
        rpm: As for `BatchRun`.
        tpm: As for `BatchRun`.

    Raises:
        ValueError: An argument is invalid.
    """

    def __init__(  # noqa: PLR0913  all but three are optional, by name
        self,
        runnable: Runnable[Any, Any] | Callable[[], Runnable[Any, Any]],
        journal: str | Path,
        actors: int,
        *,
        template: str = "{prompt}",
        system: str | None = None,
        schema: Any = None,
        limit_usd: Decimal | float | str | None = None,
        max_in_flight: int = 64,
        rpm: float | None = None,
        tpm: float | None = None,
    ) -> None:
        if actors < 1:
            raise ValueError(f"actors must be at least 1; got {actors!r}.")
        self._directory = Path(journal)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._template = PromptTemplate.from_template(template)
        self._system = system
        self._run = BatchRun(
            runnable if isinstance(runnable, Runnable) else runnable(),
            self._directory / "unused.jsonl",
            schema=schema,
            limit_usd=limit_usd,
            max_in_flight=max(1, max_in_flight // actors),
            rpm=None if rpm is None else rpm / actors,
            tpm=None if tpm is None else tpm / actors,
            retry_failed="all",
        )
        limit = check_limit(limit_usd, "limit_usd")
        self._budget = None if limit is None else limit / actors
        self._spent = Decimal(0)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
        """Run the rows of a batch.

        Args:
            batch: The columns.

        Returns:
            The columns, with those that the class describes.
        """
        columns = {name: [*values] for name, values in batch.items()}
        count = len(next(iter(columns.values()), ()))
        try:
            rows = [row for place in range(count) if (row := self._row(columns, place))]
            found, problem = self._run_rows(rows)
        except Exception as error:  # noqa: BLE001  Ray would run the batch again, and pay again
            found, problem = {}, error
        problem = problem or ValueError("A column of the prompt has no value in this row.")
        results = [_result(found.get(str(place)), problem) for place in range(count)]
        added = {name: [result[name] for result in results] for name in _result(None, None)}
        return {**batch, **added}

    def _row(self, columns: Mapping[str, list[Any]], place: int) -> dict[str, Any] | None:
        """Return the row at this place; `None` if the prompt lacks a value: null, NaN, or blank."""
        values = {name: _plain(columns[name][place]) for name in self._template.input_variables}
        if any(value is None or (value == value) is not True for value in values.values()):  # noqa: PLR0124
            return None  # the second is NaN and pandas' NA
        if values and is_blank(values.values()):
            return None
        messages = [{"role": "user", "content": self._template.template.format_map(values)}]
        if self._system is not None:
            messages.insert(0, {"role": "system", "content": self._system})
        return {"custom_id": str(place), "messages": messages}

    def _run_rows(
        self, rows: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, dict[str, Any]], Exception | None]:
        """Return the lines of the rows by id, and why there are not all."""
        name = hashlib.sha256(key_of(rows).encode()).hexdigest()[:32]
        out = self._directory / f"{name}.jsonl"
        left = None if self._budget is None else max(Decimal(0), self._budget - self._spent)
        run = self._run.with_output(out, left)
        problem: Exception | None = None
        try:
            run.run(rows)
        except Exception as error:  # noqa: BLE001  it goes into the rows that are not done
            problem = error
        self._spent += run.report.total_usd
        if run.report.stopped is not None:
            problem = RuntimeError(f"The run was stopped: {run.report.stopped}.")
        return {line["custom_id"]: line for line in run.results()}, problem


def _plain(value: Any) -> Any:
    """Return a value of numpy as Python's, and text that Parquet has as bytes as text."""
    if isinstance(value, bytes):
        return value.decode()
    return value.tolist() if hasattr(value, "tolist") else value


def _result(line: Mapping[str, Any] | None, problem: Exception | None) -> dict[str, Any]:
    """Return the added columns of a row; those of which nothing is known are empty or 0."""
    if line is None:
        line = {"error": {"code": type(problem).__name__, "message": str(problem)}}
    response, facts = line.get("response") or {}, line.get("aimlernie") or {}
    body = response.get("body") or {}
    choice = (body.get("choices") or [{}])[0]
    error = line["error"] or body.get("error") or {}
    usage, parsed = body.get("usage") or {}, facts.get("parsed")
    return {
        "response_text": _text((choice.get("message") or {}).get("content")),
        "response_parsed": "" if parsed is None else json.dumps(parsed),
        "response_body": json.dumps(body) if body else "",
        "status_code": response.get("status_code") or 0,
        "error_code": _text(error.get("code") or error.get("type")),
        "error_message": _text(error.get("message")),
        "usd": facts.get("usd") or "0",
        "credits": facts.get("credits") or "0",
        "inference_id": facts.get("inference_id") or "",
        "client_request_id": facts.get("client_request_id") or "",
        "input_tokens": usage.get("prompt_tokens") or 0,
        "output_tokens": usage.get("completion_tokens") or 0,
    }


def _text(value: object) -> str:
    return "" if value is None else str(value)
