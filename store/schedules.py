"""Schedules: put one down, look at it, pause it; and what becomes of its ticks, one call each.

A tick is fired by the clock of the database and by nobody's memory: the row says which tick is
next, and `fire_tick.sql` takes it from there to the one after it, once. Which moment that is, the
callers work out, since Postgres knows no cron expressions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, case, delete, func, select, text, update
from uuid_utils.compat import uuid7

from store.budgets import Caps
from store.errors import NotFound
from store.jsonb import write_json
from store.schema import schedules, ticks
from store.states import BudgetScope, CatchUp, JobClass, Overlap, TickState
from store.transitions import Plan, plans_as_json

_OF_THIS_TENANT = schedules.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")
_TICKS_OF_THIS_TENANT = ticks.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")


@dataclass(frozen=True, slots=True)
class NewSchedule:
    """What is known of a schedule before it exists. `begins` is made by `begins_as_json`.

    One of `cron`, `every_s` and `once_at` is given. `starts_at` is now, by the database.
    """

    tenant_id: UUID
    id: UUID
    name: str
    agent: str
    input: dict[str, Any]
    job_class: JobClass
    begins: dict[str, Any]
    starts_at: datetime
    next_tick_at: datetime
    next_at: datetime
    zone: str
    catch_up: CatchUp
    catch_up_max: int
    overlap: Overlap
    cron: str | None = None
    every_s: int | None = None
    once_at: datetime | None = None
    jitter_s: float = 0.0
    model: str | None = None
    deadline_s: float | None = None
    is_paused: bool = False
    requester: str | None = None
    roles: tuple[str, ...] = ()
    origins_above: tuple[str, ...] = ()
    tainted_by: tuple[str, ...] = ()
    input_tainted: bool = False


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A schedule as it stands; `next_at` is when its next tick is due, the jitter included."""

    tenant_id: UUID
    id: UUID
    name: str
    agent: str
    input: dict[str, Any]
    job_class: JobClass
    model: str | None
    deadline_s: float | None
    begins: dict[str, Any]
    requester: str | None
    roles: list[str]
    origins_above: list[str]
    tainted_by: list[str]
    input_tainted: bool | None
    cron: str | None
    every_s: int | None
    once_at: datetime | None
    zone: str
    starts_at: datetime
    jitter_s: float
    catch_up: CatchUp
    catch_up_max: int
    overlap: Overlap
    created_at: datetime
    paused_at: datetime | None
    next_tick_at: datetime | None
    next_at: datetime | None
    replaced_tick_at: datetime | None
    last_tick_at: datetime | None
    last_job_id: UUID | None


@dataclass(frozen=True, slots=True)
class TickRow:
    """A tick, and what became of it; `missed` ticks right before it had the same fate."""

    tenant_id: UUID
    schedule_id: UUID
    tick_at: datetime
    state: TickState
    reason: str | None
    missed: int
    job_id: UUID | None
    at: datetime
    moved_by: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """One tick to be dealt with: fired, or written down as missed with those from `first` on."""

    first: datetime
    tick_at: datetime
    next_tick_at: datetime | None
    next_at: datetime | None
    missed: int = 0
    is_missed: bool = False


class Fired(StrEnum):
    """What became of a tick that was to be dealt with; `taken`: somebody else was first."""

    FIRED = "fired"
    WAITING = "waiting"
    SKIPPED = "skipped"
    TAKEN = "taken"


class Moved(StrEnum):
    """What became of the wish to move the next run."""

    MOVED = "moved"
    AGAIN = "again"
    PAST = "past"
    ENDED = "ended"
    MISSING = "missing"


def begins_as_json(
    version: str,
    steps: tuple[Plan, ...],
    deadline_s: float | None,
    budget: Mapping[BudgetScope, Caps],
) -> dict[str, Any]:
    """What a new job of an agent begins with, as workers tell it and schedules keep it.

    `budget` is what the job, and the line of jobs it begins, may use.
    """
    return {
        "version": version,
        "steps": plans_as_json(steps),
        "deadline_s": deadline_s,
        "budget": {
            scope.value: {unit.value: f"{cap:f}" for unit, cap in caps.items()}
            for scope, caps in budget.items()
        },
    }


# --- by tenants -----------------------------------------------------------------------------------


def create(tx: Connection, new: NewSchedule, *, count_max: int) -> ScheduleRow | None:
    """Put the schedule down; None when its name or id is taken, or the tenant has too many.

    Those that have no tick to come do not count.
    """
    row = tx.execute(
        _CREATE,
        {
            **{name: getattr(new, name) for name in new.__slots__},
            "input": write_json(new.input),
            "begins": write_json(new.begins),
            "job_class": new.job_class.value,
            "catch_up": new.catch_up.value,
            "overlap": new.overlap.value,
            "roles": list(new.roles),
            "origins_above": list(new.origins_above),
            "tainted_by": list(new.tainted_by),
            "count_max": count_max,
        },
    ).one_or_none()
    return None if row is None else _schedule(row)


_CREATE = text(
    """
    insert into stepwell.schedules (
      tenant_id, id, name, agent, input, job_class, model, deadline_s, begins, requester, roles,
      origins_above, tainted_by, input_tainted, cron, every_s, once_at, zone, starts_at, jitter_s,
      catch_up, catch_up_max, overlap, paused_at, next_tick_at, next_at)
    select :tenant_id, :id, :name, :agent, cast(:input as jsonb), :job_class, :model,
           cast(:deadline_s as double precision), cast(:begins as jsonb), :requester,
           cast(:roles as text[]), cast(:origins_above as text[]), cast(:tainted_by as text[]),
           :input_tainted, :cron, cast(:every_s as int), cast(:once_at as timestamptz), :zone,
           :starts_at, :jitter_s, :catch_up, :catch_up_max, :overlap,
           case when :is_paused then now() end,
           :next_tick_at, :next_at
     where (select count(*) from stepwell.schedules
             where tenant_id = :tenant_id and next_tick_at is not null) < :count_max
    on conflict do nothing
    returning *
    """
)


def read(tx: Connection, schedule_id: UUID, *, to_change: bool = False) -> ScheduleRow:
    """The schedule as it stands, held when it is to be changed; raises `NotFound`."""
    asked = select(schedules).where(schedules.c.id == schedule_id, _OF_THIS_TENANT)
    row = tx.execute(asked.with_for_update(key_share=True) if to_change else asked).one_or_none()
    if row is None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    return _schedule(row)


def list_by_name(
    tx: Connection, *, name: str | None = None, after: str | None = None, limit: int = 50
) -> list[ScheduleRow]:
    """Schedules by name; `after` is the name of the last one of the page above."""
    query = select(schedules).where(_OF_THIS_TENANT)
    if name is not None:
        query = query.where(schedules.c.name == name)
    if after is not None:
        query = query.where(schedules.c.name > after)
    return [_schedule(row) for row in tx.execute(query.order_by(schedules.c.name).limit(limit))]


def pause(tx: Connection, schedule_id: UUID) -> ScheduleRow:
    """Fire nothing any more until it is resumed; raises `NotFound`."""
    tx.execute(
        update(schedules)
        .where(schedules.c.id == schedule_id, _OF_THIS_TENANT, schedules.c.paused_at.is_(None))
        .values(paused_at=func.now())
    )
    return read(tx, schedule_id)


def resume(
    tx: Connection, schedule_id: UUID, next_tick_at: datetime | None, next_at: datetime | None
) -> ScheduleRow:
    """Go on with this tick; one that is not paused stays as it is. Raises `NotFound`."""
    tx.execute(
        update(schedules)
        .where(schedules.c.id == schedule_id, _OF_THIS_TENANT, schedules.c.paused_at.is_not(None))
        .values(
            paused_at=None,
            next_tick_at=next_tick_at,
            next_at=next_at,
            replaced_tick_at=case(
                (schedules.c.next_tick_at == next_tick_at, schedules.c.replaced_tick_at)
            ),
        )
    )
    return read(tx, schedule_id)


def remove(tx: Connection, schedule_id: UUID) -> ScheduleRow:
    """Forget the schedule and its ticks, and return it; its jobs stay. Raises `NotFound`."""
    found = read(tx, schedule_id)
    tx.execute(delete(schedules).where(schedules.c.id == schedule_id, _OF_THIS_TENANT))
    return found


def run_now(tx: Connection, tenant_id: UUID, schedule_id: UUID) -> TickRow:
    """A tick outside of the rhythm; raises `NotFound`."""
    asked = {"tenant": tenant_id, "schedule": schedule_id, "job": uuid7()}
    tick_at = tx.execute(
        text("select stepwell.run_schedule(:tenant, :schedule, :job)"), asked
    ).scalar_one()
    if tick_at is None:
        raise NotFound(f"There is no schedule {schedule_id}.")
    row = tx.execute(
        select(ticks).where(
            _TICKS_OF_THIS_TENANT, ticks.c.schedule_id == schedule_id, ticks.c.tick_at == tick_at
        )
    ).one()
    return _tick(row)


def list_ticks(
    tx: Connection, schedule_id: UUID, *, limit: int = 50, before: datetime | None = None
) -> list[TickRow]:
    """The ticks of a schedule, the latest first."""
    query = select(ticks).where(_TICKS_OF_THIS_TENANT, ticks.c.schedule_id == schedule_id)
    if before is not None:
        query = query.where(ticks.c.tick_at < before)
    return [_tick(row) for row in tx.execute(query.order_by(ticks.c.tick_at.desc()).limit(limit))]


def move_next(tx: Connection, tenant_id: UUID, job_id: UUID, at: datetime, *, key: str) -> Moved:
    """The job of a tick moves the next run of its own schedule; the same `key` is the same call."""
    asked = {"tenant": tenant_id, "job": job_id, "at": at, "key": key}
    found = tx.execute(text("select stepwell.move_next(:tenant, :job, :at, :key)"), asked)
    return Moved(found.scalar_one())


def read_clock(tx: Connection) -> datetime:
    """What time the database says it is, at the beginning of this transaction."""
    moment: datetime = tx.execute(select(func.now())).scalar_one()
    return moment


# --- by the clock, across tenants -----------------------------------------------------------------


def list_due(tx: Connection, limit: int) -> list[ScheduleRow]:
    """Schedules with a tick that has come, the longest overdue first. Locks nothing."""
    rows = tx.execute(
        select(schedules)
        .where(schedules.c.next_at <= func.now(), schedules.c.paused_at.is_(None))
        .order_by(schedules.c.next_at)
        .limit(limit)
    )
    return [_schedule(row) for row in rows]


def fire(tx: Connection, tenant_id: UUID, schedule_id: UUID, move: Move) -> Fired:
    """Deal with one tick, once, whoever else wants to."""
    became = tx.execute(
        _FIRE,
        {
            "tenant": tenant_id,
            "schedule": schedule_id,
            "first": move.first,
            "tick": move.tick_at,
            "missed": move.missed,
            "job": None if move.is_missed else uuid7(),
            "next_tick": move.next_tick_at,
            "next": move.next_at,
        },
    ).scalar_one()
    return Fired(became)


_FIRE = text(
    "select stepwell.fire_tick(:tenant, :schedule, :first, :tick, :missed, cast(:job as uuid), "
    "cast(:next_tick as timestamptz), cast(:next as timestamptz))"
)


def put_off(tx: Connection, tenant_id: UUID, schedule_id: UUID, delay_s: float) -> None:
    """Look at it again later: what comes next cannot be worked out now."""
    tx.execute(
        text(
            "update stepwell.schedules set next_at = now() + make_interval(secs => :delay_s) "
            "where tenant_id = :tenant and id = :schedule and next_at <= now()"
        ),
        {"tenant": tenant_id, "schedule": schedule_id, "delay_s": delay_s},
    )


def list_waiting(tx: Connection, limit: int) -> list[tuple[UUID, UUID]]:
    """Schedules, as (tenant, id), that have waiting ticks and have come free. Locks nothing."""
    return [(row.tenant_id, row.schedule_id) for row in tx.execute(_WAITING, {"limit": limit})]


def start_waiting(tx: Connection, tenant_id: UUID, schedule_id: UUID) -> bool:
    """Fire the oldest waiting tick of a schedule that has come free; whether there was one."""
    statement = text("select stepwell.start_waiting(:tenant, :schedule, :job)")
    asked = {"tenant": tenant_id, "schedule": schedule_id, "job": uuid7()}
    return bool(tx.execute(statement, asked).scalar_one())


_WAITING = text(
    """
    select distinct t.tenant_id, t.schedule_id
      from stepwell.ticks t
      join stepwell.schedules s on s.tenant_id = t.tenant_id and s.id = t.schedule_id
     where t.state = 'waiting' and s.paused_at is null
       and not exists (
         select from stepwell.jobs j
          where j.tenant_id = s.tenant_id and j.id = s.last_job_id and j.finished_at is null)
     limit :limit
    """
)


def forget_ticks(tx: Connection, older_than_s: float, limit: int) -> int:
    """Forget a batch of old ticks; a schedule goes on from its last one, so none fires again."""
    return tx.execute(
        text(
            "delete from stepwell.ticks t where t.ctid in (select o.ctid from stepwell.ticks o "
            "where o.at < now() - make_interval(secs => :age) and o.state <> 'waiting' "
            "order by o.at limit :limit)"
        ),
        {"age": older_than_s, "limit": limit},
    ).rowcount


def forget_ended(tx: Connection, older_than_s: float, limit: int) -> int:
    """Forget a batch of schedules that have no tick to come, and none any more that is kept."""
    return tx.execute(
        text(
            "delete from stepwell.schedules s where s.ctid in (select o.ctid "
            "from stepwell.schedules o where o.next_at is null "
            "and coalesce(o.last_tick_at, o.created_at) < now() - make_interval(secs => :age) "
            "and not exists (select from stepwell.ticks t where t.tenant_id = o.tenant_id "
            "and t.schedule_id = o.id) "
            "limit :limit)"
        ),
        {"age": older_than_s, "limit": limit},
    ).rowcount


def _schedule(row: Row[Any]) -> ScheduleRow:
    told = _named(row._mapping, ScheduleRow.__slots__)
    told["job_class"] = JobClass(told["job_class"])
    told["catch_up"] = CatchUp(told["catch_up"])
    told["overlap"] = Overlap(told["overlap"])
    return ScheduleRow(**told)


def _tick(row: Row[Any]) -> TickRow:
    told = _named(row._mapping, TickRow.__slots__)
    return TickRow(**told | {"state": TickState(told["state"])})


def _named(found: Mapping[Any, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: found[name] for name in names}
