"""Match the words of a question to the columns of a table: what it measures, by what, and when.

Each word of the question votes for the columns it resembles: the same stem, a synonym, an
abbreviation ("dest" for destination), a value that occurs in a column, or a near miss in spelling.
A vote goes to the column that the *whole* question fits best, so "bill length" is not spent on
"flipper length". Words that fit nothing are dropped: the question steers the plan, it never has to.
"""

# ruff: noqa: SIM905 - lists of words read best as words
from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from typing import Literal

from jobs.examples.analyst.planning.columns import ADDITIVE, FOCAL, Field, Table
from jobs.examples.analyst.wording import words_of

Aggregate = Literal["mean", "median", "sum", "count"]

ASK_WORDS_MAX = 120
_MATCHES = 0.7
_CALLED_BY_NAME = 0.95

_SILENT = set(
    "a an and any are as at be been by can could dataset data did do does each email else file for "
    "from get give had has have help how i if in into is it its last let like look mail make makes "
    "many me more most much my no not of off on or our out over per please report run runs send "
    "show so some stand stands table tell than that the their them then there these they thing "
    "this to total up us was we were what whats which who why will with would you your analyse "
    "analyze analysis average mean median sum number count best worst top lowest highest least "
    "less first find rows row column columns value values between across about".split()
)
_WHEN = set(
    "when time times trend trends over season seasonal seasonality hourly daily weekly monthly "
    "yearly develop developed development history evolve evolved change changed changing "
    "weekday weekdays weekend morning evening night".split()
)
_SYNONYMS: tuple[frozenset[str], ...] = tuple(
    frozenset(group.split())
    for group in (
        "delay late lateness later tardy overdue punctual punctuality ontime delayed",
        "carrier airline operator",
        "price cost expensive cheap fare pricey costly",
        "revenue sales sale turnover income earning gross selling sold",
        "mass weight weigh heavy light heavier heaviest weighs",
        "temperature temp hot warm cold heat hottest coldest warmest",
        "precipitation precip rain wet rainy rainfall rains",
        "wind windy gust",
        "sex gender male female",
        "country nation",
        "speed fast quick slow fastest slowest acceleration",
        "mpg gallon economical efficient efficiency consumption mileage economy thirsty fuel",
        "horsepower power powerful strong",
        "rating score star popular popularity",
        "employment job jobs employee worker nonfarm payroll",
        "distance far",
        "length long longer longest",
        "height tall high taller tallest",
        "destination dest",
        "customer client buyer",
        "product item article",
        "quantity qty units volume",
        "death die died killed fatality casualty",
        "disease ill illness sick",
        "electricity energy generation power",
        "movie film",
        "wage salary pay earn",
        "yield harvest crop",
        "profit margin",
        "age old older young",
    )
)
_PLACES = set(
    "country state city region county island location site place airport origin dest destination "
    "neighborhood town district store branch area warehouse".split()
)
_PERSONS = set("name customer person player employee user author director seller rep".split())
_AGGREGATES: tuple[tuple[Aggregate, str], ...] = (
    ("median", r"\bmedian\b"),
    ("mean", r"\b(average|mean|typical|typically|usually)\b"),
    ("sum", r"\b(total|sum|altogether|overall amount|how much)\b"),
    ("count", r"\b(how many|number of|count|how often|most common|most frequent|frequency)\b"),
)
_SLOTS = (
    ("hour", r"\b(time of (the )?day|hours?|hourly|morning|evening|night)\b"),
    ("weekday", r"\b(weekdays?|weekends?|days? of the week)\b"),
    ("month", r"\b(season\w*|months?|monthly|over the year|time of (the )?year|summer|winter)\b"),
)
_DEVELOPS = r"\b(develop\w*|trends?|evolv\w*|chang\w*|over time|history|grow\w*|grew|fell|rose)\b"
_UPWARD = (
    r"\b(lowest|least|cheapest|fewest|smallest|slowest|shortest|lightest|coldest|worst rated)\b"
)
_WHY = (
    r"\b(why|drives?|drivers?|affects?|influences?|explains?|depends?|causes?|makes|factors?|"
    r"relate[sd]?)\b"
)


@dataclass(frozen=True)
class Focus:
    """The question, read: the measures and dimensions it names, and how it wants them."""

    measures: tuple[Field, ...] = ()
    dimensions: tuple[Field, ...] = ()
    named_measures: int = 0
    named_dimensions: int = 0
    wants_when: bool = False
    when_first: str | None = None
    develops: bool = False
    wants_why: bool = False
    smallest_first: bool = False
    aggregate: Aggregate | None = None
    only: tuple[tuple[Field, str], ...] = ()
    relates: tuple[Field, Field] | None = None
    understood: tuple[tuple[str, str], ...] = field(default=())

    @property
    def measure(self) -> Field | None:
        """What the report is about, if anything can be measured."""
        return self.measures[0] if self.measures else None


def read_question(ask: str, table: Table) -> Focus:
    """What this question asks of this table; sensible defaults where it says nothing."""
    lowered = ask.lower()
    votes = _vote(ask, table)
    wants_when = _asks_when(lowered, votes, table)
    measures = _ranked(votes, table.of("measure", "rate"))
    dimensions = _ranked(votes, table.of("dimension", "label"))
    aggregate = next((name for name, cue in _AGGREGATES if re.search(cue, lowered)), None)
    if (
        aggregate is None
        and dimensions
        and not measures
        and re.search(r"\b(most|fewest)\b", lowered)
    ):
        aggregate = "count"
    related = None if wants_when else _related(ask, votes, measures)
    if related is not None:
        cause, outcome = related
        measures = [outcome, cause, *(one for one in measures if one not in related)]
    only = _only(ask, table)
    filtered = {held.name for held, _ in only}
    named = [held for held in dimensions if held.name not in filtered or _names(votes, held)]
    of_interest = _measures_of_interest(table)
    if aggregate is None and named and not measures and not _is_focal(of_interest[:1]):
        aggregate = "count"
    return Focus(
        measures=tuple(measures or of_interest),
        dimensions=tuple(named or _dimensions_of_interest(table, filtered)),
        named_measures=len(measures),
        named_dimensions=len(named),
        wants_when=wants_when,
        develops=bool(re.search(_DEVELOPS, lowered)),
        when_first=next((slot for slot, cue in _SLOTS if re.search(cue, lowered)), None),
        wants_why=bool(re.search(_WHY, lowered)),
        smallest_first=bool(re.search(_UPWARD, lowered)),
        aggregate=aggregate,
        only=only,
        relates=related,
        understood=tuple(sorted({(word, held.name) for word, held, _ in votes.cast})),
    )


@dataclass(frozen=True)
class _Votes:
    """Which word spoke for which column, and how loudly."""

    cast: tuple[tuple[str, Field, float], ...]

    def total(self, held: Field) -> float:
        return sum(weight for _, column, weight in self.cast if column == held)

    def loudest(self, held: Field) -> float:
        return max((weight for _, column, weight in self.cast if column == held), default=0.0)

    def words(self, held: Field) -> set[str]:
        return {word for word, column, _ in self.cast if column == held}


def _vote(ask: str, table: Table) -> _Votes:
    words = [word for word in dict.fromkeys(words_of(ask)) if word not in _SILENT][:ASK_WORDS_MAX]
    open_fields = [held for held in table.fields if held.kind not in ("constant", "coordinate")]
    likeness = {
        (word, held): weight
        for word in words
        for held in open_fields
        if (weight := _likeness(word, held)) >= _MATCHES
    }
    totals: dict[Field, float] = {}
    for (_, held), weight in likeness.items():
        totals[held] = totals.get(held, 0.0) + weight
    cast = []
    for word in words:
        liked = {held: weight for (said, held), weight in likeness.items() if said == word}
        best = max((totals[held] for held in liked), default=0.0)
        cast += [(word, held, weight) for held, weight in liked.items() if totals[held] >= best]
    return _Votes(tuple(cast))


def _likeness(word: str, held: Field) -> float:
    """How much a word of the question resembles a column, by its name or by its values."""
    if word in _WHEN and held.kind in ("measure", "clock", "label", "rate"):
        return 0.0
    tokens = set(words_of(held.name)) | set(words_of(held.label))
    by_name = max((_resembles(word, token) for token in tokens), default=0.0)
    if held.kind in ("dimension", "label"):
        if word == "where" and tokens & _PLACES:
            by_name = max(by_name, 0.8)
        if word == "who" and tokens & _PERSONS:
            by_name = max(by_name, 0.8)
        if len(word) >= 3 and any(word in words_of(value) for value in held.values):
            by_name = max(by_name, 0.75)
    return by_name


@lru_cache(maxsize=8192)
def _resembles(word: str, token: str) -> float:
    if word == token:
        return 1.0
    ours, theirs = _stems(word), _stems(token)
    if ours & theirs:
        return 0.95
    if any(ours & group and theirs & group for group in _SYNONYMS):
        return 0.9
    if len(token) >= 4 and word.startswith(token) and len(word) <= len(token) + 4:
        return 0.75
    if len(word) >= 4 and token.startswith(word):
        return 0.75
    if min(len(word), len(token)) >= 5 and SequenceMatcher(None, word, token).ratio() >= 0.86:
        return 0.75
    return 0.0


@lru_cache(maxsize=8192)
def _stems(word: str) -> frozenset[str]:
    """The word and what remains without its common endings; short remains are not trusted."""
    stems = {word}
    for ending, instead in (
        ("ies", "y"), ("es", ""), ("s", ""), ("iest", "y"), ("est", ""), ("ier", "y"),
        ("ing", ""), ("ing", "e"), ("ed", ""), ("ed", "e"), ("ly", ""),
    ):  # fmt: skip
        if word.endswith(ending):
            stem = word[: -len(ending)] + instead
            if len(stem) >= (3 if ending == "s" else 4):
                stems.add(stem)
    return frozenset(stems)


def _ranked(votes: _Votes, fields: list[Field]) -> list[Field]:
    """The fields with votes, most first; where two are called by name, mere synonyms step back."""
    voted = [held for held in fields if votes.total(held) > 0]
    by_name = [held for held in voted if votes.loudest(held) >= _CALLED_BY_NAME]
    if len(by_name) > 1:
        voted = [held for held in voted if held in by_name or held.kind not in ("measure", "rate")]
    return sorted(voted, key=lambda held: -votes.total(held))


def _names(votes: _Votes, held: Field) -> bool:
    """Whether a word named the column itself, not merely one of its values."""
    return any(weight > 0.76 for _, column, weight in votes.cast if column == held)


def _only(ask: str, table: Table) -> tuple[tuple[Field, str], ...]:
    """Values the question restricts itself to: one value of a column, after a preposition."""
    found = []
    for held in table.of("dimension"):
        said = [value for value in held.values if len(value) >= 2 and _says(ask, value)]
        if len(said) == 1 and re.search(
            rf"\b(in|at|from|for|of|on|only|within|among|to)\s+(the\s+)?{re.escape(said[0])}\b",
            ask,
            re.IGNORECASE if len(said[0]) > 3 else 0,
        ):
            found.append((held, said[0]))
    return tuple(found[:2])


def _says(ask: str, value: str) -> bool:
    flags = re.IGNORECASE if len(value) > 3 else 0
    return re.search(rf"(?<!\w){re.escape(value)}(?!\w)", ask, flags) is not None


def _asks_when(lowered: str, votes: _Votes, table: Table) -> bool:
    asked = bool(set(words_of(lowered)) & _WHEN)
    return asked or any(votes.total(held) for held in table.of("moment", "part"))


def _related(ask: str, votes: _Votes, measures: list[Field]) -> tuple[Field, Field] | None:
    """Two measures named by different words, as they were said: does one go with the other?"""
    numeric = [held for held in measures if held.kind == "measure"]
    order = words_of(ask)
    for second in numeric[1:]:
        if not votes.words(second) & votes.words(numeric[0]):
            first, last = sorted(
                (numeric[0], second), key=lambda held: min(map(order.index, votes.words(held)))
            )
            return first, last
    return None


def _measures_of_interest(table: Table) -> list[Field]:
    """Without a hint: what sounds like an outcome first, then the fullest and most varied."""

    def interest(held: Field) -> tuple[int, int, int]:
        focal = bool(set(words_of(held.name)) & FOCAL)
        full = held.filled * 2 >= table.rows
        return (-int(focal), -int(full), -int(held.distinct > 12))

    return sorted(table.of("measure"), key=interest) or table.of("rate")


def _dimensions_of_interest(table: Table, taken: set[str]) -> list[Field]:
    """Without a hint: groupings of a handful of values, the handiest first."""

    def handiness(held: Field) -> tuple[int, int]:
        return (-int(held.filled * 2 >= table.rows), abs(held.distinct - 8))

    usable = [
        held
        for held in table.of("dimension")
        if 2 <= held.distinct <= 60 and held.name not in taken and held.distinct * 2 <= table.rows
    ]
    return sorted(usable, key=handiness)


def _is_focal(fields: list[Field]) -> bool:
    return any(set(words_of(held.name)) & FOCAL for held in fields)


def is_additive(held: Field) -> bool:
    """Whether adding the values up says something, going by the column's name."""
    return bool(set(words_of(held.name)) & ADDITIVE)
