"""Budgets moved by hand: accounts opened, amounts set aside and spent, the books checked."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import text

from scheduler.bookkeeping import settle_budgets
from store import budgets
from store.budgets import Account, Discrepancy, Estimate, Raised, Reserved, Shortfall
from store.states import BudgetScope, BudgetUnit
from store.transitions import Claim, NewChild, Parked, Settled, Usage
from tests.stepping import MODEL, Stepper, call, child, delegate

JOB, TREE, TENANT, DAY = (
    BudgetScope.JOB,
    BudgetScope.TREE,
    BudgetScope.TENANT,
    BudgetScope.DAY,
)
STEPS, TOKENS, USD, SECONDS = (
    BudgetUnit.STEPS,
    BudgetUnit.TOKENS,
    BudgetUnit.USD,
    BudgetUnit.SECONDS,
)


def caps_of(amounts: dict[str, Any]) -> dict[BudgetUnit, Decimal]:
    return {BudgetUnit(unit): Decimal(str(amount)) for unit, amount in amounts.items()}


def bounded_child(**caps: Any) -> NewChild:
    """A child that may use so much by itself."""
    return replace(child(), budget={unit: str(amount) for unit, amount in caps.items()})


class Bookkeeper(Stepper):
    """A stepper that looks after money."""

    # --- caps -------------------------------------------------------------------------------------

    def endow(self, job_id: UUID, scope: BudgetScope = JOB, **caps: Any) -> UUID:
        with self.doors.as_tenant(self.tenant_id) as tx:
            budgets.open_accounts(tx, self.tenant_id, job_id, scope, caps_of(caps))
        return job_id

    def put_down_with(self, **caps: Any) -> UUID:
        """A job of one model step that may use so much."""
        return self.endow(self.put_down([MODEL]), **caps)

    def bear_with(self, *children: NewChild, **caps: Any) -> UUID:
        """A job with a budget whose only step is parked on these children."""
        parent_id = self.endow(self.put_down([call(1)]), **caps)
        assert self.park(self.take(parent_id), delegate(*children)) is Parked.PARKED
        return parent_id

    def cap_tenant(self, scope: BudgetScope = TENANT, **caps: Any) -> None:
        with self.doors.as_operator("test") as tx:
            for unit, cap in caps.items():
                amount = None if cap is None else Decimal(str(cap))
                budgets.set_cap(tx, self.tenant_id, scope, BudgetUnit(unit), amount)

    def raise_cap(
        self, job_id: UUID, unit: BudgetUnit, by: Any, scope: BudgetScope = JOB
    ) -> Raised:
        with self.doors.as_tenant(self.tenant_id) as tx:
            amount = Decimal(str(by))
            return budgets.raise_cap(tx, self.tenant_id, job_id, scope, unit, amount)

    # --- steps ------------------------------------------------------------------------------------

    def reserve(
        self, held: Claim, *, steps: int = 1, tokens: int = 0, usd: Any = 0
    ) -> Reserved | Shortfall | None:
        estimate = Estimate(steps, tokens, Decimal(str(usd)))
        with self.doors.hot() as connection:
            return budgets.reserve(connection, held, estimate)

    def spend(
        self, held: Claim, *, tokens: int = 0, usd: Any = 0, **settlement: Any
    ) -> Settled | None:
        """Commit a model step that used so much; `usd=None` is an unknown price."""
        usage = Usage("test", 1, tokens, 0, None if usd is None else str(usd))
        return self.commit(held, usage=usage, **settlement)

    def settle_rest(self) -> int:
        """One round of the scheduler."""
        return settle_budgets(self.doors)

    # --- looking ----------------------------------------------------------------------------------

    def account(self, owner_id: UUID, unit: BudgetUnit, scope: BudgetScope = JOB) -> Account:
        """The account of a job, its line or (with the tenant's id) its tenant."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            if owner_id == self.tenant_id:
                found = budgets.list_of_tenant(tx, owner_id)
            else:
                found = budgets.list_of_job(tx, owner_id)
        (only,) = [each for each in found if (each.scope, each.unit) == (scope, unit)]
        return only

    def standing(
        self, owner_id: UUID, unit: BudgetUnit, scope: BudgetScope = JOB
    ) -> tuple[Any, Any, Any]:
        """(reserved, lent, spent) of an account."""
        found = self.account(owner_id, unit, scope)
        return found.reserved, found.lent, found.spent

    def has_accounts(self, job_id: UUID) -> bool:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return bool(budgets.list_of_job(tx, job_id))

    def entries(self, job_id: UUID, seq: int = 1) -> list[tuple[Any, ...]]:
        """(scope, unit, reserved, spent, released, is estimated, is settled) of each entry."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            rows = tx.execute(
                text(
                    "select scope, unit, reserved, spent, released, is_estimated,"
                    " settled_at is not null from stepwell.budget_entries"
                    " where tenant_id = :tenant and job_id = :job and seq = :seq order by 1, 2"
                ),
                {"tenant": self.tenant_id, "job": job_id, "seq": seq},
            )
            return [tuple(row) for row in rows]

    def discrepancies(self) -> list[Discrepancy]:
        with self.doors.as_operator("test") as tx:
            return budgets.reconcile(tx)
