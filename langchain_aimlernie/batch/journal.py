"""The output of a batch: two append-only files of lines in the form of OpenAI's batch files.

A line is written whole, in one write, before its row counts as done. What was written is on the
disk after a second at most. A file that a crash has left is cut to its last complete line.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from errno import ENOENT
from pathlib import Path
from typing import Any, Literal, Self, cast

from langchain_core.messages import AIMessage, convert_to_openai_messages
from pydantic_core import to_jsonable_python

from langchain_aimlernie._http.retry import RetryState
from langchain_aimlernie._response.completion import decode_completion
from langchain_aimlernie.batch.caller import Outcome
from langchain_aimlernie.batch.rows import BatchError, Row, duplicate, short_key
from langchain_aimlernie.errors import (
    APIConnectionError,
    APITimeoutError,
    BadRequestError,
    InvalidResponseError,
    StructuredOutputError,
)
from langchain_aimlernie.spend.amounts import parse_amount

OUTPUT_PARSING_FAILED = "output_parsing_failed"
_CODES = (
    (APITimeoutError, "timeout"),
    (APIConnectionError, "connection_error"),
    (StructuredOutputError, OUTPUT_PARSING_FAILED),
    (InvalidResponseError, "invalid_response"),
    (BadRequestError, "invalid_request"),
    (ValueError, "invalid_request"),
)
_TRANSIENT_CODES = {"timeout", "connection_error", "invalid_response"}
_TRANSIENT_STATUSES = {408, 425, 429, *range(500, 600)}

_START = b'{"id": "batch_req_'
"""The first bytes of every line."""

_FSYNC_SECONDS = 1.0
_LINE_ID = re.compile("batch_req_[0-9a-f]{22,}-[0-9a-f]+")
_START_TIME = slice(18, 26)
"""Where a line's id has the start of its run, after 8 digits that stand for the output."""

_REQUEST_ID = re.compile(r"\w+:([0-9a-f]{16}):\d+")
"""Run, key of the row, attempt: the parts of an `X-Client-Request-Id`."""


@dataclass(slots=True, eq=False)
class Job:
    """A row under way, and what is known of it; amounts are the sum over all attempts.

    Attributes:
        line_id: The id of its line.
        retries: Its retries, without those after a rejection.
        tokens: Tokens of its prompt, estimated if there is a limit of them.
        rejections: How often the server was too busy for it.
        attempts: Attempts so far.
        client_request_id: The `X-Client-Request-Id` of the last attempt.
        inference_id: The id of the response in the provider's log.
        usd: US dollars; `None` if no response stated a price.
        credits: The same in credits.
        paid_request_ids: The `X-Client-Request-Id` of each attempt whose price is in `usd`.
        parsed: The object of the schema.
    """

    row: Row
    line_id: str
    retries: RetryState
    tokens: int = 0
    rejections: int = 0
    attempts: int = 0
    client_request_id: str | None = None
    inference_id: str | None = None
    usd: Decimal | None = None
    credits: Decimal | None = None
    paid_request_ids: Sequence[str | None] = ()
    parsed: Any = None

    def add(self, outcome: Outcome) -> None:
        """Add what a response states."""
        spend = outcome.spend
        if spend.calls > spend.unpriced:
            self.usd = (self.usd or Decimal(0)) + spend.usd
            self.credits = (self.credits or Decimal(0)) + spend.credits
            self.paid_request_ids = [*self.paid_request_ids, self.client_request_id]
        if isinstance(outcome.output, AIMessage):
            metadata = outcome.output.response_metadata
            self.inference_id = metadata.get("inference_id") or self.inference_id
        self.parsed = outcome.parsed

    def line(self, output: object, error: Exception | None = None) -> dict[str, Any]:
        """Return the line of the row: its output, or its error with the message that it is about.

        An HTTP error is a response, as in OpenAI's files; any other is an `error`.
        """
        status = getattr(error, "status_code", None)
        request_id, body = self.inference_id, None
        if isinstance(output, AIMessage):
            request_id = output.response_metadata.get("request_id") or request_id
            status, body = 200, to_completion(output)
        elif error is None:
            status, body = 200, {"output": to_json(output)}
        elif isinstance(status, int) and status >= 400:  # noqa: PLR2004  errors of HTTP
            request_id = to_json(getattr(error, "request_id", None))
            details = {
                "message": _text(getattr(error, "message", error)),
                "type": type(error).__name__,
                "param": None,
                "code": to_json(getattr(error, "code", None)),
            }
            body, error = {"error": details}, None
        response = {"status_code": status, "request_id": request_id or "", "body": body}
        paid = self.paid_request_ids
        return {
            "id": self.line_id,
            "custom_id": self.row.custom_id,
            "response": response if body else None,
            "error": None if error is None else {"code": _code_of(error), "message": _text(error)},
            "aimlernie": {
                "key": self.row.key,
                "usd": None if self.usd is None else f"{self.usd:f}",
                "credits": None if self.credits is None else f"{self.credits:f}",
                "inference_id": self.inference_id,
                "client_request_id": self.client_request_id,
                "attempts": self.attempts,
                "parsed": to_json(self.parsed),
                **({"paid_request_ids": paid} if {*paid} - {self.client_request_id} else {}),
            },
        }


def paid_request_ids(facts: Mapping[str, Any]) -> Sequence[str | None]:
    """Return the ids of the calls whose price is in the `usd` of a line's `aimlernie`."""
    last = () if facts.get("usd") is None else (facts.get("client_request_id"),)
    return cast("Sequence[str | None]", facts.get("paid_request_ids", last))


def _code_of(error: Exception) -> str:
    found = (code for kind, code in _CODES if isinstance(error, kind))
    return next(found, type(error).__name__)


def to_completion(message: AIMessage) -> dict[str, Any]:
    """Return a message as a chat completion in the API's form."""
    facts = message.response_metadata
    wire: dict[str, Any] = {**_to_openai(message), "role": "assistant"}
    wire.setdefault("content", None)
    for name in ("reasoning_content", "refusal"):
        if message.additional_kwargs.get(name):
            wire[name] = message.additional_kwargs[name]
    for call in message.invalid_tool_calls:
        function = {"name": call["name"], "arguments": call["args"]}
        wire.setdefault("tool_calls", []).append(
            {"id": call["id"], "type": "function", "function": function}
        )
    choice = {
        "index": 0,
        "message": wire,
        "finish_reason": facts.get("finish_reason"),
        "logprobs": facts.get("logprobs"),
    }
    spent = {name: facts[name] for name in ("credits_used", "usd_spent") if name in facts}
    completion = {
        "id": facts.get("id") or message.id or "",
        "object": "chat.completion",
        "created": facts.get("created") or 0,
        "model": facts.get("model_name") or "",
        "choices": [choice],
        "usage": facts.get("token_usage"),
        **({"meta": {"usage": spent}} if spent else {}),
    }
    return {name: to_json(value) for name, value in completion.items()}


def _to_openai(message: AIMessage) -> dict[str, Any]:
    try:
        return convert_to_openai_messages(message)
    except Exception:  # noqa: BLE001  content of another model, which was paid for, too
        calls = [
            {**call, "args": {name: to_json(value) for name, value in call["args"].items()}}
            for call in message.tool_calls
        ]
        plain = message.model_copy(update={"content": "", "tool_calls": calls})
        return {**convert_to_openai_messages(plain), "content": to_json(message.content)}


def from_completion(body: Mapping[str, Any]) -> AIMessage:
    """Return the message of a chat completion that `to_completion` has made."""
    result = decode_completion(json.dumps(body).encode(), {}, model=str(body.get("model")))
    return cast("AIMessage", result.generations[0].message)


def to_json(value: object) -> Any:
    """Return a value as JSON; what has no form in JSON becomes its `str`."""
    try:
        return to_jsonable_python(value, fallback=_text, inf_nan_mode="null")
    except Exception:  # noqa: BLE001  bytes, cycles, depth: the result is saved nevertheless
        return _text(value)


def _text(value: object) -> str:
    try:
        return str(value)
    except Exception:  # noqa: BLE001  of the caller's own method
        return f"<{type(value).__name__}>"


class Journal:
    """The output of one batch, locked against other runs while it is open.

    Args:
        out: The file of the rows that succeeded.

    Attributes:
        usd: US dollars that the rows in the files have cost.
        started: When the first run on this output began, in seconds since the epoch; `None` if
            this is the first.
        has_log: Whether a response had an inference id, so that the server may keep a log.
        digest: 8 digits that stand for the file, with which the ids of its runs begin.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.errors = errors_path(out)
        for path in (out, self.errors):  # to open a pipe would wait for its reader
            if path.exists() and not path.is_file():
                raise BatchError(f"{path} is not a regular file.")
        self.digest = hashlib.sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:8]
        self.usd = Decimal(0)
        self.started: float | None = None
        self.has_log = False
        self._files: dict[Path, int] = {}
        self._last: dict[Path, int] = {}  # where the last complete line begins
        self._failed: dict[str, int] = {}  # rows without success: where the last error begins
        self._unsaved: list[tuple[Path, Mapping[str, Any]]] = []

    def load(self) -> None:
        """Read the files, without a change."""
        # What is known of each row; a million of them take some 60 MB.
        self._database = sqlite3.connect(":memory:")
        self._database.execute(
            "CREATE TABLE rows (id TEXT PRIMARY KEY, key BLOB, state TEXT, seen INT) WITHOUT ROWID"
        )
        times = [path.stat().st_mtime for path in (self.errors, self.out) if path.exists()]
        for path in (self.errors, self.out):
            for line, at in read_lines(path):
                before = self.last_failure(line["custom_id"])  # its amounts are in the line's
                for facts, sign in ((line["aimlernie"], 1), (before, -1)):
                    self.usd += sign * (parse_amount(facts.get("usd")) or 0)
                times = [min(int(line["id"][_START_TIME], 16), *times)]
                self._note(path, line, at)
                self._last[path] = at
        self.started = min(times, default=None)

    def __enter__(self) -> Self:
        """Lock, read and open the files."""
        if not self.out.parent.is_dir():
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(self.out.parent))
        self._lock = _lock(self.out)
        try:
            self.load()
            for path in (self.errors, self.out):
                self._files[path] = _open(path)
                last = self._last.get(path)
                os.ftruncate(
                    self._files[path], 0 if last is None else last + len(line_at(path, last))
                )
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self._files.values():
            with contextlib.suppress(OSError):
                os.fsync(descriptor)
            os.close(descriptor)
        self._files.clear()
        self.close()
        self._lock.release()

    def close(self) -> None:
        """Free what `load` has read."""
        self._database.close()

    def read(self, row: Row) -> State | None:
        """Return the state of the next row of the input, if it is known.

        Raises:
            BatchError: The row is a duplicate, or has changed since it was run.
        """
        key, custom_id = short_key(row.key), _storable(row.custom_id)
        found = self._database.execute(
            "SELECT key, state, seen FROM rows WHERE id = ?", (custom_id,)
        )
        known_key, state, is_seen = found.fetchone() or (key, None, 0)
        if is_seen:
            raise duplicate(row)
        if known_key != key:
            raise BatchError(
                f"The row {row.custom_id!r} has changed since it was run for {self.out}: its "
                "messages, parameters, model or schema. Use another output file or custom_id."
            )
        self._database.execute(
            "INSERT INTO rows VALUES (?, ?, NULL, 1) ON CONFLICT (id) DO UPDATE SET seen = 1",
            (custom_id, key),
        )
        return cast("State | None", state)

    def forget_input(self) -> None:
        """Forget which rows `read` has had: the input will be read once more."""
        self._database.execute("DELETE FROM rows WHERE state IS NULL")
        self._database.execute("UPDATE rows SET seen = 0")

    def add(self, line: Mapping[str, Any], *, failed: bool = False) -> None:
        """Write the line of a row; if that fails, keep it for `save_rest`."""
        path = self.errors if failed else self.out
        try:
            self._write(path, line)
        except OSError:
            self._unsaved.append((path, line))
            raise

    def _write(self, path: Path, line: Mapping[str, Any]) -> None:
        self._note(path, line, _write_whole(self._files[path], encode_line(line)))

    def _note(self, path: Path, line: Mapping[str, Any], at: int) -> None:
        """Remember what a line says, and where it begins."""
        custom_id, facts = line["custom_id"], line["aimlernie"]
        self.has_log = self.has_log or bool(facts.get("inference_id"))
        if path == self.out:
            state = "done"
            self._failed.pop(custom_id, None)
        else:
            state = _failure(line)
            self._failed[custom_id] = at
        self._database.execute(
            "INSERT INTO rows VALUES (?, ?, ?, 0)"
            " ON CONFLICT (id) DO UPDATE SET key = excluded.key, state = excluded.state",
            (_storable(custom_id), short_key(facts["key"]), state),
        )

    def is_of_batch(self, request_id: str) -> bool:
        """Return whether an `X-Client-Request-Id` is that of a row of a run on this output."""
        match = _REQUEST_ID.fullmatch(request_id)
        if match is None or not request_id.startswith(self.digest):
            return False
        self._database.execute("CREATE INDEX IF NOT EXISTS keys ON rows (key)")
        key = short_key(match[1])
        found = self._database.execute("SELECT 1 FROM rows WHERE key = ?", (key,))
        return found.fetchone() is not None

    def request_ids(self) -> Iterator[str | None]:
        """Yield the `X-Client-Request-Id` of each call whose price is in the output."""
        for path in (self.out, self.errors):
            for line, _ in read_lines(path):
                yield from paid_request_ids(line["aimlernie"])

    def save_rest(self) -> str:
        """Write the lines that could not be written before; return what to tell the user."""
        rest = self._unsaved
        try:
            while rest:
                self._write(*rest[0])
                del rest[0]
        except OSError:
            return " ".join(_rescue(path, rest) for path in (self.out, self.errors)).strip()
        return ""

    async def sync_each_second(self) -> None:
        """Write what is in the operating system's buffers to the disk, again and again."""
        while True:
            await asyncio.sleep(_FSYNC_SECONDS)
            for descriptor in self._files.values():
                await asyncio.to_thread(os.fsync, descriptor)

    def remaining_errors(self) -> Iterator[dict[str, Any]]:
        """Yield the last error of each row that has not succeeded."""
        for at in sorted(self._failed.values()):
            yield json.loads(line_at(self.errors, at))

    def last_failure(self, custom_id: str) -> Mapping[str, Any]:
        """Return `aimlernie` of the last error of a row without success; empty if it has none."""
        at = self._failed.get(custom_id)
        return {} if at is None else json.loads(line_at(self.errors, at))["aimlernie"]

    def drop_solved_errors(self) -> int:
        """Keep the last error of each row that has not succeeded since; return their number."""
        number = len(self._failed)
        if number == sum(1 for _ in read_lines(self.errors)):
            return number
        fresh = self.errors.with_name(f"{self.errors.name}.new")
        try:
            with fresh.open("wb") as file:
                file.writelines(line_at(self.errors, at) for at in sorted(self._failed.values()))
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk: the lines that are solved may stay until the next run
            fresh.unlink(missing_ok=True)
            return number
        os.close(self._files.pop(self.errors))
        fresh.replace(self.errors)
        self._files[self.errors] = _open(self.errors)
        return number


def _rescue(path: Path, rest: Sequence[tuple[Path, Mapping[str, Any]]]) -> str:
    """Save the completions that could not be written to `path`; return what to tell the user."""
    paid = [
        encode_line(line)
        for each, line in rest
        if each == path and (line["response"] or {}).get("status_code") == 200  # noqa: PLR2004
    ]
    if not paid:
        return ""
    with tempfile.NamedTemporaryFile(
        prefix="aimlernie-batch-", suffix=".jsonl", delete=False
    ) as file:
        file.write(b"".join(paid))
    return (
        f"{len(paid)} rows that were paid for are in {file.name}: append them to {path} before "
        "the next run."
    )


State = Literal["done", "failed", "transient"]
"""What is known of a row: "transient" has failed, but may succeed when it is run again."""


RetryFailed = Literal["none", "transient", "all"]
"""Which of them are run again."""


def is_due(state: State | None, retry_failed: RetryFailed) -> bool:
    """Return whether a row is to be run."""
    return state is None or (state != "done" and retry_failed in ("all", state))


def _failure(line: Mapping[str, Any]) -> State:
    """Return the state of a row that has failed with this line."""
    response, error = line.get("response") or {}, line.get("error") or {}
    is_transient = (
        response.get("status_code") in _TRANSIENT_STATUSES or error.get("code") in _TRANSIENT_CODES
    )
    return "transient" if is_transient else "failed"


def _storable(text: str) -> str:
    """Return a text that SQLite can store: it takes no lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def errors_path(out: Path) -> Path:
    """Return the file of the rows that failed: `NAME.errors.jsonl` for `NAME.jsonl`."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.errors.jsonl")


def _lock(out: Path) -> Any:
    try:
        from filelock import FileLock, Timeout  # noqa: PLC0415  of the extra `batch`
    except ImportError:
        raise ImportError('Batches need: pip install "langchain-aimlernie[batch]"') from None

    lock = FileLock(f"{os.path.realpath(out)}.lock")  # a link is the same output
    try:
        return lock.acquire(timeout=0).lock
    except Timeout:
        raise BatchError(f"{out} is in use by another run.") from None


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def _foreign(path: Path, place: str) -> BatchError:
    return BatchError(f"{path}, {place}: no line of a batch's output. Remove or repair it.")


def read_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the complete lines of an output file, each with its place; none if there is no file.

    A file with anything else is refused: it may be the input, or any other.
    """
    if not path.exists():
        return
    at = 0
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if not data.endswith(b"\n"):
                # A run is writing it, or has left it; NULs are left by a power failure.
                if not data.startswith(_START[: len(data)]) and data.strip(b"\0"):
                    raise _foreign(path, "the last line")
                return
            try:
                line = json.loads(data)
                is_ours = isinstance(line["custom_id"], str) and _LINE_ID.fullmatch(line["id"])
                parts = (line["response"], line["error"])
                if not (is_ours and all(isinstance(part, dict | None) for part in parts)):
                    raise TypeError  # noqa: TRY301  handled below
                bytes.fromhex(line["aimlernie"]["key"])
            except (ValueError, TypeError, KeyError):
                raise _foreign(path, f"line {number}") from None
            yield line, at
            at += len(data)


def last_lines(out: Path) -> Iterator[tuple[dict[str, Any], Path, int]]:
    """Yield each row's last line with its file and its place there, failed rows last."""
    errors = errors_path(out)
    failed = {line["custom_id"]: at for line, at in read_lines(errors)}
    for line, at in read_lines(out):
        failed.pop(line["custom_id"], None)
        yield line, out, at
    for at in sorted(failed.values()):
        yield json.loads(line_at(errors, at)), errors, at


def line_at(path: Path, at: int) -> bytes:
    """Return the line that begins at this place."""
    with path.open("rb") as file:
        file.seek(at)
        return file.readline()


def encode_line(line: Mapping[str, Any]) -> bytes:
    """Return a row's line: JSON in UTF-8, without characters that some readers end lines at."""
    text = json.dumps(line, ensure_ascii=False)
    try:
        for character in "\u0085\u2028\u2029":
            if character in text:
                text = text.replace(character, f"\\u{ord(character):04x}")
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # lone surrogates
        return json.dumps(line).encode() + b"\n"


def _write_whole(descriptor: int, data: bytes) -> int:
    """Write all of `data`, or nothing; return where it begins."""
    size = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, data)
        while written < len(data):  # a signal, or a disk that is nearly full
            written += os.write(descriptor, data[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise
    return size
