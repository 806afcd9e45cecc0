"""Dead letters: jobs that were given up, to look at, discard, or replay from the failed step."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from jobs.web.asked import TheCaller, TheDesk, TheTenant, Words
from jobs.web.copying import check_may_copy, check_may_copy_all
from jobs.web.refusals import Closed, NotSettled
from jobs.web.shapes import Job, Page
from jobs.web.shapes_of_letters import BulkReplayRequest, DeadLetter, Planned, ReplayRequest
from store import jobs as stored
from store import letters, usage
from store.letters import LetterFilter, Replayed
from store.rows import LetterRow
from store.states import LetterState

router = APIRouter(tags=["dead letters"])


@router.get("/dead-letters", responses={404: {}}, summary="List dead letters, newest first")
def list_dead_letters(
    desk: TheDesk,
    tenant_id: TheTenant,
    state: LetterState | None = None,
    agent: Words = None,
    error_class: Annotated[Words, Query(alias="class", description="a class of errors")] = None,
    fingerprint: Words = None,
    dependency: Words = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    before: Annotated[UUID | None, Query(description="the last job of the page above")] = None,
) -> Page[DeadLetter]:
    wanted = LetterFilter(state, agent, error_class, fingerprint, dependency)
    with desk.doors.as_tenant(tenant_id) as tx:
        rows = letters.list_newest(tx, wanted, limit=limit + 1, before=before)
    return Page(data=[DeadLetter.of(row) for row in rows[:limit]], has_more=len(rows) > limit)


@router.post(
    "/dead-letters/replay",
    status_code=202,
    responses={404: {}},
    summary="Replay all open dead letters that fit, some a second, as background jobs",
)
def replay_dead_letters(wanted: BulkReplayRequest, desk: TheDesk, caller: TheCaller) -> Planned:
    """Only those of agents that are served here. Each keeps all it had done before it failed.

    For operators, as each acts for whoever asked for it.
    """
    check_may_copy_all(caller)
    if wanted.agent is not None:
        desk.registry.find(wanted.agent)
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        planned = letters.plan_replays(
            tx,
            LetterFilter(
                None, wanted.agent, wanted.error_class, wanted.fingerprint, wanted.dependency
            ),
            versions={name: each.version for name, each in desk.registry.agents.items()},
            per_s=wanted.per_s,
            by=caller.requester,
            limit=wanted.limit,
        )
    return Planned(planned=planned, takes_s=max(0, planned - 1) / wanted.per_s)


@router.get("/dead-letters/{job_id}", responses={404: {}}, summary="The dead letter of a job")
def read_dead_letter(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> DeadLetter:
    with desk.doors.as_tenant(tenant_id) as tx:
        return DeadLetter.of(letters.read(tx, job_id))


@router.post(
    "/dead-letters/{job_id}/replay",
    status_code=202,
    responses={404: {}, 409: {}},
    summary="Make a job that goes on from the failed step",
)
def replay_dead_letter(
    job_id: UUID,
    response: Response,
    desk: TheDesk,
    caller: TheCaller,
    how: ReplayRequest | None = None,
) -> Job:
    """The new job shares every step that was done; the failed job stays as it is.

    It came to be as that did, and acts for whoever asked for it; so only they may ask for it, the
    same way, or an operator.
    """
    job_class, tenant_id = (how or ReplayRequest()).job_class, caller.tenant_id
    with desk.doors.as_tenant(tenant_id) as tx:
        program = desk.registry.find(letters.read(tx, job_id).agent)
        check_may_copy(caller, stored.read(tx, job_id))
        became, new_id = letters.replay(
            tx,
            tenant_id,
            job_id,
            version=program.version,
            job_class=job_class,
            by=caller.requester,
        )
        if became is Replayed.CLOSED:
            raise Closed(_how_it_was_closed(letters.read(tx, job_id)))
        if became is Replayed.BUSY:
            raise NotSettled(
                f"A step of job {job_id} that ran beside the failed one is still coming in. Try "
                "again shortly."
            )
        row = stored.read(tx, new_id)
        made = Job.of(row, usage.total(tx, row))
    response.headers["Location"] = f"/v1/jobs/{new_id}"
    return made


@router.post(
    "/dead-letters/{job_id}/discard",
    responses={404: {}, 409: {}},
    summary="Close a dead letter: nobody will replay it",
)
def discard_dead_letter(job_id: UUID, desk: TheDesk, caller: TheCaller) -> DeadLetter:
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        letter = letters.discard(tx, job_id, by=caller.requester)
    if letter.state is LetterState.REPLAYED:
        raise Closed(_how_it_was_closed(letter))
    return DeadLetter.of(letter)


def _how_it_was_closed(letter: LetterRow) -> str:
    if letter.replayed_as is not None:
        return f"Job {letter.job_id} was replayed before, as job {letter.replayed_as}."
    return f"The dead letter of job {letter.job_id} was discarded."
