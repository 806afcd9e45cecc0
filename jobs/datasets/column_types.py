"""Which type the text in each column stands for, decided on every value and never by loss.

A column gets a type only if *all* its values have it, so no value is ever dropped to fit. The
first rows suggest where to start; a query over all rows then checks the suggestions, and those
columns that fail move on to the next, wider kind, down to text.

`007` is text: a number would lose its zeros. So is a number of more digits than a type can hold.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import duckdb

from jobs.datasets.duck import fetch_one, quote_text

SAMPLE_CELLS_MAX = 200_000
SAMPLE_ROWS_MAX = 2_000
COLUMNS_AT_ONCE = 50  # the memory of one query grows with the square of its expressions


@dataclass(frozen=True)
class Kind:
    """One reading of text: the test every value must pass, and the expression that converts it.

    In both, `{c}` is the column. `pattern`, if any, is the cheap test and is also used on the
    sample; `check` is what a pattern cannot say. `says` is for the note, if the reading is not
    plain.
    """

    name: str
    convert: str
    pattern: str | None = None
    check: str | None = None
    says: str | None = None

    def holds(self) -> str:
        """The whole test as SQL with `{c}` open."""
        tests = [self.check] if self.check else []
        if self.pattern:
            tests.insert(0, f"regexp_full_match({{c}}, {_brace_safe(quote_text(self.pattern))})")
        return " AND ".join(tests) or "true"


def _brace_safe(sql: str) -> str:
    return sql.replace("{", "{{").replace("}", "}}")


def _dates_like(form: str, example: str, pattern: str, type_: str = "DATE") -> Kind:
    return Kind(
        name=f"date {form}",
        pattern=rf"\s*{pattern}\s*",
        check=f"try_strptime(trim({{c}}), '{form}') IS NOT NULL",
        convert=f"CAST(strptime(trim({{c}}), '{form}') AS {type_})",
        says=f"text like {example} read as {'dates' if type_ == 'DATE' else 'times'}",
    )


_TIDY = "trim({c})"
_DMY = r"\d{1,2}"
_MONTH = r"[A-Za-z]{3}"
_LONG_MONTH = r"[A-Za-z]{3,9}"

BOOLEAN = Kind("boolean", f"CAST({_TIDY} AS BOOLEAN)", r"(?i)\s*(true|false)\s*")
INTEGER = Kind("integer", f"CAST({_TIDY} AS BIGINT)", r"\s*[+-]?(0|[1-9]\d{0,17})\s*")
BIG_INTEGER = Kind("big integer", f"CAST({_TIDY} AS HUGEINT)", r"\s*[+-]?(0|[1-9]\d{0,36})\s*")
NUMBER = Kind(
    "number",
    f"CAST({_TIDY} AS DOUBLE)",
    r"\s*[+-]?((0|[1-9]\d{0,17})(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?\s*|\s*[+-]?(?i:inf)\s*",
    check="TRY_CAST(trim({c}) AS DOUBLE) IS NOT NULL",
)
GROUPED_INTEGER = Kind(
    "grouped integer",
    "CAST(replace(trim({c}), ',', '') AS BIGINT)",
    r"\s*[+-]?(0|[1-9]\d{0,2}(,\d{3}){0,5}|[1-9]\d{0,17})\s*",
    says="numbers written like 1,234",
)
GROUPED_NUMBER = Kind(
    "grouped number",
    "CAST(replace(trim({c}), ',', '') AS DOUBLE)",
    r"\s*[+-]?(0|[1-9]\d{0,2}(,\d{3}){0,5}|[1-9]\d{0,17})(\.\d+)?\s*",
    says="numbers written like 1,234.5",
)
_BARE_AMOUNT = r"regexp_replace({c}, '[$€£,\s]', '', 'g')"
MONEY = Kind(
    "money",
    f"CAST({_BARE_AMOUNT} AS DOUBLE)",
    r"\s*[+-]?\s*[$€£]?\s*[+-]?(0|[1-9]\d{0,2}(,\d{3}){0,5}|[1-9]\d{0,17})(\.\d+)?\s*[€£]?\s*",
    check=f"TRY_CAST({_BARE_AMOUNT} AS DOUBLE) IS NOT NULL",
    says="amounts with a currency sign read as numbers",
)
PERCENT = Kind(
    "percent",
    "CAST(replace({c}, '%', '') AS DOUBLE)",
    r"\s*[+-]?(0|[1-9]\d{0,17})(\.\d+)?\s*%\s*",
    says="percentages like 12% read as the number 12",
)
COMMA_NUMBER = Kind(
    "comma number",
    "CAST(replace(replace(trim({c}), '.', ''), ',', '.') AS DOUBLE)",
    r"\s*[+-]?(0|[1-9]\d{0,2}(\.\d{3}){0,5}|[1-9]\d{0,17})(,\d+)?\s*",
    says="numbers with a decimal comma, like 1.234,5",
)
DATE = Kind(
    "date",
    f"CAST({_TIDY} AS DATE)",
    r"\s*\d{4}-\d{1,2}-\d{1,2}\s*",
    check="TRY_CAST(trim({c}) AS DATE) IS NOT NULL",
)
TIMESTAMP = Kind(
    "timestamp",
    f"CAST({_TIDY} AS TIMESTAMP)",
    r"\s*\d{4}-\d\d-\d\d([T ]\d\d:\d\d(:\d\d(\.\d+)?)?)?\s*",
    check="TRY_CAST(trim({c}) AS TIMESTAMP) IS NOT NULL",
)
ZONED = Kind(
    "zoned timestamp",
    f"CAST(CAST({_TIDY} AS TIMESTAMPTZ) AS TIMESTAMP)",
    r"\s*\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?\s*(Z|[+-]\d\d(:?\d\d)?)\s*",
    check="TRY_CAST(trim({c}) AS TIMESTAMPTZ) IS NOT NULL",
    says="times with an offset, given here in UTC",
)
TIME = Kind(
    "time",
    f"CAST({_TIDY} AS TIME)",
    r"\s*\d{1,2}:\d\d(:\d\d(\.\d+)?)?\s*",
    check="TRY_CAST(trim({c}) AS TIME) IS NOT NULL",
)
MONTH_FIRST = _dates_like("%m/%d/%Y", "12/31/2024 (month first)", rf"{_DMY}/{_DMY}/\d{{4}}")
DAY_FIRST = _dates_like("%d/%m/%Y", "31/12/2024 (day first)", rf"{_DMY}/{_DMY}/\d{{4}}")
WRITTEN_DATES = (
    _dates_like("%d.%m.%Y", "31.12.2024", rf"{_DMY}\.{_DMY}\.\d{{4}}"),
    _dates_like("%Y/%m/%d", "2024/12/31", rf"\d{{4}}/{_DMY}/{_DMY}"),
    _dates_like("%b %d %Y", "Dec 31 2024", rf"{_MONTH} {_DMY} \d{{4}}"),
    _dates_like("%b %d, %Y", "Dec 31, 2024", rf"{_MONTH} {_DMY}, \d{{4}}"),
    _dates_like("%B %d, %Y", "December 31, 2024", rf"{_LONG_MONTH} {_DMY}, \d{{4}}"),
    _dates_like("%d %b %Y", "31 Dec 2024", rf"{_DMY} {_MONTH} \d{{4}}"),
    _dates_like("%d-%b-%Y", "31-Dec-2024", rf"{_DMY}-{_MONTH}-\d{{4}}"),
    _dates_like("%d %B %Y", "31 December 2024", rf"{_DMY} {_LONG_MONTH} \d{{4}}"),
    _dates_like(
        "%Y/%m/%d %H:%M:%S", "2024/12/31 23:59:59", r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d", "TIMESTAMP"
    ),
    _dates_like("%Y/%m/%d %H:%M", "2024/12/31 23:59", r"\d{4}/\d\d/\d\d \d\d:\d\d", "TIMESTAMP"),
    _dates_like(
        "%m/%d/%Y %H:%M", "12/31/2024 23:59", rf"{_DMY}/{_DMY}/\d{{4}} \d\d?:\d\d", "TIMESTAMP"
    ),
)
TEXT = Kind("text", "{c}")

PLAIN = (BOOLEAN, INTEGER, BIG_INTEGER, NUMBER)
WRITTEN = (GROUPED_INTEGER, GROUPED_NUMBER, PERCENT, MONEY)
TIMES = (DATE, TIMESTAMP, ZONED, TIME, MONTH_FIRST, DAY_FIRST, *WRITTEN_DATES)


@dataclass(frozen=True)
class Reading:
    """How one column is read: the kind, and the SQL expression from its raw column."""

    kind: Kind
    expression: str


def kinds_of_separated_values(separator: str) -> tuple[Kind, ...]:
    """What text in a separated file may stand for, narrowest first."""
    decimal_comma = (COMMA_NUMBER,) if separator == ";" else ()
    return (*PLAIN, *decimal_comma, *WRITTEN, *TIMES, TEXT)


def kinds_of_json_text() -> tuple[Kind, ...]:
    """What text in JSON may stand for: numbers in quotes, and dates, which have no other way."""
    return (*PLAIN, *TIMES, TEXT)


def read_columns(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Sequence[str],
    kinds: Sequence[Kind],
) -> list[Reading]:
    """Decide the kind of every text column (given as quoted SQL names) of a table."""
    if not columns:
        return []
    sample = _sample(connection, table, columns)
    open_kinds = {
        column: [kind for kind in kinds if _fits(kind, values)]
        for column, values in zip(columns, sample, strict=True)
    }
    decided: dict[str, Kind] = {}
    while undecided := [column for column in columns if column not in decided]:
        trial = {column: open_kinds[column].pop(0) for column in undecided}
        for column, holds in _try_all(connection, table, trial).items():
            if holds:
                decided[column] = trial[column]
    return [Reading(decided[c], decided[c].convert.format(c=c)) for c in columns]


def is_day_month_ambiguous(
    connection: duckdb.DuckDBPyConnection, table: str, column: str, kind: Kind
) -> bool:
    """Whether dates read month first could all be read day first just as well."""
    if kind is not MONTH_FIRST:
        return False
    return _try_all(connection, table, {column: DAY_FIRST})[column]


def _sample(
    connection: duckdb.DuckDBPyConnection, table: str, columns: Sequence[str]
) -> list[list[str]]:
    """The different values each column starts with."""
    rows_max = min(SAMPLE_ROWS_MAX, max(1, SAMPLE_CELLS_MAX // max(1, len(columns))))
    rows = connection.execute(
        f"SELECT {', '.join(columns)} FROM {table} LIMIT {rows_max}"  # noqa: S608 - quoted names
    ).fetchall()
    by_column = zip(*rows, strict=True) if rows else ((),) * len(columns)
    return [list({value for value in values if value is not None}) for values in by_column]


def _fits(kind: Kind, values: Sequence[str]) -> bool:
    """Whether the values seen so far could be of this kind; a column of nothing is text."""
    if kind.pattern is None:
        return True
    if not values:
        return kind in PLAIN
    matches = _compiled(kind.pattern).fullmatch
    return all(matches(value) for value in values)


@lru_cache
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.ASCII)


def _try_all(
    connection: duckdb.DuckDBPyConnection, table: str, trial: dict[str, Kind]
) -> dict[str, bool]:
    """Check each column against its kind, over all rows; an empty column is only text."""
    tested = [(column, kind) for column, kind in trial.items() if kind is not TEXT]
    verdicts = dict.fromkeys(trial, True)
    for start in range(0, len(tested), COLUMNS_AT_ONCE):
        batch = tested[start : start + COLUMNS_AT_ONCE]
        tests = ", ".join(
            f"coalesce(bool_and({kind.holds().format(c=column)}) "
            f"FILTER (WHERE {column} IS NOT NULL), false)"
            for column, kind in batch
        )
        row = fetch_one(connection, f"SELECT {tests} FROM {table}")  # noqa: S608 - quoted names
        verdicts.update(zip((column for column, _ in batch), row, strict=True))
    return verdicts
