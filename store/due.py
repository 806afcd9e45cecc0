"""What is due, seen across tenants: steps to ring or wake, workers to give up, jobs to end.

Everything here needs the operator's door, is one bounded statement, and may be asked by any number
of schedulers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, select, text

from store.states import JobClass, Work

_TAKE = text(
    "select * from stepwell.take_due_steps(:work, :most, :classes, :rooms, :depths, :again_s)"
)
_LOOK = text(
    """
    select exists (select from stepwell.waits w
                    where w.state = 'pending' and w.wake_at <= now()) as timers,
           exists (select from stepwell.jobs j
                    where j.parent_job_id is not null and not j.parent_told
                      and j.finished_at is not null) as children,
           exists (select from stepwell.dead_letters l
                    where l.state = 'replaying' and l.replay_at <= now()) as replays
    """
)

# How many of something, by lane.
Room = Mapping[tuple[JobClass, Work], int]
NONE: Room = {}


@dataclass(frozen=True, slots=True)
class DueStep:
    """A ready step that somebody has to ring for.

    `is_start`: it came out of the backlog as a first step that nobody has claimed before.
    """

    tenant_id: UUID
    job_id: UUID
    seq: int
    name: str
    job_class: JobClass
    work: Work
    is_start: bool
    waited_s: float


class Due(StrEnum):
    """What a look finds to be due."""

    TIMERS = "timers"
    CHILDREN = "children"
    REPLAYS = "replays"


def take(
    tx: Connection,
    room: Room,
    *,
    again_s: float,
    first: Room = NONE,
    depths: Room = NONE,
    most: Mapping[Work, int] | None = None,
) -> list[DueStep]:
    """Mark due steps as rung and return them, in the order in which they are to be rung.

    Each lane gives as many as it has room for, the most urgent class first; but before all others,
    up to `first` of a lane that something is guaranteed to. `most` bounds all lanes of a kind of
    work. `depths` says how many messages lie on each lane: so many steps are rung for and not lost.
    """
    steps = []
    for work in Work:
        lanes = _in_turn(work, room, first)
        if lanes:
            given = {
                "work": work.value,
                "most": sum(n for _, n in lanes) if most is None else most.get(work, 0),
                "classes": [job_class.value for job_class, _ in lanes],
                "rooms": [n for _, n in lanes],
                "depths": [depths.get((job_class, work), 0) for job_class, _ in lanes],
                "again_s": again_s,
            }
            steps += [_due_step(row, work) for row in tx.execute(_TAKE, given)]
    return steps


def _in_turn(work: Work, room: Room, first: Room) -> list[tuple[JobClass, int]]:
    """The lanes in the order in which they are served, with what each may take then."""
    guaranteed = [(each, first.get((each, work), 0)) for each in JobClass]
    rest = [(each, room.get((each, work), 0) - n) for each, n in guaranteed]
    return [(each, n) for each, n in (*guaranteed, *rest) if n > 0]


def _due_step(row: Any, work: Work) -> DueStep:
    job_class = JobClass(row.job_class)
    waited_s = float(row.waited_s)
    return DueStep(
        row.tenant_id, row.job_id, row.seq, row.name, job_class, work, row.is_start, waited_s
    )


def look(tx: Connection) -> set[Due]:
    """What there is to wake, tell and replay. Locks nothing."""
    row = tx.execute(_LOOK).one()
    return {each for each in Due if getattr(row, each.value)}


def recover_lost(tx: Connection, lease_s: float) -> tuple[int, int]:
    """Give up workers that stopped beating; returns how many, and how many steps came free."""
    row = tx.execute(
        text("select * from stepwell.recover_lost(:lease_s)"), {"lease_s": lease_s}
    ).one()
    return int(row.workers), int(row.steps)


def wake_due(tx: Connection, limit: int) -> int:
    """Wake steps whose time has come; returns how many."""
    return _count(tx, "wake_due", limit)


def tell_parents(tx: Connection, limit: int) -> int:
    """Tell parents of children that ended unheard; returns how many children."""
    return _count(tx, "tell_parents", limit)


def replay_due(tx: Connection, limit: int) -> int:
    """Make jobs of the dead letters whose replay is due; returns how many."""
    return _count(tx, "replay_due", limit)


def list_stopping(tx: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Jobs, as (tenant, id), that are to end and have no step running that would end them."""
    rows = tx.execute(
        text(
            "select j.tenant_id, j.id from stepwell.jobs j where j.finished_at is null "
            "and (j.cancel_requested_at is not null or j.deadline_at <= now()) "
            "and not exists (select from stepwell.checkpoints c where c.tenant_id = j.tenant_id "
            "and c.job_id = j.id and c.state = 'running') limit :limit"
        ),
        {"limit": limit},
    )
    return [(row.tenant_id, row.id) for row in rows]


def stop(tx: Connection, tenant_id: UUID, job_id: UUID) -> None:
    """End a job whose cancel was asked for, or whose deadline has passed."""
    tx.execute(
        text("select stepwell.stop_job(:tenant, :job)"), {"tenant": tenant_id, "job": job_id}
    )


def retire_jobs(tx: Connection, *, kept_s: float, letters_kept_s: float, limit: int) -> int:
    """Forget jobs that ended longer ago than that; returns how many roots went."""
    statement = text("select stepwell.retire_jobs(:kept_s, :letters_kept_s, :limit)")
    given = {"kept_s": kept_s, "letters_kept_s": letters_kept_s, "limit": limit}
    return int(tx.execute(statement, given).scalar_one())


def _count(tx: Connection, function: str, limit: int) -> int:
    statement = select(getattr(func.stepwell, function)(limit))
    return int(tx.execute(statement).scalar_one())
