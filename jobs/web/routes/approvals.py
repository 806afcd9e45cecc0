"""Approvals: the calls that wait for people, and what those say, for exactly what they were shown.

A decision names the hash of the arguments. When others are asked about meanwhile, or it was decided
by somebody else, that is a 409, and nothing is changed.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Query

from jobs.lifecycle.deciding import decide
from jobs.web.asked import TheCaller, TheDesk, TheTenant
from jobs.web.refusals import Closed, NotYours, Unfit
from jobs.web.shapes import Page
from jobs.web.shapes_of_approvals import Approval, DecisionRequest
from jobs.web.shapes_of_waits import NUMBER_MAX
from store import approvals
from store import jobs as stored
from store.approvals import Became, Said
from store.doors import Transaction
from store.errors import NotFound
from store.rows import ApprovalRow
from store.states import Decision, Tier

router = APIRouter(tags=["waiting"])

TOO_LATE = (Became.CLOSED, Became.OTHER, Became.AGAIN)
# What goes with which decision, and with no other.
GOES_WITH = {"args": Decision.EDIT, "answer": Decision.RESPOND}


@router.get("/approvals", responses={404: {}}, summary="The calls that wait for people now")
def list_approvals(
    desk: TheDesk,
    tenant_id: TheTenant,
    job_id: Annotated[UUID | None, Query(description="of this job only")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Page[Approval]:
    """The oldest first. What is decided leaves the list."""
    with desk.doors.as_tenant(tenant_id) as tx:
        if job_id is not None:
            stored.read(tx, job_id)
        rows = approvals.list_pending(tx, job_id=job_id, limit=limit + 1)
        shown = _show(tx, rows[:limit])
    return Page(data=shown, has_more=len(rows) > limit)


@router.get("/jobs/{job_id}/approvals", responses={404: {}}, summary="All that a job asked for")
def list_approvals_of(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Page[Approval]:
    """In the order of its steps, with what people have said."""
    with desk.doors.as_tenant(tenant_id) as tx:
        stored.read(tx, job_id)
        shown = _show(tx, approvals.list_of(tx, job_id))
    return Page(data=shown, has_more=False)


@router.post(
    "/jobs/{job_id}/steps/{seq}/decision",
    responses={403: {}, 404: {}, 409: {}, 413: {}},
    summary="Approve, edit, reject or answer a call",
)
def decide_call(
    job_id: UUID,
    seq: Annotated[int, Path(ge=1, le=NUMBER_MAX)],
    given: DecisionRequest,
    caller: TheCaller,
    desk: TheDesk,
    tenant_id: TheTenant,
) -> Approval:
    """The call is made with the arguments shown, or those of an edit once people agree to them."""
    _check_fields(given)
    said = Said(given.decision, given.reason, given.answer, given.remember)
    with desk.doors.as_tenant(tenant_id) as tx:
        asked = _find(tx, job_id, seq, given.n)
        became = decide(
            tx,
            desk.registry,
            tenant_id,
            asked,
            given.args_sha256,
            said,
            args=given.args,
            by=caller.requester,
            roles=caller.roles,
        )
        found = [row for row in approvals.list_of(tx, job_id) if row.seq == seq]
        if became is Became.DENIED:
            raise NotYours(who_decides(asked))
        if became in TOO_LATE:
            raise Closed(_how_it_stands(became, found, asked))
        now = found[-1] if given.decision is Decision.EDIT else _find(tx, job_id, seq, given.n)
        return _show(tx, [now])[0]


def _check_fields(given: DecisionRequest) -> None:
    for name, decision in GOES_WITH.items():
        has_it = name in given.model_fields_set
        if has_it and given.decision is not decision:
            raise Unfit(f"`{name}` goes with the decision {decision.value!r} only.")
        if given.decision is decision and not has_it:
            raise Unfit(f"Send `{name}` with the decision {decision.value!r}.")
    if given.remember and given.decision not in (Decision.APPROVE, Decision.EDIT):
        raise Unfit("Only a call that is approved can be remembered.")


def _find(tx: Transaction, job_id: UUID, seq: int, n: int) -> ApprovalRow:
    stored.read(tx, job_id)
    for row in approvals.list_of(tx, job_id):
        if (row.seq, row.n) == (seq, n):
            return row
    raise NotFound(f"Step {seq} of job {job_id} has no call {n} to decide about.")


def _show(tx: Transaction, rows: list[ApprovalRow]) -> list[Approval]:
    jobs = {each: stored.read(tx, each) for each in {row.job_id for row in rows}}
    said = {each: approvals.list_decisions(tx, each) for each in jobs}
    return [
        Approval.of(row, jobs[row.job_id].agent, jobs[row.job_id].requester, said[row.job_id])
        for row in rows
    ]


def who_decides(asked: ApprovalRow) -> str:
    """Who may decide about this call, as those are told who may not."""
    if asked.tier is Tier.CONFIRM:
        return "Only who asked for the job, or an operator, can confirm this call."
    who = "somebody" if asked.role is None else f"somebody with the role {asked.role!r}"
    return f"This call is to be approved by {who} who did not ask for the job."


def _how_it_stands(became: Became, found: list[ApprovalRow], asked: ApprovalRow) -> str:
    anew = f" Meanwhile question {found[-1].n} is asked." if found[-1].n > asked.n else ""
    match became:
        case Became.OTHER:
            return f"Other arguments were shown than are asked about; nothing was changed.{anew}"
        case Became.AGAIN:
            return "You have decided about this call before; nothing was changed."
        case _:
            which = f"Call {asked.n} of step {asked.seq}"
            return f"{which} is decided, or over; nothing was changed.{anew}"
