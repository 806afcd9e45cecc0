"""Budgets: how those of a job and of the tenant stand, and raising a job's."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from jobs.lifecycle.budgeting import raise_budget
from jobs.web.asked import TheCaller, TheDesk, TheTenant
from jobs.web.refusals import NotYours, Unfit
from jobs.web.shapes import Page
from jobs.web.shapes_of_budgets import Account, BudgetRaise
from store import budgets
from store import jobs as stored
from store.approvals import OPERATOR
from store.states import BudgetScope

router = APIRouter(tags=["budgets"])


@router.get("/budget", summary="What the tenant may use, altogether and today")
def read_tenants_budget(desk: TheDesk, tenant_id: TheTenant) -> Page[Account]:
    """Only what has a cap, or once had one, is counted."""
    with desk.doors.as_tenant(tenant_id) as tx:
        found = budgets.list_of_tenant(tx, tenant_id)
    return Page(data=[Account.of(each) for each in found], has_more=False)


@router.get("/jobs/{job_id}/budget", responses={404: {}}, summary="What a job may use")
def read_budget(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Page[Account]:
    """Its own accounts, and those of the line of jobs it is in."""
    with desk.doors.as_tenant(tenant_id) as tx:
        stored.read(tx, job_id)
        found = budgets.list_of_job(tx, job_id)
    return Page(data=[Account.of(each) for each in found], has_more=False)


@router.post(
    "/jobs/{job_id}/budget/raise",
    responses={403: {}, 404: {}, 422: {}},
    summary="Allow a job more",
)
def raise_jobs_budget(
    job_id: UUID, asked: BudgetRaise, desk: TheDesk, caller: TheCaller
) -> Page[Account]:
    """A step that waits for budget goes on; a failed job may be replayed with the higher cap.

    Whoever asks for a job does not also raise what it may use: it takes an operator.
    """
    if not caller.is_operator:
        raise NotYours(f"The budget of a job is raised by somebody with the role {OPERATOR}.")
    amounts = asked.amounts()
    if not amounts:
        raise Unfit("Say by how much: usd, tokens, steps or seconds.")
    scope = BudgetScope.TREE if asked.tree else BudgetScope.JOB
    with desk.doors.as_tenant(caller.tenant_id) as tx:
        raise_budget(tx, stored.read(tx, job_id), scope, amounts, by_whom=caller.requester)
        found = budgets.list_of_job(tx, job_id)
    return Page(data=[Account.of(each) for each in found], has_more=False)
