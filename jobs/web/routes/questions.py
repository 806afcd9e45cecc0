"""Questions: what people are asked at this moment, and the answer to one, given once.

An answer names the wait that was shown. One that was answered by somebody else, expired, or was
asked anew meanwhile is not answered by accident: that is a 409, and nothing is changed.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from jobs.web.answers import read_answer
from jobs.web.asked import TheCaller, TheDesk, TheTenant
from jobs.web.refusals import Closed, NotYours
from jobs.web.routes.approvals import who_decides
from jobs.web.shapes import Page
from jobs.web.shapes_of_waits import NUMBER_MAX, AnswerRequest, Wait
from store import approvals, waits
from store import jobs as stored
from store.doors import Transaction
from store.errors import NotFound
from store.rows import ApprovalRow, WaitRow
from store.states import QUESTIONS, WaitState
from store.waits import Answered

router = APIRouter(tags=["waiting"])


@router.get("/questions", responses={404: {}}, summary="What people are asked now, oldest first")
def list_questions(
    desk: TheDesk,
    tenant_id: TheTenant,
    job_id: Annotated[UUID | None, Query(description="of this job only")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Page[Wait]:
    """What is answered leaves the list, so with `has_more` answer some and ask again."""
    with desk.doors.as_tenant(tenant_id) as tx:
        if job_id is not None:
            stored.read(tx, job_id)
        rows = waits.list_questions(tx, job_id=job_id, limit=limit + 1)
        shown = rows[:limit]
        agents = {each: stored.read(tx, each).agent for each in {row.job_id for row in shown}}
    return Page(
        data=[Wait.of(row, agents[row.job_id]) for row in shown], has_more=len(rows) > limit
    )


@router.post(
    "/jobs/{job_id}/steps/{seq}/answer",
    responses={403: {}, 404: {}, 409: {}, 413: {}},
    summary="Answer what a step asks, or decide about it",
)
def answer_question(
    job_id: UUID,
    seq: Annotated[int, Path(ge=1, le=NUMBER_MAX)],
    given: AnswerRequest,
    desk: TheDesk,
    caller: TheCaller,
) -> Wait:
    """The step goes on with the answer as its result, or does what was decided.

    What came of a call that people had to say yes to, those may say who may say yes to it.
    """
    tenant_id, by = caller.tenant_id, caller.requester
    with desk.doors.as_tenant(tenant_id) as tx:
        agent = stored.read(tx, job_id).agent
        asked = _find(waits.list_of(tx, job_id), job_id, seq, given.n)
        became = Answered.CLOSED
        if asked.state is WaitState.PENDING:
            said = read_answer(asked, given)
            became = waits.answer(
                tx, tenant_id, job_id, seq, given.n, said, by=by, roles=caller.roles
            )
        if became is Answered.DENIED:
            raise NotYours(who_decides(_last_asked(tx, job_id, seq)))
        found = waits.list_of(tx, job_id)
    if became is not Answered.ANSWERED:
        raise Closed(_how_it_was_closed(found, seq, given.n))
    return Wait.of(_find(found, job_id, seq, given.n), agent)


def _last_asked(tx: Transaction, job_id: UUID, seq: int) -> ApprovalRow:
    """What people were asked about the call last, in the job or in what it is a replay of."""
    found = [row for row in approvals.list_of(tx, job_id) if row.seq == seq]
    earlier = None if found else stored.read(tx, job_id).forked_from
    return found[-1] if earlier is None else _last_asked(tx, earlier, seq)


def _find(found: list[WaitRow], job_id: UUID, seq: int, n: int) -> WaitRow:
    for wait in found:
        if (wait.seq, wait.n) == (seq, n) and wait.kind in QUESTIONS:
            return wait
    raise NotFound(f"Step {seq} of job {job_id} has asked no question {n}.")


def _how_it_was_closed(found: list[WaitRow], seq: int, n: int) -> str:
    asked = next(wait for wait in found if (wait.seq, wait.n) == (seq, n))
    how = "answered before" if asked.state is WaitState.ANSWERED else asked.state.value
    newer = [w.n for w in found if w.seq == seq and w.n > n and w.state is WaitState.PENDING]
    anew = f" Meanwhile question {newer[0]} is asked." if newer else ""
    return f"Question {n} of step {seq} was {how}; nothing was changed.{anew}"
