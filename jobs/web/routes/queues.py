"""The queues: what lies on the lanes, what waits behind them, the level, and what was refused."""

from __future__ import annotations

from fastapi import APIRouter

from jobs.web.asked import TheDesk, TheTenant
from jobs.web.shapes_of_load import Queues
from store import load, refusals

router = APIRouter(tags=["platform"])

REFUSED_WITHIN_S = 3600.0


@router.get("/queues", responses={503: {}}, summary="What waits, how long, and at which level")
def list_queues(desk: TheDesk, tenant_id: TheTenant) -> Queues:
    """Costs the same however much waits: the counting is done by the scheduler."""
    lanes = desk.gauge.measure()
    with desk.doors.as_tenant(tenant_id) as tx:
        return Queues.told(
            lanes,
            load.read(tx),
            load.read_classes(tx),
            load.read_own(tx),
            refusals.count(tx, REFUSED_WITHIN_S),
        )
