"""Calls that wait for people, by hand: jobs with a requester, questions about calls, decisions."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import text
from uuid_utils.compat import uuid7

from jobs.lifecycle.deciding import decide
from store import approvals, audit, jobs
from store.approvals import Asking, Became, Said
from store.audit import Verified
from store.jobs import NewJob
from store.rows import ApprovalRow, DecisionRow
from store.states import Decision, JobClass, Origin, StepState, Tier
from store.transitions import Claim, Plan
from tests.housing import Household
from tests.stepping import MODEL, Stepper, call

REQUESTER = "rita"
TOOL_SHA256 = "7" * 64
FINANCE = frozenset({"finance"})
NOBODY: frozenset[str] = frozenset()


def sha256(args: Any) -> str:
    return hashlib.sha256(json.dumps(args, sort_keys=True).encode()).hexdigest()


def asking(args: Any = None, **more: Any) -> Asking:
    """The question about a refund; confirmed by the requester unless told."""
    args = {"amount": 120} if args is None else args
    told: dict[str, Any] = {
        "tool": "refund",
        "args": args,
        "args_sha256": sha256(args),
        "tool_sha256": TOOL_SHA256,
        "tier": Tier.CONFIRM,
        "role": None,
        "quorum": 1,
        "reasons": ("More than 100.",),
        "rules": ("refund.large",),
        "policy_version": "1",
        "fallback": Decision.REJECT,
        "expires_s": 3600.0,
    }
    return Asking(**told | more)


def for_finance(args: Any = None, quorum: int = 1, **more: Any) -> Asking:
    return asking(args, tier=Tier.APPROVE, role="finance", quorum=quorum, **more)


def gated(question: Asking | None = None, n: int = 1) -> Plan:
    """A call that is planned as waiting for people."""
    return replace(call(n), approval=(question or asking()).as_json())


class Asker(Stepper):
    """A stepper whose jobs have a requester and whose calls wait for people."""

    def plan(self, *plans: Plan, **job: Any) -> UUID:
        """A job whose model has just planned these calls."""
        job_id = self.ask_for(**job)
        assert self.commit(self.take(job_id), plan=plans) is not None
        return job_id

    def ask_for(self, requester: str | None = REQUESTER) -> UUID:
        new = NewJob(
            tenant_id=self.tenant_id,
            id=uuid7(),
            agent="test",
            agent_version="1",
            model=None,
            job_class=JobClass.DEFAULT,
            origin=Origin.API,
            input={},
            idempotency_key=None,
            request_sha256=None,
            first_steps=(MODEL,),
            requester=requester,
        )
        with self.doors.as_tenant(self.tenant_id) as tx:
            jobs.create(tx, new)
        return new.id

    def decide(
        self,
        job_id: UUID,
        decision: Decision = Decision.APPROVE,
        *,
        by: str = REQUESTER,
        roles: frozenset[str] = NOBODY,
        seq: int = 2,
        n: int = 1,
        shown: Any = None,
        **said: Any,
    ) -> Became:
        """Say something about a call, shown with these arguments."""
        args_sha256 = sha256({"amount": 120} if shown is None else shown)
        with self.doors.as_tenant(self.tenant_id) as tx:
            return approvals.decide(
                tx,
                self.tenant_id,
                (job_id, seq, n),
                args_sha256,
                Said(decision, **said),
                by=by,
                roles=roles,
            )

    def approvals(self, job_id: UUID) -> list[ApprovalRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return approvals.list_of(tx, job_id)

    def approval(self, job_id: UUID, n: int = 1) -> ApprovalRow:
        return self.approvals(job_id)[n - 1]

    def decisions(self, job_id: UUID) -> list[DecisionRow]:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return approvals.list_decisions(tx, job_id)

    def granted(self, held: Claim) -> Claim:
        """The claim with the yes that its call has."""
        with self.doors.as_tenant(self.tenant_id) as tx:
            return replace(held, granted=approvals.find_granted(tx, held.job_id, held.seq))

    def let_expire(self, job_id: UUID) -> int:
        """Let the open questions of the job have come to their time, and walk a round."""
        self.set_back("approvals", "expires_at", None, job_id=job_id, state="pending")
        self.come_due(job_id)
        return self.wake()

    def audit(self) -> list[dict[str, Any]]:
        with self.doors.as_operator("test") as tx:
            rows = tx.execute(
                text("select content from stepwell.audit where tenant_id = :tenant order by n"),
                {"tenant": self.tenant_id},
            )
            return [row.content for row in rows]

    def verify(self) -> Verified:
        with self.doors.as_tenant(self.tenant_id) as tx:
            return audit.verify(tx, self.tenant_id)

    def check_approvals(self, job_id: UUID) -> None:
        """A parked call has one open question; a call that was begun has consumed one yes."""
        self.check_books(job_id)
        found = self.approvals(job_id)
        for step in self.steps(job_id):
            mine = [each for each in found if each.seq == step.seq]
            assert [each.n for each in mine] == list(range(1, len(mine) + 1))
            is_open = [each.state.value == "pending" for each in mine]
            assert sum(is_open) == (bool(mine) and step.state is StepState.WAITING)
            if mine and step.effect_epoch is not None:
                assert mine[-1].consumed_at is not None
            assert not [each for each in mine[:-1] if each.consumed_at]
        assert self.verify().is_whole


def say(
    household: Household,
    job_id: UUID,
    decision: Decision = Decision.APPROVE,
    *,
    by: str = REQUESTER,
    roles: frozenset[str] = NOBODY,
    args: Any = None,
    **said: Any,
) -> Became:
    """Decide about the one call of the job that waits now, as it is shown."""
    viewer = household.viewer
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        (asked,) = approvals.list_pending(tx, job_id=job_id)
        return decide(
            tx,
            viewer.desk.registry,
            viewer.tenant_id,
            asked,
            asked.args_sha256,
            Said(decision, **said),
            args=args,
            by=by,
            roles=roles,
        )
