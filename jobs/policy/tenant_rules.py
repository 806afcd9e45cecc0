"""Rules of a tenant: CEL expressions about calls, kept beside the code, that only make it stricter.

A rule names its tools by a pattern, says in one expression to which of their calls it applies, and
what is asked for then: `confirm`, `approve` or `deny`. There is no rule that allows. An expression
looks at three things, and at nothing else:

    args         the arguments of the call, as JSON, with those filled in that have a default
    invocation   origin, origins, origins_above, depth, requester, roles
    tool         name, effect

One that fails on a call (a field that is not there, a number that is compared with a text, more
work than it may do) has applied to it, as the next more severe verdict than its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fnmatch import fnmatchcase

from jobs.errors import Refused
from jobs.policy.expressions import Facts, check_expression, evaluate
from jobs.policy.judgement import Demand, Verdict, role_of
from store.policy_rules import PolicyRuleRow

RULES_MAX = 100
ID = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")
GLOB = re.compile(r"[A-Za-z0-9_.*?-]{1,100}")
# Rules of the tool and of the tenant are named in one list.
PREFIX = "tenant:"


class BadRule(Refused):
    """A tenant's rule that cannot be kept as it is; nothing was changed."""

    code = "bad-rule"


@dataclass(frozen=True, slots=True)
class TenantRule:
    """One rule. `tool` is a name, or a pattern of names with * and ?."""

    id: str
    tool: str
    expression: str
    verdict: Verdict
    role: str | None = None
    quorum: int = 1

    @classmethod
    def of(cls, row: PolicyRuleRow) -> TenantRule:
        """The rule as it is kept."""
        verdict = Verdict(row.verdict)
        return cls(row.id, row.tool, row.expression, verdict, row.role, row.quorum)

    @property
    def shown_id(self) -> str:
        return PREFIX + self.id

    @property
    def demand(self) -> Demand:
        if self.verdict is Verdict.APPROVE:
            return Demand.approval(self.role, self.quorum)
        return Demand.plain(self.verdict)

    @property
    def face(self) -> list[str | int | None]:
        """Everything that it is, for the version of the policy."""
        demand = self.demand
        who = role_of(demand.roles)
        return [self.id, self.tool, self.expression, self.verdict, who, demand.quorum]

    def is_about(self, tool: str) -> bool:
        return fnmatchcase(tool, self.tool)

    def applies_to(self, facts: Facts) -> bool:
        """Whether it speaks about this call. Raises when it cannot tell."""
        return evaluate(self.expression, facts)


def check_rule(rule: TenantRule) -> None:
    """Raise `BadRule`, with what to do about it, for a rule that could not work."""
    if not ID.fullmatch(rule.id):
        raise BadRule(
            f"{rule.id!r} cannot name a rule. Write up to 64 small letters, digits, dots, dashes "
            "and underscores, such as large-refunds."
        )
    if not GLOB.fullmatch(rule.tool):
        raise BadRule(f"{rule.tool!r} names no tools. Write a name, or a pattern such as send_*.")
    if rule.verdict is Verdict.ALLOW:
        raise BadRule("A tenant's rule can only make a policy stricter: confirm, approve or deny.")
    if rule.verdict is not Verdict.APPROVE and (rule.role is not None or rule.quorum != 1):
        raise BadRule(f"A role and a quorum go with approve; {rule.verdict} has neither.")
    try:
        _ = rule.demand
        check_expression(rule.expression)
    except ValueError as error:
        raise BadRule(str(error)) from None
