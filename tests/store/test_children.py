"""Children: born with the wait for them, bounded, heard of when all are over, ended from above."""

from __future__ import annotations

from dataclasses import replace
from threading import Thread
from uuid import UUID

import pytest
from sqlalchemy import text

from scheduler.reconcile import stop_due
from store import due, transitions
from store.doors import Doors
from store.states import JobClass, JobStatus, StepState, WaitKind, WaitState, Work
from store.transitions import NewChild, Parked
from tests.running import at_once, eventually
from tests.stepping import COMPLETED, ERROR, MODEL, QUESTION, Stepper, call, child, delegate, timer


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def complete(stepper: Stepper, child_id: UUID, output: object = None) -> None:
    ending = transitions.Ending(JobStatus.COMPLETED, output=output)
    assert stepper.commit(stepper.take(child_id), ending=ending) is not None


def family(stepper: Stepper, count: int = 2) -> tuple[UUID, list[UUID]]:
    """A parent that waits for so many children."""
    born = [child() for _ in range(count)]
    return stepper.bear(*born), [each.id for each in born]


def line(stepper: Stepper, depth: int) -> list[UUID]:
    """A job, its child, that one's child, and so on; all but the last wait for theirs."""
    made = [stepper.put_down([call(1)])]
    for _ in range(depth):
        born = child()
        assert stepper.park(stepper.take(made[-1]), delegate(born)) is Parked.PARKED
        made.append(born.id)
    return made


# --- born -----------------------------------------------------------------------------------------


def test_children_are_born_with_the_wait_for_them(stepper: Stepper) -> None:
    first, second = child(call(1), call(2), agent="reader"), child()
    parent_id = stepper.bear(first, second, job_class=JobClass.BATCH)
    parent = stepper.job(parent_id)
    assert (parent.status, parent.status_reason) == (JobStatus.QUEUED, "children")
    assert (parent.children, parent.depth, parent.root_id) == (2, 0, parent_id)
    assert stepper.wait(parent_id).kind is WaitKind.CHILDREN

    born = stepper.children(parent_id)
    assert [job.id for job in born] == [first.id, second.id]
    for job in born:
        assert (job.parent_job_id, job.parent_seq) == (parent_id, 1)
        assert (job.root_id, job.depth, job.origin) == (parent_id, 1, "agent")
        assert (job.job_class, job.status) == (JobClass.BATCH, JobStatus.QUEUED)
        assert job.input == {"of": "parent"}
        assert stepper.story(job.id) == ["job.queued"]
        stepper.check_books(job.id)
    assert born[0].agent == "reader"
    assert [step.input for step in stepper.steps(first.id)] == [call(1).input, call(2).input]
    stepper.check_books(parent_id)


def test_nobody_sees_children_before_the_parent_is_parked_nor_those_of_a_stale_park(
    stepper: Stepper,
) -> None:
    parent_id, worker = stepper.put_down([call(1)]), stepper.start_worker()
    zombie = stepper.take(parent_id, 1, worker)
    stepper.lose(worker)
    held = stepper.take(parent_id)
    before = stepper.dump()
    assert stepper.park(zombie, delegate(child())) is None
    assert stepper.dump() == before
    stepper.cancel(parent_id)
    assert stepper.park(held, delegate(child())) is Parked.STOPPED
    assert stepper.children(parent_id) == []
    stepper.check_books(parent_id)


def test_a_child_brings_its_parent_to_its_claim_and_is_rung_for_like_any_other(
    stepper: Stepper, doors: Doors
) -> None:
    parent_id, (child_id,) = family(stepper, 1)
    with doors.as_operator("test") as tx:
        taken = due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 10}, again_s=1.0)
    assert [step.job_id for step in taken] == [child_id]
    assert stepper.take(child_id).parent_job_id == parent_id


@pytest.mark.parametrize(
    ("theirs", "its", "expected"),
    [(None, None, None), (100, None, 100), (None, 50, 50), (100, 50, 50), (50, 100, 50)],
)
def test_a_child_ends_no_later_than_its_parent(
    stepper: Stepper, theirs: float | None, its: float | None, expected: float | None
) -> None:
    born = child(deadline_in_s=its)
    stepper.bear(born, deadline_in_s=theirs)
    left_s = stepper.take(born.id).deadline_in_s
    if expected is None:
        assert left_s is None
    else:
        assert left_s is not None
        assert expected - 30 < left_s < expected


# --- bounds ---------------------------------------------------------------------------------------


def test_children_that_would_be_too_deep_or_too_many_leave_the_step_running(
    stepper: Stepper,
) -> None:
    root_id, child_id = line(stepper, 1)
    held = stepper.take(child_id)
    before = stepper.dump()
    assert stepper.park(held, delegate(child()), depth_max=1) is Parked.REFUSED
    two = delegate(child(), child())
    assert stepper.park(held, two, descendants_max=2) is Parked.REFUSED
    # The story tells of it (see test_invocation.py), and nothing else has changed.
    after = stepper.dump()
    assert {name for name in after if after[name] != before[name]} == {"jobs", "events"}
    assert len(after["jobs"]) == len(before["jobs"])
    assert stepper.park(held, two, depth_max=2, descendants_max=3) is Parked.PARKED
    for job_id in (root_id, child_id):
        stepper.check_books(job_id)


def test_the_bound_of_a_whole_line_holds_when_two_of_it_ask_at_once(
    stepper: Stepper, doors: Doors
) -> None:
    root_id, child_ids = family(stepper, 2)
    first, second = (stepper.take(child_id) for child_id in child_ids)
    answers: list[Parked | None] = []

    def ask() -> None:
        answers.append(stepper.park(second, delegate(child()), descendants_max=3))

    with doors.hot() as connection, connection.transaction():
        bounds = {"depth_max": 5, "descendants_max": 3}
        asked = transitions.park(connection, first, delegate(child()), **bounds)
        assert asked is Parked.PARKED
        other = Thread(target=ask)
        other.start()
        eventually(lambda: answers or is_waiting_for_a_lock(doors))
    other.join(timeout=10)
    assert answers == [Parked.REFUSED]
    stepper.check_books(root_id)


def is_waiting_for_a_lock(doors: Doors) -> bool:
    with doors.as_operator("test") as tx:
        return bool(
            tx.execute(text("select exists (select from pg_locks where not granted)")).scalar()
        )


# --- over -----------------------------------------------------------------------------------------


def test_the_last_child_that_is_over_wakes_its_parent(stepper: Stepper) -> None:
    parent_id, (first, second, third) = family(stepper, 3)
    complete(stepper, second, {"n": 2})
    assert stepper.tell_parent(second) is None
    stepper.fail(stepper.take(first))
    assert stepper.tell_parent(first) is None
    assert stepper.states(parent_id) == [StepState.WAITING]
    stepper.cancel(third)
    assert stepper.tell_parent(third) == (parent_id, 1)

    woken = stepper.take(parent_id).woken
    assert woken is not None
    assert (woken.kind, woken.state) == (WaitKind.CHILDREN, WaitState.FIRED)
    assert woken.result == [
        {"job_id": str(first), "agent": "test", "status": "failed", "output": None, "error": ERROR},
        {"job_id": str(second), "agent": "test", "status": "completed", "output": {"n": 2},
         "error": None},
        {"job_id": str(third), "agent": "test", "status": "cancelled", "output": None,
         "error": None},
    ]  # fmt: skip
    stepper.check_books(parent_id)


def test_children_are_told_of_in_the_order_in_which_they_were_asked_for(stepper: Stepper) -> None:
    later, sooner = child(), child()
    asked = [sooner, later, child()]
    prompt = {"children": [str(each.id) for each in asked]}
    parent_id = stepper.put_to_sleep(replace(delegate(*asked), prompt=prompt))
    for each in (later, asked[2], sooner):
        complete(stepper, each.id)
        stepper.tell_parent(each.id)
    woken = stepper.take(parent_id).woken
    assert woken is not None
    assert [told["job_id"] for told in woken.result] == prompt["children"]


def test_a_child_that_expires_is_over_too(stepper: Stepper, doors: Doors) -> None:
    born = child(deadline_in_s=60)
    parent_id = stepper.bear(born)
    stepper.pass_deadline(born.id)
    assert stop_due(doors) == 1
    assert stepper.wake() == 1
    woken = stepper.take(parent_id).woken
    assert woken is not None
    assert woken.result[0]["status"] == "expired"


def test_a_child_is_told_of_once_and_only_when_it_is_over(stepper: Stepper) -> None:
    parent_id, (first, second) = family(stepper)
    before = stepper.dump()
    assert stepper.tell_parent(first) is None
    assert stepper.tell_parent(parent_id) is None, "nobody's child"
    assert stepper.dump() == before
    complete(stepper, first)
    stepper.tell_parent(first)
    before = stepper.dump()
    assert stepper.tell_parent(first) is None
    assert stepper.dump() == before
    complete(stepper, second)
    assert stepper.tell_parent(second) == (parent_id, 1)
    assert stepper.tell_parent(second) is None
    assert stepper.story(parent_id).count("step.woken") == 1


def test_a_child_that_is_asleep_or_waits_for_a_person_is_not_over(stepper: Stepper) -> None:
    parent_id, child_ids = family(stepper, 4)
    complete(stepper, child_ids[0])
    for child_id, wait in zip(child_ids[1:3], (timer(), QUESTION), strict=True):
        stepper.park(stepper.take(child_id), wait)
    assert stepper.tell_parent(child_ids[0]) is None
    stepper.cancel(child_ids[3])
    assert stepper.tell_parent(child_ids[3]) is None
    stepper.cancel(child_ids[1])
    assert stepper.tell_parent(child_ids[1]) is None
    assert stepper.states(parent_id) == [StepState.WAITING]
    stepper.cancel(child_ids[2])
    assert stepper.tell_parent(child_ids[2]) == (parent_id, 1)


def test_the_last_two_children_that_end_at_once_wake_the_parent_once(stepper: Stepper) -> None:
    for _ in range(12):
        parent_id, child_ids = family(stepper)
        held = [stepper.take(child_id) for child_id in child_ids]

        def end(n: int, held: list[transitions.Claim] = held) -> tuple[UUID, int] | None:
            stepper.commit(held[n], ending=COMPLETED)
            return stepper.tell_parent(held[n].job_id)

        told = at_once([lambda: end(0), lambda: end(1)])
        assert sorted(told, key=str) == [(parent_id, 1), None]
        assert stepper.story(parent_id).count("step.woken") == 1
        stepper.check_books(parent_id)


def test_the_round_finds_the_children_that_nobody_told_of(stepper: Stepper, doors: Doors) -> None:
    families = [family(stepper) for _ in range(3)]
    for _, child_ids in families:
        for child_id in child_ids:
            complete(stepper, child_id)
    with doors.as_operator("test") as tx:
        assert due.tell_parents(tx, 4) == 4, "no more than its bound"
    with doors.as_operator("test") as tx:
        assert due.tell_parents(tx, 4) == 2
        assert due.tell_parents(tx, 4) == 0
    for parent_id, child_ids in families:
        assert stepper.states(parent_id) == [StepState.READY]
        assert all(stepper.job(child_id).parent_told for child_id in child_ids)


def test_schedulers_side_by_side_tell_each_child_once(stepper: Stepper) -> None:
    families = [family(stepper, 3) for _ in range(4)]
    for _, child_ids in families:
        for child_id in child_ids:
            complete(stepper, child_id)
    at_once([stepper.wake] * 4)
    stepper.wake()
    for parent_id, _ in families:
        assert stepper.story(parent_id).count("step.woken") == 1
        stepper.check_books(parent_id)


@pytest.mark.parametrize("who", ["parent", "child"])
def test_a_family_that_somebody_holds_is_left_for_the_next_round(
    stepper: Stepper, who: str
) -> None:
    parent_id, (child_id,) = family(stepper, 1)
    complete(stepper, child_id)
    held = parent_id if who == "parent" else child_id
    with stepper.held_by_another("jobs", "id = :id", id=held):
        assert stepper.wake() == 0
    assert stepper.wake() == 1
    assert stepper.states(parent_id) == [StepState.READY]


def test_schedulers_that_tell_of_a_whole_line_at_once_do_not_wait_for_each_other(
    stepper: Stepper,
) -> None:
    for _ in range(4):
        made = line(stepper, 4)
        stepper.cancel(made[0])
        at_once([stepper.wake] * 4)
        stepper.wake()
        assert all(stepper.job(job_id).parent_told for job_id in made[1:])


def test_a_step_that_gave_up_waiting_is_not_woken_by_its_children_any_more(
    stepper: Stepper,
) -> None:
    born = child()
    wait = replace(delegate(born), wake_in_s=60)
    parent_id = stepper.put_to_sleep(wait)
    stepper.come_due(parent_id)
    assert stepper.wake() == 1
    assert stepper.wait(parent_id).state is WaitState.EXPIRED
    complete(stepper, born.id)
    assert stepper.tell_parent(born.id) is None
    assert stepper.job(born.id).parent_told
    assert stepper.story(parent_id).count("step.woken") == 1


# --- ended from above -----------------------------------------------------------------------------


def test_a_cancel_goes_all_the_way_down(stepper: Stepper) -> None:
    root_id = stepper.put_down([call(1)])
    queued, parked, running, bearing = (child() for _ in range(4))
    stepper.park(stepper.take(root_id), delegate(queued, parked, running, bearing))
    stepper.park(stepper.take(parked.id), QUESTION)
    held = stepper.take(running.id)
    deep: list[NewChild] = [child(), child()]
    stepper.park(stepper.take(bearing.id), delegate(*deep))
    deepest = stepper.take(deep[1].id)

    assert stepper.cancel(root_id).status is JobStatus.CANCELLED
    over = [root_id, queued.id, parked.id, bearing.id, deep[0].id]
    assert all(stepper.job(job_id).status is JobStatus.CANCELLED for job_id in over)
    for claim in (held, deepest):
        asked = stepper.job(claim.job_id)
        assert (asked.status, asked.cancel_requested_at is None) == (JobStatus.RUNNING, False)
        settled = stepper.commit(claim, output="kept", plan=(MODEL,))
        assert settled is not None
        assert settled.job_status is JobStatus.CANCELLED
        assert stepper.step(claim.job_id).output == "kept"
    for job_id in [*over, running.id, deep[1].id]:
        assert stepper.story(job_id)[-1] == "job.cancelled"
        stepper.check_books(job_id)
    assert stepper.wake() == 6, "all of them are told of, though nobody waits any more"


@pytest.mark.parametrize("how", ["failed", "completed", "expired"])
def test_whatever_ends_the_parent_ends_its_children(
    stepper: Stepper, doors: Doors, how: str
) -> None:
    parent_id, born = stepper.put_down([call(1), call(2)], deadline_in_s=60), child()
    ending = stepper.take(parent_id, 2)
    stepper.park(stepper.take(parent_id, 1), delegate(born))
    if how == "failed":
        stepper.fail(ending)
    elif how == "completed":
        stepper.commit(ending, ending=COMPLETED)
    else:
        stepper.park(ending, timer())
        stepper.pass_deadline(parent_id)
        assert stop_due(doors) == 1
    assert stepper.job(parent_id).status.value == how
    assert stepper.job(born.id).status is JobStatus.CANCELLED
    for job_id in (parent_id, born.id):
        stepper.check_books(job_id)


def test_children_that_were_given_up_end_with_their_parent(stepper: Stepper) -> None:
    born = child()
    parent_id = stepper.put_to_sleep(replace(delegate(born), wake_in_s=60))
    stepper.come_due(parent_id)
    stepper.wake()
    stepper.commit(stepper.take(parent_id), ending=COMPLETED)
    assert stepper.job(born.id).status is JobStatus.CANCELLED


def test_a_cancel_of_a_child_leaves_its_parent_and_its_siblings_alone(stepper: Stepper) -> None:
    parent_id, (first, second) = family(stepper)
    stepper.cancel(first)
    stepper.tell_parent(first)
    assert stepper.job(parent_id).cancel_requested_at is None
    assert stepper.job(second).status is JobStatus.QUEUED
    stepper.check_books(parent_id)


def test_a_cancel_from_above_and_endings_below_at_once_leave_whole_books(stepper: Stepper) -> None:
    for _ in range(8):
        made = line(stepper, 3)
        last = stepper.take(made[-1])

        def end(last: transitions.Claim = last) -> None:
            stepper.commit(last, ending=COMPLETED)
            stepper.tell_parent(last.job_id)

        at_once([lambda m=made: stepper.cancel(m[0]), lambda m=made: stepper.cancel(m[2]), end])
        assert stepper.job(made[0]).status is JobStatus.CANCELLED
        for job_id in made:
            assert stepper.job(job_id).status.is_ended
            stepper.check_books(job_id)
