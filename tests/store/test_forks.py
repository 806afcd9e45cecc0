"""Forks: a new job shares what another one has committed, and goes on from a step as its own."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from store.doors import Doors
from store.errors import NotFound
from store.forks import Forked
from store.states import JobClass, JobStatus, StepState
from tests.running import at_once
from tests.stepping import COMPLETED, MODEL, Stepper, call, delegate, signal, timer
from tests.stepping import child as born

# What a shared step has to have in common with the one it was taken from, to the byte.
SHARED = (
    "seq, parent_seq, kind, name, work, state, epoch, attempts, losses, claimed_at, committed_at, "
    "input::text, output::text, error::text, effect_epoch, effect_started_at"
)


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def worked(stepper: Stepper, **job: Any) -> UUID:
    """A completed job: 1 model, 2-4 calls, 5 model (planned by 2, the last in), 6 call, 7 model."""
    job_id = stepper.put_down(**job)
    stepper.commit(stepper.take(job_id, 1), output="m1", plan=tuple(call(n) for n in (2, 3, 4)))
    for seq in (4, 3, 2):
        held = stepper.take(job_id, seq)
        stepper.start_effect(held)
        stepper.commit(held, output={"n": seq}, plan=(MODEL,), is_joining=True)
    stepper.commit(stepper.take(job_id, 5), output="m5", plan=(call(6),))
    stepper.commit(stepper.take(job_id, 6), output=None, plan=(MODEL,), is_joining=True)
    stepper.commit(stepper.take(job_id, 7), output="m7", ending=COMPLETED)
    assert stepper.step(job_id, 5).parent_seq == 2
    return job_id


def forked(stepper: Stepper, job_id: UUID, from_seq: int, **more: Any) -> UUID:
    """A fork that has to succeed, and has whole books."""
    made, new_id = stepper.fork(job_id, from_seq, **more)
    assert made is Forked.MADE
    stepper.check_books(new_id)
    return new_id


def rows(stepper: Stepper, job_id: UUID, below: int = 1_000) -> list[tuple[Any, ...]]:
    with stepper.doors.as_operator("test") as tx:
        found = tx.execute(
            text(
                f"select {SHARED} from stepwell.checkpoints "
                "where job_id = :job and seq < :below order by seq"
            ),
            {"job": job_id, "below": below},
        )
        return [tuple(row) for row in found]


def states(stepper: Stepper, job_id: UUID) -> list[str]:
    return [state.value for state in stepper.states(job_id)]


# --- what is shared and what is not ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("from_seq", "expected"),
    [
        (1, ["ready"]),
        (2, ["committed"] + ["ready"] * 3),
        (3, ["committed"] * 2 + ["ready"] * 2),
        (4, ["committed"] * 3 + ["ready"]),
        (5, ["committed"] * 4 + ["ready"]),
        (6, ["committed"] * 5 + ["ready"]),
        (7, ["committed"] * 6 + ["ready"]),
    ],
)
def test_steps_below_are_shared_to_the_byte_and_the_step_is_ready_again(
    stepper: Stepper, from_seq: int, expected: list[str]
) -> None:
    old = worked(stepper)
    new = forked(stepper, old, from_seq)
    assert states(stepper, new) == expected
    assert rows(stepper, new, from_seq) == rows(stepper, old, from_seq)
    job = stepper.job(new)
    assert (job.forked_from, job.forked_from_seq) == (old, from_seq)
    assert (job.steps_done, job.outstanding) == (from_seq - 1, expected.count("ready"))
    for step in stepper.steps(new)[from_seq - 1 :]:
        was = stepper.step(old, step.seq)
        assert (step.input, step.parent_seq, step.name) == (was.input, was.parent_seq, was.name)
        assert (step.epoch, step.output, step.committed_at) == (0, None, None)


@pytest.mark.parametrize("from_seq", range(1, 8))
def test_a_fork_runs_to_its_end_as_the_original_did(stepper: Stepper, from_seq: int) -> None:
    old = worked(stepper)
    was = rows(stepper, old)
    new = forked(stepper, old, from_seq)
    while ready := [s.seq for s in stepper.steps(new) if s.state is StepState.READY]:
        held = stepper.take(new, ready[0])
        if held.seq == 1:
            stepper.commit(held, plan=tuple(call(n) for n in (2, 3, 4)))
        elif held.seq == 5:
            stepper.commit(held, plan=(call(6),))
        elif held.seq == 7:
            stepper.commit(held, ending=COMPLETED)
        else:
            stepper.join(held)
        stepper.check_books(new)
    assert stepper.job(new).status is JobStatus.COMPLETED
    assert len(stepper.steps(new)) == 7
    assert rows(stepper, old) == was


def test_what_is_run_again_is_a_new_call_and_what_is_shared_keeps_its_key(
    stepper: Stepper,
) -> None:
    old = worked(stepper)
    new = forked(stepper, old, 3)
    held = stepper.take(new, 3)
    assert (held.key, held.effect_epoch, held.epoch) == (f"{new}:3", None, 1)
    assert [step.effect_key for step in stepper.steps(new)] == [f"{old}:1", f"{old}:2", None, None]

    stepper.start_effect(held)
    stepper.join(held)
    newer = forked(stepper, new, 4)
    assert [step.effect_key for step in stepper.steps(newer)] == [
        f"{old}:1", f"{old}:2", f"{new}:3", None,
    ]  # fmt: skip


def test_a_fork_tells_where_it_comes_from_and_begins_a_story_of_its_own(
    stepper: Stepper,
) -> None:
    from store import events

    old = worked(stepper)
    new = forked(stepper, old, 5)
    assert stepper.story(new) == ["job.queued"]
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        (told,) = events.list_after(tx, new, 0)
    assert told.data == {
        "agent": "test", "class": "default", "forked_from": str(old), "from_step": 5,
    }  # fmt: skip
    assert stepper.job(new).started_at is None
    stepper.take(new, 5, is_told=False)
    assert stepper.story(new)[1:] == ["job.started", "step.started"]


def test_a_fork_takes_input_version_and_class_of_the_original_or_its_own(
    stepper: Stepper,
) -> None:
    old = worked(stepper, input={"ask": "why"}, key="once", deadline_in_s=600)
    same = stepper.job(forked(stepper, old, 5))
    assert (same.input, same.agent_version, same.job_class) == (
        {"ask": "why"}, "1", JobClass.DEFAULT,
    )  # fmt: skip
    assert (same.idempotency_key, same.deadline_at) == (None, None)
    other = forked(stepper, old, 1, input={"ask": "how"}, version="2", job_class=JobClass.BATCH)
    job = stepper.job(other)
    assert (job.input, job.agent_version, job.job_class) == ({"ask": "how"}, "2", JobClass.BATCH)
    assert stepper.take(other, 1).job_input == {"ask": "how"}
    assert {step.job_class for step in stepper.steps(other)} == {JobClass.BATCH}
    assert stepper.job(old).input == {"ask": "why"}


def test_signals_waits_and_children_stay_with_the_original(stepper: Stepper) -> None:
    old = stepper.put_down([call(1)])
    stepper.send(old, "before")
    stepper.park(stepper.take(old), signal())
    stepper.commit(stepper.take(old), output="paid", plan=(call(2),))
    stepper.send(old, "unread")
    child = born()
    stepper.park(stepper.take(old, 2), delegate(child))
    new = forked(stepper, old, 2)
    assert (stepper.waits(new), stepper.signals(new), stepper.children(new)) == ([], [], [])
    assert stepper.job(new).children == 0
    assert stepper.job(child.id).parent_job_id == old
    assert stepper.take(new, 2).woken is None


# --- from whatever stands -------------------------------------------------------------------------


def test_a_job_that_still_runs_is_forked_and_goes_on_untouched(stepper: Stepper) -> None:
    old = stepper.put_down()
    stepper.commit(stepper.take(old), output="m1", plan=tuple(call(n) for n in (2, 3, 4)))
    running = stepper.take(old, 2)
    stepper.park(stepper.take(old, 3), timer())
    before = stepper.steps(old), stepper.job(old), stepper.waits(old)
    new = forked(stepper, old, 2)
    assert states(stepper, new) == ["committed", "ready", "ready", "ready"]
    assert (stepper.steps(old), stepper.job(old), stepper.waits(old)) == before
    assert stepper.join(running) is not None
    assert stepper.claim(new, 2, stepper.start_worker()) is not None
    for job_id in (old, new):
        stepper.check_books(job_id)


@pytest.mark.parametrize("how", ["failed", "cancelled", "expired"])
def test_a_job_that_ended_badly_is_forked_from_a_step_of_its(stepper: Stepper, how: str) -> None:
    old = stepper.put_down(deadline_in_s=600)
    stepper.commit(stepper.take(old), output="m1", plan=(call(2), call(3)))
    held = stepper.take(old, 2)
    if how == "failed":
        stepper.fail(held)
    elif how == "cancelled":
        stepper.cancel(old)
        stepper.join(held)
    else:
        stepper.pass_deadline(old)
        stepper.join(held)
    assert stepper.job(old).status.value == how
    new = forked(stepper, old, 2)
    assert states(stepper, new) == ["committed", "ready", "ready"]
    assert stepper.take(new, 2).key == f"{new}:2"
    job = stepper.job(new)
    assert (job.error, job.cancel_requested_at, job.finished_at) == (None, None, None)


def test_a_child_is_forked_as_nobodys_child(stepper: Stepper) -> None:
    child = born()
    stepper.bear(child)
    new = stepper.job(forked(stepper, child.id, 1))
    assert (new.parent_job_id, new.parent_seq, new.root_id, new.depth) == (None, None, new.id, 0)


# --- refused --------------------------------------------------------------------------------------


@pytest.mark.parametrize("from_seq", [-1, 0, 8, 99])
def test_from_a_step_that_is_not_there_nothing_is_forked(stepper: Stepper, from_seq: int) -> None:
    old = worked(stepper)
    before = stepper.dump()
    assert stepper.fork(old, from_seq)[0] is Forked.REFUSED
    assert stepper.dump() == before


@pytest.mark.parametrize("state", ["ready", "running", "waiting", "failed"])
def test_what_was_not_committed_is_not_shared(stepper: Stepper, state: str) -> None:
    old = stepper.put_down()
    stepper.commit(stepper.take(old), output="m1", plan=(call(2), call(3), call(4)))
    stepper.join(stepper.take(old, 3))
    if state != "ready":
        held = stepper.take(old, 2)
    if state == "waiting":
        stepper.park(held, timer())
    if state == "failed":
        stepper.fail(held)
    before = stepper.dump()
    for from_seq in (3, 4):
        assert stepper.fork(old, from_seq)[0] is Forked.REFUSED
    assert stepper.dump() == before
    forked(stepper, old, 2)


def test_nobody_forks_a_job_that_is_not_there_or_not_theirs(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    old = worked(stepper)
    before = stepper.dump()
    with pytest.raises(NotFound):
        stepper.fork(uuid4(), 1)
    with pytest.raises(NotFound):
        Stepper(doors, other_tenant).fork(old, 1)
    assert stepper.dump() == before


def test_forks_of_one_job_at_once_are_all_made(stepper: Stepper) -> None:
    old = worked(stepper)
    made = at_once([lambda n=n: stepper.fork(old, n) for n in (1, 2, 5, 7)])
    assert [found for found, _ in made] == [Forked.MADE] * 4
    for _, new_id in made:
        stepper.check_books(new_id)
