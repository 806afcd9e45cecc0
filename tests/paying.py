"""A tool that pays, the agents that use it, and those who may have a say about it."""

from __future__ import annotations

import json
from collections import defaultdict
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


# The versions of the tool, by the hash that a question knows it by.
VERSIONS = {make_pay(None, version).sha256: version for version in (1, 2)}


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

    def is_enough(self, need: Need) -> bool:
        """Whether this yes is one that the need counts."""
        if need.verdict == "approve":
            return self.tier == "approve" and need.roles <= PEOPLE[self.by]
        return True


# A job and one of its steps.
Step = tuple[UUID, int]


@dataclass
class Words:
    """Every yes that was taken, in the order in which it was."""

    heard: list[Word] = field(default_factory=list)

    def given_for(self, step: Step, amount: int, version: int, need: Need) -> int:
        """How many have said yes to this call, where it was asked about once, in answer to one
        question; leave to repeat it in its job counts where all of them gave it."""
        questions: defaultdict[tuple[int, int], list[Word]] = defaultdict(list)
        for word in self.heard:
            if (word.job_id, word.amount, word.version) == (step[0], amount, version):
                questions[word.seq, word.n].append(word)
        counts = [0]
        for (of_seq, _), words in questions.items():
            if of_seq == step[1] or all(word.remember for word in words):
                counts.append(len({word.by for word in words if word.is_enough(need)}))
        return max(counts)

    def are_of(self, step: Step, amount: int) -> bool:
        """Whether any was to this very call."""
        return any((word.job_id, word.seq, word.amount) == (*step, amount) for word in self.heard)


@dataclass
class Planned:
    amount: int
    need: Need
    paid: list[int] = field(default_factory=list)
