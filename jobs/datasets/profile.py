"""What the columns of a table are like: ranges, commonest values, the part each may play."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from jobs.datasets.confine import run_confined
from jobs.datasets.query import QueryLimits, confinement
from jobs.datasets.roles import Role

COLUMNS_MAX = 200


@dataclass(frozen=True)
class ColumnProfile:
    """One column. `min` and `max` are printed values; `top` is (value, count), commonest first."""

    name: str
    type: str
    role: Role
    distinct: int
    nulls: int
    min: str | None
    max: str | None
    mean: float | None
    top: tuple[tuple[str | None, int], ...]
    unit: str | None


@dataclass(frozen=True)
class Profile:
    """A table at a glance; `columns_left_out` counts those past the limit."""

    rows: int
    columns: tuple[ColumnProfile, ...]
    columns_left_out: int
    notes: tuple[str, ...]


def profile(
    table: Path, *, columns_max: int = COLUMNS_MAX, limits: QueryLimits | None = None
) -> Profile:
    """Measure the DuckDB file `table`, in a confined child.

    Raises `jobs.datasets.confine.ConfinementError` if that takes too much time or memory.
    """
    limits = limits or QueryLimits(wall_clock_s=120.0, memory_mib=1024)
    value = run_confined(
        "jobs.datasets.profile_errand:measure",
        {"path": str(table.resolve()), "columns_max": columns_max, "memory_mib": limits.memory_mib},
        limits=confinement(limits),
        readable=[table],
    ).value
    columns = []
    for column in value["columns"]:
        top = tuple((entry["value"], entry["count"]) for entry in column.pop("top"))
        columns.append(ColumnProfile(top=top, **column))
    return Profile(
        rows=value["rows"],
        columns=tuple(columns),
        columns_left_out=value["columns_left_out"],
        notes=tuple(value["notes"]),
    )
