"""Retention: jobs that ended long ago are forgotten, a bounded batch at a time."""

from __future__ import annotations

import structlog

from store import due, workers
from store.doors import Doors

log = structlog.get_logger(__name__)


def retire(doors: Doors, *, kept_s: float, letters_kept_s: float, batch: int) -> int:
    """Forget one batch of jobs; returns how many. A full batch means that there may be more."""
    with doors.as_operator("retention") as tx:
        gone = due.retire_jobs(tx, kept_s=kept_s, letters_kept_s=letters_kept_s, limit=batch)
    if gone:
        log.info("jobs retired", jobs=gone)
    return gone


def forget_workers(doors: Doors, kept_s: float) -> int:
    """Forget worker incarnations that have been gone for that long; returns how many."""
    with doors.as_operator("retention") as tx:
        return workers.forget_gone(tx, kept_s)
