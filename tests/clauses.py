"""Rules drawn at random, each told twice: as a test knows it, and as tool, tenant or guard do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from jobs import approve_if, confirm_if, deny_if
from jobs.guards.guard import Stage, allow, confirm
from jobs.guards.guard import Verdict as Spoken
from jobs.policy.judgement import Verdict
from jobs.policy.rules import RuleLike
from jobs.policy.tenant_rules import TenantRule
from store.states import Origin

ROLES = ("finance", "legal")
SEVERITY = ["allow", "confirm", "approve", "deny"]
DOORS = st.sampled_from([Origin.API, Origin.SCHEDULE])


@dataclass(frozen=True)
class Need:
    """What has to be there before a call: of an approval, all the roles and so many people."""

    verdict: str = "allow"
    roles: frozenset[str] = frozenset()
    quorum: int = 0

    def with_(self, other: Need) -> Need:
        if self.verdict != other.verdict:
            return max(self, other, key=lambda each: SEVERITY.index(each.verdict))
        return Need(self.verdict, self.roles | other.roles, max(self.quorum, other.quorum))


@dataclass(frozen=True)
class Asked:
    """How the job came to be: the doors of its line, and who asked for it with which roles."""

    line: tuple[Origin, ...]
    requester: str | None
    roles: frozenset[str]


@dataclass(frozen=True)
class Clause:
    """A rule for calls above an amount: those of jobs with this door in their line, or of all, but
    for the jobs of somebody who has this role, if it names one."""

    above: int
    door: Origin | None
    need: Need
    but_for: str | None = None

    def asks(self, amount: int, asked: Asked) -> Need:
        is_meant = self.door is None or self.door in asked.line
        applies = amount > self.above and is_meant and self.but_for not in asked.roles
        return self.need if applies else Need()

    def in_python(self, n: int) -> RuleLike:
        def applies(amount: int, invocation: Any) -> bool:
            is_meant = self.door is None or self.door.value in invocation.origins
            return amount > self.above and is_meant and self.but_for not in invocation.roles

        match self.need.verdict:
            case "confirm":
                return confirm_if(applies, name=f"r{n}")
            case "approve":
                (role,) = self.need.roles
                return approve_if(applies, role=role, quorum=self.need.quorum, name=f"r{n}")
            case _:
                return deny_if(applies, name=f"r{n}")

    def in_cel(self, n: int) -> TenantRule:
        door = "" if self.door is None else f" && '{self.door.value}' in invocation.origins"
        role = self.but_for and f" && !('{self.but_for}' in invocation.roles)"
        of = next(iter(self.need.roles), None)
        return TenantRule(
            f"t{n}",
            "pay",
            f"args.amount > {self.above}{door}{role or ''}",
            Verdict(self.need.verdict),
            of,
            max(1, self.need.quorum),
        )


CONFIRMED = Need("confirm", quorum=1)
NEEDS = st.sampled_from(
    [
        CONFIRMED,
        Need("approve", frozenset({"finance"}), 1),
        Need("approve", frozenset({"legal"}), 2),
        Need("deny"),
    ]
)
ABOVE = st.sampled_from([0, 100, 1_000])
CLAUSES = st.builds(Clause, ABOVE, st.none() | DOORS, NEEDS, st.sampled_from([None, None, *ROLES]))
# The rules of a tool; None of one that says nothing.
Policy = list[Clause] | None
POLICIES = st.none() | st.lists(CLAUSES, max_size=2)


def in_force(policy: Policy, of_tenant: list[Clause], wary: int | None) -> list[Clause]:
    """The rules of the tool, or those of a tool that has none, of the tenant, and of the guard."""
    own = [Clause(-1, None, CONFIRMED)] if policy is None else policy
    guard = [] if wary is None else [Clause(wary, None, CONFIRMED)]
    return [*own, *of_tenant, *guard]


def need_of(clauses: list[Clause], amount: int, asked: Asked) -> Need:
    found = Need()
    for each in clauses:
        found = found.with_(each.asks(amount, asked))
    return found


@dataclass(frozen=True)
class Wary:
    """Wants every call above an amount confirmed."""

    above: int
    name: str = "wary"
    stages: frozenset[Stage] = frozenset({Stage.TOOL_ARGS})

    def check(self, stage: Stage, value: Any, context: Any) -> Spoken:
        return confirm("One never knows.") if value["amount"] > self.above else allow()
