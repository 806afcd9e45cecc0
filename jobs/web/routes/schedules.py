"""Schedules: make one, look at it, pause and resume it, run it now, delete it."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AwareDatetime

from jobs.lifecycle import schedules as made
from jobs.lifecycle.schedules import Maker
from jobs.web.asked import TheCaller, TheDesk, TheTenant, Words
from jobs.web.shapes import Page
from jobs.web.shapes_of_schedules import Schedule, ScheduleRequest, Tick
from jobs.web.steering import check_may_steer
from store import schedules

router = APIRouter(tags=["schedules"])


@router.post(
    "/schedules",
    status_code=201,
    responses={403: {}, 404: {}, 413: {}, 422: {}},
    summary="Make a schedule",
)
def create_schedule(
    asked: ScheduleRequest, response: Response, desk: TheDesk, caller: TheCaller
) -> Schedule:
    """It makes a job of the agent at every tick; its jobs have the origin `schedule`."""
    row = made.make(
        desk.doors,
        desk.registry,
        caller.tenant_id,
        asked.as_wish(),
        Maker(caller.requester, tuple(sorted(caller.roles)), origins=(caller.origin,)),
        count_max=desk.settings.schedules_max,
    )
    response.headers["Location"] = f"/v1/schedules/{row.id}"
    return Schedule.of(row)


@router.get("/schedules", summary="List schedules by name")
def list_schedules(
    desk: TheDesk,
    tenant_id: TheTenant,
    name: Words = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    after: Words = None,
) -> Page[Schedule]:
    """The page goes on behind `after`, the last name of the one above."""
    with desk.doors.as_tenant(tenant_id) as tx:
        rows = schedules.list_by_name(tx, name=name, after=after, limit=limit + 1)
    return Page(data=[Schedule.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.get("/schedules/{schedule_id}", responses={404: {}}, summary="A schedule as it stands")
def read_schedule(schedule_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Schedule:
    with desk.doors.as_tenant(tenant_id) as tx:
        return Schedule.of(schedules.read(tx, schedule_id))


@router.get(
    "/schedules/{schedule_id}/ticks",
    responses={404: {}},
    summary="What became of its ticks, the latest first",
)
def list_ticks(
    schedule_id: UUID,
    desk: TheDesk,
    tenant_id: TheTenant,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[
        AwareDatetime | None, Query(description="the last tick_at of the page above")
    ] = None,
) -> Page[Tick]:
    with desk.doors.as_tenant(tenant_id) as tx:
        schedules.read(tx, schedule_id)
        rows = schedules.list_ticks(tx, schedule_id, limit=limit + 1, before=before)
    return Page(data=[Tick.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.post(
    "/schedules/{schedule_id}/pause", responses={403: {}, 404: {}}, summary="Fire nothing more"
)
def pause_schedule(schedule_id: UUID, desk: TheDesk, caller: TheCaller) -> Schedule:
    """Jobs that were made go on. What comes in the pause is not missed; it never was a tick."""
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        check_may_steer(caller, schedules.read(tx, schedule_id))
        return Schedule.of(schedules.pause(tx, schedule_id))


@router.post("/schedules/{schedule_id}/resume", responses={403: {}, 404: {}}, summary="Go on")
def resume_schedule(schedule_id: UUID, desk: TheDesk, caller: TheCaller) -> Schedule:
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        check_may_steer(caller, schedules.read(tx, schedule_id))
    return Schedule.of(made.resume(desk.doors, caller.tenant_id, schedule_id))


@router.post(
    "/schedules/{schedule_id}/run",
    status_code=202,
    responses={403: {}, 404: {}},
    summary="A run now, outside of the rhythm",
)
def run_schedule(schedule_id: UUID, desk: TheDesk, caller: TheCaller) -> Tick:
    """It makes a job, unless the schedule says otherwise of jobs that overlap."""
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        check_may_steer(caller, schedules.read(tx, schedule_id))
        return Tick.of(schedules.run_now(tx, caller.tenant_id, schedule_id))


@router.delete(
    "/schedules/{schedule_id}", responses={403: {}, 404: {}}, summary="Forget a schedule"
)
def delete_schedule(schedule_id: UUID, desk: TheDesk, caller: TheCaller) -> Schedule:
    """Its jobs stay and go on. Returns what it was."""
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        check_may_steer(caller, schedules.read(tx, schedule_id))
        return Schedule.of(schedules.remove(tx, schedule_id))
