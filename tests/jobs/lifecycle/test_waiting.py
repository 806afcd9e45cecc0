"""Waiting: a step that parks holds nothing, and what it waited for becomes its result, once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from store.rows import JobRow
from store.states import JobStatus, StepState, WaitKind, WaitState
from tests.housing import Household, answer, hand_of, lose_worker, pending, tool_steps
from tests.programs import as_input
from tests.running import eventually

SLEEP = {"wait": "Sleep", "seconds": 3600, "value": "rested"}
SIGNAL = {"wait": "WaitFor", "signal": "paid"}
QUESTION = {"wait": "AskUser", "question": "Which way?", "choices": ["left", "right"]}


def lines(ledger: Path, begins: str) -> list[str]:
    told = ledger.read_text().splitlines() if ledger.exists() else []
    return [line for line in told if line.startswith(begins)]


def submit_tool(household: Household, *asked: dict[str, Any], tool: str = "wish") -> UUID:
    """An agent's job that makes these calls at once."""
    return household.viewer.submit("wisher", as_input([(tool, {"wait": each}) for each in asked]))


def submit_function(household: Household, *asked: dict[str, Any]) -> UUID:
    """A pipeline's job whose first steps wait for these, one after the other."""
    return household.viewer.submit("wishing", {"waits": list(asked)})


def come_due(household: Household, job_id: UUID) -> None:
    hand_of(household.viewer).come_due(job_id)


def send(household: Household, job_id: UUID, payload: Any, name: str = "paid") -> None:
    assert hand_of(household.viewer).send(job_id, payload, name=name) == "accepted"


def finish(household: Household, job_id: UUID, output: Any) -> JobRow:
    job = household.run(job_id)
    assert (job.status, job.output) == (JobStatus.COMPLETED, output)
    hand_of(household.viewer).check_books(job_id)
    return job


# --- what is waited for, in a tool and in a pipeline ----------------------------------------------


@pytest.mark.parametrize("tool", ["wish", "wish_softly"])
def test_a_tool_sleeps_and_its_value_is_what_the_model_sees(
    household: Household, tool: str
) -> None:
    job_id = submit_tool(household, SLEEP, tool=tool)
    (wait,) = household.run_until_parked(job_id)
    assert (wait.kind, wait.name, wait.seq, wait.n) == (WaitKind.TIMER, "sleep", 2, 1)
    job, step = household.viewer.job(job_id), tool_steps(household.viewer, job_id)[0]
    assert (job.status, job.status_reason) == (JobStatus.QUEUED, "timer")
    assert job.status_until == wait.wake_at
    assert (step.state, step.worker_id, step.waits) == (StepState.WAITING, None, 1)
    come_due(household, job_id)
    finish(household, job_id, "done: rested")
    assert [step.seq for step in household.viewer.steps(job_id)] == [1, 2, 3]


def test_a_pipeline_sleeps_and_goes_on_with_the_value(household: Household, ledger: Path) -> None:
    job_id = submit_function(household, SLEEP)
    household.run_until_parked(job_id)
    come_due(household, job_id)
    finish(household, job_id, {"got": "rested"})
    assert lines(ledger, "") == [f"wish {job_id}:1", 'got "rested"']


def test_a_short_sleep_ends_by_itself(household: Household) -> None:
    job_id = submit_function(household, {"wait": "Sleep", "seconds": 0.05, "value": 1})
    finish(household, job_id, {"got": 1})


def test_a_signal_is_waited_for_and_what_came_with_it_is_the_result(household: Household) -> None:
    called, piped = submit_tool(household, SIGNAL), submit_function(household, SIGNAL)
    for job_id in (called, piped):
        (wait,) = household.run_until_parked(job_id)
        assert (wait.kind, wait.name, wait.wake_at) == (WaitKind.SIGNAL, "paid", None)
        job = household.viewer.job(job_id)
        assert (job.status, job.status_reason) == (JobStatus.QUEUED, "signal")
        send(household, job_id, {"eur": 7})
    finish(household, called, "done: {'eur': 7}")
    finish(household, piped, {"got": {"eur": 7}})


def test_a_signal_may_be_sent_before_anybody_waits_for_it(household: Household) -> None:
    called, piped = submit_tool(household, SIGNAL), submit_function(household, SIGNAL)
    for job_id in (called, piped):
        send(household, job_id, "early")
        send(household, job_id, "late")
    finish(household, called, "done: early")
    finish(household, piped, {"got": "early"})


def test_what_was_sent_before_is_gone_on_with_at_once(household: Household) -> None:
    job_id = submit_function(household, SIGNAL)
    send(household, job_id, "early")
    household.redis.flushall()
    household.run_step(job_id)
    # The worker has rung for the step itself; no scheduler has been by.
    assert household.answer_rings() == 1


def test_two_waits_for_the_same_signal_take_one_each(household: Household) -> None:
    job_id = submit_function(household, SIGNAL, SIGNAL)
    send(household, job_id, 1)
    (wait,) = household.run_until_parked(job_id)
    assert wait.seq == 2
    send(household, job_id, 2)
    finish(household, job_id, {"got": 2})
    assert hand_of(household.viewer).signals(job_id) == [(1, 1, 1), (2, 2, 1)]


def test_a_signal_of_another_name_wakes_nobody(household: Household) -> None:
    job_id = submit_function(household, SIGNAL)
    (wait,) = household.run_until_parked(job_id)
    send(household, job_id, "hello", name="hello")
    household.walk_rounds()
    assert pending(household.viewer, job_id) == [wait]


def test_a_person_is_asked_and_the_answer_is_the_result(household: Household) -> None:
    called, piped = submit_tool(household, QUESTION), submit_function(household, QUESTION)
    for job_id in (called, piped):
        (wait,) = household.run_until_parked(job_id)
        assert wait.kind is WaitKind.QUESTION
        assert wait.prompt == {"ask": "Which way?", "choices": ["left", "right"]}
        job = household.viewer.job(job_id)
        assert (job.status, job.waiting_for) == (JobStatus.INPUT_REQUIRED, "question")
        assert job.status_reason is None
        answer(household.viewer, job_id, "left")
        job = household.viewer.job(job_id)
        assert (job.status, job.waiting_for) == (JobStatus.QUEUED, None)
    finish(household, called, "done: left")
    finish(household, piped, {"got": "left"})


def test_an_answer_is_the_result_even_if_it_looks_like_a_decision(household: Household) -> None:
    job_id = submit_function(household, {"wait": "AskUser", "question": "What now?"})
    household.run_until_parked(job_id)
    answer(household.viewer, job_id, {"decision": "fail"})
    finish(household, job_id, {"got": {"decision": "fail"}})


def test_the_result_of_a_wait_is_final_and_the_function_is_not_called_again(
    household: Household, ledger: Path
) -> None:
    job_id = submit_function(household, QUESTION)
    household.run_until_parked(job_id)
    answer(household.viewer, job_id, QUESTION)
    household.run_until(lambda: lines(ledger, "got"))
    # What came back is asked for by nobody, though it looks like a wait.
    assert lines(ledger, "wish") == [f"wish {job_id}:1"]
    assert household.viewer.steps(job_id)[0].output == QUESTION
    assert json.loads(lines(ledger, "got")[0].removeprefix("got ")) == QUESTION


def test_an_effect_that_was_made_before_a_wait_is_in_no_doubt_after_it(
    household: Household, ledger: Path
) -> None:
    job_id = submit_tool(household, SIGNAL, tool="pay_and_wish")
    household.run_until_parked(job_id)
    send(household, job_id, "thanks")
    lose_worker(household.viewer, job_id, 2)
    finish(household, job_id, "done: thanks")
    assert lines(ledger, "pay") == [f"pay {job_id}:2"]


# --- expiry ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", [SIGNAL, QUESTION], ids=["signal", "question"])
def test_a_wait_that_expires_has_its_default_for_a_result(
    household: Household, asked: dict[str, Any]
) -> None:
    expiring = asked | {"expires_s": 60, "default": "left"}
    called, piped = submit_tool(household, expiring), submit_function(household, expiring)
    for job_id in (called, piped):
        household.run_until_parked(job_id)
        come_due(household, job_id)
    finish(household, called, "done: left")
    finish(household, piped, {"got": "left"})
    assert [wait.state for wait in hand_of(household.viewer).waits(piped)] == [WaitState.EXPIRED]


def test_none_is_a_default_like_any_other(household: Household) -> None:
    job_id = submit_function(household, SIGNAL | {"expires_s": 60, "default": None})
    household.run_until_parked(job_id)
    come_due(household, job_id)
    finish(household, job_id, {"got": None})


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        (SIGNAL, "Nothing came in time for the signal 'paid'."),
        (QUESTION, "Nothing came in time for the question 'question'."),
    ],
    ids=["signal", "question"],
)
def test_without_a_default_a_model_is_told_and_a_pipelines_job_fails(
    household: Household, asked: dict[str, Any], says: str
) -> None:
    expiring = asked | {"expires_s": 60}
    called, piped = submit_tool(household, expiring), submit_function(household, expiring)
    for job_id in (called, piped):
        household.run_until_parked(job_id)
        come_due(household, job_id)
    finish(household, called, f"done: {says}")
    assert tool_steps(household.viewer, called)[0].output["outcome"] == "failed"
    failed = household.run(piped)
    assert (failed.status, failed.status_reason) == (JobStatus.FAILED, "unanswered")
    assert failed.error is not None
    assert failed.error["message"] == says
    assert hand_of(household.viewer).letter(piped).error_class == "unanswered"


def test_the_replay_of_an_unanswered_letter_asks_again(household: Household) -> None:
    job_id = submit_function(household, QUESTION | {"expires_s": 60})
    household.run_until_parked(job_id)
    come_due(household, job_id)
    household.run(job_id)
    _, again = hand_of(household.viewer).replay(job_id)
    household.run_until_parked(again)
    answer(household.viewer, again, "right")
    finish(household, again, {"got": "right"})


# --- parallel steps -------------------------------------------------------------------------------


def test_siblings_of_a_parked_call_go_on_and_the_join_waits_for_it(household: Household) -> None:
    turn = [("wish", {"wait": SIGNAL}), ("echo", {"text": "here"}), ("wish", {"wait": QUESTION})]
    job_id = household.viewer.submit("wisher", as_input(turn))
    household.run_until_parked(job_id, 2)
    states = [step.state for step in tool_steps(household.viewer, job_id)]
    assert states == [StepState.WAITING, StepState.COMMITTED, StepState.WAITING]
    assert len(household.viewer.steps(job_id)) == 4, "the model waits for all of them"
    job = household.viewer.job(job_id)
    assert (job.status, job.waiting_for) == (JobStatus.INPUT_REQUIRED, "question")
    hand_of(household.viewer).check_books(job_id)

    answer(household.viewer, job_id, "right")
    household.run_until(lambda: household.viewer.job(job_id).status_reason == "signal")
    job = household.viewer.job(job_id)
    assert (job.status, job.waiting_for) == (JobStatus.QUEUED, None)
    send(household, job_id, "now")
    finish(household, job_id, "done: now, here, right")


def test_a_job_is_running_while_any_of_its_calls_runs(household: Household, ledger: Path) -> None:
    turn = [("wish", {"wait": QUESTION}), ("peek", {"gate": "open"})]
    job_id = household.viewer.submit("wisher", as_input(turn))
    household.run_until(lambda: pending(household.viewer, job_id) and lines(ledger, "peek"))
    job = household.viewer.job(job_id)
    assert (job.status, job.waiting_for) == (JobStatus.RUNNING, None)
    ledger.with_name("gate-open").touch()
    household.run_until(lambda: household.viewer.job(job_id).waiting_for == "question")
    answer(household.viewer, job_id, "left")
    finish(household, job_id, "done: left, seen")


# --- nothing is held, and nothing is lost ---------------------------------------------------------


def test_a_parked_job_holds_no_thread_no_claim_and_no_worker(household: Household) -> None:
    job_id = submit_function(household, SIGNAL)
    household.run_until_parked(job_id)
    assert (household.house.watch.is_busy, household.house.watch.count()) == (False, 0)
    step = household.viewer.steps(job_id)[0]
    assert (step.state, step.worker_id) == (StepState.WAITING, None)
    # Whoever rings for it finds nothing to be done.
    household.run_step(job_id)
    assert household.viewer.steps(job_id)[0] == step


def test_a_worker_that_dies_while_its_job_is_parked_is_not_missed(household: Household) -> None:
    job_id = submit_function(household, SIGNAL)
    household.run_until_parked(job_id)
    lost = household.house.worker_id
    hand_of(household.viewer).lose(lost)
    step = household.viewer.steps(job_id)[0]
    assert (step.state, step.losses) == (StepState.WAITING, 0)
    eventually(lambda: household.house.worker_id != lost)
    send(household, job_id, "still here")
    finish(household, job_id, {"got": "still here"})


@pytest.mark.parametrize("agent", ["wisher", "wishing"])
def test_a_worker_lost_with_a_woken_step_leaves_its_result_to_the_next(
    household: Household, ledger: Path, agent: str
) -> None:
    submit = submit_tool if agent == "wisher" else submit_function
    job_id = submit(household, SIGNAL)
    (wait,) = household.run_until_parked(job_id)
    send(household, job_id, "once")
    for _ in range(2):
        lose_worker(household.viewer, job_id, wait.seq)
    finish(household, job_id, "done: once" if agent == "wisher" else {"got": "once"})
    (used,) = hand_of(household.viewer).waits(job_id)
    step = household.viewer.steps(job_id)[wait.seq - 1]
    assert (used.consumed_at is not None, step.losses) == (True, 2)
    assert lines(ledger, "wish") in ([], [f"wish {job_id}:1"]), "it is not called a second time"


def test_a_job_that_is_cancelled_while_parked_is_over_at_once(household: Household) -> None:
    job_id = submit_tool(household, QUESTION, SIGNAL)
    household.run_until_parked(job_id, 2)
    hand_of(household.viewer).cancel(job_id)
    assert household.viewer.job(job_id).status is JobStatus.CANCELLED
    states = {wait.state for wait in hand_of(household.viewer).waits(job_id)}
    assert states == {WaitState.CANCELLED}
    hand_of(household.viewer).check_books(job_id)


def test_a_step_that_wants_to_park_when_its_job_is_to_end_ends_it(
    household: Household, ledger: Path
) -> None:
    job_id = household.viewer.submit(
        "wisher", as_input([("peek", {"gate": "open"}), ("wish", {"wait": SIGNAL})])
    )
    household.run_step(job_id)
    household.answer(household.viewer.tenant_id, job_id, 2)
    eventually(lambda: lines(ledger, "peek"))
    hand_of(household.viewer).cancel(job_id)
    ledger.with_name("gate-open").touch()
    assert household.run(job_id).status is JobStatus.CANCELLED
    assert hand_of(household.viewer).waits(job_id) == []


# --- deadlines ------------------------------------------------------------------------------------

# What is given is a second; the rest is for a busy machine. The work itself would take a minute.
LATE_S_MAX = 5.0


def test_a_deadline_ends_what_is_queued_and_what_is_parked(household: Household) -> None:
    queued, parked = (submit_in_time(household, "wishing", {"waits": [QUESTION]}) for _ in range(2))
    household.run_step(parked)
    for job_id in (queued, parked):
        hand_of(household.viewer).pass_deadline(job_id)
        assert_late(household, job_id)


def test_a_deadline_ends_an_asynchronous_tool_and_keeps_what_was_done(
    household: Household, ledger: Path
) -> None:
    turns = [("echo", {"text": "kept"})], [("dream", {})]
    job_id = submit_in_time(household, "payer", as_input(*turns))
    run_late(household, job_id, 4)
    assert lines(ledger, "dream") == [f"dream {job_id}:4"]
    kept, late = tool_steps(household.viewer, job_id)
    assert (kept.state, kept.output["content"]) == (StepState.COMMITTED, "kept")
    assert late.output is None or late.output["outcome"] == "failed"


def test_a_deadline_ends_a_tool_that_hangs(household: Household, ledger: Path) -> None:
    job_id = submit_in_time(household, "payer", as_input([("peek", {"gate": "x"})]))
    run_late(household, job_id, 2)
    assert lines(ledger, "peek") == [f"peek {job_id}:2"]


def test_a_deadline_ends_a_model_call(household: Household, ledger: Path) -> None:
    job_id = submit_in_time(household, "thinker", {"ask": "why?"})
    run_late(household, job_id, 1)
    assert lines(ledger, "ponder") == ["ponder"]


def submit_in_time(household: Household, agent: str, given: dict[str, Any]) -> UUID:
    return household.viewer.submit(agent, given, deadline_s=3600)


def run_late(household: Household, job_id: UUID, seq: int) -> None:
    """Run the job up to this step, whose job then has a second left, and see it end."""
    for before in range(1, seq):
        household.run_step(job_id, before)
    with household.viewer.desk.doors.as_operator("test") as tx:
        soon = "update stepwell.jobs set deadline_at = now() + interval '1 second' where id = :id"
        tx.execute(text(soon), {"id": job_id})
    household.answer(household.viewer.tenant_id, job_id, seq)
    assert_late(household, job_id)


def assert_late(household: Household, job_id: UUID) -> None:
    """The job ends as expired, soon after its deadline."""
    job = household.run(job_id)
    assert (job.status, job.status_reason) == (JobStatus.EXPIRED, "deadline")
    assert job.error is not None
    assert job.error["class"] == "deadline"
    assert job.finished_at is not None
    assert job.deadline_at is not None
    assert (job.finished_at - job.deadline_at).total_seconds() < LATE_S_MAX
    eventually(lambda: household.house.watch.count() == 0)
    hand_of(household.viewer).check_books(job_id)
