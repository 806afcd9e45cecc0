"""Claim, commit, release: the hot moves of a step, each one call of one function in `sql/`.

Every write carries the epoch of its claim. A caller whose epoch is no longer the latest is told so
by a `None` or `False`, having written nothing: it stops, whatever it was doing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from store.doors import HotConnection
from store.jsonb import write_json
from store.states import JobStatus, StepKind, StepState, Work


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to run one step, and everything the step needs to run."""

    tenant_id: UUID
    job_id: UUID
    seq: int
    worker_id: UUID
    kind: StepKind
    name: str
    work: Work
    epoch: int
    attempts: int
    losses: int
    input: Any
    parent_seq: int | None
    parent_output: Any
    agent: str
    agent_version: str
    model: str | None
    job_class: str
    origin: str
    job_input: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """A step to come. `input` is JSON; `name` is what Flower and people see."""

    kind: StepKind
    name: str
    work: Work
    input: Any = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ends: with an output, or with an error and the reason class."""

    status: JobStatus
    output: Any = None
    error: dict[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """What one model step spent. An unknown price is None."""

    model: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_usd: str | None = None


@dataclass(frozen=True, slots=True)
class Settlement:
    """What a step came to, and what follows. The plan and the ending exclude each other."""

    state: StepState
    event: dict[str, Any]
    output: Any = None
    error: dict[str, Any] | None = None
    usage: Usage | None = None
    plan: tuple[Plan, ...] = ()
    is_joining: bool = False
    is_inline: bool = False
    ending: Ending | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What the commit did: the first of the step numbers it planned, and how many."""

    job_status: JobStatus
    first_seq: int
    planned: int


_CLAIM = "select * from stepwell.claim_step(%b, %b, %b, %b, %b)"
_COMMIT = (
    "select * from stepwell.commit_step(%b, %b, %b, %b, %b, %s, %s, %s, %s, %s, %s, %b, %b, %s)"
)
_RELEASE = "select stepwell.release_step(%b, %b, %b, %b, %b, %b, %s, %s)"
_TELL = "select stepwell.tell_event(%b, %b, %s, %s)"


def claim(
    connection: HotConnection,
    tenant_id: UUID,
    job_id: UUID,
    seq: int,
    worker_id: UUID,
    *,
    is_told: bool = True,
) -> Claim | None:
    """Take the step for this worker, or None when it is not to be had.

    `is_told` writes the start into the job's story; a job's first step is always told of.
    """
    row = connection.execute(_CLAIM, (tenant_id, job_id, seq, worker_id, is_told)).fetchone()
    if row is None:
        return None
    kind, name, work, *rest = row
    return Claim(tenant_id, job_id, seq, worker_id, StepKind(kind), name, Work(work), *rest)


def commit(connection: HotConnection, held: Claim, settlement: Settlement) -> Settled | None:
    """Settle the step and plan what follows, or None when the claim is not the latest."""
    row = connection.execute(
        _COMMIT,
        (
            held.tenant_id,
            held.job_id,
            held.seq,
            held.epoch,
            held.worker_id,
            settlement.state.value,
            _json(settlement.output),
            _json(settlement.error),
            write_json(settlement.event),
            None if settlement.usage is None else _usage_json(settlement.usage),
            _plan_json(settlement.plan),
            settlement.is_joining,
            settlement.is_inline,
            None if settlement.ending is None else _ending_json(settlement.ending),
        ),
    ).fetchone()
    if row is None or not row[0]:
        return None
    return Settled(JobStatus(row[1]), row[2], row[3])


def release(
    connection: HotConnection,
    held: Claim,
    *,
    delay_s: float,
    is_failed_try: bool,
    reason: str,
    error: dict[str, Any] | None = None,
) -> bool:
    """Give the step back to be claimed again after the delay; False when it is not ours."""
    row = connection.execute(
        _RELEASE,
        (
            held.tenant_id,
            held.job_id,
            held.seq,
            held.epoch,
            delay_s,
            is_failed_try,
            reason,
            _json(error),
        ),
    ).fetchone()
    return bool(row and row[0])


def tell(
    connection: HotConnection, tenant_id: UUID, job_id: UUID, kind: str, data: dict[str, Any]
) -> None:
    """Add a line to the story of a job that has not ended."""
    connection.execute(_TELL, (tenant_id, job_id, kind, write_json(data)))


def _json(value: Any) -> str | None:
    return None if value is None else write_json(value)


def _usage_json(usage: Usage) -> str:
    return write_json(
        {
            "model": usage.model,
            "requests": usage.requests,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cost_usd": usage.cost_usd,
        }
    )


def _plan_json(plan: tuple[Plan, ...]) -> str | None:
    if not plan:
        return None
    return write_json(
        [
            {"kind": step.kind, "name": step.name, "work": step.work, "input": step.input}
            for step in plan
        ]
    )


def _ending_json(ending: Ending) -> str:
    told: dict[str, Any] = {"status": ending.status, "output": ending.output}
    if ending.reason is not None:
        told["reason"] = ending.reason
    if ending.error is not None:
        told["error"] = ending.error
    return write_json(told)
