"""Reconcile: whatever its worker has dropped is made ready again.

A worker is believed for one lease after its last beat, by the database's clock. Then it is lost for
good, and its steps are ready for others; should it wake up after all, its epoch is old and its
writes are refused. Jobs that were being cancelled while their worker died are ended here too.
"""

from __future__ import annotations

import structlog

from store import due
from store.doors import Doors

log = structlog.get_logger(__name__)


def reconcile(doors: Doors, lease_s: float) -> int:
    """One round; returns how many steps came free."""
    with doors.as_operator("reconcile") as tx:
        workers, steps = due.recover_lost(tx, lease_s)
    # A transaction of its own: it locks jobs, and those who hold a job wait for its steps.
    with doors.as_operator("reconcile") as tx:
        due.sweep_cancelled(tx)
    if workers or steps:
        log.warning("workers lost", workers=workers, steps_freed=steps)
    return steps
