"""Effects: begun under the fence, never when the job is to end, known to have begun ever after."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from store.doors import Doors
from store.states import JobStatus, StepState
from store.transitions import Start
from tests.running import at_once
from tests.stepping import COMPLETED, Stepper, call


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


@pytest.fixture
def worker(stepper: Stepper) -> UUID:
    return stepper.start_worker()


def test_a_start_is_marked_with_its_claim_and_nothing_else_changes(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down([call(1)])
    held = stepper.take(job_id, 1, worker)
    assert held.effect_epoch is None
    before = stepper.step(job_id)
    assert (before.effect_epoch, before.effect_started_at) == (None, None)
    assert stepper.start_effect(held) is Start.GO
    after = stepper.step(job_id)
    assert (after.effect_epoch, after.state) == (held.epoch, StepState.RUNNING)
    assert after.effect_started_at is not None
    assert stepper.story(job_id)[-1] == "step.started"
    stepper.check_books(job_id)


def test_whoever_was_taken_for_dead_begins_nothing(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down([call(1)])
    zombie = stepper.take(job_id, 1, worker)
    stepper.lose(worker)
    before = stepper.dump()
    assert stepper.start_effect(zombie) is None, "free, and nobody has claimed it yet"
    assert stepper.dump() == before
    held = stepper.take(job_id)
    before = stepper.dump()
    assert stepper.start_effect(zombie) is None, "claimed by another"
    assert stepper.dump() == before
    stepper.commit(held, ending=COMPLETED)
    stale = (stepper.start_effect(zombie), stepper.start_effect(held))
    assert Start.GO not in stale


def test_a_start_and_the_loss_of_its_worker_at_once_are_both_or_only_the_loss(
    stepper: Stepper,
) -> None:
    for _ in range(12):
        job_id, worker = stepper.put_down([call(1)]), stepper.start_worker()
        held = stepper.take(job_id, 1, worker)
        started, _ = at_once(
            [lambda h=held: stepper.start_effect(h), lambda w=worker: stepper.lose(w)]
        )
        # Whoever is recovering leaves a step alone that is being started; the next round has it.
        stepper.lose(worker)
        heir = stepper.take(job_id)
        assert heir.effect_epoch == (held.epoch if started is Start.GO else None)


def test_the_next_claim_knows_that_an_effect_was_begun(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down([call(1)])
    held = stepper.take(job_id, 1, worker)
    stepper.start_effect(held)
    stepper.lose(worker)
    for _ in range(2):
        heir = stepper.take(job_id)
        assert heir.effect_epoch == held.epoch
        stepper.release(heir, is_failed_try=False)
    again = stepper.take(job_id)
    stepper.start_effect(again)
    assert stepper.step(job_id).effect_epoch == again.epoch


def test_a_step_whose_effect_was_not_begun_simply_runs_again(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down([call(1)])
    stepper.take(job_id, 1, worker)
    stepper.lose(worker)
    assert stepper.take(job_id).effect_epoch is None


def test_a_try_that_failed_without_harm_takes_the_mark_along(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down([call(1)])
    held = stepper.take(job_id, 1, worker)
    stepper.start_effect(held)
    stepper.release(held, is_failed_try=True)
    step = stepper.step(job_id)
    assert (step.effect_epoch, step.effect_started_at) == (None, None)


def test_no_effect_is_begun_in_a_job_that_is_to_end_or_is_over(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    held, other = stepper.take(job_id, 1), stepper.take(job_id, 2)
    stepper.cancel(job_id)
    before = stepper.dump()
    assert stepper.start_effect(held) is Start.STOP
    assert stepper.dump() == before
    stepper.release(other)
    stepper.release(held)
    assert stepper.job(job_id).status is JobStatus.CANCELLED

    job_id = stepper.put_down([call(1), call(2)])
    held = stepper.take(job_id, 1)
    stepper.fail(stepper.take(job_id, 2))
    assert stepper.start_effect(held) is Start.STOP


def test_an_effect_is_known_by_its_job_and_step_at_every_try(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    held = stepper.take(job_id, 2)
    assert (held.effect_key, held.key) == (None, f"{job_id}:2")
    stepper.release(held)
    assert stepper.take(job_id, 2).key == held.key
    assert stepper.take(job_id, 1).key == f"{job_id}:1"


def test_the_database_refuses_an_effect_that_no_claim_began(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1)])
    stepper.take(job_id)
    for epoch in (0, 2):
        with (
            pytest.raises(IntegrityError, match="effect_was_claimed"),
            stepper.doors.as_operator("test") as tx,
        ):
            tx.execute(
                text("update stepwell.checkpoints set effect_epoch = :epoch"), {"epoch": epoch}
            )
