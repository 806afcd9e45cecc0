"""Dead letters: a failed job has one, to look at, discard, or replay once from where it broke."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs.lifecycle.verdicts import NOTHING_HAPPENED, ErrorClass
from store import due, letters
from store.doors import Doors
from store.errors import NotFound
from store.letters import LetterFilter, Replayed
from store.rows import LetterRow
from store.states import JobClass, JobStatus, LetterState, StepState
from store.transitions import Ending, Start
from tests.running import at_once
from tests.stepping import COMPLETED, MODEL, QUESTION, Stepper, call, child


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def broken(message: str = "It broke.", kind: str = "bug") -> dict[str, Any]:
    return {"class": kind, "message": message, "hint": "Mend it."}


def dead(stepper: Stepper, error: dict[str, Any] | None = None, **job: Any) -> UUID:
    """A job that failed at its only step."""
    job_id = stepper.put_down([call(1)], **job)
    stepper.fail(stepper.take(job_id), error)
    return job_id


def dead_in_a_group(stepper: Stepper) -> UUID:
    """A job of a model step and four calls: one is in, one failed, one begun, one never was."""
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id), output="calls", plan=tuple(call(n) for n in range(2, 6)))
    failing, late = stepper.take(job_id, 3), stepper.take(job_id, 5)
    stepper.commit(stepper.take(job_id, 2), output="kept", plan=(MODEL,), is_joining=True)
    stepper.start_effect(failing)
    stepper.fail(failing)
    assert stepper.replay(job_id)[0] is Replayed.BUSY, "the last one is still coming in"
    stepper.commit(late, output="late", plan=(MODEL,), is_joining=True)
    return job_id


def found(stepper: Stepper, **wanted: Any) -> list[UUID]:
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        return [letter.job_id for letter in letters.list_newest(tx, LetterFilter(**wanted))]


def discard(stepper: Stepper, job_id: UUID) -> LetterRow:
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        return letters.discard(tx, job_id, by="ann")


def plan(
    stepper: Stepper, *, per_s: float = 1.0, limit: int = 100, versions: Any = None, **wanted: Any
) -> int:
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        return letters.plan_replays(
            tx,
            LetterFilter(**wanted),
            versions={"test": "2"} if versions is None else versions,
            per_s=per_s,
            by="ben",
            limit=limit,
        )


# --- written --------------------------------------------------------------------------------------


def test_a_job_that_fails_leaves_a_letter_and_no_other_ending_does(stepper: Stepper) -> None:
    job_id = dead(stepper)
    letter = stepper.letter(job_id)
    assert (letter.seq, letter.step_name, letter.agent) == (1, "tool.test", "test")
    assert (letter.error_class, letter.message, letter.hint) == ("bug", "It broke.", "Mend it.")
    assert (letter.state, letter.replayed_as, letter.decided_by) == (LetterState.OPEN, None, None)
    assert letter.created_at == stepper.job(job_id).finished_at, "by the same transaction"

    completed, cancelled = stepper.put_down(), stepper.put_down()
    expired = stepper.put_to_sleep(QUESTION, deadline_in_s=60)
    stepper.commit(stepper.take(completed), ending=COMPLETED)
    stepper.cancel(cancelled)
    stepper.pass_deadline(expired)
    stepper.claim(expired, 1, stepper.start_worker())
    assert found(stepper) == [job_id]


def test_a_stale_failure_and_a_second_one_leave_no_letter(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    zombie = stepper.take(job_id, 1)
    stepper.release(zombie)
    stepper.fail(zombie)
    assert found(stepper) == []
    first, second = stepper.take(job_id, 1), stepper.take(job_id, 2)
    at_once([lambda: stepper.fail(first), lambda: stepper.fail(second)])
    assert found(stepper) == [job_id]
    stepper.check_books(job_id)


def test_a_letter_is_written_also_for_an_error_that_says_little(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    ending = {"state": StepState.FAILED, "ending": FAILED_BARELY}
    assert stepper.commit(stepper.take(job_id), **ending) is not None
    letter = stepper.letter(job_id)
    assert (letter.error_class, letter.message, letter.hint) == ("bug", "", "")


FAILED_BARELY = Ending(JobStatus.FAILED, error={})


def test_failures_that_look_the_same_share_a_fingerprint_and_others_do_not(
    stepper: Stepper,
) -> None:
    def fingerprint(error: dict[str, Any], **job: Any) -> str:
        return stepper.letter(dead(stepper, error, **job)).fingerprint

    said = "Order {} of customer {} was refused after {} ms."
    same = {fingerprint(broken(said.format(n, uuid4(), f"{n}17"))) for n in (1, 22, 333)}
    assert len(same) == 1
    assert all(len(each) == 12 and int(each, 16) >= 0 for each in same)
    others = [
        fingerprint(broken("Order 1 of customer 2 was lost after 3 ms.")),
        fingerprint(broken(said.format(1, uuid4(), 17), kind="timeout")),
        fingerprint(broken(said.format(1, uuid4(), 17)), agent="another"),
    ]
    assert len({*same, *others}) == 4


# --- found ----------------------------------------------------------------------------------------


def test_letters_are_found_by_every_field_and_newest_first(stepper: Stepper) -> None:
    first = dead(stepper, agent="reader")
    second = dead(stepper, broken(kind="timeout"))
    third = dead(stepper, broken("Something else."))
    discard(stepper, third)
    assert found(stepper) == [third, second, first]
    assert found(stepper, agent="reader") == [first]
    assert found(stepper, error_class="timeout") == [second]
    assert found(stepper, state=LetterState.OPEN) == [second, first]
    assert found(stepper, fingerprint=stepper.letter(third).fingerprint) == [third]
    assert found(stepper, agent="test", state=LetterState.OPEN) == [second]
    assert found(stepper, agent="reader", error_class="timeout") == []


def test_pages_hold_every_letter_once(stepper: Stepper) -> None:
    job_ids = [dead(stepper) for _ in range(5)]
    seen: list[UUID] = []
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        while page := letters.list_newest(
            tx, LetterFilter(), limit=2, before=seen[-1] if seen else None
        ):
            seen += [letter.job_id for letter in page]
    assert seen == job_ids[::-1]


def test_letters_of_another_tenant_are_neither_seen_nor_decided(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    theirs = Stepper(doors, other_tenant)
    job_id = dead(stepper)
    before = stepper.dump()
    assert found(theirs) == []
    assert plan(theirs) == 0
    for peek in (theirs.letter, theirs.replay, lambda j: discard(theirs, j)):
        with pytest.raises(NotFound):
            peek(job_id)
    assert stepper.dump() == before


# --- replayed -------------------------------------------------------------------------------------


def test_a_replay_goes_on_from_the_failed_step_in_a_new_job(stepper: Stepper) -> None:
    old = stepper.put_down([MODEL], input={"ask": "why"}, job_class=JobClass.INTERACTIVE)
    stepper.commit(stepper.take(old), output="first", plan=(call(2),))
    stepper.fail(stepper.take(old, 2))
    was = stepper.job(old)

    made, new = stepper.replay(old, version="2", job_class=JobClass.BACKGROUND)
    assert made is Replayed.MADE
    assert stepper.job(old) == was, "one ending: a failed job stays failed"
    job = stepper.job(new)
    assert (job.status, job.agent_version, job.job_class) == (
        JobStatus.QUEUED, "2", JobClass.BACKGROUND,
    )  # fmt: skip
    assert (job.input, job.forked_from, job.forked_from_seq) == ({"ask": "why"}, old, 2)
    assert (job.steps_done, job.deadline_at, job.parent_job_id) == (1, None, None)
    assert stepper.states(new) == [StepState.COMMITTED, StepState.READY]
    assert {step.job_class for step in stepper.steps(new)} == {JobClass.BACKGROUND}
    letter = stepper.letter(old)
    assert (letter.state, letter.replayed_as, letter.decided_by) == (
        LetterState.REPLAYED, new, "ann",
    )  # fmt: skip
    stepper.check_books(new)
    stepper.commit(stepper.take(new, 2), ending=COMPLETED)
    assert stepper.job(new).status is JobStatus.COMPLETED
    stepper.check_books(new)


def test_a_replay_from_a_group_keeps_the_siblings_that_were_in_and_joins_the_rest(
    stepper: Stepper,
) -> None:
    old = dead_in_a_group(stepper)
    assert [state.value for state in stepper.states(old)] == [
        "committed", "committed", "failed", "cancelled", "committed",
    ]  # fmt: skip
    made, new = stepper.replay(old)
    assert made is Replayed.MADE
    assert [state.value for state in stepper.states(new)] == [
        "committed", "committed", "ready", "ready", "committed",
    ]  # fmt: skip
    assert [step.output for step in stepper.steps(new)] == ["calls", "kept", None, None, "late"]
    assert stepper.job(new).forked_from_seq == 3
    stepper.check_books(new)
    for seq, planned in ((4, 0), (3, 1)):
        settled = stepper.join(stepper.take(new, seq))
        assert settled is not None
        assert settled.planned == planned
    assert stepper.step(new, 6).name == MODEL.name
    stepper.check_books(new)


def test_a_replayed_effect_keeps_its_key_and_the_mark_that_it_was_begun(
    stepper: Stepper,
) -> None:
    old = dead_in_a_group(stepper)
    _, new = stepper.replay(old)
    begun, never = stepper.take(new, 3), stepper.take(new, 4)
    assert (begun.key, begun.effect_epoch) == (f"{old}:3", 1)
    assert (never.key, never.effect_epoch) == (f"{old}:4", None)
    assert begun.epoch == 2, "newer than the claim that began it"
    assert (begun.attempts, begun.losses) == (0, 0)

    # A replay of the replay: the other side still knows it by its first name.
    assert stepper.start_effect(begun) is Start.GO
    stepper.fail(begun)
    stepper.join(never)
    _, newer = stepper.replay(new)
    last = stepper.take(newer, 3)
    assert (last.key, last.effect_epoch) == (f"{old}:3", 2)
    stepper.check_books(newer)


@pytest.mark.parametrize("kind", ErrorClass)
def test_a_failure_that_says_that_nothing_happened_takes_the_mark_off(
    stepper: Stepper, kind: ErrorClass
) -> None:
    """The engine and the database agree on which failures say so."""
    old = stepper.put_down([call(1)])
    held = stepper.take(old)
    stepper.start_effect(held)
    stepper.fail(held, broken(kind=kind.value))
    _, new = stepper.replay(old)
    began = None if kind in NOTHING_HAPPENED else held.epoch
    assert stepper.take(new).effect_epoch == began
    stepper.check_books(new)


def test_a_replayed_question_is_asked_again(stepper: Stepper) -> None:
    old = stepper.put_down([call(1), call(2)])
    stepper.park(stepper.take(old, 1), QUESTION)
    stepper.answer(old, "yes")
    stepper.fail(stepper.take(old, 2))
    _, new = stepper.replay(old)
    held = stepper.take(new, 1)
    assert held.woken is None
    stepper.park(held, QUESTION)
    assert [wait.n for wait in stepper.waits(new)] == [1]
    stepper.check_books(new)


def test_a_letter_is_replayed_once_also_from_many_threads(stepper: Stepper) -> None:
    old = dead(stepper)
    answers = [made for made, _ in at_once([lambda: stepper.replay(old)] * 6)]
    assert sorted(answers) == [Replayed.CLOSED] * 5 + [Replayed.MADE]
    assert stepper.replay(old)[0] is Replayed.CLOSED


def test_a_child_that_is_replayed_is_nobodys_child(stepper: Stepper) -> None:
    born = child()
    stepper.bear(born)
    stepper.fail(stepper.take(born.id))
    _, new = stepper.replay(born.id)
    job = stepper.job(new)
    assert (job.parent_job_id, job.root_id, job.depth) == (None, new, 0)
    stepper.check_books(new)


def test_a_discarded_letter_is_closed_and_stays_as_it_was_closed(stepper: Stepper) -> None:
    discarded, replayed = dead(stepper), dead(stepper)
    letter = discard(stepper, discarded)
    assert (letter.state, letter.decided_by) == (LetterState.DISCARDED, "ann")
    assert stepper.replay(discarded)[0] is Replayed.CLOSED
    stepper.replay(replayed)
    assert discard(stepper, replayed).state is LetterState.REPLAYED
    assert discard(stepper, discarded) == letter
    with pytest.raises(NotFound):
        discard(stepper, uuid4())
    with pytest.raises(NotFound):
        stepper.replay(stepper.put_down())


# --- many, at a rate ------------------------------------------------------------------------------


def test_a_bulk_replay_is_spaced_by_its_rate_oldest_first(stepper: Stepper) -> None:
    job_ids = [dead(stepper) for _ in range(4)]
    assert plan(stepper, per_s=0.5, limit=3) == 3
    rows = [stepper.letter(job_id) for job_id in job_ids]
    assert [row.state for row in rows] == [LetterState.REPLAYING] * 3 + [LetterState.OPEN]
    assert places(rows[:3]) == [0.0, 2.0, 4.0]
    assert {row.decided_by for row in rows[:3]} == {"ben"}
    assert plan(stepper) == 1, "what is lined up is not lined up again"


def test_a_bulk_replay_of_several_agents_keeps_its_rate_and_its_limit(stepper: Stepper) -> None:
    agents = ["reader", "writer"] * 3
    job_ids = [dead(stepper, agent=agent) for agent in agents]
    dead(stepper, agent="gone")
    versions = {"reader": "7", "writer": "8"}
    assert plan(stepper, per_s=1.0, limit=5, versions=versions) == 5
    assert places([stepper.letter(job_id) for job_id in job_ids[:5]]) == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert stepper.letter(job_ids[5]).state is LetterState.OPEN
    make_due(stepper)
    assert stepper.wake() == 5
    made = [stepper.letter(job_id).replayed_as for job_id in job_ids[:5]]
    assert [stepper.job(new).agent_version for new in made if new] == ["7", "8", "7", "8", "7"]
    assert plan(stepper, versions={}) == 0, "an agent that nobody serves"


def test_a_bulk_replay_takes_what_the_filter_says(stepper: Stepper) -> None:
    slow, wrong = dead(stepper, broken(kind="timeout")), dead(stepper)
    assert plan(stepper, error_class="timeout") == 1
    assert stepper.letter(slow).state is LetterState.REPLAYING
    assert stepper.letter(wrong).state is LetterState.OPEN


def places(rows: list[LetterRow]) -> list[float]:
    """How many seconds after the first each of them is to be replayed."""
    moments = [row.replay_at for row in rows if row.replay_at is not None]
    assert len(moments) == len(rows)
    return [(moment - moments[0]).total_seconds() for moment in moments]


def make_due(stepper: Stepper) -> None:
    stepper.set_back("dead_letters", "replay_at", 3600.0, state="replaying")


def test_the_round_makes_jobs_of_the_letters_whose_turn_has_come(
    stepper: Stepper, doors: Doors
) -> None:
    job_ids = [dead(stepper, job_class=JobClass.INTERACTIVE) for _ in range(3)]
    plan(stepper, per_s=0.001)
    assert stepper.wake() == 1
    assert stepper.wake() == 0
    make_due(stepper)
    with doors.as_operator("test") as tx:
        assert due.replay_due(tx, 1) == 1
        assert due.replay_due(tx, 9) == 1
    for job_id in job_ids:
        letter = stepper.letter(job_id)
        assert (letter.state, letter.decided_by) == (LetterState.REPLAYED, "ben")
        assert letter.replayed_as is not None
        new = stepper.job(letter.replayed_as)
        assert (new.job_class, new.agent_version) == (JobClass.BACKGROUND, "2")
        stepper.check_books(new.id)


def test_schedulers_side_by_side_replay_each_letter_once(stepper: Stepper) -> None:
    job_ids = [dead(stepper) for _ in range(6)]
    plan(stepper)
    make_due(stepper)
    assert sum(at_once([stepper.wake] * 4)) == 6
    assert all(stepper.letter(job_id).replayed_as for job_id in job_ids)


def test_a_busy_letter_has_its_turn_a_little_later(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    late = stepper.take(job_id, 2)
    stepper.fail(stepper.take(job_id, 1))
    plan(stepper)
    assert stepper.wake() == 0
    assert stepper.letter(job_id).state is LetterState.REPLAYING
    stepper.join(late)
    assert stepper.wake() == 0
    make_due(stepper)
    assert stepper.wake() == 1


@pytest.mark.parametrize("what", ["jobs", "dead_letters"])
def test_a_letter_that_somebody_holds_is_left_for_the_next_round(
    stepper: Stepper, what: str
) -> None:
    held, free = dead(stepper), dead(stepper)
    plan(stepper)
    make_due(stepper)
    key = "id" if what == "jobs" else "job_id"
    with stepper.held_by_another(what, f"{key} = :id", id=held):
        assert stepper.wake() == 1
    assert stepper.letter(free).state is LetterState.REPLAYED
    assert stepper.wake() == 1


def test_a_lined_up_letter_may_still_be_discarded_or_replayed_at_once(stepper: Stepper) -> None:
    discarded, replayed = dead(stepper), dead(stepper)
    plan(stepper, per_s=0.001)
    assert discard(stepper, discarded).replay_at is None
    made, new = stepper.replay(replayed)
    assert made is Replayed.MADE
    assert stepper.job(new).agent_version == "2", "the version it was lined up with"
    make_due(stepper)
    assert stepper.wake() == 0
