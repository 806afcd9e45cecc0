"""What each column of a profile is good for: a measure, a rate, a dimension, a moment in time.

The profile says what a column holds; this room says what one can ask of it. The differences matter:
`month` holding 1 to 12 is a number, but nobody wants its mean; `dep_time` holding 517 means 05:17;
`latitude` can be averaged and should not be; a text column of "Jan 1 2000" is a date in disguise;
a `year` and a `month` side by side make a date. Every `Field` carries the SQL expression that reads
it, with identifiers quoted, so no other room has to touch a column's name.
"""

# ruff: noqa: SIM905 - lists of words read best as words
from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from jobs.examples.analyst.shapes import Column, TableProfile
from jobs.examples.analyst.wording import (
    as_number,
    is_year_name,
    literal,
    plain,
    quoted,
    spoken,
    words_of,
)

Kind = Literal[
    "measure", "rate", "dimension", "moment", "part", "clock", "coordinate", "label", "constant"
]
Part = Literal["year", "quarter", "month", "week", "day", "weekday", "hour", "minute"]

_PART_RANGES: dict[str, tuple[Part, float, float]] = {
    "year": ("year", 1000, 2999),
    "yr": ("year", 1000, 2999),
    "quarter": ("quarter", 1, 4),
    "month": ("month", 1, 12),
    "week": ("week", 0, 53),
    "day": ("day", 1, 31),
    "weekday": ("weekday", 0, 7),
    "dow": ("weekday", 0, 7),
    "hour": ("hour", 0, 24),
    "hr": ("hour", 0, 24),
    "minute": ("minute", 0, 60),
}
# Names of what can be added up, and of what a table is usually about.
ADDITIVE = set(
    "sales revenue amount quantity qty units count total profit cost spend deaths wounds visits "
    "generation passengers sold orders gross turnover clicks views".split()
)
FOCAL = ADDITIVE | set(
    "delay price score rating mass weight salary income wage yield temp temperature duration "
    "mpg gallon value".split()
)
_YES = {"yes", "y", "true", "t", "1"}
_NO = {"no", "n", "false", "f", "0"}
# Places on a map and directions: their mean says nothing.
_COORDINATES = set("lat lon lng latitude longitude dir direction angle bearing azimuth".split())
_WRITTEN_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%b %d %Y", "%d %b %Y", "%m/%d/%Y", "%d.%m.%Y", "%Y-%m")
_DIMENSION_VALUES_MAX = 200


@dataclass(frozen=True)
class Field:
    """One column, or one thing derived from columns, and how SQL reads it."""

    name: str
    kind: Kind
    expression: str
    label: str
    distinct: int
    filled: int
    unit: str | None = None
    part: Part | None = None
    low: str | None = None
    high: str | None = None
    mean: float | None = None
    values: tuple[str, ...] = ()
    whole: bool = False
    has_clock: bool = False

    @property
    def low_number(self) -> float | None:
        """The smallest value as a number, where it is one."""
        return as_number(self.low)

    @property
    def high_number(self) -> float | None:
        """The largest value as a number, where it is one."""
        return as_number(self.high)

    @property
    def takes_both_signs(self) -> bool:
        """Whether values lie on both sides of zero, so that a share above zero says something."""
        low, high = self.low_number, self.high_number
        return low is not None and high is not None and low < 0 < high

    @property
    def decimals(self) -> int:
        """How many decimals a mean of this column deserves: two, more where values are small."""
        low, high = self.low_number, self.high_number
        size = max(abs(low or 0.0), abs(high or 0.0))
        if not size or not math.isfinite(size) or size >= 1:
            return 2
        return min(10, 2 - math.floor(math.log10(size)))


@dataclass(frozen=True)
class Table:
    """The usable columns of one table, in the file's order."""

    name: str
    file_name: str
    rows: int
    fields: tuple[Field, ...]

    def of(self, *kinds: Kind) -> list[Field]:
        """The fields of these kinds, in the file's order."""
        return [field for field in self.fields if field.kind in kinds]

    def part(self, part: Part) -> Field | None:
        """The column that holds this part of a time, if there is one."""
        return next((field for field in self.fields if field.part == part), None)

    def calendar(self) -> Field | None:
        """The best dates of the table: composed from year, month and day, else a date column."""
        moments = self.of("moment")
        return _composed(self) or (moments[0] if moments else None)


def read_table(profile: TableProfile) -> Table:
    """See a profile the way an analyst would."""
    fields = tuple(_field(column, profile.rows) for column in profile.columns)
    return Table(name=profile.table, file_name=profile.file_name, rows=profile.rows, fields=fields)


def _field(column: Column, rows: int) -> Field:
    kind, part, expression = _judge(column, rows)
    return Field(
        name=column.name,
        kind=kind,
        expression=expression,
        label=spoken(column.name, column.unit),
        distinct=column.distinct,
        filled=rows - column.nulls,
        unit=column.unit if kind == "measure" else None,
        part=part,
        low=column.min,
        high=column.max,
        mean=column.mean,
        values=tuple(top.value for top in column.top if top.value is not None),
        whole="INT" in column.type.upper(),
        has_clock=column.type.upper().startswith("TIMESTAMP") and not _always_midnight(column),
    )


def _judge(column: Column, rows: int) -> tuple[Kind, Part | None, str]:
    """The kind of a column, the time part it holds, and the expression that reads it."""
    bare = quoted(column.name)
    if column.distinct == 0 or column.nulls >= rows:
        return "constant", None, bare
    part = _time_part(column)
    if part is not None:
        is_text = column.type.upper().startswith("VARCHAR")
        return "part", part, f"try_cast({bare} as integer)" if is_text else bare
    if column.distinct <= 1 or column.role == "constant":
        return "constant", None, bare
    yes = _yes_test(column)
    if yes is not None:
        return "rate", None, yes
    if _is_date_type(column.type):
        return "moment", None, bare
    written = _written_date(column)
    if written is not None:
        return "moment", None, f"cast(try_strptime({bare}, {literal(written)}) as date)"
    return _judge_values(column, bare)


def _judge_values(column: Column, bare: str) -> tuple[Kind, Part | None, str]:
    words = set(words_of(column.name))
    if _is_numeric(column.type):
        if words & _COORDINATES:
            return "coordinate", None, bare
        if _is_clock(column):
            return "clock", None, f"{bare} // 100"
        if column.role == "identifier":
            return "label", None, bare
        if column.role == "category" and not words & FOCAL:
            return "dimension", None, bare
        return "measure", None, _finite(column, bare)
    if column.type.upper().startswith(("VARCHAR", "ENUM", "UUID")):
        repeats = column.role == "category" and column.distinct <= _DIMENSION_VALUES_MAX
        return ("dimension" if repeats else "label"), None, bare
    return "label", None, bare


def _finite(column: Column, bare: str) -> str:
    """Infinities and NaN poison every mean; they are read as missing where they occur."""
    ends = {str(column.min).lower(), str(column.max).lower()}
    return f"if(isfinite({bare}), {bare}, null)" if ends & {"nan", "inf", "-inf"} else bare


def _time_part(column: Column) -> Part | None:
    words = words_of(column.name)
    found = next((_PART_RANGES[word] for word in words[-1:] if word in _PART_RANGES), None)
    low, high = as_number(column.min), as_number(column.max)
    if found is None or low is None or high is None:
        return None
    part, least, most = found
    is_whole = "INT" in column.type.upper() or (low == int(low) and high == int(high))
    if column.type.upper().startswith("VARCHAR") and part != "year":
        return None
    return part if is_whole and least <= low and high <= most else None


def _yes_test(column: Column) -> str | None:
    """An SQL test that is true for yes, false for no, null for missing; None if not a yes/no."""
    bare = quoted(column.name)
    if column.type.upper() == "BOOLEAN":
        return bare
    if column.distinct != 2:
        return None
    if _is_numeric(column.type):
        ends = {as_number(column.min), as_number(column.max)}
        return f"({bare} = 1)" if ends == {0.0, 1.0} else None
    shown = {str(top.value).strip().lower() for top in column.top if top.value is not None}
    if len(shown) == 2 and shown & _YES and shown & _NO:
        return f"(lower(trim({bare})) in ('yes', 'y', 'true', 't', '1'))"
    return None


def _is_clock(column: Column) -> bool:
    """Times written as 517 for 05:17: whole numbers that fill a day of 2,400."""
    low, high = as_number(column.min), as_number(column.max)
    names_a_time = bool({"time", "clock"} & set(words_of(column.name)))
    if not names_a_time or low is None or high is None or "INT" not in column.type.upper():
        return False
    return low >= 0 and 1800 <= high <= 2400


def _is_numeric(type_name: str) -> bool:
    upper = type_name.upper()
    is_whole = "INT" in upper and not any(sign in upper for sign in "([V")
    return is_whole or upper.startswith(("DOUBLE", "FLOAT", "DECIMAL", "REAL"))


def _is_date_type(type_name: str) -> bool:
    return type_name.upper().startswith(("DATE", "TIMESTAMP"))


def _always_midnight(column: Column) -> bool:
    """Whether the ends of the range are whole days; then hours of the day tell nothing."""
    ends = [parse_moment(column.min), parse_moment(column.max)]
    return all(end is None or (end.hour == 0 and end.minute == 0) for end in ends)


def _written_date(column: Column) -> str | None:
    """The one format that reads every sample of a text column as a date."""
    if not column.type.upper().startswith("VARCHAR"):
        return None
    samples = [column.min, column.max, *(top.value for top in column.top)]
    known = [sample for sample in samples if sample]
    return next((form for form in _WRITTEN_DATES if known and _all_read(known, form)), None)


def _all_read(samples: list[str], form: str) -> bool:
    try:
        for sample in samples:
            datetime.strptime(sample.strip(), form)
    except ValueError:
        return False
    return True


def parse_moment(text: str | None) -> datetime | None:
    """A printed date or timestamp, or None."""
    if not text:
        return None
    for form in (None, *_WRITTEN_DATES):
        try:
            read = datetime.fromisoformat(text) if form is None else datetime.strptime(text, form)
        except ValueError:
            continue
        return read.replace(tzinfo=None)
    return None


def _composed(table: Table) -> Field | None:
    """A calendar made of the columns year, month and perhaps day."""
    year, month, day = table.part("year"), table.part("month"), table.part("day")
    if year is None or month is None or year.low_number is None or year.high_number is None:
        return None
    day_of_month = day.expression if day else "1"
    parts = f"{year.expression}, {month.expression}, {day_of_month}"
    first, last = int(year.low_number), int(year.high_number)
    return Field(
        name=plain(f"{year.name}, {month.name}" + (f", {day.name}" if day else "")),
        kind="moment",
        expression=f"try(make_date({parts}))",
        label="date",
        distinct=(last - first + 1) * (365 if day else 12),
        filled=min(year.filled, month.filled),
        low=date(first, 1, 1).isoformat(),
        high=date(last, 12, 31 if day else 1).isoformat(),
    )


def is_year(field: Field) -> bool:
    """Whether a field holds calendar years."""
    return field.part == "year" or (field.whole and is_year_name(field.name))
