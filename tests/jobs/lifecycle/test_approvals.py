"""Approvals: calls wait for people, and run once, with what those were shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from jobs.agent.pipeline import Pipeline
from jobs.agent.registry import Registry
from jobs.agent.tool import tool
from jobs.errors import Refused
from store.approvals import Became
from store.rows import ApprovalRow
from store.states import ApprovalState, Decision, JobStatus, StepState, Tier
from tests.approving import clerk, pay_input, pay_keyed, price, receipt, refund
from tests.asking import FINANCE, REQUESTER, Asker, say
from tests.housing import Household, Impatient, lose_worker, pending, replay, tool_steps
from tests.housing import decide as decide_question
from tests.programs import as_input

# All that the rules say of a refund of two millions, the most severe first.
ABSURD_SAID = "absurd: Nobody refunds that much. huge: It is huge. large: It is large."


@pytest.fixture
def programs() -> str:
    return "tests.approving"


def submit(household: Household, *calls: tuple[str, Any]) -> UUID:
    """A job that the requester asks for, whose first turn are these calls."""
    return household.viewer.submit("clerk", as_input(list(calls)), requester=REQUESTER)


def lines(ledger: Path, begins: str = "refund") -> list[str]:
    told = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in told if line.startswith(begins)]


def world(ledger: Path, says: str, about: str = "world") -> None:
    ledger.with_name(f"say-{about}").write_text(says)


def returned(household: Household, job_id: UUID) -> list[tuple[str, Any]]:
    """What came of each call, as the model is told."""
    steps = tool_steps(household.viewer, job_id)
    return [(step.output["outcome"], step.output["content"]) for step in steps if step.output]


def waiting(household: Household, asker: Asker, job_id: UUID) -> ApprovalRow:
    """The one call of the job that waits, once nothing else of the job can run."""
    job_waits = (JobStatus.INPUT_REQUIRED, "approval")

    def find() -> list[ApprovalRow]:
        job = household.viewer.job(job_id)
        found = [a for a in asker.approvals(job_id) if a.state is ApprovalState.PENDING]
        return found if (job.status, job.waiting_for) == job_waits else []

    (asked,) = household.run_until(find)
    return asked


# --- the verdict ----------------------------------------------------------------------------------


def test_a_call_that_needs_no_yes_runs_at_once(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 5}))
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 5 {job_id}:2"]
    assert asker.approvals(job_id) == []


def test_a_large_one_waits_while_the_free_ones_run_and_then_runs_as_shown(
    household: Household, asker: Asker, ledger: Path
) -> None:
    calls = [("refund", {"amount": 500}), ("glance", {"at": "it"}), ("refund", {"amount": 5})]
    job_id = submit(household, *calls)
    asked = waiting(household, asker, job_id)
    assert (asked.tool, asked.args, asked.tier) == ("refund", {"amount": 500}, Tier.CONFIRM)
    assert asked.reasons == ["large: It is large."]
    assert sorted(lines(ledger, "")) == ["glance it", f"refund 5 {job_id}:4"]
    (frozen, _, _) = tool_steps(household.viewer, job_id)
    assert frozen.input["judgement"]["args_sha256"] == asked.args_sha256

    assert say(household, job_id) is Became.GRANTED
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger, "refund 500") == [f"refund 500 {job_id}:2"]
    assert asker.approval(job_id).consumed_epoch == 1
    household.viewer.check_history(job_id)
    asker.check_approvals(job_id)


def test_what_is_denied_is_not_called_and_the_model_is_told_why(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 2_000_000}))
    job = household.run(job_id)
    assert job.status is JobStatus.COMPLETED
    told = f"This call is not allowed. {ABSURD_SAID}"
    assert returned(household, job_id) == [("denied", told)]
    assert lines(ledger) == []
    assert asker.approvals(job_id) == []
    events = household.viewer.events(job_id)
    (event,) = [e for e in events if e.type == "step.completed" and e.data["seq"] == 2]
    assert event.data["outcome"] == "denied"


def test_a_read_that_needs_a_yes_consumes_it_too(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("open_file", {"name": "ledger"}))
    waiting(household, asker, job_id)
    assert lines(ledger, "open") == []
    say(household, job_id)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger, "open") == ["open ledger"]
    assert asker.approval(job_id).consumed_at is not None


def test_arguments_that_do_not_fit_are_for_the_model_and_ask_nobody(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": "a lot"}))
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert [outcome for outcome, _ in returned(household, job_id)] == ["retried"]
    assert (asker.approvals(job_id), lines(ledger)) == ([], [])


# --- what people say ------------------------------------------------------------------------------


def test_a_rejected_call_is_not_made_and_the_model_is_told_why(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    assert say(household, job_id, Decision.REJECT, reason="Not ours.") is Became.REJECTED
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert returned(household, job_id) == [("denied", "This call was not approved. Not ours.")]
    assert lines(ledger) == []


def test_a_person_can_answer_in_the_tools_place(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    assert say(household, job_id, Decision.RESPOND, answer={"done": "by hand"}) is Became.ANSWERED
    household.run(job_id)
    assert returned(household, job_id) == [("success", {"done": "by hand"})]
    assert lines(ledger) == []


def test_an_edited_call_runs_with_the_new_arguments_only(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    with pytest.raises(Refused, match="do not fit"):
        say(household, job_id, Decision.EDIT, args={"amount": "some"})
    with pytest.raises(Refused, match="not allowed"):
        say(household, job_id, Decision.EDIT, args={"amount": 2_000_000})
    assert asker.decisions(job_id) == []
    assert say(household, job_id, Decision.EDIT, args={"amount": 300}) is Became.GRANTED
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 300 {job_id}:2"]
    assert returned(household, job_id) == [("success", "refunded 300")]
    told = str(household.viewer.job(job_id).output)
    assert "'args': {'amount': 300}" in told, "the model knows what the call was made with"
    asker.check_approvals(job_id)


def test_an_edit_that_makes_it_huge_needs_two_of_finance(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    assert say(household, job_id, Decision.EDIT, args={"amount": 5_000}) is Became.EDITED
    assert say(household, job_id) is Became.DENIED
    assert say(household, job_id, by="fred", roles=FINANCE) is Became.COUNTED
    assert lines(ledger) == []
    assert say(household, job_id, by="fay", roles=FINANCE) is Became.GRANTED
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 5000 {job_id}:2"]


def test_an_edit_never_needs_less_than_the_call_it_changes(
    household: Household, asker: Asker
) -> None:
    job_id = submit(household, ("refund", {"amount": 5_000}))
    waiting(household, asker, job_id)
    said = say(household, job_id, Decision.EDIT, args={"amount": 5}, by="fred", roles=FINANCE)
    assert said is Became.EDITED
    asked = waiting(household, asker, job_id)
    assert (asked.tier, asked.role, asked.quorum) == (Tier.APPROVE, "finance", 2)


def test_what_nobody_decides_about_is_rejected(household: Household, asker: Asker) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    assert asker.let_expire(job_id) == 1
    household.run(job_id)
    told = "This call was not approved. Nobody decided in time."
    assert returned(household, job_id) == [("denied", told)]


def test_a_remembered_call_is_made_again_without_another_word(
    household: Household, asker: Asker, ledger: Path
) -> None:
    turns = [[("refund", {"amount": 500})], [("refund", {"amount": 500})]]
    job_id = household.viewer.submit("clerk", as_input(*turns), requester=REQUESTER)
    waiting(household, asker, job_id)
    say(household, job_id, remember=True)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 500 {job_id}:2", f"refund 500 {job_id}:4"]
    assert [each.ending for each in asker.approvals(job_id)] == ["decided", "remembered"]
    assert all(each.consumed_at for each in asker.approvals(job_id))
    asker.check_approvals(job_id)


# --- what is not what was shown -------------------------------------------------------------------


def test_a_tool_that_has_changed_is_asked_about_anew(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    first = waiting(household, asker, job_id)
    say(household, job_id)
    serve(household, replace(clerk, tools=(replace(refund, idempotency="key"),), accepts=["*"]))
    second = waiting(household, asker, job_id)
    assert lines(ledger) == []
    assert (first.args_sha256, second.n) == (second.args_sha256, 2)
    assert first.tool_sha256 != second.tool_sha256
    say(household, job_id)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 500 {job_id}:2"]
    assert [each.consumed_at is None for each in asker.approvals(job_id)] == [True, False]


def test_a_policy_that_was_tightened_meanwhile_is_kept(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    say(household, job_id)
    world(ledger, "stricter", about="policy")
    asked = waiting(household, asker, job_id)
    assert (asked.n, asked.tier, asked.role) == (2, Tier.APPROVE, "finance")
    assert lines(ledger) == []


def test_a_policy_that_was_loosened_meanwhile_lets_nothing_through(
    household: Household, asker: Asker, ledger: Path
) -> None:
    world(ledger, "stricter", about="policy")
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    world(ledger, "", about="policy")
    assert say(household, job_id) is Became.DENIED
    for by in ("fred", "fay"):
        say(household, job_id, by=by, roles=FINANCE)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert len(lines(ledger)) == 1


@pytest.mark.parametrize("more", ["", ", kind = 'function'"], ids=["verdict", "kind"])
def test_a_row_that_somebody_forged_is_judged_before_it_acts(
    household: Household, asker: Asker, ledger: Path, more: str
) -> None:
    job_id = submit(household, ("refund", {"amount": 5}), ("refund", {"amount": 500}))
    asked = waiting(household, asker, job_id)
    assert asker.states(job_id)[1] is StepState.COMMITTED
    forge = (
        "update stepwell.approvals set state = 'cancelled', ending = 'stopped', closed_at = now();"
        " update stepwell.waits set state = 'cancelled', closed_at = now() where kind = 'approval';"
        " update stepwell.checkpoints set state = 'ready', ready_at = now(), rung_at = null,"
        " input = jsonb_set(input, '{judgement,verdict}', '\"allow\"')"
        f"{more} where state = 'waiting'"
    )
    with household.viewer.desk.doors.as_operator("test") as tx:
        for statement in forge.split("; "):
            tx.execute(text(statement))
    again = waiting(household, asker, job_id)
    assert (again.seq, again.n) == (asked.seq, 2)
    assert lines(ledger) == [f"refund 5 {job_id}:2"]


def test_a_replay_asks_again(household: Household, asker: Asker, ledger: Path) -> None:
    world(ledger, "refuse")
    household.house.draw = Impatient()
    job_id = submit(household, ("refund_keyed", {"amount": 500}))
    waiting(household, asker, job_id)
    say(household, job_id)
    assert household.run(job_id).status is JobStatus.FAILED
    assert len(lines(ledger)) == 4, "the same yes covers the tries of one call"
    world(ledger, "")
    new_id = replay(household.viewer, job_id)
    waiting(household, asker, new_id)
    assert len(lines(ledger)) == 4
    say(household, new_id)
    assert household.run(new_id).status is JobStatus.COMPLETED


def test_a_replay_asks_about_the_arguments_that_its_key_has_seen(
    household: Household, asker: Asker, ledger: Path
) -> None:
    world(ledger, "refuse")
    household.house.draw = Impatient()
    job_id = submit(household, ("refund_keyed", {"amount": 500}))
    waiting(household, asker, job_id)
    say(household, job_id, Decision.EDIT, args={"amount": 300})
    household.run(job_id)
    world(ledger, "")
    new_id = replay(household.viewer, job_id)
    assert waiting(household, asker, new_id).args == {"amount": 300}
    say(household, new_id)
    job = household.run(new_id)
    assert {*lines(ledger)} == {f"refund 300 {job_id}:2"}
    assert "'args': {'amount': 300}" in str(job.output), "the model knows what it was made with"


def test_so_does_the_replay_of_a_pipeline(household: Household, asker: Asker, ledger: Path) -> None:
    world(ledger, "refuse")
    household.house.draw = Impatient()
    keyed = Pipeline(name="refunding", steps=[price, pay_keyed, receipt])
    for registry in (household.house.registry, household.viewer.desk.registry):
        registry.agents[keyed.name] = keyed
    job_id = household.viewer.submit("refunding", {"amount": 500}, requester=REQUESTER)
    waiting(household, asker, job_id)
    say(household, job_id, Decision.EDIT, args=300)
    assert household.run(job_id).status is JobStatus.FAILED
    world(ledger, "")
    new_id = replay(household.viewer, job_id)
    asked = waiting(household, asker, new_id)
    assert (asked.args, asked.fallback) == (300, Decision.REJECT)
    say(household, new_id)
    assert household.run(new_id).output == {"receipt": {"paid": 300}}
    assert {*lines(ledger, "pay_out")} == {f"pay_out 300 {job_id}:2"}


def test_a_fork_of_a_replay_asks_about_what_it_would_be_given(
    household: Household, asker: Asker, ledger: Path
) -> None:
    world(ledger, "refuse")
    household.house.draw = Impatient()
    keyed = Pipeline(name="refunding", steps=[pay_input, receipt])
    for registry in (household.house.registry, household.viewer.desk.registry):
        registry.agents[keyed.name] = keyed
    job_id = household.viewer.submit("refunding", {"amount": 500}, requester=REQUESTER)
    waiting(household, asker, job_id)
    say(household, job_id, Decision.EDIT, args={"amount": 300})
    assert household.run(job_id).status is JobStatus.FAILED
    again = replay(household.viewer, job_id)
    assert waiting(household, asker, again).args == {"amount": 300}
    say(household, again, Decision.EDIT, args={"amount": 200})
    assert household.run(again).status is JobStatus.FAILED
    third = replay(household.viewer, again)
    assert waiting(household, asker, third).args == {"amount": 200}
    say(household, third, Decision.EDIT, args={"amount": 300})
    assert household.run(third).status is JobStatus.FAILED
    _, fork = asker.fork(third, 1)
    assert waiting(household, asker, fork).args == {"amount": 500}
    _, other = asker.fork(third, 1, input={"amount": 400})
    assert waiting(household, asker, other).args == {"amount": 400}


def test_a_fork_of_a_replay_asks_about_what_its_model_wanted(
    household: Household, asker: Asker, ledger: Path
) -> None:
    world(ledger, "refuse")
    household.house.draw = Impatient()
    job_id = submit(household, ("refund_keyed", {"amount": 500}))
    waiting(household, asker, job_id)
    say(household, job_id, Decision.EDIT, args={"amount": 300})
    household.run(job_id)
    again = replay(household.viewer, job_id)
    assert waiting(household, asker, again).args == {"amount": 300}
    _, fork = asker.fork(again, 2)
    assert waiting(household, asker, fork).args == {"amount": 500}


# --- workers that die -----------------------------------------------------------------------------


def test_a_call_that_may_have_happened_is_asked_about_with_its_edited_arguments(
    household: Household, asker: Asker, ledger: Path
) -> None:
    world(ledger, "reset")
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    say(household, job_id, Decision.EDIT, args={"amount": 300})
    (question,) = household.run_until_parked(job_id)
    assert (question.prompt or {})["args"] == {"amount": 300}
    world(ledger, "")
    decide_question(household.viewer, job_id, "again")
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 300 {job_id}:2"] * 2
    assert [each.consumed_epoch for each in asker.approvals(job_id)] == [None, 1]


def test_a_yes_outlives_the_worker_that_was_to_make_the_call(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = submit(household, ("refund", {"amount": 500}))
    waiting(household, asker, job_id)
    household.redis.flushall()
    say(household, job_id)
    lose_worker(household.viewer, job_id, 2)
    assert household.run(job_id).status is JobStatus.COMPLETED
    assert lines(ledger) == [f"refund 500 {job_id}:2"]
    asker.check_approvals(job_id)


# --- pipelines ------------------------------------------------------------------------------------


def test_a_step_of_a_pipeline_waits_with_the_value_that_it_would_be_given(
    household: Household, asker: Asker, ledger: Path
) -> None:
    job_id = household.viewer.submit("refunding", {"amount": 500}, requester=REQUESTER)
    asked = waiting(household, asker, job_id)
    assert (asked.seq, asked.tool, asked.args) == (2, "pay_out", 500)
    say(household, job_id, Decision.EDIT, args=400)
    job = household.run(job_id)
    assert job.output == {"receipt": {"paid": 400}}
    assert lines(ledger, "pay_out") == [f"pay_out 400 {job_id}:2"]
    asker.check_approvals(job_id)


@pytest.mark.parametrize(
    ("amount", "decision", "told"),
    [
        (500, Decision.REJECT, "This call was not approved. Too much."),
        (2_000_000, None, f"This call is not allowed. {ABSURD_SAID}"),
    ],
)
def test_a_step_of_a_pipeline_that_is_not_allowed_ends_its_job(
    household: Household,
    asker: Asker,
    ledger: Path,
    amount: int,
    decision: Decision | None,
    told: str,
) -> None:
    job_id = household.viewer.submit("refunding", {"amount": amount}, requester=REQUESTER)
    if decision is not None:
        waiting(household, asker, job_id)
        say(household, job_id, decision, reason="Too much.")
    job = household.run(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error["class"], job.error["message"]) == ("denied", told)
    assert lines(ledger, "pay_out") == []
    assert pending(household.viewer, job_id) == []


def test_a_tool_says_how_long_its_calls_wait_and_what_becomes_of_them_then() -> None:
    made = tool(effect="read", approval_s=60, unapproved="approve")(lambda: None)
    assert (made.approval_s, made.unapproved) == (60, "approve")
    assert Registry([clerk]).find("clerk") is clerk


def serve(household: Household, program: Any) -> None:
    """Serve this from here on in the place of the program of its name."""
    household.house.registry.agents[program.name] = program
    household.viewer.desk.registry.agents[program.name] = program
