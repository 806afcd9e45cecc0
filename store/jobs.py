"""Jobs: put one down with its first steps, look at it, list them, ask one to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, func, literal, select, text, tuple_
from sqlalchemy.dialects.postgresql import insert

from store.errors import NotFound
from store.rows import JobRow
from store.schema import checkpoints, events, jobs
from store.states import JobClass, JobStatus, StepState
from store.transitions import Plan


@dataclass(frozen=True, slots=True)
class NewJob:
    """What intake has decided about a job before it exists. `input` is JSON."""

    tenant_id: UUID
    id: UUID
    agent: str
    agent_version: str
    model: str | None
    job_class: JobClass
    origin: str
    input: dict[str, Any]
    idempotency_key: str | None
    request_sha256: str | None
    first_steps: tuple[Plan, ...]
    is_rung: bool = False
    deadline_in_s: float | None = None


def create(tx: Connection, new: NewJob) -> JobRow | None:
    """Store the job with its first steps, or None when its idempotency key is taken."""
    inserted = tx.execute(
        insert(jobs)
        .values(
            tenant_id=new.tenant_id,
            id=new.id,
            agent=new.agent,
            agent_version=new.agent_version,
            model=new.model,
            job_class=new.job_class.value,
            origin=new.origin,
            status=JobStatus.QUEUED.value,
            outstanding=len(new.first_steps),
            next_seq=len(new.first_steps) + 1,
            event_seq=1,
            idempotency_key=new.idempotency_key,
            request_sha256=new.request_sha256,
            input=new.input,
            root_id=new.id,
            deadline_at=_in(new.deadline_in_s),
        )
        .on_conflict_do_nothing(index_elements=["tenant_id", "idempotency_key"])
        .returning(jobs)
    ).one_or_none()
    if inserted is None:
        return None
    first = [_first_step(new, n) for n in range(len(new.first_steps))]
    tx.execute(insert(checkpoints).values(first))
    tx.execute(
        insert(events).values(
            tenant_id=new.tenant_id,
            job_id=new.id,
            id=1,
            type="job.queued",
            data={"agent": new.agent, "class": new.job_class.value},
        )
    )
    return _job(inserted)


def _in(seconds: float | None) -> Any:
    return None if seconds is None else func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _first_step(new: NewJob, n: int) -> dict[str, Any]:
    step = new.first_steps[n]
    return {
        "tenant_id": new.tenant_id,
        "job_id": new.id,
        "seq": n + 1,
        "kind": step.kind.value,
        "name": step.name,
        "job_class": new.job_class.value,
        "work": step.work.value,
        "state": StepState.READY.value,
        "input": step.input,
        "rung_at": func.now() if new.is_rung else None,
    }


def read(tx: Connection, job_id: UUID) -> JobRow:
    """The job as it stands; `NotFound` when there is none behind this tenant's wall."""
    row = tx.execute(select(jobs).where(jobs.c.id == job_id, _this_tenant())).one_or_none()
    if row is None:
        raise NotFound(f"There is no job {job_id}.")
    return _job(row)


def find_by_key(tx: Connection, idempotency_key: str) -> JobRow | None:
    """The job that took this idempotency key."""
    row = tx.execute(
        select(jobs).where(jobs.c.idempotency_key == idempotency_key, _this_tenant())
    ).one_or_none()
    return None if row is None else _job(row)


def list_newest(
    tx: Connection,
    *,
    status: JobStatus | None = None,
    agent: str | None = None,
    limit: int = 50,
    before: UUID | None = None,
) -> list[JobRow]:
    """Jobs, newest first; `before` is the id of the last one of the page above."""
    query = select(jobs).where(_this_tenant())
    if status is not None:
        query = query.where(jobs.c.status == status.value)
    if agent is not None:
        query = query.where(jobs.c.agent == agent)
    if before is not None:
        last = read(tx, before)
        query = query.where(
            tuple_(jobs.c.created_at, jobs.c.id)
            < tuple_(literal(last.created_at), literal(last.id))
        )
    query = query.order_by(jobs.c.created_at.desc(), jobs.c.id.desc()).limit(limit)
    return [_job(row) for row in tx.execute(query)]


def request_cancel(tx: Connection, job_id: UUID) -> JobRow:
    """Ask the job to end at its next boundary; asking again, or too late, changes nothing."""
    before = read(tx, job_id)
    if not before.status.is_ended:
        tx.execute(
            text("select stepwell.cancel_job(:tenant, :job)"),
            {"tenant": before.tenant_id, "job": job_id},
        )
    return read(tx, job_id)


def list_children(tx: Connection, job_id: UUID) -> list[JobRow]:
    """The jobs that steps of this one asked for, oldest first."""
    rows = tx.execute(
        select(jobs).where(jobs.c.parent_job_id == job_id, _this_tenant()).order_by(jobs.c.id)
    )
    return [_job(row) for row in rows]


def _this_tenant() -> Any:
    # The wall would do, but naming the tenant lets the planner use the primary key.
    return jobs.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")


def _job(row: Row[Any]) -> JobRow:
    told = dict(row._mapping)
    told["status"] = JobStatus(told["status"])
    told["job_class"] = JobClass(told["job_class"])
    return JobRow(**told)
