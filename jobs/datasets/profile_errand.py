"""Inside the child: measure every column of a table with SQL, and say what part each may play.

Numbers come from DuckDB and are exact; the judgement on them is in `jobs.datasets.roles`.
"""

from __future__ import annotations

from typing import Any

import duckdb

from jobs.datasets import roles
from jobs.datasets.duck import fetch_one, open_read_only, quote_name

COLUMNS_AT_ONCE = 25
PRINTED_CHARACTERS_MAX = 100
TOP_MAX = 12
FLOATING = ("DOUBLE", "FLOAT", "DECIMAL")
WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def measure(path: str, columns_max: int, memory_mib: int) -> dict[str, Any]:
    """The number of rows, and for the first columns what they hold and their role.

    Returns `rows`, `columns` (dicts as `jobs.datasets.profile.ColumnProfile` has fields),
    `columns_left_out` and `notes`.
    """
    connection = open_read_only(path, memory_mib)
    described = [(row[0], row[1]) for row in connection.execute("DESCRIBE data").fetchall()]
    measured = described[:columns_max]
    rows = int(fetch_one(connection, "SELECT count(*) FROM data")[0])
    facts: list[roles.Facts] = []
    for start in range(0, len(measured), COLUMNS_AT_ONCE):
        facts += _measure_columns(connection, measured[start : start + COLUMNS_AT_ONCE], rows)
    columns = [_finish(connection, fact) for fact in facts]
    return {
        "rows": rows,
        "columns": columns,
        "columns_left_out": len(described) - len(measured),
        "notes": roles.notes_on(facts),
    }


def _measure_columns(
    connection: duckdb.DuckDBPyConnection, columns: list[tuple[str, str]], rows: int
) -> list[roles.Facts]:
    """One pass over some columns: counts, range, mean, and what tells ids and clock times apart."""
    expressions = [e for name, type_ in columns for e in _expressions(quote_name(name), type_)]
    sql = f"SELECT {', '.join(expressions)} FROM data"  # noqa: S608 - quoted names
    values = iter(fetch_one(connection, sql))
    facts = []
    for name, type_ in columns:
        count, distinct, low, high, mean, length, odd_clock = (next(values) for _ in range(7))
        facts.append(
            roles.Facts(
                name=name,
                type=type_,
                rows=rows,
                nulls=rows - count,
                distinct=distinct,
                min=_shorten(low),
                max=_shorten(high),
                mean=mean,
                length_mean=length,
                could_be_clock=odd_clock == 0 and count > 0,
            )
        )
    return facts


def _expressions(column: str, type_: str) -> tuple[str, ...]:
    numeric = is_whole(type_) or is_floating(type_)
    return (
        f"count({column})",
        f"count(DISTINCT {column})",
        f"CAST(min({column}) AS VARCHAR)",
        f"CAST(max({column}) AS VARCHAR)",
        f"favg({column}) FILTER (isfinite(CAST({column} AS DOUBLE)))" if numeric else "NULL",
        f"avg(length({column}))" if type_ == "VARCHAR" else "NULL",
        f"count_if({column} NOT BETWEEN 0 AND 2400 OR {column} % 100 > 59)"
        if is_whole(type_)
        else "NULL",
    )


def is_whole(type_: str) -> bool:
    """Whether a DuckDB type holds whole numbers."""
    return type_.removeprefix("U") in WHOLE


def is_floating(type_: str) -> bool:
    """Whether a DuckDB type holds numbers with a fraction."""
    return type_.startswith(FLOATING) and not type_.endswith("]")


def _shorten(printed: str | None) -> str | None:
    if printed is None:
        return None
    printed = printed.replace("\0", "\ufffd")
    if len(printed) <= PRINTED_CHARACTERS_MAX:
        return printed
    return printed[:PRINTED_CHARACTERS_MAX] + "…"


def _finish(connection: duckdb.DuckDBPyConnection, facts: roles.Facts) -> dict[str, Any]:
    role = roles.role_of(facts)
    return {
        "name": facts.name,
        "type": facts.type,
        "role": role,
        "distinct": facts.distinct,
        "nulls": facts.nulls,
        "min": facts.min,
        "max": facts.max,
        "mean": facts.mean,
        "top": _top(connection, facts.name) if role in ("category", "boolean") else [],
        "unit": roles.unit_of(facts.name) if role == "measure" else None,
    }


def _top(connection: duckdb.DuckDBPyConnection, name: str) -> list[dict[str, Any]]:
    """The most frequent values, missing among them, ties in the order of the values."""
    column = quote_name(name)
    rows = connection.execute(
        f"SELECT CAST({column} AS VARCHAR), count(*) FROM data GROUP BY {column} "  # noqa: S608
        f"ORDER BY count(*) DESC, {column} NULLS LAST LIMIT {TOP_MAX}"
    ).fetchall()
    return [{"value": _shorten(value), "count": count} for value, count in rows]
