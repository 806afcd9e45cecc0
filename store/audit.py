"""The audit: a line for what people decide, and for its use, each bound to the one before it.

The hash of a line covers the hash of the line before, the tenant, the number and the content. A
line that is changed, taken out, put in or moved breaks the chain at its place; lines that are cut
off at the end are missed by `audit_chains`, which knows where the chain ends. Whoever can rewrite
all of it, and knows how, is not stopped by this: keep a hash elsewhere to be sure of what came
before it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB

from store.jsonb import keepable
from store.schema.approvals import GENESIS_SHA256

LINES_AT_A_TIME = 1_000

_LINES = text(
    "select a.n, a.content::text as content, a.before_sha256, a.sha256 from stepwell.audit a "
    "where a.tenant_id = :tenant and a.n > :after and a.n <= :until order by a.n limit :limit"
)
_BEFORE = (
    "select a.n, a.content, a.sha256 from stepwell.audit a "
    "where a.tenant_id = current_setting('stepwell.tenant_id')::uuid "
    "and (cast(:before as bigint) is null or a.n < :before) "
)
_NEWEST = text(_BEFORE + "order by a.n desc limit :limit")
_NEWEST_OF_JOB = text(_BEFORE + "and a.job_id = :job order by a.n desc limit :limit")
_APPEND = text("select stepwell.append_audit(:tenant, :content)").bindparams(
    bindparam("content", type_=JSONB)
)
# In one statement, so that a line that is added at this moment is in both or in neither.
_END = text(
    "select coalesce(max(c.length), 0) as length, coalesce(max(c.sha256), :genesis) as sha256, "
    "(select coalesce(max(a.n), 0) from stepwell.audit a where a.tenant_id = :tenant) as last "
    "from stepwell.audit_chains c where c.tenant_id = :tenant"
)


@dataclass(frozen=True, slots=True)
class Verified:
    """What came of walking the chain: how many lines are good, and where and why it breaks.

    `sha256` is the hash of the last good line.
    """

    lines: int
    sha256: str
    broken_at: int | None = None
    why: str | None = None

    @property
    def is_whole(self) -> bool:
        return self.broken_at is None


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the audit: its number, what it tells, and the hash it is bound by."""

    n: int
    content: dict[str, Any]
    sha256: str


def list_newest(
    tx: Connection, *, job_id: UUID | None = None, before: int | None = None, limit: int = 100
) -> list[Line]:
    """The last lines, or the last before that number, newest first; of a job or of all."""
    statement = _NEWEST if job_id is None else _NEWEST_OF_JOB
    told = {"job": job_id, "before": before, "limit": limit}
    return [Line(row.n, row.content, row.sha256) for row in tx.execute(statement, told)]


def append(tx: Connection, tenant_id: UUID, content: Mapping[str, Any]) -> None:
    """Add a line; the last thing a transaction locks is the end of the chain."""
    tx.execute(_APPEND, {"tenant": tenant_id, "content": keepable(dict(content))})


def verify(tx: Connection, tenant_id: UUID) -> Verified:
    """Walk the tenant's audit from its first line to its end, or to where it breaks."""
    end = tx.execute(_END, {"tenant": tenant_id, "genesis": GENESIS_SHA256}).one()
    good, before = 0, GENESIS_SHA256
    for line in _walk(tx, tenant_id, max(end.length, end.last)):
        why = _fault_of(line, good + 1, before, tenant_id)
        if why is not None:
            return Verified(good, before, good + 1, why)
        good, before = line.n, line.sha256
    if good < end.length:
        return Verified(good, before, good + 1, f"{end.length - good} lines at the end are missing")
    if good > end.length or before != end.sha256:
        return Verified(good, before, good, "the chain ends otherwise than was noted")
    return Verified(good, before)


def _fault_of(line: Row[Any], n: int, before: str, tenant_id: UUID) -> str | None:
    if line.n != n:
        return f"the next line is number {line.n}"
    if line.before_sha256 != before:
        return "it does not follow the line before it"
    if line.sha256 != hash_of(before, tenant_id, n, line.content):
        return "its content is not what was written"
    return None


def hash_of(before: str, tenant_id: UUID, n: int, content: str) -> str:
    """The hash of a line, from the canonical text of its content."""
    return hashlib.sha256(f"{before}\n{tenant_id}\n{n}\n{content}".encode()).hexdigest()


def _walk(tx: Connection, tenant_id: UUID, until: int) -> Iterator[Row[Any]]:
    after = 0
    while True:
        given = {"tenant": tenant_id, "after": after, "until": until, "limit": LINES_AT_A_TIME}
        lines = tx.execute(_LINES, given).all()
        yield from lines
        if len(lines) < LINES_AT_A_TIME:
            return
        after = lines[-1].n
