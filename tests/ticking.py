"""Schedules without agents: put down through the store, time passed by hand, ticks looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler.ticking import tick, timetable_of
from store import schedules
from store.doors import Doors
from store.rows import JobRow
from store.schedules import Fired, Move, NewSchedule, ScheduleRow, TickRow, begins_as_json
from store.states import CatchUp, JobClass, Overlap, TickState
from tests.stepping import COMPLETED, MODEL, Stepper

HOUR_S = 3600
# The key of a tick's job is the tick, which is another moment now.
KEYS_ANEW = text(
    """
    update stepwell.jobs j
       set idempotency_key = 'schedule:' || t.schedule_id || ':'
           || (extract(epoch from t.tick_at) * 1000000)::bigint
      from stepwell.ticks t
     where t.tenant_id = j.tenant_id and t.job_id = j.id and t.schedule_id = :id
    """
)


class Clockwork:
    """The schedules of one tenant; its clock is put forward by setting everything else back."""

    def __init__(self, doors: Doors, tenant_id: UUID) -> None:
        self.doors = doors
        self.tenant_id = tenant_id
        self.hand = Stepper(doors, tenant_id)

    def put_down(self, name: str = "hourly", **more: Any) -> UUID:
        """A schedule that began just now, every hour unless told otherwise."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            now = schedules.read_clock(tx)
            new = NewSchedule(
                tenant_id=self.tenant_id,
                id=uuid7(),
                name=name,
                agent="test",
                input={"ask": "again"},
                job_class=JobClass.BATCH,
                begins=begins_as_json("1", (MODEL,), None, {}),
                starts_at=now,
                next_tick_at=now,
                next_at=now,
                zone="UTC",
                catch_up=CatchUp.ONE,
                catch_up_max=100,
                overlap=Overlap.SKIP,
            )
            rhythm = {} if {"cron", "once_at"} & more.keys() else {"every_s": HOUR_S}
            new = replace(new, **(rhythm | more))
            first = timetable_of(_as_row(new)).next_after(now)
            assert first is not None
            due_at = timetable_of(_as_row(new)).due_at(first)
            made = schedules.create(
                tx, replace(new, next_tick_at=first, next_at=due_at), count_max=10_000
            )
        assert made is not None
        return made.id

    def pass_by(self, schedule_id: UUID, seconds: float) -> None:
        """Let so many seconds pass for this schedule; fewer than none, and the clock goes back."""
        by = timedelta(seconds=seconds)
        with self.doors.as_operator("test") as tx:
            for table, columns, which in (
                ("ticks", ("tick_at",), "schedule_id"),
                (
                    "schedules",
                    (
                        "starts_at",
                        "next_tick_at",
                        "next_at",
                        "replaced_tick_at",
                        "last_tick_at",
                        "once_at",
                    ),
                    "id",
                ),
            ):
                told = ", ".join(f"{column} = {column} - :by" for column in columns)
                tx.execute(
                    text(f"update stepwell.{table} set {told} where {which} = :id"),
                    {"by": by, "id": schedule_id},
                )
            tx.execute(KEYS_ANEW, {"id": schedule_id})

    def tick(self) -> int:
        """One round of the scheduler."""
        return tick(self.doors)

    def fire(self, schedule_id: UUID, move: Move) -> Fired:
        with self.doors.as_operator("test") as tx:
            return schedules.fire(tx, self.tenant_id, schedule_id, move)

    def run_now(self, schedule_id: UUID) -> TickRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return schedules.run_now(tx, self.tenant_id, schedule_id)

    def row(self, schedule_id: UUID) -> ScheduleRow:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return schedules.read(tx, schedule_id)

    def every(self) -> list[ScheduleRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return schedules.list_by_name(tx)

    def ticks(self, schedule_id: UUID) -> list[TickRow]:
        """What became of its ticks, the first one first."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            return schedules.list_ticks(tx, schedule_id, limit=1_000)[::-1]

    def states(self, schedule_id: UUID) -> list[TickState]:
        return [each.state for each in self.ticks(schedule_id)]

    def job_ids(self, schedule_id: UUID) -> list[UUID]:
        return [each.job_id for each in self.ticks(schedule_id) if each.job_id is not None]

    def jobs(self, schedule_id: UUID) -> list[JobRow]:
        return [self.hand.job(each) for each in self.job_ids(schedule_id)]

    def end(self, job_id: UUID) -> None:
        """Let the job come to its end."""
        self.hand.commit(self.hand.take(job_id), ending=COMPLETED)

    def count_jobs(self) -> int:
        with self.doors.as_operator("test") as tx:
            return int(tx.execute(text("select count(*) from stepwell.jobs")).scalar_one())


def _as_row(new: NewSchedule) -> ScheduleRow:
    known = {name: getattr(new, name, None) for name in ScheduleRow.__slots__}
    return ScheduleRow(**known)
