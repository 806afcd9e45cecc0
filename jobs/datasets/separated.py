"""Load separated text as it stands, every value a string, and say which lines did not fit.

The rows are first staged as plain UTF-8 without their header, so that DuckDB needs to guess
nothing: separator, names and types are ours to decide, and the same on every version. Rows with
too few fields are kept, the missing ones empty; rows with too many are left out; both are noted
with their lines. Past a tenth of the rows we would be reading something else than was meant, and
refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from jobs.datasets.decoding import Text
from jobs.datasets.dialect import Dialect, clean_names, detect_dialect
from jobs.datasets.duck import fetch_one, first_line, quote_text
from jobs.datasets.errors import UnreadableDataset

MISSING_WORDS = ("", "NA", "N/A", "n/a", "#N/A", "NULL", "null", "NaN", "nan")
BAD_ROWS_SHARE_MAX = 0.1
LINE_BYTES_MAX = 8 * 1024 * 1024
BUFFER_BYTES = 4 * LINE_BYTES_MAX
LINES_NAMED = 3

TOO_FEW, TOO_MANY, OPEN_QUOTE = "MISSING COLUMNS", "TOO MANY COLUMNS", "UNQUOTED VALUE"
TOO_LONG = "LINE SIZE OVER MAXIMUM"
COMPLAINTS = {
    TOO_FEW: "had too few fields; the missing ones are empty",
    TOO_MANY: "had too many fields and were left out",
    OPEN_QUOTE: "had quotes in the wrong place and were left out",
    TOO_LONG: "were longer than 8 MiB and were left out",
}


@dataclass(frozen=True)
class Loaded:
    """The names of the table's columns; its values are in the temporary table `raw` (c0, c1, …)."""

    names: tuple[str, ...]
    separator: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class BadRow:
    """A row DuckDB could not take: on which line of the file, why, and how much text it is."""

    line: int
    reason: str
    lines_long: int


def load_separated(
    connection: duckdb.DuckDBPyConnection,
    text: Text,
    staged: Path,
    separator: str | None,
    columns_max: int,
) -> Loaded:
    """Read a text table into `raw`; raises `UnreadableDataset` if it is no table."""
    dialect = detect_dialect(text.sample(), separator)
    if len(dialect.names) > columns_max:
        raise UnreadableDataset(
            f"the table has {len(dialect.names):,} columns; at most {columns_max:,} are read. "
            "If they are measurements over time or place, give each its own row"
        )
    text.write_rows(staged, dialect.lines_before_rows)
    if staged.stat().st_size == 0:
        raise UnreadableDataset("there are column names in the file, but no rows")
    bad_rows = _read(connection, staged, dialect, pad=False)
    if any(row.reason == TOO_FEW for row in bad_rows):
        others = _read(connection, staged, dialect, pad=True)
        bad_rows = [row for row in bad_rows if row.reason == TOO_FEW] + others
    _refuse_if_no_table(connection, bad_rows)
    notes = (*dialect.notes, *_notes_on_bad_rows(bad_rows), *_notes_on_width(dialect))
    return Loaded(clean_names(dialect.names), dialect.separator, notes)


def _read(
    connection: duckdb.DuckDBPyConnection, staged: Path, dialect: Dialect, *, pad: bool
) -> list[BadRow]:
    """Read the staged rows into `raw`; returns those that did not fit, once each."""
    columns = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(dialect.names)))
    missing = ", ".join(quote_text(word) for word in MISSING_WORDS)
    for left_over in ("reject_errors", "reject_scans", "raw"):
        connection.execute(f"DROP TABLE IF EXISTS {left_over}")
    try:
        connection.execute(
            f"""CREATE TEMP TABLE raw AS FROM read_csv(
                {quote_text(str(staged.absolute()))}, auto_detect=false, header=false,
                delim={quote_text(dialect.separator)}, quote='"', escape='"', new_line='\\n',
                columns={{{columns}}}, nullstr=[{missing}], max_line_size={LINE_BYTES_MAX},
                buffer_size={BUFFER_BYTES},
                store_rejects=true, rejects_limit=0, null_padding={pad}, parallel={not pad})"""
        )
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise UnreadableDataset(f"the rows cannot be read: {first_line(error)}") from error
    rows = connection.execute(
        """SELECT line, any_value(error_type)::VARCHAR,
                  any_value(length(csv_line) - length(replace(csv_line, chr(10), '')))
           FROM reject_errors GROUP BY line ORDER BY line"""
    ).fetchall()
    offset = dialect.lines_before_rows
    return [BadRow(line + offset, reason, (breaks or 0) + 1) for line, reason, breaks in rows]


def _refuse_if_no_table(connection: duckdb.DuckDBPyConnection, bad_rows: Sequence[BadRow]) -> None:
    for row in bad_rows:
        if row.reason == OPEN_QUOTE and row.lines_long > 2:
            raise UnreadableDataset(
                f"a quotation mark opened on line {row.line:,} is never closed: "
                "the file is cut off, or the mark is a stray one"
            )
    (good,) = fetch_one(connection, "SELECT count(*) FROM raw")
    if len(bad_rows) > BAD_ROWS_SHARE_MAX * (good + len(bad_rows)) and len(bad_rows) > 1:
        first = bad_rows[0]
        raise UnreadableDataset(
            f"this does not look like a table: {len(bad_rows):,} of its rows do not have the "
            f"fields of the others, the first on line {first.line:,}"
        )


def _notes_on_bad_rows(bad_rows: Sequence[BadRow]) -> list[str]:
    notes = []
    for reason in dict.fromkeys(row.reason for row in bad_rows):
        lines = [row.line for row in bad_rows if row.reason == reason]
        named = ", ".join(f"{line:,}" for line in lines[:LINES_NAMED])
        more = "…" if len(lines) > LINES_NAMED else ""
        complaint = COMPLAINTS.get(reason, "could not be read and were left out")
        notes.append(f"{len(lines):,} rows {complaint} (line {named}{more})")
    return notes


def _notes_on_width(dialect: Dialect) -> list[str]:
    if len(dialect.names) > 1:
        return []
    return ["there is only one column; is the separator a comma, semicolon, tab or bar?"]
