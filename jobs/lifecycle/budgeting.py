"""Budgeting: the caps a job begins with, by what its agent declares and its submission asks."""

from __future__ import annotations

from collections.abc import Mapping

from jobs.agent.registry import Program
from jobs.errors import InvalidInput, Refused
from store import audit, budgets, waits
from store.budgets import Caps, Raised, Transaction
from store.rows import JobRow
from store.states import BudgetScope, WaitState

# What the wait of a step that has no budget left is called.
BUDGET_WAIT = "budget"


def check_budget(program: Program, asked: Caps) -> None:
    """Raise `InvalidInput` when somebody asks for more than the agent allows: less is fine."""
    allowed = program.limits.caps(BudgetScope.JOB)
    for unit, amount in asked.items():
        cap = allowed.get(unit)
        if cap is not None and amount > cap:
            raise InvalidInput(
                f"A job of {program.name!r} may use {cap.normalize():f} {unit.value} at most, "
                f"and {amount.normalize():f} were asked for."
            )


def open_accounts(tx: Transaction, job: JobRow, program: Program, asked: Caps) -> None:
    """Give a job that was just made its budget, and that of its line. Most have none."""
    caps = {**program.limits.caps(BudgetScope.JOB), **asked}
    if caps:
        budgets.open_accounts(tx, job.tenant_id, job.id, BudgetScope.JOB, caps)
    caps_of_tree = program.limits.caps(BudgetScope.TREE)
    if caps_of_tree:
        budgets.open_accounts(tx, job.tenant_id, job.id, BudgetScope.TREE, caps_of_tree)


def caps_of_child(program: Program) -> Mapping[str, str] | None:
    """What a child may use by itself, as the store takes it; what its parent has left bounds it."""
    caps = program.limits.caps(BudgetScope.JOB)
    return {unit.value: f"{cap:f}" for unit, cap in caps.items()} or None


def raise_budget(
    tx: Transaction, job: JobRow, scope: BudgetScope, by: Caps, *, by_whom: str
) -> None:
    """Allow a job, or its line, so much more; its steps that wait for budget go on with it.

    Who has done so, and by how much, is a line of the audit.
    Raises `Refused` for what has no cap, or is more than a child's parent can lend.
    """
    # Jobs are locked before the audit, and both before accounts, as in the commit of a step.
    for wait in waits.list_of(tx, job.id):
        if wait.state is WaitState.PENDING and wait.name == BUDGET_WAIT:
            said = {"decision": "continue"}
            waits.answer(tx, job.tenant_id, job.id, wait.seq, wait.n, said, by=by_whom)
    audit.append(
        tx,
        job.tenant_id,
        {
            "kind": "budget.raised",
            "job_id": str(job.id),
            "scope": scope.value,
            "amounts": {unit.value: f"{amount:f}" for unit, amount in by.items()},
            "by": by_whom,
        },
    )
    owner_id = job.root_id if scope is BudgetScope.TREE else job.id
    # Accounts are locked in the order of their units, as by those who reserve and settle.
    for unit, amount in sorted(by.items(), key=lambda each: each[0].value):
        match budgets.raise_cap(tx, job.tenant_id, owner_id, scope, unit, amount):
            case Raised.MISSING:
                raise Refused(f"There is no cap of {unit.value} to raise.")
            case Raised.PARENT:
                raise Refused(
                    f"The job that asked for this one has too few {unit.value} left to lend it "
                    "so many more. Raise that one's budget first."
                )
            case Raised.RAISED:
                pass
