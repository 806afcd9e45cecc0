"""Run one SQL statement, written by anyone, on a table made ready; in a confined child."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.datasets.confine import MIB, Limits, OutOfMemory, TimedOut, run_confined
from jobs.datasets.errors import RefusedQuery

Cell = str | int | float | bool | None


@dataclass(frozen=True)
class QueryLimits:
    """What one query may use and give."""

    rows_max: int = 10_000
    cell_characters_max: int = 10_000
    bytes_max: int = 8 * MIB
    wall_clock_s: float = 30.0
    memory_mib: int = 512


@dataclass(frozen=True)
class Answer:
    """The result of a query: at most the limits' rows, every cell a JSON scalar.

    `truncated` says that there were more rows, `cells_cut` how many long texts were shortened.
    """

    columns: tuple[str, ...]
    types: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    truncated: bool
    cells_cut: int
    elapsed_s: float


def query(table: Path, sql: str, *, limits: QueryLimits | None = None) -> Answer:
    """Run `sql` on the DuckDB file `table`, read-only.

    Raises `RefusedQuery`, with words for whoever wrote the SQL, if it may not run, fails, or takes
    too much time or memory; `jobs.datasets.confine.Crashed` if the machinery failed.
    """
    limits = limits or QueryLimits()
    arguments = {
        "path": str(table.resolve()),
        "sql": sql,
        "rows_max": limits.rows_max,
        "cell_characters_max": limits.cell_characters_max,
        "bytes_max": limits.bytes_max,
        "memory_mib": limits.memory_mib,
    }
    try:
        outcome = run_confined(
            "jobs.datasets.query_errand:run_query",
            arguments,
            limits=confinement(limits),
            readable=[table],
        )
    except (TimedOut, OutOfMemory) as error:
        raise RefusedQuery(f"the query {error}; aggregate or filter more") from error
    value = outcome.value
    return Answer(
        columns=tuple(value["columns"]),
        types=tuple(value["types"]),
        rows=tuple(tuple(row) for row in value["rows"]),
        truncated=value["truncated"],
        cells_cut=value["cells_cut"],
        elapsed_s=outcome.elapsed_s,
    )


def confinement(limits: QueryLimits) -> Limits:
    """The child's limits for a query: what DuckDB keeps to itself, and half as much again."""
    return Limits(
        wall_clock_s=limits.wall_clock_s,
        cpu_s=max(1, round(2 * limits.wall_clock_s)),
        memory_bytes=(limits.memory_mib * 3 // 2 + 256) * MIB,
        file_bytes=2048 * MIB,
        answer_bytes=6 * limits.bytes_max,
    )
