"""The rows of a batch: the formats of the input, and the key that identifies a row's content."""

from __future__ import annotations

import csv
import hashlib
import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage, convert_to_messages
from langchain_core.prompt_values import PromptValue
from langchain_core.prompts import PromptTemplate
from langchain_core.runnables import RunnableConfig
from pydantic_core import to_jsonable_python

from langchain_aimlernie._request.core_input import repair_message, wrap_incomplete
from langchain_aimlernie._request.messages import encode_messages
from langchain_aimlernie._request.tools import encode_tools
from langchain_aimlernie._settings.arguments import OPTIONS
from langchain_aimlernie._settings.fields import REQUEST_PARAMS, SHOWN, Settings
from langchain_aimlernie.errors import BadRequestError
from langchain_aimlernie.profiles import ModelSpec


class BatchError(ValueError):
    """The run cannot start: invalid or changed input, a duplicate, an output that is in use."""


_ANY_MODEL = ModelSpec("any model", developer_role=True, cache_control=True)
_PATH = "/chat/completions"
_MAX_FIELD = 2**31 - 1
"""Maximum length of a CSV field; the default of the module `csv` is 131,072."""

_OPENAI_KEYS = {"custom_id", "method", "url", "body"}
_NOT_PER_ROW = (
    {"self", "input", "config", *RunnableConfig.__annotations__}
    | BaseChatModel.model_fields.keys()
    | Settings.model_fields.keys()
) - {*SHOWN, "model_kwargs", "extra_body"}
"""Settings of the model or the run, which a row cannot set: address, key, headers, clients."""

_NOT_IN_KEY = Settings.model_fields.keys() - {
    *REQUEST_PARAMS,
    *("model_kwargs", "extra_body", "replay_reasoning", "on_unsupported_content"),
}
"""Settings that do not change the response, such as a timeout."""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the input.

    Attributes:
        custom_id: The caller's id, else the first 16 digits of `key`.
        key: Hexadecimal SHA-256 of everything that determines the response.
        input: The input of the runnable; for a chat model, messages in the API's format.
        params: Parameters of this call.
        number: Its index in the input, from 0.
    """

    custom_id: str
    key: str
    input: Any
    params: Mapping[str, Any]
    number: int


def check_input(rows: object) -> None:
    """Raise a `BatchError` for a single row, or for an iterable of something other than rows."""
    is_table = hasattr(rows, "columns")  # iterating a data frame yields column names
    if is_table or isinstance(rows, str | bytes | Mapping | Path):
        raise BatchError(
            "The input must be an iterable of rows, such as a list, a RowFile or "
            f"frame.to_dict('records'); got {type(rows).__name__}."
        )


def read_row(item: object, number: int, defaults: Mapping[str, Any] | None = None) -> Row:
    """Parse an item of the input: a dict in one of the formats, a prompt, or messages.

    `defaults` are the known settings of a chat model; `None` for any other runnable.
    """
    custom_id: object = None
    if isinstance(item, Mapping):
        custom_id = item.get("custom_id")
        item = {name: value for name, value in item.items() if name != "custom_id"}
    if not (custom_id is None or (isinstance(custom_id, str) and custom_id)):
        raise BatchError(
            f"Row {number + 1}: custom_id must be a string that is not empty; got "
            f"{custom_id!r:.80}."
        )
    params: Mapping[str, Any] = {}
    try:
        if defaults is None:
            model_input = item
            if isinstance(item, Mapping) and set(item) == {"input"}:
                model_input = item["input"]
            key = key_of(model_input)
        else:
            model_input, params = _read_call(item)
            key = _key_of_call({"messages": model_input, **defaults, **params})
    except (TypeError, ValueError, RuntimeError, BadRequestError) as error:  # the third: depth
        raise BatchError(f"Row {number + 1}: {error}") from None
    return Row(custom_id or key[:16], key, model_input, params, number)


def _key_of_call(fields: Mapping[str, Any]) -> str:
    """Return the key of a chat model's call, or raise a ValueError if `n` is not 1."""
    named = {OPTIONS.get(name, name): value for name, value in fields.items()}
    if named.get("n") not in (None, 1):
        raise ValueError(f"n must be 1: one choice of a row is saved; got {named['n']!r}.")
    return key_of({name: value for name, value in named.items() if name not in _NOT_IN_KEY})


def key_of(value: object) -> str:
    """Return the hexadecimal SHA-256 of a value as JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=_to_json)
    return hashlib.sha256(text.encode()).hexdigest()


def _to_json(value: object) -> Any:
    """Return a class or a function, such as a tool or a schema, as its definition."""
    if isinstance(value, type) or inspect.isfunction(value):
        return encode_tools([value])[0]
    return to_jsonable_python(value)


def _read_call(item: object) -> tuple[list[Any], dict[str, Any]]:
    """Return the messages and the parameters of a call of a chat model."""
    body = _body(item)
    if any(hasattr(value, "tolist") for value in body.values()):  # as pandas reads Parquet
        body = to_jsonable_python(body, fallback=lambda value: value.tolist())
    if ("messages" in body) == ("prompt" in body):
        raise ValueError('expected "messages", "prompt" or "body" with one of them.')
    for name in {*body}:  # some tools write each field of a request, most of them as null
        if name in ("stream", "stream_options") or (body[name] is None and _is_forbidden(name)):
            del body[name]
    nested = body.get("model_kwargs")  # it may contain settings of the model, too
    named = {*body, *(nested if isinstance(nested, Mapping) else ())}
    if forbidden := sorted(filter(_is_forbidden, named)):
        raise ValueError(f"a row cannot set {', '.join(forbidden)}; set it on the model instead.")
    if "prompt" in body:
        prompt = body.pop("prompt")
        if not isinstance(prompt, str):
            raise TypeError(f'"prompt" must be a string; got {type(prompt).__name__}.')
        return [{"role": "user", "content": prompt}], body
    messages = body.pop("messages")
    if not isinstance(messages, Sequence) or isinstance(messages, str) or not messages:
        raise ValueError('"messages" must be a list that is not empty.')
    return _messages(messages), body


def _is_forbidden(name: str) -> bool:
    return OPTIONS.get(name, name) in _NOT_PER_ROW


def _body(item: object) -> dict[str, Any]:
    if isinstance(item, Mapping) and set(item) == {"input"}:
        item = item["input"]
    if isinstance(item, str):
        return {"prompt": item}
    if isinstance(item, PromptValue):
        item = item.to_messages()
    if isinstance(item, Sequence):
        return {"messages": item}
    if not isinstance(item, Mapping):
        raise TypeError(f"expected a dict, a prompt or messages; got {type(item).__name__}.")
    return _openai_body(item) if {"body", "url"} & item.keys() else dict(item)


def _openai_body(item: Mapping[str, Any]) -> dict[str, Any]:
    body = item.get("body")
    if not isinstance(body, Mapping):
        raise TypeError(f'"body" must be an object; got {type(body).__name__}.')
    if unknown := sorted(map(str, item.keys() - _OPENAI_KEYS)):
        raise ValueError(f'unknown beside "body": {", ".join(unknown)}.')
    if str(item.get("method", "POST")).upper() != "POST":
        raise ValueError(f'"method" must be POST; got {item["method"]!r:.40}.')
    if not str(item.get("url", _PATH)).endswith(_PATH):
        raise ValueError(f'"url" must be /v1/chat/completions; got {item["url"]!r:.80}.')
    return dict(body)


def _messages(messages: Sequence[Any]) -> list[Any]:
    """Return messages in the API's format, converted from LangChain's if necessary."""
    if all(isinstance(each, Mapping) and "role" in each for each in messages):
        return list(messages)
    return encode_messages(wrap_incomplete(to_messages(messages)), _ANY_MODEL)


def to_messages(messages: Sequence[Any]) -> list[BaseMessage]:
    """Return the messages of a row as LangChain's."""
    return convert_to_messages([*map(repair_message, messages)])


@dataclass(frozen=True, slots=True)
class RowFile:
    """The rows of a file, which is read again by each iteration.

    Args:
        path: A CSV file, if its name ends in `.csv`; else JSON Lines.
        template: The prompt, with the names of columns or fields in braces: "Summarise: {text}".
            Required for CSV.
        system: System message of each row that has none.
        shard: `(i, n)`: only every n-th row, beginning with the i-th, 1 to n.

    Raises:
        ValueError: `shard` is not from 1 to n.
        BatchError: While iterating: a line is not a JSON object, a column is missing, all those
            in the template are empty, CSV has no `template`, or `path` is no regular file, which
            could not be read twice.
    """

    path: str | Path
    template: str | None = None
    system: str | None = None
    shard: tuple[int, int] = (1, 1)

    def __post_init__(self) -> None:
        first, count = self.shard
        if not 1 <= first <= count:
            raise ValueError(f"shard must be (i, n) with i from 1 to n; got {self.shard!r}.")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        first, count = self.shard
        return (
            row for number, row in enumerate(self._rows(), 1) if number % count == first % count
        )

    def _rows(self) -> Iterator[dict[str, Any]]:
        path, template, system = self.path, self.template, self.system
        try:
            prompt = None if template is None else PromptTemplate.from_template(template)
        except ValueError as error:
            raise BatchError(f"template {template!r}: {error}") from None
        if Path(path).suffix.lower() == ".csv" and prompt is None:
            raise BatchError("A CSV file needs a template, such as 'Summarise: {text}'.")
        for number, record in _records(Path(path)):
            try:
                row = _read(record)
                row = row if prompt is None else _filled(prompt, row)
                row = _with_system(row, system) if system else row
            except ValueError as error:
                raise BatchError(f"{path}, line {number}: {error}") from None
            yield row


def _records(path: Path) -> Iterator[tuple[int, str | dict[str, Any]]]:
    """Yield the lines of JSON Lines, or the rows of CSV, each with the number of its line."""
    if path.exists() and not path.is_file():
        raise BatchError(f"{path} must be a regular file: it is read twice.")
    is_csv = path.suffix.lower() == ".csv"
    # `newline="\n"`: a JSON line may contain U+2028 and other characters that end lines.
    with path.open(encoding="utf-8-sig", newline="" if is_csv else "\n") as file:
        try:
            if not is_csv:
                yield from ((number, line) for number, line in enumerate(file, 1) if line.strip())
                return
            csv.field_size_limit(_MAX_FIELD)
            # `strict`: else an unclosed quote swallows all that follows.
            reader = csv.DictReader(file, strict=True)
            names = reader.fieldnames = next(filter(None, reader.reader), [])  # after blank lines
            if twice := sorted({name for name in names if names.count(name) > 1} - {""}):
                raise BatchError(f"{path}, line 1: a column occurs twice: {', '.join(twice)}.")
            for record in reader:
                yield reader.line_num, record
        except UnicodeDecodeError as error:
            raise BatchError(f"{path} is not encoded in UTF-8: {error.reason}.") from None
        except csv.Error as error:
            raise BatchError(
                f"{path}, after line {reader.line_num}: invalid CSV: {error}."
            ) from None


def _read(record: str | dict[Any, Any]) -> dict[str, Any]:
    """Return the row of a record: a line of JSON, or the columns of CSV."""
    if isinstance(record, dict):
        if any(record.pop(None, ())):
            raise ValueError("more values than columns.")
        return record
    try:
        row = json.loads(record)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"invalid JSON: {error}.") from None
    if not isinstance(row, dict):
        raise ValueError("expected an object.")  # noqa: TRY004  of a row
    return row


def is_blank(values: Iterable[object]) -> bool:
    """Return whether all values that a row puts into a prompt are blank, such as empty cells."""
    return not any(str(value).strip() for value in values)


def _filled(prompt: PromptTemplate, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with the prompt, in which the columns are filled in."""
    needed = prompt.input_variables
    missing = [name for name in needed if row.get(name) is None]
    if is_blank(row.get(name) for name in needed):
        missing = needed
    if missing:
        names = ", ".join(row)
        raise ValueError(f"no value for {', '.join(missing)}; the names are {names:.200}.")
    try:
        text = prompt.template.format_map(row)  # a column may be "self"
    except (ValueError, TypeError) as error:  # a format that the value does not support, or "{}"
        raise ValueError(f"template: {error}.") from None
    custom_id = row.get("custom_id")
    return {"prompt": text} | ({} if custom_id in (None, "") else {"custom_id": custom_id})


def _with_system(row: dict[str, Any], system: str) -> dict[str, Any]:
    """Return a row with a system message, or raise a ValueError if it has no messages."""
    if isinstance(row.get("body"), dict):
        return {**row, "body": _with_system(row["body"], system)}
    messages, rest = row.get("messages"), row
    if isinstance(row.get("prompt"), str):
        messages = [{"role": "user", "content": row["prompt"]}]
        rest = {name: value for name, value in row.items() if name != "prompt"}
    if not isinstance(messages, list):
        raise ValueError('no "messages" or "prompt" for the system message.')  # noqa: TRY004  of a row
    roles = [each.get("role") for each in messages if isinstance(each, dict)]
    if "system" in roles or "developer" in roles:
        return row
    return {**rest, "messages": [{"role": "system", "content": system}, *messages]}
