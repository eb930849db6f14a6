"""The output of a batch: two append-only files, one of rows that are done and one of failed ones.

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
from collections.abc import Iterator, Mapping
from decimal import Decimal
from io import FileIO
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from langchain_aimlernie.batch.lines import (
    RetryFailed,
    State,
    encode_line,
    failure_of,
    is_paid,
)
from langchain_aimlernie.batch.rows import BatchError, Row
from langchain_aimlernie.spend.amounts import parse_amount

_START = b'{"id": "batch_req_'
"""The first bytes of every line."""

_LINE_ID = re.compile("batch_req_[0-9a-f]{8}([0-9a-f]{8})[0-9a-f]{6,}-([0-9a-f]{1,15})")
"""The id of a line: output, start of the first run on it, random digits, and place in the input."""

_KEY = re.compile("[0-9a-f]{64}")
"""The key of a row."""

_FSYNC_SECONDS = 1.0

_TABLE = """
CREATE TABLE rows (
    id BLOB PRIMARY KEY, key TEXT, pass INT, state TEXT, number INT, at INT, usd TEXT, credits TEXT
) WITHOUT ROWID
"""
"""What is known of each row; a million of them take less than 100 MB.

`key` has 16 digits, and `pass` says which reading of the input has had it last. All further columns
are of its last line: `at` is where that begins.
"""


class Past(NamedTuple):
    """What earlier runs made of a row, and what that has cost."""

    state: State | None
    usd: Decimal | None
    credits: Decimal | None

    def is_due(self, retry_failed: RetryFailed) -> bool:
        """Return whether the row is to be run."""
        return self.state is None or (self.state != "done" and retry_failed in ("all", self.state))


class Journal:
    """The output of one batch.

    Args:
        out: The file of the rows that succeeded.

    Attributes:
        usd: US dollars that the rows in the files have cost.
        started: When the first run on this output began, in seconds since the epoch; `None` if
            this is the first.
        digest: 8 digits that stand for the file, with which the ids of its runs begin.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        self.errors = out.with_name(f"{out.name.removesuffix('.jsonl')}.errors.jsonl")
        for path in (out, self.errors):  # to open a pipe would wait for its reader
            if path.exists() and not path.is_file():
                raise BatchError(f"{path} is not a regular file.")
        self.digest = hashlib.sha256(os.fsencode(os.path.realpath(out))).hexdigest()[:8]
        self.usd = Decimal(0)
        self.started: float | None = None
        self._resources = contextlib.ExitStack()
        self._database = sqlite3.connect(":memory:", check_same_thread=False)
        self._resources.callback(self._database.close)
        self._database.execute(_TABLE)
        self._pass = 1
        self._files: dict[Path, FileIO] = {}
        self._ends: dict[Path, int] = {}  # of the last complete line
        self._unsaved: list[tuple[Path, Mapping[str, Any]]] = []

    def load(self) -> None:
        """Read the files, without a change."""
        times = [path.stat().st_mtime for path in (self.errors, self.out) if path.exists()]
        for path in (self.errors, self.out):
            self._ends[path] = 0
            for line, found, end in read_lines(path):
                times = [min(int(found[1], 16), *times)]
                self._note(path, line, self._ends[path])
                self._ends[path] = end
        self.started = min(times, default=None)
        for (usd,) in self._database.execute("SELECT usd FROM rows WHERE usd IS NOT NULL"):
            self.usd += Decimal(usd)

    def open(self) -> None:
        """Lock the output against other runs, read it, and open it for writing."""
        self.out.parent.stat()
        self._resources.enter_context(_lock(self.out))
        self.load()
        for path, end in self._ends.items():
            file = self._files[path] = FileIO(path, "a")
            self._resources.callback(_close, file)
            file.truncate(end)

    def close(self) -> None:
        """Undo `open` and `load`."""
        self._resources.close()

    def read(self, row: Row) -> Past:
        """Return what is known of the next row of the input.

        Raises:
            BatchError: The row is a duplicate, or has changed since it was run.
        """
        query = "SELECT key, pass, state, usd, credits FROM rows WHERE id = ?"
        found = self._database.execute(query, (_storable(row.custom_id),)).fetchone()
        key, last_pass, state, *amounts = found or (None, 0, None, None, None)
        if last_pass == self._pass:
            raise BatchError(
                f"Row {row.number + 1} is a duplicate: another one has the id {row.custom_id!r}. "
                "Give each row a custom_id of its own."
            )
        if state and key != row.key[:16]:
            raise BatchError(
                f"The row {row.custom_id!r} has changed since it was run for {self.out}: its "
                "messages, parameters, model or schema. Use another output file or custom_id."
            )
        self._database.execute(
            "INSERT INTO rows (id, key, pass) VALUES (?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET (key, pass) = (excluded.key, excluded.pass)",
            (_storable(row.custom_id), row.key[:16], self._pass),
        )
        return Past(state, *(each and Decimal(each) for each in amounts))

    def read_again(self) -> None:
        """Note that the input will be read once more."""
        self._pass += 1

    def credits(self) -> Iterator[tuple[str, Decimal]]:
        """Yield the first 16 digits of each row's key, and the credits that its line states."""
        for key, amount in self._database.execute("SELECT key, credits FROM rows"):
            yield key, Decimal(amount or 0)

    def lines(self, *, failed: bool = False, ordered: bool = False) -> Iterator[bytes]:
        """Yield the last line of each row, or of each that has failed: those that failed last.

        With `ordered` they come in the order of the input.
        """
        order = "number, state = 'done', at" if ordered else "state != 'done', at"
        which = "state != 'done'" if failed else "state IS NOT NULL"
        query = f"SELECT state, at FROM rows WHERE {which} ORDER BY {order}"  # noqa: S608  ours
        with contextlib.ExitStack() as stack:
            files: dict[Path, BinaryIO] = {}
            for state, at in self._database.execute(query):
                path = self.out if state == "done" else self.errors
                if path not in files:
                    files[path] = stack.enter_context(path.open("rb"))
                files[path].seek(at)
                yield files[path].readline()

    def add(self, line: Mapping[str, Any], *, failed: bool = False) -> None:
        """Write the line of a row; if that fails, keep it for `save_rest`."""
        path = self.errors if failed else self.out
        try:
            self._write(path, line)
        except OSError:
            self._unsaved.append((path, line))
            raise

    def _write(self, path: Path, line: Mapping[str, Any]) -> None:
        """Write all of a line, or nothing."""
        file, at, data = self._files[path], self._ends[path], encode_line(line)
        rest = data
        try:
            while rest:  # more than once after a signal, or on a disk that is nearly full
                rest = rest[file.write(rest) :]
        except OSError as error:
            file.truncate(at)
            error.filename = str(path)
            raise
        self._note(path, line, at)
        self._ends[path] = at + len(data)

    def _note(self, path: Path, line: Mapping[str, Any], at: int) -> None:
        """Remember what a line says, and where it begins."""
        facts, number = line["aimlernie"], int(line["id"].rpartition("-")[2], 16)
        state: State = "done" if path == self.out else failure_of(line)
        found = (parse_amount(facts.get(name)) for name in ("usd", "credits"))
        amounts = (None if each is None else str(each) for each in found)
        self._database.execute(
            "INSERT INTO rows VALUES (?, ?, 0, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
            " (key, state, number, at, usd, credits) = (excluded.key, excluded.state,"
            " excluded.number, excluded.at, excluded.usd, excluded.credits)",
            (_storable(line["custom_id"]), facts["key"][:16], state, number, at, *amounts),
        )

    def save_rest(self) -> str:
        """Write the lines that could not be written before; return what to tell the user."""
        paid: dict[Path, list[bytes]] = {self.out: [], self.errors: []}
        for path, line in self._unsaved:
            try:
                self._write(path, line)
            except OSError:
                paid[path] += [encode_line(line)] * is_paid(line)
        return " ".join(_rescue(path, rest) for path, rest in paid.items() if rest)

    async def sync_each_second(self) -> None:
        """Write what is in the operating system's buffers to the disk, again and again."""
        while True:
            await asyncio.sleep(_FSYNC_SECONDS)
            for file in self._files.values():
                await asyncio.to_thread(os.fsync, file.fileno())

    def drop_solved_errors(self) -> int:
        """Keep the last error of each row that has not succeeded since; return their number."""
        lengths = [len(line) for line in self.lines(failed=True)]
        if sum(lengths) == self._ends[self.errors]:
            return len(lengths)
        fresh = self.errors.with_name(f"{self.errors.name}.new")
        try:
            with fresh.open("wb") as file:
                file.writelines(self.lines(failed=True))
                file.flush()
                os.fsync(file.fileno())
        except OSError:  # a full disk: the lines that are solved may stay until the next run
            fresh.unlink(missing_ok=True)
            return len(lengths)
        self._files.pop(self.errors).close()
        fresh.replace(self.errors)
        return len(lengths)


def read_lines(path: Path) -> Iterator[tuple[dict[str, Any], re.Match[str], int]]:
    """Yield the complete lines of an output file, with the parts of their ids and their ends.

    There are none if there is no file. A file with anything else is refused: it may be the input,
    or any other.
    """
    if not path.exists():
        return

    def foreign(place: str) -> BatchError:
        return BatchError(f"{path}, {place}: no line of a batch's output. Remove or repair it.")

    end = 0
    with path.open("rb") as file:
        for number, data in enumerate(file, 1):
            if not data.endswith(b"\n"):
                # A run is writing it, or has left it; NULs are left by a power failure.
                if not data.startswith(_START[: len(data)]) and data.strip(b"\0"):
                    raise foreign("the last line")
                return
            try:
                line = json.loads(data)
                found = _LINE_ID.fullmatch(line["id"])
                parts = (line["response"], line["error"])
                is_typed = all(isinstance(part, dict | None) for part in parts)
                is_ours = is_typed and isinstance(line["custom_id"], str)
                if not (found and is_ours and _KEY.fullmatch(line["aimlernie"]["key"])):
                    raise TypeError  # noqa: TRY301  handled below
            except (ValueError, TypeError, KeyError, RecursionError):
                raise foreign(f"line {number}") from None
            end += len(data)
            yield line, found, end


def _rescue(path: Path, lines: list[bytes]) -> str:
    """Save completions that could not be written to `path`; return what to tell the user."""
    with tempfile.NamedTemporaryFile(
        prefix="aimlernie-batch-", suffix=".jsonl", delete=False
    ) as file:
        file.write(b"".join(lines))
    return (
        f"{len(lines)} rows that were paid for are in {file.name}: append them to {path} before "
        "the next run."
    )


def _lock(out: Path) -> Any:
    try:
        from filelock import FileLock, Timeout  # noqa: PLC0415  of the extra `batch`
    except ImportError:
        raise ImportError('Batches need: pip install "langchain-aimlernie[batch]"') from None

    try:  # a link is the same output
        return FileLock(f"{os.path.realpath(out)}.lock").acquire(timeout=0)
    except Timeout:
        raise BatchError(f"{out} is in use by another run.") from None


def _close(file: FileIO) -> None:
    with contextlib.suppress(OSError, ValueError):  # the latter if it is closed already
        os.fsync(file.fileno())
    file.close()


def _storable(text: str) -> bytes:
    """Return a text as SQLite can store it, lone surrogates included."""
    return text.encode(errors="surrogatepass")
