"""Jobs: accept one, look at it, list them, ask one to stop, read its steps."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from jobs.lifecycle import intake
from jobs.lifecycle.budgeting import check_budget
from jobs.lifecycle.desk import Desk
from jobs.web.asked import TheCaller, TheDesk, TheTenant, Words
from jobs.web.refusals import BadRequest
from jobs.web.shapes import Job, JobRequest, Page, Step, Trial
from jobs.web.shapes_of_waits import Wait
from store import checkpoints, usage, waits
from store import jobs as stored
from store.states import JobStatus, StepState, WaitState

router = APIRouter(tags=["jobs"])

KEY_CHARS_MAX = 200
STEPS_PAGE_MAX = 1000


@router.post(
    "/jobs",
    status_code=202,
    response_model=Job | Trial,
    responses={403: {}, 404: {}, 413: {}, 422: {}, 503: {}},
    summary="Ask for a job",
)
def submit_job(
    asked: JobRequest,
    response: Response,
    desk: TheDesk,
    caller: TheCaller,
    idempotency_key: Annotated[str | None, Header()] = None,
    dry_run: Annotated[bool, Query(description="check the request and create nothing")] = False,
) -> Job | Trial:
    """Accept a job. With an Idempotency-Key, asking again returns the job of the first time.

    Who asks, with which roles and through which door, is what the token says, and nothing else.
    """
    key = _checked_key(idempotency_key)
    if dry_run:
        return _try_out(desk, asked, response)
    submitted = intake.submit(
        desk,
        caller.tenant_id,
        intake.Submission(
            asked.agent,
            asked.input,
            asked.model,
            asked.job_class,
            key,
            origin=caller.origin,
            requester=caller.requester,
            roles=tuple(sorted(caller.roles)),
            deadline_s=asked.deadline_s,
            budget=asked.budget,
        ),
    )
    response.headers["Location"] = f"/v1/jobs/{submitted.job.id}"
    if not submitted.created:
        response.headers["Idempotent-Replayed"] = "true"
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        return Job.of(submitted.job, usage.total(tx, submitted.job))


@router.get("/jobs", summary="List jobs, newest first")
def list_jobs(
    desk: TheDesk,
    tenant_id: TheTenant,
    status: JobStatus | None = None,
    agent: Words = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[UUID | None, Query(description="the last id of the page above")] = None,
) -> Page[Job]:
    with desk.doors.as_tenant(tenant_id) as tx:
        rows = stored.list_newest(tx, status=status, agent=agent, limit=limit + 1, before=before)
        shown = [Job.of(row, usage.total(tx, row)) for row in rows[:limit]]
    return Page(data=shown, has_more=len(rows) > limit)


@router.get("/jobs/{job_id}", responses={404: {}}, summary="A job as it stands")
def read_job(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Job:
    with desk.doors.as_tenant(tenant_id) as tx:
        row = stored.read(tx, job_id)
        return Job.of(row, usage.total(tx, row))


@router.post("/jobs/{job_id}/cancel", responses={404: {}}, summary="Ask a job to stop")
def cancel_job(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Job:
    """The job stops at its next boundary. A job that has ended stays as it ended."""
    with desk.doors.as_tenant(tenant_id) as tx:
        row = stored.request_cancel(tx, job_id)
        return Job.of(row, usage.total(tx, row))


@router.get("/jobs/{job_id}/steps", responses={404: {}}, summary="The checkpoint table of a job")
def list_steps(
    job_id: UUID,
    desk: TheDesk,
    tenant_id: TheTenant,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=STEPS_PAGE_MAX)] = 200,
) -> Page[Step]:
    with desk.doors.as_tenant(tenant_id) as tx:
        job = stored.read(tx, job_id)
        rows = checkpoints.list_of(tx, job_id, after_seq=after, limit=limit + 1)
        is_parked = any(row.state is StepState.WAITING for row in rows)
        waited = waits.list_of(tx, job_id) if is_parked else []
    open_waits = {w.seq: Wait.of(w, job.agent) for w in waited if w.state is WaitState.PENDING}
    shown = [Step.of(row, open_waits.get(row.seq)) for row in rows[:limit]]
    return Page(data=shown, has_more=len(rows) > limit)


def _try_out(desk: Desk, asked: JobRequest, response: Response) -> Trial:
    """Say what would be refused, as it would be."""
    program = desk.registry.find(asked.agent)
    written = intake.check_input(program, asked.input)
    intake.check_model(program, asked.model)
    check_budget(program, asked.budget)
    response.status_code = 200
    return Trial(agent=program.name, agent_version=program.version, input=written)


def _checked_key(header: str | None) -> str | None:
    """The idempotency key, bare or quoted as a structured field."""
    if header is None:
        return None
    key = header.strip()
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not 0 < len(key) <= KEY_CHARS_MAX or not key.isascii() or not key.isprintable():
        raise BadRequest(f"An Idempotency-Key is 1 to {KEY_CHARS_MAX} printable ASCII characters.")
    return key
