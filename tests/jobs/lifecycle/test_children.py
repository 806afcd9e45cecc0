"""Children: jobs that a step asks for; it goes on when all of them have ended, however they did."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from store.rows import JobRow
from store.states import JobClass, JobStatus, StepState
from tests.housing import Household, hand_of, tool_steps
from tests.jobs.lifecycle.conftest import OpenHouse
from tests.programs import as_input

WALK = {"agent": "walk"}
STEPS = ["first", "second", "third", "fourth"]


def delegate(*children: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"wait": "Delegate", "children": list(children), **more}


def wishing(*waits: dict[str, Any]) -> dict[str, Any]:
    """A child that waits for these itself."""
    return {"agent": "wishing", "input": {"waits": list(waits)}}


def submit(household: Household, *children: dict[str, Any], **more: Any) -> UUID:
    """A pipeline's job that asks for these and returns what came of them."""
    asked = {"waits": [delegate(*children)]}
    return household.viewer.submit("wishing", asked, **more)


def submit_tool(household: Household, *children: dict[str, Any]) -> UUID:
    return household.viewer.submit("wisher", as_input([("wish", {"wait": delegate(*children)})]))


def children_of(household: Household, job_id: UUID) -> list[JobRow]:
    return hand_of(household.viewer).children(job_id)


def told(job: JobRow) -> list[Any]:
    """What a pipeline's job was told of its children."""
    assert job.status is JobStatus.COMPLETED, job.error
    found: list[Any] = job.output["got"]
    return found


def check(household: Household, job_id: UUID) -> None:
    for each in (job_id, *(child.id for child in children_of(household, job_id))):
        hand_of(household.viewer).check_books(each)


# --- what comes back ------------------------------------------------------------------------------


def test_the_outcomes_of_two_agents_come_back_in_their_order(household: Household) -> None:
    spoken = {"agent": "scripted", "input": as_input([("add", {"a": 1})], answer="so")}
    job_id = submit(household, WALK, spoken)
    job = household.run(job_id)
    walked, spoke = told(job)
    ids = [str(child.id) for child in children_of(household, job_id)]
    assert [walked["job_id"], spoke["job_id"]] == ids
    assert (walked["status"], walked["output"], walked["error"]) == ("completed", STEPS, None)
    assert (spoke["status"], spoke["output"]) == ("completed", "so: 2")
    check(household, job_id)


def test_a_model_is_told_how_its_delegates_ended(household: Household) -> None:
    job_id = submit_tool(household, WALK)
    assert household.run(job_id).status is JobStatus.COMPLETED
    (step,) = tool_steps(household.viewer, job_id)
    ((child,), outcome) = step.output["content"], step.output["outcome"]
    assert (outcome, child["status"], child["output"]) == ("success", "completed", STEPS)


def test_a_child_that_fails_is_reported_and_its_parent_goes_on(household: Household) -> None:
    failing = {"agent": "walk", "input": {"raises": "no way"}}
    job_id = submit(household, failing, WALK)
    failed, walked = told(household.run(job_id))
    assert (failed["status"], failed["output"]) == ("failed", None)
    assert (failed["error"]["class"], walked["status"]) == ("bug", "completed")
    check(household, job_id)


def test_a_child_has_its_parents_class_and_is_one_deeper_in_its_line(household: Household) -> None:
    job_id = submit(household, WALK, job_class=JobClass.BATCH)
    (child,) = household.run_until(lambda: children_of(household, job_id))
    assert (child.parent_job_id, child.parent_seq, child.root_id) == (job_id, 1, job_id)
    assert (child.depth, child.job_class, child.origin) == (1, JobClass.BATCH, "agent")
    parent = household.viewer.job(job_id)
    assert (parent.status, parent.status_reason) == (JobStatus.QUEUED, "children")
    told(household.run(job_id))


def test_children_may_have_children(household: Household) -> None:
    job_id = submit(household, wishing(delegate(WALK)), WALK)
    nested, walked = told(household.run(job_id))
    assert walked["output"] == STEPS
    assert nested["output"]["got"][0]["output"] == STEPS
    (outer, _) = children_of(household, job_id)
    (inner,) = children_of(household, outer.id)
    assert (inner.depth, inner.root_id) == (2, job_id)


def test_a_parent_waits_for_the_last_of_its_children(household: Household, ledger: Path) -> None:
    job_id = submit(household, WALK, {"agent": "walk", "input": {"gates": {"first": "open"}}})
    household.run_until(
        lambda: [child.status.is_ended for child in children_of(household, job_id)] == [True, False]
    )
    household.walk_rounds()
    assert household.viewer.steps(job_id)[0].state is StepState.WAITING
    ledger.with_name("gate-open").touch()
    assert [child["status"] for child in told(household.run(job_id))] == ["completed"] * 2


def test_a_worker_tells_the_parent_itself_without_any_scheduler(household: Household) -> None:
    job_id = submit(household, WALK)
    household.run_step(job_id)
    (child,) = children_of(household, job_id)
    for seq in range(1, 5):
        household.run_step(child.id, seq)
    assert household.viewer.job(child.id).status is JobStatus.COMPLETED
    assert household.viewer.steps(job_id)[0].state is StepState.READY


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("child", "says"),
    [
        ({"agent": "wlak"}, "Did you mean 'walk'?"),
        ({"agent": "scripted", "input": {"turns": 3}}, "The input does not fit 'scripted'"),
    ],
)
def test_a_child_that_cannot_be_made_is_told_to_the_model_and_fails_a_pipeline(
    household: Household, child: dict[str, Any], says: str
) -> None:
    called, piped = submit_tool(household, WALK, child), submit(household, WALK, child)
    assert household.run(called).status is JobStatus.COMPLETED
    (step,) = tool_steps(household.viewer, called)
    assert step.output["outcome"] == "failed"
    assert says in step.output["content"]
    failed = household.run(piped)
    assert failed.error is not None
    assert says in failed.error["message"]
    assert children_of(household, called) == children_of(household, piped) == []


def test_a_line_that_is_too_deep_is_refused(open_house: OpenHouse) -> None:
    household = open_house(depth_max=1)
    called, piped = submit_tool(household, wishing(delegate(WALK))), submit(household, WALK)
    assert household.run(called).status is JobStatus.COMPLETED
    (child,) = children_of(household, called)
    assert (child.status, child.status_reason) == (JobStatus.FAILED, "limit")
    assert children_of(household, child.id) == []
    assert told(household.run(piped))[0]["status"] == "completed"


def test_a_line_of_too_many_is_refused_and_the_model_is_told(open_house: OpenHouse) -> None:
    household = open_house(descendants_max=2)
    called, piped = submit_tool(household, WALK, WALK, WALK), submit(household, WALK, WALK, WALK)
    assert household.run(called).status is JobStatus.COMPLETED
    (step,) = tool_steps(household.viewer, called)
    assert (step.output["outcome"], step.waits) == ("failed", 0)
    assert "too deep in their line, or too many" in step.output["content"]
    failed = household.run(piped)
    assert (failed.status, failed.status_reason) == (JobStatus.FAILED, "limit")
    assert hand_of(household.viewer).letter(piped).error_class == "limit"
    for job_id in (called, piped):
        assert children_of(household, job_id) == []
        check(household, job_id)


def test_everybody_below_one_root_counts(open_house: OpenHouse) -> None:
    household = open_house(descendants_max=3)
    turns = [[("wish", {"wait": delegate(WALK, WALK)})]] * 2
    job_id = household.viewer.submit("wisher", as_input(*turns))
    household.run(job_id)
    outcomes = [step.output["outcome"] for step in tool_steps(household.viewer, job_id)]
    assert (outcomes, len(children_of(household, job_id))) == (["success", "failed"], 2)


# --- deadlines and cancelling ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parent_s", "expires_s", "child_s", "least_s"),
    [
        (900, 600, 300, 300),
        (900, 600, None, 600),
        (900, None, None, 900),
        (900, 1200, 1200, 900),
        (None, 600, 900, 600),
        (None, None, None, None),
    ],
)
def test_a_child_ends_no_later_than_its_parent_the_wait_for_it_and_its_own_deadline(
    household: Household,
    parent_s: float | None,
    expires_s: float | None,
    child_s: float | None,
    least_s: float | None,
) -> None:
    asked = {"waits": [delegate(WALK | {"deadline_s": child_s}, expires_s=expires_s)]}
    job_id = household.viewer.submit("wishing", asked, deadline_s=parent_s)
    household.run_step(job_id)
    (child,) = children_of(household, job_id)
    if least_s is None:
        assert child.deadline_at is None
    else:
        assert child.deadline_at is not None
        assert 0 <= least_s - (child.deadline_at - child.created_at).total_seconds() < 60


def test_a_child_past_its_deadline_is_reported_as_expired(household: Household) -> None:
    patient = wishing({"wait": "WaitFor", "signal": "never"}) | {"deadline_s": 3600}
    job_id = submit(household, patient, WALK)
    household.run_until(
        lambda: any(child.status_reason == "signal" for child in children_of(household, job_id))
    )
    hand_of(household.viewer).pass_deadline(children_of(household, job_id)[0].id)
    late, walked = told(household.run(job_id))
    assert (late["status"], late["error"]["class"]) == ("expired", "deadline")
    assert walked["status"] == "completed"
    check(household, job_id)


def test_cancelling_a_parent_cancels_parked_and_running_children(
    household: Household, ledger: Path
) -> None:
    gated = {"agent": "walk", "input": {"gates": {"second": "open"}}}
    job_id = submit(household, wishing({"wait": "WaitFor", "signal": "never"}), gated)

    def are_under_way() -> bool:
        parked = any(c.status_reason == "signal" for c in children_of(household, job_id))
        return parked and ledger.exists() and "begin second" in ledger.read_text()

    household.run_until(are_under_way)
    hand_of(household.viewer).cancel(job_id)
    assert household.viewer.job(job_id).status is JobStatus.CANCELLED
    parked, running = children_of(household, job_id)
    assert (parked.status, running.status) == (JobStatus.CANCELLED, JobStatus.RUNNING)
    ledger.with_name("gate-open").touch()
    # A running step is never torn: it comes in, and that is the end.
    assert household.run(running.id).status is JobStatus.CANCELLED
    steps = household.viewer.steps(running.id)
    assert [step.state for step in steps] == [StepState.COMMITTED] * 2
    check(household, job_id)


def test_a_cancelled_child_is_reported_to_its_parent(household: Household) -> None:
    job_id = submit(household, wishing({"wait": "WaitFor", "signal": "never"}))
    (child,) = household.run_until(lambda: children_of(household, job_id))
    hand_of(household.viewer).cancel(child.id)
    assert told(household.run(job_id))[0]["status"] == "cancelled"
