"""Reviews: jobs that sleep through a deploy go on where they can, and ask a person where not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from jobs.agent.registry import Program
from jobs.lifecycle import parking
from store.errors import Unreachable
from store.rows import JobRow, WaitRow
from store.states import JobStatus, StepState, WaitKind
from tests.housing import Household, answer, decide, hand_of, lose_worker, tool_steps
from tests.jobs.lifecycle.conftest import OpenHouse
from tests.programs import (
    as_input,
    echo,
    first,
    pay,
    payer,
    reckon,
    second,
    third,
    till,
    walk,
    wisher,
    wishing,
)

SIGNAL = {"wait": "WaitFor", "signal": "paid"}
QUESTION = {"wait": "AskUser", "question": "Which way?"}
CHILDREN = {"wait": "Delegate", "children": [{"agent": "count"}]}


@pytest.fixture
def household(open_house: OpenHouse) -> Household:
    # No step rides along: the deploy comes between two of them.
    return open_house(quantum_ms=0)


def leave(value: Any) -> Any:
    return {"left with": value}


# What a deploy brings: one step more, or a step by another name in the place of one.
LONGER = replace(walk, steps=[first, second, third, leave])
RENAMED = replace(walk, steps=[first, leave], accepts=["*"])
REWRITTEN = replace(wisher, instructions="Follow the new script.")
WISHING = replace(wishing, steps=[*wishing.steps, leave])


def deploy(household: Household, program: Program) -> None:
    """Serve this from here on, and nothing else by its name."""
    household.house.registry.agents[program.name] = program
    say_served(household, household.house.worker_id, program.name, program.version)


def say_served(household: Household, worker_id: UUID, agent: str, version: str) -> None:
    statement = "update stepwell.workers set serves = serves || cast(:more as jsonb) where id = :id"
    with household.viewer.desk.doors.as_operator("test") as tx:
        tx.execute(text(statement), {"more": json.dumps({agent: version}), "id": worker_id})


def lines(ledger: Path, begins: str) -> list[str]:
    told = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in told if line.startswith(begins)]


def begin(household: Household, agent: str = "walk", given: Any = None, steps: int = 1) -> UUID:
    """A job that has done so many steps when the deploy comes."""
    job_id = household.viewer.submit(agent, given or {})
    for seq in range(1, steps + 1):
        household.run_step(job_id, seq)
    return job_id


def review(household: Household, job_id: UUID) -> WaitRow:
    """Run the job until it asks for a review."""
    (asked,) = household.run_until_parked(job_id)
    assert asked.kind is WaitKind.REVIEW
    assert asked.prompt is not None
    assert asked.prompt["decisions"] == ["continue", "fail"]
    return asked


def finish(household: Household, job_id: UUID, output: Any) -> JobRow:
    job = household.run(job_id)
    assert (job.status, job.output) == (JobStatus.COMPLETED, output)
    hand_of(household.viewer).check_books(job_id)
    return job


# --- another version ------------------------------------------------------------------------------


def test_a_job_of_a_version_that_nobody_serves_asks_for_a_review(
    household: Household, ledger: Path
) -> None:
    job_id = begin(household)
    deploy(household, LONGER)
    asked = review(household, job_id)
    assert (asked.name, asked.seq) == ("agent_changed", 2)
    assert asked.prompt is not None
    assert asked.prompt["version"] == LONGER.version
    assert walk.version in asked.prompt["reason"]
    job, step = household.viewer.job(job_id), household.viewer.steps(job_id)[1]
    assert (job.status, job.waiting_for) == (JobStatus.INPUT_REQUIRED, "review")
    assert (step.state, step.worker_id, step.attempts) == (StepState.WAITING, None, 0)
    assert lines(ledger, "begin second") == []


def test_continue_adopts_the_new_version_and_goes_on_with_it(
    household: Household, ledger: Path
) -> None:
    job_id = begin(household)
    deploy(household, LONGER)
    review(household, job_id)
    decide(household.viewer, job_id, "continue")
    assert household.viewer.job(job_id).agent_version == LONGER.version
    finish(household, job_id, {"left with": ["first", "second", "third"]})
    assert lines(ledger, "begin first") == [f"begin first {job_id}:1"]
    assert len(hand_of(household.viewer).waits(job_id)) == 1, "it is asked once"


def test_fail_ends_the_job_with_a_letter_that_the_new_code_can_replay(
    household: Household,
) -> None:
    job_id = begin(household)
    deploy(household, LONGER)
    review(household, job_id)
    decide(household.viewer, job_id, "fail")
    job = household.run(job_id)
    assert (job.status, job.status_reason) == (JobStatus.FAILED, "changed")
    letter = hand_of(household.viewer).letter(job_id)
    assert (letter.error_class, letter.seq) == ("changed", 2)
    _, again = hand_of(household.viewer).replay(job_id, version=LONGER.version)
    finish(household, again, {"left with": ["first", "second", "third"]})


@pytest.mark.parametrize("accepts", [[walk.version], ["*"]])
def test_a_version_that_is_accepted_is_gone_on_with(
    household: Household, accepts: list[str]
) -> None:
    job_id = begin(household)
    deploy(household, replace(LONGER, accepts=accepts))
    finish(household, job_id, {"left with": ["first", "second", "third"]})
    assert hand_of(household.viewer).waits(job_id) == []


def test_a_job_is_left_to_the_worker_that_serves_its_version_while_there_is_one(
    household: Household,
) -> None:
    other = hand_of(household.viewer).start_worker()
    say_served(household, other, "walk", walk.version)
    job_id = begin(household)
    deploy(household, LONGER)
    household.run_step(job_id, 2)
    job, step = household.viewer.job(job_id), household.viewer.steps(job_id)[1]
    assert (step.state, step.attempts, step.waits) == (StepState.READY, 0, 0)
    assert (job.status, job.status_reason) == (JobStatus.QUEUED, "agent_changed")
    assert step.ready_at == job.status_until

    hand_of(household.viewer).lose(other)
    hand_of(household.viewer).set_back("checkpoints", "ready_at", None, job_id=job_id, seq=2)
    review(household, job_id)


def test_an_agent_that_became_a_pipeline_is_reviewed_and_does_not_fail(
    household: Household,
) -> None:
    spoken = begin(household, "payer", as_input([("pay", {"amount": 7})]))
    walked = begin(household)
    deploy(household, replace(walk, name="payer"))
    deploy(household, replace(payer, name="walk"))
    review(household, spoken)
    review(household, walked)


def test_a_model_step_is_reviewed_like_any_other(household: Household) -> None:
    job_id = begin(household, "wisher", as_input([("echo", {"text": "hi"})]), steps=2)
    deploy(household, REWRITTEN)
    assert review(household, job_id).seq == 3
    decide(household.viewer, job_id, "continue")
    finish(household, job_id, "done: hi")


# --- steps that are gone --------------------------------------------------------------------------


def without_pay(**more: Any) -> Program:
    return replace(payer, tools=(echo,), **more)


def plan_payment(household: Household) -> UUID:
    return begin(household, "payer", as_input([("pay", {"amount": 7})]))


def test_a_planned_tool_that_is_gone_asks_for_a_review(household: Household, ledger: Path) -> None:
    job_id = plan_payment(household)
    deploy(household, without_pay(accepts=["*"]))
    asked = review(household, job_id)
    assert asked.prompt is not None
    assert asked.name == "step_gone"
    assert asked.prompt["reason"] == "The step 'tool.pay' is no longer there in 'payer'."
    decide(household.viewer, job_id, "continue")
    finish(household, job_id, "done: There is no tool 'pay'. There are: echo.")
    assert lines(ledger, "pay") == []


def test_a_planned_tool_that_is_gone_with_its_version_is_asked_about_once(
    household: Household,
) -> None:
    job_id = plan_payment(household)
    deploy(household, without_pay())
    assert review(household, job_id).name == "agent_changed"
    decide(household.viewer, job_id, "continue")
    finish(household, job_id, "done: There is no tool 'pay'. There are: echo.")


def test_a_call_in_doubt_whose_tool_is_gone_says_so_in_the_review(household: Household) -> None:
    job_id = plan_payment(household)
    lose_worker(household.viewer, job_id, 2, begun=True)
    deploy(household, without_pay(accepts=["*"]))
    asked = review(household, job_id)
    assert asked.prompt is not None
    assert asked.prompt["reason"].endswith("It was begun, and nobody knows what came of it.")
    decide(household.viewer, job_id, "fail")
    assert household.run(job_id).status_reason == "changed"


def test_a_name_that_the_model_made_up_is_told_to_it_and_needs_no_review(
    household: Household,
) -> None:
    job_id = begin(household, "payer", as_input([("no_such_tool", {})]))
    finish(
        household,
        job_id,
        "done: There is no tool 'no_such_tool'. There are: "
        + ", ".join(each.name for each in payer.tools)
        + ".",
    )
    assert [step.name for step in tool_steps(household.viewer, job_id)] == ["tool.unknown"]


def test_a_pipeline_with_another_step_in_that_place_asks_for_a_review(
    household: Household, ledger: Path
) -> None:
    going, failing = begin(household), begin(household)
    deploy(household, RENAMED)
    for job_id, decision in ((going, "continue"), (failing, "fail")):
        asked = review(household, job_id)
        assert asked.prompt is not None
        assert asked.prompt["reason"] == "The step 'step.walk.second' is no longer there in 'walk'."
        decide(household.viewer, job_id, decision)
    finish(household, going, {"left with": ["first"]})
    assert household.run(failing).status_reason == "changed"
    assert lines(ledger, "begin second") == []


def test_a_payment_in_doubt_is_not_looked_up_by_the_tool_that_took_its_place(
    household: Household, ledger: Path
) -> None:
    ledger.with_name("say-lookup").write_text("found")
    job_id = begin(household, "till")
    lose_worker(household.viewer, job_id, 2, begun=True)
    traced = replace(pay, name="pay_elsewhere", lookup=lambda key: 1 / 0)
    deploy(household, replace(till, steps=[reckon, traced], accepts=["*"]))
    assert review(household, job_id).name == "step_gone"


# --- what a step was woken by ---------------------------------------------------------------------


def test_a_review_keeps_the_signal_that_woke_the_step(household: Household, ledger: Path) -> None:
    job_id = household.viewer.submit("wishing", {"waits": [SIGNAL]})
    household.run_until_parked(job_id)
    assert hand_of(household.viewer).send(job_id, "thanks") == "accepted"
    deploy(household, WISHING)
    review(household, job_id)
    decide(household.viewer, job_id, "continue")
    lose_worker(household.viewer, job_id, 1)
    finish(household, job_id, {"left with": {"got": "thanks"}})
    assert lines(ledger, "wish") == [f"wish {job_id}:1"]


@pytest.mark.parametrize("agent", ["wisher", "wishing"])
def test_a_review_keeps_a_persons_answer_through_two_deploys(
    household: Household, agent: str
) -> None:
    given = {"waits": [QUESTION]}
    if agent == "wisher":
        given = as_input([("wish", {"wait": QUESTION})])
    job_id = household.viewer.submit(agent, given)
    household.run_until_parked(job_id)
    answer(household.viewer, job_id, "left")
    for n in range(2):
        deploy(household, replace(REWRITTEN, instructions=f"Follow {n}."))
        deploy(household, replace(WISHING, repeat=n + 2))
        review(household, job_id)
        decide(household.viewer, job_id, "continue")
    deploy(household, replace(WISHING, accepts=["*"]))
    job = household.run(job_id)
    assert job.status is JobStatus.COMPLETED
    assert job.output in ("done: left", {"left with": {"got": "left"}})
    kinds = [wait.kind for wait in hand_of(household.viewer).waits(job_id)]
    assert kinds == [WaitKind.QUESTION, WaitKind.REVIEW, WaitKind.REVIEW]


def test_a_review_does_not_bear_the_children_a_second_time(household: Household) -> None:
    job_id = household.viewer.submit("wishing", {"waits": [CHILDREN]})
    household.run_step(job_id)
    (child,) = hand_of(household.viewer).children(job_id)
    deploy(household, WISHING)
    assert household.run(child.id).status is JobStatus.COMPLETED
    review(household, job_id)
    decide(household.viewer, job_id, "continue")
    job = household.run(job_id)
    assert job.output["left with"]["got"][0]["output"] == 20
    assert len(hand_of(household.viewer).children(job_id)) == 1


@pytest.mark.parametrize(
    ("said", "output", "paid"),
    [
        ({"decision": "happened", "result": "receipt"}, "receipt", 0),
        ({"decision": "again"}, "paid 7", 1),
    ],
)
def test_a_review_keeps_what_a_person_said_about_a_call_in_doubt(
    household: Household, ledger: Path, said: dict[str, Any], output: str, paid: int
) -> None:
    job_id = begin(household, "till")
    lose_worker(household.viewer, job_id, 2, begun=True)
    household.run_until_parked(job_id)
    answer(household.viewer, job_id, said)
    deploy(household, replace(till, steps=[reckon, pay, leave]))
    review(household, job_id)
    decide(household.viewer, job_id, "continue")
    finish(household, job_id, {"left with": output})
    assert len(lines(ledger, "pay")) == paid


def test_a_step_that_could_not_be_looked_into_stays_in_doubt_and_costs_no_try(
    household: Household, ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer_nothing(*_: object) -> bool:
        raise Unreachable("Postgres does not answer.")

    job_id = begin(household, "till")
    lose_worker(household.viewer, job_id, 2, begun=True)
    longer = replace(till, steps=[reckon, pay, leave])
    deploy(household, longer)
    with monkeypatch.context() as outage:
        outage.setattr(parking.workers, "is_served", answer_nothing, raising=False)
        household.run_step(job_id, 2)
    step = household.viewer.steps(job_id)[1]
    assert (step.state, step.attempts, step.effect_epoch) == (StepState.READY, 0, 1)
    deploy(household, replace(longer, accepts=["*"]))
    hand_of(household.viewer).set_back("checkpoints", "ready_at", None, job_id=job_id, seq=2)
    (asked,) = household.run_until_parked(job_id)
    assert asked.kind is WaitKind.RECONCILE
    assert lines(ledger, "pay") == []
