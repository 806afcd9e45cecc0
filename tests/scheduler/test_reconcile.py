"""Reconcile: what its worker has dropped is ready again, and cancelled jobs come to their end."""

from __future__ import annotations

from uuid import UUID

import pytest

from scheduler.reconcile import Reconciler, reconcile, stop_due
from store import workers
from store.doors import Doors
from store.states import JobStatus, StepState
from tests.stepping import Stepper

LEASE_S = 4.0


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def test_steps_of_a_silent_worker_come_free_and_those_of_a_living_one_do_not(
    doors: Doors, stepper: Stepper
) -> None:
    silent, living = stepper.start_worker(), stepper.start_worker()
    dropped, kept = stepper.put_down(), stepper.put_down()
    stepper.take(dropped, 1, silent)
    stepper.take(kept, 1, living)
    assert reconcile(doors, LEASE_S) == 0
    stepper.grow_old(silent, LEASE_S + 1)
    assert reconcile(doors, LEASE_S) == 1
    assert stepper.states(dropped) == [StepState.READY]
    assert stepper.states(kept) == [StepState.RUNNING]


def test_steps_of_every_tenant_come_free(
    doors: Doors, stepper: Stepper, other_tenant: UUID
) -> None:
    worker = stepper.start_worker()
    theirs = Stepper(doors, other_tenant)
    stepper.take(stepper.put_down(), 1, worker)
    theirs.take(theirs.put_down(), 1, worker)
    stepper.grow_old(worker, LEASE_S + 1)
    assert reconcile(doors, LEASE_S) == 2


def test_a_cancelled_job_whose_worker_died_is_over_after_one_round(
    doors: Doors, stepper: Stepper
) -> None:
    worker, job_id = stepper.start_worker(), stepper.put_down()
    stepper.take(job_id, 1, worker)
    stepper.cancel(job_id)
    assert stop_due(doors) == 0
    assert stepper.job(job_id).status is JobStatus.RUNNING
    stepper.grow_old(worker, LEASE_S + 1)
    reconcile(doors, LEASE_S)
    assert stop_due(doors) == 1
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    stepper.check_books(job_id)


def test_rows_of_gone_workers_are_forgotten_unless_they_hold_a_step(
    doors: Doors, stepper: Stepper
) -> None:
    gone, holding, living = (stepper.start_worker() for _ in range(3))
    stepper.take(stepper.put_down(), 1, holding)
    for worker in (gone, holding):
        stepper.grow_old(worker, 1_000)
    with doors.as_nobody() as tx:
        workers.move(tx, gone, workers.WorkerState.STOPPED)
        workers.move(tx, holding, workers.WorkerState.STOPPED)
    with doors.as_operator("test") as tx:
        assert workers.forget_gone(tx, 500) == 1
        assert [row.id for row in workers.list_live(tx)] == [living]
    assert reconcile(doors, LEASE_S) == 1
    with doors.as_operator("test") as tx:
        assert workers.forget_gone(tx, 500) == 1


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_after_a_silence_workers_get_a_lease_to_be_heard_before_they_are_judged(
    doors: Doors, stepper: Stepper
) -> None:
    clock = Clock()
    reconciler = Reconciler(doors, LEASE_S, clock)
    worker, job_id = stepper.start_worker(), stepper.put_down()
    stepper.take(job_id, 1, worker)
    stepper.grow_old(worker, LEASE_S + 1)

    def walk_for(seconds: float) -> int:
        freed = 0
        for _ in range(int(seconds / 0.5)):
            clock.now += 0.5
            freed += reconciler.walk()
        return freed

    assert walk_for(LEASE_S) == 0, "the scheduler has only just begun"
    assert walk_for(1.0) == 1
    stepper.take(job_id, 1, stepper.start_worker())
    with doors.as_operator("test") as tx:
        (heir,) = workers.list_live(tx)
    stepper.grow_old(heir.id, LEASE_S + 1)
    clock.now += LEASE_S  # Postgres was away: no round came to its end
    assert walk_for(LEASE_S) == 0
    assert walk_for(1.0) == 1
