"""The shapes of policy: a tenant's rule, a call to be judged, and what it came to."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.lifecycle.rulebook import Trial
from jobs.policy.expressions import CHARS_MAX
from jobs.policy.judgement import QUORUM_MAX, Judgement, Verdict
from jobs.policy.tenant_rules import TenantRule
from jobs.web.kept_json import check_said
from jobs.web.shapes_of_waits import Name
from store.policy_rules import PolicyRuleRow
from store.states import Origin, RuleVerdict


class PolicyRule(BaseModel):
    """A rule of this tenant, in one of its versions."""

    object: Literal["policy_rule"] = "policy_rule"
    id: str
    version: int = Field(description="counts the changes of this rule")
    tool: str
    expression: str
    verdict: RuleVerdict
    role: str | None
    quorum: int
    removed: bool = Field(description="since this version the rule does not hold")
    decided_by: str
    decided_at: datetime

    @classmethod
    def of(cls, row: PolicyRuleRow) -> PolicyRule:
        return cls(
            id=row.id,
            version=row.version,
            tool=row.tool,
            expression=row.expression,
            verdict=row.verdict,
            role=row.role,
            quorum=row.quorum,
            removed=row.is_removed,
            decided_by=row.decided_by,
            decided_at=row.decided_at,
        )


class PolicyRuleRequest(BaseModel):
    """What is asked for before calls that an expression applies to."""

    model_config = ConfigDict(extra="forbid")

    tool: Name = Field(description="a tool's name, or a pattern such as send_* or *")
    expression: str = Field(
        min_length=1,
        max_length=CHARS_MAX,
        description="CEL over args, invocation and tool, such as args.amount > 100",
    )
    verdict: RuleVerdict
    role: Name | None = Field(default=None, description="who approves; with `approve`")
    quorum: int = Field(default=1, ge=1, le=QUORUM_MAX, description="how many of them do")

    def as_rule(self, rule_id: str) -> TenantRule:
        verdict = Verdict(self.verdict)
        return TenantRule(rule_id, self.tool, self.expression, verdict, self.role, self.quorum)


class TrialRequest(BaseModel):
    """A call that somebody thinks of."""

    model_config = ConfigDict(extra="forbid")

    tool: Name
    args: Annotated[dict[str, Any], AfterValidator(check_said)] = Field(default_factory=dict)
    agent: Name | None = Field(default=None, description="whose tool, where several have one")
    origin: Origin = Field(default=Origin.API, description="how the job came to be")
    origins_above: list[Origin] = Field(
        default_factory=list, max_length=100, description="how those above it did, the first first"
    )
    requester: Name | None = None
    roles: list[Name] = Field(default_factory=list, max_length=100)

    def as_trial(self) -> Trial:
        return Trial(
            tool=self.tool,
            args=self.args,
            agent=self.agent,
            origin=self.origin,
            origins_above=tuple(self.origins_above),
            requester=self.requester,
            roles=frozenset(self.roles),
        )


class PolicyJudgement(BaseModel):
    """What a call needs before it may be made, and why."""

    object: Literal["judgement"] = "judgement"
    verdict: Verdict
    role: str | None = Field(description="who approves; several roles are joined by ' & '")
    quorum: int = Field(description="how many people have to say yes")
    reasons: list[str]
    rules: list[str] = Field(description="the rules that spoke, the most severe first")
    policy_version: str
    args_sha256: str
    tool_sha256: str

    @classmethod
    def of(cls, judgement: Judgement) -> PolicyJudgement:
        told: dict[str, Any] = judgement.as_json()
        return cls(**told)
