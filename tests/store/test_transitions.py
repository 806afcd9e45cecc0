"""Claim, commit, release, cancel, recover: one statement each, raced against one another."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from scheduler.reconcile import stop_due
from store import due, transitions, workers
from store.doors import Doors
from store.states import JobClass, JobStatus, StepState, Work, WorkerState
from store.transitions import Ending, Usage
from tests.running import at_once, eventually
from tests.stepping import COMPLETED, MODEL, Stepper, call

LEASE_S = 4.0


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


@pytest.fixture
def worker(stepper: Stepper) -> UUID:
    return stepper.start_worker()


def recover(doors: Doors) -> tuple[int, int]:
    with doors.as_operator("test") as tx:
        return due.recover_lost(tx, LEASE_S)


def lose(stepper: Stepper, worker: UUID) -> None:
    stepper.grow_old(worker, LEASE_S + 1)
    recover(stepper.doors)


# --- claim ----------------------------------------------------------------------------------------


def test_a_claim_brings_all_that_the_step_needs(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down([call(7)], input={"ask": "why"})
    held = stepper.take(job_id, 1, worker)
    assert (held.seq, held.worker_id, held.epoch) == (1, worker, 1)
    assert (held.attempts, held.losses) == (0, 0)
    assert held.input == {"tool": "test", "n": 7}
    assert held.job_input == {"ask": "why"}
    assert (held.agent, held.agent_version, held.job_class) == ("test", "1", "default")
    job = stepper.job(job_id)
    assert job.status is JobStatus.RUNNING
    assert job.started_at is not None
    assert stepper.story(job_id) == ["job.queued", "job.started", "step.started"]


def test_of_many_who_claim_a_step_at_once_one_wins(stepper: Stepper) -> None:
    job_id = stepper.put_down()
    contenders = [stepper.start_worker() for _ in range(10)]
    won = at_once([lambda w=w: stepper.claim(job_id, 1, w) for w in contenders])
    winners = [held for held in won if held is not None]
    assert len(winners) == 1
    step = stepper.step(job_id, 1)
    assert (step.epoch, step.worker_id) == (1, winners[0].worker_id)


def test_a_second_ring_for_a_running_or_settled_step_changes_nothing(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    before = stepper.dump()
    assert stepper.claim(job_id, 1, worker) is None
    assert stepper.claim(job_id, 2, worker) is None
    assert stepper.claim(uuid4(), 1, worker) is None
    assert stepper.dump() == before
    stepper.commit(held, ending=COMPLETED)
    before = stepper.dump()
    assert stepper.claim(job_id, 1, worker) is None
    assert stepper.dump() == before


@pytest.mark.parametrize("state", [s for s in WorkerState if s is not WorkerState.LIVE])
def test_a_worker_that_is_not_live_claims_nothing(
    stepper: Stepper, worker: UUID, state: WorkerState
) -> None:
    with stepper.doors.as_nobody() as tx:
        workers.move(tx, worker, state)
    assert stepper.claim(stepper.put_down(), 1, worker) is None


def test_a_worker_that_nobody_knows_claims_nothing(stepper: Stepper) -> None:
    assert stepper.claim(stepper.put_down(), 1, uuid4()) is None


def test_epochs_only_grow(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    seen = []
    for _ in range(3):
        held = stepper.take(job_id, 1, worker)
        seen.append(held.epoch)
        assert stepper.release(held)
    lost = stepper.start_worker()
    seen.append(stepper.take(job_id, 1, lost).epoch)
    lose(stepper, lost)
    seen.append(stepper.take(job_id, 1, worker).epoch)
    assert seen == [1, 2, 3, 4, 5]


# --- commit ---------------------------------------------------------------------------------------


def test_a_stale_commit_writes_nothing_at_all(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    zombie = stepper.take(job_id, 1, worker)
    stepper.release(zombie)
    held = stepper.take(job_id, 1, stepper.start_worker())
    before = stepper.dump()
    usage = Usage("m", 1, 2, 3)
    assert stepper.commit(zombie, output="late", usage=usage, plan=(call(1), call(2))) is None
    assert stepper.commit(zombie, output="late", usage=usage, ending=COMPLETED) is None
    assert stepper.release(zombie) is False
    assert stepper.dump() == before
    assert stepper.commit(held, ending=COMPLETED) is not None


def test_a_committed_step_is_committed_once(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    assert stepper.commit(held, output="first", plan=(MODEL,)) is not None
    before = stepper.dump()
    assert stepper.commit(held, output="second", plan=(MODEL,)) is None
    assert stepper.release(held) is False
    assert stepper.dump() == before
    assert stepper.step(job_id, 1).output == "first"


def test_the_same_commit_from_many_threads_plans_once(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    settled = at_once([lambda: stepper.commit(held, plan=(call(1), call(2)))] * 8)
    assert sum(each is not None for each in settled) == 1
    assert len(stepper.steps(job_id)) == 3
    stepper.check_books(job_id)


def test_a_commit_plans_every_step_at_once_ready_and_rung(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    settled = stepper.commit(stepper.take(job_id, 1, worker), plan=(call(1), call(2), call(3)))
    assert settled is not None
    assert (settled.first_seq, settled.planned) == (2, 3)
    planned = stepper.steps(job_id)[1:]
    assert [(s.state, s.parent_seq, s.epoch, s.input["n"]) for s in planned] == [
        (StepState.READY, 1, 0, n) for n in (1, 2, 3)
    ]
    assert all(step.rung_at is not None for step in planned)
    assert stepper.job(job_id).outstanding == 3


def test_an_inline_commit_is_a_claim_of_the_next_step(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    stepper.commit(held, plan=(call(1),), is_inline=True)
    born = stepper.step(job_id, 2)
    assert (born.state, born.epoch, born.worker_id) == (StepState.RUNNING, 1, worker)
    assert stepper.claim(job_id, 2, stepper.start_worker()) is None


def test_the_last_sibling_in_plans_the_next_model_step_and_only_it(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id, 1, worker), plan=(call(1), call(2), call(3)))
    for seq, planned in ((3, 0), (2, 0), (4, 1)):
        settled = stepper.join(stepper.take(job_id, seq, worker))
        assert settled is not None
        assert settled.planned == planned
    assert [step.name for step in stepper.steps(job_id)][4:] == ["model.test"]
    stepper.check_books(job_id)


def test_siblings_that_come_in_at_once_are_joined_exactly_once(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down()
    first = 2
    held = stepper.take(job_id, 1, worker)
    for _ in range(6):
        stepper.commit(held, plan=tuple(call(n) for n in range(8)))
        siblings = [stepper.take(job_id, first + n, worker) for n in range(8)]
        settled = at_once([lambda s=s: stepper.join(s) for s in siblings])
        assert sorted(s.planned for s in settled if s is not None) == [0] * 7 + [1]
        stepper.check_books(job_id)
        held = stepper.take(job_id, first + 8, worker)
        first += 9


def test_an_ending_cancels_the_siblings_that_have_not_begun(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down([call(1), call(2), call(3)])
    failing, running = stepper.take(job_id, 1, worker), stepper.take(job_id, 2, worker)
    ending = Ending(JobStatus.FAILED, error={"class": "bug"}, reason="bug")
    stepper.commit(failing, state=StepState.FAILED, error={"class": "bug"}, ending=ending)
    assert stepper.states(job_id) == [StepState.FAILED, StepState.RUNNING, StepState.CANCELLED]
    job = stepper.job(job_id)
    assert (job.status, job.status_reason, job.error) == (
        JobStatus.FAILED, "bug", {"class": "bug"},
    )  # fmt: skip
    assert job.outstanding == 1
    ended_story = stepper.story(job_id)

    # The one that was running is kept, and changes nothing about the end.
    assert stepper.join(running) is not None
    after = stepper.job(job_id)
    assert (after.status, after.finished_at, after.outstanding) == (job.status, job.finished_at, 0)
    assert stepper.story(job_id) == ended_story
    assert len(stepper.steps(job_id)) == 3
    stepper.check_books(job_id)


def test_two_endings_at_once_give_one_ending(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    held = [stepper.take(job_id, seq, worker) for seq in (1, 2)]
    endings = [COMPLETED, Ending(JobStatus.FAILED, error={"class": "bug"}, reason="bug")]
    pairs = zip(held, endings, strict=True)
    at_once([lambda h=h, e=e: stepper.commit(h, ending=e) for h, e in pairs])
    story = stepper.story(job_id)
    assert sum(kind in ("job.completed", "job.failed") for kind in story) == 1
    stepper.check_books(job_id)


def test_a_usage_row_keeps_the_figures_and_an_unknown_price_stays_unknown(
    stepper: Stepper, worker: UUID
) -> None:
    from store import jobs, usage

    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    stepper.commit(held, usage=Usage("m", 1, 20, 3, "0.000000123"), plan=(MODEL,))
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        spent = usage.total(tx, jobs.read(tx, job_id))
    assert (spent.requests, spent.input_tokens, spent.output_tokens) == (1, 20, 3)
    assert str(spent.cost_usd) == "1.23E-7"
    stepper.commit(stepper.take(job_id, 2, worker), usage=Usage("m", 1, 1, 1), ending=COMPLETED)
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        assert usage.total(tx, jobs.read(tx, job_id)).cost_usd is None


@pytest.mark.parametrize(
    "odd",
    ["a \x00 b", "half \ud800", float("nan"), float("inf"), {"\x00": ["\udfff"]}, "\\u0000"],
    ids=["nul", "surrogate", "nan", "infinity", "nested", "only looks like nul"],
)
def test_what_json_can_say_and_postgres_cannot_keep_is_settled_all_the_same(
    stepper: Stepper, worker: UUID, odd: object
) -> None:
    """A refusal here would leave the step running for ever under a living worker."""
    job_id = stepper.put_down()
    plan = (replace_input(odd),)
    assert stepper.commit(stepper.take(job_id, 1, worker), output=odd, plan=plan) is not None
    held = stepper.take(job_id, 2, worker)
    error = {"class": "bug", "message": odd}
    ending = Ending(JobStatus.FAILED, output=odd, error=error, reason="bug")
    assert stepper.commit(held, error=error, event={"error": error}, ending=ending) is not None
    if odd == "\\u0000":
        assert stepper.step(job_id, 1).output == odd


def replace_input(odd: object) -> transitions.Plan:
    return transitions.Plan(MODEL.kind, MODEL.name, MODEL.work, {"args": odd})


# --- release --------------------------------------------------------------------------------------


def test_a_failed_try_is_counted_and_waits_for_its_time(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    assert stepper.release(stepper.take(job_id, 1, worker), delay_s=60)
    step, job = stepper.step(job_id, 1), stepper.job(job_id)
    assert (step.state, step.attempts, step.worker_id) == (StepState.READY, 1, None)
    assert step.rung_at is None
    assert (job.status, job.status_reason) == (JobStatus.QUEUED, "retry_scheduled")
    assert job.status_until == step.ready_at
    assert stepper.claim(job_id, 1, worker) is None, "its time has not come"
    assert "step.retry_scheduled" in stepper.story(job_id)


def test_a_drain_costs_the_step_no_try(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    assert stepper.release(stepper.take(job_id, 1, worker), is_failed_try=False)
    step = stepper.step(job_id, 1)
    assert (step.attempts, step.losses) == (0, 0)
    assert stepper.take(job_id, 1, worker).attempts == 0


def test_a_release_into_a_cancelled_job_ends_it(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    stepper.cancel(job_id)
    assert stepper.release(held)
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    stepper.check_books(job_id)


# --- cancel ---------------------------------------------------------------------------------------


def test_a_job_that_nobody_runs_is_cancelled_at_once(stepper: Stepper) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    assert stepper.cancel(job_id).status is JobStatus.CANCELLED
    assert stepper.states(job_id) == [StepState.CANCELLED] * 2
    assert stepper.story(job_id)[1:] == ["job.cancel_requested", "job.cancelled"]


def test_a_running_step_is_not_torn_and_plans_nothing_more(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    held = stepper.take(job_id, 1, worker)
    asked = stepper.cancel(job_id)
    assert asked.status is JobStatus.RUNNING
    assert asked.cancel_requested_at is not None
    settled = stepper.commit(held, output="kept", plan=(MODEL,))
    assert settled is not None
    assert (settled.job_status, settled.planned) == (JobStatus.CANCELLED, 0)
    assert stepper.states(job_id) == [StepState.COMMITTED, StepState.CANCELLED]
    assert stepper.step(job_id, 1).output == "kept"
    stepper.check_books(job_id)


def test_asking_to_cancel_twice_or_too_late_changes_nothing(stepper: Stepper, worker: UUID) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    stepper.cancel(job_id)
    story = stepper.story(job_id)
    stepper.cancel(job_id)
    assert stepper.story(job_id) == story
    stepper.commit(held, ending=COMPLETED)
    before = stepper.dump()
    stepper.cancel(job_id)
    assert stepper.dump() == before
    assert stepper.job(job_id).status is JobStatus.COMPLETED, "it came in with an answer"


def test_cancel_and_commit_at_once_leave_one_whole_story(stepper: Stepper, worker: UUID) -> None:
    for _ in range(20):
        job_id = stepper.put_down()
        held = stepper.take(job_id, 1, worker)
        at_once(
            [
                lambda h=held: stepper.commit(h, plan=(call(1), call(2))),
                lambda j=job_id: stepper.cancel(j),
            ]
        )
        assert stepper.job(job_id).status is JobStatus.CANCELLED
        stepper.check_books(job_id)


@pytest.mark.parametrize("is_told", [True, False])
def test_cancel_and_claim_at_once_leave_no_step_behind(
    stepper: Stepper, worker: UUID, is_told: bool
) -> None:
    for _ in range(15):
        job_id = stepper.put_down()
        stepper.commit(stepper.take(job_id, 1, worker), plan=(MODEL,))
        held, _ = at_once(
            [
                lambda j=job_id: stepper.claim(j, 2, worker, is_told=is_told),
                lambda j=job_id: stepper.cancel(j),
            ]
        )
        if held is not None:
            stepper.commit(held, plan=(MODEL,))
        assert stepper.job(job_id).status is JobStatus.CANCELLED
        stepper.check_books(job_id)


@pytest.mark.parametrize("is_told", [True, False])
def test_an_ending_and_a_siblings_claim_at_once_leave_no_step_behind(
    stepper: Stepper, worker: UUID, is_told: bool
) -> None:
    for _ in range(15):
        job_id = stepper.put_down([call(1), call(2)])
        ending = stepper.take(job_id, 1, worker)
        held, _ = at_once(
            [
                lambda j=job_id: stepper.claim(j, 2, worker, is_told=is_told),
                lambda h=ending: stepper.commit(h, ending=COMPLETED),
            ]
        )
        if held is not None:
            assert stepper.states(job_id)[1] is StepState.RUNNING
            stepper.join(held)
        assert stepper.job(job_id).status is JobStatus.COMPLETED
        stepper.check_books(job_id)
        assert stepper.job(job_id).outstanding == 0


def test_a_quiet_claim_is_not_told_of_but_a_jobs_first_step_and_a_retry_are(
    stepper: Stepper, worker: UUID
) -> None:
    job_id = stepper.put_down()
    first = stepper.take(job_id, 1, worker, is_told=False)
    assert stepper.story(job_id) == ["job.queued", "job.started", "step.started"]
    stepper.commit(first, plan=(MODEL,))
    second = stepper.take(job_id, 2, worker, is_told=False)
    assert stepper.story(job_id)[3:] == ["step.completed"]
    stepper.release(second)
    assert stepper.job(job_id).status is JobStatus.QUEUED
    stepper.take(job_id, 2, worker, is_told=False)
    assert stepper.job(job_id).status is JobStatus.RUNNING
    assert stepper.story(job_id)[-1] == "step.started"


# --- recover --------------------------------------------------------------------------------------


def test_a_worker_that_beats_keeps_its_steps(stepper: Stepper, worker: UUID, doors: Doors) -> None:
    job_id = stepper.put_down()
    held = stepper.take(job_id, 1, worker)
    stepper.grow_old(worker, 60)
    with doors.hot() as connection:
        assert workers.beat(connection, worker)
    assert recover(doors) == (0, 0)
    assert stepper.commit(held, ending=COMPLETED) is not None


def test_a_lost_workers_steps_are_free_and_its_late_commit_is_refused(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    zombies = [stepper.take(job_id, seq, worker) for seq in (1, 2)]
    stepper.grow_old(worker, LEASE_S + 1)
    assert recover(doors) == (1, 2)
    assert recover(doors) == (0, 0)
    assert stepper.states(job_id) == [StepState.READY] * 2
    assert [step.losses for step in stepper.steps(job_id)] == [1, 1]
    assert [step.rung_at for step in stepper.steps(job_id)] == [None, None]

    assert stepper.commit(zombies[0], output="late") is None, "free, and nobody has claimed it yet"
    heir = stepper.take(job_id, 2, stepper.start_worker())
    assert stepper.commit(zombies[1], output="late") is None, "claimed by another"
    assert heir.losses == 1
    assert heir.epoch == 2
    assert stepper.step(job_id, 1).output is None


def test_a_lost_worker_is_lost_for_good(stepper: Stepper, worker: UUID, doors: Doors) -> None:
    lose(stepper, worker)
    with doors.hot() as connection:
        assert workers.beat(connection, worker) is False
    with doors.as_nobody() as tx:
        workers.move(tx, worker, WorkerState.LIVE)
    assert stepper.claim(stepper.put_down(), 1, worker) is None


def test_what_a_stopped_worker_still_seems_to_hold_is_freed(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down()
    stepper.take(job_id, 1, worker)
    with doors.as_nobody() as tx:
        workers.move(tx, worker, WorkerState.STOPPED)
    assert recover(doors) == (0, 1)
    assert stepper.states(job_id) == [StepState.READY]


def test_two_who_recover_at_once_free_every_step_once(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_ids = [stepper.put_down() for _ in range(20)]
    for job_id in job_ids:
        stepper.take(job_id, 1, worker)
    stepper.grow_old(worker, LEASE_S + 1)
    found = at_once([lambda: recover(doors)] * 4)
    assert sum(steps for _, steps in found) == 20
    assert all(stepper.step(job_id, 1).losses == 1 for job_id in job_ids)


def test_recover_and_commit_at_once_settle_or_free_the_step_never_both(
    stepper: Stepper, doors: Doors
) -> None:
    for _ in range(15):
        worker, job_id = stepper.start_worker(), stepper.put_down()
        held = stepper.take(job_id, 1, worker)
        stepper.grow_old(worker, LEASE_S + 1)
        settled, _ = at_once(
            [lambda h=held: stepper.commit(h, ending=COMPLETED), lambda: recover(doors)]
        )
        expected = StepState.READY if settled is None else StepState.COMMITTED
        assert stepper.states(job_id) == [expected]
        stepper.check_books(job_id)


def test_a_cancelled_job_whose_worker_died_is_ended_by_the_sweep(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down()
    stepper.take(job_id, 1, worker)
    stepper.cancel(job_id)
    lose(stepper, worker)
    assert stop_due(doors) == 1
    assert stepper.job(job_id).status is JobStatus.CANCELLED
    stepper.check_books(job_id)


def test_the_sweep_leaves_alone_what_is_still_running(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down()
    stepper.take(job_id, 1, worker)
    stepper.cancel(job_id)
    before = stepper.dump()
    assert stop_due(doors) == 0
    assert stepper.dump() == before


def test_a_step_whose_worker_died_after_the_end_of_its_job_is_not_rung_for_ever(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down([call(1), call(2)])
    failing = stepper.take(job_id, 1, stepper.start_worker())
    stepper.take(job_id, 2, worker)
    stepper.commit(failing, state=StepState.FAILED, ending=Ending(JobStatus.FAILED, error={}))
    lose(stepper, worker)
    # Whether the recovery or the next ring ends it: after one ring, nothing is due any more.
    stepper.claim(job_id, 2, stepper.start_worker())
    assert stepper.states(job_id) == [StepState.FAILED, StepState.CANCELLED]
    stepper.check_books(job_id)
    assert take_due(doors) == []


# --- what is due ----------------------------------------------------------------------------------


def take_due(doors: Doors, room: int = 100, again_s: float = 2.0) -> list[UUID]:
    with doors.as_operator("test") as tx:
        steps = due.take(tx, {(JobClass.DEFAULT, Work.WAITS): room}, again_s=again_s)
    return [step.job_id for step in steps]


def test_due_steps_are_taken_oldest_first_and_once(stepper: Stepper, doors: Doors) -> None:
    job_ids = [stepper.put_down() for _ in range(5)]
    assert sorted(take_due(doors, room=2)) == sorted(job_ids[:2])
    assert sorted(take_due(doors)) == sorted(job_ids[2:])
    assert take_due(doors) == []


def test_a_rung_step_that_nobody_claimed_is_due_again(stepper: Stepper, doors: Doors) -> None:
    job_id = stepper.put_down(is_rung=True)
    assert take_due(doors, again_s=60) == []
    assert eventually(lambda: take_due(doors, again_s=0.05)) == [job_id]


def test_a_step_whose_time_has_not_come_is_not_due(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down()
    stepper.release(stepper.take(job_id, 1, worker), delay_s=60)
    assert take_due(doors, again_s=0) == []


def test_other_lanes_are_left_alone(stepper: Stepper, doors: Doors) -> None:
    batch = stepper.put_down(job_class=JobClass.BATCH)
    assert take_due(doors) == []
    assert stepper.step(batch, 1).rung_at is None


def test_schedulers_that_ask_at_once_take_different_steps(stepper: Stepper, doors: Doors) -> None:
    job_ids = {stepper.put_down() for _ in range(40)}
    taken = at_once([lambda: take_due(doors, room=10)] * 4)
    flat = [job_id for some in taken for job_id in some]
    assert len(flat) == len(set(flat))
    assert set(flat) | set(take_due(doors)) == job_ids


def test_what_one_scheduler_is_taking_keeps_no_other_waiting(
    stepper: Stepper, doors: Doors
) -> None:
    job_ids = [stepper.put_down() for _ in range(4)]
    with doors.as_operator("test") as tx:
        mine = due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 2}, again_s=2.0)
        theirs = take_due(doors)
    assert {step.job_id for step in mine} == set(job_ids[:2])
    assert set(theirs) == set(job_ids[2:])


# --- events ---------------------------------------------------------------------------------------


def test_lines_told_from_many_threads_are_numbered_without_gaps(
    stepper: Stepper, worker: UUID, doors: Doors
) -> None:
    job_id = stepper.put_down([call(n) for n in range(4)])
    held = [stepper.take(job_id, seq, worker) for seq in (1, 2, 3, 4)]

    def tell() -> None:
        with doors.hot() as connection:
            transitions.tell(connection, stepper.tenant_id, job_id, "job.progress", {"done": 1})

    at_once([tell] * 6 + [lambda h=h: stepper.join(h) for h in held])
    assert stepper.story(job_id).count("job.progress") == 6
    stepper.check_books(job_id)


def test_nothing_is_told_after_the_end(stepper: Stepper, worker: UUID, doors: Doors) -> None:
    job_id = stepper.put_down()
    stepper.commit(stepper.take(job_id, 1, worker), ending=COMPLETED)
    before = stepper.dump()
    with doors.hot() as connection:
        transitions.tell(connection, stepper.tenant_id, job_id, "job.progress", {})
    assert stepper.dump() == before
    assert stepper.story(job_id)[-1] == "job.completed"


def test_a_settled_step_without_its_moment_is_refused_by_the_database(
    stepper: Stepper, doors: Doors
) -> None:
    from sqlalchemy.exc import IntegrityError

    job_id = stepper.put_down()
    laws = {
        "settled_has_its_moment": "update stepwell.checkpoints set state = 'committed'",
        "running_has_a_worker": "update stepwell.checkpoints set state = 'running'",
        "step_state_is_known": "update stepwell.checkpoints set state = 'done'",
        "one_ending": "update stepwell.jobs set status = 'completed'",
        "outstanding_is_counted": "update stepwell.jobs set outstanding = -1",
        "job_status_is_known": "update stepwell.jobs set status = 'done'",
    }
    for law, breach in laws.items():
        with pytest.raises(IntegrityError, match=law), doors.as_operator("test") as tx:
            tx.execute(text(breach))
    stepper.check_books(job_id)
