"""The census: what waits is counted by class and tenant, by one at a time, at a bounded cost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from scheduler.census import take_census
from scheduler.settings import SchedulerSettings
from store import due, load, refusals
from store.doors import Doors
from store.load import Line
from store.refusals import Refusal
from store.rows import ClassLoad, PlatformLoad
from store.states import JobClass, Work
from tests.running import at_once
from tests.stepping import Stepper

AT_ONCE = SchedulerSettings(census_every_s=1e-6, level_interval_s=1e-6)


@pytest.fixture
def stepper(doors: Doors, tenant: UUID) -> Stepper:
    return Stepper(doors, tenant)


def count(doors: Doors, settings: SchedulerSettings = AT_ONCE) -> dict[JobClass, ClassLoad]:
    # However dear the last one was.
    with doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.load set cost_s = 0"))
    assert take_census(doors, settings) == 1
    with doors.as_operator("test") as tx:
        return load.read_classes(tx)


def platform(doors: Doors) -> PlatformLoad:
    with doors.as_nobody() as tx:
        return load.read(tx)


def line(stepper: Stepper, job_class: JobClass = JobClass.DEFAULT) -> Line:
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        found = load.read_line(tx, stepper.tenant_id, job_class)
    assert found is not None
    return found


def refuse(stepper: Stepper, request: str = "r", retry_after_s: float = 30.0) -> None:
    told = ("analyst", "busy", "It is full.", request, retry_after_s)
    with stepper.doors.as_tenant(stepper.tenant_id) as tx:
        refusals.note(tx, Refusal(stepper.tenant_id, uuid7(), JobClass.DEFAULT, *told))


def set_back(doors: Doors, **moments_s: float) -> None:
    with doors.as_operator("test") as tx:
        for column, by_s in moments_s.items():
            tx.execute(
                text(f"update stepwell.load set {column} = {column} - :by * interval '1 s'"),
                {"by": by_s},
            )


def test_what_waits_is_counted_by_class_and_by_tenant(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    for _ in range(3):
        stepper.put_down()
    stepper.put_down(job_class=JobClass.BATCH)
    stepper.put_down(is_rung=True)
    Stepper(doors, other_tenant).put_down()
    found = count(doors)
    default = found[JobClass.DEFAULT]
    assert (default.waiting, default.tenants) == (4, 2)
    assert default.oldest_s is not None
    assert (found[JobClass.BATCH].waiting, found[JobClass.INTERACTIVE].waiting) == (1, 0)
    assert (line(stepper).waiting, line(stepper).waiting_anywhere) == (3, 4)
    assert line(Stepper(doors, other_tenant)).waiting == 1


def test_what_waits_no_more_is_forgotten(stepper: Stepper, doors: Doors) -> None:
    job_id = stepper.put_down()
    count(doors)
    stepper.cancel(job_id)
    found = count(doors)[JobClass.DEFAULT]
    assert (found.waiting, found.oldest_s, found.tenants) == (0, None, 0)
    assert line(stepper).waiting == 0


def test_what_runs_and_who_works_is_counted(stepper: Stepper, doors: Doors) -> None:
    worker = stepper.start_worker(slots=7)
    stepper.take(stepper.put_down(job_class=JobClass.BATCH), 1, worker)
    assert count(doors)[JobClass.BATCH].running == 1
    assert platform(doors).slots == {Work.WAITS: 7, Work.COMPUTES: 0}


def test_a_tenant_sees_its_own_line_and_no_other(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    Stepper(doors, other_tenant).put_down()
    refuse(Stepper(doors, other_tenant))
    count(doors)
    with doors.as_tenant(stepper.tenant_id) as tx:
        for table in ("tenant_census", "refusals"):
            assert tx.execute(text(f"select count(*) from stepwell.{table}")).scalar() == 0
        assert refusals.count(tx, 60.0) == []


def test_a_fresh_census_is_not_taken_again(doors: Doors) -> None:
    assert take_census(doors, SchedulerSettings()) == 1
    assert take_census(doors, SchedulerSettings()) == 0
    set_back(doors, measured_at=1.1)
    assert take_census(doors, SchedulerSettings()) == 1


def test_a_dear_census_is_taken_less_often(doors: Doors) -> None:
    take_census(doors, SchedulerSettings())
    with doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.load set cost_s = 0.5"))
    set_back(doors, measured_at=9.0)
    assert take_census(doors, SchedulerSettings()) == 0
    set_back(doors, measured_at=1.5)
    assert take_census(doors, SchedulerSettings()) == 1


def test_of_many_schedulers_one_takes_it(doors: Doors) -> None:
    assert sum(at_once([lambda: take_census(doors, SchedulerSettings())] * 4)) == 1


def test_while_one_counts_no_other_waits_for_it(doors: Doors) -> None:
    with doors.as_operator("somebody else") as tx, ThreadPoolExecutor(1) as threads:
        assert load.hold(tx, 1.0, 20.0) is not None
        assert threads.submit(take_census, doors, SchedulerSettings()).result(timeout=5) == 0


def test_it_learns_how_fast_a_class_starts_while_something_waits(
    stepper: Stepper, doors: Doors
) -> None:
    for _ in range(20):
        stepper.put_down()
    assert count(doors)[JobClass.DEFAULT].started_per_s is None
    assert count(doors)[JobClass.DEFAULT].started_per_s is None, "nothing has started yet"
    with doors.as_operator("test") as tx:
        due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 10}, again_s=60.0)
        load.count_starts(tx, JobClass.DEFAULT, 10, 0.25)
    set_back(doors, measured_at=100.0)
    found = count(doors)[JobClass.DEFAULT]
    assert found.started_per_s == pytest.approx(0.1, rel=0.1)
    assert found.wait_s == pytest.approx(100.0, rel=0.1)


def test_a_job_that_came_to_a_lane_too_late_has_not_started(stepper: Stepper, doors: Doors) -> None:
    late = stepper.put_down(deadline_in_s=60.0)
    for _ in range(3):
        stepper.put_down()
    count(doors)
    with doors.as_operator("test") as tx:
        taken = due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 2}, again_s=60.0)
        load.count_starts(tx, JobClass.DEFAULT, 2, 0.0)
    assert late in {step.job_id for step in taken}
    stepper.pass_deadline(late)
    assert stepper.claim(late, 1, stepper.start_worker()) is None
    set_back(doors, measured_at=100.0)
    assert count(doors)[JobClass.DEFAULT].started_per_s == pytest.approx(0.01, rel=0.1)


def test_a_job_that_was_turned_away_at_a_gate_waits_as_before_and_has_not_started(
    stepper: Stepper, doors: Doors
) -> None:
    for _ in range(3):
        stepper.put_down()
    count(doors)
    worker = stepper.start_worker()
    with doors.as_operator("test") as tx:
        taken = due.take(tx, {(JobClass.DEFAULT, Work.WAITS): 2}, again_s=60.0)
        load.count_starts(tx, JobClass.DEFAULT, 2, 0.0)
    turned_away, _ = (stepper.take(step.job_id, 1, worker) for step in taken)
    stepper.release(turned_away, delay_s=5.0, is_failed_try=False)
    set_back(doors, measured_at=100.0)
    found = count(doors)[JobClass.DEFAULT]
    assert found.waiting == 2, "the one that nobody has rung for, and the one that comes again"
    assert found.started_per_s == pytest.approx(0.01, rel=0.1)


def test_a_class_that_has_not_started_yet_is_believed_to_get_its_guaranteed_share(
    stepper: Stepper, doors: Doors
) -> None:
    stepper.put_down()
    stepper.put_down(job_class=JobClass.INTERACTIVE)
    count(doors)
    with doors.as_operator("test") as tx:
        load.count_starts(tx, JobClass.INTERACTIVE, 100, 0.0)
    set_back(doors, measured_at=100.0)
    found = count(doors)
    assert found[JobClass.INTERACTIVE].started_per_s == pytest.approx(1.0, rel=0.1)
    assert found[JobClass.DEFAULT].started_per_s == pytest.approx(0.1, rel=0.1)


def test_whose_turn_it_is_is_averaged_over_a_while(
    stepper: Stepper, doors: Doors, other_tenant: UUID
) -> None:
    stepper.put_down()
    Stepper(doors, other_tenant).put_down()
    count(doors)
    set_back(doors, measured_at=60.0)
    assert count(doors)[JobClass.DEFAULT].weights == pytest.approx(2.0, rel=0.01)
    stepper.cancel(stepper.put_down())
    assert count(doors)[JobClass.DEFAULT].weights > 1.9


def test_time_without_a_backlog_says_nothing_about_the_rate(stepper: Stepper, doors: Doors) -> None:
    count(doors)
    with doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.census set started_per_s = 3"))
    set_back(doors, measured_at=60.0)
    assert count(doors)[JobClass.DEFAULT].started_per_s == 3


def test_a_standing_queue_raises_the_level_and_is_put_down(stepper: Stepper, doors: Doors) -> None:
    stepper.start_worker(slots=1)
    for _ in range(3):
        stepper.put_down()
    stepper.set_back("checkpoints", "ready_at", None, state="ready")
    stepper.set_back("checkpoints", "ready_at", 5.0, state="ready")
    count(doors)
    count(doors)
    assert platform(doors).level == 2
    capped = AT_ONCE.model_copy(update={"level_max": 2})
    count(doors, capped)
    assert platform(doors).level == 2


def test_the_level_is_judged_once_an_interval(stepper: Stepper, doors: Doors) -> None:
    stepper.start_worker(slots=1)
    for _ in range(3):
        stepper.put_down()
    stepper.set_back("checkpoints", "ready_at", 9.0, state="ready")
    slowly = SchedulerSettings(census_every_s=1e-6)
    count(doors, slowly)
    count(doors, slowly)
    assert platform(doors).level == 1
    set_back(doors, judged_at=5.1)
    count(doors, slowly)
    assert platform(doors).level == 2


def test_it_learns_how_long_jobs_usually_take(stepper: Stepper, doors: Doors) -> None:
    from tests.stepping import COMPLETED

    for age_s in (1.0, 2.0, 30.0):
        job_id = stepper.put_down(agent="analyst")
        stepper.commit(stepper.take(job_id), ending=COMPLETED)
        stepper.set_back("jobs", "started_at", age_s, id=job_id)
    count(doors)
    assert platform(doors).usual_s == {"analyst": pytest.approx(2.0, abs=0.9)}


def test_refusals_are_counted_promised_and_forgotten(stepper: Stepper, doors: Doors) -> None:
    refuse(stepper)
    refuse(stepper, "another", retry_after_s=0.0)
    count(doors)
    assert line(stepper).promised == 1
    with doors.as_tenant(stepper.tenant_id) as tx:
        (told,) = refusals.count(tx, 60.0)
        assert (told.job_class, told.code, told.count) == (JobClass.DEFAULT, "busy", 2)
        expected = {"early_s": 1.0, "late_s": 60.0}
        assert refusals.is_expected(tx, stepper.tenant_id, "another", **expected)
        assert not refusals.is_expected(tx, stepper.tenant_id, "r", **expected), "it is too early"
        assert not refusals.is_expected(tx, stepper.tenant_id, "never seen", **expected)
    stepper.set_back("refusals", "at", 5.0, tenant_id=stepper.tenant_id)
    set_back(doors, measured_at=60.0)
    assert count(doors)[JobClass.DEFAULT].refused == 2
    assert count(doors)[JobClass.DEFAULT].refused == 2
    with doors.as_operator("test") as tx:
        assert refusals.forget(tx, 3600.0, 10) == 0
        assert refusals.forget(tx, 1.0, 1) == 1


def test_an_unknown_tenant_has_no_line(doors: Doors, tenant: UUID) -> None:
    with doors.as_tenant(tenant) as tx:
        assert load.read_line(tx, uuid4(), JobClass.DEFAULT) is None
