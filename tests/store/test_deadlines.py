"""Deadlines: after it nothing is begun, and the job ends as expired, unless it has an answer."""

from __future__ import annotations

from uuid import UUID

import pytest

from scheduler.reconcile import stop_due
from store import due
from store.doors import Doors
from store.states import JobStatus, StepState, WaitState
from store.transitions import Claim, Parked, Start
from store.waits import Answered, Sent
from tests.running import at_once
from tests.stepping import (
    COMPLETED,
    MODEL,
    QUESTION,
    Stepper,
    call,
    child,
    delegate,
    signal,
    timer,
)


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def hurried(stepper: Stepper, steps: int = 1) -> UUID:
    """A job with a deadline that is far enough for the test to come first."""
    return stepper.put_down([call(n) for n in range(steps)], deadline_in_s=600)


def late(stepper: Stepper, steps: int = 1) -> tuple[UUID, list[Claim]]:
    """A job whose steps all run, and whose deadline has passed meanwhile."""
    job_id = hurried(stepper, steps)
    held = [stepper.take(job_id, seq) for seq in range(1, steps + 1)]
    stepper.pass_deadline(job_id)
    return job_id, held


def assert_expired(stepper: Stepper, job_id: UUID) -> None:
    job = stepper.job(job_id)
    assert (job.status, job.status_reason) == (JobStatus.EXPIRED, "deadline")
    assert job.error is not None
    assert job.error["class"] == "deadline"
    assert job.cancel_requested_at is None
    assert stepper.story(job_id)[-1] == "job.expired"
    stepper.check_books(job_id)


# --- nothing more is begun ------------------------------------------------------------------------


def test_a_claim_says_how_much_time_is_left(stepper: Stepper) -> None:
    left_s = stepper.take(hurried(stepper)).deadline_in_s
    assert left_s is not None
    assert 500 < left_s < 600
    assert stepper.take(stepper.put_down()).deadline_in_s is None


@pytest.mark.parametrize("is_told", [True, False])
def test_a_claim_after_the_deadline_ends_the_job_instead(stepper: Stepper, is_told: bool) -> None:
    job_id = hurried(stepper, 2)
    held = stepper.take(job_id, 1)
    stepper.pass_deadline(job_id)
    worker = stepper.start_worker()
    assert stepper.claim(job_id, 2, worker, is_told=is_told) is None
    assert stepper.states(job_id) == [StepState.RUNNING, StepState.CANCELLED]
    assert stepper.join(held) is not None
    assert_expired(stepper, job_id)


def test_a_commit_after_the_deadline_is_kept_and_plans_nothing(stepper: Stepper) -> None:
    job_id, (held,) = late(stepper)
    settled = stepper.commit(held, output="kept", plan=(MODEL, MODEL))
    assert settled is not None
    assert (settled.job_status, settled.planned) == (JobStatus.EXPIRED, 0)
    assert stepper.step(job_id).output == "kept"
    assert_expired(stepper, job_id)


def test_an_inline_commit_after_the_deadline_goes_no_further(stepper: Stepper) -> None:
    job_id, (held,) = late(stepper)
    settled = stepper.commit(held, plan=(MODEL,), is_inline=True)
    assert settled is not None
    assert settled.planned == 0
    assert stepper.states(job_id) == [StepState.COMMITTED]
    assert_expired(stepper, job_id)


def test_a_release_after_the_deadline_ends_the_job(stepper: Stepper) -> None:
    job_id, (held,) = late(stepper)
    assert stepper.release(held, delay_s=60)
    assert_expired(stepper, job_id)


def test_a_park_after_the_deadline_ends_the_job(stepper: Stepper) -> None:
    job_id, (first, last) = late(stepper, 2)
    assert stepper.park(first, QUESTION) is Parked.STOPPED
    assert stepper.job(job_id).status is JobStatus.RUNNING, "the other one still runs"
    assert stepper.park(last, delegate(child())) is Parked.STOPPED
    assert stepper.children(job_id) == []
    assert_expired(stepper, job_id)


def test_no_effect_is_begun_after_the_deadline(stepper: Stepper) -> None:
    job_id, (held,) = late(stepper)
    before = stepper.dump()
    assert stepper.start_effect(held) is Start.STOP
    assert stepper.dump() == before
    assert stepper.release(held, is_failed_try=False)
    assert_expired(stepper, job_id)


# --- who has nobody that would end it -------------------------------------------------------------


def test_queued_and_parked_jobs_are_ended_by_the_round(stepper: Stepper, doors: Doors) -> None:
    queued, on_time = hurried(stepper), hurried(stepper)
    parked = [
        stepper.put_to_sleep(wait, deadline_in_s=600) for wait in (timer(), signal(), QUESTION)
    ]
    for job_id in (queued, *parked):
        stepper.pass_deadline(job_id)
    assert stop_due(doors) == 4
    assert stop_due(doors) == 0
    for job_id in (queued, *parked):
        assert_expired(stepper, job_id)
        assert stepper.states(job_id) == [StepState.CANCELLED]
    assert stepper.job(on_time).status is JobStatus.QUEUED
    for job_id in parked:
        assert stepper.wait(job_id).state is WaitState.CANCELLED
    assert stepper.answer(parked[2], "yes") is Answered.CLOSED
    assert stepper.send(parked[1]) is Sent.ENDED
    assert stepper.wake() == 0


def test_a_running_step_is_not_torn_by_the_round(stepper: Stepper, doors: Doors) -> None:
    job_id, (held, waiting) = late(stepper, 2)
    stepper.release(waiting)
    before = stepper.dump()
    assert stop_due(doors) == 0
    assert stepper.dump() == before
    stepper.join(held)
    assert_expired(stepper, job_id)


def test_a_late_job_whose_worker_died_is_ended_by_the_round(stepper: Stepper, doors: Doors) -> None:
    job_id, worker = hurried(stepper), stepper.start_worker()
    stepper.take(job_id, 1, worker)
    stepper.pass_deadline(job_id)
    stepper.lose(worker)
    assert stop_due(doors) == 1
    assert_expired(stepper, job_id)


def test_a_round_ends_no_more_jobs_than_its_bound(stepper: Stepper, doors: Doors) -> None:
    for _ in range(3):
        stepper.pass_deadline(hurried(stepper))
    with doors.as_operator("test") as tx:
        assert len(due.list_stopping(tx, 2)) == 2


def test_jobs_of_every_tenant_are_ended(stepper: Stepper, doors: Doors, other_tenant: UUID) -> None:
    theirs = Stepper(doors, other_tenant)
    mine, other = hurried(stepper), hurried(theirs)
    stepper.pass_deadline(mine)
    theirs.pass_deadline(other)
    assert stop_due(doors) == 2
    assert_expired(stepper, mine)
    assert_expired(theirs, other)


def test_children_have_the_deadline_of_their_parent_and_end_with_it(
    stepper: Stepper, doors: Doors
) -> None:
    born = [child(), child()]
    parent_id = stepper.bear(*born, deadline_in_s=600)
    running = stepper.take(born[0].id)
    stepper.park(stepper.take(born[1].id), QUESTION)
    stepper.pass_deadline(parent_id)
    assert stop_due(doors) == 1
    assert_expired(stepper, parent_id)
    assert stepper.job(born[1].id).status is JobStatus.CANCELLED
    stepper.commit(running, plan=(MODEL,))
    assert stepper.job(born[0].id).status is JobStatus.CANCELLED
    for each in born:
        stepper.check_books(each.id)


# --- finished work is kept ------------------------------------------------------------------------


def test_an_answer_that_comes_in_after_the_deadline_ends_the_job(stepper: Stepper) -> None:
    job_id, (held,) = late(stepper)
    settled = stepper.commit(held, output="answer", ending=COMPLETED)
    assert settled is not None
    assert settled.job_status is JobStatus.COMPLETED
    job = stepper.job(job_id)
    assert (job.output, job.error) == (COMPLETED.output, None)
    stepper.check_books(job_id)


def test_a_failure_that_comes_in_after_the_deadline_is_told_and_has_its_letter(
    stepper: Stepper,
) -> None:
    job_id, (held,) = late(stepper)
    stepper.fail(held)
    assert stepper.job(job_id).status is JobStatus.FAILED
    assert stepper.letter(job_id).error_class == "bug"
    stepper.check_books(job_id)


def test_a_cancel_of_a_late_job_is_a_cancel(stepper: Stepper) -> None:
    job_id = hurried(stepper)
    stepper.pass_deadline(job_id)
    assert stepper.cancel(job_id).status is JobStatus.CANCELLED
    assert stepper.job(job_id).error is None
    stepper.check_books(job_id)


def test_an_answer_and_the_deadline_at_once_give_one_ending(stepper: Stepper, doors: Doors) -> None:
    for _ in range(10):
        job_id = stepper.put_to_sleep(QUESTION, deadline_in_s=600)
        stepper.pass_deadline(job_id)
        answered, _ = at_once([lambda j=job_id: stepper.answer(j, "yes"), lambda: stop_due(doors)])
        assert answered in (Answered.ANSWERED, Answered.CLOSED)
        stop_due(doors)
        assert_expired(stepper, job_id)
