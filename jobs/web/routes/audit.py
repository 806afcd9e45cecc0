"""The audit: whether it still is as it was written."""

from __future__ import annotations

from fastapi import APIRouter

from jobs.web.asked import TheDesk, TheTenant
from jobs.web.shapes_of_approvals import Verification
from store import audit

router = APIRouter(tags=["waiting"])


@router.get("/audit/verification", summary="Walk the audit and say whether it is whole")
def verify_audit(desk: TheDesk, tenant_id: TheTenant) -> Verification:
    """Every line is bound to the one before it, so a change breaks the chain at its place."""
    with desk.doors.as_tenant(tenant_id) as tx:
        return Verification.of(audit.verify(tx, tenant_id))
