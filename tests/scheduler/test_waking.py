"""Waking: one round finds all that has come due, and leaves the rest alone."""

from __future__ import annotations

from uuid import UUID

import pytest

from scheduler import waking
from scheduler.waking import wake
from store import due, letters
from store.doors import Doors
from store.letters import LetterFilter
from store.states import JobClass, JobStatus, LetterState, StepState, Work
from tests.running import at_once
from tests.stepping import COMPLETED, QUESTION, Stepper, child, delegate, signal, timer


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def dead(stepper: Stepper) -> UUID:
    job_id = stepper.put_down()
    stepper.fail(stepper.take(job_id))
    return job_id


def line_up(stepper: Stepper) -> None:
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        letters.plan_replays(
            tx, LetterFilter(), versions={"test": "1"}, per_s=1_000.0, by="ann", limit=100
        )
    stepper.set_back("dead_letters", "replay_at", 60.0, state="replaying")


def unheard(stepper: Stepper) -> tuple[UUID, UUID]:
    """A parent and its only child, which is over, and whose worker died before it said so."""
    born = child()
    parent_id = stepper.bear(born)
    stepper.commit(stepper.take(born.id), ending=COMPLETED)
    return parent_id, born.id


def test_a_round_with_nothing_due_changes_nothing(doors: Doors, stepper: Stepper) -> None:
    for wait in (timer(), signal(), signal(wake_in_s=60), QUESTION):
        stepper.put_to_sleep(wait)
    stepper.bear(child())
    dead(stepper)
    before = stepper.dump()
    assert wake(doors) == 0
    assert stepper.dump() == before


def test_one_round_wakes_timers_and_parents_and_makes_the_replays_that_are_due(
    doors: Doors, stepper: Stepper
) -> None:
    asleep, (parent, _), letter = stepper.put_to_sleep(timer()), unheard(stepper), dead(stepper)
    stepper.come_due(asleep)
    line_up(stepper)
    assert wake(doors) == 3
    assert stepper.states(asleep) == stepper.states(parent) == [StepState.READY]
    assert stepper.letter(letter).state is LetterState.REPLAYED
    assert wake(doors) == 0


def test_what_was_woken_is_rung_for_like_any_step_that_is_ready(
    doors: Doors, stepper: Stepper
) -> None:
    asleep, letter = stepper.put_to_sleep(timer(), job_class=JobClass.BATCH), dead(stepper)
    stepper.come_due(asleep)
    line_up(stepper)
    wake(doors)

    def rung(job_class: JobClass) -> list[UUID]:
        with doors.as_operator("test") as tx:
            return [s.job_id for s in due.take(tx, {(job_class, Work.WAITS): 9}, again_s=60.0)]

    assert rung(JobClass.BATCH) == [asleep]
    assert rung(JobClass.BACKGROUND) == [stepper.letter(letter).replayed_as]


def test_a_round_is_bounded_and_the_next_one_has_the_rest(
    doors: Doors, stepper: Stepper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "WAKES_MAX", 2)
    for _ in range(3):
        stepper.come_due(stepper.put_to_sleep(timer()))
        unheard(stepper)
        dead(stepper)
    line_up(stepper)
    assert [wake(doors) for _ in range(3)] == [6, 3, 0]


def test_schedulers_side_by_side_wake_everything_once(doors: Doors, stepper: Stepper) -> None:
    asleep = [stepper.put_to_sleep(timer()) for _ in range(5)]
    families = [unheard(stepper) for _ in range(5)]
    dead_ones = [dead(stepper) for _ in range(5)]
    for job_id in asleep:
        stepper.come_due(job_id)
    line_up(stepper)
    found = at_once([lambda: wake(doors)] * 4)
    assert sum(found) + wake(doors) == 15, "what two wanted at once is left for the next round"
    for job_id in (*asleep, *(parent for parent, _ in families)):
        assert stepper.story(job_id).count("step.woken") == 1
        stepper.check_books(job_id)
    assert len({stepper.letter(job_id).replayed_as for job_id in dead_ones}) == 5


def test_a_round_does_for_every_tenant_what_is_due_there(
    doors: Doors, stepper: Stepper, other_tenant: UUID
) -> None:
    for each in (stepper, Stepper(doors, other_tenant), stepper):
        each.come_due(each.put_to_sleep(timer()))
        parent_id, _ = unheard(each)
        letter = dead(each)
        line_up(each)
        assert wake(doors) == 3
        assert each.states(parent_id) == [StepState.READY]
        new = each.letter(letter).replayed_as
        assert new is not None
        assert each.job(new).tenant_id == each.tenant_id


def test_one_round_goes_from_tenant_to_tenant_and_mixes_nothing_up(
    doors: Doors, stepper: Stepper, other_tenant: UUID
) -> None:
    theirs = Stepper(doors, other_tenant)
    made: list[tuple[Stepper, UUID]] = []
    for each in (stepper, theirs, stepper, theirs):
        made.append((each, each.put_to_sleep(timer())))
        each.come_due(made[-1][1])
        made.append((each, unheard(each)[0]))
    assert wake(doors) == 8
    for each, job_id in made:
        assert each.states(job_id) == [StepState.READY]
        each.check_books(job_id)


def test_a_whole_line_that_ended_from_above_is_told_of_and_wakes_nobody(
    doors: Doors, stepper: Stepper
) -> None:
    first, second = child(), child()
    root_id = stepper.bear(first)
    stepper.park(stepper.take(first.id), delegate(second))
    stepper.cancel(root_id)
    assert wake(doors) == 2
    for job_id in (root_id, first.id, second.id):
        assert stepper.job(job_id).status is JobStatus.CANCELLED
        assert "step.woken" not in stepper.story(job_id)
    assert stepper.job(first.id).parent_told
    assert stepper.job(second.id).parent_told
