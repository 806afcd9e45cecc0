"""Spending: set aside what a step may use before its call, and judge the one that may not.

    no budget         nothing is asked, and nothing written: the claim says so
    enough is left    it is set aside, in one round trip; the step's commit settles it
    too little        what others have not given back yet is called in, and it is asked once more
    still too little  the job is given up as `budget`, or its step waits for a person

What is set aside is kept while the step is tried again or taken over, until it is settled. A call
that was not made has cost nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from pydantic_ai.messages import ModelMessage
from pydantic_ai.models import Model

from jobs.agent.agent import Agent
from jobs.agent.estimate import estimate_call
from jobs.agent.registry import Program
from jobs.errors import StepwellError
from jobs.lifecycle.budgeting import BUDGET_WAIT
from jobs.lifecycle.effects import NotBegun
from jobs.lifecycle.house import House
from jobs.lifecycle.outcomes import Broke, Park
from jobs.lifecycle.parking import review
from jobs.lifecycle.settling import patiently
from jobs.lifecycle.verdicts import ErrorClass, GiveUp, as_json
from store import budgets
from store.budgets import Estimate, Reserved, Shortfall
from store.errors import Unreachable
from store.states import BudgetScope, BudgetUnit
from store.transitions import Claim

# A call of a tool or of a function is a step, and nothing that anybody could price.
ONE_STEP = Estimate()
# How much of what its line has not given back yet one step calls in.
CALLED_IN_MAX = 100
OWNERS = {
    BudgetScope.JOB: "this job",
    BudgetScope.TREE: "this job and the jobs around it",
    BudgetScope.TENANT: "the tenant",
    BudgetScope.DAY: "the tenant today",
}
HINTS = {
    BudgetScope.JOB: "Raise it with `stepwell budget raise`, then replay the job.",
    BudgetScope.TREE: "Raise it with `stepwell budget raise --tree`, then replay the job.",
    BudgetScope.TENANT: "Once the operator has raised it (`stepwell budget set`), replay the job.",
    BudgetScope.DAY: "Replay the job when the day is over (UTC), or its cap has been raised.",
}


class OverBudget(StepwellError):
    """Too little is left for the step."""

    def __init__(self, shortfall: Shortfall) -> None:
        super().__init__(tell(shortfall))
        self.shortfall = shortfall


class UnknownPrice(StepwellError):
    """The agent does without a model whose price nobody knows."""


def set_aside(held: Claim, house: House, estimate: Estimate = ONE_STEP) -> None:
    """Set it aside, where there is a budget; raises `OverBudget`, or `NotBegun`."""
    if not held.is_budgeted:
        return
    found = _reserve(held, house, estimate)
    if isinstance(found, Shortfall) and _call_in(held, house):
        found = _reserve(held, house, estimate)
    if isinstance(found, Shortfall):
        raise OverBudget(found)


def set_aside_for_model(
    held: Claim, agent: Agent, model: Model, transcript: Sequence[ModelMessage], house: House
) -> None:
    """Set aside what the call may use. Raises `OverBudget`, `UnknownPrice` or `NotBegun`."""
    if not held.is_budgeted:
        return
    estimate, is_known = estimate_call(agent, model, transcript, house.settings)
    if not is_known and agent.on_unknown_price == "refuse":
        raise UnknownPrice(f"Nobody knows the price of {model.system}:{model.model_name}.")
    set_aside(held, house, estimate)


def _reserve(held: Claim, house: House, estimate: Estimate) -> Reserved | Shortfall:
    found = patiently(house, lambda connection: budgets.reserve(connection, held, estimate))
    if found is None:
        raise NotBegun("Nothing could be set aside for the call, so it was not made.")
    return found


def _call_in(held: Claim, house: House) -> int:
    """Settle what steps and jobs of the line that are over hold yet; returns how many did."""
    try:
        with house.doors.as_tenant(held.tenant_id) as tx:
            root_id = held.invocation.root_id
            found = budgets.list_unsettled(tx, limit=CALLED_IN_MAX, root_id=root_id)
        for each in found:
            with house.doors.as_tenant(held.tenant_id) as tx:
                budgets.settle(tx, each)
    except Unreachable:
        return 0  # The scheduler will do it.
    return len(found)


# --- at the cap -----------------------------------------------------------------------------------


def at_cap(error: OverBudget | UnknownPrice, held: Claim, program: Program) -> Broke | Park:
    """What becomes of a step that may not use what it needs."""
    if isinstance(error, UnknownPrice):
        return Broke(GiveUp(as_json(ErrorClass.BUDGET, str(error)), ErrorClass.BUDGET))
    told = {"budget": shortfall_json(error.shortfall)}
    if program.on_budget == "park":
        wait = review(held, str(error))
        asked = (wait.prompt or {}) | {"ask": "Raise the budget, or give the job up?"} | told
        return Park(replace(wait, name=BUDGET_WAIT, prompt=asked))
    said = as_json(ErrorClass.BUDGET, str(error)) | {"hint": HINTS[error.shortfall.scope]}
    return Broke(GiveUp(said | told, ErrorClass.BUDGET))


def tell(short: Shortfall) -> str:
    """What is too little, in a sentence with all its figures."""
    owner = OWNERS[short.scope]
    if short.unit is BudgetUnit.SECONDS:
        return f"The time of {owner} is over: {_plain(short.cap)} s, of which all have passed."
    spent, reserved, asked = (_plain(each) for each in (short.spent, short.reserved, short.asked))
    lent = f", {_plain(short.lent)} is lent to jobs it asked for" if short.lent else ""
    return (
        f"Too little is left of what {owner} may use: the cap is {_plain(short.cap)} "
        f"{short.unit.value}, {spent} is spent, {reserved} is reserved{lent}, and the step needs "
        f"up to {asked}."
    )


def shortfall_json(short: Shortfall) -> dict[str, Any]:
    """The same for programs; amounts are texts, so that they stay exact."""
    amounts = ("cap", "spent", "reserved", "lent", "asked")
    told = {name: _plain(getattr(short, name)) for name in amounts}
    return {"scope": short.scope.value, "unit": short.unit.value, **told}


def _plain(amount: Decimal) -> str:
    """Without the zeros that say nothing."""
    return f"{amount.normalize():f}"
