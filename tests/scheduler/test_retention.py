"""Retention: each round forgets one batch of what ended longer ago than the settings say."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import pytest
from sqlalchemy import select, update
from structlog.testing import capture_logs

from scheduler.retention import retire
from scheduler.settings import SchedulerSettings
from store import schedules, workers
from store.doors import Doors
from store.errors import NotFound
from store.schema import schedules as rows_of_schedules
from store.schema import workers as rows
from store.states import WorkerState
from tests.running import at_once
from tests.stepping import COMPLETED, Stepper
from tests.ticking import HOUR_S, Clockwork

DAY_S = 86_400.0
KEPT = SchedulerSettings(
    retire_batch=3, jobs_kept_s=DAY_S, letters_kept_s=3 * DAY_S, worker_rows_kept_s=DAY_S
)


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


@pytest.fixture
def clockwork(doors: Doors, tenant: UUID) -> Clockwork:
    return Clockwork(doors, tenant)


def ended(stepper: Stepper, age_s: float = 2 * DAY_S, *, is_failed: bool = False) -> UUID:
    job_id = stepper.put_down()
    held = stepper.take(job_id)
    if is_failed:
        stepper.fail(held)
    else:
        stepper.commit(held, ending=COMPLETED)
    stepper.set_back("jobs", "finished_at", age_s, id=job_id)
    stepper.set_back("dead_letters", "created_at", age_s, job_id=job_id)
    return job_id


def is_there(stepper: Stepper, job_id: UUID) -> bool:
    try:
        stepper.job(job_id)
    except NotFound:
        return False
    return True


def test_a_round_forgets_a_batch_and_says_how_many(doors: Doors, stepper: Stepper) -> None:
    for _ in range(4):
        ended(stepper)
    young = ended(stepper, age_s=60.0)
    assert [retire(doors, KEPT) for _ in range(3)] == [3, 1, 0]
    assert is_there(stepper, young)


def test_jobs_and_open_letters_are_kept_for_as_long_as_the_settings_say(
    doors: Doors, stepper: Stepper
) -> None:
    kept = [ended(stepper, 0.9 * DAY_S), ended(stepper, 2.9 * DAY_S, is_failed=True)]
    gone = [ended(stepper, 1.1 * DAY_S), ended(stepper, 3.1 * DAY_S, is_failed=True)]
    assert retire(doors, KEPT) == 2
    assert [is_there(stepper, job_id) for job_id in kept + gone] == [True] * 2 + [False] * 2


def test_schedulers_side_by_side_forget_each_job_once(doors: Doors, stepper: Stepper) -> None:
    for _ in range(9):
        ended(stepper)
    found = at_once([lambda: retire(doors, KEPT)] * 4)
    assert all(some <= 3 for some in found)
    left = 9 - sum(found)
    assert sum(retire(doors, KEPT) for _ in range(4)) == left


def test_a_schedule_is_kept_while_a_tick_of_it_is_to_come_or_kept(
    doors: Doors, clockwork: Clockwork
) -> None:
    kept = SchedulerSettings(ticks_kept_s=DAY_S)
    with doors.as_operator("test") as tx:
        at = schedules.read_clock(tx) + timedelta(hours=1)
    goes_on, over = clockwork.put_down(), clockwork.put_down("once", once_at=at)
    for each in (goes_on, over):
        clockwork.pass_by(each, HOUR_S)
        assert clockwork.tick() == 1
    names = []
    for days_ago in (0.5, 2.0):
        clockwork.pass_by(over, DAY_S)
        clockwork.hand.set_back("ticks", "at", days_ago * DAY_S, state="fired")
        retire(doors, kept)
        names.append([row.name for row in clockwork.every()])
    assert names == [["hourly", "once"], ["hourly"]]
    assert clockwork.count_jobs() == 2, "its job is kept for itself"


def test_a_schedule_whose_only_moment_came_in_a_pause_is_forgotten_as_well(
    doors: Doors, clockwork: Clockwork
) -> None:
    over = clockwork.put_down("once", every_s=3600)
    with doors.as_operator("test") as tx:
        tx.execute(
            update(rows_of_schedules)
            .where(rows_of_schedules.c.id == over)
            .values(next_tick_at=None, next_at=None)
        )
    clockwork.hand.set_back("schedules", "created_at", 2 * DAY_S, id=over)
    retire(doors, SchedulerSettings(ticks_kept_s=DAY_S))
    assert clockwork.every() == []


def test_a_round_that_found_nothing_says_nothing(doors: Doors, stepper: Stepper) -> None:
    with capture_logs() as said:
        retire(doors, KEPT)
    assert said == []


def test_workers_that_are_long_gone_are_forgotten_with_the_jobs(
    doors: Doors, stepper: Stepper
) -> None:
    gone, lately, holding, living = (stepper.start_worker() for _ in range(4))
    stepper.take(stepper.put_down(), 1, holding)
    with doors.as_nobody() as tx:
        for worker in (gone, lately, holding):
            workers.move(tx, worker, WorkerState.STOPPED)
    for worker in (gone, holding, living):
        stepper.grow_old(worker, 2 * DAY_S)
    retire(doors, KEPT)
    with doors.as_operator("test") as tx:
        assert set(tx.execute(select(rows.c.id)).scalars()) == {lately, holding, living}
