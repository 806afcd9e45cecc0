"""Waits of a job, and the signals that end some of them."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, Response

from jobs.web.asked import TheDesk, TheTenant
from jobs.web.refusals import Closed, Crowded
from jobs.web.shapes import Page
from jobs.web.shapes_of_waits import Signal, SignalRequest, Wait
from store import jobs as stored
from store import waits
from store.waits import SIGNALS_UNREAD_MAX, Sent

router = APIRouter(tags=["waiting"])


@router.get("/jobs/{job_id}/waits", responses={404: {}}, summary="What the steps of a job wait for")
def list_waits(job_id: UUID, desk: TheDesk, tenant_id: TheTenant) -> Page[Wait]:
    """Every wait the job has had, in the order of its steps."""
    with desk.doors.as_tenant(tenant_id) as tx:
        agent = stored.read(tx, job_id).agent
        return Page(data=[Wait.of(row, agent) for row in waits.list_of(tx, job_id)])


@router.post(
    "/jobs/{job_id}/signals",
    status_code=202,
    responses={200: {"model": Signal}, 404: {}, 409: {}, 413: {}, 429: {}},
    summary="Send a signal to a job",
)
def send_signal(
    job_id: UUID, sent: SignalRequest, response: Response, desk: TheDesk, tenant_id: TheTenant
) -> Signal:
    """A signal may come before, during or after the wait for it, and is consumed by one wait."""
    with desk.doors.as_tenant(tenant_id) as tx:
        became = waits.send_signal(tx, tenant_id, job_id, sent.name, sent.data, key=sent.key)
    if became is Sent.ENDED:
        raise Closed(f"Job {job_id} has ended; no signal reaches it any more.")
    if became is Sent.FULL:
        raise Crowded(
            f"{SIGNALS_UNREAD_MAX:,} signals wait unread with job {job_id} already. Send it again "
            "when the job has taken some."
        )
    if became is Sent.DUPLICATE:
        response.status_code = 200
        return Signal(job_id=job_id, name=sent.name, key=sent.key, status="duplicate")
    return Signal(job_id=job_id, name=sent.name, key=sent.key, status="accepted")
