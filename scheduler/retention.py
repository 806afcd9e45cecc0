"""Retention: what ended long ago is forgotten, a bounded batch at a time."""

from __future__ import annotations

import structlog

from scheduler.settings import SchedulerSettings
from store import budgets, due, refusals, schedules, workers
from store.doors import Doors

log = structlog.get_logger(__name__)


def retire(doors: Doors, kept: SchedulerSettings) -> int:
    """Forget a batch of jobs, and of all else that is kept for a while; returns how many jobs."""
    with doors.as_operator("retention") as tx:
        workers.forget_gone(tx, kept.worker_rows_kept_s)
        refusals.forget(tx, kept.refusals_kept_s, kept.retire_batch)
        schedules.forget_ticks(tx, kept.ticks_kept_s, kept.retire_batch)
        schedules.forget_ended(tx, kept.ticks_kept_s, kept.retire_batch)
        budgets.forget(tx, kept_s=kept.jobs_kept_s, limit=kept.retire_batch)
    with doors.as_operator("retention") as tx:
        gone = due.retire_jobs(
            tx,
            kept_s=kept.jobs_kept_s,
            letters_kept_s=kept.letters_kept_s,
            limit=kept.retire_batch,
        )
    if gone:
        log.info("jobs retired", jobs=gone)
    return gone
