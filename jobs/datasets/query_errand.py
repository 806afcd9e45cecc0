"""Inside the child: run one checked SQL statement on a table, and make its result plain and exact.

Whole numbers stay whole at any size, doubles keep every digit. A DECIMAL becomes a JSON number if
that loses nothing, else text. What JSON has no word for (dates, times, lists, bytes, not-a-number)
becomes DuckDB's own text for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import duckdb

from jobs.datasets.duck import open_empty, open_read_only
from jobs.datasets.errors import RefusedQuery
from jobs.datasets.query_guard import check_statement, explain

ROWS_AT_ONCE = 500
NATIVE_TYPES = frozenset(
    {
        "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT",
        "UINTEGER", "UBIGINT", "UHUGEINT", "FLOAT", "DOUBLE", "VARCHAR", '"NULL"',
    }
)  # fmt: skip
SPECIAL_NUMBERS = {math.inf: "Infinity", -math.inf: "-Infinity"}


def run_query(
    path: str, sql: str, rows_max: int, cell_characters_max: int, bytes_max: int, memory_mib: int
) -> dict[str, Any]:
    """Run `sql` on the table file; returns columns, types, rows, and whether some were left out.

    Raises `RefusedQuery` for what may not run or fails.
    """
    connection = open_read_only(path, memory_mib)
    statement = check_statement(connection, sql)
    try:
        columns, types = _describe(connection, statement)
        cursor = connection.execute(_printable(statement, types))
        rows, truncated, cut = _collect(cursor, rows_max, cell_characters_max, bytes_max)
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        raise RefusedQuery(explain(error)) from error
    return {
        "columns": columns,
        "types": types,
        "rows": rows,
        "truncated": truncated,
        "cells_cut": cut,
    }


def check_query(sql: str, memory_mib: int) -> bool:
    """Whether the statement may run, without any table; raises `RefusedQuery` when it may not."""
    check_statement(open_empty(memory_mib), sql)
    return True


def _describe(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[list[str], list[str]]:
    """The names and types of the result, without computing it."""
    nothing = f"FROM (\n{statement}\n) LIMIT 0"
    described = connection.execute(nothing).description
    return [str(column[0]) for column in described], [str(column[1]) for column in described]


def _printable(statement: str, types: Sequence[str]) -> str:
    """The statement, wrapped if some of its columns have to become text."""
    if all(_is_native(type_) for type_ in types):
        return statement
    names = [f"v{i}" for i in range(len(types))]
    values = [
        name if _is_native(type_) else f"CAST({name} AS VARCHAR)"
        for name, type_ in zip(names, types, strict=True)
    ]
    selected = f"SELECT {', '.join(values)}"
    return f"{selected} FROM (\n{statement}\n) AS result({', '.join(names)})"


def _is_native(type_: str) -> bool:
    return type_ in NATIVE_TYPES or (type_.startswith("DECIMAL(") and not type_.endswith("]"))


def _collect(
    cursor: duckdb.DuckDBPyConnection, rows_max: int, cell_characters_max: int, bytes_max: int
) -> tuple[list[list[Any]], bool, int]:
    """Rows until there are no more or a limit is reached; and how many cells were cut."""
    rows: list[list[Any]] = []
    size = cut = 0
    for row in _stream(cursor):
        cells = [_plain(value) for value in row]
        for at, cell in enumerate(cells):
            if isinstance(cell, str) and len(cell) > cell_characters_max:
                cells[at] = cell[:cell_characters_max] + "…"
                cut += 1
        size += sum(len(cell) if isinstance(cell, str) else 8 for cell in cells)
        if len(rows) == rows_max or size > bytes_max:
            return rows, True, cut
        rows.append(cells)
    return rows, False, cut


def _stream(cursor: duckdb.DuckDBPyConnection) -> Iterator[tuple[Any, ...]]:
    while batch := cursor.fetchmany(ROWS_AT_ONCE):
        yield from batch


def _plain(value: Any) -> Any:
    """A value JSON has a word for, losing nothing."""
    match value:
        case float():
            if math.isfinite(value):
                return value
            return SPECIAL_NUMBERS.get(value, "NaN")
        case Decimal():
            number = float(value)
            return number if Decimal(repr(number)) == value else str(value)
        case None | bool() | int():
            return value
        case _:
            return str(value).replace("\0", "\ufffd")  # which no JSON column of Postgres can hold
