"""Ticking: schedules whose next tick has come get their jobs, each tick once.

Every round looks for schedules that are due, works out their next moments, and says so to the
database, one statement a tick: `fire_tick.sql` decides, and decides once. So any number of
schedulers may tick at once, and one that is killed between two statements leaves nothing half done.
What time it is, the database says.
"""

from __future__ import annotations

from datetime import datetime

import structlog

from scheduler.catching_up import plan_moves
from scheduler.timetable import NoTimetable, Timetable
from store import schedules
from store.doors import Doors
from store.errors import StoreError
from store.schedules import Fired, Move, ScheduleRow

log = structlog.get_logger(__name__)

# How many schedules one round looks after; the next round comes soon.
SCHEDULES_MAX = 200
# When a schedule is looked at again whose next moments cannot be worked out.
PUT_OFF_S = 300.0


def tick(doors: Doors) -> int:
    """One round; returns how many ticks were dealt with."""
    with doors.as_operator("tick") as tx:
        now = schedules.read_clock(tx)
        due = schedules.list_due(tx, SCHEDULES_MAX)
        free = schedules.list_waiting(tx, SCHEDULES_MAX)
    found = sum(_deal_with(doors, each, now) for each in due)
    for tenant_id, schedule_id in free:
        with doors.as_operator("tick") as tx:
            found += schedules.start_waiting(tx, tenant_id, schedule_id)
    if found:
        log.debug("ticked", ticks=found)
    return found


def timetable_of(row: ScheduleRow) -> Timetable:
    """The rhythm of a schedule; raises `NoTimetable` when its zone is gone."""
    return Timetable(
        zone=row.zone,
        starts_at=row.starts_at,
        cron=row.cron,
        every_s=row.every_s,
        once_at=row.once_at,
        jitter_s=row.jitter_s,
        seed=row.id,
        replaced_at=row.replaced_tick_at,
    )


def _deal_with(doors: Doors, row: ScheduleRow, now: datetime) -> int:
    """Fire what has come of one schedule; returns how many ticks that were.

    One that cannot go on holds up no other: it is looked at again later.
    """
    try:
        return _make(doors, row, _moves_of(row, now))
    except StoreError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the others have to tick
        # What the database says may quote the row, and that is the tenant's.
        told = str(error) if isinstance(error, NoTimetable) else type(error).__name__
        log.warning("schedule cannot go on", schedule=str(row.id), error=told)
        with doors.as_operator("tick") as tx:
            schedules.put_off(tx, row.tenant_id, row.id, PUT_OFF_S)
        return 0


def _moves_of(row: ScheduleRow, now: datetime) -> list[Move]:
    if row.next_tick_at is None:
        return []
    return plan_moves(timetable_of(row), row.next_tick_at, now, row.catch_up, row.catch_up_max)


def _make(doors: Doors, row: ScheduleRow, moves: list[Move]) -> int:
    for made, move in enumerate(moves):
        # A transaction for each: what is done is done, whatever comes of the next.
        with doors.as_operator("tick") as tx:
            became = schedules.fire(tx, row.tenant_id, row.id, move)
        if became is Fired.TAKEN:
            # Somebody else is at it, or has been: the next round sees what is left.
            return made
        if move.is_missed:
            log.info("ticks missed", schedule=str(row.id), ticks=move.missed + 1)
    return len(moves)
