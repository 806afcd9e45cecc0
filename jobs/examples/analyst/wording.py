"""Names and numbers as people read them: exact figures, spoken column names, SQL quoting."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Any

LABEL_CHARS_MAX = 60
EMPTY = "–"
# A report shows a table of so many rows in full; a figure said in words has to stand in it.
TABLE_ROWS_MAX = 32

_SPELLED_OUT = {
    "arr": "arrival",
    "dep": "departure",
    "dest": "destination",
    "sched": "scheduled",
    "temp": "temperature",
    "precip": "precipitation",
    "qty": "quantity",
    "amt": "amount",
    "avg": "average",
    "num": "number of",
    "tailnum": "tail number",
    "visib": "visibility",
    "humid": "humidity",
    "dewp": "dew point",
}
_UNIT_WORDS = {
    "mm", "cm", "m", "km", "mi", "miles", "g", "kg", "lbs", "lb", "usd", "eur", "gbp", "pct",
    "percent", "min", "mins", "minutes", "s", "sec", "seconds", "ms", "h", "hours", "c", "f",
    "kwh", "mwh", "in",
}  # fmt: skip


def words_of(name: str) -> list[str]:
    """The lower-case words in a name: `depDelay`, `dep_delay` and `Dep delay` are the same two."""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name)
    return re.findall(r"[^\W_]+", parted.lower())


def plain(text: object, chars: int = LABEL_CHARS_MAX) -> str:
    """Text on one line, without control characters, cut with an ellipsis at `chars`."""
    shown = "".join(sign if sign.isprintable() else " " for sign in str(text))
    shown = " ".join(shown.split())
    return shown if len(shown) <= chars else shown[: chars - 1].rstrip() + "…"


def spoken(name: str, unit: str | None = None) -> str:
    """A column's name as a person would say it, its unit left to be said beside it."""
    words = re.sub(r"\(([^)]*)\)\s*$", "", name) if unit else name
    said = words_of(words)
    while unit and len(said) > 1 and (said[-1] in _UNIT_WORDS or said[-1] == unit.lower()):
        said.pop()
    said = [_SPELLED_OUT.get(word, word) for word in said]
    return plain(" ".join(said)) or plain(name) or "unnamed column"


def capital(text: str) -> str:
    """The text with its first letter in upper case, the rest as it was."""
    return text[:1].upper() + text[1:]


def quoted(name: str) -> str:
    """An SQL identifier that means exactly `name`, whatever characters it holds."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """An SQL string that means exactly `text`."""
    return "'" + text.replace("'", "''") + "'"


def exact(value: Any, *, grouped: bool = True) -> str:
    """A value in full: every digit it has, thousands grouped, an en dash for nothing."""
    if value is None:
        return EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    number = as_decimal(value)
    if number is None or not number.is_finite():
        return str(value)
    if number == number.to_integral_value() and abs(number) < Decimal(10) ** 18:
        return f"{int(number):,}" if grouped else str(int(number))
    if number and not Decimal("1e-12") < abs(number) < Decimal("1e21"):
        return str(value)
    return f"{number:,f}" if grouped else f"{number:f}"


def rounded(value: float, decimals: int) -> str:
    """A number rounded half up from the digits it is written with, thousands grouped."""
    step = Decimal(1).scaleb(-decimals)
    return f"{Decimal(repr(value)).quantize(step, rounding=ROUND_HALF_UP):,f}"


def with_unit(figure: str, unit: str | None) -> str:
    """`12.5 mm`, `38.1%`, or the bare figure."""
    if not unit:
        return figure
    return f"{figure}%" if unit == "%" else f"{figure} {unit}"


def as_decimal(value: Any) -> Decimal | None:
    """The number a cell holds, by its written digits; None when it is not a number."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float | Decimal):
        return Decimal(repr(value)) if isinstance(value, float) else Decimal(value)
    return None


def as_number(text: Any) -> float | None:
    """A profile's printed value as a number, None when it is none."""
    if text is None or isinstance(text, bool):
        return None
    try:
        number = Decimal(str(text).replace(",", ""))
    except InvalidOperation:
        return None
    return float(number)


def is_year_name(name: str) -> bool:
    """Whether a column so named holds calendar years, which take no thousands separator."""
    return any(word in {"year", "years", "yr", "jahr", "annee"} for word in words_of(name))
