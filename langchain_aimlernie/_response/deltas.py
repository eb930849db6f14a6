"""The deltas of a stream under one key to the value that a whole response has there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_EMPTY: tuple[object, ...] = (None, "", [], {})
_INDEXED = "a list of objects with an index each"


def is_empty(value: object) -> bool:
    """Whether a JSON value is null or has no content; 0 and `false` are not empty."""
    return value in _EMPTY


class DeltaAccumulator:
    """The values of one key, event by event; see `add` for how they are merged."""

    __slots__ = ("_kind", "_lengths", "_members", "_parts")

    def __init__(self) -> None:
        self._restart(None)

    def _restart(self, kind: object) -> None:
        self._kind = kind
        self._members: dict[object, DeltaAccumulator] = {}
        self._parts: list[Any] = []
        self._lengths: list[int] = []  # of the values, as long as each begins with the one before

    def add(self, value: Any) -> None:
        """Add the value of the next event.

        Servers send a value either in increments, or whole with each event (`citations`). It came
        whole if each value begins with the one before: then the last one stands. Otherwise texts
        and lists are joined. Objects are merged by key, and objects in a list by their `index` and
        `type` if they have them (`reasoning_details`). Of anything else the last value stands. An
        empty value changes nothing.

        Args:
            value: A JSON value that is not nested too deeply for recursion.
        """
        if self._kind is not None and is_empty(value):
            return
        kind = _kind_of(value)
        if kind != self._kind:
            self._restart(kind)
        if kind in (dict, _INDEXED):
            for key, member in _members_of(value):
                self._members.setdefault(key, DeltaAccumulator()).add(member)
        elif kind in (str, list):
            self._add_part(value)
        else:
            self._parts = [value]

    def _add_part(self, part: Any) -> None:
        if not self._parts:
            self._lengths = [len(part)]
        elif self._lengths:
            last = self._parts.pop()
            if part[: len(last)] == last:
                self._lengths.append(len(part))
            else:
                self._parts = [last[:length] for length in self._lengths]
                self._lengths = []
        self._parts.append(part)

    def value(self) -> Any:
        """Return what the values so far come to."""
        if self._kind is dict:
            return {key: member.value() for key, member in self._members.items()}
        if self._kind == _INDEXED:
            return [member.value() for member in self._members.values()]
        if self._kind is str:
            return "".join(self._parts)
        if self._kind is list:
            return [item for part in self._parts for item in part]
        return self._parts[-1] if self._parts else None


def _kind_of(value: object) -> object:
    if isinstance(value, list) and value and all(map(_has_index, value)):
        return _INDEXED
    return type(value)


def _has_index(item: object) -> bool:
    return isinstance(item, dict) and type(item.get("index")) is int


def _members_of(value: Any) -> Iterable[tuple[object, object]]:
    if isinstance(value, dict):
        return value.items()
    return [((item["index"], str(item.get("type"))), item) for item in value]
