"""What guards have said of what passed through a job."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from jobs.web.asked import TheDesk, TheTenant
from jobs.web.shapes import Page
from jobs.web.shapes_of_guards import Verdict
from jobs.web.shapes_of_waits import NUMBER_MAX
from store import guard_verdicts
from store import jobs as stored

router = APIRouter(tags=["jobs"])


@router.get("/jobs/{job_id}/guards", responses={404: {}}, summary="What guards said in a job")
def list_verdicts(
    job_id: UUID,
    desk: TheDesk,
    tenant_id: TheTenant,
    after: Annotated[int, Query(ge=-1, le=NUMBER_MAX, description="behind this step")] = -1,
    limit: Annotated[int, Query(ge=1, le=200, description="of so many steps")] = 200,
) -> Page[Verdict]:
    """In the order of its steps, those of one step together. Its input comes first, as step 0."""
    with desk.doors.as_tenant(tenant_id) as tx:
        stored.read(tx, job_id)
        rows = guard_verdicts.list_of(tx, job_id, after=after, steps_max=limit + 1)
    shown = [*dict.fromkeys(row.seq for row in rows)][:limit]
    data = [Verdict.of(row) for row in rows if row.seq in shown]
    return Page(data=data, has_more=len(data) < len(rows))
