"""Usage: what a job spent at model providers, in their own figures."""

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
