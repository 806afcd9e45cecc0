"""Dispatch: ring for the steps that are due, as far as their lane has room.

A step is due when it is ready, its time has come, and either nobody rang for it or the ring was not
answered. Most steps never get here, because whoever plans a step rings for it at once. What does:
jobs that found their lane full, timers and retries, and everything Redis has forgotten. A lane that
is full is left alone, so a backlog in Postgres never turns into a flood of doorbells.
"""

from __future__ import annotations

import structlog

from broker.depth import Gauge
from broker.envelope import Envelope
from broker.errors import BrokerDown
from broker.lanes import ALL_LANES
from broker.publish import Bell
from store import due
from store.doors import Doors

log = structlog.get_logger(__name__)


def dispatch(doors: Doors, bell: Bell, gauge: Gauge, *, depth_max: int, again_s: float) -> int:
    """One round over all lanes; returns how many steps were rung for."""
    try:
        depths = gauge.measure()
    except BrokerDown:
        return 0
    room = {
        ALL_LANES[lane]: depth_max - depth for lane, depth in depths.items() if depth < depth_max
    }
    with doors.as_operator("dispatch") as tx:
        steps = due.take(tx, room, again_s=again_s)
    bell.ring([Envelope(s.tenant_id, s.job_id, s.seq, s.name, s.job_class, s.work) for s in steps])
    if steps:
        log.debug("rang", steps=len(steps))
    return len(steps)
