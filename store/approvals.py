"""Approvals: what people are asked about tool calls, and which yes of theirs a call runs under.

    ask      with the commit that plans the call, or when its step is parked: a row, and a wait
    decide   approve, edit, reject or respond, one person at a time, under the lock of the job
    expire   nobody decided in time: the fallback that the tool names
    begin    `start_effect` consumes the yes, once, for exactly the arguments and the tool it showed

The rows belong to one step of one job. A fork or a replay has none of them, and asks anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Row, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import Text

from store.jsonb import keepable
from store.rows import ApprovalRow, DecisionRow
from store.schema import approvals, decisions
from store.states import ApprovalEnding, ApprovalState, Decision, Tier

# Who holds the platform's own token, by name and by role; it approves where a rule names no role.
OPERATOR = "operator"

_SHOWN = [approvals.c[name] for name in ApprovalRow.__slots__]
_TOLD = [decisions.c[name] for name in DecisionRow.__slots__]
_OF_THIS_TENANT = approvals.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid")
_DECIDE = text(
    "select stepwell.decide_approval(:tenant, :job, :seq, :n, :args_sha256, :said, :edited, :by, "
    ":roles)"
).bindparams(
    bindparam("said", type_=JSONB),
    bindparam("edited", type_=JSONB(none_as_null=True)),
    bindparam("roles", type_=ARRAY(Text)),
)


class Became(StrEnum):
    """What became of a decision. `other`: it was given for other arguments than are asked about."""

    COUNTED = "counted"
    GRANTED = "granted"
    REJECTED = "rejected"
    ANSWERED = "answered"
    EDITED = "edited"
    CLOSED = "closed"
    OTHER = "other"
    AGAIN = "again"
    DENIED = "denied"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Asking:
    """What people are to be asked about one call, as the functions of the store take it.

    `fallback` is what it comes to when nobody decides within `expires_s`.
    """

    tool: str
    args: Any
    args_sha256: str
    tool_sha256: str
    tier: Tier
    role: str | None
    quorum: int
    reasons: tuple[str, ...]
    rules: tuple[str, ...]
    policy_version: str
    fallback: Decision
    expires_s: float

    def as_json(self) -> dict[str, Any]:
        return {
            "tool": self.tool,
            "args": keepable(self.args),
            "args_sha256": self.args_sha256,
            "tool_sha256": self.tool_sha256,
            "tier": self.tier.value,
            "role": self.role,
            "quorum": self.quorum,
            "reasons": [keepable(each) for each in self.reasons],
            "rules": [keepable(each) for each in self.rules],
            "policy_version": self.policy_version,
            "fallback": self.fallback.value,
            "expires_s": self.expires_s,
        }


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says about a call: `answer` goes with a response, `edited` with an edit.

    `remember` lets this job make the same call, with the same arguments, without another word.
    """

    decision: Decision
    reason: str | None = None
    answer: Any = None
    remember: bool = False
    edited: Asking | None = None


def decide(
    tx: Connection,
    tenant_id: UUID,
    asked: tuple[UUID, int, int],
    args_sha256: str,
    said: Said,
    *,
    by: str,
    roles: frozenset[str],
) -> Became:
    """Say something about the call `asked`, as (job, step, n); `args_sha256` is what was shown."""
    job_id, seq, n = asked
    told = {
        "decision": said.decision.value,
        "reason": said.reason,
        "answer": said.answer,
        "remember": said.remember,
    }
    given = {
        "tenant": tenant_id,
        "job": job_id,
        "seq": seq,
        "n": n,
        "args_sha256": args_sha256,
        "said": keepable(told),
        "edited": None if said.edited is None else said.edited.as_json(),
        "by": by,
        "roles": sorted(roles),
    }
    return Became(tx.execute(_DECIDE, given).scalar_one())


def list_pending(
    tx: Connection, *, job_id: UUID | None = None, limit: int = 100
) -> list[ApprovalRow]:
    """The calls that wait for people at this moment, the oldest first."""
    query = select(*_SHOWN).where(_OF_THIS_TENANT, approvals.c.state == ApprovalState.PENDING.value)
    if job_id is not None:
        query = query.where(approvals.c.job_id == job_id)
    rows = tx.execute(query.order_by(approvals.c.created_at, approvals.c.seq).limit(limit))
    return [_approval(row) for row in rows]


def list_of(tx: Connection, job_id: UUID) -> list[ApprovalRow]:
    """Every question about a call of the job, in the order of its steps."""
    rows = tx.execute(
        select(*_SHOWN)
        .where(_OF_THIS_TENANT, approvals.c.job_id == job_id)
        .order_by(approvals.c.seq, approvals.c.n)
    )
    return [_approval(row) for row in rows]


def list_decisions(tx: Connection, job_id: UUID) -> list[DecisionRow]:
    """What people have said about the calls of the job, in the order in which they said it."""
    rows = tx.execute(
        select(*_TOLD)
        .where(
            decisions.c.tenant_id == text("current_setting('stepwell.tenant_id')::uuid"),
            decisions.c.job_id == job_id,
        )
        .order_by(decisions.c.decided_at, decisions.c.seq, decisions.c.n)
    )
    return [_decision(row) for row in rows]


def find_granted(tx: Connection, job_id: UUID, seq: int) -> ApprovalRow | None:
    """The yes that the step's call runs under: the last word about it, if that was a yes."""
    row = tx.execute(
        select(*_SHOWN)
        .where(_OF_THIS_TENANT, approvals.c.job_id == job_id, approvals.c.seq == seq)
        .order_by(approvals.c.n.desc())
        .limit(1)
    ).one_or_none()
    if row is None or row.state != ApprovalState.GRANTED:
        return None
    return _approval(row)


def _approval(row: Row[Any]) -> ApprovalRow:
    told = dict(row._mapping)
    told["tier"] = Tier(told["tier"])
    told["fallback"] = Decision(told["fallback"])
    told["state"] = ApprovalState(told["state"])
    told["ending"] = None if told["ending"] is None else ApprovalEnding(told["ending"])
    return ApprovalRow(**told)


def _decision(row: Row[Any]) -> DecisionRow:
    return DecisionRow(**dict(row._mapping) | {"decision": Decision(row.decision)})
