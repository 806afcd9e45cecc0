"""Inside the child: read one file of any kind into a DuckDB file with one table, `data`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import duckdb

from jobs.datasets import column_types
from jobs.datasets.decoding import Text
from jobs.datasets.dialect import clean_names
from jobs.datasets.duck import fetch_one, first_line, open_to_build, quote_name, quote_text
from jobs.datasets.errors import UnreadableDataset
from jobs.datasets.formats import (
    HEAD_BYTES,
    Format,
    Packing,
    Recognised,
    format_by_first_character,
    recognise,
    refuse_strangers,
)
from jobs.datasets.separated import load_separated
from jobs.datasets.unpacking import look_inside_zip, open_unpacked

STAGED = Path("staged.txt")


def ingest(
    source: str, name: str, output: str, columns_max: int, bytes_max: int, memory_mib: int
) -> dict[str, Any]:
    """Read `source` (called `name` by its owner) into the new DuckDB file `output`.

    Returns `format`, `rows`, `columns` (name and type each) and `notes`. Raises
    `UnreadableDataset` with what is wrong, and where.
    """
    path = Path(source)
    recognised, format_ = _recognise_file(path, name, bytes_max)
    connection = open_to_build(output, [source, str(STAGED.absolute())], memory_mib)
    load = Load(connection, columns_max, bytes_max)
    match format_:
        case Format.PARQUET:
            load.parquet(path)
        case Format.XLSX:
            load.workbook(path)
        case Format.JSON | Format.JSONL:
            load.json(path, recognised.packing, format_)
        case Format.CSV | Format.TSV:
            load.separated(path, recognised.packing, "\t" if format_ is Format.TSV else None)
    return {"format": format_.value, **load.finish()}


def _recognise_file(path: Path, name: str, bytes_max: int) -> tuple[Recognised, Format]:
    """What the file is, with a look inside its packing where that is needed."""
    with path.open("rb") as stream:
        recognised = recognise(stream.read(HEAD_BYTES), name)
    if recognised.packing is Packing.ZIP:
        recognised = look_inside_zip(path)
    if recognised.packing is Packing.NONE and recognised.format is not None:
        return recognised, recognised.format
    with open_unpacked(path, recognised.packing, bytes_max) as unpacked:
        head = unpacked.read(HEAD_BYTES)
    if not head:
        raise UnreadableDataset("the packed file is empty")
    refuse_strangers(head)
    return recognised, recognised.format or format_by_first_character(head)


class Load:
    """One table on its way into the file; collects notes as it goes."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, columns_max: int, bytes_max: int
    ) -> None:
        self._connection = connection
        self._columns_max = columns_max
        self._bytes_max = bytes_max
        self._notes: list[str] = []

    def separated(self, path: Path, packing: Packing, separator: str | None) -> None:
        """CSV and its kin."""
        text = Text(path, packing, self._bytes_max)
        self._notes += text.notes
        self._load_text(text, separator)

    def workbook(self, path: Path) -> None:
        """Excel, by way of CSV."""
        from jobs.datasets.workbook import write_first_sheet

        sheet = Path("sheet.csv")
        self._notes += write_first_sheet(
            path, sheet, columns_max=self._columns_max, bytes_max=self._bytes_max
        )
        self._load_text(Text(sheet, Packing.NONE, 2 * self._bytes_max), ",")

    def parquet(self, path: Path) -> None:
        """Parquet keeps its own types."""
        scan = f"read_parquet({quote_text(str(path))})"
        try:
            names = self._describe(scan)
            self._make_table(scan, [(quote_name(name), name) for name in names])
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise UnreadableDataset(
                f"the Parquet file is damaged or cut off: {_without_path(error, path)}"
            ) from error

    def json(self, path: Path, packing: Packing, format_: Format) -> None:
        """Records in JSON, one a line or in one list."""
        text = Text(path, packing, self._bytes_max)
        self._notes += text.notes
        layout = _json_layout(text.sample(), format_)
        text.write_rows(STAGED, 0)
        scan = (
            f"read_json({quote_text(str(STAGED.absolute()))}, format='{layout}', "
            "records=true, sample_size=-1, maximum_depth=2, map_inference_threshold=-1, "
            "convert_strings_to_integers=false, maximum_object_size=16777216)"
        )
        try:
            names = self._describe(scan)
            self._connection.execute(f"CREATE TEMP TABLE raw AS FROM {scan}")
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            _refuse_json(error, STAGED)
        self._make_typed_table(names)

    def finish(self) -> dict[str, Any]:
        """Close the file; returns what is in it."""
        described = self._connection.execute("DESCRIBE made.data").fetchall()
        (rows,) = fetch_one(self._connection, "SELECT count(*) FROM made.data")
        if rows == 0:
            raise UnreadableDataset("there are column names in the file, but no rows")
        self._connection.execute("DETACH made")
        return {
            "rows": rows,
            "columns": [[column[0], column[1]] for column in described],
            "notes": self._notes,
        }

    def _load_text(self, text: Text, separator: str | None) -> None:
        loaded = load_separated(self._connection, text, STAGED, separator, self._columns_max)
        self._notes += loaded.notes
        raw = [quote_name(f"c{i}") for i in range(len(loaded.names))]
        kinds = column_types.kinds_of_separated_values(loaded.separator)
        readings = column_types.read_columns(self._connection, "raw", raw, kinds)
        self._note_readings(raw, loaded.names, readings)
        expressions = [reading.expression for reading in readings]
        self._make_table("raw", list(zip(expressions, loaded.names, strict=True)))

    def _make_typed_table(self, names: Sequence[str]) -> None:
        """From `raw` as JSON gave it, with text that is dates made dates."""
        described = self._connection.execute("DESCRIBE raw").fetchall()
        types = {row[0]: row[1] for row in described}
        texts = [quote_name(name) for name in names if types[name] == "VARCHAR"]
        text_names = [name for name in names if types[name] == "VARCHAR"]
        readings = column_types.read_columns(
            self._connection, "raw", texts, column_types.kinds_of_json_text()
        )
        self._note_readings(texts, text_names, readings)
        converted = {n: r.expression for n, r in zip(text_names, readings, strict=True)}
        self._make_table("raw", [(converted.get(name, quote_name(name)), name) for name in names])

    def _make_table(self, source: str, columns: list[tuple[str, str]]) -> None:
        """Create `data` from (expression, column name) pairs."""
        names = clean_names([name for _, name in columns])
        selected = ", ".join(
            f"{expression} AS {quote_name(name)}"
            for (expression, _), name in zip(columns, names, strict=True)
        )
        self._connection.execute(
            f"CREATE TABLE made.data AS SELECT {selected} FROM {source}"  # noqa: S608 - quoted names
        )

    def _describe(self, scan: str) -> list[str]:
        names = [row[0] for row in self._connection.execute(f"DESCRIBE FROM {scan}").fetchall()]
        refuse_too_many_columns(len(names), self._columns_max)
        return names

    def _note_readings(
        self,
        raw: Sequence[str],
        names: Sequence[str],
        readings: Sequence[column_types.Reading],
    ) -> None:
        for column, name, reading in zip(raw, names, readings, strict=True):
            kind = reading.kind
            if kind.says:
                self._notes.append(f"column {json.dumps(name, ensure_ascii=False)}: {kind.says}")
            if column_types.is_day_month_ambiguous(self._connection, "raw", column, kind):
                self._notes[-1] += "; the day could as well stand first"


def _json_layout(sample: str, format_: Format) -> str:
    """How DuckDB calls the layout; raises `UnreadableDataset` for JSON that is not records."""
    start = sample.lstrip()
    if not start:
        raise UnreadableDataset("the file is empty: there are only blank lines in it")
    if start.startswith("["):
        if format_ is Format.JSON and start[1:].lstrip().startswith("{"):
            return "array"
        raise UnreadableDataset('the JSON is a list of values, not of records like {"name": 1}')
    if not start.startswith("{"):
        raise UnreadableDataset(
            'there are no JSON records in it: a line should look like {"name": 1}'
        )
    first_line_of_it = start.split("\n", 1)[0].strip()
    if format_ is Format.JSON and not _is_record(first_line_of_it):
        raise UnreadableDataset(
            "the JSON is one object; send a list of records, or one record a line"
        )
    return "newline_delimited"


def _is_record(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def refuse_too_many_columns(count: int, columns_max: int) -> None:
    """Raise `UnreadableDataset` past the limit."""
    if count > columns_max:
        raise UnreadableDataset(
            f"the table has {count:,} columns; at most {columns_max:,} are read. "
            "If they are measurements over time or place, give each its own row"
        )


def _refuse_json(error: duckdb.Error, staged: Path) -> NoReturn:
    line = _first_line_that_is_no_record(staged)
    if line:
        raise UnreadableDataset(
            f'line {line:,} is not a JSON record like {{"name": 1}}; the file may be cut off there'
        ) from error
    raise UnreadableDataset(
        f"the JSON is damaged or cut off: {_without_path(error, staged)}"
    ) from error


def _first_line_that_is_no_record(staged: Path) -> int | None:
    """The line to blame, in a file of one record a line; DuckDB may name the one after it."""
    with staged.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if number == 1 and line.lstrip().startswith("["):
                return None
            if line.strip() and not _is_record(line):
                return number
    return None


def _without_path(error: duckdb.Error, path: Path) -> str:
    """What DuckDB says, without telling where our files are."""
    message = first_line(error).replace(str(path.absolute()), "the file")
    return message.replace(str(path), "the file")
