"""Guard verdicts: what guards said of what passed through a job; what its children have read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select, text

from store.jsonb import write_json
from store.rows import GuardVerdictRow
from store.schema import guard_verdicts
from store.states import GuardStage, GuardVerdict

_OF_THIS_TENANT = guard_verdicts.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")
_KEEP = text("select stepwell.keep_verdicts(:tenant, :job, 0, 0, cast(:told as jsonb))")
_TAINT_OF_CHILDREN = text(
    """
    select coalesce(array_agg(distinct source), '{}')
      from stepwell.jobs j, unnest(j.tainted_by) source
     where j.tenant_id = current_setting('stepwell.tenant_id')::uuid
       and j.parent_job_id = :job and j.parent_seq = :seq
    """
)


def keep_first(
    tx: Connection, tenant_id: UUID, job_id: UUID, spoken: Sequence[dict[str, Any]]
) -> None:
    """Keep what was said of a job's input, before any step of it."""
    told = {"tenant": tenant_id, "job": job_id, "told": write_json({"guards": list(spoken)})}
    tx.execute(_KEEP, told)


def list_of(
    tx: Connection, job_id: UUID, *, after: int = -1, steps_max: int = 200
) -> list[GuardVerdictRow]:
    """What was said of a job in its next steps after this one, at most so many; 0 is its input."""
    mine = (_OF_THIS_TENANT, guard_verdicts.c.job_id == job_id, guard_verdicts.c.seq > after)
    seq = guard_verdicts.c.seq
    steps = select(seq).distinct().where(*mine).order_by(seq).limit(steps_max)
    rows = tx.execute(
        select(guard_verdicts)
        .where(*mine, seq.in_(steps))
        .order_by(seq, guard_verdicts.c.epoch, guard_verdicts.c.n)
    )
    return [_verdict(row) for row in rows]


def list_taint_of_children(tx: Connection, job_id: UUID, seq: int) -> list[str]:
    """What the jobs have read that this step has asked for."""
    found = tx.execute(_TAINT_OF_CHILDREN, {"job": job_id, "seq": seq}).scalar_one()
    return sorted(found)


def _verdict(row: Any) -> GuardVerdictRow:
    told = {k: v for k, v in row._mapping.items() if k != "tenant_id"}
    told["stage"] = GuardStage(told["stage"])
    told["verdict"] = GuardVerdict(told["verdict"])
    return GuardVerdictRow(**told)
