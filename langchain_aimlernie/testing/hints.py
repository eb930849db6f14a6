"""What a prompt offers to fill a schema with: numbers, quotations, names, assignments."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

READ_AT_MOST = 10_000
"""Characters of a prompt that are searched; the rest of a longer one changes nothing."""

_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w])|(?<=-)\d+(?:\.\d+)?(?![\w])")
_QUOTED = re.compile(
    r"(?<!\w)'([^'\n]+)'(?!\w)|\"([^\"\n]+)\"|“([^”\n]+)”|「([^」\n]+)」|`([^`\n]+)`"
)
_CAPITALS = re.compile(r"(?<!\w)[A-ZÀ-ÖØ-Þ][\w'-]*(?: [A-ZÀ-ÖØ-Þ][\w'-]*)*(?:, [A-Z]{2}\b)?")
_CHINESE_NAME = re.compile(
    r"(?:请问|查询|查一下|告诉我|帮我|今天|在)*([\u4e00-\u9fff]{2,3}?)"
    r"(?=市|的|今天|明天|现在|天气)"
)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+\.[\w.-]*\w")
_URL = re.compile(r"https?://[^\s<>\"')]+")
_DATE = re.compile(r"\b\d{4}-\d{2}-\d{2}\b")
_SUM = re.compile(r"[(\d][\d\s+*/().^x\u00d7\u00f7-]*[\d)]")
_VALUE = r"[\"']?\s*(?:=|:|\bis\b|为|是)\s*(?:\"([^\"]+)\"|'([^']+)'|([\w.+@-]+))"
_ORDINARY = (
    "a add and answer are ask assistant at book calculate call can check compare could create "
    "delete do does email extract fetch find for from generate get give go hello hey hi how i "
    "if in is it json let list look make multiply my no now ok on please put read remind return "
    "route run say schedule search send show some summarize tell thanks that the then these "
    "they this to translate use using was we well what when where which who why will with would "
    "write yes you your"
)
_NO_NAMES = frozenset(_ORDINARY.split())


class Hints:
    """The finds in a text; each number, quotation and name is handed out once.

    Args:
        text: The question. Schemas in it should be taken out first.
        results: What tools have said since; a string that the question does not give comes from
            here.
        idle: Words that name nobody, though they may be capitalised: those of the tool's name.
    """

    def __init__(self, text: str, results: Iterable[str] = (), idle: Collection[str] = ()) -> None:
        self.text = text[:READ_AT_MOST]
        self.results = [result[:READ_AT_MOST] for result in results]
        self.numbers = [
            float(found) for text in (self.text, *self.results) for found in _NUMBER.findall(text)
        ]
        self.quoted = ["".join(groups) for groups in _QUOTED.findall(self.text)]
        names = _names(_QUOTED.sub(" ", self.text), _NO_NAMES.union(idle))
        self.names: list[str] = [*names, *_CHINESE_NAME.findall(self.text)]

    def number(
        self, low: float, high: float, *, whole: bool, first: float | None = None
    ) -> float | None:
        """The next number between the bounds, `first` before all others if there is one."""
        for value in sorted(self.numbers, key=lambda each: each != first):
            if low <= value <= high and (value.is_integer() or not whole):
                self.numbers.remove(value)
                return value
        return None

    def assigned(self, name: str) -> str | None:
        """The value that text or results give to a property: `unit=K`, `unit: K`, `"unit": "K"`."""
        words = re.escape(name).replace("_", "[_ ]")
        pattern = re.compile(rf"(?<![A-Za-z]){words}{_VALUE}", re.IGNORECASE)
        found = next(filter(None, map(pattern.search, (self.text, *self.results))), None)
        return next(filter(None, found.groups()), None) if found and name else None

    def denies(self, name: str) -> bool:
        """Whether the text says "no <name>", "not <name>", "without <name>"."""
        words = re.escape(name).replace("_", "[_ ]")
        return bool(re.search(rf"\b(?:no|not|without) {words}\b", self.text, re.IGNORECASE))

    def mentions(self, word: object) -> bool:
        """Whether the text has this word, in any case."""
        pattern = rf"(?<![A-Za-z0-9]){re.escape(str(word))}(?![A-Za-z0-9])"
        return bool(re.search(pattern, self.text, re.IGNORECASE))

    def word(self, name: str) -> str | None:
        """A string for a property of this name, if the text has one."""
        assigned = self.assigned(name)
        if assigned is not None:
            return assigned
        for words, pattern in _SPECIAL.items():
            if words & set(split_name(name)):
                return _first(pattern, self.text)
        if self.quoted:
            return self.quoted.pop(0)
        return self._name(is_place=not _PLACES.isdisjoint(split_name(name)))

    def _name(self, *, is_place: bool) -> str | None:
        """The next name; for a place the first that has a preposition before it."""
        placed = [each for each in self.names if is_place and self._is_placed(each)]
        for each in (*placed, *self.names):
            self.names.remove(each)
            return each
        return None

    def _is_placed(self, name: str) -> bool:
        return bool(re.search(rf"\b(?:at|for|from|in|near|of|to) {re.escape(name)}", self.text))

    def whole(self) -> str:
        """The question itself, at most 200 characters of it."""
        return self.text.strip()[:200]


_PLACES = frozenset(("address", "city", "country", "location", "origin", "place", "region"))
_SPECIAL = {
    frozenset({"email", "mail", "recipient"}): _EMAIL,
    frozenset({"url", "link", "website"}): _URL,
    frozenset({"date", "day"}): _DATE,
    frozenset({"expression", "formula", "equation", "calculation"}): _SUM,
}


def split_name(name: str) -> list[str]:
    """The lower-case words of a snake_case, kebab-case or CamelCase name."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[a-z]+|\d+|[^\W\d_a-z]+", spaced.lower())


def _names(text: str, idle: Collection[str]) -> Iterable[str]:
    """Capitalised phrases, without the ordinary words that begin a sentence."""
    for phrase in _CAPITALS.findall(text):
        words = phrase.split(" ")
        while words and words[0].lower().removesuffix("'s") in idle:
            words.pop(0)
        if len("".join(words)) > 1:
            yield " ".join(words)


def _first(pattern: re.Pattern[str], text: str) -> str | None:
    found = pattern.search(text)
    return found.group().strip() if found else None
