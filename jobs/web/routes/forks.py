"""Forks and children: the jobs that came of a job."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from fastapi import APIRouter, Response

from jobs.lifecycle import intake
from jobs.web.asked import TheCaller, TheDesk, TheTenant
from jobs.web.callers import Caller
from jobs.web.copying import check_may_copy
from jobs.web.refusals import NotYours, Unfit
from jobs.web.shapes import Job, Page
from jobs.web.shapes_of_letters import ForkRequest
from store import checkpoints, forks, usage
from store import jobs as stored
from store.forks import Forked
from store.rows import CheckpointRow, JobRow
from store.states import StepState

router = APIRouter(tags=["jobs"])


@router.post(
    "/jobs/{job_id}/fork",
    status_code=202,
    responses={403: {}, 404: {}, 413: {}},
    summary="Make a job that shares the first steps of this one and goes its own way",
)
def fork_job(
    job_id: UUID, asked: ForkRequest, response: Response, desk: TheDesk, caller: TheCaller
) -> Job:
    """Steps from `from_step` on run again, under the agent as it is served now.

    It came to be as the original did, and acts for whoever asked for that; so only they may ask for
    it, the same way, or an operator; and only they may give it another input.
    """
    tenant_id = caller.tenant_id
    with desk.doors.as_tenant(tenant_id) as tx:
        job = stored.read(tx, job_id)
        check_may_copy(caller, job)
        if asked.input is not None:
            _check_may_change(caller, job)
        program = desk.registry.find(job.agent)
        given = intake.check_input(program, job.input if asked.input is None else asked.input)
        became, new_id = forks.fork(
            tx,
            tenant_id,
            job_id,
            from_seq=asked.from_step,
            version=program.version,
            input=None if asked.input is None else given,
            job_class=asked.job_class,
        )
        if became is Forked.REFUSED:
            steps = checkpoints.list_of(tx, job_id, limit=asked.from_step)
            raise Unfit(f"Job {job_id} cannot be forked there: {_why_not(steps, asked.from_step)}")
        row = stored.read(tx, new_id)
        made = Job.of(row, usage.total(tx, row))
    response.headers["Location"] = f"/v1/jobs/{new_id}"
    return made


@router.get(
    "/jobs/{job_id}/children", responses={404: {}}, summary="The jobs a job's steps asked for"
)
def list_children(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Page[Job]:
    with desk.doors.as_tenant(tenant_id) as tx:
        stored.read(tx, job_id)
        found = stored.list_children(tx, job_id)
        return Page(data=[Job.of(row, usage.total(tx, row)) for row in found])


def _check_may_change(caller: Caller, job: JobRow) -> None:
    """Raise `NotYours` for words of one's own in the mouth of somebody else.

    Its calls are for others than its requester to approve, so whoever wrote it has to be that.
    """
    if caller.requester != job.requester:
        raise NotYours(
            f"Job {job.id} was asked for by {job.requester or 'somebody unnamed'}, and a fork acts "
            "for them. Fork it with the input it had, or submit a job of your own."
        )


def _why_not(steps: Sequence[CheckpointRow], from_step: int) -> str:
    if len(steps) < from_step:
        return f"it has no step {from_step}; its last is step {len(steps)}."
    for step in steps:
        if step.seq < from_step and step.state is not StepState.COMMITTED:
            return f"step {step.seq} before it was not done, it is {step.state.value}."
    return f"step {from_step} does not follow from what was done before it."
