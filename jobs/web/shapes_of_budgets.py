"""The shapes of budgets: how an account stands, and by how much it is to be raised."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from store import budgets
from store.budgets import AMOUNT_MAX, Caps
from store.states import BudgetScope, BudgetUnit

Money = Annotated[Decimal, Field(gt=0, le=AMOUNT_MAX, decimal_places=9)]
Count = Annotated[int, Field(gt=0, le=int(AMOUNT_MAX))]


class Account(BaseModel):
    """What may be used of one unit, and how it stands. Amounts are texts, and exact."""

    object: Literal["budget"] = "budget"
    scope: BudgetScope = Field(description="whose: the job's, its line's, the tenant's, its day's")
    day: date | None
    unit: BudgetUnit
    cap: str | None = Field(description="null: it is only counted")
    spent: str
    reserved: str = Field(description="set aside for steps that are at work")
    lent: str = Field(description="set aside for jobs that it asked for and that are not over")
    left: str | None

    @classmethod
    def of(cls, account: budgets.Account) -> Account:
        return cls(
            scope=account.scope,
            day=account.day,
            unit=account.unit,
            cap=None if account.cap is None else plain(account.cap),
            spent=plain(account.spent),
            reserved=plain(account.reserved),
            lent=plain(account.lent),
            left=None if account.left is None else plain(account.left),
        )


class BudgetRaise(BaseModel):
    """How much more a job, or with `tree` its whole line, may use."""

    model_config = ConfigDict(extra="forbid")

    usd: Money | None = None
    tokens: Count | None = None
    steps: Count | None = None
    seconds: Money | None = None
    tree: bool = False

    def amounts(self) -> Caps:
        """The units that were named."""
        return {
            unit: Decimal(amount)
            for unit in BudgetUnit
            if (amount := getattr(self, unit.value)) is not None
        }


def plain(amount: Decimal) -> str:
    """Without the zeros that say nothing."""
    return f"{amount.normalize():f}"
