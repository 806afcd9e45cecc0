"""Frozen rows, one shape per table: the words every floor speaks."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from store.states import (
    ApprovalEnding,
    ApprovalState,
    Decision,
    GuardStage,
    GuardVerdict,
    JobClass,
    JobStatus,
    LetterState,
    Origin,
    StepKind,
    StepState,
    Tier,
    WaitKind,
    WaitState,
    Work,
    WorkerState,
)


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as it stands. Moments are aware datetimes by database time."""

    tenant_id: UUID
    id: UUID
    agent: str
    agent_version: str
    model: str | None
    job_class: JobClass
    origin: Origin
    origins_above: list[str]
    requester: str | None
    roles: list[str]
    status: JobStatus
    status_reason: str | None
    status_until: datetime | None
    waiting_for: str | None
    outstanding: int
    steps_done: int
    next_seq: int
    event_seq: int
    cancel_requested_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    idempotency_key: str | None
    request_sha256: str | None
    input: dict[str, Any]
    output: Any
    error: dict[str, Any] | None
    deadline_at: datetime | None
    parent_job_id: UUID | None
    parent_seq: int | None
    root_id: UUID
    depth: int
    children: int
    parent_told: bool
    forked_from: UUID | None
    forked_from_seq: int | None
    degraded: list[dict[str, Any]] | None
    tainted_by: list[str]
    input_tainted: bool


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A step as it stands."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    parent_seq: int | None
    kind: StepKind
    name: str
    job_class: JobClass
    work: Work
    state: StepState
    epoch: int
    attempts: int
    losses: int
    worker_id: UUID | None
    ready_at: datetime
    rung_at: datetime | None
    claimed_at: datetime | None
    committed_at: datetime | None
    input: Any
    output: Any
    error: dict[str, Any] | None
    waits: int
    effect_key: str | None
    effect_epoch: int | None
    effect_started_at: datetime | None


@dataclass(frozen=True, slots=True)
class WaitRow:
    """What a step waits, or waited, for; `n` counts the waits of the step from 1."""

    job_id: UUID
    seq: int
    n: int
    kind: WaitKind
    name: str
    prompt: dict[str, Any] | None
    state: WaitState
    result: Any
    created_at: datetime
    wake_at: datetime | None
    decided_by: str | None
    closed_at: datetime | None
    consumed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ApprovalRow:
    """The question about one tool call, with exactly what was shown; `n` counts those of the step.

    `ending` says how it was closed; `consumed_epoch` is the claim that began the call under it.
    """

    job_id: UUID
    seq: int
    n: int
    tool: str
    args: Any
    args_sha256: str
    tool_sha256: str
    tier: Tier
    role: str | None
    quorum: int
    reasons: list[str]
    rules: list[str]
    policy_version: str
    fallback: Decision
    state: ApprovalState
    ending: ApprovalEnding | None
    is_remembered: bool
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None
    consumed_at: datetime | None
    consumed_epoch: int | None


@dataclass(frozen=True, slots=True)
class DecisionRow:
    """What one person has said about a call; `args_sha256` is what they were shown."""

    job_id: UUID
    seq: int
    n: int
    decided_by: str
    roles: list[str]
    decision: Decision
    args_sha256: str
    reason: str | None
    decided_at: datetime


@dataclass(frozen=True, slots=True)
class LetterRow:
    """A dead letter: a job that was given up at step `seq`, and why."""

    job_id: UUID
    seq: int
    step_name: str
    agent: str
    error_class: str
    fingerprint: str
    message: str
    hint: str
    created_at: datetime
    state: LetterState
    replay_at: datetime | None
    replayed_as: UUID | None
    decided_by: str | None
    decided_at: datetime | None
    dependency: str | None


@dataclass(frozen=True, slots=True)
class GuardVerdictRow:
    """What one guard said in a step, or how many allows of a stage there were (guard `*`)."""

    job_id: UUID
    seq: int
    epoch: int
    n: int
    stage: GuardStage
    guard: str
    verdict: GuardVerdict
    count: int
    reason: str
    found: dict[str, Any] | None
    at: datetime


@dataclass(frozen=True, slots=True)
class EventRow:
    """One line of a job's story; `id` counts from 1 without gaps."""

    job_id: UUID
    id: int
    type: str
    data: dict[str, Any]
    at: datetime


@dataclass(frozen=True, slots=True)
class ArtifactRow:
    """The label on some bytes; `sha256` is in hex."""

    tenant_id: UUID
    id: UUID
    job_id: UUID | None
    seq: int | None
    name: str
    media_type: str
    size_bytes: int
    sha256: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WorkerRow:
    """A worker incarnation; `beaten_age_s` is by database time."""

    id: UUID
    name: str
    work: Work
    slots: int
    version: str
    state: WorkerState
    started_at: datetime
    beaten_age_s: float


@dataclass(frozen=True, slots=True)
class ClassLoad:
    """What the last census found of one class.

    `waiting` counts steps that nobody has rung for, `oldest_s` is how long the first of them waits,
    `weights` the sum of the weights of the tenants they are of, lately. `started` counts the starts
    that came out of the backlog; `started_per_s` is None as long as there never was one.
    """

    job_class: JobClass
    waiting: int
    oldest_s: float | None
    running: int
    tenants: int
    weights: float
    started: int
    started_counted: int
    started_per_s: float | None
    wait_min_s: float | None
    refused: int

    @property
    def wait_s(self) -> float | None:
        """How long whoever comes last now would wait; None when nobody knows."""
        if not self.waiting:
            return 0.0
        return self.waiting / self.started_per_s if self.started_per_s else None


@dataclass(frozen=True, slots=True)
class PlatformLoad:
    """The platform as the last census found it; ages are None as long as there was none."""

    level: int
    since: datetime
    calm: int
    judged_age_s: float | None
    measured_at: datetime | None
    measured_age_s: float | None
    cost_s: float
    slots: dict[Work, int]
    usual_s: dict[str, float]
    usual_age_s: float | None


@dataclass(frozen=True, slots=True)
class RefusalCount:
    """How many submissions of a class were refused for one reason."""

    job_class: JobClass
    code: str
    count: int


@dataclass(frozen=True, slots=True)
class UsageTotals:
    """What a job spent so far; `cost_usd` is None when a price was unknown.

    `amplification` is the tries for each step, over the whole line; None while none has ended.
    """

    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: Decimal | None
    amplification: float | None
