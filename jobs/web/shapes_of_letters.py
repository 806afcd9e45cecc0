"""The shapes of going back: dead letters, replays of them, and forks of jobs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jobs.web.kept_json import check_json
from jobs.web.shapes_of_waits import NUMBER_MAX, Name
from store.rows import LetterRow
from store.states import JobClass, LetterState

REPLAYS_MAX = 10_000
PER_S_DEFAULT = 5.0


class DeadLetter(BaseModel):
    """A job that was given up: at which step, why, and what people made of it."""

    model_config = ConfigDict(populate_by_name=True)

    object: Literal["dead_letter"] = "dead_letter"
    job_id: UUID
    seq: int = Field(description="the step that failed")
    step: str
    agent: str
    error_class: str = Field(alias="class")
    fingerprint: str = Field(description="the same for failures that differ in numbers and ids")
    message: str
    hint: str
    dependency: str | None = Field(description="what the step called, where its recovery helps")
    created_at: datetime
    state: LetterState
    replay_at: datetime | None = Field(description="when a replay that was lined up is due")
    replayed_as: UUID | None
    decided_by: str | None
    decided_at: datetime | None
    links: dict[str, str]

    @classmethod
    def of(cls, row: LetterRow) -> DeadLetter:
        here = f"/v1/dead-letters/{row.job_id}"
        links = {"self": here, "job": f"/v1/jobs/{row.job_id}"}
        if row.state in (LetterState.OPEN, LetterState.REPLAYING):
            links |= {"replay": f"{here}/replay", "discard": f"{here}/discard"}
        if row.replayed_as is not None:
            links["replayed_as"] = f"/v1/jobs/{row.replayed_as}"
        return cls(
            job_id=row.job_id,
            seq=row.seq,
            step=row.step_name,
            agent=row.agent,
            error_class=row.error_class,
            fingerprint=row.fingerprint,
            message=row.message,
            hint=row.hint,
            dependency=row.dependency,
            created_at=row.created_at,
            state=row.state,
            replay_at=row.replay_at,
            replayed_as=row.replayed_as,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
            links=links,
        )


class ReplayRequest(BaseModel):
    """How to replay one dead letter."""

    model_config = ConfigDict(extra="forbid")

    job_class: JobClass = Field(
        default=JobClass.BACKGROUND, alias="class", description="how urgent the new job is"
    )


class BulkReplayRequest(BaseModel):
    """Which open dead letters to replay, and how fast."""

    model_config = ConfigDict(extra="forbid")

    agent: Name | None = None
    error_class: Name | None = Field(default=None, alias="class", description="a class of errors")
    fingerprint: Name | None = None
    dependency: Name | None = None
    per_s: float = Field(default=PER_S_DEFAULT, ge=0.1, le=100, description="jobs each second")
    limit: int = Field(default=REPLAYS_MAX, ge=1, le=REPLAYS_MAX, description="oldest first")


class Planned(BaseModel):
    """How many dead letters were lined up, and how long it takes until the last has its turn."""

    object: Literal["plan"] = "plan"
    planned: int
    takes_s: float


class ForkRequest(BaseModel):
    """From which step on a copy of a job goes its own way."""

    model_config = ConfigDict(extra="forbid")

    from_step: int = Field(ge=1, le=NUMBER_MAX, description="the first step that runs again")
    input: dict[str, Any] | None = Field(
        default=None, description="another input for the steps to come; the job's own if left out"
    )
    job_class: JobClass | None = Field(
        default=None, alias="class", description="how urgent it is; as the job was, if left out"
    )

    @field_validator("input")
    @classmethod
    def _input_can_be_kept(cls, value: Any) -> Any:
        return check_json(value)
