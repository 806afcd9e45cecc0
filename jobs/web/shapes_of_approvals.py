"""The shapes of approvals: a call with exactly what people are shown, and what they say."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from jobs.web.kept_json import Said
from jobs.web.shapes_of_waits import NUMBER_MAX
from store.rows import ApprovalRow, DecisionRow
from store.states import ApprovalEnding, ApprovalState, Decision, Tier


class GivenDecision(BaseModel):
    """What one person has said."""

    by: str
    decision: Decision
    reason: str | None
    at: datetime

    @classmethod
    def of(cls, row: DecisionRow) -> GivenDecision:
        return cls(by=row.decided_by, decision=row.decision, reason=row.reason, at=row.decided_at)


class Approval(BaseModel):
    """A tool call that people are, or were, asked about."""

    object: Literal["approval"] = "approval"
    job_id: UUID
    agent: str
    requester: str | None = Field(description="who asked for the job, where that is known")
    seq: int = Field(description="the step that makes the call")
    n: int = Field(description="which of the questions about that step this is")
    tool: str
    args: Any = Field(description="what the tool is called with, and with nothing else")
    args_sha256: str = Field(description="of the arguments; decisions name it")
    tier: Tier = Field(description="confirm: who asked for the job; approve: people with the role")
    role: str | None
    quorum: int = Field(description="how many different people have to approve")
    reasons: list[str]
    rules: list[str] = Field(description="the rules that spoke")
    policy_version: str
    fallback: Decision = Field(description="what it comes to when nobody decides in time")
    state: ApprovalState
    ending: ApprovalEnding | None
    created_at: datetime
    expires_at: datetime | None
    closed_at: datetime | None
    consumed_at: datetime | None = Field(description="when the call was begun")
    decisions: list[GivenDecision]
    links: dict[str, str]

    @classmethod
    def of(
        cls, row: ApprovalRow, agent: str, requester: str | None, said: list[DecisionRow]
    ) -> Approval:
        here = f"/v1/jobs/{row.job_id}"
        links = {"job": here}
        if row.state is ApprovalState.PENDING:
            links["decide"] = f"{here}/steps/{row.seq}/decision"
        kept = {name: getattr(row, name) for name in cls.model_fields if hasattr(row, name)}
        about = [GivenDecision.of(each) for each in said if (each.seq, each.n) == (row.seq, row.n)]
        return cls(**kept, agent=agent, requester=requester, decisions=about, links=links)


class DecisionRequest(BaseModel):
    """A decision about question `n` of a step, for the arguments that were shown.

    An `edit` takes the new `args`; `respond` takes the `answer` that the call is to have.
    """

    model_config = ConfigDict(extra="forbid")

    n: int = Field(ge=1, le=NUMBER_MAX, description="the question that was shown")
    args_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the arguments shown")
    decision: Decision
    args: Said = None
    answer: Said = None
    reason: str | None = Field(default=None, max_length=2_000, pattern=r"^[^\x00]*$")
    remember: bool = Field(default=False, description="let this job make the same call again")
