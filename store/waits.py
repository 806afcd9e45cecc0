"""Waits: what parked steps wait for, the questions among them, and what people and others say."""

from __future__ import annotations

from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import BindParameter, Connection, Row, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text
from uuid_utils.compat import uuid7

from store.errors import NotFound
from store.jsonb import keepable
from store.rows import WaitRow
from store.schema import waits
from store.states import QUESTIONS, WaitKind, WaitState

# How many signals may lie unread with one job.
SIGNALS_UNREAD_MAX = 1_000

_SHOWN = [waits.c[name] for name in WaitRow.__slots__]
_OF_THIS_TENANT = waits.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")


class Answered(StrEnum):
    """What became of an answer."""

    ANSWERED = "answered"
    CLOSED = "closed"
    DENIED = "denied"
    MISSING = "missing"


class Sent(StrEnum):
    """What became of a signal."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    ENDED = "ended"
    FULL = "full"


def list_of(tx: Connection, job_id: UUID) -> list[WaitRow]:
    """Every wait of a job, in the order of its steps."""
    rows = tx.execute(
        select(*_SHOWN)
        .where(_OF_THIS_TENANT, waits.c.job_id == job_id)
        .order_by(waits.c.seq, waits.c.n)
    )
    return [_wait(row) for row in rows]


def list_questions(
    tx: Connection, *, job_id: UUID | None = None, limit: int = 100
) -> list[WaitRow]:
    """What people are asked at this moment, oldest first."""
    query = select(*_SHOWN).where(
        _OF_THIS_TENANT,
        waits.c.state == WaitState.PENDING.value,
        waits.c.kind.in_([kind.value for kind in QUESTIONS]),
    )
    if job_id is not None:
        query = query.where(waits.c.job_id == job_id)
    rows = tx.execute(query.order_by(waits.c.created_at, waits.c.seq).limit(limit))
    return [_wait(row) for row in rows]


def answer(
    tx: Connection,
    tenant_id: UUID,
    job_id: UUID,
    seq: int,
    n: int,
    said: Any,
    *,
    by: str,
    roles: frozenset[str] = frozenset(),
) -> Answered:
    """Answer the question of one wait, once. `said` is JSON; for a reconcile or a review it is
    `{"decision": ..., "result": ...}`.

    What came of a call that people were asked about is theirs to say, by the roles they have.
    """
    found = tx.execute(
        text("select stepwell.answer_wait(:tenant, :job, :seq, :n, :said, :by, :roles)").bindparams(
            _json_of("said"), bindparam("roles", type_=ARRAY(Text))
        ),
        {
            "tenant": tenant_id,
            "job": job_id,
            "seq": seq,
            "n": n,
            "said": keepable(said),
            "by": by,
            "roles": sorted(roles),
        },
    ).scalar_one()
    return Answered(found)


def send_signal(
    tx: Connection,
    tenant_id: UUID,
    job_id: UUID,
    name: str,
    payload: Any = None,
    *,
    key: str | None = None,
) -> Sent:
    """Send a signal to a job, before, during or after its wait for it; raises `NotFound`.

    The same `key` sent again is the same signal.
    """
    found = tx.execute(
        text(
            "select stepwell.send_signal(:tenant, :job, :id, :name, :key, :payload, :most)"
        ).bindparams(_json_of("payload")),
        {
            "tenant": tenant_id,
            "job": job_id,
            "id": uuid7(),
            "name": name,
            "key": key,
            "payload": keepable(payload),
            "most": SIGNALS_UNREAD_MAX,
        },
    ).scalar_one()
    if found == "missing":
        raise NotFound(f"There is no job {job_id}.")
    return Sent(found)


def _json_of(name: str) -> BindParameter[Any]:
    return bindparam(name, type_=JSONB)


def _wait(row: Row[Any]) -> WaitRow:
    told = dict(row._mapping)
    told["kind"] = WaitKind(told["kind"])
    told["state"] = WaitState(told["state"])
    return WaitRow(**told)
