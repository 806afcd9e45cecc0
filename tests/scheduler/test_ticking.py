"""Ticking: every tick is dealt with once, whatever the clock, the schedulers and the jobs do."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import text

from scheduler import ticking
from scheduler.retention import retire
from scheduler.settings import SchedulerSettings
from store import due, schedules
from store.doors import Doors
from store.schedules import Fired, Move
from store.states import CatchUp, JobClass, JobStatus, Origin, Overlap, TickState, Work
from tests.running import at_once
from tests.stepping import Stepper
from tests.ticking import HOUR_S, Clockwork

FIRED, SKIPPED, WAITING = TickState.FIRED, TickState.SKIPPED, TickState.WAITING


@pytest.fixture
def clockwork(doors: Doors, tenant: UUID) -> Clockwork:
    return Clockwork(doors, tenant)


def test_a_round_with_nothing_due_changes_nothing(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    before = clockwork.row(schedule_id)
    assert clockwork.tick() == 0
    assert clockwork.row(schedule_id) == before
    assert clockwork.ticks(schedule_id) == []


def test_a_tick_makes_one_job_with_all_it_needs(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down(
        requester="ann", roles=("analyst",), origins_above=("chat",), deadline_s=600.0
    )
    clockwork.pass_by(schedule_id, HOUR_S)
    expected = clockwork.row(schedule_id).next_tick_at
    assert clockwork.tick() == 1
    (tick,), (job,) = clockwork.ticks(schedule_id), clockwork.jobs(schedule_id)
    assert (tick.tick_at, tick.state, tick.reason, tick.missed) == (expected, FIRED, None, 0)
    assert (job.agent, job.agent_version, job.input) == ("test", "1", {"ask": "again"})
    assert (job.origin, job.requester, job.roles) == (Origin.SCHEDULE, "ann", ["analyst"])
    assert (job.job_class, job.status) == (JobClass.BATCH, JobStatus.QUEUED)
    assert job.deadline_at is not None
    assert job.deadline_at - job.created_at == timedelta(seconds=600)
    held = clockwork.hand.take(job.id)
    assert held.invocation.origins == {Origin.SCHEDULE, Origin.CHAT}
    assert clockwork.hand.story(job.id)[0] == "job.queued"
    clockwork.hand.check_books(job.id)


def test_the_rhythm_goes_on_from_the_tick(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    clockwork.pass_by(schedule_id, HOUR_S + 5)
    clockwork.tick()
    row = clockwork.row(schedule_id)
    assert row.last_tick_at is not None
    assert row.next_tick_at == row.next_at == row.last_tick_at + timedelta(hours=1)
    assert clockwork.tick() == 0


def test_what_a_tick_made_is_rung_for_like_any_step(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    with clockwork.doors.as_operator("test") as tx:
        found = due.take(tx, {(JobClass.BATCH, Work.WAITS): 9}, again_s=60.0)
    assert [step.job_id for step in found] == clockwork.job_ids(schedule_id)


def test_a_single_moment_is_the_only_one(clockwork: Clockwork) -> None:
    with clockwork.doors.as_operator("test") as tx:
        at = schedules.read_clock(tx) + timedelta(hours=1)
    schedule_id = clockwork.put_down(once_at=at)
    clockwork.pass_by(schedule_id, HOUR_S)
    assert clockwork.tick() == 1
    row = clockwork.row(schedule_id)
    assert (row.next_tick_at, row.next_at) == (None, None)
    clockwork.pass_by(schedule_id, 100 * HOUR_S)
    assert clockwork.tick() == 0
    assert clockwork.states(schedule_id) == [FIRED]


# --- downtime -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catch_up", "fired", "missed"),
    [(CatchUp.SKIP, 0, 5), (CatchUp.ONE, 1, 4), (CatchUp.ALL, 3, 2)],
)
def test_after_a_downtime_the_policy_decides(
    clockwork: Clockwork, catch_up: CatchUp, fired: int, missed: int
) -> None:
    schedule_id = clockwork.put_down(catch_up=catch_up, catch_up_max=3, overlap=Overlap.ALLOW)
    clockwork.pass_by(schedule_id, 5.5 * HOUR_S)
    clockwork.tick()
    ticks = clockwork.ticks(schedule_id)
    assert len(clockwork.job_ids(schedule_id)) == fired
    (skipped,) = [each for each in ticks if each.state is SKIPPED]
    assert (skipped.reason, skipped.missed) == ("missed", missed - 1)
    row = clockwork.row(schedule_id)
    assert row.last_tick_at == row.starts_at + timedelta(hours=5)
    assert row.next_tick_at == row.starts_at + timedelta(hours=6)
    assert clockwork.tick() == 0


def test_a_scheduler_that_comes_back_late_fires_what_is_a_minute_late_at_most(
    clockwork: Clockwork,
) -> None:
    schedule_id = clockwork.put_down(catch_up=CatchUp.SKIP)
    clockwork.pass_by(schedule_id, HOUR_S + 50)
    clockwork.tick()
    clockwork.pass_by(schedule_id, HOUR_S + 20)
    clockwork.tick()
    assert clockwork.states(schedule_id) == [FIRED, SKIPPED]


def test_a_backlog_longer_than_a_round_is_walked_to_its_end(
    clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scheduler.catching_up.FIRES_MAX", 4)
    schedule_id = clockwork.put_down(
        every_s=60, catch_up=CatchUp.ALL, catch_up_max=10, overlap=Overlap.ALLOW
    )
    clockwork.pass_by(schedule_id, 10 * 60 + 30)
    assert [clockwork.tick() for _ in range(4)] == [4, 4, 2, 0]
    ticks = [each.tick_at for each in clockwork.ticks(schedule_id)]
    row = clockwork.row(schedule_id)
    assert ticks == [row.starts_at + timedelta(minutes=n) for n in range(1, 11)]
    assert len(set(clockwork.job_ids(schedule_id))) == 10


# --- a clock that jumps ---------------------------------------------------------------------------


def test_a_clock_that_goes_back_fires_nothing_twice(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down(overlap=Overlap.ALLOW)
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    clockwork.pass_by(schedule_id, -HOUR_S)
    assert clockwork.tick() == 0
    clockwork.pass_by(schedule_id, HOUR_S)
    assert clockwork.tick() == 0, "the tick was there already"
    clockwork.pass_by(schedule_id, HOUR_S)
    assert clockwork.tick() == 1
    assert clockwork.states(schedule_id) == [FIRED, FIRED]


def test_a_clock_that_jumps_forward_is_a_downtime(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down(catch_up=CatchUp.ONE)
    clockwork.pass_by(schedule_id, 1000 * HOUR_S)
    assert clockwork.tick() == 2
    assert clockwork.states(schedule_id) == [SKIPPED, FIRED]


# --- several schedulers ---------------------------------------------------------------------------


def test_schedulers_side_by_side_fire_each_tick_once(clockwork: Clockwork) -> None:
    every = [
        clockwork.put_down(f"n{n}", every_s=60, catch_up=CatchUp.ALL, overlap=Overlap.ALLOW)
        for n in range(8)
    ]
    for schedule_id in every:
        clockwork.pass_by(schedule_id, 10 * 60 + 30)
    found = at_once([clockwork.tick] * 4)
    while more := clockwork.tick():
        found.append(more)
    assert sum(found) == 80
    assert clockwork.count_jobs() == 80
    for schedule_id in every:
        row, ticks = clockwork.row(schedule_id), clockwork.ticks(schedule_id)
        assert [t.tick_at for t in ticks] == [
            row.starts_at + timedelta(minutes=n) for n in range(1, 11)
        ]
        assert len(set(clockwork.job_ids(schedule_id))) == 10


def test_who_believes_in_an_older_tick_does_nothing(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    clockwork.pass_by(schedule_id, HOUR_S)
    row = clockwork.row(schedule_id)
    assert row.next_tick_at is not None
    first, then = row.next_tick_at, row.next_tick_at + timedelta(hours=1)
    move = Move(first, first, then, then)
    assert clockwork.fire(schedule_id, move) is Fired.FIRED
    after = (clockwork.row(schedule_id), clockwork.ticks(schedule_id))
    assert clockwork.fire(schedule_id, move) is Fired.TAKEN
    assert (clockwork.row(schedule_id), clockwork.ticks(schedule_id)) == after


def test_a_tick_cannot_be_fired_before_its_time_whatever_a_scheduler_believes(
    clockwork: Clockwork,
) -> None:
    schedule_id = clockwork.put_down()
    first = clockwork.row(schedule_id).next_tick_at
    assert first is not None
    later = first + timedelta(hours=1)
    assert clockwork.fire(schedule_id, Move(first, first, later, later)) is Fired.TAKEN
    assert clockwork.count_jobs() == 0


def test_a_tick_that_is_there_already_makes_no_second_job(clockwork: Clockwork) -> None:
    """Even if the row of the schedule had forgotten: the key of the tick remembers."""
    schedule_id = clockwork.put_down(overlap=Overlap.ALLOW)
    clockwork.pass_by(schedule_id, HOUR_S)
    first = clockwork.row(schedule_id).next_tick_at
    clockwork.tick()
    with clockwork.doors.as_operator("test") as tx:
        tx.execute(
            text(
                "update stepwell.schedules set last_tick_at = null, next_tick_at = :at,"
                " next_at = :at"
            ),
            {"at": first},
        )
    clockwork.tick()
    assert clockwork.count_jobs() == 1
    with clockwork.doors.as_operator("test") as tx:
        tx.execute(text("delete from stepwell.ticks"))
        tx.execute(
            text(
                "update stepwell.schedules set last_tick_at = null, next_tick_at = :at,"
                " next_at = :at"
            ),
            {"at": first},
        )
    clockwork.tick()
    assert clockwork.count_jobs() == 1, "and so does the key of its job"


def test_a_schedule_that_somebody_holds_is_left_for_the_next_round(clockwork: Clockwork) -> None:
    held, free = clockwork.put_down("held"), clockwork.put_down("free")
    for schedule_id in (held, free):
        clockwork.pass_by(schedule_id, HOUR_S)
    with clockwork.hand.held_by_another("schedules", "id = :id", id=held):
        assert clockwork.tick() == 1
    assert clockwork.states(held) == []
    assert clockwork.tick() == 1
    assert clockwork.states(held) == clockwork.states(free) == [FIRED]


# --- jobs that overlap ----------------------------------------------------------------------------


def two_ticks(clockwork: Clockwork, overlap: Overlap) -> UUID:
    """A schedule whose second tick comes while the job of the first goes on."""
    schedule_id = clockwork.put_down(overlap=overlap)
    for _ in range(2):
        clockwork.pass_by(schedule_id, HOUR_S)
        clockwork.tick()
    return schedule_id


def test_a_tick_is_skipped_while_the_job_before_it_goes_on(clockwork: Clockwork) -> None:
    schedule_id = two_ticks(clockwork, Overlap.SKIP)
    assert clockwork.states(schedule_id) == [FIRED, SKIPPED]
    assert clockwork.ticks(schedule_id)[1].reason == "overlap"
    clockwork.end(clockwork.job_ids(schedule_id)[0])
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    assert clockwork.states(schedule_id) == [FIRED, SKIPPED, FIRED]


def test_a_tick_waits_for_the_job_before_it(clockwork: Clockwork) -> None:
    schedule_id = two_ticks(clockwork, Overlap.QUEUE)
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    assert clockwork.states(schedule_id) == [FIRED, WAITING, WAITING]
    assert clockwork.tick() == 0
    for expected in ([FIRED, FIRED, WAITING], [FIRED, FIRED, FIRED]):
        clockwork.end(clockwork.job_ids(schedule_id)[-1])
        assert clockwork.tick() == 1
        assert clockwork.states(schedule_id) == expected
    assert clockwork.tick() == 0
    assert len(set(clockwork.job_ids(schedule_id))) == 3


def test_a_waiting_tick_is_started_once_by_schedulers_side_by_side(clockwork: Clockwork) -> None:
    every = []
    for n in range(5):
        schedule_id = clockwork.put_down(f"n{n}", overlap=Overlap.QUEUE, every_s=60)
        every.append(schedule_id)
        for _ in range(2):
            clockwork.pass_by(schedule_id, 60)
            clockwork.tick()
    for schedule_id in every:
        clockwork.end(clockwork.job_ids(schedule_id)[0])
    found = at_once([clockwork.tick] * 4)
    found.append(clockwork.tick())
    assert sum(found) == 5
    assert [len(clockwork.job_ids(each)) for each in every] == [2] * 5
    assert clockwork.count_jobs() == 10


def test_a_queue_is_bounded(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down(
        overlap=Overlap.QUEUE, every_s=60, catch_up=CatchUp.ALL, catch_up_max=1000
    )
    clockwork.pass_by(schedule_id, 103 * 60 + 1)
    while clockwork.tick():
        pass
    states = clockwork.states(schedule_id)
    assert states == [FIRED, *[WAITING] * 100, SKIPPED, SKIPPED]
    assert clockwork.ticks(schedule_id)[-1].reason == "queue_full"


def test_the_job_before_it_is_cancelled(clockwork: Clockwork) -> None:
    schedule_id = two_ticks(clockwork, Overlap.CANCEL_PREVIOUS)
    assert clockwork.states(schedule_id) == [FIRED, FIRED]
    first, second = clockwork.jobs(schedule_id)
    assert (first.status, second.status) == (JobStatus.CANCELLED, JobStatus.QUEUED)


def test_a_job_of_it_that_runs_is_asked_to_stop_and_both_are_well(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down(overlap=Overlap.CANCEL_PREVIOUS)
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    (first,) = clockwork.job_ids(schedule_id)
    clockwork.hand.take(first)
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    assert clockwork.hand.job(first).cancel_requested_at is not None
    assert clockwork.hand.job(first).status is JobStatus.RUNNING
    assert clockwork.states(schedule_id) == [FIRED, FIRED]


def test_jobs_may_run_side_by_side(clockwork: Clockwork) -> None:
    schedule_id = two_ticks(clockwork, Overlap.ALLOW)
    assert clockwork.states(schedule_id) == [FIRED, FIRED]
    assert {job.status for job in clockwork.jobs(schedule_id)} == {JobStatus.QUEUED}


def test_a_job_that_was_forgotten_is_over(clockwork: Clockwork) -> None:
    schedule_id = two_ticks(clockwork, Overlap.QUEUE)
    with clockwork.doors.as_operator("test") as tx:
        tx.execute(text("delete from stepwell.jobs"))
    assert clockwork.tick() == 1
    assert clockwork.states(schedule_id) == [FIRED, FIRED]


# --- pauses, and runs by hand ---------------------------------------------------------------------


def pause(clockwork: Clockwork, schedule_id: UUID) -> None:
    with clockwork.doors.as_tenant(clockwork.tenant_id) as tx:
        schedules.pause(tx, schedule_id)


def test_a_paused_schedule_fires_nothing_and_starts_nothing_that_waits(
    clockwork: Clockwork,
) -> None:
    schedule_id = two_ticks(clockwork, Overlap.QUEUE)
    pause(clockwork, schedule_id)
    clockwork.end(clockwork.job_ids(schedule_id)[0])
    clockwork.pass_by(schedule_id, HOUR_S)
    assert clockwork.tick() == 0
    assert clockwork.states(schedule_id) == [FIRED, WAITING]


def test_a_pause_that_comes_between_look_and_fire_is_kept(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    clockwork.pass_by(schedule_id, HOUR_S)
    first = clockwork.row(schedule_id).next_tick_at
    assert first is not None
    pause(clockwork, schedule_id)
    later = first + timedelta(hours=1)
    assert clockwork.fire(schedule_id, Move(first, first, later, later)) is Fired.TAKEN


def test_a_run_by_hand_is_a_tick_of_its_own_and_leaves_the_rhythm(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    before = clockwork.row(schedule_id)
    tick = clockwork.run_now(schedule_id)
    assert tick.state is FIRED
    after = clockwork.row(schedule_id)
    assert (after.next_tick_at, after.last_tick_at) == (before.next_tick_at, None)
    assert after.last_job_id == tick.job_id
    assert clockwork.run_now(schedule_id).reason == "overlap"


# --- what a job begins with -----------------------------------------------------------------------


def test_the_newest_live_worker_says_what_a_job_begins_with(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down(overlap=Overlap.ALLOW)
    old, new = clockwork.hand.start_worker(), clockwork.hand.start_worker()
    told = {
        old: '{"test": {"version": "2", "steps": [], "deadline_s": null}}',
        new: '{"test": {"version": "3", "deadline_s": 30, "steps": ['
        '{"kind": "function", "name": "step.a", "work": "computes", "input": {"position": 0}}]}}',
    }
    with clockwork.doors.as_operator("test") as tx:
        for worker_id, begins in told.items():
            tx.execute(
                text("update stepwell.workers set begins = cast(:b as jsonb) where id = :id"),
                {"b": begins, "id": worker_id},
            )
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    (job,) = clockwork.jobs(schedule_id)
    assert job.agent_version == "3"
    (step,) = clockwork.hand.steps(job.id)
    assert (step.name, step.work, step.input) == ("step.a", Work.COMPUTES, {"position": 0})
    assert job.deadline_at is not None
    assert job.deadline_at - job.created_at == timedelta(seconds=30)
    for worker_id in (old, new):
        clockwork.hand.lose(worker_id)
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    assert clockwork.jobs(schedule_id)[1].agent_version == "3", "what was said last is kept"


# --- what goes wrong, and what is forgotten -------------------------------------------------------


@pytest.mark.parametrize("broken_by", ["zone = 'Atlantis'", "begins = '{}'"])
def test_a_schedule_that_cannot_go_on_holds_up_nobody_else(
    clockwork: Clockwork, broken_by: str
) -> None:
    broken, sound = clockwork.put_down("broken"), clockwork.put_down("sound")
    with clockwork.doors.as_operator("test") as tx:
        tx.execute(
            text(f"update stepwell.schedules set {broken_by} where id = :id"), {"id": broken}
        )
    for schedule_id in (broken, sound):
        clockwork.pass_by(schedule_id, HOUR_S)
    assert clockwork.tick() == 1
    assert (clockwork.states(sound), clockwork.states(broken)) == ([FIRED], [])
    row = clockwork.row(broken)
    assert row.next_at is not None
    assert row.next_tick_at is not None
    assert row.next_at > row.next_tick_at, "it is looked at again later"


def test_a_round_is_bounded_and_the_longest_overdue_come_first(
    clockwork: Clockwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticking, "SCHEDULES_MAX", 2)
    every = [clockwork.put_down(f"n{n}", catch_up=CatchUp.ONE) for n in range(3)]
    for late_s, schedule_id in zip((0, 20, 10), every, strict=True):
        clockwork.pass_by(schedule_id, HOUR_S + late_s)
    assert clockwork.tick() == 2
    assert [clockwork.states(each) for each in every] == [[], [FIRED], [FIRED]]
    assert clockwork.tick() == 1


def test_a_round_goes_from_tenant_to_tenant(
    doors: Doors, clockwork: Clockwork, other_tenant: UUID
) -> None:
    theirs = Clockwork(doors, other_tenant)
    made = [(each, each.put_down()) for each in (clockwork, theirs)]
    for each, schedule_id in made:
        each.pass_by(schedule_id, HOUR_S)
    assert clockwork.tick() == 2
    for each, schedule_id in made:
        (job_id,) = each.job_ids(schedule_id)
        assert Stepper(doors, each.tenant_id).job(job_id).tenant_id == each.tenant_id


def test_old_ticks_are_forgotten_and_none_of_them_fires_again(clockwork: Clockwork) -> None:
    schedule_id = two_ticks(clockwork, Overlap.SKIP)
    clockwork.hand.set_back("ticks", "at", 40 * 86_400.0, schedule_id=schedule_id)
    retire(clockwork.doors, SchedulerSettings())
    assert clockwork.ticks(schedule_id) == []
    assert clockwork.tick() == 0
    assert clockwork.count_jobs() == 1


def test_deleting_a_schedule_leaves_its_jobs(clockwork: Clockwork) -> None:
    schedule_id = clockwork.put_down()
    clockwork.pass_by(schedule_id, HOUR_S)
    clockwork.tick()
    (job_id,) = clockwork.job_ids(schedule_id)
    with clockwork.doors.as_tenant(clockwork.tenant_id) as tx:
        schedules.remove(tx, schedule_id)
    assert clockwork.hand.job(job_id).status is JobStatus.QUEUED
    with clockwork.doors.as_operator("test") as tx:
        assert tx.execute(text("select count(*) from stepwell.ticks")).scalar_one() == 0
