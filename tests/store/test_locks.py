"""Locks: parent before child, job before step; whoever holds many rows waits for none."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar
from uuid import UUID

import pytest
from sqlalchemy import Connection, text

from scheduler.reconcile import stop_due
from store import due, letters
from store.doors import Doors
from store.letters import Replayed
from store.states import JobClass, JobStatus, StepState, Work
from store.transitions import Parked
from tests.running import at_once, eventually
from tests.stepping import COMPLETED, Stepper, call, child, delegate, timer

T = TypeVar("T")
HAND = ThreadPoolExecutor(8, thread_name_prefix="hand")


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def begin(doors: Doors, act: Callable[[], T]) -> Future[T]:
    """Start the act in a thread of its own, and come back when it is done or waits for a lock."""
    acting = HAND.submit(act)
    eventually(lambda: acting.done() or count_waiting(doors) > 0)
    return acting


def count_waiting(doors: Doors) -> int:
    with doors.as_operator("test") as tx:
        found = tx.execute(text("select count(*) from pg_locks where not granted"))
        return int(found.scalar_one())


def test_a_cancel_does_not_wait_for_a_step_that_is_rung_for_while_another_is_claimed(
    stepper: Stepper, doors: Doors
) -> None:
    """It would hold the job that the claimed step wants, and wait for that step in turn."""
    job_id = stepper.put_down([call(1), call(2), call(3)])
    running = stepper.take(job_id, 3)
    with stepper.held_by_another("checkpoints", "job_id = :job and seq = 1", job=job_id):
        cancelling = begin(doors, lambda: stepper.cancel(job_id))
        held = stepper.claim(job_id, 2, stepper.start_worker(), is_told=False)
        committing = begin(doors, lambda: held and stepper.join(held))
    cancelling.result(timeout=10)
    committing.result(timeout=10)
    stepper.join(running)
    stop_due(doors)
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    assert stepper.states(job_id)[0] is StepState.CANCELLED
    stepper.check_books(job_id)


def test_a_ready_step_that_an_ending_passed_by_is_cancelled_by_its_next_claim(
    stepper: Stepper,
) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    with stepper.held_by_another("checkpoints", "job_id = :job and seq = 2", job=job_id):
        stepper.fail(stepper.take(job_id, 1))
    assert stepper.job(job_id).status is JobStatus.FAILED
    assert stepper.claim(job_id, 2, stepper.start_worker()) is None
    assert stepper.states(job_id) == [StepState.FAILED, StepState.CANCELLED]
    stepper.check_books(job_id)


def test_a_recovery_does_not_wait_for_a_step_that_is_being_settled(
    stepper: Stepper, doors: Doors
) -> None:
    """It would hold a sibling that somebody wants who holds the job that the settling one wants."""
    worker = stepper.start_worker()
    job_id = stepper.put_down([call(1), call(2)])
    first = stepper.take(job_id, 1, worker)
    stepper.take(job_id, 2, worker)
    with stepper.held_by_another("checkpoints", "job_id = :job and seq = 2", job=job_id) as tx:
        recovering = begin(doors, lambda: stepper.lose(worker))
        releasing = begin(doors, lambda: stepper.release(first))
        lock_job(tx, job_id)
    recovering.result(timeout=10)
    assert releasing.result(timeout=10) is False
    assert stepper.states(job_id) == [StepState.READY, StepState.RUNNING]
    with doors.as_operator("test") as tx:
        assert due.recover_lost(tx, 4.0) == (0, 1), "the next round has it"
    assert [step.losses for step in stepper.steps(job_id)] == [1, 1]
    stepper.check_books(job_id)


def test_what_is_said_twice_of_one_claim_is_heard_once_and_waits_in_no_circle(
    stepper: Stepper,
) -> None:
    """As when a commit got no answer, and the step is handed back while it is still under way."""
    for _ in range(12):
        job_id = stepper.put_down([call(1), call(2)])
        held = stepper.take(job_id, 1)
        said = at_once(
            [
                lambda h=held: bool(stepper.join(h)),
                lambda h=held: stepper.release(h),
                lambda h=held: bool(stepper.park(h, timer())),
                lambda h=held: bool(stepper.fail(h)),
            ]
        )
        assert sum(said) == 1
        stepper.check_books(job_id)


def test_a_child_is_told_of_with_its_parent_locked_before_it(
    stepper: Stepper, doors: Doors
) -> None:
    born = child()
    parent_id = stepper.bear(born)
    stepper.commit(stepper.take(born.id), ending=COMPLETED)
    with stepper.held_by_another("jobs", "id = :id", id=parent_id) as tx:
        telling = begin(doors, lambda: stepper.tell_parent(born.id))
        lock_job(tx, born.id)
    assert telling.result(timeout=10) == (parent_id, 1)


def test_who_bears_children_locks_the_first_of_the_line_before_itself(
    stepper: Stepper, doors: Doors
) -> None:
    born = child()
    root_id = stepper.bear(born)
    held = stepper.take(born.id)
    with stepper.held_by_another("jobs", "id = :id", id=root_id) as tx:
        bearing = begin(doors, lambda: stepper.park(held, delegate(child())))
        lock_job(tx, born.id)
    assert bearing.result(timeout=10) is Parked.PARKED


def lock_job(tx: Connection, job_id: UUID) -> None:
    tx.execute(text("select from stepwell.jobs where id = :job for no key update"), {"job": job_id})


def test_a_replay_locks_the_job_before_its_letter_as_a_retirement_does(
    stepper: Stepper, doors: Doors
) -> None:
    job_id = stepper.put_down()
    stepper.fail(stepper.take(job_id))
    with stepper.held_by_another("jobs", "id = :job", job=job_id) as tx:
        replaying = begin(doors, lambda: stepper.replay(job_id))
        found = tx.execute(
            text("select state from stepwell.dead_letters where job_id = :job for update"),
            {"job": job_id},
        )
        assert found.scalar_one() == "open"
    assert replaying.result(timeout=10)[0] is Replayed.MADE


ROOM = {(JobClass.DEFAULT, Work.WAITS): 9}
ROUNDS: dict[str, Callable[[Connection], int]] = {
    "recover_lost": lambda tx: due.recover_lost(tx, 4.0)[1],
    "take_due_steps": lambda tx: len(
        due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 9}, again_s=0.0)
    ),
    "wake_due": lambda tx: due.wake_due(tx, 9),
    "tell_parents": lambda tx: due.tell_parents(tx, 9),
    "replay_due": lambda tx: due.replay_due(tx, 9),
    "retire_jobs": lambda tx: due.retire_jobs(tx, kept_s=0.0, letters_kept_s=0.0, limit=9),
}


@pytest.mark.parametrize("name", ROUNDS)
def test_a_round_passes_by_whatever_somebody_holds(
    stepper: Stepper, doors: Doors, name: str
) -> None:
    put_down_one_for_every_round(stepper)

    def walk() -> int:
        with doors.as_operator("test") as tx:
            return ROUNDS[name](tx)

    with doors.as_operator("somebody else") as tx:
        for table in ("jobs", "checkpoints", "waits", "dead_letters"):
            tx.execute(text(f"select 1 from stepwell.{table} for update"))
        assert begin(doors, walk).result(timeout=5) == 0
    assert walk() > 0, "there was something to do"


def put_down_one_for_every_round(stepper: Stepper) -> None:
    lost, born = stepper.start_worker(), child()
    stepper.take(stepper.put_down(), 1, lost)
    stepper.grow_old(lost, 60.0)
    stepper.put_down()
    stepper.come_due(stepper.put_to_sleep(timer()))
    stepper.bear(born)
    stepper.commit(stepper.take(born.id), ending=COMPLETED)
    failed = stepper.put_down()
    stepper.fail(stepper.take(failed))
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        letters.plan_replays(
            tx, letters.LetterFilter(), versions={"test": "1"}, per_s=1.0, by="ann", limit=9
        )
    stepper.commit(stepper.take(stepper.put_down()), ending=COMPLETED)
