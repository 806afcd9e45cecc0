"""Events: the append-only story of a job, read from any point on."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import Connection, select, text

from store.rows import EventRow
from store.schema import events


def list_after(tx: Connection, job_id: UUID, after: int, limit: int = 500) -> list[EventRow]:
    """The events of a job with an id above `after`, in order, at most `limit`."""
    rows = tx.execute(
        select(events.c.job_id, events.c.id, events.c.type, events.c.data, events.c.at)
        .where(
            events.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid"),
            events.c.job_id == job_id,
            events.c.id > after,
        )
        .order_by(events.c.id)
        .limit(limit)
    )
    return [EventRow(**row._mapping) for row in rows]
