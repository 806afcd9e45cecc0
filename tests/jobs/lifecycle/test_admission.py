"""Admission: refused early, for a reason and with a true time to come back; or kept."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from math import inf
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from jobs.errors import Overloaded, OverQuota
from jobs.lifecycle.admission import Asked, Code, Let, Lines, Refuse, decide
from jobs.lifecycle.intake import Submission, submit
from jobs.lifecycle.limits import Limits
from store import load
from store.load import Line
from store.rows import ClassLoad, PlatformLoad
from store.states import JobClass, JobStatus, Work
from tests.processes import Viewer

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PLATFORM = PlatformLoad(
    level=0,
    since=NOW,
    calm=0,
    judged_age_s=1.0,
    measured_at=NOW,
    measured_age_s=0.0,
    cost_s=0.01,
    slots={Work.WAITS: 8, Work.COMPUTES: 0},
    usual_s={"analyst": 3.0},
    usual_age_s=1.0,
)
# 200 steps of two tenants wait, 190 of them this one's; 4 start a second, 2 of them this one's.
CROWD = ClassLoad(JobClass.DEFAULT, 200, 40.0, 8, 2, 2, 100, 100, 4.0, 30.0, 0)
LINE = Line(PLATFORM, CROWD, 190, 0, 190, 1, None)
QUIET = replace(LINE, waiting=0, waiting_anywhere=0)
LIMITS = Limits()


def ask(deadline_s: float | None = None, job_class: JobClass = JobClass.DEFAULT) -> Asked:
    return Asked("analyst", job_class, deadline_s)


def decided(line: Line, asked: Asked | None = None, limits: Limits = LIMITS, **more: Any) -> Refuse:
    """A refusal without its lot."""
    told: dict[str, Any] = {"draw": lambda: 0.0} | more
    found = decide(line, asked or ask(), limits, **told)
    assert found is not None, "it was taken on"
    return found


def at_level(level: int, line: Line = LINE) -> Line:
    return replace(line, platform=replace(line.platform, level=level))


def test_without_a_deadline_or_a_limit_a_backlog_refuses_nobody() -> None:
    assert decide(LINE, ask(), LIMITS) is None


def test_a_deadline_that_the_line_leaves_no_time_for_is_refused() -> None:
    found = decided(LINE, ask(60.0))
    assert found.code is Code.DEADLINE
    assert "deadline of 60 s" in found.reason
    # All that waits is gone after 50 s, though this line alone would take 95 s at half the rate;
    # four fifths of 60 s, less the usual 3 s and the way to the worker, are 44.5 s; and it takes
    # its own turn, half a second.
    assert found.retry_after_s == pytest.approx(50 - 44.5 + 0.5)


def test_a_deadline_that_can_be_met_is_taken_on() -> None:
    assert decide(LINE, ask(80.0), LIMITS) is None


def test_a_short_line_is_not_held_up_by_a_long_one_beside_it() -> None:
    assert decide(QUIET, ask(5.0), LIMITS) is None
    few = replace(QUIET, waiting=20)
    assert decide(few, ask(20.0), LIMITS) is None
    assert decided(few, ask(10.0)).code is Code.DEADLINE


def test_weight_moves_a_line_faster() -> None:
    line = replace(LINE, waiting=40)
    assert decide(line, ask(20.0), LIMITS) is not None
    heavy = replace(line, weight=3, its_class=replace(CROWD, weights=4))
    assert decide(heavy, ask(22.0), LIMITS) is None


def test_what_this_process_let_in_since_the_census_counts_too() -> None:
    line = replace(QUIET, its_class=replace(CROWD, waiting=40))
    assert decide(line, ask(20.0), LIMITS) is None
    burst = Let(in_class=60, in_line=60, of_tenant=60)
    assert decided(line, ask(20.0), let=burst).code is Code.DEADLINE


def test_what_has_started_since_the_census_waits_no_more() -> None:
    assert decide(LINE, ask(70.0), LIMITS) is None
    assert decide(LINE, ask(60.0), LIMITS) is not None
    later = replace(LINE, platform=replace(PLATFORM, measured_age_s=6.0))
    assert decide(later, ask(60.0), LIMITS) is None


def test_few_waiting_steps_are_no_crowd_however_slow_they_are() -> None:
    still = replace(LINE, waiting=10, its_class=replace(CROWD, waiting=10, started_per_s=0.001))
    assert decide(still, ask(5.0), LIMITS) is None


@pytest.mark.parametrize(
    "unknown",
    [
        replace(LINE, platform=replace(PLATFORM, measured_age_s=None)),
        replace(LINE, platform=replace(PLATFORM, measured_age_s=60.0)),
        replace(LINE, platform=replace(PLATFORM, slots={})),
        replace(LINE, its_class=replace(CROWD, started_per_s=None)),
    ],
    ids=["no census", "an old census", "no worker", "no rate"],
)
def test_what_nobody_knows_refuses_nobody(unknown: Line) -> None:
    assert decide(unknown, ask(5.0), LIMITS) is None


def test_a_line_that_stands_still_is_told_the_latest_time_there_is() -> None:
    still = replace(LINE, its_class=replace(CROWD, started_per_s=0.0))
    found = decided(still, ask(60.0))
    assert found.retry_after_s == LIMITS.retry_after_s_max
    assert str(inf) not in found.reason


def test_a_class_that_is_full_takes_nobody_and_keeps_places_for_those_it_told() -> None:
    narrow = Limits(default_waiting_max=200)
    found = decided(LINE, limits=narrow)
    assert (found.code, found.retry_after_s) == (Code.DEPTH, 1.0)
    almost = replace(LINE, its_class=replace(CROWD, waiting=195))
    assert decide(almost, ask(), narrow) is None
    told = replace(almost, promised=1)
    assert decided(told, limits=narrow).code is Code.DEPTH
    assert decide(told, ask(), narrow, is_expected=True) is None
    assert decide(LINE, ask(), Limits(interactive_waiting_max=1)) is None, "another class"


def test_a_tenant_over_its_quota_is_refused_in_every_class() -> None:
    line = replace(LINE, waiting_max=190)
    for job_class in JobClass:
        assert decided(line, ask(job_class=job_class)).code is Code.QUOTA
    assert decide(replace(LINE, waiting_max=191), ask(), LIMITS) is None


def test_at_level_three_default_work_is_taken_where_it_can_start_at_once() -> None:
    assert decided(at_level(3)).code is Code.LEVEL
    assert decide(at_level(2), ask(), LIMITS) is None
    assert decide(at_level(3, QUIET), ask(), LIMITS) is None
    for job_class in (JobClass.INTERACTIVE, JobClass.BATCH, JobClass.BACKGROUND):
        assert decide(at_level(3), ask(job_class=job_class), LIMITS) is None


def test_who_is_refused_later_is_told_to_come_later() -> None:
    first, second = (decided(replace(LINE, promised=n), ask(60.0)) for n in (0, 20))
    assert second.retry_after_s - first.retry_after_s == pytest.approx(20 / 2)
    third = decided(LINE, ask(60.0), let=Let(promised=30))
    assert third.retry_after_s - first.retry_after_s == pytest.approx(30 / 2)


def test_no_two_are_told_to_come_at_the_same_moment() -> None:
    lots = {decided(LINE, ask(60.0), draw=lambda n=n: n / 10).retry_after_s for n in range(10)}
    assert len(lots) == 10
    assert max(lots) <= 1.2 * min(lots)


def test_who_comes_back_as_told_finds_room_where_others_do_not() -> None:
    assert decide(LINE, ask(80.0), LIMITS) is None, "nobody is to come back"
    line = replace(LINE, promised=5)
    assert decide(line, ask(80.0), LIMITS) is not None
    assert decide(line, ask(80.0), LIMITS, is_expected=True) is None
    assert decide(line, ask(60.0), LIMITS, is_expected=True) is not None, "but no more than that"


# --- at the door ----------------------------------------------------------------------------------


def crowd(viewer: Viewer, *, waiting: int, per_s: float, level: int = 0, promised: int = 0) -> None:
    """Let the census have found so much of class default, of this tenant."""
    with viewer.desk.doors.as_operator("test") as tx:
        tx.execute(
            text(
                "update stepwell.census set waiting = :waiting, started_per_s = :per_s, "
                "tenants = 1, weights = 1 where job_class = 'default'"
            ),
            {"waiting": waiting, "per_s": per_s},
        )
        tx.execute(
            text(
                "insert into stepwell.tenant_census (tenant_id, job_class, waiting, promised) "
                "values (:tenant, 'default', :waiting, :promised) "
                "on conflict (tenant_id, job_class) "
                "do update set waiting = excluded.waiting, promised = excluded.promised"
            ),
            {"tenant": viewer.tenant_id, "waiting": waiting, "promised": promised},
        )
        tx.execute(
            text(
                "update stepwell.load set measured_at = clock_timestamp(), slots_waits = 8, "
                "level = :level"
            ),
            {"level": level},
        )


def rows(viewer: Viewer, table: str) -> int:
    with viewer.desk.doors.as_operator("test") as tx:
        return int(tx.execute(text(f"select count(*) from stepwell.{table}")).scalar_one())


HURRIED = Submission("walk", {}, deadline_s=20.0)


def test_a_refusal_leaves_its_audit_line_and_nothing_else(viewer: Viewer) -> None:
    crowd(viewer, waiting=100, per_s=2.0)
    with pytest.raises(Overloaded, match="ask again in") as refused:
        submit(viewer.desk, viewer.tenant_id, HURRIED)
    assert [rows(viewer, table) for table in ("jobs", "checkpoints", "events")] == [0, 0, 0]
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        line = tx.execute(text("select * from stepwell.refusals")).one()
    assert (line.agent, line.code, line.job_class) == ("walk", "deadline", "default")
    assert line.retry_after_s == pytest.approx(refused.value.retry_after_s)
    assert 34 <= line.retry_after_s <= 1.2 * 35
    assert line.reason in str(refused.value)


def test_a_tenant_over_its_quota_is_told_so(viewer: Viewer) -> None:
    crowd(viewer, waiting=3, per_s=2.0)
    with viewer.desk.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.tenants set waiting_max = 3"))
    with pytest.raises(OverQuota, match="may have 3"):
        submit(viewer.desk, viewer.tenant_id, Submission("walk", {}))


def test_asking_again_for_a_job_that_is_there_is_never_refused(viewer: Viewer) -> None:
    keyed = replace(HURRIED, idempotency_key="k")
    first = submit(viewer.desk, viewer.tenant_id, keyed)
    crowd(viewer, waiting=100, per_s=2.0)
    again = submit(viewer.desk, viewer.tenant_id, keyed)
    assert (again.job.id, again.created) == (first.job.id, False)
    assert rows(viewer, "refusals") == 0


def test_who_comes_back_when_told_to_is_let_in(viewer: Viewer) -> None:
    crowd(viewer, waiting=100, per_s=2.0)
    with pytest.raises(Overloaded):
        submit(viewer.desk, viewer.tenant_id, HURRIED)
    # 14 s to wait of the 16 s there are, and others are expected, too.
    crowd(viewer, waiting=28, per_s=2.0, promised=3)
    with pytest.raises(Overloaded):
        submit(viewer.desk, viewer.tenant_id, replace(HURRIED, deadline_s=20.1))
    with viewer.desk.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.refusals set come_at = now() where reason like '%50 s%'"))
    assert submit(viewer.desk, viewer.tenant_id, HURRIED).created


def test_a_job_that_was_taken_on_is_kept_whatever_comes(viewer: Viewer) -> None:
    job_id = viewer.submit("walk", {}, deadline_s=600.0)
    crowd(viewer, waiting=49_999, per_s=0.01, level=3)
    assert viewer.job(job_id).status is JobStatus.QUEUED
    assert viewer.steps(job_id)[0].state == "ready"


def test_who_finds_others_waiting_is_not_rung_for_before_them(viewer: Viewer) -> None:
    first = viewer.submit("walk", {})
    assert viewer.steps(first)[0].rung_at is not None, "an idle platform starts at once"
    crowd(viewer, waiting=1, per_s=2.0)
    assert viewer.steps(viewer.submit("walk", {}))[0].rung_at is None
    crowd(viewer, waiting=0, per_s=2.0)
    assert viewer.steps(viewer.submit("walk", {}))[0].rung_at is not None


def test_where_no_scheduler_counts_jobs_start_as_long_as_their_lane_has_room(
    viewer: Viewer,
) -> None:
    crowd(viewer, waiting=9, per_s=2.0)
    assert viewer.steps(viewer.submit("walk", {}))[0].rung_at is None
    with viewer.desk.doors.as_operator("test") as tx:
        tx.execute(text("update stepwell.load set measured_at = now() - interval '1 min'"))
    assert viewer.steps(viewer.submit("walk", {}))[0].rung_at is not None


def test_a_burst_fills_no_lane_deeper_than_the_slots(viewer: Viewer) -> None:
    crowd(viewer, waiting=0, per_s=2.0)
    rung = [viewer.steps(viewer.submit("walk", {}))[0].rung_at for _ in range(12)]
    # The first cannot know how many slots there are; then the lane is as deep as there are slots.
    assert [each is not None for each in rung] == [True] * 8 + [False] * 4
    with viewer.desk.doors.as_tenant(viewer.tenant_id) as tx:
        line = load.read_line(tx, viewer.tenant_id, JobClass.DEFAULT)
    assert line is not None
    assert viewer.desk.tally.read(line, viewer.tenant_id, JobClass.DEFAULT).in_line == 4


def test_a_burst_reads_its_line_once(viewer: Viewer) -> None:
    read = 0

    def look() -> Line:
        nonlocal read
        read += 1
        return LINE

    lines = Lines(kept_s=60.0)
    for tenant in (viewer.tenant_id, viewer.tenant_id, UUID(int=1), viewer.tenant_id):
        for job_class in JobClass:
            assert lines.find(tenant, job_class, look) is LINE
    assert read == 2 * len(JobClass)
    always = Lines(kept_s=0.0)
    assert always.find(viewer.tenant_id, JobClass.BATCH, look) is LINE
    assert always.find(viewer.tenant_id, JobClass.BATCH, lambda: None) is None
