"""What becomes of a call that nobody decides about: never more than somebody has been asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from jobs.agent.pipeline import Pipeline
from jobs.guards.guard import Kind, Stage, confirm
from jobs.guards.guard import Verdict as Verdict_
from jobs.guards.round import Round
from jobs.lifecycle.approvals import ToolCall, asking_for, more_severe, with_guards
from jobs.policy.judgement import Judgement, Verdict
from store.approvals import Became
from store.rows import ApprovalRow
from store.states import ApprovalState, Decision, JobStatus, Tier
from tests.approving import clerk, pay_out, receipt, refund
from tests.asking import REQUESTER, Asker, say
from tests.housing import Household
from tests.programs import as_input

# Silence is a yes to calls of this one.
lenient = replace(refund, unapproved="approve")
WARY = Round(Stage.TOOL_ARGS, Kind.CONFIRM, {}, (("taint", confirm("It has read something.")),))


class Wary:
    """Wants every call confirmed."""

    name = "wary"
    stages = frozenset({Stage.TOOL_ARGS})

    def check(self, stage: Stage, value: Any, context: Any) -> Verdict_:
        return confirm("One never knows.")


@pytest.fixture
def programs() -> str:
    return "tests.approving"


def serve(household: Household, program: Any) -> None:
    for registry in (household.house.registry, household.viewer.desk.registry):
        registry.agents[program.name] = program


def waiting(household: Household, asker: Asker, job_id: UUID, n: int = 1) -> ApprovalRow:
    """The question n about the one call of the job, once it is asked."""

    def find() -> list[ApprovalRow]:
        found = [a for a in asker.approvals(job_id) if a.state is ApprovalState.PENDING]
        return found if [a.n for a in found] == [n] else []

    (asked,) = household.run_until(find)
    return asked


def asked_about(household: Household, asker: Asker) -> UUID:
    """A job whose one call waits for a yes, to which silence is one as well."""
    serve(household, replace(clerk, tools=(lenient,)))
    calls = as_input([("refund", {"amount": 500})])
    job_id = household.viewer.submit("clerk", calls, requester=REQUESTER)
    waiting(household, asker, job_id)
    return job_id


def begun(ledger: Path) -> list[str]:
    return ledger.read_text().splitlines() if ledger.exists() else []


def judgement(verdict: Verdict, *rules: str, quorum: int = 1) -> Judgement:
    role = "finance" if verdict is Verdict.APPROVE else None
    return Judgement(verdict, role, quorum, rules, rules, "1", "a" * 64, "b" * 64)


def fallback(judged: Judgement) -> Decision:
    call = ToolCall(lenient, {"amount": 500}, {"amount": 500})
    return asking_for(call, judged).fallback


def test_silence_is_a_yes_where_the_tool_says_so(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = asked_about(household, asker)
    assert asker.let_expire(job_id) == 1
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert begun(ledger) == [f"refund 500 {job_id}:2"]


def test_no_silence_grants_the_arguments_of_an_edit(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = asked_about(household, asker)
    assert say(household, job_id, Decision.EDIT, args={"amount": 5_000}) is Became.EDITED
    asked = waiting(household, asker, job_id, n=2)
    assert (asked.tier, asked.fallback) == (Tier.APPROVE, Decision.REJECT)
    assert asker.let_expire(job_id) == 1
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert begun(ledger) == []


def test_nor_where_they_are_asked_about_anew(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = asked_about(household, asker)
    assert say(household, job_id, Decision.EDIT, args={"amount": 700}) is Became.GRANTED
    serve(household, replace(clerk, tools=(replace(lenient, idempotency="key"),), accepts=["*"]))
    asked = waiting(household, asker, job_id, n=3)
    assert (asked.args, asked.fallback) == ({"amount": 700}, Decision.REJECT)
    assert asker.let_expire(job_id) == 1
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert begun(ledger) == []


def test_no_silence_grants_what_a_guard_has_asked_about() -> None:
    assert fallback(judgement(Verdict.CONFIRM, "large")) is Decision.APPROVE
    wary = with_guards(judgement(Verdict.ALLOW, quorum=0), WARY)
    assert fallback(wary) is Decision.REJECT
    for verdict in (Verdict.CONFIRM, Verdict.APPROVE):
        plain = judgement(verdict, "large")
        assert fallback(more_severe(plain, wary)) is Decision.REJECT
        assert fallback(more_severe(wary, plain)) is Decision.REJECT


def test_a_yes_of_the_clock_does_not_answer_a_guard_that_asks_later(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = asked_about(household, asker)
    assert asker.let_expire(job_id) == 1
    serve(household, replace(clerk, tools=(lenient,), guards=(Wary(),), accepts=["*"]))
    asked = waiting(household, asker, job_id, n=2)
    assert asked.fallback is Decision.REJECT
    assert begun(ledger) == []
    say(household, job_id)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert begun(ledger) == [f"refund 500 {job_id}:2"]


def test_a_step_that_nobody_need_be_asked_about_any_more_can_be_asked_about_anew(
    household: Household, asker: Asker, ledger: Path
) -> None:
    policy = ledger.with_name("say-policy")
    policy.write_text("stricter")
    job_id = household.viewer.submit("refunding", {"amount": 50}, requester=REQUESTER)
    waiting(household, asker, job_id)
    say(household, job_id)
    policy.write_text("")
    changed = replace(pay_out, idempotency="key")
    steps = [*household.house.registry.find("refunding").steps[:1], changed, receipt]
    serve(household, Pipeline(name="refunding", steps=steps, accepts=["*"]))
    asked = waiting(household, asker, job_id, n=2)
    assert (asked.tier, asked.quorum) == (Tier.CONFIRM, 1)
    say(household, job_id)
    assert household.run(job_id).output == {"receipt": {"paid": 50}}
