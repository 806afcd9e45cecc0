"""How a text table is laid out: its separator, what stands above it, and its column names.

The sample is read with each separator in turn; the one that gives the most rows of one same width
wins. Lines above the first row of that width are a title and are left out. The first row is taken
for column names unless it looks like the rows below it.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from jobs.datasets.errors import UnreadableDataset

SEPARATORS = (",", "\t", ";", "|")
SAMPLE_ROWS = 200
NAME_CHARACTERS_MAX = 300
CELL_CHARACTERS_MAX = 16 * 1024 * 1024
NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*%?\s*")
DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}([T ].*)?|\s*\d{1,2}[/.]\d{1,2}[/.]\d{2,4}\s*")
YEAR = re.compile(r"\s*(19|20|21)\d\d\s*")


@dataclass(frozen=True)
class Dialect:
    """Where the rows begin and how they are divided."""

    separator: str
    lines_before_rows: int
    names: tuple[str, ...]
    notes: tuple[str, ...]


def detect_dialect(sample: str, separator: str | None = None) -> Dialect:
    """Find the layout from the first lines of a table; `separator` if the format fixes it.

    Raises `UnreadableDataset` if there is no row in it.
    """
    if not sample.strip():
        raise UnreadableDataset("the file is empty: there are only blank lines in it")
    candidates = [separator] if separator else list(SEPARATORS)
    layouts = [_lay_out(sample, candidate) for candidate in candidates]
    best = max(layouts, key=lambda layout: layout.score)
    first, *following = best.rows
    has_names = not _looks_like_data(first, following)
    notes = list(_preamble_notes(best))
    if not has_names:
        notes.append("the first row looks like data, so the columns are named column_1, column_2…")
    return Dialect(
        separator=best.separator,
        lines_before_rows=best.lines_to_first if has_names else best.lines_above,
        names=tuple(first) if has_names else ("",) * len(first),
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Layout:
    separator: str
    score: tuple[float, int]
    rows: list[list[str]]
    lines_above: int
    lines_to_first: int


def _lay_out(sample: str, separator: str) -> _Layout:
    """Read the sample with one separator and rate how much like a table it looks."""
    rows, ends = _read_rows(sample, separator)
    widths = Counter(len(row) for row in rows if row)
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]))
    score = (count / sum(widths.values()) if width > 1 else 0.0, width)
    start = next(i for i, row in enumerate(rows) if len(row) == width)
    if start and _could_name(rows[start - 1], width):
        start -= 1
        missing = max(0, width - len(rows[start]))
        rows[start] = [""] * missing + rows[start]
    return _Layout(separator, score, rows[start:], ends[start - 1] if start else 0, ends[start])


def _could_name(row: list[str], width: int) -> bool:
    """A row above the usual ones that is wider, or one short (row numbers without a name)."""
    return len(row) > width > 1 or len(row) == width - 1 > 1


def _read_rows(sample: str, separator: str) -> tuple[list[list[str]], list[int]]:
    """The rows of the sample, and after how many lines of the file each ends."""
    csv.field_size_limit(CELL_CHARACTERS_MAX)
    reader = csv.reader(io.StringIO(sample, newline=""), delimiter=separator)
    rows: list[list[str]] = []
    ends: list[int] = []
    try:
        for row in reader:
            rows.append(row)
            ends.append(reader.line_num)
            if len(rows) >= SAMPLE_ROWS:
                break
    except csv.Error as error:
        if not rows:
            raise UnreadableDataset(f"line {reader.line_num} cannot be read: {error}") from error
    return rows, ends


def _preamble_notes(layout: _Layout) -> Sequence[str]:
    if not layout.lines_above:
        return ()
    return (f"{layout.lines_above} line(s) above the column names were left out",)


def _looks_like_data(first: list[str], following: list[list[str]]) -> bool:
    """A first row of numbers over numbers, or all of numbers, is a row and no names."""
    cells = [cell for cell in first if cell.strip()]
    if not cells:
        return False
    if all(_is_value(cell) for cell in cells):
        return not (len(set(cells)) == len(cells) > 1 and all(map(YEAR.fullmatch, cells)))
    return any(
        _is_value(cell)
        and not YEAR.fullmatch(cell)
        and following
        and all(_is_value(row[at]) for row in following if len(row) > at and row[at].strip())
        for at, cell in enumerate(first)
    )


def _is_value(cell: str) -> bool:
    return bool(NUMBER.fullmatch(cell) or DATE.fullmatch(cell))


def clean_names(names: Sequence[str]) -> tuple[str, ...]:
    """Names a table can have: as in the file, but never blank, never twice, never endless.

    DuckDB compares names without regard to case, so `Rate` and `rate` may not both stand.
    """
    taken: set[str] = set()
    cleaned: list[str] = []
    for position, name in enumerate(names, start=1):
        kept = name.replace("\0", "").strip().removeprefix("\ufeff")[:NAME_CHARACTERS_MAX]
        unique = _make_unique(kept or f"column_{position}", taken)
        taken.add(unique.lower())
        cleaned.append(unique)
    return tuple(cleaned)


def _make_unique(name: str, taken: set[str]) -> str:
    candidate, number = name, 2
    while candidate.lower() in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
