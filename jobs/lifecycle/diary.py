"""The diary of a job: the schedules that its steps make and move, in the name of whoever asked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid5

from jobs.agent.diary import ScheduleWish
from jobs.agent.registry import Program
from jobs.errors import Refused
from jobs.lifecycle.arguments import is_seen
from jobs.lifecycle.house import House
from jobs.lifecycle.refusals import NotAvailable, as_told
from jobs.lifecycle.schedules import Maker, make, next_runs
from jobs.lifecycle.taint import hands_on, inherited_by
from store import schedules, transitions
from store.schedules import Moved
from store.states import JobClass, Origin
from store.transitions import Claim

WHY_NOT = {
    Moved.AGAIN: "The next run was moved already in this run; that may be done once.",
    Moved.PAST: "That moment has passed.",
    Moved.ENDED: "The schedule has no next run that could be moved.",
    Moved.MISSING: "No schedule has made this job, so there is no next run to move.",
}


@dataclass(frozen=True, slots=True)
class JobDiary:
    """What one call may schedule, known by the key of the call: doing it twice does it once."""

    house: House
    held: Claim
    program: Program

    @property
    def agent(self) -> str:
        return self.held.agent

    def make(self, wish: ScheduleWish) -> dict[str, Any]:
        """Make a schedule; raises `Refused`, and `NotAvailable` to what came by a schedule."""
        held, invocation = self.held, self.held.invocation
        if Origin.SCHEDULE in invocation.origins:
            raise self._refused("A job that comes from a schedule cannot make schedules.")
        read = {*hands_on(held, self.program, self.house), *inherited_by(held, self.house)}
        taints = tuple(sorted(read))
        row = make(
            self.house.doors,
            self.house.registry,
            held.tenant_id,
            replace(wish, job_class=JobClass(held.job_class), model=held.model),
            Maker(
                requester=invocation.requester,
                roles=tuple(sorted(invocation.roles)),
                origins=(*invocation.origins_above, invocation.origin),
                tainted_by=taints,
                input_tainted=bool(taints) and not is_seen(held, wish.input),
            ),
            count_max=self.house.settings.schedules_max,
            schedule_id=uuid5(held.tenant_id, held.key),
        )
        return {
            "schedule_id": str(row.id),
            "name": row.name,
            "next_runs": [each.isoformat() for each in next_runs(row)],
        }

    def move_next(self, at: datetime) -> dict[str, Any]:
        """Move the next run of the schedule that made this very job; raises `Refused`."""
        held = self.held
        with self.house.doors.as_tenant(held.tenant_id) as tx:
            moved = schedules.move_next(tx, held.tenant_id, held.job_id, at, key=held.key)
        if moved is not Moved.MOVED:
            raise Refused(WHY_NOT[moved])
        return {"next_run": at.isoformat()}

    def _refused(self, reason: str) -> NotAvailable:
        """Told of in the story, whatever the tool makes of what is raised."""
        held = self.held
        with self.house.doors.hot() as connection:
            told = as_told(held, reason)
            transitions.tell(connection, held.tenant_id, held.job_id, "call.refused", told)
        return NotAvailable(reason)
