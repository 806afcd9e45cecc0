"""People: they answer what jobs ask, and look into the ledger before they say what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

from store import approvals, waits
from store.approvals import Became, Said
from store.rows import ApprovalRow, WaitRow
from store.states import Decision, WaitKind
from tests.faults import programs
from tests.faults.facts import Answered
from tests.faults.members import until
from tests.faults.world import World
from tests.stepping import OPERATOR

ROUNDS_MAX, QUESTIONS_MAX = 200, 1000
SETTLE_S_MAX = 60.0
HEARD = (Became.GRANTED, Became.AGAIN, Became.CLOSED)


def answer_all(world: World) -> None:
    """Answer every question there is, and those that come of it, until nobody asks any more.

    Nobody may be at work on what is asked about: who looks whether something has happened has to
    look after the last one who could still do it.
    """
    for _ in range(ROUNDS_MAX):
        until(world.has_settled, SETTLE_S_MAX)
        said = [
            answer_those_of(world, tenant) + approve_those_of(world, tenant)
            for tenant in world.tenants
        ]
        if sum(said) == 0:
            return


def approve_those_of(world: World, tenant_id: UUID) -> int:
    """Say yes to every call of a tenant that waits for one; returns how many there were."""
    pending = world.as_tenant(tenant_id, lambda tx: approvals.list_pending(tx, limit=QUESTIONS_MAX))
    for asked in pending:
        decide(world, tenant_id, asked, Said(Decision.APPROVE))
    return len(pending)


def decide(world: World, tenant_id: UUID, asked: ApprovalRow, said: Said) -> None:
    """Say something about a call, as it was shown."""
    which = (asked.job_id, asked.seq, asked.n)
    became = world.as_tenant(
        tenant_id,
        lambda tx: approvals.decide(
            tx, tenant_id, which, asked.args_sha256, said, by="olga", roles=OPERATOR
        ),
    )
    # One whose answer was lost is told, when it says so again, that it has.
    assert became in HEARD, became


def answer_those_of(world: World, tenant_id: UUID, doubt_s: float = 0.0) -> int:
    """Answer what the jobs of a tenant ask at this moment, but doubts only when they are so old.

    Returns how many questions were answered.
    """
    questions = world.as_tenant(tenant_id, lambda tx: waits.list_questions(tx, limit=QUESTIONS_MAX))
    ripe = datetime.now(UTC) - timedelta(seconds=doubt_s)
    ready = [q for q in questions if q.kind is WaitKind.QUESTION or q.created_at < ripe]
    for question in ready:
        answer(world, tenant_id, question)
    return len(ready)


def answer(world: World, tenant_id: UUID, question: WaitRow) -> None:
    """Answer one question, and remember it when it was the first answer."""
    said = answer_to(world, question)
    which = question.job_id, question.seq, question.n
    became = world.as_tenant(
        tenant_id,
        lambda tx: waits.answer(tx, tenant_id, *which, said, by="a person", roles=OPERATOR),
    )
    if became is waits.Answered.ANSWERED:
        told = (*which, question.kind.value, said)
        world.facts.answered.append(Answered(tenant_id, *told, monotonic()))


def answer_to(world: World, question: WaitRow) -> Any:
    """The true answer: what the ledger says of an effect, what a program wants to hear."""
    match question.kind:
        case WaitKind.REVIEW:
            return {"decision": "continue"}
        case WaitKind.RECONCILE:
            found = world.happened.find((question.prompt or {})["key"])
            if found is None:
                return {"decision": "again"}
            return {"decision": "happened", "result": found.what}
        case _:
            return programs.ANSWER
