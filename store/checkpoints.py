"""Checkpoints: what each step of a job was asked, what it answered, and where it stands."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, select, text

from store.errors import TakenOver
from store.rows import CheckpointRow
from store.schema import checkpoints
from store.states import JobClass, StepKind, StepState, Work


def list_of(
    tx: Connection, job_id: UUID, *, after_seq: int = 0, limit: int = 1000
) -> list[CheckpointRow]:
    """The steps of a job in order, after `after_seq`, at most `limit`."""
    rows = tx.execute(
        select(checkpoints)
        .where(
            checkpoints.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid"),
            checkpoints.c.job_id == job_id,
            checkpoints.c.seq > after_seq,
        )
        .order_by(checkpoints.c.seq)
        .limit(limit)
    )
    return [_checkpoint(row) for row in rows]


def list_settled(tx: Connection, job_id: UUID) -> list[CheckpointRow]:
    """Every committed step of a job in order: what the job remembers."""
    rows = tx.execute(
        select(checkpoints)
        .where(
            checkpoints.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid"),
            checkpoints.c.job_id == job_id,
            checkpoints.c.state == StepState.COMMITTED.value,
        )
        .order_by(checkpoints.c.seq)
    )
    return [_checkpoint(row) for row in rows]


def keep_held(tx: Connection, job_id: UUID, seq: int, epoch: int) -> None:
    """Hold the step in this claim's hands until the transaction ends, or raise `TakenOver`."""
    held = tx.execute(
        select(checkpoints.c.seq)
        .where(
            checkpoints.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid"),
            checkpoints.c.job_id == job_id,
            checkpoints.c.seq == seq,
            checkpoints.c.epoch == epoch,
            checkpoints.c.state == StepState.RUNNING.value,
        )
        .with_for_update(read=True)
    ).one_or_none()
    if held is None:
        raise TakenOver(f"Step {seq} of job {job_id} is no longer held by this claim.")


def _checkpoint(row: Row[Any]) -> CheckpointRow:
    told = dict(row._mapping)
    told["kind"] = StepKind(told["kind"])
    told["state"] = StepState(told["state"])
    told["job_class"] = JobClass(told["job_class"])
    told["work"] = Work(told["work"])
    return CheckpointRow(**told)
