"""Dispatch: ring for the steps that are due, in fair order, as far as the lanes have room.

A step is due when it is ready, its time has come, and either nobody rang for it or its ring was
lost. Most steps never get here, because whoever plans a step rings for it at once. What does: jobs
that found others waiting, timers and retries, and everything Redis has forgotten. How much of each
class is taken is a matter of `shares.py`; in which order, of `store/sql/take_due_steps.sql`.
"""

from __future__ import annotations

from collections import Counter

import structlog

from broker.depth import Gauge
from broker.envelope import Envelope
from broker.errors import BrokerDown
from broker.lanes import ALL_LANES
from broker.publish import Bell
from scheduler.shares import Shares
from store import due, load
from store.doors import Doors
from store.due import DueStep
from store.states import JobClass

log = structlog.get_logger(__name__)


def dispatch(
    doors: Doors,
    bell: Bell,
    gauge: Gauge,
    *,
    depth_max: int,
    again_s: float,
    shares: Shares | None = None,
) -> int:
    """One round over all lanes; returns how many steps were rung for."""
    shares = shares or Shares()
    try:
        depths = {ALL_LANES[lane]: depth for lane, depth in gauge.measure().items()}
    except BrokerDown:
        return 0
    with doors.as_operator("dispatch") as tx:
        level = load.read(tx).level
        capacity = load.read_capacity(tx)
        part = shares.divide(capacity, depths, level=level, depth_max=depth_max)
        steps = due.take(
            tx, part.room, again_s=again_s, first=part.first, depths=depths, most=part.most
        )
        for job_class, waits_s in _starts(steps).items():
            load.count_starts(tx, job_class, len(waits_s), min(waits_s))
    shares.remember(depths, Counter(step.work for step in steps))
    bell.ring([Envelope(s.tenant_id, s.job_id, s.seq, s.name, s.job_class, s.work) for s in steps])
    if steps:
        log.debug("rang", steps=len(steps))
    return len(steps)


def _starts(steps: list[DueStep]) -> dict[JobClass, list[float]]:
    """How long each new start has waited, by class; classes in one order, for the locks' sake."""
    waits_s = {
        each: [s.waited_s for s in steps if s.is_start and s.job_class is each] for each in JobClass
    }
    return {each: found for each, found in waits_s.items() if found}
