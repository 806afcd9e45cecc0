"""What is due, seen across tenants: steps to ring, workers to give up, jobs to end.

Everything here needs the operator's door, is one bounded statement, and may be asked by any number
of schedulers at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import Connection, text

from store.states import JobClass, Work


@dataclass(frozen=True, slots=True)
class DueStep:
    """A ready step that somebody has to ring for."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    name: str


def take(
    tx: Connection, job_class: JobClass, work: Work, *, room: int, again_s: float
) -> list[DueStep]:
    """Mark at most `room` due steps of a lane as rung, and return them, oldest first."""
    rows = tx.execute(
        text("select * from stepwell.take_due(:class, :work, :room, :again_s)"),
        {"class": job_class.value, "work": work.value, "room": room, "again_s": again_s},
    )
    return [DueStep(*row) for row in rows]


def recover_lost(tx: Connection, lease_s: float) -> tuple[int, int]:
    """Give up workers that stopped beating; returns how many, and how many steps came free."""
    row = tx.execute(
        text("select * from stepwell.recover_lost(:lease_s)"), {"lease_s": lease_s}
    ).one()
    return int(row.workers), int(row.steps)


def sweep_cancelled(tx: Connection) -> int:
    """End cancelled jobs whose last running step died with its worker."""
    return int(tx.execute(text("select stepwell.sweep_cancelled()")).scalar_one())


def count_ready(tx: Connection) -> dict[tuple[JobClass, Work], int]:
    """How many steps wait in Postgres, by lane."""
    rows = tx.execute(
        text(
            "select job_class, work, count(*) as waiting from stepwell.checkpoints "
            "where state = 'ready' and ready_at <= now() group by 1, 2"
        )
    )
    return {(JobClass(row.job_class), Work(row.work)): int(row.waiting) for row in rows}
