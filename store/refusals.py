"""Refusals: the audit lines of what was not taken on, and who is to come back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, func, insert, select, text

from store.rows import RefusalCount
from store.schema import refusals
from store.states import JobClass

COUNTED_MAX = 10_000
# A refusal is counted when its transaction is over for certain.
COUNTED_AFTER_S = 2.0

_THIS_TENANT: Any = text("current_setting('stepwell.tenant_id')::uuid")


@dataclass(frozen=True, slots=True)
class Refusal:
    """The only thing that a refused submission leaves."""

    tenant_id: UUID
    id: UUID
    job_class: JobClass
    agent: str
    code: str
    reason: str
    request_sha256: str
    retry_after_s: float


# --- for everybody --------------------------------------------------------------------------------


def note(tx: Connection, refusal: Refusal) -> None:
    """Write the audit line of a refusal."""
    tx.execute(
        insert(refusals).values(
            tenant_id=refusal.tenant_id,
            id=refusal.id,
            job_class=refusal.job_class.value,
            agent=refusal.agent,
            code=refusal.code,
            reason=refusal.reason,
            request_sha256=refusal.request_sha256,
            retry_after_s=refusal.retry_after_s,
            come_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, refusal.retry_after_s),
        )
    )


def is_expected(
    tx: Connection, tenant_id: UUID, request_sha256: str, *, early_s: float, late_s: float
) -> bool:
    """Whether this very request was refused before and told to come back about now."""
    found = tx.execute(
        text(
            "select exists (select from stepwell.refusals r where r.tenant_id = :tenant "
            "and r.request_sha256 = :request "
            "and r.come_at between now() - make_interval(secs => :late_s) "
            "and now() + make_interval(secs => :early_s))"
        ),
        {"tenant": tenant_id, "request": request_sha256, "early_s": early_s, "late_s": late_s},
    )
    return bool(found.scalar_one())


def count(tx: Connection, within_s: float) -> list[RefusalCount]:
    """Refusals of this tenant that are younger than that, of the latest `COUNTED_MAX`."""
    window = func.make_interval(0, 0, 0, 0, 0, 0, within_s)
    lately = (
        select(refusals.c.job_class, refusals.c.code)
        .where(refusals.c.tenant_id == _THIS_TENANT, refusals.c.at > func.now() - window)
        .order_by(refusals.c.at.desc())
        .limit(COUNTED_MAX)
        .subquery()
    )
    by = (lately.c.job_class, lately.c.code)
    rows = tx.execute(select(*by, func.count().label("many")).group_by(*by).order_by(*by))
    return [RefusalCount(JobClass(row.job_class), row.code, row.many) for row in rows]


# --- for the scheduler ----------------------------------------------------------------------------


def count_by_class(tx: Connection, since_s: float) -> dict[str, int]:
    """How many were refused lately, of whatever tenant, by class."""
    rows = tx.execute(
        text(
            "select r.job_class::text as job_class, count(*)::int as many "
            "from stepwell.refusals r "
            "where r.at > now() - make_interval(secs => :since_s + :lag_s) "
            "and r.at <= now() - make_interval(secs => :lag_s) group by 1"
        ),
        {"since_s": since_s, "lag_s": COUNTED_AFTER_S},
    )
    return {row.job_class: row.many for row in rows}


def forget(tx: Connection, older_than_s: float, limit: int) -> int:
    """Forget one batch of old refusals; returns how many."""
    return tx.execute(
        text(
            "delete from stepwell.refusals r where (r.tenant_id, r.id) in ("
            "select o.tenant_id, o.id from stepwell.refusals o "
            "where o.at < now() - make_interval(secs => :age) order by o.at limit :limit)"
        ),
        {"age": older_than_s, "limit": limit},
    ).rowcount
