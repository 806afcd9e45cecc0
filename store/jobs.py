"""Jobs: put one down with its first steps, look at it, list them, ask one to end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, literal, select, text, tuple_

from store.errors import NotFound
from store.jsonb import write_json
from store.rows import JobRow
from store.schema import jobs
from store.states import JobClass, JobStatus, Origin
from store.transitions import Plan, plans_as_json


@dataclass(frozen=True, slots=True)
class NewJob:
    """What intake has decided about a job before it exists. `input` is JSON."""

    tenant_id: UUID
    id: UUID
    agent: str
    agent_version: str
    model: str | None
    job_class: JobClass
    origin: Origin
    input: dict[str, Any]
    idempotency_key: str | None
    request_sha256: str | None
    first_steps: tuple[Plan, ...]
    is_rung: bool = False
    deadline_in_s: float | None = None
    requester: str | None = None
    roles: tuple[str, ...] = ()


# The job, its first steps and its first event, in one round trip.
_CREATE = text(
    """
    with steps as (
      select n::int as seq, value ->> 'kind' as kind, value ->> 'name' as name,
             value ->> 'work' as work, value -> 'input' as input
        from jsonb_array_elements(cast(:steps as jsonb)) with ordinality as s (value, n)
    ), born as (
      insert into stepwell.jobs (
        tenant_id, id, agent, agent_version, model, job_class, origin, requester, roles, status,
        outstanding, next_seq, event_seq, idempotency_key, request_sha256, input, root_id,
        deadline_at)
      select :tenant, :id, :agent, :agent_version, :model, :job_class, :origin, :requester,
             cast(:roles as text[]), 'queued', count(*), count(*) + 1, 1, :idempotency_key,
             :request_sha256, cast(:input as jsonb), :id,
             now() + make_interval(secs => cast(:deadline_in_s as double precision))
        from steps
      on conflict (tenant_id, idempotency_key) do nothing
      returning *
    ), planned as (
      insert into stepwell.checkpoints (
        tenant_id, job_id, seq, kind, name, job_class, work, state, input, rung_at)
      select b.tenant_id, b.id, s.seq, s.kind, s.name, b.job_class, s.work, 'ready', s.input,
             case when :is_rung then now() end
        from born b, steps s
    ), told as (
      insert into stepwell.events (tenant_id, job_id, id, type, data)
      select b.tenant_id, b.id, 1, 'job.queued',
             jsonb_build_object('agent', b.agent, 'class', b.job_class)
        from born b
    )
    select * from born
    """
)


def create(tx: Connection, new: NewJob) -> JobRow | None:
    """Store the job with its first steps, or None when its idempotency key is taken."""
    born = tx.execute(
        _CREATE,
        {
            "tenant": new.tenant_id,
            "id": new.id,
            "agent": new.agent,
            "agent_version": new.agent_version,
            "model": new.model,
            "job_class": new.job_class.value,
            "origin": new.origin.value,
            "requester": new.requester,
            "roles": list(new.roles),
            "idempotency_key": new.idempotency_key,
            "request_sha256": new.request_sha256,
            "input": write_json(new.input),
            "steps": write_json(plans_as_json(new.first_steps)),
            "deadline_in_s": new.deadline_in_s,
            "is_rung": new.is_rung,
        },
    ).one_or_none()
    return None if born is None else _job(born)


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
    told["origin"] = Origin(told["origin"])
    return JobRow(**told)
