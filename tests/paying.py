"""A tool that pays, the agents that use it, and those who may have a say about it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from uuid import UUID

from pydantic_ai.models.function import FunctionModel

from jobs import Agent, ToolContext, delegate_to, tool
from jobs.agent.tool import Tool
from store import approvals
from tests.clauses import ROLES, Need, Policy, Wary
from tests.programs import Script, follow_script, note

PEOPLE: dict[str, frozenset[str]] = {
    "rita": frozenset(ROLES),
    "fred": frozenset({"finance"}),
    "fay": frozenset({"finance", "legal"}),
    "lee": frozenset({"finance", "legal"}),
    "olga": frozenset({approvals.OPERATOR}),
    "nora": frozenset(),
}


def make_pay(policy: Policy, version: int) -> Tool:
    """The tool, under these rules; another version is another tool to whoever approves it."""

    def pay(ctx: ToolContext, amount: int) -> str:
        note(json.dumps({"job": str(ctx.job_id), "key": ctx.key, "amount": amount}))
        return f"paid {amount}"

    pay.__doc__ = f"Pay somebody, in the way number {version}."
    rules = None if policy is None else [clause.in_python(n) for n, clause in enumerate(policy)]
    return tool(effect="external", idempotency="key", policy=rules)(pay)


def make_payer(pay: Tool, wary: int | None) -> Agent:
    return Agent(
        name="payer",
        model=FunctionModel(follow_script, model_name="script"),
        instructions="Follow the script.",
        tools=(pay,),
        guards=() if wary is None else (Wary(wary),),
        input_type=Script,
        accepts=["*"],
    )


BOSS = Agent(
    name="boss",
    model=FunctionModel(follow_script, model_name="script"),
    instructions="Follow the script.",
    tools=(delegate_to("payer", "boss"),),
    input_type=Script,
)


# --- what was said --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Word:
    """A yes that was taken: to which question, about what, and by whom."""

    job_id: UUID
    seq: int
    n: int
    amount: int
    version: int
    by: str
    tier: str
    roles: frozenset[str]
    remember: bool

    def is_entitled(self, requester: str | None) -> bool:
        """Whether whoever spoke may say yes to what was asked."""
        if self.tier == "confirm":
            return self.by == requester or approvals.OPERATOR in PEOPLE[self.by]
        return self.by != requester and self.roles <= PEOPLE[self.by]


# A job and one of its steps.
Step = tuple[UUID, int]


@dataclass
class Planned:
    amount: int
    need: Need
    paid: list[int] = field(default_factory=list)
