"""The audit: what it says, and whether it still is as it was written."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from jobs.web.asked import TheDesk, TheTenant
from jobs.web.shapes import Page
from jobs.web.shapes_of_audit import Line, Verification
from store import audit

router = APIRouter(tags=["waiting"])


@router.get("/audit", summary="What people have decided, newest first")
def list_audit(
    desk: TheDesk,
    tenant_id: TheTenant,
    job_id: Annotated[UUID | None, Query(description="about this job only")] = None,
    before: Annotated[int | None, Query(ge=1, le=2**62, description="before this line")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 100,
) -> Page[Line]:
    """The lines stay when the jobs are forgotten. Of arguments, they have the hashes."""
    with desk.doors.as_tenant(tenant_id) as tx:
        lines = audit.list_newest(tx, job_id=job_id, before=before, limit=limit + 1)
    return Page(data=[Line.of(each) for each in lines[:limit]], has_more=len(lines) > limit)


@router.get("/audit/verification", summary="Walk the audit and say whether it is whole")
def verify_audit(desk: TheDesk, tenant_id: TheTenant) -> Verification:
    """Every line is bound to the one before it, so a change breaks the chain at its place."""
    with desk.doors.as_tenant(tenant_id) as tx:
        return Verification.of(audit.verify(tx, tenant_id))
