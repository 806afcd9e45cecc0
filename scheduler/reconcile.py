"""Reconcile: whatever its worker has dropped is made ready again.

A worker is believed for one lease after its last beat, by the database's clock. Then it is lost for
good, and its steps are ready for others; should it wake up after all, its epoch is old and its
writes are refused. Jobs that were being cancelled while their worker died are ended here too, and
those whose deadline passed while they were parked or queued.

While Postgres is away nobody can beat, and all workers look dead when it is back. So after a
silence (its own start is one too) the scheduler gives all of them a lease before it judges.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

import structlog

from store import due
from store.doors import Doors

log = structlog.get_logger(__name__)

# A lease that nobody outlives, in the hours that a silence may last.
NEVER_S = 10 * 365 * 86_400.0
# How many jobs one round ends; the next round comes soon.
STOPS_MAX = 200


class Reconciler:
    """Walks the round of reconciling, and knows since when Postgres has answered it."""

    def __init__(
        self, doors: Doors, lease_s: float, clock: Callable[[], float] = monotonic
    ) -> None:
        self._doors = doors
        self._lease_s = lease_s
        self._clock = clock
        self._answered_at = float("-inf")
        self._judges_from = float("-inf")

    def walk(self) -> int:
        """One round; returns how many steps came free. Raises `Unreachable`."""
        now = self._clock()
        if now - self._answered_at > self._lease_s / 2:
            self._judges_from = now + self._lease_s
        # Whoever has said that it stopped, or was found lost before, is gone in any case.
        freed = reconcile(self._doors, self._lease_s if now >= self._judges_from else NEVER_S)
        stop_due(self._doors)
        self._answered_at = self._clock()
        return freed


def reconcile(doors: Doors, lease_s: float) -> int:
    """Give up workers that were not heard for a lease; returns how many steps came free."""
    with doors.as_operator("reconcile") as tx:
        workers, steps = due.recover_lost(tx, lease_s)
    if workers or steps:
        log.warning("workers lost", workers=workers, steps_freed=steps)
    return steps


def stop_due(doors: Doors) -> int:
    """End jobs that are to end and that nobody runs any more; returns how many."""
    with doors.as_operator("reconcile") as tx:
        stopping = due.list_stopping(tx, STOPS_MAX)
    for tenant_id, job_id in stopping:
        # A transaction for each: it locks a whole line of jobs, down to the last child.
        with doors.as_operator("reconcile") as tx:
            due.stop(tx, tenant_id, job_id)
    return len(stopping)
