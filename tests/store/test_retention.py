"""Retention: jobs that ended long ago go, a batch at a time, each with all it had, and no other."""

from __future__ import annotations

from uuid import UUID

import pytest
from sqlalchemy import text

from store import artifacts, due
from store.doors import Doors
from store.errors import NotFound
from store.states import JobStatus
from store.transitions import Usage
from tests.stepping import COMPLETED, QUESTION, Stepper, call, child, delegate, signal, timer

KEPT_S, LETTERS_KEPT_S = 1_000.0, 5_000.0
OLD_S, VERY_OLD_S = 2_000.0, 6_000.0


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def retire(doors: Doors, limit: int = 100) -> int:
    with doors.as_operator("test") as tx:
        return due.retire_jobs(tx, kept_s=KEPT_S, letters_kept_s=LETTERS_KEPT_S, limit=limit)


def complete(stepper: Stepper, job_id: UUID) -> UUID:
    stepper.commit(stepper.take(job_id), ending=COMPLETED)
    return job_id


def ended(stepper: Stepper, age_s: float = OLD_S) -> UUID:
    """A job that was completed so long ago."""
    return grow_old(stepper, complete(stepper, stepper.put_down()), age_s)


def failed(stepper: Stepper, age_s: float = OLD_S) -> UUID:
    job_id = stepper.put_down()
    stepper.fail(stepper.take(job_id))
    return grow_old(stepper, job_id, age_s)


def grow_old(stepper: Stepper, job_id: UUID, age_s: float = OLD_S) -> UUID:
    stepper.set_back("jobs", "finished_at", age_s, id=job_id)
    stepper.set_back("dead_letters", "created_at", age_s, job_id=job_id)
    return job_id


def is_there(stepper: Stepper, job_id: UUID) -> bool:
    try:
        stepper.job(job_id)
    except NotFound:
        return False
    return True


def test_jobs_that_ended_long_ago_go_and_newer_ones_stay(stepper: Stepper, doors: Doors) -> None:
    old, new = ended(stepper), ended(stepper, age_s=1.0)
    assert retire(doors) == 1
    assert retire(doors) == 0
    assert (is_there(stepper, old), is_there(stepper, new)) == (False, True)


def test_a_batch_is_bounded_and_the_oldest_go_first(stepper: Stepper, doors: Doors) -> None:
    by_age = [ended(stepper, age_s=OLD_S + n) for n in range(5)]
    assert retire(doors, limit=2) == 2
    assert [is_there(stepper, job_id) for job_id in by_age] == [True] * 3 + [False] * 2
    assert [retire(doors, limit=2) for _ in range(3)] == [2, 1, 0]


def test_what_has_not_ended_stays_however_old(stepper: Stepper, doors: Doors) -> None:
    queued, running = stepper.put_down(), stepper.put_down()
    stepper.take(running)
    for job_id in (queued, running, stepper.put_to_sleep(timer()), stepper.put_to_sleep(QUESTION)):
        stepper.set_back("jobs", "created_at", VERY_OLD_S, id=job_id)
        stepper.set_back("jobs", "started_at", VERY_OLD_S, id=job_id)
    assert retire(doors) == 0


def test_a_step_that_is_still_coming_in_keeps_its_job(stepper: Stepper, doors: Doors) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    late = stepper.take(job_id, 2)
    stepper.commit(stepper.take(job_id, 1), ending=COMPLETED)
    grow_old(stepper, job_id)
    assert retire(doors) == 0
    assert stepper.join(late) is not None
    assert retire(doors) == 1


def test_all_that_a_job_had_goes_with_it_and_nothing_of_another(
    stepper: Stepper, doors: Doors
) -> None:
    kept, gone = rich(stepper), rich(stepper)
    grow_old(stepper, gone, VERY_OLD_S)
    assert retire(doors) == 1
    with doors.as_operator("test") as tx:
        for table in ("checkpoints", "events", "usage", "waits", "signals", "dead_letters",
                      "artifacts"):  # fmt: skip
            found = tx.execute(text(f"select distinct job_id from stepwell.{table}")).scalars()
            assert set(found) == {kept}, table
        chunks = tx.execute(text("select count(*) from stepwell.artifact_chunks")).scalar_one()
        assert chunks == 1
    stepper.check_books(kept)


def rich(stepper: Stepper) -> UUID:
    """A failed job with a row in every table there is."""
    job_id = stepper.put_to_sleep(signal())
    stepper.send(job_id, "paid")
    held = stepper.take(job_id)
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        artifacts.save(
            tx,
            tenant_id=stepper.tenant_id,
            job_id=job_id,
            seq=1,
            name="report.txt",
            media_type="text/plain",
            chunks=[b"some bytes"],
            size_max_bytes=1_000,
        )
    stepper.commit(held, usage=Usage("m", 1, 2, 3), plan=(call(2),))
    stepper.fail(stepper.take(job_id, 2))
    return job_id


# --- a line goes as a whole -----------------------------------------------------------------------


def line(stepper: Stepper) -> list[UUID]:
    """A job that is over, with a child and that one's child."""
    children = [child(), child()]
    root_id = stepper.put_down([call(1)])
    stepper.park(stepper.take(root_id), delegate(children[0]))
    stepper.park(stepper.take(children[0].id), delegate(children[1]))
    made = [root_id, children[0].id, children[1].id]
    for below, above in ((made[2], made[1]), (made[1], made[0])):
        complete(stepper, below)
        assert stepper.tell_parent(below) == (above, 1)
    complete(stepper, root_id)
    return made


def test_a_line_of_jobs_goes_as_a_whole_by_the_age_of_its_first(
    stepper: Stepper, doors: Doors
) -> None:
    made = line(stepper)
    for job_id in made[1:]:
        grow_old(stepper, job_id)
    assert retire(doors) == 0, "its first job is new"
    grow_old(stepper, made[0])
    assert retire(doors) == 1, "roots are counted"
    assert not any(is_there(stepper, job_id) for job_id in made)


def test_a_line_stays_while_one_of_it_has_not_ended(stepper: Stepper, doors: Doors) -> None:
    born = child()
    root_id = stepper.put_down([call(1), call(2)])
    ending = stepper.take(root_id, 2)
    stepper.park(stepper.take(root_id, 1), delegate(born))
    running = stepper.take(born.id)
    stepper.commit(ending, ending=COMPLETED)
    grow_old(stepper, root_id)
    assert stepper.job(born.id).status is JobStatus.RUNNING
    assert retire(doors) == 0
    stepper.join(running)
    assert retire(doors) == 1


# --- kept for others ------------------------------------------------------------------------------


def test_a_job_stays_for_as_long_as_its_fork_does(stepper: Stepper, doors: Doors) -> None:
    old = ended(stepper)
    _, fork = stepper.fork(old, 1)
    assert retire(doors) == 0
    grow_old(stepper, complete(stepper, fork))
    assert [retire(doors), retire(doors), retire(doors)] == [1, 1, 0]
    assert not is_there(stepper, fork)
    assert not is_there(stepper, old)


def test_a_line_stays_for_a_fork_of_any_of_it(stepper: Stepper, doors: Doors) -> None:
    made = line(stepper)
    stepper.fork(made[2], 1)
    for job_id in made:
        grow_old(stepper, job_id)
    assert retire(doors) == 0
    assert is_there(stepper, made[0])


def test_an_open_letter_keeps_its_job_for_longer_but_not_for_ever(
    stepper: Stepper, doors: Doors
) -> None:
    open_letter, very_old = failed(stepper), failed(stepper, VERY_OLD_S)
    discarded = failed(stepper)
    from store import letters

    with doors.as_tenant(stepper.tenant_id) as tx:
        letters.discard(tx, discarded, by="ann")
    assert retire(doors) == 2
    assert is_there(stepper, open_letter)
    assert not is_there(stepper, very_old)
    assert not is_there(stepper, discarded)


def test_an_open_letter_of_a_child_keeps_the_whole_line(stepper: Stepper, doors: Doors) -> None:
    born = child()
    root_id = stepper.bear(born)
    stepper.fail(stepper.take(born.id))
    stepper.tell_parent(born.id)
    complete(stepper, root_id)
    for job_id in (root_id, born.id):
        grow_old(stepper, job_id)
    assert retire(doors) == 0
    grow_old(stepper, born.id, VERY_OLD_S)
    assert retire(doors) == 1


# --- beside others --------------------------------------------------------------------------------


def test_a_job_that_somebody_holds_is_left_for_the_next_round(
    stepper: Stepper, doors: Doors
) -> None:
    held, free = ended(stepper), ended(stepper)
    with stepper.held_by_another("jobs", "id = :id", id=held):
        assert retire(doors) == 1
    assert not is_there(stepper, free)
    assert retire(doors) == 1


def test_jobs_of_every_tenant_go(stepper: Stepper, doors: Doors, other_tenant: UUID) -> None:
    theirs = Stepper(doors, other_tenant)
    ended(stepper)
    ended(theirs)
    assert retire(doors) == 2
