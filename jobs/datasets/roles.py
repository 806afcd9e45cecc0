"""What part a column may play in an analysis, judged by its type, its values and its name.

    measure      a number worth adding up or averaging
    category     few different values, to group by
    date         a day or a moment
    boolean      one of two answers
    identifier   names or numbers single things; never to be averaged
    text         free text
    constant     one value, or none

The judgement is a guess and is presented as one; the counts it rests on are exact.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Role = Literal["measure", "category", "date", "boolean", "identifier", "text", "constant"]


@dataclass(frozen=True)
class Facts:
    """What was measured of one column. `min`, `max` are printed; `could_be_clock`: as 0 to 2359."""

    name: str
    type: str
    rows: int
    nulls: int
    distinct: int
    min: str | None
    max: str | None
    mean: float | None
    length_mean: float | None
    could_be_clock: bool


FEW_VALUES_OF_NUMBERS = 12
FEW_VALUES_OF_TEXT = 50
MANY_VALUES_OF_TEXT = 1_000
SHARE_OF_A_CATEGORY = 0.05
SHARE_OF_AN_IDENTIFIER = 0.95
ROWS_TO_JUDGE_IDENTIFIERS = 20
LENGTH_OF_FREE_TEXT = 40

CALENDAR_WORDS = frozenset(
    {
        "year", "quarter", "month", "week", "weekday", "day", "dayofweek", "hour", "minute",
        "second", "season", "decade",
    }
)  # fmt: skip
IDENTIFYING_WORDS = frozenset(
    {
        "id", "ids", "uuid", "guid", "key", "code", "no", "nr", "num", "number", "index", "idx",
        "zip", "zipcode", "postcode", "postal", "phone", "tel", "fax", "sku", "isbn", "ean",
        "serial", "account", "iban", "ssn", "fips", "row", "rownum", "flight", "invoice",
        "ticket", "order",
    }
)  # fmt: skip
COUNTING_WORDS = frozenset({"count", "total", "amount", "sum", "of", "value", "price"})
YES_AND_NO = (
    {"0", "1"}, {"yes", "no"}, {"y", "n"}, {"true", "false"}, {"t", "f"},
)  # fmt: skip
WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|%")
BRACKETED = re.compile(r"[(\[]\s*([^)\]]{1,12}?)\s*[)\]]")

UNITS = {
    "mm": "mm", "cm": "cm", "km": "km", "mi": "mi", "mile": "mi", "miles": "mi", "ft": "ft",
    "feet": "ft", "inch": "in", "inches": "in", "meters": "m", "metres": "m", "kg": "kg",
    "gram": "g", "grams": "g", "lb": "lb", "lbs": "lb", "pounds": "lb", "oz": "oz", "ms": "ms",
    "sec": "s", "secs": "s", "seconds": "s", "mins": "min", "minutes": "min", "hrs": "h",
    "hours": "h", "days": "d", "usd": "USD", "dollars": "USD", "eur": "EUR", "euros": "EUR",
    "gbp": "GBP", "pct": "%", "percent": "%", "percentage": "%", "%": "%", "kwh": "kWh",
    "mwh": "MWh", "kw": "kW", "mw": "MW", "celsius": "°C", "fahrenheit": "°F", "mph": "mph",
    "kmh": "km/h", "kph": "km/h", "mpg": "mpg", "hpa": "hPa", "bytes": "B", "kb": "kB", "mb": "MB",
    "gb": "GB", "liters": "l", "litres": "l",
}  # fmt: skip
SHORT_UNITS = {
    "m": "m", "g": "g", "s": "s", "h": "h", "l": "l", "min": "min", "in": "in", "c": "°C",
    "f": "°F", "km2": "km²", "m2": "m²",
}  # fmt: skip
LASTING_WORDS = frozenset({"time", "duration", "delay", "wait", "travel", "trip", "elapsed"})
COORDINATE_WORDS = frozenset({"latitude", "longitude", "lat", "lon", "lng"})


def role_of(facts: Facts) -> Role:
    """The part a column may play."""
    filled = facts.rows - facts.nulls
    if facts.distinct == 0 or (facts.distinct == 1 and facts.nulls == 0):
        return "constant"
    if facts.type == "BOOLEAN" or _is_yes_or_no(facts):
        return "boolean"
    if facts.type == "DATE" or facts.type.startswith("TIMESTAMP"):
        return "date"
    if facts.mean is not None:
        return _role_of_number(facts, filled)
    return _role_of_text(facts, filled)


def _is_yes_or_no(facts: Facts) -> bool:
    if facts.distinct != 2 or facts.min is None or facts.max is None:
        return False
    return {facts.min.lower(), facts.max.lower()} in YES_AND_NO


def _role_of_number(facts: Facts, filled: int) -> Role:
    words = words_of(facts.name)
    if COORDINATE_WORDS & set(words):
        return "identifier"
    if facts.type in ("DOUBLE", "FLOAT"):
        return "measure"
    if words and words[-1] in CALENDAR_WORDS:
        return "category"
    if _is_clock(facts, words) or _is_numbered(facts, words, filled):
        return "identifier"
    if facts.distinct <= FEW_VALUES_OF_NUMBERS and filled > 4 * facts.distinct:
        return "category"
    return "measure"


def _is_clock(facts: Facts, words: Sequence[str]) -> bool:
    """Clock times written as one number, 517 for 5:17: their average means nothing."""
    enough = facts.distinct > 100 and facts.max is not None and int(facts.max) > 1000
    return facts.could_be_clock and enough and bool({"time", "hhmm", "clock"} & set(words))


def _is_numbered(facts: Facts, words: Sequence[str], filled: int) -> bool:
    """Numbers that name things: by their name, or as a row number, each once without gaps."""
    if set(words) & COUNTING_WORDS:
        return False
    if words and (words[-1] in IDENTIFYING_WORDS or words[0] == "id"):
        return True
    if facts.distinct != facts.rows or facts.rows < ROWS_TO_JUDGE_IDENTIFIERS:
        return False
    return int(facts.max or 0) - int(facts.min or 0) + 1 == filled


def _role_of_text(facts: Facts, filled: int) -> Role:
    if facts.type.endswith("]") or facts.type.startswith(("STRUCT", "MAP", "JSON", "BLOB")):
        return "text"
    many = filled >= ROWS_TO_JUDGE_IDENTIFIERS
    wordy = (facts.length_mean or 0) > LENGTH_OF_FREE_TEXT
    if many and facts.distinct >= SHARE_OF_AN_IDENTIFIER * filled:
        return "text" if wordy else "identifier"
    if facts.distinct <= FEW_VALUES_OF_TEXT:
        return "category" if not many or facts.distinct <= filled / 2 else "text"
    if facts.distinct <= MANY_VALUES_OF_TEXT and facts.distinct <= SHARE_OF_A_CATEGORY * filled:
        return "category"
    words = words_of(facts.name)
    if words and words[-1] in IDENTIFYING_WORDS:
        return "identifier"
    if facts.distinct <= MANY_VALUES_OF_TEXT and not wordy and facts.distinct <= filled / 2:
        return "category"
    return "text"


def words_of(name: str) -> list[str]:
    """The words in a column name, however they are joined: `Body Mass (g)`, `bodyMass_g`."""
    return [word.lower() for word in WORD.findall(name)]


def unit_of(name: str) -> str | None:
    """The unit a name gives, or None: `(mm)`, `_km`, `price_usd`, `share %`."""
    bracketed = BRACKETED.search(name)
    if bracketed:
        inside = bracketed.group(1)
        return UNITS.get(inside.lower()) or SHORT_UNITS.get(inside.lower()) or inside
    words = words_of(name)
    if not words:
        return None
    if words[-1] in UNITS:
        return UNITS[words[-1]]
    if len(words) == 1 or not re.search(r"[_ ]\w+$", name):
        return None
    if words[-1] == "min" and not LASTING_WORDS & set(words):  # the minimum, more likely
        return None
    return SHORT_UNITS.get(words[-1])


def notes_on(facts: Sequence[Facts]) -> list[str]:
    """What someone who writes SQL on these columns should know and cannot see."""
    by_name = {fact.name.lower(): fact for fact in facts}
    notes = [
        f'column "{fact.name}" holds clock times as one number (517 is 5:17); do not average it'
        for fact in facts
        if fact.mean is not None
        and fact.type not in ("DOUBLE", "FLOAT")
        and _is_clock(fact, words_of(fact.name))
    ]
    parts = [by_name.get(part) for part in ("year", "month", "day")]
    if all(part is not None and part.mean is not None for part in parts):
        year, month, day = (part.name for part in parts if part is not None)
        notes.append(f'a date is in three columns: make_date("{year}", "{month}", "{day}")')
    return notes
