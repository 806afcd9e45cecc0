"""Budgets as they are declared: what one job, and the line of jobs it begins, may come to use."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import Literal

from jobs.errors import Misdeclared
from store.budgets import AMOUNT_MAX, BILLIONTH, Caps
from store.states import BudgetScope, BudgetUnit

OnBudget = Literal["fail", "park"]
OnUnknownPrice = Literal["estimate", "refuse"]
# Dollars. A text or a `Decimal` is exact; a float counts as what it is written as.
Money = Decimal | str | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """The most that a job may use. None is no cap; a job without any pays nothing for budgets.

    A step is a call of a model, a tool or a function of a pipeline. Tokens are those that go in and
    those that come out. `wall_clock_s` runs from the submission, while it waits too; past it no
    step is begun. Those of the tree bound a job together with all the jobs that it asks for, and
    count for the first job of a line.
    """

    steps_max: int | None = None
    tokens_max: int | None = None
    cost_usd_max: Money | None = None
    wall_clock_s: float | None = None
    tree_steps_max: int | None = None
    tree_tokens_max: int | None = None
    tree_cost_usd_max: Money | None = None

    def __post_init__(self) -> None:
        for scope in (BudgetScope.JOB, BudgetScope.TREE):
            self.caps(scope)

    def caps(self, scope: BudgetScope) -> Caps:
        """The caps of a job, or of the line that it begins. Raises `Misdeclared`."""
        return dict(self._caps(scope))

    def _caps(self, scope: BudgetScope) -> Iterator[tuple[BudgetUnit, Decimal]]:
        prefix = "tree_" if scope is BudgetScope.TREE else ""
        for unit, name in NAMES.items():
            given = getattr(self, prefix + name, None)
            if given is not None:
                yield unit, read_amount(given, prefix + name)


NAMES = {
    BudgetUnit.STEPS: "steps_max",
    BudgetUnit.TOKENS: "tokens_max",
    BudgetUnit.USD: "cost_usd_max",
    BudgetUnit.SECONDS: "wall_clock_s",
}


def read_amount(given: Money, name: str) -> Decimal:
    """The amount, exact to the billionth; raises `Misdeclared` for what is none."""
    try:
        amount = Decimal(str(given))
        if amount.is_finite() and 0 <= amount <= AMOUNT_MAX:
            return amount.quantize(BILLIONTH, ROUND_FLOOR)
    except InvalidOperation:
        pass
    raise Misdeclared(f"{name} is an amount of at most {AMOUNT_MAX:,}, not {given!r}.")


def check_on_budget(on_budget: str, on_unknown_price: str = "estimate") -> None:
    """Raise `Misdeclared` for a reaction that there is not."""
    if on_budget not in ("fail", "park"):
        raise Misdeclared(f"on_budget is fail or park, not {on_budget!r}.")
    if on_unknown_price not in ("estimate", "refuse"):
        raise Misdeclared(f"on_unknown_price is estimate or refuse, not {on_unknown_price!r}.")
