"""Waits: a parked step holds nothing, is woken once, and makes use once of what it waited for."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest

from scheduler.waking import wake
from store import due, waits
from store.doors import Doors
from store.states import JobClass, JobStatus, StepState, WaitKind, WaitState, Work
from store.transitions import Parked, Start, Wait
from store.waits import Answered
from tests.running import at_once
from tests.stepping import COMPLETED, MODEL, QUESTION, Stepper, call, signal, timer

RECONCILE = Wait(WaitKind.RECONCILE, "tool.refund", prompt={"ask": "Did this call happen?"})
REVIEW = Wait(WaitKind.REVIEW, "agent_changed", prompt={"ask": "Go on?", "version": "2"})


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


@pytest.fixture
def worker(stepper: Stepper) -> UUID:
    return stepper.start_worker()


def stands(stepper: Stepper, job_id: UUID) -> tuple[JobStatus, str | None, str | None]:
    job = stepper.job(job_id)
    return job.status, job.status_reason, job.waiting_for


# --- park -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wait", "expected"),
    [
        (timer(60), (JobStatus.QUEUED, "timer", None)),
        (signal(), (JobStatus.QUEUED, "signal", None)),
        (QUESTION, (JobStatus.INPUT_REQUIRED, None, "question")),
        (RECONCILE, (JobStatus.INPUT_REQUIRED, None, "reconcile")),
        (REVIEW, (JobStatus.INPUT_REQUIRED, None, "review")),
    ],
    ids=lambda each: each.kind.value if isinstance(each, Wait) else "",
)
def test_a_parked_step_holds_nothing_and_its_job_says_what_it_waits_for(
    stepper: Stepper, worker: UUID, wait: Wait, expected: tuple[JobStatus, str | None, str | None]
) -> None:
    job_id = stepper.put_down([call(1)])
    assert stepper.park(stepper.take(job_id, 1, worker), wait) is Parked.PARKED
    step, open_wait = stepper.step(job_id), stepper.wait(job_id)
    assert (step.state, step.worker_id, step.waits) == (StepState.WAITING, None, 1)
    assert (open_wait.kind, open_wait.name, open_wait.prompt) == (wait.kind, wait.name, wait.prompt)
    assert stands(stepper, job_id) == expected
    assert stepper.job(job_id).status_until == open_wait.wake_at
    assert (open_wait.wake_at is None) is (wait.wake_in_s is None)
    assert stepper.story(job_id)[-1] == "step.waiting"
    stepper.check_books(job_id)


def test_a_parked_step_is_neither_claimed_nor_rung_nor_lost_with_its_worker(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down()
    stepper.park(stepper.take(job_id, 1, worker), QUESTION)
    before = stepper.step(job_id)
    assert stepper.claim(job_id, 1, worker) is None
    with doors.as_operator("test") as tx:
        assert due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 10}, again_s=0.0) == []
    stepper.lose(worker)
    assert stepper.step(job_id) == before


def test_a_stale_park_writes_nothing_at_all(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    zombie = stepper.take(job_id, 1, worker)
    stepper.release(zombie)
    held = stepper.take(job_id)
    before = stepper.dump()
    assert stepper.park(zombie, QUESTION) is None
    assert stepper.park(zombie, signal()) is None
    assert stepper.dump() == before
    assert stepper.park(held, QUESTION) is Parked.PARKED
    before = stepper.dump()
    assert stepper.park(held, QUESTION) is None, "it is parked already"
    assert stepper.commit(held, ending=COMPLETED) is None
    assert stepper.release(held) is False
    assert stepper.start_effect(held) is None
    assert stepper.dump() == before


def test_a_job_rests_only_when_no_sibling_runs_or_is_ready(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2), call(3)])
    parking, running = stepper.take(job_id, 1), stepper.take(job_id, 2)
    stepper.park(parking, timer())
    assert stands(stepper, job_id) == (JobStatus.RUNNING, None, None)
    stepper.join(running)
    assert stands(stepper, job_id) == (JobStatus.RUNNING, None, None), "the third is ready"
    stepper.park(stepper.take(job_id, 3), signal())
    assert stands(stepper, job_id) == (JobStatus.QUEUED, "timer", None), "what comes first is told"
    stepper.check_books(job_id)


def test_of_several_things_a_job_waits_for_the_question_is_told(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(n) for n in range(4)])
    for seq, wait in enumerate([timer(5), QUESTION, timer(1)], start=1):
        stepper.park(stepper.take(job_id, seq), wait)
    stepper.join(stepper.take(job_id, 4))
    assert stands(stepper, job_id) == (JobStatus.INPUT_REQUIRED, None, "question")
    assert stepper.job(job_id).status_until is None
    stepper.answer(job_id, "yes", seq=2)
    assert stands(stepper, job_id) == (JobStatus.QUEUED, None, None), "something is ready"
    stepper.join(stepper.take(job_id, 2))
    assert stands(stepper, job_id) == (JobStatus.QUEUED, "timer", None)
    assert stepper.job(job_id).status_until == stepper.waits(job_id)[2].wake_at, "the sooner one"
    stepper.check_books(job_id)


def test_the_join_waits_for_a_parked_sibling(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id, 1, worker), plan=(call(1), call(2), call(3)))
    stepper.park(stepper.take(job_id, 3, worker), QUESTION)
    for seq in (2, 4):
        settled = stepper.join(stepper.take(job_id, seq, worker))
        assert settled is not None
        assert settled.planned == 0
    assert stands(stepper, job_id) == (JobStatus.INPUT_REQUIRED, None, "question")
    stepper.answer(job_id, "yes", seq=3)
    settled = stepper.join(stepper.take(job_id, 3, worker))
    assert settled is not None
    assert (settled.planned, settled.job_status) == (1, JobStatus.RUNNING)
    stepper.check_books(job_id)


def test_a_retry_beside_parked_siblings_is_what_the_job_waits_for_until_it_parks_too(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    stepper.park(stepper.take(job_id, 1, worker), QUESTION)
    stepper.release(stepper.take(job_id, 2, worker), delay_s=0.0)
    assert stands(stepper, job_id) == (JobStatus.QUEUED, "retry_scheduled", None)
    held = stepper.take(job_id, 2, worker, is_told=False)
    assert stands(stepper, job_id) == (JobStatus.RUNNING, None, None)
    stepper.park(held, timer())
    assert stands(stepper, job_id) == (JobStatus.INPUT_REQUIRED, None, "question")
    stepper.check_books(job_id)


def test_a_retry_beside_a_running_sibling_leaves_the_job_running(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2), call(3)])
    stepper.park(stepper.take(job_id, 1), QUESTION)
    stepper.take(job_id, 2)
    stepper.release(stepper.take(job_id, 3), delay_s=9.0)
    assert stands(stepper, job_id) == (JobStatus.RUNNING, None, None)
    stepper.check_books(job_id)


def test_siblings_that_park_at_once_leave_the_job_resting(stepper: Stepper) -> None:
    for _ in range(5):
        job_id = stepper.put_down([call(n) for n in range(6)])
        held = [stepper.take(job_id, seq) for seq in range(1, 7)]
        parked = at_once([lambda h=h: stepper.park(h, timer()) for h in held])
        assert parked == [Parked.PARKED] * 6
        assert stands(stepper, job_id) == (JobStatus.QUEUED, "timer", None)
        stepper.check_books(job_id)


def test_a_park_in_a_job_that_is_to_end_ends_it_instead(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    first, last = stepper.take(job_id, 1), stepper.take(job_id, 2)
    stepper.cancel(job_id)
    assert stepper.park(first, QUESTION) is Parked.STOPPED
    assert stepper.states(job_id) == [StepState.CANCELLED, StepState.RUNNING]
    assert stepper.job(job_id).status is JobStatus.RUNNING
    assert stepper.park(last, timer()) is Parked.STOPPED
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    assert stepper.waits(job_id) == []
    stepper.check_books(job_id)


def test_a_park_in_a_job_that_is_over_leaves_no_wait(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    late = stepper.take(job_id, 2)
    stepper.fail(stepper.take(job_id, 1))
    assert stepper.park(late, QUESTION) is Parked.STOPPED
    assert stepper.states(job_id) == [StepState.FAILED, StepState.CANCELLED]
    assert stepper.waits(job_id) == []
    stepper.check_books(job_id)


def test_an_ending_beside_a_parked_step_closes_its_wait(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    stepper.park(stepper.take(job_id, 1), QUESTION)
    stepper.commit(stepper.take(job_id, 2), ending=COMPLETED)
    assert stepper.states(job_id) == [StepState.CANCELLED, StepState.COMMITTED]
    assert stepper.wait(job_id).state is WaitState.CANCELLED
    assert stepper.answer(job_id, "yes") is Answered.CLOSED
    stepper.check_books(job_id)


# --- timers ---------------------------------------------------------------------------------------


def test_a_timer_fires_once_when_its_time_has_come(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_to_sleep(timer(60))
    assert stepper.wake() == 0
    stepper.come_due(job_id)
    assert stepper.wake() == 1
    assert stepper.wake() == 0
    step = stepper.step(job_id)
    assert (step.state, step.rung_at) == (StepState.READY, None)
    assert stands(stepper, job_id) == (JobStatus.QUEUED, None, None)
    woken = stepper.take(job_id, 1, worker).woken
    assert woken is not None
    assert (woken.n, woken.kind, woken.state) == (1, WaitKind.TIMER, WaitState.FIRED)
    assert (woken.result, woken.fallback) == (None, {"value": "rested"})
    assert stepper.story(job_id).count("step.woken") == 1


def test_schedulers_side_by_side_wake_each_step_once(stepper: Stepper, doors: Doors) -> None:
    job_ids = [stepper.put_to_sleep(timer()) for _ in range(12)]
    for job_id in job_ids:
        stepper.come_due(job_id)
    assert sum(at_once([lambda: wake(doors)] * 4)) == 12
    assert all(stepper.story(job_id).count("step.woken") == 1 for job_id in job_ids)


def test_a_round_wakes_no_more_than_its_bound(stepper: Stepper, doors: Doors) -> None:
    for _ in range(5):
        stepper.come_due(stepper.put_to_sleep(timer()))
    rounds = []
    for _ in range(3):
        with doors.as_operator("test") as tx:
            rounds.append(due.wake_due(tx, 2))
    assert rounds == [2, 2, 1]


def test_a_job_that_somebody_holds_is_left_for_the_next_round(
    stepper: Stepper, doors: Doors
) -> None:
    held_job, free_job = stepper.put_to_sleep(timer()), stepper.put_to_sleep(timer())
    for job_id in (held_job, free_job):
        stepper.come_due(job_id)
    with stepper.held_by_another("jobs", "id = :id", id=held_job):
        assert stepper.wake() == 1
    assert stepper.states(free_job) == [StepState.READY]
    assert stepper.states(held_job) == [StepState.WAITING]
    assert stepper.wake() == 1


def test_all_that_is_due_in_a_job_is_woken(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2), call(3)])
    for seq in (1, 2, 3):
        stepper.park(stepper.take(job_id, seq), timer())
    stepper.come_due(job_id)
    assert stepper.wake() == 3
    assert stepper.states(job_id) == [StepState.READY] * 3
    stepper.check_books(job_id)


def test_steps_of_every_tenant_are_woken(
    doors: Doors, stepper: Stepper, other_tenant: UUID
) -> None:
    theirs = Stepper(doors, other_tenant)
    mine, other = stepper.put_to_sleep(timer()), theirs.put_to_sleep(timer())
    stepper.come_due(mine)
    theirs.come_due(other)
    assert stepper.wake() == 2
    assert stepper.states(mine) == theirs.states(other) == [StepState.READY]


@pytest.mark.parametrize("fallback", [None, {"value": None}, {"value": "silence"}])
def test_a_wait_that_nobody_ends_in_time_expires_with_its_default_or_none(
    stepper: Stepper, fallback: dict[str, object] | None
) -> None:
    for wait in (signal(wake_in_s=60, fallback=fallback), ask_in_time(fallback)):
        job_id = stepper.put_to_sleep(wait)
        stepper.come_due(job_id)
        assert stepper.wake() == 1
        woken = stepper.take(job_id).woken
        assert woken is not None
        assert (woken.state, woken.result, woken.fallback) == (WaitState.EXPIRED, None, fallback)
        stepper.check_books(job_id)


def ask_in_time(fallback: dict[str, object] | None = None) -> Wait:
    return Wait(WaitKind.QUESTION, "question", wake_in_s=60, fallback=fallback)


def test_an_answer_at_the_moment_of_expiry_gives_one_winner(stepper: Stepper, doors: Doors) -> None:
    for _ in range(12):
        job_id = stepper.put_to_sleep(ask_in_time())
        stepper.come_due(job_id)
        answered, woken = at_once([lambda j=job_id: stepper.answer(j, "yes"), lambda: wake(doors)])
        wait = stepper.wait(job_id)
        if answered is Answered.ANSWERED:
            assert (woken, wait.state, wait.result) == (0, WaitState.ANSWERED, "yes")
        else:
            assert (answered, woken) == (Answered.CLOSED, 1)
            assert (wait.state, wait.result) == (WaitState.EXPIRED, None)
        assert stepper.story(job_id).count("step.woken") == 1
        stepper.check_books(job_id)


def test_a_wake_and_a_cancel_at_once_leave_one_ending(stepper: Stepper, doors: Doors) -> None:
    for _ in range(12):
        job_id = stepper.put_to_sleep(timer())
        stepper.come_due(job_id)
        at_once([lambda j=job_id: stepper.cancel(j), lambda: wake(doors)])
        assert stepper.job(job_id).status is JobStatus.CANCELLED
        assert stepper.states(job_id) == [StepState.CANCELLED]
        stepper.check_books(job_id)


# --- questions ------------------------------------------------------------------------------------


def test_of_many_who_answer_at_once_one_is_heard(stepper: Stepper) -> None:
    job_id = stepper.put_to_sleep(QUESTION)
    said = at_once([lambda n=n: stepper.answer(job_id, {"by": n}) for n in range(8)])
    assert sorted(said) == [Answered.ANSWERED] + [Answered.CLOSED] * 7
    wait = stepper.wait(job_id)
    assert (wait.state, wait.decided_by) == (WaitState.ANSWERED, "ann")
    assert wait.result == {"by": said.index(Answered.ANSWERED)}
    assert stepper.story(job_id).count("step.woken") == 1


@pytest.mark.parametrize("said", [None, False, "", "yes \x00", {"decision": ["\ud800"]}], ids=repr)
def test_whatever_is_said_is_an_answer(stepper: Stepper, said: object) -> None:
    job_id = stepper.put_to_sleep(QUESTION)
    assert stepper.answer(job_id, said) is Answered.ANSWERED
    woken = stepper.take(job_id).woken
    assert woken is not None
    assert woken.result == said or "\ufffd" in str(woken.result)


def test_an_answer_to_an_older_question_is_closed(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_to_sleep(QUESTION)
    stepper.answer(job_id, "first")
    stepper.park(stepper.take(job_id, 1, worker), RECONCILE)
    before = stepper.dump()
    assert stepper.answer(job_id, "late", n=1) is Answered.CLOSED
    assert stepper.dump() == before
    assert stepper.answer(job_id, "second", n=2) is Answered.ANSWERED
    assert [wait.result for wait in stepper.waits(job_id)] == ["first", "second"]


def test_where_nothing_is_asked_there_is_nothing_to_answer(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    asleep, asking = stepper.put_to_sleep(timer()), stepper.put_to_sleep(QUESTION)
    before = stepper.dump()
    for job_id, seq, n in ((uuid4(), 1, 1), (asking, 2, 1), (asking, 1, 2), (asleep, 1, 1)):
        assert stepper.answer(job_id, "yes", seq=seq, n=n) is Answered.MISSING
    assert Stepper(doors, other_tenant).answer(asking, "yes") is Answered.MISSING
    assert stepper.dump() == before


def test_going_on_after_a_review_adopts_the_new_version(stepper: Stepper, worker: UUID) -> None:
    for decision, version in (("continue", "2"), ("fail", "1")):
        job_id = stepper.put_to_sleep(REVIEW)
        stepper.answer(job_id, {"decision": decision})
        assert stepper.job(job_id).agent_version == version
        held = stepper.take(job_id, 1, worker)
        assert held.agent_version == version
        assert held.woken is not None
        assert held.woken.result == {"decision": decision}


def test_a_review_that_names_no_version_and_a_question_change_none(stepper: Stepper) -> None:
    asked = Wait(WaitKind.QUESTION, "question", prompt={"ask": "?", "version": "9"})
    for wait in (Wait(WaitKind.REVIEW, "step_gone", prompt={"ask": "?"}), asked):
        job_id = stepper.put_to_sleep(wait)
        stepper.answer(job_id, {"decision": "continue"})
        assert stepper.job(job_id).agent_version == "1"


def test_open_questions_are_listed_oldest_first_behind_their_wall(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    asking = [stepper.put_to_sleep(wait) for wait in (QUESTION, REVIEW, RECONCILE)]
    stepper.put_to_sleep(timer())
    stepper.answer(asking[1], {"decision": "fail"})
    with doors.as_tenant(stepper.tenant_id) as tx:
        found = waits.list_questions(tx)
        assert [wait.job_id for wait in found] == [asking[0], asking[2]]
        assert [w.job_id for w in waits.list_questions(tx, job_id=asking[2])] == [asking[2]]
        assert len(waits.list_questions(tx, limit=1)) == 1
    with doors.as_tenant(other_tenant) as tx:
        assert waits.list_questions(tx) == []
        assert waits.list_of(tx, asking[0]) == []


# --- made use of once -----------------------------------------------------------------------------


def test_an_answer_is_brought_to_every_claim_until_a_commit_makes_use_of_it(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_to_sleep(QUESTION)
    assert stepper.answer(job_id, "yes") is Answered.ANSWERED
    stepper.take(job_id, 1, worker)
    stepper.lose(worker)
    stepper.release(stepper.take(job_id))
    held = stepper.take(job_id)
    assert held.woken is not None
    assert (held.woken.n, held.woken.result) == (1, "yes")
    assert stepper.wait(job_id).consumed_at is None
    stepper.commit(held, output="yes", plan=(MODEL,))
    assert stepper.wait(job_id).consumed_at is not None
    assert consumed_epochs(stepper, job_id) == [held.epoch]
    assert stepper.take(job_id, 2).woken is None, "it was for the step before"
    stepper.check_books(job_id)


def test_the_start_of_an_effect_makes_use_of_the_answer(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_to_sleep(RECONCILE)
    stepper.answer(job_id, {"decision": "again"})
    held = stepper.take(job_id, 1, worker)
    assert stepper.start_effect(held) is Start.GO
    assert consumed_epochs(stepper, job_id) == [held.epoch]
    stepper.lose(worker)
    after = stepper.take(job_id)
    assert after.woken is None, "what was allowed once is not allowed twice"
    assert after.effect_epoch == held.epoch


def test_the_next_wait_makes_use_of_the_answer_to_the_one_before(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_to_sleep(REVIEW)
    stepper.answer(job_id, {"decision": "continue"})
    held = stepper.take(job_id, 1, worker)
    assert stepper.park(held, QUESTION) is Parked.PARKED
    assert consumed_epochs(stepper, job_id) == [held.epoch, None]
    stepper.answer(job_id, "yes", n=2)
    woken = stepper.take(job_id, 1, worker).woken
    assert woken is not None
    assert (woken.n, woken.kind, woken.result) == (2, WaitKind.QUESTION, "yes")
    stepper.check_books(job_id)


def test_a_stale_claim_makes_use_of_nothing(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_to_sleep(QUESTION)
    stepper.answer(job_id, "yes")
    zombie = stepper.take(job_id, 1, worker)
    stepper.lose(worker)
    held = stepper.take(job_id)
    before = stepper.dump()
    assert stepper.start_effect(zombie) is None
    assert stepper.park(zombie, QUESTION) is None
    assert stepper.commit(zombie, ending=COMPLETED) is None
    assert stepper.dump() == before
    assert held.woken is not None


def consumed_epochs(stepper: Stepper, job_id: UUID) -> list[int | None]:
    from sqlalchemy import text

    with stepper.doors.as_operator("test") as tx:
        found = tx.execute(
            text("select consumed_epoch from stepwell.waits where job_id = :job order by seq, n"),
            {"job": job_id},
        )
        return list(found.scalars())
