"""Schedules: made after all that can be wrong with them was found, resumed with their next tick.

What each job begins with is written down when the schedule is made, as this process knows its
agent. Live workers say it again when a tick fires (`bear_tick.sql`), so a schedule follows new
code, and needs nobody who knows agents to fire.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from jobs.agent.diary import ScheduleWish
from jobs.agent.registry import Program, Registry
from jobs.errors import BadSchedule, UnknownTenant
from jobs.lifecycle.intake import check_input, check_model
from scheduler.ticking import timetable_of
from scheduler.timetable import NoTimetable, Timetable
from store import schedules, tenants
from store.doors import Doors
from store.errors import NotFound
from store.schedules import NewSchedule, ScheduleRow, begins_as_json
from store.states import BudgetScope

NAME_CHARS_MAX = 200
EVERY_S_MAX = 366 * 86_400
JITTER_S_MAX = 86_400.0
AWAY_MAX = timedelta(days=3653)
CATCH_UP_MAX = 1_000
RUNS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Maker:
    """Whose wish a schedule is, which its jobs take over, and the doors that one came through.

    `tainted_by` is what a job had read from outside that made it: its wish may be what that said,
    and so may its input, where that is tainted.
    """

    requester: str | None = None
    roles: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()
    tainted_by: tuple[str, ...] = ()
    input_tainted: bool = False


def make(
    doors: Doors,
    registry: Registry,
    tenant_id: UUID,
    wish: ScheduleWish,
    maker: Maker,
    *,
    count_max: int,
    schedule_id: UUID | None = None,
) -> ScheduleRow:
    """Check the wish and put the schedule down; the same id again gives the one of the first time.

    Raises `BadSchedule`, `UnknownAgent`, `UnknownModel`, `UnknownTenant` and `InvalidInput`.
    """
    program = registry.find(wish.agent)
    asked = check_input(program, wish.input)
    check_model(program, wish.model)
    wish = replace(check_wish(wish), agent=program.name, input=asked)
    new_id = schedule_id or uuid7()
    with doors.as_tenant(tenant_id) as tx:
        if not tenants.exists(tx, tenant_id):
            raise UnknownTenant(tenant_id)
        timetable = read_timetable(wish, starts_at=schedules.read_clock(tx), seed=new_id)
        new = _put_together(tenant_id, wish, timetable, program, maker)
        made = schedules.create(tx, new, count_max=count_max)
        if made is not None:
            return made
        try:
            return schedules.read(tx, new_id)
        except NotFound:
            is_taken = bool(schedules.list_by_name(tx, name=wish.name))
    if is_taken:
        raise bad("name", f"There is a schedule {wish.name!r} already.")
    raise bad("name", f"There are {count_max:,} schedules, as many as there may be.")


def _put_together(
    tenant_id: UUID, wish: ScheduleWish, timetable: Timetable, program: Program, maker: Maker
) -> NewSchedule:
    """The row to be; raises `BadSchedule` when it would never tick."""
    first = timetable.next_after(timetable.starts_at)
    if first is None or timetable.seed is None:
        raise bad("cron" if wish.at is None else "at", "That moment never comes any more.")
    return NewSchedule(
        tenant_id=tenant_id,
        id=timetable.seed,
        name=wish.name,
        agent=wish.agent,
        input=wish.input,
        job_class=wish.job_class,
        begins=begins_of(program),
        starts_at=timetable.starts_at,
        next_tick_at=first,
        next_at=timetable.due_at(first),
        zone=wish.zone,
        catch_up=wish.catch_up,
        catch_up_max=wish.catch_up_max,
        overlap=wish.overlap,
        cron=timetable.cron,
        every_s=timetable.every_s,
        once_at=timetable.once_at,
        jitter_s=wish.jitter_s,
        model=wish.model,
        deadline_s=wish.deadline_s,
        is_paused=wish.is_paused,
        requester=maker.requester,
        roles=maker.roles,
        origins_above=maker.origins,
        tainted_by=maker.tainted_by,
        input_tainted=maker.input_tainted,
    )


def resume(doors: Doors, tenant_id: UUID, schedule_id: UUID) -> ScheduleRow:
    """Go on with the first tick that is still to come: what came in a pause was not missed.

    A next run that is still to come stays as it is, wherever it was moved to.
    """
    with doors.as_tenant(tenant_id) as tx:
        row = schedules.read(tx, schedule_id, to_change=True)
        if row.paused_at is None:
            return row
        now = schedules.read_clock(tx)
        if row.next_tick_at is not None and row.next_tick_at > now:
            return schedules.resume(tx, schedule_id, row.next_tick_at, row.next_at)
        timetable = timetable_of(row)
        passed = max(now, row.last_tick_at or row.starts_at)
        following = timetable.next_after(passed)
        due_at = None if following is None else timetable.due_at(following)
        return schedules.resume(tx, schedule_id, following, due_at)


def next_runs(row: ScheduleRow, count: int = RUNS_SHOWN) -> list[datetime]:
    """When it is due next, on the clocks of its zone; nothing while it is paused."""
    if row.next_tick_at is None or row.paused_at is not None:
        return []
    try:
        timetable = timetable_of(row)
    except NoTimetable:
        return []
    ticks = [row.next_tick_at, *islice(timetable.after(row.next_tick_at), count - 1)]
    return [timetable.due_at(tick_at).astimezone(timetable.tz) for tick_at in ticks]


def read_timetable(wish: ScheduleWish, *, starts_at: datetime, seed: UUID) -> Timetable:
    """The rhythm that was asked for; raises `BadSchedule`."""
    try:
        timetable = Timetable(
            zone=wish.zone,
            starts_at=starts_at,
            cron=None if wish.cron is None else " ".join(wish.cron.split()),
            every_s=wish.every_s,
            jitter_s=wish.jitter_s,
            seed=seed,
        )
        if wish.at is None:
            return timetable
        once_at = wish.at if wish.at.tzinfo is not None else wish.at.replace(tzinfo=timetable.tz)
        if once_at - starts_at > AWAY_MAX:
            raise bad("at", f"That moment is more than {AWAY_MAX.days:,} days away.")
        return Timetable(wish.zone, starts_at, once_at=once_at, jitter_s=wish.jitter_s, seed=seed)
    except NoTimetable as error:
        raise bad(error.field, str(error)) from None


def check_wish(wish: ScheduleWish) -> ScheduleWish:
    """The wish under its bare name; raises `BadSchedule` for what is wrong, clocks aside."""
    name = wish.name.strip()
    if not (0 < len(name) <= NAME_CHARS_MAX and name.isprintable()):
        raise bad("name", f"A name has 1 to {NAME_CHARS_MAX} printable characters.")
    if sum(rhythm is not None for rhythm in (wish.cron, wish.every_s, wish.at)) != 1:
        raise bad("cron", "Give exactly one of cron, every_s and at.")
    if wish.every_s is not None and not 1 <= wish.every_s <= EVERY_S_MAX:
        raise bad("every_s", f"An interval has 1 to {EVERY_S_MAX:,} seconds.")
    if not 0 <= wish.jitter_s <= min(JITTER_S_MAX, wish.every_s or JITTER_S_MAX):
        raise bad("jitter_s", "A jitter is at most a day, and at most the interval.")
    if not 1 <= wish.catch_up_max <= CATCH_UP_MAX:
        raise bad("catch_up_max", f"From 1 to {CATCH_UP_MAX:,} ticks are caught up with.")
    return replace(wish, name=name)


def bad(field: str, message: str) -> BadSchedule:
    return BadSchedule(message, [{"loc": [field], "msg": message}])


def begins_of(program: Program) -> dict[str, Any]:
    """What a new job of this agent or pipeline begins with."""
    budget = {scope: program.limits.caps(scope) for scope in (BudgetScope.JOB, BudgetScope.TREE)}
    return begins_as_json(program.version, program.first_steps(), program.deadline_s, budget)


def begins_of_all(registry: Registry) -> dict[str, Any]:
    """The same of every agent that is served here, by name."""
    return {program.name: begins_of(program) for program in registry.agents.values()}
