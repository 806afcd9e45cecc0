"""The shapes of the API: one per resource, the same wherever it appears."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from jobs.web.kept_json import check_json
from jobs.web.shapes_of_budgets import Count, Money
from jobs.web.shapes_of_waits import Wait
from store.budgets import Caps
from store.rows import (
    ArtifactRow,
    CheckpointRow,
    EventRow,
    JobRow,
    UsageTotals,
    WorkerRow,
)
from store.states import (
    BudgetUnit,
    JobClass,
    JobStatus,
    Origin,
    StepKind,
    StepState,
    Work,
    WorkerState,
)

Item = TypeVar("Item")

DEADLINE_S_MAX = 400 * 86_400.0


class JobRequest(BaseModel):
    """What one sends to ask for a job."""

    model_config = ConfigDict(extra="forbid")

    agent: str = Field(min_length=1, max_length=200, description="a name out of GET /v1/agents")
    input: dict[str, Any] = Field(description="what the agent's input schema asks for")
    model: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="`offline`, `openai:...`, `anthropic:...`; the platform's own when left out",
    )
    job_class: JobClass = Field(default=JobClass.DEFAULT, alias="class")
    deadline_s: float | None = Field(
        default=None,
        gt=0,
        le=DEADLINE_S_MAX,
        description="seconds from now after which nothing more is begun and the job ends expired",
    )

    budget_usd: Money | None = Field(
        default=None, description="the most it may cost; no more than the agent allows"
    )
    budget_tokens: Count | None = Field(
        default=None, description="the most tokens it may use, in and out; likewise"
    )

    @property
    def budget(self) -> Caps:
        asked = {BudgetUnit.USD: self.budget_usd, BudgetUnit.TOKENS: self.budget_tokens}
        return {unit: Decimal(cap) for unit, cap in asked.items() if cap is not None}

    @field_validator("input")
    @classmethod
    def _input_can_be_kept(cls, value: Any) -> Any:
        return check_json(value)


class Trial(BaseModel):
    """What a dry run answers: the request would be accepted, with this input."""

    object: Literal["trial"] = "trial"
    agent: str
    agent_version: str
    input: dict[str, Any]


class Usage(BaseModel):
    """What a job spent; `cost_usd` is null when a price is unknown."""

    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class LeftOut(BaseModel):
    """An optional step that a job went on without."""

    seq: int
    name: str
    why: str


class Job(BaseModel):
    """A job as it stands."""

    model_config = ConfigDict(populate_by_name=True)

    id: UUID
    object: Literal["job"] = "job"
    agent: str
    agent_version: str
    model: str | None
    job_class: JobClass = Field(alias="class")
    status: JobStatus
    status_reason: str | None
    status_until: datetime | None
    waiting_for: str | None
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline_at: datetime | None
    parent_job_id: UUID | None = Field(description="the job whose step asked for this one")
    root_id: UUID = Field(description="the first job of that line; itself, when nobody's child")
    depth: int = Field(description="how many jobs and schedules stand above it in its line")
    children: int = Field(description="how many jobs its steps have asked for")
    origin: Origin = Field(description="through which door it came; agent: a job asked for it")
    origins_above: list[Origin] = Field(
        description="through which the jobs above it in its line came, that of the first one first"
    )
    requester: str | None = Field(description="who asked, for it or for the first of its line")
    roles: list[str] = Field(description="those that the requester had")
    forked_from: UUID | None = Field(description="the job whose first steps this one shares")
    forked_from_seq: int | None = Field(description="the first step it ran itself")
    input: dict[str, Any]
    output: Any
    error: dict[str, Any] | None
    degraded: list[LeftOut] = Field(description="optional steps that were left out, and why")
    tainted_by: list[str] = Field(
        description="the tools whose texts from outside it has read, or those above it"
    )
    input_tainted: bool = Field(
        description="whether its input may say what such a text said, as no person has seen it"
    )
    usage: Usage
    steps_done: int
    outstanding: int = Field(description="steps that are planned and not settled")
    amplification: float | None = Field(
        description="tries for each step, over the whole line of the job"
    )
    links: dict[str, str]

    @classmethod
    def of(cls, row: JobRow, spent: UsageTotals) -> Job:
        here = f"/v1/jobs/{row.id}"
        return cls(
            id=row.id,
            agent=row.agent,
            agent_version=row.agent_version,
            model=row.model,
            job_class=row.job_class,
            status=row.status,
            status_reason=row.status_reason,
            status_until=row.status_until,
            waiting_for=row.waiting_for,
            cancel_requested_at=row.cancel_requested_at,
            created_at=row.created_at,
            started_at=row.started_at,
            finished_at=row.finished_at,
            deadline_at=row.deadline_at,
            parent_job_id=row.parent_job_id,
            root_id=row.root_id,
            depth=len(row.origins_above),
            children=row.children,
            origin=row.origin,
            origins_above=list(map(Origin, row.origins_above)),
            requester=row.requester,
            roles=row.roles,
            forked_from=row.forked_from,
            forked_from_seq=row.forked_from_seq,
            input=row.input,
            output=row.output,
            error=row.error,
            degraded=[LeftOut(**each) for each in row.degraded or ()],
            tainted_by=row.tainted_by,
            input_tainted=row.input_tainted,
            usage=Usage(
                requests=spent.requests,
                input_tokens=spent.input_tokens,
                output_tokens=spent.output_tokens,
                cost_usd=None if spent.cost_usd is None else float(spent.cost_usd),
            ),
            steps_done=row.steps_done,
            outstanding=row.outstanding,
            amplification=spent.amplification,
            links={
                "self": here,
                "events": f"{here}/events",
                "steps": f"{here}/steps",
                "artifacts": f"{here}/artifacts",
                "waits": f"{here}/waits",
                "budget": f"{here}/budget",
                "guards": f"{here}/guards",
                "children": f"{here}/children",
                "signals": f"{here}/signals",
                "fork": f"{here}/fork",
                "cancel": f"{here}/cancel",
            },
        )


class Step(BaseModel):
    """A step as it stands: one row of the job's checkpoint table."""

    object: Literal["step"] = "step"
    seq: int
    parent_seq: int | None
    kind: StepKind
    name: str
    work: Work
    state: StepState
    tries: int = Field(description="how often it has been claimed")
    attempts: int = Field(description="tries that ended in a retry")
    losses: int = Field(description="tries lost with their worker")
    worker: UUID | None = Field(description="the worker incarnation that had it last")
    ready_at: datetime
    claimed_at: datetime | None
    committed_at: datetime | None
    duration_ms: float | None = Field(description="from the last claim to the commit")
    waits: int = Field(description="how many waits it has had")
    waiting_on: Wait | None = Field(description="what it waits for now")
    effect_key: str = Field(description="what the world knows its effect by")
    effect_started_at: datetime | None = Field(
        description="when its effect was begun; while it is not committed, nobody knows how it went"
    )
    input: Any
    output: Any
    error: dict[str, Any] | None

    @classmethod
    def of(cls, row: CheckpointRow, open_wait: Wait | None = None) -> Step:
        return cls(
            seq=row.seq,
            parent_seq=row.parent_seq,
            kind=row.kind,
            name=row.name,
            work=row.work,
            state=row.state,
            tries=row.epoch,
            attempts=row.attempts,
            losses=row.losses,
            worker=row.worker_id,
            ready_at=row.ready_at,
            claimed_at=row.claimed_at,
            committed_at=row.committed_at,
            duration_ms=_ms_between(row.claimed_at, row.committed_at),
            waits=row.waits,
            waiting_on=open_wait,
            effect_key=row.effect_key or f"{row.job_id}:{row.seq}",
            effect_started_at=row.effect_started_at,
            input=row.input,
            output=row.output,
            error=row.error,
        )


class Event(BaseModel):
    """One line of a job's story; `id` counts from 1 without gaps."""

    id: int
    type: str
    data: dict[str, Any]
    at: datetime

    @classmethod
    def of(cls, row: EventRow) -> Event:
        return cls(id=row.id, type=row.type, data=row.data, at=row.at)


class Artifact(BaseModel):
    """The label on some bytes; they are behind `links.content`."""

    id: UUID
    object: Literal["artifact"] = "artifact"
    job_id: UUID | None
    seq: int | None = Field(description="the step that made it")
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime
    links: dict[str, str]

    @classmethod
    def of(cls, row: ArtifactRow) -> Artifact:
        return cls(
            id=row.id,
            job_id=row.job_id,
            seq=row.seq,
            name=row.name,
            media_type=row.media_type,
            size_bytes=row.size_bytes,
            sha256=row.sha256,
            created_at=row.created_at,
            links={"content": f"/v1/artifacts/{row.id}"},
        )


class Dataset(BaseModel):
    """An upload that was read as a table; `id` goes into an agent's input."""

    id: UUID
    object: Literal["dataset"] = "dataset"
    name: str
    rows: int
    columns: int
    format: str
    size_bytes: int
    sha256: str
    notes: list[str] = Field(description="what was odd about it, in sentences")


class Tool(BaseModel):
    """A tool an agent may call."""

    name: str
    description: str
    effect: str
    idempotency: str
    work: str
    origins: list[Origin] = Field(
        description="a job may call it if it, and all above it in its line, came through these"
    )
    rules: list[str] | None = Field(
        description="its own rules by name; empty lets every call through, null asks its requester"
        " to confirm whatever changes something"
    )
    trusted: bool = Field(description="whether somebody here answers for what it returns")


class Agent(BaseModel):
    """An agent one may submit to."""

    object: Literal["agent"] = "agent"
    name: str
    version: str
    description: str
    model: str | None
    input_schema: dict[str, Any]
    tools: list[Tool]


class Worker(BaseModel):
    """A worker process that is alive; `silent_s` since its last beat."""

    object: Literal["worker"] = "worker"
    id: UUID
    name: str
    work: Work
    slots: int
    version: str
    state: WorkerState
    started_at: datetime
    silent_s: float

    @classmethod
    def of(cls, row: WorkerRow) -> Worker:
        return cls(
            id=row.id,
            name=row.name,
            work=row.work,
            slots=row.slots,
            version=row.version,
            state=row.state,
            started_at=row.started_at,
            silent_s=round(row.beaten_age_s, 3),
        )


class Lane(BaseModel):
    """How many messages wait on one lane of Redis."""

    name: str
    waiting: int


class Readiness(BaseModel):
    """What the platform needs, and whether it answers."""

    status: Literal["ready"] = "ready"
    database: Literal["ok"] = "ok"
    redis: Literal["ok"] = "ok"


class Page(BaseModel, Generic[Item]):
    """Some of a list; with `has_more`, ask again behind the last one."""

    object: Literal["list"] = "list"
    data: list[Item]
    has_more: bool = False


def _ms_between(start: datetime | None, end: datetime | None) -> float | None:
    if start is None or end is None:
        return None
    return round((end - start).total_seconds() * 1000, 1)
