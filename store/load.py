"""Load: the census of what waits, and how much the platform can do.

The census is taken by the scheduler, through the operator's door; everybody may read what it says
of the platform, and each tenant its own line. It is a snapshot, about a second old.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, RowMapping, func, select, text, update

from store import refusals
from store.rows import ClassLoad, PlatformLoad
from store.schema import census, load, tenant_census
from store.states import JobClass, Work

# What ended lately tells how long jobs of an agent usually take.
USUAL_JOBS, USUAL_WITHIN_S = 1000, 3600.0

_THIS_TENANT: Any = text("current_setting('stepwell.tenant_id')::uuid")
_LOAD = """
    select l.level, l.since, l.calm, l.measured_at, l.cost_s, l.slots_waits, l.slots_computes,
           l.usual_s,
           extract(epoch from clock_timestamp() - l.judged_at)::float8 as judged_age_s,
           extract(epoch from clock_timestamp() - l.measured_at)::float8 as measured_age_s,
           extract(epoch from clock_timestamp() - l.usual_at)::float8 as usual_age_s
      from stepwell.load l
"""
_READ = text(_LOAD)
_HOLD = text(
    _LOAD
    + """
     where l.measured_at is null
        or l.measured_at <= clock_timestamp()
           - make_interval(secs => greatest(:every_s, :cost_factor * l.cost_s))
       for update skip locked
    """
)
_CAPACITY = text(
    """
    select w.work::text as work, null as job_class, sum(w.slots)::int as many
      from stepwell.workers w where w.state = 'live' group by 1
    union all
    select c.work::text, c.job_class::text, count(*)::int
      from stepwell.workers w
      join stepwell.checkpoints c on c.worker_id = w.id and c.state = 'running'
     where w.state in ('live', 'draining') group by 1, 2
    """
)
# A tenant's line is counted where it stands: this reads the index of what waits, and nothing else.
_COUNT_LINES = text(
    """
    with waiting as (
      select c.tenant_id, c.job_class::text as job_class, count(*)::int as waiting,
             min(c.ready_at) as oldest_at
        from stepwell.checkpoints c
       where c.state = 'ready' and c.rung_at is null and c.ready_at <= now()
       group by 1, 2
    ), away as (
      select c.tenant_id, c.job_class::text as job_class, count(*)::int as away
        from stepwell.checkpoints c
       where c.state = 'ready' and c.rung_at is null and (c.parent_seq is null)::int = 1
         and c.epoch > 0 and c.ready_at > now()
       group by 1, 2
    ), promised as (
      select r.tenant_id, r.job_class::text as job_class, count(*)::int as promised
        from stepwell.refusals r where r.come_at > now() group by 1, 2
    ), lines as (
      select tenant_id, job_class, coalesce(waiting, 0) + coalesce(away, 0) as waiting,
             coalesce(promised, 0) as promised, oldest_at
        from waiting full join promised using (tenant_id, job_class)
                     full join away using (tenant_id, job_class)
    ), kept as (
      insert into stepwell.tenant_census as t (tenant_id, job_class, waiting, promised)
      select tenant_id, job_class, waiting, promised from lines
      on conflict (tenant_id, job_class) do update
        set waiting = excluded.waiting, promised = excluded.promised
        where (t.waiting, t.promised) is distinct from (excluded.waiting, excluded.promised)
    ), gone as (
      delete from stepwell.tenant_census t
       where not exists (select from lines l
                          where l.tenant_id = t.tenant_id and l.job_class = t.job_class::text)
    )
    select l.job_class, sum(l.waiting)::int as waiting, min(l.oldest_at) as oldest_at,
           count(*)::int as tenants, sum(t.weight)::int as weights
      from lines l join stepwell.tenants t using (tenant_id)
     where l.waiting > 0
     group by 1
    """
)
_CLASSES = """
    select c.job_class::text as job_class, c.waiting, c.running, c.tenants, c.weights, c.started,
           c.started_counted, c.started_per_s, c.wait_min_s, c.refused,
           extract(epoch from now() - c.oldest_at)::float8 as oldest_s
      from stepwell.census c
    """
_READ_CLASSES = text(_CLASSES)
_CLASS_COLUMNS = tuple(each.name for each in fields(ClassLoad))
# Jobs that were brought to a lane and had no time left there: no slot was given to them.
_COUNT_TOO_LATE = text(
    """
    select j.job_class::text as job_class, count(*)::int as many
      from stepwell.jobs j
     where j.finished_at > now() - make_interval(secs => :since_s) and j.status = 'expired'
       and j.started_at is null
       and exists (select from stepwell.checkpoints c
                    where c.tenant_id = j.tenant_id and c.job_id = j.id and c.seq = 1
                      and c.rung_at is not null)
     group by 1
    """
)
_COUNT_TURNED_AWAY = text(
    """
    select c.job_class::text as job_class, count(*)::int as many
      from stepwell.checkpoints c
     where c.state = 'ready' and c.rung_at is null and (c.parent_seq is null)::int = 1
       and c.epoch > 0
     group by 1
    """
)
# Who came back has not started: only the others have left the line.
_KEEP_COUNTS = text(
    """
    update stepwell.census
       set waiting = :waiting, oldest_at = :oldest_at, tenants = :tenants, weights = :weights,
           running = :running, refused = refused + :refused, turned_away = :away,
           started_counted = started_counted + :late + :away - turned_away
     where job_class = :its_class
    """
)
_KEEP_RATE = text(
    """
    update stepwell.census
       set started_per_s = :rate, started_counted = :started, weights = :weights
     where job_class = :its_class
    """
)
_USUAL = text(
    """
    select agent, percentile_cont(0.5) within group (
             order by extract(epoch from finished_at - started_at)::float8) as usual_s
      from (select j.agent, j.started_at, j.finished_at from stepwell.jobs j
             where j.finished_at > now() - make_interval(secs => :within_s)
               and j.status = 'completed' and j.started_at is not null
             order by j.finished_at desc limit :jobs) lately
     group by agent
    """
)


@dataclass(frozen=True, slots=True)
class Capacity:
    """What live workers can do at once, and what they are doing."""

    slots: Mapping[Work, int] = field(default_factory=dict)
    running: Mapping[tuple[JobClass, Work], int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Line:
    """What a submission of a tenant to a class would stand behind.

    `waiting` and `promised` are the tenant's own, in this class; `waiting_anywhere` is over all
    classes. `weight` is the tenant's, `waiting_max` its quota.
    """

    platform: PlatformLoad
    its_class: ClassLoad
    waiting: int
    promised: int
    waiting_anywhere: int
    weight: int
    waiting_max: int | None


def read(tx: Connection) -> PlatformLoad:
    """The platform as the last census found it."""
    return _platform(tx.execute(_READ).mappings().one())


def read_classes(tx: Connection) -> dict[JobClass, ClassLoad]:
    """Every class as the last census found it, the most urgent first."""
    found = {row["job_class"]: row for row in tx.execute(_READ_CLASSES).mappings()}
    return {each: _class(found[each.value]) for each in JobClass}


def read_own(tx: Connection) -> dict[JobClass, int]:
    """How much of this tenant waits, by class, where something does. Behind its wall only."""
    rows = tx.execute(
        select(tenant_census.c.job_class, tenant_census.c.waiting).where(
            tenant_census.c.waiting > 0,
            tenant_census.c.tenant_id == _THIS_TENANT,
        )
    )
    return {JobClass(row.job_class): row.waiting for row in rows}


_READ_LINE = text(
    """
    select t.weight as own_weight, t.waiting_max as own_waiting_max, own.*, l.*, c.*
      from stepwell.tenants t
     cross join lateral (
       select coalesce(sum(o.waiting) filter (where o.job_class = :job_class), 0)::int
                as own_waiting,
              coalesce(sum(o.promised) filter (where o.job_class = :job_class), 0)::int
                as own_promised,
              coalesce(sum(o.waiting), 0)::int as own_waiting_anywhere
         from stepwell.tenant_census o where o.tenant_id = t.tenant_id) own
     cross join ("""  # noqa: S608 - made of constants
    + _LOAD
    + ") l cross join ("
    + _CLASSES
    + """) c
     where t.tenant_id = :tenant and c.job_class = :job_class
    """
)


def read_line(tx: Connection, tenant_id: UUID, job_class: JobClass) -> Line | None:
    """What stands before a submission; None when there is no such tenant."""
    given = {"tenant": tenant_id, "job_class": job_class.value}
    row = tx.execute(_READ_LINE, given).one_or_none()
    if row is None:
        return None
    told = dict(row._mapping)
    own = {name[4:]: told.pop(name) for name in list(told) if name.startswith("own_")}
    its_class = {name: told.pop(name) for name in _CLASS_COLUMNS}
    return Line(platform=_platform(told), its_class=_class(its_class), **own)


# --- for the scheduler ----------------------------------------------------------------------------


def read_capacity(tx: Connection) -> Capacity:
    """The slots of live workers, and the steps that run now."""
    slots: dict[Work, int] = {}
    running: dict[tuple[JobClass, Work], int] = {}
    for row in tx.execute(_CAPACITY):
        if row.job_class is None:
            slots[Work(row.work)] = row.many
        else:
            running[JobClass(row.job_class), Work(row.work)] = row.many
    return Capacity(slots, running)


def count_starts(tx: Connection, job_class: JobClass, started: int, wait_min_s: float) -> None:
    """Add to the starts that came out of the backlog, and remember the least that one waited."""
    tx.execute(
        update(census)
        .where(census.c.job_class == job_class.value)
        .values(
            started=census.c.started + started,
            wait_min_s=func.least(census.c.wait_min_s, wait_min_s),
        )
    )


def hold(tx: Connection, every_s: float, cost_factor: float) -> PlatformLoad | None:
    """Begin a census; None when there is a fresh one, or somebody is taking it."""
    given = {"every_s": every_s, "cost_factor": cost_factor}
    row = tx.execute(_HOLD, given).mappings().one_or_none()
    return None if row is None else _platform(row)


def count_lines(tx: Connection, capacity: Capacity, since_s: float) -> None:
    """Count what waits, by tenant and by class. `since_s` is the age of the last count."""
    found = {row.job_class: row for row in tx.execute(_COUNT_LINES)}
    refused = refusals.count_by_class(tx, since_s)
    late = {row.job_class: row.many for row in tx.execute(_COUNT_TOO_LATE, {"since_s": since_s})}
    away = {row.job_class: row.many for row in tx.execute(_COUNT_TURNED_AWAY)}

    def counts(each: JobClass) -> dict[str, Any]:
        row = found.get(each.value)
        return {
            "its_class": each.value,
            "waiting": row.waiting if row else 0,
            "oldest_at": row.oldest_at if row else None,
            "tenants": row.tenants if row else 0,
            "weights": row.weights if row else 0,
            "running": sum(capacity.running.get((each, work), 0) for work in Work),
            "refused": refused.get(each.value, 0),
            "late": late.get(each.value, 0),
            "away": away.get(each.value, 0),
        }

    tx.execute(_KEEP_COUNTS, [counts(each) for each in JobClass])


def keep_rates(tx: Connection, classes: Iterable[ClassLoad]) -> None:
    """Remember how fast classes start, after so many starts as were counted, and for whom."""
    tx.execute(
        _KEEP_RATE,
        [
            {
                "its_class": each.job_class.value,
                "rate": each.started_per_s,
                "started": each.started,
                "weights": each.weights,
            }
            for each in classes
        ],
    )


def forget_waits(tx: Connection) -> None:
    """Begin a new interval of looking for the start that waited least."""
    tx.execute(update(census).values(wait_min_s=None))


def keep_level(tx: Connection, level: int, calm: int) -> None:
    """Put down a judgement."""
    tx.execute(
        text(
            "update stepwell.load set level = :level, calm = :calm, judged_at = clock_timestamp(), "
            "since = case when level = :level then since else clock_timestamp() end"
        ),
        {"level": level, "calm": calm},
    )


def keep_usual(tx: Connection) -> None:
    """Learn how long jobs of each agent usually take, from those that ended lately."""
    rows = tx.execute(_USUAL, {"within_s": USUAL_WITHIN_S, "jobs": USUAL_JOBS})
    told = {row.agent: round(row.usual_s, 3) for row in rows}
    tx.execute(update(load).values(usual_s=told, usual_at=func.now()))


def close_census(tx: Connection, capacity: Capacity, cost_s: float) -> None:
    """The census is taken: as of now, at this cost."""
    tx.execute(
        update(load).values(
            measured_at=func.clock_timestamp(),
            cost_s=cost_s,
            slots_waits=capacity.slots.get(Work.WAITS, 0),
            slots_computes=capacity.slots.get(Work.COMPUTES, 0),
        )
    )


def _platform(row: RowMapping | dict[str, Any]) -> PlatformLoad:
    told = dict(row)
    slots = {Work.WAITS: told.pop("slots_waits"), Work.COMPUTES: told.pop("slots_computes")}
    return PlatformLoad(slots=slots, **told)


def _class(row: RowMapping | dict[str, Any]) -> ClassLoad:
    told = dict(row)
    return ClassLoad(job_class=JobClass(told.pop("job_class")), **told)
