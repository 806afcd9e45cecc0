"""Usage: what a job spent at model providers, in their own figures, and how often it had to try."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, func, select, text

from store.rows import UsageTotals
from store.schema import usage


def total(tx: Connection, job_id: UUID) -> UsageTotals:
    """The sum over a job's steps; the cost is None as soon as one price is unknown."""
    row = tx.execute(
        select(
            func.coalesce(func.sum(usage.c.requests), 0).label("requests"),
            func.coalesce(func.sum(usage.c.input_tokens), 0).label("input_tokens"),
            func.coalesce(func.sum(usage.c.output_tokens), 0).label("output_tokens"),
            func.sum(usage.c.cost_usd).label("cost_usd"),
            func.count().filter(usage.c.cost_usd.is_(None)).label("unpriced"),
        ).where(
            usage.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid"),
            usage.c.job_id == job_id,
        )
    ).one()
    return UsageTotals(
        requests=int(row.requests),
        input_tokens=int(row.input_tokens),
        output_tokens=int(row.output_tokens),
        cost_usd=None if row.unpriced else row.cost_usd,
    )


_TRIES_OF_LINE = text(
    """
    select sum(c.attempts + c.losses + (c.state in ('committed', 'failed'))::int)::float8
             / nullif(count(*), 0) as tries
      from stepwell.jobs j
      join stepwell.checkpoints c on c.tenant_id = j.tenant_id and c.job_id = j.id
     where j.tenant_id = current_setting('stepwell.tenant_id')::uuid
       and (j.id = :root or (j.root_id = :root and j.parent_job_id is not null))
       and (c.attempts + c.losses > 0 or c.state in ('committed', 'failed'))
    """
)


def amplification(tx: Connection, root_id: UUID) -> float | None:
    """Tries for each step, over a job and all that came of it; None while nothing has ended."""
    tries: float | None = tx.execute(_TRIES_OF_LINE, {"root": root_id}).scalar_one()
    return tries
