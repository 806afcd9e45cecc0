"""The shapes of schedules: what is asked for again and again, and what became of each tick."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jobs.agent.diary import CATCH_UP_MAX, ScheduleWish
from jobs.lifecycle.schedules import next_runs
from jobs.web.kept_json import check_json
from jobs.web.shapes import DEADLINE_S_MAX
from jobs.web.shapes_of_waits import Name
from store.schedules import ScheduleRow, TickRow
from store.states import CatchUp, JobClass, Overlap, TickState


class ScheduleRequest(BaseModel):
    """What one sends to make a schedule. Exactly one of `cron`, `every_s` and `at`."""

    model_config = ConfigDict(extra="forbid")

    name: Name = Field(description="what to call it; no other schedule has this name")
    agent: str = Field(min_length=1, max_length=200, description="a name out of GET /v1/agents")
    input: dict[str, Any] = Field(description="what each job is asked, by the agent's schema")
    cron: str | None = Field(
        default=None,
        max_length=200,
        description="minute, hour, day of month, month, day of week, such as `30 7 * * 1-5`",
    )
    every_s: int | None = Field(default=None, description="an interval in seconds")
    at: datetime | None = Field(
        default=None, description="a single moment; on the clocks of `zone` when it has none itself"
    )
    zone: str = Field(
        default="UTC",
        min_length=1,
        max_length=100,
        description="whose clocks count, such as `Europe/Berlin`",
    )
    job_class: JobClass = Field(default=JobClass.DEFAULT, alias="class")
    model: str | None = Field(default=None, min_length=1, max_length=200)
    deadline_s: float | None = Field(
        default=None, gt=0, le=DEADLINE_S_MAX, description="of each job, from its tick on"
    )
    jitter_s: float = Field(
        default=0.0, allow_inf_nan=False, description="put each tick off by up to so much"
    )
    catch_up: CatchUp = Field(
        default=CatchUp.ONE,
        description="what becomes of ticks that nobody was there for: none, the last, all are run",
    )
    catch_up_max: int = Field(
        default=CATCH_UP_MAX, description="how many of them, the last ones, when all are run"
    )
    overlap: Overlap = Field(
        default=Overlap.SKIP,
        description="what a tick does while the job of an earlier one goes on",
    )
    paused: bool = False

    @field_validator("input")
    @classmethod
    def _input_can_be_kept(cls, value: Any) -> Any:
        return check_json(value)

    def as_wish(self) -> ScheduleWish:
        return ScheduleWish(
            name=self.name,
            agent=self.agent,
            input=self.input,
            cron=self.cron,
            every_s=self.every_s,
            at=self.at,
            zone=self.zone,
            job_class=self.job_class,
            model=self.model,
            deadline_s=self.deadline_s,
            jitter_s=self.jitter_s,
            catch_up=self.catch_up,
            catch_up_max=self.catch_up_max,
            overlap=self.overlap,
            is_paused=self.paused,
        )


class Schedule(BaseModel):
    """A schedule as it stands."""

    model_config = ConfigDict(populate_by_name=True)

    id: UUID
    object: Literal["schedule"] = "schedule"
    name: str
    agent: str
    agent_version: str = Field(description="what its next job begins as, if no worker says more")
    input: dict[str, Any]
    job_class: JobClass = Field(alias="class")
    model: str | None
    deadline_s: float | None
    cron: str | None
    every_s: int | None
    at: datetime | None
    zone: str
    jitter_s: float
    catch_up: CatchUp
    catch_up_max: int
    overlap: Overlap
    requester: str | None = Field(description="whose wish it is, and that of its jobs")
    created_at: datetime
    paused_at: datetime | None
    last_tick_at: datetime | None
    last_job_id: UUID | None
    next_runs: list[datetime] = Field(
        description="the next five, on the clocks of its zone; none while it is paused"
    )
    links: dict[str, str]

    @classmethod
    def of(cls, row: ScheduleRow) -> Schedule:
        here = f"/v1/schedules/{row.id}"
        return cls(
            id=row.id,
            name=row.name,
            agent=row.agent,
            agent_version=row.begins["version"],
            input=row.input,
            job_class=row.job_class,
            model=row.model,
            deadline_s=row.deadline_s,
            cron=row.cron,
            every_s=row.every_s,
            at=row.once_at,
            zone=row.zone,
            jitter_s=row.jitter_s,
            catch_up=row.catch_up,
            catch_up_max=row.catch_up_max,
            overlap=row.overlap,
            requester=row.requester,
            created_at=row.created_at,
            paused_at=row.paused_at,
            last_tick_at=row.last_tick_at,
            last_job_id=row.last_job_id,
            next_runs=next_runs(row),
            links={"self": here, "ticks": f"{here}/ticks"},
        )


class Tick(BaseModel):
    """What became of a tick."""

    object: Literal["tick"] = "tick"
    schedule_id: UUID
    tick_at: datetime
    state: TickState
    reason: str | None = Field(description="why it made no job: missed, overlap or queue_full")
    missed: int = Field(description="ticks right before it that had the same fate")
    job_id: UUID | None
    at: datetime = Field(description="when that was decided")
    links: dict[str, str]

    @classmethod
    def of(cls, row: TickRow) -> Tick:
        links = {"schedule": f"/v1/schedules/{row.schedule_id}"}
        if row.job_id is not None:
            links["job"] = f"/v1/jobs/{row.job_id}"
        return cls(
            schedule_id=row.schedule_id,
            tick_at=row.tick_at,
            state=row.state,
            reason=row.reason,
            missed=row.missed,
            job_id=row.job_id,
            at=row.at,
            links=links,
        )
