"""The output of a batch: two append-only files of JSON Lines, and what is in them.

A line is written whole, in one write, before its row counts as done. What was written is on the
disk after a second at most. A file that a crash has left is cut to its last complete line.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from errno import ENOENT
from pathlib import Path
from typing import Any, Literal, Self

from langchain_aimlernie.batch.lines import is_transient
from langchain_aimlernie.batch.rows import BatchError, Row, short_key
from langchain_aimlernie.spend.amounts import parse_amount

_FSYNC_SECONDS = 1.0
_PARTS_OF_ID = 3
"""Run, key of the row, attempt: the parts of an `X-Client-Request-Id`, between colons."""


def errors_path(out: Path) -> Path:
    """Return the file of the rows that failed: `NAME.errors.jsonl` for `NAME.jsonl`."""
    return out.with_name(f"{out.name.removesuffix('.jsonl')}.errors.jsonl")


class Journal:
    """The output of one batch, locked against other runs while it is open.

    Args:
        out: The file of the rows that succeeded.

    Attributes:
        usd: US dollars that the rows in the files have cost.
        started: When the first run on this output began, in seconds since the epoch; `None` if
            this is the first.
        has_log: Whether a response had an inference id, so that the server may keep a log.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.errors = errors_path(out)
        self.usd = Decimal(0)
        self.started: float | None = None
        self.has_log = False
        self._files: dict[Path, int] = {}
        self._unsaved: list[tuple[Path, bytes]] = []
        self._is_dirty = False

    def __enter__(self) -> Self:
        """Lock and read the files."""
        if self.out.exists() and not self.out.is_file():
            raise BatchError(f"{self.out} is not a regular file.")
        if not self.out.parent.is_dir():
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(self.out.parent))
        self._lock = _lock(self.out)
        self._index = Index()
        try:
            if self.out.exists():
                self.started = self.out.stat().st_mtime
            for path in (self.errors, self.out):
                self._files[path] = _open(path)
                _drop_incomplete_line(self._files[path], path)
                for line, _ in read_lines(path):
                    self.usd += parse_amount(line["aimlernie"].get("usd")) or 0
                    self._note(path, line)
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
        self._index.close()
        self._lock.release()

    def check(self, row: Row) -> None:
        """Raise a `BatchError` if a row of the input has changed since it was run."""
        known = self._index.get(row.custom_id)
        if known is not None and known[0] != short_key(row.key):
            raise BatchError(
                f"The row {row.custom_id!r} has changed since it was run for {self.out}: its "
                "messages, parameters, model or schema. Use another output file or custom_id."
            )

    def read(self, row: Row) -> State | None:
        """Return the state of the next row of the input, which is checked, if it is known."""
        state = self._index.see(row)
        self.check(row)
        return state

    def add(self, line: Mapping[str, Any], *, failed: bool = False) -> None:
        """Write the line of a row; if that fails, keep it for `save_rest`."""
        path = self.errors if failed else self.out
        data = encode_line(line)
        descriptor = self._files[path]
        try:
            _write_whole(descriptor, data)
        except OSError:
            self._unsaved.append((path, data))
            raise
        self._is_dirty = True
        self._note(path, line)

    def _note(self, path: Path, line: Mapping[str, Any]) -> None:
        """Remember what a line says."""
        state: State = "transient" if is_transient(line) else "failed"
        facts = line["aimlernie"]
        self.has_log = self.has_log or bool(facts.get("inference_id"))
        self._index.put(line["custom_id"], facts["key"], "done" if path == self.out else state)

    def is_of_batch(self, request_id: str) -> bool:
        """Return whether an `X-Client-Request-Id` is that of a row that the input or output has."""
        parts = request_id.split(":")
        return len(parts) == _PARTS_OF_ID and self._index.has_key(parts[1])

    def request_ids(self) -> Iterator[str]:
        """Yield the `X-Client-Request-Id` of each response in the output."""
        for path in (self.out, self.errors):
            for line, _ in read_lines(path):
                if line["aimlernie"].get("usd") is not None:
                    yield line["aimlernie"]["client_request_id"]

    def save_rest(self) -> str:
        """Write the lines that could not be written before; return what to tell the user."""
        rest, self._unsaved = self._unsaved, []
        try:
            while rest:
                path, data = rest[0]
                _write_whole(self._files[path], data)
                del rest[0]
        except OSError:
            paid = [data for path, data in rest if path == self.out]
            if not paid:
                return ""
            with tempfile.NamedTemporaryFile(
                prefix="aimlernie-batch-", suffix=".jsonl", delete=False
            ) as file:
                file.write(b"".join(paid))
            return (
                f"{len(paid)} rows that were paid for are in {file.name}: append them to "
                f"{self.out} before the next run."
            )
        return ""

    async def sync_each_second(self) -> None:
        """Write what is in the operating system's buffers to the disk, again and again."""
        while True:
            await asyncio.sleep(_FSYNC_SECONDS)
            if self._is_dirty:
                self._is_dirty = False
                for descriptor in self._files.values():
                    await asyncio.to_thread(os.fsync, descriptor)

    def drop_solved_errors(self) -> int:
        """Keep the last error of each row that has not succeeded since; return their number."""
        kept = {at for _, at in self.remaining_errors()}
        if len(kept) == sum(1 for _ in read_lines(self.errors)):
            return len(kept)
        fresh = self.errors.with_name(f"{self.errors.name}.new")
        with fresh.open("wb") as file:
            for line, at in read_lines(self.errors):
                if at in kept:
                    file.write(encode_line(line))
            file.flush()
            os.fsync(file.fileno())
        os.close(self._files.pop(self.errors))
        fresh.replace(self.errors)
        self._files[self.errors] = _open(self.errors)
        return len(kept)

    def remaining_errors(self) -> Iterator[tuple[dict[str, Any], int]]:
        """Return the last error of each row that has not succeeded, with its place in the file."""
        return last_errors(self.errors, self._index)


State = Literal["done", "failed", "transient"]
"""What is known of a row: "transient" has failed, but may succeed when it is run again."""


class Index:
    """What is known of each row, by id; a million rows take some 60 MB."""

    def __init__(self) -> None:
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._database.execute(
            "CREATE TABLE rows (id TEXT PRIMARY KEY, key BLOB, state TEXT, seen INT) WITHOUT ROWID"
        )

    def close(self) -> None:
        """Free the memory."""
        self._database.close()

    def get(self, custom_id: str) -> tuple[bytes, State | None, bool] | None:
        """Return a row's short key, its state, and whether the input has had it; if it is known."""
        found = self._database.execute(
            "SELECT key, state, seen FROM rows WHERE id = ?", (_storable(custom_id),)
        )
        row: tuple[bytes, State | None, bool] | None = found.fetchone()
        return row

    def is_done(self, custom_id: str) -> bool:
        """Return whether a row has succeeded."""
        found = self.get(custom_id)
        return found is not None and found[1] == "done"

    def has_key(self, digits: str) -> bool:
        """Return whether the key of a row begins with these 16 hexadecimal digits."""
        try:
            key = short_key(digits)
        except ValueError:
            return False
        self._database.execute("CREATE INDEX IF NOT EXISTS keys ON rows (key)")
        found = self._database.execute("SELECT 1 FROM rows WHERE key = ?", (key,))
        return found.fetchone() is not None

    def put(self, custom_id: str, key: str, state: State) -> None:
        """Store the state of a row."""
        self._database.execute(
            "INSERT INTO rows VALUES (?, ?, ?, 0)"
            " ON CONFLICT (id) DO UPDATE SET key = excluded.key, state = excluded.state",
            (_storable(custom_id), short_key(key), state),
        )

    def see(self, row: Row) -> State | None:
        """Return the state of the next row of the input; a duplicate is a `BatchError`."""
        found = self.get(row.custom_id)
        if found is not None and found[2]:
            raise BatchError(
                f"Row {row.number + 1} is a duplicate: another one has the id {row.custom_id!r}. "
                "Give each row a custom_id of its own."
            )
        self._database.execute(
            "INSERT INTO rows VALUES (?, ?, NULL, 1) ON CONFLICT (id) DO UPDATE SET seen = 1",
            (_storable(row.custom_id), short_key(row.key)),
        )
        return None if found is None else found[1]


def _storable(text: str) -> str:
    """Return a text that SQLite can store: it takes no lone surrogates."""
    return text.encode("utf-8", "backslashreplace").decode()


def _lock(out: Path) -> Any:
    try:
        from filelock import FileLock, Timeout  # noqa: PLC0415  of the extra `batch`
    except ImportError:
        raise ImportError('Batches need: pip install "langchain-aimlernie[batch]"') from None

    lock = FileLock(f"{out}.lock")
    try:
        return lock.acquire(timeout=0).lock
    except Timeout:
        raise BatchError(f"{out} is in use by another run.") from None


def _open(path: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
    return os.open(path, flags, 0o666)


def _drop_incomplete_line(descriptor: int, path: Path) -> None:
    """Cut the file to its last complete line; one without its newline is incomplete."""
    last = b""
    with path.open("rb") as file:
        for line in file:
            last = line
    if not last.endswith(b"\n"):
        os.ftruncate(descriptor, os.fstat(descriptor).st_size - len(last))


def read_lines(path: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the lines of an output file, each with its place in bytes; none if there is no file."""
    if not path.exists():
        return
    at = 0
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if not data.endswith(b"\n"):
                return  # a run is writing it
            try:
                line = json.loads(data)
                if not isinstance(line["custom_id"], str):
                    raise TypeError  # noqa: TRY301  handled below
                bytes.fromhex(line["aimlernie"]["key"])
            except (ValueError, TypeError, KeyError):
                raise BatchError(
                    f"{path}, line {number}: no line of a batch's output. Remove or repair it."
                ) from None
            yield line, at
            at += len(data)


def last_errors(path: Path, index: Index) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the last error of each row that `index` does not know to be done, with its place."""
    last = {
        line["custom_id"]: at
        for line, at in read_lines(path)
        if not index.is_done(line["custom_id"])
    }
    for line, at in read_lines(path):
        if last.get(line["custom_id"]) == at:
            yield line, at


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


def _write_whole(descriptor: int, data: bytes) -> None:
    """Write all of `data`, or nothing."""
    size = os.fstat(descriptor).st_size
    try:
        written = os.write(descriptor, data)
        while written < len(data):  # a signal, or a disk that is nearly full
            written += os.write(descriptor, data[written:])
    except OSError:
        os.ftruncate(descriptor, size)
        raise
